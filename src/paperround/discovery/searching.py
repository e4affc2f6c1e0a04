"""What a process keeps between searches: the vectors in memory and the model for queries."""

from typing import cast

from sqlalchemy import Connection, Engine

from paperround.catalogue.records import Paper, PaperId
from paperround.db import read
from paperround.discovery.embedding import QueryEmbedder
from paperround.discovery.search import Mode, SearchAnswer, search
from paperround.discovery.similar import similar_papers
from paperround.discovery.vectors import VectorIndex
from paperround.settings import Settings


class Searcher:
    """Search over one database; make one per process and share it between threads.

    Vectors and model are loaded by the first search that needs them.
    """

    def __init__(self, engine: Engine, settings: Settings | None = None) -> None:
        """Costs nothing."""
        self._engine = engine
        self._vectors = VectorIndex()
        self._embed = QueryEmbedder(settings)

    def search(self, query: str, *, n: int = 20, mode: str = "both") -> SearchAnswer:
        """`search.search` over the database as it is now."""
        with read(self._engine) as connection:
            return search(
                connection,
                query,
                n=n,
                # `search` itself refuses what is none.
                mode=cast(Mode, mode),
                vectors=None if mode == "words" else self._fresh_vectors(connection),
                embed=self._embed,
            )

    def similar(self, paper_id: PaperId, *, n: int = 6) -> list[Paper]:
        """`similar.similar_papers` over the database as it is now."""
        with read(self._engine) as connection:
            return similar_papers(connection, paper_id, self._fresh_vectors(connection), n)

    def _fresh_vectors(self, connection: Connection) -> VectorIndex:
        self._vectors.refresh(connection)
        return self._vectors
