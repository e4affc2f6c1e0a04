"""The index of words: Tantivy, in a folder of its own beside the database.

The database is the truth and this a copy of what search needs of it. Every paper that is added,
changed or removed gets a number there (`paper_change`), and the index remembers the last number
that it holds, so that it follows by reading what is new. Where it is missing, damaged, of another
database or of another version of this module, it is made anew in another folder, and searches go on
in the old one until the new one takes its place.

A paper's text is one field, its title in it twice, ranked by BM25; the title is a field once more,
for a little more weight. Ranking title and abstract apart and adding the scores does worse, since
a word's rarity in titles says little (benchmarks/search.py).
"""

import hashlib
import json
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import orjson
import tantivy
from filelock import FileLock, Timeout
from sqlalchemy import Connection

from paperround.catalogue.records import PaperId
from paperround.discovery import queries
from paperround.discovery.query_language import MAX_PARTS, WORD, Part, Query
from paperround.log import get_logger

# Grows with every change of the fields below or of what is written into them.
_FORMAT = 2
_ANALYZER = "english"
_NAMES = "names"
# Longer "words" are addresses and formulas.
_LONGEST_WORD = 40
_WRITER_BYTES = 32_000_000
# For a whole index: the larger, the fewer pieces are merged afterwards.
_WHOLE_WRITER_BYTES, _WHOLE_THREADS = 192_000_000, 2
_PAPERS_PER_BATCH = 2_000

# What a word in the title adds, beside the text's own score; chosen on SciFact's training queries
# and the SciRepEval searches (benchmarks/search.py).
TITLE_BOOST = 0.25

IdsOf = Callable[[Part], Collection[PaperId]]


@dataclass(frozen=True)
class _State:
    """What a folder holds: of which database, up to which change, in which form."""

    format: int
    database: int
    number: int


