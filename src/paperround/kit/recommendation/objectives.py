"""What a batch teaches: next items after every position, or hidden items of a row.

An objective takes the encoder, a batch and a generator of its own for what it draws, and gives a
scalar. Methods add theirs to it (`Trainer(aux_losses=…)`).
"""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation import losses
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.samples import Batch, uniform_negatives

Objective = Callable[[Any, Batch, torch.Generator], Tensor]
LossName = Literal["ce", "bce", "gbce", "sampled"]
LOSSES = ("ce", "bce", "gbce", "sampled")


def next_items(
    loss: LossName = "ce",
    *,
    temperature: float = 1.0,
    negatives: int = 1,
    calibration: float = 0.75,
) -> Objective:
    """The mean loss over all real targets of a batch: positions, or the ends of prefixes.

    "ce" is the full softmax, "bce" SASRec's own with sampled negatives, "gbce" gSASRec's with
    `calibration`, "sampled" a softmax over the target and `negatives` (3,000 come near the full
    one on large catalogues). Raises UsageError on an encoder that sees later positions, where a
    batch asks for more than a row's last target.
    """
    if loss not in LOSSES:
        raise UsageError(f"no loss '{loss}'; there are {', '.join(LOSSES)}")

    def objective(
        encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        real = batch.targets != PAD
        if not encoder.causal and bool((real.sum(dim=1) > 1).any()):
            raise UsageError(f"{type(encoder).__name__} sees later positions; train it on prefixes")
        hidden, target = encoder(batch.items, batch.times)[real], batch.targets[real]
        table = encoder.item_embeddings()
        if loss == "ce":
            return losses.full_softmax(hidden, table, target, encoder.item_bias(), temperature)
        drawn = uniform_negatives(encoder.n_items, (len(target), negatives), generator)
        if loss == "bce":
            return losses.binary_cross_entropy(hidden, table, target, drawn)
        if loss == "gbce":
            return losses.generalised_binary_cross_entropy(
                hidden, table, target, drawn, calibration
            )
        return losses.sampled_softmax(hidden / temperature, table, target, drawn)

    return objective


def masked_items(mask_ratio: float = 0.2, last_only_ratio: float = 0.5) -> Objective:
    """BERT4Rec's loss: a share of each row's items is hidden and guessed, over all items.

    With probability `last_only_ratio` a row hides its last item alone, as prediction does. A row
    where chance hides nothing hides its last item. For batches of `windows` or `all_positions`,
    padded on the right.
    """

    def objective(encoder: Any, batch: Batch, generator: torch.Generator) -> Tensor:
        # Inputs 1..L and targets 2..L+1 are one row of L + 1 items.
        rows = torch.cat([batch.items[:, :1], batch.targets], dim=1)
        real = rows != PAD
        last = real.sum(dim=1, keepdim=True) - 1
        at_last = torch.arange(rows.shape[1]) == last
        hide = (torch.rand(rows.shape, generator=generator) < mask_ratio) & real
        only_last = torch.rand(len(rows), 1, generator=generator) < last_only_ratio
        hide = torch.where(only_last | ~hide.any(dim=1, keepdim=True), at_last, hide)
        hidden = encoder(rows.masked_fill(hide, encoder.mask_item))[hide]
        return losses.full_softmax(
            hidden, encoder.item_embeddings(), rows[hide], encoder.item_bias()
        )

    return objective
