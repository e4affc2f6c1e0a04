"""The time branch: from the gaps between events to a factor on every head's steps.

B: rows, L: positions, h: heads. The paper's branch works along the length; the causal one, ours,
position by position.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD
from paperround.papers.tim4rec.mixer import ACTIVATIONS, Activation, CausalConv

Variant = Literal["causal", "paper"]
VARIANTS: tuple[Variant, ...] = ("causal", "paper")

# log(1 + gap in seconds) lies between 0 and about 19, most of it around 6 (minutes): ours.
_LOG_GAP_CENTRE = 6.0
# Hidden units of the causal branch's pointwise layers: ours.
_TIME_UNITS = 16


class TimeModulation(nn.Module):
    """g (B, L, h) and the next layer's time input from this layer's, T (B, L, h).

    g = act(conv2(act(conv1(T o scale(T))))), and T' = norm(r T + (1 - r) g) with a gate r. In the
    paper's variant scale, gate and norm work along the length, on rows of exactly `max_len`; in the
    causal one on the heads at one position, without a norm. `p2p` has a gate for each position (for
    each head in the causal variant), else there is one for all.
    """

    def __init__(
        self,
        max_len: int,
        n_heads: int,
        d_conv: int = 4,
        dropout: float = 0.0,
        variant: Variant = "causal",
        *,
        p2p: bool = True,
        activation: Activation = "hardswish",
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise UsageError(f"no variant '{variant}'; there are {', '.join(VARIANTS)}")
        self.variant, self.activation = variant, activation
        paper = variant == "paper"
        width, units = (max_len, max_len) if paper else (n_heads, _TIME_UNITS)
        self.scale = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, units), nn.SiLU(), nn.Linear(units, width)
        )
        self.conv_1, self.conv_2 = CausalConv(n_heads, d_conv), CausalConv(n_heads, d_conv)
        self.gate = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(width, width if p2p else 1), nn.Sigmoid()
        )
        self.norm = nn.LayerNorm(max_len, eps=norm_eps) if paper else nn.Identity()

    def forward(self, T: Tensor) -> tuple[Tensor, Tensor]:
        """(g, T'), both (B, L, h)."""
        act = ACTIVATIONS[self.activation]
        g = act(self.conv_2(act(self.conv_1(T * self._along(self.scale, T)))))
        r = self._along(self.gate, T)
        return g, self._along(self.norm, r * T + (1 - r) * g)

    def start(self, batch_size: int) -> tuple[Tensor, Tensor]:
        """The two convolutions' memories before the first event."""
        weight = self.conv_1.weight
        memory = weight.new_zeros(batch_size, self.conv_1.memory, len(weight))
        return memory, memory

    def step(
        self, T: Tensor, before: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """(g, T', memories) of one event in the causal variant; T is (B, h)."""
        act = ACTIVATIONS[self.activation]
        first, memory_1 = self.conv_1.step(T * self.scale(T), before[0])
        second, memory_2 = self.conv_2.step(act(first), before[1])
        g = act(second)
        r = self.gate(T)
        return g, r * T + (1 - r) * g, (memory_1, memory_2)

    def _along(self, module: nn.Module, T: Tensor) -> Tensor:
        return module(T.mT).mT if self.variant == "paper" else module(T)


class TimeInput(nn.Module):
    """The first layer's time input T (B, L, h): the same for all heads.

    Paper: gaps in seconds, dropout, LayerNorm over the row of `max_len`. The gap of padding is 0;
    with `raw_pads`, as in the released code, the first padding's is minus the last time, some -10^9
    seconds, beside which the norm leaves nothing of the others. Causal: log(1 + gap), centred and
    scaled by constants.
    """

    def __init__(
        self,
        max_len: int,
        n_heads: int,
        dropout: float,
        variant: Variant,
        *,
        raw_pads: bool = False,
        norm_eps: float = 1e-5,
    ) -> None:
        super().__init__()
        self.n_heads, self.variant, self.raw_pads = n_heads, variant, raw_pads
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(max_len, eps=norm_eps) if variant == "paper" else nn.Identity()

    def forward(self, items: Tensor, times: Tensor) -> Tensor:
        """T (B, L, h) of items and times (B, L)."""
        gaps = gaps_of(items, times, raw_pads=self.raw_pads)
        if self.variant == "paper":
            T = self.norm(self.dropout(gaps.to(self.norm.weight.dtype)))
        else:
            T = self.dropout(_scaled(gaps))
        return T[..., None].expand(-1, -1, self.n_heads)

    def step(self, gap: Tensor) -> Tensor:
        """T (B, h) of one event in the causal variant; the gap is in seconds."""
        return self.dropout(_scaled(gap))[..., None].expand(-1, self.n_heads)


def gaps_of(items: Tensor, times: Tensor, *, raw_pads: bool = False) -> Tensor:
    """(B, L) seconds since the event before, 0 at a row's first event and on padding.

    Taken in the times' own precision: single precision knows today's seconds to two minutes.
    """
    gaps = functional.pad(times[:, 1:] - times[:, :-1], (1, 0))
    return gaps if raw_pads else gaps * (items != PAD)


def _scaled(gaps: Tensor) -> Tensor:
    # Odd, so that unsorted times of a caller are small numbers and no NaN.
    logs = gaps.sign() * gaps.abs().log1p()
    return (logs - _LOG_GAP_CENTRE) / _LOG_GAP_CENTRE
