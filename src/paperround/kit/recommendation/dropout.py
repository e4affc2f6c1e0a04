"""Dropout that costs a CPU a third of PyTorch's, which draws one number after another.

64 random bits decide on four values. A value is dropped with probability round(65536 p) / 65536,
and the rest is scaled by what that leaves, so the mean stays exactly what it was.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.nn import functional

_LEVELS = 1 << 16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """`x` with a share `p` of its values at 0 and the others scaled up; itself unless training.

    What is dropped follows from PyTorch's global generator. On other devices than the CPU this is
    PyTorch's own dropout.
    """
    if not training or p <= 0.0:
        return x
    if p >= 1.0 or x.device.type != "cpu":
        return functional.dropout(x, p)
    return _Dropped.apply(x, min(_LEVELS - 1, round(p * _LEVELS)))


class Dropout(nn.Dropout):
    """`torch.nn.Dropout`, by `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        """See `dropout`."""
        return dropout(input, self.p, self.training)


class _Dropped(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, level: int) -> Tensor:
        # Four 16-bit numbers from each 64-bit one, uniform over -32768..32767.
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
        numbers = bits.view(torch.int16)[: x.numel()].view(x.shape)
        # Ones and zeros, scaled: a product costs less here than a choice between two values.
        weight = (numbers >= level - _LEVELS // 2).to(x.dtype)
        weight *= _LEVELS / (_LEVELS - level)
        ctx.save_for_backward(weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (weight,) = ctx.saved_tensors
        return grad * weight, None
