"""The claims board: every claim of every runnable paper at every scale, and where it stands.

A claim stands on this machine's newest result of the card as it is, else on the one that ships. A
result of another card is told beside it and decides nothing. What was said before is not forgotten:
each change of a verdict is kept with what changed between the two results.
"""

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import Connection

from paperround.errors import UsageError
from paperround.runs.card import Claim, Scale
from paperround.runs.queries import Standing, standings
from paperround.runs.records import ClaimFigure, Origin, ResultView, results_kept
from paperround.runs.rooms import Room
from paperround.runs.verdicts import Verdict


@dataclass(frozen=True)
class Spread:
    """A claim's value over several runs of one card on this machine; at least two."""

    runs: int
    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Change:
    """A verdict that became another. `because` names what differs between the two results."""

    at: datetime
    before: Verdict
    after: Verdict
    before_id: str
    after_id: str
    because: tuple[str, ...]


@dataclass(frozen=True)
class BoardRow:
    """A claim at a scale. Without a `result`, nothing of this card was measured at the scale.

    `older` is the newest result of another card where that is all there is, `older_figure` what it
    says of the claim, None where its card had no such claim.
    """

    room: Room
    claim: Claim
    scale: Scale
    bar: str
    verdict: Verdict
    reason: str
    result: ResultView | None
    figure: ClaimFigure | None
    spread: Spread | None
    older: ResultView | None
    older_figure: ClaimFigure | None
    changes: tuple[Change, ...]

    @property
    def value(self) -> float | None:
        """What was measured: the newest run's value, which the bar is held against."""
        return self.figure.value if self.figure else None

    @property
    def measured_at(self) -> datetime | None:
        """When the run that measured it began; None where the claim was not measured."""
        return self.result.started_at if self.result and self.value is not None else None


@dataclass(frozen=True)
class Filter:
    """Which rows to show; an empty field lets all pass. `text` is words that must all occur."""

    family: str = ""
    paper: str = ""
    verdict: str = ""
    scale: str = ""
    text: str = ""
    changed: bool = False


def board(connection: Connection, rooms: Iterable[Room]) -> list[BoardRow]:
    """All rows: by family and title, the claims in the card's order, the small scale first."""
    ordered = sorted(rooms, key=lambda room: (room.card.family, room.card.title, room.slug))
    standing = standings(connection, ordered)
    kept: dict[tuple[str, Scale], list[ResultView]] = {}
    for view in results_kept(connection):
        kept.setdefault((view.slug, view.scale), []).append(view)
    return [
        _row(room, claim, scale, standing.get((room.slug, scale)), kept.get((room.slug, scale), []))
        for room in ordered
        for claim in room.card.claims
        for scale in Scale
        if room.card.scales[scale].runs_here or (room.slug, scale) in standing
    ]


def spread_of(views: Iterable[ResultView], card_sha256: str, claim_id: str) -> Spread | None:
    """How far the claim's value varies over this machine's finished runs of that card."""
    values = [
        figure.value
        for view in views
        if view.origin is Origin.HERE and view.is_finished and view.card_sha256 == card_sha256
        if (figure := view.claim(claim_id)) is not None and figure.value is not None
    ]
    if len(values) < 2:
        return None
    return Spread(len(values), median(values), min(values), max(values))


def changes_of(views: Iterable[ResultView], claim_id: str) -> tuple[Change, ...]:
    """Each time that the claim's verdict became another, in the order in which results came.

    Imported results are other machines' word and change nothing here.
    """
    changes = []
    before: tuple[ResultView, ClaimFigure] | None = None
    for view in views:
        figure = view.claim(claim_id)
        if figure is None or not view.is_finished or view.origin is Origin.IMPORTED:
            continue
        if before is not None and before[1].verdict is not figure.verdict:
            changes.append(
                Change(
                    at=view.started_at,
                    before=before[1].verdict,
                    after=figure.verdict,
                    before_id=before[0].id,
                    after_id=view.id,
                    because=_differences(*before, view, figure),
                )
            )
        before = view, figure
    return tuple(changes)


