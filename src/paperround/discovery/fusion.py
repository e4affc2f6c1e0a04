"""Two scores of the same papers made one.

    fused = w * cosine + (1 - w) * bm25 / best bm25

The cosine is taken as it is, since it is one scale for all queries: how near the nearest paper is
says how much meaning has to tell. BM25 has no such scale; what counts is how far a paper is behind
the best. A sum of scores keeps how far one is ahead of the next, which a sum over ranks throws
away: on SciFact's training queries it gives an nDCG@10 of .740 where ranks give .723
(benchmarks/results/search.md).
"""

from collections.abc import Mapping

import numpy as np

from paperround.catalogue.records import PaperId

# The part of meaning, chosen on SciFact's training queries, TLDR and the SciRepEval searches.
MEANING_WEIGHT = 0.7


def fuse(
    by_words: Mapping[PaperId, float],
    cosines: Mapping[PaperId, float],
    weight: float = MEANING_WEIGHT,
) -> list[tuple[PaperId, float]]:
    """Every paper of either with its fused score (at most 1), best first; equals by lower id.

    A paper that no word found has no part of BM25; one without a vector has the lowest cosine that
    is known, so that it is not behind every paper that has one.
    """
    ids = sorted(by_words.keys() | cosines.keys())
    if not ids:
        return []
    best = max(by_words.values(), default=0.0)
    lowest = min(cosines.values(), default=0.0)
    near = np.array([cosines.get(paper_id, lowest) for paper_id in ids])
    told = np.array([by_words.get(paper_id, 0.0) for paper_id in ids])
    sums = weight * near + (1 - weight) * (told / best if best > 0 else told)
    order = np.argsort(-sums, kind="stable")
    return [(ids[place], float(sums[place])) for place in order]
