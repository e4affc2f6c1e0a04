"""What is known of runs: one, the newest, its events, and what the claims stand at."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from sqlalchemy import Connection, and_, func, or_, select
from sqlalchemy.engine import Row

from paperround.runs.card import Scale
from paperround.runs.progress import Progress, progress_of
from paperround.runs.queue import State
from paperround.runs.records import (
    Origin,
    ResultView,
    find_result,
    newest_results,
    shipped_result,
    view_of,
)
from paperround.runs.reproduction import Event
from paperround.runs.results import Result
from paperround.runs.rooms import Room
from paperround.runs.tables import ResultTable, RunEventTable, RunTable
from paperround.runs.verdicts import Verdict


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

    `tally`, `result_id` and `result` are there once it has ended with a record. `recent_runs`
    leaves `result` out, as records are large; `run_by_id` has it.
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
    result_id: str | None = None
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
    origin: Origin
    # Measured before a claim or a bar was changed.
    is_of_older_card: bool = False

    @property
    def is_shipped(self) -> bool:
        """Whether it came with the room and was not measured on this machine."""
        return self.origin is Origin.SHIPPED


@dataclass(frozen=True)
class Standing:
    """What stands for a paper at a scale: the result of its card as it is, and the newest other.

    `current` is this machine's own or the one that ships; None where this card was not measured.
    """

    current: ResultView | None
    older: ResultView | None


@dataclass(frozen=True)
class ClaimSummary:
    """Where a paper's claims stand at the largest scale that has a result."""

    slug: str
    scale: Scale
    tally: Tally
    is_shipped: bool


def tally_of(result: Result | ResultView) -> Tally:
    """The verdicts of a result, counted."""
    return _tally([claim.verdict for claim in result.claims])


def _tally(verdicts: Sequence[Verdict]) -> Tally:
    return Tally(
        holds=verdicts.count(Verdict.HOLDS),
        falls_short=verdicts.count(Verdict.FALLS_SHORT),
        not_measured=verdicts.count(Verdict.NOT_MEASURED),
    )


def run_by_id(connection: Connection, run_id: str) -> RunView | None:
    """The run with its record, or None. Stands on the primary key and on `result.run_id`."""
    row = connection.execute(
        select(*_COLUMNS, ResultTable.record)
        .outerjoin(ResultTable, ResultTable.run_id == RunTable.id)
        .where(RunTable.id == run_id)
    ).first()
    if row is None:
        return None
    result = None if row.record is None else Result.from_json(row.record)
    return _view(connection, row, result)


def is_running(connection: Connection) -> bool:
    """Whether any run is under way. Stands on ix_run_queue."""
    running = select(RunTable.id).where(RunTable.state == State.RUNNING).limit(1)
    return connection.execute(running).first() is not None


def recent_runs(
    connection: Connection, slug: str | None = None, n: int = 20, before: str | None = None
) -> list[RunView]:
    """The newest runs of one paper or of all, the last queued first, without their records.

    `before` is a run's id, from behind which the list goes on.

    An id begins with its time, so the order stands on the primary key, or on ix_run_slug.
    """
    query = (
        select(*_COLUMNS)
        .outerjoin(ResultTable, ResultTable.run_id == RunTable.id)
        .order_by(RunTable.id.desc())
        .limit(n)
    )
    if slug is not None:
        query = query.where(RunTable.slug == slug)
    if before is not None:
        query = query.where(RunTable.id < before)
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
    connection: Connection, run: RunView, now: datetime, earlier: Sequence[Event] = ()
) -> Progress:
    """How far a run is. `earlier`, by `typical_stages`, lets it estimate the time left."""
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
    return progress_of([(row.at, row.event) for row in rows], now, earlier)


def latest_results(connection: Connection, room: Room) -> dict[Scale, LatestResult]:
    """What stands at each scale: this machine's newest result of this card, else the shipped one.

    Where only another card was measured, after an upgrade that moved a bar, its newest result is
    there and says so (`is_of_older_card`): shown, and never counted for this card's claims.
    """
    standing = standings(connection, [room])
    latest: dict[Scale, LatestResult] = {}
    for scale in Scale:
        stands = standing.get((room.slug, scale))
        if stands is None:
            continue
        view = stands.current or stands.older
        if view is None:
            continue
        shipped = shipped_result(room, scale)
        if shipped is not None and shipped.id == view.id:
            result = shipped
        else:
            result = find_result(connection, view.id)[1]
        latest[scale] = LatestResult(
            result, view.run_id, view.origin, is_of_older_card=view.card_sha256 != room.card_sha256
        )
    return latest


