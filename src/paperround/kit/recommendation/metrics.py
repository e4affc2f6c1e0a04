"""Exact metrics of full ranking, with a policy for ties, and how sure one can be of a difference.

One case is one target among n candidates. All that is counted is how many candidates score above
the target and how many score the same; every metric under every policy follows from these two.
Many tied candidates are the rule with counting models (a third to nearly all of the cases), and a
model whose scores are constant must not look perfect.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import hypergeom
from torch import Tensor

from paperround.errors import ScoresError, UsageError
from paperround.kit.recommendation.interactions import PAD, Floats, Ints

Ties = Literal["mean", "optimistic", "pessimistic", "expected"]
TIES = ("mean", "optimistic", "pessimistic", "expected")


@dataclass(frozen=True)
class Ranks:
    """Per case, how many of the other candidates score above the target, and how many the same.

    `n` is how many candidates a case has, the target included.
    """

    above: Ints
    tied: Ints
    n: Ints

    def __len__(self) -> int:
        return len(self.above)

    def select(self, rows: NDArray[np.bool_] | Ints) -> "Ranks":
        """The ranks of the cases that a mask or numbers name."""
        return Ranks(self.above[rows], self.tied[rows], self.n[rows])


def count_ranks(scores: Tensor, target: Tensor, seen: list[Ints] | None = None) -> Ranks:
    """Where the targets stand: `scores` is (cases, n_items + 1), `target` (cases,) item codes.

    Column 0, padding, is no candidate. `seen` takes each case's items out of the candidates, but
    never its target. Raises ScoresError when a candidate's score is NaN or infinite: comparing
    with NaN is always false, and a broken model would rank every target first.
    """
    rows = torch.arange(len(target))
    own = scores[rows, target]
    candidates = scores[:, 1:]
    if not torch.isfinite(candidates).all():
        broken = int((~torch.isfinite(candidates)).any(dim=1).sum())
        raise ScoresError(f"the scores of {broken} of {len(target)} cases are not all finite")
    above = (candidates > own[:, None]).sum(dim=1)
    tied = (candidates == own[:, None]).sum(dim=1) - 1
    n = torch.full_like(above, candidates.shape[1])
    for row, items in enumerate(seen or []):
        others = np.unique(items)
        others = torch.from_numpy(others[(others != PAD) & (others != int(target[row]))])
        their = scores[row, others]
        above[row] -= (their > own[row]).sum()
        tied[row] -= (their == own[row]).sum()
        n[row] -= len(others)
    return Ranks(above.numpy(), tied.numpy(), n.numpy())


def hit_rate(ranks: Ranks, k: int, ties: Ties = "mean") -> Floats:
    """HR@k = Recall@k per case: 1 where the target is among the first k."""
    return _metric(ranks, lambda rank: (rank < k).astype(np.float64), ties)


def ndcg(ranks: Ranks, k: int, ties: Ties = "mean") -> Floats:
    """NDCG@k per case: 1 / log2(rank + 2) where the target's rank (from 0) is below k, else 0.

    There is one relevant item, so the ideal gain is 1.
    """
    return _metric(ranks, lambda rank: np.where(rank < k, 1 / np.log2(rank + 2), 0.0), ties)


def mrr(ranks: Ranks, k: int | None = None, ties: Ties = "mean") -> Floats:
    """The reciprocal rank per case, ranks from 1; 0 from rank k on where k is given."""

    def gain(rank: Floats) -> Floats:
        return np.where(rank < (np.inf if k is None else k), 1 / (rank + 1), 0.0)

    return _metric(ranks, gain, ties)


def metric_by_name(name: str) -> Callable[[Ranks, Ties], Floats]:
    """The metric that a name such as `ndcg@10`, `hr@20`, `recall@20` or `mrr` means."""
    kind, _, cut = name.lower().partition("@")
    if kind in ("hr", "recall", "ndcg", "mrr") and (cut.isdigit() and int(cut) > 0):
        k = int(cut)
        of = {"hr": hit_rate, "recall": hit_rate, "ndcg": ndcg, "mrr": mrr}[kind]
        return lambda ranks, ties: of(ranks, k, ties)
    if name.lower() == "mrr":
        return lambda ranks, ties: mrr(ranks, None, ties)
    raise UsageError(f"no metric '{name}'; there are hr@K, recall@K, ndcg@K, mrr@K and mrr")


def sampled_expectation(ranks: Ranks, m: int, name: str, ties: Ties = "mean") -> Floats:
    """The expected metric if only m uniform negatives were ranked, without drawing any.

    The negatives are drawn without replacement from the n - 1 others, so the number of them above
    a target of rank r is hypergeometric. Only for comparison with papers that sample: it does not
    keep the order of models (Krichene and Rendle, KDD 2020).
    """
    if m < 1:
        raise UsageError(f"at least one negative has to be sampled, not {m}")
    whole = metric_by_name(name)

    def expected(rank: int, n: int) -> float:
        drawn = min(m, n - 1)
        low, high = max(0, drawn - (n - 1 - rank)), min(rank, drawn)
        above = np.arange(low, high + 1)
        gains = whole(Ranks(above, np.zeros_like(above), np.full_like(above, n)), "optimistic")
        return float(hypergeom.pmf(above, n - 1, rank, drawn) @ gains)

    known: dict[tuple[int, int], float] = {}

    def at(rank: int, n: int) -> float:
        if (rank, n) not in known:
            known[rank, n] = expected(rank, n)
        return known[rank, n]

    values = np.empty(len(ranks))
    for row, (above, tied, n) in enumerate(zip(ranks.above, ranks.tied, ranks.n, strict=True)):
        first, last = int(above), int(above + tied)
        if ties == "optimistic":
            values[row] = at(first, int(n))
        elif ties == "pessimistic":
            values[row] = at(last, int(n))
        elif ties == "mean":
            # Half of an odd block lies between two ranks.
            values[row] = (
                at((first + last) // 2, int(n)) + at((first + last + 1) // 2, int(n))
            ) / 2
        else:
            values[row] = np.mean([at(rank, int(n)) for rank in range(first, last + 1)])
    return values


@dataclass(frozen=True)
class Difference:
    """A mean paired difference with its interval; `sure` where the interval leaves out 0."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def sure(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def paired_bootstrap(
    first: Floats, second: Floats, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Difference:
    """How much `first` is above `second` on the same cases, with a percentile interval.

    Both hold one value per case; for several seeds, give each case's mean over the seeds.
    """
    if len(first) != len(second):
        raise UsageError(f"{len(first)} and {len(second)} cases cannot be paired")
    if not len(first):
        raise UsageError("no cases to compare")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    means = bootstrap_means(difference, resamples=resamples, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(difference.mean()), float(low), float(high), len(difference))


