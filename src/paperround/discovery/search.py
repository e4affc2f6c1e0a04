"""Search: by words, by meaning, and by both together.

Words find what is named exactly (a method, an author, a data set); meaning finds what is said in
other words. Together each makes up for the other: their rankings are fused by rank, since their
scores do not compare. `searching.Searcher` keeps what searches need between them.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.discovery import queries, words
from paperround.discovery.fusion import reciprocal_rank_fusion
from paperround.discovery.highlights import Span, highlights
from paperround.discovery.vectors import VectorIndex
from paperround.errors import AssetError, UsageError

Mode = Literal["both", "words", "meaning"]
ModeUsed = Literal["both", "words", "meaning", "identifier"]
Embed = Callable[[str], npt.NDArray[np.float32]]

MAX_RESULTS = 1000
# Longer than the longest abstract on arXiv, so that one can be pasted whole.
MAX_QUERY_CHARACTERS = 4000

# Meaning counts as much as words: other weights brought nothing, see benchmarks/search.py. How deep
# each ranking is read is our choice.
MEANING_WEIGHT = 1.0
FUSION_DEPTH = 200

_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:)?(10\.\d{4,9}/\S+)", re.IGNORECASE)


@dataclass(frozen=True)
class Hit:
    """A paper that answers, with what to show of it.

    `score` grows with the rank and compares within one answer only: bm25 for words, the cosine for
    meaning, the fused sum for both, 1 for a paper that was named by its identifier.
    """

    paper: Paper
    score: float
    title: tuple[Span, ...]
    abstract: tuple[Span, ...]


@dataclass(frozen=True)
class SearchAnswer:
    """Papers, best first; `note` tells in a sentence what a person should know about them."""

    hits: tuple[Hit, ...]
    mode_used: ModeUsed
    note: str | None = None


def search(
    connection: Connection,
    query: str,
    *,
    n: int = 20,
    mode: Mode = "both",
    vectors: VectorIndex | None,
    embed: Embed | None,
) -> SearchAnswer:
    """At most n papers that answer the query, best first. Any text is a query.

    An arXiv id, a DOI or their address answers with that paper. Phrases "in quotes" must occur.
    Without vectors or a model to embed the query, words alone answer, and the note says so.
    Raises UsageError for an unknown mode or an n outside 1..1000.
    """
    if mode not in get_args(Mode):
        raise UsageError(f"no search mode '{mode}'; there are {', '.join(get_args(Mode))}")
    if not 1 <= n <= MAX_RESULTS:
        raise UsageError(f"{n} results cannot be asked for; ask for 1 to {MAX_RESULTS}")
    notes: list[str] = []
    if len(query) > MAX_QUERY_CHARACTERS:
        query = query[:MAX_QUERY_CHARACTERS]
        notes.append(f"Only the first {MAX_QUERY_CHARACTERS:,} characters were searched for.")
    query = words.printable(query).strip()
    named = _identified(connection, query)
    if named is not None:
        return named
    wanted = words.parse(query)
    if not wanted:
        return SearchAnswer((), mode, "There is no word in the query to search for.")
    among = None
    if wanted.phrases:
        among = queries.ids_matching(connection, words.phrases_expression(wanted))
        if not among:
            notes.append("No paper has the words in quotes next to each other; without the quotes:")
            wanted, among = wanted.without_quotes(), None
    vector, reason = (None, None) if mode == "words" else _embedded(query, vectors, embed)
    if reason is not None:
        notes.append(reason)

    mode_used: Mode = mode if vector is not None else "words"
    depth = n if mode_used != "both" else max(FUSION_DEPTH, n)
    by_words: list[tuple[PaperId, float]] = []
    by_meaning: list[tuple[PaperId, float]] = []
    if mode_used != "meaning":
        by_words = words.rank_by_words(connection, wanted, depth)
        if wanted.cut:
            notes.append(f"Only the first {words.MAX_WORDS} different words were searched for.")
    if vector is not None and vectors is not None:
        by_meaning = vectors.nearest(vector, depth, among=among)
    ranked = fuse(by_words, by_meaning) if mode_used == "both" else by_words or by_meaning
    hits = _hits(connection, ranked[:n], words.match_expression(wanted))
    return SearchAnswer(hits, mode_used, " ".join(notes) or None)


def fuse(
    by_words: Sequence[tuple[PaperId, float]], by_meaning: Sequence[tuple[PaperId, float]]
) -> list[tuple[PaperId, float]]:
    """Both rankings as one, with the weight that meaning was found to deserve."""
    return reciprocal_rank_fusion(
        [[paper_id for paper_id, _ in by_words], [paper_id for paper_id, _ in by_meaning]],
        weights=[1.0, MEANING_WEIGHT],
    )


def _identified(connection: Connection, query: str) -> SearchAnswer | None:
    """The answer to a query that is an identifier; None for any other."""
    # A single word, so that a sentence with an identifier in it stays a sentence.
    if not query or re.search(r"\s", query):
        return None
    arxiv = arxiv_id(query)
    doi = _DOI.fullmatch(query)
    if arxiv is not None:
        what, paper_id = f"arXiv {arxiv}", queries.id_by_identifier(connection, "arxiv", arxiv)
    elif doi is not None:
        what = f"DOI {doi[1]}"
        paper_id = queries.id_by_identifier(connection, "doi", doi[1].lower())
    else:
        return None
    if paper_id is None:
        return SearchAnswer((), "identifier", f"{what} is not in this catalogue.")
    return SearchAnswer(_hits(connection, [(paper_id, 1.0)], None), "identifier")


def _embedded(
    query: str, vectors: VectorIndex | None, embed: Embed | None
) -> tuple[npt.NDArray[np.float32] | None, str | None]:
    """The query's vector, or the reason why there can be no search by meaning."""
    if vectors is None or len(vectors) == 0:
        return None, "Searched by words alone: no paper has an embedding yet."
    if embed is None:
        return None, "Searched by words alone: the embedding model is not loaded."
    try:
        return embed(query), None
    except AssetError as error:
        return None, f"Searched by words alone: {error}."


def _hits(
    connection: Connection, ranked: Sequence[tuple[PaperId, float]], expression: str | None
) -> tuple[Hit, ...]:
    # A paper may have gone since the vectors were read: it is left out here.
    papers = papers_by_id(connection, [paper_id for paper_id, _ in ranked])
    scores = dict(ranked)
    return tuple(
        Hit(paper, scores[paper.id], shown.title, shown.abstract)
        for paper, shown in zip(papers, highlights(connection, papers, expression), strict=True)
    )
