"""The process in which foreign code runs: what it may see, write and use, and how it ended.

Both a reproduction (`execution.py`) and a generation (`generation.py`) run so. `child.py` is what
runs inside; `supervision.py` watches it.
"""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paperround.runs.bounded_log import BoundedLog
from paperround.runs.supervision import Ending, Limits, Supervised
from paperround.settings import Settings

FETCH_LIMITS = Limits(time_s=3_600, memory_mb=2_000)

# What a confined process may know of the environment it was started from. No secret is named here.
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

# In the cache: models in another format, and functions that were compiled. Both are costly to make
# and the same for every run.
_DERIVED = ("converted", "compiled")

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
    """How an execution ended. `seconds` is its own time, without fetching assets."""

    status: Literal["finished", "failed", "cancelled"]
    reason: str
    seconds: float


def run_child(
    job: Mapping[str, Any],
    *,
    scratch: Path,
    log: BoundedLog,
    limits: Limits,
    mark: str,
    take: Callable[[bytes], str | None],
    until: str,
    cancelled: Callable[[], bool],
    settings: Settings,
) -> Outcome:
    """How a process that did `job` ended, once nothing of it runs any more.

    `take` gets each line that it emits; it gives back the reason that the last line, its end, names
    (empty where all went well) and None for every other, and raises CardError for one that is
    wrong. `until` says what a process that ended early did not come to. A job that fetches runs no
    foreign code: it gets the whole environment, for the operator's proxy and package index, and may
    write anywhere, to fill the cache.
    """
    is_fetching = job["do"].startswith("fetch")
    environment = (
        {**os.environ, **_paperround_variables(settings)}
        if is_fetching
        else _confined_environment(scratch, settings)
    )
    whole_job = {
        **job,
        "scratch": str(scratch),
        "threads": settings.run_threads,
        "writable": [] if is_fetching else [str(f) for f in _writable(scratch, settings)],
        "parent": os.getpid(),
    }
    ends: list[str] = []

    def command(pipe: int) -> list[str]:
        # -P: a file in the scratch folder must not pass for a module.
        child = [sys.executable, "-P", "-m", "paperround.runs.child"]
        return [*child, json.dumps({**whole_job, "events": pipe})]

    def on_line(line: bytes) -> None:
        end = take(line)
        if end is not None:
            ends.append(end)

    supervised = Supervised(log, limits, mark=mark, on_line=on_line, cancelled=cancelled)
    try:
        ending = supervised.run(command, environment, scratch)
    except OSError as error:
        return Outcome("failed", f"the process could not be started: {error}", 0.0)
    return _outcome(ending, ends[-1] if ends else None, until)


def _outcome(ending: Ending, end: str | None, until: str) -> Outcome:
    seconds = ending.seconds
    if ending.cancelled:
        return Outcome("cancelled", "cancelled", seconds)
    if ending.stopped:
        return Outcome("failed", ending.stopped, seconds)
    if end:
        return Outcome("failed", end, seconds)
    if ending.status < 0:
        why = _SIGNALS.get(-ending.status, "see the log")
        return Outcome("failed", f"ended by signal {-ending.status} ({why})", seconds)
    if ending.status or end is None:
        reason = f"ended with exit status {ending.status} before {until}"
        return Outcome("failed", reason, seconds)
    return Outcome("finished", "", seconds)


def _writable(scratch: Path, settings: Settings) -> list[Path]:
    """Where a confined process may write: its scratch folder, and what is made once for all."""
    shared = [settings.cache_dir / name for name in _DERIVED]
    for folder in shared:
        folder.mkdir(parents=True, exist_ok=True)
    return [scratch, *shared]


def _confined_environment(scratch: Path, settings: Settings) -> dict[str, str]:
    """All that a confined process has for an environment."""
    threads = str(settings.run_threads)
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {
        **inherited,
        **_paperround_variables(settings),
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "NUMBA_CACHE_DIR": str(settings.cache_dir / "compiled"),
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
