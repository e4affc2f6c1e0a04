"""Tilings of the word positions by long and short tiles, and their hierarchies.

A long tile L covers two words, a short tile S one. Deflation replaces each L followed by S with a
super-L and every other element with a super-S. On the golden tiling that gives the golden tiling
again, so a super-L of level j covers a Fibonacci number of words, for ever; a periodic tiling runs
out of one of the two after a few levels. A tiling decides at which word positions a phrase may be
looked up; the decoder never sees it.

Symbols: alpha is the share of long tiles, theta the phase, phi the golden ratio, F_j the words that
a super-L of level j covers.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.papers.quasicryth.compiled import compiled

PHI = (1 + math.sqrt(5)) / 2
# F_j for the levels 0 to 9: the words of a phrase.
SPANS = (2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
N_LEVELS = len(SPANS)

Automaton = Literal["thue-morse", "rudin-shapiro", "period-doubling", "sanddrift"]

# Official program, v5.6: the golden tilings come first, then three other irrationals, then those
# that a greedy search on another text had added, each at two phases.
_N_GOLDEN = 12
_NOBLE_5 = 62 * (99 - math.sqrt(5)) / 9796
_OTHER_ALPHAS = (
    *(math.sqrt(58) - 7, _NOBLE_5, math.sqrt(13) - 3),
    *(0.502, 0.619, 0.617, 0.616, 0.620, 0.614, 0.621, 0.622, 0.612),
)


@dataclass(frozen=True)
class Tiling:
    """Cut and project: tile k is long iff floor((k+1) alpha + theta) - floor(k alpha + theta) = 1.

    Irrational alpha gives a Sturmian word: aperiodic, with n + 1 distinct factors of length n.
    """

    alpha: float = 1 / PHI
    phase: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not 0 <= self.phase < 1:
            raise UsageError(
                f"alpha lies between 0 and 1, the phase in [0, 1): {self.alpha}, {self.phase}"
            )

    def symbols(self, n_words: int) -> NDArray[np.uint8]:
        """Enough tiles to cover `n_words`: 1 long, 0 short."""
        n_tiles = min(n_words, math.ceil(n_words / (1 + self.alpha)) + 2)
        # In double precision this is exact far beyond 10^9 tiles; in single, wrong after 10^6.
        return _cut_and_project(self.alpha, self.phase, n_tiles)


@dataclass(frozen=True)
class PeriodicTiling:
    """A pattern repeated for ever, such as the paper's Period-5, begun at tile `shift`."""

    pattern: str = "LLSLS"
    shift: int = 0

    def __post_init__(self) -> None:
        if not self.pattern or set(self.pattern) - {"L", "S"}:
            raise UsageError(f"a pattern is made of L and S: '{self.pattern}'")

    def symbols(self, n_words: int) -> NDArray[np.uint8]:
        """Enough tiles to cover `n_words`: 1 long, 0 short."""
        turn = self.shift % len(self.pattern)
        once = [letter == "L" for letter in self.pattern[turn:] + self.pattern[:turn]]
        return np.resize(np.array(once, dtype=np.uint8), n_words)


@dataclass(frozen=True)
class AutomaticTiling:
    """A sequence that a substitution or an automaton makes, aperiodic but not Sturmian."""

    name: Automaton

    def __post_init__(self) -> None:
        if self.name not in get_args(Automaton):
            raise UsageError(f"no tiling '{self.name}'; there are {', '.join(get_args(Automaton))}")

    def symbols(self, n_words: int) -> NDArray[np.uint8]:
        """Enough tiles to cover `n_words`: 1 long, 0 short."""
        k = np.arange(n_words, dtype=np.uint64)
        match self.name:
            case "thue-morse":
                return (np.bitwise_count(k) & 1).astype(np.uint8)
            case "rudin-shapiro":
                return (np.bitwise_count(k & (k >> np.uint64(1))) & 1).astype(np.uint8)
            case "period-doubling":
                return _substitute({1: (1, 0), 0: (1, 1)}, n_words)
            case "sanddrift":
                return _substitute({1: (1, 0, 0, 1), 0: (0, 1, 0)}, n_words)


AnyTiling = Tiling | PeriodicTiling | AutomaticTiling

GOLDEN: tuple[Tiling, ...] = tuple(Tiling(1 / PHI, i / PHI % 1) for i in range(_N_GOLDEN))
PERIOD_5: tuple[PeriodicTiling, ...] = tuple(PeriodicTiling("LLSLS", shift) for shift in range(5))
MULTI: tuple[Tiling, ...] = (
    *GOLDEN,
    *(Tiling(alpha, phase) for alpha in _OTHER_ALPHAS for phase in (0.0, 0.5)),
)


@dataclass(frozen=True)
class Level:
    """One level of a hierarchy: its elements from left to right.

    `is_long` says super-L or super-S, `starts` at which word each begins, `n_words` how many words
    all of them cover together.
    """

    is_long: NDArray[np.uint8]
    starts: NDArray[np.int64]
    n_words: int

    @property
    def widths(self) -> NDArray[np.int64]:
        """How many words each element covers."""
        return np.diff(self.starts, append=self.n_words)


def tile(tiling: AnyTiling, n_words: int) -> Level:
    """Level 0: the tiles over exactly `n_words` words.

    A last long tile that does not fit becomes short; then neighbouring short tiles are merged in
    pairs to long ones, from left to right, so that no two short tiles stand together.
    """
    is_long = _fit(tiling.symbols(n_words), n_words)
    return Level(is_long, _starts(is_long), n_words)


