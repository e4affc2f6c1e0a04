"""Search by meaning: every paper's vector in memory, compared with the query's, exactly.

Below some 300,000 papers a plain product of matrix and vector answers in tens of milliseconds and
is never wrong; an approximate index would have to be built, tuned and kept in step. The `embedding`
table is the truth, in float16; this is a copy of it in float32, 1.5 kB a paper (115 MB for 75,000),
because NumPy multiplies float16 some twenty times slower.
"""

import threading
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sqlalchemy import Connection

from paperround.catalogue.records import PaperId
from paperround.discovery import queries
from paperround.discovery.embedding import DIMENSIONS, MODEL


@dataclass(frozen=True)
class _Snapshot:
    """What searches read; replaced as a whole, never changed, so that readers need no lock."""

    # (papers,), ascending.
    ids: npt.NDArray[np.int64]
    # (papers, 384), unit length.
    vectors: npt.NDArray[np.float32]
    # The highest number of a write that is in here.
    number: int


_EMPTY = _Snapshot(np.zeros(0, np.int64), np.zeros((0, DIMENSIONS), np.float32), 0)


class VectorIndex:
    """The vectors of all papers of one model. Threads may search and refresh at the same time."""

    def __init__(self, model: str = MODEL) -> None:
        """Empty until `refresh`."""
        self._model = model
        self._lock = threading.Lock()
        self._snapshot = _EMPTY

    def __len__(self) -> int:
        """How many papers have a vector."""
        return len(self._snapshot.ids)

    def refresh(self, connection: Connection) -> bool:
        """Whether anything had changed in the database; it is all in here afterwards.

        Where nothing has, this costs one look at an index. New and changed vectors are read alone;
        after a deletion all are read again.
        """
        with self._lock:
            before = self._snapshot
            count, number = queries.embedding_state(connection, self._model)
            if (count, number) == (len(before.ids), before.number):
                return False
            after = self._with_changes(connection, before, number)
            if len(after.ids) != count:
                after = self._with_changes(connection, _EMPTY, number)
            self._snapshot = after
            return True

    def nearest(
        self,
        vector: npt.NDArray[np.floating],
        n: int,
        exclude: Collection[PaperId] = (),
        among: Collection[PaperId] | None = None,
    ) -> list[tuple[PaperId, float]]:
        """The n nearest papers with their cosine (-1 to 1), nearest first; equals by lower id.

        `vector` is of unit length, shape (384,). `among` keeps to these papers where it is given.
        """
        snapshot = self._snapshot
        scores = snapshot.vectors @ np.asarray(vector, dtype=np.float32)
        allowed = np.ones(len(scores), dtype=bool)
        if among is not None:
            allowed = np.isin(snapshot.ids, np.fromiter(among, np.int64, len(among)))
        if exclude:
            allowed &= ~np.isin(snapshot.ids, np.fromiter(exclude, np.int64, len(exclude)))
        candidates = np.flatnonzero(allowed)
        if 0 < n < len(candidates):
            best = np.argpartition(-scores[candidates], n - 1)[:n]
            candidates = candidates[best]
        order = np.lexsort((snapshot.ids[candidates], -scores[candidates]))
        return [
            (PaperId(int(snapshot.ids[row])), float(scores[row])) for row in candidates[order][:n]
        ]

    def vector_of(self, paper_id: PaperId) -> npt.NDArray[np.float32] | None:
        """The paper's vector, shape (384,); None where it has none yet."""
        snapshot = self._snapshot
        row = int(np.searchsorted(snapshot.ids, paper_id))
        if row == len(snapshot.ids) or snapshot.ids[row] != paper_id:
            return None
        vector: npt.NDArray[np.float32] = snapshot.vectors[row]
        return vector

    def _with_changes(self, connection: Connection, before: _Snapshot, number: int) -> _Snapshot:
        changes = queries.embeddings_after(connection, self._model, before.number)
        new_ids = np.array([paper_id for paper_id, _ in changes], dtype=np.int64)
        joined = b"".join(vector for _, vector in changes)
        new_vectors = np.frombuffer(joined, dtype=np.float16).reshape(-1, DIMENSIONS)
        kept = ~np.isin(before.ids, new_ids)
        ids = np.concatenate([before.ids[kept], new_ids])
        order = np.argsort(ids)
        vectors = np.concatenate([before.vectors[kept], new_vectors.astype(np.float32)])[order]
        return _Snapshot(ids[order], vectors, number)
