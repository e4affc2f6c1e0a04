"""Damaged and hostile input: one clear error, in bounded time and memory, and never a crash."""

import random
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.papers.quasicryth import DamagedError, Decompressor, decompress
from paperround.papers.quasicryth.blocks import METHODS, Block, compress_block, decompress_block
from paperround.papers.quasicryth.books import Books
from paperround.papers.quasicryth.container import (
    MAX_BLOCK_LOG,
    coded_block,
    end_mark,
    frame_header,
    read_block_header,
    read_frame_header,
    unpack,
)
from paperround.papers.quasicryth.decoding import decode_events

GOLDEN = Path(__file__).with_name("golden")
FILES = sorted(path.read_bytes() for path in GOLDEN.glob("*.q*") if path.suffix != ".qcyd")
relaxed = settings(deadline=None, max_examples=150)


def attempt(data):
    """What decompressing gives, or None where it is refused as it should be."""
    try:
        return decompress(data, max_output_size=1 << 16, max_block_size=1 << 24)
    except DamagedError:
        return None


@relaxed
@given(st.sampled_from(FILES), st.data())
def test_a_changed_file_is_refused_or_says_the_same(packed, data):
    changed = bytearray(packed)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(changed) - 1))
        match data.draw(st.sampled_from(["set", "drop", "add", "swap"])):
            case "set":
                changed[place] = data.draw(st.integers(0, 255))
            case "drop":
                del changed[place : place + data.draw(st.integers(1, 9))]
            case "add":
                changed[place:place] = data.draw(st.binary(min_size=1, max_size=9))
            case "swap":
                other = data.draw(st.integers(0, len(changed) - 1))
                changed[place], changed[other] = changed[other], changed[place]
        if not changed:
            break
    content = attempt(bytes(changed))
    # The file with a dictionary needs one that is not given.
    assert content in (None, attempt(packed))


@relaxed
@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    assert attempt(data) in (None, b"")
    assert attempt(b"QM56" + data) is None


@relaxed
@given(st.binary(max_size=300))
def test_any_bytes_behind_a_good_header_are_refused(data):
    assert attempt(frame_header(16) + data) in (None, b"")


# Checksums keep chance out, not malice: from here on the streams themselves are hostile.

BLOCK = compress_block((GOLDEN / "verses.txt").read_bytes(), METHODS["multi"])


@relaxed
@given(st.data())
def test_hostile_streams_end_in_an_error_or_a_text_of_the_declared_size(data):
    streams = {
        name: bytearray(getattr(BLOCK, name)) for name in ("payload", "case", "codebook", "escapes")
    }
    name = data.draw(st.sampled_from([name for name in streams if streams[name]]))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(streams[name]) - 1))
        streams[name][place] = data.draw(st.integers(0, 255))
    n_bytes = data.draw(st.sampled_from([BLOCK.n_bytes, BLOCK.n_bytes - 1, 1, 50_000]))
    n_words = data.draw(st.sampled_from([BLOCK.n_words, BLOCK.n_words + 1, 1, n_bytes]))
    block = Block(
        n_bytes=n_bytes,
        n_words=n_words,
        n_flags=data.draw(st.sampled_from([BLOCK.n_flags, 0, n_bytes])),
        is_text=data.draw(st.booleans()),
        coder_bits=data.draw(st.sampled_from([24, 32])),
        **{key: bytes(value) for key, value in streams.items()},
    )
    with suppress(DamagedError):
        assert len(decompress_block(block)) == n_bytes


def hostile_books(n_unigrams, n_phrases):
    """Books of the largest words, whose longest phrases are far larger than any block."""
    pool = np.full(255 * n_unigrams, 97, dtype=np.uint8)
    offsets = np.arange(n_unigrams + 1, dtype=np.int64) * 255
    spans = (2, 3, 5, 8, 13, 21, 34, 55, 89, 144)
    phrases = tuple(np.zeros((n_phrases, span), dtype=np.uint16) for span in spans)
    return Books(pool, offsets, phrases)


