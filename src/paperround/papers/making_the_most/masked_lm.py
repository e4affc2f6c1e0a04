"""A small masked language model and its training: what part C starts from where none can be had.

An ordinary BertForMaskedLM on texts of both languages, with BERT's own objective: 15 % of the words
are guessed, of which 80 % are masked, 10 % are another word and 10 % stand as they are (Devlin et
al., NAACL 2019). It never sees which texts translate each other.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM

from paperround.papers.making_the_most.sundae import SpecialTokens

GUESSED, MASKED, REPLACED = 0.15, 0.8, 0.1


@dataclass(frozen=True)
class MaskedLMSize:
    """The size of the model: our own choice."""

    d_model: int = 128
    n_layers: int = 3
    n_heads: int = 4
    d_ffn: int = 512
    max_positions: int = 128


@dataclass(frozen=True)
class MaskedLMPlan:
    """How it is trained: our own choice."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_share: float = 0.1
    weight_decay: float = 0.01
    clip_norm: float = 1.0


def build_masked_lm(
    n_tokens: int, special: SpecialTokens, size: MaskedLMSize, *, seed: int
) -> BertForMaskedLM:
    """An untrained model without dropout; the caller's random state stays as is."""
    config = BertConfig(
        vocab_size=n_tokens,
        hidden_size=size.d_model,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        intermediate_size=size.d_ffn,
        max_position_embeddings=size.max_positions,
        type_vocab_size=1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=special.pad,
        bos_token_id=special.bos,
        eos_token_id=special.eos,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BertForMaskedLM(config).eval()


def train_masked_lm(
    model: BertForMaskedLM,
    texts: Sequence[Sequence[int]],
    special: SpecialTokens,
    mask_token: int,
    plan: MaskedLMPlan,
    *,
    seed: int,
    on_step: Callable[[float], None] | None = None,
) -> list[float]:
    """The loss of every update, nats a guessed word; the model is trained in place.

    `texts` are ids without a frame.
    """
    rng = random.Random(f"masked language model {seed}")
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    warmup = max(1, int(plan.warmup_share * plan.steps))
    losses: list[float] = []
    model.train()
    for step in range(plan.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * min(cosine, (step + 1) / warmup)
        ids, words = _batch(rng.choices(texts, k=plan.batch_size), special)
        masked, guessed = mask_words(
            ids, words, special, mask_token, model.config.vocab_size, generator
        )
        states = model.bert(
            input_ids=masked, attention_mask=(ids != special.pad).long()
        ).last_hidden_state
        # The head costs as much as the layers: only the guessed words go through it.
        logits = model.cls(states[guessed])
        loss = nn.functional.cross_entropy(logits, ids[guessed])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
        optimizer.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(losses[-1])
    model.eval()
    return losses


def mask_words(
    ids: Tensor,
    words: Tensor,
    special: SpecialTokens,
    mask_token: int,
    n_tokens: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """The ids with some words hidden, and which ones are to be guessed; both (rows, width).

    At least one word of the batch is.
    """
    guessed = (torch.rand(ids.shape, generator=generator) < GUESSED) & words
    if not bool(guessed.any()):
        first = words.flatten().int().argmax()
        guessed.view(-1)[first] = True
    lots = torch.rand(ids.shape, generator=generator)
    allowed = torch.tensor([token for token in range(n_tokens) if token not in special.all])
    others = allowed[torch.randint(len(allowed), ids.shape, generator=generator)]
    hidden = torch.where(lots < MASKED, torch.full_like(ids, mask_token), ids)
    hidden = torch.where((lots >= MASKED) & (lots < MASKED + REPLACED), others, hidden)
    return torch.where(guessed, hidden, ids), guessed


def _batch(texts: Sequence[Sequence[int]], special: SpecialTokens) -> tuple[Tensor, Tensor]:
    assert special.bos is not None
    assert special.eos is not None
    width = max(map(len, texts)) + 2
    ids = torch.full((len(texts), width), special.pad)
    words = torch.zeros(ids.shape, dtype=torch.bool)
    for row, text in enumerate(texts):
        whole = [special.bos, *text, special.eos]
        ids[row, : len(whole)] = torch.tensor(whole)
        words[row, 1 : len(text) + 1] = True
    return ids, words
