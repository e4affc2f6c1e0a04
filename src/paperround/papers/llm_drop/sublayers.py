"""Takes attention and MLP sub-layers out of a decoder of transformers, and their cache with them.

This file needs torch and transformers and nothing else: a folder that `save_dropped` writes holds
a copy of it, so that the folder loads where Paperround is not installed.

A decoder layer whose two sub-layers each read the residual stream and add to it:

    a = x + after_attention(attention(before_attention(x)))
    y = a + after_mlp(mlp(before_mlp(a)))

Gemma 2 and 3 have both norms of each sub-layer, the other families have the one before it. A
dropped sub-layer goes with its norms; what stands in its place adds nothing. The attentions that
stay are renumbered, so that the cache has an entry for each of them and none besides, and its first
entry, from which transformers reads how many tokens it holds, is always one that is filled.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Layout:
    """Where a family of models keeps its layers, and what their parts are called."""

    decoder: str
    layers: str
    attention: str
    mlp: str
    attention_norms: tuple[str, ...]
    mlp_norms: tuple[str, ...]

    @property
    def parts(self) -> tuple[str, ...]:
        """All the parts of a layer that have weights."""
        return (*self.attention_norms, self.attention, *self.mlp_norms, self.mlp)


LAYOUTS = (
    # Gemma 2 and 3; before the next one, whose parts are some of theirs
    Layout(
        "model",
        "layers",
        "self_attn",
        "mlp",
        ("input_layernorm", "post_attention_layernorm"),
        ("pre_feedforward_layernorm", "post_feedforward_layernorm"),
    ),
    # Llama, Mistral, Qwen2, Qwen3, Phi-3, Granite, SmolLM3 and what copies them
    Layout(
        "model", "layers", "self_attn", "mlp", ("input_layernorm",), ("post_attention_layernorm",)
    ),
    # GPT-2
    Layout("transformer", "h", "attn", "mlp", ("ln_1",), ("ln_2",)),
)


class Dropped(nn.Module):
    """Stands where an attention or an MLP was and adds nothing to the residual stream."""

    def __init__(self, returns_weights: bool) -> None:
        super().__init__()
        self.returns_weights = returns_weights

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        """A zero without dimensions, which costs the addition and nothing else."""
        nothing = hidden_states.new_zeros(())
        return (nothing, None) if self.returns_weights else nothing


@dataclass
class Removed:
    """What `drop_sublayers` took out; `restore` puts it back."""

    _undo: list[Callable[[], None]] = field(default_factory=list)

    def restore(self) -> None:
        """Makes the model what it was. What was removed last has to be restored first."""
        while self._undo:
            self._undo.pop()()


def layout_of(model: PreTrainedModel) -> Layout:
    """The layout of the model's layers.

    Raises ValueError for a model whose layers have other parts, such as one with attention and MLP
    side by side, whose sub-layers cannot be told apart in the residual stream.
    """
    for layout in LAYOUTS:
        layers = getattr(getattr(model, layout.decoder, None), layout.layers, None)
        if isinstance(layers, nn.ModuleList) and all(_fits(layout, layer) for layer in layers):
            return layout
    raise ValueError(
        f"{type(model).__name__} has no layers of attention and then MLP, each with its norm, as "
        "Llama, Mistral, Qwen2, Qwen3, Gemma 2 and 3 and GPT-2 have them; nothing was dropped"
    )


def decoder_of(model: PreTrainedModel) -> nn.Module:
    """The module that owns the layers and makes the cache."""
    return getattr(model, layout_of(model).decoder)


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder layers, in order."""
    layout = layout_of(model)
    return getattr(getattr(model, layout.decoder), layout.layers)


