"""One block: the whole method from bytes to four streams, and back.

The streams: the coded events, the coded case flags, the codebook, and the escaped words. How they
are packed is the container's business.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.papers.quasicryth import coder
from paperround.papers.quasicryth.books import Books, build_books, numbers_in
from paperround.papers.quasicryth.compiled import compiled
from paperround.papers.quasicryth.decoding import decode_events
from paperround.papers.quasicryth.errors import DamagedError
from paperround.papers.quasicryth.parsing import (
    ESCAPE,
    Events,
    Phrases,
    Selection,
    events,
    find_phrases,
    select,
)
from paperround.papers.quasicryth.tilings import (
    GOLDEN,
    MULTI,
    N_LEVELS,
    PERIOD_5,
    AnyTiling,
    available,
)
from paperround.papers.quasicryth.words import (
    Bytes,
    Ints,
    Words,
    is_text,
    restore_case,
    split_case,
    split_words,
)

Mode = Literal["multi", "fib", "period5", "none", "all"]
# Is told what share of a block is done, 0 to 1.
OnShare = Callable[[float], None]

# What is done of a block, in processor time, when each step is: measured on ten megabytes.
_SPLIT, _COUNTED, _ALLOWED, _PARSED, _CODED = 0.18, 0.5, 0.65, 0.76, 0.9
_UNPACKED, _DECODED = 0.05, 0.8


@dataclass(frozen=True)
class Method:
    """What the compressor does; the decompressor needs to know none of it but `coder_bits`.

    `tilings` say where phrases of three words and more may be looked up, `everywhere` looks them
    up at every word instead; pairs of words (`bigrams`) need no tiling. `deepest` is the deepest
    level of the hierarchy in use (9: 144 words). `selection` is the paper's greedy one or, ours,
    the parse of least estimated length. 32 `coder_bits` lose less to rounding than the paper's 24.
    """

    tilings: tuple[AnyTiling, ...] = MULTI
    everywhere: bool = False
    bigrams: bool = True
    lz77: bool = True
    deepest: int = N_LEVELS - 1
    selection: Selection = "greedy"
    coder_bits: int = 24

    def __post_init__(self) -> None:
        if self.coder_bits not in (24, 32):
            raise UsageError(f"coder_bits is 24 or 32, not {self.coder_bits}")
        if not 0 <= self.deepest < N_LEVELS:
            raise UsageError(f"deepest is a level from 0 to {N_LEVELS - 1}, not {self.deepest}")
        if self.selection not in ("greedy", "optimal"):
            raise UsageError(f"no selection '{self.selection}'; there are greedy and optimal")


# The official program's four modes, and the upper bound of what any tiling can find.
METHODS: dict[str, Method] = {
    "multi": Method(MULTI),
    "fib": Method(GOLDEN),
    "period5": Method(PERIOD_5[:1]),
    "none": Method((), bigrams=False),
    "all": Method((), everywhere=True),
}


def method_of(mode: Mode | str | Method | Sequence[AnyTiling]) -> Method:
    """The method that a mode's name, a list of tilings or a `Method` means."""
    if isinstance(mode, Method):
        return mode
    if isinstance(mode, str):
        if mode not in METHODS:
            raise UsageError(f"no mode '{mode}'; there are {', '.join(METHODS)}")
        return METHODS[mode]
    return Method(tuple(mode))


@dataclass(frozen=True)
class Parse:
    """All that the method finds out about a text before it is coded."""

    words: Words
    flags: Bytes
    is_text: bool
    books: Books
    units: Ints
    allowed: NDArray[np.uint16]
    phrases: Phrases
    levels: Bytes
    events: Events


@dataclass(frozen=True)
class Block:
    """The streams of a block and what a decoder has to be told of them.

    `codebook` and `escapes` are as they stand before LZMA.
    """

    n_bytes: int
    n_words: int
    n_flags: int
    is_text: bool
    coder_bits: int
    payload: bytes
    case: bytes
    codebook: bytes
    escapes: bytes


def _unheard(share: float) -> None:
    pass


