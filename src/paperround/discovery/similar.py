"""Papers like a paper: the nearest by meaning, by words where it has no vector."""

from dataclasses import dataclass

from sqlalchemy import Connection

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.discovery import queries
from paperround.discovery.duplicates import SAME_COSINE
from paperround.discovery.query_language import WORD, Part, Query
from paperround.discovery.search import Indexes
from paperround.errors import NotFoundError


@dataclass(frozen=True)
class Alike:
    """Papers like a paper, the most alike first; its versions stand apart."""

    versions: tuple[Paper, ...]
    similar: tuple[Paper, ...]


def similar_papers(
    connection: Connection, paper_id: PaperId, indexes: Indexes, n: int = 6
) -> list[Paper]:
    """At most n other papers, the most alike first. Raises NotFoundError for an unknown id.

    By the cosine of the vectors; where the paper has none, by the words of its title.
    """
    found = alike(connection, paper_id, indexes, n)
    return [*found.versions, *found.similar]


def alike(connection: Connection, paper_id: PaperId, indexes: Indexes, n: int = 6) -> Alike:
    """The same, with near-duplicates apart. Raises NotFoundError for an unknown id."""
    own = queries.texts_of(connection, [paper_id])
    if not own:
        raise NotFoundError(f"no paper {paper_id}")
    vectors = indexes.vectors
    vector = None if vectors is None else vectors.vector_of(paper_id)
    same: set[PaperId] = set()
    if vector is not None and vectors is not None:
        nearest = vectors.nearest(vector, n, exclude=[paper_id])
        same = {other for other, cosine in nearest if cosine >= SAME_COSINE}
    else:
        _, title, _ = own[0]
        # A title is no query: nothing in it is a phrase or a filter.
        plain = Query(tuple(Part(word, word) for word in WORD.findall(title)))
        ranked = indexes.words.rank(plain, n + 1)
        nearest = [(other, score) for other, score in ranked if other != paper_id][:n]
    papers = papers_by_id(connection, [other for other, _ in nearest])
    return Alike(
        tuple(paper for paper in papers if paper.id in same),
        tuple(paper for paper in papers if paper.id not in same),
    )
