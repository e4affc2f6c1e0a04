"""The paper's own backbone: attention whose maps of items and of time are mixed (steps 7 to 9).

B: rows, L: positions, d: width of an item and of a context, h: heads. Source of the mixing: Nguyen
et al., 2022 (FiSHformer); of the backbone: Tran et al., SIGIR 2023, as in UniRec's code.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import Objective
from paperround.kit.recommendation.samples import Batch, uniform_negatives
from paperround.papers.unirec.time_encoding import CalendarTimeEncoding, IntervalEmbedding
from paperround.papers.unirec.timed import CONTEXTS, given

FISM_WEIGHT = 0.1
_SIGMA = 0.1

CandidateTime = Literal["target", "now"]


class AdmixAttention(nn.Module):
    """One attention map of the items' half, one of the context's, mixed into `heads` maps.

    S = [S_item + sigma^2 noise ; S_ctx + sigma^2 noise] per pair of positions goes through an MLP
    2 -> h -> h, then softmax. sigma is learned, the noise is Gaussian and of training alone.
    """

    def __init__(
        self, d_item: int, d_ctx: int, heads: int, *, dropout: float = 0.0, sigma: float = _SIGMA
    ) -> None:
        super().__init__()
        width = d_item + d_ctx
        if width % heads:
            raise UsageError(f"a width of {width} cannot be shared by {heads} heads")
        self.d_item, self.heads, self.d_map = d_item, heads, width // heads
        self.query_item, self.key_item = (nn.Linear(d_item, self.d_map) for _ in range(2))
        self.query_ctx, self.key_ctx = (nn.Linear(d_ctx, self.d_map) for _ in range(2))
        self.value = nn.Linear(width, width)
        self.mix = nn.Sequential(nn.Linear(2, heads), nn.ReLU(), nn.Linear(heads, heads))
        self.sigma = nn.Parameter(torch.full((2,), sigma))
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        """(B, L, d_item + d_ctx): queries of `query` looking at `context`, nothing later."""
        item_map = self.query_item(query[..., : self.d_item]) @ self.key_item(
            context[..., : self.d_item]
        ).transpose(1, 2)
        ctx_map = self.query_ctx(query[..., self.d_item :]) @ self.key_ctx(
            context[..., self.d_item :]
        ).transpose(1, 2)
        maps = torch.stack([item_map, ctx_map], dim=-1)
        if self.training:
            maps = maps + self.sigma.square() * torch.randn_like(maps)
        # (B, L, L, h) to (B, h, L, L)
        scores = self.mix(maps).permute(0, 3, 1, 2) / self.d_map**0.5
        batch, length, width = query.shape
        later = torch.ones(length, length, dtype=torch.bool, device=query.device).triu(1)
        weights = self.dropout(scores.masked_fill(later, -torch.inf).softmax(dim=-1))
        values = self.value(context).view(batch, length, self.heads, self.d_map).transpose(1, 2)
        return (weights @ values).transpose(1, 2).reshape(batch, length, width)


class AdmixEncoder(AbstractSequenceEncoder):
    """The whole backbone: calendar and interval pass, and what a user's items say together.

    a_k = [e sqrt(d) + p ; ctx + p]; blocks as SASRec's authors have them, with AdmixAttention. The
    score of item j is (o_cal + o_int)[:d] . e_j + .1 g, g = (1 / sqrt(k)) sum_{i <= k} e_i . e_j.

    A candidate's context half is the same for every candidate of a moment, so it changes no
    ranking, and full ranking leaves it out; `admix_bce` trains with it. g sums the whole window;
    the paper draws 20 items of it.
    """

    needs_times = True

    def __init__(
        self,
        n_items: int,
        *,
        d_model: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        max_len: int = 50,
        dropout: float = 0.3,
        fism_weight: float = FISM_WEIGHT,
        calendar: bool = True,
    ) -> None:
        super().__init__()
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.fism_weight = fism_weight
        self.items = nn.Embedding(n_items + 1, d_model, padding_idx=PAD)
        self.positions = nn.Embedding(max_len, d_model)
        self.encodings = nn.ModuleDict()
        if calendar:
            self.encodings["calendar"] = CalendarTimeEncoding(out=d_model)
        self.encodings["interval"] = IntervalEmbedding(dim=d_model)
        width = 2 * d_model
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention_norm": nn.LayerNorm(width),
                    "attention": AdmixAttention(d_model, d_model, n_heads, dropout=dropout),
                    "feed_forward_norm": nn.LayerNorm(width),
                    "inner": nn.Linear(width, width),
                    "outer": nn.Linear(width, width),
                }
            )
            for _ in range(n_layers)
        )
        self.last_norm = nn.LayerNorm(width)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=0.02)
        with torch.no_grad():
            self.items.weight[PAD].zero_()

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied."""
        return self.items.weight

    def branches(self, items: Tensor, times: Tensor | None) -> dict[str, Tensor]:
        """Each pass's states (B, L, 2d), by its context."""
        times = given(times, self)
        embedded, places = self.items(items), self.positions.weight[: items.shape[1]]
        return {
            name: self._encode(
                torch.cat([embedded * self.d_model**0.5 + places, encoding(times) + places], dim=-1)
            )
            for name, encoding in self.encodings.items()
        }

    def together(self, items: Tensor) -> Tensor:
        """(B, L, d): (1 / sqrt(k)) times the sum of the first k items' embeddings."""
        n = (items != PAD).cumsum(dim=1).clamp(min=1)
        return self.items(items).cumsum(dim=1) / n.sqrt()[..., None]

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        states = sum(state[..., : self.d_model] for state in self.branches(items, times).values())
        return states + self.fism_weight * self.together(items)

    def _encode(self, x: Tensor) -> Tensor:
        x = self.dropout(x)
        for layer in self.layers:
            q = layer["attention_norm"](x)
            x = q + layer["attention"](q, x)
            y = layer["feed_forward_norm"](x)
            inner = self.dropout(functional.relu(layer["inner"](y)))
            x = y + self.dropout(layer["outer"](inner))
        return self.last_norm(x)


