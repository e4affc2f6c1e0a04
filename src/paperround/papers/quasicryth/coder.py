"""What is coded: events and case flags as symbols of adaptive models, and what those cost.

Events become symbols, each of one model (FORMAT.md has the list). `models.py` counts symbols, and
`arithmetic.py` makes bits of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.arithmetic import (
    encode_symbols,
    last_place,
    padded,
    read_flag,
    start_decoder,
)
from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.models import add_one, below_and_count, new_models, total_of
from paperround.papers.quasicryth.parsing import MIN_MATCH, N_ENCODINGS, Events
from paperround.papers.quasicryth.vectors import CACHE, ROW, first_place, move_back
from paperround.papers.quasicryth.words import Bytes

# Unigrams from here on have models of their own.
TIER = 4_096
# The two levels before the first event count as unigrams.
FIRST_LEVEL = 1
N_FLAGS = 3

# The models of events, one after another.
FLAG, N_BITS, OFFSET_BIT, LENGTH = 0, 1, 2, 10
HIT = LENGTH + 1
PLACE = HIT + N_ENCODINGS
TIERS = PLACE + N_ENCODINGS
LEVEL = TIERS + N_ENCODINGS
NUMBER = LEVEL + N_ENCODINGS**2
RARE = NUMBER + N_ENCODINGS**2
N_MODELS = RARE + N_ENCODINGS
_OFFSET_BITS = LENGTH - OFFSET_BIT

# What the bits are spent on, and the models of each.
STREAMS = ("matches", "levels", "cache", "numbers")
_STREAM = np.full(N_MODELS, 3, dtype=np.int64)
_STREAM[:HIT] = 0
_STREAM[LEVEL:NUMBER] = 1
_STREAM[HIT:TIERS] = 2


@dataclass(frozen=True)
class Symbols:
    """Symbols in coding order and the model of each; `sizes` has one entry per model."""

    models: NDArray[np.int16]
    symbols: NDArray[np.uint16]
    sizes: NDArray[np.int64]


def event_model_sizes(counts: tuple[int, ...]) -> NDArray[np.int64]:
    """How many symbols each model of events has, given the entries of the eleven books."""
    sizes = np.full(N_MODELS, 2, dtype=np.int64)
    sizes[N_BITS], sizes[LENGTH] = 32, 253
    sizes[PLACE:TIERS] = CACHE
    sizes[LEVEL:NUMBER] = N_ENCODINGS
    sizes[NUMBER:RARE] = np.repeat([1, *(max(1, n) for n in counts)], N_ENCODINGS)
    sizes[RARE:] = 1
    if counts[0] > TIER:
        sizes[NUMBER + N_ENCODINGS : NUMBER + 2 * N_ENCODINGS] = TIER
        sizes[RARE:] = counts[0] - TIER
    return sizes


def event_symbols(events: Events, counts: tuple[int, ...]) -> Symbols:
    """The symbols of a parse whose books have so many entries."""
    models, symbols = _event_symbols(
        events.levels,
        events.numbers,
        events.offsets,
        events.lengths,
        new_caches(),
        counts[0] > TIER,
    )
    return Symbols(models, symbols, event_model_sizes(counts))


def flag_symbols(flags: Bytes) -> Symbols:
    """The symbols of case flags, each under the model of the two flags before it."""
    padded = np.concatenate((np.zeros(2, dtype=np.int16), flags.astype(np.int16)))
    models = N_FLAGS * padded[: len(flags)] + padded[1 : len(flags) + 1]
    return Symbols(models, flags.astype(np.uint16), _flag_model_sizes())


def encode(coded: Symbols, bits: int = 24) -> bytes:
    """The symbols as the arithmetic coder of 24 or 32 bits writes them."""
    return encode_symbols(coded.models, coded.symbols, coded.sizes, bits)


def ideal_bits(coded: Symbols) -> NDArray[np.float64]:
    """What each symbol costs at least: minus log2 of the share that its model gave it."""
    return np.asarray(_ideal_bits(coded.models, coded.symbols, new_models(coded.sizes)))


def stream_bits(coded: Symbols) -> dict[str, float]:
    """The ideal bits of events, by what they are spent on."""
    spent = np.bincount(_STREAM[coded.models], ideal_bits(coded), len(STREAMS))
    return dict(zip(STREAMS, spent.tolist(), strict=True))


def decode_flags(payload: Bytes, n_flags: int, bits: int = 24) -> Bytes | None:
    """The case flags of a stream; None where the stream ends too early."""
    flags = np.zeros(n_flags, dtype=np.uint8)
    models = new_models(_flag_model_sizes())
    reached = _decode_flags(padded(payload), start_decoder(payload, bits), models, flags)
    return flags if reached <= last_place(payload, bits) else None


def _flag_model_sizes() -> NDArray[np.int64]:
    return np.full(N_FLAGS**2, N_FLAGS, dtype=np.int64)


@compiled
def _ideal_bits(coded, symbols, models):  # type: ignore[no-untyped-def]
    bits = np.empty(len(coded), dtype=np.float64)
    for t in range(len(coded)):
        model, symbol = np.int64(coded[t]), np.int64(symbols[t])
        _, count = below_and_count(models, model, symbol)
        bits[t] = np.log2(total_of(models, model) / count)
        add_one(models, model, symbol)
    return bits


@compiled
def _decode_flags(payload, state, models, flags):  # type: ignore[no-untyped-def]
    """Fills the flags; gives back the bit of the payload that was reached."""
    low, width, offset, place, bits = state
    before, last = np.int64(0), np.int64(0)
    for i in range(len(flags)):
        model = N_FLAGS * before + last
        before = last
        last, low, width, offset, place = read_flag(
            models, model, payload, low, width, offset, place, bits
        )
        flags[i] = last
    return place


# The numbers of a level that were used last, the newest first, stand in a row of an array from
# `front[level]` on; `filled[level]` says how many there are. What is new goes before the newest,
# and the row moves back to its end where there is no more room: so nothing but a row in one piece
# is ever searched or moved.


def new_caches() -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """Empty caches: their rows, where each begins, how many numbers it has."""
    rows = np.zeros((N_ENCODINGS, ROW), dtype=np.int32)
    front = np.full(N_ENCODINGS, ROW - CACHE, dtype=np.int64)
    return rows, front, np.zeros(N_ENCODINGS, dtype=np.int64)


@inlined
def place_of(caches, level, number):  # type: ignore[no-untyped-def]
    """How many numbers of its level were used since this one was, -1 where it is not there."""
    rows, front, filled = caches
    place = first_place(rows, level, front[level], number)
    return place if place < filled[level] else np.int64(-1)


@inlined
def use(caches, level, number, place):  # type: ignore[no-untyped-def]
    """Moves the number at that place of its level's cache to the front; -1 adds it there."""
    rows, front, filled = caches
    begin = front[level]
    if place < 0:
        # One number before the newest is always there, since what moves is read with it.
        if begin == 1:
            begin = np.int64(ROW - CACHE)
            for i in range(CACHE):
                rows[level, begin + i] = rows[level, 1 + i]
        begin -= 1
        front[level] = begin
        filled[level] = min(filled[level] + 1, CACHE)
    else:
        move_back(rows, level, begin, place)
    rows[level, begin] = number


