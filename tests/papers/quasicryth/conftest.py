"""Texts that the tests share."""

import lzma
import random
from importlib.resources import files

import pytest


@pytest.fixture(scope="session")
def alice() -> bytes:
    packed = files("paperround.papers.quasicryth").joinpath("data", "alice29.txt.xz").read_bytes()
    return lzma.decompress(packed)


@pytest.fixture(scope="session")
def repetitive() -> bytes:
    """A text of few words in which phrases of every length up to 144 words come again."""
    rng = random.Random(5)
    words = [f"w{i:x} ".encode() for i in range(60)] + [b"The ", b"END. ", b"arXiv ", b"\r\n"]
    passages = [b"".join(rng.choices(words, k=rng.randrange(3, 400))) for _ in range(12)]
    return b"".join(rng.choices(passages, k=60))
