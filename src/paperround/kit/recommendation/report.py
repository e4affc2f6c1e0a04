"""Several models over several seeds on the same cases: what each gives, and what is sure of it.

    table = compare({"SASRec": [a0, a1, a2], "ours": [b0, b1, b2]}, baseline="SASRec")
    print(table.markdown())

The evaluations of one table have the same cases, flags and candidates; anything else is refused.
Published figures stand in columns of their own protocols.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from paperround.errors import UsageError
from paperround.kit.recommendation.evaluation import METRICS, Evaluation
from paperround.kit.recommendation.interactions import Floats
from paperround.kit.recommendation.metrics import Difference


@dataclass(frozen=True)
class Compared:
    """One model under one metric: its mean over the seeds, and how it stands to the baseline.

    `sd` is the standard deviation between seeds, None with one seed. `difference` is paired, with
    the baseline on the same cases, and has an interval over cases and seeds alike; `ratio` is the
    mean divided by the baseline's. Both are None for the baseline itself. `seeds_above` counts the
    seeds whose mean is above the baseline's mean.
    """

    model: str
    metric: str
    mean: float
    sd: float | None
    per_seed: tuple[float, ...]
    difference: Difference | None = None
    ratio: float | None = None
    seeds_above: int | None = None

    @property
    def says(self) -> str:
        """The difference in words for a table: better, worse, or not to be told apart."""
        if self.difference is None:
            return "baseline"
        if not self.difference.sure:
            return "no sure difference"
        return "better" if self.difference.mean > 0 else "worse"


@dataclass(frozen=True)
class Comparison:
    """All models under one metric after the other; `flags` say how it was measured."""

    baseline: str
    flags: str
    rows: tuple[Compared, ...]

    def of(self, model: str, metric: str) -> Compared:
        """The row of one model and one metric. Raises KeyError."""
        for row in self.rows:
            if (row.model, row.metric) == (model, metric):
                return row
        raise KeyError((model, metric))

    def as_dicts(self) -> list[dict[str, Any]]:
        """JSON-ready rows."""
        return [{**asdict(row), "says": row.says, "flags": self.flags} for row in self.rows]

    def markdown(self) -> str:
        """A table of one line per model and metric, with its flags under it."""
        lines = [
            f"| model | metric | mean | sd | seeds | to {self.baseline} | 95 % | |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        for row in self.rows:
            sd = "–" if row.sd is None else f"{row.sd:.4f}"
            to, interval = "–", "–"
            if row.difference is not None:
                to = f"{row.difference.mean:+.4f}"
                to += "" if row.ratio is None else f" ({100 * (row.ratio - 1):+.1f} %)"
                interval = f"{row.difference.low:+.4f} … {row.difference.high:+.4f}"
            lines.append(
                f"| {row.model} | {row.metric} | {row.mean:.4f} | {sd} | {len(row.per_seed)} "
                f"| {to} | {interval} | {row.says} |"
            )
        return "\n".join([*lines, "", f"{self.flags[:1].upper()}{self.flags[1:]}."])


def compare(
    results: Mapping[str, Sequence[Evaluation]],
    *,
    baseline: str,
    metrics: Sequence[str] = METRICS,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Every model of `results` (one evaluation a seed) beside the baseline.

    Raises UsageError where evaluations differ in their cases, candidates or flags: such figures say
    nothing about models.
    """
    if baseline not in results:
        raise UsageError(f"no model '{baseline}' to compare with; there are {', '.join(results)}")
    flags = _same_protocol(results)
    rows = []
    for metric in metrics:
        theirs = _per_case(results[baseline], metric)
        base = float(theirs.mean())
        for model, evaluations in results.items():
            ours = _per_case(evaluations, metric)
            per_seed = ours.mean(axis=1)
            row = Compared(
                model,
                metric,
                mean=float(per_seed.mean()),
                sd=float(per_seed.std(ddof=1)) if len(per_seed) > 1 else None,
                per_seed=tuple(per_seed.tolist()),
            )
            if model != baseline:
                row = replace(
                    row,
                    difference=paired_over_seeds(ours, theirs, resamples=resamples, seed=seed),
                    ratio=row.mean / base if base > 0 else None,
                    seeds_above=int((per_seed > base).sum()),
                )
            rows.append(row)
    return Comparison(baseline, flags, tuple(rows))


