"""What the reproduction trains: the base, its controls and the recipes, one job each.

All variants of a seed begin with the same encoder weights, see the same batches, and are chosen by
the same validation cases; so do the temperatures that are tried.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from multiprocessing import get_context
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from paperround.kit.recommendation.evaluation import Evaluation, evaluate
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import Split
from paperround.kit.recommendation.training import (
    Trainer,
    TrainingPlan,
    TrainingResult,
    use_fast_arithmetic,
)
from paperround.papers.rearec.losses import Recipe, RecipeOptions, objective_of
from paperround.papers.rearec.method import LatentReasoning
from paperround.papers.rearec.recommender import Backbone, encoder_of

METRIC = "ndcg@20"
STEPS = 2
# The paper's inner width is 300 where d is 256; this is its ratio, rounded up for d = 64.
INNER_PER_WIDTH = 2

Variant = Literal["base", "one more layer", "naive", "rpe", "erl", "prl"]
# PRL's early losses and its contrast make it learn more slowly than the others.
_SLOWER: Mapping[Variant, float] = {"prl": 1.5}
_RECIPE: Mapping[Variant, Recipe] = {"naive": "naive", "rpe": "rpe", "erl": "erl", "prl": "prl"}


@dataclass(frozen=True)
class Plan:
    """The sizes of a model and its training. `epochs` is PRL's times `_SLOWER`."""

    d_model: int
    n_layers: int
    max_len: int
    dropout: float
    batch_size: int
    learning_rate: float
    epochs: int
    options: RecipeOptions
    backbone: Backbone = "sasrec"

    def epochs_of(self, variant: Variant) -> int:
        """How many epochs a variant gets; the best of them by validation is kept."""
        return round(self.epochs * _SLOWER.get(variant, 1.0))


@dataclass(frozen=True)
class Job:
    """One training: which variant, on what, how, and its seed and temperature."""

    data: str
    variant: Variant
    seed: int
    tau: float
    split: Split
    plan: Plan


@dataclass(frozen=True)
class Trained:
    """One variant of one seed, its best weights and how it does on the test."""

    job: Job
    weights: Mapping[str, NDArray[np.float32]]
    training: TrainingResult
    test: Evaluation

    @property
    def best_valid(self) -> float:
        """The metric on the validation cases that the weights were chosen by."""
        return self.training.best_metric or 0.0

    def model(self) -> LatentReasoning:
        """The trained model, in evaluation mode."""
        model = untrained(self.job)
        model.load_state_dict({name: torch.from_numpy(w) for name, w in self.weights.items()})
        return model.eval()


def untrained(job: Job) -> LatentReasoning:
    """The model as training begins: one seed gives every variant the same encoder weights."""
    plan, recipe = job.plan, _RECIPE.get(job.variant)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(job.seed)
        encoder = encoder_of(
            plan.backbone,
            job.split.train.n_items,
            d_model=plan.d_model,
            n_layers=plan.n_layers + (job.variant == "one more layer"),
            d_inner=INNER_PER_WIDTH * plan.d_model,
            max_len=plan.max_len,
            dropout=plan.dropout,
        )
        return LatentReasoning(
            encoder,
            STEPS if recipe else 0,
            pool="mean" if recipe == "erl" else "last",
            step_embeddings=recipe != "naive",
        )


def train(job: Job) -> Trained:
    """A variant, trained, and evaluated on the test at its best epoch by validation."""
    model, plan = untrained(job), job.plan
    mode: Literal["windows", "prefix"] = "windows" if model.causal else "prefix"
    epochs = plan.epochs_of(job.variant)
    training = Trainer(
        model,
        SequenceDataset(job.split.train, mode, plan.max_len, shift=model.causal),
        job.split.valid,
        # Without steps every recipe is the plain full softmax at its temperature.
        objective_of(_RECIPE.get(job.variant, "rpe"), replace(plan.options, tau=job.tau)),
        TrainingPlan(
            epochs=epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            patience=epochs,
            metric=METRIC,
        ),
        seed=job.seed,
    ).fit()
    weights = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    return Trained(job, weights, training, evaluate(model, job.split.test))


def train_all(jobs: Sequence[Job], processes: int) -> Iterator[Trained]:
    """Every job's outcome as it is done; in `processes` of one thread each, here with 1."""
    if processes == 1:
        yield from map(train, jobs)
        return
    with ProcessPoolExecutor(
        # Spawned, not forked: a fork after torch has started threads can hang.
        processes,
        mp_context=get_context("spawn"),
        initializer=use_fast_arithmetic,
        initargs=(1,),
    ) as pool:
        for done in as_completed([pool.submit(train, job) for job in jobs]):
            yield done.result()