@relaxed
@given(st.binary(max_size=200), st.integers(1, 3_000), st.integers(1, 3_000))
def test_any_payload_over_hostile_books_stays_within_the_text(payload, n_words, n_bytes):
    books = hostile_books(5_000, 100)
    stream = np.frombuffer(payload, dtype=np.uint8)
    escapes = np.frombuffer(b"\xff\xff" + b"x" * 300, dtype=np.uint8)
    try:
        text = decode_events(stream, books, escapes, n_words, n_bytes, 24)
    except DamagedError:
        return
    assert len(text) == n_bytes


def test_empty_books_name_nothing():
    books = hostile_books(0, 0)
    for seed in range(50):
        payload = np.frombuffer(random.Random(seed).randbytes(50), dtype=np.uint8)
        with pytest.raises(DamagedError):
            decode_events(payload, books, np.empty(0, dtype=np.uint8), 20, 20, 24)


def test_a_short_file_that_declares_much_takes_little_memory():
    head = frame_header(MAX_BLOCK_LOG)
    # A gigabyte of stored content, of which nothing comes.
    claim = head + bytes([1, 0x80, 0x80, 0x80, 0x80, 0x04]) + b"\0\0\0\0" + b"abc"
    tracemalloc.start()
    try:
        stream = Decompressor(max_block_size=1 << 30).decompressobj()
        assert stream.decompress(claim) == b""
        with pytest.raises(DamagedError):
            stream.finish()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "numbers",
    [
        # n, words, flags, codebook, escapes, four streams
        (0, 1, 1, 22, 0, 1, 1, 1, 1),
        (70_000, 1, 1, 22, 0, 1, 1, 1, 1),
        (100, 101, 1, 22, 0, 1, 1, 1, 1),
        (100, 0, 1, 22, 0, 1, 1, 1, 1),
        (100, 10, 101, 22, 0, 1, 1, 1, 1),
        (100, 10, 10, 1 << 30, 0, 1, 1, 1, 1),
        (100, 10, 10, 22, 301, 1, 1, 1, 1),
        (100, 10, 10, 22, 10, 50, 20, 20, 10),
        (100, 10, 10, 22, 10, 1 << 62, 1, 1, 1),
    ],
)
def test_numbers_beyond_their_limits_are_refused(numbers):
    frame = read_frame_header(frame_header(16))
    head = bytes([2, 1])
    for number in numbers:
        while number >= 128:
            head += bytes([number & 127 | 128])
            number >>= 7
        head += bytes([number])
    with pytest.raises(DamagedError):
        read_block_header(head + b"\0\0\0\0", frame)


@pytest.mark.parametrize("number", [b"\x80" * 9, b"\x80\x00", b"\xff" * 12])
def test_numbers_written_too_long_are_refused(number):
    frame = read_frame_header(frame_header(16))
    with pytest.raises(DamagedError):
        read_block_header(bytes([1]) + number + b"\0" * 9, frame)


def test_an_lzma_bomb_is_not_unpacked():
    import lzma

    from paperround.papers.quasicryth.container import pack

    bomb = pack(b"\0" * (8 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DamagedError):
            unpack(bomb, 1_000)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()
    with pytest.raises(DamagedError):
        unpack(lzma.compress(b"text"), 4)


def test_a_content_that_is_not_the_checksums_is_refused():
    text = (GOLDEN / "verses.txt").read_bytes()
    block = compress_block(text, METHODS["multi"])
    other = text.replace(b"long", b"lung")
    packed = frame_header(24) + coded_block(block, other) + end_mark(len(text), b"\0" * 8)
    with pytest.raises(DamagedError, match="checksum"):
        decompress(packed)
    good = frame_header(24) + coded_block(block, text) + end_mark(len(text), b"\0" * 8)
    with pytest.raises(DamagedError, match="end mark"):
        decompress(good)
