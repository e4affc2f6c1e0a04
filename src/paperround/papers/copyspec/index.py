"""Where the last few tokens occurred before: the table behind copy-and-paste drafts.

Paper, section 3: a hash table from every run of gamma consecutive tokens to where it starts. The
table is kept incrementally, so that a step costs what it emits and not what the context is long.

    x       the token ids so far, prompt and generated
    gamma   how many tokens have to match before anything is copied
    K       how many tokens are copied at most
"""

from collections.abc import Sequence
from typing import Literal, get_args

Policy = Literal["first", "last", "longest"]

# How far "longest" compares to the left of a match. Our own choice: past some dozen tokens, two
# occurrences are the same passage, and text that repeats one token must not cost quadratic time.
_LONGEST_LEFT_CONTEXT = 32

_Place = tuple[int, int]


class CopyIndex:
    """Proposes what followed the last gamma tokens where they occurred before.

    Which occurrence is copied, when there are several, is the `policy`: the "first" one (the
    paper's), the "last" one before the present, or the one with the "longest" match to its left
    (the first such). The tokens themselves are compared, never only their hash.

    `sources` are further texts to copy from, such as retrieved documents; they count as earlier
    than the stream itself, in the order given, and no match and no copy crosses from one text
    into another.
    """

    def __init__(
        self,
        gamma: int = 3,
        policy: Policy = "first",
        sources: Sequence[Sequence[int]] = (),
    ) -> None:
        if gamma < 1:
            raise ValueError(f"gamma is {gamma}; at least one token has to match")
        if policy not in get_args(Policy):
            raise ValueError(f"no policy '{policy}'; choose one of {', '.join(get_args(Policy))}")
        self.gamma, self.policy = gamma, policy
        # Text 0 is the stream; a place is (text, start) of a run of gamma tokens.
        self._texts: list[list[int]] = [[]]
        self._places: dict[tuple[int, ...], list[_Place]] = {}
        for source in sources:
            self._texts.append(list(source))
            self._insert(len(self._texts) - 1, 0)

    def __len__(self) -> int:
        """How many tokens the stream has."""
        return len(self._texts[0])

    @property
    def tokens(self) -> Sequence[int]:
        """The stream so far. Not a copy: read it, and change it by `extend` only."""
        return self._texts[0]

    def extend(self, tokens: Sequence[int]) -> None:
        """Adds tokens to the end of the stream, in time proportional to their number."""
        known = len(self._texts[0])
        self._texts[0].extend(tokens)
        # A run is inserted once a token follows it. The one at the very end is the suffix that
        # `propose` looks up: inserted, it would only find itself.
        self._insert(0, max(0, known - self.gamma))

    def propose(self, n_tokens: int) -> list[int]:
        """At most `n_tokens` tokens that may come next; empty where the suffix is new.

        Raises ValueError when `n_tokens` is negative.
        """
        if n_tokens < 0:
            raise ValueError(f"n_tokens is {n_tokens}; it cannot be negative")
        places = self.occurrences() if n_tokens else ()
        if not places:
            return []
        return self.continuation(self._choose(places), n_tokens)

    def occurrences(self) -> Sequence[_Place]:
        """The places (text, start) that `propose` chooses from, in the order of their insertion.

        Text 0 is the stream, the sources count from 1. "first" and "last" keep one place per run.
        """
        stream = self._texts[0]
        if len(stream) < self.gamma:
            return ()
        return self._places.get(tuple(stream[-self.gamma :]), ())

    def continuation(self, place: tuple[int, int], n_tokens: int) -> list[int]:
        """At most `n_tokens` tokens after the run at that place."""
        text, start = place
        begin = start + self.gamma
        return self._texts[text][begin : begin + n_tokens]

    def _insert(self, text: int, begin: int) -> None:
        """Enters the runs of a text that start at `begin` or later and have a token after them."""
        tokens, gamma = self._texts[text], self.gamma
        for start in range(begin, len(tokens) - gamma):
            run = tuple(tokens[start : start + gamma])
            if self.policy == "first":
                self._places.setdefault(run, [(text, start)])
            elif self.policy == "last":
                self._places[run] = [(text, start)]
            else:
                self._places.setdefault(run, []).append((text, start))

    def _choose(self, places: Sequence[_Place]) -> _Place:
        if len(places) == 1:
            return places[0]
        # `max` keeps the first of equals.
        return max(places, key=self._left_match)

    def _left_match(self, place: _Place) -> int:
        """How many tokens to the left of the run are those to the left of the suffix."""
        (text, start), stream = place, self._texts[0]
        suffix_start = len(stream) - self.gamma
        limit = min(start, suffix_start, _LONGEST_LEFT_CONTEXT)
        matched = 0
        while (
            matched < limit
            and self._texts[text][start - 1 - matched] == stream[suffix_start - 1 - matched]
        ):
            matched += 1
        return matched
