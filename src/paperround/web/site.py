"""What the handlers of one server share: its database, its rooms, its search."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends
from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from paperround.discovery.searching import Searcher
from paperround.readers.openid import Discovery
from paperround.readers.secrets import place_key
from paperround.runs.rooms import InstalledRooms, Room
from paperround.settings import Settings
from paperround.web.buckets import Buckets
from paperround.web.conditional import SeenAnswers


@dataclass(frozen=True)
class Site:
    """One server's state, made by `create_app`."""

    settings: Settings
    engine: Engine
    searcher: Searcher
    # Whether only this machine can reach the server.
    local_only: bool
    # Whether a worker runs inside this server.
    worker: bool
    # Names that this server goes by beside the loopback ones.
    hosts: Collection[str] = ()
    installed: InstalledRooms = field(default_factory=InstalledRooms)
    # What the provider of OpenID Connect says of itself.
    discovery: Discovery = field(default_factory=Discovery)
    # How fast somebody may search; None for as fast as they like.
    searches: Buckets | None = None
    # Since when feeds have had the content that they have.
    seen_answers: SeenAnswers = field(default_factory=SeenAnswers)

    @property
    def links_key(self) -> bytes:
        """What the lasting links of mails are made with."""
        return place_key(self.settings.home)

    @property
    def rooms(self) -> Mapping[str, Room]:
        """The runnable papers by slug, as they are installed now."""
        return self.installed.now()[0]

    @property
    def broken_rooms(self) -> Mapping[str, str]:
        """Rooms whose card cannot be read, with the reason."""
        return self.installed.now()[1]

    @property
    def papers_by_slug(self) -> dict[str, str]:
        """The keys of the runnable papers in the catalogue."""
        return {slug: room.card.paper for slug, room in self.rooms.items()}

    @property
    def rooms_by_paper(self) -> dict[str, Room]:
        """The runnable papers by their key in the catalogue."""
        return {room.card.paper: room for room in self.rooms.values()}


def site_of(connection: HTTPConnection) -> Site:
    """The site that a request was sent to."""
    site: Site = connection.app.state.site
    return site


SiteHere = Annotated[Site, Depends(site_of)]
