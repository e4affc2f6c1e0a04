"""How a SUNDAE model learns: from corrupted targets, and from its own repairs of them.

    y0 = the target, each word replaced by a random one with probability a ~ U(0, 1) per text
    y1 ~ f(y0, x), drawn word by word, without a gradient
    L = 1/2 [CE(f(y0, x), y) + CE(f(y1, x), y)]

over ALL words, the intact ones too: at decoding nobody says which are wrong. Source: Savinov et
al., ICLR 2022, with two unrolled steps, as part C of the thesis.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from paperround.kit.language_models.decoding import evaluating
from paperround.papers.making_the_most.sundae import Batch, SundaeSeq2Seq

# The two unrolled steps of the paper.
N_UNROLLED = 2

TokenPairs = Sequence[tuple[Sequence[int], Sequence[int]]]


def corrupt(
    model: SundaeSeq2Seq,
    target: Batch,
    generator: torch.Generator,
    rate: float | None = None,
) -> Batch:
    """The target with random words: each with one probability per text, drawn from U(0, 1).

    `rate` sets that probability; at 0 the target comes back. Frame and padding stay.
    """
    n_rows, width = target.ids.shape
    rates = torch.rand(n_rows, 1, generator=generator) if rate is None else torch.tensor([[rate]])
    hit = (torch.rand(n_rows, width, generator=generator) < rates).to(target.ids.device)
    noise = random_words(model, (n_rows, width), generator)
    return replace(target, ids=torch.where(hit & target.words, noise, target.ids))


def random_words(
    model: SundaeSeq2Seq, shape: tuple[int, ...], generator: torch.Generator
) -> Tensor:
    """Ids drawn uniformly from the vocabulary without its special tokens."""
    words = model.allowed.nonzero()[:, 0]
    drawn = torch.randint(len(words), shape, generator=generator)
    return words[drawn.to(words.device)]


def sundae_loss(
    model: SundaeSeq2Seq,
    source: Batch,
    target: Batch,
    generator: torch.Generator,
    *,
    states: Tensor | None = None,
    n_unrolled: int = N_UNROLLED,
) -> Tensor:
    """The mean loss of the unrolled steps, nats a word of the target.

    `states` are the source's, where the caller has them already. The random numbers are the
    generator's alone.
    """
    if states is None:
        states = model.encode(source)
    draft = corrupt(model, target, generator)
    losses = []
    for step in range(n_unrolled):
        logits = model(draft, states, source)
        losses.append(_cross_entropy(logits, target))
        if step + 1 < n_unrolled:
            draft = replace(draft, ids=_drawn(model, logits.detach(), draft, generator))
    return torch.stack(losses).mean()


def length_loss(model: SundaeSeq2Seq, states: Tensor, source: Batch, target: Batch) -> Tensor:
    """The loss of the length head, nats a text."""
    return nn.functional.cross_entropy(
        model.length_logits(states, source), model.length_classes(source, target)
    )


@dataclass(frozen=True)
class SundaePlan:
    """How a model is trained: our own choice, tried on Multi30k and a toy language."""

    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_share: float = 0.1
    final_share: float = 0.1
    weight_decay: float = 0.01
    length_weight: float = 0.1
    clip_norm: float = 1.0


def train_sundae(
    model: SundaeSeq2Seq,
    pairs: TokenPairs,
    plan: SundaePlan,
    *,
    seed: int,
    on_step: Callable[[float], None] | None = None,
) -> list[float]:
    """The SUNDAE loss of every update; the model is trained in place and left evaluating.

    `pairs` are ids of (source, target) without a frame. The updates depend on the seed alone.
    Raises ValueError where there are none, or one has an empty target.
    """
    _check(pairs)
    generator = torch.Generator().manual_seed(seed)
    rng = random.Random(f"sundae {seed}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay
    )
    warmup = max(1, int(plan.warmup_share * plan.steps))
    losses: list[float] = []
    # Dropout draws from the global state, which stays the caller's.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.train()
        for step, chosen in enumerate(_rounds(pairs, plan, rng)):
            cosine = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
            share = plan.final_share + (1 - plan.final_share) * cosine
            for group in optimizer.param_groups:
                group["lr"] = plan.learning_rate * min(share, (step + 1) / warmup)
            source = model.batch([pair[0] for pair in chosen])
            target = model.batch([pair[1] for pair in chosen])
            states = model.encode(source)
            loss = sundae_loss(model, source, target, generator, states=states)
            whole = loss + plan.length_weight * length_loss(model, states, source, target)
            optimizer.zero_grad(set_to_none=True)
            whole.backward()
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
            optimizer.step()
            losses.append(loss.item())
            if on_step is not None:
                on_step(losses[-1])
    model.eval()
    return losses


def validation_loss(
    model: SundaeSeq2Seq, pairs: TokenPairs, *, seed: int = 0, batch_size: int = 64
) -> float:
    """The SUNDAE loss in nats a word, every model under the same corruption for a seed.

    Raises ValueError as `train_sundae`.
    """
    _check(pairs)
    generator = torch.Generator().manual_seed(seed)
    total, n_words = 0.0, 0
    with torch.inference_mode(), evaluating(model):
        for start in range(0, len(pairs), batch_size):
            chosen = pairs[start : start + batch_size]
            source = model.batch([pair[0] for pair in chosen])
            target = model.batch([pair[1] for pair in chosen])
            n = int(target.words.sum())
            total += n * float(sundae_loss(model, source, target, generator))
            n_words += n
    return total / n_words


def _check(pairs: TokenPairs) -> None:
    if not pairs:
        raise ValueError("no pairs to learn from")
    for number, (_, target) in enumerate(pairs, 1):
        if not target:
            raise ValueError(f"pair {number} has an empty target, which has no words to learn")


def _cross_entropy(logits: Tensor, target: Batch) -> Tensor:
    return nn.functional.cross_entropy(logits[target.words].float(), target.ids[target.words])


def _drawn(
    model: SundaeSeq2Seq, logits: Tensor, draft: Batch, generator: torch.Generator
) -> Tensor:
    """(rows, width) ids drawn from the model's probabilities of words."""
    probs = logits.float().masked_fill(~model.allowed, -torch.inf).softmax(dim=-1)
    cumulative = probs[draft.words].cumsum(dim=-1)
    lots = torch.rand(cumulative.shape[0], 1, generator=generator).to(cumulative.device)
    drawn = torch.searchsorted(cumulative, lots * cumulative[:, -1:], right=True)[:, 0]
    ids = draft.ids.clone()
    ids[draft.words] = drawn.clamp(max=probs.shape[-1] - 1)
    return ids


def _rounds(
    pairs: TokenPairs, plan: SundaePlan, rng: random.Random
) -> "list[list[tuple[Sequence[int], Sequence[int]]]]":
    """The batches of all updates: every pair once before any twice, alike lengths together."""
    batches: list[list[tuple[Sequence[int], Sequence[int]]]] = []
    while len(batches) < plan.steps:
        order = list(pairs)
        rng.shuffle(order)
        # Within a stretch of sixteen batches, so that little is padding and batches still mix.
        stretch = 16 * plan.batch_size
        for start in range(0, len(order), stretch):
            part = sorted(order[start : start + stretch], key=lambda pair: len(pair[1]))
            cut = [part[i : i + plan.batch_size] for i in range(0, len(part), plan.batch_size)]
            rng.shuffle(cut)
            batches += cut
    return batches[: plan.steps]
