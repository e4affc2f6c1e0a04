"""Tiny random models of every family, and a tokenizer of words with real sentences' end marks."""

from collections.abc import Callable

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from paperround.kit.tiny_gpt import word_level_tokenizer

WORDS = (".", "!", "?", *"abcdefghijklmnopqrstuvwxyz")
VOCABULARY = 4 + len(WORDS)

_COMMON = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
_LLAMA_LIKE = _COMMON | {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
}
_GEMMA = _LLAMA_LIKE | {"head_dim": 8}
_GPT2 = _COMMON | {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 256}
_T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2}
_T5_SPECIAL = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "eos_token_id": 2,
    "decoder_start_token_id": 0,
    "dropout_rate": 0.0,
}
_WINDOW = {"sliding_window": 8, "query_pre_attn_scalar": 8}

MAKERS: dict[str, Callable[[], PreTrainedModel]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**_LLAMA_LIKE)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**_LLAMA_LIKE)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_LLAMA_LIKE, head_dim=8)),
    "gemma": lambda: GemmaForCausalLM(GemmaConfig(**_GEMMA)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**_GEMMA, **_WINDOW)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_GEMMA, **_WINDOW)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(**_GPT2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ),
    # With dropout, so that a draw from the global random state would show.
    "gpt2-dropout": lambda: GPT2LMHeadModel(GPT2Config(**_GPT2)),
    "t5": lambda: T5ForConditionalGeneration(T5Config(**_T5, **_T5_SPECIAL)),
}


@pytest.fixture
def a_model() -> Callable[..., PreTrainedModel]:
    """Builder: `a_model("gpt2", seed=1)`; each call gives a new one."""

    def build(name: str = "llama", seed: int = 0) -> PreTrainedModel:
        torch.set_num_threads(1)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return MAKERS[name]().eval()

    return build


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer with one id per word; the words are letters and end marks."""
    return word_level_tokenizer(WORDS)


@pytest.fixture
def a_text() -> Callable[..., list[int]]:
    """Builder of token ids with an end mark after every few letters, `n` sentences."""

    def build(n: int, seed: int = 0, length: int = 5) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        for _ in range(n):
            tokens += torch.randint(7, VOCABULARY, (length - 1,), generator=generator).tolist()
            tokens.append(4)
        return tokens

    return build
