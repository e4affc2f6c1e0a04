"""What TiM4Rec is compared with: TiSASRec, and the cheapest ways to tell a model of time.

B: rows, L: positions, d: width, h: heads, k: clipped intervals. Sources: Li, Wang, McAuley: Time
Interval Aware Self-Attention for Sequential Recommendation, WSDM 2020 (TiSASRec); the buckets are
ours.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec, SelfAttention, attention_mask
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.papers.tim4rec.method import TimeAwareSSDRecommender
from paperround.papers.tim4rec.modulation import gaps_of

# As many different intervals as TiM4Rec's comparison gives TiSASRec.
MAX_INTERVAL = 256
DAY_S = 86_400.0
_INIT_STD = 0.02

Form = Literal["explicit", "factored"]


class GapBuckets(nn.Module):
    """A learned vector per bucket of log2(1 + gap / unit): (B, L, d) from items and times."""

    def __init__(self, d_model: int, n_buckets: int, unit_s: float = DAY_S) -> None:
        super().__init__()
        self.unit_s = unit_s
        self.table = nn.Embedding(n_buckets, d_model)
        nn.init.normal_(self.table.weight, std=_INIT_STD)

    def forward(self, items: Tensor, times: Tensor) -> Tensor:
        """(B, L, d)."""
        gaps = gaps_of(items, times).clamp(min=0) / self.unit_s
        bucket = gaps.log1p().div(torch.log(gaps.new_tensor(2.0))).long()
        return self.table(bucket.clamp(max=len(self.table.weight) - 1))


class GapBucketSSD(AbstractSequenceEncoder):
    """The same SSD with x = LN(Drop(E[item] + G[bucket])) and no factor on its steps.

    The strongest honest baseline of TiM4Rec: it knows the gaps and keeps the plain mask.
    """

    needs_times = True

    def __init__(
        self, encoder: TimeAwareSSDRecommender, n_buckets: int = 16, unit_s: float = DAY_S
    ) -> None:
        super().__init__()
        if encoder.needs_times:
            raise UsageError("buckets stand in the place of the time branch; say is_time=False")
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.encoder, self.gaps = encoder, GapBuckets(encoder.d_model, n_buckets, unit_s)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder.item_embeddings()

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        inner = self.encoder
        x = inner.items(items) + self.gaps(items, _given(self, times))
        return inner.read(inner.input_norm(inner.input_dropout(x)), items, None)


class GapBucketSASRec(AbstractSequenceEncoder):
    """SASRec with a vector per bucket of the gap added to item and position."""

    needs_times = True

    def __init__(self, encoder: SASRec, n_buckets: int = 8, unit_s: float = DAY_S) -> None:
        super().__init__()
        if not encoder.causal or encoder.padding != "right":
            raise UsageError("gap buckets want a causal SASRec padded on the right")
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.encoder, self.gaps = encoder, GapBuckets(encoder.d_model, n_buckets, unit_s)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder.item_embeddings()

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        inner = self.encoder
        x = inner.items(items) + inner.positions.weight[: items.shape[1]]
        x = x + self.gaps(items, _given(self, times))
        x = inner.input_dropout(inner.input_norm(x))
        for block in inner.blocks:
            x = block(x, None, True)
        return x


class IntervalAttention(SelfAttention):
    """Attention with keys k_j + r^K_ij + p^K_j and values v_j + r^V_ij + p^V_j.

    "explicit" gathers a vector for every pair of positions, (B, L, L, d), as TiSASRec's programs
    do: the cost that TiM4Rec's paper holds against it. "factored" (ours) gives the same without
    them: queries meet the k intervals' vectors once, and weights are summed by interval before they
    meet the values' vectors: (B, h, L, L + k) numbers.
    """

    def __init__(self, d_model: int, n_heads: int, dropout: float, form: Form) -> None:
        super().__init__(d_model, n_heads, dropout)
        self.form = form

    def attend_in_time(
        self,
        x: Tensor,
        interval: Tensor,
        places: tuple[Tensor, Tensor],
        tables: tuple[nn.Embedding, nn.Embedding],
        mask: Tensor,
    ) -> Tensor:
        """(B, L, d); `interval` (B, L, L) codes, `places` (L, d) each, `mask` (B, 1, L, L)."""
        query = self.heads(self.query(x))
        key = self.heads(self.key(x) + places[0])
        value = self.heads(self.value(x) + places[1])
        width = query.shape[-1]
        scores = query @ key.mT
        if self.form == "explicit":
            of_pairs = tables[0](interval).unflatten(-1, (self.n_heads, width))
            scores = scores + torch.einsum("bhid,bijhd->bhij", query, of_pairs)
            del of_pairs
        else:
            by_interval = query @ self._by_head(tables[0], width).mT
            index = interval[:, None].expand(-1, self.n_heads, -1, -1)
            scores = scores + by_interval.gather(-1, index)
        weights = (scores / width**0.5).masked_fill(~mask, -torch.inf).softmax(dim=-1)
        weights = functional.dropout(weights, self.dropout, self.training)
        attended = weights @ value
        if self.form == "explicit":
            of_pairs = tables[1](interval).unflatten(-1, (self.n_heads, width))
            attended = attended + torch.einsum("bhij,bijhd->bhid", weights, of_pairs)
        else:
            summed = torch.zeros_like(by_interval).scatter_add(-1, index, weights)
            attended = attended + summed @ self._by_head(tables[1], width)
        return self.out(attended.transpose(1, 2).flatten(-2))

    def _by_head(self, table: nn.Embedding, width: int) -> Tensor:
        """(h, k, d / h)."""
        return table.weight.unflatten(-1, (self.n_heads, width)).transpose(0, 1)


class TiSASRec(AbstractSequenceEncoder):
    """SASRec whose attention knows the interval of every pair of events.

    r_ij = min(|t_i - t_j| / unit, `max_interval`), whole; the unit is each row's smallest interval
    that is not 0, as in the paper. That one looks at the whole row, so train it on prefixes, or
    give `unit_s`, which makes it causal. The paper adds positions to keys and values alone.
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
        dropout: float = 0.2,
        max_interval: int = MAX_INTERVAL,
        unit_s: float | None = None,
        form: Form = "factored",
    ) -> None:
        super().__init__()
        if form not in ("explicit", "factored"):
            raise UsageError(f"no form '{form}'; there are explicit, factored")
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.max_interval, self.unit_s, self.causal = max_interval, unit_s, unit_s is not None
        self.items = nn.Embedding(n_items + 1, d_model, padding_idx=PAD)
        self.positions = nn.ModuleList(nn.Embedding(max_len, d_model) for _ in range(2))
        self.intervals = nn.ModuleList(nn.Embedding(max_interval + 1, d_model) for _ in range(2))
        self.input_norm = nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention": IntervalAttention(d_model, n_heads, dropout, form),
                    "attention_norm": nn.LayerNorm(d_model),
                    "inner": nn.Linear(d_model, 4 * d_model),
                    "outer": nn.Linear(4 * d_model, d_model),
                    "feed_forward_norm": nn.LayerNorm(d_model),
                }
            )
            for _ in range(n_layers)
        )
        self.apply(_initialise)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied."""
        return self.items.weight

    def interval_codes(self, items: Tensor, times: Tensor) -> Tensor:
        """(B, L, L) codes 0..max_interval; those of padding are never looked at."""
        apart = (times[:, :, None] - times[:, None, :]).abs()
        if self.unit_s is None:
            real = items != PAD
            both = real[:, :, None] & real[:, None, :] & (apart > 0)
            unit = apart.masked_fill(~both, torch.inf).flatten(1).min(dim=1).values[:, None, None]
        else:
            unit = apart.new_tensor(self.unit_s)
        return (apart / unit).clamp(max=self.max_interval).long()

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        interval = self.interval_codes(items, _given(self, times))
        places = tuple(each.weight[: items.shape[1]] for each in self.positions)
        mask = attention_mask(items, causal=True)
        x = self.dropout(self.input_norm(self.items(items)))
        for layer in self.layers:
            attended = layer["attention"].attend_in_time(
                x, interval, places, tuple(self.intervals), mask
            )
            x = layer["attention_norm"](x + self.dropout(attended))
            inner = layer["outer"](functional.gelu(layer["inner"](x)))
            x = layer["feed_forward_norm"](x + self.dropout(inner))
        return x


def _given(model: AbstractSequenceEncoder, times: Tensor | None) -> Tensor:
    if times is None:
        raise UsageError(f"{type(model).__name__} needs the times of events")
    return times


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_INIT_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        with torch.no_grad():
            module.weight[module.padding_idx].zero_()
