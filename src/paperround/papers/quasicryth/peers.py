"""The compressors that a user would take otherwise, each at its strongest setting for text."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import brotli
import pyppmd
import zstandard


@dataclass(frozen=True)
class Peer:
    """A compressor: its name with the setting, and its two functions."""

    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes], bytes]


def _zstd(data: bytes) -> bytes:
    # A window as large as the content, as `--long` gives on the command line.
    parameters = zstandard.ZstdCompressionParameters.from_level(
        22, source_size=len(data), window_log=27, enable_ldm=True
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def _unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor(max_window_size=1 << 27).decompress(data)


def _brotli(data: bytes) -> bytes:
    return brotli.compress(data, mode=brotli.MODE_TEXT, quality=11, lgwin=24)


# Variant I as zip has it, with memory enough for these texts; of variant H the package's decoder
# loses the end of some texts (3.2 MB of Python give 228 kB back).
_PPMD = {
    "max_order": 8,
    "mem_size": 64 << 20,
    "restore_method": pyppmd.PPMD8_RESTORE_METHOD_RESTART,
}


def _ppmd(data: bytes) -> bytes:
    encoder = pyppmd.Ppmd8Encoder(**_PPMD)
    return len(data).to_bytes(8, "little") + encoder.encode(data) + encoder.flush()


def _unppmd(data: bytes) -> bytes:
    size = int.from_bytes(data[:8], "little")
    decoder = pyppmd.Ppmd8Decoder(**_PPMD)
    return decoder.decode(data[8:], size)


PEERS = (
    Peer("gzip -9", lambda data: zlib.compress(data, 9), zlib.decompress),
    Peer("bzip2 -9", lambda data: bz2.compress(data, 9), bz2.decompress),
    Peer(
        "xz -9e",
        lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
        lzma.decompress,
    ),
    Peer("zstd -22 --long", _zstd, _unzstd),
    Peer("brotli -11", _brotli, brotli.decompress),
    Peer("PPMd, order 8", _ppmd, _unppmd),
)