def dropped_sublayers(model: PreTrainedModel) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The layers whose attention is gone, and those whose MLP is gone, both in order."""
    layout, layers = layout_of(model), layers_of(model)
    return (
        tuple(i for i, layer in enumerate(layers) if _is_dropped(layer, layout.attention)),
        tuple(i for i, layer in enumerate(layers) if _is_dropped(layer, layout.mlp)),
    )


def drop_sublayers(
    model: PreTrainedModel, attention: Iterable[int] = (), mlp: Iterable[int] = ()
) -> Removed:
    """Takes these layers' attentions and MLPs out of the model, in place.

    Layers keep their numbers, those dropped before included. `model.config` gets `drop_attn_list`
    and `drop_mlp_list`. Nothing of what was taken out stays in the model; it is freed with what is
    returned. Raises ValueError for a layer that is not there or already without that part, and
    where no attention would stay: the positions of a model are read from its cache.
    """
    layout, layers = layout_of(model), layers_of(model)
    attention, mlp = (
        _checked(layers, layout.attention, attention),
        _checked(layers, layout.mlp, mlp),
    )
    kept = [
        layer
        for i, layer in enumerate(layers)
        if i not in attention and not _is_dropped(layer, layout.attention)
    ]
    if not kept:
        raise ValueError("one attention at least has to stay; this would drop all of them")
    removed = Removed()
    for i in attention:
        _replace(removed, layers[i], layout.attention, Dropped(returns_weights=True))
        for norm in layout.attention_norms:
            _replace(removed, layers[i], norm, nn.Identity())
    for i in mlp:
        _replace(removed, layers[i], layout.mlp, Dropped(returns_weights=False))
        for norm in layout.mlp_norms:
            _replace(removed, layers[i], norm, nn.Identity())
    if attention:
        for entry, layer in enumerate(kept):
            _set(removed, getattr(layer, layout.attention), "layer_idx", entry)
        decoder = getattr(model, layout.decoder)
        handle = decoder.register_forward_pre_hook(_give_short_cache, with_kwargs=True)
        removed._undo.append(handle.remove)
    gone = dropped_sublayers(model)
    for name, numbers in zip(("drop_attn_list", "drop_mlp_list"), gone, strict=True):
        _set(removed, model.config, name, list(numbers))
    return removed


def _fits(layout: Layout, layer: nn.Module) -> bool:
    children = dict(layer.named_children())
    others = (child for name, child in children.items() if name not in layout.parts)
    return all(isinstance(children.get(part), nn.Module) for part in layout.parts) and not any(
        True for child in others for _ in child.parameters()
    )


def _is_dropped(layer: nn.Module, part: str) -> bool:
    return isinstance(getattr(layer, part), Dropped)


def _checked(layers: Sequence[nn.Module], part: str, numbers: Iterable[int]) -> list[int]:
    chosen = sorted(set(numbers))
    for i in chosen:
        if not 0 <= i < len(layers):
            raise ValueError(f"there is no layer {i}; the model has layers 0 to {len(layers) - 1}")
        if _is_dropped(layers[i], part):
            raise ValueError(f"layer {i} has lost its {part} already")
    return chosen


def _replace(removed: Removed, layer: nn.Module, name: str, stand_in: nn.Module) -> None:
    stand_in.train(layer.training)
    _set(removed, layer, name, stand_in)


def _set(removed: Removed, holder: Any, name: str, value: Any) -> None:
    if hasattr(holder, name):
        before = getattr(holder, name)
        removed._undo.append(lambda: setattr(holder, name, before))
    else:
        removed._undo.append(lambda: delattr(holder, name))
    setattr(holder, name, value)


def _give_short_cache(
    decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
    """Before the decoder runs: takes the dropped layers' entries out of an empty cache.

    transformers makes a cache with an entry for every layer, wherever a cache is made: in
    `generate`, in the decoder itself, or by whoever calls it.
    """
    if args:
        names = list(inspect.signature(type(decoder).forward).parameters)[1:]
        kwargs = {**dict(zip(names, args, strict=False)), **kwargs}
    cache = kwargs.get("past_key_values")
    if cache is None:
        if not _makes_cache(decoder, kwargs):
            return None
        cache = DynamicCache(config=decoder.config)
    layers = next(child for child in decoder.children() if isinstance(child, nn.ModuleList))
    if len(getattr(cache, "layers", ())) == len(layers):
        if cache.get_seq_length():
            raise ValueError("this cache was filled by a model that has attention in every layer")
        attentions = [getattr(layer, "self_attn", getattr(layer, "attn", None)) for layer in layers]
        cache.layers = [
            entry
            for entry, attention in zip(cache.layers, attentions, strict=True)
            if not isinstance(attention, Dropped)
        ]
    return (), {**kwargs, "past_key_values": cache}


def _makes_cache(decoder: nn.Module, kwargs: dict[str, Any]) -> bool:
    if decoder.training and getattr(decoder, "gradient_checkpointing", False):
        return False
    wanted = kwargs.get("use_cache")
    return bool(getattr(decoder.config, "use_cache", False) if wanted is None else wanted)
