"""What similarity is measured against: other ways to choose what goes.

Consecutive blocks, by cosine or by angular distance, are in `plans.py`: they are made from scores.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paperround.papers.llm_drop.measures import check_fits, mean_loss
from paperround.papers.llm_drop.plans import (
    DropKind,
    DropPlan,
    Unit,
    dropped,
    plan_of,
    scored_kinds,
)
from paperround.papers.llm_drop.sublayers import dropped_sublayers, layers_of


def plan_randomly(
    n_layers: int, n: int, kind: DropKind, seed: int, *, protect: Iterable[int] = ()
) -> DropPlan:
    """So many sub-layers of that kind, each set equally likely. Raises ValueError for too many."""
    units = _free(n_layers, kind, protect)
    _check(n, units, kind)
    chosen = np.random.default_rng(seed).permutation(len(units))[:n]
    return plan_of(units[i] for i in chosen)


def plan_last(n_layers: int, n: int, kind: DropKind, *, protect: Iterable[int] = ()) -> DropPlan:
    """The n deepest sub-layers of that kind, deepest first. Raises ValueError for too many."""
    units = _free(n_layers, kind, protect)
    _check(n, units, kind)
    return plan_of(sorted(units, key=lambda unit: -unit[1])[:n])


def plan_by_loss(
    model: PreTrainedModel,
    batches: Sequence[Tensor],
    n: int,
    kind: DropKind = "attention",
    *,
    protect: Iterable[int] = (),
    on_step: Callable[[], None] = lambda: None,
) -> DropPlan:
    """The n sub-layers found one by one: each time the one whose loss harms the least goes.

    The strongest baseline, and a dear one: for every drop it measures the calibration loss without
    each of the sub-layers that are left. Layers below the one tried are not computed again; their
    output is kept, a residual stream for each layer. Batches are token ids without padding,
    (sequences, tokens). The model is intact again afterwards. `on_step` is called after each drop.
    Raises ValueError for too many, or without any token to predict.
    """
    free = _free(len(layers_of(model)), kind, protect)
    gone = dict(zip(("attention", "mlp"), dropped_sublayers(model), strict=True))
    free = [unit for unit in free if unit[1] not in gone.get(unit[0], ())]
    _check(n, free, kind)
    chosen: list[Unit] = []
    for _ in range(n):
        losses = {unit: 0.0 for unit in free if unit not in chosen}
        with dropped(model, plan_of(chosen)):
            for ids in (sequence[None] for batch in batches for sequence in batch):
                streams = residual_streams(model, ids)
                for unit in losses:
                    with (
                        dropped(model, plan_of([unit])),
                        resumed(model, unit[1], streams[unit[1]]),
                    ):
                        losses[unit] += mean_loss(model, [ids]) * ids[:, 1:].numel()
        # Of equal losses the lower layer.
        chosen.append(min(losses, key=lambda unit: losses[unit]))
        on_step()
    return plan_of(chosen)


def residual_streams(model: PreTrainedModel, ids: Tensor) -> list[Tensor]:
    """What goes into each layer for these tokens, (sequences, tokens, hidden) each.

    Raises ValueError for sequences longer than the model's positions.
    """
    check_fits(model, ids.shape[1])
    streams: list[Tensor] = []
    handles = [
        layer.register_forward_pre_hook(lambda module, args: streams.append(args[0]))
        for layer in layers_of(model)
    ]
    try:
        with torch.inference_mode():
            model(input_ids=ids.to(model.device), use_cache=False, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    return streams


@contextmanager
def resumed(model: PreTrainedModel, layer: int, stream: Tensor) -> Iterator[None]:
    """While this lasts, the model starts at that layer from that residual stream.

    It has to be run on the tokens that the stream is of, all of them and in one batch; other shapes
    raise ValueError.
    """
    layers = layers_of(model)
    below = list(layers[:layer])

    def enter(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        if args[0].shape != stream.shape:
            raise ValueError(f"a stream of {tuple(stream.shape)} is not {tuple(args[0].shape)}")
        return (stream, *args[1:])

    handle = layers[layer].register_forward_pre_hook(enter)
    for i in range(layer):
        layers[i] = _Passed()
    try:
        yield
    finally:
        handle.remove()
        for i, kept in enumerate(below):
            layers[i] = kept


class _Passed(nn.Module):
    """Stands where a layer is not computed; what follows takes its input from elsewhere."""

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states


def _free(n_layers: int, kind: DropKind, protect: Iterable[int]) -> list[Unit]:
    protected = set(protect)
    return [
        (of_kind, layer)
        for layer in range(n_layers)
        if layer not in protected
        for of_kind in scored_kinds(kind)
    ]


def _check(n: int, units: Sequence[Unit], kind: str) -> None:
    if not 0 <= n <= len(units):
        raise ValueError(f"{n} cannot be dropped: {len(units)} of kind '{kind}' can be chosen from")