def deflate(level: Level) -> Level:
    """The next level: each L with the S behind it becomes L, everything else becomes S."""
    is_long = level.is_long.astype(bool)
    followed = np.append(~is_long[1:], False) if len(is_long) else is_long
    pairs = is_long & followed
    # The S of a pair is the one element that begins nothing on the next level.
    begins = np.append(True, ~pairs[:-1]) if len(pairs) else pairs
    return Level(pairs[begins].astype(np.uint8), level.starts[begins], level.n_words)


def hierarchy(tiling: AnyTiling, n_words: int, n_levels: int = N_LEVELS) -> list[Level]:
    """The levels 0 to `n_levels` - 1 of a tiling over `n_words` words."""
    levels = [tile(tiling, n_words)]
    while len(levels) < n_levels:
        levels.append(deflate(levels[-1]))
    return levels


def positions(level: Level, number: int) -> NDArray[np.int64]:
    """The word positions where a phrase of the level's span may be looked up.

    They are the starts of those super-L that cover exactly F_j words: elsewhere, as at the end of
    the text, deflation has swallowed another number of words.
    """
    return level.starts[(level.is_long == 1) & (level.widths == SPANS[number])]


def expected_positions(number: int, n_words: int) -> float:
    """W / phi^(j+2), the theory's count of positions at a level of the golden tiling.

    With F_j words each they cover phi / sqrt(5) = 0.7236 of the text at every level: positions
    become rare exactly as fast as phrases become long (the paper's golden compensation).
    """
    return n_words / PHI ** (number + 2)


def available(
    tilings: Sequence[AnyTiling],
    n_words: int,
    on_share: Callable[[float], None] | None = None,
) -> NDArray[np.uint16]:
    """For each word position, bit j: some tiling allows a phrase of level j there (j from 1).

    `on_share` is told what share of the tilings is done.
    """
    mask = np.zeros(n_words, dtype=np.uint16)
    spans = np.array(SPANS, dtype=np.int64)
    for i, tiling in enumerate(tilings, start=1):
        _mark(_fit(tiling.symbols(n_words), n_words), spans, mask)
        if on_share is not None:
            on_share(i / len(tilings))
    return mask


def collapse_level(tiling: AnyTiling, n_words: int) -> int | None:
    """The first level at which no phrase may be looked up, or None where all ten have positions."""
    for number, level in enumerate(hierarchy(tiling, n_words)):
        if len(positions(level, number)) == 0:
            return number
    return None


def factor_complexity(symbols: Sequence[int] | NDArray[np.uint8], length: int) -> int:
    """How many distinct factors of that length (at most 62) a sequence of symbols has."""
    bits = np.asarray(symbols, dtype=np.int64)
    codes = np.zeros(len(bits) - length + 1, dtype=np.int64)
    for i in range(length):
        codes = 2 * codes + bits[i : len(bits) - length + 1 + i]
    return len(np.unique(codes))


def _starts(is_long: NDArray[np.uint8]) -> NDArray[np.int64]:
    ends = np.cumsum(is_long.astype(np.int64) + 1)
    return ends - is_long - 1


def _substitute(rule: dict[int, tuple[int, ...]], n: int) -> NDArray[np.uint8]:
    sequence = [1]
    while len(sequence) < n:
        sequence = [symbol for one in sequence for symbol in rule[one]]
    return np.array(sequence[:n], dtype=np.uint8)


@compiled
def _cut_and_project(alpha, phase, n):  # type: ignore[no-untyped-def]
    symbols = np.empty(n, dtype=np.uint8)
    below = np.int64(phase)
    for k in range(n):
        # All are positive, so that cutting off the fraction is the floor.
        above = np.int64((k + 1) * alpha + phase)
        symbols[k] = above - below
        below = above
    return symbols


@compiled
def _fit(symbols, n_words):  # type: ignore[no-untyped-def]
    tiles = np.zeros(n_words, dtype=np.uint8)
    n_tiles, covered = 0, 0
    # As many tiles as fit whatever they are; short ones fill the rest.
    while n_tiles < len(symbols) and covered + 2 <= n_words:
        tiles[n_tiles] = symbols[n_tiles]
        covered += 1 + symbols[n_tiles]
        n_tiles += 1
    n_tiles += n_words - covered
    merged, i = 0, 0
    while i < n_tiles:
        if tiles[i] == 0 and i + 1 < n_tiles and tiles[i + 1] == 0:
            tiles[merged] = 1
            i += 2
        else:
            tiles[merged] = tiles[i]
            i += 1
        merged += 1
    return tiles[:merged].copy()


@compiled
def _mark(is_long, spans, mask):  # type: ignore[no-untyped-def]
    """Sets the bits of one tiling's positions.

    Every level overwrites the one below it. What is long changes too irregularly for a processor
    to foresee, so there is no branch on it.
    """
    n = len(is_long)
    long = np.zeros(n + 2, dtype=np.int32)
    starts = np.zeros(n + 2, dtype=np.int32)
    covered = 0
    for i in range(n):
        long[i] = is_long[i]
        starts[i] = covered
        covered += 1 + np.int64(is_long[i])
    for level in range(1, len(spans)):
        # The text's end, as if something long that is never paired began there.
        starts[n], starts[n + 1] = covered, covered
        long[n], long[n + 1] = 1, 1
        span = spans[level]
        m, n_long, in_pair = 0, 0, 0
        for i in range(n):
            start, end = starts[i], starts[i + 2]
            pair = long[i] & (1 - long[i + 1]) & (1 - in_pair)
            mask[start] |= np.uint16((pair & np.int64(end - start == span)) << level)
            starts[m] = start
            long[m] = pair
            m += 1 - in_pair
            n_long += pair
            in_pair = pair
        n = m
        if n_long == 0:
            break
