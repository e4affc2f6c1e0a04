"""The baselines' networks: SASRec in both forms, GRU4Rec, BERT4Rec.

d: width; B: rows; L: positions; h: heads. Sources: Kang and McAuley 2018 (SASRec), Hidasi et al.
2016 and RecBole's form (GRU4Rec), Sun et al. 2019 (BERT4Rec). The RecBole form of SASRec is the
one that ReaRec, SRA-CL and TiM4Rec build on.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.dropout import Dropout, dropout
from paperround.kit.recommendation.interactions import PAD, Side
from paperround.kit.recommendation.models import AbstractSequenceEncoder

_INIT_STD = 0.02


def attention_mask(items: Tensor, causal: bool) -> Tensor:
    """(B, 1, L, L), True where query q may look at key k: no padding, nothing later if causal.

    The diagonal is always True: a row of padding alone would have no key, and give NaN.
    """
    length = items.shape[1]
    mask = (items != PAD)[:, None, None, :].expand(-1, 1, length, -1)
    ones = torch.ones(length, length, dtype=torch.bool, device=items.device)
    if causal:
        mask = mask & ones.tril()
    return mask | torch.eye(length, dtype=torch.bool, device=items.device)


def position_ids(items: Tensor) -> Tensor:
    """(B, L): positions counted from the first real item, 0 on padding, whichever side it is on."""
    real = items != PAD
    return (real.long().cumsum(dim=1) - 1).clamp(min=0) * real


class SelfAttention(nn.Module):
    """Multi-head attention in separate steps, so that a method can keep keys or add its own."""

    def __init__(self, d_model: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        if d_model % n_heads:
            raise UsageError(f"d_model {d_model} cannot be shared by {n_heads} heads")
        self.n_heads, self.dropout = n_heads, dropout
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def heads(self, x: Tensor) -> Tensor:
        """(B, L, d) to (B, h, L, d / h)."""
        batch, length, width = x.shape
        return x.view(batch, length, self.n_heads, width // self.n_heads).transpose(1, 2)

    def attend(
        self,
        query: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        is_causal: bool = False,
    ) -> Tensor:
        """(B, L, d) from queries, keys and values of (B, h, ., d / h) each."""
        if self.training and self.dropout > 0:
            attended = self._attended(query, keys, values, mask, is_causal)
        else:
            attended = functional.scaled_dot_product_attention(
                query, keys, values, attn_mask=mask, is_causal=is_causal
            )
        batch, _, length, _ = attended.shape
        return self.out(attended.transpose(1, 2).reshape(batch, length, -1))

    def _attended(
        self, query: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, is_causal: bool
    ) -> Tensor:
        """Attention with dropout on its weights, for which PyTorch has no fast form on a CPU."""
        scores = (query * query.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        if is_causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores.masked_fill_(later, -torch.inf)
        if mask is not None:
            # As PyTorch's own: what may be looked at, or what is added to the scores.
            if mask.dtype == torch.bool:
                scores.masked_fill_(~mask, -torch.inf)
            else:
                scores += mask
        return dropout(scores.softmax(dim=-1), self.dropout, True) @ values

    def forward(
        self, x: Tensor, context: Tensor, mask: Tensor | None, is_causal: bool = False
    ) -> Tensor:
        """(B, L, d): queries of x looking at the context."""
        keys, values = self.heads(self.key(context)), self.heads(self.value(context))
        return self.attend(self.heads(self.query(x)), keys, values, mask, is_causal)


class TransformerBlock(nn.Module):
    """x = LN(x + Drop(attention(x))); x = LN(x + Drop(W2 gelu(W1 x))): norms after the sums."""

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        d_inner: int,
        dropout: float,
        attention_dropout: float,
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(d_model, n_heads, attention_dropout)
        self.attention_norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.inner, self.outer = nn.Linear(d_model, d_inner), nn.Linear(d_inner, d_model)
        self.feed_forward_norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor | None, is_causal: bool = False) -> Tensor:
        """(B, L, d) to the same."""
        return self.after_attention(x, self.attention(x, x, mask, is_causal))

    def after_attention(self, x: Tensor, attended: Tensor) -> Tensor:
        """The block's output, where what its attention gave is known already."""
        x = self.attention_norm(x + self.dropout(attended))
        inner = self.outer(functional.gelu(self.inner(x)))
        return self.feed_forward_norm(x + self.dropout(inner))


