"""Writes to the catalogue: records come in, in batches that are each one transaction."""

import gc
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

import orjson
from sqlalchemy import Connection, Engine, delete, select
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.catalogue.cleaning import RecordError, cleaned
from paperround.catalogue.merging import Batch
from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import (
    Bookmark,
    Imported,
    Item,
    PaperId,
    PaperRecord,
    Rejected,
    Removed,
)
from paperround.catalogue.storing import among, complete_bands, delete_papers, uses_bands
from paperround.catalogue.tables import AppearanceTable, BookmarkTable
from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import NotFoundError, UsageError
from paperround.log import get_logger

# So many records are one transaction: enough that the disk's confirmation costs little each,
# few enough that other writers wait for less than a second.
BATCH = 1_000
# So many rejections are kept in memory; all are counted, and told to whoever asks.
KEPT_REJECTIONS = 1_000
_CONTRADICTING = (
    "its source has another paper under that name: title, authors and abstract are all different"
)
# Grows when records are cleaned or merged by other rules, so that the next import looks again.
_RULES = b"2"


def import_records(
    engine: Engine,
    items: Iterable[Item],
    *,
    now: Callable[[], datetime] = utc_now,
    on_progress: Callable[[int], None] | None = None,
    on_rejected: Callable[[Rejected], None] | None = None,
) -> Imported:
    """What became of the items of a source. Importing the same again changes nothing.

    `on_progress` hears how many items are done for good: their batch is on the disk, whatever
    happens next. A batch is written whole or not at all, together with the bookmark that ends it.
    `on_rejected` hears of every rejection, in order.
    """
    started = time.monotonic()
    counts: Counter[str] = Counter()
    rejections: list[Rejected] = []
    n_read = n_rejected = 0
    with _seldom_collected():
        for batch in _batches(items):
            outcomes, rejected = _import_batch(engine, batch, now())
            counts += outcomes
            n_read += sum(not isinstance(item, Bookmark) for item in batch)
            n_rejected += len(rejected)
            rejections += rejected[: KEPT_REJECTIONS - len(rejections)]
            for each in rejected if on_rejected is not None else ():
                on_rejected(each)  # type: ignore[misc]
            if on_progress is not None:
                on_progress(n_read)
    done = Imported(
        read=n_read,
        added=counts["added"],
        updated=counts["updated"],
        merged=counts["merged"],
        seconds=time.monotonic() - started,
        rejections=tuple(rejections),
        rejected=n_rejected,
    )
    get_logger().info(
        "import.finished",
        read=done.read,
        added=done.added,
        updated=done.updated,
        merged=done.merged,
        rejected=done.rejected,
        seconds=round(done.seconds, 2),
    )
    return done


def add_missing(engine: Engine, record: PaperRecord, now: datetime) -> tuple[PaperId, bool]:
    """The paper that a record is, and whether it was added for it.

    A paper that is here already stays exactly as it is: what somebody typed is no reason to change
    it. Raises RecordError for a record that no paper can be made of.
    """
    record = cleaned(record)
    _complete_bands(engine, [record], now)
    with write(engine) as connection:
        batch = Batch(connection, [record], now, [None])
        (outcome,) = batch.merge()
        paper = batch.paper_of(0)
        if paper is None:
            raise RecordError(_CONTRADICTING)
        if outcome == "added":
            batch.flush()
        return PaperId(paper.id), outcome == "added"


def remove_paper(connection: Connection, paper_id: PaperId, source: str) -> None:
    """Removes a paper that only this source has, with all that stands under it.

    Raises UsageError where another source has it too.
    """
    others = select(AppearanceTable.source).where(
        AppearanceTable.paper_id == paper_id, AppearanceTable.source != source
    )
    if (other := connection.scalar(others.limit(1))) is not None:
        raise UsageError(f"{other} has this paper too; it can't be taken out")
    delete_papers(connection, [paper_id])


def paper_called(connection: Connection, source: str, source_key: str) -> PaperId | None:
    """The paper that a source calls so (index: primary key of appearance)."""
    found = connection.scalar(
        select(AppearanceTable.paper_id).where(
            AppearanceTable.source == source, AppearanceTable.source_key == source_key
        )
    )
    return None if found is None else PaperId(found)


def split_paper(
    engine: Engine, key: str, source: str, source_key: str, now: Callable[[], datetime] = utc_now
) -> str:
    """The address of the new paper that one source's record of a merged paper has become.

    Both papers say what their own sources say; they are never merged again. Raises NotFoundError
    where there is no such paper or appearance, UsageError where the paper has one source only.
    """
    with write(engine) as connection:
        detail = paper_by_key(connection, key)
        if detail is None:
            raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
        if (source, source_key) not in detail.sources:
            known = ", ".join(f"{source} {name}" for source, name in detail.sources)
            raise NotFoundError(f"{source} {source_key[:80]} is not among its sources: {known}")
        batch = Batch(connection, [], now())
        new = batch.split(detail.paper.id, (source, source_key))
        batch.flush()
        return str(new.values["key"])


