"""Records into papers: which paper a record is. What the paper then says is `statements.combined`.

Identity, in this order: the same name in the same source, the same identifier, the same title with
nothing against it, nearly the same abstract. Two different arXiv ids are never one paper, a source
that has names of its own for its papers is trusted to know them apart, and what a person has told
apart stays so.

A name is not trusted against everything else, though: where a source's record has nothing in common
with what the source last said under that name, it is refused, and the paper stays what it is.

Records are merged one after the other; batches exist for speed alone. What is looked up for a whole
batch at once is therefore checked again, when its turn comes, against what the papers are by then.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import zip_longest
from typing import Literal

from sqlalchemy import Connection, func, select

from paperround.catalogue import storing
from paperround.catalogue.identity import (
    DERIVED,
    address_key,
    are_two,
    arxiv_key,
    bands_of,
    could_be_one,
    same_abstract,
    title_key,
)
from paperround.catalogue.queries import FORMER_KEY
from paperround.catalogue.records import PaperRecord, Removed
from paperround.catalogue.statements import Statement, accumulated, said_by
from paperround.catalogue.storing import Known, Pair, Sequences, among, chunks
from paperround.catalogue.tables import AppearanceTable, BandTable, IdentifierTable, PaperTable
from paperround.catalogue.text import plain_text
from paperround.errors import UsageError

# A title ("Editorial") or an abstract ("Proceedings of the ...") that more papers than this have is
# a form: it shows nothing, and comparing them all with each other would take for ever.
_CROWD = 20

Outcome = Literal["added", "updated", "merged", "unchanged", "contradicting"]


class Batch:
    """A batch of records on its way into the catalogue, inside one write transaction.

    What the records may meet is read up front with a few queries; the records are merged in order,
    in memory, so that they meet each other too; `flush` writes what changed.
    """

    def __init__(
        self,
        connection: Connection,
        records: Sequence[PaperRecord],
        now: datetime,
        digests: Sequence[bytes | None] = (),
    ):
        self._connection = connection
        self._records = records
        self._digests = digests or [None] * len(records)
        self._now = now
        self._title_keys = [title_key(record.title) for record in records]
        self._papers: dict[int, Known] = {}
        self._gone: dict[int, Known] = {}
        self._by_appearance: dict[Pair, Known] = {}
        self._by_identifier: dict[Pair, Known] = {}
        self._by_title: dict[str, list[Known]] = defaultdict(list)
        self._by_band: dict[bytes, list[Known]] = defaultdict(list)
        self._bands: dict[int, list[bytes]] = {}
        self._crowded: set[bytes] = set()
        self._forms = self._titles_of_many()
        self._uses_bands = storing.uses_bands(connection)
        self._apart = storing.load_apart(connection)
        self._newly_apart: set[frozenset[int]] = set()
        self._keys = self._taken_keys()
        # The numbers behind an address that are known to be taken: there may be thousands.
        self._numbers: dict[str, int] = {}
        self._sequences = Sequences(connection)
        self._load(self._met_by_name())

    def needs_all_bands(self) -> bool:
        """Whether a record can be told by its abstract alone, against every paper there is."""
        return any("arxiv" not in self._records[i].identifiers for i in self._unmet())

    def merge(self) -> list[Outcome]:
        """What became of each record, in order. Call `flush` afterwards."""
        if self._uses_bands or any("arxiv" not in record.identifiers for record in self._records):
            self._learn_bands(self._unmet())
        return [self._merge_one(i) for i in range(len(self._records))]

    def paper_of(self, i: int) -> Known | None:
        """The paper that a record became part of; None for one that was refused."""
        record = self._records[i]
        return self._by_appearance.get((record.source, record.source_key))

    def flush(self) -> None:
        """Writes what the merging changed."""
        living = list(self._papers.values())
        storing.write_papers(self._connection, living, self._now)
        storing.delete_papers(self._connection, sorted(self._gone))
        storing.write_apart(self._connection, self._newly_apart)
        banded = [(paper.id, paper.bands) for paper in living if paper.bands is not None]
        storing.write_bands(self._connection, banded)
        self._sequences.write()

    # --- which paper a record is

    def _find(self, i: int) -> tuple[Known, str] | None:
        """The paper that a record is, and what shows it."""
        record = self._records[i]
        named = self._by_appearance.get((record.source, record.source_key))
        if named is not None and not named.contradicts(record):
            return named, "name"
        for pair in sorted(record.identifiers.items()):
            identified = self._by_identifier.get(pair)
            if identified is not None and not identified.contradicts(record):
                return identified, "identifier"
        key = self._title_keys[i]
        # The oldest of several that would do, so that the batches' bounds decide nothing.
        for paper in [] if self._is_form(key) else _oldest_first(self._by_title[key]):
            if (
                _has_title(paper, key)
                and self._may_meet(paper, record)
                and _could_be_one(record, paper)
            ):
                return paper, "title"
        bands = self._bands.get(i)
        if not bands:
            return None
        alike = (
            paper
            for band in bands
            if not self._is_crowded(band)
            for paper in self._by_band[band]
            if _has_band(paper, band) and self._may_meet(paper, record)
        )
        abstract = ""
        for paper in _oldest_first(alike):
            abstract = abstract or plain_text(record.abstract)
            if same_abstract(abstract, paper.values["abstract_text"]):
                return paper, "abstract"
        return None

    def _is_form(self, title: str) -> bool:
        """Whether more papers have the title than it could tell apart."""
        papers = self._by_title[title]
        if title not in self._forms and len(papers) > _CROWD:
            living = [p for p in papers if p.id in self._papers and _has_title(p, title)]
            papers[:] = _oldest_first(living)
            if len(papers) > _CROWD:
                self._forms.add(title)
        return title in self._forms

    def _may_meet(self, paper: Known, record: PaperRecord) -> bool:
        if paper.id not in self._papers or paper.contradicts(record):
            return False
        # The record's own source has this paper already, under another name of its own.
        return record.source_key.startswith(DERIVED) or not any(
            source == record.source and not key.startswith(DERIVED)
            for source, key in paper.statements
        )

    def _are_two(self, one: Known, other: Known) -> bool:
        return one.contradicts(other) or frozenset((one.id, other.id)) in self._apart

    # --- what becomes of it

    def _merge_one(self, i: int) -> Outcome:
        record = self._records[i]
        found = self._find(i)
        may_be_alike = self._uses_bands or "arxiv" not in record.identifiers
        if found is None and may_be_alike and i not in self._bands:
            # It was met when the batch began: what it met has become another since.
            self._learn_bands([i])
            found = self._find(i)
        if found is None:
            self._add(i)
            return "added"
        paper, met_by = found
        said = paper.statements.get((record.source, record.source_key))
        if said is not None and are_two(
            (record.title, record.authors, record.abstract),
            (said.values["title"], said.values["authors"], said.values["abstract"]),
        ):
            return "contradicting"
        for pair in sorted(record.identifiers.items()):
            other = self._by_identifier.get(pair)
            if other is not None and other is not paper and not self._are_two(paper, other):
                paper = self._fold(paper, other)
        was_known_here = any(source == record.source for source, _ in paper.statements)
        says_new = self._say(paper, i, met_by)
        is_changed = self._recompute(paper)
        is_named = self._name(paper, record)
        if not was_known_here:
            return "merged"
        return "updated" if is_changed or is_named or says_new else "unchanged"

    def _add(self, i: int) -> None:
        record = self._records[i]
        arxiv = record.identifiers.get("arxiv")
        # Only one paper has an arXiv id, so its address is free.
        key = arxiv_key(arxiv) if arxiv else self._free_key(address_key(record.title))
        paper = Known(self._sequences.next("paper"), {"key": key}, is_new=True, is_touched=True)
        self._papers[paper.id] = paper
        self._keys.add(key)
        self._say(paper, i, "first")
        paper.values.update(paper.combined())
        self._name(paper, record)
        if self._uses_bands:
            self._set_bands(paper, self._bands.get(i))

    def _say(self, paper: Known, i: int, met_by: str) -> bool:
        """Notes what the record says. True where its source is new here, or a result of it."""
        record = self._records[i]
        name = (record.source, record.source_key)
        said = said_by(record)
        statement = paper.statements.get(name)
        if is_new := statement is None:
            former = self._by_appearance.get(name)
            if former is not None:
                del former.statements[name]
                former.is_touched = True
                self._recompute(former)
            statement = Statement(
                *name,
                values=said,
                identifiers=dict(record.identifiers),
                number=self._sequences.next("appearance"),
                title_key=self._title_keys[i],
                met_by=met_by,
                seen_at=self._now,
            )
            paper.statements[name] = statement
            self._by_appearance[name] = paper
        else:
            values = accumulated(statement.values, said)
            identifiers = {**statement.identifiers, **record.identifiers}
            if values != statement.values or identifiers != statement.identifiers:
                statement.values, statement.identifiers = values, identifiers
                statement.number = self._sequences.next("appearance")
                statement.seen_at = self._now
                statement.title_key = self._title_keys[i]
        statement.digest = self._digests[i]
        paper.is_touched = True
        if paper not in (titled := self._by_title[statement.title_key]):
            titled.append(paper)
        return self._report(statement, record) or is_new

    def _report(self, statement: Statement, record: PaperRecord) -> bool:
        if not record.results:
            return False
        before = storing.load_results(self._connection, statement.name) | statement.results
        new = {storing.place_of(result): result for result in record.results}
        statement.results |= new
        return any(before.get(place) != result for place, result in new.items())

    def _recompute(self, paper: Known) -> bool:
        abstract = paper.values["abstract_text"]
        is_changed = paper.recompute()
        if paper.values["abstract_text"] != abstract:
            # Without an arXiv id a paper always has its bands: one with an id may be the same.
            if not self._uses_bands and paper.arxiv is None:
                self._start_using_bands()
            if self._uses_bands:
                self._set_bands(paper)
        return is_changed

    def _name(self, paper: Known, record: PaperRecord) -> bool:
        """Notes which identifiers the paper has now. True when one was new."""
        is_new = False
        for pair in sorted(record.identifiers.items()):
            if pair not in paper.identifiers and pair not in self._by_identifier:
                is_new = True
                paper.identify(pair)
                self._by_identifier[pair] = paper
        if paper.arxiv and paper.values["key"] != arxiv_key(paper.arxiv):
            # Its old address keeps working.
            paper.identify((FORMER_KEY, paper.values["key"]))
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
        one.is_touched = True
        for name, statement in other.statements.items():
            one.statements[name] = statement
            self._by_appearance[name] = one
            if one not in (titled := self._by_title[statement.title_key]):
                titled.append(one)
        for pair in sorted(other.identifiers):
            one.identify(pair)
            self._by_identifier[pair] = one
        one.identify((FORMER_KEY, other.values["key"]))
        for two in [two for two in self._apart if other.id in two]:
            (third,) = two - {other.id}
            self._apart.add(frozenset((one.id, third)))
            self._newly_apart.add(frozenset((one.id, third)))
        del self._papers[other.id]
        self._newly_apart = {pair for pair in self._newly_apart if other.id not in pair}
        if not other.is_new:
            self._gone[other.id] = other
        self._recompute(one)
        return one

    # --- what a person or a source undoes

    def split(self, paper_id: int, name: Pair) -> Known:
        """A paper of its own for what one source says; the two are never merged again."""
        self._load([paper_id])
        paper = self._papers[paper_id]
        statement = paper.statements[name]
        if len(paper.statements) == 1:
            raise UsageError(f"{paper.values['key']} has one source; there is nothing to split")
        del paper.statements[name]
        kept = {pair for s in paper.statements.values() for pair in s.identifiers.items()}
        taken = (set(statement.identifiers.items()) - kept) & paper.identifiers
        new = Known(self._sequences.next("paper"), {}, is_new=True, is_touched=True)
        for pair in sorted(taken):
            self._move(pair, paper, new)
        statement.met_by = "a person"
        new.statements[name] = statement
        paper.is_touched = True
        paper.recompute()
        if self._uses_bands:
            self._set_bands(paper)
        new.values.update(new.combined())
        self._keys |= self._keys_like([address_key(s["title"]) for s in (paper.values, new.values)])
        if new.arxiv:
            key = arxiv_key(new.arxiv)
            if paper.values["key"] == key:
                paper.set({"key": self._former_or_free_key(paper)})
        else:
            key = self._former_or_free_key(paper, address_key(new.values["title"]))
        new.values["key"] = key
        if not new.arxiv and all("arxiv" in s.identifiers for s in paper.statements.values()):
            # What stays has never had an address but its arXiv id: the others were the new one's,
            # under whatever title it had then.
            for pair in sorted(pair for pair in paper.identifiers if pair[0] == FORMER_KEY):
                self._move(pair, paper, new)
        self._papers[new.id] = new
        if self._uses_bands:
            self._set_bands(new)
        self._newly_apart.add(frozenset((paper.id, new.id)))
        return new

    def _move(self, pair: Pair, one: Known, other: Known) -> None:
        one.lose(pair)
        other.identify(pair)
        # It is written anew under the other paper, not deleted.
        one.lost_identifiers.discard(pair)

    def withdraw(self, removed: Sequence[Removed]) -> int:
        """Marks papers that their source has taken back; how many were changed."""
        changed = 0
        for item in removed:
            found = self._connection.scalar(
                select(AppearanceTable.paper_id).where(
                    AppearanceTable.source == item.source,
                    AppearanceTable.source_key == item.source_key,
                )
            )
            if found is None:
                continue
            self._load([found])
            paper = self._papers[found]
            statement = paper.statements[item.source, item.source_key]
            if statement.values["withdrawn"] is True:
                continue
            statement.values["withdrawn"] = True
            statement.number, statement.digest = self._sequences.next("appearance"), None
            statement.seen_at = self._now
            paper.is_touched = True
            changed += self._recompute(paper)
        return changed

    # --- addresses

    def _former_or_free_key(self, paper: Known, wanted: str | None = None) -> str:
        """An address that the paper had before, or a free one of its title's words."""
        formers = sorted(value for scheme, value in paper.identifiers if scheme == FORMER_KEY)
        wanted = wanted or address_key(paper.values["title"])
        for former in formers:
            if former == wanted:
                paper.lose((FORMER_KEY, former))
                return former
        key = self._free_key(wanted)
        self._keys.add(key)
        return key

    def _free_key(self, key: str) -> str:
        """The key, or with a number behind where another paper has it: titles are not unique."""
        number = self._numbers.get(key, 1)
        while (free := key if number == 1 else f"{key}-{number}") in self._keys:
            number += 1
        self._numbers[key] = number
        return free

    def _taken_keys(self) -> set[str]:
        """The addresses, of now and of before, that new papers without an arXiv id may want."""
        return self._keys_like(
            {
                address_key(record.title)
                for record in self._records
                if "arxiv" not in record.identifiers
            }
        )

    def _keys_like(self, addresses: Iterable[str]) -> set[str]:
        """Those that are taken of these addresses, and of these with a number behind.

        Indexes: the unique key of paper, the primary key of identifier.
        """
        former = select(IdentifierTable.value).where(IdentifierTable.scheme == FORMER_KEY)
        taken: set[str] = set()
        for chunk in chunks(sorted(addresses)):
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
            self._start_using_bands()
        if not self._uses_bands:
            return
        found = bands_of([plain_text(self._records[i].abstract) for i in unmet])
        self._bands |= zip(unmet, found, strict=True)
        met: dict[int, list[bytes]] = defaultdict(list)
        for band, keys in enumerate(zip_longest(*found)):
            for chunk in chunks([key for key in keys if key is not None]):
                # Index: the primary key of band, for both.
                here = (BandTable.band == band) & BandTable.key.in_(chunk)
                crowded = select(BandTable.key).where(here).group_by(BandTable.key)
                self._crowded |= set(
                    self._connection.scalars(crowded.having(func.count() > _CROWD))
                )
                sparse = [key for key in chunk if key not in self._crowded]
                statement = select(BandTable.paper_id, BandTable.key).where(
                    BandTable.band == band, BandTable.key.in_(sparse)
                )
                for paper_id, key in self._connection.execute(statement):
                    if paper_id not in self._gone:
                        met[paper_id].append(key)
        self._load(met)
        for paper_id, keys_met in met.items():
            for key in keys_met:
                self._by_band[key].append(self._papers[paper_id])

    def _start_using_bands(self) -> None:
        """From now on every paper has its bands, those of this batch too."""
        if self._uses_bands:
            return
        after: int | None = 0
        while after is not None:
            after = storing.complete_bands(self._connection, after)
        self._uses_bands = True
        for paper in self._papers.values():
            if paper.is_new or "abstract_text" in paper.changed:
                self._set_bands(paper)

    def _is_crowded(self, band: bytes) -> bool:
        """Whether more papers have the band than it could tell apart."""
        papers = self._by_band[band]
        if band not in self._crowded and len(papers) > _CROWD:
            papers[:] = [p for p in papers if p.id in self._papers and _has_band(p, band)]
            if len(papers) > _CROWD:
                self._crowded.add(band)
        return band in self._crowded

    def _set_bands(self, paper: Known, bands: list[bytes] | None = None) -> None:
        paper.bands = bands_of([paper.values["abstract_text"]])[0] if bands is None else bands
        for band in paper.bands:
            self._by_band[band].append(paper)

    # --- reading

    def _met_by_name(self) -> set[int]:
        """The papers that share a source's name, an identifier or a title with a record.

        Indexes: the primary keys of appearance and identifier, ix_appearance_title_key.
        """
        names: dict[str, list[str]] = defaultdict(list)
        identifiers: dict[str, list[str]] = defaultdict(list)
        for record in self._records:
            names[record.source].append(record.source_key)
            for scheme, value in record.identifiers.items():
                identifiers[scheme].append(value)
        lookups = [
            select(AppearanceTable.paper_id).where(
                AppearanceTable.source == source, among(AppearanceTable.source_key, keys)
            )
            for source, keys in names.items()
        ]
        lookups += [
            select(IdentifierTable.paper_id).where(
                IdentifierTable.scheme == scheme, among(IdentifierTable.value, values)
            )
            for scheme, values in identifiers.items()
        ]
        lookups.append(
            select(AppearanceTable.paper_id).where(
                among(AppearanceTable.title_key, sorted({*self._title_keys} - self._forms))
            )
        )
        return {paper_id for lookup in lookups for paper_id in self._connection.scalars(lookup)}

    def _titles_of_many(self) -> set[str]:
        """The records' titles that say nothing. Index: ix_appearance_title_key."""
        statement = (
            select(AppearanceTable.title_key)
            .where(among(AppearanceTable.title_key, self._title_keys))
            .group_by(AppearanceTable.title_key)
            .having(func.count(AppearanceTable.paper_id.distinct()) > _CROWD)
        )
        return set(self._connection.scalars(statement))

    def _load(self, ids: Iterable[int]) -> None:
        """Reads papers that are not here yet; not those that became part of another."""
        loaded = storing.load_papers(
            self._connection, set(ids) - self._papers.keys() - self._gone.keys()
        )
        for paper in loaded.values():
            # What has moved to another paper in this batch is that one's now.
            for name in [name for name in paper.statements if name in self._by_appearance]:
                del paper.statements[name]
            paper.identifiers = {p for p in paper.identifiers if p not in self._by_identifier}
            self._by_appearance |= dict.fromkeys(paper.statements, paper)
            self._by_identifier |= dict.fromkeys(paper.identifiers, paper)
            for statement in paper.statements.values():
                self._by_title[statement.title_key].append(paper)
        self._papers |= loaded


def _has_title(paper: Known, key: str) -> bool:
    return any(statement.title_key == key for statement in paper.statements.values())


def _has_band(paper: Known, band: bytes) -> bool:
    return paper.bands is None or band in paper.bands


def _oldest_first(papers: Iterable[Known]) -> list[Known]:
    papers = tuple(papers)
    if len(papers) < 2:
        return list(papers)
    return sorted({paper.id: paper for paper in papers}.values(), key=lambda paper: paper.id)


def _could_be_one(record: PaperRecord, paper: Known) -> bool:
    values = paper.values
    return could_be_one(
        (record.authors, record.author_count, record.published, record.abstract),
        (values["authors"], values["author_count"], values["published"], values["abstract"]),
    )
