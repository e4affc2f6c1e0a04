"""What a decoder did, one record per forward pass, and the figures that follow from it."""

from dataclasses import dataclass
from typing import Literal

# "prompt": the pass over the prompt, which emits the first token. "copy" and "draft": a pass that
# verifies copied tokens, or those of a draft model. "single": a pass with nothing to verify.
Kind = Literal["prompt", "copy", "draft", "single"]


@dataclass(frozen=True)
class Step:
    """One forward pass of the model: `drafted` tokens were proposed, `accepted` of them were right.

    `emitted` tokens came out of it: the accepted ones and one that the model chose itself, or the
    accepted ones alone where the last of them ended the text.
    """

    kind: Kind
    drafted: int
    accepted: int
    emitted: int


@dataclass(frozen=True)
class DecodingStats:
    """The steps of one decoded text, and how many passes the draft model made for it."""

    steps: tuple[Step, ...]
    draft_passes: int = 0

    @property
    def passes(self) -> int:
        """Forward passes of the model, the one over the prompt included."""
        return len(self.steps)

    @property
    def new_tokens(self) -> int:
        """Tokens generated."""
        return sum(step.emitted for step in self.steps)

    @property
    def verified_tokens(self) -> int:
        """Tokens that the model computed beyond the prompt: the sum of 1 + K over the passes."""
        return sum(1 + step.drafted for step in self.steps)

    @property
    def attempts(self) -> int:
        """Passes that verified copied tokens."""
        return sum(step.kind == "copy" for step in self.steps)

    @property
    def copied(self) -> int:
        """Generated tokens that were copied and accepted."""
        return self._accepted("copy")

    @property
    def copied_share(self) -> float:
        """The share of the generated tokens that were copied, 0 to 1."""
        return self.copied / self.new_tokens if self.new_tokens else 0.0

    @property
    def accepted_per_attempt(self) -> float:
        """Copied tokens accepted per attempt; 0 where nothing was attempted."""
        return self.copied / self.attempts if self.attempts else 0.0

    @property
    def accepted_drafts(self) -> int:
        """Generated tokens that the draft model proposed."""
        return self._accepted("draft")

    @property
    def tau(self) -> float:
        """Tokens generated per forward pass."""
        return self.new_tokens / self.passes if self.steps else 0.0

    def tau_of(self, kind: Kind) -> float:
        """Tokens generated per forward pass of that kind; 0 where there was none."""
        emitted = [step.emitted for step in self.steps if step.kind == kind]
        return sum(emitted) / len(emitted) if emitted else 0.0

    def _accepted(self, kind: Kind) -> int:
        return sum(step.accepted for step in self.steps if step.kind == kind)


def pool(stats: list[DecodingStats]) -> DecodingStats:
    """The steps of several texts as one record, for figures over all of them."""
    return DecodingStats(
        steps=tuple(step for one in stats for step in one.steps),
        draft_passes=sum(one.draft_passes for one in stats),
    )
