"""Search: by words, by meaning, and by both together.

Words find what is named exactly (a method, an author, a data set); meaning finds what is said in
other words. Together each makes up for the other (`fusion.py`). What the query requires, its
phrases and filters, holds for both. `searching.Searcher` keeps what searches need between them.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from paperround.catalogue.queries import ids_by_key, papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.catalogue.sources.fields import identifiers_in
from paperround.clock import utc_now
from paperround.discovery import queries
from paperround.discovery.duplicates import group_duplicates
from paperround.discovery.embedding import embedded_text
from paperround.discovery.fusion import by_meaning, fuse
from paperround.discovery.highlights import Span, highlights
from paperround.discovery.query_language import WORD, Part, Query, parse, printable
from paperround.discovery.reranking import Reranker, RerankError
from paperround.discovery.spelling import IN_PAPERS, nearest_of
from paperround.discovery.trending import standing_now
from paperround.discovery.vectors import VectorIndex
from paperround.discovery.word_index import WordIndex, stem_of
from paperround.errors import AssetError, UsageError
from paperround.log import get_logger

Mode = Literal["both", "words", "meaning"]
ModeUsed = Literal["both", "words", "meaning", "identifier"]
Order = Literal["relevance", "newest", "votes", "trending"]
Embed = Callable[[str], npt.NDArray[np.float32]]

# How many papers answer a query at most, however many are shown at a time.
MAX_RESULTS = 1000
# Longer than the longest abstract on arXiv, so that one can be pasted whole.
MAX_QUERY_CHARACTERS = 4000

# Of so many papers a list is made; of more it is asked which of the nearest are among them.
LISTED = 20_000
# So many words of a query may be mistyped and still be found.
MAX_SLIPS = 4

# What identifies a paper, as people call it.
_SCHEMES = {"arxiv": "arXiv", "doi": "DOI", "acl": "ACL Anthology", "openreview": "OpenReview"}
# The address of a paper's page, here or on another Paperround.
_PAGE = re.compile(r"(?:https?://[^/\s]+)?/papers/(?P<key>[^\s?#]+)(?:[?#]\S*)?")


@dataclass(frozen=True)
class Indexes:
    """What a search looks into. Without vectors or a model for the query, words alone answer.

    `papers_with` gives the papers that a filter of `runs:` or `verdict:` means, which are known
    outside the catalogue.
    """

    words: WordIndex
    vectors: VectorIndex | None = None
    embed: Embed | None = None
    papers_with: Callable[[Part], Collection[PaperId]] | None = None
    # The keys of the papers that run here, by slug: what was measured counts in trending.
    rooms: Mapping[str, str] = field(default_factory=dict)
    # Whether the indexes lack many papers, and are being brought up to date meanwhile.
    is_late: bool = False
    # The model that ranks the first papers again, where the operator named one.
    reranker: Reranker | None = None


@dataclass(frozen=True)
class Hit:
    """A paper that answers, with what to show of it.

    `score` grows with the rank and compares within one answer only: bm25 for words,
    `fusion.by_meaning` for meaning, the fused sum for both, 1 for a paper that was named by its
    identifier. `versions` are near-duplicates of it that answer too and are not shown in places of
    their own.
    """

    paper: Paper
    score: float
    title: tuple[Span, ...]
    abstract: tuple[Span, ...]
    versions: tuple[Paper, ...] = ()


@dataclass(frozen=True)
class Drop:
    """A part of a query that may be left out, the query without it, and how many that finds."""

    part: str
    query: str
    papers: int


@dataclass(frozen=True)
class Reranked:
    """By which model the first papers were ranked again, how many, and how long it took."""

    model: str
    papers: int
    seconds: float


@dataclass(frozen=True)
class SearchAnswer:
    """Papers, best first; `note` tells in a sentence what a person should know about them.

    `total` counts all that answer, at most MAX_RESULTS, where `hits` are those asked for. `facets`
    count all of them by year, category, source and what they have. `drops` say what to leave out
    of a query that no paper answers. `reranked` is there if a model ranked the first ones again.
    """

    hits: tuple[Hit, ...]
    mode_used: ModeUsed
    note: str | None = None
    total: int = 0
    facets: dict[str, list[tuple[str, int]]] | None = None
    drops: tuple[Drop, ...] = ()
    reranked: Reranked | None = None


@dataclass(frozen=True)
class _Found:
    ranked: list[tuple[PaperId, float]]
    mode_used: Mode
    # What was searched for in the end, and the stems to mark.
    query: Query
    notes: tuple[str, ...]


def search(
    connection: Connection,
    text: str,
    indexes: Indexes,
    *,
    n: int = 20,
    start: int = 0,
    mode: Mode = "both",
    order: Order = "relevance",
    diverse: bool = False,
    facets: bool = False,
    rerank: bool = False,
) -> SearchAnswer:
    """The papers that answer from `start` on, at most n, best first. Any text is a query.

    An arXiv id, a DOI or their address answers with that paper. `diverse` gives near-duplicates one
    place together. `rerank` has the first ranked again by the model of the configuration; where
    that cannot be, the note says why. Raises UsageError for an unknown mode or order, or an n
    outside 1..1000.
    """
    _check(mode, order, n, start)
    notes: list[str] = []
    if len(text) > MAX_QUERY_CHARACTERS:
        text = text[:MAX_QUERY_CHARACTERS]
        notes.append(f"Only the first {MAX_QUERY_CHARACTERS:,} characters were searched for.")
    text = printable(text).strip()
    named = _identified(connection, text)
    if named is not None:
        return named
    wanted = parse(text)
    if not wanted:
        return SearchAnswer((), mode, "There is no word in the query to search for.")
    found = _find(wanted, indexes, mode, notes)
    ranked = found.ranked
    if not ranked:
        drops = _drops(found.query, indexes)
        return SearchAnswer((), found.mode_used, " ".join(found.notes) or None, drops=drops)
    ranked = _in_order(connection, ranked, order, indexes.rooms)
    reranked, said = None, list(found.notes)
    if rerank:
        try:
            ranked, reranked = rank_again(connection, ranked, found.query, order, indexes)
        except RerankError as error:
            said.append(f"Not ranked again: {error}.")
    places = [[paper_id] for paper_id, _ in ranked]
    if diverse and indexes.vectors is not None:
        places = group_duplicates([paper_id for paper_id, _ in ranked], indexes.vectors)
    shown = places[start : start + n]
    return SearchAnswer(
        _hits(connection, shown, dict(ranked), _stems(found.query, indexes.words)),
        found.mode_used,
        " ".join(said) or None,
        total=len(places),
        facets=_facets(indexes, [paper_id for paper_id, _ in ranked]) if facets else None,
        reranked=reranked,
    )


def rank_again(
    connection: Connection,
    ranked: Sequence[tuple[PaperId, float]],
    wanted: Query,
    order: Order,
    indexes: Indexes,
) -> tuple[list[tuple[PaperId, float]], Reranked]:
    """The same papers, the first as the model ranks them, and what that took.

    They share out among themselves the scores that they had, so that scores fall with the rank as
    before. Where the model has a weight below 1, its scores and theirs are summed, each scaled to a
    mean of 0 and a deviation of 1. Raises RerankError.
    """
    if indexes.reranker is None:
        raise RerankError("no model is set up for it; [reranker] folder names one (docs/search.md)")
    if order != "relevance":
        raise RerankError(f"the order is {order}; a model ranks by relevance")
    if not WORD.search(wanted.meaning):
        raise RerankError("filters alone say nothing that a text could answer better or worse")
    begun = time.perf_counter()
    first, rest = list(ranked[: indexes.reranker.first]), ranked[indexes.reranker.first :]
    texts = {
        paper_id: embedded_text(title, abstract)
        for paper_id, title, abstract in queries.texts_of(connection, [i for i, _ in first])
    }
    # A paper that has gone since it was ranked is left out when results are shown.
    told = indexes.reranker.scores(wanted.meaning, [texts.get(i, "") for i, _ in first])
    had = np.array([score for _, score in first])
    weight = indexes.reranker.weight
    sums = weight * _scaled(np.array(told)) + (1 - weight) * _scaled(had)
    places = np.argsort(-sums, kind="stable")
    again = [(first[place][0], score) for place, (_, score) in zip(places, first, strict=True)]
    seconds = time.perf_counter() - begun
    return [*again, *rest], Reranked(indexes.reranker.name, len(first), round(seconds, 2))


def _scaled(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    deviation = scores.std()
    scaled: npt.NDArray[np.float64] = (scores - scores.mean()) / (deviation if deviation else 1.0)
    return scaled


def _facets(indexes: Indexes, ids: list[PaperId]) -> dict[str, list[tuple[str, int]]]:
    found = indexes.words.facets(ids)
    if indexes.papers_with is not None:
        running = set(indexes.papers_with(Part("runs:yes", "yes", "runs")))
        found["runs"] = [("yes", n)] if (n := len(running.intersection(ids))) else []
    return found


def ranking(
    connection: Connection,
    text: str,
    indexes: Indexes,
    mode: Mode = "both",
    *,
    rerank: bool = False,
) -> list[tuple[PaperId, float]]:
    """All papers that answer with their scores, best first: the bare list, for evaluation.

    Raises RerankError where they cannot be ranked again.
    """
    wanted = parse(printable(text[:MAX_QUERY_CHARACTERS]).strip())
    if not wanted:
        return []
    found = _find(wanted, indexes, mode, [])
    if rerank and found.ranked:
        return rank_again(connection, found.ranked, found.query, "relevance", indexes)[0]
    return found.ranked


def answers_among(
    text: str, indexes: Indexes, among: Sequence[PaperId], mode: Mode = "both"
) -> list[PaperId]:
    """Which of these papers answer the query by themselves, best first: for what is told unasked.

    A search ranks all papers, and its last places hold whatever is left. Here a paper answers that
    has all that the query requires and each of its words, or, by meaning, is as near as `NEAR`. A
    query without words of its own, of filters alone, keeps the order of `among`.
    """
    wanted = parse(printable(text[:MAX_QUERY_CHARACTERS]).strip())
    if not wanted or not among:
        return []
    allowed = list(among)
    if wanted.required:
        # Asked about these alone: of all papers, hundreds of thousands may have a category.
        allowed = _kept(among, indexes.words.keep(among, wanted, indexes.papers_with))
    if not wanted.words:
        return allowed
    words = [Part(word, word, is_phrase=True) for word in wanted.words]
    every = Query((*wanted.required, *words))
    by_words = set(indexes.words.keep(allowed, every, indexes.papers_with))
    near: dict[PaperId, float] = {}
    if mode != "words" and allowed:
        vector, reason = _embedded(wanted.meaning, indexes)
        if vector is None or indexes.vectors is None:
            get_logger().warning("search.by_words_alone", reason=reason)
        else:
            near = indexes.vectors.cosines(vector, allowed)
    if mode == "meaning" and near:
        by_words.clear()
    found = by_words | {paper_id for paper_id, cosine in near.items() if cosine >= NEAR}
    places = {paper_id: place for place, paper_id in enumerate(allowed)}
    return sorted(found, key=lambda paper_id: (-near.get(paper_id, 0.0), places[paper_id]))


# How near a paper is whose meaning answers a query. Our own choice: see docs/readers.md.
NEAR = 0.5


def _kept(among: Sequence[PaperId], which: Sequence[PaperId]) -> list[PaperId]:
    chosen = set(which)
    return [paper_id for paper_id in among if paper_id in chosen]


def _find(wanted: Query, indexes: Indexes, mode: Mode, notes: list[str]) -> _Found:
    words, ids_of = indexes.words, indexes.papers_with
    if wanted.cut:
        notes.append("Only the first words were searched for.")
    if indexes.is_late:
        notes.append("Many papers are new: until they are indexed, in a minute, some are missing.")
    n_matching = words.n_matching(wanted, ids_of)
    if n_matching == 0 and wanted.phrases:
        loose = wanted.without_quotes()
        n_matching = words.n_matching(loose, ids_of)
        if n_matching is None or n_matching:
            notes.append("No paper has the words in quotes next to each other; without the quotes:")
            wanted = loose
    if n_matching == 0:
        return _Found([], mode, wanted, tuple(notes))
    wanted = _spelled(wanted, words, notes)
    vector: npt.NDArray[np.float32] | None = None
    if mode != "words" and WORD.search(wanted.meaning):
        vector, reason = _embedded(wanted.meaning, indexes)
        if reason is not None:
            notes.append(reason)
    mode_used: Mode = mode if vector is not None else "words"
    ranked: list[tuple[PaperId, float]] = []
    if mode_used != "meaning":
        ranked = words.rank(wanted, MAX_RESULTS, ids_of)
    if vector is not None and indexes.vectors is not None:
        by_words = dict(ranked)
        near = dict(_near(wanted, indexes, indexes.vectors, vector, n_matching))
        near |= indexes.vectors.cosines(vector, by_words.keys() - near.keys())
        near = by_meaning(near, indexes.vectors.title_cosines(vector, near))
        if mode_used == "both":
            ranked = fuse(by_words, near)[:MAX_RESULTS]
        else:
            ranked = sorted(near.items(), key=lambda hit: (-hit[1], hit[0]))
    return _Found(ranked, mode_used, wanted, tuple(notes))


def _near(
    wanted: Query,
    indexes: Indexes,
    vectors: VectorIndex,
    vector: npt.NDArray[np.float32],
    n_matching: int | None,
) -> list[tuple[PaperId, float]]:
    """The nearest by meaning of the papers that have what the query requires."""
    words, ids_of = indexes.words, indexes.papers_with
    if n_matching is None:
        return vectors.nearest(vector, MAX_RESULTS)
    if n_matching > LISTED:

        def keep(ids: list[PaperId]) -> list[PaperId]:
            return words.keep(ids, wanted, ids_of)

        share = n_matching / max(1, words.n_papers)
        found = vectors.nearest_kept(vector, MAX_RESULTS, keep, share)
        if found:
            return found
    return vectors.nearest(vector, MAX_RESULTS, among=words.matching(wanted, ids_of))


def _check(mode: str, order: str, n: int, start: int) -> None:
    if mode not in get_args(Mode):
        raise UsageError(f"no search mode '{mode}'; there are {', '.join(get_args(Mode))}")
    if order not in get_args(Order):
        raise UsageError(f"no order '{order}'; there are {', '.join(get_args(Order))}")
    if not 1 <= n <= MAX_RESULTS or start < 0:
        raise UsageError(f"{n} results cannot be asked for; ask for 1 to {MAX_RESULTS}")


def _spelled(wanted: Query, words: WordIndex, notes: list[str]) -> Query:
    """The query with words that no paper has replaced by the nearest that some have."""
    unknown = [word for word in wanted.words if not words.papers_with(word)]
    # Each is compared with every word that there is; what has more of them is no slip of the pen.
    for word in unknown[:MAX_SLIPS]:
        (stem, *rest) = words.stems(word) or [""]
        # A slip in an ending leaves no stem that is near; titles have words with their endings.
        whole = (word.lower(), words.vocabulary(IN_PAPERS, "title_words"))
        near = None if rest else nearest_of([whole, (stem, words.vocabulary(IN_PAPERS))])
        if near is not None:
            wanted = wanted.with_word(word, near)
            notes.append(f"No paper has “{word}”; searched for “{near}”.")
    return wanted


def _drops(wanted: Query, indexes: Indexes) -> tuple[Drop, ...]:
    """What a query with no answer could do without, what finds most first."""
    drops = []
    for part in wanted.required:
        rest = wanted.without(part)
        if rest and (papers := indexes.words.count(rest, indexes.papers_with)):
            drops.append(Drop(part.typed, rest.typed, papers))
    return tuple(sorted(drops, key=lambda drop: -drop.papers))


def _in_order(
    connection: Connection,
    ranked: list[tuple[PaperId, float]],
    order: Order,
    rooms: Mapping[str, str],
) -> list[tuple[PaperId, float]]:
    if order == "relevance":
        return ranked
    values = queries.ordered_by(connection, [paper_id for paper_id, _ in ranked])
    scores = standing_now(connection, utc_now(), rooms) if order == "trending" else {}

    def place(hit: tuple[PaperId, float]) -> float:
        day, votes = values[hit[0]]
        if order == "newest":
            return day.toordinal() if day else 0
        return votes if order == "votes" else scores.get(hit[0], 0.0)

    # Equals stay in the order of their relevance.
    return sorted((hit for hit in ranked if hit[0] in values), key=place, reverse=True)


def _identified(connection: Connection, query: str) -> SearchAnswer | None:
    """The answer to a query that is an identifier; None for any other."""
    # A single word, so that a sentence with an identifier in it stays a sentence.
    if not query or re.search(r"\s", query):
        return None
    named = identifiers_in(query)
    page = None if named else _PAGE.fullmatch(query)
    if not named and page is None:
        return None
    if page is not None:
        paper_id = next(iter(ids_by_key(connection, [page["key"]]).values()), None)
    else:
        found = (queries.id_by_identifier(connection, *each) for each in named.items())
        paper_id = next((i for i in found if i is not None), None)
    if paper_id is None:
        scheme, value = next(iter(named.items()), ("", ""))
        what = f"{_SCHEMES[scheme]} {value}" if named else "The paper of that address"
        return SearchAnswer((), "identifier", f"{what} is not in this catalogue.")
    hits = _hits(connection, [[paper_id]], {paper_id: 1.0}, frozenset())
    return SearchAnswer(hits, "identifier", total=len(hits))


def _embedded(query: str, indexes: Indexes) -> tuple[npt.NDArray[np.float32] | None, str | None]:
    """The query's vector, or the reason why there can be no search by meaning."""
    if indexes.vectors is None or len(indexes.vectors) == 0:
        until = "until the papers' embeddings are indexed" if indexes.is_late else ""
        return None, f"Searched by words alone: {until or 'no paper has an embedding yet'}."
    if indexes.embed is None:
        return None, "Searched by words alone: the embedding model is not loaded."
    try:
        return indexes.embed(query), None
    except AssetError as error:
        return None, f"Searched by words alone: {error}."


def _stems(wanted: Query, words: WordIndex) -> frozenset[str]:
    return frozenset(
        stem for text in (*wanted.words, *wanted.phrases) for stem in words.stems(text)
    )


def _hits(
    connection: Connection,
    places: Sequence[Sequence[PaperId]],
    scores: dict[PaperId, float],
    stems: frozenset[str],
) -> tuple[Hit, ...]:
    # A paper may have gone since it was ranked: it is left out here.
    every = papers_by_id(connection, [paper_id for place in places for paper_id in place])
    by_id = {paper.id: paper for paper in every}
    found = [[by_id[i] for i in place if i in by_id] for place in places]
    found = [place for place in found if place]
    shown = highlights([place[0] for place in found], stems, stem_of)
    return tuple(
        Hit(paper, scores[paper.id], lit.title, lit.abstract, tuple(versions))
        for (paper, *versions), lit in zip(found, shown, strict=True)
    )