def paired_over_seeds(
    first: Floats, second: Floats, *, resamples: int = 1000, level: float = 0.95, seed: int = 0
) -> Difference:
    """How much `first` is above `second`: both (seeds, cases), on the same cases.

    Every resample draws cases (the same for both) and, for each model by itself, seeds: the
    interval covers the luck of training as well as that of the test. With three seeds that part is
    drawn from three values, so the interval is rather too narrow than too wide; with one seed there
    is none of it, and this is `paired_bootstrap`.
    """
    first, second = np.atleast_2d(first), np.atleast_2d(second)
    if first.shape[1] != second.shape[1]:
        raise UsageError(f"{first.shape[1]} and {second.shape[1]} cases cannot be paired")
    n = first.shape[1]
    if not n:
        raise UsageError("no cases to compare")
    rng = np.random.default_rng(seed)
    means = np.empty(resamples)
    for number in range(resamples):
        weights = np.bincount(rng.integers(0, n, size=n), minlength=n) / n
        drawn = [
            (values @ weights)[rng.integers(0, len(values), size=len(values))].mean()
            for values in (first, second)
        ]
        means[number] = drawn[0] - drawn[1]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Difference(float(first.mean() - second.mean()), float(low), float(high), n)


@dataclass(frozen=True)
class Published:
    """A figure that somebody reported: `protocol` is `Evaluation.flags` where it is the same.

    `protocol` says in words how it was measured otherwise: "100 sampled negatives", "leave-one-out,
    other 5-core". `where` is its source, as a reader finds it.
    """

    model: str
    metric: str
    value: float
    protocol: str
    where: str


def reported_beside_measured(
    comparison: Comparison, published: Sequence[Published]
) -> list[dict[str, str]]:
    """Lines of a table: measured figures, and published ones in a column of their own protocol.

    Figures of two protocols never share a column, since they do not compare.
    """
    measured = f"measured: {comparison.flags}"
    protocols = list(dict.fromkeys(figure.protocol for figure in published))
    columns = [measured, *(f"reported: {protocol}" for protocol in protocols)]
    lines = {
        (row.model, row.metric): {
            "model": row.model,
            "metric": row.metric,
            measured: f"{row.mean:.4f}" + ("" if row.sd is None else f" ± {row.sd:.4f}"),
        }
        for row in comparison.rows
    }
    for figure in published:
        line = lines.setdefault(
            (figure.model, figure.metric), {"model": figure.model, "metric": figure.metric}
        )
        line[f"reported: {figure.protocol}"] = f"{figure.value:.4f} ({figure.where})"
    blank = dict.fromkeys(columns, "–")
    return [{"model": "", "metric": "", **blank, **line} for line in lines.values()]


def _per_case(evaluations: Sequence[Evaluation], metric: str) -> Floats:
    """(seeds, cases)."""
    return np.stack([evaluation.per_case(metric) for evaluation in evaluations])


def _same_protocol(results: Mapping[str, Sequence[Evaluation]]) -> str:
    found: dict[str, str] = {}
    first: Evaluation | None = None
    for model, evaluations in results.items():
        if not evaluations:
            raise UsageError(f"{model} has no evaluation")
        for evaluation in evaluations:
            first = first or evaluation
            found.setdefault(evaluation.flags, model)
            if len(evaluation) == len(first) and not np.array_equal(
                evaluation.ranks.n, first.ranks.n
            ):
                raise UsageError(f"{model} was ranked among other candidates than the rest")
    if len(found) > 1:
        said = "; ".join(f"{model}: {flags}" for flags, model in found.items())
        raise UsageError(f"these figures do not compare: {said}")
    return next(iter(found))