def select_rows(rows: Iterable[BoardRow], wanted: Filter) -> list[BoardRow]:
    """The rows that pass. Raises UsageError for a verdict or a scale that there is not."""
    if wanted.verdict and wanted.verdict not in set(Verdict):
        raise UsageError(f"no verdict '{wanted.verdict}'; there are {', '.join(Verdict)}")
    if wanted.scale and wanted.scale not in set(Scale):
        raise UsageError(f"no scale '{wanted.scale}'; there are {', '.join(Scale)}")
    words = wanted.text.casefold().split()
    return [
        row
        for row in rows
        if wanted.family in ("", row.room.card.family)
        and wanted.paper in ("", row.room.slug)
        and wanted.verdict in ("", row.verdict)
        and wanted.scale in ("", row.scale)
        and (row.changes or not wanted.changed)
        and all(word in _words(row) for word in words)
    ]


def sort_rows(rows: Sequence[BoardRow], column: str, *, descending: bool = False) -> list[BoardRow]:
    """The rows by a column of `SORTS`; equal ones keep their order, empty cells come last.

    Raises UsageError for a column that there is not.
    """
    if column not in SORTS:
        raise UsageError(f"no column '{column[:40]}' to sort by; there are {', '.join(SORTS)}")
    key = SORTS[column]
    filled = [row for row in rows if key(row) is not None]
    empty = [row for row in rows if key(row) is None]
    return [*sorted(filled, key=key, reverse=descending), *empty]


def row_json(row: BoardRow) -> dict[str, Any]:
    """A row as JSON-ready data, flat: what CSV and the API give."""
    result, figure, spread = row.result, row.figure, row.spread
    older, older_figure = row.older, row.older_figure
    environment = result.environment if result else {}
    return {
        "slug": row.room.slug,
        "paper": row.room.card.paper,
        "title": row.room.card.title,
        "family": row.room.card.family,
        "claim": row.claim.id,
        "says": row.claim.says,
        "metric": row.claim.metric,
        "reported": row.claim.reported,
        "where": row.claim.where,
        "against": row.claim.baseline,
        "higher_is_better": row.claim.higher_is_better,
        "scale": row.scale.value,
        "baseline": figure.baseline if figure else None,
        "measured": row.value,
        "lowest_seed": figure.low if figure else None,
        "highest_seed": figure.high if figure else None,
        "runs": spread.runs if spread else int(result is not None),
        "median_of_runs": spread.median if spread else None,
        "lowest_run": spread.low if spread else None,
        "highest_run": spread.high if spread else None,
        "bar": row.bar,
        "verdict": row.verdict.value,
        "reason": row.reason,
        "measured_at": row.measured_at.isoformat() if row.measured_at else None,
        "origin": result.origin.value if result else None,
        "result": result.id if result else None,
        "processor": environment.get("processor"),
        "cores": environment.get("cores"),
        "memory_gb": environment.get("memory_gb"),
        "program": result.program if result else None,
        "card": row.room.card_sha256,
        "older_card": older.card_sha256 if older else None,
        "older_measured": older_figure.value if older_figure else None,
        "older_verdict": older_figure.verdict.value if older_figure else None,
        "older_result": older.id if older else None,
        "changes": len(row.changes),
    }


def board_csv(rows: Iterable[BoardRow]) -> str:
    """The rows as CSV with a heading. A spreadsheet takes no cell of it for a formula."""
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\r\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        cells = row_json(row)
        writer.writerow([harmless(cells[name]) for name in CSV_COLUMNS])
    return written.getvalue()


def harmless(cell: object) -> object:
    """The cell, with an apostrophe before a text that a spreadsheet would take for a formula.

    Numbers stay numbers. Source: OWASP, CSV Injection; also the full-width signs, which some
    spreadsheets take for the plain ones.
    """
    if isinstance(cell, str) and cell.lstrip(" \u00a0")[:1] in _FORMULA_STARTS:
        return "'" + cell
    return "" if cell is None else cell


_FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠|%")

CSV_COLUMNS = (
    *("slug", "paper", "title", "family", "claim", "says", "metric", "reported", "where"),
    *("against", "higher_is_better", "scale", "baseline", "measured", "lowest_seed"),
    *("highest_seed", "runs", "median_of_runs", "lowest_run", "highest_run", "bar", "verdict"),
    *("reason", "measured_at", "origin", "result", "processor", "cores", "memory_gb", "program"),
    *("card", "older_card", "older_measured", "older_verdict", "older_result", "changes"),
)

_VERDICT_ORDER = {Verdict.FALLS_SHORT: 0, Verdict.HOLDS: 1, Verdict.NOT_MEASURED: 2}


def _number_or_words(value: float | str | None) -> tuple[int, float, str] | None:
    if value is None:
        return None
    return (1, 0.0, value.casefold()) if isinstance(value, str) else (0, float(value), "")


def _limit(row: BoardRow) -> float | None:
    bar = row.claim.bars.get(row.scale)
    if bar is None:
        return None
    return bar.at_least if bar.at_least is not None else bar.at_most


# What each column is sorted by; None is an empty cell.
SORTS: dict[str, Callable[[BoardRow], Any]] = {
    "paper": lambda row: (row.room.card.title.casefold(), row.room.slug),
    "claim": lambda row: row.claim.says.casefold(),
    "scale": lambda row: list(Scale).index(row.scale),
    "reported": lambda row: _number_or_words(row.claim.reported),
    "measured": lambda row: row.value,
    "bar": _limit,
    "verdict": lambda row: _VERDICT_ORDER[row.verdict],
    "when": lambda row: row.measured_at,
    "machine": lambda row: (
        str(row.result.environment.get("processor", "")).casefold()
        if row.result and row.measured_at
        else None
    ),
}


def _row(
    room: Room, claim: Claim, scale: Scale, stands: Standing | None, kept: Sequence[ResultView]
) -> BoardRow:
    current = stands.current if stands else None
    older = stands.older if stands and current is None else None
    figure = current.claim(claim.id) if current else None
    bar = claim.bars.get(scale)
    if figure is not None:
        verdict, reason = figure.verdict, figure.reason
    else:
        verdict = Verdict.NOT_MEASURED
        reason = (bar.not_measured if bar else None) or (
            "measured with an older card only" if older else "not measured yet"
        )
    return BoardRow(
        room=room,
        claim=claim,
        scale=scale,
        bar=str(bar) if bar else "–",
        verdict=verdict,
        reason=reason,
        result=current,
        figure=figure,
        spread=spread_of(kept, room.card_sha256, claim.id),
        older=older,
        older_figure=older.claim(claim.id) if older else None,
        changes=changes_of(kept, claim.id),
    )


def _words(row: BoardRow) -> str:
    card, claim = row.room.card, row.claim
    return " ".join(
        (card.title, card.slug, card.paper, claim.id, claim.says, claim.metric, claim.baseline)
    ).casefold()


def _differences(
    before: ResultView, was: ClaimFigure, after: ResultView, now: ClaimFigure
) -> tuple[str, ...]:
    """What differs between two results, in words, the card first."""
    differences = []
    if before.card_sha256 != after.card_sha256:
        moved = f": the bar was {was.bar} and is {now.bar}" if was.bar != now.bar else ""
        differences.append(f"the card changed{moved}")
    if before.program != after.program:
        differences.append(f"Paperround {before.program} became {after.program}")
    if before.environment.get("room") != after.environment.get("room"):
        was_room, now_room = before.environment.get("room"), after.environment.get("room")
        differences.append(f"the package {was_room} became {now_room}")
    if before.environment.get("processor") != after.environment.get("processor"):
        differences.append("another machine")
    if before.seeds != after.seeds:
        differences.append("other seeds")
    return tuple(differences) or ("the same card and program: it varies from run to run",)
