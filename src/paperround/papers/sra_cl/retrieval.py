"""Who is like whom in meaning: vectors of users, who is nearest to whom, and the control.

All of it is computed once, before training, from the training log and the items' texts alone: no
validation or test event may come in. Users are rows 0..n_users-1, items rows 1..n_items with
padding in row 0. Texts become vectors, and vectors neighbours, in the kit's text.py.
"""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import InteractionLog, Ints
from paperround.kit.recommendation.text import Neighbours

Vectors = NDArray[np.float32]
FILE_VERSION = 1


def user_vectors(
    log: InteractionLog, item_vectors: Any, *, newest: int = 20, decay: float = 0.9
) -> Vectors:
    """(n_users, d): the mean of the vectors of each user's newest items, weighted decay ** age.

    It stands in for a language model's summary of the user. Age 0 is the newest event; with decay 1
    all count alike. Items without a text (rows of zeros) do not count, and a user of whom no item
    has one gets zeros. `item_vectors` is (n_items + 1, d), row 0 padding's. Give the training log
    alone.
    """
    vectors = item_rows(item_vectors, log.n_items)
    if newest < 1 or not 0 < decay <= 1:
        raise UsageError(f"newest is at least 1 and decay in (0, 1], not {newest} and {decay}")
    age = log.offsets[log.user + 1] - 1 - np.arange(len(log))
    has_text = np.asarray(vectors.any(axis=1))
    counted = (age < newest) & has_text[log.item]
    weights = decay ** age[counted].astype(np.float64)
    user, item = log.user[counted], log.item[counted]
    total = np.bincount(user, weights, minlength=log.n_users)
    shares = csr_matrix((weights / total[user], (user, item)), (log.n_users, log.n_items + 1))
    return np.asarray(shares @ vectors, dtype=np.float32)


def behaviour_vectors(log: InteractionLog, d: int = 64) -> tuple[Vectors, Vectors]:
    """Vectors of users (n_users, d) and items (n_items + 1, d) from who took what, without texts.

    The singular vectors of the users-by-items matrix, its rows scaled to unit length. For items
    that have no texts, and for users of whom no item has one. Where the matrix is smaller than `d`,
    the remaining numbers are 0.
    """
    if not len(log):
        raise UsageError("a log without events says nothing of anybody")
    took = csr_matrix((np.ones(len(log)), (log.user, log.item)), (log.n_users, log.n_items + 1))
    took.data[:] = 1.0
    lengths = np.sqrt(np.asarray(took.sum(axis=1)).ravel())
    scaled = csr_matrix(took.multiply(1.0 / np.maximum(lengths, 1.0)[:, None]))
    users = np.zeros((log.n_users, d), dtype=np.float32)
    items = np.zeros((log.n_items + 1, d), dtype=np.float32)
    kept = min(d, min(scaled.shape) - 1)
    if kept < 1:
        # One user, or one item: everybody who is there is alike.
        users[lengths > 0, 0], items[log.item_counts > 0, 0] = 1.0, 1.0
        return users, items
    # A start of its own makes the factors the same in every run.
    start = np.random.default_rng(0).standard_normal(min(scaled.shape))
    left, values, right = svds(scaled, k=kept, v0=start)
    users[:, :kept], items[:, :kept] = left * values, right.T * values
    # What nobody took is told apart from the rest by rounding alone: it is unknown.
    users[lengths == 0], items[log.item_counts == 0] = 0.0, 0.0
    return users, items


def filled_from(neighbours: Neighbours, other: Neighbours) -> Neighbours:
    """These neighbours, and those of `other` for rows that have none here.

    For users without any text, of whom only their behaviour is known.
    """
    if neighbours.rows.shape != other.rows.shape:
        raise UsageError(
            f"neighbours of {neighbours.rows.shape} cannot be filled from {other.rows.shape}"
        )
    none = (neighbours.rows < 0).all(axis=1, keepdims=True)
    return Neighbours(
        np.where(none, other.rows, neighbours.rows),
        np.where(none, other.similarity, neighbours.similarity),
    )


def matched_random(
    neighbours: Neighbours, counts: Ints, *, seed: int, buckets: int = 10
) -> Neighbours:
    """As many neighbours drawn at random, each as frequent as the one it replaces: the control.

    `counts` (n,) is how often each row occurs (items) or how long it is (users); rows are parted by
    its quantiles, and a draw is uniform in the bucket of the neighbour it replaces, without the row
    itself and without repeats. What semantic neighbours gain over these, they gain by meaning and
    not by being popular. Where a bucket has too few, the row gets fewer. Similarities are 0.
    """
    if len(counts) != len(neighbours.rows):
        raise UsageError(f"{len(counts)} counts for {len(neighbours.rows)} rows")
    rng = np.random.default_rng(seed)
    some = counts[counts > 0]
    shares = np.linspace(0, 1, buckets + 1)[1:-1]
    edges = np.unique(np.quantile(some, shares)) if len(some) else np.zeros(0)
    bucket = np.searchsorted(edges, counts, side="left")
    members = [np.flatnonzero((bucket == b) & (counts > 0)) for b in range(len(edges) + 1)]
    rows = np.full_like(neighbours.rows, -1)
    for row, theirs in enumerate(neighbours.rows):
        drawn: list[int] = []
        for place in bucket[theirs[theirs >= 0]]:
            pool = members[place]
            # A few draws nearly always find one that is new; the small pool is looked through.
            free = pool if len(pool) > 4 * len(theirs) else np.setdiff1d(pool, [*drawn, row])
            while len(free):
                found = int(free[rng.integers(len(free))])
                if found != row and found not in drawn:
                    drawn.append(found)
                    break
        rows[row, : len(drawn)] = drawn
    return Neighbours(rows, np.zeros_like(neighbours.similarity))


def co_occurrence_rate(log: InteractionLog, pairs: Ints) -> float:
    """The share of pairs of items (n, 2) of which some user of the log took both."""
    took = csr_matrix((np.ones(len(log)), (log.user, log.item)), (log.n_users, log.n_items + 1))
    together = csr_matrix(took.T @ took)
    return float((np.asarray(together[pairs[:, 0], pairs[:, 1]]).ravel() > 0).mean())


def save_neighbours(neighbours: Neighbours, path: Path | str) -> None:
    """Writes neighbours to a file (.npz), so that a large catalogue is compared once."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.draft")
    with draft.open("wb") as file:
        np.savez_compressed(
            file, version=FILE_VERSION, rows=neighbours.rows, similarity=neighbours.similarity
        )
    draft.replace(path)


def load_neighbours(path: Path | str) -> Neighbours:
    """What `save_neighbours` wrote. Raises UsageError on any other file or version."""
    try:
        with np.load(path, allow_pickle=False) as file:
            version = int(file["version"])
            if version != FILE_VERSION:
                raise UsageError(f"{path} is of version {version}; this reads {FILE_VERSION}")
            return Neighbours(file["rows"], file["similarity"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, BadZipFile) as error:
        raise UsageError(f"{path} holds no neighbours: {error}") from error


def item_rows(item_vectors: Any, n_items: int) -> Vectors:
    """The vectors as float32, checked: a finite row per item, after one of padding."""
    rows = np.asarray(item_vectors, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != n_items + 1:
        raise UsageError(
            f"item vectors have a row per item, after one for padding: ({n_items + 1}, d), "
            f"not {rows.shape}"
        )
    if not np.isfinite(rows).all():
        bad = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
        raise UsageError(f"the vector of item {bad} is not finite")
    return rows
