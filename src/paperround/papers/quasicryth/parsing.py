"""From words to events: which phrases stand where, which of them are taken, and what repeats.

An event is a level of encoding and a number in that level's book. The levels of encoding are not
those of the hierarchy: 0 escape, 1 unigram, 2 two words, 3 three, 4 five, ..., 11 with 144.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.books import Books
from paperround.papers.quasicryth.compiled import compiled
from paperround.papers.quasicryth.tilings import SPANS
from paperround.papers.quasicryth.words import SEED, Bytes, Ints, mixed

Selection = Literal["greedy", "optimal"]

# Words of an event per level of encoding.
WORDS = (1, 1, *SPANS)
N_ENCODINGS = len(WORDS)
ESCAPE, UNIGRAM, BIGRAM = 0, 1, 2

# Official program, v5.6: three events at least, 255 at most, four places remembered per hash, and
# the search ends at sixteen.
MIN_MATCH, MAX_MATCH = 3, 255
_CHAIN, _GOOD_MATCH = 4, 16
_HASH_BITS = 22

_ROLLING = np.uint64(0xD1342543DE82EF95)


@dataclass(frozen=True)
class Phrases:
    """The phrases of the books that stand in a text.

    `at`, shape (levels, words), has for each word the number of the phrase of F_j words that begins
    there and that the tilings allow, or -1. `lookups[j]` counts the positions that were looked up.
    """

    at: NDArray[np.int16]
    lookups: tuple[int, ...]


@dataclass(frozen=True)
class Events:
    """The parse of a text: `levels`, `numbers` in the books, and the word where each event begins.

    `offsets` and `lengths` say which events repeat earlier ones: where `lengths[e]` is above 0, the
    events from e on are those from e - offsets[e] on. An escape's number is 0.
    """

    levels: Bytes
    numbers: Ints
    starts: Ints
    offsets: Ints
    lengths: Ints


def find_phrases(
    books: Books, units: Ints, allowed: NDArray[np.uint16], bigrams: bool = True
) -> Phrases:
    """Where the phrases of the books stand, given each word's unigram number (-1 for none).

    `allowed` has bit j set where the tilings allow a phrase of F_j words. Pairs need no tiling;
    `bigrams=False` leaves them out.
    """
    # No book of phrases has more than 32,000 entries.
    at = np.full((len(SPANS), len(units)), -1, dtype=np.int16)
    lookups = [0] * len(SPANS)
    for level, rows in enumerate(books.phrases):
        if len(rows) and (level > 0 or bigrams):
            bit = 0 if level == 0 else 1 << level
            lookups[level] = int(_look_up(units, allowed, bit, rows, SEED, at[level]))
    return Phrases(at, tuple(lookups))


def select(phrases: Phrases, units: Ints, selection: Selection = "greedy") -> tuple[Bytes, Ints]:
    """The level of the event that begins at each word, and its number; 255 inside an event.

    Greedy, as the paper: at each word the longest phrase counts, the longest phrases are taken
    first from left to right where nothing overlaps, then pairs, then single words. Optimal (ours):
    the parse of least estimated code length, the estimates counted on the greedy parse.
    """
    levels = np.zeros(len(units), dtype=np.uint8)
    numbers = np.zeros(len(units), dtype=np.int32)
    _select_greedily(phrases.at, units, np.array(WORDS), levels, numbers)
    if selection == "optimal":
        costs = _costs(phrases.at, units, levels, numbers)
        _select_shortest(phrases.at, units, np.array(WORDS), *costs, levels, numbers)
    return levels, numbers


def events(levels: Bytes, numbers: Ints, lz77: bool = True) -> Events:
    """The events in order, with what repeats among them."""
    starts = np.flatnonzero(levels != _INSIDE).astype(np.int32)
    levels, numbers = levels[starts], numbers[starts]
    offsets, lengths = np.zeros(len(starts), dtype=np.int32), np.zeros(len(starts), dtype=np.int32)
    if lz77 and len(starts) >= MIN_MATCH:
        # Buckets are numbered densely, so that a short text does not pay for 2^22 of them.
        buckets, of_event = np.unique(_hash_triples(levels, numbers), return_inverse=True)
        places = np.full((len(buckets), _CHAIN), -1, dtype=np.int32)
        _match(levels, numbers, of_event, places, offsets, lengths)
    return Events(levels, numbers, starts, offsets, lengths)


# The level of a word inside an event that began before it.
_INSIDE = 255


@compiled
def _look_up(units, allowed, bit, rows, seed, found):  # type: ignore[no-untyped-def]
    """Fills `found`; gives back how many positions were looked up. Bit 0 allows all positions."""
    n_rows, span = rows.shape
    n = len(units)
    # B^span, to take the oldest word out of the rolling hash.
    power = np.uint64(1)
    for _ in range(span):
        power *= _ROLLING
    capacity = 16
    while capacity < 4 * n_rows:
        capacity *= 2
    table = np.full(capacity, -1, dtype=np.int32)
    hashes = np.empty(n_rows, dtype=np.uint64)
    for row in range(n_rows):
        h = np.uint64(0)
        for i in range(span):
            h = h * _ROLLING + np.uint64(rows[row, i]) + np.uint64(1)
        h = mixed(h, seed)
        hashes[row] = h
        slot = np.int64(h & np.uint64(capacity - 1))
        while table[slot] >= 0:
            slot = (slot + 1) & (capacity - 1)
        table[slot] = row
    n_lookups = 0
    h = np.uint64(0)
    # The first word from which on all words are in the unigram book.
    known_from = 0
    for last in range(n):
        unit = units[last]
        if unit < 0:
            known_from = last + 1
        h = h * _ROLLING + np.uint64(unit + 1)
        if last >= span:
            h -= power * np.uint64(units[last - span] + 1)
        start = last - span + 1
        if start < 0 or (bit and not allowed[start] & bit):
            continue
        n_lookups += 1
        if start < known_from:
            continue
        key = mixed(h, seed)
        slot = np.int64(key & np.uint64(capacity - 1))
        while True:
            row = table[slot]
            if row < 0:
                break
            if hashes[row] == key:
                i = 0
                while i < span and rows[row, i] == units[start + i]:
                    i += 1
                if i == span:
                    found[start] = row
                    break
            slot = (slot + 1) & (capacity - 1)
    return n_lookups


@compiled
def _select_greedily(at, units, words, levels, numbers):  # type: ignore[no-untyped-def]
    n = len(units)
    # 255 says that a word is covered; 254 that it is not yet.
    for p in range(n):
        levels[p] = 254
    deepest = np.zeros(n, dtype=np.uint8)
    counts = np.zeros(len(words), dtype=np.int64)
    for level in range(1, at.shape[0]):
        for p in range(n):
            if at[level, p] >= 0:
                deepest[p] = level + 2
    for p in range(n):
        counts[deepest[p]] += 1
    for encoding in range(len(words) - 1, 1, -1):
        if encoding > 2 and counts[encoding] == 0:
            continue
        span = words[encoding]
        for p in range(n - span + 1):
            if encoding > 2 and deepest[p] != encoding:
                continue
            if levels[p] != 254 or at[encoding - 2, p] < 0:
                continue
            i = 1
            while i < span and levels[p + i] == 254:
                i += 1
            if i < span:
                continue
            levels[p] = encoding
            numbers[p] = at[encoding - 2, p]
            for i in range(1, span):
                levels[p + i] = 255
    for p in range(n):
        if levels[p] == 254:
            levels[p] = 1 if units[p] >= 0 else 0
            numbers[p] = units[p] if units[p] >= 0 else 0


def _costs(
    at: NDArray[np.int16], units: Ints, levels: Bytes, numbers: Ints
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Bits per level, bits per entry of all books one after another, and where each book begins."""
    sizes = [int(units.max(initial=-1)) + 1, *(int(row.max(initial=-1)) + 1 for row in at)]
    begins = np.cumsum([0, 0, *sizes])[:N_ENCODINGS].astype(np.int64)
    begun = levels != _INSIDE
    n_events = int(begun.sum())
    of_level = np.bincount(levels[begun], minlength=N_ENCODINGS)
    level_bits = -np.log2((of_level + 0.5) / (n_events + 0.5 * N_ENCODINGS))
    # An escape costs its letters: about as much as a word seen once in the unigram book.
    level_bits[ESCAPE] += _ESCAPE_BITS
    entry_bits = np.zeros(sum(sizes))
    for encoding, size in enumerate(sizes, start=1):
        used = np.bincount(numbers[levels == encoding], minlength=size)
        bits = -np.log2((used + 0.5) / (used.sum() + 0.5 * max(size, 1)))
        entry_bits[begins[encoding] : begins[encoding] + size] = bits
    return level_bits, entry_bits, begins


