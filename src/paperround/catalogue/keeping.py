"""Answers kept for the day, of servers that have new ones once a day: arXiv asks for it."""

import contextlib
import hashlib
import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from paperround.clock import utc_now

# arXiv announces at 20:00 in New York, which is 0:00 or 1:00; half an hour later its API has it.
_DAY_BEGINS = timedelta(hours=1, minutes=30)


@dataclass(frozen=True)
class KeptAnswers:
    """The day's answers by address, in a folder that all processes share; without one, none."""

    folder: Path | None = None
    now: Callable[[], datetime] = utc_now

    def get(self, url: str) -> bytes | None:
        """What the address answered today; None where that is unknown or cannot be read."""
        path = self._path(url)
        if path is None:
            return None
        try:
            return zlib.decompress(path.read_bytes())
        except (OSError, zlib.error):
            return None

    def put(self, url: str, body: bytes) -> None:
        """Keeps an answer for today, and nothing of another day."""
        path = self._path(url)
        if path is None or self.folder is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        for day in self.folder.iterdir():
            if day != path.parent:
                shutil.rmtree(day, ignore_errors=True)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_bytes(zlib.compress(body, 1))
        # Another process may have put it there, or the day may have changed, a moment ago.
        with contextlib.suppress(FileNotFoundError):
            new.replace(path)

    def _path(self, url: str) -> Path | None:
        if self.folder is None:
            return None
        day = (self.now() - _DAY_BEGINS).date().isoformat()
        return self.folder / day / hashlib.sha256(url.encode()).hexdigest()
