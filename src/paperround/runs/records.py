"""The results that this place knows of: measured here, shipped with a room, or imported.

They are kept in one table in the order in which they came, under the checksum of what they
measured, and never changed. Lists read a result's digest, which is small; a page reads its whole
record.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.engine import Row

from paperround.clock import utc_now
from paperround.errors import CardError, NotFoundError, UsageError
from paperround.log import get_logger
from paperround.runs.card import Scale
from paperround.runs.results import Result, read_result
from paperround.runs.rooms import Room
from paperround.runs.tables import ResultTable
from paperround.runs.verdicts import ClaimResult, Verdict

MIN_ID_LETTERS = 8
_HEX = frozenset("0123456789abcdef")
_MAX_REMEMBERED = 20_000


class Origin(StrEnum):
    """How a result came to be here."""

    HERE = "here"
    SHIPPED = "shipped"
    IMPORTED = "imported"


@dataclass(frozen=True)
class ClaimFigure:
    """A claim in a result's digest: its value and spread over the seeds, bar and verdict."""

    id: str
    verdict: Verdict
    value: float | None
    low: float | None
    high: float | None
    baseline: float | None
    bar: str
    reason: str


@dataclass(frozen=True)
class ResultView:
    """A result without its record. `number` is its place in the order in which results came."""

    number: int
    id: str
    slug: str
    scale: Scale
    status: str
    card_sha256: str
    started_at: datetime
    origin: Origin
    origin_note: str
    kept_at: datetime | None
    run_id: str | None
    seconds: float
    seeds: tuple[int, ...]
    environment: Mapping[str, Any]
    claims: tuple[ClaimFigure, ...]

    @property
    def is_finished(self) -> bool:
        """Whether the run behind it ended well; only then do its verdicts say anything."""
        return self.status == "finished"

    @property
    def program(self) -> str:
        """The version and the commit that measured it, such as `0.1.0, 4f3a…`."""
        parts = [self.environment.get("paperround"), self.environment.get("commit")]
        return ", ".join(str(part) for part in parts if part) or "unknown"

    def to_json(self) -> dict[str, Any]:
        """The view as JSON-ready data."""
        data = asdict(self)
        for name in ("scale", "origin"):
            data[name] = str(data[name])
        for name in ("started_at", "kept_at"):
            data[name] = data[name] and data[name].isoformat()
        return data

    def claim(self, claim_id: str) -> ClaimFigure | None:
        """The figure of that claim, None where the result's card did not have it."""
        return self._by_id.get(claim_id)

    @cached_property
    def _by_id(self) -> dict[str, ClaimFigure]:
        # The board asks for each claim of each result that was ever kept.
        return {claim.id: claim for claim in self.claims}


def keep_result(
    connection: Connection,
    result: Result,
    origin: Origin,
    *,
    note: str = "",
    run_id: str | None = None,
    now: Callable[[], datetime] = utc_now,
) -> bool:
    """Keeps a result in the caller's transaction; False, and nothing done, if it is here already.

    What was measured here stays so, also when its own export comes back; what was imported and
    then ships is a shipped one from then on.
    """
    known = connection.execute(
        select(ResultTable.origin).where(ResultTable.id == result.id)
    ).scalar()
    if known is not None:
        if (known, origin) == (Origin.IMPORTED, Origin.SHIPPED):
            connection.execute(
                update(ResultTable)
                .where(ResultTable.id == result.id)
                .values(origin=Origin.SHIPPED.value, origin_note="")
            )
        return False
    connection.execute(
        insert(ResultTable),
        {
            "id": result.id,
            "slug": result.slug,
            "scale": result.scale.value,
            "status": result.status,
            "card_sha256": result.card_sha256,
            "started_at": result.started_at,
            "origin": origin.value,
            "origin_note": note,
            "kept_at": now(),
            "run_id": run_id,
            "digest": digest(result),
            "record": result.to_json(),
        },
    )
    return True


def keep_shipped(connection: Connection, rooms: Iterable[Room]) -> int:
    """Keeps the results that ship with rooms now, and says how many were new.

    So that after an upgrade the verdicts that shipped before it can still be seen.
    """
    return sum(
        keep_result(connection, result, Origin.SHIPPED)
        for room in rooms
        for scale in Scale
        if (result := shipped_result(room, scale)) is not None
    )


def digest(result: Result) -> dict[str, Any]:
    """What lists show of a result, JSON-ready; made of the record, and made again at any time."""
    kept = ("processor", "cores", "memory_gb", "system", "paperround", "commit", "room")
    return {
        "seconds": result.seconds,
        "seeds": list(result.seeds),
        "environment": {k: result.environment[k] for k in kept if k in result.environment},
        "claims": [asdict(_figure(claim)) for claim in result.claims],
    }


def view_of(
    result: Result,
    origin: Origin,
    *,
    number: int = 0,
    note: str = "",
    kept_at: datetime | None = None,
    run_id: str | None = None,
) -> ResultView:
    """The view of a result that is at hand."""
    return ResultView(
        number=number,
        id=result.id,
        slug=result.slug,
        scale=result.scale,
        status=result.status,
        card_sha256=result.card_sha256,
        started_at=result.started_at,
        origin=origin,
        origin_note=note,
        kept_at=kept_at,
        run_id=run_id,
        seconds=result.seconds,
        seeds=result.seeds,
        environment=digest(result)["environment"],
        claims=tuple(_figure(claim) for claim in result.claims),
    )


