"""What a source that is asked over the network may use."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Engine

from paperround.catalogue.actions import bookmark_of
from paperround.catalogue.fetching import Answer, Fetcher
from paperround.catalogue.keeping import KeptAnswers
from paperround.db import read
from paperround.errors import SourceError
from paperround.settings import Settings


@dataclass(frozen=True)
class Visit:
    """One import from a server: how to ask it, and where the last import stopped."""

    fetcher: Fetcher
    # The position of a source's scope that was stored last.
    bookmark: Callable[[str, str], str | None] = lambda source, scope: None
    # The answers of today, of a server that has new ones once a day.
    kept: KeptAnswers = field(default_factory=KeptAnswers)
    # A mirror's address instead of a source's own, by source.
    addresses: Mapping[str, str] = field(default_factory=dict)

    def address(self, source: str, usual: str) -> str:
        """Where the source is asked."""
        return self.addresses.get(source, usual).rstrip("/")

    def get(self, url: str) -> Answer:
        """The answer, whatever its status. Raises SourceError when none comes."""
        answer = self.fetcher.get(url)
        if answer is None:
            raise SourceError(f"{url}: it says that nothing is new, and was not asked that")
        return answer

    def get_json(self, url: str) -> Any:
        """The JSON that an address answers with. Raises SourceError for anything else."""
        found = self.find_json(url)
        if found is None:
            raise SourceError(f"{url}: status 404")
        return found

    def find_json(self, url: str) -> Any:
        """The same; None where the server says that there is no such thing."""
        answer = self.get(url)
        if answer.status == 404:
            return None
        if answer.status != 200:
            said = " ".join(answer.body[:200].decode("utf-8", "replace").split())
            raise SourceError(f"{url}: status {answer.status}: {said}")
        try:
            return json.loads(answer.body)
        except (ValueError, RecursionError) as error:
            raise SourceError(f"{url}: the answer is not JSON ({error})") from error


def visit_with(engine: Engine, settings: Settings) -> Visit:
    """A visit by these settings, which goes on where this catalogue's last one stopped."""

    def bookmark(source: str, scope: str) -> str | None:
        with read(engine) as connection:
            return bookmark_of(connection, source, scope)

    fetcher = Fetcher(turns=settings.home / "turns", contact=settings.contact)
    kept = KeptAnswers(settings.home / "answers")
    return Visit(fetcher, bookmark, kept, settings.source_addresses)
