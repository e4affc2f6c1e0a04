"""Quasicryth: a lossless text compressor whose phrases are found on Fibonacci tilings.

Words and phrases of 2, 3, 5, ..., 144 words get codebooks; a tiling of the word positions by the
golden ratio says where a long phrase may be looked up; what is found is coded with adaptive
models. Use it to study structured dictionaries, tilings and parses, bit by bit, or where text is
written once and read often. For the smallest file take PPMd or xz, which beat it on ordinary text;
it is not for binary data.

    from paperround.papers import quasicryth

    text = b"the cat sat on the mat. " * 500
    packed = quasicryth.compress(text)
    assert quasicryth.decompress(packed) == text

On a command line: `paperround quasicryth FILE`, and back: `paperround quasicryth -d FILE.qcy`.

Roberto Tacconelli: Aperiodic Structures Never Collapse: Fibonacci Hierarchies for Lossless
Compression. arXiv:2603.14999, 2026.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "compress": "codec",
    "decompress": "codec",
    "open": "codec",
    "Compressor": "codec",
    "Decompressor": "codec",
    "CompressionStream": "codec",
    "DecompressionStream": "codec",
    "Dictionary": "dictionary",
    "train_dictionary": "codec",
    "DamagedError": "errors",
    "Method": "blocks",
    "METHODS": "blocks",
    "Tiling": "tilings",
    "PeriodicTiling": "tilings",
    "AutomaticTiling": "tilings",
    "GOLDEN": "tilings",
    "MULTI": "tilings",
    "PERIOD_5": "tilings",
    "Level": "tilings",
    "tile": "tilings",
    "deflate": "tilings",
    "hierarchy": "tilings",
    "positions": "tilings",
    "collapse_level": "tilings",
    "expected_positions": "tilings",
    "analyse": "analysis",
    "Analysis": "analysis",
    "read_qm56": "qm56",
    "write_qm56": "qm56",
}

__all__ = [  # noqa: RUF022  (in the order in which one meets them)
    "compress",
    "decompress",
    "open",
    "Compressor",
    "Decompressor",
    "CompressionStream",
    "DecompressionStream",
    "Dictionary",
    "train_dictionary",
    "DamagedError",
    "Method",
    "METHODS",
    "Tiling",
    "PeriodicTiling",
    "AutomaticTiling",
    "GOLDEN",
    "MULTI",
    "PERIOD_5",
    "Level",
    "tile",
    "deflate",
    "hierarchy",
    "positions",
    "collapse_level",
    "expected_positions",
    "analyse",
    "Analysis",
    "read_qm56",
    "write_qm56",
]


# Lazy, so that listing papers imports neither numba nor numpy.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
