"""Collections: papers that a reader keeps together, in an order of their own, with notes.

A collection is its owner's alone, or for whoever has its address, or listed for all. Its address
is random: one that is not public cannot be found by counting.
"""

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Select, delete, func, insert, select, update

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import PaperId
from paperround.db import write
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers import limits
from paperround.readers.acts import record_act
from paperround.readers.comments import is_text, one_line
from paperround.readers.records import Collected, Collection, Reader, Visibility
from paperround.readers.tables import CollectionPaperTable, CollectionTable, ReaderTable

MAX_COLLECTIONS = 100
MAX_PAPERS = 1_000
MAX_NAME = 120
MAX_ABOUT = 2_000
MAX_NOTE = 2_000

# --- reads


def find_collection(connection: Connection, key: str, reader: Reader | None) -> Collection:
    """The collection with that key, where this reader may see it (index: key).

    Raises NotFoundError, the same for one that is not there and for one that is another's alone.
    """
    found = _found(connection, _COLLECTIONS.where(CollectionTable.key == key))
    if not found or not may_see(found[0], reader):
        raise NotFoundError("there is no such collection, or it is somebody's own")
    return found[0]


def own_collection(connection: Connection, key: str, reader: Reader) -> Collection:
    """The reader's own collection. Raises NotFoundError, ForbiddenError for another's."""
    collection = find_collection(connection, key, reader)
    if collection.reader_id != reader.id:
        raise ForbiddenError("this collection is somebody else's")
    return collection


def collection_of(connection: Connection, key: str, reader_id: int) -> Collection | None:
    """The collection with that key where it is this reader's, None otherwise (index: key)."""
    mine = (CollectionTable.key == key) & (CollectionTable.reader_id == reader_id)
    found = _found(connection, _COLLECTIONS.where(mine))
    return found[0] if found else None


def may_see(collection: Collection, reader: Reader | None) -> bool:
    """Whether the reader may see it, given that they have its address."""
    is_own = reader is not None and reader.id == collection.reader_id
    return is_own or collection.visibility is not Visibility.PRIVATE


def collections_of(
    connection: Connection, reader_id: int, before: int | None = None, n: int = MAX_COLLECTIONS
) -> list[Collection]:
    """A reader's collections, the newest first, from before that one (index: reader_id)."""
    query = _COLLECTIONS.where(CollectionTable.reader_id == reader_id)
    if before is not None:
        query = query.where(CollectionTable.id < before)
    return _found(connection, query.order_by(CollectionTable.id.desc()).limit(n))


def public_collections(
    connection: Connection, after: tuple[datetime, int] | None, n: int
) -> list[Collection]:
    """Public collections that hold papers, the last changed first (index: visibility)."""
    table = CollectionTable
    query = _COLLECTIONS.where(
        table.visibility == Visibility.PUBLIC.value,
        select(CollectionPaperTable.at)
        .where(CollectionPaperTable.collection_id == table.id)
        .exists(),
    )
    if after is not None:
        at, number = after
        earlier = (table.changed_at < at) | ((table.changed_at == at) & (table.id < number))
        query = query.where(earlier)
    return _found(connection, query.order_by(table.changed_at.desc(), table.id.desc()).limit(n))


def papers_in(
    connection: Connection, collection_id: int, after: int | None = None, n: int = MAX_PAPERS
) -> list[Collected]:
    """A collection's papers in their order, from after that position (index: position)."""
    table = CollectionPaperTable
    query = select(table.paper_id, table.position, table.note, table.at).where(
        table.collection_id == collection_id
    )
    if after is not None:
        query = query.where(table.position > after)
    return _collected(connection, query.order_by(table.position, table.paper_id).limit(n))


def latest_in(connection: Connection, collection_id: int, n: int) -> list[Collected]:
    """The papers that came into a collection last. Sorts its rows, which are a thousand at most."""
    table = CollectionPaperTable
    query = select(table.paper_id, table.position, table.note, table.at).where(
        table.collection_id == collection_id
    )
    return _collected(connection, query.order_by(table.at.desc(), table.paper_id.desc()).limit(n))


