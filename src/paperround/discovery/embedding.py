"""Papers' texts as vectors, by the sentence model of `kit/sentence_embedding.py`.

`load_embedder` is for whoever may wait (the command line, a worker): it fetches the model.
`QueryEmbedder` is for the web process: it never fetches, loads the model at the first query, keeps
the latest queries. `embed_missing` fills the `embedding` table; `vectors.py` searches it.
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.discovery import queries
from paperround.errors import AssetError
from paperround.kit.assets import is_here
from paperround.kit.sentence_embedding import (
    ASSETS,
    DIMENSIONS,
    MODEL,
    Embedder,
    Vectors,
    load_embedder,
)
from paperround.log import get_logger
from paperround.settings import Settings, get_settings

__all__ = [
    "ASSETS",
    "DIMENSIONS",
    "MODEL",
    "Embedder",
    "QueryEmbedder",
    "Vectors",
    "embed_missing",
    "embed_papers",
    "embedded_text",
    "load_embedder",
    "packed",
    "text_sha256",
]

log = get_logger()

# Papers per transaction: what a kill loses, and how long other writers wait for the next one.
_COMMIT_PAPERS = 256
_CACHED_QUERIES = 512
# How long a web process believes that the model is absent before it looks again.
_LOOK_AGAIN_S = 30.0


def embedded_text(title_text: str, abstract_text: str) -> str:
    """What is embedded of a paper: its title and abstract in plain words."""
    return f"{title_text}. {abstract_text}" if abstract_text else title_text


def packed(vectors: Vectors) -> npt.NDArray[np.int8]:
    """(n, 384) vectors in int8, each as long as that goes.

    Their cosines with others stay within a few thousandths.
    """
    longest = np.abs(vectors).max(axis=1, keepdims=True, initial=1e-9)
    rounded: npt.NDArray[np.int8] = np.rint(127 * vectors / longest).astype(np.int8)
    return rounded


def text_sha256(text: str) -> bytes:
    """The 32 bytes by which a changed text is known."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class QueryEmbedder:
    """Embeds queries in a web process: `embed = QueryEmbedder()`, then `embed("a query")`.

    Nothing is loaded before the first query, one query is computed at a time, and the latest 512
    are kept. It raises AssetError while the model is not on this machine and fetches nothing: a
    page must not wait for a download.
    """

    def __init__(self, settings: Settings | None = None, *, threads: int = 1) -> None:
        """Costs nothing; `settings` are the process's own unless given."""
        self._settings = settings
        self._threads = threads
        self._lock = threading.Lock()
        self._embedder: Embedder | None = None
        self._absent_until = float("-inf")
        self._cached = lru_cache(maxsize=_CACHED_QUERIES)(self._compute)

    def __call__(self, query: str) -> Vectors:
        """The query's unit-length vector, shape (384,), read-only. Raises AssetError."""
        return self._cached(query)

    def _compute(self, query: str) -> Vectors:
        with self._lock:
            if self._embedder is None:
                self._embedder = self._load()
            vector: Vectors = self._embedder.embed([query])[0]
        vector.setflags(write=False)
        return vector

    def _load(self) -> Embedder:
        settings = self._settings or get_settings()
        if time.monotonic() >= self._absent_until:
            if all(is_here(name, settings) for name in ASSETS):
                return load_embedder(settings, threads=self._threads)
            self._absent_until = time.monotonic() + _LOOK_AGAIN_S
        raise AssetError(
            "the embedding model is not here; `paperround asset get minilm-int8` fetches it"
        )


def embed_missing(
    engine: Engine,
    embedder: Embedder,
    on_progress: Callable[[int], None] | None = None,
    must_stop: Callable[[], bool] = lambda: False,
) -> int:
    """The number of papers embedded: those without a vector, or whose text has changed since.

    The newest come first. Every 256 papers are committed, so it may be stopped and started again.
    `on_progress` gets the number done so far after each commit; `must_stop` is asked before each.
    """
    with read(engine) as connection:
        waiting = _papers_to_embed(connection)
    done = 0
    for start in range(0, len(waiting), _COMMIT_PAPERS):
        if must_stop():
            break
        with read(engine) as connection:
            papers = queries.texts_of(connection, waiting[start : start + _COMMIT_PAPERS])
        rows = embed_papers(embedder, papers)
        with write(engine) as connection:
            done += queries.store_embeddings(connection, rows)
        if on_progress is not None:
            on_progress(done)
    if done:
        log.info("embedding.finished", papers=done)
    return done


def embed_papers(
    embedder: Embedder, papers: Sequence[tuple[PaperId, str, str]]
) -> list[queries.EmbeddingRow]:
    """What is stored of papers, each an id, a title and an abstract in plain words."""
    texts = [embedded_text(title, abstract) for _, title, abstract in papers]
    # A paper without an abstract is its title: what is the same is embedded once.
    every = dict.fromkeys([*texts, *(title for _, title, _ in papers)])
    vectors = embedder.embed(list(every))
    halves = dict(zip(every, vectors.astype(np.float16), strict=True))
    titles = dict(zip(every, packed(vectors), strict=True))
    return [
        queries.EmbeddingRow(
            paper_id, MODEL, text_sha256(text), halves[text].tobytes(), titles[title].tobytes()
        )
        for (paper_id, title, _), text in zip(papers, texts, strict=True)
    ]


def _papers_to_embed(connection: Connection) -> list[PaperId]:
    """Ids of the papers whose embedding is absent, of another model, or of another text."""
    embedded = queries.embedded_texts(connection)
    return [
        paper_id
        for paper_id, title, abstract in queries.texts(connection)
        if embedded.get(paper_id) != (MODEL, text_sha256(embedded_text(title, abstract)))
    ]
