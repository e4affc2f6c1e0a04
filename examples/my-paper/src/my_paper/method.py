"""Frugal-1U and Frugal-2U (arXiv:1407.1121, Algorithms 2 and 3)."""

import random
from collections.abc import Iterable, Iterator


def frugal_1u(
    items: Iterable[int], quantile: float, *, seed: int = 0, start: int = 0
) -> Iterator[int]:
    """The estimate of a quantile after each item; one integer is all that is kept (Algorithm 2).

    Above the estimate an item raises it by 1 with probability `quantile`, below it an item lowers
    it by 1 with probability `1 - quantile`: at the quantile both are equally likely. Raises
    ValueError unless 0 < quantile < 1.
    """
    draw, estimate = _draws(quantile, seed), start
    for item in items:
        if item > estimate and draw() < quantile:
            estimate += 1
        elif item < estimate and draw() < 1 - quantile:
            estimate -= 1
        yield estimate


def frugal_2u(
    items: Iterable[int], quantile: float, *, seed: int = 0, start: int = 0
) -> Iterator[int]:
    """The same with a step that grows while the estimate keeps moving one way (Algorithm 3).

    Two integers are kept, the estimate and the step, and the sign of the last move. An item that
    the estimate would pass stops it there, and the overshoot is taken off the step.
    """
    draw, estimate = _draws(quantile, seed), start
    step, sign = 1, 1
    for item in items:
        direction = 1 if item > estimate else -1
        chance = quantile if direction > 0 else 1 - quantile
        if item != estimate and draw() < chance:
            step += 1 if sign == direction else -1
            estimate += direction * max(step, 1)
            if sign != direction and step > 1:
                # It has turned around: what the step had grown to no longer means anything.
                step = 1
            sign = direction
            overshoot = direction * (estimate - item)
            if overshoot > 0:
                step -= overshoot
                estimate = item
        yield estimate


def _draws(quantile: float, seed: int):
    if not 0 < quantile < 1:
        raise ValueError(f"a quantile lies between 0 and 1, not {quantile}")
    return random.Random(seed).random
