import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.discovery.spelling import nearest, nearest_of

WORDS = {"recommend": 900, "transform": 5000, "transfer": 300, "token": 80, "taken": 5, "x2y": 9}


@pytest.mark.parametrize(
    ("stem", "meant"),
    [
        ("recomend", "recommend"),
        ("tranform", "transform"),
        ("rtansform", "transform"),
        # Both are one slip away: what more papers have.
        ("tpken", "token"),
        ("tkoen", "token"),
        ("abc", None),
        ("quetzalcoatl", None),
        ("x3y", None),
        ("", None),
    ],
)
def test_the_nearest_word_is_found(stem: str, meant: str | None) -> None:
    assert nearest(stem, WORDS) == meant


@given(word=st.sampled_from(["recommend", "transform"]), place=st.integers(0, 8))
def test_any_one_letter_may_be_missing(word: str, place: int) -> None:
    assert nearest(word[:place] + word[place + 1 :], WORDS) == word


def test_nothing_is_near_in_an_empty_vocabulary() -> None:
    assert nearest("transformer", {}) is None


def test_of_two_spellings_the_nearer_counts() -> None:
    whole, stems = {"counting": 40, "recommenders": 5}, {"count": 50, "recommend": 60}
    assert nearest_of([("countnig", whole), ("countnig", stems)]) == "counting"
    # The whole word is two slips away, its stem one.
    assert nearest_of([("recomender", whole), ("recomend", stems)]) == "recommend"
    assert nearest_of([("recomenders", whole), ("recomend", stems)]) == "recommenders"
    assert nearest_of([]) is None
