"""One process or thread at a time, for what is done in turn."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def alone(path: Path) -> Iterator[bool]:
    """Whether nobody else holds the lock file; nobody takes it before the block ends.

    Whoever is alone finds those that are said to be under way abandoned: their process has died.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
