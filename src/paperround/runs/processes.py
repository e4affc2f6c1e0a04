"""Processes: all those that a run has started, and whether a worker is still alive."""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

# Set in the environment of every process of a run. A process that leaves its parent, its group and
# its session is still known by it.
MARK = "PAPERROUND_RUN"

_KILL_PATIENCE_S = 5.0


class Family:
    """The processes of one run: its first process `root`, and all that came from it.

    A process belongs to the family when its session or its parent does, or when it carries the
    mark. `root` is None where only the mark is known: what a dead worker has left behind.
    """

    def __init__(self, root: int | None, mark: str) -> None:
        self._root, self._mark = root, mark
        self._members: dict[int, psutil.Process] = {}
        # Looked at once and found foreign; only new processes need to be looked at again.
        self._strangers: set[int] = {os.getpid()}

    def members(self) -> list[psutil.Process]:
        """The living processes of the family; a zombie holds nothing and does not count."""
        present = set(psutil.pids())
        self._strangers &= present
        # Ascending, so that mostly a parent is known before its children.
        for pid in sorted(present - self._strangers - self._members.keys()):
            process = self._if_member(pid)
            if process is None:
                self._strangers.add(pid)
            else:
                self._members[pid] = process
        self._members = {pid: p for pid, p in self._members.items() if _is_alive(p)}
        return list(self._members.values())

    def memory_bytes(self) -> int:
        """The memory in use by the family; what several of them share counts for each."""
        return sum(_memory(process, "rss") for process in self.members())

    def own_memory_bytes(self) -> int:
        """The same with shared memory counted once; slow, and only on Linux a different figure."""
        return sum(_memory(process, "pss") for process in self.members())

    def signal_group(self, number: signal.Signals) -> None:
        """Sends a signal to the process group of `root`; nothing happens where it has ended."""
        if self._root is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._root, number)

    def kill(self) -> None:
        """Ends every process of the family, and returns when they are gone."""
        # Everything is looked at afresh: a process may have forked between two looks.
        deadline = time.monotonic() + _KILL_PATIENCE_S
        while time.monotonic() < deadline:
            self._strangers = {os.getpid()}
            living = self.members()
            if not living:
                return
            for process in living:
                with suppress(psutil.Error):
                    process.kill()
            time.sleep(0.01)

    def _if_member(self, pid: int) -> psutil.Process | None:
        try:
            if pid == self._root or (self._root is not None and os.getsid(pid) == self._root):
                return psutil.Process(pid)
            process = psutil.Process(pid)
            if process.ppid() in self._members or process.environ().get(MARK) == self._mark:
                return process
        except (psutil.Error, OSError):
            # It has ended meanwhile, or belongs to another user: none of ours.
            return None
        return None


def this_process() -> str:
    """A name for this process that no other ever has: machine, process id, time of its start."""
    return f"{_machine()}:{os.getpid()}:{_start(os.getpid())}"


def has_ended(name: str) -> bool:
    """Whether the process of that name (from `this_process`) certainly does not run any more.

    False where nobody can tell from here, as for a process on another machine.
    """
    machine, pid, start = name.split(":")[:3]
    return machine == _machine() and _start(int(pid)) != start


def _machine() -> str:
    """Where process ids mean the same: one boot of one kernel, and one namespace in it."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    if boot.is_file():
        namespace = Path("/proc/self/ns/pid").readlink().name
        return f"{boot.read_text().strip()[:13]}.{''.join(c for c in namespace if c.isdigit())}"
    return f"{psutil.boot_time():.0f}"


def _start(pid: int) -> str:
    """When the process has started, in units that a change of the clock leaves alone; or ""."""
    try:
        if sys.platform == "linux":
            # proc(5): the name, in brackets, may hold anything; the start is the 22nd field.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return "" if fields[0] == "Z" else fields[19]
        return f"{psutil.Process(pid).create_time():.2f}"
    except (OSError, psutil.Error):
        return ""


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _memory(process: psutil.Process, what: str) -> int:
    try:
        if what == "pss" and sys.platform == "linux":
            return int(process.memory_full_info().pss)
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