class WordIndex:
    """Search by words over one database; threads may search while one of them brings it up to date.

    Other processes may have the same folder open: one of them writes, all see what it wrote.
    """

    def __init__(self, folder: Path) -> None:
        """Of that folder, which need not exist yet."""
        self._folder = folder
        # Held for moments, by whoever looks which folder is current.
        self._lock = threading.Lock()
        # Held for as long as one thread writes, which may be minutes: searches do not wait for it.
        self._writing = threading.Lock()
        self._opened: _Opened | None = None

    def refresh(self, connection: Connection) -> bool:
        """Whether the index holds all that the database does now.

        It does not when another process or thread is writing it at the moment; what is there is
        searched meanwhile. Costs one look at an index of the database where nothing has changed.
        """
        newest = _State(_FORMAT, *queries.change_state(connection))
        if self._look(newest.database) == newest:
            return True
        with self._writing:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self._folder / "lock", timeout=0):
                    opened = self._current(look_again=True)
                    if opened is not None and not opened.follows(newest):
                        with connection.engine.connect() as now:
                            committed = _State(_FORMAT, *queries.change_state(now))
                        if opened.follows(committed):
                            # Others have written more than this transaction sees.
                            self._opened = opened
                            return True
                    if opened is None or not opened.follows(newest):
                        opened = self._made_anew(connection, newest)
                    else:
                        opened = opened.bring_in(connection, newest)
                    if opened.searcher.num_docs != queries.n_papers(connection):
                        opened = self._made_anew(connection, newest)
                    self._opened = opened
            except Timeout:
                self._look(newest.database, look_again=True)
                return False
            return True

    def lag(self, connection: Connection, at_most: int) -> int:
        """How many papers have changed since what it holds, and at most that many.

        So many, too, where it holds nothing, or what it holds is damaged, gone or of another
        database; what is open is searched until something takes its place.
        """
        database, _ = queries.change_state(connection)
        state = self._look(database)
        return queries.n_changes_since(connection, state.number if state else -1, at_most)

    def _look(self, database: int, look_again: bool = False) -> _State | None:
        """What the folder holds now, which is opened; None where it is nothing of this database."""
        with self._lock:
            current = self._current(look_again)
            if current is not None and current.state.database == database:
                self._opened = current
                return current.state
            if self._opened is not None and self._opened.state.database != database:
                self._opened = None
            return None

    def rebuild(self, connection: Connection) -> None:
        """Makes it anew from the database, whatever state it is in."""
        newest = _State(_FORMAT, *queries.change_state(connection))
        with self._writing:
            self._folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self._folder / "lock"):
                self._opened = self._made_anew(connection, newest)

    def fault(self, connection: Connection) -> str | None:
        """How it differs from the database; None where it does not, or is not made yet.

        One that only lags behind has no fault: the next search brings it up to date.
        """
        if not (self._folder / "current").exists():
            return None
        newest = _State(_FORMAT, *queries.change_state(connection))
        with self._lock:
            opened = self._current(look_again=True)
        if opened is None:
            return "the index of words cannot be read"
        if not opened.follows(newest):
            return "the index of words is of another database"
        late = set(queries.changed_since(connection, opened.state.number))
        expected = {
            row.paper_id: _digest(row)
            for rows in queries.papers_to_index(connection, after=None, batch=_PAPERS_PER_BATCH)
            for row in rows
        }
        there = opened.digests()
        differing = [i for i, d in expected.items() ^ there.items() if i not in late]
        return "the index of words differs from the papers" if differing else None

    @property
    def n_papers(self) -> int:
        """How many papers it holds."""
        return self._opened.searcher.num_docs if self._opened else 0

    def rank(
        self, query: Query, n: int, ids_of: IdsOf | None = None
    ) -> list[tuple[PaperId, float]]:
        """The n papers that answer best, with their BM25; equal ones by lower id.

        A query of filters and excluded words alone gives the newest papers, each with score 1.
        """
        opened = self._opened
        if opened is None or not query:
            return []
        found = opened.question(query, ids_of)
        scored = query.words or query.phrases
        if not scored:
            newest = opened.searcher.search(found, n, count=False, order_by_field="day")
            return [(paper_id, 1.0) for paper_id in opened.ids(newest)]
        best = opened.searcher.search(found, n, count=False)
        scores = [cast(float, score) for score, _ in best.hits]
        ranked = zip(opened.ids(best), scores, strict=True)
        return sorted(ranked, key=lambda hit: (-hit[1], hit[0]))

    def matching(self, query: Query, ids_of: IdsOf | None = None) -> list[PaperId] | None:
        """The papers with all that the query requires, in no order; None where that is nothing."""
        opened = self._opened
        if opened is None or not query.required:
            return None
        found = opened.required(query, ids_of)
        return opened.ids(opened.searcher.search(found, max(1, self.n_papers), count=False))

    def n_matching(self, query: Query, ids_of: IdsOf | None = None) -> int | None:
        """How many papers have all that the query requires; None where that is nothing."""
        opened = self._opened
        if opened is None or not query.required:
            return None
        return _counted(opened.searcher.search(opened.required(query, ids_of), 1))

    def keep(
        self, ids: Sequence[PaperId], query: Query, ids_of: IdsOf | None = None
    ) -> list[PaperId]:
        """Those of the papers that have all that the query requires, in no order."""
        opened = self._opened
        if opened is None or not ids:
            return []
        these = _unscored(tantivy.Query.term_set_query(opened.schema, "id", list(ids)))
        asked = tantivy.Query.boolean_query(
            [
                (tantivy.Occur.Must, these),
                (tantivy.Occur.Must, opened.required(query, ids_of)),
            ]
        )
        return opened.ids(opened.searcher.search(asked, len(ids), count=False))

    def count(self, query: Query, ids_of: IdsOf | None = None) -> int:
        """How many papers have all that the query requires and one of its words."""
        opened = self._opened
        if opened is None or not query:
            return 0
        return _counted(opened.searcher.search(opened.question(query, ids_of), 1))

    def facets(self, ids: Sequence[PaperId]) -> dict[str, list[tuple[str, int]]]:
        """How many of the papers have each year, category, source and thing, the most first."""
        opened = self._opened
        if opened is None or not ids:
            return {}
        among = tantivy.Query.term_set_query(opened.schema, "id", list(ids))
        asked = {
            name: {"terms": {"field": name, "size": 30}}
            for name in ("year", "category", "source", "has")
        }
        answer = opened.searcher.aggregate(among, asked)
        return {
            name: [
                (str(int(bucket["key"])) if name == "year" else bucket["key"], bucket["doc_count"])
                for bucket in answer[name]["buckets"]
            ]
            for name in asked
        }

    def titles(self, beginning: str, n: int) -> list[PaperId]:
        """Papers whose title has these words next to each other, the last one only begun."""
        opened = self._opened
        words = [word.lower() for word in WORD.findall(beginning)]
        if opened is None or not words:
            return []
        fold = opened.names.analyze
        words = [token for word in words for token in fold(word)]
        try:
            asked = (
                tantivy.Query.phrase_prefix_query(opened.schema, "title_words", words)
                if len(words) > 1
                else tantivy.Query.regex_query(opened.schema, "title_words", f"{words[0]}.*")
            )
            return opened.ids(opened.searcher.search(asked, n, count=False))
        except ValueError:
            # A beginning that is no term, such as one of signs alone.
            return []

    def papers_with(self, word: str) -> int:
        """How many papers have the word, in any of its forms."""
        opened = self._opened
        if opened is None:
            return 0
        return max(
            (opened.searcher.doc_freq("text", stem) for stem in opened.stems(word)), default=0
        )

    def stems(self, text: str) -> list[str]:
        """The text's words as the index has them: without case, accents and endings."""
        return _ENGLISH.analyze(text)

    def vocabulary(
        self, at_least: int, field: Literal["text", "title_words"] = "text"
    ) -> dict[str, int]:
        """Every stem that so many papers have, and how many; or so of words of titles, in full."""
        opened = self._opened
        return {} if opened is None else opened.vocabulary(at_least, field)

    def _current(self, look_again: bool = False) -> "_Opened | None":
        """What is open, or what the folder says is current; None where that cannot be opened."""
        name = _name_in(self._folder / "current")
        opened = self._opened
        is_current = opened is not None and opened.folder.name == name and not look_again
        if is_current and opened is not None and _state_of(opened.folder) == opened.state:
            return opened
        if not name:
            return None
        folder = self._folder / name
        state = _state_of(folder)
        if state is None or state.format != _FORMAT:
            return None
        try:
            if opened is not None and opened.folder == folder:
                return opened.again(state)
            return _Opened(folder, state, tantivy.Index.open(str(folder)))
        except (ValueError, OSError) as error:
            get_logger().warning("word_index.damaged", error=str(error))
            return None

    def _made_anew(self, connection: Connection, state: _State) -> "_Opened":
        """A whole new index, in the place of whatever was there."""
        folder = self._folder / f"words-{uuid.uuid4().hex[:12]}"
        folder.mkdir()
        index = tantivy.Index(_SCHEMA, path=str(folder))
        _register(index)
        writer = index.writer(_WHOLE_WRITER_BYTES, _WHOLE_THREADS)
        papers = 0
        for rows in queries.papers_to_index(connection, after=None, batch=_PAPERS_PER_BATCH):
            for row in rows:
                writer.add_document(_document(row))
            papers += len(rows)
        writer.commit()
        writer.wait_merging_threads()
        _write_state(folder, state)
        _replace(self._folder / "current", folder.name)
        for old in self._folder.glob("words-*"):
            if old != folder:
                # Whoever still reads it has its files open.
                shutil.rmtree(old, ignore_errors=True)
        get_logger().info("word_index.made", papers=papers)
        return _Opened(folder, state, tantivy.Index.open(str(folder)))


