"""The inputs of a decoder's layers: seen and changed on their way, and turned into keys and values.

What Transformer-XL keeps of the past are the layers' inputs; keys and values are computed from them
whenever they are attended to.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import DynamicCache, PreTrainedModel

from paperround.papers.making_the_most.decoders import layers_of


class LayerInputs:
    """While this is entered: what goes into each layer, in `seen`, with `deltas` added to it.

    (rows, tokens, d) each, one a layer; they require gradients wherever gradients are on.
    """

    def __init__(self, model: PreTrainedModel, deltas: Sequence[Tensor] = ()) -> None:
        self._layers, self._deltas = layers_of(model), deltas
        self.seen: list[Tensor] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> "LayerInputs":
        for place, layer in enumerate(self._layers):
            hook = self._hook(place)
            self._handles.append(layer.register_forward_pre_hook(hook, with_kwargs=True))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()

    def _hook(self, place: int) -> Callable[..., tuple[Any, Any]]:
        def hook(layer: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
            hidden = args[0] if args else kwargs["hidden_states"]
            if self._deltas:
                hidden = hidden + self._deltas[place].to(hidden.dtype)
            if torch.is_grad_enabled() and not hidden.requires_grad:
                hidden = hidden.detach().requires_grad_()
            self.seen.append(hidden)
            if args:
                return (hidden, *args[1:]), kwargs
            return args, {**kwargs, "hidden_states": hidden}

        return hook


class _Recorded(Exception):
    """A layer has computed its keys and values, and need not go on."""


class _Recorder(DynamicCache):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        self.found += [key_states, value_states]
        raise _Recorded


def keys_values_of(
    model: PreTrainedModel, inputs: Sequence[Tensor], positions: Tensor
) -> list[Tensor]:
    """The keys and values that layers compute from given inputs, as a list by layer: k, v, k, v ...

    `inputs` has (rows, columns, d) for each layer, `positions` the columns' places in the text.
    Each layer runs as far as its keys and values, with the family's own norms, projections and
    positions; the rest, which is most of its work, is not done.
    """
    recorder = _Recorder()
    ids = torch.zeros(inputs[0].shape[:2], dtype=torch.long, device=inputs[0].device)
    with _only_keys_and_values(model, inputs):
        model.base_model(
            input_ids=ids, position_ids=positions[None], past_key_values=recorder, use_cache=True
        )
    return recorder.found


@contextmanager
def _only_keys_and_values(model: PreTrainedModel, inputs: Sequence[Tensor]) -> Iterator[None]:
    layers = list(layers_of(model))
    # What somebody else has put in the method's place comes back, else the class's own shows again.
    before = [vars(layer).get("forward") for layer in layers]
    for layer, given in zip(layers, inputs, strict=True):
        layer.forward = _stopping(layer.forward, given.to(model.dtype))
    try:
        yield
    finally:
        for layer, theirs in zip(layers, before, strict=True):
            del layer.forward
            if theirs is not None:
                layer.forward = theirs


def _stopping(forward: Callable[..., Any], given: Tensor) -> Callable[..., Tensor]:
    def stopping(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        with suppress(_Recorded):
            forward(given, *args, **kwargs)
        return hidden_states

    return stopping
