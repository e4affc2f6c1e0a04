"""Imports by the clock: what the configuration's `[[sources]]` name, done when it is due.

A due moment is done once, by whichever worker writes it down first. One that passed while nothing
ran is made up for by a single import; one that broke off goes on at its bookmark the next time.
Whoever imports a source holds its lock, which the system takes back from a process that dies: what
is `running` and not held has failed.
"""

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from cronsim import CronSim
from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.alone import alone
from paperround.catalogue.actions import import_records
from paperround.catalogue.records import Imported
from paperround.catalogue.sources import read_source
from paperround.catalogue.tables import ScheduledImportTable
from paperround.catalogue.visiting import visit_with
from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import PaperroundError
from paperround.log import get_logger
from paperround.settings import ScheduledSource, Settings

_LOOK_INTERVAL_S = 30.0
_REASON_LIMIT = 500
_ABANDONED = "the program ended before the import did; the next one goes on where it stopped"


@dataclass(frozen=True)
class ScheduledImport:
    """One scheduled import: when it was due, and what became of it."""

    name: str
    due_at: datetime
    started_at: datetime
    ended_at: datetime | None
    # running, finished or failed.
    state: str
    read: int
    added: int
    updated: int
    merged: int
    rejected: int
    reason: str


@dataclass(frozen=True)
class Scheduled:
    """A source of the configuration with its next moment and its last imports, newest first."""

    source: ScheduledSource
    next_at: datetime
    imports: tuple[ScheduledImport, ...]


def last_due(source: ScheduledSource, now: datetime) -> datetime:
    """The last moment, up to now, at which the source was due."""
    # The clock of the zone decides: a day there may have 23 hours.
    local = now.astimezone(ZoneInfo(source.zone))
    # Of the moments before a second from now, since the simulation leaves the given one out.
    following = local.replace(microsecond=0)
    moment = next(CronSim(source.when, following, reverse=True))
    if next(CronSim(source.when, moment)) == following:
        moment = following
    return moment.astimezone(UTC)


def next_due(source: ScheduledSource, now: datetime) -> datetime:
    """The first moment after now at which the source is due."""
    local = now.astimezone(ZoneInfo(source.zone))
    return next(CronSim(source.when, local)).astimezone(UTC)


def import_due(
    engine: Engine, settings: Settings, now: Callable[[], datetime] = utc_now
) -> list[str]:
    """Does what is due and has not been done; the names of what was done."""
    done = []
    for source in settings.sources:
        with alone(_lock_file(settings, source)) as is_alone:
            if not is_alone:
                continue
            _fail_abandoned(engine, source.name, now())
            due_at = last_due(source, now())
            if _claim(engine, source.name, due_at, now()):
                _import_one(engine, settings, source, due_at, now)
                done.append(source.name)
    return done


def keep_imported(
    engine: Engine, settings: Settings, stop: threading.Event, is_busy: Callable[[], bool]
) -> None:
    """Imports by the clock until `stop` is set; call it in a thread of its own.

    It waits while `is_busy`: a run's seconds are a measurement.
    """
    while not stop.is_set():
        try:
            if settings.sources and not is_busy():
                import_due(engine, settings)
        # The database may be busy or away; the next look is soon.
        except Exception as error:
            get_logger().error("schedule.failed", error=repr(error), exc_info=True)
        stop.wait(_LOOK_INTERVAL_S)


def scheduled_imports(
    connection: Connection, sources: Sequence[ScheduledSource], now: datetime, n: int = 10
) -> list[Scheduled]:
    """Each source with its next moment and its last `n` imports (index: name, due_at)."""
    return [
        Scheduled(source, next_due(source, now), _imports_of(connection, source.name, n))
        for source in sources
    ]


def _imports_of(connection: Connection, name: str, n: int) -> tuple[ScheduledImport, ...]:
    columns = [getattr(ScheduledImportTable, each) for each in ScheduledImport.__annotations__]
    statement = (
        select(*columns)
        .where(ScheduledImportTable.name == name)
        .order_by(ScheduledImportTable.due_at.desc())
        .limit(n)
    )
    return tuple(ScheduledImport(*row) for row in connection.execute(statement))


def _lock_file(settings: Settings, source: ScheduledSource) -> Path:
    # A source's name may hold what no file's name may.
    name = hashlib.blake2b(source.name.encode(), digest_size=12).hexdigest()
    return settings.home / "imports" / f"{name}.lock"


def _fail_abandoned(engine: Engine, name: str, now: datetime) -> None:
    """Ends the imports that died with their process. Call it while holding the source's lock."""
    abandoned = (ScheduledImportTable.name == name) & (ScheduledImportTable.state == "running")
    with read(engine) as connection:
        if connection.scalar(select(ScheduledImportTable.id).where(abandoned).limit(1)) is None:
            return
    with write(engine) as connection:
        connection.execute(
            update(ScheduledImportTable)
            .where(abandoned)
            .values(ended_at=now, state="failed", reason=_ABANDONED)
        )
    get_logger().warning("schedule.abandoned", source=name)


def _claim(engine: Engine, name: str, due_at: datetime, now: datetime) -> bool:
    """Whether this worker is to do it: nobody else has written it down."""
    with read(engine) as connection:
        known = connection.scalar(
            select(func.count())
            .select_from(ScheduledImportTable)
            .where(ScheduledImportTable.name == name, ScheduledImportTable.due_at == due_at)
        )
    if known:
        return False
    with write(engine) as connection:
        claimed = connection.execute(
            upsert(ScheduledImportTable)
            .values(name=name, due_at=due_at, started_at=now, state="running")
            .on_conflict_do_nothing()
        )
        return claimed.rowcount == 1


def _import_one(
    engine: Engine,
    settings: Settings,
    source: ScheduledSource,
    due_at: datetime,
    now: Callable[[], datetime],
) -> None:
    done: Imported | None = None
    state, reason = "finished", ""
    try:
        visit = visit_with(engine, settings)
        items = read_source(source.source, source.arguments, visit=visit)
        done = import_records(engine, items, now=now)
        if done.rejections:
            first = done.rejections[0]
            reason = f"{first.place}: {first.reason}"
    except PaperroundError as error:
        state, reason = "failed", str(error)
    # Whatever a server makes a parser do, the page must say that this import failed.
    except Exception as error:
        state, reason = "failed", f"{type(error).__name__}: {error}"
        get_logger().error("schedule.import_failed", source=source.name, exc_info=True)
    values = {"ended_at": now(), "state": state, "reason": reason[:_REASON_LIMIT]}
    if done is not None:
        for count in ("read", "added", "updated", "merged", "rejected"):
            values[count] = getattr(done, count)
    get_logger().info("schedule.imported", source=source.name, state=state)
    with write(engine) as connection:
        connection.execute(
            update(ScheduledImportTable)
            .where(ScheduledImportTable.name == source.name, ScheduledImportTable.due_at == due_at)
            .values(**values)
        )
