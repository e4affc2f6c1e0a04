"""Claims as the pages show them: how many hold, where values stand, which of them are asked for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Query
from sqlalchemy import Connection

from paperround.runs.board import SORTS, BoardRow, Filter, select_rows, sort_rows
from paperround.runs.queries import ClaimSummary, Tally, claim_summary
from paperround.runs.verdicts import ClaimResult
from paperround.web.site import Site

_WIDTH = 100.0
_MARGIN = 6.0


def summaries(connection: Connection, site: Site) -> dict[str, ClaimSummary]:
    """Where the claims of every runnable paper stand, by the paper's slug."""
    return claim_summary(connection, site.rooms.values())


def tallies(connection: Connection, site: Site) -> dict[str, Tally]:
    """The verdicts of every runnable paper, counted, by the paper's key in the catalogue."""
    return tallies_by_paper(site, summaries(connection, site))


def tallies_by_paper(site: Site, found: Mapping[str, ClaimSummary]) -> dict[str, Tally]:
    """The same from summaries that are at hand; a paper without any result has nothing measured."""
    return {
        room.card.paper: found[slug].tally if slug in found else Tally(0, 0, len(room.card.claims))
        for slug, room in site.rooms.items()
    }


def tally_state(tally: Tally) -> str:
    """One word for the mark: the worst that was found, else what holds."""
    if tally.falls_short:
        return "falls-short"
    return "holds" if tally.holds else "not-measured"


def tally_says(tally: Tally) -> str:
    """`5 of 6 claims hold`, of those that were measured; how many were not is said beside it."""
    if not tally.measured:
        return "not measured yet"
    noun = "claim" if tally.measured == 1 else "claims"
    verb = "holds" if tally.measured == 1 else "hold"
    rest = f", {tally.not_measured} not measured" if tally.not_measured else ""
    return f"{tally.holds} of {tally.measured} {noun} {verb}{rest}"


@dataclass(frozen=True)
class ClaimPlot:
    """Where a claim's values stand on a line of 0 to 100: a small drawing beside the numbers.

    `meets` is the stretch that meets the bar, `points` the measured values, `reported` the paper's
    own figure where it is a number.
    """

    meets: tuple[float, float]
    points: tuple[float, ...]
    reported: float | None


def claim_plot(claim: ClaimResult) -> ClaimPlot | None:
    """The drawing of a claim, None where nothing was measured or there is no limit to show."""
    low_limit, high_limit = claim.bar.at_least, claim.bar.at_most
    limits = [limit for limit in (low_limit, high_limit) if limit is not None]
    if not claim.measured or not limits:
        return None
    reported = [float(claim.reported)] if isinstance(claim.reported, int | float) else []
    shown = [*claim.measured, *limits, *reported]
    low, high = min(shown), max(shown)
    if not math.isfinite(high - low):
        return None

    def place(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(_MARGIN + share * (_WIDTH - 2 * _MARGIN), 2)

    return ClaimPlot(
        meets=(
            0.0 if low_limit is None else place(low_limit),
            _WIDTH if high_limit is None else place(high_limit),
        ),
        points=tuple(place(value) for value in claim.measured),
        reported=place(reported[0]) if reported else None,
    )


def asked_filter(
    family: Annotated[str, Query(max_length=60)] = "",
    paper: Annotated[str, Query(max_length=60)] = "",
    verdict: Annotated[str, Query(max_length=20)] = "",
    scale: Annotated[str, Query(max_length=10)] = "",
    q: Annotated[str, Query(max_length=200, description="words that must all occur")] = "",
    changed: Annotated[bool, Query(description="only claims whose verdict has changed")] = False,
) -> Filter:
    """The filter that an address names."""
    return Filter(family, paper, verdict, scale, q.strip(), changed)


FilterAsked = Annotated[Filter, Depends(asked_filter)]
SortAsked = Annotated[str, Query(max_length=20, description=f"one of {', '.join(SORTS)}")]
Descending = Annotated[bool, Query(alias="down", description="the largest first")]


def chosen_rows(
    everything: Sequence[BoardRow], wanted: Filter, sort: str, down: bool
) -> list[BoardRow]:
    """The rows that pass the filter, sorted; in the board's own order where no column is named."""
    rows = select_rows(everything, wanted)
    return sort_rows(rows, sort, descending=down) if sort else rows
