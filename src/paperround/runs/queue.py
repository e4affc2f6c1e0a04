"""The queue of runs: who runs what next, and what happens when a worker dies.

`Queue` is all that the worker knows of it. `TableQueue` keeps it in the runs' own table and needs
nothing installed; a queue library on PostgreSQL can stand behind the same interface, the run's row
staying the truth about its state.

A worker holds a run by a lease that it renews. Nobody compares a lease with a clock on the wall,
which may jump: whoever looks on remembers when the lease last *changed*, by its own steady clock.
A worker that certainly has ended, because its process on this machine is gone, loses its runs at
once. A run that is taken back from a dead worker is queued again, once; a run that loses two
workers is lost, or it would take down every worker in turn.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, insert, select, update
from sqlalchemy.engine import Row

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.runs.card import Scale
from paperround.runs.processes import has_ended
from paperround.runs.records import Origin, keep_result
from paperround.runs.results import Result
from paperround.runs.tables import RunTable

LEASE_S = 60.0
MAX_ATTEMPTS = 2

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class State(StrEnum):
    """Where a run stands. The first two may still change, the others never do."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"


class Hold(StrEnum):
    """What a worker may do with the run it holds."""

    GO_ON = "go on"
    CANCEL = "cancel"
    # Somebody else has it by now, or it has ended.
    LET_GO = "let go"


@dataclass(frozen=True)
class Claimed:
    """A run in the hands of a worker; `attempt` counts from 1."""

    run_id: str
    slug: str
    scale: Scale
    seeds: tuple[int, ...]
    attempt: int
    worker: str


class Queue(Protocol):
    """What a worker needs of a queue."""

    def add(
        self, connection: Connection, slug: str, scale: Scale, seeds: Sequence[int], priority: int
    ) -> str:
        """The id of a new queued run; it is there once the caller's transaction commits."""

    def start(self, worker: str, slug: str, scale: Scale, seeds: Sequence[int]) -> Claimed:
        """A new run that is this worker's from the start; should it die, the run is lost."""

    def claim(self, worker: str) -> Claimed | None:
        """The next run, now this worker's: highest priority first, then first come first served."""

    def look(self, claimed: Claimed) -> Hold:
        """What the worker may do; cheap, for asking twice a second."""

    def renew(self, claimed: Claimed) -> Hold:
        """The same, and the lease begins anew."""

    def give_back(self, claimed: Claimed) -> None:
        """Queues the run again, in its old place; this attempt does not count."""

    def end(
        self,
        connection: Connection,
        claimed: Claimed,
        state: State,
        reason: str,
        result: dict[str, Any] | None,
    ) -> bool:
        """Ends the run in the caller's transaction and keeps its result, where there is one.

        False, and nothing done, if it was let go.
        """

    def abandoned(self) -> list[Claimed]:
        """The runs whose worker has ended, or has not renewed its lease for `LEASE_S`."""

    def take_back(self, abandoned: Claimed) -> State | None:
        """Queues an abandoned run again or ends it; its new state, None if it has moved on."""


