"""The trainer: early stopping on validation, seeds, progress, checkpoints that can be resumed.

All randomness of epoch e follows from (seed, e), so a run that was interrupted and resumed gives
the same weights as one that was not.
"""

import copy
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import numpy as np
import torch
from torch import Tensor

from paperround.errors import ScoresError, TrainingError, UsageError
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.interactions import InteractionLog
from paperround.kit.recommendation.metrics import Ties
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import Objective
from paperround.kit.recommendation.samples import Batch, SequenceDataset
from paperround.kit.recommendation.splits import Cases

CHECKPOINT_FORMAT = 1
_SHOWN_USERS = 3


@dataclass(frozen=True)
class TrainingPlan:
    """How long, how fast, and what is chosen by. Rates and sizes are those that the field uses.

    `patience` counts evaluations without a better `metric` on the validation cases. Too little of
    it cuts a run short on small data: two seeds of SASRec on MovieLens-100K differed by 23 %.
    No epoch begins after `seconds` of training, evaluation not counted; None is no limit. The
    learning rate falls linearly to `final_share` of itself over all `epochs`.
    """

    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 1e-3
    final_share: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.0
    clip_norm: float = 5.0
    eval_every: int = 1
    patience: int = 10
    metric: str = "ndcg@10"
    mask_seen: bool = False
    ties: Ties = "mean"
    max_valid_cases: int | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class EpochRecord:
    """One epoch: mean loss, the validation metric where it was evaluated, the seconds of both."""

    epoch: int
    loss: float
    metric: float | None
    seconds: float
    eval_seconds: float
    parts: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingResult:
    """What a training came to. `stopped` is "patience", "epochs" or "seconds".

    `interactions_per_second` counts predicted items over the time spent training, without
    evaluation. `peak_rss_mb` is that of the whole process so far.
    """

    seed: int
    plan: TrainingPlan
    stopped: str
    best_epoch: int
    best_metric: float | None
    epochs: tuple[EpochRecord, ...]
    interactions_per_second: float
    seconds: float
    peak_rss_mb: float

    def row(self) -> dict[str, Any]:
        """A JSON-ready line for a table of results."""
        return {
            "seed": self.seed,
            **{f"plan_{name}": value for name, value in asdict(self.plan).items()},
            "stopped": self.stopped,
            "epochs": len(self.epochs),
            "best_epoch": self.best_epoch,
            "best_metric": self.best_metric,
            "interactions_per_second": round(self.interactions_per_second, 1),
            "seconds": round(self.seconds, 3),
            "peak_rss_mb": round(self.peak_rss_mb, 1),
        }


