"""The arithmetic coder of 24 (or 32) bits: symbols of adaptive models to bits, and back.

The method's coder shrinks [low, high] to a symbol's share and doubles it bit by bit: bits that low
and high agree on go out (E1, E2), and while the interval straddles the middle within the two inner
quarters it is doubled about the middle (E3). Here the number of doublings is counted at once, by
the leading bits of low and high, and the same bits result.

Symbols: P is the number of bits, width = high - low + 1, offset = value - low of a decoder, whose
value is P bits of the payload. Every doubling doubles the width, and the offset takes one more bit
of the payload, whichever kind of doubling it is.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.models import (
    MAX_TOTAL,
    add_one,
    below_and_count,
    find,
    halve,
    new_models,
    total_of,
)
from paperround.papers.quasicryth.vectors import NODE, add_one_from, bit_length
from paperround.papers.quasicryth.words import Bytes

# A decoder reads five bytes at once, and zeros behind the payload's end.
_READ_AT_ONCE = 5


class State(NamedTuple):
    """An arithmetic decoder: its interval, where in it the value lies, the next bit of the payload.

    `bits` is P.
    """

    low: int
    width: int
    offset: int
    place: int
    bits: int


def padded(payload: bytes | Bytes) -> Bytes:
    """The payload with the zeros behind it that a decoder may read."""
    zeros = np.zeros(_READ_AT_ONCE, dtype=np.uint8)
    return np.concatenate((np.frombuffer(payload, dtype=np.uint8), zeros))


def start_decoder(payload: Bytes, bits: int) -> State:
    """The state of a decoder that has read its first bits of a payload, padded or not."""
    head = payload[:4].tobytes().ljust(4, b"\0")
    return State(0, 1 << bits, int.from_bytes(head, "big") >> (32 - bits), bits, bits)


def last_place(payload: Bytes, bits: int) -> int:
    """The bit of a payload (without padding) that a decoder never goes beyond.

    It is never more than one value ahead of its encoder.
    """
    return 8 * len(payload) + bits


@inlined
def share(width, below, total):  # type: ignore[no-untyped-def]
    """floor(width below / total), exactly.

    The product has less than 52 bits and the quotient at most 32, so a quotient that is not whole
    lies further from the next whole number than half a unit in its last place, and dividing in
    double precision never rounds up to it.
    """
    return np.int64(width * below / total)


@inlined
def _doubled(low, width, bits):  # type: ignore[no-untyped-def]
    """How many doublings of the first kinds (E1, E2) and of the third (E3), and low after them."""
    full = np.int64(1) << bits
    high = low + width - 1
    n_agreed = bits - bit_length(low ^ high)
    low = (low << n_agreed) & (full - 1)
    # The width's other end moves along, with ones behind it.
    high = low + (width << n_agreed) - 1
    # low = 011..., high = 100...: so many bits behind the first as low has ones and high zeros.
    n_inner = bits - bit_length((((high | ~low) << 1) & (full - 1)) | 1)
    return n_agreed, n_inner, (low << n_inner) & ((full >> 1) - 1)


@inlined
def _read_bits(payload, place, n):  # type: ignore[no-untyped-def]
    """The next n bits, at most 32; zeros behind the end of a padded payload."""
    p = np.uint64(min(place >> 3, len(payload) - _READ_AT_ONCE))
    word = np.int64(payload[p]) << 32
    word |= np.int64(payload[p + np.uint64(1)]) << 24
    word |= np.int64(payload[p + np.uint64(2)]) << 16
    word |= np.int64(payload[p + np.uint64(3)]) << 8
    word |= np.int64(payload[p + np.uint64(4)])
    return (word >> (8 * _READ_AT_ONCE - (place & 7) - n)) & ((np.int64(1) << n) - 1)


@inlined
def _go_on(payload, low, width, offset, place, bits):  # type: ignore[no-untyped-def]
    n_agreed, n_inner, low = _doubled(low, width, bits)
    n = n_agreed + n_inner
    offset = (offset << n) | _read_bits(payload, place, n)
    return low, width << n, offset, place + n


@inlined
def read_symbol(models, model, payload, low, width, offset, place, bits):  # type: ignore[no-untyped-def]
    """The next symbol, which is of that model, and the new state.

    Whatever the payload, 0 <= offset < width.
    """
    total = total_of(models, model)
    target = share(1, (offset + 1) * total - 1, width)
    symbol, below, count = find(models, model, target)
    start = share(width, below, total)
    width = share(width, below + count, total) - start
    add_one(models, model, symbol)
    low, width, offset, place = _go_on(payload, low + start, width, offset - start, place, bits)
    return symbol, low, width, offset, place


@inlined
def read_bit(models, model, payload, low, width, offset, place, bits):  # type: ignore[no-untyped-def]
    """As `read_symbol`, of a model with two symbols."""
    node = models.tops[model]
    middle = share(width, np.int64(models.sums[node, 0]), np.int64(models.sums[node, NODE - 1]))
    bit = np.int64(offset >= middle)
    if bit:
        low, width, offset = low + middle, width - middle, offset - middle
    else:
        width = middle
    add_one_from(models.sums, node, bit)
    if models.sums[node, NODE - 1] >= MAX_TOTAL:
        halve(models.begins, models.sizes, models.sums, model)
    low, width, offset, place = _go_on(payload, low, width, offset, place, bits)
    return bit, low, width, offset, place


@inlined
def read_flag(models, model, payload, low, width, offset, place, bits):  # type: ignore[no-untyped-def]
    """As `read_symbol`, of a model with three symbols, of which the first is the usual one."""
    node = models.tops[model]
    total = np.int64(models.sums[node, NODE - 1])
    first = share(width, np.int64(models.sums[node, 0]), total)
    symbol = np.int64(0)
    if offset < first:
        width = first
    else:
        second = share(width, np.int64(models.sums[node, 1]), total)
        if offset < second:
            symbol = np.int64(1)
            low, width, offset = low + first, second - first, offset - first
        else:
            symbol = np.int64(2)
            low, width, offset = low + second, width - second, offset - second
    add_one_from(models.sums, node, symbol)
    if models.sums[node, NODE - 1] >= MAX_TOTAL:
        halve(models.begins, models.sizes, models.sums, model)
    low, width, offset, place = _go_on(payload, low, width, offset, place, bits)
    return symbol, low, width, offset, place


def encode_symbols(
    coded: NDArray[np.int16], symbols: NDArray[np.uint16], sizes: NDArray[np.int64], bits: int
) -> bytes:
    """The bits of symbols in coding order, as bytes, given the model of each and models' sizes."""
    out, n = _encode(coded, symbols, new_models(sizes), bits)
    return bytes(out[:n].tobytes())


