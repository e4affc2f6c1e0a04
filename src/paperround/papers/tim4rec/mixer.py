"""The Mamba-2 layer that TiM4Rec builds on, for whole rows and for one event after another.

B: rows, L: positions, d: width, h: heads, p: width of a head, n: states, k: convolution's length.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from paperround.errors import UsageError
from paperround.papers.tim4rec.scan import CHUNK_SIZE, ssd_recurrent_step, ssd_scan

Activation = Literal["hardswish", "silu"]
ACTIVATIONS = {"hardswish": functional.hardswish, "silu": functional.silu}

# Mamba-2: softplus(dt_bias) is log-uniform in this range, -A uniform in that one.
DT_MIN, DT_MAX, A_MIN, A_MAX = 0.001, 0.1, 1.0, 16.0


@dataclass(frozen=True)
class MixerState:
    """What a mixer remembers: its last k - 1 convolution inputs, and S (B, h, p, n)."""

    conv: Tensor
    ssm: Tensor


class CausalConv(nn.Module):
    """A depthwise convolution: output t of a channel depends on its inputs t - k + 1 … t."""

    def __init__(self, channels: int, d_conv: int) -> None:
        super().__init__()
        bound = d_conv**-0.5
        self.weight = nn.Parameter(torch.empty(channels, d_conv).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(channels).uniform_(-bound, bound))

    @property
    def memory(self) -> int:
        """How many earlier inputs an output needs."""
        return self.weight.shape[1] - 1

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, channels) to the same."""
        padded = functional.pad(x.mT, (self.memory, 0))
        weight = self.weight[:, None]
        return functional.conv1d(padded, weight, self.bias, groups=len(weight)).mT

    def step(self, x: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """(output, new memory) of one position: x (B, channels), memory (B, k - 1, channels)."""
        window = torch.cat([before, x[:, None]], dim=1)
        return (window * self.weight.T).sum(dim=1) + self.bias, window[:, 1:]


class Mamba2Mixer(nn.Module):
    """The state-space duality mixer, with an optional factor on its raw steps.

    d is widened to `expand` d and parted into heads of `head_dim`; B and C are shared by all heads.
    The activation behind the convolution is hardswish in the released code wherever the heads are
    no multiple of 8, as at width 64, and silu elsewhere, as in Mamba-2 itself.
    """

    def __init__(
        self,
        d_model: int,
        d_state: int = 32,
        d_conv: int = 4,
        expand: int = 2,
        head_dim: int = 32,
        activation: Activation = "hardswish",
        *,
        chunk_size: int = CHUNK_SIZE,
        norm_eps: float = 1e-5,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.d_inner, self.d_state = expand * d_model, d_state
        if self.d_inner % head_dim:
            raise UsageError(f"{self.d_inner} channels cannot be parted into heads of {head_dim}")
        if activation not in ACTIVATIONS:
            raise UsageError(f"no activation '{activation}'; there are {', '.join(ACTIVATIONS)}")
        self.n_heads, self.head_dim = self.d_inner // head_dim, head_dim
        self.activation, self.chunk_size, self.norm_eps = activation, chunk_size, norm_eps
        self.conv_dim = self.d_inner + 2 * d_state
        self.in_proj = nn.Linear(d_model, self.d_inner + self.conv_dim + self.n_heads, bias=bias)
        self.conv = CausalConv(self.conv_dim, d_conv)
        steps = torch.empty(self.n_heads).uniform_(math.log(DT_MIN), math.log(DT_MAX)).exp()
        # The inverse of softplus.
        self.dt_bias = nn.Parameter(steps + torch.log(-torch.expm1(-steps)))
        self.A_log = nn.Parameter(torch.empty(self.n_heads).uniform_(A_MIN, A_MAX).log())
        self.D = nn.Parameter(torch.ones(self.n_heads))
        self.norm = nn.Parameter(torch.ones(self.d_inner))
        self.out_proj = nn.Linear(self.d_inner, d_model, bias=bias)

    def forward(self, u: Tensor, dt_modulation: Tensor | None = None) -> Tensor:
        """(B, L, d) from the same; `dt_modulation` (B, L, h) multiplies the raw steps."""
        z, terms = self.terms(u, dt_modulation)
        y = ssd_scan(**terms, chunk_size=self.chunk_size)
        assert isinstance(y, Tensor)
        return self._gated(y, z)

    def terms(
        self, u: Tensor, dt_modulation: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Any]]:
        """The gate z (B, L, d_inner), and the linear map's parts as `ssd_scan` takes them."""
        z, xBC, dt = self.in_proj(u).split([self.d_inner, self.conv_dim, self.n_heads], dim=-1)
        x, B, C = self._parts(ACTIVATIONS[self.activation](self.conv(xBC)))
        return z, self._terms(x, dt, dt_modulation, B, C)

    def start(self, batch_size: int) -> MixerState:
        """The memory before the first event."""
        conv = self.conv.weight.new_zeros(batch_size, self.conv.memory, self.conv_dim)
        ssm = conv.new_zeros(batch_size, self.n_heads, self.head_dim, self.d_state)
        return MixerState(conv, ssm)

    def step(
        self, u: Tensor, dt_modulation: Tensor | None, state: MixerState
    ) -> tuple[Tensor, MixerState]:
        """(output (B, d), new state) of one event, as `forward` gives it at its position."""
        z, xBC, dt = self.in_proj(u).split([self.d_inner, self.conv_dim, self.n_heads], dim=-1)
        xBC, conv = self.conv.step(xBC, state.conv)
        x, B, C = self._parts(ACTIVATIONS[self.activation](xBC))
        y, ssm = ssd_recurrent_step(state.ssm, **self._terms(x, dt, dt_modulation, B, C))
        return self._gated(y, z), MixerState(conv, ssm)

    def _terms(
        self, x: Tensor, dt: Tensor, dt_modulation: Tensor | None, B: Tensor, C: Tensor
    ) -> dict[str, Any]:
        return {
            "x": x,
            "dt": dt if dt_modulation is None else dt * dt_modulation,
            "A": -self.A_log.exp(),
            "B": B,
            "C": C,
            "D": self.D,
            "dt_bias": self.dt_bias,
            "dt_softplus": True,
        }

    def _parts(self, xBC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, B, C = xBC.split([self.d_inner, self.d_state, self.d_state], dim=-1)
        return x.unflatten(-1, (self.n_heads, self.head_dim)), B[..., None, :], C[..., None, :]

    def _gated(self, y: Tensor, z: Tensor) -> Tensor:
        gated = y.flatten(-2) * functional.silu(z)
        return self.out_proj(functional.rms_norm(gated, (self.d_inner,), self.norm, self.norm_eps))
