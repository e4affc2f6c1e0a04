"""Repeated figures as the tables of benchmarks have them: the median, and from where to where."""

import statistics
from collections.abc import Sequence


def spread(values: Sequence[float]) -> list[float]:
    """The median, the smallest and the largest."""
    return [round(v, 4) for v in (statistics.median(values), min(values), max(values))]


def said(values: Sequence[float]) -> str:
    """What `spread` gives, in a cell of a table."""
    return "{:.3g} ({:.3g}–{:.3g})".format(*values)