class TableQueue:
    """The queue in the table of runs, on one database file and any number of processes."""

    def __init__(
        self,
        engine: Engine,
        *,
        now: Callable[[], datetime] = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine, self._now, self._monotonic = engine, now, monotonic
        # Per run: the lease as last seen, and since when it has looked like that.
        self._seen: dict[str, tuple[str | None, datetime | None, float]] = {}

    def add(
        self, connection: Connection, slug: str, scale: Scale, seeds: Sequence[int], priority: int
    ) -> str:
        """See `Queue.add`."""
        now = self._now()
        row = _new_row(now, slug, scale, seeds) | {"priority": priority}
        connection.execute(insert(RunTable), row)
        return str(row["id"])

    def start(self, worker: str, slug: str, scale: Scale, seeds: Sequence[int]) -> Claimed:
        """See `Queue.start`."""
        now = self._now()
        row = _new_row(now, slug, scale, seeds) | {
            "state": State.RUNNING,
            "worker": worker,
            # Whoever waits for it is gone when this worker is: nobody else takes it over.
            "attempts": MAX_ATTEMPTS,
            "started_at": now,
            "leased_until": now + timedelta(seconds=LEASE_S),
        }
        with write(self._engine) as connection:
            connection.execute(insert(RunTable), row)
        return Claimed(row["id"], slug, scale, tuple(seeds), MAX_ATTEMPTS, worker)

    def claim(self, worker: str) -> Claimed | None:
        """See `Queue.claim`. Stands on ix_run_queue."""
        first = (
            select(RunTable.id)
            .where(RunTable.state == State.QUEUED)
            .order_by(RunTable.priority.desc(), RunTable.queued_at, RunTable.id)
            .limit(1)
        )
        # An idle worker asks all day; it takes no write lock for an empty queue.
        with read(self._engine) as connection:
            if connection.execute(first).first() is None:
                return None
        now = self._now()
        with write(self._engine) as connection:
            row = connection.execute(
                update(RunTable)
                .where(RunTable.id == first.scalar_subquery())
                .values(
                    state=State.RUNNING,
                    worker=worker,
                    attempts=RunTable.attempts + 1,
                    started_at=now,
                    leased_until=now + timedelta(seconds=LEASE_S),
                )
                .returning(*_CLAIMED_COLUMNS)
            ).first()
        return None if row is None else _claimed(row)

    def look(self, claimed: Claimed) -> Hold:
        """See `Queue.look`."""
        with read(self._engine) as connection:
            row = connection.execute(
                select(RunTable.cancel_requested).where(*_held(claimed))
            ).first()
        return _hold(row)

    def renew(self, claimed: Claimed) -> Hold:
        """See `Queue.renew`."""
        until = self._now() + timedelta(seconds=LEASE_S)
        with write(self._engine) as connection:
            row = connection.execute(
                update(RunTable)
                .where(*_held(claimed))
                .values(leased_until=until)
                .returning(RunTable.cancel_requested)
            ).first()
        return _hold(row)

    def give_back(self, claimed: Claimed) -> None:
        """See `Queue.give_back`."""
        with write(self._engine) as connection:
            connection.execute(
                update(RunTable)
                .where(*_held(claimed))
                .values(**_FREE, state=State.QUEUED, attempts=RunTable.attempts - 1)
            )

    def end(
        self,
        connection: Connection,
        claimed: Claimed,
        state: State,
        reason: str,
        result: dict[str, Any] | None,
    ) -> bool:
        """See `Queue.end`."""
        ended = connection.execute(
            update(RunTable)
            .where(*_held(claimed))
            .values(
                state=state,
                reason=reason,
                ended_at=self._now(),
                leased_until=None,
            )
        )
        if ended.rowcount != 1:
            return False
        if result is not None:
            record = Result.from_json(result)
            keep_result(connection, record, Origin.HERE, run_id=claimed.run_id, now=self._now)
        return True

    def abandoned(self) -> list[Claimed]:
        """See `Queue.abandoned`. Stands on ix_run_queue."""
        with read(self._engine) as connection:
            rows = connection.execute(
                select(*_CLAIMED_COLUMNS, RunTable.leased_until).where(
                    RunTable.state == State.RUNNING
                )
            ).all()
        now, seen = self._monotonic(), self._seen
        self._seen = {}
        for row in rows:
            worker, until, since = seen.get(row.id, (None, None, now))
            unchanged = (worker, until) == (row.worker, row.leased_until)
            self._seen[row.id] = (row.worker, row.leased_until, since if unchanged else now)
        return [
            _claimed(row)
            for row in rows
            if has_ended(row.worker) or now - self._seen[row.id][2] > LEASE_S
        ]

    def take_back(self, abandoned: Claimed) -> State | None:
        """See `Queue.take_back`."""
        with write(self._engine) as connection:
            row = connection.execute(
                select(RunTable.cancel_requested).where(*_held(abandoned))
            ).first()
            if row is None:
                return None
            if row.cancel_requested or abandoned.attempt >= MAX_ATTEMPTS:
                state, reason = (
                    (State.CANCELLED, "cancelled")
                    if row.cancel_requested
                    else (State.LOST, "its worker died, and there is no further attempt")
                )
                self.end(connection, abandoned, state, reason, None)
                return state
            connection.execute(
                update(RunTable).where(*_held(abandoned)).values(**_FREE, state=State.QUEUED)
            )
            return State.QUEUED


def new_run_id(now: datetime) -> str:
    """A new id of 26 letters and digits (a ULID): later ids sort after earlier ones."""
    number = int(now.timestamp() * 1000) << 80 | secrets.randbits(80)
    return "".join(_CROCKFORD[number >> shift & 31] for shift in range(125, -1, -5))


def _new_row(now: datetime, slug: str, scale: Scale, seeds: Sequence[int]) -> dict[str, Any]:
    return {
        "id": new_run_id(now),
        "slug": slug,
        "scale": scale.value,
        "seeds": list(seeds),
        "state": State.QUEUED,
        "reason": "",
        "priority": 0,
        "queued_at": now,
        "attempts": 0,
        "cancel_requested": False,
    }


_FREE: dict[str, Any] = {"worker": None, "leased_until": None, "started_at": None}
_CLAIMED_COLUMNS = (
    RunTable.id,
    RunTable.slug,
    RunTable.scale,
    RunTable.seeds,
    RunTable.attempts,
    RunTable.worker,
)


def _claimed(row: Row[*tuple[Any, ...]]) -> Claimed:
    return Claimed(
        run_id=row.id,
        slug=row.slug,
        scale=Scale(row.scale),
        seeds=tuple(row.seeds),
        attempt=row.attempts,
        worker=row.worker,
    )


def _held(claimed: Claimed) -> tuple[Any, ...]:
    """The condition that the run is still in these hands, in this very attempt."""
    return (
        RunTable.id == claimed.run_id,
        RunTable.state == State.RUNNING,
        RunTable.worker == claimed.worker,
        RunTable.attempts == claimed.attempt,
    )


def _hold(row: Row[*tuple[Any, ...]] | None) -> Hold:
    if row is None:
        return Hold.LET_GO
    return Hold.CANCEL if row.cancel_requested else Hold.GO_ON
