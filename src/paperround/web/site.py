"""What the handlers of one server share: its database, its rooms, its search."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

from fastapi import Depends
from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from paperround.discovery.searching import Searcher
from paperround.runs.rooms import Room
from paperround.settings import Settings


@dataclass(frozen=True)
class Site:
    """One server's state, made by `create_app`."""

    settings: Settings
    engine: Engine
    # The runnable papers by slug; a room installed later shows after a restart.
    rooms: Mapping[str, Room]
    # Rooms whose card cannot be read, with the reason.
    broken_rooms: Mapping[str, str]
    searcher: Searcher
    # Whether only this machine can reach the server.
    local_only: bool
    # Whether a worker runs inside this server.
    worker: bool
    # Names that this server goes by beside the loopback ones.
    hosts: Collection[str] = ()

    @cached_property
    def rooms_by_paper(self) -> dict[str, Room]:
        """The runnable papers by their key in the catalogue."""
        return {room.card.paper: room for room in self.rooms.values()}


def site_of(connection: HTTPConnection) -> Site:
    """The site that a request was sent to."""
    site: Site = connection.app.state.site
    return site


SiteHere = Annotated[Site, Depends(site_of)]
