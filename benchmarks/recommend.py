"""How fast sequential recommendation trains and answers, and how well: `make bench-recommend`.

Each part is a table in benchmarks/results/recommend.md, and its figures are in recommend.json:

1. SASRec on MovieLens-100K and Amazon Beauty (leave-one-out, full ranking, seen items ranked too),
   ours and RecBole's, one after the other on the same machine, same data in the same order, same
   network, same dropout, each with its own batches (RecBole with the fastest of three sizes), both
   with the same seconds of training: what is learnt a second, the quality of the best epoch in
   those seconds, when the test first showed the known figure, the time of one evaluation. Markov-3
   stands beside them. The seconds are a budget, not enough for RecBole to converge on a small
   machine; `--seconds 1e9` trains both to their patience.
2. Recommending to 1 and to 1,000 users, with seen items left out, with 12,000 and with 1,000,000
   items; RecBole's scoring and top-k (seen items left in) for the data that it was trained on.
3. SASRec, GRU4Rec and BERT4Rec on Amazon Beauty beside published figures: recommend_known.py.

A part that is not measured keeps what was measured before. RecBole 1.2.1 needs NumPy 1 and other
old versions, so this script makes an environment for it under the cache (`--venv`, about 1.5 GB,
made once). Where that fails the tables say so and have our part. `--quick` runs everything small,
to see that it works, and writes nothing: its figures mean nothing.
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
from paperround.kit.recommendation.training import (
    Trainer,
    TrainingPlan,
    use_fast_arithmetic,
)
from paperround.runs.environment import describe_environment
from paperround.settings import get_settings

RECBOLE = "recbole==1.2.1"
# What RecBole 1.2.1 imports on this path, at the newest versions that it works with. Its own list
# asks for ray and more, which only its hyper-parameter search uses.
RECBOLE_NEEDS = (
    "numpy<2", "pandas<2.3", "scipy<1.14", "scikit-learn<1.6", "setuptools<80", "colorlog==4.7.2",
    "colorama==0.4.4", "pyyaml", "tqdm", "tensorboard", "texttable", "tabulate", "psutil",
)  # fmt: skip
# Its default first; the one that learns most a second in a trial is what it trains with.
RECBOLE_BATCHES = (2048, 512, 128)
FIGURES = ("hr@10", "ndcg@10", "hr@20", "ndcg@20")
_TOP = 10
OURS, THEIRS = "Paperround", "RecBole"
TRAINING = "SASRec: training, evaluation, quality"
ANSWERING = "Recommending, milliseconds"
KNOWN = "Networks beside published figures"

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Case:
    """A data set, how both train on it, and the figure that counts as SASRec's known quality.

    MovieLens-100K: NDCG@10 .0553, the mean of two seeds of SASRec with full softmax. Beauty: HR@20
    .1206, SRA-CL's backbone without its method (its ablation; histories of 20 there). Batches: ours
    hold rows of up to 50 targets, RecBole's are prefixes, one target each.
    """

    name: str
    dropout: float
    batch_size: int
    known: tuple[str, float]
    seconds: float
    eval_every: int = 1
    epochs: int = 200
    patience: int = 10
    learning_rate: float = 1e-3
    d_model: int = 64
    max_len: int = 50


CASES = (
    Case("ml-100k", 0.2, 32, known=("ndcg@10", 0.0553), seconds=75, patience=15),
    Case("amazon-beauty", 0.5, 128, known=("hr@20", 0.1206), seconds=100, eval_every=3),
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
    parser.add_argument("--seconds", type=float, help="of training, for each of both, on any data")
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
    sizes = (1_000, 20_000) if arguments.quick else (12_000, 1_000_000)
    answering = [row for n_items in sizes for row in latency(n_items, arguments.seed)]
    training: Rows = []
    text = ""
    for case in CASES:
        if case.name not in arguments.data:
            continue
        case, log = asked(case, arguments)
        split = leave_one_out(log)
        measured = [ours(case, split, arguments.seed), counting(case, split)]
        if python is not None:
            rows, answers, said_of_it = theirs(case, log, python, arguments)
            measured += rows
            answering += answers
            notes += said_of_it
        training += measured + ratios(measured)
        # Written after each data set: what was measured is kept if the next is interrupted.
        text = write_results(
            arguments.out,
            arguments.threads,
            {TRAINING: training, ANSWERING: answering},
            notes,
            quick=arguments.quick,
        )
    print(text)


def asked(case: Case, arguments: argparse.Namespace) -> tuple[Case, InteractionLog]:
    """The case as the options want it, and its log."""
    log = read(case.name)
    if arguments.quick:
        case = replace(
            case, batch_size=64, epochs=2, d_model=16, max_len=20, eval_every=1, seconds=10
        )
        log = sample_users(log, 300, seed=0)
    if arguments.seconds is not None:
        case = replace(case, seconds=arguments.seconds)
    return replace(case, epochs=arguments.epochs or case.epochs), log


def read(name: str) -> InteractionLog:
    """The 5-core of a data set."""
    if name == "ml-100k":
        return k_core(load_movielens_100k())
    return load_amazon(name.removeprefix("amazon-"))


def ours(case: Case, split: Split, seed: int) -> dict[str, object]:
    """Our SASRec for the case's seconds, tested on the way for the time to the known figure."""
    torch.manual_seed(seed)
    encoder = SASRec(
        split.train.n_items, d_model=case.d_model, max_len=case.max_len, dropout=case.dropout
    )
    data = SequenceDataset(split.train, "windows", case.max_len, shift=True)
    epochs: list[dict[str, Any]] = []
    plan = TrainingPlan(batch_size=case.batch_size, learning_rate=case.learning_rate)
    # Some epochs at a time, going on from the checkpoint, so that each can be tested in between.
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder, "state")
        best, waited, spent, done = -1.0, 0, 0.0, 0
        while waited < case.patience and spent < case.seconds and done < case.epochs:
            wanted = min(case.epochs, done + case.eval_every)
            trainer = Trainer(
                encoder,
                data,
                None,
                next_items(),
                replace(plan, epochs=wanted),
                seed=seed,
                checkpoint=state,
            )
            records = trainer.fit().epochs[done:]
            started = time.perf_counter()
            valid = evaluate(encoder, split.valid, metrics=["ndcg@10"])["ndcg@10"]
            validated = time.perf_counter() - started
            test = evaluate(encoder, split.test)
            seconds = sum(record.seconds for record in records)
            spent, done = spent + seconds, wanted
            waited = 0 if valid > best else waited + 1
            best = max(best, valid)
            epochs.append(
                {
                    "epoch": done,
                    "targets": data.n_targets * len(records),
                    "seconds": seconds,
                    "eval_seconds": validated,
                    "valid": valid,
                    "test": {name: test[name] for name in FIGURES},
                }
            )
    return training_row(case, OURS, epochs, len(split.test))


