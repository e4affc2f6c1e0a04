"""Full-ranking evaluation of any model, and its breakdown by groups of cases.

Whether seen items are ranked too, and how ties count, changes the figures more than most methods do
(Markov-3 on MovieLens-100K: HR@10 .123 with, .168 without the seen items), so an evaluation carries
its flags, and prints them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import (
    Floats,
    InteractionLog,
    Ints,
    same_stretch_as_before,
)
from paperround.kit.recommendation.metrics import (
    TIES,
    Ranks,
    Ties,
    bootstrap_means,
    count_ranks,
    metric_by_name,
    sampled_expectation,
)
from paperround.kit.recommendation.models import AbstractSequenceModel
from paperround.kit.recommendation.splits import Cases

METRICS = ("hr@10", "ndcg@10", "hr@20", "ndcg@20", "mrr")
# Scores of a batch stay within this many: what fits the caches is compared several times faster.
_BATCH_SCORES = 1 << 21


@dataclass(frozen=True)
class Evaluation:
    """Where the targets of some cases stand, and what follows from it under the stated flags."""

    ranks: Ranks
    ties: Ties
    mask_seen: bool
    metrics: Mapping[str, float]

    def __len__(self) -> int:
        return len(self.ranks)

    def __getitem__(self, name: str) -> float:
        """The mean of a metric, also of one that was not asked for before."""
        found = self.metrics.get(name)
        return float(self.per_case(name).mean()) if found is None else found

    def per_case(self, name: str) -> Floats:
        """A metric of every case, in the cases' order: what paired comparisons need."""
        return metric_by_name(name)(self.ranks, self.ties)

    def sampled(self, name: str, m: int) -> float:
        """The metric expected with m uniform negatives; only to compare with papers that sample."""
        return float(sampled_expectation(self.ranks, m, name, self.ties).mean())

    @property
    def flags(self) -> str:
        """What a table has to say beside these figures."""
        seen = "seen items masked" if self.mask_seen else "seen items ranked"
        return f"full ranking, {seen}, ties {self.ties}, {len(self)} cases"


@dataclass(frozen=True)
class Group:
    """A metric over some of the cases, with a 95 % bootstrap interval of its mean."""

    name: str
    n: int
    mean: float
    low: float
    high: float


def evaluate(
    model: AbstractSequenceModel,
    cases: Cases,
    *,
    metrics: Sequence[str] = METRICS,
    mask_seen: bool = False,
    ties: Ties = "mean",
    batch_size: int | None = None,
) -> Evaluation:
    """Ranks every case's target among all items. Every case counts, the last batch too.

    With `mask_seen`, what the user had before is no candidate (the target always is). Raises
    UsageError without cases or for an unknown metric, ScoresError on scores not finite.
    """
    if ties not in TIES:
        raise UsageError(f"no policy '{ties}' for ties; there are {', '.join(TIES)}")
    if not len(cases):
        raise UsageError(
            "no cases to evaluate on: leave-one-out needs users with at least 3 events"
        )
    if batch_size is None:
        batch_size = int(np.clip(_BATCH_SCORES // (model.n_items + 1), 1, 1024))
    # Cases of similar history lengths stand together, so that little padding is computed.
    order = np.argsort(np.minimum(cases.history_lengths, model.max_len), kind="stable")
    parts = []
    for batch in cases.select(order).batches(batch_size, model.max_len):
        scores = model.score_batch(
            torch.from_numpy(batch.items),
            None if batch.times is None else torch.from_numpy(batch.times),
        )
        seen = batch.seen if mask_seen else None
        parts.append(count_ranks(scores, torch.from_numpy(batch.target), seen))
    back = np.argsort(order, kind="stable")
    ranks = Ranks(
        np.concatenate([part.above for part in parts])[back],
        np.concatenate([part.tied for part in parts])[back],
        np.concatenate([part.n for part in parts])[back],
    )
    means = {name: float(metric_by_name(name)(ranks, ties).mean()) for name in metrics}
    return Evaluation(ranks, ties, mask_seen, means)


def by_group(
    values: Floats, labels: NDArray[np.str_], *, resamples: int = 1000, seed: int = 0
) -> list[Group]:
    """The mean of per-case values in each group, groups by their names."""
    groups = []
    for name in sorted(set(labels.tolist())):
        inside = values[labels == name]
        means = bootstrap_means(inside, resamples=resamples, seed=seed)
        low, high = np.quantile(means, [0.025, 0.975])
        groups.append(Group(name, len(inside), float(inside.mean()), float(low), float(high)))
    return groups


def popularity_quartiles(cases: Cases, train: InteractionLog) -> NDArray[np.str_]:
    """Per case, "Q1" (rarest) to "Q4": the quartile of the target's train events, or "cold"."""
    counts = train.item_counts[cases.items]
    return np.where(counts == 0, "cold", quartiles(counts))


def length_quartiles(cases: Cases) -> NDArray[np.str_]:
    """Per case, "Q1" (shortest) to "Q4": the quartile of the history's length."""
    return quartiles(cases.history_lengths)


def same_day(cases: Cases) -> NDArray[np.str_]:
    """Per case, whether the target falls on the same day as the event before it."""
    same = same_stretch_as_before(cases.log)[cases.target]
    return np.where(same, "same day", "later day")


def quartiles(values: Ints | Floats) -> NDArray[np.str_]:
    """The quartile of each value, "Q1" (lowest) to "Q4"; equal values share one."""
    edges = np.quantile(values, [0.25, 0.5, 0.75]) if len(values) else np.zeros(3)
    return np.array(["Q1", "Q2", "Q3", "Q4"])[np.searchsorted(edges, values, side="left")]
