"""Files made earlier, by this program and by the official one: the format stays what it is."""

import struct
from pathlib import Path

import pytest

from paperround.papers.quasicryth import Dictionary, Method, compress, decompress, write_qm56

GOLDEN = Path(__file__).with_name("golden")
TEXT = (GOLDEN / "verses.txt").read_bytes()
# Everything that decides the bytes of a file; LZMA's own version decides none of a small one.
MADE = {
    "multi": {"mode": "multi"},
    "fib": {"mode": "fib"},
    "period5": {"mode": "period5"},
    "none": {"mode": "none"},
    "all-32-bits": {"mode": Method((), everywhere=True, coder_bits=32)},
    "blocks": {"mode": "multi", "block_size": 1024},
}


def dictionary():
    return Dictionary((GOLDEN / "verses.qcyd").read_bytes())


@pytest.mark.parametrize("name", MADE)
def test_an_earlier_file_is_read(name):
    assert decompress((GOLDEN / f"{name}.qcy").read_bytes()) == TEXT


@pytest.mark.parametrize("name", MADE)
def test_the_same_file_is_written_again(name):
    assert compress(TEXT, **MADE[name]) == (GOLDEN / f"{name}.qcy").read_bytes()


def test_an_earlier_file_with_a_dictionary_is_read_and_written():
    packed = (GOLDEN / "dictionary.qcy").read_bytes()
    assert decompress(packed, dictionary=dictionary()) == TEXT
    assert compress(TEXT, dictionary=dictionary()) == packed
    assert dictionary().id.hex() == packed[6:14].hex()


def test_the_smallest_files():
    assert decompress((GOLDEN / "empty.qcy").read_bytes()) == b""
    assert decompress((GOLDEN / "stored.qcy").read_bytes()) == b"\xff"
    assert compress(b"") == (GOLDEN / "empty.qcy").read_bytes()


def test_the_header_is_as_documented():
    packed = (GOLDEN / "blocks.qcy").read_bytes()
    assert packed[:6] == b"QCY\x01\x00\x0a"
    assert (GOLDEN / "dictionary.qcy").read_bytes()[:6] == b"QCY\x01\x01\x18"


@pytest.mark.parametrize("name", ["multi", "fib", "none", "period5"])
def test_a_file_of_the_official_program_is_read(name):
    assert decompress((GOLDEN / f"official-{name}.qtc").read_bytes()) == TEXT


@pytest.mark.parametrize("mode", ["multi", "fib", "none", "period5"])
def test_our_official_file_has_the_sizes_of_theirs(mode):
    theirs = (GOLDEN / f"official-{mode}.qtc").read_bytes()
    ours = write_qm56(TEXT, mode)
    # Sizes, words, flags and case tokens, byte for byte; then the sizes of the four streams.
    assert ours[:29] == theirs[:29]
    sizes, their_sizes = (struct.unpack_from("<IIII", file, 29) for file in (ours, theirs))
    assert abs(sizes[0] - their_sizes[0]) <= 2
    assert (sizes[1], sizes[3]) == (their_sizes[1], their_sizes[3])
    # The codebook orders words of equal frequency otherwise, and packs better for it.
    assert len(ours) <= len(theirs)
