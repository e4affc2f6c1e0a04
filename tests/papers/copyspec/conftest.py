"""Tiny random models in float64, whose greedy texts repeat themselves enough to be copied."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

VOCABULARY = 16
EOS = 1

_COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": EOS,
    "pad_token_id": 2,
    "initializer_range": 0.3,
}
_LLAMA_LIKE = _COMMON | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
_GPT2 = _COMMON | {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
_BLOOM = _COMMON | {"hidden_size": 32, "n_layer": 2, "n_head": 4}

_MAKERS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_LLAMA_LIKE)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**_GPT2)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_LLAMA_LIKE)),
    # Positions by ALiBi, and no position_ids in its forward.
    "bloom": lambda: BloomForCausalLM(BloomConfig(**_BLOOM)),
    # A window much shorter than the texts.
    "mistral-window": lambda: MistralForCausalLM(MistralConfig(**_LLAMA_LIKE, sliding_window=8)),
}


@cache
def build_model(name: str, seed: int) -> PreTrainedModel:
    """A random model of that kind, the same for the same seed; nobody changes it."""
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _MAKERS[name]().to(torch.float64).eval()


@pytest.fixture
def a_model() -> Callable[..., PreTrainedModel]:
    """Builder: `a_model("gpt2", seed=1)`."""
    return lambda name="llama", seed=0: build_model(name, seed)


@pytest.fixture
def a_prompt() -> Callable[..., torch.Tensor]:
    """Builder of random tokens, none of them special; (1, n_tokens)."""

    def build(seed: int, n_tokens: int = 20) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(3, VOCABULARY, (1, n_tokens), generator=generator)

    return build


@pytest.fixture
def llama() -> PreTrainedModel:
    """The random Llama that most tests share."""
    return build_model("llama", 0)


@pytest.fixture
def draft_model() -> PreTrainedModel:
    """Another random model over the same tokens."""
    return build_model("qwen2", 3)
