"""Repetition: n-grams, sentences and loops, with values worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.ditto.metrics import (
    ends_in_loop,
    longest_loop,
    rep_n,
    rep_sen,
    repeats_previous,
    repetition_metrics,
)

tokens = st.lists(st.integers(0, 3), max_size=30)


@given(st.integers(1, 60), st.integers(1, 4))
def test_of_different_tokens_nothing_repeats(m, n):
    assert rep_n(list(range(m)), n) == 0


@given(st.integers(4, 60), st.integers(1, 4))
def test_of_one_token_again_and_again_one_ngram_is_new(m, n):
    assert rep_n([7] * m, n) == pytest.approx(1 - 1 / (m - n + 1))


@given(tokens, st.integers(1, 4))
def test_what_repeats_and_what_is_distinct_add_up_to_all(found, n):
    share = rep_n(found, n)
    assert 0 <= share < 1
    if found:
        whole = repetition_metrics([found])
        assert whole.rep_n[n] + whole.distinct_n[n] == pytest.approx(1)


def test_texts_are_split_at_blanks():
    # a b a b: pairs ab, ba, ab
    assert rep_n("a b a b", 2) == pytest.approx(1 / 3)


def test_sentences_that_come_again_are_counted():
    # a. b. a. and an unfinished one: two different of three
    assert rep_sen("It rains . It snows . It rains . It") == pytest.approx(1 / 3)
    assert rep_sen([5, 6, 1, 5, 6, 1, 5], ends={1}) == pytest.approx(1 / 2)
    assert rep_sen("no end mark") == 0


def test_a_sentence_like_the_one_before_is_told_from_one_further_back():
    assert repeats_previous("a . a . b . a .") == (1, 3)


def test_the_longest_loop_is_found_with_its_period():
    loop = longest_loop([9, 8, 1, 2, 3, 1, 2, 3, 1, 2, 7])
    assert (loop.start, loop.period, loop.n_tokens, loop.copies) == (2, 3, 8, 2)


def test_a_loop_of_one_token_has_period_one():
    loop = longest_loop([4] * 10)
    assert (loop.period, loop.copies) == (1, 10)


def test_without_a_loop_there_is_one_copy():
    assert longest_loop([1, 2, 3]).copies == 1
    assert longest_loop([]).n_tokens == 0


@given(tokens)
def test_a_loop_repeats_with_its_period_and_no_longer_one_exists(found):
    loop = longest_loop(found)
    part = found[loop.start : loop.start + loop.n_tokens]
    assert len(part) == loop.n_tokens
    assert part[loop.period :] == part[: len(part) - loop.period]
    for period in range(1, len(found) // 2 + 1):
        for start in range(len(found)):
            for stop in range(start + 2 * period, len(found) + 1):
                piece = found[start:stop]
                if piece[period:] == piece[:-period]:
                    assert len(piece) <= loop.n_tokens


def test_a_text_ends_in_a_loop_when_its_tail_repeats():
    loop = list(range(24)) * 2
    assert ends_in_loop([99] * 5 + loop)
    assert not ends_in_loop(list(range(25)) * 2)
    # Too short to tell, and a tail that broke out at its last token.
    assert not ends_in_loop([1] * 47)
    assert not ends_in_loop([1] * 60 + [2])


def test_means_are_over_continuations():
    whole = repetition_metrics([[1] * 50, list(range(50))], ends={999})
    assert whole.loop_share == 0.5
    assert whole.rep_n[4] == pytest.approx((1 - 1 / 47) / 2)
    assert whole.loop_copies == pytest.approx((50 + 1) / 2)
    with pytest.raises(ValueError, match="no continuations"):
        repetition_metrics([])


def test_n_below_one_is_refused():
    with pytest.raises(ValueError, match="n is 0"):
        rep_n([1, 2], 0)