class _Opened:
    """A folder's index as it was at one moment: what is written later is seen by another of these.

    So a search that began before a change ends on what it began with.
    """

    def __init__(self, folder: Path, state: _State, index: tantivy.Index) -> None:
        """`Index.open` raises ValueError for a damaged one."""
        self.folder = folder
        self.state = state
        self._index = index
        self.schema = self._index.schema
        _register(self._index)
        self.names = _NAMES_ANALYZER
        self.searcher = self._index.searcher()
        self._vocabularies: dict[tuple[int, str], dict[str, int]] = {}

    def follows(self, newest: _State) -> bool:
        """Whether reading what is new brings it up to date: of the same database, and whole."""
        return self.state.database == newest.database and self.state.number <= newest.number

    def bring_in(self, connection: Connection, newest: _State) -> "_Opened":
        """Writes what has changed in the database since, and gives the index as it is then."""
        writer = self._index.writer(_WRITER_BYTES, 1)
        for paper_id in queries.changed_since(connection, self.state.number):
            writer.delete_documents_by_term("id", paper_id)
        for rows in queries.papers_to_index(
            connection, after=self.state.number, batch=_PAPERS_PER_BATCH
        ):
            for row in rows:
                writer.add_document(_document(row))
        writer.commit()
        writer.wait_merging_threads()
        _write_state(self.folder, newest)
        return self.again(newest)

    def again(self, state: _State) -> "_Opened":
        """The same folder with what has been written since."""
        self._index.reload()
        return _Opened(self.folder, state, self._index)

    def ids(self, result: tantivy.SearchResult) -> list[PaperId]:
        """The papers of a result, in its order."""
        addresses = [address for _, address in result.hits]
        return [
            PaperId(cast(int, paper_id))
            for paper_id in self.searcher.fast_field_values("id", addresses)
        ]

    def digests(self) -> dict[PaperId, int]:
        """All papers in it, with the digest of what was indexed of each."""
        n = max(1, self.searcher.num_docs)
        every = self.searcher.search(tantivy.Query.all_query(), n, count=False)
        values = self.searcher.fast_field_values("digest", [address for _, address in every.hits])
        return dict(zip(self.ids(every), [cast(int, value) for value in values], strict=True))

    def vocabulary(self, at_least: int, field: str) -> dict[str, int]:
        """See `WordIndex.vocabulary`; read once for as long as nothing changes."""
        key = at_least, field
        if key not in self._vocabularies:
            terms = self.searcher.terms_with_prefix(field, "")
            self._vocabularies[key] = {term: n for term, n in terms if n >= at_least}
        return self._vocabularies[key]

    def stems(self, text: str) -> list[str]:
        """The stems of the text's words."""
        return list(_ENGLISH.analyze(text))

    def question(self, query: Query, ids_of: IdsOf | None) -> tantivy.Query:
        """What is required must be there; of the words, one at least."""
        clauses = self._required_clauses(query, ids_of)
        if query.words:
            words = [
                (tantivy.Occur.Should, asked) for word in query.words for asked in self._word(word)
            ]
            anchor = tantivy.Occur.Should if query.phrases else tantivy.Occur.Must
            clauses.append((anchor, tantivy.Query.boolean_query(words)))
        return self._all_of(clauses)

    def required(self, query: Query, ids_of: IdsOf | None) -> tantivy.Query:
        """What is required alone."""
        return self._all_of(self._required_clauses(query, ids_of))

    def _all_of(self, clauses: list[tuple[Any, tantivy.Query]]) -> tantivy.Query:
        if not any(occur != tantivy.Occur.MustNot for occur, _ in clauses):
            # Tantivy has no answer to what must not be there alone.
            clauses = [*clauses, (tantivy.Occur.Must, _unscored(tantivy.Query.all_query()))]
        return tantivy.Query.boolean_query(clauses)

    def _required_clauses(
        self, query: Query, ids_of: IdsOf | None
    ) -> list[tuple[Any, tantivy.Query]]:
        clauses: list[tuple[Any, tantivy.Query]] = []
        for phrase in query.phrases:
            clauses.append((tantivy.Occur.Must, self._phrase("text", phrase, self.stems)))
        for excluded in query.excluded:
            clauses.append((tantivy.Occur.MustNot, self._phrase("text", excluded, self.stems)))
        for part in query.filters:
            occur = tantivy.Occur.MustNot if part.is_excluded else tantivy.Occur.Must
            clauses.append((occur, _unscored(self._filter(part, ids_of))))
        return clauses

    def _word(self, word: str) -> Iterable[tantivy.Query]:
        for stem in self.stems(word):
            in_title = tantivy.Query.term_query(self.schema, "title", stem)
            yield tantivy.Query.term_query(self.schema, "text", stem)
            yield tantivy.Query.boost_query(in_title, TITLE_BOOST)
        for name in self.names.analyze(word):
            # An author's name answers as a word does, though less.
            author = tantivy.Query.term_query(self.schema, "author", name)
            yield tantivy.Query.boost_query(author, AUTHOR_BOOST)

    def _phrase(self, field: str, text: str, cut: Callable[[str], Sequence[str]]) -> tantivy.Query:
        words: list[str | tuple[int, str]] = list(cut(text))
        words = words[:MAX_PARTS]
        if not words:
            return tantivy.Query.empty_query()
        if len(words) == 1:
            return tantivy.Query.term_query(self.schema, field, str(words[0]))
        return tantivy.Query.phrase_query(self.schema, field, words)

    def _filter(self, part: Part, ids_of: IdsOf | None) -> tantivy.Query:
        match part.field:
            case "author":
                return self._phrase("author", part.value, self.names.analyze)
            case "org":
                return self._phrase("organisation", part.value, self.names.analyze)
            case "title":
                return self._phrase("title", part.value, self.stems)
            case "cat":
                return tantivy.Query.term_set_query(
                    self.schema, "category_or_archive", [part.value]
                )
            case "source" | "has":
                return tantivy.Query.term_set_query(self.schema, part.field, [part.value])
            case "year":
                first, last = part.years
                return tantivy.Query.range_query(
                    self.schema,
                    "year",
                    tantivy.FieldType.Unsigned,
                    first if first is not None else 0,
                    last if last is not None else 9999,
                )
            case _:
                ids = list(ids_of(part)) if ids_of is not None else []
                if not ids:
                    return tantivy.Query.empty_query()
                return tantivy.Query.term_set_query(self.schema, "id", ids)


