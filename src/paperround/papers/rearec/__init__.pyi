from .losses import (
    RecipeOptions,
    ensemble_reasoning_loss,
    objective_of,
    progressive_reasoning_loss,
    step_divergence,
    temperatures,
)
from .method import (
    AtStep,
    LatentReasoning,
    Reading,
    reason_with_cache,
)
from .profile import (
    dropout_ranks,
    mean_step_cosine,
    oracle_ceiling,
    step_profile,
    step_ranks,
)

__all__ = [
    "AtStep",
    "LatentReasoning",
    "Reading",
    "RecipeOptions",
    "dropout_ranks",
    "ensemble_reasoning_loss",
    "mean_step_cosine",
    "objective_of",
    "oracle_ceiling",
    "progressive_reasoning_loss",
    "reason_with_cache",
    "step_divergence",
    "step_profile",
    "step_ranks",
    "temperatures",
]
