"""Rejected items, written down: one JSON object a line, with its place and reason."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from paperround.catalogue.records import Rejected
from paperround.errors import UsageError


@contextmanager
def rejects_to(path: Path | None) -> Iterator[Callable[[Rejected], None] | None]:
    """What writes each rejected item down; None without a path.

    The file is there from the start and complete at the end, empty where nothing was rejected.
    """
    if path is None:
        yield None
        return
    try:
        file = path.open("w", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    with file:

        def write(rejected: Rejected) -> None:
            row = {"place": rejected.place, "reason": rejected.reason}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")

        yield write
