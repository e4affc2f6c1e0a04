"""Four ways to get more out of a pretrained transformer than it was trained for.

`WindowRecurrence` gives a decoder that reads in short windows a small memory from one window to
the next: use it where the computation or the memory for a longer context is not to be had, and some
text to train the memory on is. `HiddenStateOptimizer` takes gradient steps on the cached states of
what was read, and leaves the weights alone: use it on long texts unlike those that the model was
trained on, where twice the computation buys a little loss; `DynamicEvaluation`, its peer, moves
weights instead. A modern model with a context of thousands of tokens needs neither below that
length. `SundaeSeq2Seq` makes a translator that writes all words at once out of masked language
models: where a decoder from left to right is too slow, or there is none for a language.
`conditional_beam_search` finds the likeliest output that has an attribute, as a length or not being
degenerate, where beam search returns empty or looping texts; `exact_mode` finds the likeliest
output there is, for short outputs of small models, to see what a model really prefers.

    from paperround.papers.making_the_most import HiddenStateOptimizer

    losses = HiddenStateOptimizer(model, lr=3e-3).score(ids)    # nats, (rows, tokens - 1)

Yoshida: Making the Most of your Model: Methods for Finetuning and Applying Pretrained Transformers,
arXiv 2408.16241, 2024 (thesis, 2023); its parts are arXiv 2008.07027, 2112.08653 and 2311.08817.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paperround.papers.making_the_most.attributes import (
        Anything,
        Labelled,
        Length,
        NonDegenerate,
    )
    from paperround.papers.making_the_most.conditional_search import (
        AttributeLogitsProcessor,
        conditional_beam_search,
    )
    from paperround.papers.making_the_most.dynamic_evaluation import DynamicEvaluation
    from paperround.papers.making_the_most.exact_search import exact_mode
    from paperround.papers.making_the_most.hidden_states import HiddenStateOptimizer
    from paperround.papers.making_the_most.markov import MarkovLengths, MarkovLM
    from paperround.papers.making_the_most.prefix_classifier import (
        fit_label_classifier,
        fit_length_classifier,
        sample_continuations,
    )
    from paperround.papers.making_the_most.recurrence import WindowRecurrence
    from paperround.papers.making_the_most.sundae import SpecialTokens, SundaeSeq2Seq
    from paperround.papers.making_the_most.sundae_training import (
        SundaePlan,
        sundae_loss,
        train_sundae,
    )

__all__ = [
    "Anything",
    "AttributeLogitsProcessor",
    "DynamicEvaluation",
    "HiddenStateOptimizer",
    "Labelled",
    "Length",
    "MarkovLM",
    "MarkovLengths",
    "NonDegenerate",
    "SpecialTokens",
    "SundaePlan",
    "SundaeSeq2Seq",
    "WindowRecurrence",
    "conditional_beam_search",
    "exact_mode",
    "fit_label_classifier",
    "fit_length_classifier",
    "sample_continuations",
    "sundae_loss",
    "train_sundae",
]

_MODULES = {
    "attributes": ("Anything", "Labelled", "Length", "NonDegenerate"),
    "conditional_search": ("AttributeLogitsProcessor", "conditional_beam_search"),
    "dynamic_evaluation": ("DynamicEvaluation",),
    "exact_search": ("exact_mode",),
    "hidden_states": ("HiddenStateOptimizer",),
    "markov": ("MarkovLM", "MarkovLengths"),
    "prefix_classifier": (
        "fit_label_classifier",
        "fit_length_classifier",
        "sample_continuations",
    ),
    "recurrence": ("WindowRecurrence",),
    "sundae": ("SpecialTokens", "SundaeSeq2Seq"),
    "sundae_training": ("SundaePlan", "sundae_loss", "train_sundae"),
}


def __getattr__(name: str) -> Any:
    # Importing the room must not import torch: the web process lists every room.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
