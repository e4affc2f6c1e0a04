"""Writing with a SUNDAE model: from random words to a text in a few steps, all words at once."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from paperround.kit.language_models.decoding import evaluating
from paperround.papers.making_the_most.sundae import (
    MAX_LENGTH_DIFFERENCE,
    Batch,
    SundaeSeq2Seq,
)


@dataclass(frozen=True)
class Written:
    """One text: its ids without the frame, and how sure the model is of it.

    `score` is the mean log-probability of its words in one more pass over the finished text.
    `n_passes` counts all passes of the decoder.
    """

    tokens: tuple[int, ...]
    score: float
    n_passes: int


def generate(
    model: SundaeSeq2Seq,
    sources: Sequence[Sequence[int]],
    *,
    n_steps: int = 10,
    temperature: float = 0.3,
    n_candidates: int = 1,
    update_share: float = 1.0,
    lengths: Sequence[int] | None = None,
    seed: int = 0,
) -> list[Written]:
    """A text for each source, which are ids without a frame.

    Each step draws every word again at the `temperature` (0: the likeliest), or the `update_share`
    of them that the model is least sure of; the last one takes the likeliest. The `n_candidates`
    likeliest lengths are all tried, and the text that the model is surest of is kept; `lengths`
    gives the number of words instead. The random numbers of a text follow from the seed and its
    source alone, so that a batch gives what its sources give alone. Raises ValueError for settings
    that make no sense.
    """
    if n_steps < 1 or n_candidates < 1:
        raise ValueError(f"n_steps={n_steps} and n_candidates={n_candidates} must be at least 1")
    if temperature < 0 or not 0 < update_share <= 1:
        raise ValueError(
            f"temperature={temperature} must not be negative, update_share={update_share} must be "
            "above 0 and at most 1"
        )
    if lengths is not None and len(lengths) != len(sources):
        raise ValueError(f"{len(lengths)} lengths for {len(sources)} sources")
    if not sources:
        return []
    with torch.inference_mode(), evaluating(model):
        source = model.batch(sources)
        states = model.encode(source)
        tried = _lengths(model, states, source, sources, n_candidates, lengths)
        n_tried = len(tried[0])
        rows = torch.arange(len(sources), device=states.device).repeat_interleave(n_tried)
        wide = Batch(source.ids[rows], source.mask[rows], source.words[rows])
        flat = [n for of_source in tried for n in of_source]
        lots = [_Lots(seed, sources[row // n_tried], row % n_tried) for row in range(len(flat))]
        draft = _random_draft(model, flat, lots)
        written = _improve(
            model, draft, states[rows], wide, n_steps, temperature, update_share, lots
        )
    best = []
    for row in range(len(sources)):
        of_row = range(row * n_tried, (row + 1) * n_tried)
        best.append(max((written[place] for place in of_row), key=lambda one: one.score))
    return best


def _improve(
    model: SundaeSeq2Seq,
    draft: Batch,
    states: Tensor,
    source: Batch,
    n_steps: int,
    temperature: float,
    update_share: float,
    lots: Sequence["_Lots"],
) -> list[Written]:
    """The drafts after all steps, each with how sure the model is of it."""
    for step in range(n_steps):
        log_probs = _log_probs(model, draft, states, source)
        is_last = step + 1 == n_steps
        if temperature == 0 or is_last:
            words = log_probs.argmax(dim=-1)
        else:
            probs = (log_probs / temperature).softmax(dim=-1)
            cumulative = probs.cumsum(dim=-1)
            numbers = _padded([lot.numbers(n) for lot, n in _counts(lots, draft)], draft)
            drawn = torch.searchsorted(
                cumulative, numbers[..., None] * cumulative[..., -1:], right=True
            )
            words = drawn[..., 0].clamp(max=probs.shape[-1] - 1)
        changing = draft.words
        if update_share < 1 and not is_last:
            changing = _least_sure(log_probs, draft, update_share)
        draft = replace(draft, ids=torch.where(changing, words, draft.ids))
    log_probs = _log_probs(model, draft, states, source)
    of_words = log_probs.gather(-1, draft.ids[..., None])[..., 0].masked_fill(~draft.words, 0.0)
    scores = of_words.sum(dim=1) / draft.words.sum(dim=1).clamp(min=1)
    return [
        Written(tuple(ids[words].tolist()), score, n_steps + 1)
        for ids, words, score in zip(draft.ids, draft.words, scores.tolist(), strict=True)
    ]


def _log_probs(model: SundaeSeq2Seq, draft: Batch, states: Tensor, source: Batch) -> Tensor:
    """(rows, width, V) log-probabilities of words."""
    logits = model(draft, states, source).float()
    return logits.masked_fill(~model.allowed, -torch.inf).log_softmax(dim=-1)


def _least_sure(log_probs: Tensor, draft: Batch, share: float) -> Tensor:
    """(rows, width): the share of each row's words that the model finds least likely there.

    At least one word a row.
    """
    own = log_probs.gather(-1, draft.ids[..., None])[..., 0].masked_fill(~draft.words, torch.inf)
    rank = own.argsort(dim=1).argsort(dim=1)
    n_changing = (share * draft.words.sum(dim=1)).ceil().clamp(min=1)
    return draft.words & (rank < n_changing[:, None])


def _lengths(
    model: SundaeSeq2Seq,
    states: Tensor,
    source: Batch,
    sources: Sequence[Sequence[int]],
    n_candidates: int,
    given: Sequence[int] | None,
) -> list[list[int]]:
    """For each source the numbers of words to try, the likeliest first, as many for each."""
    if given is not None:
        if min(given) < 1:
            raise ValueError(f"a length of {min(given)}; a text has at least one word")
        return [[n] for n in given]
    logits = model.length_logits(states, source)
    n_possible = logits.shape[1]
    differences = torch.arange(n_possible, device=logits.device) - MAX_LENGTH_DIFFERENCE
    lengths = torch.tensor([len(one) for one in sources], device=logits.device)
    too_short = lengths[:, None] + differences < 1
    best = logits.masked_fill(too_short, -torch.inf).topk(min(n_candidates, n_possible), dim=1)
    longest = model.max_length - model.n_framing
    return (lengths[:, None] + differences[best.indices]).clamp(min=1, max=longest).tolist()


def _random_draft(model: SundaeSeq2Seq, lengths: Sequence[int], lots: Sequence["_Lots"]) -> Batch:
    words = model.allowed.nonzero()[:, 0]
    texts = [
        words[(lot.numbers(n) * len(words)).long().to(words.device)].tolist()
        for lot, n in zip(lots, lengths, strict=True)
    ]
    return model.batch(texts)


def _counts(lots: Sequence["_Lots"], draft: Batch) -> list[tuple["_Lots", int]]:
    return list(zip(lots, draft.words.sum(dim=1).tolist(), strict=True))


def _padded(numbers: Sequence[Tensor], draft: Batch) -> Tensor:
    """(rows, width): each row's numbers where its words stand."""
    spread = torch.zeros(draft.ids.shape, device=draft.ids.device)
    for row, of_row in enumerate(numbers):
        spread[row, draft.words[row]] = of_row.to(spread.device)
    return spread


class _Lots:
    """The random numbers of one text, which follow from the seed, its source and its place."""

    def __init__(self, seed: int, source: Sequence[int], place: int) -> None:
        named = repr((seed, place, list(source))).encode()
        digest = hashlib.blake2b(named, digest_size=7).digest()
        self._generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))

    def numbers(self, n: int) -> Tensor:
        """(n,) within 0..1, the next ones each time."""
        return torch.rand(n, generator=self._generator)
