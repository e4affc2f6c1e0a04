"""What a finished text is wanted to be, and how likely a prefix is to become one.

Part D of the thesis searches for the most likely text GIVEN an attribute A of the whole text. An
attribute answers two questions: does a finished text have it (`holds`, a hard fact), and what is
log p(A | prefix) while the text is being written (`log_probs`, exact for a Markov model, learnt for
any other). Tokens never include the one that ends a text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Extensions:
    """Prefixes at one step of a search, each with the tokens that may come next.

    `prefixes`: (rows, t) new tokens so far, 0 <= t. `tokens`: (rows, k), none of which ends the
    text. `hidden_states`: (rows, d), what the model's head was given after the prefix; None where
    the attribute does not ask for it.
    """

    prefixes: Tensor
    tokens: Tensor
    hidden_states: Tensor | None = None

    @property
    def length(self) -> int:
        """The tokens of a prefix together with its next one."""
        return self.prefixes.shape[1] + 1


class Posterior(Protocol):
    """Log-probabilities of classes of the finished text, for each prefix and next token."""

    n_classes: int

    @property
    def needs_hidden_states(self) -> bool:
        """Whether extensions must come with the model's states."""

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k, n_classes); for lengths, class r says that r more tokens follow.

        The last class of lengths is open: that many or more.
        """


class Attribute(Protocol):
    """What the search asks of an attribute; a class of one's own needs these four."""

    @property
    def needs_hidden_states(self) -> bool:
        """Whether extensions must come with the model's states."""

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k): log p(A | prefix and token), -inf where no such text can have A."""

    def holds(self, tokens: Sequence[int], ended: bool) -> bool:
        """Whether a whole text has it. `ended` is False for one that the length limit cut off."""

    def check(self, max_new_tokens: int) -> None:
        """Raises ValueError where no text of at most so many tokens, the end among them, has it."""


@dataclass(frozen=True)
class Anything:
    """Every text has it: a search for it is plain beam search."""

    needs_hidden_states: bool = False

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k) zeros."""
        return torch.zeros(extensions.tokens.shape, device=extensions.tokens.device)

    def holds(self, tokens: Sequence[int], ended: bool) -> bool:
        """True."""
        return True

    def check(self, max_new_tokens: int) -> None:
        """Asks for nothing."""


@dataclass(frozen=True)
class Length:
    """Texts that end by themselves after exactly `n` tokens, the ending one not counted.

    `posterior` tells how many tokens are likely to follow; without one the search knows only that
    a text must not end before and not go on after. Raises ValueError for a negative length.
    """

    n: int
    posterior: Posterior | None = None

    def __post_init__(self) -> None:
        if self.n < 0:
            raise ValueError(f"a length of {self.n} tokens: it cannot be negative")

    @property
    def needs_hidden_states(self) -> bool:
        """Whether the posterior does."""
        return self.posterior is not None and self.posterior.needs_hidden_states

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k): log p(n - t tokens follow), -inf beyond n."""
        shape, device = extensions.tokens.shape, extensions.tokens.device
        remaining = self.n - extensions.length
        if remaining < 0:
            return torch.full(shape, -torch.inf, device=device)
        if self.posterior is None:
            return torch.zeros(shape, device=device)
        # All candidates of a step have one length, so that an open last class ranks them as well.
        of_class = min(remaining, self.posterior.n_classes - 1)
        return self.posterior.log_probs(extensions)[..., of_class]

    def holds(self, tokens: Sequence[int], ended: bool) -> bool:
        """Whether it ended by itself, at that length."""
        return ended and len(tokens) == self.n

    def check(self, max_new_tokens: int) -> None:
        """Asks for n + 1 tokens."""
        if max_new_tokens <= self.n:
            raise ValueError(
                f"a text of {self.n} tokens and its end need max_new_tokens={self.n + 1}, "
                f"it is {max_new_tokens}"
            )


@dataclass(frozen=True)
class NonDegenerate:
    """Texts of at least `min_length` tokens that do not loop.

    A loop is a run of 1 to `max_period` tokens that stands more than `max_repeats` times in a row.
    A text that the length limit cuts off counts unless `must_end`. `posterior` has two classes, the
    second of which is "not degenerate". Raises ValueError for bounds that make no sense.
    """

    min_length: int = 1
    max_repeats: int = 3
    max_period: int = 8
    must_end: bool = False
    posterior: Posterior | None = None

    def __post_init__(self) -> None:
        if self.min_length < 0 or self.max_repeats < 1 or self.max_period < 1:
            raise ValueError(
                f"min_length={self.min_length} must not be negative, max_repeats="
                f"{self.max_repeats} and max_period={self.max_period} must be at least 1"
            )

    @property
    def needs_hidden_states(self) -> bool:
        """Whether the posterior does."""
        return self.posterior is not None and self.posterior.needs_hidden_states

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k): log p(not degenerate), -inf where the token completes a loop."""
        tokens = extensions.tokens
        if self.posterior is None:
            log_probs = torch.zeros(tokens.shape, device=tokens.device)
        else:
            log_probs = self.posterior.log_probs(extensions)[..., 1].clone()
        for row, prefix in enumerate(extensions.prefixes.tolist()):
            if looping := self._looping(prefix):
                forbidden = torch.isin(tokens[row], torch.tensor(looping, device=tokens.device))
                log_probs[row, forbidden] = -torch.inf
        return log_probs

    def holds(self, tokens: Sequence[int], ended: bool) -> bool:
        """Whether it is long enough, has no loop and, where that is asked, ended by itself."""
        if len(tokens) < self.min_length or (self.must_end and not ended):
            return False
        return not any(token in self._looping(tokens[:t]) for t, token in enumerate(tokens))

    def check(self, max_new_tokens: int) -> None:
        """Asks for min_length tokens, and one for the end where the text must end."""
        needed = self.min_length + self.must_end
        if max_new_tokens < needed:
            raise ValueError(
                f"a text of at least {self.min_length} tokens needs max_new_tokens={needed}, "
                f"it is {max_new_tokens}"
            )

    def _looping(self, prefix: Sequence[int]) -> list[int]:
        """The tokens that would complete a loop right after the prefix."""
        found = []
        for period in range(1, self.max_period + 1):
            # The loop without its last token.
            run = period * (self.max_repeats + 1) - 1
            if run > len(prefix):
                break
            tail = prefix[len(prefix) - run :]
            if all(tail[i] == tail[i - period] for i in range(period, run)):
                # A period of one needs the token before; the last of a longer one, the first again.
                found.append(tail[-period])
        return found


@dataclass(frozen=True)
class Labelled:
    """Texts that `label` approves of, with a posterior learnt from texts that it has judged.

    `label(tokens, ended)` is what `fit_label_classifier` was given; class 1 is its True.
    """

    label: Callable[[Sequence[int], bool], bool]
    posterior: Posterior | None = None

    @property
    def needs_hidden_states(self) -> bool:
        """Whether the posterior does."""
        return self.posterior is not None and self.posterior.needs_hidden_states

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k): log p(label says True)."""
        if self.posterior is None:
            return torch.zeros(extensions.tokens.shape, device=extensions.tokens.device)
        return self.posterior.log_probs(extensions)[..., 1]

    def holds(self, tokens: Sequence[int], ended: bool) -> bool:
        """What `label` says."""
        return bool(self.label(tokens, ended))

    def check(self, max_new_tokens: int) -> None:
        """Cannot know what `label` asks for."""
