"""Ways to decode as rooms declare them: data that is read without code, and that code keeps to."""

import subprocess
import sys
from pathlib import Path

import pytest

from paperround.errors import CardError, UsageError
from paperround.kit.language_models import find_method, known_methods
from paperround.kit.language_models.declarations import (
    Declaration,
    declared_methods,
    read_declarations,
)
from paperround.runs.rooms import find_rooms

ROOMS = [(slug, room.folder) for slug, room in find_rooms()[0].items()]


def test_what_is_declared_is_what_there_is() -> None:
    declared, broken = declared_methods(ROOMS)
    assert broken == {}
    known = known_methods()
    assert set(declared) == set(known), "a room with a generator.py needs its generators.toml"
    for name, declaration in declared.items():
        method = known[name]
        assert (method.about, dict(method.options)) == (declaration.about, declaration.options)
        assert method.is_greedy == declaration.is_greedy
    assert (declared["copyspec-adaptive"].slug, declared["greedy"].slug) == ("copyspec", "")


def test_declared_defaults_are_those_of_the_methods() -> None:
    from paperround.papers.copyspec.adaptive import LONGEST_DRAFT
    from paperround.papers.copyspec.generation import GAMMA, MAX_COPY
    from paperround.papers.diverse_beam_search.method import DEFAULT_DIVERSITY_PENALTY
    from paperround.papers.making_the_most.conditional_search import DEFAULT_TOP_K

    assert find_method("copyspec").options == {"gamma": GAMMA, "max_copy": MAX_COPY}
    assert find_method("copyspec-adaptive").options == {"max_copy": LONGEST_DRAFT}
    assert find_method("diverse-beam-search").options["penalty"] == DEFAULT_DIVERSITY_PENALTY
    assert find_method("making-the-most").options["top_k"] == DEFAULT_TOP_K


def test_reading_them_imports_no_torch() -> None:
    program = (
        "import sys; from paperround.kit.language_models.declarations import *; "
        "print(len(declared_methods([])[0]), 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["4", "False"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[mine", "generators.toml"),
        ("[mine]", "mine.about: Field required"),
        ('[Mine]\nabout = "x"', "should match pattern"),
        ('[mine]\nabout = ""', "at least 1 character"),
        ('[mine]\nabout = "x"\nfast = true', "mine.fast: Extra inputs"),
        ('[mine]\nabout = "x"\noptions = { a = [1] }', "mine.options.a"),
        ('mine = "x"', "mine: Input should be a valid dictionary"),
    ],
)
def test_a_broken_file_says_what_is_wrong_and_hides_no_other(
    tmp_path: Path, content: str, says: str
) -> None:
    tmp_path.joinpath("generators.toml").write_text(content, encoding="utf-8")
    with pytest.raises(CardError, match=says):
        read_declarations(tmp_path)
    declared, broken = declared_methods([("bad", tmp_path), *ROOMS])
    assert says in broken["bad"]
    assert "copyspec" in declared


def test_a_folder_without_the_file_declares_nothing(tmp_path: Path) -> None:
    assert read_declarations(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"wings": 2}, "has no option 'wings'; its options are gamma, name, on"),
        ({"gamma": "three"}, "gamma is int, not 'three'"),
        ({"gamma": 1.5}, "gamma is int"),
        ({"gamma": True}, "gamma is int"),
        ({"on": 1}, "on is bool"),
        ({"name": 1}, "name is str"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, object], says: str) -> None:
    declaration = Declaration("mine", "x", {"gamma": 3, "name": "a", "on": False})
    with pytest.raises(UsageError, match=says):
        declaration.complete(options)


def test_given_options_stand_in_the_place_of_defaults() -> None:
    declaration = Declaration("mine", "x", {"gamma": 3, "penalty": 0.5})
    assert declaration.complete({"penalty": 1}) == {"gamma": 3, "penalty": 1}
    assert declaration.complete({}) == {"gamma": 3, "penalty": 0.5}