def standings(connection: Connection, rooms: Iterable[Room]) -> dict[tuple[str, Scale], Standing]:
    """What stands for each paper at each scale; a scale without any result is absent.

    Imported results never stand here: they say what another machine measured.
    """
    newest: dict[tuple[str, Scale], list[ResultView]] = {}
    for view in newest_results(connection):
        if view.origin is not Origin.IMPORTED:
            newest.setdefault((view.slug, view.scale), []).append(view)
    found = {}
    for room in rooms:
        for scale in Scale:
            views = newest.get((room.slug, scale), [])
            shipped = shipped_result(room, scale)
            if shipped is not None and shipped.status == "finished":
                # Of the shipped ones that were kept, only the one that ships now may stand.
                views = [view for view in views if view.origin is Origin.HERE or _other(room, view)]
                if all(view.id != shipped.id for view in views):
                    views = [view_of(shipped, Origin.SHIPPED), *views]
            if views:
                found[room.slug, scale] = _standing(room, views)
    return found


def _other(room: Room, view: ResultView) -> bool:
    return view.card_sha256 != room.card_sha256


def _standing(room: Room, views: Sequence[ResultView]) -> Standing:
    """`views` has at most one of each card and origin."""
    current = [view for view in views if not _other(room, view)]
    older = [view for view in views if _other(room, view)]
    return Standing(
        # This machine's own before the one that ships.
        current=min(current, key=lambda view: view.origin is not Origin.HERE, default=None),
        older=max(older, key=lambda view: view.number, default=None),
    )


def claim_summary(connection: Connection, rooms: Iterable[Room]) -> dict[str, ClaimSummary]:
    """Where each room's claims stand, by slug; a room that has no result at any scale is absent.

    Cheap enough for a page of papers: one query, and digests are read once each. Results of
    another card count for nothing here.
    """
    rooms = list(rooms)
    standing = standings(connection, rooms)
    summaries = {}
    for room in rooms:
        for scale in reversed(Scale):
            stands = standing.get((room.slug, scale))
            if stands is not None and stands.current is not None:
                is_shipped = stands.current.origin is Origin.SHIPPED
                tally = tally_of(stands.current)
                summaries[room.slug] = ClaimSummary(room.slug, scale, tally, is_shipped)
                break
    return summaries


def typical_stages(connection: Connection, room: Room, scale: Scale, n: int = 5) -> list[Event]:
    """How long each stage takes here: the median over this machine's last finished runs.

    Where nothing was run here, the stages of the result that ships. Only runs with the same
    stages as the last one tell of it. Reads `n` records; stands on ix_result_card.
    """
    records = connection.scalars(
        select(ResultTable.record["stages"])
        .where(
            ResultTable.slug == room.slug,
            ResultTable.scale == scale.value,
            ResultTable.card_sha256 == room.card_sha256,
            ResultTable.status == "finished",
            ResultTable.origin == Origin.HERE,
        )
        .order_by(ResultTable.number.desc())
        .limit(n)
    ).all()
    if not records:
        shipped = shipped_result(room, scale)
        return list(shipped.stages) if shipped is not None else []
    names = [stage["stage"] for stage in records[0]]
    alike = [stages for stages in records if [stage["stage"] for stage in stages] == names]
    return [
        {"stage": name, "seconds": median(stages[place]["seconds"] for stages in alike)}
        for place, name in enumerate(names)
    ]


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
    ResultTable.id.label("result_id"),
    ResultTable.digest,
)


def _view(connection: Connection, row: Row[*tuple[Any, ...]], result: Result | None) -> RunView:
    state, tally = State(row.state), None
    if row.digest is not None:
        tally = _tally([Verdict(claim["verdict"]) for claim in row.digest["claims"]])
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
        result_id=row.result_id,
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
