"""What one update sees: encoded pairs, whole or cut to a prefix, in batches of equal length."""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from paperround.kit.translation.texts import Pair, both_sides

# Target positions with this label are not learnt.
IGNORED = -100
# Pairs of similar length are put together among this many batches' worth.
_BUCKET_BATCHES = 16


class Encoded(NamedTuple):
    """A pair as ids. Both sides end with `</s>`, but for a source that has been cut."""

    source: list[int]
    target: list[int]


@dataclass(frozen=True)
class Batch:
    """A batch of pairs as tensors: ids and their masks, (batch, length), padded on the right."""

    source: Tensor
    source_mask: Tensor
    target: Tensor
    target_mask: Tensor

    @property
    def n_tokens(self) -> int:
        """How many tokens of the targets there are, padding not counted."""
        return int(self.target_mask.sum())


def encode_pairs(
    tokenizer: PreTrainedTokenizerFast, pairs: Sequence[Pair], *, longest: int | None = None
) -> list[Encoded]:
    """The pairs as ids, without those where a side has more than `longest` pieces."""
    sources, targets = both_sides(pairs)
    if not pairs:
        return []
    encoded = (
        Encoded(source, target)
        for source, target in zip(
            tokenizer(sources)["input_ids"], tokenizer(targets)["input_ids"], strict=True
        )
    )
    return [pair for pair in encoded if longest is None or max(map(len, pair)) <= longest + 1]


def word_ends(ids: Sequence[int], beginnings: frozenset[int]) -> list[int]:
    """After how many ids each word of a text ends; `ids` come without `</s>`."""
    starts = [place for place in range(1, len(ids)) if ids[place] in beginnings]
    return [*starts, len(ids)] if ids else []


def cut_to_prefix(pair: Encoded, share: float, beginnings: frozenset[int]) -> Encoded:
    """The first words of both sides: ceil(share x words) of each, at least one.

    A cut source has no `</s>`, a cut target has one. Source: Arivazhagan et al., re-translation.
    """
    source, target = pair.source[:-1], pair.target[:-1]
    source_ends, target_ends = word_ends(source, beginnings), word_ends(target, beginnings)
    n_source = max(1, math.ceil(share * len(source_ends)))
    if n_source >= len(source_ends):
        return pair
    n_target = min(max(1, math.ceil(share * len(target_ends))), len(target_ends))
    return Encoded(
        source[: source_ends[n_source - 1]],
        [*target[: target_ends[n_target - 1]], pair.target[-1]] if target_ends else pair.target,
    )


def batches_by_tokens(
    pairs: Sequence[Encoded],
    batch_tokens: int,
    *,
    pad: int,
    seed: int,
    prefix_share: float = 0.0,
    beginnings: frozenset[int] = frozenset(),
) -> Iterator[Batch]:
    """Batches without end, each of at most `batch_tokens` padded tokens of both sides, or one pair.

    Every pair comes once an epoch, in an order of its own; `prefix_share` of them are cut to a
    prefix, by a share drawn from U(0, 1). Raises ValueError without pairs.
    """
    if not pairs:
        raise ValueError("there are no pairs to learn from")
    rng = random.Random(f"translation batches {seed}")
    while True:
        order = list(range(len(pairs)))
        rng.shuffle(order)
        bucket: list[Encoded] = []
        held = 0
        for number, place in enumerate(order, start=1):
            pair = pairs[place]
            if rng.random() < prefix_share:
                pair = cut_to_prefix(pair, rng.random(), beginnings)
            bucket.append(pair)
            held += len(pair.source) + len(pair.target)
            if held >= _BUCKET_BATCHES * batch_tokens or number == len(order):
                # Shuffled before a stable sort, so that pairs of equal lengths still mix.
                bucket.sort(key=lambda pair: (len(pair.target), len(pair.source)))
                cut = list(_cut(bucket, batch_tokens))
                rng.shuffle(cut)
                yield from (_batch(rows, pad) for rows in cut)
                bucket, held = [], 0


def padded(rows: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """The rows as one tensor, padded on the right, and their mask, both (rows, longest)."""
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[pad] * (longest - len(row))] for row in rows])
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(longest) < lengths[:, None]).long()


def _batch(rows: Sequence[Encoded], pad: int) -> Batch:
    return Batch(
        *padded([row.source for row in rows], pad), *padded([row.target for row in rows], pad)
    )


def _cut(bucket: Sequence[Encoded], batch_tokens: int) -> Iterator[list[Encoded]]:
    """Runs of the sorted bucket, each of at most `batch_tokens` padded tokens or one pair."""
    rows: list[Encoded] = []
    source = target = 0
    for pair in bucket:
        longest = max(source, len(pair.source)) + max(target, len(pair.target))
        if rows and (len(rows) + 1) * longest > batch_tokens:
            yield rows
            rows, source, target = [], 0, 0
        rows.append(pair)
        source, target = max(source, len(pair.source)), max(target, len(pair.target))
    if rows:
        yield rows
