"""A toy vocabulary and random models over it, small enough for milliseconds."""

import pytest
import torch

from paperround.kit.translation import TranslatorSize, build_translator, learn_tokenizer
from paperround.papers.fretna import build_levt
from paperround.papers.fretna.toy import toy_pairs

SIZE = TranslatorSize(
    d_model=16, n_encoder_layers=1, n_decoder_layers=2, n_heads=2, d_ffn=24, dropout=0.0
)


@pytest.fixture(scope="session")
def size():
    """The size of the random models."""
    return SIZE


@pytest.fixture(scope="session")
def pairs():
    return toy_pairs(200, 0)


@pytest.fixture(scope="session")
def tokenizer(pairs):
    torch.set_num_threads(1)
    return learn_tokenizer(pairs, 60)


def shaken(model, seed, size=0.5):
    """The model with weights large enough that its choices differ from place to place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator)
    return model.eval()


@pytest.fixture
def a_levt(tokenizer):
    """Builder: an eventful random model; `a_levt(seed=1)`."""

    def build(seed=0):
        return shaken(build_levt(tokenizer, SIZE, seed=seed), seed)

    return build


@pytest.fixture
def a_translator(tokenizer):
    """Builder: an eventful random translator; `a_translator(seed=1)`."""

    def build(seed=0):
        return shaken(build_translator(tokenizer, SIZE, seed=seed), seed)

    return build


@pytest.fixture(scope="session")
def sources(pairs):
    """Eight sources of different lengths."""
    return [pair.source for pair in pairs[:8]]
