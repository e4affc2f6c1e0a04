"""What is measured of streams: quality, steadiness, lag, passes, and the time of single updates."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from paperround.kit.translation import bleu, chrf
from paperround.papers.fretna.metrics import all_clicks_and_edits, average_lagging, erasures
from paperround.papers.fretna.streaming import Stream


@dataclass(frozen=True)
class Scores:
    """A corpus of streams in numbers. Lag in source words; passes are means of one update.

    `erasure` (NE) and `click_n_edit` (NCNE) are over all words of the last translations together.
    There are `n_words` of these; `empty` counts last translations without any, which have no lag.
    """

    bleu: float
    chrf: float
    lag: float
    erasure: float
    click_n_edit: float
    passes: float
    n_words: int
    empty: int


def score(streams: Sequence[Stream], references: Sequence[str]) -> Scores:
    """The scores of streams whose last translations should be the references.

    Where all last translations are empty, the lag is no number.
    """
    finals = [stream.final for stream in streams]
    with_words = [stream.outputs for stream in streams if stream.final]
    n_words = sum(len(outputs[-1]) for outputs in with_words)
    # One word, where there is none: what was taken back before counts all the same.
    per_word = max(1, n_words)
    return Scores(
        bleu=bleu(finals, references),
        chrf=chrf(finals, references),
        lag=fmean(map(average_lagging, with_words)) if with_words else math.nan,
        erasure=sum(erasures(stream.outputs) for stream in streams) / per_word,
        click_n_edit=sum(
            sum(pair) for stream in streams for pair in all_clicks_and_edits(stream.outputs)
        )
        / per_word,
        passes=fmean(n for stream in streams for n in stream.passes),
        n_words=n_words,
        empty=len(streams) - len(with_words),
    )


def by_position(rows: Sequence[Sequence[float]], *, at_least: int = 5) -> list[tuple[int, float]]:
    """The mean of what each update took, by source position from 1; needs `at_least` streams."""
    longest = max(map(len, rows), default=0)
    found = []
    for n in range(longest):
        values = [row[n] for row in rows if n < len(row)]
        if len(values) >= at_least:
            found.append((n + 1, fmean(values)))
    return found


def slope(rows: Sequence[Sequence[float]]) -> float:
    """By how much an update takes more for each source word, by least squares over all updates.

    Raises ValueError where all updates are at one position.
    """
    x = np.concatenate([np.arange(1, len(row) + 1) for row in rows])
    y = np.concatenate([np.asarray(row, dtype=float) for row in rows])
    x = x - x.mean()
    if not x.any():
        raise ValueError("one position has no slope; give longer streams")
    return float(x @ y / (x @ x))


def mean_from(rows: Sequence[Sequence[float]], position: int) -> float:
    """The mean of all updates from that source position on (from 1).

    Raises ValueError where no stream is as long.
    """
    values = [value for row in rows for value in row[position - 1 :]]
    if not values:
        raise ValueError(f"no stream has {position} source words")
    return fmean(values)


def timed(
    arms: Mapping[str, Callable[[str], Sequence[float]]],
    sources: Sequence[str],
    on_source: Callable[[], None] = lambda: None,
) -> dict[str, list[list[float]]]:
    """The seconds of every update of every arm: per arm a row for each source.

    An arm is a function from a source to its updates' seconds. All arms take each source in turn,
    so that a machine that slows down slows them all; the first source goes first once for warmth.
    """
    found: dict[str, list[list[float]]] = {name: [] for name in arms}
    for run in arms.values():
        run(sources[0])
    for source in sources:
        for name, run in arms.items():
            found[name].append(list(run(source)))
        on_source()
    return found
