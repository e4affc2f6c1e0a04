"""FReTNA: live translation that edits what it showed, in parallel, instead of saying it again.

A subtitle that may be rewritten can be translated anew at every word of its source. With an
autoregressive decoder each update takes longer the longer the sentence is; here a Levenshtein
Transformer starts from the shown translation and deletes, inserts and fills everywhere at once, so
an update takes a few passes of the decoder whatever the length. Use it where updates must come at
a steady pace and some quality may go. Where quality comes first, use the kind "speculative" of the
same class: plain re-translation, token by token the same, with the former translation as a draft
that one pass verifies. It needs no special model.

    from paperround.papers.fretna import Retranslator

    live = Retranslator(model, tokenizer, "levt", refinements=2)
    for shown in live.stream("a man sleeps on a bench .".split()):
        print(shown.text, shown.edits)

`LevenshteinTransformer` and `train_levt` are the model and its training, `greedy_decode` and
`WaitK` the other arms, `average_lagging`, `normalized_erasure` and `normalized_click_n_edit` what
is measured of a stream.

Han, Indurthi, Zaidi, Lakumarapu, Lee, Kim, Kim, Hwang: Faster Re-translation Using
Non-Autoregressive Model For Simultaneous Neural Machine Translation, arXiv 2012.14681, 2020.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paperround.papers.fretna.autoregressive import Decoded, greedy_decode
    from paperround.papers.fretna.levt import LevenshteinConfig, LevenshteinTransformer
    from paperround.papers.fretna.levt_training import build_levt, levt_losses, train_levt
    from paperround.papers.fretna.metrics import (
        average_lagging,
        clicks_and_edits,
        normalized_click_n_edit,
        normalized_erasure,
    )
    from paperround.papers.fretna.oracle import deletion_labels, insertion_labels
    from paperround.papers.fretna.refinement import Refined, refine
    from paperround.papers.fretna.streaming import (
        Edit,
        Retranslator,
        Shown,
        Stream,
        stream_all,
    )
    from paperround.papers.fretna.wait_k import WaitK, train_wait_k

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

_MODULES = {
    "autoregressive": ("Decoded", "greedy_decode"),
    "levt": ("LevenshteinConfig", "LevenshteinTransformer"),
    "levt_training": ("build_levt", "levt_losses", "train_levt"),
    "metrics": (
        "average_lagging",
        "clicks_and_edits",
        "normalized_click_n_edit",
        "normalized_erasure",
    ),
    "oracle": ("deletion_labels", "insertion_labels"),
    "refinement": ("Refined", "refine"),
    "streaming": ("Edit", "Retranslator", "Shown", "Stream", "stream_all"),
    "wait_k": ("WaitK", "train_wait_k"),
}


def __getattr__(name: str) -> Any:
    # Importing the room must not import torch: the web process lists every room.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
