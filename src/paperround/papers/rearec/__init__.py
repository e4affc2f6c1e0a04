"""ReaRec: a sequential recommender that reasons K latent steps before it scores.

The last hidden state of a user's history is fed back as one more token, K times, through the same
weights; training keeps the steps apart (ERL) or sharpens them one after the other (PRL). Use it to
give a SASRec or BERT4Rec more depth at inference without more layers; a step costs one token.
Expect little where users and items have plenty of data: the paper's gains are at sparse users and
rare items, and heavy users lose with more steps. Tune the baseline's temperature and dropout first.

    from paperround.kit.recommendation import Recommender

    events = [(f"user {n % 9}", f"item {(n % 9 + n // 9) % 7}") for n in range(90)]
    recommender = Recommender("rearec", recipe="erl", epochs=3, d_model=16).fit(events)
    print(recommender.recommend(["user 1", ["item 4", "item 5"]], k=3, exclude_seen=False))

Around an encoder of your own: `LatentReasoning(SASRec(n_items), num_steps=2)`, trained by the kit's
Trainer with `objective_of("erl")`. Over a transformers decoder: `reason_with_cache`. In a shell:
`paperround recommend evaluate events.csv --model rearec --set recipe=prl --set backbone=bert4rec`.

Tang, Dai, Shi, Xu, Chen, Chen, Wu, Jiang: Think Before Recommend: Unleashing the Latent Reasoning
Power for Sequential Recommendation. arXiv:2503.22675, 2025.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "AtStep": "method",
    "LatentReasoning": "method",
    "Reading": "method",
    "RecipeOptions": "losses",
    "dropout_ranks": "profile",
    "ensemble_reasoning_loss": "losses",
    "mean_step_cosine": "profile",
    "objective_of": "losses",
    "oracle_ceiling": "profile",
    "progressive_reasoning_loss": "losses",
    "reason_with_cache": "method",
    "step_divergence": "losses",
    "step_profile": "profile",
    "step_ranks": "profile",
    "temperatures": "losses",
}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