class SASRec(AbstractSequenceEncoder):
    """SASRec as RecBole has it: x = Drop(LN(e + p)), blocks with norms after the sums, gelu.

    `causal=False` lets every item look at the whole history (what ReaRec calls BERT4Rec): train it
    on prefixes then, never on all positions at once.
    """

    def __init__(
        self,
        n_items: int,
        *,
        d_model: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        d_inner: int | None = None,
        max_len: int = 50,
        dropout: float = 0.5,
        attention_dropout: float | None = None,
        causal: bool = True,
        padding: Side = "right",
        norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.causal, self.padding = causal, _side(padding)
        self.items = nn.Embedding(n_items + 1, d_model, padding_idx=PAD)
        self.positions = nn.Embedding(max_len, d_model)
        self.input_norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.input_dropout = Dropout(dropout)
        attention_dropout = dropout if attention_dropout is None else attention_dropout
        self.blocks = nn.ModuleList(
            TransformerBlock(
                d_model, n_heads, d_inner or 4 * d_model, dropout, attention_dropout, norm_eps
            )
            for _ in range(n_layers)
        )
        self.apply(_initialise)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied."""
        return self.items.weight

    def embed(self, items: Tensor) -> Tensor:
        """(B, L, d): what goes into the first block."""
        if self.padding == "right":
            places = self.positions.weight[: items.shape[1]]
        else:
            places = self.positions(position_ids(items))
        return self.input_dropout(self.input_norm(self.items(items) + places))

    def masking(self, items: Tensor) -> tuple[Tensor | None, bool]:
        """The mask of the attention, and whether plain causality says it all."""
        # With padding on the right, what is causal never sees it: no mask, and a faster kernel.
        if self.causal and self.padding == "right":
            return None, True
        return attention_mask(items, self.causal), False

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        mask, is_causal = self.masking(items)
        x = self.embed(items)
        for block in self.blocks:
            x = block(x, mask, is_causal)
        return x


class OriginalSASRec(AbstractSequenceEncoder):
    """SASRec as its authors have it: norms before the attention's query, ReLU, a last norm.

    x = e sqrt(d) + p; q = LN(x), x = q + attention(q, x, x); y = LN(x), x = y + FFN(y).
    """

    def __init__(
        self,
        n_items: int,
        *,
        d_model: int = 50,
        n_layers: int = 2,
        n_heads: int = 1,
        max_len: int = 50,
        dropout: float = 0.5,
        padding: Side = "right",
    ) -> None:
        super().__init__()
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.padding = _side(padding)
        self.items = nn.Embedding(n_items + 1, d_model, padding_idx=PAD)
        self.positions = nn.Embedding(max_len, d_model)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    "attention_norm": nn.LayerNorm(d_model, eps=1e-8),
                    "attention": SelfAttention(d_model, n_heads, dropout),
                    "feed_forward_norm": nn.LayerNorm(d_model, eps=1e-8),
                    "inner": nn.Linear(d_model, d_model),
                    "outer": nn.Linear(d_model, d_model),
                }
            )
            for _ in range(n_layers)
        )
        self.last_norm = nn.LayerNorm(d_model, eps=1e-8)
        self.apply(_initialise)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied."""
        return self.items.weight

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        left = self.padding == "left"
        mask = attention_mask(items, causal=True) if left else None
        places = position_ids(items) if left else torch.arange(items.shape[1], device=items.device)
        x = self.items(items) * self.d_model**0.5 + self.positions(places)
        x = self.dropout(x)
        for layer in self.layers:
            q = layer["attention_norm"](x)
            x = q + layer["attention"](q, x, mask, is_causal=not left)
            y = layer["feed_forward_norm"](x)
            inner = self.dropout(functional.relu(layer["inner"](y)))
            x = y + self.dropout(layer["outer"](inner))
        return self.last_norm(x)


class GRU4Rec(AbstractSequenceEncoder):
    """GRU4Rec as RecBole has it: dropout on embeddings, one GRU without biases, a projection."""

    def __init__(
        self,
        n_items: int,
        *,
        d_model: int = 64,
        d_hidden: int = 128,
        n_layers: int = 1,
        max_len: int = 50,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.items = nn.Embedding(n_items + 1, d_model, padding_idx=PAD)
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(d_model, d_hidden, n_layers, bias=False, batch_first=True)
        self.project = nn.Linear(d_hidden, d_model)
        nn.init.xavier_normal_(self.items.weight)
        for weight in self.gru.parameters():
            nn.init.xavier_uniform_(weight)
        nn.init.xavier_normal_(self.project.weight)
        nn.init.zeros_(self.project.bias)
        _zero_padding(self.items)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied."""
        return self.items.weight

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder; padding stands on the right, where it changes nothing."""
        states, _ = self.gru(self.dropout(self.items(items)))
        return self.project(states)


class BERT4Rec(AbstractSequenceEncoder):
    """BERT4Rec: every position sees all others; hidden items are guessed, and so is the next one.

    The mask has code n_items + 1. To predict, a mask is appended to the history (dropping the
    oldest item where it is full). Scores have a bias per item. Train it with
    `objectives.masked_items`, and for long: it needs many more epochs than SASRec (Petrov and
    Macdonald 2022), which is why published figures of it disagree.
    """

    causal = False

    def __init__(
        self,
        n_items: int,
        *,
        d_model: int = 64,
        n_layers: int = 2,
        n_heads: int = 2,
        d_inner: int | None = None,
        max_len: int = 50,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.mask_item = n_items + 1
        self.items = nn.Embedding(n_items + 2, d_model, padding_idx=PAD)
        # One more position than items, for the mask behind a full history.
        self.positions = nn.Embedding(max_len + 1, d_model)
        self.input_norm = nn.LayerNorm(d_model, eps=1e-12)
        self.input_dropout = Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(d_model, n_heads, d_inner or 4 * d_model, dropout, dropout)
            for _ in range(n_layers)
        )
        self.project = nn.Linear(d_model, d_model)
        self.project_norm = nn.LayerNorm(d_model, eps=1e-12)
        self.bias = nn.Parameter(torch.zeros(n_items + 1))
        self.apply(_initialise)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied, without the mask's."""
        return self.items.weight[: self.n_items + 1]

    def item_bias(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.bias

    def embed(self, items: Tensor) -> Tensor:
        """(B, L, d): what goes into the first block, of rows of up to max_len + 1 items."""
        places = self.positions.weight[: items.shape[1]]
        return self.input_dropout(self.input_norm(self.items(items) + places))

    def masking(self, items: Tensor) -> tuple[Tensor | None, bool]:
        """The mask of the attention, and whether plain causality says it all: never here."""
        return attention_mask(items, causal=False), False

    def read_out(self, x: Tensor) -> Tensor:
        """(..., d): the states that score, from what the last block gave."""
        return self.project_norm(functional.gelu(self.project(x)))

    def asked(self, items: Tensor) -> Tensor:
        """(B, L + 1): histories with a mask behind them, where the next item would stand."""
        lengths = (items != PAD).sum(dim=1)
        return functional.pad(items, (0, 1)).scatter(1, lengths[:, None], self.mask_item)

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder; rows of up to max_len + 1 items, masks among them."""
        x = self.embed(items)
        mask, _ = self.masking(items)
        for block in self.blocks:
            x = block(x, mask)
        return self.read_out(x)

    def last_hidden(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder: the state of a mask appended to the history."""
        rows = torch.arange(items.shape[0], device=items.device)
        return self(self.asked(items))[rows, (items != PAD).sum(dim=1)]


def _side(padding: Side) -> Side:
    if padding not in ("right", "left"):
        raise UsageError(f"padding stands on the right or the left, not '{padding}'")
    return padding


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_INIT_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):
        _zero_padding(module)


def _zero_padding(embedding: nn.Embedding) -> None:
    if embedding.padding_idx is not None:
        with torch.no_grad():
            embedding.weight[embedding.padding_idx].zero_()
