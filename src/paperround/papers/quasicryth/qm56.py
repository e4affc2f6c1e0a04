"""The official program's own format, QM56 of version 5.6, read and written.

It holds one text in one block: a header of 45 bytes, the four streams, and an MD5 of the content.
Codebook and escapes are .xz streams there. Reading needs a limit, since the header may claim any
size; the frames of `container.py` have blocks, and need none.
"""

import hashlib
import lzma
import struct

from paperround.errors import UsageError
from paperround.papers.quasicryth.blocks import (
    Block,
    Mode,
    compress_block,
    decompress_block,
    method_of,
)
from paperround.papers.quasicryth.books import MAX_CODEBOOK
from paperround.papers.quasicryth.container import lzma2_filters
from paperround.papers.quasicryth.errors import DamagedError

MAGIC = b"QM56"
# Magic, sizes of the original and the lowered text, words, flags, case tokens, and the sizes of
# events, case, codebook and escapes.
_HEADER = struct.Struct("<4sQQIBIIIII")
_IS_BINARY, _IS_FIBONACCI = 0x02, 0x04
_MD5_BYTES = 16
_MAX_BYTES = 1 << 30
HEADER_AND_CHECKSUM = _HEADER.size + _MD5_BYTES


def write_qm56(data: bytes, mode: Mode = "multi") -> bytes:
    """The data as a file that the official program reads.

    Raises UsageError for an empty text, which its program cannot write, and one above 1 GiB.
    """
    if not 0 < len(data) <= _MAX_BYTES:
        raise UsageError(f"QM56 holds a text of 1 byte to 1 GiB here, not {len(data)} bytes")
    block = compress_block(data, method_of(mode))
    codebook, escapes = pack(block.codebook), pack(block.escapes) if block.escapes else b""
    flags = (0 if block.is_text else _IS_BINARY) | (_IS_FIBONACCI if mode == "fib" else 0)
    streams = (block.payload, block.case, codebook, escapes)
    head = _HEADER.pack(
        MAGIC, len(data), len(data), block.n_words, flags, block.n_flags, *map(len, streams)
    )
    return head + b"".join(streams) + hashlib.md5(data, usedforsecurity=False).digest()


def read_qm56(data: bytes, max_output_size: int) -> bytes:
    """The content of an official file; raises DamagedError, also above `max_output_size` bytes."""
    if len(data) < _HEADER.size + _MD5_BYTES or data[:4] != MAGIC:
        raise DamagedError("this is not a file of the official program, or cut short")
    _, n_bytes, n_lowered, n_words, flags, n_flags, *sizes = _HEADER.unpack_from(data)
    if n_bytes > max_output_size:
        raise DamagedError(
            f"the file declares {n_bytes} bytes and the limit is {max_output_size}; "
            "raise max_output_size to read it"
        )
    if flags & ~(_IS_BINARY | _IS_FIBONACCI):
        raise DamagedError(f"the file has flags that its program does not write: {flags}")
    is_text = not flags & _IS_BINARY
    if n_lowered != n_bytes or n_words > n_bytes or n_flags > n_bytes:
        raise DamagedError("the file's header contradicts itself")
    if _HEADER.size + sum(sizes) + _MD5_BYTES != len(data):
        raise DamagedError("the file's length is not what its header says")
    streams, place = [], _HEADER.size
    for size in sizes:
        streams.append(data[place : place + size])
        place += size
    payload, case, codebook, escapes = streams
    block = Block(
        n_bytes=n_bytes,
        n_words=n_words,
        n_flags=n_flags,
        is_text=is_text,
        coder_bits=24,
        payload=payload,
        case=case,
        codebook=_unpack(codebook, MAX_CODEBOOK),
        escapes=_unpack(escapes, 3 * n_bytes) if escapes else b"",
    )
    content = decompress_block(block)
    if hashlib.md5(content, usedforsecurity=False).digest() != data[place:]:
        raise DamagedError("the file's content has a wrong checksum")
    return content


def pack(raw: bytes) -> bytes:
    """A stream as .xz, preset 9 extreme, without a check."""
    return lzma.compress(
        raw, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, filters=lzma2_filters(len(raw))
    )


def _unpack(packed: bytes, limit: int) -> bytes:
    # Preset 9 has a window of 64 MiB.
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=96 << 20)
    try:
        raw = decoder.decompress(packed, max_length=limit)
        more = b"" if decoder.eof else decoder.decompress(b"", max_length=1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedError(f"a packed stream is damaged: {error}") from error
    if more or not decoder.eof or decoder.unused_data:
        raise DamagedError("a packed stream is larger than any codebook or escapes")
    return raw
