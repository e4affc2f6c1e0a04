"""Refining a translation: delete, insert placeholders, fill them; all positions at once.

A step whose sequence did not change since the step before reads that step's states again instead of
computing the same: where nothing is deleted or inserted, one pass of the decoder is all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.translation import check_sources, length_limit, padded
from paperround.papers.fretna.levt import LevenshteinTransformer, relative_positions
from paperround.papers.fretna.oracle import insert_placeholders, select

# How often fairseq's Levenshtein Transformer refines at most: 9 times, and once.
MAX_REFINEMENTS = 10


@dataclass
class Refined:
    """A translation as ids without both ends, the decoder's passes, and how it came to be.

    `history` has the sequence after each refinement, the last one included.
    """

    tokens: list[int]
    passes: int = 0
    history: list[list[int]] = field(default_factory=list)


def refine(
    model: LevenshteinTransformer,
    sources: Sequence[Sequence[int]],
    initial: Sequence[Sequence[int]] | None = None,
    *,
    max_refinements: int = MAX_REFINEMENTS,
    append_bias: float = 0.0,
) -> list[Refined]:
    """The translation of each source, refined from `initial` (or from nothing) until it stays.

    `append_bias` (lambda >= 0) lowers the logit of "delete" and raises that of "insert nothing" by
    lambda (1 - r), so that edits move to the end; 0 is the plain model. No translation becomes
    longer than `length_limit` of its source; a longer initial one grows no further. Sources that
    end with `</s>` are whole. Raises ValueError for an empty source, UsageError for a source or
    an initial translation that is longer than the model's positions.
    """
    rows = [Refined(list(y)) for y in (initial if initial is not None else [[]] * len(sources))]
    if len(rows) != len(sources):
        raise ValueError(f"{len(rows)} translations to refine for {len(sources)} sources")
    if not all(sources):
        raise ValueError("a source is empty; there is nothing to translate")
    if not rows:
        return []
    check_sources(model, sources)
    config = model.config
    most = config.max_position_embeddings - 2
    if long := [i for i, row in enumerate(rows) if len(row.tokens) > most]:
        raise UsageError(
            f"translation {long[0]} has {len(rows[long[0]].tokens)} pieces, the model has room "
            f"for {most} between both ends; start from fewer"
        )
    device = next(model.parameters()).device
    with torch.inference_mode():
        source, source_mask = (t.to(device) for t in padded(sources, config.pad_token_id))
        states = model.encode(source, source_mask)
        active = list(range(len(rows)))
        for _ in range(max_refinements):
            at = torch.tensor(active, device=device)
            step = _Step(model, states[at], source_mask[at], [rows[i].tokens for i in active])
            step.delete(append_bias)
            step.insert(
                append_bias, torch.tensor([_limit(model, sources[i]) for i in active]).to(device)
            )
            step.fill()
            changed = []
            for i, tokens, passes in zip(active, step.tokens(), step.passes.tolist(), strict=True):
                rows[i].passes += passes
                rows[i].history.append(tokens)
                if tokens != rows[i].tokens:
                    rows[i].tokens = tokens
                    changed.append(i)
            active = changed
            if not active:
                break
    return rows


def _limit(model: LevenshteinTransformer, source: Sequence[int]) -> int:
    # Both ends have positions as well.
    return min(length_limit(len(source)), model.config.max_position_embeddings - 2)


class _Step:
    """One refinement of a batch; `passes` counts what each row would have cost alone."""

    def __init__(
        self,
        model: LevenshteinTransformer,
        states: Tensor,
        source_mask: Tensor,
        rows: Sequence[Sequence[int]],
    ) -> None:
        config = model.config
        self.model, self.config = model, config
        self.encoder_states, self.source_mask = states, source_mask
        ends = [[config.bos_token_id, *row, config.eos_token_id] for row in rows]
        self.y, self.mask = (t.to(states.device) for t in padded(ends, config.pad_token_id))
        self.passes = torch.zeros(len(rows), dtype=torch.long, device=states.device)
        # The states of `y`, None where it has changed since in any row.
        self.h: Tensor | None = None
        # Rows whose own states are out of date.
        self.stale = torch.ones(len(rows), dtype=torch.bool, device=states.device)

    def delete(self, append_bias: float) -> None:
        """Takes out what the model would not keep; a row without tokens is not asked."""
        inner = self._inner()
        if not bool(inner.any()):
            return
        logits = self.model.deletion_logits(self._states(inner.any(1)), self.mask)
        r = relative_positions(self.y.shape, self.mask, self.y.device)
        delete = logits[..., 1] - append_bias * (1 - r) > logits[..., 0]
        self._change(~(delete & inner) & self.mask.bool())

    def insert(self, append_bias: float, limits: Tensor) -> None:
        """Puts placeholders in, from the left as long as the limit allows."""
        every = torch.ones_like(self.stale)
        logits = self.model.insertion_logits(self._states(every), self.mask).clone()
        # Of the slot before position i + 1: nothing held back at the end.
        r = relative_positions(self.y.shape, self.mask, self.y.device)[:, 1:]
        logits[..., 0] += append_bias * (1 - r)
        counts = logits.argmax(-1) * self.mask[:, 1:]
        room = (limits - (self.mask.sum(1) - 2)).clamp(min=0)
        used = counts.cumsum(1).clamp(max=room[:, None])
        counts = torch.cat([used[:, :1], used[:, 1:] - used[:, :-1]], dim=1)
        inserted = counts.sum(1) > 0
        if bool(inserted.any()):
            self.y, self.mask = insert_placeholders(
                self.y,
                self.mask,
                counts,
                self.config.pad_token_id,
                self.config.placeholder_token_id,
            )
            self.h = None
            self.stale |= inserted

    def fill(self) -> None:
        """Puts a token into every placeholder."""
        open_places = self.y == self.config.placeholder_token_id
        if not bool(open_places.any()):
            return
        h = self._states(open_places.any(1))
        # Only where it is needed: the vocabulary is the dearest part of a pass.
        self.y = self.y.masked_scatter(
            open_places, self.model.token_logits(h[open_places]).argmax(-1)
        )

    def tokens(self) -> list[list[int]]:
        """The rows without both ends."""
        return [
            row[1 : length - 1]
            for row, length in zip(self.y.tolist(), self.mask.sum(1).tolist(), strict=True)
        ]

    def _inner(self) -> Tensor:
        """1 for every token but both ends: (batch, length)."""
        inner = self.mask.bool().clone()
        inner[:, 0] = False
        return inner.scatter_(1, (self.mask.sum(1) - 1)[:, None], False)

    def _states(self, asked: Tensor) -> Tensor:
        """The decoder's states of all rows; only rows that are asked and stale pay for them."""
        self.passes += (asked & self.stale).long()
        self.stale = self.stale & ~asked
        if self.h is None:
            self.h = self.model.decode(self.y, self.mask, self.encoder_states, self.source_mask)
        return self.h

    def _change(self, kept: Tensor) -> None:
        deleted = (kept != self.mask.bool()).any(1)
        if bool(deleted.any()):
            self.y, self.mask = select(self.y, kept, self.config.pad_token_id)
            self.h = None
            self.stale |= deleted
