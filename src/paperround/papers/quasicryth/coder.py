"""The entropy coder: adaptive models, and an arithmetic coder of 24 (or 32) bits.

Events become symbols, each of one model; symbols become bits. A model counts its symbols from 1
each, adds 1 for each that it sees, and halves all counts when they sum to 2^20. Encoder and decoder
change the models alike after every symbol.

The official program sums counts in Fenwick trees, whose every step misses the processor's cache.
Here a model is a tree whose nodes have 16 running sums each: one cache line, which few vector
instructions search or change, without a branch that the processor would have to guess.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.parsing import MIN_MATCH, N_ENCODINGS, Events
from paperround.papers.quasicryth.words import Bytes

# Counts are halved when they sum to this.
MAX_TOTAL = 1 << 20
# The most recent numbers of a level, moved to the front.
CACHE = 64
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

# Levels of a model's tree: four hold 65,536 symbols.
_DEPTH = 4
_NODE = 16


@dataclass(frozen=True)
class Symbols:
    """Symbols in coding order and the model of each; `sizes` has one entry per model."""

    models: NDArray[np.int16]
    symbols: NDArray[np.uint16]
    sizes: NDArray[np.int64]


class Models(NamedTuple):
    """Adaptive models: the nodes of level k of model m begin at `begins[m, k]`, -1 for none.

    `sums` has shape (nodes, 16): at level 0 the running sums over 16 counts, at each level above it
    those over the totals of 16 nodes below. The last node repeats its total to its end.
    """

    begins: NDArray[np.int64]
    sizes: NDArray[np.int64]
    totals: NDArray[np.int64]
    sums: NDArray[np.int32]


class State(NamedTuple):
    """An arithmetic decoder: the range, the value in it, and the next bit of the payload."""

    low: int
    high: int
    value: int
    place: int


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
        events.levels, events.numbers, events.offsets, events.lengths, counts[0] > TIER
    )
    return Symbols(models, symbols, event_model_sizes(counts))


def flag_symbols(flags: Bytes) -> Symbols:
    """The symbols of case flags, each under the model of the two flags before it."""
    padded = np.concatenate((np.zeros(2, dtype=np.int16), flags.astype(np.int16)))
    models = N_FLAGS * padded[: len(flags)] + padded[1 : len(flags) + 1]
    return Symbols(models, flags.astype(np.uint16), _flag_model_sizes())


def encode(coded: Symbols, bits: int = 24) -> bytes:
    """The symbols as the arithmetic coder of 24 or 32 bits writes them."""
    out, n = _encode(coded.models, coded.symbols, new_models(coded.sizes), bits)
    return bytes(out[:n].tobytes())


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
    enough = _decode_flags(payload, start_decoder(payload, bits), models, bits, flags)
    return flags if enough else None


def _flag_model_sizes() -> NDArray[np.int64]:
    return np.full(N_FLAGS**2, N_FLAGS, dtype=np.int64)


def new_models(sizes: NDArray[np.int64]) -> Models:
    """Models that have seen nothing, of so many symbols each."""
    begins = np.full((len(sizes), _DEPTH), -1, dtype=np.int64)
    widths, place = sizes, 0
    for level in range(_DEPTH):
        # A level of several nodes needs one more above it.
        needed = widths > (0 if level == 0 else 1)
        nodes = np.where(needed, -(-widths // _NODE), 0)
        ends = place + np.cumsum(nodes)
        begins[needed, level] = (ends - nodes)[needed]
        place, widths = int(ends[-1]), nodes
    # A node is a cache line where the array begins with one.
    room = np.empty(_NODE * (place + 1), dtype=np.int32)
    skipped = (-room.ctypes.data // room.itemsize) % _NODE
    sums = room[skipped : skipped + _NODE * place].reshape(place, _NODE)
    _fill(begins, sizes, sums)
    return Models(begins, sizes, sizes.copy(), sums)


def start_decoder(payload: Bytes, bits: int) -> State:
    """The state of a decoder that has read its first bits."""
    head = payload[:4].tobytes().ljust(4, b"\0")
    return State(0, (1 << bits) - 1, int.from_bytes(head, "big") >> (32 - bits), bits)


@compiled
def _fill(begins, sizes, sums):  # type: ignore[no-untyped-def]
    for model in range(len(sizes)):
        for level in range(_DEPTH):
            begin = begins[model, level]
            if begin < 0:
                break
            width = 1 << (4 * level)
            for node in range((sizes[model] + _NODE * width - 1) // (_NODE * width)):
                start = node * _NODE * width
                for i in range(_NODE):
                    sums[begin + node, i] = min((i + 1) * width, sizes[model] - start)


@inlined
def _below_and_count(models, model, symbol):  # type: ignore[no-untyped-def]
    """The sum of the counts below a symbol, and the symbol's own."""
    below, count = np.int64(0), np.int64(0)
    for level in range(_DEPTH):
        begin = models.begins[model, level]
        if begin < 0:
            break
        place = symbol >> (4 * level)
        node, i = begin + (place >> 4), place & (_NODE - 1)
        if i:
            below += models.sums[node, i - 1]
        if level == 0:
            count = models.sums[node, i] - below
    return below, count


