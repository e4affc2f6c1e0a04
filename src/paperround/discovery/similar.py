"""Papers like a paper: the nearest by meaning, by words where it has no vector."""

from sqlalchemy import Connection

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.discovery import queries
from paperround.discovery.query_language import WORD, Part, Query
from paperround.discovery.search import Indexes
from paperround.errors import NotFoundError


def similar_papers(
    connection: Connection, paper_id: PaperId, indexes: Indexes, n: int = 6
) -> list[Paper]:
    """At most n other papers, the most alike first. Raises NotFoundError for an unknown id.

    By the cosine of the vectors; where the paper has none, by the words of its title.
    """
    own = queries.texts_of(connection, [paper_id])
    if not own:
        raise NotFoundError(f"no paper {paper_id}")
    vectors = indexes.vectors
    vector = None if vectors is None else vectors.vector_of(paper_id)
    if vector is not None and vectors is not None:
        nearest = vectors.nearest(vector, n, exclude=[paper_id])
    else:
        _, title, _ = own[0]
        # A title is no query: nothing in it is a phrase or a filter.
        plain = Query(tuple(Part(word, word) for word in WORD.findall(title)))
        ranked = indexes.words.rank(plain, n + 1)
        nearest = [(other, score) for other, score in ranked if other != paper_id][:n]
    return papers_by_id(connection, [other for other, _ in nearest])
