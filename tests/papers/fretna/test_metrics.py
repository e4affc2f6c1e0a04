"""Steadiness and lag, by cases worked out by hand and by what holds for every stream."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.fretna.evaluation import by_position, mean_from, score, slope, timed
from paperround.papers.fretna.metrics import (
    average_lagging,
    clicks_and_edits,
    erasures,
    normalized_click_n_edit,
    normalized_erasure,
    settled_at,
)
from paperround.papers.fretna.streaming import Stream

WORDS = st.lists(st.sampled_from("abcd"), max_size=6)
STREAMS = st.lists(WORDS, min_size=1, max_size=6)


def levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        before, row = row, [i]
        for j, y in enumerate(b, start=1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


@given(WORDS, WORDS)
def test_appending_costs_nothing(words, more):
    assert clicks_and_edits(words, words + more) == (0, 0)
    stream = [words[:1], words, words + more]
    assert erasures(stream) == 0
    assert normalized_erasure(stream) == normalized_click_n_edit(stream) == 0


@given(WORDS, WORDS)
def test_edits_are_the_distance_to_the_nearest_beginning(before, after):
    clicks, edits = clicks_and_edits(before, after)
    assert edits == min(levenshtein(before, after[:n]) for n in range(len(after) + 1))
    assert (clicks == 0) == (edits == 0)
    assert clicks <= edits


@given(STREAMS)
def test_names_of_words_do_not_matter(stream):
    renamed = [[ord(word) * 7 for word in words] for words in stream]
    assert normalized_erasure(stream) == normalized_erasure(renamed)
    assert normalized_click_n_edit(stream) == normalized_click_n_edit(renamed)
    assert settled_at(stream) == settled_at(renamed)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_one_changed_first_word_is_erased_with_all_after_it_but_edited_once(n):
    rest = [f"w{i}" for i in range(n - 1)]
    stream = [["x", *rest], ["y", *rest]]
    assert normalized_erasure(stream) == 1
    assert normalized_click_n_edit(stream) == 2 / n


@pytest.mark.parametrize(
    ("before", "after", "clicks", "edits"),
    [
        ("abcd", "xbyd", 2, 2),
        ("abcd", "axyd", 1, 2),
        ("abcd", "ad", 1, 2),
        ("ab", "axb", 1, 1),
        ("abcd", "", 1, 4),
        ("", "abc", 0, 0),
        ("ab", "xbzzz", 1, 1),
        # Two deletions of three equal words can stand side by side.
        ("aaab", "ab", 1, 2),
    ],
)
def test_clicks_are_places_and_edits_are_words(before, after, clicks, edits):
    assert clicks_and_edits(before, after) == (clicks, edits)


def test_what_is_taken_back_from_nothing_left_is_without_bound():
    assert normalized_erasure([["a"], []]) == math.inf
    assert normalized_erasure([[], []]) == 0
    assert normalized_erasure([]) == 0


@given(STREAMS)
def test_a_settled_prefix_stays_and_was_another_before(stream):
    last = stream[-1]
    for t, update in enumerate(settled_at(stream), start=1):
        assert all(words[:t] == last[:t] for words in stream[update - 1 :])
        assert update == 1 or stream[update - 2][:t] != last[:t]


@given(STREAMS)
def test_a_longer_prefix_settles_no_sooner(stream):
    g = settled_at(stream)
    assert g == sorted(g)
    assert len(g) == len(stream[-1])


@pytest.mark.parametrize("n", [1, 4, 9])
def test_an_offline_system_lags_by_the_whole_source(n):
    assert average_lagging([[]] * (n - 1) + [["w"] * 5]) == n


@pytest.mark.parametrize(("n", "k"), [(6, 1), (6, 3), (6, 6), (9, 4)])
def test_wait_k_lags_by_k_where_lengths_are_equal(n, k):
    words = [f"w{i}" for i in range(n)]
    stream = [words[: max(0, i - k + 1)] for i in range(1, n)] + [words]
    assert average_lagging(stream) == pytest.approx(k)


def test_a_word_that_changes_late_makes_all_after_it_late():
    steady = [["a"], ["a", "b"], ["a", "b", "c"]]
    late = [["x"], ["x", "b"], ["a", "b", "c"]]
    assert average_lagging(steady) == 1
    assert average_lagging(late) == 3
    with pytest.raises(ValueError, match="without a last translation"):
        average_lagging([["a"], []])


def test_a_corpus_is_scored_over_all_its_words():
    streams = [
        Stream((("a",), ("b", "c")), (3, 5)),
        Stream((("d",), ("d", "e")), (1, 1)),
    ]
    scores = score(streams, ["b c", "d e"])
    # One word of the four was taken back, in one place.
    assert scores.erasure == 1 / 4
    assert scores.click_n_edit == 2 / 4
    assert scores.passes == 2.5
    assert (scores.n_words, scores.empty) == (4, 0)
    assert scores.chrf == pytest.approx(100)
    empty = score([Stream((("a",), ()), (1, 1))], ["a"])
    assert (empty.n_words, empty.empty, empty.bleu, empty.erasure) == (0, 1, 0, 1)
    assert math.isnan(empty.lag)


def test_growth_is_the_slope_over_all_updates():
    assert slope([[1, 2, 3], [1, 2]]) == pytest.approx(1)
    assert slope([[4, 4, 4]]) == pytest.approx(0)
    with pytest.raises(ValueError, match="no slope"):
        slope([[1], [2]])
    assert mean_from([[9, 9, 1], [9, 9, 3, 5]], 3) == 3
    with pytest.raises(ValueError, match="4 source words"):
        mean_from([[1, 2, 3]], 4)
    assert by_position([[1, 2], [3]], at_least=1) == [(1, 2), (2, 2)]
    assert by_position([[1, 2], [3]], at_least=2) == [(1, 2)]


def test_all_arms_take_every_source_in_turn_after_one_for_warmth():
    order = []

    def arm(name):
        def run(source):
            order.append((name, source))
            return [0.5]

        return run

    found = timed({"a": arm("a"), "b": arm("b")}, ["x", "y"])
    assert found == {"a": [[0.5], [0.5]], "b": [[0.5], [0.5]]}
    assert order == [(n, s) for s in ("x", "x", "y") for n in "ab"]
