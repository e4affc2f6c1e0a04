"""Who is regular and what is frequent: the two observations that UniRec stands on.

A user is uniform where their gaps vary little; an item is frequent where it was taken often. Call
these with train events only: the released scripts look at all of them, the test's too.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import Floats, InteractionLog, Ints

Statistic = Literal["gap_variance", "log_gap_variance"]
Side = Literal["uniform", "irregular"]
Frequency = Literal["count", "interval_variance"]

_DAY_S = 86_400.0
MOST_RARE = 100.0


def gap_variance(log: InteractionLog, statistic: Statistic = "gap_variance") -> Floats:
    """(n_users,) the sample variance of a user's gaps, in s^2; NaN below three events.

    "log_gap_variance" takes log(1 + days) first: where times are days, as in Amazon's files, a few
    long gaps decide the plain variance alone. Adding a constant to a user's times changes nothing;
    stretching all times by c multiplies the plain one by c^2. Step 2 of the method.
    """
    if statistic not in ("gap_variance", "log_gap_variance"):
        raise UsageError(f"no statistic '{statistic}'; there are gap_variance, log_gap_variance")
    if log.time is None:
        raise UsageError("how regular a user is cannot be known without times")
    inside = log.user[1:] == log.user[:-1]
    gaps = np.diff(log.time)[inside]
    if statistic == "log_gap_variance":
        gaps = np.log1p(gaps / _DAY_S)
    return _variance_by(gaps, log.user[1:][inside], log.n_users)


def uniformity_split(
    log: InteractionLog,
    share: float = 0.6,
    statistic: Statistic = "gap_variance",
    side: Side = "uniform",
) -> NDArray[np.bool_]:
    """(n_users,) True for the `share` of users whose gaps vary least.

    Users below three events have no variance and are never flagged; among the others, ties with the
    last flagged one are flagged too, so that equal gaps always count as uniform. `side="irregular"`
    flags those that vary most: with a share of .4 that is what the released code calls uniform.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a share lies above 0 and up to 1, not {share}")
    if side not in ("uniform", "irregular"):
        raise UsageError(f"no side '{side}'; there are uniform, irregular")
    variance = gap_variance(log, statistic)
    known = np.sort(variance[~np.isnan(variance)])
    if not len(known):
        return np.zeros(log.n_users, dtype=bool)
    n = max(1, round(share * len(known)))
    # Comparisons with NaN are False.
    return variance <= known[n - 1] if side == "uniform" else variance >= known[-n]


def item_interval_variance(log: InteractionLog) -> Floats:
    """(n_items + 1,) the variance of the gaps between an item's events, all users together.

    NaN below three events, and for padding. What the released code calls frequency (step 3). Raises
    UsageError where times are not absolute: gaps between users would mean nothing.
    """
    if log.time is None or not log.time_is_absolute:
        raise UsageError("the gaps between an item's events need absolute times")
    order = np.lexsort((log.time, log.item))
    item, time = log.item[order], log.time[order]
    inside = item[1:] == item[:-1]
    return _variance_by(np.diff(time)[inside], item[1:][inside], log.n_items + 1)


def frequency_split(
    log: InteractionLog, share: float = 0.3, by: Frequency = "count"
) -> NDArray[np.bool_]:
    """(n_items + 1,) True for the head: the `share` of the items that occur most often.

    By "count" (the paper), or by "interval_variance", lowest first (the released code; an item
    below three events has no variance and is never head, where the code takes it for one). Equal
    items are taken in the order of their codes.
    """
    if not 0 < share <= 1:
        raise UsageError(f"a share lies above 0 and up to 1, not {share}")
    candidates = np.flatnonzero(log.item_counts > 0)
    key = _rareness(log, by)[candidates]
    candidates, key = candidates[~np.isnan(key)], key[~np.isnan(key)]
    head = np.zeros(log.n_items + 1, dtype=bool)
    head[candidates[np.argsort(key, kind="stable")[: round(share * len(candidates))]]] = True
    return head


def rarity(log: InteractionLog, by: Frequency = "count") -> Floats:
    """(n_items + 1,) from 0, the most frequent item, to 100: var_i of the curriculum (step 3).

    "count": 100 (1 - log(1 + c_i) / log(1 + c_max)), ours, which works without dates.
    "interval_variance": the variance rescaled linearly, as the released code has it; 100 where an
    item has none. Padding and items without events are 100.
    """
    rare = _rareness(log, by)
    if by == "count":
        rare = np.log1p(-rare)
        most = rare.max(initial=0.0)
        scaled = MOST_RARE * (1 - rare / most) if most > 0 else np.full_like(rare, MOST_RARE)
    else:
        known = rare[~np.isnan(rare)]
        low, high = (known.min(), known.max()) if len(known) else (0.0, 0.0)
        scaled = MOST_RARE * (rare - low) / (high - low) if high > low else np.zeros_like(rare)
    scaled = np.where(np.isnan(rare), MOST_RARE, scaled)
    scaled[log.item_counts == 0] = MOST_RARE
    return np.clip(scaled, 0.0, MOST_RARE)


def same_day_share(log: InteractionLog) -> Floats:
    """(n_users,) the share of a user's transitions that stay on the same day; NaN without any.

    What uniformity is confounded with: a user who takes everything on one day has equal gaps.
    """
    if log.time is None:
        raise UsageError("without times it is not known what falls on the same day")
    inside = log.user[1:] == log.user[:-1]
    day = np.floor(log.time / _DAY_S)
    user = log.user[1:][inside]
    n = np.bincount(user, minlength=log.n_users)
    same = np.bincount(user, weights=(np.diff(day) == 0)[inside], minlength=log.n_users)
    return np.where(n > 0, same / np.maximum(n, 1), np.nan)


def _rareness(log: InteractionLog, by: Frequency) -> Floats:
    """Per item code, a number that is lower for what is more frequent."""
    if by == "count":
        return -log.item_counts.astype(np.float64)
    if by == "interval_variance":
        return item_interval_variance(log)
    raise UsageError(f"no frequency by '{by}'; there are count, interval_variance")


def _variance_by(values: Floats, group: Ints, n_groups: int) -> Floats:
    """The sample variance (n - 1 below the line) of each group's values, NaN below two.

    `group` is ascending. Values are taken from their group's first one, so that equal values have a
    variance of exactly 0, whatever their size.
    """
    variance = np.full(n_groups, np.nan)
    if not len(values):
        return variance
    _, starts = np.unique(group, return_index=True)
    first = np.zeros(n_groups)
    first[group[starts]] = values[starts]
    apart = values - first[group]
    n = np.bincount(group, minlength=n_groups)
    mean = np.bincount(group, weights=apart, minlength=n_groups) / np.maximum(n, 1)
    squares = np.bincount(group, weights=(apart - mean[group]) ** 2, minlength=n_groups)
    several = n >= 2
    variance[several] = squares[several] / (n[several] - 1)
    return variance
