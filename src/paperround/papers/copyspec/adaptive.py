"""Our own rule for what to copy and how much of it. It is not the paper's.

The paper copies ten tokens wherever the last three occurred before. Here

- the match is the longest suffix of the text that occurred before, one token at least;
- how far the copy can be trusted is learnt while the text grows: whether the token after a match of
  m tokens was right is seen at every token, also where nothing was copied, and costs nothing;
- the draft has the length at which the pass gives most tokens a second, by what a pass over so many
  tokens was measured to cost. Where no length beats a plain pass (break-even), nothing is copied.

    m           tokens that match before the draft
    a(m)        probability that the token after a match of m tokens is right
    c(k)        seconds of a forward pass over k tokens
    E(K)        tokens that a pass with K drafted ones gives: 1 + sum_(i=1..K) prod_(j<i) a(m + j)
    K*          the K that makes E(K) / c(1 + K) largest, K = 0 included

The text stays that of plain decoding, as with any draft.
"""

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedModel

from paperround.kit.language_models.timing import pass_timer
from paperround.papers.copyspec.suffixes import Match, SuffixMatcher

# How many tokens are drafted at most. Past some dozens a pass costs as much per token as a prompt.
LONGEST_DRAFT = 64
# Lengths between which the cost is interpolated; short ones are where kernels change.
MEASURED_LENGTHS = (1, 2, 3, 4, 6, 8, 12, 16, 32, LONGEST_DRAFT + 1)
_N_REPEATS = 3
_N_CONTEXT = 128

# The shortest match of each class, and what share of the tokens after such a match was right in
# recorded answers of Qwen2.5-7B to every third question of MT-Redundant, both turns.
_CLASSES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
_PRIOR = (0.18, 0.44, 0.60, 0.66, 0.72, 0.82, 0.92, 0.93, 0.96, 0.98)
# As many observations of the text weigh as much as the prior.
_PRIOR_WEIGHT = 8.0
# What an observation weighs after the next one in its class: texts change their manner.
_MEMORY = 0.97


@dataclass(frozen=True)
class PassCost:
    """Seconds of a forward pass by its number of tokens, interpolated between measured ones."""

    lengths: tuple[int, ...]
    seconds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.lengths or self.lengths[0] != 1 or len(self.lengths) != len(self.seconds):
            raise ValueError("a cost has seconds for each of its lengths, of which 1 is the first")
        if sorted(set(self.lengths)) != list(self.lengths) or min(self.seconds) <= 0:
            raise ValueError("lengths rise, and every pass takes time")

    def table(self, longest: int) -> list[float]:
        """The seconds for 0, 1, .. `longest` tokens; a longer pass is never cheaper.

        Where noise says that it is, it costs the same. Past the last length it grows as before it.
        """
        found = [0.0, self.seconds[0]]
        points = list(zip(self.lengths, self.seconds, strict=True))
        for n in range(2, longest + 1):
            place = next((i for i, (m, _) in enumerate(points) if m >= n), len(points) - 1)
            (m0, s0), (m1, s1) = points[max(0, place - 1)], points[place]
            slope = (s1 - s0) / (m1 - m0) if m1 > m0 else 0.0
            found.append(max(found[-1], s0 + slope * (n - m0)))
        return found


_measured: "weakref.WeakKeyDictionary[PreTrainedModel, PassCost]" = weakref.WeakKeyDictionary()


