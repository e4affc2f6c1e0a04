"""From bytes to words and back: the case split, the words, and their numbers.

A token is a run of letters (ASCII letters and every byte from 128 on) with the whitespace behind
it, or one other byte with the whitespace behind it. Lowering keeps the length of a token, and a
lowered text has the same tokens, so the decoder finds them again without being told.
"""

from dataclasses import dataclass
from secrets import randbits

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.compiled import compiled, inlined

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int32]

# A unigram's length is one byte in the codebook. The official program cuts longer words there, and
# at 65,535 in the escapes, and then cannot restore the text; here they become several words.
MAX_WORD = 255
# Where the official program looks for a zero byte before it believes in text.
_LOOKED_AT = 8_192

# Tables are seeded anew in each process, so that no text can be made to collide in them. The seed
# decides where an entry lies and never what comes out.
SEED = np.uint64(randbits(63) | 1)

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(29)
_BYTE_PRIME = np.uint64(0x100000001B3)


@dataclass(frozen=True)
class Words:
    """A text as numbers of words, in order of first occurrence.

    `ids` has one number per word of the text, `starts` and `lengths` say where in `text` the word
    of that number first stands.
    """

    text: Bytes
    ids: Ints
    starts: NDArray[np.int64]
    lengths: NDArray[np.int32]

    def word(self, number: int) -> bytes:
        """The bytes of the word with that number."""
        start = int(self.starts[number])
        return self.text[start : start + int(self.lengths[number])].tobytes()


def is_text(data: Bytes) -> bool:
    """Whether the case split is tried: no zero byte among the first 8,192."""
    return not bool((data[:_LOOKED_AT] == 0).any())


def split_case(data: Bytes) -> tuple[Bytes, Bytes]:
    """The lowered text and one flag per token: 0 as it stands, 1 first letter upper, 2 all upper.

    A token that its flag would not restore, such as `arXiv`, is kept as it is with flag 0.
    """
    flags = np.empty(len(data), dtype=np.uint8)
    lowered = np.empty(len(data), dtype=np.uint8)
    n = _split_case(data, lowered, flags)
    return lowered, flags[:n].copy()


def restore_case(lowered: Bytes, flags: Bytes) -> bool:
    """Restores the case of a lowered text in place; False if it has not as many tokens as flags."""
    return bool(_restore_case(lowered, flags))


def split_words(text: Bytes) -> Words:
    """The words of a (lowered) text; those above 255 bytes are cut into several."""
    ids = np.empty(_count_words(text, MAX_WORD), dtype=np.int32)
    starts, lengths = _number_words(text, MAX_WORD, SEED, ids)
    return Words(text, ids, starts, lengths)


@inlined
def mixed(value, seed):  # type: ignore[no-untyped-def]
    """A 64-bit hash of a 64-bit number."""
    value = (value ^ seed) * _MULTIPLIER
    value ^= value >> _SHIFT
    value *= _MULTIPLIER
    return value ^ (value >> _SHIFT)


@inlined
def _token_end(text, start):  # type: ignore[no-untyped-def]
    """Where the letters of the token end, and where the token ends."""
    n = len(text)
    j = start + 1
    c = text[start]
    if c >= 128 or 65 <= c <= 90 or 97 <= c <= 122:
        while j < n:
            c = text[j]
            if not (97 <= c <= 122 or c >= 128 or 65 <= c <= 90):
                break
            j += 1
    k = j
    while k < n:
        c = text[k]
        if not (c == 32 or c == 10 or c == 13 or c == 9):
            break
        k += 1
    return j, k


@compiled
def _split_case(data, lowered, flags):  # type: ignore[no-untyped-def]
    i, n_tokens = 0, 0
    while i < len(data):
        j, k = _token_end(data, i)
        n_upper, n_lower = 0, 0
        for p in range(i, j):
            c = data[p]
            if 65 <= c <= 90:
                n_upper += 1
            elif 97 <= c <= 122:
                n_lower += 1
        flag = 0
        if n_upper:
            if n_lower == 0 and j - i > 1:
                flag = 2
            elif n_upper == 1 and 65 <= data[i] <= 90:
                flag = 1
        if flag:
            for p in range(i, k):
                c = data[p]
                lowered[p] = c + 32 if 65 <= c <= 90 else c
        else:
            for p in range(i, k):
                lowered[p] = data[p]
        flags[n_tokens] = flag
        n_tokens += 1
        i = k
    return n_tokens


@compiled
def _restore_case(text, flags):  # type: ignore[no-untyped-def]
    i, token = 0, 0
    while i < len(text):
        if token == len(flags):
            return False
        j, k = _token_end(text, i)
        flag = flags[token]
        if flag == 1:
            # The first ASCII letter, which need not be the first byte of the word.
            for p in range(i, j):
                c = text[p]
                if 97 <= c <= 122:
                    text[p] = c - 32
                    break
                if 65 <= c <= 90:
                    break
        elif flag == 2:
            for p in range(i, j):
                c = text[p]
                if 97 <= c <= 122:
                    text[p] = c - 32
        token += 1
        i = k
    return token == len(flags)


@compiled
def _count_words(text, longest):  # type: ignore[no-untyped-def]
    i, n_words = 0, 0
    while i < len(text):
        _, k = _token_end(text, i)
        n_words += (k - i + longest - 1) // longest
        i = k
    return n_words


@compiled
def _number_words(text, longest, seed, ids):  # type: ignore[no-untyped-def]
    """Fills `ids`; gives back where the distinct words start, and their lengths."""
    capacity = 4_096
    table = np.full(capacity, -1, dtype=np.int32)
    starts = np.empty(capacity, dtype=np.int64)
    lengths = np.empty(capacity, dtype=np.int32)
    hashes = np.empty(capacity, dtype=np.uint64)
    n_distinct, place, i = 0, 0, 0
    while i < len(text):
        _, end = _token_end(text, i)
        while i < end:
            length = min(end - i, longest)
            h = seed ^ np.uint64(length)
            for p in range(i, i + length):
                h = (h ^ np.uint64(text[p])) * _BYTE_PRIME
            h = mixed(h, seed)
            slot = np.int64(h & np.uint64(capacity - 1))
            while True:
                known = table[slot]
                if known < 0:
                    break
                if hashes[known] == h and lengths[known] == length:
                    start = starts[known]
                    p = 0
                    while p < length and text[start + p] == text[i + p]:
                        p += 1
                    if p == length:
                        break
                slot = (slot + 1) & (capacity - 1)
            if known < 0:
                known = n_distinct
                table[slot] = known
                starts[known] = i
                lengths[known] = length
                hashes[known] = h
                n_distinct += 1
                if 2 * n_distinct > capacity:
                    capacity *= 2
                    table = np.full(capacity, -1, dtype=np.int32)
                    starts = np.concatenate((starts, np.empty(len(starts), dtype=np.int64)))
                    lengths = np.concatenate((lengths, np.empty(len(lengths), dtype=np.int32)))
                    hashes = np.concatenate((hashes, np.empty(len(hashes), dtype=np.uint64)))
                    for word in range(n_distinct):
                        slot = np.int64(hashes[word] & np.uint64(capacity - 1))
                        while table[slot] >= 0:
                            slot = (slot + 1) & (capacity - 1)
                        table[slot] = word
            ids[place] = known
            place += 1
            i += length
    return starts[:n_distinct].copy(), lengths[:n_distinct].copy()
