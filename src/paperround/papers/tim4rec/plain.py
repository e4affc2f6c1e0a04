"""The structured masked matrix straight from its definition: slow, and what scan.py must equal.

Shapes as in scan.py: b rows, l positions, h heads, p width of a head, n states, g groups.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from paperround.papers.tim4rec.scan import ssd_recurrent_step, step_sizes


def structured_mask(decay: Tensor) -> Tensor:
    """L (b, h, l, l): L[i, j] = a_{j+1} a_{j+2} … a_i for i >= j, 0 above the diagonal.

    `decay` holds a (b, l, h), each in (0, 1). Row by row, L[i, j] = a_i L[i - 1, j] for j < i. In
    TiM4Rec a_i is exp(A softplus(dt_i g_i + bias)): the gaps' g_i sit on the diagonal factors.
    """
    batch, length, heads = decay.shape
    rows, last = [], decay.new_zeros(batch, heads, 0)
    for i in range(length):
        last = torch.cat([decay[:, i, :, None] * last, decay.new_ones(batch, heads, 1)], dim=-1)
        rows.append(functional.pad(last, (0, length - i - 1)))
    return torch.stack(rows, dim=-2)


def ssd_matrix(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> Tensor:
    """Outputs y (b, l, h, p) = (L o C B^T)(dt X) + D X, both matrices whole: quadratic in l."""
    dt = step_sizes(dt, dt_bias, dt_softplus, dt_limit)
    per_group = x.shape[2] // B.shape[2]
    B, C = (each.repeat_interleave(per_group, dim=2) for each in (B, C))
    scores = torch.einsum("bihn,bjhn->bhij", C, B)
    mask = structured_mask((dt * A).exp())
    y = torch.einsum("bhij,bjhp->bihp", mask * scores, dt[..., None] * x)
    return y if D is None else y + x * (D if D.dim() == 2 else D[:, None])


def ssd_recurrence(
    x: Tensor,
    dt: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    dt_bias: Tensor | None = None,
    *,
    dt_softplus: bool = False,
    dt_limit: tuple[float, float] = (0.0, math.inf),
) -> Tensor:
    """Outputs y (b, l, h, p), one `ssd_recurrent_step` after the other from a state of zeros."""
    batch, length, heads, width = x.shape
    state = x.new_zeros(batch, heads, width, B.shape[3])
    outputs = []
    for t in range(length):
        y, state = ssd_recurrent_step(
            state,
            x[:, t],
            dt[:, t],
            A,
            B[:, t],
            C[:, t],
            D,
            dt_bias=dt_bias,
            dt_softplus=dt_softplus,
            dt_limit=dt_limit,
        )
        outputs.append(y)
    return torch.stack(outputs, dim=1)
