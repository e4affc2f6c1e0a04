"""The tilings, held against the theory and against figures of the official program."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers.quasicryth import plain
from paperround.papers.quasicryth.tilings import (
    GOLDEN,
    MULTI,
    PERIOD_5,
    PHI,
    SPANS,
    AutomaticTiling,
    PeriodicTiling,
    Tiling,
    available,
    collapse_level,
    deflate,
    expected_positions,
    factor_complexity,
    hierarchy,
    positions,
    tile,
)

# The first call of a function may compile it.
relaxed = settings(deadline=None, max_examples=40)

golden_phases = st.floats(0, 1, exclude_max=True).map(lambda phase: Tiling(phase=phase))
any_tiling = st.one_of(
    golden_phases,
    st.builds(Tiling, st.floats(0.05, 0.95), st.floats(0, 1, exclude_max=True)),
    st.builds(PeriodicTiling, st.text("LS", min_size=1, max_size=9), st.integers(0, 20)),
    st.sampled_from(
        [
            AutomaticTiling(name)
            for name in ("thue-morse", "rudin-shapiro", "period-doubling", "sanddrift")
        ]
    ),
)


def letters(tiling, n_words):
    return "".join("SL"[symbol] for symbol in tile(tiling, n_words).is_long)


def counts(tiling, n_words):
    levels = hierarchy(tiling, n_words)
    return [len(positions(level, number)) for number, level in enumerate(levels)]


def test_the_first_tiles_are_those_of_the_paper():
    assert letters(GOLDEN[0], 40) == "SLSLLSLSLLSLLSLSLLSLSLLSL"
    assert letters(GOLDEN[1], 40) == "LSLLSLSLLSLLSLSLLSLSLLSLS"
    assert letters(PERIOD_5[0], 16) == "LLSLSLLSLS"


def test_there_are_36_tilings_of_which_12_are_golden():
    assert len(MULTI) == 36
    assert MULTI[:12] == GOLDEN
    assert all(tiling.alpha == 1 / PHI for tiling in GOLDEN)
    assert MULTI[12].alpha == math.sqrt(58) - 7


@pytest.mark.parametrize(
    ("tiling", "n_words", "expected"),
    [
        (GOLDEN[0], 1_000, [382, 235, 146, 89, 56, 33, 21, 12, 8, 4]),
        (
            GOLDEN[0],
            100_000,
            [38196, 23607, 14589, 9017, 5572, 3444, 2128, 1315, 813, 502],
        ),
        (PERIOD_5[0], 1_000, [375, 250, 124, 124, 0, 0, 0, 0, 0, 0]),
        (PERIOD_5[0], 100_000, [37500, 25000, 12499, 12499, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_positions_per_level_are_the_official_programs(tiling, n_words, expected):
    assert counts(tiling, n_words) == expected


@relaxed
@given(golden_phases)
def test_every_level_of_a_golden_tiling_covers_the_same_share(tiling):
    for number, n in enumerate(counts(tiling, 30_000)[1:], start=1):
        # A level's count is off by at most a few, whatever its size.
        assert abs(n - expected_positions(number, 30_000)) < 6


@relaxed
@given(golden_phases, st.integers(2, 3_000))
def test_a_golden_tiling_has_no_two_short_and_no_three_long_tiles_together(tiling, n_words):
    inner = letters(tiling, n_words)[:-2]
    assert "SS" not in inner
    assert "LLL" not in inner


@relaxed
@given(golden_phases)
def test_long_and_short_tiles_are_in_golden_ratio(tiling):
    is_long = tile(tiling, 20_000).is_long
    n_long = int(is_long.sum())
    assert abs(n_long - len(is_long) / PHI) < 3


@relaxed
@given(golden_phases, st.integers(1, 30))
def test_a_golden_tiling_has_n_plus_1_factors_of_length_n(tiling, n):
    assert factor_complexity(tiling.symbols(20_000), n) == n + 1


@relaxed
@given(golden_phases)
def test_a_golden_tiling_deflates_to_golden_tilings_at_every_level(tiling):
    for number, level in enumerate(hierarchy(tiling, 60_000)):
        symbols = "".join("SL"[symbol] for symbol in level.is_long)
        # The ends are cut by the text, and each level is cut a little further in.
        cut = slice(number + 3, -number - 3)
        inner = symbols[cut]
        assert "SS" not in inner
        assert "LLL" not in inner
        widths = level.widths[cut][level.is_long[cut] == 1]
        assert set(widths.tolist()) <= {SPANS[number]}


def test_period_5_deflates_to_nothing():
    level = tile(PERIOD_5[0], 4_000)
    patterns = []
    for _ in range(5):
        patterns.append("".join("SL"[symbol] for symbol in level.is_long[5:25]))
        level = deflate(level)
    assert "SS" not in patterns[0]
    assert set(patterns[3]) == {"L"}
    assert set(patterns[4]) == {"S"}
    assert collapse_level(PERIOD_5[0], 4_000) == 4
    assert collapse_level(GOLDEN[0], 4_000) is None


@relaxed
@given(st.text("LS", min_size=1, max_size=12))
def test_every_periodic_tiling_ends(pattern):
    # 50,000 words hold every level of the golden tiling many times over.
    assert collapse_level(PeriodicTiling(pattern), 50_000) is not None or pattern.count("L") >= 8


@relaxed
@given(any_tiling, st.integers(0, 400))
def test_tiles_cover_every_word_once(tiling, n_words):
    for level in hierarchy(tiling, n_words):
        assert int(level.widths.sum()) == n_words
        assert (level.widths >= 1).all()


@relaxed
@given(any_tiling, st.integers(0, 700))
def test_fast_positions_are_those_of_climbing_from_every_tile(tiling, n_words):
    mask = available([tiling], n_words)
    slow = plain.positions_of_tiling(tiling.symbols(n_words).tolist(), n_words)
    levels = hierarchy(tiling, n_words)
    for number in range(1, len(SPANS)):
        fast = set(np.flatnonzero(mask & (1 << number)).tolist())
        assert fast == slow[number]
        assert fast == set(positions(levels[number], number).tolist())


def test_several_tilings_allow_what_any_of_them_allows():
    both = available(GOLDEN[:2], 500)
    assert (both == (available(GOLDEN[:1], 500) | available(GOLDEN[1:2], 500))).all()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Tiling(alpha=1.0),
        lambda: Tiling(phase=1.0),
        lambda: PeriodicTiling(""),
        lambda: PeriodicTiling("LX"),
        lambda: AutomaticTiling("penrose"),
    ],
)
def test_what_is_no_tiling_is_refused(make):
    with pytest.raises(UsageError):
        make()
