"""Part A: a memory for a pretrained decoder that reads a text in windows.

    H_j = hidden states behind layer `read_layer` in window j            (rows, w, d)
    z_j = mean of H_j over the window                                    (rows, d)
    keys, values = g(z_j)           n_slots of each, for each write layer
    in window j + 1, in a write layer:
        attention = softmax([q · slot keys + b, q · keys]) [slot values, values]

`g` is a small feed-forward net, b a learnt bias for each slot; the values start at zero and b below
zero, so that training starts (almost) from the model as it was. The window itself is read as ever,
from position 0; slots have no position. Where the read layer lies behind the write layer, H_j has
seen the slots of window j - 1, and the memory reaches back without an end, in numbers that do not
grow.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import DynamicCache, PreTrainedModel

from paperround.kit.language_models.decoding import evaluating
from paperround.papers.making_the_most.decoders import (
    ATTENTIONS_WITH_MASKS,
    GivenStates,
    attentions_of,
    check_ids,
    checked_layer,
    frozen,
    layers_of,
    token_losses,
)
from paperround.papers.making_the_most.windows import Reading

# Our choice: slots take some hundredths of the attention at first, too little to be felt and enough
# for their gradients.
START_BIAS = -4.0
# The bias is one number, where values grow by the sum of many: it gets a longer step.
_BIAS_STEP = 30.0


@dataclass(frozen=True)
class Memory:
    """What is carried to the next window: (write layers, rows, heads, slots, size of a head)."""

    keys: Tensor
    values: Tensor

    @property
    def n_numbers(self) -> int:
        """How many numbers a row's memory has."""
        return (self.keys.numel() + self.values.numel()) // self.keys.shape[1]

    def detach(self) -> "Memory":
        """The same memory, through which no gradient flows back."""
        return Memory(self.keys.detach(), self.values.detach())


class MemoryNet(nn.Module):
    """`g` and the slots' biases: all that is trained."""

    def __init__(
        self,
        d_model: int,
        d_hidden: int,
        # Write layers, heads, slots, size of a head.
        shape: tuple[int, int, int, int],
        n_windows: int,
        start_bias: float,
    ) -> None:
        super().__init__()
        self.shape = shape
        n_layers, _, n_slots, _ = shape
        n_out = torch.Size(shape).numel()
        self.net = nn.Sequential(
            nn.LayerNorm(d_model),
            nn.Linear(d_model, d_hidden),
            nn.GELU(),
            nn.Linear(d_hidden, n_out),
        )
        # Keys differ from the start, else all slots of a layer would learn the same.
        self.to_values = nn.Linear(d_hidden, n_out)
        nn.init.zeros_(self.to_values.weight)
        nn.init.zeros_(self.to_values.bias)
        # Oldest window first, as the slots stand in the memory.
        self.bias = nn.Parameter(torch.full((n_layers, n_windows * n_slots), start_bias))

    def forward(self, summary: Tensor) -> Memory:
        """The slots for a summary (rows, d_model)."""
        hidden = self.net[:-1](summary)
        keys, values = (
            layer(hidden).unflatten(-1, self.shape).transpose(0, 1)
            for layer in (self.net[-1], self.to_values)
        )
        return Memory(keys, values)

    @property
    def is_closed(self) -> bool:
        """Whether no slot can be attended to, every bias being minus infinity."""
        return bool(torch.isneginf(self.bias).all())


