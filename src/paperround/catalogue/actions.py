"""What changes the catalogue: importing records, in batches, one transaction each."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from paperround.catalogue import merging
from paperround.catalogue.identity import (
    abstract_keys,
    address_of,
    is_same_abstract,
    may_share_title,
    title_key,
)
from paperround.catalogue.records import Imported, PaperId, PaperRecord, Rejected
from paperround.catalogue.tables import AppearanceTable, BandTable, IdentifierTable, PaperTable
from paperround.catalogue.text import plain_text
from paperround.clock import utc_now
from paperround.db import Table, read, write
from paperround.log import get_logger

# Large enough that a transaction costs little, small enough that other writers wait briefly.
_BATCH = 500


def import_records(
    engine: Engine,
    items: Iterable[PaperRecord | Rejected],
    *,
    now: Callable[[], datetime] = utc_now,
    on_progress: Callable[[int], None] | None = None,
) -> Imported:
    """What bringing these records into the catalogue did; rejected items are counted, not raised.

    Each batch is one transaction: whoever kills the process loses no batch that was committed and
    leaves no half of one. Importing the same again changes nothing. `on_progress` gets the number
    of items read so far, after each batch.
    """
    started = time.monotonic()
    counts = {"added": 0, "updated": 0, "merged": 0, "unchanged": 0}
    rejections: list[Rejected] = []
    n_read = 0
    for items_of_batch in _batches(items):
        n_read += len(items_of_batch)
        records = [item for item in items_of_batch if isinstance(item, PaperRecord)]
        rejections += [item for item in items_of_batch if isinstance(item, Rejected)]
        # Texts are worked on before the transaction, so that it holds the write lock briefly.
        batch = _Batch(records, now())
        with read(engine) as connection:
            batch.foresee(connection)
        with write(engine) as connection:
            for done in batch.apply(connection):
                counts[done] += 1
        if on_progress is not None:
            on_progress(n_read)
    seconds = time.monotonic() - started
    get_logger().info(
        "import.finished",
        read=n_read,
        rejected=len(rejections),
        seconds=round(seconds, 2),
        **counts,
    )
    return Imported(
        read=n_read,
        added=counts["added"],
        updated=counts["updated"],
        merged=counts["merged"],
        seconds=seconds,
        rejections=tuple(rejections),
    )


class _Batch:
    """The records of one transaction, and what of the catalogue they may meet.

    Everything is settled in memory first and then written, kind by kind.
    """

    def __init__(self, records: Sequence[PaperRecord], now: datetime) -> None:
        self._records, self._now = records, now
        self._title_keys = [title_key(record.title) for record in records]
        # Of the records that look new; made in `foresee`: their columns and their band keys.
        self._new: dict[int, dict[str, Any]] = {}
        self._keys: dict[int, list[bytes]] = {}
        # What the records may meet, in the database and earlier in this batch.
        self._papers: dict[PaperId, dict[str, Any]] = {}
        self._appearances: dict[tuple[str, str], PaperId] = {}
        self._identifiers: dict[tuple[str, str], PaperId] = {}
        self._titles: dict[str, list[PaperId]] = {}
        self._bands: dict[tuple[int, bytes], list[PaperId]] = {}
        # What is to be written.
        self._added: list[PaperId] = []
        self._changes: dict[PaperId, dict[str, Any]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {"appearance": [], "identifier": []}
        self._stale_bands: list[PaperId] = []
        self._next_id = 0

    def foresee(self, connection: Connection) -> None:
        """Does the costly part of an import, the texts, before the write lock is taken."""
        self._load(connection)
        new = [i for i in range(len(self._records)) if self._known(i) is None]
        self._new = {i: merging.new_paper(self._records[i]) for i in new}
        keys = abstract_keys([columns["abstract_text"] for columns in self._new.values()])
        self._keys = dict(zip(new, keys, strict=True))

    def apply(self, connection: Connection) -> list[str]:
        """Writes the records; `added`, `updated`, `merged` or `unchanged` for each."""
        # Again, now with the lock: another process may have written since `foresee`.
        self._load(connection)
        self._load_bands(connection)
        self._next_id = (connection.execute(select(func.max(PaperTable.id))).scalar() or 0) + 1
        done = [self._take(i) for i in range(len(self._records))]
        self._write(connection)
        return done

    def _take(self, i: int) -> str:
        paper_id = self._known(i)
        if paper_id is None:
            paper_id = self._by_abstract(i)
        if paper_id is not None:
            return self._meet(paper_id, self._records[i])
        self._add(i)
        return "added"

    def _load(self, connection: Connection) -> None:
        """Reads all papers that the records may meet by source, identifier or title."""
        records = self._records
        self._appearances = {
            (row.source, row.source_key): row.paper_id
            for row in connection.execute(
                select(AppearanceTable)
                .where(
                    AppearanceTable.source.in_({record.source for record in records}),
                    AppearanceTable.source_key.in_({record.source_key for record in records}),
                )
                .with_only_columns(
                    AppearanceTable.source, AppearanceTable.source_key, AppearanceTable.paper_id
                )
            )
        }
        values = {value for record in records for value in record.identifiers.values()}
        self._identifiers = {
            (row.scheme, row.value): row.paper_id
            for row in connection.execute(
                select(
                    IdentifierTable.scheme, IdentifierTable.value, IdentifierTable.paper_id
                ).where(IdentifierTable.value.in_(values))
            )
        }
        by_title = connection.execute(
            select(PaperTable.id, PaperTable.title_key).where(
                PaperTable.title_key.in_(set(self._title_keys) - {""})
            )
        ).all()
        self._titles = {}
        for row in by_title:
            self._titles.setdefault(row.title_key, []).append(row.id)
        ids = {*self._appearances.values(), *self._identifiers.values()}
        self._papers = {}
        self._load_papers(connection, ids | {row.id for row in by_title})

    def _load_papers(self, connection: Connection, ids: set[PaperId]) -> None:
        missing = ids - self._papers.keys()
        if not missing:
            return
        rows = connection.execute(
            select(*PaperTable.__table__.columns).where(PaperTable.id.in_(missing))
        )
        for row in rows.mappings():
            self._papers[row["id"]] = {**row, "identifiers": {}, "sources": set()}
        identifiers = connection.execute(
            select(IdentifierTable.paper_id, IdentifierTable.scheme, IdentifierTable.value).where(
                IdentifierTable.paper_id.in_(missing)
            )
        )
        for found in identifiers:
            self._papers[found.paper_id]["identifiers"][found.scheme] = found.value
        sources = connection.execute(
            select(AppearanceTable.paper_id, AppearanceTable.source).where(
                AppearanceTable.paper_id.in_(missing)
            )
        )
        for found in sources:
            self._papers[found.paper_id]["sources"].add(found.source)

    def _load_bands(self, connection: Connection) -> None:
        wanted = {key for keys in self._keys.values() for key in keys}
        rows = connection.execute(
            select(BandTable.band, BandTable.key, BandTable.paper_id).where(
                BandTable.key.in_(wanted)
            )
        ).all()
        self._bands = {}
        for row in rows:
            self._bands.setdefault((row.band, row.key), []).append(row.paper_id)
        self._load_papers(connection, {row.paper_id for row in rows})

    def _known(self, i: int) -> PaperId | None:
        """The paper that a record's place in its source, its identifiers or its title settle."""
        record = self._records[i]
        if (paper_id := self._appearances.get((record.source, record.source_key))) is not None:
            return paper_id
        for identifier in record.identifiers.items():
            if (paper_id := self._identifiers.get(identifier)) is not None:
                return paper_id
        for paper_id in self._titles.get(self._title_keys[i], ()):
            paper = self._papers[paper_id]
            if not _disagree(paper, record) and may_share_title(
                self._title_keys[i],
                record.authors,
                record.published or record.listed,
                paper["authors"],
                paper["published"] or paper["listed"],
            ):
                return paper_id
        return None

    def _by_abstract(self, i: int) -> PaperId | None:
        """The paper with a near-equal abstract, where the record has no other claim to be one."""
        record = self._records[i]
        tried: set[PaperId] = set()
        for band, key in enumerate(self._keys.get(i, ())):
            for paper_id in self._bands.get((band, key), ()):
                if paper_id in tried:
                    continue
                tried.add(paper_id)
                paper = self._papers[paper_id]
                # One source names a paper once; what looks alike there are two papers.
                if record.source in paper["sources"] or _disagree(paper, record):
                    continue
                if is_same_abstract(plain_text(record.abstract), paper["abstract_text"]):
                    return paper_id
        return None

    def _add(self, i: int) -> None:
        record = self._records[i]
        paper = self._new.get(i) or merging.new_paper(record)
        paper_id, self._next_id = PaperId(self._next_id), self._next_id + 1
        key = record.identifiers.get("arxiv") or address_of(
            record.title, record.source, record.source_key
        )
        self._papers[paper_id] = {
            **paper,
            "id": paper_id,
            "key": key,
            "added_at": self._now,
            "updated_at": self._now,
            "identifiers": {},
            "sources": set(),
        }
        self._added.append(paper_id)
        self._titles.setdefault(paper["title_key"], []).append(paper_id)
        for place in enumerate(self._keys.get(i, ())):
            self._bands.setdefault(place, []).append(paper_id)
        self._identify(paper_id, record)

    def _meet(self, paper_id: PaperId, record: PaperRecord) -> str:
        """Lets a record change the paper that it is; says what that did."""
        paper = self._papers[paper_id]
        is_new_here = (record.source, record.source_key) not in self._appearances
        changed = merging.changes(paper, record)
        arxiv = record.identifiers.get("arxiv")
        if arxiv is not None and "arxiv" not in paper["identifiers"] and paper["key"] != arxiv:
            # Its old address keeps working.
            self._add_identifier(paper_id, "address", paper["key"])
            changed["key"] = arxiv
        if changed:
            changed["updated_at"] = self._now
            paper |= changed
            self._changes.setdefault(paper_id, {}).update(changed)
            if "abstract_text" in changed:
                self._stale_bands.append(paper_id)
        self._identify(paper_id, record)
        if is_new_here:
            return "merged"
        return "updated" if changed else "unchanged"

    def _identify(self, paper_id: PaperId, record: PaperRecord) -> None:
        """Notes where the paper was found, and its identifiers."""
        place = (record.source, record.source_key)
        if place not in self._appearances:
            self._appearances[place] = paper_id
            self._papers[paper_id]["sources"].add(record.source)
            self._rows["appearance"].append(
                {
                    "source": record.source,
                    "source_key": record.source_key,
                    "paper_id": paper_id,
                    "seen_at": self._now,
                }
            )
        for scheme, value in record.identifiers.items():
            self._add_identifier(paper_id, scheme, value)

    def _add_identifier(self, paper_id: PaperId, scheme: str, value: str) -> None:
        # An identifier that another paper holds stays there: the first source to name it wins.
        if (scheme, value) in self._identifiers:
            return
        self._identifiers[scheme, value] = paper_id
        self._papers[paper_id]["identifiers"][scheme] = value
        self._rows["identifier"].append({"scheme": scheme, "value": value, "paper_id": paper_id})

    def _write(self, connection: Connection) -> None:
        added = set(self._added)
        _insert(
            connection,
            PaperTable,
            [{name: self._papers[i][name] for name in _PAPER_COLUMNS} for i in self._added],
        )
        _insert(connection, AppearanceTable, self._rows["appearance"])
        _insert(connection, IdentifierTable, self._rows["identifier"])
        for paper_id, changed in self._changes.items():
            if paper_id not in added:
                connection.execute(
                    update(PaperTable).where(PaperTable.id == paper_id).values(changed)
                )
        # Band keys follow the abstract; of a paper added in this batch they are known already.
        stale = sorted(set(self._stale_bands))
        connection.execute(delete(BandTable).where(BandTable.paper_id.in_(stale)))
        renewed = abstract_keys([self._papers[paper_id]["abstract_text"] for paper_id in stale])
        bands = [
            (band, key, paper_id)
            for (band, key), paper_ids in self._bands.items()
            for paper_id in paper_ids
            if paper_id in added and paper_id not in self._stale_bands
        ]
        bands += [
            (band, key, paper_id)
            for paper_id, keys in zip(stale, renewed, strict=True)
            for band, key in enumerate(keys)
        ]
        _insert(
            connection,
            BandTable,
            [{"band": band, "key": key, "paper_id": paper_id} for band, key, paper_id in bands],
        )


_PAPER_COLUMNS = tuple(column.name for column in PaperTable.__table__.columns)


def _insert(connection: Connection, table: type[Table], rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _disagree(paper: dict[str, Any], record: PaperRecord) -> bool:
    """Whether both are identified and differ: two arXiv identifiers are always two papers."""
    return any(
        scheme in paper["identifiers"] and paper["identifiers"][scheme] != value
        for scheme, value in record.identifiers.items()
        if scheme in ("arxiv", "doi")
    )


def _batches(items: Iterable[PaperRecord | Rejected]) -> Iterator[list[PaperRecord | Rejected]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH)):
        yield batch
