"""One process, watched until it and all that it started are gone: output, limits, the way to stop.

Knows nothing of papers; `execution.py` says what to start and what its events mean.
"""

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from paperround.errors import CardError
from paperround.runs.bounded_log import BoundedLog
from paperround.runs.events import ALL_EVENTS_LIMIT_BYTES, EVENT_LIMIT_BYTES
from paperround.runs.processes import MARK, Family

_TICK_S = 0.1
_MEMORY_TICK_S = 0.25
# Between asking the processes to end and ending them.
_GRACE_S = 0.8
_READ_BYTES = 1 << 16
# The database stands on the same disk.
_DISK_RESERVE_MB = 200


@dataclass(frozen=True)
class Limits:
    """What a process and all that it starts may use together."""

    time_s: float
    memory_mb: int


@dataclass(frozen=True)
class Ending:
    """How a process ended: its exit status as `subprocess` has it, and why it was stopped."""

    status: int
    stopped: str
    cancelled: bool
    seconds: float


class Supervised:
    """One process under watch. `mark` tells its processes from all others on the machine.

    Lines on its pipe go to `on_line`, which raises CardError for one that is wrong; the process is
    stopped for it. `cancelled` is asked ten times a second.
    """

    def __init__(
        self,
        log: BoundedLog,
        limits: Limits,
        mark: str,
        *,
        on_line: Callable[[bytes], None],
        cancelled: Callable[[], bool],
    ) -> None:
        self._log, self._limits, self._mark = log, limits, mark
        self._on_line, self._is_cancelled = on_line, cancelled
        self._line = bytearray()
        self._received = 0
        self._stopped, self._cancelled = "", False
        self._kill_at: float | None = None

    def run(
        self, command: Callable[[int], Sequence[str]], environment: Mapping[str, str], folder: Path
    ) -> Ending:
        """Starts the command in its own session and stays until nothing of it is left.

        `command` is given the number of the pipe for events. Raises OSError where it cannot start.
        """
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                list(command(writing)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(writing,),
                start_new_session=True,
                env={**environment, MARK: self._mark},
                cwd=folder,
            )
        except OSError:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        assert process.stdout is not None
        family = Family(process.pid, self._mark)
        started = time.monotonic()
        pipes = {reading: self._take_events, process.stdout.fileno(): self._log.write}
        try:
            self._watch(process, family, pipes, folder, started)
            seconds = time.monotonic() - started
            family.kill()
            for descriptor, take in pipes.items():
                self._drain(descriptor, take)
            if self._line and not self._stopped and process.wait() == 0:
                self._stop("ended in the middle of an event")
        finally:
            # Also on the way out of an exception: nothing stays behind.
            family.kill()
            process.wait()
            process.stdout.close()
            os.close(reading)
        return Ending(process.returncode, self._stopped, self._cancelled, seconds)

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        family: Family,
        pipes: Mapping[int, Callable[[bytes], None]],
        folder: Path,
        started: float,
    ) -> None:
        memory_at = started
        with selectors.DefaultSelector() as selector:
            for descriptor in pipes:
                selector.register(descriptor, selectors.EVENT_READ)
            while process.poll() is None:
                for key, _ in selector.select(_TICK_S):
                    if data := os.read(key.fd, _READ_BYTES):
                        pipes[key.fd](data)
                    else:
                        selector.unregister(key.fd)
                if not selector.get_map():
                    # Both pipes are closed, mostly because it is ending.
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_TICK_S)
                now = time.monotonic()
                if self._kill_at is not None:
                    if now >= self._kill_at:
                        return
                    continue
                if self._is_cancelled():
                    self._cancelled = True
                    self._stop("cancelled", _GRACE_S)
                elif now - started > self._limits.time_s:
                    self._stop(f"took longer than {self._limits.time_s:g} s", _GRACE_S)
                elif now >= memory_at:
                    memory_at = now + _MEMORY_TICK_S
                    self._check_memory_and_disk(family, folder)
                if self._kill_at is not None:
                    family.signal_group(signal.SIGTERM)

    def _check_memory_and_disk(self, family: Family, folder: Path) -> None:
        limit = self._limits.memory_mb * 1_000_000
        # The fast figure counts shared memory once per process; only the slow one condemns.
        if family.memory_bytes() > limit and family.own_memory_bytes() > limit:
            self._stop(f"used more than {self._limits.memory_mb} MB of memory")
        elif shutil.disk_usage(folder).free < _DISK_RESERVE_MB * 1_000_000:
            self._stop(f"left less than {_DISK_RESERVE_MB} MB of disk free")

    def _stop(self, reason: str, grace_s: float = 0.0) -> None:
        # The first reason is the true one; what follows may come of the stopping.
        self._stopped = self._stopped or reason
        if self._kill_at is None:
            self._kill_at = time.monotonic() + grace_s

    def _take_events(self, data: bytes) -> None:
        if self._stopped:
            return
        self._received += len(data)
        *lines, rest = data.split(b"\n")
        try:
            for line in lines:
                self._on_line(bytes(self._line) + line)
                self._line.clear()
            self._line += rest
            if len(self._line) > EVENT_LIMIT_BYTES:
                raise CardError(f"an event is larger than {EVENT_LIMIT_BYTES >> 20} MB")
            if self._received > ALL_EVENTS_LIMIT_BYTES:
                raise CardError(f"gave more than {ALL_EVENTS_LIMIT_BYTES >> 20} MB of results")
        except CardError as error:
            self._stop(str(error))

    def _drain(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        """Reads what still lies in a pipe that nobody writes to any more."""
        os.set_blocking(descriptor, False)
        with suppress(BlockingIOError):
            while data := os.read(descriptor, _READ_BYTES):
                take(data)
