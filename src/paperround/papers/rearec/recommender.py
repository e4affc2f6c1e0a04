"""ReaRec for `paperround recommend --model rearec` and `Recommender("rearec")`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import BERT4Rec, SASRec
from paperround.kit.recommendation.kinds import TRAINING_OPTIONS, train
from paperround.kit.recommendation.models import ModelKind
from paperround.kit.recommendation.training import FitTask, TrainingResult
from paperround.papers.rearec.losses import RECIPES, RecipeOptions, objective_of
from paperround.papers.rearec.method import LatentReasoning

Backbone = Literal["sasrec", "bidirectional", "bert4rec"]
BACKBONES: tuple[Backbone, ...] = ("sasrec", "bidirectional", "bert4rec")

_ENCODER: Mapping[str, Any] = {
    "d_model": 64,
    "n_layers": 2,
    "n_heads": 2,
    "d_inner": None,
    "max_len": 50,
    "dropout": 0.3,
}
_LOSS = {field.name: field.default for field in fields(RecipeOptions)}
_OPTIONS: Mapping[str, Any] = {
    "recipe": "erl",
    "backbone": "sasrec",
    "num_steps": 2,
    "step_dropout": 0.2,
    **_ENCODER,
    **TRAINING_OPTIONS,
    **_LOSS,
}


def encoder_of(backbone: Backbone, n_items: int, **options: Any) -> SASRec | BERT4Rec:
    """An untrained backbone: SASRec, the same seeing all its history, or BERT4Rec with its mask."""
    if backbone not in BACKBONES:
        raise UsageError(f"no backbone '{backbone}'; there are {', '.join(BACKBONES)}")
    if backbone == "bert4rec":
        return BERT4Rec(n_items, **options)
    return SASRec(n_items, causal=backbone == "sasrec", **options)


def build(n_items: int, options: Mapping[str, Any]) -> LatentReasoning:
    """An untrained model, with the pooling and the embeddings that its recipe wants."""
    if options["recipe"] not in RECIPES:
        raise UsageError(f"no recipe '{options['recipe']}'; there are {', '.join(RECIPES)}")
    return LatentReasoning(
        encoder_of(options["backbone"], n_items, **{name: options[name] for name in _ENCODER}),
        options["num_steps"],
        pool="mean" if options["recipe"] == "erl" else "last",
        step_embeddings=options["recipe"] != "naive",
        step_dropout=options["step_dropout"],
    )


def fit(model: LatentReasoning, task: FitTask) -> TrainingResult:
    """Trains it: all positions at once where the encoder is causal, else prefix by prefix."""
    chosen = RecipeOptions(**{name: task.options[name] for name in _LOSS})
    objective = objective_of(task.options["recipe"], chosen)
    if model.causal:
        return train(model, task, objective)
    return train(model, task, objective, mode="prefix", shift=False)


RECOMMENDERS: Mapping[str, ModelKind] = {
    "rearec": ModelKind(
        "rearec",
        "SASRec or BERT4Rec that reasons some steps before it scores",
        build,
        fit,
        _OPTIONS,
    )
}
