"""An encoder-decoder out of masked language models, which writes all of a text at once.

Part C of the thesis: the encoder is a masked language model (MLM), the decoder is one too, with
attention to the source added in every layer. Nothing is causal. The decoder improves a draft of the
target, first a random one, in a few steps: a denoiser trained as SUNDAE (`sundae_training.py`,
`sundae_decoding.py`; Savinov et al., ICLR 2022).

The added attention stands between a layer's self-attention and what follows,

    h <- h + W_o Attention(W_q h, W_k s, W_v s)

with W_q, W_k, W_v copied from the layer's own self-attention and W_o zero, so that at the start the
decoder IS the masked language model, whatever the source says.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

if TYPE_CHECKING:
    from paperround.papers.making_the_most.sundae_decoding import Written

# |y| - |x| within this many tokens either way is what the length head tells apart.
MAX_LENGTH_DIFFERENCE = 64


@dataclass(frozen=True)
class SpecialTokens:
    """Ids that frame, fill or mask texts: never noise, never predicted.

    A target stands between `bos` and `eos` where they are given, as the masked language model knows
    its texts ([CLS] ... [SEP]). `others` are forbidden besides, such as [MASK].
    """

    pad: int
    bos: int | None = None
    eos: int | None = None
    others: tuple[int, ...] = ()

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Self:
        """Those of a tokenizer; its unknown token counts as a word."""
        bos = (
            tokenizer.cls_token_id if tokenizer.cls_token_id is not None else tokenizer.bos_token_id
        )
        eos = (
            tokenizer.sep_token_id if tokenizer.sep_token_id is not None else tokenizer.eos_token_id
        )
        if tokenizer.pad_token_id is None:
            raise ValueError("the tokenizer has no padding token, which batches need")
        others = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
        return cls(tokenizer.pad_token_id, bos, eos, tuple(sorted(others)))

    @property
    def all(self) -> frozenset[int]:
        """Every id that is no word."""
        framing = [token for token in (self.bos, self.eos) if token is not None]
        return frozenset([self.pad, *framing, *self.others])


@dataclass(frozen=True)
class Batch:
    """Texts of unequal length: ids (rows, width), padded on the right, and where words stand.

    `mask`: all tokens that are not padding; `words`: those between the frame, which change.
    """

    ids: Tensor
    mask: Tensor
    words: Tensor


class SundaeSeq2Seq(nn.Module):
    """A non-autoregressive encoder-decoder; `from_mlm` makes one, `generate` writes.

    `encode` and `forward` are all that training and decoding ask of it.
    """

    def __init__(
        self, encoder: PreTrainedModel, decoder: nn.Module, special: SpecialTokens
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.special = encoder, decoder, special
        d_model, vocabulary = encoder.config.hidden_size, decoder.config.vocab_size
        n_differences = 2 * MAX_LENGTH_DIFFERENCE + 1
        self.length_head = nn.Linear(d_model, n_differences, dtype=encoder.dtype)
        # All lengths alike at first, and no random number drawn.
        nn.init.zeros_(self.length_head.weight)
        nn.init.zeros_(self.length_head.bias)
        allowed = torch.ones(vocabulary, dtype=torch.bool)
        allowed[sorted(token for token in special.all if token < vocabulary)] = False
        self.register_buffer("allowed", allowed)
        self.max_length = min(_n_positions(encoder), _n_positions(decoder.base_model))

    @classmethod
    def from_mlm(
        cls,
        encoder: PreTrainedModel | str | Path,
        decoder: PreTrainedModel | str | Path | None = None,
        *,
        special: SpecialTokens | None = None,
    ) -> Self:
        """The encoder-decoder that begins as two masked language models, or one used twice.

        Models of BERT's kind (BERT, RoBERTa, XLM-R, DistilBERT), with their masked-language head,
        or folders that hold one; the given ones stay as they are. One without the head, as a
        sentence encoder, gets its own embeddings as the head, after a fresh layer norm. `special`
        is read from the decoder's tokenizer where that is a folder. Raises ValueError for models of
        another build, and where nothing says which tokens are special.
        """
        if special is None:
            special = _special_tokens(encoder if decoder is None else decoder)
        read = _opened(encoder)
        write = copy.deepcopy(read) if decoder is None else copy.deepcopy(_opened(decoder))
        read = copy.deepcopy(read.base_model)
        for model in (read, write):
            if getattr(model.config, "is_decoder", False):
                raise ValueError(
                    f"{type(model).__name__} is configured as a decoder, which sees only what is "
                    "before a token; masked language models see both sides"
                )
        if write.get_output_embeddings() is None:
            write = _TiedMaskedLM(write)
        for layer in _layers(write.base_model):
            layer.attention = _WithSource(layer.attention, write.config, read.config.hidden_size)
        return cls(read, write, special)

    @property
    def n_framing(self) -> int:
        """How many tokens stand around a text."""
        return (self.special.bos is not None) + (self.special.eos is not None)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.allowed.device

    def batch(self, texts: Sequence[Sequence[int]]) -> Batch:
        """The texts as one padded batch, with the frame around each.

        Raises ValueError for one that exceeds the models' positions, and for one without any token
        where there is no frame.
        """
        bos = [] if self.special.bos is None else [self.special.bos]
        eos = [] if self.special.eos is None else [self.special.eos]
        width = max(len(text) for text in texts) + len(bos) + len(eos)
        if not self.n_framing and not all(texts):
            raise ValueError("an empty text, and no token that frames it: nothing is left to read")
        if width > self.max_length:
            raise ValueError(
                f"a text of {width} tokens with its frame; the models know {self.max_length} places"
            )
        ids = torch.full((len(texts), width), self.special.pad)
        mask = torch.zeros(len(texts), width, dtype=torch.bool)
        words = torch.zeros_like(mask)
        for row, text in enumerate(texts):
            whole = [*bos, *text, *eos]
            ids[row, : len(whole)] = torch.tensor(whole, dtype=torch.long)
            mask[row, : len(whole)] = True
            words[row, len(bos) : len(bos) + len(text)] = True
        return Batch(ids.to(self.device), mask.to(self.device), words.to(self.device))

    def encode(self, source: Batch) -> Tensor:
        """(rows, width, d): what the decoder attends to."""
        found = self.encoder(input_ids=source.ids, attention_mask=source.mask.long())
        return found.last_hidden_state

    def forward(self, draft: Batch, states: Tensor, source: Batch) -> Tensor:
        """(rows, width, V): logits of every token of the target, given a draft of all of them."""
        return self.decoder(
            input_ids=draft.ids,
            attention_mask=draft.mask.long(),
            source_states=states,
            source_mask=source.mask,
        ).logits

    def generate(self, sources: Sequence[Sequence[int]], **options: Any) -> "list[Written]":
        """A text for each source, which are ids without a frame: `sundae_decoding.generate`."""
        from paperround.papers.making_the_most.sundae_decoding import generate

        return generate(self, sources, **options)

    def length_logits(self, states: Tensor, source: Batch) -> Tensor:
        """(rows, 129): of |y| - |x| in words, from -64 to 64, by the mean state of the source."""
        weight = source.mask[..., None].to(states.dtype)
        return self.length_head((states * weight).sum(dim=1) / weight.sum(dim=1).clamp(min=1))

    def length_classes(self, source: Batch, target: Batch) -> Tensor:
        """(rows,): the class of each pair's difference in length."""
        difference = target.words.sum(dim=1) - source.words.sum(dim=1)
        bound = MAX_LENGTH_DIFFERENCE
        return difference.clamp(-bound, bound) + bound


