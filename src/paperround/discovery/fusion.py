"""Several rankings of the same papers made one."""

from collections.abc import Sequence

from paperround.catalogue.records import PaperId

# As in the paper; the ranking is insensitive to it.
RRF_K = 60


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[PaperId]],
    *,
    weights: Sequence[float] | None = None,
    k: int = RRF_K,
) -> list[tuple[PaperId, float]]:
    """Papers by the sum of weight / (k + rank) over the rankings, best first; ranks start at 1.

    A paper missing from a ranking adds nothing there. Equal sums keep the order in which the papers
    are first met, reading the rankings one after the other. Raises ValueError if k is negative or
    the weights are not one for each ranking. Source: Cormack, Clarke, Büttcher, SIGIR 2009; the
    weights are ours.
    """
    if k < 0:
        raise ValueError(f"k is {k}; it must not be negative")
    if weights is None:
        weights = [1.0] * len(rankings)
    if len(weights) != len(rankings):
        raise ValueError(f"{len(weights)} weights for {len(rankings)} rankings")
    sums: dict[PaperId, float] = {}
    for weight, ranking in zip(weights, rankings, strict=True):
        for rank, paper_id in enumerate(ranking, start=1):
            sums[paper_id] = sums.get(paper_id, 0.0) + weight / (k + rank)
    return sorted(sums.items(), key=lambda item: -item[1])
