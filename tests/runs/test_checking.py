"""The judge of rooms: each fault by itself, in a room that is well otherwise."""

import itertools
import json

import pytest

from paperround.runs.card import Scale
from paperround.runs.checking import check_room
from paperround.runs.environment import describe_environment
from paperround.runs.execution import measure

_numbers = itertools.count()

BODY = """
for seed in run.seeds:
    run.measure("faster", 2.5, baseline=1.0, seed=seed)
    if run.scale == "standard":
        run.measure("smaller", 5, baseline=20, seed=seed)
"""


@pytest.fixture
def well(make_room, tmp_path, settings):
    """A room without a fault, its results measured by running it."""
    # A name of its own: what one test has imported, the next must not find.
    room = make_room(BODY, slug=f"well-{next(_numbers)}")
    code = '"""A package."""\n\n__all__ = ["nothing"]\n\n\ndef nothing():\n    """Gives None."""\n'
    (room.folder / "__init__.py").write_text(code)
    (room.folder / "README.md").write_text("# A little paper\n")
    for scale in (Scale.QUICK, Scale.STANDARD):
        result = measure(
            room,
            scale,
            None,
            tmp_path / "run",
            on_event=lambda event: None,
            cancelled=lambda: False,
            settings=settings,
        )
        result.write(room.results_dir / f"{scale}.json")
    return room


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def edit_result(room, scale="quick", **changes):
    path = room.results_dir / f"{scale}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**data, **changes}), encoding="utf-8")


def test_a_room_that_is_well_has_no_fault(well):
    assert check_room(well) == []
    assert describe_environment(2)["confined"] in (True, False)


@pytest.mark.parametrize("name", ["README.md", "reproduction.py", "__init__.py"])
def test_a_file_that_is_missing_is_named(well, name):
    (well.folder / name).unlink()
    assert check_room(well) == [f"no {name}"]


@pytest.mark.parametrize(
    ("name", "old", "new", "fault"),
    [
        ("reproduction.py", "run.seeds", "(0, 1, 2)", "does not use run.seeds"),
        ("reproduction.py", "run.seeds:", "(0, 1, 2):  # run.seeds", "does not use run.seeds"),
        ("reproduction.py", "for seed", "print('x')\n    for seed", "the reproduction prints"),
        ("reproduction.py", "def reproduce", "def reproduces", "has no attribute 'reproduce'"),
        ("__init__.py", '"""A package."""', "", "the package has no docstring"),
        ("__init__.py", '"""Gives None."""', "pass", "'nothing' has no docstring"),
        ("__init__.py", '["nothing"]', "[]", "which __all__ does not list"),
        ("__init__.py", "def nothing", "def other", "which the package does not have"),
        ("README.md", "# A", "What is done otherwise than in the paper, and why.\n# A", "skeleton"),
    ],
)
def test_a_fault_of_the_code_is_told(well, name, old, new, fault):
    edit(well.folder / name, old, new)
    faults = check_room(well)
    assert len(faults) == 1
    assert fault in faults[0]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"card_sha256": "0" * 64}, "was measured with another card"),
        ({"status": "failed"}, "ended as failed"),
        ({"seconds": 61.0}, "took 61 s of 60 s"),
        ({"seeds": [0, 1]}, "has the seeds (0, 1)"),
        ({"measurements": [{"claim": "faster", "value": 2, "seed": 0}]}, "for the seeds [0] alone"),
        ({"format": 99}, "a result of format 99"),
    ],
)
def test_a_fault_of_a_result_is_told(well, changes, fault):
    edit_result(well, **changes)
    faults = check_room(well)
    assert any(fault in told for told in faults)


def test_a_result_that_is_missing_is_told_with_the_command_that_makes_it(well):
    (well.results_dir / "standard.json").unlink()
    assert check_room(well) == [
        f"no result at standard; `paperround run {well.slug} --scale standard --ship`"
    ]


def test_a_card_with_too_few_seeds_is_told(well):
    edit(well.folder / "card.toml", "seeds = [0, 1, 2]", "seeds = [0]")
    well.__dict__.pop("card", None)
    assert "the quick scale has fewer than 3 seeds" in check_room(well)
