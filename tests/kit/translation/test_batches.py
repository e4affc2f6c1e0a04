"""What one update sees."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.kit.translation import (
    Encoded,
    batches_by_tokens,
    begin_words,
    cut_to_prefix,
    encode_pairs,
)

# Even ids begin a word here; 0 pads and 1 ends a text.
BEGINNINGS = frozenset(range(2, 100, 2))
PIECES = st.lists(st.integers(2, 99), min_size=1, max_size=12)


def one_epoch(pairs, **options):
    """The batches in which every pair has come once."""
    seen = 0
    for batch in batches_by_tokens(pairs, pad=0, **options):
        yield batch
        seen += len(batch.source)
        if seen >= len(pairs):
            return


def rows(batch):
    for source, length, target, target_length in zip(
        batch.source.tolist(),
        batch.source_mask.sum(1).tolist(),
        batch.target.tolist(),
        batch.target_mask.sum(1).tolist(),
        strict=True,
    ):
        assert set(source[length:]) | set(target[target_length:]) <= {0}
        yield source[:length], target[:target_length]


@given(st.lists(st.tuples(PIECES, PIECES), min_size=1, max_size=40), st.integers(1, 200))
def test_every_pair_comes_once_an_epoch_within_the_budget(texts, batch_tokens):
    pairs = [Encoded([*source, 1], [*target, 1]) for source, target in texts]
    found = []
    for batch in one_epoch(pairs, batch_tokens=batch_tokens, seed=3):
        assert len(batch.source) == 1 or (
            batch.source.numel() + batch.target.numel() <= batch_tokens
        )
        found += list(rows(batch))
    assert sorted(found) == sorted((source, target) for source, target in pairs)


@given(PIECES, PIECES, st.floats(0, 1))
def test_a_prefix_has_whole_first_words_and_says_that_it_is_not_the_end(source, target, share):
    whole = Encoded([*source, 1], [*target, 1])
    cut = cut_to_prefix(whole, share, BEGINNINGS)
    assert cut.target[-1] == 1
    if cut is whole:
        return
    assert cut.source == source[: len(cut.source)]
    assert cut.target[:-1] == target[: len(cut.target) - 1]
    assert source[len(cut.source)] in BEGINNINGS
    after = len(cut.target) - 1
    assert after == len(target) or target[after] in BEGINNINGS


def test_a_share_of_the_words_is_rounded_up_on_both_sides():
    whole = Encoded([2, 3, 4, 6, 8, 1], [10, 12, 13, 14, 1])
    assert cut_to_prefix(whole, 0.5, BEGINNINGS) == ([2, 3, 4], [10, 12, 13, 1])
    assert cut_to_prefix(whole, 0.51, BEGINNINGS) == ([2, 3, 4, 6], [10, 12, 13, 1])
    assert cut_to_prefix(whole, 0.0, BEGINNINGS) == ([2, 3], [10, 1])
    assert cut_to_prefix(whole, 1.0, BEGINNINGS) is whole


def test_the_share_of_prefixes_is_what_was_asked_for(tokenizer, pairs):
    encoded = encode_pairs(tokenizer, pairs)
    end = tokenizer.eos_token_id

    def share(prefix_share):
        batches = one_epoch(
            encoded,
            batch_tokens=200,
            seed=0,
            prefix_share=prefix_share,
            beginnings=begin_words(tokenizer),
        )
        found = [source[-1] != end for batch in batches for source, _ in rows(batch)]
        return sum(found) / len(found)

    assert share(0.0) == 0
    # A source of n words stays whole with 1 / n, here n is 1 to 4: (1/2 + 2/3 + 3/4) / 4 are cut.
    assert share(1.0) == pytest.approx(0.479, abs=0.06)
    assert share(0.5) == pytest.approx(0.24, abs=0.06)


def test_a_seed_gives_its_own_order_and_the_same_one_again(tokenizer, pairs):
    encoded = encode_pairs(tokenizer, pairs)

    def first(seed):
        batches = batches_by_tokens(encoded, 100, pad=0, seed=seed)
        return [batch.source.tolist() for batch in itertools.islice(batches, 5)]

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_long_pairs_are_left_out_where_asked_and_nothing_to_learn_from_is_refused(tokenizer, pairs):
    encoded = encode_pairs(tokenizer, pairs, longest=6)
    assert 0 < len(encoded) < len(pairs)
    assert max(len(side) for pair in encoded for side in pair) == 7
    assert encode_pairs(tokenizer, []) == []
    with pytest.raises(ValueError, match="no pairs"):
        next(batches_by_tokens([], 10, pad=0, seed=0))
