"""Records into papers: which paper a record is, and what of it the paper keeps.

Identity, in this order: the same name in the same source, the same identifier, the same title with
nothing against it, nearly the same abstract. Two different arXiv ids are never one paper, and a
source that has names of its own for its papers is trusted to know them apart.

What a paper keeps, per column (`merged_values`):
  title, abstract, authors, dates, facts, links   of the best identified record, the newest among
                                                  equals; an unknown value never replaces a known
  votes, comments                                 the newest known
  listed                                          the earliest known
  code_url                                        else what abstract or comment name
  day, author_count, *_text, title_key            derived from the above
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import zip_longest
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, bindparam, delete, exists, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.catalogue.identity import (
    DERIVED,
    MIN_ABSTRACT,
    address_key,
    arxiv_id,
    arxiv_key,
    bands_of,
    could_be_one,
    same_abstract,
    title_key,
)
from paperround.catalogue.links import github_url
from paperround.catalogue.queries import FORMER_KEY
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.tables import AppearanceTable, BandTable, IdentifierTable, PaperTable
from paperround.catalogue.text import plain_text

Outcome = Literal["added", "updated", "merged", "unchanged"]
Pair = tuple[str, str]

_BEST_IDENTIFIED = (
    "title",
    "abstract",
    "authors",
    "author_count",
    "organisation",
    "published",
    "categories",
    "comment",
    "venue",
    "code_url",
    "project_url",
    "pdf_url",
)
_NEWEST = ("votes", "comments")
_CHUNK = 500
_Item = TypeVar("_Item")


@dataclass(eq=False)
class Known:
    """A paper of the catalogue while records are merged into it; flushed at the batch's end."""

    id: int
    values: dict[str, Any]
    identifiers: set[Pair] = field(default_factory=set)
    appearances: set[Pair] = field(default_factory=set)
    is_new: bool = False
    changed: set[str] = field(default_factory=set)
    new_identifiers: set[Pair] = field(default_factory=set)
    new_appearances: set[Pair] = field(default_factory=set)

    @property
    def arxiv(self) -> str | None:
        """Its arXiv id; a paper has one at most."""
        return next((value for scheme, value in self.identifiers if scheme == "arxiv"), None)

    @property
    def is_identified(self) -> bool:
        """Whether anything but its address identifies it."""
        return any(scheme != FORMER_KEY for scheme, _ in self.identifiers)

    def contradicts(self, record: PaperRecord) -> bool:
        """Whether the record's arXiv id is another one than this paper's."""
        ours, theirs = self.arxiv, record.identifiers.get("arxiv")
        return ours is not None and theirs is not None and ours != theirs

    def is_told_apart(self, record: PaperRecord) -> bool:
        """Whether the record's own source has this paper already, under another name."""
        return not record.source_key.startswith(DERIVED) and any(
            source == record.source and not key.startswith(DERIVED)
            for source, key in self.appearances
        )

    def set(self, values: Mapping[str, Any]) -> bool:
        """Takes over values, and remembers which columns they changed; True when any."""
        changed = {column for column, value in values.items() if self.values[column] != value}
        self.values.update({column: values[column] for column in changed})
        self.changed |= changed
        return bool(changed)


def merged_values(
    paper: Mapping[str, Any], new: Mapping[str, Any], *, wins: bool
) -> dict[str, Any]:
    """The columns of a paper after a record's; `wins` where the record is identified as well.

    Both hold `None`, "" or [] for what is unknown. This is the one place where the rules stand.
    """
    merged = dict(paper)
    for column in _BEST_IDENTIFIED:
        if new[column] and (wins or not paper[column]):
            merged[column] = new[column]
    for column in _NEWEST:
        if new[column] is not None:
            merged[column] = new[column]
    merged["listed"] = min((day for day in (paper["listed"], new["listed"]) if day), default=None)
    return _derived(merged, before=paper)


