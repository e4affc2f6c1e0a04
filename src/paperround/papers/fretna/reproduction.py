"""Measures the paper's claims: one translator, re-translated in three ways, beside wait-k.

`trials.py` trains and streams, `evaluation.py` turns streams into numbers, `report.py` shows them.
The quick scale learns a toy language, the standard scale English to German.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from paperround.errors import UsageError
from paperround.kit.language_models import use_threads
from paperround.kit.translation import (
    Pair,
    TrainingPlan,
    TranslatorSize,
    learn_tokenizer,
    read_multi30k,
)
from paperround.papers.fretna import report
from paperround.papers.fretna.comparison import (
    AR_WAYS,
    BIASED,
    FRETNA,
    LEVT_WAYS,
    ONCE,
    ORDER,
    RETA,
    TIMED,
    WAIT_3,
    WAIT_WAYS,
    Outcome,
    one,
)
from paperround.papers.fretna.evaluation import Scores, mean_from, score, slope, timed
from paperround.papers.fretna.toy import toy_pairs
from paperround.papers.fretna.trials import (
    Job,
    Teaching,
    distil_all,
    load_model,
    load_tokenizer,
    run_all,
    teach,
    write_pairs,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

# Claims on time and passes look at updates from this source word on: short ones say little.
LONG = 12


@dataclass(frozen=True)
class Size:
    """How much of everything a scale does."""

    model: TranslatorSize
    vocabulary: int
    # Of the teacher, then of every arm that goes on from it.
    teacher: TrainingPlan
    further: TrainingPlan
    n_distilled: int
    n_timed: int
    title: str
    # The teacher's training: of so small a model, two threads only wait for each other.
    threads: int = 64


# The quick scale's toy language; ours, tried until it was learnt in seconds.
QUICK = Size(
    model=TranslatorSize(
        d_model=64,
        n_encoder_layers=1,
        n_decoder_layers=2,
        n_heads=4,
        d_ffn=128,
        dropout=0.0,
        init_std=64**-0.5,
    ),
    vocabulary=200,
    teacher=TrainingPlan(
        steps=150, batch_tokens=600, learning_rate=4e-3, prefix_share=0.5, label_smoothing=0.0
    ),
    further=TrainingPlan(
        steps=150, batch_tokens=600, learning_rate=4e-3, prefix_share=0.5, label_smoothing=0.0
    ),
    n_distilled=2_000,
    n_timed=5,
    title="toy language",
    threads=1,
)
# Smaller than fairseq's by far: what two cores train in minutes. Small batches, since updates count
# more than examples so early.
STANDARD = Size(
    model=TranslatorSize(d_model=192, d_ffn=768, init_std=192**-0.5),
    vocabulary=4_000,
    teacher=TrainingPlan(steps=450, batch_tokens=2_000, prefix_share=0.5),
    further=TrainingPlan(steps=130, batch_tokens=2_000, learning_rate=1e-3, prefix_share=0.5),
    n_distilled=8_000,
    n_timed=8,
    title="English to German",
)
_TOY_TRAIN, _TOY_TEST = 4_000, 40
_REAL_TEST = 200
_FEW = 4_000
# A translator below it has not learnt to translate, and what is little worse has not either.
LEAST_BLEU = 10.0
# Longer texts are few, and cost all others of their batch padding.
_LONGEST_WORDS = 40

Data = tuple[list[Pair], list[Pair]]


def toy_data(run: Run) -> Data:
    """Pairs of the toy language to train on and to measure on; no source is in both."""
    test = toy_pairs(_TOY_TEST, run.seeds[0] + 1_000)
    seen = frozenset(pair.source for pair in test)
    return toy_pairs(_TOY_TRAIN, run.seeds[0], without=seen), test


def multi30k_data(run: Run) -> Data:
    """Multi30k's training pairs, and the first of its test of 2016."""
    folder = run.asset("multi30k")
    train = [
        pair
        for pair in map(_spaced, read_multi30k(folder, "train"))
        if max(len(side.split()) for side in pair) <= _LONGEST_WORDS
    ]
    return train, [_spaced(pair) for pair in read_multi30k(folder, "test")[:_REAL_TEST]]


