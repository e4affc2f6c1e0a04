"""The codec as it is used, and the container's promises."""

import io
import random
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers import quasicryth
from paperround.papers.quasicryth import (
    METHODS,
    PERIOD_5,
    Compressor,
    DamagedError,
    Decompressor,
    Dictionary,
    Method,
    compress,
    decompress,
    read_qm56,
    train_dictionary,
    write_qm56,
)

relaxed = settings(deadline=None, max_examples=40)
ODD = {
    "nothing": b"",
    "one byte": b"\xff",
    "a zero": b"\0",
    "every byte": bytes(range(256)) * 3,
    "not UTF-8": b"caf\xe9 \xff\xfe " * 50,
    "Windows lines": b"One line\r\nAnother\r\n" * 30,
    "capitals": b"ALL IN CAPITALS AND arXiv, A b. " * 30,
    "one long word": b"a" * 70_000,
    "long words twice": (b"b" * 300 + b" ") * 4,
    "whitespace": b" \n\t\r" * 5_000,
    "zero after 8,192 bytes": b"Text. " * 2_000 + b"\0\0\0",
    "random": random.Random(0).randbytes(20_000),
}


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("mode", list(METHODS))
def test_what_goes_in_comes_out(name, mode):
    assert decompress(compress(ODD[name], mode)) == ODD[name]


@relaxed
@given(st.binary(max_size=3_000), st.sampled_from([1_024, 1_500, 1 << 20]))
def test_any_bytes_come_out(data, block_size):
    assert decompress(compress(data, block_size=block_size)) == data


@pytest.mark.parametrize(
    "mode",
    [list(PERIOD_5), Method(everywhere=True, selection="optimal"), Method(coder_bits=32), ()],
)
def test_tilings_and_methods_are_modes_too(mode, repetitive):
    assert decompress(compress(repetitive, mode)) == repetitive


def test_bytes_like_objects_are_taken(repetitive):
    packed = compress(bytearray(repetitive))
    assert decompress(memoryview(packed)) == repetitive
    assert decompress(bytearray(packed)) == repetitive


def test_random_bytes_hardly_grow():
    data = ODD["random"]
    assert len(compress(data)) <= len(data) + 32


def test_the_optimal_parse_is_not_longer(alice):
    everywhere = Method((), everywhere=True)
    optimal = Method((), everywhere=True, selection="optimal")
    assert len(compress(alice, optimal)) < len(compress(alice, everywhere))


@relaxed
@given(st.lists(st.binary(max_size=900), max_size=6), st.integers(1, 700))
def test_pieces_make_no_difference(pieces, cut):
    data = b"".join(pieces)
    whole = compress(data, block_size=1_024)
    stream = Compressor(block_size=1_024).compressobj()
    packed = b"".join(stream.compress(piece) for piece in pieces) + stream.flush()
    assert packed == whole
    back = Decompressor().decompressobj()
    out = b"".join(back.decompress(packed[i : i + cut]) for i in range(0, len(packed), cut))
    assert (out, back.eof, back.unused_data) == (data, True, b"")


def test_a_finished_stream_takes_no_more():
    stream = Compressor().compressobj()
    packed = stream.compress(b"text") + stream.flush()
    assert stream.flush() == b""
    with pytest.raises(UsageError):
        stream.compress(b"more")
    back = Decompressor().decompressobj()
    assert back.decompress(packed + b"rest") == b"text"
    assert back.unused_data == b"rest"
    with pytest.raises(UsageError):
        back.decompress(b"more")


def test_frames_in_a_row_are_one_content():
    packed = compress(b"one ") + compress(b"") + compress(b"two", "fib")
    assert decompress(packed) == b"one two"
    assert Decompressor().stream_reader(packed).read() == b"one two"


def test_files_in_and_out(repetitive):
    target = io.BytesIO()
    seen = []
    compressor = Compressor(block_size=1 << 14)
    sizes = compressor.copy_stream(io.BytesIO(repetitive), target, seen.append)
    assert sizes == (len(repetitive), len(target.getvalue()))
    assert seen[-1] == len(repetitive)
    assert target.getvalue() == compress(repetitive, block_size=1 << 14)
    back = io.BytesIO()
    Decompressor().copy_stream(io.BytesIO(target.getvalue()), back)
    assert back.getvalue() == repetitive


def test_readers_and_writers(repetitive):
    target = io.BytesIO()
    with Compressor(block_size=4_096).stream_writer(target, closefd=False) as writer:
        for i in range(0, len(repetitive), 1_000):
            writer.write(repetitive[i : i + 1_000])
    packed = target.getvalue()
    assert packed == compress(repetitive, block_size=4_096)
    assert Compressor(block_size=4_096).stream_reader(io.BytesIO(repetitive)).read() == packed
    reader = Decompressor().stream_reader(io.BytesIO(packed))
    assert reader.read(10) == repetitive[:10]
    assert reader.read() == repetitive[10:]
    out = io.BytesIO()
    with Decompressor().stream_writer(out, closefd=False) as back:
        back.write(packed)
    assert out.getvalue() == repetitive


def test_a_compressed_file_opens_like_a_file(tmp_path, alice):
    path = tmp_path / "alice.qcy"
    with quasicryth.open(path, "wb") as file:
        file.write(alice[:50_000])
    with quasicryth.open(path) as file:
        assert file.readline() == alice[: alice.index(b"\n") + 1]
        assert len(file.read()) == 50_000 - alice.index(b"\n") - 1
    with pytest.raises(UsageError):
        quasicryth.open(path, "a")
    with pytest.raises(UsageError):
        quasicryth.open(path, "rb", codec=Compressor())


