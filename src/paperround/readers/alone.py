"""One worker of a home at a time, for what is done in turn."""

from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from paperround.settings import Settings


@contextmanager
def alone(settings: Settings, what: str) -> Iterator[bool]:
    """Whether nobody else of this home does `what`; nobody begins it before the block ends.

    Whoever is alone finds those that are `working` abandoned: their worker has died.
    """
    settings.home.mkdir(parents=True, exist_ok=True)
    lock = FileLock(settings.home / f"{what}.lock", thread_local=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
