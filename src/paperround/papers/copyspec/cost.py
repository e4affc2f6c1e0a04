"""What a forward pass costs, and from when on an attempt to copy pays.

P    forward passes            t0  seconds that a pass takes whatever it computes
V    tokens computed in them   t1  seconds that each token adds
time = P t0 + V t1
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from paperround.papers.copyspec.steps import DecodingStats


@dataclass(frozen=True)
class CostModel:
    """Seconds of a forward pass over n tokens, t0 + n t1; `r_squared` is how well that fits."""

    t0: float
    t1: float
    r_squared: float = 1.0

    def seconds(self, stats: DecodingStats) -> float:
        """The predicted decoding time, without the tokens of the prompt."""
        return stats.passes * self.t0 + stats.verified_tokens * self.t1

    def speed_up(self, stats: DecodingStats) -> float:
        """The predicted speed-up over decoding the same tokens one by one."""
        return stats.new_tokens * (self.t0 + self.t1) / self.seconds(stats)

    def break_even(self, n_copied: int) -> float:
        """How many of `n_copied` tokens have to be accepted for the attempt to cost nothing.

        The attempt adds n_copied t1; each accepted token saves a pass of one token.
        """
        return n_copied * self.t1 / (self.t0 + self.t1)


def fit_cost(n_tokens: Sequence[int], seconds: Sequence[float]) -> CostModel:
    """The cost model that fits these latencies best (least squares).

    A pass cannot get cheaper by more tokens: where noise says so, t1 is 0. Raises ValueError for
    fewer than two different lengths.
    """
    n, y = np.asarray(n_tokens, dtype=float), np.asarray(seconds, dtype=float)
    if len(set(n_tokens)) < 2 or len(n) != len(y):
        raise ValueError("the fit needs a latency each for at least two different lengths")
    t1 = max(0.0, float(np.cov(n, y, bias=True)[0, 1] / n.var()))
    t0 = max(0.0, float(y.mean() - t1 * n.mean()))
    residual = float(((y - t0 - t1 * n) ** 2).sum())
    total = float(((y - y.mean()) ** 2).sum())
    return CostModel(t0=t0, t1=t1, r_squared=1 - residual / total if total else 1.0)
