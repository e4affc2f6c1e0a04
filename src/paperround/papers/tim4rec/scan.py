"""State-space duality: one linear map over a sequence, chunk by chunk or event by event.

    S_t = a_t S_{t-1} + dt_t x_t B_t^T,    y_t = S_t C_t + D x_t,    a_t = exp(dt_t A)

With every a_t a scalar per head this is Y = (L o C B^T)(dt X), L[i, j] = a_{j+1} … a_i below the
diagonal: a structured masked matrix. `ssd_scan` computes it in time linear in the length,
`ssd_recurrent_step` one event at a time; plain.py has both forms straight from the equations.
Arguments stand in the order and shapes of mamba_ssm's `mamba_chunk_scan_combined` and
`selective_state_update`, so that its kernels can take their place on a GPU.

b: rows, l: positions, h: heads, p: width of a head, n: states, g: groups that share B and C, q:
positions in a chunk. Source: Dao and Gu, Transformers are SSMs, ICML 2024; TiM4Rec, Section 3.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from paperround.errors import UsageError

CHUNK_SIZE = 32


def step_sizes(
    dt: Tensor,
    dt_bias: Tensor | None = None,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> Tensor:
    """The steps that the state takes: softplus(dt + bias) where asked for, inside the limits."""
    if dt_bias is not None:
        dt = dt + dt_bias
    if dt_softplus:
        dt = functional.softplus(dt)
    return dt if dt_limit == (0.0, math.inf) else dt.clamp(*dt_limit)


def ssd_scan(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    chunk_size: int = CHUNK_SIZE,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    initial_states: Tensor | None = None,
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
    return_final_states: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """Outputs y (b, l, h, p); with `return_final_states` also the last state (b, h, p, n).

    x is (b, l, h, p), dt (b, l, h), A (h,) and negative, B and C (b, l, g, n), D (h,) or (h, p),
    z (b, l, h, p) a gate (y silu(z)), initial_states (b, h, p, n). Inside a chunk the masked matrix
    is built, between chunks the state is carried; any length goes. Decays are sums of logarithms,
    never quotients of products, which would underflow. Differentiable.
    """
    if chunk_size < 1:
        raise UsageError(f"a chunk has at least one position, not {chunk_size}")
    batch, length, heads, width = x.shape
    groups, states = B.shape[2], B.shape[3]
    if heads % groups:
        raise UsageError(f"{heads} heads cannot share {groups} groups of B and C")
    q = min(chunk_size, length)
    chunks = -(-length // q)
    missing = chunks * q - length
    dt = step_sizes(dt, dt_bias, dt_softplus, dt_limit)
    weighted, log_decay = x * dt[..., None], dt * A
    if missing:
        # Steps of size 0: the state stays as it is, and what they give is cut off.
        weighted = functional.pad(weighted, (0, 0, 0, 0, 0, missing))
        log_decay = functional.pad(log_decay, (0, 0, 0, missing))
        B, C = (functional.pad(each, (0, 0, 0, 0, 0, missing)) for each in (B, C))
    # (b, g, h / g, chunk, q, …); B and C have 1 on the third axis.
    per_group = heads // groups
    X = weighted.view(batch, chunks, q, groups, per_group, width).permute(0, 3, 4, 1, 2, 5)
    B = B.reshape(batch, chunks, q, groups, 1, states).permute(0, 3, 4, 1, 2, 5)
    C = C.reshape(batch, chunks, q, groups, 1, states).permute(0, 3, 4, 1, 2, 5)
    cum = log_decay.view(batch, chunks, q, groups, per_group).permute(0, 3, 4, 1, 2).cumsum(-1)
    # Y = (L o C B^T) X inside the chunk.
    later = torch.ones(q, q, dtype=torch.bool, device=x.device).triu(1)
    decay = (cum[..., :, None] - cum[..., None, :]).masked_fill(later, -math.inf).exp()
    y = (decay * (C @ B.mT)) @ X
    final = None
    if chunks > 1 or initial_states is not None or return_final_states:
        # U = sum_j exp(cum_q - cum_j) X_j B_j^T, and S_{c+1} = exp(cum_q) S_c + U.
        to_end = (cum[..., -1:] - cum).exp()
        added = (X * to_end[..., None]).mT @ B
        whole = cum[..., -1].exp()[..., None, None]
        state = (
            torch.zeros_like(added[:, :, :, 0])
            if initial_states is None
            else initial_states.view(batch, groups, per_group, width, states)
        )
        before = []
        for chunk in range(chunks):
            before.append(state)
            state = whole[:, :, :, chunk] * state + added[:, :, :, chunk]
        y = y + cum.exp()[..., None] * (C @ torch.stack(before, dim=3).mT)
        final = state.reshape(batch, heads, width, states)
    y = y.permute(0, 3, 4, 1, 2, 5).reshape(batch, chunks * q, heads, width)[:, :length]
    y = _skip_and_gate(y, x, D, z)
    return (y, final) if return_final_states and final is not None else y


def ssd_recurrent_step(
    state: Tensor,
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> tuple[Tensor, Tensor]:
    """(y, new state) of one event: what the next position of `ssd_scan` gives, in constant time.

    state is (b, h, p, n), x (b, h, p), dt (b, h), B and C (b, g, n); the rest as in `ssd_scan`. The
    given state is left as it is.
    """
    dt = step_sizes(dt, dt_bias, dt_softplus, dt_limit)
    per_group = x.shape[1] // B.shape[1]
    B, C = (each.repeat_interleave(per_group, dim=1) for each in (B, C))
    decay = (dt * A).exp()[..., None, None]
    state = decay * state + (dt[..., None] * x)[..., None] * B[:, :, None, :]
    y = (state @ C[..., None])[..., 0]
    return _skip_and_gate(y, x, D, z), state


def _skip_and_gate(y: Tensor, x: Tensor, D: Tensor | None, z: Tensor | None) -> Tensor:
    if D is not None:
        y = y + x * (D if D.dim() == 2 else D[:, None])
    return y if z is None else y * functional.silu(z)
