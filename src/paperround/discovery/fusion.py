"""Two scores of the same papers made one.

    meaning = max(cosine of title and abstract, cosine of the title - TITLE_DISCOUNT)
    fused = w * meaning + (1 - w) * bm25 / best bm25

A few words, as people type them, are more like a title than like a page of text; a whole sentence
is more like an abstract, which the discount leaves as it was. What titles add, and other discounts,
stand in benchmarks/results/search-variants.md.

The cosine is taken as it is, since it is one scale for all queries: how near the nearest paper is
says how much meaning has to tell. BM25 has no such scale; what counts is how far a paper is behind
the best. A sum of scores keeps how far one is ahead of the next, which a sum over ranks throws
away: on SciFact's training queries it gives more than the ranks do (benchmarks/results/search.md).
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from paperround.catalogue.records import PaperId

# The part of meaning, chosen on SciFact's training queries, TLDR and the SciRepEval searches.
MEANING_WEIGHT = 0.65
# So much less a title counts than title and abstract; chosen on the same.
TITLE_DISCOUNT = 0.03


def by_meaning(
    cosines: Mapping[PaperId, float], of_titles: Mapping[PaperId, float]
) -> dict[PaperId, float]:
    """How near each paper is: its text, or its title where that is nearer by more than a little."""
    return {
        paper_id: max(cosine, of_titles.get(paper_id, -1.0) - TITLE_DISCOUNT)
        for paper_id, cosine in cosines.items()
    }


def fuse(
    by_words: Mapping[PaperId, float],
    cosines: Mapping[PaperId, float],
    weight: float = MEANING_WEIGHT,
) -> list[tuple[PaperId, float]]:
    """Every paper of either with its fused score (at most 1), best first; equals by lower id.

    A paper that no word found has no part of BM25; one without a vector has the lowest cosine that
    is known, so that it is not behind every paper that has one.
    """
    if not by_words and not cosines:
        return []
    worded, said = _columns(by_words)
    placed, near_ones = _columns(cosines)
    # Ascending, so that equals come by lower id.
    ids = np.union1d(worded, placed)
    told = np.zeros(len(ids))
    told[np.searchsorted(ids, worded)] = said
    near = np.full(len(ids), near_ones.min(initial=np.inf) if len(placed) else 0.0)
    near[np.searchsorted(ids, placed)] = near_ones
    best = told.max(initial=0.0)
    sums = weight * near + (1 - weight) * (told / best if best > 0 else told)
    order = np.argsort(-sums, kind="stable")
    ranked = zip(ids[order].tolist(), sums[order].tolist(), strict=True)
    return [(PaperId(paper_id), score) for paper_id, score in ranked]


def _columns(
    scores: Mapping[PaperId, float],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    n = len(scores)
    return np.fromiter(scores.keys(), np.int64, n), np.fromiter(scores.values(), np.float64, n)
