"""What the enhancements have to beat: two simple cures for rare items, and a plain time bias."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.interactions import PAD, Ints
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.samples import Batch
from paperround.kit.recommendation.splits import Cases
from paperround.kit.recommendation.training import AuxLoss
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.timed import given

_BUCKETS = 32


def rare_items_decay(counts: Ints, weight: float) -> AuxLoss:
    """L2 on a batch's items, divided by how often each occurs: rare ones stay near the origin."""
    scale = torch.from_numpy(1.0 / np.maximum(counts, 1)).float()

    def objective(
        encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        items = batch.items.unique()
        items = items[items != PAD]
        return (scale[items] * encoder.item_embeddings()[items].square().sum(dim=1)).mean()

    return AuxLoss("decay of rare items", objective, weight)


class Averaged(AbstractSequenceEncoder):
    """A trained encoder whose rare items have moved: e_i <- (1 - a) e_i + a mean of neighbours.

    Only what scores moves; the encoder reads histories as it was trained to.
    """

    def __init__(
        self,
        encoder: AbstractSequenceEncoder,
        neighbours: ItemNeighbours,
        rare: NDArray[np.bool_],
        share: float,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.causal, self.padding = encoder.causal, encoder.padding
        self.needs_times = encoder.needs_times
        table = encoder.item_embeddings().detach().clone()
        items = torch.from_numpy(np.flatnonzero(rare))
        items = items[items != PAD]
        near = table[torch.from_numpy(neighbours.table)[items]].mean(dim=1)
        table[items] = (1 - share) * table[items] + share * near
        self.register_buffer("table", table)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.table

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder(items, times)

    def last_hidden(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder.last_hidden(items, times)


def best_average(
    encoder: AbstractSequenceEncoder,
    neighbours: ItemNeighbours,
    rare: NDArray[np.bool_],
    valid: Cases,
    metric: str,
    shares: Sequence[float] = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8),
) -> tuple[Averaged, float]:
    """The averaged model whose share does best on validation, and that share."""
    if not shares:
        raise UsageError("there is no share to choose from")
    found = [Averaged(encoder, neighbours, rare, share).eval() for share in shares]
    values = [evaluate(model, valid, metrics=[metric])[metric] for model in found]
    best = int(np.argmax(values))
    return found[best], shares[best]


class IntervalBias(AbstractSequenceEncoder):
    """A SASRec of the kit whose attention knows how long ago each key was: a bias per head.

    The seconds between query and key fall into 32 buckets by their logarithm. The plain form of
    what TiSASRec does with vectors (Li et al. 2020), and the strongest simple use of times.
    """

    needs_times = True

    def __init__(self, encoder: SASRec) -> None:
        super().__init__()
        if encoder.padding != "right" or not encoder.causal:
            raise UsageError("the bias is for a causal encoder that is padded on the right")
        self.encoder = encoder
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.bias = nn.ModuleList(
            nn.Embedding(_BUCKETS, block.attention.n_heads) for block in encoder.blocks
        )
        for table in self.bias:
            nn.init.zeros_(table.weight)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder.item_embeddings()

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder; raises UsageError without times."""
        times = given(times, self)
        apart = (times[:, :, None] - times[:, None, :]).clamp(min=0.0)
        bucket = torch.log2(apart + 1).floor().long().clamp(max=_BUCKETS - 1)
        length = items.shape[1]
        later = torch.ones(length, length, dtype=torch.bool, device=items.device).triu(1)
        x = self.encoder.embed(items)
        for block, table in zip(self.encoder.blocks, self.bias, strict=True):
            mask = table(bucket).permute(0, 3, 1, 2).masked_fill(later, -torch.inf)
            x = block(x, mask)
        return x
