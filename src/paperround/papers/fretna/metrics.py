"""How steady a stream of translations is, and how far it lags behind its source.

A stream is o_1 .. o_T, what was shown after each source word, as words (or any tokens); o_0 is
nothing. Counts add up over a corpus; what is normalised is of one stream.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise

Shown = Sequence[Hashable]
# Larger than any count, so that an edit weighs more than all clicks together.
_EDIT = 1 << 20


def common_prefix(a: Shown, b: Shown) -> int:
    """How many tokens both begin with."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )


def erasures(stream: Sequence[Shown]) -> int:
    """How many shown tokens were taken back: sum over i of |o_{i-1}| - |LCP(o_i, o_{i-1})|."""
    return sum(len(before) - common_prefix(before, after) for before, after in pairwise(stream))


def normalized_erasure(stream: Sequence[Shown]) -> float:
    """Tokens taken back for each of the last translation; 0 where tokens were only appended.

    Infinite where the last translation is empty and tokens were taken back. Source: Arivazhagan et
    al., Re-translation versus Streaming for Simultaneous Translation, IWSLT 2020.
    """
    return _share(erasures(stream), stream)


def clicks_and_edits(before: Shown, after: Shown) -> tuple[int, int]:
    """How many spans of `before` were edited, and how many words, to make `after` of it.

    Edits are insertions, deletions and substitutions; what is appended at the end is no edit, and
    needs no click. Of all ways with the fewest edits it is the one with the fewest spans.
    """
    # cost[state][j]: the least of edits x _EDIT + clicks that makes after[:j] of before[:i], where
    # state says whether the last thing done was an edit (1) or not (0).
    infinite = _EDIT * _EDIT
    m = len(after)
    cost = [[infinite] * (m + 1), [infinite] * (m + 1)]
    cost[0][0] = 0
    for j in range(1, m + 1):
        cost[1][j] = _EDIT * j + 1
    for token in before:
        previous, cost = cost, [[infinite] * (m + 1), [infinite] * (m + 1)]
        for j in range(m + 1):
            # Delete this token.
            options = [_edited(previous[0][j], previous[1][j])]
            if j:
                options.append(_edited(previous[0][j - 1], previous[1][j - 1]))
                options.append(_edited(cost[0][j - 1], cost[1][j - 1]))
                if token == after[j - 1]:
                    cost[0][j] = min(previous[0][j - 1], previous[1][j - 1])
            cost[1][j] = min(options)
    # Whatever of `after` is still missing is appended for nothing.
    edits, clicks = divmod(min(min(row) for row in cost), _EDIT)
    return clicks, edits


def normalized_click_n_edit(stream: Sequence[Shown]) -> float:
    """Clicks and edits for each token of the last translation; 0 where tokens were only appended.

    Our own completion of the paper's Normalized Click-N-Edit: its formula was not seen. Infinite
    where the last translation is empty and something was edited.
    """
    return _share(sum(sum(pair) for pair in all_clicks_and_edits(stream)), stream)


def all_clicks_and_edits(stream: Sequence[Shown]) -> list[tuple[int, int]]:
    """Clicks and edits of every update of a stream."""
    return [clicks_and_edits(before, after) for before, after in pairwise(stream)]


def settled_at(stream: Sequence[Shown]) -> list[int]:
    """g(t) for each token of the last translation: the update after which it changed no more.

    That is the first update from which on the translation up to t is what it is at the end; a
    streaming system's tokens are settled when they are written.
    """
    if not stream:
        return []
    last = stream[-1]
    settled = [len(stream)] * len(last)
    agreed = len(last)
    for i in range(len(stream), 0, -1):
        agreed = min(agreed, common_prefix(stream[i - 1], last))
        settled[:agreed] = [i] * agreed
    return settled


def average_lagging(stream: Sequence[Shown]) -> float:
    """How many source words the translation is behind on average, with one update a source word.

    (1 / tau) sum over t <= tau of g(t) - (t - 1) |x| / |y|, tau being the first t that had to wait
    for the whole source. Offline it is |x|, for wait-k with equal lengths it is k. Raises
    ValueError for a stream whose last translation is empty. Source: Ma et al., STACL, ACL 2019.
    """
    g = settled_at(stream)
    if not g:
        raise ValueError("a stream without a last translation lags by no number")
    n_source = len(stream)
    tau = next((t for t, read in enumerate(g, start=1) if read == n_source), len(g))
    pace = n_source / len(g)
    return sum(g[t] - t * pace for t in range(tau)) / tau


def _edited(kept: int, edited: int) -> int:
    """One more edit, and a click where it begins a span."""
    return min(kept + 1, edited) + _EDIT


def _share(count: int, stream: Sequence[Shown]) -> float:
    n = len(stream[-1]) if stream else 0
    if n:
        return count / n
    return float("inf") if count else 0.0
