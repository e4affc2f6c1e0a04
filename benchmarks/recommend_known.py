"""The baselines' networks on Amazon Beauty beside published figures: `make bench-recommend-known`.

22,363 users, 12,101 items, leave-one-out, full ranking, seen items ranked: the protocol of SRA-CL's
tables 1 and 3 (arXiv 2503.04162). They show what each network gives there with a sampled loss, and
SASRec with the full softmax. Ours all learn by the full softmax, so what is above a figure of a
sampled loss is the loss's and not the network's. The test is looked at after each epoch to say when
its HR@20 first was the published one; the epoch is chosen by validation alone. Writes a part of
benchmarks/results/recommend.md, where a network that is not asked for keeps its line.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.recommend import FIGURES, KNOWN, Rows, write_results
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.models import AbstractSequenceModel, find_model
from paperround.kit.recommendation.reading import load_amazon
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import FitTask, Progress, use_fast_arithmetic
from paperround.runs.environment import describe_environment

# Beside each model's own defaults.
TUNED: Mapping[str, Mapping[str, Any]] = {
    # As the published full softmax was trained: every beginning of a history, of at most 20 items.
    # At a steady 1e-3 it came to hr@20 .1132, ndcg@20 .0486; with a falling 2e-3 for 20 epochs to
    # .1163, .0506; windows of 50 items at a steady 2e-3 to .1021, .0428.
    "sasrec": {
        "mode": "prefix",
        "max_len": 20,
        "batch_size": 256,
        "dropout": 0.5,
        "learning_rate": 2e-3,
        "final_share": 0.05,
        "epochs": 32,
        "patience": 12,
    },
    "gru4rec": {"dropout": 0.5, "learning_rate": 2e-3, "epochs": 100, "patience": 5},
    # Rows of 50 items at a steady 1e-3 came to .0523, .0223 in 29 epochs.
    "bert4rec": {
        "max_len": 20,
        "learning_rate": 2e-3,
        "final_share": 0.05,
        "epochs": 100,
        "patience": 40,
    },
    "markov-3": {},
}
# HR@20 and NDCG@20. SASRec's are those of the full softmax; with a sampled loss .0887 and .0382.
PUBLISHED: Mapping[str, tuple[float, float]] = {
    "sasrec": (0.1206, 0.0518),
    "gru4rec": (0.0488, 0.0189),
    "bert4rec": (0.0933, 0.0399),
}


def main() -> None:
    """Trains, evaluates, and writes the part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=list(TUNED), choices=list(TUNED))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=float, help="of training at most, for each network")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    use_fast_arithmetic(arguments.threads)
    split = leave_one_out(load_amazon("beauty"))
    rows: Rows = []
    text = ""
    for name in arguments.models:
        rows.append(measured(name, split, arguments.seed, arguments.seconds))
        print(rows[-1], file=sys.stderr, flush=True)
        # Written after each: what was measured is kept if the next is interrupted.
        text = write_results(
            arguments.out, arguments.threads, {KNOWN: with_earlier(rows, arguments.out)}
        )
    print(text)


def with_earlier(rows: Rows, folder: Path) -> Rows:
    """The rows, and those that were measured before of other networks, in TUNED's order."""
    path = folder / "recommend.json"
    parts = json.loads(path.read_text(encoding="utf-8"))["parts"] if path.is_file() else {}
    part = parts.get(KNOWN, {"rows": []})
    by_name = {
        row["model"]: {"commit": part["environment"]["commit"], **row} for row in part["rows"]
    }
    by_name |= {row["model"]: row for row in rows}
    heads = list(rows[0])
    return [
        {head: by_name[name].get(head, "–") for head in heads} for name in TUNED if name in by_name
    ]


class Watch:
    """Tests a model whenever an epoch is done, until it has the published HR@20."""

    def __init__(self, model: AbstractSequenceModel, split: Split, wanted: float) -> None:
        """The seconds until then go to `reached`, without those of testing, `tested`."""
        self._model, self._test, self._wanted = model, split.test, wanted
        self._began = time.perf_counter()
        self.reached: float | None = None
        self.tested = 0.0

    def __call__(self, progress: Progress) -> None:
        """The trainer's `on_progress`."""
        if progress.batch < progress.batches or self.reached is not None:
            return
        began = time.perf_counter()
        self._model.eval()
        found = evaluate(self._model, self._test, metrics=["hr@20"])["hr@20"]
        if found >= self._wanted:
            self.reached = began - self._began - self.tested
        self.tested += time.perf_counter() - began


def measured(name: str, split: Split, seed: int, seconds: float | None) -> dict[str, object]:
    """One line: the best epoch's test figures, the published ones, how the training went."""
    kind = find_model(name)
    limit = {"seconds": seconds} if "seconds" in kind.options else {}
    chosen = kind.complete({**limit, **TUNED[name]})
    torch.manual_seed(seed)
    model = kind.build(split.train.n_items, chosen)
    row = dict.fromkeys(("published", "reached", "epochs", "stopped", "spent"), "–")
    watch = Watch(model, split, PUBLISHED[name][0]) if name in PUBLISHED else None
    result = kind.fit(model, FitTask(split.train, split.valid, seed, chosen, on_progress=watch))
    found = evaluate(model, split.test)
    if result is not None and watch is not None:
        spent = sum(record.seconds for record in result.epochs) - watch.tested
        row = {
            "published": " / ".join(map(str, PUBLISHED[name])),
            "reached": "not reached" if watch.reached is None else str(round(watch.reached)),
            "epochs": f"{len(result.epochs)} ({result.best_epoch})",
            "stopped": result.stopped,
            "spent": str(round(spent)),
        }
    return {
        "model": name,
        **{figure: round(found[figure], 4) for figure in FIGURES},
        "published hr@20 / ndcg@20": row["published"],
        "seconds to that hr@20": row["reached"],
        "epochs (best)": row["epochs"],
        "stopped by": row["stopped"],
        "seconds trained": row["spent"],
        "commit": describe_environment(1)["commit"],
        "options": ", ".join(f"{key} {value}" for key, value in TUNED[name].items()) or "–",
    }


if __name__ == "__main__":
    main()
