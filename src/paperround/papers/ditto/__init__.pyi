from .baselines import (
    contrastive_search,
    scale_grad_loss,
    unlikelihood_sequence_loss,
    unlikelihood_token_loss,
)
from .method import (
    PseudoBatch,
    build_pseudo_repetition,
    ditto_loss,
    end_token_ids,
)
from .metrics import (
    Loop,
    Repetition,
    longest_loop,
    rep_n,
    rep_sen,
    repetition_metrics,
)
from .reinforcement import (
    Reinforcement,
    self_reinforcement,
)
from .trainer import (
    DittoDataCollator,
    DittoMixin,
    DittoTrainer,
)

__all__ = [
    "DittoDataCollator",
    "DittoMixin",
    "DittoTrainer",
    "Loop",
    "PseudoBatch",
    "Reinforcement",
    "Repetition",
    "build_pseudo_repetition",
    "contrastive_search",
    "ditto_loss",
    "end_token_ids",
    "longest_loop",
    "rep_n",
    "rep_sen",
    "repetition_metrics",
    "scale_grad_loss",
    "self_reinforcement",
    "unlikelihood_sequence_loss",
    "unlikelihood_token_loss",
]
