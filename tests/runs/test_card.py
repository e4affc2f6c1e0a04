"""A card says what a paper claims; one that could say nothing, or anything, is refused."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from paperround.errors import CardError
from paperround.runs.card import Bar, Card, Scale, card_sha256, read_card

CLAIM = """
[[claims]]
id = "faster"
says = "It is faster."
metric = "times faster"
reported = 3.1
baseline = "doing nothing"
where = "Table 1"
[claims.bars.quick]
at_least = 1.5
[claims.bars.standard]
at_least = 2
"""
CARD = (
    """
slug = "little"
paper = "2601.00001"
title = "A little paper"
family = "tests"
summary = "Nothing is measured here that matters."
names = ["nothing"]
use = "import math"

[scales.quick]
about = "a moment"
[scales.standard]
about = "a moment longer"
[scales.full]
about = "eight GPUs"
runs_here = false
"""
    + CLAIM
)


@pytest.fixture
def card_path(tmp_path):
    return tmp_path / "card.toml"


def test_a_card_that_is_whole_is_read(card_path):
    card_path.write_text(CARD, encoding="utf-8")
    card = read_card(card_path)
    assert card.claim("faster").bars[Scale.STANDARD].at_least == 2
    assert card.scales[Scale.QUICK].seeds == (0, 1, 2)
    assert not card.scales[Scale.FULL].runs_here


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[claims.bars.standard]\nat_least = 2\n", "", "claim 'faster' has no bar at standard"),
        ("at_least = 1.5", "atleast = 1.5", "claim 'faster' bars.quick.atleast: Extra inputs"),
        ("at_least = 1.5", "why = 'so'", "claim 'faster' bars.quick: .*write at_least or at_most"),
        ("at_least = 1.5", "at_least = inf", "claim 'faster' bars.quick.at_least: .*finite"),
        ("at_least = 1.5", "at_least = nan", "claim 'faster' bars.quick.at_least: .*finite"),
        (
            "at_least = 1.5",
            "at_least = 2.0\nat_most = 1.0",
            "claim 'faster' bars.quick: .*nothing can meet this bar",
        ),
        (
            "at_least = 1.5",
            "at_least = 1.5\nnot_measured = 'why not'",
            "claim 'faster' bars.quick: .*or not_measured",
        ),
        ("at_least = 1.5", "not_measured = ''", "claim 'faster' bars.quick.not_measured"),
        ('says = "It is faster."', 'says = " "', "claim 'faster' says: "),
        ('id = "faster"', "", "claim number 1 id: Field required"),
        ('where = "Table 1"', 'where = "Table 1"\nbar = 3', "claim 'faster' bar: Extra inputs"),
        ("[[claims]]", CLAIM + "[[claims]]", "claims with the same id: faster"),
        (
            'about = "a moment"',
            'about = "a moment"\ntime_limit_s = 61',
            "the quick scale's time_limit_s is above 60",
        ),
        (
            'about = "a moment longer"',
            'about = "a moment longer"\ntime_limit_s = 901',
            "the standard scale's time_limit_s is above 900",
        ),
        ('about = "a moment"', 'about = "a moment"\nseeds = [1, 1]', "scales.quick: .*once each"),
        ('about = "a moment"', 'about = "a moment"\nseeds = []', "scales.quick: .*at least one"),
        ('about = "a moment"', 'about = "a moment"\nmemory = 1', "scales.quick.memory: Extra"),
        ('[scales.full]\nabout = "eight GPUs"\nruns_here = false', "", r"no \[scales.full\]"),
        ('slug = "little"', 'slug = "Not A Slug"', "slug: "),
        ('family = "tests"', 'family = "tests"\nfamliy = "x"', "famliy: Extra inputs"),
        ('slug = "little"', "slug = ", "Invalid value"),
    ],
)
def test_a_card_with_a_fault_is_refused_with_the_place(card_path, old, new, says):
    assert old in CARD
    card_path.write_text(CARD.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(CardError, match=says):
        read_card(card_path)


def test_a_missing_or_unreadable_card_names_its_file(card_path):
    with pytest.raises(CardError, match=r"card\.toml"):
        read_card(card_path)
    card_path.write_bytes(b"\xff\xfe")
    with pytest.raises(CardError, match=r"card\.toml"):
        read_card(card_path)


def test_an_unknown_claim_is_refused_with_the_known_ones():
    card = Card.model_validate(tomllib.loads(CARD))
    with pytest.raises(CardError, match="no claim 'smaller'; it has faster"):
        card.claim("smaller")


@pytest.mark.parametrize(
    ("bar", "text"),
    [
        (Bar(at_least=1.5), "≥ 1.5"),
        (Bar(at_most=0.25), "≤ 0.25"),
        (Bar(at_least=1, at_most=2), "≥ 1 and ≤ 2"),
        (Bar(at_least=1.5, aggregate="min"), "≥ 1.5 in every seed"),
        (Bar(at_most=1.5, aggregate="max"), "≤ 1.5 in every seed"),
        (Bar(at_least=1.5, aggregate="max"), "≥ 1.5 (max)"),
        (Bar(at_least=1.5, aggregate="median"), "≥ 1.5 (median)"),
        (Bar(not_measured="no time"), "–"),
    ],
)
def test_a_bar_reads_as_a_person_would_say_it(bar, text):
    assert str(bar) == text


@given(
    at_least=st.none() | st.floats(),
    at_most=st.none() | st.floats(),
    reason=st.none() | st.just("no time"),
)
def test_every_bar_either_can_be_met_or_says_why_it_is_not_measured(at_least, at_most, reason):
    try:
        bar = Bar(at_least=at_least, at_most=at_most, not_measured=reason)
    except ValidationError:
        return
    limits = [limit for limit in (bar.at_least, bar.at_most) if limit is not None]
    assert bool(limits) != bool(bar.not_measured)
    assert all(limit - limit == 0 for limit in limits)
    assert limits == sorted(limits)


@pytest.mark.parametrize(
    ("old", "new", "is_other"),
    [
        ('says = "It is faster."', 'says = "It is much faster."', False),
        ('about = "a moment"', 'about = "a while"', False),
        ("reported = 3.1", "reported = 3.2", False),
        ("at_least = 1.5", "at_least = 1.4", True),
        ("at_least = 1.5", 'at_least = 1.5\naggregate = "min"', True),
        ('id = "faster"', 'id = "swifter"', True),
        ('baseline = "doing nothing"', 'baseline = "doing little"', True),
        ('about = "a moment"', 'about = "a moment"\nseeds = [3, 4, 5]', True),
    ],
)
def test_a_checksum_changes_with_what_is_measured_and_not_with_the_words(old, new, is_other):
    assert old in CARD
    before = Card.model_validate(tomllib.loads(CARD))
    after = Card.model_validate(tomllib.loads(CARD.replace(old, new, 1)))
    assert (card_sha256(before) != card_sha256(after)) is is_other