def bootstrap_means(values: Floats, *, resamples: int = 1000, seed: int = 0) -> Floats:
    """The means of that many resamples of the values, drawn with replacement."""
    rng = np.random.default_rng(seed)
    n = len(values)
    # Blocks keep the drawn numbers of a large test set out of memory.
    block = max(1, 4_000_000 // n)
    drawn = [
        values[rng.integers(0, n, size=(min(block, resamples - start), n))].mean(axis=1)
        for start in range(0, resamples, block)
    ]
    return np.concatenate(drawn)


def _metric(ranks: Ranks, gain: Callable[[Floats], Floats], ties: Ties) -> Floats:
    above, tied = ranks.above.astype(np.float64), ranks.tied.astype(np.float64)
    if ties == "optimistic":
        return gain(above)
    if ties == "pessimistic":
        return gain(above + tied)
    if ties == "mean":
        return gain(above + tied / 2)
    if ties == "expected":
        # The mean of the gain over the tied block, by sums from rank 0 on.
        highest = int((ranks.above + ranks.tied).max(initial=0))
        sums = np.concatenate([[0.0], np.cumsum(gain(np.arange(highest + 1, dtype=np.float64)))])
        return (sums[ranks.above + ranks.tied + 1] - sums[ranks.above]) / (ranks.tied + 1)
    raise UsageError(f"no policy '{ties}' for ties; there are {', '.join(TIES)}")
