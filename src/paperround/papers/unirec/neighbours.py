"""The neighbours of an item: what the same users took, close in time, and often (step 4)."""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_matrix
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import Floats, InteractionLog, Ints
from paperround.papers.unirec.uniformity import Frequency, rarity

# Score(i, j) = .4 sim / (1 + sim) + .8 / (1 + log(1 + gap)) + .5 / (1 + log(1 + var_j)).
_SIMILARITY, _NEARNESS, _FREQUENCY = 0.4, 0.8, 0.5
_PAIRS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class ItemNeighbours:
    """`table` (n_items + 1, k): each item's nearest, best first; itself where there are fewer.

    `scores` has the same shape, 0 where an item stands for a neighbour that there is not.
    """

    table: Ints
    scores: Floats

    @classmethod
    def fit(
        cls,
        log: InteractionLog,
        k: int = 10,
        *,
        by: Frequency = "count",
        max_history: int = 200,
    ) -> "ItemNeighbours":
        """The k best of each item among those that share a user with it, from train events.

        sim(i, j) = sum over their common users of 1 / log(1 + |I_u|), over sqrt(N_i N_j); gap is
        the mean time between i and j within a user, in seconds (from each item's first event; the
        term is left out where the log has no times); var_j is `rarity`. The pairs of a user grow
        with the square of their items: of a longer history the newest `max_history` count.
        """
        if k < 1 or max_history < 1:
            raise UsageError(f"k and max_history must be at least 1, not {k} and {max_history}")
        shape = (log.n_items + 1, log.n_items + 1)
        sums = [coo_matrix(shape).tocsr() for _ in range(3)]
        n_users_of = np.zeros(log.n_items + 1)
        rows: list[Ints] = []
        columns: list[Ints] = []
        values: list[list[Floats]] = [[], [], []]

        def flush() -> None:
            place = (np.concatenate(rows), np.concatenate(columns))
            for number, parts in enumerate(values):
                sums[number] = sums[number] + coo_matrix((np.concatenate(parts), place), shape)
                parts.clear()
            rows.clear()
            columns.clear()

        pending = 0
        for user in np.flatnonzero(np.diff(log.offsets)):
            items, times = _first_events(log, int(user), max_history)
            n_users_of[items] += 1
            if len(items) < 2:
                continue
            i, j = (side.ravel() for side in np.meshgrid(items, items, indexing="ij"))
            apart = i != j
            # Adding sparse matrices drops zeros, and a gap may be 0: one second more for now.
            gap = np.abs(times[:, None] - times[None, :]).ravel()[apart] + 1.0
            rows.append(i[apart])
            columns.append(j[apart])
            values[0].append(np.full(len(gap), 1 / np.log1p(len(items))))
            values[1].append(gap)
            values[2].append(np.ones(len(gap)))
            pending += len(gap)
            if pending > _PAIRS_AT_ONCE:
                flush()
                pending = 0
        if rows:
            flush()
        parts = [matrix.tocoo() for matrix in sums]
        order = [np.lexsort((part.col, part.row)) for part in parts]
        row, column = parts[2].row[order[2]], parts[2].col[order[2]]
        weight, gap_sum, n = (part.data[place] for part, place in zip(parts, order, strict=True))
        similarity = weight / np.sqrt(n_users_of[row] * n_users_of[column])
        score = _SIMILARITY * similarity / (1 + similarity)
        if log.time is not None:
            score += _NEARNESS / (1 + np.log1p(gap_sum / n - 1.0))
        score += _FREQUENCY / (1 + np.log1p(rarity(log, by)[column]))
        return cls(*_best(row, column, score, log.n_items, k))

    def draw(self, items: Tensor, n: int, generator: torch.Generator) -> Tensor:
        """(len(items), n) neighbours of each, drawn without replacement, anew at every call."""
        n = min(n, self.table.shape[1])
        keys = torch.rand(len(items), self.table.shape[1], generator=generator)
        places = keys.argsort(dim=1)[:, :n]
        return torch.from_numpy(self.table)[items.cpu()].gather(1, places).to(items.device)


def _first_events(log: InteractionLog, user: int, max_history: int) -> tuple[Ints, Floats]:
    """The distinct items of a user's newest events, and when each one comes first there."""
    start = max(log.offsets[user], log.offsets[user + 1] - max_history)
    stop = log.offsets[user + 1]
    items, first = np.unique(log.item[start:stop], return_index=True)
    times = np.zeros(len(items)) if log.time is None else log.time[start:stop][first]
    return items, times


def _best(row: Ints, column: Ints, score: Floats, n_items: int, k: int) -> tuple[Ints, Floats]:
    table = np.repeat(np.arange(n_items + 1)[:, None], k, axis=1)
    scores = np.zeros((n_items + 1, k))
    order = np.lexsort((column, -score, row))
    row, column, score = row[order], column[order], score[order]
    starts = np.searchsorted(row, np.arange(n_items + 1))
    place = np.arange(len(row)) - starts[row]
    near = place < k
    table[row[near], place[near]] = column[near]
    scores[row[near], place[near]] = score[near]
    return table.astype(np.int64), scores
