"""Codebooks: the frequent words and the frequent phrases of 2, 3, 5, ..., 144 words.

A phrase of F_j words is one of F_{j-1} words and the F_{j-2} words behind it, so phrases are
counted as pairs of numbers, level by level, exactly and without comparing words: what is unique at
one level cannot repeat at the next.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.errors import DamagedError
from paperround.papers.quasicryth.tilings import SPANS
from paperround.papers.quasicryth.vectors import fetch
from paperround.papers.quasicryth.words import MAX_WORD, SEED, Bytes, Ints, Words, mixed

# Entries for unigrams and for phrases of 2, 3, 5, 8, ... words, below so many words of text
# (official program, v5.6).
_SIZES: tuple[tuple[int, tuple[int, ...]], ...] = (
    (5_000, (509, 509, 350, 100, 50)),
    (50_000, (1_000, 509, 500, 200, 100, 50)),
    (200_000, (4_000, 2_000, 1_000, 500, 200, 100, 50)),
    (500_000, (8_000, 4_000, 2_000, 1_000, 500, 300, 100, 50)),
    (2_000_000, (16_000, 8_000, 4_000, 2_000, 1_000, 1_000, 500, 200, 100)),
    (10_000_000, (32_000, 16_000, 8_000, 4_000, 2_000, 2_000, 1_000, 500, 200, 200, 100)),
)
_LARGEST = (64_000, 32_000, 32_000, 16_000, 4_000, 4_000, 2_000, 2_000, 1_000, 1_000, 500)
N_BOOKS = len(_LARGEST)

# After so many positions the official program forgets the phrases seen once, to save memory; a
# phrase whose occurrences lie further apart may then be missed. Kept, so that the books agree.
_FORGET_SHORT, _FORGET_MIDDLE, _FORGET_LONG = 2_000_000, 500_000, 200_000
_FORGET_SHORT_ABOVE = 5_000_000

_HEADER = 2 * N_BOOKS
# The unigrams and phrases of the largest books, as `Books.to_bytes` writes them.
MAX_CODEBOOK = (
    _HEADER
    + _LARGEST[0] * (MAX_WORD + 1)
    + sum(2 * n * span for n, span in zip(_LARGEST[1:], SPANS, strict=True))
)


@dataclass(frozen=True)
class Books:
    """The unigrams' bytes one after another, and per span the phrases as rows of unigram numbers.

    `offsets` has one entry more than there are unigrams. `phrases[j]` has shape (entries, F_j).
    """

    pool: Bytes
    offsets: NDArray[np.int64]
    phrases: tuple[NDArray[np.uint16], ...]

    @property
    def n_unigrams(self) -> int:
        """How many words have a number."""
        return len(self.offsets) - 1

    @property
    def counts(self) -> tuple[int, ...]:
        """Entries per book: unigrams, then phrases of 2, 3, 5, ... words."""
        return (self.n_unigrams, *(len(phrases) for phrases in self.phrases))

    def unigram(self, number: int) -> bytes:
        """The bytes of the unigram with that number."""
        return self.pool[self.offsets[number] : self.offsets[number + 1]].tobytes()

    def phrase(self, level: int, number: int) -> bytes:
        """The bytes of a phrase; level 0 has two words."""
        return b"".join(self.unigram(int(word)) for word in self.phrases[level][number])

    def to_bytes(self) -> bytes:
        """The codebook as LZMA gets it: counts, unigrams, then phrases in numbers of 16 bits."""
        parts = [np.array(self.counts, dtype="<u2").tobytes()]
        for number in range(self.n_unigrams):
            word = self.unigram(number)
            parts += [bytes([len(word)]), word]
        parts += [phrases.astype("<u2").tobytes() for phrases in self.phrases]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, raw: bytes) -> "Books":
        """The books that `to_bytes` wrote; raises DamagedError for anything else."""
        if len(raw) < _HEADER:
            raise DamagedError("the codebook is shorter than its header")
        counts = np.frombuffer(raw, dtype="<u2", count=N_BOOKS).astype(np.int64)
        data = np.frombuffer(raw, dtype=np.uint8)
        offsets = np.zeros(counts[0] + 1, dtype=np.int64)
        place = int(_unigram_offsets(data, _HEADER, offsets))
        words_end = place + 2 * int((counts[1:] * SPANS).sum())
        if place < 0 or words_end != len(raw):
            raise DamagedError("the codebook's length is not what its counts say")
        pool = np.empty(int(offsets[-1]), dtype=np.uint8)
        _copy_unigrams(data, _HEADER, offsets, pool)
        phrases = []
        for n, span in zip(counts[1:].tolist(), SPANS, strict=True):
            rows = np.frombuffer(raw, dtype="<u2", count=n * span, offset=place)
            place += 2 * n * span
            phrases.append(rows.astype(np.uint16).reshape(n, span))
            if n and int(rows.max()) >= counts[0]:
                raise DamagedError("a phrase of the codebook names a word that it does not have")
        return cls(pool, offsets, tuple(phrases))


def book_sizes(n_words: int) -> tuple[int, ...]:
    """How many entries each book may have for a text of so many words."""
    for below, sizes in _SIZES:
        if n_words < below:
            return (*sizes, *(0,) * (N_BOOKS - len(sizes)))
    return _LARGEST


def build_books(
    words: Words,
    sizes: tuple[int, ...] | None = None,
    on_share: Callable[[float], None] | None = None,
) -> tuple[Books, Ints]:
    """The books of a text, and for each of its words the number in the unigram book, -1 for none.

    They hold the most frequent words, pairs of such words, and phrases seen twice or more.

    All words of a phrase are in the unigram book. Equal frequencies keep the order of first
    occurrence (the official program leaves them to its hash table). `on_share` is told what share
    of the levels is counted.
    """
    n_words = len(words.ids)
    sizes = book_sizes(n_words) if sizes is None else sizes
    frequency = np.bincount(words.ids, minlength=len(words.starts))
    chosen = _most_frequent(frequency, sizes[0])
    units = _unigram_numbers(words, chosen)
    phrases = []
    # Numbers of the phrases of F_{j-1} and F_{j-2} words at each position; -1 has no use.
    shorter, long = units, units
    for level, span in enumerate(SPANS):
        size = sizes[level + 1]
        if size == 0 or n_words < span:
            phrases.append(np.empty((0, span), dtype=np.uint16))
            continue
        shift = 1 if level == 0 else SPANS[level - 1]
        ids, firsts, counts, remembered = _count_pairs(
            long, shorter, shift, n_words - span + 1, _forgets_after(level, n_words), SEED
        )
        # Pairs count even when they are seen once.
        found = remembered if level == 0 else np.where(remembered >= 2, remembered, 0)
        best = _most_frequent(found, size)
        rows = units[firsts[best][:, None] + np.arange(span)]
        phrases.append(rows.astype(np.uint16))
        if len(counts):
            ids[counts[ids] < 2] = -1
        if level == 0:
            units_seen = np.where(units >= 0, frequency[words.ids] >= 2, False)
            shorter, long = np.where(units_seen, units, -1).astype(np.int32), ids
        else:
            shorter, long = long, ids
        if on_share is not None:
            on_share((level + 1) / len(SPANS))
    offsets = np.zeros(len(chosen) + 1, dtype=np.int64)
    np.cumsum(words.lengths[chosen], out=offsets[1:])
    pool = np.empty(int(offsets[-1]), dtype=np.uint8)
    _gather(words.text, words.starts[chosen], offsets, pool)
    return Books(pool, offsets, tuple(phrases)), units


def _unigram_numbers(words: Words, chosen: NDArray[np.int64]) -> Ints:
    """For each word of the text its number in the unigram book, -1 for a word that is not in it."""
    number = np.full(len(words.starts), -1, dtype=np.int32)
    number[chosen] = np.arange(len(chosen), dtype=np.int32)
    return number[words.ids]


def numbers_in(books: Books, words: Words) -> Ints:
    """For each word of the text its number in the books, -1 for a word that is not in them."""
    own = {words.word(word): word for word in range(len(words.starts))}
    number = np.full(len(words.starts), -1, dtype=np.int32)
    for unigram in range(books.n_unigrams):
        word = own.get(books.unigram(unigram))
        if word is not None and number[word] < 0:
            number[word] = unigram
    return number[words.ids]


def _forgets_after(level: int, n_words: int) -> int:
    """After how many positions phrases seen once are forgotten; 0 for never."""
    span = SPANS[level]
    if span >= 55:
        return _FORGET_LONG
    if span >= 13:
        return _FORGET_MIDDLE
    return _FORGET_SHORT if span > 2 and n_words - span + 1 > _FORGET_SHORT_ABOVE else 0


def _most_frequent(frequency: NDArray[np.integer], n: int) -> NDArray[np.int64]:
    """The places of the `n` largest positive frequencies, largest first, ties by place."""
    places = np.flatnonzero(frequency > 0)
    if len(places) > n:
        least = np.partition(frequency[places], len(places) - n)[len(places) - n]
        places = places[frequency[places] >= least]
    order = np.argsort(-frequency[places].astype(np.int64), kind="stable")
    return places[order[:n]]


# How far ahead of its turn a pair's slot is fetched into the processor's cache.
_AHEAD = 12


@inlined
def _slot_of(left, right, seed, capacity):  # type: ignore[no-untyped-def]
    """Where a pair's search begins in the hash table, and the pair's mark there."""
    key = (np.uint64(left) << np.uint64(32)) | np.uint64(right)
    h = mixed(key, seed)
    # The mark has other bits of the hash than the slot; 0 says that a slot is free.
    return np.int64(h & np.uint64(capacity - 1)), np.int64(h >> np.uint64(33)) | 1


@compiled
def _count_pairs(left, right, shift, n, forgets_after, seed):  # type: ignore[no-untyped-def]
    """Numbers of the pairs (left[p], right[p + shift]) for p < n, in order of first occurrence.

    Also where each pair is first, how often it occurs, and how often it is remembered: an
    occurrence whose only predecessor was forgotten starts anew.
    """
    ids = np.full(len(left), -1, dtype=np.int32)
    capacity = 65_536
    # Of each slot a mark that tells most pairs apart, and the pair's number.
    slots = np.zeros((capacity, 2), dtype=np.int32)
    # Of each pair left, right, how often it occurs, and how often it is remembered; where that is
    # once, minus the stretch of positions in which it was, less 1. All are in a quarter of a cache
    # line, since every occurrence needs all of them.
    pairs = np.empty((capacity, 4), dtype=np.int32)
    firsts = np.empty(capacity, dtype=np.int32)
    n_pairs = 0
    for p in range(n):
        ahead = p + _AHEAD
        if ahead < n and left[ahead] >= 0 and right[ahead + shift] >= 0:
            slot, mark = _slot_of(left[ahead], right[ahead + shift], seed, capacity)
            fetch(slots, slot)
        if left[p] < 0 or right[p + shift] < 0:
            continue
        slot, mark = _slot_of(left[p], right[p + shift], seed, capacity)
        while slots[slot, 0] and not (
            slots[slot, 0] == mark
            and pairs[slots[slot, 1], 0] == left[p]
            and pairs[slots[slot, 1], 1] == right[p + shift]
        ):
            slot = (slot + 1) & (capacity - 1)
        stretch = -1 - (p // forgets_after if forgets_after else 0)
        if slots[slot, 0]:
            pair = np.int64(slots[slot, 1])
            pairs[pair, 2] += 1
            remembered = pairs[pair, 3]
            if remembered > 0:
                pairs[pair, 3] = remembered + 1
            else:
                pairs[pair, 3] = 2 if remembered == stretch else stretch
        else:
            pair = n_pairs
            slots[slot, 0] = mark
            slots[slot, 1] = pair
            pairs[pair, 0] = left[p]
            pairs[pair, 1] = right[p + shift]
            pairs[pair, 2] = 1
            pairs[pair, 3] = stretch
            firsts[pair] = p
            n_pairs += 1
        ids[p] = pair
        if 2 * n_pairs > capacity:
            pairs = np.concatenate((pairs, np.empty((capacity, 4), dtype=np.int32)))
            firsts = np.concatenate((firsts, np.empty(capacity, dtype=np.int32)))
            capacity *= 2
            slots = np.zeros((capacity, 2), dtype=np.int32)
            for known in range(n_pairs):
                slot, mark = _slot_of(pairs[known, 0], pairs[known, 1], seed, capacity)
                while slots[slot, 0]:
                    slot = (slot + 1) & (capacity - 1)
                slots[slot, 0] = mark
                slots[slot, 1] = known
    return (
        ids,
        firsts[:n_pairs].astype(np.int64),
        pairs[:n_pairs, 2].copy(),
        np.maximum(pairs[:n_pairs, 3], 1),
    )


@compiled
def _gather(text, starts, offsets, pool):  # type: ignore[no-untyped-def]
    for word in range(len(starts)):
        for i in range(offsets[word + 1] - offsets[word]):
            pool[offsets[word] + i] = text[starts[word] + i]


@compiled
def _unigram_offsets(data, place, offsets):  # type: ignore[no-untyped-def]
    """Fills `offsets` from the length bytes; gives back where the unigrams end, -1 if too late."""
    for word in range(len(offsets) - 1):
        if place >= len(data):
            return -1
        length = np.int64(data[place])
        offsets[word + 1] = offsets[word] + length
        place += 1 + length
    return place if place <= len(data) else -1


@compiled
def _copy_unigrams(data, place, offsets, pool):  # type: ignore[no-untyped-def]
    for word in range(len(offsets) - 1):
        place += 1
        for i in range(offsets[word], offsets[word + 1]):
            pool[i] = data[place]
            place += 1
