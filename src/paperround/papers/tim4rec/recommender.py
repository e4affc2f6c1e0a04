"""TiM4Rec for `paperround recommend --model tim4rec` and `Recommender("tim4rec")`."""

from collections.abc import Mapping
from typing import Any

from paperround.kit.recommendation.kinds import LOSS_OPTIONS, TRAINING_OPTIONS, train
from paperround.kit.recommendation.models import ModelKind
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.training import FitTask, TrainingResult
from paperround.papers.tim4rec.method import TimeAwareSSDRecommender

_ENCODER: Mapping[str, Any] = {
    "d_model": 64,
    "n_layers": 2,
    "d_state": 32,
    "d_conv": 4,
    "expand": 2,
    "head_dim": 32,
    "max_len": 50,
    "dropout": 0.4,
    "time_dropout": 0.0,
    "variant": "causal",
    "is_time": True,
    "p2p": True,
    "ffn": True,
}
_OPTIONS: Mapping[str, Any] = {**_ENCODER, **TRAINING_OPTIONS, **LOSS_OPTIONS}


def build(n_items: int, options: Mapping[str, Any]) -> TimeAwareSSDRecommender:
    """An untrained model."""
    return TimeAwareSSDRecommender(n_items, **{name: options[name] for name in _ENCODER})


def fit(model: TimeAwareSSDRecommender, task: FitTask) -> TrainingResult:
    """Trains it: all positions at once, or prefix by prefix where the time branch sees the row."""
    objective = next_items(**{name: task.options[name] for name in LOSS_OPTIONS})
    if model.causal:
        return train(model, task, objective)
    return train(model, task, objective, mode="prefix", shift=False)


RECOMMENDERS: Mapping[str, ModelKind] = {
    "tim4rec": ModelKind(
        "tim4rec",
        "a state-space model whose memory fades by the time between events",
        build,
        fit,
        _OPTIONS,
    )
}
