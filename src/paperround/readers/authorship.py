"""Readers who say that they are an author of a paper, and the moderators who look at it.

Nobody's word alone puts a reader beside an author's name. A moderator confirms or refuses, with a
reason that the reader sees; what was confirmed can be revoked; all of it is in the moderators' log.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import PaperTable
from paperround.db import write
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers import limits
from paperround.readers.acts import record_act
from paperround.readers.comments import one_line
from paperround.readers.records import Authorship, Reader
from paperround.readers.tables import AuthorshipTable, ReaderTable
from paperround.runs.rights import Role

MAX_NOTE = 1_000
MAX_BECAUSE = 500

ASKED, CONFIRMED, REFUSED, REVOKED = "asked", "confirmed", "refused", "revoked"
# From which state a moderator may come to another, and what the log calls it.
_DECISIONS = {
    CONFIRMED: (("asked", "refused", "revoked"), "confirmed an author"),
    REFUSED: (("asked",), "refused an author"),
    REVOKED: (("confirmed",), "revoked an author"),
}


def claim_authorship(
    engine: Engine, reader: Reader, key: str, author: str, note: str, now: datetime
) -> int:
    """The id of the reader's word that they are that author of the paper, for moderators to judge.

    Said again after a refusal, it waits again. Raises NotFoundError for a paper that is not here,
    UsageError for a name that it does not have, or where somebody is known to be that author.
    """
    note = one_line(note)
    if not note or len(note) > MAX_NOTE:
        raise UsageError(f"say how one can tell, in at most {MAX_NOTE:,} characters")
    with write(engine) as connection:
        detail = paper_by_key(connection, key)
        if detail is None:
            raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
        if author not in detail.paper.authors:
            raise UsageError(f"the paper names no author '{author[:80]}'; choose one that it names")
        held = authorship_of(connection, detail.paper.id, reader.id)
        if held is not None and held.state in (ASKED, CONFIRMED):
            raise UsageError(f"you have said that you are {held.author}; take that back first")
        _check_free(connection, detail.paper.id, author)
        limits.spend(connection, limits.AUTHORSHIPS, f"{reader.id}", now)
        values = {"author": author, "note": note, "state": ASKED, "asked_at": now}
        fresh = {**values, "decided_at": None, "because": ""}
        return connection.scalars(
            upsert(AuthorshipTable)
            .values(paper_id=detail.paper.id, reader_id=reader.id, **fresh)
            .on_conflict_do_update(index_elements=["paper_id", "reader_id"], set_=fresh)
            .returning(AuthorshipTable.id)
        ).one()


def take_back(engine: Engine, reader: Reader, authorship_id: int) -> Authorship:
    """The reader's own word on a paper, which is gone now, confirmed or not."""
    with write(engine) as connection:
        found = find_authorship(connection, authorship_id)
        if found.reader_id != reader.id:
            raise NotFoundError(f"no authorship {authorship_id} of yours")
        connection.execute(delete(AuthorshipTable).where(AuthorshipTable.id == authorship_id))
        return found


def decide(
    engine: Engine,
    moderator: Reader,
    authorship_id: int,
    state: str,
    because: str,
    now: datetime,
) -> Authorship:
    """The reader's word with what a moderator made of it: confirmed, refused or revoked.

    Raises UsageError without a reason, or where it cannot come to that from where it stands;
    ForbiddenError for a moderator's own.
    """
    because = one_line(because)
    before, act = _DECISIONS[state]
    if not moderator.is_moderator:
        raise ForbiddenError("only moderators decide who an author is")
    if not because or len(because) > MAX_BECAUSE:
        raise UsageError(f"say why, in at most {MAX_BECAUSE} characters; the reader sees it")
    with write(engine) as connection:
        found = find_authorship(connection, authorship_id)
        if found.state not in before:
            raise UsageError(f"it is {found.state}, and cannot be {state}")
        if state == CONFIRMED:
            # An admin could write it into the database anyhow, and a place may have but one.
            if found.reader_id == moderator.id and moderator.role is not Role.ADMIN:
                raise ForbiddenError("another moderator decides on your own")
            _check_free(connection, found.paper_id, found.author)
        connection.execute(
            update(AuthorshipTable)
            .where(AuthorshipTable.id == authorship_id)
            .values(state=state, decided_at=now, because=because)
        )
        on = f"{found.reader} as {found.author} of {found.paper_key}"
        record_act(connection, moderator, act, on, now, because)
        return find_authorship(connection, authorship_id)