@inlined
def _add_one(models, model, symbol):  # type: ignore[no-untyped-def]
    for level in range(_DEPTH):
        begin = models.begins[model, level]
        if begin < 0:
            break
        place = symbol >> (4 * level)
        node, within = begin + (place >> 4), np.int32(place & (_NODE - 1))
        for i in range(_NODE):
            models.sums[node, i] += np.int32(np.int32(i) >= within)
    models.totals[model] += 1
    if models.totals[model] >= MAX_TOTAL:
        _halve(models.begins, models.sizes, models.totals, models.sums, model)


@compiled
def _halve(begins, sizes, totals, sums, model):  # type: ignore[no-untyped-def]
    size = sizes[model]
    # Level 0: each count by itself; above it: the totals of the nodes below.
    for level in range(_DEPTH):
        begin = begins[model, level]
        if begin < 0:
            break
        n_nodes = (size + _NODE - 1) // _NODE
        for node in range(n_nodes):
            before, running = np.int64(0), np.int64(0)
            for i in range(_NODE):
                child = _NODE * node + i
                if child < size:
                    if level == 0:
                        count = sums[begin + node, i] - before
                        before = np.int64(sums[begin + node, i])
                        running += (count >> 1) | 1
                    else:
                        running += sums[begins[model, level - 1] + child, _NODE - 1]
                sums[begin + node, i] = running
        size = n_nodes
        if n_nodes == 1:
            totals[model] = sums[begin, _NODE - 1]


@compiled
def _encode(coded, symbols, models, bits):  # type: ignore[no-untyped-def]
    half = np.int64(1) << (bits - 1)
    quarter = half >> 1
    low, high = np.int64(0), 2 * half - 1
    pending = np.int64(0)
    out = np.empty(4_096, dtype=np.uint8)
    n, byte, filled = 0, 0, 0
    # The turn after the last symbol ends the stream: one more bit says in which quarter the value
    # lies, and the decoder reads zeros behind it.
    for t in range(len(coded) + 1):
        # A symbol gives at most `bits` bits, and those that were pending.
        if n + 16 + (pending >> 3) > len(out):
            more = np.empty(len(out) + (pending >> 3), dtype=np.uint8)
            out = np.concatenate((out, more))
        is_end = t == len(coded)
        if is_end:
            pending += 1
        else:
            model, symbol = np.int64(coded[t]), np.int64(symbols[t])
            total = models.totals[model]
            below, count = _below_and_count(models, model, symbol)
            # [low, high] shrinks to the symbol's share of it.
            width = high - low + 1
            high = low + width * (below + count) // total - 1
            low = low + width * below // total
            _add_one(models, model, symbol)
        while True:
            if is_end:
                bit = 0 if low < quarter else 1
            elif high < half:
                bit = 0
            elif low >= half:
                bit = 1
                low -= half
                high -= half
            elif low >= quarter and high < half + quarter:
                pending += 1
                low = 2 * (low - quarter)
                high = 2 * (high - quarter) + 1
                continue
            else:
                break
            low = 2 * low
            high = 2 * high + 1
            byte = (byte << 1) | bit
            filled += 1
            if filled == 8:
                out[n] = byte
                n, byte, filled = n + 1, 0, 0
            while pending:
                byte = (byte << 1) | (1 - bit)
                filled += 1
                pending -= 1
                if filled == 8:
                    out[n] = byte
                    n, byte, filled = n + 1, 0, 0
            if is_end:
                break
    if filled:
        out[n] = byte << (8 - filled)
        n += 1
    return out, n


