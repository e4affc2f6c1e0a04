"""Measures the card's claims on streams whose quantiles are known exactly."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from statistics import NormalDist, mean

import numpy as np

from my_paper.method import frugal_1u, frugal_2u
from paperround.runs.reproduction import Run

# Log-normal items, in the thousands so that a step of 1 is a small one, as in the paper's traces.
_SCALE, _SPREAD = 1_000.0, 0.7
_NEAR = 0.05
_SIZES = {
    "quick": (20_000, (0.25, 0.5, 0.9)),
    "standard": (200_000, (0.1, 0.25, 0.5, 0.75, 0.9)),
}


def reproduce(run: Run) -> None:
    """Both claims, seed by seed; the streams, the methods and the baseline share `run.seeds`."""
    n, quantiles = _SIZES[run.scale]
    rows, lines = [], {}
    with run.stage("streams", total=len(run.seeds) * len(quantiles)) as stage:
        for seed in run.seeds:
            items = _stream(n, seed)
            distances, kept_distances, gains = [], [], []
            for quantile in quantiles:
                one = list(frugal_1u(items, quantile, seed=seed))
                two = list(frugal_2u(items, quantile, seed=seed))
                distance = _distance(one[n // 2 :], quantile)
                kept = _distance(_kept_items(items, seed)[n // 2 :], quantile)
                arrived = _arrival(one, quantile), _arrival(two, quantile)
                distances.append(distance)
                kept_distances.append(kept)
                gains.append(arrived[0] / arrived[1])
                rows.append([seed, quantile, *arrived, distance, kept])
                if seed == run.seeds[0] and quantile == quantiles[-1]:
                    lines = _lines({"one unit": one, "two units": two}, quantile)
                stage.advance()
            run.measure("stays-close", max(distances), baseline=mean(kept_distances), seed=seed)
            run.measure("two-are-faster", min(gains), baseline=1.0, seed=seed)
    run.table(
        "Every stream",
        ["seed", "quantile", "items, one unit", "items, two units", "distance", "random item"],
        rows,
        note="Items until the estimate is first within 0.05 of the quantile in mass.",
    )
    run.series(
        f"The way to the {quantiles[-1]:g} quantile",
        lines,
        x_label="items seen",
        y_label="estimate",
        x_log=True,
    )
    run.sample("The first items", {"a stream": ", ".join(map(str, _stream(20, run.seeds[0])))})


def _stream(n: int, seed: int) -> list[int]:
    random_items = np.random.default_rng(seed).lognormal(np.log(_SCALE), _SPREAD, n)
    return [int(item) for item in random_items]


def _mass_below(estimate: float) -> float:
    """The probability that an item is below: known exactly, so no sampling error enters."""
    if estimate <= 0:
        return 0.0
    return NormalDist(np.log(_SCALE), _SPREAD).cdf(float(np.log(estimate)))


def _distance(estimates: Iterable[float], quantile: float) -> float:
    return mean(abs(_mass_below(estimate) - quantile) for estimate in _thinned(estimates))


def _thinned(values: Iterable[float], every: int = 10) -> Iterator[float]:
    return (value for n, value in enumerate(values) if n % every == 0)


def _arrival(estimates: Sequence[int], quantile: float) -> int:
    """How many items it took to come near the quantile; all of them where it never did."""
    near = (n for n, e in enumerate(estimates, 1) if abs(_mass_below(e) - quantile) <= _NEAR)
    return next(near, len(estimates))


def _kept_items(items: Sequence[int], seed: int) -> list[int]:
    """The one item that reservoir sampling holds after each item (Vitter's algorithm R)."""
    draw: Callable[[], float] = random.Random(seed).random
    kept, held = 0, []
    for n, item in enumerate(items, 1):
        if draw() < 1 / n:
            kept = item
        held.append(kept)
    return held


def _lines(
    estimates: dict[str, list[int]], quantile: float
) -> dict[str, list[tuple[float, float]]]:
    n = len(next(iter(estimates.values())))
    places = sorted({int(place) for place in np.geomspace(1, n, 200)})
    truth = _SCALE * float(np.exp(_SPREAD * NormalDist().inv_cdf(quantile)))
    lines = {name: [(p, values[p - 1]) for p in places] for name, values in estimates.items()}
    return {**lines, "the quantile": [(a, truth) for a, _ in pairwise(places)]}
