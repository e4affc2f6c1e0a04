"""Search by meaning: every paper's vector in files of this machine, compared with the query's.

The `embedding` table is the truth. Beside it lie, memory-mapped and shared by all processes, a
sketch of every vector (the signs of its 384 numbers around their mean: 48 bytes) and the vectors in
float16, and those of the titles in int8. A query's sketch is compared with all sketches, some 12 ms
for a million papers on one core; the cosine with the query decides among the nearest thousand. How
many of the true nearest are found stands in benchmarks/results/search-scale.md.

What is new since the files were written is held in memory and compared exactly; when there is much
of it, the files are made anew beside the old ones, which are searched until then.
"""

import json
import shutil
import threading
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout
from sqlalchemy import Connection

from paperround.catalogue.records import PaperId
from paperround.discovery import queries
from paperround.discovery.embedding import DIMENSIONS, MODEL
from paperround.log import get_logger

_FORMAT = 2
_LANES = DIMENSIONS // 64
# So many of the nearest sketches have their cosine computed.
RESCORED = 1_000
# Fewer vectors than these are held in memory, without files.
SMALLEST_FILE = 4_096
# The part of the files' vectors that may be newer than the files.
_NEW_SHARE = 0.1
# More vectors than these are never held in memory beside files: 77 MB.
_MOST_IN_MEMORY = 50_000
# Sketches that are compared at a time: what fits the processor's cache.
_BLOCK = 1 << 14
_HALVES = (range(3), range(3, 6))
# Of so many allowed papers the cosines are computed, without a look at sketches.
_FEW = 20_000
_BATCH = 8_192
_SAMPLE = 20_000
# Of so many nearest papers it is asked at most which have what a query requires.
_MOST_ASKED = 200_000
# Of so many distances the n-th smallest is estimated.
_COUNTED = 1 << 16
# Further than any sketch can be.
_NEVER = np.uint16(DIMENSIONS + 1)

_Floats = npt.NDArray[np.float32]
_Halves = npt.NDArray[np.float16]
_Bytes = npt.NDArray[np.int8]
_Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class _State:
    """Of which database the files are, and up to which of its numbers."""

    database: int
    number: int
    change: int
    model: str
    count: int
    crc32: int
    format: int = _FORMAT


@dataclass(frozen=True)
class _Files:
    """A folder's arrays, memory-mapped."""

    folder: Path
    state: _State
    # (papers,), ascending.
    ids: _Ids
    # (6, papers): by lane, so that comparing runs along memory.
    sketches: npt.NDArray[np.uint64]
    # (papers, 384), unit length.
    vectors: _Halves
    # (papers, 384), of any length; zeros where a title has none.
    titles: _Bytes
    # (384,)
    mean: _Floats


@dataclass(frozen=True)
class _Snapshot:
    """What searches read; replaced as a whole, never changed, so that readers need no lock."""

    files: _Files | None
    # Which of the files' papers are gone or newer in memory; their rows.
    stale: npt.NDArray[np.int64]
    # (new papers,), ascending, and (new papers, 384) twice.
    ids: _Ids
    vectors: _Floats
    titles: _Bytes
    # (database, number of the last embedding, number of the last change)
    seen: tuple[int, int, int]


_EMPTY = _Snapshot(
    None,
    np.zeros(0, np.int64),
    np.zeros(0, np.int64),
    np.zeros((0, DIMENSIONS), np.float32),
    np.zeros((0, DIMENSIONS), np.int8),
    (0, 0, 0),
)


