"""What a worker makes of the texts that readers ask for: one after the other, never beside a run.

A run is being measured while it runs, and a text can wait: a generation that is under way when a
run starts is put back, and begins anew after it.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, delete, select, update
from sqlalchemy.exc import OperationalError

from paperround.alone import alone
from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import PaperroundError
from paperround.log import get_logger
from paperround.readers.generations import GENERATIONS, KEPT, Generation, generation_from_row
from paperround.readers.tables import GenerationTable
from paperround.runs.generation import Report, generate
from paperround.runs.queries import is_running
from paperround.settings import Settings

_IDLE_S = 0.5
_PAUSE_S = 5.0
_LOOK_INTERVAL_S = 0.5
# A generation that ends its worker so often is not tried again.
MAX_ATTEMPTS = 3


def work_on_next(
    engine: Engine,
    settings: Settings,
    stop: threading.Event | None = None,
    now: Callable[[], datetime] = utc_now,
) -> bool:
    """Does the generation that has waited longest.

    False where none waits, where a run is under way, and where another process of this home works
    on one: they are done one at a time.
    """
    with alone(settings.home / "generations.lock") as is_alone:
        taken = _take(engine, now()) if is_alone else None
        if taken is None:
            return False
        generation, attempts = taken
        if attempts > MAX_ATTEMPTS:
            reason = "it ended the worker that it ran under, again and again"
            _end(engine, generation.id, now(), state="failed", reason=reason)
            return True
        return _work(engine, settings, generation, stop, now)


def keep_generated(engine: Engine, settings: Settings, stop: threading.Event) -> None:
    """Does what readers ask for until `stop` is set; call it in a thread of its own."""
    while not stop.is_set():
        try:
            while not stop.is_set() and work_on_next(engine, settings, stop):
                pass
            stop.wait(_IDLE_S)
        # Whatever it was, the next one deserves a worker.
        except Exception as error:
            get_logger().error("generations.failed", error=repr(error), exc_info=True)
            stop.wait(_PAUSE_S)


def _work(
    engine: Engine,
    settings: Settings,
    generation: Generation,
    stop: threading.Event | None,
    now: Callable[[], datetime],
) -> bool:
    log = get_logger().bind(generation=generation.id, method=generation.asked.method)
    watch = _Watch(engine, generation.id, stop)
    folder: Path = settings.home / "generations" / generation.id
    state, reason, report = "failed", "", None
    try:
        outcome, report = generate(
            generation.asked, folder, cancelled=watch.must_end, settings=settings
        )
        if outcome.status == "cancelled":
            _put_back(engine, generation.id)
            log.info("generation.put_back", because=watch.because)
            return False
        state = "done" if outcome.status == "finished" else "failed"
        reason = outcome.reason
    except (PaperroundError, OSError) as error:
        reason = str(error)
    _end(engine, generation.id, now(), state=state, reason=reason, report=report)
    log.info("generation.ended", state=state, reason=reason)
    return True


@dataclass
class _Watch:
    """Whether the generation in hand has to end early, and why."""

    engine: Engine
    generation_id: str
    stop: threading.Event | None
    because: str = ""
    _look_at: float = 0.0

    def must_end(self) -> bool:
        """Asked many times a second; looks into the database now and then."""
        if self.stop is not None and self.stop.is_set():
            self.because = "the worker ends"
        elif not self.because and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_INTERVAL_S
            try:
                with read(self.engine) as connection:
                    if is_running(connection):
                        self.because = "a run is measured"
                    elif not connection.scalar(
                        select(GenerationTable.id).where(GenerationTable.id == self.generation_id)
                    ):
                        self.because = "it was deleted"
            except OperationalError as error:
                # The database is busy or away; the next look is soon.
                get_logger().warning("generation.database_busy", error=str(error.orig))
        return bool(self.because)


def _take(engine: Engine, now: datetime) -> tuple[Generation, int] | None:
    """The generation that has waited longest, now being worked on, and which attempt it is."""
    first = (
        select(GenerationTable.id)
        .where(GenerationTable.state.in_(("waiting", "working")))
        .order_by(GenerationTable.id)
        .limit(1)
    )
    with read(engine) as connection:
        if connection.scalar(first) is None or is_running(connection):
            return None
    with write(engine) as connection:
        # Looked at again under the lock of writing, under which a run starts too.
        if is_running(connection):
            return None
        taken = connection.execute(
            update(GenerationTable)
            .where(GenerationTable.id == first.scalar_subquery())
            .values(state="working", attempts=GenerationTable.attempts + 1, started_at=now)
            .returning(GenerationTable.id, GenerationTable.attempts)
        ).one_or_none()
        if taken is None:
            return None
        row = connection.execute(GENERATIONS.where(GenerationTable.id == taken.id)).one()
        return generation_from_row(row), taken.attempts


def _put_back(engine: Engine, generation_id: str) -> None:
    """Lets it wait again, in its old place; this attempt does not count."""
    with write(engine) as connection:
        connection.execute(
            update(GenerationTable)
            .where(GenerationTable.id == generation_id)
            .values(state="waiting", attempts=GenerationTable.attempts - 1, started_at=None)
        )


def _end(
    engine: Engine,
    generation_id: str,
    now: datetime,
    *,
    state: str,
    reason: str = "",
    report: Report | None = None,
) -> None:
    """Ends it, and forgets the oldest of those that have ended beyond the number that is kept."""
    values: dict[str, Any] = {"state": state, "reason": reason[:500], "ended_at": now}
    if report is not None:
        values["report"] = report.model_dump()
    ended = GenerationTable.state.in_(("done", "failed"))
    by_age = select(GenerationTable.id).where(ended).order_by(GenerationTable.id.desc())
    with write(engine) as connection:
        connection.execute(
            update(GenerationTable).where(GenerationTable.id == generation_id).values(**values)
        )
        newest_beyond = connection.scalar(by_age.offset(KEPT).limit(1))
        if newest_beyond is not None:
            connection.execute(
                delete(GenerationTable).where(ended, GenerationTable.id <= newest_beyond)
            )
