"""The starter catalogue: the first papers of a fresh installation, shipped in the package."""

import json
import lzma
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine

from paperround.catalogue.actions import import_records
from paperround.catalogue.queries import has_papers, papers_by_key
from paperround.catalogue.records import Imported
from paperround.catalogue.sources import read_source
from paperround.db import read

STARTER = Path(__file__).with_name("data") / "starter.jsonl.xz"


def import_starter(
    engine: Engine, on_progress: Callable[[int], None] | None = None
) -> Imported | None:
    """Imports the starter catalogue into an empty catalogue; None where there are papers already.

    An import that was killed half-way is completed by the next call.
    """
    with read(engine) as connection:
        if has_papers(connection) and not _is_incomplete(connection):
            return None
    return import_records(engine, read_source("jsonl", [str(STARTER)]), on_progress=on_progress)


def _is_incomplete(connection: Connection) -> bool:
    """Whether the first paper of the file is here and the last is not: batches go in by order."""
    lines = lzma.decompress(STARTER.read_bytes()).splitlines()
    first, last = (json.loads(line)["id"] for line in (lines[0], lines[-1]))
    here = papers_by_key(connection, [first, last])
    return first in here and last not in here