# What an author's name adds when it is typed among the words.
AUTHOR_BOOST = 0.5


def _counted(result: tantivy.SearchResult) -> int:
    # The stubs do not know of it.
    return int(getattr(result, "count", 0) or 0)


def _unscored(query: tantivy.Query) -> tantivy.Query:
    return tantivy.Query.const_score_query(query, 0.0)


def _english() -> tantivy.TextAnalyzer:
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )


def _names() -> tantivy.TextAnalyzer:
    return (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.remove_long(_LONGEST_WORD))
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.ascii_fold())
        .build()
    )


_ENGLISH = _english()
_NAMES_ANALYZER = _names()


@lru_cache(maxsize=100_000)
def stem_of(word: str) -> str:
    """A single word as the index has it: without case, accents and ending."""
    return next(iter(_ENGLISH.analyze(word)), "")


def _register(index: tantivy.Index) -> None:
    index.register_tokenizer(_ANALYZER, _ENGLISH)
    index.register_tokenizer(_NAMES, _NAMES_ANALYZER)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("id", indexed=True, fast=True)
    for name in ("text", "title"):
        builder.add_text_field(name, tokenizer_name=_ANALYZER, index_option="position")
    for name in ("title_words", "author", "organisation"):
        builder.add_text_field(name, tokenizer_name=_NAMES, index_option="position")
    for name in ("category", "source", "has"):
        builder.add_text_field(name, tokenizer_name="raw", index_option="basic", fast=True)
    builder.add_text_field("category_or_archive", tokenizer_name="raw", index_option="basic")
    builder.add_unsigned_field("year", indexed=True, fast=True)
    builder.add_unsigned_field("day", fast=True)
    builder.add_unsigned_field("digest", fast=True)
    return builder.build()


