"""What the handlers of one server share: its database, its rooms, search by meaning."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from fastapi import Depends
from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from paperround.discovery.vectors import VectorIndex
from paperround.runs.rooms import Room
from paperround.settings import Settings

Embed = Callable[[str], np.ndarray]


@dataclass
class Meaning:
    """Search by meaning: the vectors of all papers, and what makes one of a query.

    The model loads beside the server's start; until then, and where it cannot be had, `embed` is
    None and `note` says why.
    """

    vectors: VectorIndex
    embed: Embed | None = None
    note: str = "The model for search by meaning is still loading."
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Site:
    """One server's state, made by `create_app`."""

    settings: Settings
    engine: Engine
    rooms: Mapping[str, Room]
    # Rooms whose card cannot be read, with the reason.
    broken_rooms: Mapping[str, str]
    meaning: Meaning
    # Whether only this machine can reach the server.
    local_only: bool
    # Whether a worker runs inside this server.
    worker: bool
    # Names that this server goes by beside the loopback ones.
    hosts: Collection[str] = ()

    def room_of(self, paper_key: str) -> Room | None:
        """The room that runs this paper, None where the paper does not run."""
        return self._rooms_by_paper.get(paper_key)

    @property
    def _rooms_by_paper(self) -> dict[str, Room]:
        return {room.card.paper: room for room in self.rooms.values()}


def site_of(connection: HTTPConnection) -> Site:
    """The site that a request was sent to."""
    site: Site = connection.app.state.site
    return site


SiteHere = Annotated[Site, Depends(site_of)]
