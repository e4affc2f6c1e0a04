"""From the coded events back to the text.

What arrives may be damaged or made to do harm, so every number is checked before it is used, the
text never grows past what was declared, and each step takes at least one word of those declared.
"""

import numpy as np

from paperround.papers.quasicryth.books import Books
from paperround.papers.quasicryth.coder import (
    CACHE,
    FIRST_LEVEL,
    FLAG,
    HIT,
    LENGTH,
    LEVEL,
    N_BITS,
    NUMBER,
    OFFSET_BIT,
    PLACE,
    RARE,
    TIER,
    TIERS,
    event_model_sizes,
    new_models,
    place_of,
    read_symbol,
    start_decoder,
    use,
)
from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.errors import DamagedError
from paperround.papers.quasicryth.parsing import MIN_MATCH, N_ENCODINGS, WORDS
from paperround.papers.quasicryth.words import Bytes

_CUT, _UNKNOWN, _TOO_LONG, _TOO_SHORT, _ESCAPES = -1, -2, -3, -4, -5
_FAULTS = {
    _CUT: "the coded events end before the text does",
    _UNKNOWN: "an event names what is not there",
    _TOO_LONG: "the events give more text than was declared",
    _TOO_SHORT: "the events give less text than was declared",
    _ESCAPES: "the escaped words are not as many as the events ask for",
}


def decode_events(
    payload: Bytes, books: Books, escapes: Bytes, n_words: int, n_bytes: int, bits: int
) -> Bytes:
    """The lowered text of `n_bytes`; raises DamagedError where the streams do not give just that.

    `escapes` holds the words outside the unigram book, each with its length in 16 bits before it.
    """
    counts = (0, *books.counts)
    rows = np.concatenate([phrases.ravel() for phrases in books.phrases])
    # Where the rows of each level of encoding begin.
    row_begins = np.zeros(N_ENCODINGS, dtype=np.int64)
    row_begins[3:] = np.cumsum([phrases.size for phrases in books.phrases])[:-1]
    text = np.empty(n_bytes, dtype=np.uint8)
    reached = _decode(
        payload,
        start_decoder(payload, bits),
        new_models(event_model_sizes(books.counts)),
        bits,
        n_words,
        np.array(WORDS, dtype=np.int64),
        np.array(counts, dtype=np.int64),
        rows,
        row_begins,
        books.pool,
        books.offsets,
        escapes,
        np.empty(n_words, dtype=np.uint8),
        np.empty(n_words, dtype=np.int32),
        text,
    )
    if reached < 0:
        raise DamagedError(_FAULTS[int(reached)])
    return text


@inlined
def _emit(  # type: ignore[no-untyped-def]
    level, number, words, rows, row_begins, pool, offsets, escapes, progress, text
):
    """Appends the words of an event to the text; gives back 0, or what is wrong.

    `progress` holds how far the text and the escapes have come.
    """
    out = progress[0]
    if level == 0:
        place = progress[1]
        if place + 2 > len(escapes):
            return _ESCAPES
        length = np.int64(escapes[place]) | (np.int64(escapes[place + 1]) << 8)
        place += 2
        if place + length > len(escapes):
            return _ESCAPES
        if out + length > len(text):
            return _TOO_LONG
        for i in range(length):
            text[out + i] = escapes[place + i]
        progress[0] = out + length
        progress[1] = place + length
        return 0
    span = words[level]
    row = row_begins[level] + number * span
    for k in range(span):
        word = number if level == 1 else np.int64(rows[row + k])
        begin, end = offsets[word], offsets[word + 1]
        if out + end - begin > len(text):
            return _TOO_LONG
        for i in range(begin, end):
            text[out] = pool[i]
            out += 1
    progress[0] = out
    return 0


@compiled
def _decode(  # type: ignore[no-untyped-def]
    payload,
    state,
    models,
    bits,
    n_words,
    words,
    entries,
    rows,
    row_begins,
    pool,
    offsets,
    escapes,
    levels,
    numbers,
    text,
):
    half = np.int64(1) << (bits - 1)
    low, high, value, place = state
    # A decoder is never more than one value ahead of its encoder.
    end = 8 * len(payload) + bits
    ring = np.zeros((N_ENCODINGS, CACHE), dtype=np.int32)
    front = np.zeros(N_ENCODINGS, dtype=np.int64)
    filled = np.zeros(N_ENCODINGS, dtype=np.int64)
    progress = np.zeros(2, dtype=np.int64)
    # Where the cache has an event's number; what is not coded with its place is not in the cache.
    cached = np.int64(-1)
    before, last = np.int64(FIRST_LEVEL), np.int64(FIRST_LEVEL)
    word, n_events = 0, 0
    # What the next symbol of an event is for; each event begins with its flag.
    model, level, context = np.int64(FLAG), np.int64(0), np.int64(0)
    n_bits, offset = np.int64(0), np.int64(0)
    while word < n_words:
        symbol, low, high, value, place = read_symbol(
            models, model, payload, low, high, value, place, half
        )
        number, length = np.int64(-1), np.int64(0)
        if model == FLAG:
            if place > end:
                return _CUT
            model = N_BITS if symbol else LEVEL + N_ENCODINGS * last + before
            continue
        if model >= NUMBER:
            number = symbol + TIER if model >= RARE else symbol
        elif model >= LEVEL:
            level, context = symbol, last
            if level:
                model = HIT + level
                continue
            number = 0
        elif model >= TIERS:
            model = RARE + context if symbol else NUMBER + N_ENCODINGS + context
            continue
        elif model >= PLACE:
            if symbol >= filled[level]:
                return _UNKNOWN
            number = np.int64(ring[level, (front[level] + symbol) & (CACHE - 1)])
            cached = symbol
        elif model >= HIT:
            if symbol == 0:
                model = PLACE + level
            elif level == 1 and entries[1] > TIER:
                model = TIERS + context
            else:
                model = NUMBER + N_ENCODINGS * level + context
            continue
        elif model == LENGTH:
            length = symbol + MIN_MATCH
        else:
            if model == N_BITS:
                n_bits, offset = symbol, np.int64(1)
            else:
                n_bits -= 1
                offset = 2 * offset + symbol
            model = OFFSET_BIT + min(n_bits - 1, 7) if n_bits else LENGTH
            continue
        model = np.int64(FLAG)
        is_match = length > 0
        if not is_match:
            if level and number >= entries[level]:
                return _UNKNOWN
            levels[n_events] = level
            numbers[n_events] = number
            length = 1
        elif offset > n_events:
            return _UNKNOWN
        else:
            for i in range(length):
                if n_events + i >= n_words:
                    return _TOO_LONG
                levels[n_events + i] = levels[n_events + i - offset]
                numbers[n_events + i] = numbers[n_events + i - offset]
        for e in range(n_events, n_events + length):
            level, number = np.int64(levels[e]), np.int64(numbers[e])
            word += words[level]
            if word > n_words:
                return _TOO_LONG
            fault = _emit(
                level, number, words, rows, row_begins, pool, offsets, escapes, progress, text
            )
            if fault:
                return fault
            if level:
                if is_match:
                    cached = np.int64(place_of(ring, front, filled, level, number))
                use(ring, front, filled, level, number, cached)
            before, last = last, level
        cached = np.int64(-1)
        n_events += length
    if place > end:
        return _CUT
    if progress[0] != len(text):
        return _TOO_SHORT
    if progress[1] != len(escapes):
        return _ESCAPES
    return n_events
