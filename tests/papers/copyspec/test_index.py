"""The table of what occurred before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.copyspec import CopyIndex

texts = st.lists(st.integers(0, 3), max_size=60)
gammas = st.integers(1, 6)
policies = st.sampled_from(["first", "last", "longest"])


def an_index(tokens: list[int], gamma: int = 2, policy: str = "first") -> CopyIndex:
    index = CopyIndex(gamma, policy)
    index.extend(tokens)
    return index


def earlier_starts(tokens: list[int], gamma: int) -> list[int]:
    """Where the last gamma tokens occurred before, straight from the definition."""
    suffix = tokens[len(tokens) - gamma :]
    return [s for s in range(len(tokens) - gamma) if tokens[s : s + gamma] == suffix]


def test_what_followed_the_suffix_is_proposed() -> None:
    assert an_index([5, 6, 7, 8, 9, 5, 6]).propose(3) == [7, 8, 9]


def test_a_copy_may_reach_the_end_of_the_text_and_no_further() -> None:
    assert an_index([5, 6, 7, 5, 6]).propose(10) == [7, 5, 6]


def test_first_and_last_differ_where_a_run_occurs_twice() -> None:
    tokens = [1, 2, 7, 1, 2, 8, 1, 2]
    assert an_index(tokens).propose(1) == [7]
    assert an_index(tokens, policy="last").propose(1) == [8]


def test_longest_prefers_the_occurrence_with_the_same_past() -> None:
    tokens = [9, 1, 2, 7, 4, 1, 2, 8, 4, 1, 2]
    assert an_index(tokens, policy="longest").propose(1) == [8]


def test_nothing_is_proposed_where_the_suffix_is_new() -> None:
    assert an_index([1, 2, 3, 4]).propose(10) == []


@pytest.mark.parametrize("n_tokens", range(4))
def test_a_text_shorter_than_gamma_proposes_nothing(n_tokens: int) -> None:
    assert an_index([7] * n_tokens, gamma=4).propose(10) == []


def test_no_tokens_are_proposed_where_none_are_asked_for() -> None:
    assert an_index([1, 2, 1, 2]).propose(0) == []


@pytest.mark.parametrize("gamma", [0, -1])
def test_gamma_below_one_is_refused(gamma: int) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        CopyIndex(gamma)


def test_an_unknown_policy_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="first, last, longest"):
        CopyIndex(3, "best")  # type: ignore[arg-type]


def test_a_negative_number_of_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        CopyIndex(3).propose(-1)


def test_sources_are_copied_from() -> None:
    index = CopyIndex(2, sources=[[1, 2, 3, 4], [5, 6, 7]])
    index.extend([9, 5, 6])
    assert index.propose(10) == [7]
    index.extend([1, 2])
    assert index.propose(10) == [3, 4]


def test_no_match_crosses_from_one_text_into_another() -> None:
    index = CopyIndex(2, sources=[[1, 2], [3, 4]])
    index.extend([4, 9, 2, 3])
    assert index.propose(10) == []


@given(texts, gammas, policies, st.integers(1, 12))
def test_a_proposal_follows_an_earlier_occurrence(
    tokens: list[int], gamma: int, policy: str, n_tokens: int
) -> None:
    proposed = an_index(tokens, gamma, policy).propose(n_tokens)
    starts = earlier_starts(tokens, gamma) if len(tokens) >= gamma else []
    # The suffix's own position is not among the starts: nothing follows it.
    assert proposed in [tokens[s + gamma : s + gamma + n_tokens] for s in starts] or (
        not proposed and not starts
    )


@given(texts, gammas, st.integers(1, 12))
def test_first_and_last_are_the_outermost_occurrences(
    tokens: list[int], gamma: int, n_tokens: int
) -> None:
    starts = earlier_starts(tokens, gamma) if len(tokens) >= gamma else []
    for policy, which in (("first", 0), ("last", -1)):
        begin = starts[which] + gamma if starts else len(tokens)
        wanted = tokens[begin : begin + n_tokens]
        assert an_index(tokens, gamma, policy).propose(n_tokens) == wanted


@given(texts, gammas)
def test_longest_has_no_rival_with_a_longer_past(tokens: list[int], gamma: int) -> None:
    def past(start: int) -> int:
        n, own = 0, len(tokens) - gamma
        while n < min(start, 32) and tokens[start - 1 - n] == tokens[own - 1 - n]:
            n += 1
        return n

    starts = earlier_starts(tokens, gamma) if len(tokens) >= gamma else []
    proposed = an_index(tokens, gamma, "longest").propose(5)
    if not starts:
        assert proposed == []
        return
    best = max(starts, key=past)
    assert proposed == tokens[best + gamma : best + gamma + 5]


@given(st.lists(texts, max_size=8), gammas, policies)
def test_an_index_grown_step_by_step_is_the_one_built_at_once(
    pieces: list[list[int]], gamma: int, policy: str
) -> None:
    grown = CopyIndex(gamma, policy)
    so_far: list[int] = []
    for piece in pieces:
        grown.extend(piece)
        so_far += piece
        rebuilt = an_index(so_far, gamma, policy)
        assert grown.occurrences() == rebuilt.occurrences()
        assert grown.propose(10) == rebuilt.propose(10)
        assert list(grown.tokens) == so_far
        assert len(grown) == len(so_far)
