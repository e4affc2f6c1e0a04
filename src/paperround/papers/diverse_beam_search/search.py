"""Diverse beam search without any model library: the algorithm, and the search over a step function.

Legend: N problems are searched at once, each with B beams in G groups of B' = B / G; V is the
vocabulary size, T the largest number of new tokens. Row n B + g B' + b of a batch is beam b of
group g of problem n. Theta is a hypothesis' running score, which keeps the penalties it has paid
(Algorithm 1, line 5); `log_probs` is the same sum without them.

    S[b, v] = Theta[b] + theta(v | y_b) + lambda Delta(Y^1_t, ..., Y^(g-1)_t)[b, v]      Eq. 6
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

import torch
from torch import Tensor

from paperround.papers.diverse_beam_search.diversity import (
    Diversity,
    EarlierGroups,
    hamming_diversity,
    resolve_diversity,
)

NO_TOKEN = -1

EarlyStopping = bool | Literal["never"]
# (rows of the parents, their new tokens including this step's) -> whether each hypothesis ends.
Ends = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class SearchSettings:
    """What a search is told. Raises ValueError for settings that no search can follow.

    `early_stopping` as in transformers: True stops a group at B' finished hypotheses, False when
    its best running one can no longer win at its present length, "never" when it cannot win at all.
    """

    num_beams: int
    num_beam_groups: int
    diversity_penalty: float
    max_new_tokens: int
    eos: tuple[int, ...] = ()
    diversity: Diversity = hamming_diversity
    length_penalty: float = 0.0
    early_stopping: EarlyStopping = False
    # Whether a hypothesis' score can only fall as it grows, which is what lets a group stop early.
    scores_fall: bool = True

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.num_beam_groups < 1:
            raise ValueError(
                f"num_beams={self.num_beams} and num_beam_groups={self.num_beam_groups} "
                "must both be at least 1"
            )
        if self.num_beams % self.num_beam_groups:
            raise ValueError(
                f"num_beam_groups={self.num_beam_groups} does not divide num_beams={self.num_beams}"
            )
        if not (math.isfinite(self.diversity_penalty) and self.diversity_penalty >= 0):
            raise ValueError(
                f"diversity_penalty={self.diversity_penalty} must be finite and not below 0"
            )
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens} must be at least 1")
        if self.early_stopping not in (True, False, "never"):
            raise ValueError(f"early_stopping={self.early_stopping!r}: write True, False or 'never'")

    @property
    def group_size(self) -> int:
        """B', the beams of one group."""
        return self.num_beams // self.num_beam_groups


@dataclass(frozen=True)
class FinishedBeams:
    """The finished lists: problem by problem, group by group, each group's best score first.

    `tokens`: (N, G, B', T), NO_TOKEN after the end. `lengths`, `scores` and `log_probs`:
    (N, G, B'); a score carries the penalties and the length penalty, a log-prob neither. A slot
    that no hypothesis could fill has length 0 and the score -inf.
    """

    tokens: Tensor
    lengths: Tensor
    scores: Tensor
    log_probs: Tensor


