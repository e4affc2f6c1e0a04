"""Training rows: which stretch of which user, and batches of them.

Three ways to cut a user's events, and for a causal encoder without dropout the same losses:
`prefix` gives one row per event with everything before it, `windows` cuts the history in rows of
`max_len` targets that together hold every transition once, `all_positions` keeps the last such row
alone. `windows` costs about half a `max_len` times less than `prefix`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD, InteractionLog, Ints, Side
from paperround.kit.recommendation.splits import padded

Mode = Literal["windows", "prefix", "all_positions"]
_MODES = ("windows", "prefix", "all_positions")
# Rows of similar length are put together among this many batches, to spare padding.
_BUCKET_BATCHES = 20


@dataclass(frozen=True)
class Batch:
    """Rows of training: `items` and `targets` are (batch, length), `users` (batch,).

    `targets[b, t]` is the item after `items[b, t]`, or 0 where nothing is to be learnt (padding,
    and all but the last position of a prefix). `times` belongs to `items`, `target_times` to
    `targets`; both are float64, or None where the log has no times. `epoch` counts from 1; some
    losses are scheduled by it.
    """

    items: Tensor
    targets: Tensor
    users: Tensor
    times: Tensor | None = None
    target_times: Tensor | None = None
    epoch: int = 1

    @property
    def n_targets(self) -> int:
        """How many items are predicted in it."""
        return int((self.targets != PAD).sum())


class SequenceDataset:
    """Rows to train on, cut from a log as `mode` says, with at most `max_len` inputs each.

    `pad` is the side where short rows are filled. With `shift`, the windows of a long history are
    cut at other places in every epoch, so that no transition always stands at a window's start.
    """

    def __init__(
        self,
        log: InteractionLog,
        mode: Mode = "windows",
        max_len: int = 50,
        *,
        pad: Side = "right",
        shift: bool = False,
    ) -> None:
        if mode not in _MODES:
            raise UsageError(f"no mode '{mode}'; there are {', '.join(_MODES)}")
        if max_len < 1:
            raise UsageError(f"max_len must be at least 1, not {max_len}")
        self.log, self.mode, self.max_len = log, mode, max_len
        self.pad, self.shift = pad, shift
        self._fixed = self._cut(None)

    def __len__(self) -> int:
        return len(self._fixed[0])

    @property
    def n_targets(self) -> int:
        """How many items are predicted in one epoch."""
        start, stop = self._fixed
        return len(start) if self.mode == "prefix" else int((stop - start).sum())

    def batches(
        self, batch_size: int, *, seed: int | None, bucket: bool = True, epoch: int = 1
    ) -> Iterator[Batch]:
        """One epoch: every row once, in an order drawn from `seed`, in their own order with None.

        Bucketing puts rows of similar length together, without changing which rows there are; the
        last batch may be smaller.
        """
        rng = None if seed is None else np.random.default_rng(seed)
        start, stop = self._cut(rng) if self.shift and rng is not None else self._fixed
        order = np.arange(len(start)) if rng is None else rng.permutation(len(start))
        cuts = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        if bucket and rng is not None:
            cuts = _bucketed(order, (stop - start)[order], batch_size, rng)
        for rows in cuts:
            yield self._batch(start[rows], stop[rows], epoch)

    def n_batches(self, batch_size: int) -> int:
        """How many batches one epoch has (about, where windows shift)."""
        return -(-len(self) // batch_size)

    def _batch(self, start: Ints, stop: Ints, epoch: int) -> Batch:
        items, times = padded(self.log, start, stop, self.pad)
        targets, target_times = padded(self.log, start + 1, stop + 1, self.pad)
        if self.mode == "prefix":
            at = (stop - start - 1) if self.pad == "right" else np.full(len(start), -1)
            last = targets[np.arange(len(start)), at].copy()
            targets[:] = PAD
            targets[np.arange(len(start)), at] = last
        return Batch(
            torch.from_numpy(items),
            torch.from_numpy(targets),
            torch.from_numpy(self.log.user[start]),
            None if times is None else torch.from_numpy(times),
            None if target_times is None else torch.from_numpy(target_times),
            epoch,
        )

    def _cut(self, rng: np.random.Generator | None) -> tuple[Ints, Ints]:
        """Ranges start:stop of inputs in the log; the target of place t is the event at t + 1."""
        first, last = self.log.offsets[:-1], self.log.offsets[1:] - 1
        some = last > first
        first, last = first[some], last[some]
        if self.mode == "prefix":
            lengths = last - first
            stop = np.repeat(first, lengths) + _counted(lengths) + 1
            return np.maximum(np.repeat(first, lengths), stop - self.max_len), stop
        if self.mode == "all_positions":
            return np.maximum(first, last - self.max_len), last
        # Windows end at the last event, or up to max_len - 1 before it where they shift: then the
        # newest transitions stand in a short window of their own.
        shift = np.zeros(len(first), dtype=np.int64)
        if rng is not None:
            long = last - first > self.max_len
            shift[long] = rng.integers(0, self.max_len, size=int(long.sum()))
        whole = last - shift - first
        n_windows = -(-whole // self.max_len)
        back = _counted(n_windows)
        stop = np.repeat(last - shift, n_windows) - back * self.max_len
        start = np.maximum(np.repeat(first, n_windows), stop - self.max_len)
        moved = shift > 0
        return (
            np.concatenate([start, (last - shift)[moved]]),
            np.concatenate([stop, last[moved]]),
        )


def uniform_negatives(n_items: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Item codes 1..n_items drawn uniformly, with replacement."""
    return torch.randint(1, n_items + 1, shape, generator=generator)


def popularity_negatives(
    counts: Ints, shape: tuple[int, ...], generator: torch.Generator, power: float = 1.0
) -> Tensor:
    """Item codes drawn in proportion to count ** power, with replacement; padding never.

    `counts` is (n_items + 1,). Items that were never seen are never drawn.
    """
    weights = torch.as_tensor(counts, dtype=torch.float64).pow(power)
    weights[torch.as_tensor(counts) == 0] = 0.0
    weights[PAD] = 0.0
    total = 1
    for size in shape:
        total *= size
    drawn = torch.multinomial(weights, total, replacement=True, generator=generator)
    return drawn.view(shape)


def _counted(lengths: Ints) -> Ints:
    """0, 1, …, lengths[0] - 1, 0, 1, …, lengths[1] - 1, …"""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - lengths, lengths)


def _bucketed(
    order: Ints, lengths: Ints, batch_size: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    batches: list[NDArray[np.int64]] = []
    stretch = batch_size * _BUCKET_BATCHES
    for start in range(0, len(order), stretch):
        part = order[start : start + stretch]
        part = part[np.argsort(lengths[start : start + stretch], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[place] for place in rng.permutation(len(batches))]