class WindowRecurrence:
    """A causal model of transformers that reads windows and carries a memory between them.

    The model itself is not changed: hooks are on it while a window is read, and are taken off
    again. `read_layer` is two thirds up and `write_layer` one third by default; several write
    layers get slots of their own. `n_windows` is how many windows' slots are kept. With `remembers`
    false g is given zeros, so that its slots say the same in every window: a learnt prefix, the
    control for what is memory. `seed` draws the first weights of `memory`, which is all that
    `fit` trains and all there is to save: `torch.save(recurrence.memory.state_dict(), path)`.

    Needs an attention that takes masks of numbers: `model.set_attn_implementation("sdpa")` or
    "eager". Raises ValueError for another, or a layer that is not there.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        window: int,
        *,
        read_layer: int | None = None,
        write_layer: int | Sequence[int] | None = None,
        n_slots: int = 4,
        d_hidden: int = 512,
        n_windows: int = 1,
        remembers: bool = True,
        start_bias: float = START_BIAS,
        seed: int = 0,
    ) -> None:
        n_layers = len(layers_of(model))
        if min(window, n_slots, d_hidden, n_windows) < 1:
            raise ValueError("window, n_slots, d_hidden and n_windows have to be 1 or more")
        used = model.config._attn_implementation
        if used not in ATTENTIONS_WITH_MASKS:
            raise ValueError(
                f"the attention '{used}' takes no mask of numbers, which the slots' biases need; "
                'call model.set_attn_implementation("sdpa") or "eager"'
            )
        if write_layer is None:
            write_layer = n_layers // 3
        written = [write_layer] if isinstance(write_layer, int) else write_layer
        self.model, self.window, self.n_windows = model, window, n_windows
        self.read_layer = checked_layer(
            model, 2 * n_layers // 3 if read_layer is None else read_layer
        )
        self.write_layers = tuple(sorted({checked_layer(model, layer) for layer in written}))
        if not self.write_layers:
            raise ValueError("no layer to write to was given")
        self.n_slots, self.remembers = n_slots, remembers
        heads, head_size = _key_shape(model, self.write_layers)
        shape = (len(self.write_layers), heads, n_slots, head_size)
        d_model = model.config.get_text_config(decoder=True).hidden_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.memory = MemoryNet(d_model, d_hidden, shape, n_windows, start_bias)
        # In float32 where the model is in half precision: steps are small beside its weights.
        self.memory.to(model.device, torch.promote_types(model.dtype, torch.float32))
        self._model_learns = False

    def losses(
        self,
        ids: Tensor,
        memory: Memory | None = None,
        *,
        checkpointing: bool = False,
    ) -> tuple[Tensor, Memory]:
        """The losses of all tokens of (rows, tokens) but the first, in nats, and the last memory.

        Begins with `memory`, or with none: the first window of a text has no slots. Gradients flow
        to `self.memory`'s weights through every window, and back through the memory between them;
        with `checkpointing` a window's activations are computed again for them and not kept. Text
        that goes on is given with the token that ended the call before as its first one. Behind
        shorter texts may stand any tokens, whose losses are to be left out.
        """
        check_ids(self.model, ids, self.window, shortest=2)
        found = []
        for start in range(0, ids.shape[1] - 1, self.window):
            targets = ids[:, start + 1 : start + 1 + self.window]
            read = ids[:, start : start + targets.shape[1]]
            given = (read, targets, *((memory.keys, memory.values) if memory else (None, None)))
            if checkpointing and torch.is_grad_enabled():
                loss, keys, values = checkpoint(self._read, *given, use_reentrant=False)
            else:
                loss, keys, values = self._read(*given)
            found.append(loss)
            memory = Memory(keys, values)
        assert memory is not None, "there is one window at least"
        return torch.cat(found, dim=1), memory

    def perplexity(self, ids: Tensor) -> float:
        """The perplexity of a text (rows, tokens), whatever its length."""
        with torch.no_grad():
            return float(self.losses(ids)[0].double().mean().exp())

    def fit(
        self,
        ids: Tensor,
        n_updates: int,
        *,
        n_streams: int = 8,
        bptt: int = 4,
        learning_rate: float = 1e-3,
        model_learning_rate: float | None = None,
        restart: int = 16,
        max_norm: float = 1.0,
        seed: int = 0,
        checkpointing: bool = False,
        on_update: Callable[[float], None] = lambda loss: None,
    ) -> list[float]:
        """Trains the memory on a text of (tokens,) and gives the mean loss of every update.

        An update reads `bptt` windows of each of `n_streams` places in the text, with gradients
        through all of them, and goes on where it stopped, with the memory it had; every `restart`
        updates new places are drawn, and the memory is empty. AdamW with a linear decay, gradients
        clipped to `max_norm`. The model's own weights learn as well where `model_learning_rate` is
        given, without dropout. Raises ValueError where the text is too short for a stream.
        """
        span = self.window * bptt
        if min(n_updates, n_streams, bptt, restart) < 1:
            raise ValueError("n_updates, n_streams, bptt and restart have to be 1 or more")
        restart = min(restart, n_updates)
        last = len(ids) - restart * span - 1
        if last < 0:
            raise ValueError(
                f"{len(ids)} tokens are too few for {restart} updates of {span} tokens a stream"
            )
        generator = torch.Generator().manual_seed(seed)
        optimizer = self._optimizer(learning_rate, model_learning_rate)
        learning = [p for group in optimizer.param_groups for p in group["params"]]
        decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, n_updates)
        course: list[float] = []
        memory: Memory | None = None
        self._model_learns = model_learning_rate is not None
        try:
            for update in range(n_updates):
                if update % restart == 0:
                    starts = torch.randint(last + 1, (n_streams,), generator=generator).tolist()
                    memory = None
                at = update % restart * span
                rows = torch.stack([ids[start + at : start + at + span + 1] for start in starts])
                losses, memory = self.losses(
                    rows.to(self.model.device), memory, checkpointing=checkpointing
                )
                memory = memory.detach()
                loss = losses.mean()
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(learning, max_norm)
                optimizer.step()
                decay.step()
                course.append(loss.item())
                on_update(course[-1])
        finally:
            self._model_learns = False
        return course

    def _optimizer(
        self, learning_rate: float, model_learning_rate: float | None
    ) -> torch.optim.Optimizer:
        bias = self.memory.bias
        groups: list[dict[str, Any]] = [
            {"params": [p for p in self.memory.parameters() if p is not bias]},
            {"params": [bias], "lr": _BIAS_STEP * learning_rate, "weight_decay": 0.0},
        ]
        if model_learning_rate is not None:
            learning = [p for p in self.model.parameters() if p.requires_grad]
            groups.append({"params": learning, "lr": model_learning_rate})
        return torch.optim.AdamW(groups, lr=learning_rate)

    def cost(self) -> Reading:
        """What reading costs beside a window alone: some slots in some layers; g is not counted."""
        slots = self.n_slots * self.n_windows
        share = len(self.write_layers) / len(layers_of(self.model))
        return Reading(1.0, (self.window + 1) / 2 + slots * share, slots * share)

    def _read(
        self, ids: Tensor, targets: Tensor, keys: Tensor | None, values: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """A window's losses, and the keys and values of the memory behind it."""
        before = None
        if keys is not None and values is not None and not self.memory.is_closed:
            before = Memory(keys, values)
        seen: list[Tensor] = []
        cache = _Slots(self.write_layers, before, self.model.dtype)
        # Here and not around the whole text: a checkpoint comes back to this place later.
        held = evaluating(self.model) if self._model_learns else frozen(self.model)
        with held, self._watched(before, seen):
            logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True).logits
        summary = seen[0].to(self.memory.bias.dtype).mean(dim=1)
        made = self.memory(summary if self.remembers else torch.zeros_like(summary))
        keys = made.keys if keys is None else torch.cat([keys, made.keys], dim=3)
        values = made.values if values is None else torch.cat([values, made.values], dim=3)
        kept = self.n_slots * self.n_windows
        return token_losses(logits, targets), keys[..., -kept:, :], values[..., -kept:, :]

    @contextmanager
    def _watched(self, memory: Memory | None, seen: list[Tensor]) -> Iterator[None]:
        """Hooks while the model reads: masks of the write layers, states of the read layer."""

        def see(layer: nn.Module, args: Any, output: Any) -> None:
            seen.append(output[0] if isinstance(output, tuple) else output)

        handles = [layers_of(self.model)[self.read_layer].register_forward_hook(see)]
        if memory is not None:
            attentions = attentions_of(self.model)
            for place, layer in enumerate(self.write_layers):
                bias = self.memory.bias[place, -memory.keys.shape[3] :]
                handles.append(
                    attentions[layer].register_forward_pre_hook(_widens(bias), with_kwargs=True)
                )
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


