"""A log that cannot fill the disk: the beginning and the end of what was written."""

import time
from pathlib import Path
from types import TracebackType
from typing import Self

HEAD_BYTES = 512 << 10
TAIL_BYTES = 512 << 10
# How often a tail that grows is written for whoever looks on: half a megabyte each time.
_SHOW_INTERVAL_S = 2.0


class BoundedLog:
    """A file that takes any amount and keeps its first and its last half megabyte.

    The head reaches the file at once, for whoever looks while the run goes on; the tail is held in
    memory and joins it every few seconds and at the end, after a line that says how much lies
    between.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self._head_left = self._head_bytes = HEAD_BYTES
        self._shown_at = 0.0
        self._tail = bytearray()
        self._left_out = 0

    def write(self, data: bytes) -> None:
        """Takes more of the log."""
        if self._head_left:
            head = data[: self._head_left]
            self._file.write(head)
            self._head_left -= len(head)
            data = data[len(head) :]
        self._tail += data
        # Trimmed at twice the size, so that each byte is moved once on average.
        if len(self._tail) > 2 * TAIL_BYTES:
            self._trim()
        if self._tail and time.monotonic() - self._shown_at >= _SHOW_INTERVAL_S:
            self._shown_at = time.monotonic()
            self._write_tail()

    def close(self) -> None:
        """Writes the tail; the log is complete."""
        if self._tail or self._left_out:
            self._write_tail()
            self._tail.clear()
        self._file.close()

    def _write_tail(self) -> None:
        """Puts the tail after the head, over what was there of it before."""
        self._trim()
        self._file.seek(self._head_bytes)
        if self._left_out:
            self._file.write(f"\n[… {self._left_out:,} bytes left out …]\n".encode())
        self._file.write(self._tail)
        self._file.truncate()

    def __enter__(self) -> Self:
        """The log itself; it is closed at the end."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _trim(self) -> None:
        surplus = len(self._tail) - TAIL_BYTES
        if surplus > 0:
            del self._tail[:surplus]
            self._left_out += surplus
