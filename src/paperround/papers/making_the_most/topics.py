"""A language of topics, and a small decoder that knows it: what part A is shown on in seconds.

An article has one of eight topics, and every topic has its own frequencies of the same words. In a
window the first words can only be guessed from all topics together, and the later ones from what
the words before them say of the topic; a memory of the window before knows the topic at once.
"""

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from paperround.papers.making_the_most.decoders import token_losses

N_TOPICS, N_WORDS = 8, 48
ARTICLE = 96
# How far the topics' frequencies lie apart: standard deviation of their logarithms.
_CONTRAST = 1.5


def write_articles(n: int, seed: int) -> Tensor:
    """So many articles of 96 words, one after the other, (96 n,) token ids; equal for equal seeds.

    The language is the same for every seed.
    """
    language = torch.Generator().manual_seed(0)
    frequencies = (_CONTRAST * torch.randn(N_TOPICS, N_WORDS, generator=language)).softmax(dim=1)
    generator = torch.Generator().manual_seed(1_000 + seed)
    topics = torch.randint(N_TOPICS, (n,), generator=generator)
    return torch.multinomial(
        frequencies[topics], ARTICLE, replacement=True, generator=generator
    ).flatten()


def train_decoder(window: int, n_updates: int, seed: int = 0) -> PreTrainedModel:
    """A decoder of 70,000 parameters, trained on windows of articles, each read on its own."""
    config = LlamaConfig(
        vocab_size=N_WORDS,
        hidden_size=48,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=3,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    articles = write_articles(2_000, seed=100 + seed).unflatten(0, (-1, ARTICLE))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, n_updates)
    for _ in range(n_updates):
        rows = torch.randint(len(articles), (64,), generator=generator)
        start = int(torch.randint(ARTICLE - window, (1,), generator=generator))
        ids = articles[rows, start : start + window + 1]
        loss = token_losses(model(ids[:, :-1]).logits, ids[:, 1:]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        decay.step()
    return model.eval()
