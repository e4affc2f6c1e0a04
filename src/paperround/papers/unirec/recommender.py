"""UniRec for `paperround recommend --model unirec` and `Recommender("unirec")`."""

from collections.abc import Mapping
from typing import Any

import torch

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.interactions import InteractionLog
from paperround.kit.recommendation.kinds import TRAINING_OPTIONS, train
from paperround.kit.recommendation.models import AbstractSequenceEncoder, ModelKind
from paperround.kit.recommendation.objectives import Objective, next_items
from paperround.kit.recommendation.training import FitTask, TrainingResult
from paperround.papers.unirec.admix import AdmixEncoder, admix_bce
from paperround.papers.unirec.enhancements import (
    HEAD_WEIGHT,
    SEQUENCE_WEIGHT,
    TAIL_WEIGHT,
    Curriculum,
    ItemFrequencyLoss,
    KeepFrequent,
    SequenceUniformityLoss,
    UniRec,
)
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.timed import Context, TimeAware
from paperround.papers.unirec.uniformity import frequency_split, rarity, uniformity_split

_TIMES: Mapping[str, tuple[Context, ...]] = {
    "none": (),
    "interval": ("interval",),
    "calendar": ("calendar",),
    "both": ("calendar", "interval"),
}
_ENCODER = {"d_model": 64, "n_layers": 2, "n_heads": 2, "max_len": 50, "dropout": 0.3}
# `sequence` and `items` switch the enhancements; `time` says which contexts the encoder has;
# `curriculum_epochs` how many epochs the curricula stretch over (the paper: 220).
_OPTIONS: Mapping[str, Any] = {
    **_ENCODER,
    "backbone": "sasrec",
    "loss": "ce",
    "time": "both",
    "sequence": True,
    "items": True,
    "uniform_share": 0.6,
    "uniform_by": "gap_variance",
    "head_share": 0.3,
    "frequency_by": "count",
    "sequence_weight": SEQUENCE_WEIGHT,
    "head_weight": HEAD_WEIGHT,
    "tail_weight": TAIL_WEIGHT,
    "curriculum_epochs": 60,
    **TRAINING_OPTIONS,
}


def build(n_items: int, options: Mapping[str, Any]) -> AbstractSequenceEncoder:
    """An untrained encoder: SASRec with the chosen contexts, or the paper's own backbone."""
    contexts = _TIMES.get(options["time"])
    if contexts is None:
        raise UsageError(f"time is one of {', '.join(_TIMES)}, not '{options['time']}'")
    if options["loss"] not in ("ce", "bce"):
        raise UsageError(f"loss is ce or bce, not '{options['loss']}'")
    sizes = {name: options[name] for name in _ENCODER}
    if options["backbone"] == "admix":
        if "interval" not in contexts:
            raise UsageError("the admix backbone has intervals; say time=interval or time=both")
        return AdmixEncoder(n_items, calendar="calendar" in contexts, **sizes)
    if options["backbone"] != "sasrec":
        raise UsageError(f"no backbone '{options['backbone']}'; there are sasrec, admix")
    encoder = SASRec(n_items, **sizes)
    return TimeAware(encoder, contexts) if contexts else encoder


def fit(model: AbstractSequenceEncoder, task: FitTask) -> TrainingResult:
    """Trains the encoder with the chosen losses, which stay out of what is kept."""
    options = task.options
    if "calendar" in _TIMES[options["time"]] and not task.train.time_is_absolute:
        raise UsageError("these times are gaps without dates; say time=interval")
    if options["sequence"] and task.train.time is None:
        raise UsageError(
            "the sequence enhancement needs the times of events; say time=COLUMN, or switch it off "
            "with sequence=false and time=none"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        enhanced = enhance(model, task.train, options)
    objective: Objective
    if options["loss"] == "ce":
        objective = next_items()
    elif options["backbone"] == "admix":
        paper = admix_bce()

        def objective(encoder: Any, batch: Any, generator: Any) -> Any:
            return paper(model, batch, generator)
    else:
        objective = next_items("bce")
    return train(enhanced, task, objective, aux_losses=enhanced.aux_losses())


def enhance(
    model: AbstractSequenceEncoder, log: InteractionLog, options: Mapping[str, Any]
) -> UniRec:
    """The encoder with the losses that the options choose; their tables are of this log alone."""
    curriculum = Curriculum(options["curriculum_epochs"])
    head = frequency_split(log, options["head_share"], options["frequency_by"])
    sequence = items = None
    if options["sequence"]:
        uniform = uniformity_split(log, options["uniform_share"], options["uniform_by"])
        sequence = SequenceUniformityLoss(
            model.d_model, uniform, KeepFrequent(head), curriculum=curriculum
        )
    if options["items"]:
        by = options["frequency_by"]
        items = ItemFrequencyLoss(
            model.d_model,
            ItemNeighbours.fit(log, by=by),
            head,
            rarity(log, by),
            curriculum=curriculum,
        )
    return UniRec(
        model,
        sequence,
        items,
        **{name: options[name] for name in ("sequence_weight", "head_weight", "tail_weight")},
    )


RECOMMENDERS: Mapping[str, ModelKind] = {
    "unirec": ModelKind(
        "unirec",
        "SASRec with times, trained to know irregular users and rare items",
        build,
        fit,
        _OPTIONS,
    )
}
