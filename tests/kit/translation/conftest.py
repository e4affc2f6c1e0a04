"""A toy language in which every text has one translation: words in reverse order, spelt anew."""

import random

import pytest
import torch

from paperround.kit.translation import Pair, learn_tokenizer

NOUNS = ("dog", "cat", "house", "tree", "man", "ball")
SPELT = {word: word[::-1] + "en" for word in NOUNS}


def toy_pairs(n, seed=0, longest=4):
    rng = random.Random(seed)
    pairs = []
    for _ in range(n):
        words = [rng.choice(NOUNS) for _ in range(rng.randint(1, longest))]
        pairs.append(Pair(" ".join(words), " ".join(SPELT[word] for word in reversed(words))))
    return pairs


@pytest.fixture(scope="session")
def pairs():
    return toy_pairs(400)


@pytest.fixture(scope="session")
def tokenizer(pairs):
    torch.set_num_threads(1)
    return learn_tokenizer(pairs, 50)
