"""Reading a long text in windows without a memory: what part A is compared with.

Every function gives the losses of all tokens but the first, (rows, tokens - 1) in nats, so that
their means compare; what differs is how much of the text stands before a token, and what that
costs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paperround.papers.making_the_most.decoders import (
    GivenStates,
    check_ids,
    frozen,
    has_rotary_positions,
    layers_of,
    token_losses,
)


@dataclass(frozen=True)
class Reading:
    """What reading a text costs per token that is scored, the first window left out.

    `passes` is how many tokens go through the model, `keys` how many keys and values a query
    attends to in a layer, in the mean; `carried` how many tokens' keys and values are kept from one
    window to the next, in all layers (a slot in one layer of n counts 1/n).
    """

    passes: float
    keys: float
    carried: float


def window_losses(model: PreTrainedModel, ids: Tensor, window: int) -> Tensor:
    """Losses where every window of so many tokens is read on its own."""
    return overlapping_losses(model, ids, window, window)


def overlapping_losses(model: PreTrainedModel, ids: Tensor, window: int, stride: int) -> Tensor:
    """Losses where windows begin `stride` tokens after one another, and score what is new.

    Each is read on its own, from position 0: tokens that two windows share are computed twice.
    """
    check_ids(model, ids, window, shortest=2)
    if not 1 <= stride <= window:
        raise ValueError(f"a stride of {stride} does not fit windows of {window} tokens")
    losses, n_scored = [], 0
    with frozen(model), torch.no_grad():
        start = 0
        while n_scored < ids.shape[1] - 1:
            read = ids[:, start : start + window]
            read = read[:, : ids.shape[1] - 1 - start]
            targets = ids[:, start + 1 : start + 1 + read.shape[1]]
            found = token_losses(model(input_ids=read, use_cache=False).logits, targets)
            losses.append(found[:, n_scored - start :])
            n_scored = start + read.shape[1]
            start += stride
    return torch.cat(losses, dim=1)


def sink_losses(model: PreTrainedModel, ids: Tensor, window: int, n_sinks: int = 4) -> Tensor:
    """Losses of StreamingLLM's cache: the first tokens of all, and the last `window` tokens.

    Xiao, Tian, Chen, Han, Lewis: Efficient Streaming Language Models with Attention Sinks, arXiv
    2309.17453. The sinks stand right before the oldest token that is kept. As rotary positions
    count by distance only, they are read anew at that place for every window, which costs
    `n_sinks` tokens and needs no knowledge of how a family turns its keys.
    """
    check_ids(model, ids, ids.shape[1], shortest=2)
    if window < 1 or n_sinks < 1:
        raise ValueError("there has to be a window of one token at least, and one sink")
    if not has_rotary_positions(model):
        raise ValueError(f"sinks move, and {type(model).__name__} has no rotary positions")
    n_tensors = 2 * len(layers_of(model))
    kept: Sequence[Tensor] = ()
    losses = []
    with frozen(model), torch.no_grad():
        for start in range(0, ids.shape[1] - 1, window):
            read = ids[:, start : start + window][:, : ids.shape[1] - 1 - start]
            past: Sequence[Tensor] = kept
            n_kept = kept[0].shape[-2] if kept else 0
            if start - n_kept > 0:
                sinks = GivenStates(())
                # As many as are no longer in the window.
                n = min(n_sinks, start - n_kept)
                _read(model, ids[:, :n], sinks, start - n_kept - n)
                past = [torch.cat([sinks.new[i], kept[i]], dim=-2) for i in range(n_tensors)]
            states = GivenStates(past)
            logits = _read(model, read, states, start)
            losses.append(token_losses(logits, ids[:, start + 1 : start + 1 + read.shape[1]]))
            kept = [
                torch.cat([kept[i], states.new[i]], dim=-2)[..., -window:, :]
                if kept
                else states.new[i]
                for i in range(n_tensors)
            ]
    return torch.cat(losses, dim=1)


def _read(model: PreTrainedModel, ids: Tensor, states: GivenStates, start: int) -> Tensor:
    positions = torch.arange(start, start + ids.shape[1], device=ids.device)[None]
    return model(
        input_ids=ids, position_ids=positions, past_key_values=states, use_cache=True
    ).logits


def cost_of_windows(window: int, stride: int | None = None) -> Reading:
    """What windows cost that begin `stride` tokens after one another; `window` by default."""
    return Reading(passes=window / (stride or window), keys=(window + 1) / 2, carried=0)


def cost_of_sinks(window: int, n_sinks: int) -> Reading:
    """What StreamingLLM's cache costs, in windows as `sink_losses` reads them."""
    return Reading(
        passes=(window + n_sinks) / window,
        keys=n_sinks + window + (window + 1) / 2,
        carried=n_sinks + window,
    )
