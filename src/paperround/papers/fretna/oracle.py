"""What to delete from a sequence and where to insert, to make it the target with fewest edits.

The Levenshtein Transformer knows no substitution: a wrong token is deleted and another inserted, so
what is kept is a longest common subsequence. All functions work on whole batches; `plain.py` has
the same for one sequence, straight from the definition.

Legend: y is a sequence (batch, n), y* its target (batch, m), both with `<s>` first, `</s>` last and
padding after it, each with a mask that is 1 where there is no padding.
"""

import torch
from torch import Tensor


def align(y: Tensor, y_mask: Tensor, target: Tensor, target_mask: Tensor) -> Tensor:
    """For each token of y its place in the target, -1 where it is not kept: (batch, n).

    The kept tokens are a longest common subsequence; among several, each token in turn is kept if
    it can be, with the earliest place that it can have.
    """
    n, m = y.shape[1], target.shape[1]
    # (batch, n, m): a token of y and one of y* are the same, and neither is padding.
    same = (
        (y[:, :, None] == target[:, None, :])
        & y_mask.bool()[:, :, None]
        & target_mask.bool()[:, None, :]
    )
    # left[i][:, j]: the longest common subsequence of y[i:] and y*[j:], which is the largest of
    # left[i + 1][:, j] and 1 + left[i + 1][:, j + 1] where tokens agree, over this j and all later.
    left = [y.new_zeros(len(y), m + 1)]
    for i in reversed(range(n)):
        with_match = torch.where(same[:, i], left[-1][:, 1:] + 1, left[-1][:, :-1])
        best = with_match.flip(1).cummax(1).values.flip(1)
        left.append(torch.cat([best, best.new_zeros(len(y), 1)], dim=1))
    left.reverse()
    places = torch.arange(m, device=y.device)
    at = y.new_zeros(len(y))
    kept = torch.full_like(y, -1)
    for i in range(n):
        # The earliest place not before `at` where this token stands; m where there is none.
        earliest = torch.where(same[:, i] & (places >= at[:, None]), places, m).amin(1)
        found = earliest < m
        after = torch.where(found, earliest + 1, at)
        whole = left[i].gather(1, at[:, None])[:, 0]
        keep = found & (left[i + 1].gather(1, after[:, None])[:, 0] + 1 == whole)
        kept[:, i] = torch.where(keep, earliest, kept[:, i])
        at = torch.where(keep, after, at)
    return kept


def deletion_labels(y: Tensor, y_mask: Tensor, target: Tensor, target_mask: Tensor) -> Tensor:
    """1 for each token of y that is to be deleted, 0 for those kept and for padding: (batch, n)."""
    kept = align(y, y_mask, target, target_mask)
    return ((kept < 0) & y_mask.bool()).long()


def insertion_labels(y: Tensor, y_mask: Tensor, target: Tensor, target_mask: Tensor) -> Tensor:
    """How many tokens to insert after each token of y to make it the target: (batch, n - 1).

    Zero after `</s>` and in padding. Raises ValueError where y is no subsequence of its target: it
    has to be rid of other tokens first.
    """
    return gaps_between(align(y, y_mask, target, target_mask), y_mask)


def gaps_between(kept: Tensor, y_mask: Tensor) -> Tensor:
    """`insertion_labels` from what `align` gave."""
    if bool(((kept < 0) & y_mask.bool()).any()):
        raise ValueError("a sequence has tokens that its target has not; delete them first")
    gaps = kept[:, 1:] - kept[:, :-1] - 1
    return gaps.masked_fill(y_mask[:, 1:] == 0, 0)


def masked_target(
    y: Tensor, y_mask: Tensor, target: Tensor, target_mask: Tensor, placeholder: int
) -> Tensor:
    """The target with a placeholder for each token that y has not: (batch, m)."""
    return without(align(y, y_mask, target, target_mask), target, target_mask, placeholder)


def without(kept: Tensor, target: Tensor, target_mask: Tensor, placeholder: int) -> Tensor:
    """`masked_target` from what `align` gave."""
    # One more place, for the tokens that are not kept.
    stands = torch.zeros(len(kept), target.shape[1] + 1, dtype=torch.bool, device=kept.device)
    stands.scatter_(1, torch.where(kept < 0, target.shape[1], kept), True)
    return target.masked_fill(~stands[:, :-1] & target_mask.bool(), placeholder)


def random_subsequence(
    target: Tensor, target_mask: Tensor, pad: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """The target without some of its tokens, and the mask of what is left.

    2 + floor(u (m - 2)) tokens stay, u ~ U(0, 1), among them `<s>` and `</s>`; which others is
    drawn by uniform ranks. Source: Gu, Wang, Zhao, Levenshtein Transformer, 2019, Section 4.1.
    """
    lengths = target_mask.sum(1)
    u = torch.rand(len(target), generator=generator).to(target.device)
    n_kept = 2 + (u * (lengths - 2)).floor().long()
    ranks = torch.rand(target.shape, generator=generator).to(target.device)
    ranks = ranks.masked_fill(target_mask == 0, 2.0)
    # Both ends come first of all.
    ranks[:, 0] = -1.0
    ranks.scatter_(1, (lengths - 1)[:, None], -1.0)
    order = ranks.argsort(1).argsort(1)
    return select(target, order < n_kept[:, None], pad)


def select(y: Tensor, chosen: Tensor, pad: int) -> tuple[Tensor, Tensor]:
    """The chosen tokens of each row in their order, padded on the right, and their mask."""
    lengths = chosen.sum(1)
    # A stable sort of "not chosen" brings the chosen ones to the front, in order.
    order = (~chosen).long().argsort(dim=1, stable=True)[:, : max(int(lengths.max()), 1)]
    mask = torch.arange(order.shape[1], device=y.device) < lengths[:, None]
    return y.gather(1, order).masked_fill(~mask, pad), mask.long()


def insert_placeholders(
    y: Tensor, y_mask: Tensor, counts: Tensor, pad: int, placeholder: int
) -> tuple[Tensor, Tensor]:
    """The rows with `counts` (batch, n - 1) placeholders after each token, and their mask."""
    counts = counts * y_mask[:, 1:]
    lengths = y_mask.sum(1) + counts.sum(1)
    # Where each token goes: its own place, and as many more as were inserted before it.
    shift = torch.cat([counts.new_zeros(len(y), 1), counts.cumsum(1)], dim=1)
    goes_to = torch.arange(y.shape[1], device=y.device) + shift
    length = int(lengths.max())
    mask = torch.arange(length, device=y.device) < lengths[:, None]
    longer = torch.full_like(mask, placeholder, dtype=y.dtype).masked_fill(~mask, pad)
    # Padding goes to one more column, which is cut off.
    longer = torch.cat([longer, longer.new_zeros(len(y), 1)], dim=1)
    longer.scatter_(1, torch.where(y_mask.bool(), goes_to, length), y)
    return longer[:, :-1], mask.long()