def counting(case: Case, split: Split) -> dict[str, object]:
    """Markov-3 on the same split."""
    started = time.perf_counter()
    model = Markov(split.train.n_items, 3).fit(split.train)
    fitted = time.perf_counter() - started
    started = time.perf_counter()
    found: Evaluation = evaluate(model, split.test)
    return {
        "data": case.name,
        "program": f"{OURS}, Markov-3",
        "interactions a second": round(len(split.train) / fitted),
        "epochs (best)": "–",
        "seconds trained": round(fitted, 2),
        "seconds to the known figure": "–",
        "evaluation, s": round(time.perf_counter() - started, 2),
        "cases": len(found),
        **{name: round(found[name], 4) for name in FIGURES},
    }


def training_row(
    case: Case, program: str, epochs: list[dict[str, Any]], n_cases: int
) -> dict[str, object]:
    """One line of the first table; the test figures are those of the best validation epoch."""
    best = max(epochs, key=lambda epoch: epoch["valid"])
    metric, known = case.known
    reached, spent = None, 0.0
    for epoch in epochs:
        spent += epoch["seconds"]
        if reached is None and epoch["test"][metric] >= known:
            reached = spent
    return {
        "data": case.name,
        "program": program,
        "interactions a second": round(sum(epoch["targets"] for epoch in epochs) / spent),
        "epochs (best)": f"{epochs[-1]['epoch']:.3g} ({best['epoch']:.3g})",
        "seconds trained": round(spent, 1),
        "seconds to the known figure": (
            f"not reached ({metric} {known})" if reached is None else round(reached, 1)
        ),
        "evaluation, s": round(statistics.median(e["eval_seconds"] for e in epochs), 2),
        "cases": n_cases,
        **{name: round(best["test"][name], 4) for name in FIGURES},
    }


