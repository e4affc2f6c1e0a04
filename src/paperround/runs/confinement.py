"""Keeps a run's writes inside its own folders, and its signals to its own processes.

Landlock, a part of Linux since 5.13, lets a process without any privilege give up rights for itself
and all that it starts, for good. A reproduction may then read what its user may read, and change
only what it is given here: the paper's code cannot touch the database, another run, or the room
that it came from. Where the system has no Landlock the run goes on without, and its record says so
(`environment["confined"]`).
"""

import ctypes
import os
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

# The system calls have these numbers on every architecture (linux/landlock.h, unistd.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_WRITE_FILE = 1 << 1
# Removing and making directories, files, sockets, pipes, devices and links.
_CHANGE_FOLDER = sum(1 << bit for bit in range(4, 13))
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_SCOPE_SIGNAL = 1 << 1
# What became known in which version of the interface.
_REFER_SINCE, _TRUNCATE_SINCE, _SCOPES_SINCE = 2, 3, 6

# A process opens these to write without changing anything that stays: null devices, processors
# for graphics, shared memory, and what it tells the kernel of itself.
_DEVICES = Path("/dev")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - a place to allow, no name of a file
_ITSELF = Path("/proc/self")


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


@cache
def landlock_version() -> int:
    """The version of the kernel's interface, 0 where there is none."""
    if sys.platform != "linux":
        return 0
    libc = ctypes.CDLL(None, use_errno=True)
    version: int = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    return max(version, 0)


def confine_writes(folders: Iterable[Path]) -> bool:
    """Whether this process can, from now on, change nothing outside `folders`; they must exist.

    There is no way back, and it holds for every thread and process started afterwards. Raises
    OSError where the kernel has the interface and refuses.
    """
    version = landlock_version()
    if not version:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    change = _WRITE_FILE | _CHANGE_FOLDER
    change |= _REFER if version >= _REFER_SINCE else 0
    change |= _TRUNCATE if version >= _TRUNCATE_SINCE else 0
    rules = _Ruleset(change, 0, _SCOPE_SIGNAL if version >= _SCOPES_SINCE else 0)
    # An older kernel takes only as many fields as it knows.
    size = ctypes.sizeof(rules) if version >= _SCOPES_SINCE else 8
    ruleset = _checked(libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0))
    try:
        for folder in (*folders, _SHARED_MEMORY):
            _allow(libc, ruleset, folder, change)
        for folder in (_DEVICES, _ITSELF):
            _allow(libc, ruleset, folder, change & (_WRITE_FILE | _TRUNCATE))
        _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, folder: Path, access: int) -> None:
    try:
        descriptor = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        # A container without shared memory: nothing there to allow.
        if folder in (_SHARED_MEMORY, _DEVICES, _ITSELF):
            return
        raise
    try:
        rule = _PathBeneath(access, descriptor)
        _checked(libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(descriptor)


def _checked(returned: int) -> int:
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock refused: {os.strerror(number)}")
    return returned