class GroupBeams:
    """The beams of all groups of all problems, one time step after another."""

    def __init__(
        self, settings: SearchSettings, n_problems: int, vocab_size: int, device: torch.device
    ) -> None:
        eos = {token for token in settings.eos if 0 <= token < vocab_size}
        if settings.group_size > vocab_size - len(eos):
            raise ValueError(
                f"num_beams={settings.num_beams}: a group of {settings.group_size} beams needs as "
                f"many different first tokens, the vocabulary has {vocab_size}, "
                f"{len(eos)} of which end a sequence"
            )
        self.settings = settings
        self.length = 0
        shape = (n_problems, settings.num_beam_groups, settings.group_size)
        self._shape, self._vocab_size = shape, vocab_size
        self._eos = torch.tensor(sorted(eos), dtype=torch.long, device=device)
        # With n EOS tokens, each hypothesis has at most n extensions that end, so this many of the
        # best candidates always leave B' that go on.
        self._n_candidates = min(
            max(2, 1 + len(eos)) * settings.group_size, settings.group_size * vocab_size
        )
        self._tokens = torch.zeros((*shape, 0), dtype=torch.long, device=device)
        # All beams of a group start alike: only the first one is expanded at the first step.
        self._scores = torch.full(shape, -math.inf, device=device)
        self._scores[:, :, 0] = 0.0
        self._log_probs = torch.zeros(shape, device=device)
        self._done = torch.zeros(shape[:2], dtype=torch.bool, device=device)
        # One list of finished hypotheses per group: a shared one would be filled by group 1, which
        # pays no penalty, and the others would vanish.
        self._finished = FinishedBeams(
            tokens=torch.full((*shape, settings.max_new_tokens), NO_TOKEN, device=device),
            lengths=torch.zeros(shape, dtype=torch.long, device=device),
            scores=torch.full(shape, -math.inf, device=device),
            log_probs=torch.full(shape, -math.inf, device=device),
        )
        # (N, 1, 1): the first row of each problem and (G, 1): of each group within it.
        first_of_problem = torch.arange(n_problems, device=device)[:, None, None]
        first_of_group = torch.arange(shape[1], device=device)[:, None] * shape[2]
        self._first_rows = first_of_problem * settings.num_beams + first_of_group

    @property
    def is_done(self) -> bool:
        """Whether no group of any problem can improve its list."""
        return self.length == self.settings.max_new_tokens or bool(self._done.all())

    @property
    def finished(self) -> FinishedBeams:
        """The lists as they stand; complete once `is_done`."""
        return self._finished

    def advance(
        self,
        scores: Tensor,
        log_probs: Tensor | None = None,
        *,
        ends: Ends | None = None,
        last: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """The next token of every row and the row that it extends, both (N B,).

        `scores`: (N B, V), log-probabilities after all processors; `log_probs` the model's own,
        where they differ. `ends` says which candidates end for another reason than EOS. With
        `last`, or when T is reached, the best running hypotheses join the finished ones.
        """
        n_problems, n_groups, size = self._shape
        by_group = scores.float().view(n_problems, n_groups, size, self._vocab_size)
        model_by_group = by_group if log_probs is None else log_probs.float().view(by_group.shape)
        last = last or self.length + 1 == self.settings.max_new_tokens

        kept = self._tokens.new_empty(n_problems, n_groups, size, self.length + 1)
        live = torch.zeros(self._shape, dtype=torch.bool, device=scores.device)
        parents = torch.empty_like(live, dtype=torch.long)
        next_scores, next_log_probs = torch.empty_like(self._scores), torch.empty_like(self._scores)
        candidates = []
        for g in range(n_groups):
            # (N, B', V), Eq. 6
            totals = self._scores[:, g, :, None] + by_group[:, g]
            if g > 0 and self.settings.diversity_penalty > 0:
                earlier = EarlierGroups(
                    tokens=kept[:, :g].flatten(1, 2),
                    live=live[:, :g].flatten(1, 2),
                    own=self._tokens[:, g],
                    vocab_size=self._vocab_size,
                )
                totals = totals + self.settings.diversity_penalty * self._delta(earlier)
            found = self._best(g, totals, model_by_group[:, g], ends)
            candidates.append(found)

            # What has ended leaves its slot to the next best candidate.
            onward = found.ends.to(torch.int8).argsort(dim=1, stable=True)[:, :size]
            ended = found.ends.gather(1, onward)
            next_scores[:, g] = found.scores.gather(1, onward).masked_fill(ended, -math.inf)
            next_log_probs[:, g] = found.log_probs.gather(1, onward)
            parents[:, g] = found.parents.gather(1, onward)
            kept[:, g] = _gather_rows(found.tokens, onward)
            # A group that is done makes no more choices, and so penalises nobody.
            live[:, g] = next_scores[:, g].isfinite() & ~self._done[:, g, None]

        self._finish(candidates, last)
        self._tokens, self._scores, self._log_probs = kept, next_scores, next_log_probs
        self.length += 1
        self._mark_done()
        rows = (self._first_rows + parents).flatten()
        return kept[..., -1].flatten(), rows

    def _delta(self, earlier: EarlierGroups) -> Tensor:
        delta = self.settings.diversity(earlier)
        if bool((delta > 0).any()):
            raise ValueError("a diversity term must not be above 0: it is a penalty")
        return delta

    def _best(
        self, g: int, totals: Tensor, log_probs: Tensor, ends: Ends | None
    ) -> "_Candidates":
        """The best distinct extensions (b, v) of a group, best first, with what each one is."""
        scores, flat = totals.flatten(1).topk(self._n_candidates, dim=1)
        parents, tokens = flat // self._vocab_size, flat % self._vocab_size
        log_probs = self._log_probs[:, g].gather(1, parents) + log_probs.flatten(1).gather(1, flat)
        hypotheses = torch.cat(
            [_gather_rows(self._tokens[:, g], parents), tokens[..., None]], dim=-1
        )
        has_ended = torch.isin(tokens, self._eos)
        if ends is not None:
            rows = (self._first_rows[:, g] + parents).flatten()
            has_ended |= ends(rows, hypotheses.flatten(0, 1)).view_as(has_ended)
        # A score of -inf is a forbidden token or an empty slot: no hypothesis, so no end either.
        return _Candidates(scores, log_probs, parents, hypotheses, has_ended & scores.isfinite())

    def _finish(self, candidates: Sequence["_Candidates"], last: bool) -> None:
        """Merges what ended at this step into each group's own list, the best B' stay."""
        size, length = self.settings.group_size, self.length + 1
        # Only the best B' candidates may finish; the others were there to fill slots.
        scores = torch.stack([found.scores[:, :size] for found in candidates], dim=1)
        ended = torch.stack([found.ends[:, :size] for found in candidates], dim=1)
        joins = scores.isfinite() & ~self._done[:, :, None]
        if not last:
            joins &= ended
        if not bool(joins.any()):
            return
        log_probs = torch.stack([found.log_probs[:, :size] for found in candidates], dim=1)
        tokens = torch.stack([found.tokens[:, :size] for found in candidates], dim=1)
        old = self._finished
        padded = old.tokens.new_full((*scores.shape, self.settings.max_new_tokens), NO_TOKEN)
        padded[..., :length] = tokens
        scores = (scores / length**self.settings.length_penalty).masked_fill(~joins, -math.inf)
        merged, order = torch.cat([old.scores, scores], dim=2).topk(size, dim=2)
        lengths = torch.cat([old.lengths, torch.full_like(old.lengths, length)], dim=2)
        empty = ~merged.isfinite()
        self._finished = FinishedBeams(
            tokens=_gather_rows(torch.cat([old.tokens, padded], dim=2), order).masked_fill(
                empty[..., None], NO_TOKEN
            ),
            lengths=lengths.gather(2, order).masked_fill(empty, 0),
            scores=merged,
            log_probs=torch.cat([old.log_probs, log_probs], dim=2)
            .gather(2, order)
            .masked_fill(empty, -math.inf),
        )

    def _mark_done(self) -> None:
        """Marks the groups whose lists no running hypothesis can improve any more."""
        settings = self.settings
        full = self._finished.scores.isfinite().all(dim=2)
        best_running = self._scores.amax(dim=2)
        if settings.early_stopping is True:
            self._done |= full
        if settings.scores_fall:
            # Dividing by the largest length gives the best that can still come.
            reaches_end = settings.early_stopping == "never" and settings.length_penalty > 0
            length = settings.max_new_tokens if reaches_end else self.length
            best_possible = best_running / length**settings.length_penalty
            self._done |= full & (best_possible <= self._finished.scores.amin(dim=2))
        self._done |= ~best_running.isfinite()


@dataclass(frozen=True)
class _Candidates:
    """The best extensions of one group: (N, candidates) each, `tokens` (N, candidates, t + 1)."""

    scores: Tensor
    log_probs: Tensor
    parents: Tensor
    tokens: Tensor
    ends: Tensor


def _gather_rows(tokens: Tensor, places: Tensor) -> Tensor:
    """(..., rows, length) at (..., places): whole rows."""
    return tokens.gather(-2, places[..., None].expand(*places.shape, tokens.shape[-1]))


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
    step_fn: StepFn,
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
    step_fn: StepFn,
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
    step_fn: StepFn,
    init_state: State,
    lm_step_fn: StepFn,
    lm_init_state: State,
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
    """log p - weight log U; what p forbids stays forbidden, also where U forbids it."""
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
