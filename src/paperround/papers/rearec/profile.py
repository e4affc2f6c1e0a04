"""What single steps are worth: metric and time, and the ceiling of choosing by the answer.

The ceiling uses the label. It rises with every further state to choose from, also for random states
and shuffled targets, so by itself it is no evidence: set it beside that of `dropout_ranks`.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.interactions import Floats
from paperround.kit.recommendation.metrics import Ranks, Ties, metric_by_name
from paperround.kit.recommendation.models import AbstractSequenceEncoder, AbstractSequenceModel
from paperround.kit.recommendation.splits import Cases
from paperround.papers.rearec.method import AtStep, LatentReasoning


def oracle_ceiling(ranks: Sequence[Ranks], metric: str, ties: Ties = "mean") -> Floats:
    """Per case, the best value of a metric over the steps' ranks: chosen by knowing the answer."""
    if not ranks:
        raise UsageError("no steps to choose from")
    return np.max([metric_by_name(metric)(each, ties) for each in ranks], axis=0)


def step_ranks(model: LatentReasoning, cases: Cases) -> list[Ranks]:
    """Where the targets stand when r_0, r_1, …, r_K score alone."""
    return [
        evaluate(AtStep(model, step), cases, metrics=[]).ranks
        for step in range(model.num_steps + 1)
    ]


def dropout_ranks(
    encoder: AbstractSequenceEncoder, cases: Cases, passes: int, *, seed: int
) -> list[Ranks]:
    """Where they stand in `passes` passes with the dropout on: the random-step control."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return [evaluate(_Perturbed(encoder), cases, metrics=[]).ranks for _ in range(passes)]


class _Perturbed(AbstractSequenceModel):
    def __init__(self, encoder: AbstractSequenceEncoder) -> None:
        super().__init__()
        self.encoder, self.n_items, self.max_len = encoder, encoder.n_items, encoder.max_len

    def score_batch(self, items: Tensor, times: Tensor | None = None) -> Tensor:
        training = self.encoder.training
        self.encoder.train()
        with torch.no_grad():
            scores = self.encoder.score(self.encoder.last_hidden(items, times))
        self.encoder.train(training)
        return scores


def mean_step_cosine(model: LatentReasoning, cases: Cases, batch_size: int = 512) -> float:
    """The mean cosine between two different states r_i, r_j of one history: 1 is collapse."""
    if not model.num_steps:
        raise UsageError("a model of 0 steps has no two states to compare")
    model.eval()
    n_states = model.num_steps + 1
    apart = ~torch.eye(n_states, dtype=torch.bool)
    cosines = []
    for batch in cases.batches(batch_size, model.max_len):
        with torch.no_grad():
            states = model.last_states(torch.from_numpy(batch.items))
        unit = functional.normalize(states, dim=-1)
        cosines.append((unit @ unit.transpose(1, 2))[:, apart])
    return float(torch.cat(cosines).mean())


@dataclass(frozen=True)
class StepProfile:
    """Milliseconds of encoding a batch, of a further step with kept keys, of doing it anew."""

    encode_ms: float
    step_ms: float
    step_anew_ms: float

    @property
    def share(self) -> float:
        """What a step costs of what encoding costs."""
        return self.step_ms / self.encode_ms

    @property
    def saved(self) -> float:
        """How many times cheaper a step is with kept keys than by encoding everything again."""
        return self.step_anew_ms / self.step_ms


def step_profile(model: LatentReasoning, items: Tensor, repeats: int = 20) -> StepProfile:
    """The cost of reasoning over histories (B, L), medians of `repeats` rounds taken in turns.

    Raises UsageError for a model of no steps.
    """
    if not model.num_steps:
        raise UsageError("a model of 0 steps has no step to time")
    model.eval()
    with torch.inference_mode():
        read = model.read(items)
        ways: dict[str, Callable[[], object]] = {
            "encode": lambda: model.encoder(items),
            "steps": lambda: model.reason(read),
            # Its first state costs an encoding like that of `encode`, which is taken off below.
            "anew": lambda: model.steps_without_cache(items),
        }
        took: dict[str, list[float]] = {name: [] for name in ways}
        for way in ways.values():
            way()
        # In turns, so that what else the machine does meets all three alike.
        for _ in range(repeats):
            for name, way in ways.items():
                started = time.perf_counter()
                way()
                took[name].append(1000 * (time.perf_counter() - started))
    encode, steps, anew = (statistics.median(took[name]) for name in ways)
    return StepProfile(encode, steps / model.num_steps, (anew - encode) / model.num_steps)
