"""What is known of runs: one, the newest, its events, and what the claims stand at."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.engine import Row

from paperround.errors import CardError
from paperround.log import get_logger
from paperround.runs.card import Scale
from paperround.runs.progress import Progress, progress_of
from paperround.runs.queue import State
from paperround.runs.reproduction import Event
from paperround.runs.results import Result, read_result
from paperround.runs.rooms import Room
from paperround.runs.tables import RunEventTable, RunTable
from paperround.runs.verdicts import Verdict

# Of ended runs, which never change.
_MAX_REMEMBERED = 10_000


@dataclass(frozen=True)
class Tally:
    """How many claims of one result have each verdict."""

    holds: int
    falls_short: int
    not_measured: int

    @property
    def claims(self) -> int:
        """All of them."""
        return self.holds + self.falls_short + self.not_measured

    @property
    def measured(self) -> int:
        """Those with a verdict other than `not measured`."""
        return self.holds + self.falls_short


@dataclass(frozen=True)
class RunView:
    """One run. `position` is its place in the queue, from 1, while it is queued.

    `tally` and `result` are there once it has ended with a record. `recent_runs` leaves `result`
    out, as records are large; `run_by_id` has it.
    """

    id: str
    slug: str
    scale: Scale
    seeds: tuple[int, ...]
    state: State
    reason: str
    queued_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    attempts: int
    cancel_requested: bool
    owner: str = ""
    position: int | None = None
    tally: Tally | None = None
    result: Result | None = None

    @property
    def is_active(self) -> bool:
        """Whether it may still change."""
        return self.state in (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class LatestResult:
    """What a paper's page shows at one scale; `run_id` is None for a result that ships."""

    result: Result
    run_id: str | None

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the room and was not measured on this machine."""
        return self.run_id is None


@dataclass(frozen=True)
class ClaimSummary:
    """Where a paper's claims stand at the largest scale that has a result."""

    slug: str
    scale: Scale
    tally: Tally
    is_shipped: bool


def tally_of(result: Result) -> Tally:
    """The verdicts of a result, counted."""
    verdicts = [claim.verdict for claim in result.claims]
    return Tally(
        holds=verdicts.count(Verdict.HOLDS),
        falls_short=verdicts.count(Verdict.FALLS_SHORT),
        not_measured=verdicts.count(Verdict.NOT_MEASURED),
    )


def run_by_id(connection: Connection, run_id: str) -> RunView | None:
    """The run with its record, or None. Stands on the primary key."""
    row = connection.execute(
        select(*_COLUMNS, RunTable.result).where(RunTable.id == run_id)
    ).first()
    if row is None:
        return None
    result = None if row.result is None else Result.from_json(row.result)
    return _view(connection, row, result)


def is_running(connection: Connection) -> bool:
    """Whether any run is under way. Stands on ix_run_queue."""
    running = select(RunTable.id).where(RunTable.state == State.RUNNING).limit(1)
    return connection.execute(running).first() is not None


def recent_runs(connection: Connection, slug: str | None = None, n: int = 20) -> list[RunView]:
    """The newest runs of one paper or of all, the last queued first, without their records.

    An id begins with its time, so the order stands on the primary key, or on ix_run_slug.
    """
    query = select(*_COLUMNS).order_by(RunTable.id.desc()).limit(n)
    if slug is not None:
        query = query.where(RunTable.slug == slug)
    return [_view(connection, row, None) for row in connection.execute(query).all()]


def events_after(
    connection: Connection, run_id: str, number: int = 0, n: int = 1_000
) -> list[tuple[int, Event]]:
    """Up to `n` events of a run that came after that number, in order. On the primary key."""
    rows = connection.execute(
        select(RunEventTable.number, RunEventTable.event)
        .where(RunEventTable.run_id == run_id, RunEventTable.number > number)
        .order_by(RunEventTable.number)
        .limit(n)
    )
    return [(row.number, row.event) for row in rows]


def run_progress(
    connection: Connection, run: RunView, now: datetime, earlier: Result | None = None
) -> Progress:
    """How far a run is. `earlier`, a result at the same scale, lets it estimate the time left."""
    # A table or a picture tells nothing of progress and may be megabytes.
    kinds = ("started", "stage", "progress", "stage-end", "measure")
    rows = connection.execute(
        select(RunEventTable.at, RunEventTable.event)
        .where(
            RunEventTable.run_id == run.id,
            RunEventTable.event["kind"].as_string().in_(kinds),
        )
        .order_by(RunEventTable.number)
    )
    stages = earlier.stages if earlier is not None and earlier.scale == run.scale else ()
    return progress_of([(row.at, row.event) for row in rows], now, stages)


