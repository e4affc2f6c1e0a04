"""What a process keeps between searches: both indexes and the model for queries."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import cast

from sqlalchemy import Connection, Engine

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.db import read
from paperround.discovery.embedding import QueryEmbedder
from paperround.discovery.query_language import Part
from paperround.discovery.reranking import Reranker
from paperround.discovery.search import (
    Indexes,
    Mode,
    Order,
    SearchAnswer,
    answers_among,
    ranking,
    search,
)
from paperround.discovery.similar import Alike, alike, similar_papers
from paperround.discovery.vectors import VectorIndex
from paperround.discovery.word_index import WordIndex
from paperround.settings import Settings, get_settings

# So many changed papers are indexed in a fraction of a second.
AT_ONCE = 1_000


class Searcher:
    """Search over one database; make one per process and share it between threads.

    Indexes and model are opened by the first search that needs them. `papers_with` gives the papers
    that a `runs:` or `verdict:` means, `rooms` the keys of the papers that run, by slug.
    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings | None = None,
        papers_with: Callable[[Part], Collection[PaperId]] | None = None,
        rooms: Callable[[], Mapping[str, str]] = dict,
        *,
        waits: bool = True,
    ) -> None:
        """Costs nothing.

        With `waits=False` no search waits for thousands of papers to be indexed: a thread does that
        meanwhile, and the answer says so.
        """
        settings = settings or get_settings()
        self._engine = engine
        self._words = WordIndex(settings.search_dir / "words")
        self._vectors = VectorIndex(settings.search_dir / "vectors")
        self._embed = QueryEmbedder(settings)
        model = settings.reranker
        self._reranker = None if model is None else Reranker(model, settings.cache_dir)
        self._papers_with = papers_with
        self._rooms = rooms
        self._waits = waits
        self._behind = threading.Lock()

    def search(
        self,
        query: str,
        *,
        n: int = 20,
        start: int = 0,
        mode: str = "both",
        order: str = "relevance",
        diverse: bool = False,
        facets: bool = False,
        rerank: bool = False,
    ) -> SearchAnswer:
        """`search.search` over the database as it is now."""
        with read(self._engine) as connection:
            return search(
                connection,
                query,
                self._indexes(connection, mode),
                n=n,
                start=start,
                # `search` itself refuses what is none.
                mode=cast(Mode, mode),
                order=cast(Order, order),
                diverse=diverse,
                facets=facets,
                rerank=rerank,
            )

    def ranking(
        self, query: str, *, mode: str = "both", rerank: bool = False
    ) -> list[tuple[PaperId, float]]:
        """All papers that answer with their scores, best first."""
        with read(self._engine) as connection:
            indexes = self._indexes(connection, mode)
            return ranking(connection, query, indexes, cast(Mode, mode), rerank=rerank)

    def answers_among(
        self, query: str, among: Sequence[PaperId], *, mode: str = "both"
    ) -> list[PaperId]:
        """`search.answers_among` over the database as it is now."""
        with read(self._engine) as connection:
            indexes = self._indexes(connection, mode)
            return answers_among(query, indexes, among, cast(Mode, mode))

    def rooms(self) -> Mapping[str, str]:
        """The keys of the papers that run here, by slug."""
        return self._rooms()

    def similar(self, paper_id: PaperId, *, n: int = 6) -> list[Paper]:
        """`similar.similar_papers` over the database as it is now."""
        with read(self._engine) as connection:
            indexes = self._indexes(connection, "both")
            return similar_papers(connection, paper_id, indexes, n)

    def alike(self, paper_id: PaperId, *, n: int = 6) -> Alike:
        """`similar.alike` over the database as it is now."""
        with read(self._engine) as connection:
            return alike(connection, paper_id, self._indexes(connection, "both"), n)

    def titles(self, beginning: str, *, n: int = 8) -> list[Paper]:
        """Papers whose title has these words next to each other, the last one only begun."""
        with read(self._engine) as connection:
            self._follow(connection, with_vectors=False)
            return papers_by_id(connection, self._words.titles(beginning, n))

    @property
    def reranker(self) -> Reranker | None:
        """The model that can rank again, where the operator named one."""
        return self._reranker

    def close(self) -> None:
        """Ends the process of the model that ranks again, if there is one."""
        if self._reranker is not None:
            self._reranker.close()

    def refresh(self) -> bool:
        """Whether both indexes hold all that the database does now."""
        with read(self._engine) as connection:
            self._vectors.refresh(connection)
            return self._words.refresh(connection)

    def refresh_behind(self) -> None:
        """Begins to bring both indexes up to date, in a thread, and does not wait for it."""
        threading.Thread(target=self._refresh_behind, name="search index", daemon=True).start()

    def rebuild(self) -> None:
        """Makes both indexes anew from the database."""
        with read(self._engine) as connection:
            self._words.rebuild(connection)
            self._vectors.rebuild(connection)

    def faults(self) -> list[str]:
        """Where the indexes differ from the database, each in a sentence; changes nothing."""
        with read(self._engine) as connection:
            faults = [self._words.fault(connection), self._vectors.fault(connection)]
        return [f"{fault}; `paperround check --repair` makes it anew" for fault in faults if fault]

    def _indexes(self, connection: Connection, mode: str) -> Indexes:
        words_late, vectors_late = self._follow(connection, with_vectors=True)
        return Indexes(
            self._words,
            # By words, too, near-duplicates are known by their vectors.
            self._vectors,
            self._embed if mode != "words" else None,
            self._papers_with,
            self._rooms(),
            words_late or (vectors_late and mode != "words"),
            self._reranker,
        )

    def _follow(self, connection: Connection, with_vectors: bool) -> tuple[bool, bool]:
        """Brings the indexes up to date; which are left to a thread, since much in them is new."""
        some = AT_ONCE + 1
        words_late = not self._waits and self._words.lag(connection, some) > AT_ONCE
        if not words_late:
            self._words.refresh(connection)
        vectors_late = False
        if with_vectors:
            vectors_late = not self._waits and self._vectors.lag(connection, some) > AT_ONCE
            if not vectors_late:
                self._vectors.refresh(connection)
        if words_late or vectors_late:
            self.refresh_behind()
        return words_late, vectors_late

    def _refresh_behind(self) -> None:
        if not self._behind.acquire(blocking=False):
            return
        try:
            with read(self._engine) as connection:
                self._words.refresh(connection)
            with read(self._engine) as connection:
                self._vectors.refresh(connection)
        finally:
            self._behind.release()
