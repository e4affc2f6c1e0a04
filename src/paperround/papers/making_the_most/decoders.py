"""What parts A and B ask of a decoder of transformers, whatever its family.

Both reach into a model at two places that all decoders share: the cache, which every attention asks
for the keys and values to attend to, and the layers, whose inputs and outputs are the residual
stream. Nothing here knows how a family computes its queries, positions or masks.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import DynamicCache, PreTrainedModel

# Those of transformers whose attention takes a mask of numbers to add.
ATTENTIONS_WITH_MASKS = ("eager", "sdpa")


def layers_of(model: PreTrainedModel) -> nn.ModuleList:
    """The decoder layers, in order, each with one attention.

    Raises ValueError for a model without a list of such layers, or one with an encoder.
    """
    config = model.config.get_text_config(decoder=True)
    if not model.config.is_encoder_decoder:
        for module in model.modules():
            if (
                isinstance(module, nn.ModuleList)
                and len(module) == config.num_hidden_layers
                and all(len(_attentions_in(layer)) == 1 for layer in module)
            ):
                return module
    raise ValueError(
        f"{type(model).__name__} has no list of decoder layers with one attention each, as Llama, "
        "Qwen, Gemma and GPT-2 have it"
    )


def attentions_of(model: PreTrainedModel) -> list[nn.Module]:
    """The attention of each layer, in order."""
    return [_attentions_in(layer)[0] for layer in layers_of(model)]


def _attentions_in(layer: nn.Module) -> list[nn.Module]:
    return [
        module
        for module in layer.modules()
        if isinstance(getattr(module, "layer_idx", None), int)
        and type(module).__name__.endswith("Attention")
    ]


def checked_layer(model: PreTrainedModel, layer: int) -> int:
    """The number of a layer, which may count from the end; raises ValueError where none is."""
    n_layers = len(layers_of(model))
    if not -n_layers <= layer < n_layers:
        raise ValueError(f"there is no layer {layer}; the model has layers 0 to {n_layers - 1}")
    return layer % n_layers


def check_ids(model: PreTrainedModel, ids: Tensor, n_positions: int, *, shortest: int) -> None:
    """Raises ValueError unless ids are (rows, tokens), long enough, with positions for each.

    Rotary positions go on without an end, and only the distances matter; a table of learnt ones
    ends.
    """
    if ids.ndim != 2 or ids.is_floating_point():
        raise ValueError(f"token ids have to be whole numbers (rows, tokens), not {ids.shape}")
    if ids.shape[1] < shortest:
        raise ValueError(f"{ids.shape[1]} tokens are too few, {shortest} is the least")
    check_positions(model, n_positions)


def check_positions(model: PreTrainedModel, n_positions: int) -> None:
    """Raises ValueError where the model has a table of positions, and it ends before so many."""
    last = n_learnt_positions(model)
    if last is not None and n_positions > last:
        raise ValueError(
            f"{n_positions} tokens need as many positions, {type(model).__name__} has learnt {last}"
        )


def n_learnt_positions(model: PreTrainedModel) -> int | None:
    """How many positions a model's table has; None for one without such a table."""
    if has_rotary_positions(model):
        return None
    config = model.config.get_text_config(decoder=True)
    return getattr(config, "max_position_embeddings", None)


def has_rotary_positions(model: PreTrainedModel) -> bool:
    """Whether the model turns queries and keys by their positions."""
    return any("Rotary" in type(module).__name__ for module in model.modules())


@contextmanager
def frozen(model: PreTrainedModel) -> Iterator[None]:
    """No weight of the model gets a gradient, no dropout; afterwards all is as it was."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    training = model.training
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        model.train(training)


def token_losses(logits: Tensor, targets: Tensor) -> Tensor:
    """-log p of each target in nats, float32 at least; (rows, tokens) for logits and targets.

    Logits behind the last target are ignored.
    """
    logits = logits[:, : targets.shape[1]]
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    return F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")


class GivenStates(DynamicCache):
    """A cache that gives every layer the past it was made with, and keeps what the layer adds.

    `past` has a layer's keys and values, (rows, heads, columns, size of a head), one after the
    other: keys of layer 0, values of layer 0, keys of layer 1, and so on; empty for no past. What
    is in `new` afterwards, in that order, are the nodes of the graph that attention has used, with
    `deltas` added where there are any. They require gradients, for whoever asks for those.
    """

    def __init__(self, past: Sequence[Tensor], deltas: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.past, self.deltas = past, deltas
        self.new: list[Tensor] = []

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: object, **kw: object
    ) -> tuple[Tensor, Tensor]:
        """The layer's keys and values, those of the past first."""
        together = []
        for place, states in zip(
            (2 * layer_idx, 2 * layer_idx + 1), (key_states, value_states), strict=True
        ):
            if self.deltas:
                states = states + self.deltas[place].to(states.dtype)
            if torch.is_grad_enabled() and not states.requires_grad:
                # Nothing below has a gradient: the graph begins here.
                states = states.detach().requires_grad_()
            self.new.append(states)
            past = [self.past[place].to(states.dtype)] if self.past else []
            together.append(torch.cat([*past, states], dim=-2))
        return together[0], together[1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """How many columns the past has."""
        return self.past[0].shape[-2] if self.past else 0

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """How many columns a mask has, and which one is its first."""
        return self.get_seq_length() + query_length, 0
