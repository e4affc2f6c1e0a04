"""One execution of a reproduction: a process of its own, confined, watched, and ended for certain.

`execute` is what the worker and `paperround run` share. `child_process.py` decides what the process
may see and use, `supervision.py` watches it, `child.py` is what runs inside.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from paperround.clock import utc_now
from paperround.runs.bounded_log import BoundedLog
from paperround.runs.card import Scale
from paperround.runs.child_process import FETCH_LIMITS, Outcome, run_child
from paperround.runs.environment import describe_environment
from paperround.runs.events import read_event
from paperround.runs.processes import this_process
from paperround.runs.reproduction import Event
from paperround.runs.results import Result
from paperround.runs.rooms import Room
from paperround.runs.supervision import Limits
from paperround.settings import Settings

LOG_NAME = "log.txt"


def execute(
    room: Room,
    scale: Scale,
    seeds: Sequence[int],
    folder: Path,
    *,
    on_event: Callable[[Event], None],
    cancelled: Callable[[], bool],
    settings: Settings,
) -> Outcome:
    """How the reproduction ended, once nothing of it runs any more.

    `folder` is emptied and made; afterwards it holds `log.txt`. Assets that the card names for the
    scale are fetched first and do not count against the time limit. `cancelled` is asked ten times
    a second; the processes are gone within two seconds after it says yes. Whatever the
    reproduction does, this returns; an error of `on_event` or `cancelled` ends the processes and
    is raised.
    """
    scratch = folder / "scratch"
    if folder.exists():
        shutil.rmtree(folder)
    scratch.mkdir(parents=True)
    notes = room.card.scales[scale]
    try:
        watched = _Watched(room, scale, seeds, scratch, on_event, cancelled, settings)
        with BoundedLog(folder / LOG_NAME) as log:
            if notes.assets:
                outcome = watched.run("fetch", FETCH_LIMITS, log)
                if outcome.status != "finished":
                    return outcome
            limits = Limits(time_s=notes.time_limit_s, memory_mb=notes.memory_limit_mb)
            return watched.run("reproduce", limits, log)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def measure(
    room: Room,
    scale: Scale,
    seeds: Sequence[int] | None,
    folder: Path,
    *,
    on_event: Callable[[Event], None],
    cancelled: Callable[[], bool],
    settings: Settings,
) -> Result:
    """The record of executing a reproduction, verdicts and all; `seeds` None takes the card's."""
    seeds = tuple(room.card.scales[scale].seeds if seeds is None else seeds)
    # All of it before the run: a checkout may move on while it measures.
    started_at, card_sha256 = utc_now(), room.card_sha256
    environment = describe_environment(settings.run_threads, room.slug)
    events: list[Event] = []

    def keep(event: Event) -> None:
        if event["kind"] != "progress":
            events.append(event)
        on_event(event)

    outcome = execute(
        room, scale, seeds, folder, on_event=keep, cancelled=cancelled, settings=settings
    )
    return Result.from_events(
        room.card,
        scale,
        events,
        status=outcome.status,
        reason=outcome.reason,
        started_at=started_at,
        seconds=outcome.seconds,
        seeds=seeds,
        environment=environment,
        card_sha256=card_sha256,
    )


def read_log(folder: Path) -> str | None:
    """What an execution in `folder` has printed, its beginning and its end; None without a log."""
    try:
        return (folder / LOG_NAME).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def mark_of(process: str, folder: Path) -> str:
    """What marks all processes of the execution that `process` has going in `folder`.

    With it, what a dead worker has left behind can be told from what a living one has started.
    """
    return f"{process} {folder}"


@dataclass(frozen=True)
class _Watched:
    """The processes of one execution: one that fetches assets, one that reproduces."""

    room: Room
    scale: Scale
    seeds: Sequence[int]
    scratch: Path
    on_event: Callable[[Event], None]
    cancelled: Callable[[], bool]
    settings: Settings

    def run(self, do: str, limits: Limits, log: BoundedLog) -> Outcome:
        job = {
            "do": do,
            "slug": self.room.slug,
            "package": self.room.package,
            "folder": str(self.room.folder),
            "scale": self.scale.value,
            "seeds": list(self.seeds),
        }
        return run_child(
            job,
            scratch=self.scratch,
            log=log,
            limits=limits,
            mark=mark_of(this_process(), self.scratch.parent),
            take=self._take,
            until="reproduce returned",
            cancelled=self.cancelled,
            settings=self.settings,
        )

    def _take(self, line: bytes) -> str | None:
        event = read_event(line, self.room.card, self.seeds)
        if event["kind"] == "end":
            reason: str = event["reason"]
            return reason
        self.on_event(event)
        return None
