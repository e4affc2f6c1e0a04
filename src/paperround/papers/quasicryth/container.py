"""The file format: frames of blocks with checksums. FORMAT.md describes it byte by byte.

Whatever is read is taken to be hostile: every number has a limit, nothing is set aside in memory
on a number's word alone beyond the block size, and what does not fit ends in DamagedError.
"""

import hashlib
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from paperround.papers.quasicryth.blocks import Block, decompress_block
from paperround.papers.quasicryth.books import MAX_CODEBOOK, Books
from paperround.papers.quasicryth.errors import DamagedError

MAGIC = b"QCY"
VERSION = 1
DICTIONARY_ID_BYTES = 8
_HAS_DICTIONARY = 1
_END, _STORED, _CODED = 0, 1, 2
_IS_TEXT, _IS_32_BIT = 1, 2
_DIGEST_BYTES = 8
_CRC_BYTES = 4

# A block has at most 2^30 bytes; the numbers of its words fit 32 bits.
MIN_BLOCK_LOG, MAX_BLOCK_LOG = 10, 30
# Nine bytes of 7 bits: more than any number here can need.
_MAX_VARINT_BYTES = 9


@dataclass(frozen=True)
class FrameHeader:
    """What a frame says before its first block. `size` is the header's own."""

    block_log: int
    dictionary_id: bytes
    size: int


@dataclass(frozen=True)
class BlockHeader:
    """What a block says before its streams. `size` is the header's own.

    `sizes` are those of the four streams as stored: events, case, codebook, escapes; `unpacked`
    those of the last two before LZMA. A stored block has its bytes as the one stream.
    """

    is_coded: bool
    is_text: bool
    coder_bits: int
    n_bytes: int
    n_words: int
    n_flags: int
    unpacked: tuple[int, int]
    sizes: tuple[int, ...]
    crc32: int
    size: int


@dataclass(frozen=True)
class EndMark:
    """What stands behind the last block. `size` is its own."""

    n_bytes: int
    digest: bytes
    size: int


def content_hash() -> hashlib.blake2b:
    """A running hash of a frame's content; its digest stands in the end mark."""
    return hashlib.blake2b(digest_size=_DIGEST_BYTES)


def frame_header(block_log: int, dictionary_id: bytes = b"") -> bytes:
    """The bytes of a frame's header."""
    flags = _HAS_DICTIONARY if dictionary_id else 0
    head = MAGIC + bytes([VERSION, flags, block_log]) + dictionary_id
    return head + _crc32(head)


def end_mark(n_bytes: int, digest: bytes) -> bytes:
    """The bytes of a frame's end."""
    return bytes([_END]) + _varint(n_bytes) + digest


def stored_block(data: bytes | memoryview) -> bytes:
    """The bytes of a block whose content is stored as it is."""
    return bytes([_STORED]) + _varint(len(data)) + _crc32(data) + bytes(data)


def coded_block(block: Block, data: bytes | memoryview) -> bytes:
    """The bytes of a block, or of a stored one where coding `data` gained nothing."""
    codebook, escapes = pack(block.codebook), pack(block.escapes)
    streams = (block.payload, block.case, codebook, escapes)
    flags = (_IS_TEXT if block.is_text else 0) | (_IS_32_BIT if block.coder_bits == 32 else 0)
    numbers = (
        *(block.n_bytes, block.n_words, block.n_flags),
        *(len(block.codebook), len(block.escapes)),
        *map(len, streams),
    )
    head = bytes([_CODED, flags]) + b"".join(map(_varint, numbers)) + _crc32(data)
    if sum(map(len, streams)) >= len(data):
        return stored_block(data)
    return head + b"".join(streams)


def read_frame_header(data: bytes | bytearray) -> FrameHeader | None:
    """The header at the start of `data`, None where it is not all there yet."""
    known = min(len(data), len(MAGIC))
    if bytes(data[:known]) != MAGIC[:known]:
        raise DamagedError("this is not Quasicryth's format (it begins with 'QCY')")
    if len(data) < 6:
        return None
    version, flags, block_log = data[3], data[4], data[5]
    if version != VERSION:
        raise DamagedError(f"the format's version is {version}; this program reads {VERSION}")
    if flags & ~_HAS_DICTIONARY:
        raise DamagedError(f"the frame has flags that this program does not know: {flags}")
    end = 6 + (DICTIONARY_ID_BYTES if flags & _HAS_DICTIONARY else 0)
    if len(data) < end + _CRC_BYTES:
        return None
    if bytes(data[end : end + _CRC_BYTES]) != _crc32(bytes(data[:end])):
        raise DamagedError("the frame's header has a wrong checksum")
    if not MIN_BLOCK_LOG <= block_log <= MAX_BLOCK_LOG:
        raise DamagedError(f"a block size of 2^{block_log} is not one that this format has")
    return FrameHeader(block_log, bytes(data[6:end]), end + _CRC_BYTES)


