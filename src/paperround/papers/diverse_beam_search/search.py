"""Diverse beam search over a step function, without any model library, and two baselines.

A step function is all that a search has to know of a model: last tokens and state in,
log-probabilities and state out. `method.py` has the same for transformers models.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from paperround.papers.diverse_beam_search.beams import EarlyStopping, GroupBeams, SearchSettings
from paperround.papers.diverse_beam_search.diversity import (
    Diversity,
    hamming_diversity,
    resolve_diversity,
)


@dataclass(frozen=True)
class Hypothesis:
    """One finished sequence, without BOS and with its EOS.

    `score` carries the penalties and the length penalty; `log_prob` is the model's own sum.
    """

    tokens: tuple[int, ...]
    score: float
    log_prob: float
    group: int


@dataclass(frozen=True)
class SearchResult:
    """The lists of the G groups, each with its best score first; B hypotheses in all.

    A list is shorter than B' only where the vocabulary leaves no more sequences.
    """

    groups: tuple[tuple[Hypothesis, ...], ...]

    @property
    def hypotheses(self) -> tuple[Hypothesis, ...]:
        """All of them, group by group."""
        return tuple(hypothesis for group in self.groups for hypothesis in group)

    @property
    def by_log_prob(self) -> tuple[Hypothesis, ...]:
        """All of them, the model's own favourite first: the order of the paper's oracle@k."""
        return tuple(sorted(self.hypotheses, key=lambda found: -found.log_prob))


class SearchState(Protocol):
    """What a step function carries from step to step, one entry per row."""

    def reorder(self, rows: Tensor) -> Any:
        """The state whose row i is this one's row `rows[i]`."""


State = TypeVar("State", bound=SearchState | None)
StepFn = Callable[[Tensor, State], tuple[Tensor, State]]


def diverse_beam_search(
    step_fn: StepFn[State],
    init_state: State,
    *,
    bos: int,
    eos: int | Sequence[int] | None,
    num_beams: int,
    num_beam_groups: int,
    diversity_penalty: float,
    max_length: int,
    diversity: str | Diversity = "hamming",
    length_penalty: float = 0.0,
    early_stopping: EarlyStopping = False,
    device: torch.device | str = "cpu",
) -> SearchResult:
    """The G lists of hypotheses that diverse beam search finds (Algorithm 1).

    `step_fn(tokens, state)` gets the last token of each of the B rows, (B,), and returns their
    log-probabilities (B, V) and the new state. `init_state` is the state of B rows (None where the
    last token is all there is to know). `max_length` bounds the tokens after `bos`. One group is
    plain beam search; `diversity_penalty` 0 gives G equal lists. Raises ValueError for settings
    that cannot be followed.
    """

    def step(tokens: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        log_probs, state = step_fn(tokens, state)
        return log_probs, log_probs, state

    settings = SearchSettings(
        num_beams=num_beams,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        max_new_tokens=max_length,
        eos=_as_tuple(eos),
        diversity=resolve_diversity(diversity),
        length_penalty=length_penalty,
        early_stopping=early_stopping,
    )
    return _search(step, init_state, bos, settings, torch.device(device))


def sibling_rank_beam_search(
    step_fn: StepFn[State],
    init_state: State,
    *,
    gamma: float,
    bos: int,
    eos: int | Sequence[int] | None,
    num_beams: int,
    max_length: int,
    length_penalty: float = 0.0,
    early_stopping: EarlyStopping = False,
    device: torch.device | str = "cpu",
) -> SearchResult:
    """The list of beam search that charges the k-th best extension of a beam gamma k.

    The baseline of Li and Jurafsky 2016; arguments as in `diverse_beam_search`. gamma 0 is plain
    beam search.
    """

    def step(tokens: Tensor, state: State) -> tuple[Tensor, Tensor, State]:
        log_probs, state = step_fn(tokens, state)
        return rank_siblings(log_probs, gamma), log_probs, state

    settings = SearchSettings(
        num_beams, 1, 0.0, max_length, _as_tuple(eos), hamming_diversity, length_penalty,
        early_stopping,
    )  # fmt: skip
    return _search(step, init_state, bos, settings, torch.device(device))


def mmi_antilm_beam_search(
    step_fn: StepFn[State],
    init_state: State,
    lm_step_fn: StepFn[Any],
    lm_init_state: Any,
    *,
    weight: float,
    bos: int,
    eos: int | Sequence[int] | None,
    num_beams: int,
    max_length: int,
    first_tokens: int | None = None,
    length_penalty: float = 0.0,
    early_stopping: EarlyStopping = False,
    device: torch.device | str = "cpu",
) -> SearchResult:
    """The list of beam search by log p(y | x) - weight log U(y), U being an unconditional model.

    The baseline of Li et al. 2015 (MMI-antiLM): `lm_step_fn` gives log U, on the first
    `first_tokens` tokens only where given. Scores may grow, so no group stops before `max_length`
    unless `early_stopping` is True.
    """
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"the weight of the anti-LM must be finite and not below 0: {weight}")

    def step(tokens: Tensor, state: "_AntiLMState") -> tuple[Tensor, Tensor, "_AntiLMState"]:
        log_probs, model = step_fn(tokens, state.model)
        scores, lm = log_probs, state.lm
        if first_tokens is None or state.length < first_tokens:
            unconditional, lm = lm_step_fn(tokens, state.lm)
            scores = subtract_antilm(log_probs, unconditional, weight)
        return scores, log_probs, _AntiLMState(model, lm, state.length + 1)

    settings = SearchSettings(
        num_beams, 1, 0.0, max_length, _as_tuple(eos), hamming_diversity, length_penalty,
        early_stopping, scores_fall=False,
    )  # fmt: skip
    state = _AntiLMState(init_state, lm_init_state, 0)
    return _search(step, state, bos, settings, torch.device(device))


