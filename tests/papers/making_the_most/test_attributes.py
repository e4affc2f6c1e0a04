"""Attributes: what holds of a finished text, and what a prefix can no longer become."""

from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.making_the_most.attributes import (
    Anything,
    Extensions,
    Labelled,
    Length,
    NonDegenerate,
)


def loops(tokens, max_repeats, max_period):
    """Straight from the definition: some run stands more than max_repeats times in a row."""
    n = max_repeats + 1
    return any(
        tokens[start : start + period * n] == tokens[start : start + period] * n
        for period in range(1, max_period + 1)
        for start in range(len(tokens) - period * n + 1)
    )


@given(
    st.lists(st.integers(0, 2), max_size=14),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(0, 4),
    st.booleans(),
)
def test_a_text_is_degenerate_if_it_is_too_short_or_loops(tokens, repeats, period, least, ended):
    attribute = NonDegenerate(least, repeats, period)
    expected = len(tokens) >= least and not loops(tokens, repeats, period)
    assert attribute.holds(tokens, ended) == expected
    assert NonDegenerate(least, repeats, period, must_end=True).holds(tokens, ended) == (
        expected and ended
    )


@given(st.lists(st.integers(0, 2), max_size=10), st.integers(1, 3), st.integers(1, 4))
def test_a_token_is_impossible_exactly_where_it_completes_a_loop(tokens, repeats, period):
    attribute = NonDegenerate(0, repeats, period)
    if not attribute.holds(tokens, True):
        return
    extensions = Extensions(
        torch.tensor([tokens], dtype=torch.long).view(1, -1), torch.tensor([[0, 1, 2]])
    )
    possible = attribute.log_probs(extensions)[0].isfinite().tolist()
    assert possible == [attribute.holds([*tokens, word], True) for word in range(3)]


@pytest.mark.parametrize(
    ("tokens", "holds"),
    [
        ([7, 7, 7], True),
        ([7, 7, 7, 7], False),
        ([1, 7, 7, 7, 7, 2], False),
        ([1, 2] * 3, True),
        ([1, 2] * 4, False),
        ([1, 2, 3] * 4, False),
        ([], False),
    ],
)
def test_three_times_in_a_row_is_allowed_by_default(tokens, holds):
    assert NonDegenerate().holds(tokens, True) is holds


def test_a_length_counts_what_stands_before_the_end():
    for n, n_tokens, ended in product(range(3), range(4), (False, True)):
        assert Length(n).holds([5] * n_tokens, ended) == (ended and n == n_tokens)
    Length(2).check(3)
    with pytest.raises(ValueError, match="max_new_tokens=3"):
        Length(2).check(2)
    NonDegenerate(2).check(2)
    with pytest.raises(ValueError, match="max_new_tokens=3"):
        NonDegenerate(2, must_end=True).check(2)


def test_a_label_is_a_function_of_the_finished_text():
    attribute = Labelled(lambda tokens, ended: ended and 3 in tokens)
    attribute.check(1)
    assert attribute.holds([3], True)
    assert not attribute.holds([3], False)
    assert not attribute.needs_hidden_states
    assert Anything().holds([], False)
