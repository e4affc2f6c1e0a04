"""What rooms offer by name, and options given by name."""

import json
from importlib.metadata import EntryPoint
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit import offers

DEFAULTS = {"layers": 2, "rate": 0.1, "tied": True, "name": "plain", "limit": None}


def test_rooms_without_the_module_and_rooms_that_are_gone_offer_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rooms = ("paperround.papers.copyspec", "paperround.papers.quasicryth", "paperround_gone.room")
    points = [EntryPoint(room, room, offers.ROOMS) for room in rooms]
    monkeypatch.setattr(offers, "entry_points", lambda group: points)
    assert sorted(offers.offered("generator", "GENERATORS")) == ["copyspec", "copyspec-adaptive"]
    assert offers.offered("recommender", "RECOMMENDERS") == {}


def test_given_options_take_the_place_of_defaults_and_the_others_stay() -> None:
    assert offers.completed("it", DEFAULTS, {"layers": 3, "limit": "any"}) == {
        **DEFAULTS,
        "layers": 3,
        "limit": "any",
    }


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("depth", 1, "it has no option 'depth'; its options are layers, rate, tied, name, limit"),
        ("layers", 2.5, "it: layers is int, not 2.5"),
        ("layers", True, "it: layers is int, not True"),
        ("tied", 1, "it: tied is bool, not 1"),
        ("rate", "fast", "it: rate is float, not 'fast'"),
        ("name", 3, "it: name is str, not 3"),
    ],
)
def test_an_option_that_is_unknown_or_of_another_type_is_refused(
    option: str, value: Any, reason: str
) -> None:
    with pytest.raises(UsageError) as refused:
        offers.completed("it", DEFAULTS, {option: value})
    assert str(refused.value) == reason


def test_what_has_no_options_says_so() -> None:
    with pytest.raises(UsageError, match="it has no option 'a'; its options are none"):
        offers.completed("it", {}, {"a": 1})


@given(st.fixed_dictionaries({}, optional={name: st.none() for name in DEFAULTS}))
def test_none_fits_every_option(options: dict[str, None]) -> None:
    assert offers.completed("it", DEFAULTS, options) == {**DEFAULTS, **options}


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.none()))
def test_an_option_is_read_as_it_was_written(value: float | bool | None) -> None:
    assert offers.option_from_text(json.dumps(value)) == value


@given(st.text())
def test_any_text_is_an_option_of_some_kind(text: str) -> None:
    offers.option_from_text(text)


def test_a_number_longer_than_python_reads_stays_text() -> None:
    assert offers.option_from_text("9" * 5_000) == "9" * 5_000