class CrossAttention(nn.Module):
    """Attention from the target to the source, whose output starts as zero.

    Queries, keys and values start as copies of a self-attention's, where the sizes agree.
    """

    def __init__(self, self_attention: nn.Module, config: Any, d_source: int) -> None:
        super().__init__()
        d_model = config.hidden_size
        self.n_heads = config.num_attention_heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_source, d_model)
        self.value = nn.Linear(d_source, d_model)
        self.output = nn.Linear(d_model, d_model)
        copied = zip((self.query, self.key, self.value), _projections(self_attention), strict=True)
        with torch.no_grad():
            for mine, theirs in copied:
                mine.to(theirs.weight.dtype)
                if mine.weight.shape == theirs.weight.shape:
                    mine.weight.copy_(theirs.weight)
                    mine.bias.copy_(theirs.bias)
            self.output.to(self.query.weight.dtype)
            self.output.weight.zero_()
            self.output.bias.zero_()

    def forward(self, h: Tensor, states: Tensor, mask: Tensor) -> Tensor:
        """What h gains, (rows, target, d); `states` (rows, source, d_s), `mask` (rows, source)."""

        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)

        attended = nn.functional.scaled_dot_product_attention(
            heads(self.query(h)),
            heads(self.key(states)),
            heads(self.value(states)),
            attn_mask=mask[:, None, None, :],
        )
        return self.output(attended.transpose(1, 2).flatten(2))


