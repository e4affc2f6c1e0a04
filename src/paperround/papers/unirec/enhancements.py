"""The two losses of UniRec: of irregular users (steps 10 and 11) and of rare items (12 and 13).

Both are losses of training alone, and take any encoder of the kit. B: rows, L: positions, P: items,
d: width, n: items of the catalogue, e: epoch, from 0 to the horizon of 220.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.samples import Batch
from paperround.kit.recommendation.training import AuxLoss
from paperround.papers.unirec.neighbours import ItemNeighbours

SEQUENCE_WEIGHT, HEAD_WEIGHT, TAIL_WEIGHT = 0.2, 0.3, 0.1
# The curricula's numbers: L_SE and L_head turn at epoch 100 of 220, lengths count from 3 to 53.
HORIZON, _TURN, _HALF = 220, 100, 120
_SHORTEST, _LENGTHS = 3, 50
_DRAWN_NEIGHBOURS = 3

Reduction = Literal["mean", "sum"]
SubSequence = Callable[
    [Tensor, Tensor | None, torch.Generator | None], tuple[Tensor, Tensor | None]
]


@dataclass(frozen=True)
class Curriculum:
    """How much each loss weighs at an epoch; every weight lies in 0..1.

    The formulas are for 220 epochs. A training of another length sets `epochs`, and its epoch e
    counts as 220 e / epochs. `constant` gives this weight always, for an ablation.
    """

    epochs: int = HORIZON
    constant: float | None = None

    def sequence(self, epoch: float, lengths: Tensor) -> Tensor:
        """(B,) |sin(pi/2 (e - 100)/120 + pi/2 (n - 3)/50)|, n the length of the sub-sequence."""
        angle = (self._at(epoch) - _TURN) / _HALF + (lengths.float() - _SHORTEST) / _LENGTHS
        return self._given(torch.sin(math.pi / 2 * angle).abs())

    def head(self, epoch: float, rarity: Tensor) -> Tensor:
        """(P,) sin(pi/2 (e - 100)/120 + pi/2 (100 - var)/100), and 0 where that is negative.

        The released code lets it be negative, which drives predictions away from their targets.
        """
        angle = (self._at(epoch) - _TURN) / _HALF + (100.0 - rarity) / 100.0
        return self._given(torch.sin(math.pi / 2 * angle).clamp(min=0.0))

    def tail(self, epoch: float) -> float:
        """sin(pi/2 e/220)."""
        if self.constant is not None:
            return self.constant
        return math.sin(math.pi / 2 * min(max(self._at(epoch), 0.0), HORIZON) / HORIZON)

    def _at(self, epoch: float) -> float:
        return HORIZON * epoch / self.epochs

    def _given(self, weight: Tensor) -> Tensor:
        return weight if self.constant is None else torch.full_like(weight, self.constant)


class KeepFrequent:
    """The irregular sub-sequence of a history: its last items, and of the others the frequent ones.

    `keep` is (n_items + 1,) bool. What is dropped leaves irregular gaps; times stay with their
    items, so that intervals are those of the sub-sequence. With `inject`, a dropped item is with
    that probability replaced by one that is not frequent, drawn uniformly, at its own time: the
    paper's generation adds rare items too.
    """

    def __init__(self, keep: NDArray[np.bool_], *, last: int = 2, inject: float = 0.0) -> None:
        if last < 1 or not 0 <= inject <= 1:
            raise UsageError(f"last is at least 1 and inject 0 to 1, not {last} and {inject}")
        self.keep, self.last, self.inject = torch.from_numpy(np.asarray(keep)), last, inject
        self._rare = torch.from_numpy(np.flatnonzero(~np.asarray(keep)[1:]) + 1)

    def __call__(
        self, items: Tensor, times: Tensor | None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Rows (B, L) padded on the right, in order; never empty where the history is not."""
        real, place = items != PAD, torch.arange(items.shape[1], device=items.device)
        from_end = real.sum(dim=1, keepdim=True) - place
        chosen = real & (self.keep.to(items.device)[items] | (from_end <= self.last))
        if self.inject and len(self._rare):
            added = torch.rand(items.shape, generator=generator) < self.inject
            added = added.to(items.device) & real & ~chosen
            drawn = torch.randint(0, len(self._rare), items.shape, generator=generator)
            items = torch.where(added, self._rare[drawn].to(items.device), items)
            chosen = chosen | added
        # A stable sort by "not chosen" moves what is kept to the left, in its order.
        order = torch.sort((~chosen).int(), dim=1, stable=True).indices
        left = place < chosen.sum(dim=1, keepdim=True)
        kept = torch.where(left, items.gather(1, order), PAD)
        return kept, None if times is None else torch.where(left, times.gather(1, order), 0.0)


