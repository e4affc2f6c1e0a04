"""How fast sequential recommendation trains and answers, and how well: `make bench-recommend`.

Three parts, each a table in benchmarks/results/recommend.md and its figures in recommend.json:

1. SASRec on MovieLens-100K and Amazon Beauty (leave-one-out, full ranking, seen items ranked too),
   ours and RecBole's, one after the other on the same machine, same data in the same order, same
   network, same dropout, each with its own batches: interactions learnt a second, time of one
   evaluation, what the best epoch on validation gives on the test, and after how many seconds of
   training the test first showed the known figure. Markov-3 stands beside them.
2. Recommending to 1 and to 1,000 users, with seen items left out, with 12,000 and with 1,000,000
   items; RecBole's scoring and top-k (seen items left in) for the data that it was trained on.
3. What RecBole could not be measured on, and why, if so.

RecBole 1.2.1 needs NumPy 1 and other old versions, so this script makes an environment for it under
the cache (`--venv`, about 1.5 GB, made once). Where that fails the tables say so and have our part.
`--quick` runs everything small, to see that it works; its figures mean nothing.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paperround.clock import utc_now
from paperround.kit.recommendation import Recommender
from paperround.kit.recommendation.counting import Markov
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.evaluation import Evaluation, evaluate
from paperround.kit.recommendation.interactions import InteractionLog, k_core, sample_users
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.reading import load_amazon, load_movielens_100k
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import Trainer, TrainingPlan, use_fast_arithmetic
from paperround.runs.environment import describe_environment
from paperround.settings import get_settings

RECBOLE = "recbole==1.2.1"
# What RecBole 1.2.1 imports on this path, at the newest versions that it works with. Its own list
# asks for ray and more, which only its hyper-parameter search uses.
RECBOLE_NEEDS = (
    "numpy<2", "pandas<2.3", "scipy<1.14", "scikit-learn<1.6", "setuptools<80", "colorlog==4.7.2",
    "colorama==0.4.4", "pyyaml", "tqdm", "tensorboard", "texttable", "tabulate", "psutil",
)  # fmt: skip
_FIGURES = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
_TOP = 10

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Case:
    """A data set, how both train on it, and the figure that counts as SASRec's known quality.

    MovieLens-100K: NDCG@10 .0553, the mean of two seeds of SASRec with full softmax. Beauty: HR@20
    .1206, SRA-CL's backbone without its method (its ablation; histories of 20 there). Batches: ours
    hold rows of up to 50 targets, RecBole's are its default of 2,048 prefixes.
    """

    name: str
    dropout: float
    batch_size: int
    known: tuple[str, float]
    epochs: int = 200
    patience: int = 10
    seconds: float = 1e9
    learning_rate: float = 1e-3
    d_model: int = 64
    max_len: int = 50


CASES = (
    Case("ml-100k", dropout=0.2, batch_size=32, known=("ndcg@10", 0.0553), patience=15),
    Case("amazon-beauty", dropout=0.5, batch_size=128, known=("hr@20", 0.1206)),
)


def main() -> None:
    """Measures, prints, and writes both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", nargs="*", default=[case.name for case in CASES])
    parser.add_argument("--quick", action="store_true", help="everything small, to see it work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--epochs", type=int, help="at most this many, for both")
    parser.add_argument(
        "--seconds", type=float, default=1500.0, help="of training at most, for each of both"
    )
    parser.add_argument("--no-recbole", action="store_true", help="our part alone")
    parser.add_argument("--venv", type=Path, help="where RecBole's environment is or goes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    use_fast_arithmetic(arguments.threads)
    environment = arguments.venv or get_settings().cache_dir / "recbole-venv"
    notes: list[str] = []
    python = None
    if arguments.no_recbole:
        notes.append("RecBole was left out (`--no-recbole`).")
    else:
        try:
            python = recbole_python(environment)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or str(error)
            notes.append(f"RecBole could not be installed: {str(said).strip().splitlines()[-1]}")
    training: Rows = []
    answering: Rows = []
    for case in CASES:
        if case.name in arguments.data:
            small = Case(case.name, case.dropout, 64, case.known, epochs=2, d_model=16, max_len=20)
            case = small if arguments.quick else case
            case = replace(case, seconds=arguments.seconds, epochs=arguments.epochs or case.epochs)
            log = read(case.name)
            log = sample_users(log, 300, seed=0) if arguments.quick else log
            split = leave_one_out(log)
            training.append(ours(case, split, arguments.seed))
            training.append(counting(case, split))
            if python is not None:
                rows, answers, failed = theirs(case, log, python, arguments)
                training += rows
                answering += answers
                notes += failed
    sizes = (1_000, 20_000) if arguments.quick else (12_000, 1_000_000)
    answering += [row for n_items in sizes for row in latency(n_items, arguments.seed)]
    sections = {
        "SASRec: training, evaluation, quality": training,
        "Recommending, milliseconds": answering,
    }
    write_results(
        arguments.out, describe_environment(arguments.threads), sections, notes, arguments.quick
    )


def read(name: str) -> InteractionLog:
    """The 5-core of a data set."""
    if name == "ml-100k":
        return k_core(load_movielens_100k())
    return load_amazon(name.removeprefix("amazon-"))


def ours(case: Case, split: Split, seed: int) -> dict[str, object]:
    """Our SASRec, timed; evaluated on the test after every epoch for the time to a known figure."""
    torch.manual_seed(seed)
    encoder = SASRec(
        split.train.n_items, d_model=case.d_model, max_len=case.max_len, dropout=case.dropout
    )
    data = SequenceDataset(split.train, "windows", case.max_len, shift=True)
    epochs: list[dict[str, Any]] = []
    plan = TrainingPlan(
        epochs=1,
        batch_size=case.batch_size,
        learning_rate=case.learning_rate,
        patience=case.patience,
    )
    # One epoch at a time, going on from the checkpoint, so that each can be tested in between.
    with tempfile.TemporaryDirectory() as folder:
        best, waited, spent = -1.0, 0, 0.0
        for epoch in range(1, case.epochs + 1):
            trainer = Trainer(
                encoder,
                data,
                split.valid,
                next_items(),
                replace(plan, epochs=epoch, patience=case.epochs + 1),
                seed=seed,
                checkpoint=Path(folder, "state"),
            )
            record = trainer.fit().epochs[-1]
            last = torch.load(Path(folder, "state"), weights_only=True)["encoder"]
            kept = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
            encoder.load_state_dict(last)
            test = evaluate(encoder, split.test)
            encoder.load_state_dict(kept)
            assert record.metric is not None
            spent += record.seconds
            waited = 0 if record.metric > best else waited + 1
            best = max(best, record.metric)
            epochs.append(
                {
                    "epoch": epoch,
                    "seconds": record.seconds,
                    "eval_seconds": record.eval_seconds,
                    "valid": record.metric,
                    "test": {name: test[name] for name in _FIGURES},
                }
            )
            if waited >= case.patience or spent >= case.seconds:
                break
    return training_row(case, "Paperround", epochs, data.n_targets, len(split.test))


def counting(case: Case, split: Split) -> dict[str, object]:
    """Markov-3 on the same split."""
    started = time.perf_counter()
    model = Markov(split.train.n_items, 3).fit(split.train)
    fitted = time.perf_counter() - started
    started = time.perf_counter()
    found: Evaluation = evaluate(model, split.test)
    return {
        "data": case.name,
        "program": "Paperround, Markov-3",
        "interactions a second": round(len(split.train) / fitted),
        "epochs (best)": "–",
        "seconds trained": round(fitted, 2),
        "seconds to the known figure": "–",
        "evaluation, s": round(time.perf_counter() - started, 2),
        **{name: round(found[name], 4) for name in _FIGURES},
    }


def training_row(
    case: Case, program: str, epochs: list[dict[str, Any]], n_targets: int, n_cases: int
) -> dict[str, object]:
    """One line of the first table; the test figures are those of the best validation epoch."""
    best = max(epochs, key=lambda epoch: epoch["valid"])
    metric, known = case.known
    reached, spent = None, 0.0
    for epoch in epochs:
        spent += epoch["seconds"]
        if reached is None and epoch["test"][metric] >= known:
            reached = spent
    # The first epoch warms caches and allocators up.
    steady = [epoch["seconds"] for epoch in epochs[1:]] or [epochs[0]["seconds"]]
    return {
        "data": case.name,
        "program": program,
        "interactions a second": round(n_targets / statistics.median(steady)),
        "epochs (best)": f"{len(epochs)} ({best['epoch']})",
        "seconds trained": round(spent, 1),
        "seconds to the known figure": (
            f"not reached ({metric} {known})" if reached is None else round(reached, 1)
        ),
        "evaluation, s": round(statistics.median(e["eval_seconds"] for e in epochs), 2),
        **{name: round(best["test"][name], 4) for name in _FIGURES},
    }


def recbole_python(folder: Path) -> Path:
    """The Python of an environment that has RecBole; makes it where it is not there yet."""
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = folder / "ready"
    if done.is_file() and done.read_text(encoding="utf-8") == _recipe():
        return python
    print(f"Making an environment for RecBole in {folder} (minutes, once)", file=sys.stderr)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for what in ([_torch(), *RECBOLE_NEEDS], ["--no-deps", RECBOLE, "thop"]):
        subprocess.run([*pip, *what], check=True, capture_output=True, text=True, timeout=3600)
    done.write_text(_recipe(), encoding="utf-8")
    return python


def _torch() -> str:
    # The same torch for both: what is compared is what stands on it.
    return f"torch=={torch.__version__.partition('+')[0]}"


def _recipe() -> str:
    return " ".join((_torch(), *RECBOLE_NEEDS, RECBOLE))


def theirs(
    case: Case, log: InteractionLog, python: Path, arguments: argparse.Namespace
) -> tuple[Rows, Rows, list[str]]:
    """RecBole's SASRec on the same log: its lines for both tables, and what failed."""
    with tempfile.TemporaryDirectory() as folder:
        write_atomic(Path(folder, "log", "log.inter"), log)
        task = {
            "data": folder,
            "name": "log",
            "seed": arguments.seed,
            "threads": arguments.threads,
            "epochs": case.epochs,
            "patience": case.patience,
            "seconds": case.seconds,
            "d_model": case.d_model,
            "max_len": case.max_len,
            "dropout": case.dropout,
            "batch_size": 2048,
            "latency_users": [1, min(1000, log.n_users)],
        }
        script = Path(__file__).with_name("recbole_sasrec.py")
        done = subprocess.run(
            [str(python), str(script), json.dumps(task)],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            check=False,
        )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return [], [], [f"RecBole failed on {case.name}: {reason}"]
    about = next(line for line in lines if line["kind"] == "data")
    epochs = [
        {**line, "test": {name.replace("hit@", "hr@"): v for name, v in line["test"].items()}}
        for line in lines
        if line["kind"] == "epoch"
    ]
    answers = [
        latency_row("RecBole", about["items"], line["users"], line["ms"])
        for line in lines
        if line["kind"] == "latency"
    ]
    return [training_row(case, "RecBole", epochs, about["rows"], about["users"])], answers, []


def write_atomic(path: Path, log: InteractionLog) -> None:
    """The log in RecBole's format; times are places, so that its order is ours inside ties too."""
    path.parent.mkdir(parents=True)
    place = np.arange(len(log)) - log.offsets[log.user]
    with path.open("w", encoding="utf-8") as file:
        file.write("user_id:token\titem_id:token\ttimestamp:float\n")
        file.writelines(
            f"u{user}\ti{item}\t{when}\n"
            for user, item, when in zip(log.user, log.item, place, strict=True)
        )


def latency(n_items: int, seed: int) -> Iterator[dict[str, object]]:
    """Ours, for 1 and for 1,000 users; weights are drawn, since the time does not hang on them."""
    rng = np.random.default_rng(seed)
    n_users, length = 1_000, 30
    log = InteractionLog(
        np.repeat(np.arange(n_users), length),
        rng.integers(1, n_items + 1, n_users * length),
        None,
        [f"user {n}" for n in range(n_users)],
        range(n_items),
    )
    torch.manual_seed(seed)
    recommender = Recommender.from_model(SASRec(n_items), log)
    everyone = list(log.user_ids)
    for users, repeats in ((1, 100), (n_users, 5)):
        took = []
        for number in range(repeats + 2):
            asked = everyone if users > 1 else [everyone[number % n_users]]
            started = time.perf_counter()
            recommender.recommend(asked, k=_TOP)
            took.append(1000 * (time.perf_counter() - started))
        yield latency_row("Paperround", n_items, users, took[2:])


def latency_row(
    program: str, n_items: int, users: int, took_ms: Sequence[float]
) -> dict[str, object]:
    """One line of the second table."""
    goal = {(12_000, 1): "under 5", (1_000_000, 1): "under 20"}.get((n_items, users), "")
    return {
        "program": program,
        "items": n_items,
        "users": users,
        "median": round(statistics.median(took_ms), 2),
        "95th percentile": round(float(np.quantile(took_ms, 0.95)), 2),
        "goal": goal if program == "Paperround" else "",
    }


def write_results(
    folder: Path,
    environment: Mapping[str, object],
    sections: Mapping[str, Rows],
    notes: Sequence[str],
    quick: bool,
) -> None:
    """Prints the tables, and writes recommend.md and recommend.json."""
    day = utc_now().date().isoformat()
    load = os.getloadavg()[0]
    lines = [
        "# Sequential recommendation, measured",
        "",
        f"{day}, {environment['processor']}, {environment['cores']} cores, "
        f"{environment['threads']} threads, Python {environment['python']}, commit "
        f"{environment['commit']}, at a load of {load:.1f}. `make bench-recommend` prints these "
        "again.",
    ]
    if quick:
        lines += ["", "**A quick run on samples: it works; the figures mean nothing.**"]
    for title, rows in sections.items():
        if rows:
            heads = list(rows[0])
            lines += ["", f"## {title}", "", f"| {' | '.join(heads)} |"]
            lines += [f"|{' --- |' * len(heads)}"]
            lines += [f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows]
    lines += [f"\n{note}" for note in notes]
    text = "\n".join(lines) + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recommend.md").write_text(text, encoding="utf-8")
    figures = {"date": day, "environment": environment, "sections": sections, "notes": list(notes)}
    (folder / "recommend.json").write_text(
        json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
