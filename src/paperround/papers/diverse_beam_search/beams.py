"""The beams of diverse beam search, group after group at each time step: Algorithm 1 of the paper.

Legend: N problems are searched at once, each with B beams in G groups of B' = B / G; V is the
vocabulary size, T the largest number of new tokens. Row n B + g B' + b of a batch is beam b of
group g of problem n. Theta is a hypothesis' running score, which keeps the penalties it has paid
(Algorithm 1, line 5); `log_probs` is the same sum without them.

    S[b, v] = Theta[b] + theta(v | y_b) + lambda Delta(Y^1_t, ..., Y^(g-1)_t)[b, v]      Eq. 6
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from paperround.papers.diverse_beam_search.diversity import (
    Diversity,
    EarlierGroups,
    hamming_diversity,
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
            raise ValueError(
                f"early_stopping={self.early_stopping!r}: write True, False or 'never'"
            )

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

    def _best(self, g: int, totals: Tensor, log_probs: Tensor, ends: Ends | None) -> "_Candidates":
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
