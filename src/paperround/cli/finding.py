"""Search as the command line has it: over this machine's database, rooms and results."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from sqlalchemy import Engine

if TYPE_CHECKING:
    from paperround.catalogue.records import PaperId
    from paperround.discovery.query_language import Part
    from paperround.discovery.searching import Searcher


def searcher_over(engine: Engine) -> "Searcher":
    """A searcher that knows which papers run here, and what came of it."""
    from paperround.discovery.searching import Searcher
    from paperround.runs.rooms import InstalledRooms
    from paperround.verdicts import papers_with

    # Ten thousand digests and batches of queries ask for each search.
    installed = InstalledRooms()

    def found(part: "Part") -> "Collection[PaperId]":
        return papers_with(engine, installed.now()[0].values(), part)

    def rooms() -> dict[str, str]:
        return {slug: room.card.paper for slug, room in installed.now()[0].items()}

    return Searcher(engine, papers_with=found, rooms=rooms)
