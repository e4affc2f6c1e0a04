from .analysis import (
    Analysis,
    analyse,
)
from .blocks import (
    METHODS,
    Method,
)
from .codec import (
    CompressionStream,
    Compressor,
    DecompressionStream,
    Decompressor,
    compress,
    decompress,
    open,
    train_dictionary,
)
from .dictionary import Dictionary
from .errors import DamagedError
from .qm56 import (
    read_qm56,
    write_qm56,
)
from .tilings import (
    GOLDEN,
    MULTI,
    PERIOD_5,
    AutomaticTiling,
    Level,
    PeriodicTiling,
    Tiling,
    collapse_level,
    deflate,
    expected_positions,
    hierarchy,
    positions,
    tile,
)

__all__ = [
    "GOLDEN",
    "METHODS",
    "MULTI",
    "PERIOD_5",
    "Analysis",
    "AutomaticTiling",
    "CompressionStream",
    "Compressor",
    "DamagedError",
    "DecompressionStream",
    "Decompressor",
    "Dictionary",
    "Level",
    "Method",
    "PeriodicTiling",
    "Tiling",
    "analyse",
    "collapse_level",
    "compress",
    "decompress",
    "deflate",
    "expected_positions",
    "hierarchy",
    "open",
    "positions",
    "read_qm56",
    "tile",
    "train_dictionary",
    "write_qm56",
]