class SequenceUniformityLoss(nn.Module):
    """L_SE = mean over rows of 1[u in S_U] w_u |W h(s~_u) - h(s_u)|^2: irregular users made.

    s~ is `subsequence` of the history s. h is the encoder's state after the whole row; that of s
    gets no gradient and no dropout unless `detach_target` is False, as in the released code. Rows
    whose s~ has fewer than 3 items are left out. `reduction` "mean" divides the square by d, as
    the released code does; "sum" is the norm as written.
    """

    def __init__(
        self,
        d_model: int,
        uniform: NDArray[np.bool_],
        subsequence: SubSequence,
        *,
        curriculum: Curriculum | None = None,
        detach_target: bool = True,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.register_buffer("uniform", torch.from_numpy(np.asarray(uniform)), persistent=False)
        self.subsequence, self.curriculum = subsequence, curriculum or Curriculum()
        self.detach_target, self.reduction = detach_target, reduction
        self.weight = nn.Linear(d_model, d_model, bias=False)
        # W = I: at first both representations are compared as they are.
        nn.init.eye_(self.weight.weight)

    def forward(
        self, encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        """The loss of a batch; its `users` are codes of the log that `uniform` was made from."""
        zero = self.weight.weight.sum() * 0.0
        rows = self.uniform[batch.users]
        items, times = self._rows(batch, rows)
        short, short_times = self.subsequence(items, times, generator)
        lengths = (short != PAD).sum(dim=1)
        long_enough = lengths >= _SHORTEST
        if not bool(long_enough.any()):
            return zero
        items, short, lengths = items[long_enough], short[long_enough], lengths[long_enough]
        if times is not None and short_times is not None:
            times, short_times = times[long_enough], short_times[long_enough]
        weight = self.curriculum.sequence(batch.epoch, lengths)
        made = self.weight(
            encoder.last_hidden(short[:, : int(lengths.max())], _cut(short_times, lengths))
        )
        squares = (made - self._target(encoder, items, times)).square()
        distance = squares.mean(dim=1) if self.reduction == "mean" else squares.sum(dim=1)
        return (weight * distance).sum() / len(batch.users)

    def _rows(self, batch: Batch, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        items = batch.items[rows]
        times = None if batch.times is None else batch.times[rows]
        if len(items) and bool((items[:, 0] == PAD).any()):
            # Rows are padded on the left; the last_hidden of an encoder takes them on the right.
            order = torch.sort((items == PAD).int(), dim=1, stable=True).indices
            items = items.gather(1, order)
            times = None if times is None else times.gather(1, order)
        return items, times

    def _target(
        self, encoder: AbstractSequenceEncoder, items: Tensor, times: Tensor | None
    ) -> Tensor:
        if not self.detach_target:
            return encoder.last_hidden(items, times)
        training = encoder.training
        encoder.eval()
        with torch.no_grad():
            target = encoder.last_hidden(items, times)
        encoder.train(training)
        return target


class ItemFrequencyLoss(nn.Module):
    """L_head and L_tail: what frequent items know of their neighbours is handed to the rare ones.

    e^_i = Lin([e_i ; c_i]), c_i the item's drawn neighbours, attended to with e_i. Frequent items
    teach the layer, w_i |e^_i - sg(e_i)|^2; rare ones follow it, |sg(e^_i) - e_i|^2. Both are means
    over the distinct items of a batch that are head, or tail.
    """

    def __init__(
        self,
        d_model: int,
        neighbours: ItemNeighbours,
        head: NDArray[np.bool_],
        rarity: NDArray[np.floating[Any]],
        *,
        curriculum: Curriculum | None = None,
        drawn: int = _DRAWN_NEIGHBOURS,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.neighbours, self.drawn, self.reduction = neighbours, drawn, reduction
        # Tables of the log, not learned: no part of what is saved.
        self.register_buffer("is_head", torch.from_numpy(np.asarray(head)), persistent=False)
        rare = torch.from_numpy(np.asarray(rarity, dtype=np.float32))
        self.register_buffer("rarity", rare, persistent=False)
        self.curriculum = curriculum or Curriculum()
        self.transfer = nn.Linear(2 * d_model, d_model)

    def predict(self, table: Tensor, items: Tensor, generator: torch.Generator) -> Tensor:
        """(P, d) e^ of items (P,), from the table (n + 1, d)."""
        own = table[items]
        near = table[self.neighbours.draw(items, self.drawn, generator)]
        attention = torch.einsum("pd,pkd->pk", own, near).softmax(dim=1)
        summary = torch.einsum("pk,pkd->pd", attention, near)
        return self.transfer(torch.cat([own, summary], dim=1))

    def head(
        self, encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        """L_head without its weight of .3."""
        items = self._distinct(batch, head=True)
        if not len(items):
            return self.transfer.weight.sum() * 0.0
        table = encoder.item_embeddings()
        distance = self._distance(self.predict(table, items, generator), table[items].detach())
        return (self.curriculum.head(batch.epoch, self.rarity[items]) * distance).mean()

    def tail(
        self, encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        """L_tail without its weight of .1: only the rare items' own embeddings get a gradient."""
        items = self._distinct(batch, head=False)
        if not len(items):
            return self.transfer.weight.sum() * 0.0
        table = encoder.item_embeddings()
        with torch.no_grad():
            predicted = self.predict(table, items, generator)
        return self.curriculum.tail(batch.epoch) * self._distance(predicted, table[items]).mean()

    def _distinct(self, batch: Batch, *, head: bool) -> Tensor:
        items = batch.items.unique()
        items = items[items != PAD]
        return items[self.is_head[items] == head]

    def _distance(self, first: Tensor, second: Tensor) -> Tensor:
        squares = (first - second).square()
        return squares.mean(dim=1) if self.reduction == "mean" else squares.sum(dim=1)


class UniRec(AbstractSequenceEncoder):
    """Any encoder, with the enhancements' own weights beside it, for the kit's trainer.

    Train it with `aux_losses()`; afterwards `encoder` is the model, and nothing of the losses is
    needed any more. Without enhancements the training is the encoder's own, bit for bit.
    """

    def __init__(
        self,
        encoder: AbstractSequenceEncoder,
        sequence: SequenceUniformityLoss | None = None,
        items: ItemFrequencyLoss | None = None,
        *,
        sequence_weight: float = SEQUENCE_WEIGHT,
        head_weight: float = HEAD_WEIGHT,
        tail_weight: float = TAIL_WEIGHT,
    ) -> None:
        super().__init__()
        self.encoder, self.sequence, self.items = encoder, sequence, items
        self._weights = (sequence_weight, head_weight, tail_weight)
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.causal, self.padding = encoder.causal, encoder.padding
        self.needs_times = encoder.needs_times

    def aux_losses(self) -> list[AuxLoss]:
        """L_SE, L_head and L_tail as they are switched on, with their weights (step 14)."""
        losses = []
        if self.sequence is not None:
            losses.append(AuxLoss("sequence", self.sequence, self._weights[0]))
        if self.items is not None:
            losses.append(AuxLoss("frequent items", self.items.head, self._weights[1]))
            losses.append(AuxLoss("rare items", self.items.tail, self._weights[2]))
        return losses

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder: the encoder's own."""
        return self.encoder(items, times)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the encoder's own."""
        return self.encoder.item_embeddings()

    def item_bias(self) -> Tensor | None:
        """See AbstractSequenceEncoder: the encoder's own."""
        return self.encoder.item_bias()

    def last_hidden(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder: the encoder's own."""
        return self.encoder.last_hidden(items, times)

    def score(self, hidden: Tensor) -> Tensor:
        """See AbstractSequenceEncoder: the encoder's own."""
        return self.encoder.score(hidden)

    @property
    def mask_item(self) -> int:
        """The mask's code, for objectives that hide items; AttributeError where there is none."""
        return self.encoder.mask_item


def _cut(times: Tensor | None, lengths: Tensor) -> Tensor | None:
    return None if times is None else times[:, : int(lengths.max())]
