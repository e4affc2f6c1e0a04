"""The contrastive recommenders that SRA-CL is compared with, as losses for the kit's trainer.

Both need no texts and no weights of their own, so they take the plain encoder:
`Trainer(encoder, …, aux_losses=duorec(train))`. Sources: Xie et al., ICDE 2022 (CL4SRec); Qiu et
al., WSDM 2022 (DuoRec). Their contrast is the same as SRA-CL's, so that only the positives differ.
"""

import numpy as np
import torch
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD, InteractionLog
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.samples import Batch
from paperround.kit.recommendation.splits import padded
from paperround.kit.recommendation.training import AuxLoss
from paperround.papers.sra_cl.method import info_nce, own_dropout, padded_on_the_right


def duorec(
    log: InteractionLog, *, unsupervised: float = 0.1, supervised: float = 0.1
) -> list[AuxLoss]:
    """DuoRec's two losses: other dropout of the same history; another history of the same target.

    The target of a row is the last item that it is trained on. `log` is the training log that the
    batches come from, where histories that end before the same item are looked up; where no other
    does, the row itself under other dropout takes its place, as in the released code.
    """
    # Events by item: those of item v are order[first[v]:first[v + 1]], users' first events aside,
    # before which there is no history.
    behind = np.flatnonzero(np.arange(len(log)) > log.offsets[log.user])
    order = behind[np.argsort(log.item[behind], kind="stable")]
    counts = np.bincount(log.item[behind], minlength=log.n_items + 1)
    first = np.concatenate([[0], np.cumsum(counts)])

    def same_history(
        encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        items, users, _ = _rows(batch)
        with own_dropout(generator):
            views = [encoder.last_hidden(items) for _ in range(2)]
        return info_nce(*views, same=users[:, None] == users[None, :])

    def same_target(
        encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        items, users, target = _rows(batch)
        draw = torch.rand(len(items), generator=generator, dtype=torch.float64).numpy()
        codes = target.numpy()
        at = first[codes] + (draw * counts[codes]).astype(np.int64)
        events = order[at]
        begin = np.maximum(log.offsets[log.user[events]], events - encoder.max_len)
        others, _ = padded(log, begin, events)
        with own_dropout(generator):
            own, theirs = encoder.last_hidden(items), encoder.last_hidden(torch.from_numpy(others))
        # Rows of one target are alike by this very loss, and no negatives of each other.
        same = (users[:, None] == users[None, :]) | (target[:, None] == target[None, :])
        return info_nce(own, theirs, same=same)

    losses = [
        AuxLoss("same history", same_history, unsupervised),
        AuxLoss("same target", same_target, supervised),
    ]
    return [aux for aux in losses if aux.weight]


def cl4srec(
    *, weight: float = 0.1, crop: float = 0.6, mask: float = 0.3, reorder: float = 0.6
) -> list[AuxLoss]:
    """CL4SRec's loss: two random views of each history, each cropped, masked or reordered.

    `crop` is the share that is kept, `mask` and `reorder` the shares that are hidden and shuffled.
    An encoder without a code for hidden items gets padding's embedding, zeros, in their place.
    """
    if not (0 < crop <= 1 and 0 <= mask <= 1 and 0 <= reorder <= 1):
        raise UsageError("crop lies in (0, 1], mask and reorder in [0, 1]")

    def objective(
        encoder: AbstractSequenceEncoder, batch: Batch, generator: torch.Generator
    ) -> Tensor:
        items, users, _ = _rows(batch)
        hidden_item = getattr(encoder, "mask_item", None)
        if hidden_item is None and encoder.padding == "left":
            raise UsageError("an encoder that pads on the left has nothing to hide items with")
        lengths = (items != PAD).sum(dim=1)
        rng = np.random.default_rng(int(torch.randint(1 << 62, (1,), generator=generator)))
        states = []
        with own_dropout(generator):
            for _ in range(2):
                view, kept = random_view(
                    items.numpy(), lengths.numpy(), rng, crop, mask, reorder, hidden_item or PAD
                )
                rows = torch.from_numpy(view)
                if hidden_item is None:
                    # Hidden items look like padding, so the end is found by the length.
                    ends = torch.from_numpy(kept - 1)
                    states.append(encoder(rows)[torch.arange(len(rows)), ends])
                else:
                    states.append(encoder.last_hidden(rows))
        return info_nce(*states, same=users[:, None] == users[None, :])

    return [AuxLoss("random views", objective, weight)] if weight else []


def random_view(
    items: np.ndarray,
    lengths: np.ndarray,
    rng: np.random.Generator,
    crop: float = 0.6,
    mask: float = 0.3,
    reorder: float = 0.6,
    hidden_item: int = PAD,
) -> tuple[np.ndarray, np.ndarray]:
    """Each row cropped, masked or reordered, by a draw; the rows and their new lengths.

    `items` is (B, L) padded on the right, with at least one item a row.
    """
    view, kept = items.copy(), lengths.copy()
    ways = rng.integers(0, 3, size=len(items))
    for row, (length, way) in enumerate(zip(lengths.tolist(), ways.tolist(), strict=True)):
        if way == 0:
            size = max(1, int(crop * length))
            start = int(rng.integers(0, length - size + 1))
            view[row] = PAD
            view[row, :size] = items[row, start : start + size]
            kept[row] = size
        elif way == 1:
            view[row, rng.permutation(length)[: int(mask * length)]] = hidden_item
        else:
            size = int(reorder * length)
            start = int(rng.integers(0, length - size + 1))
            view[row, start : start + size] = rng.permutation(items[row, start : start + size])
    return view, kept


def _rows(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Histories padded on the right, their users, and the last item each is trained on."""
    some = (batch.items != PAD).any(dim=1) & (batch.targets != PAD).any(dim=1)
    place = torch.arange(1, batch.targets.shape[1] + 1)
    last = ((batch.targets != PAD) * place).argmax(dim=1)
    target = batch.targets.gather(1, last[:, None]).squeeze(1)
    return padded_on_the_right(batch.items[some]), batch.users[some], target[some]
