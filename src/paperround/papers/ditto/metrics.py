"""Repetition of texts: n-grams, sentences, and loops that never end.

Sequences are token ids, or texts, which are split at blanks. Everything is of one continuation,
then averaged over continuations, as the paper's Repetition-4 and Repetition-Sen are.
"""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

# A continuation ends in a loop when its last 48 tokens have a period of at most 24.
LOOP_WINDOW, LOOP_PERIOD = 48, 24
NGRAMS = (1, 2, 3, 4)
END_CHARACTERS: frozenset[Hashable] = frozenset(".!?")

Tokens = Sequence[Hashable]


@dataclass(frozen=True)
class Loop:
    """The longest stretch of exact repetition: `n_tokens` from `start` on with that `period`."""

    start: int
    period: int
    n_tokens: int

    @property
    def copies(self) -> int:
        """How often the period is there in full; 1 where nothing repeats."""
        return self.n_tokens // self.period if self.period else 1


@dataclass(frozen=True)
class Repetition:
    """Means over continuations. Shares are 0 to 1; `loop_copies` is of each one's longest loop.

    `rep_n[n]` and `distinct_n[n]` add up to 1. `loop_share`: the continuations that end in a loop.
    """

    rep_n: dict[int, float]
    rep_sen: float
    distinct_n: dict[int, float]
    loop_share: float
    loop_copies: float


def rep_n(tokens: str | Tokens, n: int) -> float:
    """1 - different n-grams / all n-grams; 0 where there are none."""
    if n < 1:
        raise ValueError(f"n is {n}; it must be at least 1")
    items = tokens.split() if isinstance(tokens, str) else list(tokens)
    ngrams = [tuple(items[i : i + n]) for i in range(len(items) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def rep_sen(tokens: str | Tokens, ends: Collection[Hashable] = END_CHARACTERS) -> float:
    """1 - different sentences / all sentences; 0 where there are none.

    A sentence goes up to an end mark; what stands after the last one is no sentence. In a text
    `ends` are characters, among token ids they are ids.
    """
    sentences = _sentences(tokens, ends)
    return 1 - len(set(sentences)) / len(sentences) if sentences else 0.0


def repeats_previous(
    tokens: str | Tokens, ends: Collection[Hashable] = END_CHARACTERS
) -> tuple[int, int]:
    """How many sentences equal the one before them, and how many have one before them."""
    sentences = _sentences(tokens, ends)
    pairs = list(pairwise(sentences))
    return sum(a == b for a, b in pairs), len(pairs)


def longest_loop(tokens: str | Tokens, max_period: int | None = None) -> Loop:
    """The longest stretch whose tokens equal those one period earlier, at least two copies.

    Of several equally long ones the one with the shortest period, then the first. Without any, a
    Loop with period 0 and no tokens.
    """
    items = tokens.split() if isinstance(tokens, str) else list(tokens)
    limit = len(items) // 2 if max_period is None else min(max_period, len(items) // 2)
    best = Loop(0, 0, 0)
    for period in range(1, limit + 1):
        run = 0
        for t in range(period, len(items)):
            run = run + 1 if items[t] == items[t - period] else 0
            n_tokens = run + period
            if run >= period and n_tokens > best.n_tokens:
                best = Loop(t + 1 - n_tokens, period, n_tokens)
    return best


def ends_in_loop(
    tokens: str | Tokens, window: int = LOOP_WINDOW, max_period: int = LOOP_PERIOD
) -> bool:
    """Whether the last `window` tokens repeat with a period of at most `max_period`.

    A sequence shorter than the window does not end in a loop.
    """
    items = tokens.split() if isinstance(tokens, str) else list(tokens)
    tail = items[-window:]
    if len(tail) < window:
        return False
    periods = range(1, min(max_period, window // 2) + 1)
    return any(tail[period:] == tail[:-period] for period in periods)


def repetition_metrics(
    continuations: Sequence[str | Tokens], ends: Collection[Hashable] = END_CHARACTERS
) -> Repetition:
    """How repetitive some continuations are; without any, ValueError."""
    if not continuations:
        raise ValueError("no continuations")
    rep = {n: fmean(rep_n(tokens, n) for tokens in continuations) for n in NGRAMS}
    return Repetition(
        rep_n=rep,
        rep_sen=fmean(rep_sen(tokens, ends) for tokens in continuations),
        distinct_n={n: 1 - share for n, share in rep.items()},
        loop_share=fmean(ends_in_loop(tokens) for tokens in continuations),
        loop_copies=fmean(max(longest_loop(tokens).copies, 1) for tokens in continuations),
    )


def _sentences(tokens: str | Tokens, ends: Collection[Hashable]) -> list[tuple[Hashable, ...]]:
    found: list[tuple[Hashable, ...]] = []
    begun: list[Hashable] = []
    for item in tokens:
        begun.append(item)
        if item in ends:
            # In a text, blanks around a sentence say nothing.
            whole = (
                tuple("".join(map(str, begun)).split()) if isinstance(tokens, str) else tuple(begun)
            )
            found.append(whole)
            begun = []
    return found