def collections_with(connection: Connection, reader_id: int, paper_id: PaperId) -> set[int]:
    """Those of a reader's collections that hold the paper (index: paper_id)."""
    table = CollectionPaperTable
    found = connection.scalars(
        select(table.collection_id)
        .join(CollectionTable, CollectionTable.id == table.collection_id)
        .where(table.paper_id == paper_id, CollectionTable.reader_id == reader_id)
    )
    return set(found)


# --- writes


def add_collection(
    engine: Engine,
    reader: Reader,
    name: str,
    now: datetime,
    *,
    about: str = "",
    visibility: Visibility = Visibility.PRIVATE,
) -> Collection:
    """A new collection without papers. Raises UsageError where the reader has too many."""
    name, about = _checked_name(name), _checked_about(about)
    key = secrets.token_urlsafe(12)
    with write(engine) as connection:
        held = select(func.count()).where(CollectionTable.reader_id == reader.id)
        if (connection.scalar(held) or 0) >= MAX_COLLECTIONS:
            raise UsageError(f"you have {MAX_COLLECTIONS} collections; delete one first")
        limits.spend(connection, limits.COLLECTING, f"{reader.id}", now)
        connection.execute(
            insert(CollectionTable).values(
                key=key,
                reader_id=reader.id,
                name=name,
                about=about,
                visibility=visibility.value,
                created_at=now,
                changed_at=now,
            )
        )
        return find_collection(connection, key, reader)


def change_collection(
    engine: Engine,
    reader: Reader,
    key: str,
    now: datetime,
    *,
    name: str | None = None,
    about: str | None = None,
    visibility: Visibility | None = None,
) -> Collection:
    """The reader's collection with what is given changed."""
    values: dict[str, object] = {"changed_at": now}
    if name is not None:
        values["name"] = _checked_name(name)
    if about is not None:
        values["about"] = _checked_about(about)
    if visibility is not None:
        values["visibility"] = visibility.value
    with write(engine) as connection:
        collection = own_collection(connection, key, reader)
        limits.spend(connection, limits.COLLECTING, f"{reader.id}", now)
        connection.execute(
            update(CollectionTable).where(CollectionTable.id == collection.id).values(values)
        )
        return find_collection(connection, key, reader)


def delete_collection(engine: Engine, reader: Reader, key: str) -> None:
    """Removes the reader's collection; the papers stay in the catalogue."""
    with write(engine) as connection:
        collection = own_collection(connection, key, reader)
        connection.execute(delete(CollectionTable).where(CollectionTable.id == collection.id))


def put_paper(
    engine: Engine,
    reader: Reader,
    key: str,
    paper_id: PaperId,
    now: datetime,
    *,
    note: str | None = None,
    place: int | None = None,
) -> bool:
    """Whether the paper is new in the reader's collection.

    It stands at that place, counted from 1, or at the end; one that is there already stays where
    it is unless a place is given, and keeps its note unless one is. Raises UsageError for a full
    collection, or a note that is too long.
    """
    if note is not None:
        note = _checked_text(note, "a note", MAX_NOTE)
    with write(engine) as connection:
        collection = own_collection(connection, key, reader)
        limits.spend(connection, limits.COLLECTING, f"{reader.id}", now)
        return put_in(connection, collection, paper_id, now, note=note, place=place)