class Repeated(io.RawIOBase):
    """The same piece so many times, without holding it so often."""

    def __init__(self, piece, n):
        super().__init__()
        self.piece, self.left = piece, n

    def read(self, size=-1):
        self.left -= 1
        return self.piece if self.left >= 0 else b""


class Nowhere(io.RawIOBase):
    def write(self, data):
        return len(data)


def peak_memory(work):
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_longer_stream_takes_no_more_memory():
    piece = b"".join(b"word%d and another. " % (i % 50) for i in range(800))
    compressor = Compressor("fib", block_size=1 << 14)
    packed = compressor.compress(piece)
    decompressor = Decompressor()

    def both(n):
        compressor.copy_stream(Repeated(piece, n), Nowhere())
        decompressor.copy_stream(Repeated(packed, n), Nowhere())

    both(1)
    assert peak_memory(lambda: both(80)) < 1.3 * peak_memory(lambda: both(8))


@pytest.mark.parametrize("block_size", [0, 1_000, (1 << 30) + 1])
def test_a_block_size_out_of_range_is_refused(block_size):
    with pytest.raises(UsageError):
        Compressor(block_size=block_size)


def test_limits_are_kept(repetitive):
    packed = compress(repetitive, block_size=1 << 14)
    assert decompress(packed, max_output_size=len(repetitive)) == repetitive
    with pytest.raises(DamagedError, match="limit"):
        decompress(packed, max_output_size=len(repetitive) - 1)
    with pytest.raises(DamagedError, match="max_block_size"):
        decompress(packed, max_block_size=1 << 13)
    with pytest.raises(DamagedError, match="max_output_size"):
        decompress(write_qm56(repetitive), max_output_size=10)


@pytest.mark.parametrize("cut", [0, 1, 3, 5, 9, 10, 11, 40, -1, -9])
def test_what_is_cut_short_is_damaged(cut, repetitive):
    packed = compress(repetitive)
    with pytest.raises(DamagedError):
        decompress(packed[:cut])
    with pytest.raises(DamagedError):
        Decompressor().stream_reader(packed[:cut]).read()


def test_what_is_not_ours_is_damaged(repetitive):
    with pytest.raises(DamagedError, match="not Quasicryth's format"):
        decompress(b"PK\x03\x04 something")
    with pytest.raises(DamagedError, match="version"):
        decompress(b"QCY\x07" + compress(b"x")[4:])
    with pytest.raises(DamagedError):
        decompress(compress(repetitive) + b"trailing")


def samples(alice):
    return [alice[i : i + 1_500] for i in range(0, 120_000, 1_500)]


def test_a_dictionary_pays_for_short_texts(alice):
    dictionary = train_dictionary(samples(alice))
    texts = [alice[i : i + 1_000] for i in range(125_000, 150_000, 1_000)]
    shared = Compressor(dictionary=dictionary)
    packed = [shared.compress(text) for text in texts]
    assert [decompress(one, dictionary=dictionary) for one in packed] == texts
    assert sum(map(len, packed)) < 0.8 * sum(len(compress(text)) for text in texts)


def test_a_dictionary_is_kept_and_read_again(alice):
    dictionary = train_dictionary(samples(alice)[:10])
    again = Dictionary(dictionary.as_bytes())
    assert (again, again.id, hash(again)) == (dictionary, dictionary.id, hash(dictionary))
    assert again.as_bytes() == dictionary.as_bytes()
    for damaged in (b"", dictionary.as_bytes()[:-3], b"X" + dictionary.as_bytes()):
        with pytest.raises(DamagedError):
            Dictionary(damaged)


def test_a_frame_asks_for_its_own_dictionary(alice):
    dictionary, other = train_dictionary([alice[:20_000]]), train_dictionary([alice[30_000:50_000]])
    packed = compress(alice[60_000:62_000], dictionary=dictionary)
    with pytest.raises(DamagedError, match="none was given"):
        decompress(packed)
    with pytest.raises(DamagedError, match=dictionary.id.hex()):
        decompress(packed, dictionary=other)
    # A frame without one is read whatever is given.
    assert decompress(compress(b"plain"), dictionary=other) == b"plain"


def test_a_dictionary_needs_samples():
    with pytest.raises(UsageError):
        train_dictionary([])


@pytest.mark.parametrize("mode", ["multi", "fib"])
def test_the_official_format_is_read_and_written(mode, alice):
    packed = write_qm56(alice, mode)
    assert packed[:4] == b"QM56"
    assert read_qm56(packed, len(alice)) == alice
    assert decompress(packed) == alice
    with pytest.raises(UsageError):
        write_qm56(b"")


@pytest.mark.parametrize("place", [5, 20, 24, 26, 100, 5_000, -200, -3])
def test_a_damaged_official_file_is_refused(place, alice):
    packed = bytearray(write_qm56(alice[:30_000]))
    packed[place] ^= 0x55
    with pytest.raises(DamagedError):
        read_qm56(bytes(packed), 1 << 20)


def test_progress_moves_inside_a_block_and_ends_with_the_source(alice):
    compressed, told = io.BytesIO(), []
    Compressor().copy_stream(io.BytesIO(alice), compressed, told.append)
    assert told == sorted(told)
    assert told[-1] == len(alice)
    assert len(set(told)) > 20
    packed, told = compressed.getvalue(), []
    Decompressor().copy_stream(io.BytesIO(2 * packed), io.BytesIO(), told.append)
    assert told == sorted(told)
    assert told[-1] == 2 * len(packed)
    # Headers, the block's steps and its end, twice.
    assert len(set(told)) > 8
