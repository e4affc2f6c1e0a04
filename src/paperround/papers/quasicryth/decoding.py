"""From the coded events back to the text.

What arrives may be damaged or made to do harm, so every number is checked before it is used, the
text never grows past what was declared, and each step takes at least one word of those declared.
"""

from collections.abc import Callable

import numpy as np

from paperround.papers.quasicryth.arithmetic import (
    last_place,
    padded,
    read_bit,
    read_symbol,
    start_decoder,
)
from paperround.papers.quasicryth.books import Books
from paperround.papers.quasicryth.coder import (
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
    new_caches,
    place_of,
    use,
)
from paperround.papers.quasicryth.compiled import compiled, inlined
from paperround.papers.quasicryth.errors import DamagedError
from paperround.papers.quasicryth.models import new_models
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


# So many words are decoded at once; then it is told how far the text has come.
_AT_ONCE = 1 << 18

# Where an array has how far the decoder has come: its state, the two levels before, and how many
# words, events, bytes of text and bytes of escapes it has been through.
_LOW, _WIDTH, _OFFSET, _PLACE = 0, 1, 2, 3
_BEFORE, _LEVEL, _WORDS, _EVENTS, _TEXT, _ESCAPED = 4, 5, 6, 7, 8, 9


def decode_events(
    payload: Bytes,
    books: Books,
    escapes: Bytes,
    n_words: int,
    n_bytes: int,
    bits: int,
    on_share: Callable[[float], None] | None = None,
) -> Bytes:
    """The lowered text of `n_bytes`; raises DamagedError where the streams do not give just that.

    `escapes` holds the words outside the unigram book, each with its length in 16 bits before it.
    `on_share` is told what share of the words is decoded.
    """
    counts = (0, *books.counts)
    rows = np.concatenate([phrases.ravel() for phrases in books.phrases])
    # Where the rows of each level of encoding begin.
    row_begins = np.zeros(N_ENCODINGS, dtype=np.int64)
    row_begins[3:] = np.cumsum([phrases.size for phrases in books.phrases])[:-1]
    text = np.empty(n_bytes, dtype=np.uint8)
    state = start_decoder(payload, bits)
    first = (state.low, state.width, state.offset, state.place, FIRST_LEVEL, FIRST_LEVEL)
    reached = np.array([*first, 0, 0, 0, 0], dtype=np.int64)
    models, caches = new_models(event_model_sizes(books.counts)), new_caches()
    levels, numbers = np.empty(n_words, dtype=np.uint8), np.empty(n_words, dtype=np.int32)
    padded_payload = padded(payload)
    while reached[_WORDS] < n_words:
        fault = _decode(
            padded_payload,
            bits,
            reached,
            min(n_words, int(reached[_WORDS]) + _AT_ONCE),
            last_place(payload, bits),
            models,
            caches,
            n_words,
            np.array(WORDS, dtype=np.int64),
            np.array(counts, dtype=np.int64),
            rows,
            row_begins,
            books.pool,
            books.offsets,
            escapes,
            levels,
            numbers,
            text,
        )
        if fault:
            raise DamagedError(_FAULTS[int(fault)])
        if on_share is not None:
            on_share(int(reached[_WORDS]) / n_words)
    if reached[_TEXT] != n_bytes:
        raise DamagedError(_FAULTS[_TOO_SHORT])
    if reached[_ESCAPED] != len(escapes):
        raise DamagedError(_FAULTS[_ESCAPES])
    return text


@inlined
def _emit(  # type: ignore[no-untyped-def]
    level, number, words, rows, row_begins, pool, offsets, escapes, reached, text
):
    """Appends the words of an event to the text; gives back 0, or what is wrong.

    `reached` says how far the text and the escapes have come.
    """
    out = reached[_TEXT]
    if level == 0:
        place = reached[_ESCAPED]
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
        reached[_TEXT] = out + length
        reached[_ESCAPED] = place + length
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
    reached[_TEXT] = out
    return 0


@compiled
def _decode(  # type: ignore[no-untyped-def]
    payload,
    bits,
    reached,
    until,
    last,
    models,
    caches,
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
    """Decodes words up to `until` at least; gives back 0, or what is wrong."""
    low, width, offset, place = reached[_LOW], reached[_WIDTH], reached[_OFFSET], reached[_PLACE]
    before, level = reached[_BEFORE], reached[_LEVEL]
    word, n_events = reached[_WORDS], reached[_EVENTS]
    _, front, filled = caches
    while word < until:
        if place > last:
            return _CUT
        is_match, low, width, offset, place = read_bit(
            models, FLAG, payload, low, width, offset, place, bits
        )
        if is_match:
            n_bits, low, width, offset, place = read_symbol(
                models, N_BITS, payload, low, width, offset, place, bits
            )
            back = np.int64(1)
            for i in range(n_bits - 1, -1, -1):
                bit, low, width, offset, place = read_bit(
                    models, OFFSET_BIT + min(i, 7), payload, low, width, offset, place, bits
                )
                back = 2 * back + bit
            length, low, width, offset, place = read_symbol(
                models, LENGTH, payload, low, width, offset, place, bits
            )
            length += MIN_MATCH
            if back > n_events:
                return _UNKNOWN
            for e in range(n_events, n_events + length):
                if word >= n_words:
                    return _TOO_LONG
                before = level
                level, number = np.int64(levels[e - back]), np.int64(numbers[e - back])
                levels[e] = level
                numbers[e] = number
                word += words[level]
                if word > n_words:
                    return _TOO_LONG
                fault = _emit(
                    level, number, words, rows, row_begins, pool, offsets, escapes, reached, text
                )
                if fault:
                    return fault
                if level:
                    use(caches, level, number, place_of(caches, level, number))
            n_events += length
            continue
        context = level
        level, low, width, offset, place = read_symbol(
            models, LEVEL + N_ENCODINGS * level + before, payload, low, width, offset, place, bits
        )
        before = context
        number = np.int64(0)
        if level:
            is_new, low, width, offset, place = read_bit(
                models, HIT + level, payload, low, width, offset, place, bits
            )
            model, is_rare = PLACE + level, np.int64(0)
            if is_new:
                model = NUMBER + N_ENCODINGS * level + context
                if level == 1 and entries[1] > TIER:
                    is_rare, low, width, offset, place = read_bit(
                        models, TIERS + context, payload, low, width, offset, place, bits
                    )
                    if is_rare:
                        model = RARE + context
            number, low, width, offset, place = read_symbol(
                models, model, payload, low, width, offset, place, bits
            )
            cached = np.int64(-1)
            if is_new:
                number += TIER * is_rare
                if number >= entries[level]:
                    return _UNKNOWN
            else:
                if number >= filled[level]:
                    return _UNKNOWN
                cached = number
                number = np.int64(caches[0][level, front[level] + cached])
            use(caches, level, number, cached)
        levels[n_events] = level
        numbers[n_events] = number
        n_events += 1
        word += words[level]
        if word > n_words:
            return _TOO_LONG
        fault = _emit(level, number, words, rows, row_begins, pool, offsets, escapes, reached, text)
        if fault:
            return fault
    if place > last:
        return _CUT
    reached[_LOW], reached[_WIDTH], reached[_OFFSET], reached[_PLACE] = low, width, offset, place
    reached[_BEFORE], reached[_LEVEL] = before, level
    reached[_WORDS], reached[_EVENTS] = word, n_events
    return 0
