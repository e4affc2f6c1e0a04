"""The recommender that people use: fit, recommend, evaluate, save, load, export.

from paperround.kit.recommendation import Recommender

recommender = Recommender("sasrec", epochs=20).fit("events.csv")
for answer in recommender.recommend(["ann", ["tea", "milk"]], k=5):
    print(answer.items, answer.basis)
"""

import json
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

import paperround
from paperround.errors import UsageError
from paperround.kit.recommendation.evaluation import METRICS, Evaluation, evaluate
from paperround.kit.recommendation.interactions import (
    PAD,
    Duplicates,
    Floats,
    InteractionLog,
    Ints,
    TimeUnit,
)
from paperround.kit.recommendation.metrics import Ties
from paperround.kit.recommendation.models import AbstractSequenceModel, find_model
from paperround.kit.recommendation.ranking import ItemIndex, best_items
from paperround.kit.recommendation.reading import read_interactions
from paperround.kit.recommendation.saved_ids import ids_from_json, ids_to_json
from paperround.kit.recommendation.splits import Cases, Split, last_events, leave_one_out
from paperround.kit.recommendation.training import FitTask, OnProgress, TrainingResult

FILE_FORMAT = "paperround-recommender"
FILE_VERSION = 1
_USERS_AT_ONCE = 256


@dataclass(frozen=True)
class Answer:
    """What is recommended to one user: items, best first, and their scores.

    `basis` is "history", or "popularity" where nothing is known of the user. `skipped` counts items
    of the given history that the model does not know. Scores of one model compare with each other,
    and mean nothing beside those of another.
    """

    items: list[Hashable]
    scores: list[float]
    basis: Literal["history", "popularity"]
    skipped: int = 0

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[tuple[Hashable, float]]:
        return iter(zip(self.items, self.scores, strict=True))