def put_in(
    connection: Connection,
    collection: Collection,
    paper_id: PaperId,
    now: datetime,
    *,
    note: str | None = None,
    place: int | None = None,
) -> bool:
    """The same inside a transaction, for a collection that is known to be the asker's."""
    table = CollectionPaperTable
    order = list(
        connection.scalars(
            select(table.paper_id)
            .where(table.collection_id == collection.id)
            .order_by(table.position, table.paper_id)
        )
    )
    this = (table.collection_id == collection.id) & (table.paper_id == paper_id)
    is_new = paper_id not in order
    if is_new:
        if len(order) >= MAX_PAPERS:
            raise UsageError(f"a collection has at most {MAX_PAPERS:,} papers")
        last = select(func.max(table.position)).where(table.collection_id == collection.id)
        connection.execute(
            insert(table).values(
                collection_id=collection.id,
                paper_id=paper_id,
                position=(connection.scalar(last) or 0) + 1,
                note=note or "",
                at=now,
            )
        )
        order.append(paper_id)
    elif note is not None:
        connection.execute(update(table).where(this).values(note=note))
    if place is not None:
        order.remove(paper_id)
        order.insert(max(0, place - 1), paper_id)
        for position, each in enumerate(order, start=1):
            connection.execute(
                update(table)
                .where(table.collection_id == collection.id, table.paper_id == each)
                .values(position=position)
            )
    _touch(connection, collection, now)
    return is_new


def take_out(engine: Engine, reader: Reader, key: str, paper_id: PaperId, now: datetime) -> bool:
    """Whether the paper was in the reader's collection, where it is no more."""
    table = CollectionPaperTable
    with write(engine) as connection:
        collection = own_collection(connection, key, reader)
        done = connection.execute(
            delete(table).where(table.collection_id == collection.id, table.paper_id == paper_id)
        )
        if done.rowcount:
            _touch(connection, collection, now)
        return done.rowcount > 0


def hide_collection(
    engine: Engine, moderator: Reader, key: str, because: str, now: datetime
) -> Collection:
    """Makes somebody's collection their own alone, with the reason in the moderators' log."""
    because = one_line(because)
    if not moderator.is_moderator:
        raise ForbiddenError("only moderators do that")
    if not because or len(because) > 500:
        raise UsageError("say why, in at most 500 characters")
    with write(engine) as connection:
        collection = find_collection(connection, key, moderator)
        connection.execute(
            update(CollectionTable)
            .where(CollectionTable.id == collection.id)
            .values(visibility=Visibility.PRIVATE.value)
        )
        on = f"collection {collection.key} of {collection.owner}"
        record_act(connection, moderator, "made private", on, now, because)
        return collection


_COLLECTIONS = select(
    CollectionTable.id,
    CollectionTable.key,
    CollectionTable.reader_id,
    ReaderTable.name.label("owner"),
    CollectionTable.name,
    CollectionTable.about,
    CollectionTable.visibility,
    CollectionTable.created_at,
    CollectionTable.changed_at,
    select(func.count())
    .where(CollectionPaperTable.collection_id == CollectionTable.id)
    .correlate(CollectionTable)
    .scalar_subquery()
    .label("n_papers"),
).join(ReaderTable, ReaderTable.id == CollectionTable.reader_id)


def _collected(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Collected]:
    rows = connection.execute(query).all()
    papers = papers_by_id(connection, [PaperId(row.paper_id) for row in rows])
    return [
        Collected(paper, row.position, row.note, row.at)
        for paper, row in zip(papers, rows, strict=True)
    ]


def _found(connection: Connection, query: Select[*tuple[Any, ...]]) -> list[Collection]:
    rows: Sequence[Any] = connection.execute(query).all()
    return [
        Collection(**{**row._asdict(), "visibility": Visibility(row.visibility)}) for row in rows
    ]


def _touch(connection: Connection, collection: Collection, now: datetime) -> None:
    connection.execute(
        update(CollectionTable).where(CollectionTable.id == collection.id).values(changed_at=now)
    )


def _checked_name(name: str) -> str:
    name = " ".join(_checked_text(name, "a collection's name", 10 * MAX_NAME).split())
    if not 1 <= len(name) <= MAX_NAME:
        raise UsageError(f"give the collection a name of at most {MAX_NAME} characters")
    return name


def _checked_about(about: str) -> str:
    return _checked_text(about, "what a collection is about", MAX_ABOUT)


def _checked_text(text: str, what: str, most: int) -> str:
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = "".join(c for c in text if c in "\n\t" or is_text(c)).strip()
    if len(text) > most:
        raise UsageError(f"{what} has at most {most:,} characters; this has {len(text):,}")
    return text
