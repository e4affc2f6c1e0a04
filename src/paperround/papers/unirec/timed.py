"""SASRec that knows when: the calendar and the interval of each event, in one pass each.

Times are those of the history. Nothing is known of the moment that is predicted, which offline
protocols would give away.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.papers.unirec.time_encoding import CalendarTimeEncoding, IntervalEmbedding

Context = Literal["calendar", "interval"]
CONTEXTS: tuple[Context, ...] = ("calendar", "interval")


class TimeAware(AbstractSequenceEncoder):
    """A SASRec of the kit whose input is e + p + context, once for each of `contexts`.

    The passes share all weights but the context's, and the state is their mean (steps 5 and 6).
    Where only gaps are known and no dates, leave the calendar out.
    """

    needs_times = True

    def __init__(self, encoder: SASRec, contexts: Sequence[Context] = CONTEXTS) -> None:
        super().__init__()
        if not contexts or set(contexts) - set(CONTEXTS):
            raise UsageError(f"contexts are some of {', '.join(CONTEXTS)}, not {contexts!r}")
        if encoder.padding != "right":
            raise UsageError("times stand beside a history that is padded on the right")
        self.encoder, self.contexts = encoder, tuple(contexts)
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.causal = encoder.causal
        self.encodings = nn.ModuleDict()
        if "calendar" in contexts:
            self.encodings["calendar"] = CalendarTimeEncoding(out=encoder.d_model)
        if "interval" in contexts:
            self.encodings["interval"] = IntervalEmbedding(dim=encoder.d_model)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder.item_embeddings()

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder; raises UsageError without times."""
        encoder = self.encoder
        times = given(times, self)
        base = encoder.items(items) + encoder.positions.weight[: items.shape[1]]
        # The passes stand below each other as rows of one batch.
        x = torch.cat([base + encoding(times) for encoding in self.encodings.values()])
        x = encoder.input_dropout(encoder.input_norm(x))
        mask, is_causal = encoder.masking(items)
        if mask is not None:
            mask = mask.repeat(len(self.encodings), 1, 1, 1)
        for block in encoder.blocks:
            x = block(x, mask, is_causal)
        return x.view(len(self.encodings), *items.shape, -1).mean(dim=0)


def given(times: Tensor | None, model: nn.Module) -> Tensor:
    """The times; raises UsageError where there are none."""
    if times is None:
        raise UsageError(f"{type(model).__name__} needs the times of events")
    return times
