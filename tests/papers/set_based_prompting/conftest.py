"""Tiny random models of many families, and tokenizers with known ids."""

import functools

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from paperround.kit.tiny_gpt import word_level_tokenizer

WORDS = [f"w{i}" for i in range(26)]
N_WORDS = len(WORDS) + 4
# Shorter than almost every prompt of these tests.
WINDOW = 4

COMMON = {
    "vocab_size": N_WORDS,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "initializer_range": 0.25,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GEMMA = {**COMMON, "head_dim": 4, "sliding_window": WINDOW, "query_pre_attn_scalar": 4}
MIXED = {"layer_types": ["sliding_attention", "full_attention"]}
GPT2 = {
    "vocab_size": N_WORDS, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64,
    "initializer_range": 0.25, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip

BUILDERS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**COMMON)),
    "llama eager": lambda: LlamaForCausalLM(LlamaConfig(**COMMON, attn_implementation="eager")),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(**GPT2)),
    "gpt2 eager": lambda: GPT2LMHeadModel(GPT2Config(**GPT2, attn_implementation="eager")),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**COMMON)),
    "qwen2 with a window": lambda: Qwen2ForCausalLM(
        Qwen2Config(**COMMON, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1)
    ),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**COMMON, head_dim=4)),
    "gemma2": lambda: Gemma2ForCausalLM(Gemma2Config(**GEMMA)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA, **MIXED)),
    "mistral with a window": lambda: MistralForCausalLM(
        MistralConfig(**COMMON, sliding_window=WINDOW)
    ),
    "gpt-neox": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(**{k: v for k, v in COMMON.items() if k != "num_key_value_heads"})
    ),
}


@functools.cache
def built(family, dtype):
    torch.manual_seed(0)
    return BUILDERS[family]().to(dtype).eval()


@pytest.fixture(params=list(BUILDERS))
def family(request):
    return request.param


@pytest.fixture
def model(family):
    """A model of each family in double precision, where equal means equal."""
    return built(family, torch.float64)


@pytest.fixture
def atol(family):
    """How near equal is in double precision; eager Llama and Gemma 2 keep a single softmax."""
    return 1e-5 if family in ("llama eager", "gemma2") else 1e-9


@pytest.fixture
def model32(family):
    return built(family, torch.float32)


@pytest.fixture
def a_model():
    """Builds a model of one family."""
    return lambda family="llama", dtype=torch.float64: built(family, dtype)


@pytest.fixture(scope="session")
def tokenizer():
    """One id per word w0..w25, BOS first, padded on the left."""
    return word_level_tokenizer(WORDS)


@pytest.fixture(scope="session")
def bpe():
    """A byte-level BPE that merges across spaces, without BOS and without a padding token."""
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=N_WORDS + 300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bare.train_from_iterator(["the crow and the cat", "the crow", "and the dog"] * 5, trainer)
    chat = "{% for message in messages %}{{ message['content'] }}<|end|>{% endfor %}answer"
    return PreTrainedTokenizerFast(tokenizer_object=bare, eos_token="<|end|>", chat_template=chat)
