"""How many forward passes a decoder would have needed for an answer that is known already.

Greedy decoding emits the model's own next token whatever was drafted, so the answer alone decides
which drafts are accepted: a recorded answer can be replayed without the model, exactly.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from transformers.generation import PromptLookupCandidateGenerator

from paperround.papers.copyspec.adaptive import AdaptiveCopy, PassCost
from paperround.papers.copyspec.generation import GAMMA, MAX_COPY
from paperround.papers.copyspec.index import CopyIndex, Policy
from paperround.papers.copyspec.steps import DecodingStats, Kind, Step

# Given how many tokens of the answer are emitted, what is drafted after them.
Draft = Callable[[int], Sequence[int]]


class ReplayMethod(Protocol):
    """A way to draft. `drafts_after_prompt`: whether the pass over the prompt verifies a draft."""

    @property
    def drafts_after_prompt(self) -> bool: ...

    def start(self, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Draft:
        """The drafts for one answer. Only an oracle may look at what comes after them."""


def replay(
    context_ids: Sequence[int], answer_ids: Sequence[int], method: ReplayMethod
) -> DecodingStats:
    """The steps in which a greedy decoder with this method emits `answer_ids` after the context.

    The decoder is one that may generate as many tokens as the answer has, its end token included.
    """
    answer = list(answer_ids)
    draft_after = method.start(context_ids, answer)
    steps: list[Step] = []
    n = 0
    while n < len(answer):
        kind: Kind = "prompt"
        draft: Sequence[int] = ()
        if n > 0 or method.drafts_after_prompt:
            draft = draft_after(n)
            kind = "copy" if draft else "single" if n else "prompt"
        accepted = _n_equal(draft, answer[n : n + len(draft)])
        emitted = min(accepted + 1, len(answer) - n)
        steps.append(Step(kind, len(draft), accepted, emitted))
        n += emitted
    return DecodingStats(tuple(steps))


@dataclass(frozen=True)
class Greedy:
    """Plain greedy decoding: a pass per token."""

    drafts_after_prompt = False

    def start(self, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Draft:
        """No drafts."""
        return lambda n: ()


@dataclass(frozen=True)
class CopySpec:
    """The paper's method, as `generation.generate` does it."""

    gamma: int = GAMMA
    max_copy: int = MAX_COPY
    policy: Policy = "first"
    drafts_after_prompt = False

    def start(self, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Draft:
        """Drafts that copy what followed the last gamma tokens before."""
        index = CopyIndex(self.gamma, self.policy)
        index.extend(context_ids)

        def draft_after(n: int) -> Sequence[int]:
            index.extend(answer_ids[len(index) - len(context_ids) : n])
            return index.propose(max(0, min(self.max_copy, len(answer_ids) - n - 1)))

        return draft_after


@dataclass(frozen=True)
class Adaptive:
    """Our own rule (`adaptive.py`), where a pass costs `cost`."""

    cost: PassCost
    drafts_after_prompt = False

    def start(self, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Draft:
        """Drafts of the length that gives most tokens a second."""
        rule = AdaptiveCopy(self.cost)
        rule.extend(context_ids)

        def draft_after(n: int) -> Sequence[int]:
            rule.extend(answer_ids[len(rule) - len(context_ids) : n])
            return rule.propose(max(0, len(answer_ids) - n - 1))

        return draft_after


@dataclass(frozen=True)
class Oracle:
    """The best that any choice among the occurrences could give: it knows the answer."""

    gamma: int = GAMMA
    max_copy: int = MAX_COPY
    drafts_after_prompt = False

    def start(self, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Draft:
        """Drafts that copy from the occurrence after which most tokens are right."""
        # This policy keeps all occurrences.
        index = CopyIndex(self.gamma, "longest")
        index.extend(context_ids)

        def draft_after(n: int) -> Sequence[int]:
            index.extend(answer_ids[len(index) - len(context_ids) : n])
            n_tokens = min(self.max_copy, len(answer_ids) - n - 1)
            drafts = [index.continuation(place, n_tokens) for place in index.occurrences()]
            ahead = answer_ids[n : n + self.max_copy]
            return max(drafts, key=lambda draft: _n_equal(draft, ahead), default=[])

        return draft_after


@dataclass(frozen=True)
class PromptLookup:
    """Prompt lookup decoding by transformers' own candidate generator (Saxena, 2023).

    It falls back to shorter matches, down to one token, and drafts with the pass over the prompt.
    """

    max_matching_ngram_size: int = 3
    num_output_tokens: int = MAX_COPY
    drafts_after_prompt = True

    def start(self, context_ids: Sequence[int], answer_ids: Sequence[int]) -> Draft:
        """The candidates that transformers would verify."""
        text = torch.tensor([[*context_ids, *answer_ids]])
        n_context = len(context_ids)
        candidates = PromptLookupCandidateGenerator(
            num_output_tokens=self.num_output_tokens,
            max_matching_ngram_size=self.max_matching_ngram_size,
            max_length=text.shape[1],
        )

        def draft_after(n: int) -> Sequence[int]:
            known = n_context + n
            candidate, _ = candidates.get_candidates(text[:, :known])
            return candidate[0, known:].tolist()

        return draft_after


def _n_equal(draft: Sequence[int], answer: Sequence[int]) -> int:
    """How many tokens the two have in common at their beginning."""
    n = 0
    for drafted, wanted in zip(draft, answer, strict=False):
        if drafted != wanted:
            break
        n += 1
    return n
