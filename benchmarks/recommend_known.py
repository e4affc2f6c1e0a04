"""The baselines' networks on Amazon Beauty beside published figures: `make bench-recommend-known`.

22,363 users, 12,101 items, leave-one-out, full ranking, seen items ranked: the protocol of SRA-CL's
tables 1 and 3 (arXiv 2503.04162). They show what each network gives there with a sampled loss, and
SASRec with the full softmax. Ours all learn by the full softmax, so what is above a figure of a
sampled loss is the loss's and not the network's. Writes a part of benchmarks/results/recommend.md.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.recommend import FIGURES, KNOWN, Rows, write_results
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.models import find_model
from paperround.kit.recommendation.reading import load_amazon
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import FitTask, use_fast_arithmetic

# Beside each model's own defaults. BERT4Rec's patience has to outlast a slow start.
TUNED: Mapping[str, Mapping[str, Any]] = {
    # As the published full softmax was trained: every beginning of a history, of at most 20 items.
    # Windows of 50 items at twice the learning rate came to hr@20 .1021, ndcg@20 .0428.
    "sasrec": {
        "mode": "prefix",
        "max_len": 20,
        "batch_size": 256,
        "dropout": 0.5,
        "epochs": 100,
        "patience": 6,
    },
    "gru4rec": {"dropout": 0.5, "learning_rate": 2e-3, "epochs": 100, "patience": 5},
    "bert4rec": {"epochs": 200, "patience": 20},
    "markov-3": {},
}
PUBLISHED: Mapping[str, str] = {
    "sasrec": ".1206 / .0518 full softmax; .0887 / .0382 sampled loss",
    "gru4rec": ".0488 / .0189",
    "bert4rec": ".0933 / .0399",
    "markov-3": "–",
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
        text = write_results(arguments.out, arguments.threads, {KNOWN: rows})
    print(text)


def measured(name: str, split: Split, seed: int, seconds: float | None) -> dict[str, object]:
    """One line: the best epoch's test figures, the published ones, how the training went."""
    kind = find_model(name)
    limit = {"seconds": seconds} if "seconds" in kind.options else {}
    chosen = kind.complete({**limit, **TUNED[name]})
    torch.manual_seed(seed)
    model = kind.build(split.train.n_items, chosen)
    result = kind.fit(model, FitTask(split.train, split.valid, seed, chosen))
    found = evaluate(model, split.test)
    epochs, stopped, spent = "–", "–", "–"
    if result is not None:
        epochs = f"{len(result.epochs)} ({result.best_epoch})"
        stopped = result.stopped
        spent = str(round(sum(record.seconds for record in result.epochs)))
    return {
        "model": name,
        **{figure: round(found[figure], 4) for figure in FIGURES},
        "published hr@20 / ndcg@20": PUBLISHED[name],
        "epochs (best)": epochs,
        "stopped by": stopped,
        "seconds trained": spent,
        "options": ", ".join(f"{key} {value}" for key, value in TUNED[name].items()) or "–",
    }


if __name__ == "__main__":
    main()