def rank_siblings(log_probs: Tensor, gamma: float) -> Tensor:
    """(rows, V) log-probabilities, the k-th largest of each row (k = 1, 2, ...) less gamma k."""
    if not (math.isfinite(gamma) and gamma >= 0):
        raise ValueError(f"gamma must be finite and not below 0: {gamma}")
    order = log_probs.argsort(dim=-1, descending=True, stable=True)
    ranks = torch.arange(1, log_probs.shape[-1] + 1, device=log_probs.device, dtype=log_probs.dtype)
    return log_probs.scatter_add(-1, order, (-gamma * ranks).expand_as(log_probs))


def subtract_antilm(log_probs: Tensor, unconditional: Tensor, weight: float) -> Tensor:
    """The scores log p - weight log U; what p forbids stays forbidden, also where U forbids it."""
    return torch.where(log_probs.isneginf(), log_probs, log_probs - weight * unconditional)


@dataclass(frozen=True)
class _AntiLMState:
    model: Any
    lm: Any
    length: int

    def reorder(self, rows: Tensor) -> "_AntiLMState":
        return _AntiLMState(_reorder(self.model, rows), _reorder(self.lm, rows), self.length)


def _search(
    step: Callable[[Tensor, Any], tuple[Tensor, Tensor, Any]],
    state: Any,
    bos: int,
    settings: SearchSettings,
    device: torch.device,
) -> SearchResult:
    tokens = torch.full((settings.num_beams,), bos, dtype=torch.long, device=device)
    beams: GroupBeams | None = None
    while beams is None or not beams.is_done:
        scores, log_probs, state = step(tokens, state)
        if scores.ndim != 2 or scores.shape[0] != settings.num_beams:
            raise ValueError(
                f"the step function gave log-probabilities of shape {tuple(scores.shape)}; "
                f"({settings.num_beams}, vocabulary) is expected"
            )
        if beams is None:
            beams = GroupBeams(settings, 1, scores.shape[1], device)
        tokens, rows = beams.advance(scores, log_probs)
        state = _reorder(state, rows)
    found = beams.finished
    groups = []
    for g in range(settings.num_beam_groups):
        hypotheses = []
        for b in range(settings.group_size):
            length = int(found.lengths[0, g, b])
            if length:
                hypotheses.append(
                    Hypothesis(
                        tokens=tuple(found.tokens[0, g, b, :length].tolist()),
                        score=float(found.scores[0, g, b]),
                        log_prob=float(found.log_probs[0, g, b]),
                        group=g,
                    )
                )
        groups.append(tuple(hypotheses))
    return SearchResult(tuple(groups))


def _reorder(state: Any, rows: Tensor) -> Any:
    return None if state is None else state.reorder(rows)


def _as_tuple(eos: int | Sequence[int] | None) -> tuple[int, ...]:
    if eos is None:
        return ()
    return (eos,) if isinstance(eos, int) else tuple(eos)