def parse(
    data: bytes | memoryview,
    method: Method,
    books: Books | None = None,
    on_share: OnShare = _unheard,
) -> Parse:
    """The parse of a text by a method, with books made from it or given ones (a dictionary's)."""
    raw = np.frombuffer(data, dtype=np.uint8)
    text = is_text(raw)
    lowered, flags = split_case(raw) if text else (raw, np.empty(0, dtype=np.uint8))
    words = split_words(lowered)
    on_share(_SPLIT)
    if books is None:
        books, units = build_books(
            words, on_share=lambda share: on_share(_SPLIT + (_COUNTED - _SPLIT) * share)
        )
    else:
        units = numbers_in(books, words)
    n = len(words.ids)
    deep = np.uint16((2 << method.deepest) - 1)
    if method.everywhere:
        allowed = np.full(n, deep, dtype=np.uint16)
    else:
        allowed = deep & available(
            method.tilings,
            n,
            on_share=lambda share: on_share(_COUNTED + (_ALLOWED - _COUNTED) * share),
        )
    phrases = find_phrases(books, units, allowed, method.bigrams)
    levels, numbers = select(phrases, units, method.selection)
    found = events(levels, numbers, method.lz77)
    on_share(_PARSED)
    return Parse(
        words=words,
        flags=flags,
        is_text=text,
        books=books,
        units=units,
        allowed=allowed,
        phrases=phrases,
        levels=levels,
        events=found,
    )


def compress_block(
    data: bytes | memoryview,
    method: Method,
    books: Books | None = None,
    on_share: OnShare = _unheard,
) -> Block:
    """The streams of a text; with given books the codebook stays empty.

    `on_share` does not come to 1: packing codebook and escapes is left to do.
    """
    found = parse(data, method, books, on_share)
    symbols = coder.event_symbols(found.events, found.books.counts)
    block = Block(
        n_bytes=len(found.words.text),
        n_words=len(found.words.ids),
        n_flags=len(found.flags),
        is_text=found.is_text,
        coder_bits=method.coder_bits,
        payload=coder.encode(symbols, method.coder_bits),
        case=coder.encode(coder.flag_symbols(found.flags), method.coder_bits)
        if found.is_text
        else b"",
        codebook=found.books.to_bytes() if books is None else b"",
        escapes=escapes_of(found),
    )
    on_share(_CODED)
    return block


def escapes_of(found: Parse) -> bytes:
    """The words outside the unigram book in order, each behind its length in 16 bits."""
    words = found.words
    escaped = words.ids[found.events.starts[found.events.levels == ESCAPE]]
    starts, lengths = words.starts[escaped], words.lengths[escaped]
    out = np.empty(int(lengths.sum()) + 2 * len(escaped), dtype=np.uint8)
    _write_escapes(words.text, starts, lengths, out)
    return bytes(out.tobytes())


def decompress_block(
    block: Block, books: Books | None = None, on_share: OnShare = _unheard
) -> bytes:
    """The text of a block, given the books where it has none of its own; raises DamagedError.

    Trusts that the block's numbers are within the container's limits, and nothing else.
    """
    if books is None:
        books = Books.from_bytes(block.codebook)
    on_share(_UNPACKED)
    text = decode_events(
        _array(block.payload),
        books,
        _array(block.escapes),
        block.n_words,
        block.n_bytes,
        block.coder_bits,
        on_share=lambda share: on_share(_UNPACKED + (_DECODED - _UNPACKED) * share),
    )
    if block.is_text:
        flags = coder.decode_flags(_array(block.case), block.n_flags, block.coder_bits)
        if flags is None or not restore_case(text, flags):
            raise DamagedError("the case flags do not fit the text")
    return bytes(text.tobytes())


def _array(stream: bytes) -> Bytes:
    return np.frombuffer(stream, dtype=np.uint8)


@compiled
def _write_escapes(text, starts, lengths, out):  # type: ignore[no-untyped-def]
    place = 0
    for word in range(len(starts)):
        length = np.int64(lengths[word])
        out[place] = length & 255
        out[place + 1] = length >> 8
        place += 2
        for i in range(length):
            out[place + i] = text[starts[word] + i]
        place += length
