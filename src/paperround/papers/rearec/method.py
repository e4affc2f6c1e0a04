"""Latent reasoning: a recommender thinks K steps further before it scores.

The last hidden state r_0 of a history goes back in as one more token, r_1 comes out, and so on:

    z_k = r_{k-1} + p^R_k,    r_k = the last layer at z_k,    k = 1..K                (Section 3.2)

z_k attends to all items and to z_1..z_{k-1}, through the encoder's own weights; items never attend
to reasoning tokens. B: rows, L: positions, d: width, h: heads, K: steps. losses.py has the recipes
that train it.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import (
    BERT4Rec,
    SASRec,
    SelfAttention,
    attention_mask,
)
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.models import (
    AbstractSequenceEncoder,
    AbstractSequenceModel,
    padded_on_the_left,
)

STEP_DROPOUT = 0.2
_INIT_STD = 0.02

Pool = Literal["mean", "last"]
KeysAndValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reading:
    """Histories as the encoder has read them, which every reasoning step looks at.

    `hidden` is (B, L, d), `layers` the keys and values (B, h, L, d / h) of every layer, `real`
    (B, L) where a token stands, `last` (B,) the place of the newest one.
    """

    hidden: Tensor
    layers: list[KeysAndValues]
    real: Tensor
    last: Tensor


class LatentReasoning(AbstractSequenceEncoder):
    """An encoder that reasons: the kit's SASRec, causal or seeing its whole history, or BERT4Rec.

    `pool` says what scores: "mean" of r_0..r_K (ERL), or "last", r_K (PRL). With `step_embeddings`
    off, p^R is 0 (the paper's naive variant). The encoder's own input norm and a dropout stand on
    z_k as they stand on items, which the released code does and the equations do not say;
    `share_norm=False` feeds z_k in as it is. Raises UsageError for another encoder.
    """

    def __init__(
        self,
        encoder: SASRec | BERT4Rec,
        num_steps: int = 2,
        *,
        pool: Pool = "mean",
        step_embeddings: bool = True,
        step_dropout: float = STEP_DROPOUT,
        share_norm: bool = True,
    ) -> None:
        super().__init__()
        if not isinstance(encoder, SASRec | BERT4Rec):
            raise UsageError(
                f"latent reasoning needs SASRec or BERT4Rec, not {type(encoder).__name__}; "
                "for a transformers decoder see reason_with_cache"
            )
        if num_steps < 0:
            raise UsageError(f"a model reasons 0 steps or more, not {num_steps}")
        if pool not in ("mean", "last"):
            raise UsageError(f"no pooling '{pool}'; there are mean, last")
        self.encoder, self.num_steps, self.pool = encoder, num_steps, pool
        self.n_items, self.d_model, self.max_len = encoder.n_items, encoder.d_model, encoder.max_len
        self.causal, self.padding = encoder.causal, encoder.padding
        self.share_norm = share_norm
        self.step_dropout = nn.Dropout(step_dropout)
        embeddings = torch.zeros(num_steps, encoder.d_model)
        if step_embeddings:
            nn.init.normal_(embeddings, std=_INIT_STD)
        self.step_embeddings = nn.Parameter(embeddings, requires_grad=step_embeddings)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.encoder.item_embeddings()

    def item_bias(self) -> Tensor | None:
        """See AbstractSequenceEncoder."""
        return self.encoder.item_bias()

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """(B, L, d): what scores at every position; a causal encoder reasons at all of them."""
        return self.pooled(self.all_positions(items))

    def last_hidden(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder."""
        return self.pooled(self.last_states(items))

    def last_states(self, items: Tensor) -> Tensor:
        """(B, K + 1, d): r_0..r_K after histories that are padded on the right."""
        if self.padding == "left":
            items, _ = padded_on_the_left(items, None)
        return self.steps(items)

    def pooled(self, states: Tensor) -> Tensor:
        """(..., d) from (..., K + 1, d): the mean over the K + 1 states, or the last."""
        return states.mean(dim=-2) if self.pool == "mean" else states[..., -1, :]

    def steps(self, items: Tensor) -> Tensor:
        """(B, K + 1, d): r_0..r_K after histories (B, L), padded on the encoder's side."""
        return self.reason(self.read(items))

    def read(self, items: Tensor) -> Reading:
        """The histories as the encoder reads them without any step."""
        items = self._given(items)
        mask, is_causal = self.encoder.masking(items)
        x = self.encoder.embed(items)
        layers: list[KeysAndValues] = []
        for block in self.encoder.blocks:
            attention = block.attention
            keys, values = attention.heads(attention.key(x)), attention.heads(attention.value(x))
            layers.append((keys, values))
            query = attention.heads(attention.query(x))
            x = block.after_attention(x, attention.attend(query, keys, values, mask, is_causal))
        real = items != PAD
        if self.padding == "left":
            last = torch.full_like(items[:, 0], items.shape[1] - 1)
        else:
            # A history of nothing is read at its first place.
            last = (real.sum(dim=1) - 1).clamp(min=0)
        return Reading(self._read_out(x), layers, real, last)

    def reason(
        self,
        read: Reading,
        prefixes: tuple[Tensor, Tensor] | None = None,
        *,
        clean: Tensor | None = None,
        noise_std: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(P, K + 1, d): r_0..r_K over what was read; a step computes one new token per prefix.

        `prefixes` are rows and places, (P,) each: the histories up to there; whole histories with
        None. With `clean` (P, K + 1, d), the states of another pass, step k starts from the clean
        r_{k-1} with noise added and keeps keys of its own: the noisy branch of PRL.
        """
        if prefixes is None:
            # A shape and not a length: an exported graph takes any number of rows.
            rows = torch.arange(read.last.shape[0], device=read.last.device)
            places = read.last
            layers, real = list(read.layers), read.real
        else:
            rows, places = prefixes
            layers = [(keys[rows], values[rows]) for keys, values in read.layers]
            real = read.real[rows]
            if self.causal:
                real = real & (torch.arange(real.shape[1], device=real.device) <= places[:, None])
        states = [read.hidden[rows, places]]
        visible = real[:, None, None, :]
        for k in range(self.num_steps):
            before = states[-1] if clean is None else clean[:, k]
            x = self._step_input(before, k, noise_std, generator)[:, None]
            # A token sees itself, so that a history of nothing has a key too.
            visible = functional.pad(visible, (0, 1), value=True)
            for number, block in enumerate(self.encoder.blocks):
                attention = block.attention
                keys = torch.cat([layers[number][0], attention.heads(attention.key(x))], dim=2)
                values = torch.cat([layers[number][1], attention.heads(attention.value(x))], dim=2)
                layers[number] = (keys, values)
                query = attention.heads(attention.query(x))
                x = block.after_attention(x, attention.attend(query, keys, values, visible))
            states.append(self._read_out(x[:, 0]))
        return torch.stack(states, dim=1)

    def steps_without_cache(self, items: Tensor) -> Tensor:
        """What `steps` gives, by encoding [items; z_1..z_k] anew for every k: slow and plain."""
        read = self.read(items)
        states = [read.hidden[torch.arange(len(items)), read.last]]
        items = self._given(items)
        inputs: list[Tensor] = []
        length = items.shape[1]
        for k in range(self.num_steps):
            inputs.append(self._step_input(states[-1], k))
            x = torch.cat([self.encoder.embed(items), torch.stack(inputs, dim=1)], dim=1)
            whole = torch.zeros(
                len(items), 1, length + k + 1, length + k + 1, dtype=torch.bool, device=items.device
            )
            whole[:, :, :length, :length] = attention_mask(items, self.causal)
            whole[:, :, length:, :length] = (items != PAD)[:, None, None, :]
            whole[:, :, length:, length:] = torch.ones(
                k + 1, k + 1, dtype=torch.bool, device=items.device
            ).tril()
            for block in self.encoder.blocks:
                x = block(x, whole)
            states.append(self._read_out(x[:, -1]))
        return torch.stack(states, dim=1)

    def all_positions(self, items: Tensor, read: Reading | None = None) -> Tensor:
        """(B, L, K + 1, d): r_0..r_K after every prefix at once, of rows on the encoder's side.

        The items are read once. At step k the token of position t attends to items up to t and to
        the earlier tokens of t: their logits stand beside those of the items in one softmax. Equal
        to `steps` on each prefix; raises UsageError where positions see what comes later.
        """
        if not self.causal:
            raise UsageError(
                "an encoder that sees later items reasons at the end of a prefix only; train it on "
                "prefixes"
            )
        read = read or self.read(items)
        visible = attention_mask(items, causal=True)
        own: list[list[KeysAndValues]] = [[] for _ in read.layers]
        states = [read.hidden]
        for k in range(self.num_steps):
            x = self._step_input(states[-1], k)
            for number, block in enumerate(self.encoder.blocks):
                attention = block.attention
                own[number].append(
                    (attention.heads(attention.key(x)), attention.heads(attention.value(x)))
                )
                attended = _attend_items_and_own(
                    attention, x, read.layers[number], own[number], visible
                )
                x = block.after_attention(x, attended)
            states.append(self._read_out(x))
        return torch.stack(states, dim=2)

    def _given(self, items: Tensor) -> Tensor:
        """What the encoder reads: BERT4Rec is asked by a mask behind the history."""
        return self.encoder.asked(items) if isinstance(self.encoder, BERT4Rec) else items

    def _read_out(self, x: Tensor) -> Tensor:
        return self.encoder.read_out(x) if isinstance(self.encoder, BERT4Rec) else x

    def _step_input(
        self,
        before: Tensor,
        k: int,
        noise_std: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        z = before + self.step_embeddings[k]
        if noise_std:
            z = z + noise_std * torch.randn(z.shape, generator=generator, device=z.device)
        return self.step_dropout(self.encoder.input_norm(z)) if self.share_norm else z


class AtStep(AbstractSequenceModel):
    """A reasoning model that scores with r_k of one step alone: what an oracle chooses among."""

    def __init__(self, model: LatentReasoning, step: int) -> None:
        super().__init__()
        if not 0 <= step <= model.num_steps:
            raise UsageError(f"the model has steps 0 to {model.num_steps}, and not {step}")
        self.model, self.step = model, step
        self.n_items, self.max_len = model.n_items, model.max_len

    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceModel."""
        training = self.model.training
        self.model.eval()
        with torch.no_grad():
            scores = self.model.score(self.model.last_states(items)[:, self.step])
        self.model.train(training)
        return scores


def reason_with_cache(
    model: Any,
    last_hidden: Tensor,
    past_key_values: Any,
    step_embeddings: Tensor,
    attention_mask: Tensor | None = None,
) -> Tensor:
    """(B, K + 1, d): r_0..r_K of a transformers decoder, over the cache of what it has read.

    `last_hidden` is r_0, (B, d), the model's last hidden state at the last token; `step_embeddings`
    is p^R, (K, d); `attention_mask` (B, tokens read) where rows are padded on the left. The cache
    grows by K tokens. Works with any model that takes `inputs_embeds` and `past_key_values`.
    """
    states = [last_hidden]
    for step in step_embeddings:
        extra = {}
        if attention_mask is not None:
            one = attention_mask.new_ones(len(attention_mask), 1)
            attention_mask = torch.cat([attention_mask, one], dim=1)
            # Positions count real tokens, as in the rows that were read.
            extra = {
                "attention_mask": attention_mask,
                "position_ids": attention_mask.sum(dim=1, keepdim=True) - 1,
            }
        out = model(
            inputs_embeds=(states[-1] + step)[:, None],
            past_key_values=past_key_values,
            use_cache=True,
            output_hidden_states=True,
            **extra,
        )
        states.append(out.hidden_states[-1][:, -1])
    return torch.stack(states, dim=1)


def _attend_items_and_own(
    attention: SelfAttention,
    x: Tensor,
    items: KeysAndValues,
    own: list[KeysAndValues],
    visible: Tensor,
) -> Tensor:
    """(B, L, d): position t attends to items up to t, and to its own reasoning tokens."""
    query = attention.heads(attention.query(x))
    scale = query.shape[-1] ** -0.5
    to_items = (query @ items[0].transpose(-1, -2) * scale).masked_fill(~visible, -torch.inf)
    to_own = torch.stack([(query * keys).sum(dim=-1) * scale for keys, _ in own], dim=-1)
    weights = torch.cat([to_items, to_own], dim=-1).softmax(dim=-1)
    weights = functional.dropout(weights, attention.dropout, attention.training)
    length = items[0].shape[2]
    attended = weights[..., :length] @ items[1]
    for number, (_, values) in enumerate(own):
        attended = attended + weights[..., length + number, None] * values
    batch, _, positions, _ = attended.shape
    return attention.out(attended.transpose(1, 2).reshape(batch, positions, -1))
