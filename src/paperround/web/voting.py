"""Votes and marks as pages show them: what a reader has given, and what the buttons need."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from starlette.requests import Request

from paperround.catalogue.records import Paper, PaperId
from paperround.readers.queries import comments_here, votes_here, votes_of
from paperround.web.forms import form_key
from paperround.web.visitors import who


@dataclass(frozen=True)
class Voting:
    """What the buttons of a page need. `key` is None for who has no account: they get a link."""

    key: str | None
    voted: frozenset[PaperId]
    back: str


def counted(connection: Connection, papers: Sequence[Paper]) -> list[Paper]:
    """The papers, with the votes and comments of readers here added to their sources' counts."""
    ids = [paper.id for paper in papers]
    votes, comments = votes_here(connection, ids), comments_here(connection, ids)
    return [
        replace(
            paper,
            votes=max(paper.votes, 0) + votes.get(paper.id, 0),
            comments=max(paper.comments, 0) + comments.get(paper.id, 0),
        )
        for paper in papers
    ]


def voting_on(request: Request, connection: Connection, papers: Iterable[Paper]) -> Voting:
    """For which of these papers whoever asks votes, and where the buttons lead back to."""
    reader = who(request).reader
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if reader is None:
        return Voting(None, frozenset(), back)
    found = votes_of(connection, reader.id, (paper.id for paper in papers))
    return Voting(form_key(request), frozenset(found), back)