def results_kept(
    connection: Connection,
    slugs: Sequence[str] | None = None,
    scale: Scale | None = None,
    after: str | None = None,
    n: int | None = None,
) -> list[ResultView]:
    """The results of these papers, or of all, in the order in which they came. On ix_result_card.

    At most n of them, from behind the result with the id `after`. A digest is read once by a
    process, as results never change.
    """
    query = select(*_COLUMNS).order_by(ResultTable.number)
    if slugs is not None:
        query = query.where(ResultTable.slug.in_(slugs))
    if scale is not None:
        query = query.where(ResultTable.scale == scale.value)
    if after is not None:
        last = select(ResultTable.number).where(ResultTable.id == after).scalar_subquery()
        query = query.where(ResultTable.number > last)
    rows = connection.execute(query.limit(n)).all()
    return _views(connection, rows)


def newest_results(connection: Connection) -> list[ResultView]:
    """The last finished result of each paper, scale, card and origin, over ix_result_card."""
    newest = (
        select(func.max(ResultTable.number))
        .where(ResultTable.status == "finished")
        .group_by(ResultTable.slug, ResultTable.scale, ResultTable.card_sha256, ResultTable.origin)
    )
    rows = connection.execute(select(*_COLUMNS).where(ResultTable.number.in_(newest))).all()
    return _views(connection, rows)


def find_result(
    connection: Connection, asked: str, rooms: Iterable[Room] = ()
) -> tuple[ResultView, Result]:
    """The result with that id, or with the only id that begins so, and its record.

    `rooms` are looked through for shipped results that have not been kept yet. Raises
    NotFoundError where there is none, UsageError for what is no id or begins several.
    """
    if not MIN_ID_LETTERS <= len(asked) <= 64 or not set(asked) <= _HEX:
        raise UsageError(
            f"'{asked[:70]}' is no result's id: {MIN_ID_LETTERS} to 64 of the letters 0-9 and a-f"
        )
    # The characters after 'f' bound all that begin so; the unique index answers.
    rows = connection.execute(
        select(*_COLUMNS, ResultTable.record)
        .where(ResultTable.id >= asked, ResultTable.id < asked + "g")
        .limit(2)
    ).all()
    if len(rows) > 1:
        raise UsageError(f"several results begin with '{asked}'; give more of the id")
    if rows:
        [view] = _views(connection, rows)
        return view, Result.from_json(rows[0].record)
    for room in rooms:
        for scale in Scale:
            shipped = shipped_result(room, scale)
            if shipped is not None and shipped.id.startswith(asked):
                return view_of(shipped, Origin.SHIPPED), shipped
    raise NotFoundError(f"no result '{asked}' here")


def changed_records(connection: Connection) -> list[str]:
    """The ids of results whose record no longer has the checksum that it was kept under.

    Reads every record, one at a time.
    """
    changed = []
    for number, result_id in connection.execute(select(ResultTable.number, ResultTable.id)).all():
        record = connection.scalar(select(ResultTable.record).where(ResultTable.number == number))
        try:
            whole = Result.from_json(record or {}).id == result_id
        except (CardError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            changed.append(result_id)
    return changed


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


_COLUMNS = (
    ResultTable.number,
    ResultTable.id,
    ResultTable.slug,
    ResultTable.scale,
    ResultTable.status,
    ResultTable.card_sha256,
    ResultTable.started_at,
    ResultTable.origin,
    ResultTable.origin_note,
    ResultTable.kept_at,
    ResultTable.run_id,
)

# By the row: two databases may hold the same result, each in its own place.
_views_read: dict[tuple[Any, ...], ResultView] = {}


def _views(connection: Connection, rows: Sequence[Row[*tuple[Any, ...]]]) -> list[ResultView]:
    keys = [tuple(row)[: len(_COLUMNS)] for row in rows]
    views = {key: _views_read.get(key) for key in keys}
    unread = {key[0]: key for key, view in views.items() if view is None}
    # SQLite takes at most 32,766 values in one statement.
    numbers = list(unread)
    for start in range(0, len(numbers), 1_000):
        found = connection.execute(
            select(*_COLUMNS, ResultTable.digest).where(
                ResultTable.number.in_(numbers[start : start + 1_000])
            )
        )
        views.update((unread[row.number], _view(row)) for row in found)
    if len(_views_read) + len(unread) > _MAX_REMEMBERED:
        _views_read.clear()
    _views_read.update((key, view) for key in unread.values() if (view := views[key]) is not None)
    return [view for key in keys if (view := views[key]) is not None]


def _view(row: Row[*tuple[Any, ...]]) -> ResultView:
    held = row.digest
    return ResultView(
        number=row.number,
        id=row.id,
        slug=row.slug,
        scale=Scale(row.scale),
        status=row.status,
        card_sha256=row.card_sha256,
        started_at=row.started_at,
        origin=Origin(row.origin),
        origin_note=row.origin_note,
        kept_at=row.kept_at,
        run_id=row.run_id,
        seconds=held["seconds"],
        seeds=tuple(held["seeds"]),
        environment=held["environment"],
        claims=tuple(
            ClaimFigure(**{**claim, "verdict": Verdict(claim["verdict"])})
            for claim in held["claims"]
        ),
    )


def _figure(claim: ClaimResult) -> ClaimFigure:
    low, high = claim.spread or (None, None)
    return ClaimFigure(
        id=claim.id,
        verdict=claim.verdict,
        value=claim.value,
        low=low,
        high=high,
        baseline=claim.baseline,
        bar=str(claim.bar),
        reason=claim.reason,
    )


@lru_cache(maxsize=512)
def _read_once(path: Path, _mtime_ns: int, _size: int) -> Result:
    return read_result(path)
