"""The Levenshtein Transformer: an encoder, a decoder that sees both sides, and three classifiers.

Encoder and decoder are Marian's layers of transformers: the only differences from a MarianMTModel
of the same size are the mask and the classifiers, and a trained one can be the start
(`from_translator`). What classes mean: deletion 1 is "delete", insertion k is "k placeholders".

Legend: h_0 .. h_{n+1} are the decoder's states of `<s> y_1 .. y_n </s>`, r = i / (n + 1) is where
in the sequence position i is, from 0 to 1.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import MarianConfig, MarianModel, MarianMTModel, PreTrainedModel
from transformers import initialization as init

from paperround.errors import UsageError

# More tokens than this in one place take several refinements. Ours; fairseq has 255.
MAX_INSERTIONS = 64
# Relative positions have as many embeddings; ours, the paper's parametrisation was not seen.
POSITION_BINS = 32


class LevenshteinConfig(MarianConfig):
    """Marian's configuration, and what the classifiers need."""

    model_type = "paperround-levenshtein"

    max_insertions: int = MAX_INSERTIONS
    position_bins: int = POSITION_BINS
    placeholder_token_id: int = 4


class LevenshteinTransformer(PreTrainedModel):
    """Edits a sequence given a source: what to delete, where to insert, and what.

    `encode` and `decode` give states; `deletion_logits`, `insertion_logits` and `token_logits` read
    the decoder's. All tensors are padded on the right with masks of 1 and 0; sequences of the
    decoder begin with `<s>` and end with `</s>`.
    """

    config_class = LevenshteinConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: LevenshteinConfig) -> None:
        super().__init__(config)
        self.model = MarianModel(config)
        self.deletion = nn.Linear(config.d_model, 2)
        self.insertion = nn.Linear(2 * config.d_model, config.max_insertions + 1)
        # Zero at first, which is the plain Levenshtein Transformer exactly.
        self.deletion_position = nn.Embedding(config.position_bins, config.d_model)
        self.insertion_position = nn.Embedding(config.position_bins, config.d_model)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        self.model._init_weights(module)
        if module in (self.deletion_position, self.insertion_position):
            init.zeros_(module.weight)

    @classmethod
    def from_translator(
        cls, translator: MarianMTModel, *, placeholder_token_id: int, seed: int, **changes: Any
    ) -> "LevenshteinTransformer":
        """A model with the translator's encoder, decoder and embeddings, its classifiers untrained.

        `changes` override fields of the configuration. The translator stays as it is. Raises
        UsageError where no token of the vocabulary is left to be the placeholder.
        """
        config = translator.config
        taken = (config.pad_token_id, config.bos_token_id, config.eos_token_id)
        if placeholder_token_id in taken or placeholder_token_id not in range(config.vocab_size):
            raise UsageError(
                f"the placeholder is {placeholder_token_id}; give the id of a token of its own, "
                f"below {config.vocab_size}, such as the tokenizer's mask token"
            )
        fields = translator.config.to_dict() | changes
        fields |= {"placeholder_token_id": placeholder_token_id}
        for name in ("model_type", "architectures", "transformers_version", "dtype"):
            fields.pop(name, None)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = cls(LevenshteinConfig(**fields))
        model.model.load_state_dict(translator.model.state_dict())
        return model.eval()

    def encode(self, source: Tensor, source_mask: Tensor) -> Tensor:
        """The states of the sources: (batch, length, d_model)."""
        return self.model.encoder(input_ids=source, attention_mask=source_mask).last_hidden_state

    def decode(self, y: Tensor, y_mask: Tensor, states: Tensor, source_mask: Tensor) -> Tensor:
        """The states h of the sequences, each position seeing all: (batch, n + 2, d_model)."""
        # Already four-dimensional, so that Marian's decoder makes no causal mask of it.
        blocked = torch.finfo(states.dtype).min * (1 - y_mask.to(states.dtype))
        return self.model.decoder(
            input_ids=y,
            attention_mask=blocked[:, None, None, :].expand(-1, 1, y.shape[1], -1),
            encoder_hidden_states=states,
            encoder_attention_mask=source_mask,
            use_cache=False,
        ).last_hidden_state

    def deletion_logits(self, h: Tensor, y_mask: Tensor | None = None) -> Tensor:
        """Keep or delete, for each position: (batch, n + 2, 2); both ends are never asked."""
        return self.deletion(h + self.deletion_position(self._bins(h, y_mask)))

    def insertion_logits(self, h: Tensor, y_mask: Tensor | None = None) -> Tensor:
        """How many placeholders between each position and the next: (batch, n + 1, classes)."""
        # pi_plh(i) reads [h_i ; h_{i+1}]
        h = h + self.insertion_position(self._bins(h, y_mask))
        return self.insertion(torch.cat([h[:, :-1], h[:, 1:]], dim=-1))

    def token_logits(self, h: Tensor) -> Tensor:
        """The token of each position, by the embeddings: (batch, n + 2, vocabulary).

        Padding, both ends and the placeholder itself cannot be chosen.
        """
        config = self.config
        logits = nn.functional.linear(h, self.model.shared.weight)
        never = [
            config.pad_token_id,
            config.bos_token_id,
            config.eos_token_id,
            config.placeholder_token_id,
        ]
        logits[..., never] = torch.finfo(logits.dtype).min
        return logits

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, y: Tensor, y_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The deletion, insertion and token logits of the same sequences y."""
        states = self.encode(input_ids, attention_mask)
        h = self.decode(y, y_mask, states, attention_mask)
        return (
            self.deletion_logits(h, y_mask),
            self.insertion_logits(h, y_mask),
            self.token_logits(h),
        )

    def _bins(self, h: Tensor, y_mask: Tensor | None) -> Tensor:
        r = relative_positions(h.shape[:2], y_mask, h.device)
        n_bins = self.config.position_bins
        return (r * n_bins).long().clamp(max=n_bins - 1)


def relative_positions(
    shape: tuple[int, int], y_mask: Tensor | None, device: torch.device | None = None
) -> Tensor:
    """The place i / (n + 1) of each position, 0 for `<s>` and 1 for `</s>`: (batch, n + 2)."""
    places = torch.arange(shape[1], device=device)
    if y_mask is None:
        return (places / max(1, shape[1] - 1)).expand(shape)
    last = (y_mask.sum(1, keepdim=True) - 1).clamp(min=1)
    return (places / last).clamp(max=1.0)