def admix_bce(candidate_time: CandidateTime | None = "target") -> Objective:
    """L_rec of step 9: one uniform negative per position, on every pass, and .1 times that of g.

    The candidates' context half is that of the target's time, as in the paper, of the last event
    ("now"), or left out (None). Only training knows the difference: see AdmixEncoder.
    """
    if candidate_time not in ("target", "now", None):
        raise UsageError(f"no candidate time '{candidate_time}'; there are target, now, None")

    def objective(model: AdmixEncoder, batch: Batch, generator: torch.Generator) -> Tensor:
        real = batch.targets != PAD
        target = batch.targets[real]
        negative = uniform_negatives(model.n_items, (len(target),), generator)
        table, d = model.item_embeddings(), model.d_model

        def loss_of(states: Tensor, context: Tensor | float) -> Tensor:
            positive = (states * table[target]).sum(dim=-1) + context
            other = (states * table[negative]).sum(dim=-1) + context
            return (functional.softplus(-positive) + functional.softplus(other)).mean()

        total = model.fism_weight * loss_of(model.together(batch.items)[real], 0.0)
        for name, states in model.branches(batch.items, batch.times).items():
            context: Tensor | float = 0.0
            if candidate_time is not None:
                when = _context_of(model, name, batch, candidate_time)
                context = (states[..., d:] * when)[real].sum(dim=-1)
            total = total + loss_of(states[..., :d][real], context)
        return total

    return objective


def _context_of(model: AdmixEncoder, name: str, batch: Batch, moment: CandidateTime) -> Tensor:
    """(B, L, d): the context of the event that is predicted, or of the one before it."""
    encoding, times = model.encodings[name], given(batch.times, model)
    if moment == "now":
        return encoding(times)
    after = given(batch.target_times, model)
    if name == CONTEXTS[0]:
        return encoding(after)
    # The interval of each target is to the event that it follows.
    return encoding(torch.stack([times, after], dim=-1))[..., 1, :]
