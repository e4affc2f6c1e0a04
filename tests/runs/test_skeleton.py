"""The skeleton of a room: complete in shape, and failing until it is written."""

import os
import tomllib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.runs.card import Scale, read_card
from paperround.runs.checking import check_room
from paperround.runs.execution import execute
from paperround.runs.rooms import find_room
from paperround.runs.skeleton import write_skeleton


@pytest.fixture
def install(monkeypatch):
    """Installs a skeleton's package, as pip would, for this test."""

    def _install(skeleton, slug):
        source = skeleton.folder.parent
        info = source / f"{skeleton.folder.name}-0.1.0.dist-info"
        info.mkdir()
        info.joinpath("METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {slug}\nVersion: 0.1.0\n"
        )
        project = tomllib.loads(source.parent.joinpath("pyproject.toml").read_text())["project"]
        points = project["entry-points"]["paperround.papers"]
        lines = [f"{name} = {package}" for name, package in points.items()]
        info.joinpath("entry_points.txt").write_text("\n".join(["[paperround.papers]", *lines]))
        monkeypatch.syspath_prepend(source)
        path = os.pathsep.join([str(source), os.environ.get("PYTHONPATH", "")])
        monkeypatch.setenv("PYTHONPATH", path)
        return find_room(slug)

    return _install


def test_outside_a_checkout_it_is_a_package_of_its_own(tmp_path):
    skeleton = write_skeleton("new-paper", tmp_path, paper="2502.08923", title="A “new” paper")
    names = {str(path.relative_to(tmp_path)) for path in skeleton.files}
    assert names == {
        "new-paper/pyproject.toml",
        "new-paper/src/new_paper/__init__.py",
        "new-paper/src/new_paper/__init__.pyi",
        "new-paper/src/new_paper/README.md",
        "new-paper/src/new_paper/card.toml",
        "new-paper/src/new_paper/method.py",
        "new-paper/src/new_paper/reproduction.py",
        "new-paper/tests/test_room.py",
    }
    card = read_card(skeleton.folder / "card.toml")
    assert (card.slug, card.paper, card.title) == ("new-paper", "2502.08923", "A “new” paper")


def test_in_a_checkout_it_is_a_room_among_the_others(tmp_path):
    (tmp_path / "src" / "paperround" / "papers").mkdir(parents=True)
    skeleton = write_skeleton("new-paper", tmp_path)
    assert skeleton.folder == tmp_path / "src/paperround/papers/new_paper"
    assert tmp_path / "tests/papers/new_paper/test_room.py" in skeleton.files
    code = (skeleton.folder / "__init__.py").read_text()
    assert "from paperround.papers.new_paper import method" in code


def test_its_reproduction_fails_until_it_is_written(tmp_path, install, settings):
    room = install(write_skeleton("unwritten-paper", tmp_path / "made"), "unwritten-paper")
    outcome = execute(
        room,
        Scale.QUICK,
        (0, 1, 2),
        tmp_path / "run",
        on_event=lambda event: None,
        cancelled=lambda: False,
        settings=settings,
    )
    assert outcome.status == "failed"
    assert "unwritten-paper: write reproduce(run)" in outcome.reason


def test_a_check_says_what_is_left_to_do(tmp_path, install):
    faults = check_room(install(write_skeleton("half-paper", tmp_path / "made"), "half-paper"))
    assert "no claim is measured at quick" in faults
    assert any(fault.startswith("card.toml still says") for fault in faults)
    assert any(fault.startswith("README.md still says") for fault in faults)
    assert any(fault.startswith("no result at standard") for fault in faults)


@pytest.mark.parametrize(
    ("slug", "says"),
    [
        ("My-Paper", "is no slug"),
        ("a--b", "is no slug"),
        ("-a", "is no slug"),
        ("1a", "is no slug"),
        ("../up", "is no slug"),
        ("a b", "is no slug"),
        ("", "is no slug"),
        ("x" * 61, "is no slug"),
        ("json", "is called 'json' already"),
        ("numpy", "is called 'numpy' already"),
        ("class", "cannot be a module's name"),
        ("copyspec", "there is a runnable paper 'copyspec' already"),
    ],
)
def test_a_slug_that_cannot_be_one_is_refused_and_nothing_is_written(tmp_path, slug, says):
    with pytest.raises(UsageError, match=says):
        write_skeleton(slug, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_ever_overwritten(tmp_path):
    write_skeleton("new-paper", tmp_path)
    with pytest.raises(UsageError, match="nothing was written"):
        write_skeleton("new-paper", tmp_path)


@given(title=st.text(max_size=60), paper=st.text(max_size=20))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
def test_any_title_makes_a_card_that_can_be_read_and_code_that_parses(
    tmp_path_factory, title, paper
):
    skeleton = write_skeleton("any-paper", tmp_path_factory.mktemp("any"), paper=paper, title=title)
    card = read_card(skeleton.folder / "card.toml")
    shown = "".join(character if character.isprintable() else " " for character in title)
    assert card.title == (" ".join(shown.split()) or "The title of the paper")
    for path in skeleton.folder.glob("*.py"):
        compile(path.read_text(encoding="utf-8"), str(path), "exec")
    tomllib.loads((skeleton.folder.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