def new_values(new: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a paper that only this record knows."""
    return _derived({**new, **{column: new[column] or 0 for column in _NEWEST}}, before={})


def _derived(values: dict[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    values["day"] = values["listed"] or values["published"]
    if values["authors"]:
        values["author_count"] = len(values["authors"])
    if values["title"] != before.get("title"):
        values["title_text"] = plain_text(values["title"])
        values["title_key"] = title_key(values["title"])
    if values["abstract"] != before.get("abstract"):
        values["abstract_text"] = plain_text(values["abstract"])
    if not values["code_url"]:
        values["code_url"] = github_url(values["abstract"], values["comment"])
    return values


def columns_of(record: PaperRecord) -> dict[str, Any]:
    """What a record says, by column; an address that the arXiv id gives anyway is left out."""
    derivable = record.pdf_url and arxiv_id(record.pdf_url) == record.identifiers.get("arxiv", "")
    return {
        "title": record.title,
        "abstract": record.abstract,
        "authors": list(record.authors),
        "author_count": len(record.authors) or record.author_count,
        "organisation": record.organisation,
        "published": record.published,
        "listed": record.listed,
        "categories": list(record.categories),
        "comment": record.comment,
        "venue": record.venue,
        "code_url": record.code_url,
        "project_url": record.project_url,
        "pdf_url": None if derivable else record.pdf_url,
        "votes": record.votes,
        "comments": record.comments,
    }


class Batch:
    """A batch of records on its way into the catalogue, inside one write transaction.

    What the records may meet is read up front with a few queries; the records are merged in order,
    in memory, so that they meet each other too; `flush` writes what changed.
    """

    def __init__(self, connection: Connection, records: Sequence[PaperRecord], now: datetime):
        self._connection = connection
        self._records = records
        self._now = now
        self._title_keys = [title_key(record.title) for record in records]
        self._papers: dict[int, Known] = {}
        self._gone: list[Known] = []
        self._by_appearance: dict[Pair, Known] = {}
        self._by_identifier: dict[Pair, Known] = {}
        self._by_title: dict[str, list[Known]] = defaultdict(list)
        self._by_band: dict[bytes, list[Known]] = defaultdict(list)
        self._bands: dict[int, list[bytes]] = {}
        self._uses_bands = bool(connection.scalar(select(exists().select_from(BandTable))))
        self._keys = self._taken_keys()
        self._next_id = (connection.scalar(select(func.max(PaperTable.id))) or 0) + 1
        self._load(self._met_by_name())

    def needs_all_bands(self) -> bool:
        """Whether a record can be told by its abstract alone, against every paper there is."""
        return any("arxiv" not in self._records[i].identifiers for i in self._unmet())

    def merge(self) -> list[Outcome]:
        """What became of each record, in order. Call `flush` afterwards."""
        self._learn_bands(self._unmet())
        return [self._merge_one(i) for i in range(len(self._records))]

    def flush(self) -> None:
        """Writes what the merging changed."""
        living = list(self._papers.values())
        added = [paper for paper in living if paper.is_new]
        if added:
            stamps = {"added_at": self._now, "updated_at": self._now}
            self._connection.execute(
                insert(PaperTable), [{"id": p.id, **p.values, **stamps} for p in added]
            )
        self._update([paper for paper in living if paper.changed and not paper.is_new])
        for table, columns, attribute in (
            (IdentifierTable, ("scheme", "value"), "new_identifiers"),
            (AppearanceTable, ("source", "source_key"), "new_appearances"),
        ):
            rows = [
                {columns[0]: first, columns[1]: second, "paper_id": paper.id}
                for paper in living
                for first, second in sorted(getattr(paper, attribute))
            ]
            if table is AppearanceTable:
                rows = [{**row, "seen_at": self._now} for row in rows]
            if rows:
                # A name can move from one paper to another, when two turn out to be one.
                statement = upsert(table)
                statement = statement.on_conflict_do_update(
                    index_elements=columns, set_={"paper_id": statement.excluded.paper_id}
                )
                self._connection.execute(statement, rows)
        if self._gone:
            gone = [paper.id for paper in self._gone]
            self._connection.execute(delete(PaperTable).where(PaperTable.id.in_(gone)))
        self._flush_bands(living)

    # --- which paper a record is

    def _find(self, i: int) -> Known | None:
        record = self._records[i]
        named = self._by_appearance.get((record.source, record.source_key))
        if named is not None and not named.contradicts(record):
            return named
        for pair in sorted(record.identifiers.items()):
            identified = self._by_identifier.get(pair)
            if identified is not None and not identified.contradicts(record):
                return identified
        # The oldest of several that would do, so that the batches' bounds decide nothing.
        titled = {paper.id: paper for paper in self._by_title.get(self._title_keys[i], ())}
        for _, paper in sorted(titled.items()):
            if self._may_meet(paper, record) and could_be_one(
                (record.authors, record.author_count, record.published, record.abstract),
                (
                    paper.values["authors"],
                    paper.values["author_count"],
                    paper.values["published"],
                    paper.values["abstract"],
                ),
            ):
                return paper
        alike = {
            paper.id: paper
            for key in self._bands.get(i, ())
            for paper in self._by_band.get(key, ())
            if self._may_meet(paper, record)
        }
        abstract = plain_text(record.abstract) if alike else ""
        for _, paper in sorted(alike.items()):
            if same_abstract(abstract, paper.values["abstract_text"]):
                return paper
        return None

    def _may_meet(self, paper: Known, record: PaperRecord) -> bool:
        return (
            paper.id in self._papers
            and not paper.contradicts(record)
            and not paper.is_told_apart(record)
        )

    # --- what becomes of it

    def _merge_one(self, i: int) -> Outcome:
        record = self._records[i]
        paper = self._find(i)
        if paper is None and i not in self._bands:
            # It was met when the batch began: what it met has become another since.
            self._learn_bands([i])
            paper = self._find(i)
        if paper is None:
            self._add(i)
            return "added"
        for pair in record.identifiers.items():
            other = self._by_identifier.get(pair)
            if other is not None and other is not paper and not other.contradicts(record):
                paper = self._fold(paper, other)
        was_known_here = any(source == record.source for source, _ in paper.appearances)
        wins = bool(record.identifiers) or not paper.is_identified
        abstract = paper.values["abstract"]
        is_changed = paper.set(merged_values(paper.values, columns_of(record), wins=wins))
        if paper.values["abstract"] != abstract and (self._uses_bands or paper.arxiv is None):
            # Without an arXiv id a paper always has its bands: one with an id may be the same.
            self._uses_bands = True
            for band in bands_of([paper.values["abstract_text"]])[0]:
                self._by_band[band].append(paper)
        is_named = self._name(paper, record)
        if paper not in (titled := self._by_title[paper.values["title_key"]]):
            titled.append(paper)
        if not was_known_here:
            return "merged"
        return "updated" if is_changed or is_named else "unchanged"

    def _add(self, i: int) -> None:
        record = self._records[i]
        arxiv = record.identifiers.get("arxiv")
        # Only one paper has an arXiv id, so its address is free.
        key = arxiv_key(arxiv) if arxiv else self._free_key(address_key(record.title))
        paper = Known(self._next_id, {"key": key, **new_values(columns_of(record))}, is_new=True)
        self._next_id += 1
        self._papers[paper.id] = paper
        self._keys.add(key)
        self._name(paper, record)
        self._by_title[paper.values["title_key"]].append(paper)
        for band in self._bands.get(i, ()):
            self._by_band[band].append(paper)

    def _name(self, paper: Known, record: PaperRecord) -> bool:
        """Notes under which names the paper is known now. True when one was new."""
        appearance = (record.source, record.source_key)
        is_new = False
        if appearance not in paper.appearances:
            if (former := self._by_appearance.get(appearance)) is not None:
                former.appearances.discard(appearance)
                former.new_appearances.discard(appearance)
            is_new = True
            paper.appearances.add(appearance)
            paper.new_appearances.add(appearance)
            self._by_appearance[appearance] = paper
        for pair in record.identifiers.items():
            if pair not in paper.identifiers and pair not in self._by_identifier:
                is_new = True
                paper.identifiers.add(pair)
                paper.new_identifiers.add(pair)
                self._by_identifier[pair] = paper
        if paper.arxiv and paper.values["key"] != arxiv_key(paper.arxiv):
            # Its old address keeps working.
            self._alias(paper, paper.values["key"])
            paper.set({"key": arxiv_key(paper.arxiv)})
        return is_new

    def _fold(self, one: Known, other: Known) -> Known:
        """The paper that two turn out to be: the better identified, else the older one."""
        if (other.arxiv is not None, other.is_identified, -other.id) > (
            one.arxiv is not None,
            one.is_identified,
            -one.id,
        ):
            one, other = other, one
        wins = not one.is_identified
        one.set(merged_values(one.values, other.values, wins=wins))
        for pair in other.appearances:
            one.appearances.add(pair)
            one.new_appearances.add(pair)
            self._by_appearance[pair] = one
        for pair in other.identifiers:
            one.identifiers.add(pair)
            one.new_identifiers.add(pair)
            self._by_identifier[pair] = one
        self._alias(one, other.values["key"])
        del self._papers[other.id]
        if not other.is_new:
            self._gone.append(other)
        return one

    def _alias(self, paper: Known, key: str) -> None:
        pair = (FORMER_KEY, key)
        paper.identifiers.add(pair)
        paper.new_identifiers.add(pair)

    def _free_key(self, key: str) -> str:
        """The key, or with a number behind where another paper has it: titles are not unique."""
        number, free = 1, key
        while free in self._keys:
            number += 1
            free = f"{key}-{number}"
        return free

    def _taken_keys(self) -> set[str]:
        """The addresses, of now and of before, that new papers without an arXiv id may want.

        Indexes: the unique key of paper, the primary key of identifier.
        """
        wanted = sorted(
            {
                address_key(record.title)
                for record in self._records
                if "arxiv" not in record.identifiers
            }
        )
        former = select(IdentifierTable.value).where(IdentifierTable.scheme == FORMER_KEY)
        taken: set[str] = set()
        for chunk in _chunks(wanted):
            taken |= set(
                self._connection.scalars(
                    select(PaperTable.key)
                    .where(PaperTable.key.in_(chunk))
                    .union(former.where(IdentifierTable.value.in_(chunk)))
                )
            )
        for key in sorted(taken):
            # A number behind it is how the next papers of that title have it.
            among = (f"{key}-", f"{key}.")
            taken |= set(
                self._connection.scalars(
                    select(PaperTable.key)
                    .where(PaperTable.key.between(*among))
                    .union(former.where(IdentifierTable.value.between(*among)))
                )
            )
        return taken

    # --- near-duplicate abstracts

    def _unmet(self) -> list[int]:
        return [i for i in range(len(self._records)) if self._find(i) is None]

    def _learn_bands(self, unmet: Sequence[int]) -> None:
        """Computes the bands of records that nothing else identifies, and loads what they meet.

        Signatures cost more than all the rest. A record with an arXiv id can only be a paper that
        has none, and such papers always have their bands here; so while there are no bands at
        all, arXiv's records need none. The first record without an id brings in everybody's.
        """
        if any("arxiv" not in self._records[i].identifiers for i in unmet):
            after: int | None = 0
            while after is not None:
                after = complete_bands(self._connection, after)
            self._uses_bands = True
        if not self._uses_bands:
            return
        found = bands_of([plain_text(self._records[i].abstract) for i in unmet])
        self._bands |= zip(unmet, found, strict=True)
        met: dict[int, list[bytes]] = defaultdict(list)
        for band, keys in enumerate(zip_longest(*found)):
            for chunk in _chunks([key for key in keys if key is not None]):
                # Index: the primary key of band.
                statement = select(BandTable.paper_id, BandTable.key).where(
                    BandTable.band == band, BandTable.key.in_(chunk)
                )
                for paper_id, key in self._connection.execute(statement):
                    met[paper_id].append(key)
        self._load(met)
        for paper_id, keys_met in met.items():
            for key in keys_met:
                self._by_band[key].append(self._papers[paper_id])

    def _flush_bands(self, living: Sequence[Known]) -> None:
        if not self._uses_bands:
            return
        changed = [p for p in living if p.is_new or "abstract_text" in p.changed]
        old = [paper.id for paper in changed if not paper.is_new]
        if old:
            self._connection.execute(delete(BandTable).where(BandTable.paper_id.in_(old)))
        _write_bands(
            self._connection, [(paper.id, paper.values["abstract_text"]) for paper in changed]
        )

    # --- reading and writing

    def _met_by_name(self) -> set[int]:
        """The papers that share a source's name, an identifier or a title with a record.

        Indexes: the primary keys of appearance and identifier, ix_paper_title_key.
        """
        names: dict[str, list[str]] = defaultdict(list)
        identifiers: dict[str, list[str]] = defaultdict(list)
        for record in self._records:
            names[record.source].append(record.source_key)
            for scheme, value in record.identifiers.items():
                identifiers[scheme].append(value)
        lookups = [
            select(AppearanceTable.paper_id).where(
                AppearanceTable.source == source, AppearanceTable.source_key.in_(chunk)
            )
            for source, keys in names.items()
            for chunk in _chunks(keys)
        ]
        lookups += [
            select(IdentifierTable.paper_id).where(
                IdentifierTable.scheme == scheme, IdentifierTable.value.in_(chunk)
            )
            for scheme, values in identifiers.items()
            for chunk in _chunks(values)
        ]
        lookups += [
            select(PaperTable.id).where(PaperTable.title_key.in_(chunk))
            for chunk in _chunks(self._title_keys)
        ]
        return {paper_id for lookup in lookups for paper_id in self._connection.scalars(lookup)}

    def _load(self, ids: Iterable[int]) -> None:
        """Reads papers with all their names (indexes: primary key, paper_id)."""
        wanted = sorted(set(ids) - self._papers.keys())
        columns = [
            column
            for column in PaperTable.__table__.columns
            if column.key not in ("added_at", "updated_at")
        ]
        loaded: dict[int, Known] = {}
        for chunk in _chunks(wanted):
            for row in self._connection.execute(select(*columns).where(PaperTable.id.in_(chunk))):
                values = dict(row._mapping)
                loaded[row.id] = Known(values.pop("id"), values)
            for table, first, second, attribute in (
                (IdentifierTable, "scheme", "value", "identifiers"),
                (AppearanceTable, "source", "source_key", "appearances"),
            ):
                statement = select(
                    table.paper_id, getattr(table, first), getattr(table, second)
                ).where(table.paper_id.in_(chunk))
                for paper_id, *pair in self._connection.execute(statement):
                    getattr(loaded[paper_id], attribute).add(tuple(pair))
        self._papers |= loaded
        for paper in loaded.values():
            self._by_appearance |= dict.fromkeys(paper.appearances, paper)
            self._by_identifier |= dict.fromkeys(paper.identifiers, paper)
            self._by_title[paper.values["title_key"]].append(paper)

    def _update(self, papers: Sequence[Known]) -> None:
        """Writes the changed columns alone: the word index follows only where words changed."""
        groups: dict[tuple[str, ...], list[Known]] = defaultdict(list)
        for paper in papers:
            groups[tuple(sorted(paper.changed))].append(paper)
        for columns, group in groups.items():
            statement = (
                update(PaperTable)
                .where(PaperTable.id == bindparam("paper_id"))
                .values({column: bindparam(f"new_{column}") for column in columns})
                .values(updated_at=bindparam("new_updated_at"))
            )
            rows = [
                {
                    "paper_id": paper.id,
                    "new_updated_at": self._now,
                    **{f"new_{column}": paper.values[column] for column in columns},
                }
                for paper in group
            ]
            self._connection.execute(statement, rows)


def complete_bands(connection: Connection, after: int, limit: int = _CHUNK) -> int | None:
    """Gives bands to papers that lack them, at most `limit`; None when none is left.

    Returns the id to go on after. Index: ix_band_paper_id.
    """
    statement = (
        select(PaperTable.id, PaperTable.abstract_text)
        .where(
            PaperTable.id > after,
            func.length(PaperTable.abstract_text) >= MIN_ABSTRACT,
            ~exists().where(BandTable.paper_id == PaperTable.id),
        )
        .order_by(PaperTable.id)
        .limit(limit)
    )
    rows = [(paper_id, abstract) for paper_id, abstract in connection.execute(statement)]
    _write_bands(connection, rows)
    return rows[-1][0] if rows else None


def _write_bands(connection: Connection, papers: Sequence[tuple[int, str]]) -> None:
    found = bands_of([abstract for _, abstract in papers])
    rows = [
        {"band": band, "key": key, "paper_id": paper_id}
        for (paper_id, _), keys in zip(papers, found, strict=True)
        for band, key in enumerate(keys)
    ]
    if rows:
        connection.execute(upsert(BandTable).on_conflict_do_nothing(), rows)


def _chunks(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]
