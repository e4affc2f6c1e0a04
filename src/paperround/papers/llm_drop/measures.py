"""What dropping costs and what it saves, but for seconds: loss, accuracy, bytes, SDR."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from paperround.papers.llm_drop.sublayers import dropped_sublayers, layers_of, layout_of


def check_fits(model: PreTrainedModel, n_tokens: int) -> None:
    """Raises ValueError where so many tokens are more than the model's positions."""
    longest = getattr(model.config, "max_position_embeddings", None)
    if longest is not None and n_tokens > longest:
        raise ValueError(
            f"{n_tokens} tokens are more than the {longest} positions of the model; use shorter "
            "windows"
        )


def mean_loss(model: PreTrainedModel, batches: Iterable[Tensor]) -> float:
    """The mean over all predicted tokens of -log p(token | those before it), in nats.

    Batches are token ids without padding, (sequences, tokens); the first token of each sequence is
    given. Log-probabilities are taken in float32 at least. Raises ValueError without any token to
    predict, and for sequences longer than the model's positions.
    """
    total, n_tokens = 0.0, 0
    for ids in batches:
        if ids.shape[1] < 2:
            continue
        check_fits(model, ids.shape[1])
        # One sequence at a time: the logits of a large vocabulary outgrow everything else.
        for sequence in ids.to(model.device):
            with torch.inference_mode():
                logits = model(input_ids=sequence[None], use_cache=False).logits[0, :-1]
            logits = logits if logits.dtype == torch.float64 else logits.float()
            total += float(cross_entropy(logits, sequence[1:], reduction="sum"))
            n_tokens += len(sequence) - 1
    if not n_tokens:
        raise ValueError("there is no token to predict; give sequences of two tokens or more")
    return total / n_tokens


def perplexity(model: PreTrainedModel, batches: Iterable[Tensor]) -> float:
    """The exponential of `mean_loss`; infinity where that overflows."""
    loss = mean_loss(model, batches)
    return math.exp(loss) if loss < 700 else math.inf


@dataclass(frozen=True)
class Choice:
    """A beginning and its continuations, all of one length in tokens; the first one is true."""

    beginning: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]


def next_passage_choices(
    ids: Sequence[int], n: int, seed: int, *, beginning: int = 48, length: int = 16, ways: int = 4
) -> list[Choice]:
    """So many questions which passage comes next: the true one, or others drawn from the same text.

    Beginnings do not overlap one another nor their own continuations' windows. Raises ValueError
    where the text is too short for n.
    """
    window = beginning + length
    places = np.arange(0, len(ids) - window + 1, window)
    if len(places) < max(n, ways):
        raise ValueError(
            f"{len(ids)} tokens hold {len(places)} windows of {window}, {n} are needed"
        )
    rng = np.random.default_rng(seed)
    choices = []
    for place in rng.permutation(places)[:n]:
        others = rng.choice(places[places != place], size=ways - 1, replace=False)
        starts = [place, *others]
        choices.append(
            Choice(
                tuple(ids[place : place + beginning]),
                tuple(tuple(ids[s + beginning : s + window]) for s in starts),
            )
        )
    return choices


def choice_accuracy(
    model: PreTrainedModel, choices: Sequence[Choice], batch_size: int = 8
) -> float:
    """The share of questions where the true continuation has the highest log-probability, 0 to 1.

    All continuations have one length, so the mean and the sum over tokens rank alike. A tie counts
    as wrong. Raises ValueError without any question.
    """
    if not choices:
        raise ValueError("there is no question to answer")
    right = 0
    for start in range(0, len(choices), batch_size):
        some = choices[start : start + batch_size]
        rows = [(*choice.beginning, *way) for choice in some for way in choice.continuations]
        ids = torch.tensor(rows, device=model.device)
        check_fits(model, ids.shape[1])
        length = len(some[0].continuations[0])
        # The logits before each token of the continuation, and none of the beginning's.
        with torch.inference_mode():
            output = model(input_ids=ids, use_cache=False, logits_to_keep=length + 1)
        logits = output.logits[:, :-1]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        log_probs = -cross_entropy(logits.transpose(1, 2), ids[:, -length:], reduction="none")
        by_way = log_probs.sum(dim=1).view(len(some), -1)
        right += int((by_way[:, :1] > by_way[:, 1:]).all(dim=1).sum())
    return right / len(choices)


def cache_size_bytes(model: PreTrainedModel, n_tokens: int) -> int:
    """The bytes of keys and values after so many tokens of one sequence, in a cache that is filled.

    Costs a pass over that many tokens. Raises ValueError for fewer than one.
    """
    if n_tokens < 1:
        raise ValueError("a cache is measured with at least one token in it")
    check_fits(model, n_tokens)
    cache = DynamicCache(config=model.config)
    ids = torch.zeros(1, n_tokens, dtype=torch.long, device=model.device)
    with torch.inference_mode():
        model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return sum(entry.keys.nbytes + entry.values.nbytes for entry in cache.layers)


def cache_bytes_per_token(model: PreTrainedModel) -> int:
    """2 · kept attentions · key-value heads · head size · bytes a number, by the configuration."""
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    kept = len(layers_of(model)) - len(dropped_sublayers(model)[0])
    return 2 * kept * heads * head_size * model.dtype.itemsize


def n_parameters(model: PreTrainedModel) -> int:
    """How many numbers the model has learned; tied weights count once."""
    return sum(parameter.numel() for parameter in model.parameters())


def n_parameters_of(model: PreTrainedModel, kind: str, layer: int) -> int:
    """Those of one layer's attention or MLP with its norms: what goes when it is dropped."""
    layout, part = layout_of(model), layers_of(model)[layer]
    names = {
        "attention": (layout.attention, *layout.attention_norms),
        "mlp": (layout.mlp, *layout.mlp_norms),
    }[kind]
    return sum(p.numel() for name in names for p in getattr(part, name).parameters())


def speedup_degradation_ratio(before: float, after: float, speedup: float) -> float:
    """SDR: points of a metric lost for each percent of speed gained; lower is better.

    `before` and `after` in points (percent) of a metric where more is better, `speedup` as a factor
    above 1. Raises ValueError where nothing got faster: there is no ratio then. Source: the paper's
    speedup degradation ratio; its exact normalisation could not be read, this one is ours.
    """
    if speedup <= 1:
        raise ValueError(f"a speed-up of {speedup:g} gains nothing to divide the loss by")
    return (before - after) / (100 * (speedup - 1))


def token_windows(
    tokenizer: PreTrainedTokenizerBase, text: str, n: int, length: int, skip: int = 0
) -> list[Tensor]:
    """So many windows of consecutive tokens, (1, length) each, after `skip` windows of that length.

    No special token is added: models are scored on running text. Raises ValueError where the text
    is too short.
    """
    # A text above the model's context is no fault here, it is cut into windows.
    ids = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    needed = (skip + n) * length
    if len(ids) < needed:
        raise ValueError(f"the text has {len(ids)} tokens, {needed} are needed")
    return list(torch.tensor(ids[skip * length : needed]).view(n, 1, length))
