"""TiM4Rec: a Mamba-2 recommender whose steps the time between events stretches or shortens.

Each layer is a state-space duality mixer (scan.py). The gaps between events become one factor per
position and head, g, on the mixer's raw step, before bias and softplus:

    dt_t = softplus(dt_t g_t + bias),   a_t = exp(dt_t A)                              (Section 3)

so that the gaps sit in the structured mask of the linear map, at the cost of a scalar per position
and head, where TiSASRec keeps a matrix of l x l vectors. B: rows, L: positions, d: width, h: heads.

The paper's time branch works along the length: its norm and its two linear layers see the whole
row, later gaps and padding included. So it has no exact recurrent form, depends on `max_len`, and
may be trained on prefixes only. `variant="causal"` (ours, the default) has the same convolutions,
gate and place of g, and computes at each position from what came before: it trains on all
positions at once, and goes on event by event exactly.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.papers.tim4rec.mixer import Activation, CausalConv, Mamba2Mixer, MixerState
from paperround.papers.tim4rec.modulation import VARIANTS, TimeInput, TimeModulation, Variant
from paperround.papers.tim4rec.scan import CHUNK_SIZE

_INIT_STD = 0.02


@dataclass(frozen=True)
class LayerState:
    """A layer's memory: the mixer's, and the inputs (B, k - 1, h) of both time convolutions."""

    mixer: MixerState
    time_conv_1: Tensor | None
    time_conv_2: Tensor | None


@dataclass(frozen=True)
class RecurrentState:
    """A history as `TimeAwareSSDRecommender.step` keeps it; of one size, however long it was.

    `last_time` (B,) is that of the last event, NaN before the first.
    """

    layers: tuple[LayerState, ...]
    last_time: Tensor


class TimeAwareSSDLayer(nn.Module):
    """x = LN(Drop(SSD(x)) + x), x = LN(Drop(W2 hardswish(W1 x)) + x); see the encoder's options."""

    def __init__(
        self,
        mixer: Mamba2Mixer,
        modulation: TimeModulation | None,
        d_model: int,
        dropout: float,
        *,
        residual: bool,
        ffn: bool,
        norm_eps: float,
    ) -> None:
        super().__init__()
        self.mixer, self.modulation, self.residual = mixer, modulation, residual
        self.norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.dropout = nn.Dropout(dropout)
        self.inner = nn.Linear(d_model, 4 * d_model) if ffn else None
        self.outer = nn.Linear(4 * d_model, d_model) if ffn else None
        self.ffn_norm = nn.LayerNorm(d_model, eps=norm_eps) if ffn else None

    def forward(self, x: Tensor, T: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """(x, T) for the next layer; T may be longer than x, as the paper's variant needs."""
        g = None
        if self.modulation is not None and T is not None:
            g, T = self.modulation(T)
            g = g[:, : x.shape[1]]
        return self._after(x, self.mixer(x, g)), T

    def start(self, batch_size: int) -> LayerState:
        """The memory before the first event."""
        memories = (None, None) if self.modulation is None else self.modulation.start(batch_size)
        return LayerState(self.mixer.start(batch_size), *memories)

    def step(
        self, x: Tensor, T: Tensor | None, state: LayerState
    ) -> tuple[Tensor, Tensor | None, LayerState]:
        """(x, T, new state) of one event."""
        g, memories = None, (state.time_conv_1, state.time_conv_2)
        if self.modulation is not None and T is not None:
            assert state.time_conv_1 is not None and state.time_conv_2 is not None
            g, T, memories = self.modulation.step(T, (state.time_conv_1, state.time_conv_2))
        mixed, mixer = self.mixer.step(x, g, state.mixer)
        return self._after(x, mixed), T, LayerState(mixer, *memories)

    def _after(self, x: Tensor, mixed: Tensor) -> Tensor:
        mixed = self.dropout(mixed)
        x = self.norm(mixed + x if self.residual else mixed)
        if self.inner is None or self.outer is None or self.ffn_norm is None:
            return x
        inner = self.dropout(functional.hardswish(self.inner(x)))
        return self.ffn_norm(self.dropout(self.outer(inner)) + x)


class TimeAwareSSDRecommender(AbstractSequenceEncoder):
    """TiM4Rec. With `is_time=False` it is SSD4Rec*, the same network without the gaps.

    A model of one layer has no residual around its mixer. `time_dropout` acts inside the time
    branch; the paper's variant drops gaps by `dropout`, as its released code does. `kaiming` draws
    the convolutions' weights as the code's MovieLens-1M settings do.
    """

    def __init__(
        self,
        n_items: int,
        *,
        d_model: int = 64,
        n_layers: int = 2,
        d_state: int = 32,
        d_conv: int = 4,
        expand: int = 2,
        head_dim: int = 32,
        max_len: int = 50,
        dropout: float = 0.4,
        time_dropout: float = 0.0,
        variant: Variant = "causal",
        is_time: bool = True,
        p2p: bool = True,
        ffn: bool = True,
        raw_pads: bool = False,
        kaiming: bool = False,
        activation: Activation = "hardswish",
        chunk_size: int = CHUNK_SIZE,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise UsageError(f"no variant '{variant}'; there are {', '.join(VARIANTS)}")
        if n_layers < 1:
            raise UsageError(f"a model has at least one layer, not {n_layers}")
        self.n_items, self.d_model, self.max_len = n_items, d_model, max_len
        self.variant, self.needs_times = variant, is_time
        self.causal = not (is_time and variant == "paper")
        self.items = nn.Embedding(n_items + 1, d_model, padding_idx=PAD)
        self.input_norm = nn.LayerNorm(d_model, eps=norm_eps)
        self.input_dropout = nn.Dropout(dropout)
        layers = []
        for _ in range(n_layers):
            mixer = Mamba2Mixer(
                d_model,
                d_state,
                d_conv,
                expand,
                head_dim,
                activation,
                chunk_size=chunk_size,
                norm_eps=norm_eps,
            )
            layers.append(
                TimeAwareSSDLayer(
                    mixer,
                    None,
                    d_model,
                    dropout,
                    residual=n_layers > 1,
                    ffn=ffn,
                    norm_eps=norm_eps,
                )
            )
        self.layers = nn.ModuleList(layers)
        self.apply(lambda module: _initialise(module, kaiming))
        self.time_input: TimeInput | None = None
        if is_time:
            # Made last: with one seed the rest has the weights of the model without time.
            n_heads = expand * d_model // head_dim
            drop = dropout if variant == "paper" else time_dropout
            self.time_input = TimeInput(
                max_len, n_heads, drop, variant, raw_pads=raw_pads, norm_eps=norm_eps
            )
            for layer in layers:
                layer.modulation = TimeModulation(
                    max_len,
                    n_heads,
                    d_conv,
                    time_dropout,
                    variant,
                    p2p=p2p,
                    activation=activation,
                    norm_eps=norm_eps,
                )
                layer.modulation.apply(lambda module: _initialise(module, kaiming))
                if variant == "causal":
                    # Its pointwise layers have few weights; from 0 the gaps would say nothing yet.
                    nn.init.ones_(layer.modulation.scale[-1].bias)

    def item_embeddings(self) -> Tensor:
        """See AbstractSequenceEncoder: the input embeddings, tied."""
        return self.items.weight

    def embed(self, items: Tensor) -> Tensor:
        """(B, L, d): what goes into the first layer. There are no positions."""
        return self.input_norm(self.input_dropout(self.items(items)))

    def forward(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceEncoder; rows of any length, but `max_len` in the paper's variant."""
        return self.read(self.embed(items), items, times)

    def read(self, x: Tensor, items: Tensor, times: Tensor | None) -> Tensor:
        """(B, L, d): the layers over inputs x that were made of these items and times."""
        T = self.first_time_input(items, times)
        for layer in self.layers:
            x, T = layer(x, T)
        return x

    def start(self, batch_size: int) -> RecurrentState:
        """The state of histories of nothing. Raises UsageError for the paper's variant."""
        if not self.causal:
            raise UsageError(
                "the paper's time branch sees the whole row and has no recurrent form; "
                "variant='causal' has one"
            )
        layers = tuple(layer.start(batch_size) for layer in self.layers)
        unknown = torch.full((batch_size,), math.nan, dtype=torch.float64)
        return RecurrentState(layers, unknown.to(self.items.weight.device))

    def step(
        self, items: Tensor, times: Tensor | None, state: RecurrentState
    ) -> tuple[Tensor, RecurrentState]:
        """(hidden (B, d), new state) after one more event of every row: constant time and memory.

        `score(hidden)` ranks what comes next. Items and times are (B,); no padding. What `forward`
        gives at this position, without the limit of `max_len`.
        """
        T, last_time = None, state.last_time
        if self.time_input is not None:
            if times is None:
                raise UsageError(f"{type(self).__name__} needs the times of events")
            now = times.to(last_time.dtype)
            gap = torch.where(last_time.isnan(), 0.0, now - last_time)
            T = self.time_input.step(gap).to(self.items.weight.dtype)
            last_time = now
        x = self.embed(items)
        layers = []
        for layer, memory in zip(self.layers, state.layers, strict=True):
            x, T, memory = layer.step(x, T, memory)
            layers.append(memory)
        return x, RecurrentState(tuple(layers), last_time)

    def first_time_input(self, items: Tensor, times: Tensor | None) -> Tensor | None:
        """The first layer's T (B, L, h), L being `max_len` in the paper's variant; or None."""
        if self.time_input is None:
            return None
        if times is None:
            raise UsageError(f"{type(self).__name__} needs the times of events")
        if self.variant == "paper":
            missing = self.max_len - items.shape[1]
            if missing < 0:
                raise UsageError(
                    f"the paper's time branch reads rows of at most {self.max_len}, "
                    f"not {items.shape[1]}"
                )
            items, times = (functional.pad(each, (0, missing)) for each in (items, times))
        return self.time_input(items, times).to(self.items.weight.dtype)


def _initialise(module: nn.Module, kaiming: bool) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_INIT_STD)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding):
        with torch.no_grad():
            module.weight[PAD].zero_()
    if kaiming and isinstance(module, CausalConv):
        # Fan out of a depthwise kernel is its length times the channels: PyTorch's convention.
        channels, d_conv = module.weight.shape
        nn.init.normal_(module.weight, std=math.sqrt(2 / (channels * d_conv)))
        nn.init.zeros_(module.bias)