def read_block_header(data: bytes | bytearray, frame: FrameHeader) -> BlockHeader | EndMark | None:
    """The header of the next block or the frame's end, None where it is not all there yet."""
    if not data:
        return None
    kind = data[0]
    if kind == _END:
        numbers = _read_varints(data, 1, 1)
        if numbers is None or len(data) < numbers[1] + _DIGEST_BYTES:
            return None
        (n_bytes,), place = numbers
        digest = bytes(data[place : place + _DIGEST_BYTES])
        return EndMark(n_bytes, digest, place + _DIGEST_BYTES)
    if kind == _STORED:
        numbers = _read_varints(data, 1, 1)
        if numbers is None or len(data) < numbers[1] + _CRC_BYTES:
            return None
        (n_bytes,), place = numbers
        if not 0 < n_bytes <= 1 << frame.block_log:
            raise DamagedError(f"a block of {n_bytes} bytes is beyond the frame's block size")
        crc32 = int.from_bytes(data[place : place + _CRC_BYTES], "little")
        return BlockHeader(
            False, False, 24, n_bytes, 0, 0, (0, 0), (n_bytes,), crc32, place + _CRC_BYTES
        )
    if kind != _CODED:
        raise DamagedError(f"there is no block of kind {kind}")
    if len(data) < 2:
        return None
    flags = data[1]
    numbers = _read_varints(data, 2, 9)
    if flags & ~(_IS_TEXT | _IS_32_BIT):
        raise DamagedError(f"the block has flags that this program does not know: {flags}")
    if numbers is None or len(data) < numbers[1] + _CRC_BYTES:
        return None
    (n_bytes, n_words, n_flags, codebook, escapes, *sizes), place = numbers
    header = BlockHeader(
        is_coded=True,
        is_text=bool(flags & _IS_TEXT),
        coder_bits=32 if flags & _IS_32_BIT else 24,
        n_bytes=n_bytes,
        n_words=n_words,
        n_flags=n_flags,
        unpacked=(codebook, escapes),
        sizes=tuple(sizes),
        crc32=int.from_bytes(data[place : place + _CRC_BYTES], "little"),
        size=place + _CRC_BYTES,
    )
    _check(header, frame)
    return header


def _check(header: BlockHeader, frame: FrameHeader) -> None:
    """Refuses numbers that no encoder writes, before anything is done on their word."""
    n = header.n_bytes
    if not 0 < n <= 1 << frame.block_log:
        raise DamagedError(f"a block of {n} bytes is beyond the frame's block size")
    if not 0 < header.n_words <= n or header.n_flags > n:
        raise DamagedError("the block declares more words than bytes")
    if sum(header.sizes) >= n:
        raise DamagedError("the block declares more compressed bytes than bytes")
    codebook, escapes = header.unpacked
    # An escaped word has a byte at least, and two for its length.
    if codebook > MAX_CODEBOOK or escapes > 3 * n:
        raise DamagedError("the block declares a codebook or escapes beyond their limit")
    if frame.dictionary_id and (codebook or header.sizes[2]):
        raise DamagedError("the block has a codebook beside the frame's dictionary")


def read_block(
    header: BlockHeader,
    body: bytes,
    books: Books | None,
    on_share: Callable[[float], None] = lambda share: None,
) -> bytes:
    """The content of a block whose streams are all in `body`; its checksum is verified.

    `on_share` is told what share of the block is decoded.
    """
    if not header.is_coded:
        data = body
    else:
        ends, place = [], 0
        for size in header.sizes:
            ends.append((place, place + size))
            place += size
        payload, case, codebook, escapes = (body[start:end] for start, end in ends)
        block = Block(
            n_bytes=header.n_bytes,
            n_words=header.n_words,
            n_flags=header.n_flags,
            is_text=header.is_text,
            coder_bits=header.coder_bits,
            payload=payload,
            case=case,
            codebook=unpack(codebook, header.unpacked[0]),
            escapes=unpack(escapes, header.unpacked[1]),
        )
        data = decompress_block(block, books, on_share)
    if zlib.crc32(data) != header.crc32:
        raise DamagedError("a block's content has a wrong checksum")
    return data


def pack(raw: bytes) -> bytes:
    """A stream under LZMA2, preset 9 extreme, without the container of .xz; nothing for nothing."""
    if not raw:
        return b""
    return lzma.compress(raw, format=lzma.FORMAT_RAW, filters=lzma2_filters(len(raw)))


def unpack(packed: bytes, size: int) -> bytes:
    """The stream of `size` bytes that `pack` packed; raises DamagedError."""
    if size == 0 or not packed:
        if size or packed:
            raise DamagedError("a packed stream has another size than declared")
        return b""
    decoder = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=lzma2_filters(size))
    try:
        raw = decoder.decompress(packed, max_length=size)
        # The end mark may still be unread.
        more = b"" if decoder.eof else decoder.decompress(b"", max_length=1)
    except (lzma.LZMAError, EOFError) as error:
        raise DamagedError(f"a packed stream is damaged: {error}") from error
    if len(raw) != size or more or not decoder.eof or decoder.unused_data:
        raise DamagedError("a packed stream has another size than declared")
    return raw


def lzma2_filters(size: int) -> list[dict[str, int]]:
    """LZMA2, preset 9 extreme, with no larger window than a stream of that size can use."""
    # A window larger than the stream costs memory and gains nothing.
    window = min(max(size, 4_096), 64 << 20)
    return [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": window}]


def _crc32(data: bytes | memoryview) -> bytes:
    return zlib.crc32(data).to_bytes(_CRC_BYTES, "little")


def _varint(number: int) -> bytes:
    out = bytearray()
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _read_varints(
    data: bytes | bytearray, place: int, n: int
) -> tuple[tuple[int, ...], int] | None:
    """The next `n` numbers and where they end; None where they are not all there yet."""
    numbers = []
    for _ in range(n):
        number, shift = 0, 0
        while True:
            if place >= len(data):
                return None
            byte = data[place]
            place += 1
            number |= (byte & 127) << shift
            if byte < 128:
                break
            shift += 7
            if shift >= 7 * _MAX_VARINT_BYTES:
                raise DamagedError("a number of the block's header has no end")
        # One way only to write a number, so that equal content has equal bytes.
        if byte == 0 and shift:
            raise DamagedError("a number of the block's header is written too long")
        numbers.append(number)
    return tuple(numbers), place
