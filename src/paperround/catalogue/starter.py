"""The starter catalogue: the first papers of a fresh installation, shipped in the package."""

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine

from paperround.catalogue.actions import import_records
from paperround.catalogue.queries import has_papers
from paperround.catalogue.records import Imported
from paperround.catalogue.sources import read_source
from paperround.db import read

STARTER = Path(__file__).with_name("data") / "starter.jsonl.xz"


def import_starter(
    engine: Engine, on_progress: Callable[[int], None] | None = None
) -> Imported | None:
    """Imports the starter catalogue into an empty catalogue; None where there are papers already.

    A start that was killed half-way leaves papers, and so a short catalogue; importing the file by
    hand (`paperround import jsonl …/starter.jsonl.xz`) completes it.
    """
    with read(engine) as connection:
        if has_papers(connection):
            return None
    return import_records(engine, read_source("jsonl", [str(STARTER)]), on_progress=on_progress)