def _spaced(pair: Pair) -> Pair:
    """The pair with signs as words of their own: a full stop that comes changes no word."""
    return Pair(*(" ".join(re.sub(r"([^\w\s])", r" \1 ", side).split()) for side in pair))


SCALES: Mapping[Scale, tuple[Size, Callable[[Run], Data]]] = {
    Scale.QUICK: (QUICK, toy_data),
    Scale.STANDARD: (STANDARD, multi30k_data),
}


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale not in SCALES:
        raise UsageError(
            "fretna's full scale is a configuration nobody has run: WMT with a base Transformer; "
            "see full.toml in the room. Use quick or standard"
        )
    size, data = SCALES[run.scale]
    use_threads(min(run.threads, size.threads))
    train, test = data(run)
    teaching = prepare(run, size, train, test)
    with run.stage("train the translator", size.teacher.steps) as stage:
        teach(teaching, lambda step, loss: stage.advance())
    with run.stage("let it translate what it has learnt from"):
        # Processes of their own only where they save more than they take to start.
        distil_all(teaching, run.threads if size.n_distilled > _FEW else 1)
    outcomes = train_arms(run, size, teaching, test, run.threads)
    quality_and_steadiness(run, outcomes)
    passes(run, outcomes)
    seconds = time_updates(run, size, outcomes, test)
    report.show_arms(run, size.title, outcomes, seconds, test)
    report.show_growth(run, size.title, outcomes, seconds)
    report.show_streams(run, outcomes, test)


def prepare(run: Run, size: Size, train: Sequence[Pair], test: Sequence[Pair]) -> Teaching:
    """Keeps pairs and tokenizer where the jobs find them; what the teacher is to learn."""
    folder = run.scratch / "models"
    folder.mkdir()
    write_pairs(folder, "pairs", train)
    write_pairs(folder, "test", test)
    learn_tokenizer(train, size.vocabulary).save_pretrained(folder)
    return Teaching(folder, size.model, size.teacher, run.seeds[0], size.n_distilled)


def train_arms(
    run: Run, size: Size, teaching: Teaching, test: Sequence[Pair], processes: int
) -> list[Outcome]:
    """Every arm trained from the teacher and run over the test sentences, in the order shown."""
    first = run.seeds[0]
    # The long ones first, so that no processor is idle at the end.
    jobs = [
        Job(
            teaching.folder,
            "levt",
            seed,
            size.further,
            (*LEVT_WAYS, *(ONCE if seed == first else ())),
        )
        for seed in run.seeds
    ]
    jobs.append(Job(teaching.folder, "ar", first, size.further, AR_WAYS))
    jobs.append(Job(teaching.folder, "wait-k", first, size.further, WAIT_WAYS))
    references = [pair.target for pair in test]
    by_name = {way.name: way for way in ORDER}
    outcomes = []
    with run.stage("train and stream the arms", len(jobs)) as stage:
        for job, streams in run_all(jobs, processes):
            outcomes += [
                Outcome(by_name[name], job.seed, job, rows, score(rows, references))
                for name, rows in streams.items()
            ]
            stage.advance()
    return sorted(outcomes, key=lambda outcome: (ORDER.index(outcome.way), outcome.seed))