@compiled
def _ideal_bits(coded, symbols, models):  # type: ignore[no-untyped-def]
    bits = np.empty(len(coded), dtype=np.float64)
    for t in range(len(coded)):
        model, symbol = np.int64(coded[t]), np.int64(symbols[t])
        _, count = _below_and_count(models, model, symbol)
        bits[t] = np.log2(models.totals[model] / count)
        _add_one(models, model, symbol)
    return bits


@inlined
def read_symbol(models, model, payload, low, high, value, place, half):  # type: ignore[no-untyped-def]
    """The next symbol, which is of that model, and the new state.

    Behind the payload's end zeros are read. Whatever the payload, low <= value <= high.
    """
    quarter = half >> 1
    total = models.totals[model]
    width = high - low + 1
    target = ((value - low + 1) * total - 1) // width
    # The symbol whose share holds the target; there is one, since target < total.
    symbol, below, count = np.int64(0), np.int64(0), np.int64(0)
    for level in range(_DEPTH - 1, -1, -1):
        begin = models.begins[model, level]
        if begin < 0:
            continue
        node, sought = begin + symbol, np.int32(target - below)
        within = np.int32(0)
        for i in range(_NODE):
            within += np.int32(models.sums[node, i] <= sought)
        start = np.int64(models.sums[node, within - 1]) if within else np.int64(0)
        count = models.sums[node, within] - start
        below += start
        symbol = (symbol << 4) + within
    high = low + width * (below + count) // total - 1
    low = low + width * below // total
    _add_one(models, model, symbol)
    n_bits = 8 * len(payload)
    while True:
        if high < half:
            pass
        elif low >= half:
            low -= half
            high -= half
            value -= half
        elif low >= quarter and high < half + quarter:
            low -= quarter
            high -= quarter
            value -= quarter
        else:
            break
        low = 2 * low
        high = 2 * high + 1
        value = 2 * value
        if place < n_bits:
            value += (np.int64(payload[place >> 3]) >> (7 - (place & 7))) & 1
        place += 1
    return symbol, low, high, value, place


@compiled
def _decode_flags(payload, state, models, bits, flags):  # type: ignore[no-untyped-def]
    half = np.int64(1) << (bits - 1)
    low, high, value, place = state
    before, last = np.int64(0), np.int64(0)
    for i in range(len(flags)):
        model = N_FLAGS * before + last
        before = last
        last, low, high, value, place = read_symbol(
            models, model, payload, low, high, value, place, half
        )
        flags[i] = last
    # The decoder is never more than one value ahead of the encoder.
    return place <= 8 * len(payload) + bits


# A level's cache is a ring: `front[level]` is where its newest number stands, `filled[level]` how
# many there are. A number that was not in it takes the place of the oldest one, and nothing moves.


@inlined
def place_of(ring, front, filled, level, number):  # type: ignore[no-untyped-def]
    """How many numbers of its level were used since this one was, -1 where it is not there."""
    begin = front[level]
    for place in range(filled[level]):
        if ring[level, (begin + place) & (CACHE - 1)] == number:
            return place
    return -1


@inlined
def use(ring, front, filled, level, number, place):  # type: ignore[no-untyped-def]
    """Moves the number at that place of its level's cache to the front; -1 adds it there."""
    begin = front[level]
    if place < 0:
        begin = (begin - 1) & (CACHE - 1)
        front[level] = begin
        filled[level] = min(filled[level] + 1, CACHE)
    else:
        for i in range(place, 0, -1):
            ring[level, (begin + i) & (CACHE - 1)] = ring[level, (begin + i - 1) & (CACHE - 1)]
    ring[level, begin] = number


@compiled
def _event_symbols(levels, numbers, offsets, lengths, tiers):  # type: ignore[no-untyped-def]
    n_events = len(levels)
    models = np.empty(5 * n_events + 64, dtype=np.int16)
    symbols = np.empty(5 * n_events + 64, dtype=np.uint16)
    ring = np.zeros((N_ENCODINGS, CACHE), dtype=np.int32)
    front = np.zeros(N_ENCODINGS, dtype=np.int64)
    filled = np.zeros(N_ENCODINGS, dtype=np.int64)
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
                place = place_of(ring, front, filled, last, numbers[i])
                use(ring, front, filled, last, numbers[i], place)
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
