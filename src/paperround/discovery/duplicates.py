"""Near-duplicates among the papers that answer: a version of a paper takes no place of its own.

The catalogue merges what it knows to be one paper when it comes in. What is left are a workshop's
and a conference's version, a paper and its extended form, two reports of one evaluation.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from paperround.catalogue.records import PaperId
from paperround.discovery.vectors import VectorIndex

# Vectors nearer than this are of versions of one text; see benchmarks/results/search.md.
SAME_COSINE = 0.95
# Only so many of the first are looked at: they are what a person sees.
_LOOKED_AT = 200


def group_duplicates(ranked: Sequence[PaperId], vectors: VectorIndex) -> list[list[PaperId]]:
    """The papers in their order, each with its near-duplicates that come after it.

    Of the first 200 only; every other paper stands alone.
    """
    looked_at, rest = ranked[:_LOOKED_AT], ranked[_LOOKED_AT:]
    found = vectors.vectors_of(looked_at)
    if len(found) < 2 or not _has_pair(np.stack(list(found.values()))):
        return [[paper_id] for paper_id in ranked]
    places: list[list[PaperId]] = []
    # Row of each place's first paper that has a vector, and the vectors themselves.
    firsts: list[int] = []
    heads = np.zeros((len(looked_at), next((len(v) for v in found.values()), 0)), np.float32)
    for paper_id in looked_at:
        own = found.get(paper_id)
        if own is not None and firsts:
            alike = heads[: len(firsts)] @ own
            best = int(np.argmax(alike))
            if alike[best] >= SAME_COSINE:
                places[firsts[best]].append(paper_id)
                continue
        places.append([paper_id])
        if own is not None:
            heads[len(firsts)] = own
            firsts.append(len(places) - 1)
    return [*places, *([paper_id] for paper_id in rest)]


def _has_pair(vectors: npt.NDArray[np.float32]) -> bool:
    """Whether any two are near-duplicates: most answers have none, and that is soon said."""
    return bool(np.triu(vectors @ vectors.T >= SAME_COSINE, k=1).any())