@compiled
def _encode(coded, symbols, models, bits):  # type: ignore[no-untyped-def]
    low, width = np.int64(0), np.int64(1) << bits
    # Doublings about the middle whose bit is not known yet.
    pending = np.int64(0)
    out = np.empty(4_096, dtype=np.uint8)
    # Bits that are no whole byte yet: the lowest `filled` ones.
    n, buffer, filled = 0, np.int64(0), np.int64(0)
    for t in range(len(coded)):
        # A symbol gives at most `bits` bits, and those that were pending.
        if n + 16 + (pending >> 3) > len(out):
            more = np.empty(len(out) + (pending >> 3), dtype=np.uint8)
            out = np.concatenate((out, more))
        model, symbol = np.int64(coded[t]), np.int64(symbols[t])
        total = total_of(models, model)
        below, count = below_and_count(models, model, symbol)
        start = share(width, below, total)
        width = share(width, below + count, total) - start
        low += start
        add_one(models, model, symbol)
        top = low
        n_agreed, n_inner, low = _doubled(low, width, bits)
        width <<= n_agreed + n_inner
        if n_agreed:
            agreed = top >> (bits - n_agreed)
            if pending:
                first = agreed >> (n_agreed - 1)
                n, buffer, filled = _put(out, n, buffer, filled, first, 1)
                while pending:
                    some = min(pending, 32)
                    inverted = (1 - first) * ((np.int64(1) << some) - 1)
                    n, buffer, filled = _put(out, n, buffer, filled, inverted, some)
                    pending -= some
                n_agreed -= 1
                agreed &= (np.int64(1) << n_agreed) - 1
            n, buffer, filled = _put(out, n, buffer, filled, agreed, n_agreed)
        pending += n_inner
    # One more bit says in which quarter the value lies; the decoder reads zeros behind it.
    pending += 1
    quarter = np.int64(1) << (bits - 2)
    more = np.empty(16 + (pending >> 3), dtype=np.uint8)
    out = np.concatenate((out[:n], more))
    last = np.int64(low >= quarter)
    n, buffer, filled = _put(out, n, buffer, filled, last, 1)
    while pending:
        n, buffer, filled = _put(out, n, buffer, filled, 1 - last, 1)
        pending -= 1
    while filled > 0:
        out[n] = (buffer << 8 >> filled) & 255
        n += 1
        filled -= 8
    return out, n


@inlined
def _put(out, n, buffer, filled, bits, n_bits):  # type: ignore[no-untyped-def]
    """Appends at most 32 bits; bytes go out four at a time."""
    buffer = (buffer << n_bits) | bits
    filled += n_bits
    if filled >= 32:
        filled -= 32
        word = buffer >> filled
        for i in range(4):
            out[n + i] = (word >> (24 - 8 * i)) & 255
        n += 4
        buffer &= (np.int64(1) << filled) - 1
    return n, buffer, filled
