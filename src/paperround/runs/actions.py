"""What changes runs: queueing one, cancelling one, recording what it emits."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from paperround.clock import utc_now
from paperround.db import write
from paperround.errors import NotFoundError, UsageError
from paperround.runs.card import Scale
from paperround.runs.queue import Queue, State, TableQueue
from paperround.runs.reproduction import Event
from paperround.runs.rights import THIS_MACHINE, Asker, check_may_cancel, check_may_start
from paperround.runs.rooms import Room, find_room
from paperround.runs.tables import RunEventTable, RunTable

MAX_SEEDS = 50
_SEED_LIMIT = 2**32


def queue_run(
    engine: Engine,
    slug: str,
    scale: str,
    seeds: Sequence[int] | None = None,
    priority: int = 0,
    *,
    asker: Asker = THIS_MACHINE,
    queue: Queue | None = None,
) -> str:
    """The id of the run that was queued; `seeds` None takes the card's.

    Where the same run (paper, scale, seeds) is queued or running already, it is that one's id:
    a second click starts nothing. Raises NotFoundError for an unknown paper, UsageError for a
    scale that does not run here or for seeds that nothing can be done with, ForbiddenError where
    the asker's role may not start runs of that scale.
    """
    chosen = seeds_for(find_room(slug), scale, seeds)
    check_may_start(asker, Scale(scale))
    queue = queue or TableQueue(engine)
    with write(engine) as connection:
        same = _active_run(connection, slug, Scale(scale), chosen)
        return same or queue.add(connection, slug, Scale(scale), chosen, priority, asker.name)


def seeds_for(room: Room, scale: str, seeds: Sequence[int] | None) -> tuple[int, ...]:
    """The seeds that a run of this scale takes: those given, or the card's where there are none.

    Raises UsageError for a scale that does not run here, or for seeds nothing can be done with.
    """
    if scale not in set(Scale):
        raise UsageError(f"no scale '{scale}'; there are {', '.join(Scale)}")
    notes = room.card.scales[Scale(scale)]
    if not notes.runs_here:
        raise UsageError(f"{room.slug}: the scale '{scale}' does not run here: {notes.about}")
    return _checked(notes.seeds if seeds is None else seeds)


def cancel_run(engine: Engine, run_id: str, *, asker: Asker = THIS_MACHINE) -> None:
    """Cancels a run: a queued one at once, a running one within two seconds.

    One that has ended stays as it is. Raises NotFoundError for an id that no run has,
    ForbiddenError for a run that is not the asker's to cancel.
    """
    with write(engine) as connection:
        run = RunTable.id == run_id
        row = connection.execute(select(RunTable.state, RunTable.owner).where(run)).first()
        if row is None:
            raise NotFoundError(f"no run '{run_id}'")
        check_may_cancel(asker, row.owner)
        state = row.state
        if state == State.QUEUED:
            connection.execute(
                update(RunTable)
                .where(run)
                .values(
                    state=State.CANCELLED,
                    reason="cancelled before it began",
                    ended_at=utc_now(),
                    cancel_requested=True,
                )
            )
        elif state == State.RUNNING:
            connection.execute(update(RunTable).where(run).values(cancel_requested=True))


def record_events(
    connection: Connection, run_id: str, events: Iterable[tuple[datetime, Event]]
) -> None:
    """Appends what a run has emitted, with the time of each.

    Of each stage's progress only the newest is kept, under a new number: whoever asks for what
    came after a number sees it move, and a run of hours leaves a few rows.
    """
    kept: dict[tuple[str, str] | int, tuple[datetime, Event]] = {}
    key: tuple[str, str] | int
    for place, (at, event) in enumerate(events):
        key = ("progress", event["stage"]) if event["kind"] == "progress" else place
        kept.pop(key, None)
        kept[key] = (at, event)
    if not kept:
        return
    this_run = RunEventTable.run_id == run_id
    number = connection.execute(select(func.max(RunEventTable.number)).where(this_run)).scalar()
    kind, stage = RunEventTable.event["kind"], RunEventTable.event["stage"]
    for key in kept:
        if isinstance(key, tuple):
            connection.execute(
                delete(RunEventTable).where(
                    this_run, kind.as_string() == "progress", stage.as_string() == key[1]
                )
            )
    connection.execute(
        insert(RunEventTable),
        [
            {"run_id": run_id, "number": next_number, "at": at, "event": event}
            for next_number, (at, event) in enumerate(kept.values(), start=(number or 0) + 1)
        ],
    )


def _checked(seeds: Sequence[int]) -> tuple[int, ...]:
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError("seeds must be given once each, at least one")
    if len(seeds) > MAX_SEEDS:
        raise UsageError(f"{len(seeds)} seeds; at most {MAX_SEEDS} in one run")
    if wrong := [seed for seed in seeds if not 0 <= seed < _SEED_LIMIT]:
        raise UsageError(f"seed {wrong[0]} is not between 0 and {_SEED_LIMIT - 1}")
    return tuple(seeds)


def _active_run(
    connection: Connection, slug: str, scale: Scale, seeds: tuple[int, ...]
) -> str | None:
    """The run that is queued or running with just these seeds and is not being cancelled."""
    rows = connection.execute(
        select(RunTable.id, RunTable.seeds)
        .where(
            RunTable.state.in_((State.QUEUED, State.RUNNING)),
            RunTable.slug == slug,
            RunTable.scale == scale.value,
            RunTable.cancel_requested.is_(False),
        )
        .order_by(RunTable.queued_at)
    )
    return next((row.id for row in rows if tuple(row.seeds) == seeds), None)
