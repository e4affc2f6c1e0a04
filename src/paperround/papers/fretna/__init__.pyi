from .autoregressive import (
    Decoded,
    greedy_decode,
)
from .levt import (
    LevenshteinConfig,
    LevenshteinTransformer,
)
from .levt_training import (
    build_levt,
    levt_losses,
    train_levt,
)
from .metrics import (
    average_lagging,
    clicks_and_edits,
    normalized_click_n_edit,
    normalized_erasure,
)
from .oracle import (
    deletion_labels,
    insertion_labels,
)
from .refinement import (
    Refined,
    refine,
)
from .streaming import (
    Edit,
    Retranslator,
    Shown,
    Stream,
    stream_all,
)
from .wait_k import (
    WaitK,
    train_wait_k,
)

__all__ = [
    "Decoded",
    "Edit",
    "LevenshteinConfig",
    "LevenshteinTransformer",
    "Refined",
    "Retranslator",
    "Shown",
    "Stream",
    "WaitK",
    "average_lagging",
    "build_levt",
    "clicks_and_edits",
    "deletion_labels",
    "greedy_decode",
    "insertion_labels",
    "levt_losses",
    "normalized_click_n_edit",
    "normalized_erasure",
    "refine",
    "stream_all",
    "train_levt",
    "train_wait_k",
]
