"""What a room asks of a language model, whichever it is: text, and probabilities of text.

Rooms depend on this and on `capabilities`, never on a backend. Whoever lacks a capability raises
`UnsupportedError`, which names it. There is no streaming here, with texts cancelled and taken up
again: no room needs it yet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeGuard

from paperround.errors import UsageError

# A message has a "role" (system, user, assistant) and a "content".
Message = Mapping[str, str]
# A text to go on with, or a conversation to answer.
Prompt = str | Sequence[Message]

# "generate": text for a text. "chat": text for a conversation. "score": the probability of a given
# continuation. "logprobs": the probability of each generated token.
Capability = Literal["generate", "chat", "score", "logprobs"]
# "stop": the model ended the text. "length": the allowed tokens or the context ran out.
# "stop_string": a stop string came up, which is no part of the text. A server does not tell it
# from "stop".
Finish = Literal["stop", "length", "stop_string"]


@dataclass(frozen=True)
class Completion:
    """A generated text.

    `n_tokens`: how many tokens were generated, special ones included; None where a server does not
    say. `token_log_probs`: natural logarithms, of the model itself, whatever the temperature and
    top_p were; there with `logprobs` only. `token_ids`: a local model's, else None.
    """

    text: str
    n_tokens: int | None
    finish: Finish
    token_ids: tuple[int, ...] | None = None
    token_log_probs: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Score:
    """log p(continuation | prompt), a natural logarithm, and its tokens' shares of it."""

    log_prob: float
    token_log_probs: tuple[float, ...]


class LanguageModel(Protocol):
    """A language model, here or behind an address."""

    @property
    def name(self) -> str:
        """Which model this is; other weights have another name."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can do; the rest raises UnsupportedError. A server is asked the first time."""

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        n: int = 1,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        top_p: float = 1.0,
        stop: Sequence[str] = (),
        seed: int | None = None,
        logprobs: bool = False,
    ) -> list[list[Completion]]:
        """For each prompt `n` texts, in the prompts' order.

        temperature 0 takes the most probable token each time. With a seed the same call gives the
        same texts. Raises UsageError for a prompt that the model cannot take and values out of
        range, UnsupportedError for what it cannot do.
        """

    def score(self, pairs: Sequence[tuple[Prompt, str]]) -> list[Score]:
        """How probable each continuation is after its prompt."""


def check_sampling(
    prompts: Sequence[Prompt],
    n: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    stop: Sequence[str],
) -> None:
    """Raises UsageError for values that no model can follow."""
    if isinstance(prompts, str):
        raise UsageError("prompts is one text; give a list of prompts")
    if n < 1:
        raise UsageError(f"n is {n}; at least one text per prompt")
    if max_new_tokens < 0:
        raise UsageError(f"max_new_tokens is {max_new_tokens}; it cannot be negative")
    # `not` also refuses what is no number.
    if not 0 <= temperature < float("inf"):
        raise UsageError(f"temperature is {temperature}; it must be 0 or more, and finite")
    if not 0 < top_p <= 1:
        raise UsageError(f"top_p is {top_p}; it must be above 0 and at most 1")
    if isinstance(stop, str) or not all(stop):
        raise UsageError("stop is a list of strings, none of them empty")
    for number, prompt in enumerate(prompts, start=1):
        if not prompt:
            raise UsageError(f"prompt {number} is empty; give some text to go on with")
        if is_chat(prompt):
            for message in prompt:
                if not {"role", "content"} <= set(message):
                    raise UsageError(f"prompt {number}: a message needs a role and a content")


def is_chat(prompt: Prompt) -> TypeGuard[Sequence[Message]]:
    """Whether a prompt is a conversation."""
    return not isinstance(prompt, str)


def cut_at_stop(text: str, stop: Sequence[str]) -> str | None:
    """The text before the first stop string in it; None where there is none."""
    places = [place for string in stop if (place := text.find(string)) >= 0]
    return text[: min(places)] if places else None