# --- reads


def find_authorship(connection: Connection, authorship_id: int) -> Authorship:
    """The one with that id (index: primary). Raises NotFoundError."""
    found = _found(connection, _AUTHORSHIPS.where(AuthorshipTable.id == authorship_id))
    if not found:
        raise NotFoundError(f"no authorship {authorship_id}")
    return found[0]


def authorship_of(connection: Connection, paper_id: PaperId, reader_id: int) -> Authorship | None:
    """What the reader has said of the paper (index: paper_id, reader_id)."""
    this = (AuthorshipTable.paper_id == paper_id) & (AuthorshipTable.reader_id == reader_id)
    found = _found(connection, _AUTHORSHIPS.where(this))
    return found[0] if found else None


def confirmed_on(connection: Connection, paper_id: PaperId) -> list[tuple[str, str]]:
    """The paper's authors who are readers here, with their names here (index: paper_id)."""
    this = (AuthorshipTable.paper_id == paper_id) & (AuthorshipTable.state == CONFIRMED)
    found = _found(connection, _AUTHORSHIPS.where(this))
    return [(each.author, each.reader) for each in found]


def authorships_of(
    connection: Connection, reader_id: int, before: int | None, n: int
) -> list[Authorship]:
    """What a reader has said of papers, the newest first, from before that one (reader_id)."""
    query = _AUTHORSHIPS.where(AuthorshipTable.reader_id == reader_id)
    if before is not None:
        query = query.where(AuthorshipTable.id < before)
    return _found(connection, query.order_by(None).order_by(AuthorshipTable.id.desc()).limit(n))


def authorships_in(
    connection: Connection, state: str, after: int | None, n: int
) -> list[Authorship]:
    """Those in a state, the longest there first, from after that one (index: state)."""
    query = _AUTHORSHIPS.where(AuthorshipTable.state == state)
    if after is not None:
        query = query.where(AuthorshipTable.id > after)
    return _found(connection, query.limit(n))


def latest_confirmed(connection: Connection, n: int) -> list[Authorship]:
    """Those that were confirmed last. Sorts the confirmed, which are few (index: state)."""
    query = _AUTHORSHIPS.where(AuthorshipTable.state == CONFIRMED)
    last = AuthorshipTable.decided_at.desc()
    return _found(connection, query.order_by(None).order_by(last, AuthorshipTable.id).limit(n))


_AUTHORSHIPS = (
    select(
        AuthorshipTable.id,
        AuthorshipTable.paper_id,
        PaperTable.key.label("paper_key"),
        PaperTable.title_text.label("paper_title"),
        AuthorshipTable.reader_id,
        ReaderTable.name.label("reader"),
        AuthorshipTable.author,
        AuthorshipTable.note,
        AuthorshipTable.state,
        AuthorshipTable.asked_at,
        AuthorshipTable.decided_at,
        AuthorshipTable.because,
    )
    .join(PaperTable, PaperTable.id == AuthorshipTable.paper_id)
    .join(ReaderTable, ReaderTable.id == AuthorshipTable.reader_id)
    .order_by(AuthorshipTable.id)
)


def _found(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Authorship]:
    return [Authorship(**row._asdict()) for row in connection.execute(query)]


def _check_free(connection: Connection, paper_id: PaperId, author: str) -> None:
    """Raises UsageError where somebody is known to be that author of the paper."""
    taken = select(func.count()).where(
        AuthorshipTable.paper_id == paper_id,
        AuthorshipTable.author == author,
        AuthorshipTable.state == CONFIRMED,
    )
    if connection.scalar(taken):
        raise UsageError(f"another reader is known to be {author[:80]}; moderators can revoke it")
