"""One execution of a reproduction: a process of its own, confined, watched, and ended for certain.

`execute` is what the worker and `paperround run` share. What the process may see and use is
decided here; `supervision.py` watches it, `child.py` is what runs inside.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paperround.clock import utc_now
from paperround.runs.bounded_log import BoundedLog
from paperround.runs.card import Scale
from paperround.runs.environment import describe_environment
from paperround.runs.events import read_event
from paperround.runs.processes import this_process
from paperround.runs.reproduction import Event
from paperround.runs.results import Result
from paperround.runs.rooms import Room
from paperround.runs.supervision import Ending, Limits, Supervised
from paperround.settings import Settings

LOG_NAME = "log.txt"
_FETCH_LIMITS = Limits(time_s=3_600, memory_mb=2_000)

# What a reproduction may know of the environment it was started from. No secret has a name here.
_INHERITED = (
    "PATH",
    "PYTHONPATH",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "TZ",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "HIP_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
)

_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "killed from outside, or the machine ran out of memory",
    signal.SIGTERM: "asked to end from outside",
    signal.SIGSEGV: "a crash in native code; the log says where",
    signal.SIGBUS: "a crash in native code, or no room left for a mapped file",
    signal.SIGABRT: "aborted by native code; the log says why",
    signal.SIGFPE: "a division by zero in native code; the log says where",
    signal.SIGILL: "an instruction that this processor does not have",
    signal.SIGXFSZ: "wrote a file above the size limit",
}


@dataclass(frozen=True)
class Outcome:
    """How an execution ended. `seconds` is the reproduction's own time, without fetching assets."""

    status: Literal["finished", "failed", "cancelled"]
    reason: str
    seconds: float


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
        with BoundedLog(folder / LOG_NAME) as log:
            if notes.assets:
                # Fetching needs the operator's proxy and package index; it runs none of the
                # paper's code, so it gets the whole environment.
                fetching = {**os.environ, **_paperround_variables(settings)}
                watched = _Watched(room, scale, seeds, scratch, on_event, cancelled, settings)
                outcome = watched.run("fetch", fetching, _FETCH_LIMITS, log)
                if outcome.status != "finished":
                    return outcome
            limits = Limits(time_s=notes.time_limit_s, memory_mb=notes.memory_limit_mb)
            watched = _Watched(room, scale, seeds, scratch, on_event, cancelled, settings)
            return watched.run("reproduce", _environment(scratch, settings), limits, log)
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


@dataclass
class _Watched:
    """One process of an execution, and what its `end` event said."""

    room: Room
    scale: Scale
    seeds: Sequence[int]
    scratch: Path
    on_event: Callable[[Event], None]
    cancelled: Callable[[], bool]
    settings: Settings
    end: str | None = None

    def run(self, do: str, environment: dict[str, str], limits: Limits, log: BoundedLog) -> Outcome:
        job = {
            "do": do,
            "slug": self.room.slug,
            "package": self.room.package,
            "folder": str(self.room.folder),
            "scale": self.scale.value,
            "seeds": list(self.seeds),
            "scratch": str(self.scratch),
            "threads": self.settings.run_threads,
            "parent": os.getpid(),
        }

        def command(pipe: int) -> list[str]:
            # -P: a file in the scratch folder must not pass for a module.
            child = [sys.executable, "-P", "-m", "paperround.runs.child"]
            return [*child, json.dumps({**job, "events": pipe})]

        supervised = Supervised(
            log,
            limits,
            mark=mark_of(this_process(), self.scratch.parent),
            on_line=self._take,
            cancelled=self.cancelled,
        )
        try:
            ending = supervised.run(command, environment, self.scratch)
        except OSError as error:
            return Outcome("failed", f"the process could not be started: {error}", 0.0)
        return self._outcome(ending)

    def _take(self, line: bytes) -> None:
        event = read_event(line, self.room.card, self.seeds)
        if event["kind"] == "end":
            self.end = event["reason"]
        else:
            self.on_event(event)

    def _outcome(self, ending: Ending) -> Outcome:
        seconds = ending.seconds
        if ending.cancelled:
            return Outcome("cancelled", "cancelled", seconds)
        if ending.stopped:
            return Outcome("failed", ending.stopped, seconds)
        if self.end:
            return Outcome("failed", self.end, seconds)
        if ending.status < 0:
            why = _SIGNALS.get(-ending.status, "see the log")
            return Outcome("failed", f"ended by signal {-ending.status} ({why})", seconds)
        if ending.status or self.end is None:
            reason = f"ended with exit status {ending.status} before reproduce returned"
            return Outcome("failed", reason, seconds)
        return Outcome("finished", "", seconds)


def _environment(scratch: Path, settings: Settings) -> dict[str, str]:
    """All that the reproduction's process has for an environment."""
    threads = str(settings.run_threads)
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        **_paperround_variables(settings),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "LANG": "C.UTF-8",
        "PYTHONUTF8": "1",
        # The order of a set of strings is no randomness that `run.seeds` would cover.
        "PYTHONHASHSEED": "0",
        "OMP_NUM_THREADS": threads,
        # Threads that wait for one another spin for some microseconds and then sleep. Spinning for
        # long makes a run many times slower as soon as anything else wants a processor; not at all
        # makes it twice as slow on an idle machine.
        "GOMP_SPINCOUNT": "20000",
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "NUMEXPR_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
    }


def _paperround_variables(settings: Settings) -> dict[str, str]:
    variables = {
        "PAPERROUND_HOME": str(settings.home),
        "PAPERROUND_CACHE": str(settings.cache_dir),
        "PAPERROUND_RUN_THREADS": str(settings.run_threads),
    }
    if settings.assets is not None:
        variables["PAPERROUND_ASSETS"] = str(settings.assets)
    return variables
