"""Texts as vectors: all-MiniLM-L6-v2 in int8 under ONNX Runtime, without torch.

`load_embedder` is for whoever may wait (the command line, a worker): it fetches the model.
`QueryEmbedder` is for the web process: it never fetches, loads the model at the first query, keeps
the latest queries. `embed_missing` fills the `embedding` table; `vectors.py` searches it.

The vector is the mean of the last hidden states over the text's tokens, scaled to unit length, as
the model's authors trained it (Reimers and Gurevych, "Sentence-BERT", EMNLP 2019, section 3).
"""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection, Engine

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.discovery import queries
from paperround.errors import AssetError
from paperround.kit.assets import find_asset, is_here
from paperround.log import get_logger
from paperround.settings import Settings, get_settings

if TYPE_CHECKING:
    from tokenizers import BertWordPieceTokenizer, Encoding

log = get_logger()

MODEL = "all-MiniLM-L6-v2-int8"
DIMENSIONS = 384

# What the model was trained with; the rest of a longer text is not read.
_MAX_TOKENS = 256
_BATCH_TEXTS = 16
# Papers per transaction: what a kill loses, and how long other writers wait for the next one.
_COMMIT_PAPERS = 256
_CACHED_QUERIES = 512
# How long a web process believes that the model is absent before it looks again.
_LOOK_AGAIN_S = 30.0
# What `paperround asset get` fetches for search.
ASSETS = ("minilm-int8", "minilm-vocab")

Vectors = npt.NDArray[np.float32]


def embedded_text(title_text: str, abstract_text: str) -> str:
    """What is embedded of a paper: its title and abstract in plain words."""
    return f"{title_text}. {abstract_text}" if abstract_text else title_text


def text_sha256(text: str) -> bytes:
    """The 32 bytes by which a changed text is known."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Embedder:
    """The loaded model. `embed` may be called from several threads."""

    def __init__(self, session: Any, tokenizer: "BertWordPieceTokenizer") -> None:
        """From an ONNX Runtime session and the tokenizer; see `load_embedder`."""
        self._session = session
        self._tokenizer = tokenizer

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One unit-length row per text, shape (len(texts), 384), in the order of the texts.

        Texts of like length share a batch, so that little is spent on padding. An int8 model
        scales its activations by batch: a row differs by under 0.001 in cosine with its company.
        """
        rows = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        encoded = self._tokenizer.encode_batch([_encodable(text) for text in texts])
        by_length = sorted(range(len(texts)), key=lambda index: len(encoded[index].ids))
        for start in range(0, len(by_length), _BATCH_TEXTS):
            batch = by_length[start : start + _BATCH_TEXTS]
            rows[batch] = self._embed_batch([encoded[index] for index in batch])
        return rows

    def _embed_batch(self, encoded: "Sequence[Encoding]") -> Vectors:
        longest = max(len(encoding.ids) for encoding in encoded)
        # (batch, tokens): padded with zeros, which the mask hides.
        ids = np.zeros((len(encoded), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(encoded):
            ids[row, : len(encoding.ids)] = encoding.ids
            mask[row, : len(encoding.ids)] = 1
        (hidden,) = self._session.run(
            ["last_hidden_state"],
            {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)},
        )
        # (batch, tokens, 384) -> (batch, 384); [CLS] and [SEP] make every mask sum at least 2.
        mean = (hidden * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        unit: Vectors = (mean / np.linalg.norm(mean, axis=1, keepdims=True)).astype(np.float32)
        return unit


def load_embedder(settings: Settings | None = None, *, threads: int = 2) -> Embedder:
    """The embedding model, fetched where it is not here yet. Raises AssetError."""
    import onnxruntime
    from tokenizers import BertWordPieceTokenizer

    model, vocabulary = (find_asset(name, settings).folder for name in ASSETS)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads would otherwise burn a core each for nothing, beside a web server's own.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena would keep the largest batch ever seen: some 400 MB in a process that lives on.
    options.enable_cpu_mem_arena = False
    session = onnxruntime.InferenceSession(
        str(model / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    tokenizer = BertWordPieceTokenizer(str(vocabulary / "vocab.txt"), lowercase=True)
    tokenizer.enable_truncation(_MAX_TOKENS)
    return Embedder(session, tokenizer)


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
            texts = {
                paper_id: embedded_text(title, abstract)
                for paper_id, title, abstract in queries.texts_of(
                    connection, waiting[start : start + _COMMIT_PAPERS]
                )
            }
        rows = embedder.embed(list(texts.values())).astype(np.float16)
        with write(engine) as connection:
            done += queries.store_embeddings(
                connection,
                [
                    queries.EmbeddingRow(paper_id, MODEL, text_sha256(text), row.tobytes())
                    for (paper_id, text), row in zip(texts.items(), rows, strict=True)
                ],
            )
        if on_progress is not None:
            on_progress(done)
    if done:
        log.info("embedding.finished", papers=done)
    return done


def _papers_to_embed(connection: Connection) -> list[PaperId]:
    """Ids of the papers whose embedding is absent, of another model, or of another text."""
    embedded = queries.embedded_texts(connection)
    return [
        paper_id
        for paper_id, title, abstract in queries.texts(connection)
        if embedded.get(paper_id) != (MODEL, text_sha256(embedded_text(title, abstract)))
    ]


def _encodable(text: str) -> str:
    # A lone surrogate is no text to the tokenizer.
    return text.encode("utf-8", "replace").decode("utf-8")
