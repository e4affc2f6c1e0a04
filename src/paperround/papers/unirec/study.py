"""Whom a model serves: the effect of uniform users and frequent items, raw and matched.

A user with equal gaps is also a user with few of them, and often one who took everything on one
day. `matched_difference` compares uniform with irregular users of the same length and the same
share of same-day transitions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.kit.recommendation.evaluation import quartiles
from paperround.kit.recommendation.interactions import Floats, Ints


@dataclass(frozen=True)
class Effect:
    """A difference of means with its 95 % bootstrap interval, and how many stand on each side."""

    mean: float
    low: float
    high: float
    n_first: int
    n_second: int


def ends(values: Floats, share: float = 0.4) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Who is among the lowest `share` of the known values, and who among the highest."""
    if not 0 < share <= 0.5:
        raise UsageError(f"a share of each end lies above 0 and up to .5, not {share}")
    known = values[~np.isnan(values)]
    if not len(known):
        none = np.zeros(len(values), dtype=bool)
        return none, none
    low, high = np.quantile(known, [share, 1 - share])
    return values <= low, (values >= high) & (values > low)


def matched_difference(
    values: Floats,
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    strata: Ints,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Effect:
    """The mean of `values` where `first`, less that where `second`, within equal strata.

    Strata that hold only one side say nothing and are left out; the others weigh by the smaller of
    their two sides. One stratum for all gives the raw difference. Cases are resampled whole.
    """
    rows = np.flatnonzero(first | second)
    _, stratum = np.unique(strata[rows], return_inverse=True)
    value, is_first = values[rows], first[rows]
    n_strata = int(stratum.max()) + 1 if len(rows) else 0

    def difference(chosen: Ints) -> float:
        def sums(weights: Floats) -> Floats:
            counted = np.bincount(stratum[chosen], weights=weights, minlength=n_strata)
            return counted.astype(np.float64)

        one, v = is_first[chosen].astype(np.float64), value[chosen]
        n_one, n_two = sums(one), sums(1 - one)
        both = np.minimum(n_one, n_two)
        if not both.any():
            return float("nan")
        mean_one = sums(one * v) / np.maximum(n_one, 1)
        mean_two = sums((1 - one) * v) / np.maximum(n_two, 1)
        return float((both * (mean_one - mean_two)).sum() / both.sum())

    whole = difference(np.arange(len(rows)))
    if np.isnan(whole):
        raise UsageError("no stratum holds cases of both sides")
    rng = np.random.default_rng(seed)
    drawn = [difference(rng.integers(0, len(rows), len(rows))) for _ in range(resamples)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return Effect(whole, float(low), float(high), int(is_first.sum()), int((~is_first).sum()))


def strata_of(*columns: Floats) -> Ints:
    """One number per combination of the columns' quartiles; missing values stand by themselves."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        missing = np.isnan(column)
        quarter = np.full(len(column), 4)
        if not missing.all():
            quarter[~missing] = np.unique(quartiles(column[~missing]), return_inverse=True)[1]
        code = code * 5 + quarter
    return code
