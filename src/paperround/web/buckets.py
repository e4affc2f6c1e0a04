"""Buckets that empty with each use and fill again with time: a limit that costs no database.

They stand in memory, each process for itself: a row for every search would cost more than the
search. Limits that guard accounts are kept in the database (`readers/limits.py`).
"""

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from paperround.errors import TooOftenError

# So many are remembered; who asked longest ago is forgotten first.
_MAX_BUCKETS = 10_000


@dataclass
class Buckets:
    """A bucket of `burst` for everybody who asks, filled again at `per_minute`."""

    per_minute: int
    burst: int
    now: Callable[[], float] = time.monotonic
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, who: str, cost: float = 1.0) -> None:
        """Takes that much from somebody's bucket. Raises TooOftenError where it holds less."""
        per_second = self.per_minute / 60
        with self._lock:
            now = self.now()
            held, at = self._buckets.pop(who, (float(self.burst), now))
            held = min(float(self.burst), held + max(0.0, now - at) * per_second)
            enough = held >= cost
            self._buckets[who] = (held - cost if enough else held, now)
            while len(self._buckets) > _MAX_BUCKETS:
                self._buckets.popitem(last=False)
        if not enough:
            wait_s = max(1, math.ceil((cost - held) / per_second))
            raise TooOftenError(f"that is too often; try again in {wait_s} s", wait_s)
