"""The perplexity of one model under many plans, each measured once and from where it differs."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor
from transformers import PreTrainedModel

from paperround.papers.llm_drop.measures import mean_loss
from paperround.papers.llm_drop.peers import residual_streams, resumed
from paperround.papers.llm_drop.plans import DropPlan, dropped


@dataclass(frozen=True)
class Measured:
    """Perplexity over all texts together, and by text."""

    perplexity: float
    by_text: Mapping[str, float]


class Arm(NamedTuple):
    """One plan among those that are compared: how it was chosen, how many of it, for which seed."""

    name: str
    n: int
    seed: int


@dataclass
class Arms:
    """The plans that are compared, in the order in which they are shown."""

    plans: dict[Arm, DropPlan] = field(default_factory=dict)

    def add(self, name: str, n: int, seed: int, plan: DropPlan) -> None:
        """One more; each name, number and seed stands once."""
        self.plans[Arm(name, n, seed)] = plan

    @property
    def n_different(self) -> int:
        """How many models there are to measure, the intact one not counted."""
        return len({plan.as_set() for plan in self.plans.values()} - {frozenset()})


class Perplexities:
    """Call it with a plan; measures what it has not measured before.

    Layers below the first that a plan touches are those of the intact model: what comes out of them
    is computed once and kept, (windows x layers x tokens x hidden) numbers in all.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        texts: Mapping[str, Sequence[Tensor]],
        on_measured: Callable[[], None] = lambda: None,
    ) -> None:
        self._model, self._on_measured = model, on_measured
        self._windows = [(name, window) for name, windows in texts.items() for window in windows]
        self._streams = [residual_streams(model, window) for _, window in self._windows]
        self._known: dict[frozenset[tuple[str, int]], Measured] = {}

    def __call__(self, plan: DropPlan) -> Measured:
        """The perplexity under the plan; infinite where the loss overflows."""
        key = plan.as_set()
        if key not in self._known:
            self._known[key] = self._measure(plan)
            self._on_measured()
        return self._known[key]

    def _measure(self, plan: DropPlan) -> Measured:
        first = min((*plan.attention, *plan.mlp), default=0)
        losses: dict[str, list[tuple[float, int]]] = {}
        with dropped(self._model, plan):
            for (name, window), streams in zip(self._windows, self._streams, strict=True):
                with resumed(self._model, first, streams[first]):
                    loss = mean_loss(self._model, [window])
                losses.setdefault(name, []).append((loss, window[:, 1:].numel()))
        return Measured(
            _perplexity([pair for pairs in losses.values() for pair in pairs]),
            {name: _perplexity(pairs) for name, pairs in losses.items()},
        )


def _perplexity(losses: Sequence[tuple[float, int]]) -> float:
    mean = sum(loss * n for loss, n in losses) / sum(n for _, n in losses)
    return math.exp(mean) if mean < 700 else math.inf
