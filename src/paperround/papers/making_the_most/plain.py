"""Both parts slowly, straight from their equations; what tests compare the methods with.

For Llama-like models of transformers, one text at a time.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel

from paperround.papers.making_the_most.decoders import frozen, token_losses


def attention_with_slots(
    queries: Tensor, keys: Tensor, values: Tensor, slots: tuple[Tensor, Tensor], bias: Tensor
) -> Tensor:
    """softmax([q · slot keys + b, q · keys]) [slot values, values], causal among the window's own.

    One head: queries, keys, values (tokens, size), already scaled and turned; the slots' keys and
    values (slots, size), bias (slots,). A loop over queries.
    """
    slot_keys, slot_values = slots
    out = []
    for i, query in enumerate(queries):
        logits = torch.cat([slot_keys @ query + bias, keys[: i + 1] @ query])
        out.append(logits.softmax(dim=0) @ torch.cat([slot_values, values[: i + 1]]))
    return torch.stack(out)


def optimised_losses(
    model: PreTrainedModel, ids: Tensor, *, lr: float, window: int, max_cache: int, adam: bool
) -> Tensor:
    """The losses of (1, tokens) with one step a window on keys and values, (1, tokens - 1).

    Every column of the cache has its own parameters and its own optimizer of PyTorch's, so that
    what leaves the cache takes its moments along.
    """
    columns: list[tuple[list[nn.Parameter], torch.optim.Optimizer]] = []
    losses = []
    for start in range(0, ids.shape[1] - 1, window):
        read = ids[:, start : start + window][:, : ids.shape[1] - 1 - start]
        targets = ids[:, start + 1 : start + 1 + read.shape[1]]
        positions = torch.arange(start, start + read.shape[1])[None]
        with torch.no_grad():
            cache = _cache_of([parameters for parameters, _ in columns])
            logits = model(read, past_key_values=cache, position_ids=positions).logits
            losses.append(token_losses(logits, targets))
        own = _split(_new_states(cache, read.shape[1]), read.shape[1])
        make = torch.optim.Adam if adam else torch.optim.SGD
        columns += [(column, make(column, lr=lr)) for column in own]
        for _, optimizer in columns:
            optimizer.zero_grad()
        with frozen(model):
            _loss_with(model, read, targets, positions, [c for c, _ in columns]).backward()
        for _, optimizer in columns:
            optimizer.step()
        columns = columns[-max_cache:]
    return torch.cat(losses, dim=1)


class _Replaced(DynamicCache):
    """Answers with given keys and values for past and window together."""

    def __init__(self, states: Sequence[Tensor], n_past: int) -> None:
        super().__init__()
        self._states, self._n_past = states, n_past

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kw: object
    ) -> tuple[Tensor, Tensor]:
        """The given ones; the window's own new values serve the gradient of what feeds them."""
        n = self._n_past
        keys, values = self._states[2 * layer_idx], self._states[2 * layer_idx + 1]
        # A window's state is what the layer computes, plus its own change, which is zero here.
        own_keys = key_states + keys[..., n:, :] - keys[..., n:, :].detach()
        own_values = value_states + values[..., n:, :] - values[..., n:, :].detach()
        return (
            torch.cat([keys[..., :n, :], own_keys], dim=-2),
            torch.cat([values[..., :n, :], own_values], dim=-2),
        )

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return self._n_past

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        return self._n_past + query_length, 0


def _loss_with(
    model: PreTrainedModel,
    read: Tensor,
    targets: Tensor,
    positions: Tensor,
    columns: Sequence[Sequence[Tensor]],
) -> Tensor:
    states = [torch.cat(parts, dim=-2) for parts in zip(*columns, strict=True)]
    cache = _Replaced(states, len(columns) - read.shape[1])
    logits = model(read, past_key_values=cache, position_ids=positions).logits
    return token_losses(logits, targets).mean()


def _cache_of(columns: Sequence[Sequence[Tensor]]) -> DynamicCache:
    cache = DynamicCache()
    for layer in range(len(columns[0]) // 2 if columns else 0):
        keys, values = (
            torch.cat([column[2 * layer + i] for column in columns], dim=-2) for i in (0, 1)
        )
        cache.update(keys, values, layer)
    return cache


def _new_states(cache: DynamicCache, n: int) -> list[Tensor]:
    return [states[..., -n:, :] for layer in cache.layers for states in (layer.keys, layer.values)]


def _split(states: Sequence[Tensor], n: int) -> list[list[nn.Parameter]]:
    return [
        [nn.Parameter(one[..., i : i + 1, :].detach().clone()) for one in states] for i in range(n)
    ]