class _Slots(DynamicCache):
    """A cache that puts slots before a window's own keys and values, and keeps nothing."""

    def __init__(self, layers: Sequence[int], memory: Memory | None, dtype: torch.dtype) -> None:
        super().__init__()
        self._slots = {}
        if memory is not None:
            for layer, keys, values in zip(layers, memory.keys, memory.values, strict=True):
                self._slots[layer] = (keys.to(dtype), values.to(dtype))

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if layer_idx not in self._slots:
            return key_states, value_states
        keys, values = self._slots[layer_idx]
        return (
            torch.cat([keys, key_states], dim=-2),
            torch.cat([values, value_states], dim=-2),
        )


def _widens(bias: Tensor) -> Callable[..., tuple[Any, Any]]:
    """A hook that puts the slots' biases before the mask that an attention is given."""

    def hook(attention: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
        hidden = args[0] if args else kwargs["hidden_states"]
        mask = _as_numbers(kwargs.get("attention_mask"), hidden)
        slots = bias.to(mask.dtype).expand(*mask.shape[:-1], -1)
        return args, {**kwargs, "attention_mask": torch.cat([slots, mask], dim=-1)}

    return hook


def _as_numbers(mask: Tensor | None, hidden: Tensor) -> Tensor:
    """A mask to add, (rows or 1, heads or 1, queries, keys); causal where there is none."""
    if mask is not None and mask.dtype != torch.bool:
        return mask
    if mask is None:
        n = hidden.shape[1]
        mask = torch.ones(1, 1, n, n, dtype=torch.bool, device=hidden.device).tril()
    lowest = torch.finfo(hidden.dtype).min
    return torch.zeros(mask.shape, dtype=hidden.dtype, device=hidden.device).masked_fill(
        ~mask, lowest
    )


def _key_shape(model: PreTrainedModel, layers: Sequence[int]) -> tuple[int, int]:
    """How many heads keys have in these layers, and of which size; asks the model itself."""
    states = GivenStates(())
    with frozen(model), torch.no_grad():
        model(
            input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device),
            past_key_values=states,
            use_cache=True,
        )
    shapes = {tuple(states.new[2 * layer].shape) for layer in layers}
    if len(shapes) > 1:
        raise ValueError("the write layers' keys have different shapes; give layers that agree")
    [(_, heads, _, size)] = shapes
    return heads, size