@compiled
def _event_symbols(levels, numbers, offsets, lengths, caches, tiers):  # type: ignore[no-untyped-def]
    n_events = len(levels)
    models = np.empty(5 * n_events + 64, dtype=np.int16)
    symbols = np.empty(5 * n_events + 64, dtype=np.uint16)
    before, last = np.int64(FIRST_LEVEL), np.int64(FIRST_LEVEL)
    n, e = 0, 0
    while e < n_events:
        if n + 64 > len(models):
            models = np.concatenate((models, np.empty(len(models), dtype=np.int16)))
            symbols = np.concatenate((symbols, np.empty(len(symbols), dtype=np.uint16)))
        length = np.int64(lengths[e])
        models[n] = FLAG
        symbols[n] = 1 if length else 0
        n += 1
        if length:
            offset = np.int64(offsets[e])
            n_bits = 1
            while offset >> n_bits:
                n_bits += 1
            models[n] = N_BITS
            symbols[n] = n_bits - 1
            n += 1
            for bit in range(n_bits - 2, -1, -1):
                models[n] = OFFSET_BIT + min(bit, _OFFSET_BITS - 1)
                symbols[n] = (offset >> bit) & 1
                n += 1
            models[n] = LENGTH
            symbols[n] = length - MIN_MATCH
            n += 1
        else:
            level, number = np.int64(levels[e]), np.int64(numbers[e])
            models[n] = LEVEL + N_ENCODINGS * last + before
            symbols[n] = level
            n += 1
            length = 1
        # What a match repeats is remembered like everything else.
        for i in range(e, e + length):
            context, before = last, last
            last = np.int64(levels[i])
            place = -1
            if last:
                place = place_of(caches, last, numbers[i])
                use(caches, last, numbers[i], place)
        if lengths[e] == 0 and level:
            models[n] = HIT + level
            symbols[n] = 0 if place >= 0 else 1
            n += 1
            if place >= 0:
                models[n] = PLACE + level
                symbols[n] = place
            elif level == 1 and tiers:
                rare = number >= TIER
                models[n] = TIERS + context
                symbols[n] = rare
                n += 1
                models[n] = RARE + context if rare else NUMBER + N_ENCODINGS + context
                symbols[n] = number - TIER if rare else number
            else:
                models[n] = NUMBER + N_ENCODINGS * level + context
                symbols[n] = number
            n += 1
        e += length
    return models[:n].copy(), symbols[:n].copy()