class Recommender:
    """Recommends next items to users by any model of this family, with scikit-learn's habits.

    `model` is a name (`models.known_models()` has all), options are that model's own. After `fit`:
    `model_`, `n_items_`, `item_ids_`, `user_ids_`, and `training_` (a TrainingResult, or None for a
    model that counts).
    """

    def __init__(self, model: str = "sasrec", *, seed: int = 0, **options: Any) -> None:
        self.model, self.seed, self.options = model, seed, options
        self._kind = find_model(model)
        self._kind.complete(options)

    def __repr__(self) -> str:
        said = [repr(self.model), f"seed={self.seed}"]
        return f"Recommender({', '.join(said + [f'{k}={v!r}' for k, v in self.options.items()])})"

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments, as scikit-learn asks for them."""
        return {"model": self.model, "seed": self.seed, **self.options}

    def set_params(self, **params: Any) -> Self:
        """Itself, with some of the constructor's arguments changed; what was fitted stays."""
        changed = {**self.get_params(), **params}
        self.__dict__.update(Recommender(**changed).__dict__)
        return self

    def fit(
        self,
        interactions: Any,
        *,
        user: str | None = None,
        item: str | None = None,
        time: str | None = None,
        time_unit: TimeUnit = "s",
        duplicates: Duplicates = "exact",
        hold_out: bool = False,
        checkpoint: Path | str | None = None,
        on_progress: OnProgress | None = None,
    ) -> Self:
        """Itself, fitted to a CSV file, a frame, rows, or an InteractionLog (`read_interactions`).

        The last event of each user (of at most 10,000) chooses the epoch to stop at and is not
        trained on. With `hold_out` every user's last two events stay out, and `evaluate()` tells
        how well the last is found. A `checkpoint` file lets an interrupted training go on. Users
        with one event are learnt from as far as the model can, and recommended to as any other.
        """
        log = read_interactions(
            interactions,
            user=user,
            item=item,
            time=time,
            time_unit=time_unit,
            duplicates=duplicates,
        )
        options = self._kind.complete(self.options)
        split = self._split(log, hold_out, options.get("max_valid_cases"))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            model = self._kind.build(log.n_items, options)
        if model.needs_times and log.time is None:
            raise UsageError(f"{self.model} needs the times of events; say time=COLUMN")
        path = None if checkpoint is None else Path(checkpoint)
        task = FitTask(split.train, split.valid, self.seed, options, path, on_progress)
        self.training_: TrainingResult | None = self._kind.fit(model, task)
        self._take(model, log, split.train.item_counts)
        self._held_out: Cases | None = split.test
        return self

    def recommend(
        self,
        users_or_sequences: Sequence[Any],
        k: int = 10,
        exclude_seen: bool = True,
        *,
        times: Sequence[Sequence[float]] | None = None,
    ) -> list[Answer]:
        """One answer per query: a query is a user's id, or a list of item ids, oldest first.

        Users who were fitted get recommendations from all their events. Nobody is refused: items
        that the model does not know are skipped and counted, and an unknown user or an empty
        history gets what is popular, with `basis` saying so. With `exclude_seen` no item of the
        history is recommended; where that leaves fewer than k items, the answer is shorter.
        `times` holds Unix seconds for each sequence, for models that use them.
        """
        self._check_fitted()
        if isinstance(users_or_sequences, str | bytes) or not isinstance(
            users_or_sequences, Sequence | np.ndarray
        ):
            raise UsageError(
                f"recommend takes a list of users or of sequences, not {users_or_sequences!r}; "
                f"for one user write [{users_or_sequences!r}]"
            )
        if isinstance(k, bool) or not isinstance(k, int | np.integer) or k < 1:
            raise UsageError(f"k must be a whole number of at least 1, not {k!r}")
        if times is not None and len(times) != len(users_or_sequences):
            raise UsageError(f"{len(times)} lists of times for {len(users_or_sequences)} queries")
        queries = [
            self._history(query, None if times is None else times[number])
            for number, query in enumerate(users_or_sequences)
        ]
        answers: list[Answer | None] = [None] * len(queries)
        known = [number for number, query in enumerate(queries) if len(query[0])]
        # Histories of similar length together: little padding, and the answer is the same.
        known.sort(key=lambda number: min(len(queries[number][0]), self.model_.max_len))
        for start in range(0, len(known), _USERS_AT_ONCE):
            part = known[start : start + _USERS_AT_ONCE]
            ranked = self._ranked([queries[number] for number in part], int(k), exclude_seen)
            for number, (items, scores) in zip(part, ranked, strict=True):
                answers[number] = self._answer(items, scores, "history", queries[number][2])
        return [
            self._popular(int(k), queries[number][2]) if answer is None else answer
            for number, answer in enumerate(answers)
        ]

    def evaluate(
        self,
        interactions: Any = None,
        *,
        metrics: Sequence[str] = METRICS,
        mask_seen: bool = False,
        ties: Ties = "mean",
    ) -> Evaluation:
        """How well last events are found among all items, by full ranking.

        Without `interactions`: the events that `fit(…, hold_out=True)` kept out. With: the last
        event of each user in them, what stands before it there being the history; pass later events
        than those fitted, for figures on events that were trained on mean nothing. Items unknown to
        the model cannot be ranked: such targets are left out (`len` of the evaluation says how many
        are in), and histories go on without them.
        """
        self._check_fitted()
        if interactions is None:
            if self._held_out is None or not len(self._held_out):
                raise UsageError(
                    "nothing was held out: fit with hold_out=True (users need three events), or "
                    "pass interactions that were not fitted"
                )
            cases = self._held_out
        else:
            cases = self._cases(read_interactions(interactions))
        return evaluate(self.model_, cases, metrics=metrics, mask_seen=mask_seen, ties=ties)

    def save(self, path: Path | str, *, with_histories: bool = True) -> None:
        """Writes one file (safetensors, no pickle) with weights, ids and its format's version.

        Without histories it holds no user and no event, and recommends to sequences only. Ids that
        are no text, number, date or tuple of these cannot be saved: UsageError.
        """
        self._check_fitted()
        # An item counts as popular by what was trained on, in the file as in memory.
        tensors = {f"model.{name}": t.contiguous() for name, t in self.model_.tensors().items()}
        tensors["popularity"] = torch.from_numpy(self._counts)
        about = {
            "model": self.model,
            "seed": self.seed,
            "options": self._kind.complete(self.options),
            "n_items": self.n_items_,
            "item_ids": ids_to_json(self.item_ids_),
            "user_ids": ids_to_json(self.user_ids_ if with_histories else []),
        }
        if with_histories:
            tensors["histories.items"] = torch.from_numpy(self._items.astype(np.int32))
            tensors["histories.offsets"] = torch.from_numpy(self._offsets)
            if self._times is not None:
                tensors["histories.times"] = torch.from_numpy(self._times)
        text = json.dumps(about, ensure_ascii=False).encode()
        tensors["about"] = torch.from_numpy(np.frombuffer(text, dtype=np.uint8).copy())
        metadata = {
            "format": FILE_FORMAT,
            "version": str(FILE_VERSION),
            "paperround": paperround.__version__,
        }
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.draft")
        save_file({name: tensor.clone() for name, tensor in tensors.items()}, draft, metadata)
        draft.replace(path)

    @classmethod
    def load(cls, path: Path | str) -> "Recommender":
        """The recommender that `save` wrote. Raises UsageError on any other file or version."""
        path = Path(path)
        if not path.is_file():
            raise UsageError(f"{path}: there is no such file")
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FILE_FORMAT:
                    raise UsageError(f"{path} holds no recommender of Paperround")
                if metadata.get("version") != str(FILE_VERSION):
                    raise UsageError(
                        f"{path} is of version {metadata.get('version')}, written by Paperround "
                        f"{metadata.get('paperround')}; this program reads version "
                        f"{FILE_VERSION}. Fit and save it again"
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            about = json.loads(tensors["about"].numpy().tobytes())
            recommender = cls(about["model"], seed=about["seed"], **about["options"])
            model = recommender._kind.build(about["n_items"], about["options"])
            model.load_tensors(
                {
                    name.removeprefix("model."): tensor
                    for name, tensor in tensors.items()
                    if name.startswith("model.")
                }
            )
            offsets = tensors.get("histories.offsets", torch.zeros(1, dtype=torch.int64)).numpy()
            items = tensors.get("histories.items", torch.zeros(0)).numpy().astype(np.int64)
            times = tensors.get("histories.times")
            log = InteractionLog(
                np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)),
                items,
                None if times is None else times.numpy(),
                ids_from_json(about["user_ids"]),
                ids_from_json(about["item_ids"]),
            )
        except (SafetensorError, KeyError, json.JSONDecodeError, OSError) as error:
            raise UsageError(f"{path} is no whole recommender file: {error}") from error
        recommender.training_ = None
        recommender._take(model, log, tensors["popularity"].numpy())
        recommender._held_out = None
        return recommender

    @classmethod
    def from_model(
        cls,
        trained: AbstractSequenceModel,
        log: InteractionLog,
        model: str = "sasrec",
        **options: Any,
    ) -> "Recommender":
        """A recommender of a model that was trained elsewhere on a log's codes.

        `model` and `options` say what it is, and are needed to save and load it.
        """
        if trained.n_items != log.n_items:
            raise UsageError(
                f"the model knows {trained.n_items} items and the log has {log.n_items}"
            )
        recommender = cls(model, **options)
        recommender.training_, recommender._held_out = None, None
        recommender._take(trained, log, log.item_counts)
        return recommender

    def export_onnx(self, path: Path | str) -> None:
        """Writes the model as ONNX: `items` (batch, max_len) to `scores` (batch, n_items + 1).

        Codes are places in `item_ids_` plus 1, padded on the right with 0; the ids lie in the
        file's metadata as JSON, under "item_ids". A model that needs times has a second input,
        `times` (batch, max_len). Taking out seen items and sorting is the caller's.
        """
        from paperround.kit.recommendation.export import export_onnx

        self._check_fitted()
        export_onnx(self.model_, self.item_ids_, Path(path))

    @property
    def is_fitted(self) -> bool:
        """Whether it can be asked."""
        return hasattr(self, "model_")

    def summary(self) -> dict[str, Any]:
        """What was fitted and how the training went, JSON-ready."""
        self._check_fitted()
        said: dict[str, Any] = {"model": self.model, "seed": self.seed}
        if self.training_ is not None:
            said |= {
                "epochs": len(self.training_.epochs),
                "best_epoch": self.training_.best_epoch,
                self.training_.plan.metric: self.training_.best_metric,
                "stopped": self.training_.stopped,
                "seconds": round(self.training_.seconds, 2),
                "interactions_per_second": round(self.training_.interactions_per_second),
            }
        return said

    def answers(
        self,
        log: InteractionLog,
        users: Sequence[Hashable] | None = None,
        *,
        k: int = 10,
        exclude_seen: bool = True,
    ) -> Iterator[tuple[Hashable, Answer]]:
        """(user, answer) for users of another log (all of them with None), from their events there.

        The log need not be the one that was fitted; users that it does not hold are unknown.
        """
        codes = {user: code for code, user in enumerate(log.user_ids)}
        wanted = list(codes) if users is None else list(users)
        for start in range(0, len(wanted), _USERS_AT_ONCE):
            part = wanted[start : start + _USERS_AT_ONCE]
            sequences, times = [], []
            for user in part:
                code = codes.get(user)
                items = [] if code is None else log.sequence(code).tolist()
                sequences.append([log.item_ids[item - 1] for item in items])
                when = None if code is None else log.times(code)
                times.append([] if when is None else when.tolist())
            given = times if self.model_.needs_times else None
            yield from zip(
                part, self.recommend(sequences, k, exclude_seen, times=given), strict=True
            )

    def code_of(self, item: Hashable) -> int | None:
        """The code of an item's id in scores and ONNX inputs; None where it is unknown."""
        self._check_fitted()
        return self._item_code.get(item)

    def _split(self, log: InteractionLog, hold_out: bool, max_cases: int | None) -> Split:
        if hold_out:
            split = leave_one_out(log)
            if not len(split.test):
                raise UsageError("hold_out needs users with three events, and there are none")
            return split
        return last_events(log, max_cases=max_cases, seed=self.seed)

    def _take(self, model: AbstractSequenceModel, log: InteractionLog, counts: Ints) -> None:
        self.model_ = model.eval()
        self.item_ids_, self.user_ids_ = list(log.item_ids), list(log.user_ids)
        self.n_items_ = len(self.item_ids_)
        self._item_code = {item: code for code, item in enumerate(self.item_ids_, start=1)}
        self._user_code = {user: code for code, user in enumerate(self.user_ids_)}
        self._items, self._offsets = log.item, log.offsets
        self._times: Floats | None = log.time if model.needs_times else None
        self._counts = counts
        pair = model.inner_product()
        self._index = None if pair is None else ItemIndex(*pair)

    def _check_fitted(self) -> None:
        if not hasattr(self, "model_"):
            raise UsageError("this recommender is not fitted; call fit or load first")

    def _history(
        self, query: Any, times: Sequence[float] | None
    ) -> tuple[Ints, Floats | None, int]:
        """Codes, times and the number of skipped items of a query."""
        if isinstance(query, list | np.ndarray):
            listed = query.tolist() if isinstance(query, np.ndarray) else query
            codes = [self._code(item) for item in listed]
            kept = [place for place, code in enumerate(codes) if code]
            if self.model_.needs_times and times is None:
                raise UsageError(f"{self.model} needs the times of a sequence's events: times=…")
            if times is not None and len(times) != len(listed):
                raise UsageError(f"{len(times)} times for a sequence of {len(listed)} items")
            return (
                np.array([codes[place] for place in kept], dtype=np.int64),
                None if times is None else np.array([times[place] for place in kept], dtype=float),
                len(listed) - len(kept),
            )
        try:
            code = self._user_code.get(query.item() if isinstance(query, np.generic) else query)
        except TypeError:
            raise UsageError(f"{query!r} is neither a user's id nor a list of items") from None
        if code is None:
            return np.array([], dtype=np.int64), None, 0
        rows = slice(self._offsets[code], self._offsets[code + 1])
        return self._items[rows], None if self._times is None else self._times[rows], 0

    def _code(self, item: Any) -> int:
        try:
            return self._item_code.get(item.item() if isinstance(item, np.generic) else item, PAD)
        except TypeError:
            return PAD

    def _ranked(
        self, queries: list[tuple[Ints, Floats | None, int]], k: int, exclude_seen: bool
    ) -> list[tuple[Ints, Any]]:
        max_len = self.model_.max_len
        width = max(1, min(max_len, max(len(codes) for codes, _, _ in queries)))
        items = np.zeros((len(queries), width), dtype=np.int64)
        times = np.zeros((len(queries), width)) if self.model_.needs_times else None
        for row, (codes, when, _) in enumerate(queries):
            newest = codes[-max_len:]
            items[row, : len(newest)] = newest
            if times is not None and when is not None:
                times[row, : len(newest)] = when[-max_len:]
        seen = [np.unique(codes) if exclude_seen else codes[:0] for codes, _, _ in queries]
        given = None if times is None else torch.from_numpy(times)
        with torch.inference_mode():
            if self._index is not None:
                hidden: Tensor = self.model_.last_hidden(torch.from_numpy(items), given)
                return self._index.best(hidden, k, seen)
            scores = self.model_.score_batch(torch.from_numpy(items), given).numpy()
        return [best_items(row, k, out) for row, out in zip(scores, seen, strict=True)]

    def _popular(self, k: int, skipped: int) -> Answer:
        shares = self._counts / max(1, int(self._counts.sum()))
        return self._answer(
            *best_items(shares, k, np.array([], dtype=np.int64)), "popularity", skipped
        )

    def _answer(self, items: Ints, scores: Any, basis: Any, skipped: int) -> Answer:
        return Answer(
            [self.item_ids_[code - 1] for code in items],
            [float(score) for score in scores],
            basis,
            skipped,
        )

    def _cases(self, log: InteractionLog) -> Cases:
        """The last event of each user of another log, in this model's codes."""
        codes = np.array([0, *(self._item_code.get(item, 0) for item in log.item_ids)])
        item = codes[log.item]
        last = np.zeros(len(log), dtype=bool)
        last[log.offsets[1:][np.diff(log.offsets) > 0] - 1] = True
        # Unknown items leave histories; an unknown last event leaves no target.
        kept = item > 0
        known = InteractionLog(
            log.user[kept],
            item[kept],
            None if log.time is None else log.time[kept],
            log.user_ids,
            self.item_ids_,
        )
        target = np.flatnonzero(last[kept])
        cases = Cases(known, target)
        cases = cases.select(cases.history_lengths > 0)
        if not len(cases):
            raise UsageError(
                "no user of these interactions has a last event, and one before it, on items that "
                "the model knows"
            )
        return cases
