"""Which papers run and what came of it, as search asks for it: `runs:yes`, `verdict:holds`.

It stands above both rooms, since search knows nothing of runs and runs nothing of search.
"""

from collections.abc import Iterable

from sqlalchemy import Engine

from paperround.catalogue.queries import ids_by_key
from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.discovery.query_language import Part
from paperround.runs.queries import claim_summary
from paperround.runs.rooms import Room


def papers_with(engine: Engine, rooms: Iterable[Room], part: Part) -> set[PaperId]:
    """The papers that a filter means: `runs:yes` those with a room, `runs:no` the others' opposite.

    `verdict:holds` means papers of which some claim holds, by its latest results; in the same way
    `falls-short` and `not-measured`.
    """
    rooms = list(rooms)
    keys = {room.card.paper for room in rooms}
    with read(engine) as connection:
        if part.field == "verdict":
            found = claim_summary(connection, rooms)
            keys = {
                room.card.paper
                for room in rooms
                if room.slug in found
                and getattr(found[room.slug].tally, part.value.replace("-", "_"))
            }
        return set(ids_by_key(connection, keys).values())
