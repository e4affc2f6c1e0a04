"""What the oracle says to insert and to delete makes the target, with the fewest edits."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperround.kit.translation import padded
from paperround.papers.fretna.oracle import (
    align,
    deletion_labels,
    insert_placeholders,
    insertion_labels,
    masked_target,
    random_subsequence,
    select,
)
from paperround.papers.fretna.plain import kept_places, lcs_length

PAD, BOS, EOS, PLACEHOLDER = 0, 1, 2, 4
# Few different tokens, so that longest common subsequences tie.
TOKENS = st.lists(st.integers(5, 8), max_size=7)
ROWS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=3)


def framed(rows):
    return padded([[BOS, *row, EOS] for row in rows], PAD)


def tensors(rows):
    return (*framed([y for y, _ in rows]), *framed([target for _, target in rows]))


def unframed(rows, mask):
    return [row[1 : n - 1] for row, n in zip(rows.tolist(), mask.sum(1).tolist(), strict=True)]


@given(ROWS)
def test_the_batch_keeps_what_the_definition_keeps(rows):
    y, y_mask, target, target_mask = tensors(rows)
    kept = align(y, y_mask, target, target_mask)
    for row, (tokens, wanted) in zip(kept.tolist(), rows, strict=True):
        framed_y, framed_target = [BOS, *tokens, EOS], [BOS, *wanted, EOS]
        assert row[: len(framed_y)] == kept_places(framed_y, framed_target)
        assert set(row[len(framed_y) :]) <= {-1}


@given(ROWS)
def test_deleting_leaves_a_longest_common_subsequence_and_both_ends(rows):
    y, y_mask, target, target_mask = tensors(rows)
    gone = deletion_labels(y, y_mask, target, target_mask)
    for labels, (tokens, wanted) in zip(gone.tolist(), rows, strict=True):
        assert labels[0] == labels[len(tokens) + 1] == 0
        assert set(labels[len(tokens) + 2 :]) <= {0}
        kept = [t for t, label in zip(tokens, labels[1:], strict=False) if not label]
        assert len(kept) == lcs_length(tokens, wanted) == lcs_length(kept, wanted)


@given(st.lists(st.tuples(TOKENS, st.integers(0, 2**7 - 1)), min_size=1, max_size=3))
def test_insertions_and_the_true_tokens_make_the_target_of_any_subsequence(rows):
    targets, bits = zip(*rows, strict=True)
    parts = [
        [token for i, token in enumerate(target) if which >> i & 1]
        for target, which in zip(targets, bits, strict=True)
    ]
    y, y_mask, target, target_mask = tensors(list(zip(parts, targets, strict=True)))
    counts = insertion_labels(y, y_mask, target, target_mask)
    assert counts.shape == (len(rows), y.shape[1] - 1)
    longer, mask = insert_placeholders(y, y_mask, counts, PAD, PLACEHOLDER)
    gaps = masked_target(y, y_mask, target, target_mask, PLACEHOLDER)
    assert torch.equal(longer, gaps)
    assert torch.equal(mask, target_mask)
    filled = torch.where(longer == PLACEHOLDER, target, longer)
    assert torch.equal(filled, target)


@given(ROWS)
def test_the_perfect_policy_makes_the_target_and_then_leaves_it(rows):
    y, y_mask, target, target_mask = tensors(rows)
    for _ in range(2):
        gone = deletion_labels(y, y_mask, target, target_mask)
        y, y_mask = select(y, (gone == 0) & y_mask.bool(), PAD)
        counts = insertion_labels(y, y_mask, target, target_mask)
        y, y_mask = insert_placeholders(y, y_mask, counts, PAD, PLACEHOLDER)
        y = torch.where(y == PLACEHOLDER, target, y)
        assert torch.equal(y, target)
    assert not deletion_labels(y, y_mask, target, target_mask).any()
    assert not insertion_labels(y, y_mask, target, target_mask).any()


@given(st.lists(TOKENS, min_size=1, max_size=4), st.integers(0, 99))
def test_random_noise_leaves_a_subsequence_with_both_ends(rows, seed):
    target, target_mask = framed(rows)
    y, mask = random_subsequence(target, target_mask, PAD, torch.Generator().manual_seed(seed))
    again, _ = random_subsequence(target, target_mask, PAD, torch.Generator().manual_seed(seed))
    assert torch.equal(y, again)
    for part, whole, length in zip(unframed(y, mask), rows, mask.sum(1).tolist(), strict=True):
        assert lcs_length(part, whole) == len(part)
        assert 2 <= length <= len(whole) + 2
    assert set(y[:, 0].tolist()) == {BOS}
    assert set(y.gather(1, mask.sum(1, keepdim=True) - 1)[:, 0].tolist()) == {EOS}
    assert set(y[mask == 0].tolist()) <= {PAD}


def test_random_noise_keeps_every_number_of_tokens_equally_often():
    target, mask = framed([[5, 6, 7, 8]] * 4_000)
    _, kept = random_subsequence(target, mask, PAD, torch.Generator().manual_seed(0))
    found = torch.bincount(kept.sum(1) - 2, minlength=5)
    # 0 to 3 of 4 tokens, a quarter each: u < 1, so floor(4 u) is never 4.
    assert found[4] == 0
    assert (found[:4] > 900).all()


def test_inserting_into_a_sequence_with_foreign_tokens_is_refused():
    y, y_mask, target, target_mask = tensors([([5, 9], [5, 6])])
    with pytest.raises(ValueError, match="delete them first"):
        insertion_labels(y, y_mask, target, target_mask)


def test_the_earliest_of_equal_tokens_is_kept():
    y, y_mask, target, target_mask = tensors([([5, 5, 6], [5, 6])])
    assert deletion_labels(y, y_mask, target, target_mask).tolist() == [[0, 0, 1, 0, 0]]
    # By hand: between <s> and 5 nothing, after 5 the missing 7, after 6 the missing 8 and 9.
    y, y_mask, target, target_mask = tensors([([5, 6], [5, 7, 6, 8, 9])])
    assert insertion_labels(y, y_mask, target, target_mask).tolist() == [[0, 1, 2]]