def quality_and_steadiness(run: Run, outcomes: Sequence[Outcome]) -> None:
    """Abstracts: a small drop in quality against re-translation, better than wait-k; steadier.

    Quality is compared only where the baseline translates: a small drop from nothing is no drop.
    """
    reta, wait = one(outcomes, RETA).scores, one(outcomes, WAIT_3).scores
    for seed in run.seeds:
        plain, biased = (one(outcomes, way, seed).scores for way in (FRETNA, BIASED))
        for claim, ours, theirs in (
            ("quality", plain, reta),
            ("wait-k-quality", plain, wait),
            ("append-bias-quality", biased, plain),
        ):
            if theirs.bleu >= LEAST_BLEU:
                run.measure(claim, ours.bleu - theirs.bleu, baseline=theirs.bleu, seed=seed)
            else:
                run.note(
                    f"{claim}, seed {seed}: the baseline has BLEU {theirs.bleu:.1f}; below "
                    f"{LEAST_BLEU:g} nothing is compared with it."
                )
        run.measure(
            "length",
            plain.n_words / max(1, reta.n_words),
            baseline=reta.n_words,
            seed=seed,
        )
        run.measure(
            "steadiness",
            plain.erasure / _some(reta.erasure, reta),
            baseline=reta.erasure,
            seed=seed,
        )
        run.measure(
            "click-n-edit",
            plain.click_n_edit / _some(reta.click_n_edit, reta),
            baseline=reta.click_n_edit,
            seed=seed,
        )
        run.measure(
            "append-bias-steadiness",
            biased.erasure / _some(plain.erasure, plain),
            baseline=plain.erasure,
            seed=seed,
        )


def passes(run: Run, outcomes: Sequence[Outcome]) -> None:
    """An update's decoder passes, counted: few, and no more for a longer source."""
    reta = [stream.passes for stream in one(outcomes, RETA).streams]
    for seed in run.seeds:
        ours = [stream.passes for stream in one(outcomes, FRETNA, seed).streams]
        run.measure("passes-slope", slope(ours) / slope(reta), baseline=slope(reta), seed=seed)
        many = mean_from(reta, LONG)
        run.measure("passes", many / mean_from(ours, LONG), baseline=many, seed=seed)


def time_updates(
    run: Run, size: Size, outcomes: Sequence[Outcome], test: Sequence[Pair]
) -> dict[str, list[list[float]]]:
    """The seconds of single updates by way, measured for the claims on time.

    Ways of the first seed's model have their own name; FReTNA of other seeds is timed for the
    claims alone.
    """
    long = sorted(test, key=lambda pair: -len(pair.source.split()))
    long = [pair for pair in long if len(pair.source.split()) >= LONG]
    # Of all lengths, from the longest on.
    step = max(1, len(long) // size.n_timed)
    chosen = [pair.source for pair in long[::step][: size.n_timed]]
    tokenizer = load_tokenizer(outcomes[0].job.folder)
    arms: dict[str, Callable[[str], Sequence[float]]] = {}
    for way in TIMED:
        outcome = one(outcomes, way)
        arms[way.name] = partial(way.seconds_of, load_model(outcome.job), tokenizer)
    others = {seed: f"{FRETNA.name}, seed {seed}" for seed in run.seeds[1:]}
    for seed, name in others.items():
        model: Any = load_model(one(outcomes, FRETNA, seed).job)
        arms[name] = partial(FRETNA.seconds_of, model, tokenizer)
    # One thread: an update of one sentence has too little work for two.
    use_threads(1)
    with run.stage("time single updates", len(chosen)) as stage:
        seconds = timed(arms, chosen, stage.advance)
    use_threads(min(run.threads, size.threads))
    reta = 1e3 * mean_from(seconds[RETA.name], LONG)
    wait = 1e3 * _sum_per_source(seconds[WAIT_3.name])
    for seed in run.seeds:
        rows = seconds[others.get(seed, FRETNA.name)]
        run.measure("speed", reta / (1e3 * mean_from(rows, LONG)), baseline=reta, seed=seed)
        run.measure("wait-k-time", wait / (1e3 * _sum_per_source(rows)), baseline=wait, seed=seed)
    return {name: rows for name, rows in seconds.items() if name not in others.values()}


def _sum_per_source(rows: Sequence[Sequence[float]]) -> float:
    return sum(map(sum, rows)) / len(rows)


def _some(rate: float, scores: Scores) -> float:
    """The rate of a baseline; where it is zero, one word taken back stands for it."""
    return max(rate, 1 / max(1, scores.n_words))