_ESCAPE_BITS = 24.0


@compiled
def _select_shortest(  # type: ignore[no-untyped-def]
    at, units, words, level_bits, entry_bits, begins, levels, numbers
):
    n = len(units)
    # least[p]: the least bits for the words from p on.
    least = np.zeros(n + 1)
    choice = np.empty(n, dtype=np.uint8)
    for p in range(n - 1, -1, -1):
        if units[p] >= 0:
            choice[p] = 1
            best = level_bits[1] + entry_bits[begins[1] + units[p]] + least[p + 1]
        else:
            choice[p] = 0
            best = level_bits[0] + least[p + 1]
        for encoding in range(2, len(words)):
            number = at[encoding - 2, p]
            if number >= 0:
                bits = level_bits[encoding] + entry_bits[begins[encoding] + number]
                bits += least[p + words[encoding]]
                if bits < best:
                    best = bits
                    choice[p] = encoding
        least[p] = best
    p = 0
    while p < n:
        encoding = choice[p]
        levels[p] = encoding
        if encoding >= 2:
            numbers[p] = at[encoding - 2, p]
        else:
            numbers[p] = units[p] if encoding == 1 else 0
        for i in range(p + 1, p + words[encoding]):
            levels[i] = 255
        p += words[encoding]


@compiled
def _hash_triples(levels, numbers):  # type: ignore[no-untyped-def]
    hashes = np.empty(len(levels), dtype=np.int32)
    for e in range(len(levels) - 2):
        h = np.uint32(levels[e]) * np.uint32(2654435761)
        h ^= np.uint32(numbers[e]) * np.uint32(2246822519)
        h ^= np.uint32(levels[e + 1]) * np.uint32(3266489917)
        h ^= np.uint32(numbers[e + 1]) * np.uint32(668265263)
        h ^= np.uint32(levels[e + 2]) * np.uint32(374761393)
        h ^= np.uint32(numbers[e + 2]) * np.uint32(2246822519)
        hashes[e] = (h >> np.uint32(32 - _HASH_BITS)) & np.uint32((1 << _HASH_BITS) - 1)
    # The last two begin no triple.
    hashes[len(levels) - 2] = -1
    hashes[len(levels) - 1] = -1
    return hashes


@compiled
def _match(levels, numbers, buckets, places, offsets, lengths):  # type: ignore[no-untyped-def]
    n = len(levels)
    e = 0
    while e + MIN_MATCH <= n:
        bucket = buckets[e]
        best, best_length = 0, 0
        for slot in range(_CHAIN):
            ref = places[bucket, slot]
            if ref < 0:
                break
            length = 0
            # Three events may reach into the place they are copied to; longer matches may not.
            limit = max(MIN_MATCH, min(MAX_MATCH, n - e, e - ref))
            while (
                length < limit
                and levels[ref + length] == levels[e + length]
                and numbers[ref + length] == numbers[e + length]
            ):
                length += 1
            if length >= MIN_MATCH and length > best_length:
                best, best_length = e - ref, length
            if best_length >= _GOOD_MATCH:
                break
        for slot in range(_CHAIN - 1, 0, -1):
            places[bucket, slot] = places[bucket, slot - 1]
        places[bucket, 0] = e
        if best_length:
            offsets[e] = best
            lengths[e] = best_length
            e += best_length
        else:
            e += 1