def latest_results(connection: Connection, room: Room) -> dict[Scale, LatestResult]:
    """The newest finished result of this machine at each scale, else the one that ships.

    A local result counts only for the card that it was measured against: after an upgrade that
    changes a claim or a bar, the shipped result shows until the paper is run again here.
    """
    latest: dict[Scale, LatestResult] = {}
    for scale in Scale:
        row = connection.execute(
            select(RunTable.id, RunTable.result)
            .where(
                RunTable.slug == room.slug,
                RunTable.scale == scale.value,
                RunTable.state == State.FINISHED,
            )
            .order_by(RunTable.ended_at.desc())
            .limit(1)
        ).first()
        if row is not None and row.result["card_sha256"] == room.card_sha256:
            latest[scale] = LatestResult(Result.from_json(row.result), row.id)
        elif (shipped := shipped_result(room, scale)) is not None:
            latest[scale] = LatestResult(shipped, None)
    return latest


def shipped_result(room: Room, scale: Scale) -> Result | None:
    """The result that ships with a room at a scale, read again only when its file has changed."""
    path = room.results_dir / f"{scale}.json"
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    try:
        return _read_once(path, stat.st_mtime_ns, stat.st_size)
    except CardError as error:
        # One broken file hides one result, not the page that lists fifty papers.
        get_logger().warning("result.unreadable", slug=room.slug, error=str(error))
        return None


def claim_summary(connection: Connection, rooms: Iterable[Room]) -> dict[str, ClaimSummary]:
    """Where each room's claims stand, by slug; a room that has no result at any scale is absent.

    Cheap enough for a page of papers: one query, and records are read once each.
    """
    newest = (
        select(
            RunTable.slug,
            RunTable.scale,
            RunTable.id,
            func.row_number()
            .over(
                partition_by=(RunTable.slug, RunTable.scale),
                order_by=(RunTable.ended_at.desc(), RunTable.id.desc()),
            )
            .label("place"),
        )
        .where(RunTable.state == State.FINISHED)
        .subquery()
    )
    local = {
        (row.slug, row.scale): row.id
        for row in connection.execute(
            select(newest.c.slug, newest.c.scale, newest.c.id).where(newest.c.place == 1)
        )
    }
    summaries = {}
    for room in rooms:
        for scale in reversed(Scale):
            summary = _summary(connection, room, scale, local.get((room.slug, scale.value)))
            if summary is not None:
                summaries[room.slug] = summary
                break
    return summaries


def _summary(
    connection: Connection, room: Room, scale: Scale, run_id: str | None
) -> ClaimSummary | None:
    if run_id is not None:
        remembered = _remembered(connection, run_id)
        if remembered is not None and remembered[1] == room.card_sha256:
            return ClaimSummary(room.slug, scale, remembered[0], is_shipped=False)
    shipped = shipped_result(room, scale)
    if shipped is None:
        return None
    return ClaimSummary(room.slug, scale, tally_of(shipped), is_shipped=True)


_COLUMNS = (
    RunTable.id,
    RunTable.slug,
    RunTable.scale,
    RunTable.seeds,
    RunTable.state,
    RunTable.reason,
    RunTable.priority,
    RunTable.queued_at,
    RunTable.started_at,
    RunTable.ended_at,
    RunTable.attempts,
    RunTable.cancel_requested,
    RunTable.owner,
)


def _view(connection: Connection, row: Row[*tuple[Any, ...]], result: Result | None) -> RunView:
    state, tally = State(row.state), None
    if result is not None:
        tally = tally_of(result)
    elif state not in (State.QUEUED, State.RUNNING):
        remembered = _remembered(connection, row.id)
        tally = None if remembered is None else remembered[0]
    return RunView(
        id=row.id,
        slug=row.slug,
        scale=Scale(row.scale),
        seeds=tuple(row.seeds),
        state=state,
        reason=row.reason,
        queued_at=row.queued_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        cancel_requested=row.cancel_requested,
        owner=row.owner,
        position=_position(connection, row) if state is State.QUEUED else None,
        tally=tally,
        result=result,
    )


def _position(connection: Connection, row: Row[*tuple[Any, ...]]) -> int:
    """How many queued runs come before this one, plus one. Stands on ix_run_queue."""
    earlier = or_(
        RunTable.priority > row.priority,
        and_(
            RunTable.priority == row.priority,
            or_(
                RunTable.queued_at < row.queued_at,
                and_(RunTable.queued_at == row.queued_at, RunTable.id < row.id),
            ),
        ),
    )
    before = connection.execute(
        select(func.count()).select_from(RunTable).where(RunTable.state == State.QUEUED, earlier)
    )
    return before.scalar_one() + 1


# The tally and the card's checksum of ended runs, by id. An ended run never changes and no two
# databases share an id, so nothing here can go stale.
_tallies: dict[str, tuple[Tally, str]] = {}


def _remembered(connection: Connection, run_id: str) -> tuple[Tally, str] | None:
    if run_id not in _tallies:
        data = connection.execute(select(RunTable.result).where(RunTable.id == run_id)).scalar()
        if data is None:
            return None
        result = Result.from_json(data)
        if len(_tallies) >= _MAX_REMEMBERED:
            _tallies.clear()
        _tallies[run_id] = (tally_of(result), result.card_sha256)
    return _tallies[run_id]


@lru_cache(maxsize=512)
def _read_once(path: Path, _mtime_ns: int, _size: int) -> Result:
    return read_result(path)
