"""The starter catalogue: the first papers of a fresh installation, shipped in the package."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, Engine

from paperround.catalogue.actions import import_records
from paperround.catalogue.queries import has_papers, papers_by_key
from paperround.catalogue.records import Imported
from paperround.catalogue.sources import read_source
from paperround.db import read

STARTER = Path(__file__).with_name("data") / "starter.jsonl.xz"
# The keys of its first and last paper, as tools/build_starter.py prints them: unpacking the file to
# learn them would cost every start of the program a quarter of a second.
FIRST, LAST = "2604.02029", "2606.32040"


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
    here = papers_by_key(connection, [FIRST, LAST])
    return FIRST in here and LAST not in here