def measure_pass_cost(model: PreTrainedModel) -> PassCost:
    """What a pass of this model costs here, best of three; about two seconds, once per model."""
    if model not in _measured:
        context = getattr(
            model.config.get_text_config(decoder=True), "max_position_embeddings", None
        )
        # A context that is short leaves room for shorter passes.
        longest = min(max(MEASURED_LENGTHS), (context or 1 << 30) // 2)
        n_context = min(_N_CONTEXT, (context or 1 << 30) - longest)
        lengths = [n for n in MEASURED_LENGTHS if n <= longest]
        time_pass = pass_timer(model, n_context, longest)
        time_pass(longest)
        seconds = dict.fromkeys(lengths, float("inf"))
        for _ in range(_N_REPEATS):
            for n in lengths:
                seconds[n] = min(seconds[n], time_pass(n))
        _measured[model] = PassCost(tuple(seconds), tuple(seconds.values()))
    return _measured[model]


@dataclass
class _Trust:
    """a(m): how often the token after a match of m tokens was right, the recent ones above all."""

    hits: list[float] = field(default_factory=lambda: [_PRIOR_WEIGHT * share for share in _PRIOR])
    tries: list[float] = field(default_factory=lambda: [_PRIOR_WEIGHT] * len(_CLASSES))

    def see(self, length: int, right: bool) -> None:
        """Takes in whether the token after a match of `length` tokens was right."""
        place = _class_of(length)
        # The prior fades with the observations, and gives way to them.
        self.hits[place] = _MEMORY * self.hits[place] + right
        self.tries[place] = _MEMORY * self.tries[place] + 1

    def of(self, length: int) -> float:
        """The probability that the token after a match of `length` tokens is right."""
        place = _class_of(length)
        return self.hits[place] / self.tries[place]


_CLASS_OF = [0] * (_CLASSES[-1] + 1)
for _place, _shortest in enumerate(_CLASSES):
    _CLASS_OF[_shortest:] = [_place] * (len(_CLASS_OF) - _shortest)


def _class_of(length: int) -> int:
    return _CLASS_OF[min(length, _CLASSES[-1])]


class AdaptiveCopy:
    """Proposes as `CopyIndex` does, by our own rule. Serves one text.

    `cost` is what a pass costs; the same cost and text always give the same drafts. `sources` are
    further texts to copy from; no match and no copy crosses from one text into another.
    """

    def __init__(
        self,
        cost: PassCost,
        sources: Sequence[Sequence[int]] = (),
        longest_draft: int = LONGEST_DRAFT,
    ) -> None:
        if longest_draft < 0:
            raise ValueError(f"longest_draft is {longest_draft}; write 0 to switch copying off")
        self._longest = longest_draft
        self._seconds = cost.table(longest_draft + 1)
        self._trust = _Trust()
        self._matcher = SuffixMatcher()
        self._n_stream = 0
        for number, source in enumerate(sources, start=1):
            # A token that no text has: nothing matches across it, and no copy goes on over it.
            self._matcher.extend([*source, -number])

    def __len__(self) -> int:
        """How many tokens the stream has."""
        return self._n_stream

    def extend(self, tokens: Sequence[int]) -> None:
        """Adds tokens to the end of the stream. The first ones are the prompt, not learnt from."""
        learns = self._n_stream > 0
        for token in tokens:
            if learns and (match := self._matcher.match) is not None:
                self._trust.see(match.length, self._matcher.tokens[match.after] == token)
            self._matcher.extend([token])
        self._n_stream += len(tokens)

    def propose(self, n_tokens: int) -> list[int]:
        """At most `n_tokens` tokens that may come next; empty where a plain pass pays more.

        Raises ValueError when `n_tokens` is negative.
        """
        if n_tokens < 0:
            raise ValueError(f"n_tokens is {n_tokens}; it cannot be negative")
        match = self._matcher.match if self._n_stream else None
        if match is None:
            return []
        return self._continuation(match, self.best_length(match.length, n_tokens))

    def best_length(self, matched: int, n_tokens: int) -> int:
        """K*: how many tokens to draft, at most `n_tokens`, after a match of `matched` tokens."""
        survival = expected = 1.0
        best_length, best_rate = 0, 1.0 / self._seconds[1]
        for length in range(1, min(n_tokens, self._longest) + 1):
            survival *= self._trust.of(matched + length - 1)
            expected += survival
            rate = expected / self._seconds[1 + length]
            if rate > best_rate:
                best_length, best_rate = length, rate
        return best_length

    def _continuation(self, match: Match, n_tokens: int) -> list[int]:
        tokens = self._matcher.tokens
        draft: list[int] = []
        for place in range(match.after, match.after + n_tokens):
            # A copy that reaches the end of the text goes on with itself: what repeats, repeats.
            token = tokens[place] if place < len(tokens) else draft[place - len(tokens)]
            if token < 0:
                break
            draft.append(token)
        return draft
