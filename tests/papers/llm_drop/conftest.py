"""Small random models of each family, in float64 so that equal means equal."""

import copy
from collections.abc import Callable
from functools import cache

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 40
N_LAYERS = 4

_COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
    "initializer_range": 0.3,
}
_LLAMA_LIKE = _COMMON | {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
# Gemma multiplies its embeddings by the root of the width, which is rounded in float32 or float64
# by how a model was made; the root of 16 is exact.
_GEMMA = _LLAMA_LIKE | {"hidden_size": 16}
_GPT2 = _COMMON | {"n_embd": 32, "n_layer": N_LAYERS, "n_head": 4, "n_positions": 128}
# Windows shorter than the texts, in some of the layers.
_MIXED = ["sliding_attention", "full_attention"] * (N_LAYERS // 2)

_MAKERS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_LLAMA_LIKE)),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_LLAMA_LIKE, sliding_window=6)),
    "qwen2": lambda: Qwen2ForCausalLM(
        Qwen2Config(**_LLAMA_LIKE, use_sliding_window=True, sliding_window=6, layer_types=_MIXED)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_LLAMA_LIKE)),
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**_GEMMA, sliding_window=6, layer_types=_MIXED, attn_implementation="eager")
    ),
    "gemma3": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(**_GEMMA, sliding_window=6, layer_types=_MIXED)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**_GPT2)),
}


@cache
def _weights(family: str, seed: int) -> PreTrainedModel:
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = _MAKERS[family]().to(torch.float64).eval()
        # Norms and biases start as ones and zeros, which would hide a norm that stayed.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.3 * torch.randn_like(parameter)
    return model


@pytest.fixture
def a_model() -> Callable[..., PreTrainedModel]:
    """Builder of a model that the test may change: `a_model("gpt2", seed=1)`."""

    def build(family: str = "llama", seed: int = 0) -> PreTrainedModel:
        return copy.deepcopy(_weights(family, seed))

    return build


@pytest.fixture
def some_ids() -> Callable[..., torch.Tensor]:
    """Builder of random tokens, none of them special; (n, n_tokens)."""

    def build(n: int = 2, n_tokens: int = 20, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randint(3, VOCABULARY, (n, n_tokens), generator=generator)

    return build
