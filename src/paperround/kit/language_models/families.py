"""Small random models of the families that people use, and a tokenizer that knows every text.

Position ids, masks and caches differ from family to family; a method that is to work on any model
is tried on each of these. They know nothing and need no download.
"""

from collections.abc import Mapping
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from transformers import (
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)
from transformers.models.auto.modeling_auto import AutoModelForCausalLM

PAD, BOS, EOS = "<pad>", "<bos>", "<eos>"
CONTEXT = 512
_SLIDING_WINDOW = 16

_CHAT = (
    "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)

_LLAMA_LIKE: Mapping[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
}
_FAMILIES: Mapping[str, tuple[type[PreTrainedConfig], Mapping[str, Any]]] = {
    "llama": (LlamaConfig, _LLAMA_LIKE),
    "qwen2": (Qwen2Config, _LLAMA_LIKE),
    "qwen3": (Qwen3Config, _LLAMA_LIKE),
    # Windows that are shorter than the texts, in every other layer, and softly capped logits.
    "gemma2": (Gemma2Config, {**_LLAMA_LIKE, "sliding_window": _SLIDING_WINDOW}),
    "gemma3": (
        Gemma3TextConfig,
        {**_LLAMA_LIKE, "sliding_window": _SLIDING_WINDOW, "sliding_window_pattern": 2},
    ),
    # Learned positions, which end with the context.
    "gpt2": (GPT2Config, {"n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": CONTEXT}),
}
FAMILIES = tuple(_FAMILIES)
# In float64 two ways to compute the same thing do not part at a tie. Gemma 2's own attention takes
# its softmax in float32 whatever the model is in, and gets NaN where all of a row is masked by the
# lowest float64, as padding is.
_DTYPES = {**dict.fromkeys(FAMILIES, torch.float64), "gemma2": torch.float32}


def random_model(
    family: str, seed: int = 0, dtype: torch.dtype | None = None, **config: Any
) -> PreTrainedModel:
    """A model of that family with random weights, the same for the same seed.

    Its vocabulary is that of `byte_tokenizer`. In float64 unless said otherwise, Gemma 2 in
    float32. `config` replaces values of the family's configuration.
    """
    kind, sizes = _FAMILIES[family]
    special = {"pad_token_id": 256, "bos_token_id": 257, "eos_token_id": 258}
    made = kind(**{**sizes, "vocab_size": 259, "initializer_range": 0.2, **special, **config})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForCausalLM.from_config(made, dtype=dtype or _DTYPES[family]).eval()


def byte_tokenizer(**special: Any) -> PreTrainedTokenizerFast:
    """A tokenizer with a token per byte: every text comes back as it was. No padding by default."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    tokenizer.add_special_tokens([PAD, BOS, EOS])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        **{"bos_token": BOS, "eos_token": EOS, "chat_template": _CHAT, **special},
    )
