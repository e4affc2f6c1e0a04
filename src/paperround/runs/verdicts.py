"""Verdicts, computed in this one place from a run's measurements and the card's bars."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from paperround.runs.card import Bar, Card, Claim, Scale


def _median(values: Sequence[float]) -> float:
    return statistics.mean((statistics.median_low(values), statistics.median_high(values)))


# `statistics.mean` is exact; `fmean` raises, and `median` gives infinity, near the largest float.
_AGGREGATES: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.mean,
    "median": _median,
    "min": min,
    "max": max,
}


class Verdict(StrEnum):
    """What a run says of a claim. Never edited by hand."""

    HOLDS = "holds"
    FALLS_SHORT = "falls short"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Measurement:
    """One value measured for a claim, the baseline's in the same run, and the seed that gave it."""

    claim: str
    value: float
    baseline: float | None = None
    seed: int | None = None


@dataclass(frozen=True)
class ClaimResult:
    """A claim with what was measured for it and the verdict.

    `measured` has one value per measurement, `value` is their aggregate that the bar is compared
    with, `baseline` is the mean of the baseline's values where the run gave any.
    """

    id: str
    says: str
    metric: str
    reported: float | str | None
    where: str
    against: str
    higher_is_better: bool
    baseline: float | None
    measured: tuple[float, ...]
    value: float | None
    bar: Bar
    verdict: Verdict
    seeds: tuple[int, ...]
    reason: str = ""

    @property
    def spread(self) -> tuple[float, float] | None:
        """The smallest and the largest measured value, where there are several."""
        return (min(self.measured), max(self.measured)) if len(self.measured) > 1 else None


def judge(
    card: Card, scale: Scale, measurements: Sequence[Measurement], interrupted: str = ""
) -> tuple[ClaimResult, ...]:
    """Every claim of the card with its verdict, in the card's order.

    `interrupted` is why the run did not end well, empty where it did. What such a run had measured
    is kept and shown, and no verdict stands on it: other seeds may be missing.
    """
    return tuple(
        _judge_claim(claim, scale, [m for m in measurements if m.claim == claim.id], interrupted)
        for claim in card.claims
    )


def _judge_claim(
    claim: Claim, scale: Scale, measurements: list[Measurement], interrupted: str
) -> ClaimResult:
    bar = claim.bars.get(scale) or Bar(not_measured=f"the card has no bar at {scale}")
    values = tuple(m.value for m in measurements)
    baselines = [m.baseline for m in measurements if m.baseline is not None]
    value = _AGGREGATES[bar.aggregate](values) if values else None
    verdict, reason = Verdict.NOT_MEASURED, ""
    if bar.not_measured is not None:
        reason = bar.not_measured
    elif interrupted:
        reason = interrupted
    elif value is None:
        reason = "the reproduction ended without measuring it"
    elif baselines and len(baselines) < len(values):
        reason = "some values came without their baseline, which has to be of the same run"
    else:
        verdict = Verdict.HOLDS if _meets(value, bar) else Verdict.FALLS_SHORT
    return ClaimResult(
        id=claim.id,
        says=claim.says,
        metric=claim.metric,
        reported=claim.reported,
        where=claim.where,
        against=claim.baseline,
        higher_is_better=claim.higher_is_better,
        baseline=statistics.mean(baselines) if baselines else None,
        measured=values,
        value=value,
        bar=bar,
        verdict=verdict,
        seeds=tuple(dict.fromkeys(m.seed for m in measurements if m.seed is not None)),
        reason=reason,
    )


def _meets(value: float, bar: Bar) -> bool:
    # Comparisons with NaN are all false, which would let it pass `at_most` written as "not above".
    if not math.isfinite(value):
        return False
    return (bar.at_least is None or value >= bar.at_least) and (
        bar.at_most is None or value <= bar.at_most
    )
