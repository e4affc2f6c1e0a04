"""The longest suffix of a growing text that has occurred in it before, in constant time a token.

A suffix automaton (Blumer and others, 1985), grown token by token. Of the state that stands for the
whole text, the suffix link is the longest suffix that ends elsewhere too.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Match:
    """The last `length` tokens occurred before; `after` is the place that follows that occurrence.

    It is the first occurrence of so many tokens.
    """

    length: int
    after: int


class SuffixMatcher:
    """A text that knows where its end occurred before; takes some 500 bytes for each token."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        # A state is a set of substrings that end at the same places. Of each: where its next
        # tokens lead, its suffix link, the length of its longest substring, its first end.
        self._next: list[dict[int, int]] = [{}]
        self._link, self._length, self._end = [-1], [0], [-1]
        self._last = 0

    @property
    def match(self) -> Match | None:
        """The longest suffix that occurred before; None where the last token is new."""
        state = self._link[self._last]
        if state <= 0:
            return None
        return Match(self._length[state], self._end[state] + 1)

    def extend(self, tokens: Sequence[int]) -> None:
        """Adds tokens to the end of the text."""
        for token in tokens:
            self._append(token)

    def _append(self, token: int) -> None:
        follow, link, length = self._next, self._link, self._length
        current = self._new(length[self._last] + 1, len(self.tokens), {}, -1)
        self.tokens.append(token)
        state = self._last
        while state != -1 and token not in follow[state]:
            follow[state][token] = current
            state = link[state]
        if state == -1:
            link[current] = 0
        else:
            known = follow[state][token]
            if length[known] == length[state] + 1:
                link[current] = known
            else:
                # Its shorter substrings end here too, its longer ones do not: it falls in two.
                clone = self._new(
                    length[state] + 1, self._end[known], dict(follow[known]), link[known]
                )
                while state != -1 and follow[state].get(token) == known:
                    follow[state][token] = clone
                    state = link[state]
                link[known] = link[current] = clone
        self._last = current

    def _new(self, length: int, end: int, follow: dict[int, int], link: int) -> int:
        self._next.append(follow)
        self._link.append(link)
        self._length.append(length)
        self._end.append(end)
        return len(self._link) - 1
