"""Two results are compared where they measured the same, and only there."""

import dataclasses
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.runs.card import Bar, Card, Scale
from paperround.runs.comparison import compare_results
from paperround.runs.results import Result

CARD = Card.model_validate(
    {
        "slug": "little",
        "paper": "2601.00001",
        "title": "A little paper",
        "family": "tests",
        "summary": "s",
        "names": ["nothing"],
        "use": "import math",
        "scales": {scale: {"about": "a moment"} for scale in Scale},
        "claims": [
            {
                "id": name,
                "says": f"It is {name}.",
                "metric": "times",
                "baseline": "doing nothing",
                "where": "Table 1",
                "bars": {"quick": {"at_least": 1.5}, "standard": {"not_measured": "no time"}},
            }
            for name in ("faster", "smaller")
        ],
    }
)


def a_result(*values: float, card=CARD, scale=Scale.QUICK, **changes) -> Result:
    events = [
        {"kind": "measure", "claim": "faster", "value": value, "baseline": None, "seed": None}
        for value in values
    ]
    options = {
        "status": "finished",
        "reason": "",
        "started_at": datetime(2026, 4, 13, tzinfo=UTC),
        "seconds": 1.0,
        "seeds": (0,),
        "environment": {"processor": "A", "commit": None, "versions": {"torch": "2.13"}},
        "card_sha256": "ab" * 32,
    }
    return Result.from_events(card, scale, events, **{**options, **changes})


def test_one_card_on_two_machines_is_compared_claim_by_claim():
    other = {"processor": "B", "commit": None, "versions": {"torch": "2.14"}, "room": "x 1"}
    compared = compare_results(a_result(2.0, 4.0), a_result(6.0, environment=other))
    assert compared.is_comparable
    faster, smaller = compared.claims
    assert (faster.ratio, faster.overlap, faster.agrees) == (2.0, False, True)
    assert (smaller.ratio, smaller.overlap, smaller.agrees) == (None, None, None)
    differ = {fact.name: (fact.a, fact.b) for fact in compared.facts if fact.differs}
    assert differ == {
        "processor": ("A", "B"),
        "torch": ("2.13", "2.14"),
        "room": ("–", "x 1"),
    }


def test_a_verdict_that_differs_is_a_disagreement():
    compared = compare_results(a_result(2.0), a_result(1.0))
    assert [pair.id for pair in compared.disagreements] == ["faster"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"card_sha256": "cd" * 32}, "different cards"),
        ({"scale": Scale.STANDARD}, "different scales"),
        ({"status": "failed", "reason": "why"}, "did not end well"),
    ],
)
def test_different_things_are_shown_and_never_compared(changes, says):
    compared = compare_results(a_result(2.0), a_result(1.0, **changes))
    assert not compared.is_comparable
    assert says in " ".join(compared.why_not)
    assert {pair.ratio for pair in compared.claims} == {None}
    assert compared.disagreements == ()
    assert {claim["agrees"] for claim in compared.to_json()["claims"]} == {None}


def test_two_papers_are_not_compared():
    other = CARD.model_copy(update={"slug": "other"})
    with pytest.raises(UsageError, match="two papers"):
        compare_results(a_result(1.0), a_result(1.0, card=other))


def test_a_claim_that_only_one_card_has_stands_with_one_side_empty():
    fewer = CARD.model_copy(update={"claims": CARD.claims[:1]})
    compared = compare_results(a_result(1.0), a_result(1.0, card=fewer, card_sha256="cd" * 32))
    assert [(pair.id, pair.b is None) for pair in compared.claims] == [
        ("faster", False),
        ("smaller", True),
    ]


values = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4)


@given(values, values)
def test_comparing_the_other_way_round_says_the_same(a, b):
    there = compare_results(a_result(*a), a_result(*b))
    back = compare_results(a_result(*b), a_result(*a))
    json.dumps(there.to_json(), allow_nan=False)
    for one, other in zip(there.claims, back.claims, strict=True):
        assert (one.a, one.b) == (other.b, other.a)
        assert (one.overlap, one.agrees) == (other.overlap, other.agrees)
        if one.ratio and other.ratio and abs(one.ratio) > 1e-300:
            assert one.ratio * other.ratio == pytest.approx(1)


@given(values)
def test_a_result_agrees_with_itself(measured):
    result = a_result(*measured)
    compared = compare_results(result, dataclasses.replace(result))
    assert compared.disagreements == ()
    assert not any(fact.differs for fact in compared.facts)
    assert compared.claims[0].overlap


def test_the_bar_of_each_side_is_its_own():
    moved = CARD.model_copy(
        update={
            "claims": (
                CARD.claims[0].model_copy(update={"bars": {Scale.QUICK: Bar(at_least=9.0)}}),
                CARD.claims[1],
            )
        }
    )
    compared = compare_results(a_result(2.0), a_result(2.0, card=moved, card_sha256="cd" * 32))
    sides = compared.to_json()["claims"][0]
    assert (sides["a"]["bar"], sides["b"]["bar"]) == ("≥ 1.5", "≥ 9")
