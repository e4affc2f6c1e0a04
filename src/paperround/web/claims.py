"""Claims as the pages show them: how many hold, and where the measured values stand."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from paperround.runs.verdicts import ClaimResult, Verdict

_WIDTH = 100.0
_MARGIN = 6.0


@dataclass(frozen=True)
class Tally:
    """How many claims of a paper hold, fall short, and were not measured."""

    holds: int
    falls_short: int
    not_measured: int

    @property
    def total(self) -> int:
        """How many claims there are."""
        return self.holds + self.falls_short + self.not_measured

    @property
    def state(self) -> str:
        """One word for the mark: the worst that was found, else what holds."""
        if self.falls_short:
            return "falls-short"
        return "holds" if self.holds else "not-measured"

    @property
    def says(self) -> str:
        """`5 of 6 claims hold`; claims that were not measured are never counted as holding."""
        if not self.holds and not self.falls_short:
            return "not measured yet"
        noun = "claim" if self.total == 1 else "claims"
        verb = "holds" if self.holds == 1 else "hold"
        return f"{self.holds} of {self.total} {noun} {verb}"


def tally(verdicts: Iterable[Verdict | str]) -> Tally:
    """The verdicts, counted."""
    found = [Verdict(verdict) for verdict in verdicts]
    return Tally(*(found.count(verdict) for verdict in Verdict))


@dataclass(frozen=True)
class ClaimPlot:
    """Where a claim's values stand on one line, 0 to 100: for a small drawing beside the numbers.

    `bar` is the stretch that meets the bar, `points` the measured values, `reported` the paper's
    own figure where it is a number.
    """

    bar: tuple[float, float]
    points: tuple[float, ...]
    reported: float | None


def claim_plot(claim: ClaimResult) -> ClaimPlot | None:
    """The drawing of a claim, None where nothing was measured or there is no limit to show."""
    low_bar, high_bar = claim.bar.at_least, claim.bar.at_most
    limits = [limit for limit in (low_bar, high_bar) if limit is not None]
    if not claim.measured or not limits:
        return None
    reported = claim.reported if isinstance(claim.reported, int | float) else None
    shown = [*claim.measured, *limits, *([] if reported is None else [float(reported)])]
    if not all(math.isfinite(value) for value in shown):
        return None
    low, high = min(shown), max(shown)
    if low == high:
        low, high = low - 1, high + 1
    scale = (_WIDTH - 2 * _MARGIN) / (high - low)

    def place(value: float) -> float:
        return round(_MARGIN + (value - low) * scale, 2)

    return ClaimPlot(
        bar=(
            0.0 if low_bar is None else place(low_bar),
            _WIDTH if high_bar is None else place(high_bar),
        ),
        points=tuple(place(value) for value in claim.measured),
        reported=None if reported is None else place(float(reported)),
    )