_SCHEMA = _schema()


def _document(row: queries.IndexRow) -> tantivy.Document:
    document = tantivy.Document()
    document.add_unsigned("id", row.paper_id)
    document.add_unsigned("digest", _digest(row))
    # As values of their own, so that no phrase goes from one into the next.
    for text in (row.title, row.title, row.abstract):
        if text:
            document.add_text("text", text)
    document.add_text("title", row.title)
    document.add_text("title_words", row.title)
    for author in row.authors:
        document.add_text("author", author)
    if row.organisation:
        document.add_text("organisation", row.organisation)
    for category in dict.fromkeys(row.categories):
        document.add_text("category", category)
    lowered = {category.lower() for category in row.categories}
    for category in sorted(lowered | {category.partition(".")[0] for category in lowered}):
        document.add_text("category_or_archive", category)
    for source in row.sources:
        document.add_text("source", source)
    for thing in row.has:
        document.add_text("has", thing)
    day = row.day or date.min
    document.add_unsigned("day", day.toordinal())
    if row.day is not None:
        document.add_unsigned("year", row.day.year)
    return document


def _digest(row: queries.IndexRow) -> int:
    """Of all that is indexed of a paper, so that a check can tell whether it still is so."""
    said = orjson.dumps(tuple(row))
    # One bit less than there is room for: the reader of columns gives signed numbers.
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest()) >> 1


def _name_in(path: Path) -> str:
    try:
        name = path.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
    return name if name.startswith("words-") and "/" not in name else ""


def _state_of(folder: Path) -> _State | None:
    try:
        return _State(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _write_state(folder: Path, state: _State) -> None:
    _replace(folder / "state.json", json.dumps(asdict(state)))


def _replace(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)
