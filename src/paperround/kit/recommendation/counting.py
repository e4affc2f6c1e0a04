"""Models that count: popularity, Markov chains, item-kNN. They stand in every table.

On small or sparse data they are close to neural models, and on MovieLens-100K about level. They
learn in a second, from train events alone, and score through the same method as the networks.
"""

from collections.abc import Mapping

import numpy as np
import torch
from scipy.sparse import coo_matrix, csr_matrix
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD, InteractionLog
from paperround.kit.recommendation.models import AbstractSequenceModel

_BACK_OFF = 1e-3


class Popularity(AbstractSequenceModel):
    """Every item's share of the train events, whatever the history."""

    max_len = 1

    def __init__(self, n_items: int) -> None:
        super().__init__()
        self.n_items = n_items
        self.register_buffer("share", torch.zeros(n_items + 1, dtype=torch.float64))

    def fit(self, log: InteractionLog) -> "Popularity":
        """Itself, having counted the log."""
        self.share = torch.from_numpy(_shares(log))
        return self

    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceModel."""
        return _without_padding(self.share.expand(len(items), -1).clone())


class Markov(AbstractSequenceModel):
    """What followed each of the last `order` items: sum over j of P(. | the j-th last) / j.

    P is the count of direct transitions, normalised per item; popularity times 1e-3 is added, which
    orders what was never seen to follow. One item gives a Markov chain, three the Markov-3 that an
    untuned network hardly beats on MovieLens-100K.
    """

    def __init__(self, n_items: int, order: int = 1) -> None:
        super().__init__()
        if order < 1:
            raise UsageError(f"a Markov chain looks at 1 item or more, not {order}")
        self.n_items, self.max_len = n_items, order
        self._follow = csr_matrix((n_items + 1, n_items + 1))
        self._share = np.zeros(n_items + 1)

    def fit(self, log: InteractionLog) -> "Markov":
        """Itself, having counted the log's transitions."""
        inside = log.user[1:] == log.user[:-1]
        before, after = log.item[:-1][inside], log.item[1:][inside]
        shape = (self.n_items + 1, self.n_items + 1)
        counts = coo_matrix((np.ones(len(before)), (before, after)), shape=shape).tocsr()
        totals = np.maximum(1.0, np.asarray(counts.sum(axis=1)).ravel())
        self._follow = counts.multiply(1 / totals[:, None]).tocsr()
        self._share = _shares(log)
        return self

    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceModel."""
        ages = _ages(items)
        weights = np.where((ages >= 1) & (ages <= self.max_len), 1 / np.maximum(ages, 1), 0.0)
        scores = _weighted_rows(items.numpy(), weights, self._follow)
        return _without_padding(torch.from_numpy(scores + _BACK_OFF * self._share))

    def tensors(self) -> dict[str, Tensor]:
        """See AbstractSequenceModel."""
        return {"share": torch.from_numpy(self._share), **_parts(self._follow)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """See AbstractSequenceModel."""
        self._follow = _joined(tensors, self.n_items)
        self._share = tensors["share"].numpy()


class ItemKNN(AbstractSequenceModel):
    """Items that the same users took: cosine with shrinkage, recent items counting more.

    sim(i, j) = users of both / sqrt((c_i + 20) (c_j + 20)), summed over the last 20 items with
    weight 0.8 ** age. `neighbours` keeps that many of each item's nearest (None: all, which is
    what the known figures are of, and large where the catalogue is).
    """

    def __init__(
        self,
        n_items: int,
        *,
        shrinkage: float = 20.0,
        decay: float = 0.8,
        max_len: int = 20,
        neighbours: int | None = None,
    ) -> None:
        super().__init__()
        self.n_items, self.max_len = n_items, max_len
        self.shrinkage, self.decay, self.neighbours = shrinkage, decay, neighbours
        self._similar = csr_matrix((n_items + 1, n_items + 1))
        self._share = np.zeros(n_items + 1)

    def fit(self, log: InteractionLog) -> "ItemKNN":
        """Itself, having counted which items share users."""
        shape = (log.n_users, self.n_items + 1)
        taken = coo_matrix((np.ones(len(log)), (log.user, log.item)), shape=shape).tocsr()
        # A user who took an item twice is one user.
        taken.data[:] = 1.0
        both = (taken.T @ taken).tocoo()
        counts = np.asarray(taken.sum(axis=0)).ravel() + self.shrinkage
        apart = both.row != both.col
        row, column = both.row[apart], both.col[apart]
        similarity = both.data[apart] / np.sqrt(counts[row] * counts[column])
        similar = coo_matrix((similarity, (row, column)), shape=(self.n_items + 1,) * 2).tocsr()
        self._similar = similar if self.neighbours is None else _nearest(similar, self.neighbours)
        self._share = _shares(log)
        return self

    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        """See AbstractSequenceModel; popularity orders what has no neighbour in the history."""
        ages = _ages(items)
        weights = np.where(ages >= 1, self.decay ** np.maximum(ages - 1, 0), 0.0)
        scores = _weighted_rows(items.numpy(), weights, self._similar)
        return _without_padding(torch.from_numpy(scores + 1e-9 * self._share))

    def tensors(self) -> dict[str, Tensor]:
        """See AbstractSequenceModel."""
        return {"share": torch.from_numpy(self._share), **_parts(self._similar)}

    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """See AbstractSequenceModel."""
        self._similar = _joined(tensors, self.n_items)
        self._share = tensors["share"].numpy()


def _shares(log: InteractionLog) -> np.ndarray:
    return log.item_counts / max(1, len(log))


def _ages(items: Tensor) -> np.ndarray:
    """(batch, length): 1 for the newest item, 2 for the one before it, 0 on padding."""
    real = (items != PAD).numpy()
    return np.where(real, real.sum(axis=1, keepdims=True) - np.arange(items.shape[1]), 0)


def _weighted_rows(items: np.ndarray, weights: np.ndarray, matrix: csr_matrix) -> np.ndarray:
    """(batch, n_items + 1): per case, the sum of weight times the matrix's row of each item."""
    case = np.repeat(np.arange(len(items)), items.shape[1])
    chosen = coo_matrix(
        (weights.ravel(), (case, items.ravel())), shape=(len(items), matrix.shape[0])
    ).tocsr()
    return (chosen @ matrix).toarray()


def _without_padding(scores: Tensor) -> Tensor:
    scores[:, PAD] = -torch.inf
    return scores


def _nearest(similar: csr_matrix, k: int) -> csr_matrix:
    rows, columns, values = [], [], []
    for item in range(similar.shape[0]):
        start, stop = similar.indptr[item], similar.indptr[item + 1]
        best = np.argsort(-similar.data[start:stop], kind="stable")[:k]
        rows.append(np.full(len(best), item))
        columns.append(similar.indices[start:stop][best])
        values.append(similar.data[start:stop][best])
    place = (np.concatenate(rows), np.concatenate(columns))
    return coo_matrix((np.concatenate(values), place), shape=similar.shape).tocsr()


def _parts(matrix: csr_matrix) -> dict[str, Tensor]:
    return {
        "values": torch.from_numpy(matrix.data.astype(np.float64)),
        "columns": torch.from_numpy(matrix.indices.astype(np.int64)),
        "starts": torch.from_numpy(matrix.indptr.astype(np.int64)),
    }


def _joined(tensors: Mapping[str, Tensor], n_items: int) -> csr_matrix:
    parts = (tensors["values"].numpy(), tensors["columns"].numpy(), tensors["starts"].numpy())
    return csr_matrix(parts, shape=(n_items + 1, n_items + 1))
