"""Measures the paper's claims on two tasks, beside beam search, sibling rank and sampling.

CountDown: a tiny GPT trained on solutions writes B candidates per problem, and a strict grader says
which are right, so oracle@B is a fact and no judge's opinion. Text: SmolLM2-135M continues story
openings and questions; there is no right answer, so what counts is how much the candidates differ.
All methods spend the same number of model rows: B per prompt, in one batch. What is decoded is in
`trials.py`, by which methods in `decoders.py`, tables and charts in `report.py`.
"""

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

from paperround.errors import UsageError
from paperround.kit.language_models import use_threads
from paperround.papers.diverse_beam_search.decoders import Decoded
from paperround.papers.diverse_beam_search.report import (
    NGRAMS,
    best_log_prob,
    mean_distinct,
    show_countdown,
    show_groups,
    show_lists,
    show_paired,
    show_penalty_curves,
    show_text,
)
from paperround.papers.diverse_beam_search.trials import (
    PLANS,
    CountdownTrial,
    TextTrial,
    countdown_trial,
    text_trials,
)
from paperround.runs.reproduction import Run

# What the authors found good across their tasks (Section 5).
PAPER_PENALTIES = (0.2, 0.4, 0.6, 0.8)


def reproduce(run: Run) -> None:
    """Measures every claim that the scale can; raises UsageError at the full scale."""
    if run.scale not in PLANS:
        raise UsageError("diverse-beam-search has no full scale to run here; see its README")
    plan = PLANS[run.scale]
    # A tiny model gains little from a second thread, and waits for it long on a busy machine.
    use_threads(1 if plan.token_budget is None else run.threads)
    trials = [countdown_trial(run, plan, seed) for seed in run.seeds]
    first = trials[0]
    for trial in trials:
        measure_oracle(run, trial)
        measure_distinct_on_countdown(run, trial)
        measure_lambda_zero(run, trial)
        measure_top_1(run, trial)
        if plan.vary_groups:
            measure_more_groups(run, trial)
            measure_lambda_range(run, trial)
    show_countdown(run, trials)
    show_paired(run, trials)
    show_penalty_curves(run, trials)
    if plan.vary_groups:
        show_groups(run, trials)
    show_lists(run, "A CountDown problem", first.problems[0].prompt, first.beam, first.diverse)

    use_threads(run.threads)
    texts = text_trials(run, plan)
    for text in texts:
        measure_distinct_on_text(run, text)
    show_text(run, texts)
    if plan.timed:
        measure_cost(run, trials, texts)
    for text in texts[:2]:
        show_lists(run, "A continuation", text.prompts[0], text.beam, text.diverse)


def measure_oracle(run: Run, trial: CountdownTrial) -> None:
    """Tables 1 and 2: oracle@B above beam search, in points."""
    baseline = trial.oracle(trial.beam)
    gain = trial.oracle(trial.diverse) - baseline
    run.measure("oracle", gain, baseline=baseline, seed=trial.seed)


def measure_distinct_on_countdown(run: Run, trial: CountdownTrial) -> None:
    """Table 1: distinct n-grams per word, against beam search."""
    _measure_distinct(run, "countdown", trial.diverse, trial.beam, trial.seed)


def measure_distinct_on_text(run: Run, trial: TextTrial) -> None:
    """The same on text, with the authors' default penalty."""
    _measure_distinct(run, "text", trial.diverse, trial.beam, trial.seed)


def _measure_distinct(run: Run, task: str, ours: Decoded, beam: Decoded, seed: int) -> None:
    ratios = {n: mean_distinct(ours, n) / mean_distinct(beam, n) for n in NGRAMS}
    for n in (2, 4):
        run.measure(f"distinct-{n}-{task}", ratios[n], baseline=mean_distinct(beam, n), seed=seed)
    run.measure(f"distinct-every-n-{task}", min(ratios.values()), seed=seed)


def measure_lambda_zero(run: Run, trial: CountdownTrial) -> None:
    """Section 3: without a penalty all groups are the same; the share of problems where so."""
    alike = []
    for candidates in trial.by_penalty[0.0].lists:
        by_group: dict[int, list[str]] = {}
        for candidate in candidates:
            by_group.setdefault(candidate.group, []).append(candidate.text)
        lists = list(by_group.values())
        alike.append(len(lists) == trial.num_beams and all(texts == lists[0] for texts in lists))
    run.measure("lambda-zero", fmean(alike), seed=trial.seed)


def measure_top_1(run: Run, trial: CountdownTrial) -> None:
    """Section 5.2: the log-probability of the best candidate, against beam search."""
    ours, beam = best_log_prob(trial.diverse), best_log_prob(trial.beam)
    run.measure("top-1", ours - beam, baseline=beam, seed=trial.seed)


def measure_more_groups(run: Run, trial: CountdownTrial) -> None:
    """Section 5.1: more groups cover more; the smallest step of oracle@B from G to the next G."""
    oracles = [
        trial.oracle(decoded)
        for (b, _), (_, decoded) in sorted(trial.by_groups.items())
        if b == trial.num_beams
    ]
    steps = [after - before for before, after in pairwise(oracles)]
    run.measure("more-groups", min(steps), baseline=oracles[0], seed=trial.seed)


def measure_lambda_range(run: Run, trial: CountdownTrial) -> None:
    """Section 5.1: the smallest gain over beam search for lambda within 0.2 to 0.8."""
    gains = [trial.validation_gain[penalty] for penalty in PAPER_PENALTIES]
    run.measure("lambda-range", min(gains), seed=trial.seed)


def measure_cost(run: Run, trials: Sequence[CountdownTrial], texts: Sequence[TextTrial]) -> None:
    """Section 3: seconds against beam search, ours or that of transformers, whichever is faster."""
    timed = {
        "CountDown": [
            (t.seed, t.diverse.seconds, t.beam.seconds, t.transformers_seconds) for t in trials
        ],
        "text": [
            (t.seed, t.diverse.seconds, t.beam.seconds, t.transformers_seconds) for t in texts
        ],
    }
    rows = []
    for task, seconds in timed.items():
        for seed, ours, beam, of_transformers in seconds:
            fastest = min(beam, of_transformers or beam)
            run.measure("cost", ours / fastest, baseline=fastest, seed=seed)
            rows.append((task, seed, ours, beam, of_transformers, ours / fastest))
    run.table(
        "Seconds for the same prompts and the same number of beams",
        (
            "task",
            "seed",
            "diverse beam search",
            "beam search here",
            "beam search of transformers",
            "ratio to the faster",
        ),
        rows,
    )