class _WithSource(nn.Module):
    """A layer's self-attention, then attention to the source, which comes as keyword arguments."""

    def __init__(self, attention: nn.Module, config: Any, d_source: int) -> None:
        super().__init__()
        self.attention = attention
        self.cross = CrossAttention(getattr(attention, "self", attention), config, d_source)

    def forward(
        self,
        hidden_states: Tensor,
        *args: Any,
        source_states: Tensor,
        source_mask: Tensor,
        **kw: Any,
    ) -> tuple[Tensor, Tensor | None]:
        h, weights = self.attention(hidden_states, *args, **kw)
        return h + self.cross(h, source_states, source_mask), weights


class _TiedMaskedLM(nn.Module):
    """A masked language model out of an encoder without a head: logits are E norm(h)."""

    def __init__(self, base: PreTrainedModel) -> None:
        super().__init__()
        self.base_model, self.config = base, base.config
        self.norm = nn.LayerNorm(base.config.hidden_size, dtype=base.dtype)

    def forward(self, **inputs: Any) -> "_Logits":
        states = self.norm(self.base_model(**inputs).last_hidden_state)
        return _Logits(nn.functional.linear(states, self.base_model.get_input_embeddings().weight))


@dataclass(frozen=True)
class _Logits:
    logits: Tensor


def _opened(model: PreTrainedModel | str | Path) -> PreTrainedModel:
    if isinstance(model, PreTrainedModel):
        return model
    local = {"local_files_only": True, "trust_remote_code": False}
    kinds = AutoConfig.from_pretrained(model, **local).architectures or []
    has_head = any(kind.endswith(("ForMaskedLM", "ForPreTraining")) for kind in kinds)
    return (AutoModelForMaskedLM if has_head else AutoModel).from_pretrained(model, **local)


def _layers(base: PreTrainedModel) -> nn.ModuleList:
    for name in ("encoder", "transformer"):
        layers = getattr(getattr(base, name, None), "layer", None)
        if isinstance(layers, nn.ModuleList) and all(
            isinstance(getattr(layer, "attention", None), nn.Module) for layer in layers
        ):
            return layers
    raise ValueError(
        f"{type(base).__name__} is not of BERT's build: encoder.layer[i].attention is looked for"
    )


def _projections(attention: nn.Module) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
    for names in (("query", "key", "value"), ("q_lin", "k_lin", "v_lin")):
        found = [getattr(attention, name, None) for name in names]
        if all(isinstance(part, nn.Linear) for part in found):
            return found[0], found[1], found[2]
    raise ValueError(f"{type(attention).__name__} has no query, key and value that are known here")


def _n_positions(base: nn.Module) -> int:
    """How many tokens the model has positions for; RoBERTa's begin after that of padding."""
    offset = getattr(base.embeddings, "padding_idx", None)
    return base.config.max_position_embeddings - (0 if offset is None else offset + 1)


def _special_tokens(decoder: PreTrainedModel | str | Path) -> SpecialTokens:
    # Configurations do not say: BERT's names neither [CLS] nor [MASK].
    if isinstance(decoder, PreTrainedModel):
        raise ValueError(
            "a model does not say which of its tokens are special; give "
            "special=SpecialTokens.of(tokenizer)"
        )
    return SpecialTokens.of(
        AutoTokenizer.from_pretrained(decoder, local_files_only=True, trust_remote_code=False)
    )
