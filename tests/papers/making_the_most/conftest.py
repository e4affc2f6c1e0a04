"""Tiny random models that the searches of part D are tried on."""

from collections.abc import Callable

import pytest
import torch
from transformers import MarianConfig, MarianMTModel, PreTrainedModel

from paperround.kit.language_models.families import random_model

EOS, BOS = 4, 5


def _marian(seed: int, n_tokens: int, init_std: float) -> PreTrainedModel:
    config = MarianConfig(
        vocab_size=n_tokens, d_model=16, encoder_layers=1, decoder_layers=2,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_ffn_dim=16, init_std=init_std, max_position_embeddings=64, pad_token_id=BOS,
        eos_token_id=EOS, decoder_start_token_id=BOS, forced_eos_token_id=None,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MarianMTModel(config).eval()


@pytest.fixture
def searchable() -> Callable[..., PreTrainedModel]:
    """A model of a family, or "marian": tokens 0 to 3 are words, 4 ends a text, 5 begins it."""

    def make(
        family: str, seed: int = 0, n_tokens: int = 6, init_std: float = 0.8, **config: object
    ) -> PreTrainedModel:
        if family == "marian":
            return _marian(seed, n_tokens, init_std)
        ids = {"eos_token_id": EOS, "pad_token_id": EOS, "bos_token_id": BOS}
        return random_model(family, seed, vocab_size=n_tokens, **ids, **config)

    return make
