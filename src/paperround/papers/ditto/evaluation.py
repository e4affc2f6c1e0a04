"""A model on text that it was not trained on: perplexity, accuracy, copying, and what it writes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Fit:
    """How well a model predicts a text.

    `accuracy` is the share of tokens that were its first choice. `copy_accuracy` is that share
    among the tokens that complete a pair which the window has had before: names and terms that the
    text itself repeats, which a cure for loops must not forbid. None where there was no such token.
    """

    perplexity: float
    accuracy: float
    copy_accuracy: float | None


def fit_to_text(model: PreTrainedModel, ids: Tensor, context: int, batch_size: int = 8) -> Fit:
    """How well the model predicts a text (tokens,), cut into windows of `context` tokens.

    Windows do not overlap; the rest that fills no window is left out. Raises ValueError for a text
    shorter than one window.
    """
    n_windows = (len(ids) - 1) // context
    if n_windows < 1:
        raise ValueError(f"{len(ids)} tokens are less than one window of {context}")
    inputs = ids[: n_windows * context].view(n_windows, context)
    targets = ids[1 : n_windows * context + 1].view(n_windows, context)
    loss = right = copied_right = copied = 0.0
    for start in range(0, n_windows, batch_size):
        part = slice(start, start + batch_size)
        with torch.no_grad():
            logits = model(inputs[part], use_cache=False).logits.float()
        log_p = logits.gather(-1, targets[part].unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)
        hits = logits.argmax(-1) == targets[part]
        repeats = repeated_pairs(inputs[part], targets[part])
        loss -= log_p.double().sum().item()
        right += hits.sum().item()
        copied_right += (hits & repeats).sum().item()
        copied += repeats.sum().item()
    return Fit(
        perplexity=math.exp(loss / targets.numel()),
        accuracy=right / targets.numel(),
        copy_accuracy=copied_right / copied if copied else None,
    )


def repeated_pairs(inputs: Tensor, targets: Tensor) -> Tensor:
    """(rows, T), true where the pair of input t and target t stood earlier in the row."""
    mask = torch.zeros_like(inputs, dtype=torch.bool)
    for i, (row, following) in enumerate(zip(inputs.tolist(), targets.tolist(), strict=True)):
        seen: set[tuple[int, int]] = set()
        for t, pair in enumerate(zip(row, following, strict=True)):
            mask[i, t] = pair in seen
            seen.add(pair)
    return mask


def random_copy_accuracy(
    model: PreTrainedModel, ids: Sequence[int], *, rows: int, length: int, seed: int
) -> float:
    """The share of tokens that a model copies right from random ones: can it still look back?

    Every row is `length` random ids, twice; the second half is predicted, without its first token,
    which nothing announces.
    """
    generator = torch.Generator().manual_seed(seed)
    half = torch.tensor(ids)[torch.randint(len(ids), (rows, length), generator=generator)]
    with torch.no_grad():
        logits = model(torch.cat([half, half], 1)[:, :-1], use_cache=False).logits
    return (logits[:, length:].argmax(-1) == half[:, 1:]).float().mean().item()


def ordinary_ids(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The ids of all tokens that are no special ones."""
    special = set(tokenizer.all_special_ids)
    return [i for i in range(len(tokenizer)) if i not in special]


def prefixes_of(ids: Tensor, n_prefixes: int, length: int) -> Tensor:
    """(n_prefixes, length) tokens of a text, at even distances: the same for all models."""
    if n_prefixes * length > len(ids):
        raise ValueError(f"{len(ids)} tokens hold no {n_prefixes} prefixes of {length}")
    starts = torch.arange(n_prefixes) * (len(ids) // n_prefixes)
    return ids[starts[:, None] + torch.arange(length)]


def continuations(
    model: PreTrainedModel, prefixes: Tensor, n_new: int, batch_size: int = 64, **how: Any
) -> list[list[int]]:
    """`n_new` tokens after each of `prefixes` (rows, tokens), greedily unless `how` says otherwise.

    `how` goes to `model.generate`. Texts never end early: how much is repeated depends on length.
    """
    found: list[list[int]] = []
    for start in range(0, len(prefixes), batch_size):
        part = prefixes[start : start + batch_size]
        out = model.generate(
            part,
            attention_mask=torch.ones_like(part),
            max_new_tokens=n_new,
            min_new_tokens=n_new,
            **{"do_sample": False, **how},
        )
        found += out[:, prefixes.shape[1] :].tolist()
    return found