def ratios(rows: Rows) -> Rows:
    """Per data set, our figures divided by RecBole's; the goal is 2 in speed and 1 in NDCG@10."""
    made: Rows = []
    for name in dict.fromkeys(row["data"] for row in rows):
        by_program = {row["program"]: row for row in rows if row["data"] == name}
        if OURS in by_program and THEIRS in by_program:
            ours_row, theirs_row = by_program[OURS], by_program[THEIRS]
            blank: dict[str, object] = dict.fromkeys(ours_row, "")
            made.append(
                {
                    **blank,
                    "data": name,
                    "program": f"{OURS} / {THEIRS}",
                    "interactions a second": _ratio(ours_row, theirs_row, "interactions a second"),
                    "evaluation, s": _ratio(ours_row, theirs_row, "evaluation, s"),
                    **{figure: _ratio(ours_row, theirs_row, figure) for figure in FIGURES},
                }
            )
    return made


def _ratio(one: Mapping[str, Any], other: Mapping[str, Any], name: str) -> str:
    return f"{one[name] / other[name]:.2f} x" if other[name] else "–"


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
    """RecBole's SASRec on the same log: its lines for both tables, and notes."""
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
            "batch_sizes": RECBOLE_BATCHES,
            "trial": 3 if arguments.quick else 10,
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
        latency_row(THEIRS, about["items"], line["users"], line["ms"])
        for line in lines
        if line["kind"] == "latency"
    ]
    trial = next(line for line in lines if line["kind"] == "trial")
    rates = ", ".join(f"{size}: {rate:.0f}" for size, rate in trial["rates"].items())
    note = f"RecBole's interactions a second on {case.name} by size of batch: {rates}."
    return [training_row(case, THEIRS, epochs, about["users"])], answers, [note]


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
        yield latency_row(OURS, n_items, users, took[2:])


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
        "goal": goal if program == OURS else "",
    }


def write_results(
    folder: Path,
    threads: int,
    measured: Mapping[str, Rows],
    notes: Sequence[str] = (),
    *,
    quick: bool = False,
) -> str:
    """All tables, also written to recommend.md and recommend.json: these parts, earlier others."""
    environment = describe_environment(threads)
    path = folder / "recommend.json"
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"parts": {}}
    about = {
        "date": utc_now().date().isoformat(),
        "load": round(os.getloadavg()[0], 1),
        "environment": environment,
    }
    parts = {} if quick else dict(earlier["parts"])
    parts |= {title: {**about, "rows": rows} for title, rows in measured.items() if rows}
    if TRAINING in measured:
        parts[TRAINING]["notes"] = list(notes)
    lines = [
        "# Sequential recommendation, measured",
        "",
        "`make bench-recommend` prints these again; what they mean stands in "
        "benchmarks/recommend.py.",
    ]
    if quick:
        lines += ["", "**A quick run on samples: it works; the figures mean nothing.**"]
    for title in (TRAINING, ANSWERING, KNOWN):
        if title in parts:
            lines += part_lines(title, parts[title])
    text = "\n".join(lines) + "\n"
    if not quick:
        folder.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".md").write_text(text, encoding="utf-8")
        path.write_text(
            json.dumps({"parts": parts}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    return text


def part_lines(title: str, part: Mapping[str, Any]) -> list[str]:
    """A heading, when and where it was measured, the table, the notes."""
    where, rows = part["environment"], part["rows"]
    heads = list(rows[0])
    return [
        "",
        f"## {title}",
        "",
        f"{part['date']}, {where['processor']}, {where['cores']} cores, {where['threads']} "
        f"threads, Python {where['python']}, commit {where['commit']}, load {part['load']}.",
        "",
        f"| {' | '.join(heads)} |",
        f"|{' --- |' * len(heads)}",
        *(f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows),
        *(f"\n{note}" for note in part.get("notes", ())),
    ]


if __name__ == "__main__":
    main()
