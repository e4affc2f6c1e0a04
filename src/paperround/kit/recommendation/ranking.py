"""The best items of a user, exactly and fast: also among a million.

Equal scores are ordered by item code, so that one model gives one ranking wherever it runs.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paperround.kit.recommendation.interactions import Ints

_BLOCK = 512
# From this catalogue on, a first pass over 8-bit copies saves more memory traffic than it costs.
LARGE_CATALOGUE = 100_000
# Users whose scores are made at once, so that they stay near the caches.
_SCORES_AT_ONCE = 1 << 24

Ranked = tuple[Ints, NDArray[np.floating]]


def best_items(scores: NDArray[np.floating], k: int, excluded: Ints) -> Ranked:
    """The k best item codes and their scores, best first, from (n_items + 1,) scores of one user.

    Padding, `excluded` items and scores of -inf are no candidates; where fewer than k are left,
    there are fewer. `scores` may be changed.
    """
    scores[0] = -np.inf
    scores[excluded] = -np.inf
    candidates = np.flatnonzero(scores >= _threshold(scores, k))
    order = np.lexsort((candidates, -scores[candidates]))[:k]
    items = candidates[order]
    items = items[scores[items] > -np.inf]
    return items, scores[items]


class ItemIndex:
    """Items to be found by inner product with a hidden state: scores h . e_v + b_v.

    `table` is (n_items + 1, d), `bias` (n_items + 1,) or None. A large catalogue is searched in two
    passes. The first scores 8-bit copies, s_v q_v for e_v; how far that can be off is bounded by

        |h . e_v - h~ . e~_v| <= |h - h~| |e~_v| + |h| |e_v - e~_v|

    and every item that could belong to the best by this bound is scored again in full, so the
    answer is exact.
    """

    def __init__(self, table: Tensor, bias: Tensor | None = None) -> None:
        self._table = table.detach().float().contiguous()
        self._bias = None if bias is None else bias.detach().float()
        self.in_two_passes = len(table) > LARGE_CATALOGUE and hasattr(torch, "_int_mm")
        if self.in_two_passes:
            largest = self._table.abs().amax(dim=1, keepdim=True).clamp(min=1e-30)
            self._scale = (largest / 127).squeeze(1)
            self._codes = (self._table / self._scale[:, None]).round().to(torch.int8)
            copies = self._codes.float() * self._scale[:, None]
            self._copy_norm = float(copies.norm(dim=1).max())
            self._loss_norm = float((self._table - copies).norm(dim=1).max())

    def best(self, hidden: Tensor, k: int, excluded: list[Ints]) -> list[Ranked]:
        """Per user, the k best items and their scores; `hidden` is (users, d)."""
        users = max(1, _SCORES_AT_ONCE // len(self._table))
        found: list[Ranked] = []
        for start in range(0, len(hidden), users):
            part, out = hidden[start : start + users].float(), excluded[start : start + users]
            found += (
                self._in_two(part, k, out) if self.in_two_passes else self._in_one(part, k, out)
            )
        return found

    def _in_one(self, hidden: Tensor, k: int, excluded: list[Ints]) -> list[Ranked]:
        scores = hidden @ self._table.T
        if self._bias is not None:
            scores += self._bias
        return [best_items(row, k, out) for row, out in zip(scores.numpy(), excluded, strict=True)]

    def _in_two(self, hidden: Tensor, k: int, excluded: list[Ints]) -> list[Ranked]:
        scale = hidden.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
        codes = (hidden / scale).round().to(torch.int8)
        rough = torch._int_mm(codes, self._codes.T).float() * self._scale * scale
        if self._bias is not None:
            rough += self._bias
        error = (hidden - codes * scale).norm(dim=1) * self._copy_norm
        error += hidden.norm(dim=1) * self._loss_norm
        # What 32-bit sums themselves may be off by, so that the bound holds for computed scores.
        error = error * 1.001 + 1e-5
        return [
            self._rescored(hidden[row], rough[row].numpy(), float(error[row]), k, out)
            for row, out in enumerate(excluded)
        ]

    def _rescored(
        self, hidden: Tensor, rough: NDArray[np.float32], error: float, k: int, excluded: Ints
    ) -> Ranked:
        rough[0] = -np.inf
        rough[excluded] = -np.inf
        # At least k items score threshold - error or more, so the best k do, and their rough
        # scores are at most another error lower.
        least = _threshold(rough, k) - 2 * error
        candidates = (
            np.flatnonzero(rough >= least) if least > -np.inf else np.flatnonzero(rough > -np.inf)
        )
        exact = self._table[candidates] @ hidden
        if self._bias is not None:
            exact += self._bias[candidates]
        scores = exact.numpy()
        order = np.lexsort((candidates, -scores))[:k]
        return candidates[order], scores[order]


def _threshold(scores: NDArray[np.floating], k: int) -> float:
    """A score that at least k of them reach; the k-th largest, or the k-th largest of blocks'."""
    if len(scores) <= k:
        return -np.inf
    if len(scores) >= 4 * k * _BLOCK:
        scores = np.maximum.reduceat(scores, np.arange(0, len(scores), _BLOCK))
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])
