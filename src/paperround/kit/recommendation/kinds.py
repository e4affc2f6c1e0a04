"""The models of this folder by name, with their options. A room offers its own the same way."""

from collections.abc import Callable, Mapping
from typing import Any

from paperround.errors import UsageError
from paperround.kit.recommendation import counting, encoders
from paperround.kit.recommendation.models import AbstractSequenceEncoder, ModelKind
from paperround.kit.recommendation.objectives import Objective, masked_items, next_items
from paperround.kit.recommendation.samples import Mode, SequenceDataset
from paperround.kit.recommendation.training import FitTask, Trainer, TrainingPlan, TrainingResult

# Options of every model that is trained; what they mean stands at TrainingPlan and next_items.
TRAINING_OPTIONS: Mapping[str, Any] = {
    "epochs": 200,
    "patience": 15,
    "batch_size": 128,
    "learning_rate": 1e-3,
    "final_share": 1.0,
    "weight_decay": 0.0,
    "metric": "ndcg@10",
    "max_valid_cases": 10_000,
    "seconds": None,
}
LOSS_OPTIONS: Mapping[str, Any] = {
    "loss": "ce",
    "temperature": 1.0,
    "negatives": 256,
    "calibration": 0.75,
}


def train(
    encoder: AbstractSequenceEncoder,
    task: FitTask,
    objective: Objective,
    *,
    mode: Mode = "windows",
    shift: bool = True,
    **trainer_options: Any,
) -> TrainingResult:
    """Trains an encoder as the task's TRAINING_OPTIONS say: what a kind's `fit` usually calls."""
    options = task.options
    plan = TrainingPlan(**{name: options[name] for name in TRAINING_OPTIONS if name in options})
    for name in ("epochs", "patience", "batch_size"):
        if options.get(name, 1) < 1:
            raise UsageError(f"{name} must be at least 1, not {options[name]}")
    data = SequenceDataset(task.train, mode, encoder.max_len, pad=encoder.padding, shift=shift)
    return Trainer(
        encoder,
        data,
        task.valid,
        objective,
        plan,
        seed=task.seed,
        checkpoint=task.checkpoint,
        on_progress=task.on_progress,
        **trainer_options,
    ).fit()


def trained_kind(
    name: str,
    about: str,
    encoder: Callable[..., AbstractSequenceEncoder],
    encoder_options: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    objective: Callable[[Mapping[str, Any]], Objective] | None = None,
) -> ModelKind:
    """A kind whose encoder is built from `encoder_options` and trained as `train` does it.

    `training` replaces defaults of TRAINING_OPTIONS and LOSS_OPTIONS; `objective` makes the loss
    from the options, the next items' by default.
    """
    # How rows are cut: SequenceDataset's modes, of which other objectives want one of their own.
    losses = {**LOSS_OPTIONS, "mode": "windows"} if objective is None else {}
    defaults = {**encoder_options, **TRAINING_OPTIONS, **losses, **(training or {})}

    def build(n_items: int, options: Mapping[str, Any]) -> AbstractSequenceEncoder:
        return encoder(n_items, **{name: options[name] for name in encoder_options})

    def fit(model: AbstractSequenceEncoder, task: FitTask) -> TrainingResult:
        made = (objective or _next_items)(task.options)
        return train(model, task, made, mode=task.options.get("mode", "windows"))

    return ModelKind(name, about, build, fit, defaults)


def counted_kind(name: str, about: str, model: Callable[..., Any], **options: Any) -> ModelKind:
    """A kind that counts; `options` are its arguments with their defaults."""

    def build(n_items: int, chosen: Mapping[str, Any]) -> Any:
        return model(n_items, **chosen)

    def fit(counting_model: Any, task: FitTask) -> None:
        counting_model.fit(task.train)

    return ModelKind(name, about, build, fit, options)


def _next_items(options: Mapping[str, Any]) -> Objective:
    return next_items(**{name: options[name] for name in LOSS_OPTIONS})


_TRANSFORMER: Mapping[str, Any] = {"d_model": 64, "n_layers": 2, "n_heads": 2, "max_len": 50}

BUILT_IN: Mapping[str, ModelKind] = {
    kind.name: kind
    for kind in (
        trained_kind(
            "sasrec",
            "self-attention over the history, full softmax: the strong baseline",
            encoders.SASRec,
            {**_TRANSFORMER, "d_inner": None, "dropout": 0.3},
        ),
        trained_kind(
            "sasrec-original",
            "SASRec as its authors trained it: one sampled negative",
            encoders.OriginalSASRec,
            {**_TRANSFORMER, "d_model": 50, "n_heads": 1, "dropout": 0.3},
            {"loss": "bce", "negatives": 1},
        ),
        trained_kind(
            "gru4rec",
            "a recurrent network over the history, full softmax",
            encoders.GRU4Rec,
            {"d_model": 64, "d_hidden": 128, "n_layers": 1, "max_len": 50, "dropout": 0.3},
        ),
        trained_kind(
            "bert4rec",
            "guesses hidden items from both sides; slow to train",
            encoders.BERT4Rec,
            {**_TRANSFORMER, "d_inner": None, "dropout": 0.2},
            {"epochs": 500, "patience": 30, "mask_ratio": 0.2, "last_only_ratio": 0.5},
            lambda options: masked_items(options["mask_ratio"], options["last_only_ratio"]),
        ),
        counted_kind("popularity", "what most users take", counting.Popularity),
        counted_kind("markov-1", "what followed the last item", counting.Markov, order=1),
        counted_kind("markov-3", "what followed the last three", counting.Markov, order=3),
        counted_kind(
            "item-knn",
            "what users of the last 20 items took too",
            counting.ItemKNN,
            shrinkage=20.0,
            decay=0.8,
            neighbours=None,
        ),
    )
}