class VectorIndex:
    """The vectors of all papers of one model. Threads may search and refresh at the same time."""

    def __init__(self, folder: Path | None = None, model: str = MODEL) -> None:
        """Empty until `refresh`. Without a folder everything is held in memory."""
        self._folder = folder
        self._model = model
        self._lock = threading.Lock()
        self._snapshot = _EMPTY

    def __len__(self) -> int:
        """How many papers have a vector."""
        snapshot = self._snapshot
        filed = 0 if snapshot.files is None else len(snapshot.files.ids) - len(snapshot.stale)
        return filed + len(snapshot.ids)

    def refresh(self, connection: Connection) -> bool:
        """Whether anything had changed in the database; it is all in here afterwards.

        Where nothing has, this costs two looks at indexes. New and changed vectors are read alone.
        """
        with self._lock:
            number = queries.last_embedding(connection, self._model)
            database, change = queries.change_state(connection)
            seen = (database, number, change)
            before = self._snapshot
            # Embeddings are replaced, which gives them a new number, or go with their paper, which
            # is a change: to count them all would cost more than the search itself.
            if seen == before.seen and before is not _EMPTY:
                return False
            count, number = queries.embedding_state(connection, self._model)
            has_changed = (_size(before), before.seen[1]) != (count, number)
            if self._is_ahead_of(connection, seen):
                return False
            files = self._current_files(database, number, change)
            if self._folder is not None and self._has_too_much_new(connection, files):
                files = self._written(connection, seen, count) or files
                if self._has_too_much_new(connection, files, _MOST_IN_MEMORY):
                    # Another process is writing them; what is here is searched until it has.
                    return False
            snapshot = self._since(connection, files, seen)
            if _size(snapshot) != count:
                files = None if self._folder is None else self._written(connection, seen, count)
                if files is None and self._folder is not None and count > _MOST_IN_MEMORY:
                    return False
                snapshot = self._since(connection, files, seen)
            self._snapshot = snapshot
            return has_changed

    def lag(self, connection: Connection, at_most: int) -> int:
        """How many embeddings were written since what it holds, or its files do; at most so many.

        Waits for nobody who is bringing it up to date.
        """
        snapshot = self._snapshot
        number = snapshot.seen[1]
        if snapshot is _EMPTY and (state := self._filed_state()) is not None:
            is_ours = state.database == queries.change_state(connection)[0]
            number = state.number if is_ours and state.model == self._model else 0
        return queries.n_embeddings_after(connection, self._model, number, at_most)

    def rebuild(self, connection: Connection) -> None:
        """Writes the files anew, whatever state they are in."""
        with self._lock:
            count, number = queries.embedding_state(connection, self._model)
            seen = (
                *queries.change_state(connection)[:1],
                number,
                queries.change_state(connection)[1],
            )
            files = self._written(connection, seen, count) if count > SMALLEST_FILE else None
            self._snapshot = self._since(connection, files, seen)

    def fault(self, connection: Connection) -> str | None:
        """How its files differ from the database; None where they do not, or there are none yet.

        Files that only lag behind have no fault: the next search reads what is newer.
        """
        if self._folder is None or not (self._folder / "current").exists():
            return None
        _, number = queries.embedding_state(connection, self._model)
        database, change = queries.change_state(connection)
        with self._lock:
            files = self._current_files(database, number, change)
        if files is None:
            return "the files of vectors are damaged or of another database"
        newer = {
            i for i, *_ in queries.embeddings_after(connection, self._model, files.state.number)
        }
        late = newer | set(queries.removed_since(connection, files.state.change))
        for some_ids, some, titles in queries.all_embeddings(connection, self._model, _BATCH):
            rows, there = _rows_of(files.ids, np.array(some_ids, dtype=np.int64))
            fresh = np.array([i not in late for i in some_ids])
            if not there[fresh].all():
                return "the files of vectors lack papers"
            own, own_titles = _halves(some), _bytes(titles)
            kept = fresh[there]
            if not (
                np.array_equal(files.vectors[rows[kept]], own[there][kept])
                and np.array_equal(files.titles[rows[kept]], own_titles[there][kept])
            ):
                return "the files of vectors differ from the papers' embeddings"
        return None

    def nearest(
        self,
        vector: npt.NDArray[np.floating],
        n: int,
        exclude: Collection[PaperId] = (),
        among: Collection[PaperId] | None = None,
        rescored: int = RESCORED,
    ) -> list[tuple[PaperId, float]]:
        """The n nearest papers with their cosine (-1 to 1), nearest first; equals by lower id.

        `vector` is of unit length, shape (384,). `among` keeps to these papers where it is given.
        """
        snapshot = self._snapshot
        query = np.asarray(vector, dtype=np.float32)
        wanted = None if among is None else np.fromiter(among, np.int64, len(among))
        unwanted = np.fromiter(exclude, np.int64, len(exclude))
        ids, scores = [snapshot.ids], [snapshot.vectors @ query]
        if snapshot.files is not None:
            rows = _near_rows(snapshot, query, wanted, max(rescored, n + n // 4) + len(unwanted))
            ids.append(np.asarray(snapshot.files.ids[rows]))
            scores.append(snapshot.files.vectors[rows].astype(np.float32) @ query)
        every_id, every_score = np.concatenate(ids), np.concatenate(scores)
        allowed = np.ones(len(every_id), dtype=bool)
        if wanted is not None:
            allowed = np.isin(every_id, wanted)
        if len(unwanted):
            allowed &= ~np.isin(every_id, unwanted)
        candidates = np.flatnonzero(allowed)
        if 0 < n < len(candidates):
            candidates = candidates[np.argpartition(-every_score[candidates], n - 1)[:n]]
        order = np.lexsort((every_id[candidates], -every_score[candidates]))
        return [
            (PaperId(int(every_id[row])), float(every_score[row])) for row in candidates[order][:n]
        ]

    def nearest_kept(
        self,
        vector: npt.NDArray[np.floating],
        n: int,
        keep: Callable[[list[PaperId]], Collection[PaperId]],
        share: float,
        rescored: int = RESCORED,
    ) -> list[tuple[PaperId, float]]:
        """Like `nearest` among the papers that `keep` keeps, for too many to list them all.

        `keep` is asked about the nearest, more of them the smaller the `share` of papers that it
        keeps, until n are found. Where it keeps hardly any of hundreds of thousands, fewer are.
        """
        snapshot = self._snapshot
        query = np.asarray(vector, dtype=np.float32)
        wanted = max(rescored, n + n // 4)
        far = None if snapshot.files is None else _distances(snapshot, query)
        new = np.argsort(-(snapshot.vectors @ query), kind="stable")
        n_asked = int(1.5 * wanted / share)
        ids = np.zeros(0, np.int64)
        while True:
            asked = np.sort(snapshot.ids[new[:n_asked]])
            if far is not None and snapshot.files is not None:
                rows = _within_reach(far, n_asked)
                asked = np.concatenate([asked, np.asarray(snapshot.files.ids[rows])])
            kept = keep([PaperId(paper_id) for paper_id in asked.tolist()])
            ids = np.fromiter(kept, np.int64, len(kept))
            if len(ids) >= n or n_asked >= min(_MOST_ASKED, len(self)):
                break
            n_asked = min(4 * n_asked, _MOST_ASKED)
        found = self.cosines(query, [PaperId(paper_id) for paper_id in ids.tolist()])
        return sorted(found.items(), key=lambda hit: (-hit[1], hit[0]))[:n]

    def cosines(
        self, vector: npt.NDArray[np.floating], ids: Collection[PaperId]
    ) -> dict[PaperId, float]:
        """The cosine of each of these papers that has a vector."""
        found, vectors = self._gathered(np.fromiter(ids, np.int64, len(ids)))
        scores = vectors @ np.asarray(vector, dtype=np.float32)
        return {
            PaperId(paper_id): score
            for paper_id, score in zip(found.tolist(), scores.tolist(), strict=True)
        }

    def title_cosines(
        self, vector: npt.NDArray[np.floating], ids: Collection[PaperId]
    ) -> dict[PaperId, float]:
        """The cosine of each of these papers' titles that has a vector."""
        found, packed = self._gathered(np.fromiter(ids, np.int64, len(ids)), of_titles=True)
        titles = packed.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", titles, titles))
        scores = (titles @ np.asarray(vector, dtype=np.float32)) / np.maximum(lengths, 1.0)
        return {
            PaperId(paper_id): score
            for paper_id, score in zip(
                found[lengths > 0].tolist(), scores[lengths > 0].tolist(), strict=True
            )
        }

    def vectors_of(self, ids: Collection[PaperId]) -> dict[PaperId, _Floats]:
        """The vectors, shape (384,), of those of the papers that have one."""
        found, vectors = self._gathered(np.fromiter(ids, np.int64, len(ids)))
        return {PaperId(i): own for i, own in zip(found.tolist(), vectors, strict=True)}

    def _gathered(
        self, wanted: _Ids, of_titles: bool = False
    ) -> tuple[_Ids, npt.NDArray[np.floating] | _Bytes]:
        """Those of the papers that have a vector, and their vectors or titles', (papers, 384)."""
        snapshot = self._snapshot
        rows, there = _rows_of(snapshot.ids, wanted)
        ids, new = wanted[there], (snapshot.titles if of_titles else snapshot.vectors)[rows]
        files = snapshot.files
        if files is None:
            return ids, new
        rows, there = _rows_of(files.ids, wanted)
        fresh = ~np.isin(rows, snapshot.stale)
        filed = (files.titles if of_titles else files.vectors)[rows[fresh]].astype(new.dtype)
        return np.concatenate([ids, wanted[there][fresh]]), np.concatenate([new, filed])

    def vector_of(self, paper_id: PaperId) -> _Floats | None:
        """The paper's vector, shape (384,); None where it has none yet."""
        return self.vectors_of([paper_id]).get(paper_id)

    def _has_too_much_new(
        self, connection: Connection, files: _Files | None, limit: int | None = None
    ) -> bool:
        """Whether more was written since the files than is held in memory beside them."""
        number, n_filed = (0, 0) if files is None else (files.state.number, len(files.ids))
        if limit is None:
            limit = max(SMALLEST_FILE, min(int(_NEW_SHARE * n_filed), _MOST_IN_MEMORY))
        return queries.n_embeddings_after(connection, self._model, number, limit + 1) > limit

    def _is_ahead_of(self, connection: Connection, seen: tuple[int, int, int]) -> bool:
        """Whether others have written files of more than this transaction sees."""
        state = self._filed_state()
        if state is None or state.database != seen[0]:
            return False
        if state.number <= seen[1] and state.change <= seen[2]:
            return False
        with connection.engine.connect() as now:
            number = queries.last_embedding(now, self._model)
            return state.number <= number and state.change <= queries.change_state(now)[1]

    def _filed_state(self) -> _State | None:
        if self._folder is None:
            return None
        try:
            name = (self._folder / "current").read_text(encoding="utf-8").strip()
            said = (self._folder / Path(name).name / "state.json").read_text(encoding="utf-8")
            return _State(**json.loads(said))
        except (OSError, ValueError, TypeError):
            return None

    def _since(
        self, connection: Connection, files: _Files | None, seen: tuple[int, int, int]
    ) -> _Snapshot:
        """The files with all that the database has beyond them."""
        after = 0 if files is None else files.state.number
        changes = queries.embeddings_after(connection, self._model, after)
        ids = np.array([paper_id for paper_id, *_ in changes], dtype=np.int64)
        vectors = _halves(b"".join(vector for _, vector, _ in changes))
        titles = _bytes(b"".join(title for *_, title in changes))
        order = np.argsort(ids)
        stale = np.zeros(0, np.int64)
        if files is not None:
            gone = queries.removed_since(connection, files.state.change)
            replaced = np.concatenate([ids, np.array(gone, dtype=np.int64)])
            stale = np.unique(_rows_of(files.ids, replaced)[0])
        return _Snapshot(
            files, stale, ids[order], vectors[order].astype(np.float32), titles[order], seen
        )

    def _current_files(self, database: int, number: int, change: int) -> _Files | None:
        """What the folder says is current, where it is whole and of this database's past."""
        if self._folder is None:
            return None
        try:
            name = (self._folder / "current").read_text(encoding="utf-8").strip()
        except OSError:
            return None
        folder = self._folder / Path(name).name
        opened = self._snapshot.files
        files = opened if opened is not None and opened.folder == folder else _opened(folder)
        if files is None or files.state.model != self._model or files.state.database != database:
            return None
        return files if files.state.number <= number and files.state.change <= change else None

    def _written(
        self, connection: Connection, seen: tuple[int, int, int], count: int
    ) -> _Files | None:
        """New files of all vectors; None where another process is writing them."""
        assert self._folder is not None
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / "lock", timeout=0):
                folder = self._folder / f"vectors-{uuid.uuid4().hex[:12]}"
                folder.mkdir()
                _write_arrays(folder, connection, self._model, seen, count)
                draft = self._folder / ".current"
                draft.write_text(folder.name, encoding="utf-8")
                draft.replace(self._folder / "current")
                for old in self._folder.glob("vectors-*"):
                    if old != folder:
                        # Whoever still reads them has the files open.
                        shutil.rmtree(old, ignore_errors=True)
        except Timeout:
            return None
        get_logger().info("vectors.written", papers=count)
        return _opened(folder)


def sketch(vectors: _Floats, mean: _Floats) -> npt.NDArray[np.uint64]:
    """The signs of (n, 384) numbers around their mean, shape (n, 6)."""
    bits = np.packbits(vectors > mean, axis=1)
    return np.ascontiguousarray(bits).view(np.uint64)


def distances(
    sketches: npt.NDArray[np.uint64], query: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint16]:
    """In how many of the 384 signs each of (6, papers) sketches differs from the query's (6,)."""
    n = sketches.shape[1]
    found = np.empty(n, dtype=np.uint16)
    differing = np.empty(min(n, _BLOCK), dtype=np.uint64)
    counted = np.empty(min(n, _BLOCK), dtype=np.uint8)
    # Three lanes differ in 192 signs at most, which a byte holds: adding bytes costs a quarter.
    halves = np.empty((2, min(n, _BLOCK)), dtype=np.uint8)
    for start in range(0, n, _BLOCK):
        end = min(n, start + _BLOCK)
        differs, count = differing[: end - start], counted[: end - start]
        for half, lanes in zip(halves[:, : end - start], _HALVES, strict=True):
            half[:] = 0
            for lane in lanes:
                np.bitwise_xor(sketches[lane, start:end], query[lane], out=differs)
                np.bitwise_count(differs, out=count)
                np.add(half, count, out=half)
        first, second = halves[:, : end - start]
        np.add(first, second, out=found[start:end], dtype=np.uint16)
    return found


def _near_rows(
    snapshot: _Snapshot, query: _Floats, wanted: _Ids | None, n: int
) -> npt.NDArray[np.int64]:
    """Rows of the files worth a cosine: at least n where there are as many, none of them stale."""
    files = snapshot.files
    assert files is not None
    if wanted is not None:
        rows, _ = _rows_of(files.ids, wanted)
        rows = rows[~np.isin(rows, snapshot.stale)]
        if len(rows) <= max(_FEW, n):
            return rows
    far = _distances(snapshot, query)
    if wanted is not None:
        kept = far[rows]
        far = np.full(len(far), _NEVER)
        far[rows] = kept
    return _within_reach(far, n)


def _distances(snapshot: _Snapshot, query: _Floats) -> npt.NDArray[np.uint16]:
    """How far the sketch of each of the files' vectors is from the query's; stale ones never."""
    files = snapshot.files
    assert files is not None
    far = distances(files.sketches, sketch(query[None, :], files.mean)[0])
    far[snapshot.stale] = _NEVER
    return far


def _within_reach(far: npt.NDArray[np.uint16], n: int) -> npt.NDArray[np.int64]:
    """The rows of the n nearest at least, where there are as many, and of all that are as near."""
    # Distances are small whole numbers: counting them finds the n-th without sorting any. Of many,
    # counting some is enough to know about where it is.
    every = max(1, len(far) // _COUNTED)
    if every > 1:
        rows = np.flatnonzero(far <= _reach(far[::every], int(1.25 * n / every) + 1))
        if len(rows) >= n:
            return rows
    return np.flatnonzero(far <= _reach(far, n))


def _reach(far: npt.NDArray[np.uint16], n: int) -> int:
    """How far the n-th nearest is; the furthest that can be, where there are not as many."""
    counts = np.bincount(far, minlength=DIMENSIONS + 2)[: DIMENSIONS + 1]
    return min(int(np.searchsorted(np.cumsum(counts), n)), DIMENSIONS)


def _rows_of(ids: _Ids, wanted: _Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Where those of the wanted stand that are among the ascending ids, and which they are."""
    if not len(ids) or not len(wanted):
        return np.zeros(0, np.int64), np.zeros(len(wanted), dtype=bool)
    rows = np.searchsorted(ids, wanted)
    there = ids[np.minimum(rows, len(ids) - 1)] == wanted
    return rows[there], there


def _size(snapshot: _Snapshot) -> int:
    filed = 0 if snapshot.files is None else len(snapshot.files.ids) - len(snapshot.stale)
    return filed + len(snapshot.ids)


def _write_arrays(
    folder: Path, connection: Connection, model: str, seen: tuple[int, int, int], count: int
) -> None:
    mean = _mean(connection, model, count)
    ids = _new_array(folder / "ids.npy", np.int64, (count,))
    sketches = _new_array(folder / "sketches.npy", np.uint64, (_LANES, count))
    vectors = _new_array(folder / "vectors.npy", np.float16, (count, DIMENSIONS))
    titles = _new_array(folder / "titles.npy", np.int8, (count, DIMENSIONS))
    start = 0
    for some_ids, some, some_titles in queries.all_embeddings(connection, model, _BATCH):
        end = start + len(some_ids)
        rows = _halves(some)
        ids[start:end] = some_ids
        vectors[start:end] = rows
        titles[start:end] = _bytes(some_titles)
        sketches[:, start:end] = sketch(rows.astype(np.float32), mean).T
        start = end
    for array in (ids, sketches, vectors, titles):
        array.flush()
    np.save(folder / "mean.npy", mean)
    database, number, change = seen
    state = _State(database, number, change, model, count, _crc32(ids, sketches))
    (folder / "state.json").write_text(json.dumps(vars(state)), encoding="utf-8")


def _new_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _mean(connection: Connection, model: str, count: int) -> _Floats:
    sample = queries.some_embeddings(connection, model, max(1, count // _SAMPLE))
    rows = _halves(sample)
    if not len(rows):
        return np.zeros(DIMENSIONS, np.float32)
    mean: _Floats = rows.astype(np.float32).mean(axis=0)
    return mean


def _opened(folder: Path) -> _Files | None:
    """The folder's files; None where they are not whole."""
    try:
        state = _State(**json.loads((folder / "state.json").read_text(encoding="utf-8")))
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r")
            for name in ("ids", "sketches", "vectors", "titles")
        }
        mean = np.load(folder / "mean.npy")
    except (OSError, ValueError, TypeError, EOFError) as error:
        get_logger().warning("vectors.damaged", folder=folder.name, error=str(error))
        return None
    shapes = [*(array.shape for array in arrays.values()), mean.shape]
    n = state.count
    if (
        state.format != _FORMAT
        or shapes != [(n,), (_LANES, n), (n, DIMENSIONS), (n, DIMENSIONS), (DIMENSIONS,)]
        or _crc32(arrays["ids"], arrays["sketches"]) != state.crc32
    ):
        get_logger().warning("vectors.damaged", folder=folder.name, error="not what was written")
        return None
    return _Files(folder, state, **arrays, mean=mean)


def _halves(stored: bytes) -> _Halves:
    return np.frombuffer(stored, dtype=np.float16).reshape(-1, DIMENSIONS)


def _bytes(stored: bytes) -> _Bytes:
    return np.frombuffer(stored, dtype=np.int8).reshape(-1, DIMENSIONS)


def _crc32(*arrays: npt.NDArray[Any]) -> int:
    checksum = 0
    for array in arrays:
        for part in _parts(array):
            checksum = zlib.crc32(part, checksum)
    return checksum


def _parts(array: npt.NDArray[Any]) -> Iterator[bytes]:
    flat = array.reshape(-1)
    for start in range(0, len(flat), 1 << 20):
        yield flat[start : start + (1 << 20)].tobytes()