def bookmark_of(connection: Connection, source: str, scope: str) -> str | None:
    """Where the last import of this scope stopped without reaching the end (primary key)."""
    return connection.scalar(
        select(BookmarkTable.position).where(
            BookmarkTable.source == source, BookmarkTable.scope == scope
        )
    )


def digest_of(record: PaperRecord) -> bytes:
    """Equal for records that say the same, wherever they stood."""
    said = vars(record).copy()
    del said["place"]
    try:
        packed = orjson.dumps(said)
    # A surrogate, a day before the year 1, a number beyond 64 bits: whatever JSON cannot hold.
    except (TypeError, ValueError):
        packed = repr(said).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(packed, digest_size=16, salt=_RULES).digest()


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """Meanwhile Python looks for garbage in cycles a hundred times less often.

    A batch's hundred thousand objects all live until it ends, and hold no cycles: to look through
    them again and again is a seventh of an import's time.
    """
    usual = gc.get_threshold()
    gc.set_threshold(100 * usual[0], *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _import_batch(
    engine: Engine, batch: Sequence[Item], now: datetime
) -> tuple[Counter[str], list[Rejected]]:
    records, digests, rejected = _sound(engine, batch)
    removed = [item for item in batch if isinstance(item, Removed)]
    bookmarks = [item for item in batch if isinstance(item, Bookmark)]
    if not (records or removed or bookmarks):
        return Counter(), rejected
    _complete_bands(engine, records, now)
    with write(engine) as connection:
        merging = Batch(connection, records, now, digests)
        outcomes = merging.merge()
        counts: Counter[str] = Counter(outcomes)
        rejected += [
            Rejected(_place(record), _CONTRADICTING)
            for record, outcome in zip(records, outcomes, strict=True)
            if outcome == "contradicting"
        ]
        counts["updated"] += merging.withdraw(removed)
        merging.flush()
        for bookmark in bookmarks:
            _store_bookmark(connection, bookmark, now)
    return counts, rejected


def _complete_bands(engine: Engine, records: Sequence[PaperRecord], now: datetime) -> None:
    """Gives all papers their bands where a record without an arXiv id will be held against them.

    In steps of their own, so that nobody else waits while thousands of papers get theirs.
    """
    if all("arxiv" in record.identifiers for record in records):
        return
    with read(engine) as connection:
        needs_all = not uses_bands(connection) and Batch(connection, records, now).needs_all_bands()
    after: int | None = 0 if needs_all else None
    while after is not None:
        with write(engine) as connection:
            after = complete_bands(connection, after)


def _sound(
    engine: Engine, batch: Sequence[Item]
) -> tuple[list[PaperRecord], list[bytes | None], list[Rejected]]:
    """The records that say something new, their digests, and what must be refused, in order."""
    named = [_name(item) if isinstance(item, PaperRecord) else None for item in batch]
    names = Counter(name for name in named if name is not None)
    with read(engine) as connection:
        stored = _stored_digests(connection, list(names))
    records: list[PaperRecord] = []
    digests: list[bytes | None] = []
    rejected: list[Rejected] = []
    for item, name in zip(batch, named, strict=True):
        if isinstance(item, Rejected):
            rejected.append(item)
        if not isinstance(item, PaperRecord) or name is None:
            continue
        digest = digest_of(item)
        # Named twice in one batch, it may say one thing now and another thing then.
        if stored.get(name) == digest and names[name] == 1:
            continue
        try:
            records.append(cleaned(item))
            digests.append(digest)
        except RecordError as error:
            rejected.append(Rejected(_place(item), str(error)))
    return records, digests, rejected


def _place(record: PaperRecord) -> str:
    return (record.place or f"{record.source} {record.source_key}")[:200]


def _name(record: PaperRecord) -> tuple[str, str]:
    key = record.source_key
    if isinstance(key, str) and not key.isalnum():
        key = " ".join(key.split())
    return record.source, key


def _stored_digests(
    connection: Connection, names: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], bytes]:
    """What was last imported under these names (index: primary key)."""
    by_source: dict[str, list[str]] = {}
    for source, key in names:
        by_source.setdefault(source, []).append(key)
    found: dict[tuple[str, str], bytes] = {}
    for source, keys in by_source.items():
        statement = select(AppearanceTable.source_key, AppearanceTable.digest).where(
            AppearanceTable.source == source, among(AppearanceTable.source_key, keys)
        )
        rows = connection.execute(statement)
        found |= {(source, key): digest for key, digest in rows if digest is not None}
    return found


def _store_bookmark(connection: Connection, bookmark: Bookmark, now: datetime) -> None:
    named = (BookmarkTable.source == bookmark.source) & (BookmarkTable.scope == bookmark.scope)
    connection.execute(delete(BookmarkTable).where(named))
    if bookmark.position is not None:
        connection.execute(
            upsert(BookmarkTable).values(
                source=bookmark.source,
                scope=bookmark.scope,
                position=bookmark.position,
                stored_at=now,
            )
        )


def _batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Runs of at most so many items; a bookmark ends one, since all before it is then kept."""
    batch: list[Item] = []
    for item in items:
        batch.append(item)
        if len(batch) >= BATCH or isinstance(item, Bookmark):
            yield batch
            batch = []
    if batch:
        yield batch
