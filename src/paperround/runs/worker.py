"""The worker: takes runs from the queue one after the other, and survives every one of them.

It runs inside the server (a thread) or by itself (`paperround worker`). The heavy part is another
process (`execution.py`); here a run's events are recorded, its lease renewed and its record stored.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from secrets import token_hex

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from paperround.clock import utc_now
from paperround.db import write
from paperround.errors import PaperroundError
from paperround.log import get_logger
from paperround.runs.actions import record_events
from paperround.runs.card import Scale
from paperround.runs.charts import charts_of
from paperround.runs.execution import mark_of, measure
from paperround.runs.processes import Family, this_process
from paperround.runs.queue import LEASE_S, Claimed, Hold, Queue, State, TableQueue
from paperround.runs.reproduction import Event
from paperround.runs.results import Result
from paperround.runs.rooms import find_room
from paperround.settings import Settings

_IDLE_S = 0.5
_RECORD_INTERVAL_S = 1.0
_LOOK_INTERVAL_S = 0.5
_RENEW_INTERVAL_S = LEASE_S / 6
_ABANDONED_INTERVAL_S = LEASE_S / 4
# After an error of our own, such as a database that is away.
_PAUSE_S = 5.0
_STORE_ATTEMPTS = 5


class Worker:
    """Runs what is queued. Several may stand on one queue, in any number of processes."""

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        *,
        queue: Queue | None = None,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        self._engine, self._settings, self._now = engine, settings, now
        self._queue = queue or TableQueue(engine, now=now)
        # Two workers may share a process.
        self.name = f"{this_process()}:{token_hex(4)}"

    def run_forever(self, stop: threading.Event) -> None:
        """Works until `stop` is set; a run that is under way then is given back, within seconds."""
        log = get_logger().bind(worker=self.name)
        log.info("worker.started")
        look_at = 0.0
        while not stop.is_set():
            try:
                if time.monotonic() >= look_at:
                    look_at = time.monotonic() + _ABANDONED_INTERVAL_S
                    self.recover()
                if not self.run_one(stop):
                    stop.wait(_IDLE_S)
            # Whatever it was, the next run deserves a worker.
            except Exception as error:
                log.error("worker.failed", error=repr(error), exc_info=True)
                stop.wait(_PAUSE_S)
        log.info("worker.stopped")

    def run_one(self, stop: threading.Event | None = None) -> bool:
        """Runs the next run of the queue to its end; False when the queue is empty."""
        claimed = self._queue.claim(self.name)
        if claimed is None:
            return False
        log = get_logger().bind(run=claimed.run_id, slug=claimed.slug, scale=claimed.scale.value)
        log.info("run.started", attempt=claimed.attempt)
        under_way = _UnderWay(self._engine, self._queue, claimed, stop, self._now)
        try:
            self._run(claimed, under_way)
        except Exception as error:
            reason = str(error) if isinstance(error, PaperroundError) else repr(error)
            log.error("run.broken", error=repr(error), exc_info=True)
            self._end(under_way, State.FAILED, f"it could not be run: {reason}", None)
        except BaseException:
            # Interrupted: somebody else, or the next start, runs it.
            self._queue.give_back(claimed)
            raise
        return True

    def run_now(
        self,
        slug: str,
        scale: Scale,
        seeds: Sequence[int],
        on_event: Callable[[Event], None],
    ) -> Result:
        """The record of a run that passes by the queue: somebody sits and waits for it.

        `on_event` sees what it emits. Interrupted, the run ends as cancelled, and the
        interruption is raised.
        """
        claimed = self._queue.start(self.name, slug, scale, seeds)
        under_way = _UnderWay(self._engine, self._queue, claimed, None, self._now, on_event)
        try:
            return self._run(claimed, under_way)
        except BaseException as error:
            interrupted = isinstance(error, KeyboardInterrupt)
            state = State.CANCELLED if interrupted else State.FAILED
            self._end(under_way, state, "interrupted" if interrupted else repr(error), None)
            raise

    def recover(self) -> list[tuple[str, State]]:
        """The runs taken back from dead workers, each with the state it is in now.

        What such a worker has left running on this machine is ended first.
        """
        recovered = []
        for claimed in self._queue.abandoned():
            process = claimed.worker.rpartition(":")[0]
            Family(None, mark_of(process, self._folder(claimed))).kill()
            state = self._queue.take_back(claimed)
            if state is not None:
                get_logger().warning(
                    "run.abandoned", run=claimed.run_id, slug=claimed.slug, state=state.value
                )
                recovered.append((claimed.run_id, state))
        return recovered

    def _run(self, claimed: Claimed, under_way: "_UnderWay") -> Result:
        log = get_logger().bind(run=claimed.run_id, slug=claimed.slug, scale=claimed.scale.value)
        under_way.on_event({"kind": "started", "attempt": claimed.attempt})
        result = measure(
            find_room(claimed.slug),
            claimed.scale,
            claimed.seeds,
            self._folder(claimed),
            on_event=under_way.on_event,
            cancelled=under_way.must_end,
            settings=self._settings,
        )
        if under_way.let_go:
            log.warning("run.let_go")
        elif result.status == "cancelled" and under_way.stopping:
            self._queue.give_back(claimed)
            log.info("run.given_back")
        else:
            # Drawn before the run ends, so that its page is complete when it says so.
            charts_of(result, self._settings)
            self._end(under_way, State(result.status), result.reason, result)
            log.info("run.ended", status=result.status, seconds=result.seconds)
        return result

    def _end(
        self, under_way: "_UnderWay", state: State, reason: str, result: Result | None
    ) -> None:
        """Ends the run with its last events and its record, all in one transaction."""
        record = None if result is None else result.to_json()
        for attempt in range(1, _STORE_ATTEMPTS + 1):
            try:
                with write(self._engine) as connection:
                    if self._queue.end(connection, under_way.claimed, state, reason, record):
                        under_way.record(connection)
                    else:
                        get_logger().warning("run.let_go", run=under_way.claimed.run_id)
                return
            except OperationalError as error:
                # Hours of measuring must not be lost to a database that is busy.
                if attempt == _STORE_ATTEMPTS:
                    raise
                get_logger().warning("run.store_failed", attempt=attempt, error=str(error.orig))
                time.sleep(attempt)

    def _folder(self, claimed: Claimed) -> Path:
        return self._settings.runs_dir / claimed.run_id


@dataclass
class _UnderWay:
    """The run in hand, between its process and the database."""

    engine: Engine
    queue: Queue
    claimed: Claimed
    stop: threading.Event | None
    now: Callable[[], datetime]
    also: Callable[[Event], None] | None = None
    stopping: bool = False
    let_go: bool = False
    _cancelled: bool = False
    _events: list[tuple[datetime, Event]] = field(default_factory=list)
    _look_at: float = 0.0
    _record_at: float = 0.0
    _renew_at: float = field(default_factory=lambda: time.monotonic() + _RENEW_INTERVAL_S)

    def on_event(self, event: Event) -> None:
        """Keeps an event until the next time that some are recorded."""
        self._events.append((self.now(), event))
        if self.also is not None:
            self.also(event)

    def record(self, connection: Connection) -> None:
        """Records the events kept so far in the caller's transaction."""
        record_events(connection, self.claimed.run_id, self._events)

    def must_end(self) -> bool:
        """Whether the run has to end early; asked many times a second, works now and then."""
        if self.stop is not None and self.stop.is_set():
            self.stopping = True
            return True
        now = time.monotonic()
        try:
            if now >= self._renew_at:
                self._renew_at = now + _RENEW_INTERVAL_S
                self._heed(self.queue.renew(self.claimed))
            elif now >= self._look_at:
                self._look_at = now + _LOOK_INTERVAL_S
                self._heed(self.queue.look(self.claimed))
            if self._events and now >= self._record_at and not self.let_go:
                self._record_at = now + _RECORD_INTERVAL_S
                with write(self.engine) as connection:
                    self.record(connection)
                self._events.clear()
        except OperationalError as error:
            # The database is busy or away. The run goes on; its lease lasts a while.
            get_logger().warning(
                "run.database_busy", run=self.claimed.run_id, error=str(error.orig)
            )
        return self._cancelled or self.let_go

    def _heed(self, hold: Hold) -> None:
        self._cancelled = self._cancelled or hold is Hold.CANCEL
        self.let_go = self.let_go or hold is Hold.LET_GO
