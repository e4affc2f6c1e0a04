"""The models that are compared, and how each is trained: the same for all of a seed.

All see the same batches and are chosen by the same validation cases; SSD4Rec*, TiM4Rec and its
control begin with the same weights in all parts that they share. The control is TiM4Rec with every
user's gaps shuffled: the same branch and parameters, and gaps that say nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import GRU4Rec, SASRec
from paperround.kit.recommendation.evaluation import Evaluation, evaluate
from paperround.kit.recommendation.interactions import InteractionLog
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import Split
from paperround.kit.recommendation.training import (
    Progress,
    Trainer,
    TrainingPlan,
    TrainingResult,
)
from paperround.papers.tim4rec.baselines import DAY_S, GapBucketSASRec, GapBucketSSD
from paperround.papers.tim4rec.method import TimeAwareSSDRecommender
from paperround.runs.reproduction import Stage

METRIC = "ndcg@10"
MAX_LEN = 50
# One chunk for a window of 50: on a processor the fastest, and the same numbers.
CHUNK = 64
SSD, OURS, PAPER, CONTROL = (
    "SSD4Rec*",
    "TiM4Rec",
    "TiM4Rec, paper's branch",
    "TiM4Rec, gaps shuffled",
)
BUCKETS, SASREC, SASREC_BUCKETS, GRU = "SSD4Rec* + buckets", "SASRec", "SASRec + buckets", "GRU4Rec"


@dataclass(frozen=True)
class Plan:
    """Sizes of training on one data set: of each user the `newest` events; `alone` are models that
    only the first seed trains.
    """

    name: str
    newest: int
    d_model: int
    n_layers: int
    dropout: float
    batch_size: int
    learning_rate: float
    epochs: int
    patience: int
    bucket_unit_s: float
    models: tuple[str, ...]
    alone: tuple[str, ...] = ()


QUICK = Plan(
    name="MovieLens-100K, 250 users",
    newest=MAX_LEN + 2,
    d_model=32,
    n_layers=1,
    dropout=0.2,
    batch_size=16,
    learning_rate=3e-3,
    epochs=4,
    patience=4,
    bucket_unit_s=10.0,
    models=(SSD, OURS),
)
MOVIELENS = Plan(
    name="MovieLens-100K",
    newest=28,
    d_model=64,
    n_layers=2,
    dropout=0.3,
    batch_size=32,
    learning_rate=3e-3,
    epochs=7,
    patience=4,
    # Half of the gaps are 0, most others minutes: buckets of days would see none of them.
    bucket_unit_s=10.0,
    models=(SSD, OURS, CONTROL, BUCKETS, SASREC),
)
BEAUTY = Plan(
    name="Amazon Beauty, 4,000 users",
    newest=MAX_LEN + 2,
    d_model=64,
    n_layers=2,
    dropout=0.4,
    batch_size=32,
    learning_rate=2e-3,
    epochs=5,
    patience=4,
    bucket_unit_s=DAY_S,
    models=(SSD, OURS, CONTROL, BUCKETS, SASREC),
    alone=(PAPER, SASREC_BUCKETS, GRU),
)


@dataclass(frozen=True)
class Trained:
    """One model of one seed."""

    name: str
    seed: int
    model: AbstractSequenceEncoder
    training: TrainingResult
    test: Evaluation


def newest(log: InteractionLog, n: int) -> InteractionLog:
    """The last `n` events of every user."""
    return log.select(log.offsets[log.user + 1] - np.arange(len(log)) <= n)


def shuffle_gaps(log: InteractionLog, seed: int) -> InteractionLog:
    """The log with every user's gaps in an order drawn at random: items, order and tempo stay."""
    if log.time is None:
        raise UsageError("a log without times has no gaps to shuffle")
    rng = np.random.default_rng(seed)
    time = log.time.copy()
    for first, last in zip(log.offsets[:-1], log.offsets[1:], strict=True):
        gaps = np.diff(log.time[first:last])
        time[first + 1 : last] = log.time[first] + np.cumsum(rng.permutation(gaps))
    return replace(log, time=time)


def build(name: str, n_items: int, plan: Plan) -> AbstractSequenceEncoder:
    """An untrained model by its name in the tables; all of one width and depth."""

    def ssd(**options: object) -> TimeAwareSSDRecommender:
        return TimeAwareSSDRecommender(
            n_items,
            d_model=plan.d_model,
            n_layers=plan.n_layers,
            max_len=MAX_LEN,
            dropout=plan.dropout,
            chunk_size=CHUNK,
            **options,  # type: ignore[arg-type]
        )

    def sasrec() -> SASRec:
        return SASRec(
            n_items,
            d_model=plan.d_model,
            n_layers=plan.n_layers,
            max_len=MAX_LEN,
            dropout=plan.dropout,
        )

    makers: dict[str, Callable[[], AbstractSequenceEncoder]] = {
        SSD: lambda: ssd(is_time=False),
        OURS: ssd,
        CONTROL: ssd,
        PAPER: lambda: ssd(variant="paper"),
        BUCKETS: lambda: GapBucketSSD(ssd(is_time=False), unit_s=plan.bucket_unit_s),
        SASREC: sasrec,
        SASREC_BUCKETS: lambda: GapBucketSASRec(sasrec(), unit_s=plan.bucket_unit_s),
        GRU: lambda: GRU4Rec(
            n_items,
            d_model=plan.d_model,
            d_hidden=2 * plan.d_model,
            max_len=MAX_LEN,
            dropout=plan.dropout,
        ),
    }
    return makers[name]()


def train(name: str, split: Split, plan: Plan, seed: int, stage: Stage | None) -> Trained:
    """A model trained until its patience ends, and evaluated on the test at its best epoch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(name, split.train.n_items, plan)
    done = 0

    def on_progress(at: Progress) -> None:
        nonlocal done
        if stage is not None and at.epoch > done + 1:
            stage.advance(at.epoch - 1 - done)
            done = at.epoch - 1

    if model.causal:
        data, batch_size = SequenceDataset(split.train, "windows", MAX_LEN, shift=True), 1
    else:
        # As many targets in a step as a window of the others has.
        data = SequenceDataset(split.train, "prefix", MAX_LEN)
        windows = SequenceDataset(split.train, "windows", MAX_LEN)
        batch_size = max(1, round(len(data) / len(windows)))
    training = Trainer(
        model,
        data,
        split.valid,
        next_items("ce"),
        TrainingPlan(
            epochs=plan.epochs,
            batch_size=plan.batch_size * batch_size,
            learning_rate=plan.learning_rate,
            patience=plan.patience,
            metric=METRIC,
        ),
        seed=seed,
        on_progress=on_progress,
    ).fit()
    if stage is not None:
        stage.advance(plan.epochs - done)
    return Trained(name, seed, model, training, evaluate(model, split.test))


def times_of(times: object) -> Tensor:
    """A batch's times as a tensor. Raises UsageError where the log has none."""
    if not isinstance(times, np.ndarray):
        raise UsageError("TiM4Rec needs the times of events")
    return torch.from_numpy(times)