@dataclass(frozen=True)
class Progress:
    """Where a training is: `batch` of `batches` in `epoch` of at most `epochs`."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    best_metric: float | None


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True)
class FitTask:
    """What a recommender asks of a model's kind: learn this, choose by that.

    `options` are the kind's own, completed. `checkpoint` is where to leave and find the state of an
    unfinished training; counting models need none.
    """

    train: InteractionLog
    valid: Cases
    seed: int
    options: Mapping[str, Any]
    checkpoint: Path | None = None
    on_progress: OnProgress | None = None


@dataclass(frozen=True)
class AuxLoss:
    """A loss that a method adds: `weight` times what `objective` gives, under its name.

    Each has a generator of its own, so that adding one leaves what others draw as it was.
    """

    name: str
    objective: Objective
    weight: float = 1.0


class Trainer:
    """Trains one encoder on one dataset. `fit` can be called once.

    After `fit` the encoder holds the weights of the best epoch (the last one where there are no
    validation cases), in evaluation mode.
    """

    def __init__(
        self,
        encoder: AbstractSequenceEncoder,
        data: SequenceDataset,
        valid: Cases | None,
        objective: Objective,
        plan: TrainingPlan | None = None,
        *,
        seed: int = 0,
        aux_losses: Sequence[AuxLoss] = (),
        checkpoint: Path | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        if not len(data):
            raise UsageError("nothing to learn: no user has two events to train on")
        if data.pad != encoder.padding:
            raise UsageError(
                f"{type(encoder).__name__} expects padding on the {encoder.padding}, "
                f"the rows have it on the {data.pad}"
            )
        if data.max_len > encoder.max_len:
            raise UsageError(
                f"rows of {data.max_len} are too long for a model of {encoder.max_len}"
            )
        self.encoder, self.data, self.objective = encoder, data, objective
        self.plan, self.seed, self.aux_losses = plan or TrainingPlan(), seed, tuple(aux_losses)
        self.valid = _some_of(valid, self.plan.max_valid_cases, seed)
        self._checkpoint, self._on_progress = checkpoint, on_progress
        self._optimizer = torch.optim.Adam(
            encoder.parameters(),
            lr=self.plan.learning_rate,
            betas=self.plan.betas,
            weight_decay=self.plan.weight_decay,
            fused=True,
        )
        self._records: list[EpochRecord] = []
        self._best: dict[str, Tensor] = {}
        self._best_epoch = 0
        self._best_metric: float | None = None
        self._waited = 0

    def fit(self) -> TrainingResult:
        """Trains until the patience or the epochs are spent; goes on from a checkpoint if there.

        Raises TrainingError where a loss or a gradient is not finite: the encoder is left with the
        best weights so far (those it began with, where no epoch was finished), and the checkpoint
        as it was after the last whole epoch.
        """
        started = time.perf_counter()
        if self._checkpoint is not None and self._checkpoint.is_file():
            self._resume(self._checkpoint)
        else:
            self._keep_best(0, None)
        with torch.random.fork_rng(devices=[]):
            while not (stopped := self._stopped()):
                self._records.append(self._epoch(len(self._records) + 1))
                if self._checkpoint is not None:
                    self._save(self._checkpoint)
        self._restore_best()
        spent = self._spent()
        return TrainingResult(
            seed=self.seed,
            plan=self.plan,
            stopped=stopped,
            best_epoch=self._best_epoch,
            best_metric=self._best_metric,
            epochs=tuple(self._records),
            interactions_per_second=self.data.n_targets * len(self._records) / max(spent, 1e-9),
            seconds=time.perf_counter() - started,
            peak_rss_mb=_peak_rss_mb(),
        )

    def _spent(self) -> float:
        return sum(record.seconds for record in self._records)

    def _stopped(self) -> str:
        """Why no further epoch begins; "" where one does."""
        if self._waited >= self.plan.patience:
            return "patience"
        if len(self._records) >= self.plan.epochs:
            return "epochs"
        limit = self.plan.seconds
        return "seconds" if limit is not None and self._spent() >= limit else ""

    def _epoch(self, epoch: int) -> EpochRecord:
        began = time.perf_counter()
        torch.manual_seed(_stream(self.seed, epoch, 0))
        drawing = _generator(self.seed, epoch, 1)
        aux_drawing = [_generator(self.seed, epoch, 2 + n) for n in range(len(self.aux_losses))]
        n_batches = self.data.n_batches(self.plan.batch_size)
        self.encoder.train()
        total, n_targets = 0.0, 0
        parts = dict.fromkeys((aux.name for aux in self.aux_losses), 0.0)
        seed = _stream(self.seed, epoch, -1)
        batches = self.data.batches(self.plan.batch_size, seed=seed, epoch=epoch)
        for number, batch in enumerate(batches, start=1):
            self._set_learning_rate((epoch - 1 + (number - 1) / n_batches) / self.plan.epochs)
            loss = self.objective(self.encoder, batch, drawing)
            for aux, generator in zip(self.aux_losses, aux_drawing, strict=True):
                added = aux.objective(self.encoder, batch, generator)
                parts[aux.name] += float(added.detach()) * batch.n_targets
                loss = loss + aux.weight * added
            self._step(loss, epoch, number, n_batches, batch)
            total += float(loss.detach()) * batch.n_targets
            n_targets += batch.n_targets
            if self._on_progress is not None:
                mean = total / n_targets
                self._on_progress(
                    Progress(epoch, self.plan.epochs, number, n_batches, mean, self._best_metric)
                )
        trained = time.perf_counter()
        metric = self._validate(epoch, self._spent() + trained - began)
        return EpochRecord(
            epoch,
            total / n_targets,
            metric,
            trained - began,
            time.perf_counter() - trained,
            {name: value / n_targets for name, value in parts.items()},
        )

    def _set_learning_rate(self, done: float) -> None:
        """As it is when this share of all epochs is done."""
        for group in self._optimizer.param_groups:
            group["lr"] = self.plan.learning_rate * (1 - (1 - self.plan.final_share) * done)

    def _step(self, loss: Tensor, epoch: int, number: int, n_batches: int, batch: Batch) -> None:
        what = "the loss"
        value = float(loss.detach())
        if math.isfinite(value):
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.encoder.parameters(), self.plan.clip_norm)
            what, value = "the gradient's norm", float(norm)
        if not math.isfinite(value):
            self._restore_best()
            users = batch.users.unique()[:_SHOWN_USERS].tolist()
            ids = ", ".join(repr(self.data.log.user_ids[user]) for user in users)
            more = ", …" if len(batch.users.unique()) > _SHOWN_USERS else ""
            raise TrainingError(
                f"{what} became {value} in epoch {epoch}, batch {number} of {n_batches} "
                f"(users {ids}{more}); {self._kept()}"
            )
        self._optimizer.step()

    def _kept(self) -> str:
        kept = f"kept the weights of epoch {self._best_epoch}"
        if self._checkpoint is not None and self._checkpoint.is_file():
            kept += f", and the checkpoint {self._checkpoint.name}"
        return f"{kept}. A lower learning rate often helps"

    def _validate(self, epoch: int, spent: float) -> float | None:
        limit = self.plan.seconds
        last = epoch == self.plan.epochs or (limit is not None and spent >= limit)
        if self.valid is None or not len(self.valid):
            self._keep_best(epoch, None)
            return None
        if epoch % self.plan.eval_every and not last:
            return None
        self.encoder.eval()
        try:
            found = evaluate(
                self.encoder,
                self.valid,
                metrics=[self.plan.metric],
                mask_seen=self.plan.mask_seen,
                ties=self.plan.ties,
            )[self.plan.metric]
        except ScoresError as error:
            # The last step of an epoch broke the weights: no loss or gradient has shown it yet.
            self._restore_best()
            raise TrainingError(f"after epoch {epoch} {error}; {self._kept()}") from error
        if self._best_metric is None or found > self._best_metric:
            self._keep_best(epoch, found)
            self._waited = 0
        else:
            self._waited += 1
        return found

    def _keep_best(self, epoch: int, metric: float | None) -> None:
        self._best = copy.deepcopy(self.encoder.state_dict())
        self._best_epoch, self._best_metric = epoch, metric

    def _restore_best(self) -> None:
        self.encoder.load_state_dict(self._best)
        self.encoder.eval()

    def _settings(self) -> dict[str, Any]:
        """What has to be the same for a checkpoint to be gone on with. More epochs may be asked."""
        plan = asdict(self.plan)
        del plan["epochs"], plan["patience"], plan["seconds"]
        return {
            "encoder": type(self.encoder).__name__,
            "parameters": sum(p.numel() for p in self.encoder.parameters()),
            "n_items": self.encoder.n_items,
            "events": len(self.data.log),
            "mode": self.data.mode,
            "max_len": self.data.max_len,
            "seed": self.seed,
            "aux_losses": [f"{aux.name} x {aux.weight}" for aux in self.aux_losses],
            **plan,
        }

    def _save(self, path: Path) -> None:
        state = {
            "format": CHECKPOINT_FORMAT,
            "settings": self._settings(),
            "encoder": self.encoder.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "best": self._best,
            "best_epoch": self._best_epoch,
            "best_metric": self._best_metric,
            "waited": self._waited,
            "records": [asdict(record) for record in self._records],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        torch.save(state, draft)
        draft.replace(path)

    def _resume(self, path: Path) -> None:
        try:
            # torch.save writes a zip file; what is none would be read as an old kind of pickle.
            if not is_zipfile(path):
                raise ValueError("it is another kind of file")
            state = torch.load(path, weights_only=True)
        except (RuntimeError, UnpicklingError, EOFError, ValueError, OSError) as error:
            raise UsageError(f"{path} is no checkpoint that can be read: {error}") from error
        if not isinstance(state, dict) or state.get("format") != CHECKPOINT_FORMAT:
            found = state.get("format") if isinstance(state, dict) else None
            raise UsageError(
                f"{path} is a checkpoint of format {found}; this program reads "
                f"{CHECKPOINT_FORMAT}. Remove it to begin anew"
            )
        theirs, ours = state["settings"], self._settings()
        for name in ours:
            if _plain(theirs.get(name)) != _plain(ours[name]):
                raise UsageError(
                    f"{path} belongs to another training: {name} is {theirs.get(name)!r} there and "
                    f"{ours[name]!r} here. Remove it to begin anew"
                )
        self.encoder.load_state_dict(state["encoder"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._best, self._best_epoch = state["best"], state["best_epoch"]
        self._best_metric, self._waited = state["best_metric"], state["waited"]
        self._records = [EpochRecord(**record) for record in state["records"]]


@contextmanager
def fast_arithmetic() -> Iterator[None]:
    """Meanwhile denormal numbers are taken for 0, in this whole thread: they are slow."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def use_fast_arithmetic(threads: int | None = None) -> None:
    """Takes denormal numbers for 0 for good, and limits PyTorch to so many threads.

    For a process that does nothing else, such as a reproduction's; see `fast_arithmetic`.
    """
    if threads is not None:
        torch.set_num_threads(max(1, threads))
    torch.set_flush_denormal(True)


def _some_of(valid: Cases | None, n: int | None, seed: int) -> Cases | None:
    if valid is None or n is None or len(valid) <= n:
        return valid
    rows = np.random.default_rng([seed, len(valid)]).choice(len(valid), size=n, replace=False)
    return valid.select(np.sort(rows))


def _stream(seed: int, epoch: int, purpose: int) -> int:
    """A seed for one purpose in one epoch; different ones are independent."""
    state = np.random.SeedSequence([abs(seed), seed < 0, epoch, purpose + 1]).generate_state(2)
    return int(state[0]) << 31 | int(state[1]) >> 1


def _generator(seed: int, epoch: int, purpose: int) -> torch.Generator:
    return torch.Generator().manual_seed(_stream(seed, epoch, purpose))


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) and not isinstance(value, str) else value


def _peak_rss_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024
