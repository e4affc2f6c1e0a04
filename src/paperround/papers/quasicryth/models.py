"""Adaptive models: how often each symbol was seen, as trees that few vector instructions search.

A model counts its symbols from 1 each, adds 1 for each that it sees, and halves all counts when
they sum to 2^20. Encoder and decoder change the models alike after every symbol.

The official program sums counts in Fenwick trees, whose every step misses the processor's cache.
Here a model is a tree whose nodes have 16 running sums each: one cache line, searched and changed
as a whole, without a branch that the processor would have to guess.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.vectors import NODE, add_one_from, n_at_most

# Counts are halved when they sum to this.
MAX_TOTAL = 1 << 20
# Levels of a model's tree: four hold 65,536 symbols.
DEPTH = 4
_LAST = NODE - 1


class Models(NamedTuple):
    """Adaptive models: the nodes of level k of model m begin at `begins[m, k]`, -1 for none.

    `sums` has shape (nodes, 16): at level 0 the running sums over 16 counts, at each level above it
    those over the totals of 16 nodes below. The last node repeats its total to its end, so that a
    model's total is the last sum of its top node, which stands at `tops[m]`.
    """

    begins: NDArray[np.int64]
    tops: NDArray[np.int64]
    depths: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sums: NDArray[np.int32]


def new_models(sizes: NDArray[np.int64]) -> Models:
    """Models that have seen nothing, of so many symbols each."""
    begins = np.full((len(sizes), DEPTH), -1, dtype=np.int64)
    widths, place = sizes, 0
    for level in range(DEPTH):
        # A level of several nodes needs one more above it.
        needed = widths > (0 if level == 0 else 1)
        nodes = np.where(needed, -(-widths // NODE), 0)
        ends = place + np.cumsum(nodes)
        begins[needed, level] = (ends - nodes)[needed]
        place, widths = int(ends[-1]), nodes
    depths = (begins >= 0).sum(axis=1)
    tops = begins[np.arange(len(sizes)), depths - 1]
    # A node is a cache line where the array begins with one.
    room = np.empty(NODE * (place + 1), dtype=np.int32)
    skipped = (-room.ctypes.data // room.itemsize) % NODE
    sums = room[skipped : skipped + NODE * place].reshape(place, NODE)
    _fill(begins, sizes, sums)
    return Models(begins, tops, depths, sizes, sums)


@compiled
def _fill(begins, sizes, sums):  # type: ignore[no-untyped-def]
    for model in range(len(sizes)):
        for level in range(DEPTH):
            begin = begins[model, level]
            if begin < 0:
                break
            width = 1 << (4 * level)
            for node in range((sizes[model] + NODE * width - 1) // (NODE * width)):
                start = node * NODE * width
                for i in range(NODE):
                    sums[begin + node, i] = min((i + 1) * width, sizes[model] - start)


@inlined
def total_of(models, model):  # type: ignore[no-untyped-def]
    """The sum of all counts of a model."""
    return np.int64(models.sums[models.tops[model], _LAST])


@inlined
def below_and_count(models, model, symbol):  # type: ignore[no-untyped-def]
    """The sum of the counts below a symbol, and the symbol's own."""
    below, count = np.int64(0), np.int64(0)
    for level in range(models.depths[model]):
        place = symbol >> (4 * level)
        node, i = models.begins[model, level] + (place >> 4), place & (NODE - 1)
        start = np.int64(models.sums[node, i - 1]) if i else np.int64(0)
        if level == 0:
            count = np.int64(models.sums[node, i]) - start
        below += start
    return below, count


@inlined
def find(models, model, target):  # type: ignore[no-untyped-def]
    """The symbol whose share of the total holds `target`, the counts below it, and its own.

    There is one, since 0 <= target < total.
    """
    symbol, below, count = np.int64(0), np.int64(0), np.int64(0)
    for level in range(models.depths[model] - 1, -1, -1):
        node = models.begins[model, level] + symbol
        within = n_at_most(models.sums, node, target - below)
        start = np.int64(models.sums[node, within - 1]) if within else np.int64(0)
        count = np.int64(models.sums[node, within]) - start
        below += start
        symbol = (symbol << 4) + within
    return symbol, below, count


@inlined
def add_one(models, model, symbol):  # type: ignore[no-untyped-def]
    """Counts a symbol."""
    for level in range(models.depths[model]):
        place = symbol >> (4 * level)
        add_one_from(models.sums, models.begins[model, level] + (place >> 4), place & (NODE - 1))
    if models.sums[models.tops[model], _LAST] >= MAX_TOTAL:
        halve(models.begins, models.sizes, models.sums, model)


@compiled
def halve(begins, sizes, sums, model):  # type: ignore[no-untyped-def]
    """Sets every count c of a model to (c >> 1) | 1."""
    n = sizes[model]
    for level in range(DEPTH):
        begin = begins[model, level]
        if begin < 0:
            break
        before, running = np.int64(0), np.int64(0)
        # Level 0: each count by itself; above it: the totals of the nodes below.
        for child in range((n + _LAST) // NODE * NODE):
            node, i = begin + child // NODE, child % NODE
            if i == 0:
                before, running = np.int64(0), np.int64(0)
            if child < n:
                if level == 0:
                    count = sums[node, i] - before
                    before = np.int64(sums[node, i])
                    running += (count >> 1) | 1
                else:
                    running += sums[begins[model, level - 1] + child, _LAST]
            sums[node, i] = running
        n = (n + _LAST) // NODE
