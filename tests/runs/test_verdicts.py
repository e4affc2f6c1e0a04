"""Verdicts follow from the measurements and the bars, and from nothing else."""

import math
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.runs.card import Bar, Card, Scale
from paperround.runs.verdicts import Measurement, Verdict, judge

CARD = """
slug = "little"
paper = "2601.00001"
title = "A little paper"
family = "tests"
summary = "s"
names = ["nothing"]
use = "import math"
[scales]
quick = {about = "q"}
standard = {about = "s"}
full = {about = "f"}
[[claims]]
id = "faster"
says = "It is faster."
metric = "times faster"
baseline = "doing nothing"
where = "Table 1"
bars = {quick = {at_least = 1.5}, standard = {not_measured = "no time"}}
"""
values = st.floats(allow_nan=False, allow_infinity=False, width=32)


def card_with(bar: Bar) -> Card:
    card = Card.model_validate(tomllib.loads(CARD))
    claim = card.claims[0].model_copy(update={"bars": {Scale.QUICK: bar}})
    return card.model_copy(update={"claims": (claim,)})


def verdict(bar: Bar, *measured: float, interrupted: str = "") -> Verdict:
    measurements = [Measurement("faster", value, seed=n) for n, value in enumerate(measured)]
    return judge(card_with(bar), Scale.QUICK, measurements, interrupted)[0].verdict


@pytest.mark.parametrize(
    ("bar", "measured", "expected"),
    [
        (Bar(at_least=1.5), (1.5,), Verdict.HOLDS),
        (Bar(at_least=1.5), (1.4999,), Verdict.FALLS_SHORT),
        (Bar(at_most=1.5), (1.5,), Verdict.HOLDS),
        (Bar(at_most=1.5), (1.5001,), Verdict.FALLS_SHORT),
        (Bar(at_least=1, at_most=2), (2.5,), Verdict.FALLS_SHORT),
        (Bar(at_least=1, at_most=2), (0.5,), Verdict.FALLS_SHORT),
        # Mean 2, median 1, least 1, most 4.
        (Bar(at_least=2), (1, 1, 4), Verdict.HOLDS),
        (Bar(at_least=2, aggregate="median"), (1, 1, 4), Verdict.FALLS_SHORT),
        (Bar(at_least=2, aggregate="min"), (1, 1, 4), Verdict.FALLS_SHORT),
        (Bar(at_least=4, aggregate="max"), (1, 1, 4), Verdict.HOLDS),
        (Bar(at_least=1.5), (), Verdict.NOT_MEASURED),
        (Bar(not_measured="no time"), (9,), Verdict.NOT_MEASURED),
        (Bar(at_most=9), (math.nan,), Verdict.FALLS_SHORT),
        (Bar(at_least=0), (math.inf,), Verdict.FALLS_SHORT),
    ],
)
def test_a_verdict_compares_the_aggregate_with_the_bar(bar, measured, expected):
    assert verdict(bar, *measured) is expected


def test_nothing_holds_in_a_run_that_did_not_end_well():
    assert verdict(Bar(at_least=1), 9, 9, 9, interrupted="took too long") is Verdict.NOT_MEASURED


@given(st.lists(values, min_size=1, max_size=5), values, values)
def test_a_lower_bar_never_turns_a_claim_that_holds(measured, one, other):
    low, high = sorted((one, other))
    if verdict(Bar(at_least=high), *measured) is Verdict.HOLDS:
        assert verdict(Bar(at_least=low), *measured) is Verdict.HOLDS
    if verdict(Bar(at_most=low), *measured) is Verdict.HOLDS:
        assert verdict(Bar(at_most=high), *measured) is Verdict.HOLDS


@given(st.lists(values, min_size=1, max_size=5), values)
def test_in_every_seed_means_each_of_them(measured, limit):
    holds = verdict(Bar(at_least=limit, aggregate="min"), *measured) is Verdict.HOLDS
    assert holds == all(value >= limit for value in measured)


def test_a_claim_result_tells_baseline_seeds_and_spread():
    measurements = [
        Measurement("faster", 2.0, baseline=1.0, seed=0),
        Measurement("faster", 4.0, baseline=3.0, seed=1),
    ]
    [claim] = judge(card_with(Bar(at_least=2)), Scale.QUICK, measurements)
    assert (claim.value, claim.baseline) == (3.0, 2.0)
    assert (claim.seeds, claim.spread) == ((0, 1), (2.0, 4.0))
    assert claim.against == "doing nothing"


def test_no_verdict_stands_on_values_of_which_some_have_no_baseline():
    measured = [Measurement("faster", 9, baseline=3.0), Measurement("faster", 9)]
    claim = judge(card_with(Bar(at_least=1)), Scale.QUICK, measured)[0]
    assert claim.verdict is Verdict.NOT_MEASURED
    assert "without their baseline" in claim.reason


def test_a_scale_without_a_bar_measures_nothing_and_says_so():
    card = card_with(Bar(at_least=1))
    [claim] = judge(card, Scale.FULL, [Measurement("faster", 9.0)])
    assert (claim.verdict, claim.reason) == (Verdict.NOT_MEASURED, "the card has no bar at full")
