from .attributes import (
    Anything,
    Labelled,
    Length,
    NonDegenerate,
)
from .conditional_search import (
    AttributeLogitsProcessor,
    conditional_beam_search,
)
from .dynamic_evaluation import (
    DynamicEvaluation,
)
from .exact_search import (
    exact_mode,
)
from .hidden_states import (
    HiddenStateOptimizer,
)
from .markov import (
    MarkovLengths,
    MarkovLM,
)
from .prefix_classifier import (
    fit_label_classifier,
    fit_length_classifier,
    sample_continuations,
)
from .recurrence import (
    WindowRecurrence,
)
from .sundae import (
    SpecialTokens,
    SundaeSeq2Seq,
)
from .sundae_training import (
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
