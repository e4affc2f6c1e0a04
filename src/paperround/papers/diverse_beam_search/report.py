"""What a reader sees beside the claims: tables, charts, and the lists themselves."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from scipy.stats import binomtest

from paperround.papers.diverse_beam_search.decoders import Candidate, Decoded
from paperround.papers.diverse_beam_search.metrics import (
    count_distinct,
    distinct_n,
    mean_length,
    pairwise_edit_distance,
    self_bleu,
)
from paperround.papers.diverse_beam_search.trials import TEXT_PENALTY, CountdownTrial, TextTrial
from paperround.runs.reproduction import Run

NGRAMS = (1, 2, 3, 4)


def show_countdown(run: Run, trials: Sequence[CountdownTrial]) -> None:
    """A row per method: coverage and diversity, means over the seeds."""
    n_beams = trials[0].num_beams
    ks = [k for k in (1, 2, 4, 8, 16) if k <= n_beams]
    rows = []
    for name in _methods(trials):
        found = [(trial, _method(trial, name)) for trial in trials]
        rows.append(
            [
                name,
                *(fmean(trial.oracle(d, k) for trial, d in found) for k in ks),
                fmean(trial.n_solutions(d) for trial, d in found),
                *(fmean(mean_distinct(d, n) for _, d in found) for n in NGRAMS),
                fmean(_n_distinct(d, 2) for _, d in found),
                fmean(_mean_length(d) for _, d in found),
                _best_or_none([d for _, d in found]),
            ]
        )
    chosen = "; ".join(f"seed {t.seed}: λ {t.penalty:g}, γ {t.gamma:g}" for t in trials)
    run.table(
        f"CountDown-3, {n_beams} candidates per problem, {len(trials[0].problems)} problems a seed",
        [
            "method",
            *(f"oracle@{k} (%)" for k in ks),
            "solutions found",
            *(f"distinct-{n}" for n in NGRAMS),
            "distinct 2-grams",
            "words",
            "best log-prob",
        ],
        rows,
        note=f"Means over the seeds. Chosen on validation problems: {chosen}. Beams in the order "
        "of the model's log-probability, samples in the order drawn.",
    )


def show_paired(run: Run, trials: Sequence[CountdownTrial]) -> None:
    """Problems that only one of two methods solves, against every other method."""
    rows = []
    for name in _methods(trials):
        if name == "diverse beam search":
            continue
        only_ours = only_theirs = 0
        for trial in trials:
            pairs = zip(
                trial.solved(trial.diverse), trial.solved(_method(trial, name)), strict=True
            )
            for ours, theirs in pairs:
                only_ours += ours and not theirs
                only_theirs += theirs and not ours
        decided = only_ours + only_theirs
        p_value = binomtest(only_ours, decided).pvalue if decided else 1.0
        rows.append((name, only_ours, only_theirs, p_value))
    run.table(
        "Problems that only one of the two solves, all seeds together",
        ("against", "only diverse beam search", "only the other", "McNemar p (exact)"),
        rows,
        note="A problem drawn for several seeds counts once for each.",
    )


def show_penalty_curves(run: Run, trials: Sequence[CountdownTrial]) -> None:
    """Coverage and diversity on the test problems against lambda, other methods as level lines."""
    penalties = list(trials[0].by_penalty)
    ends = (penalties[0], penalties[-1])
    lines = {
        "diverse beam search": [
            (p, fmean(trial.oracle(trial.by_penalty[p]) for trial in trials)) for p in penalties
        ]
    }
    for name in _methods(trials):
        if name != "diverse beam search":
            level = fmean(trial.oracle(_method(trial, name)) for trial in trials)
            lines[name] = [(end, level) for end in ends]
    run.series(
        f"CountDown-3: problems solved by one of {trials[0].num_beams} candidates",
        lines,
        x_label="diversity penalty λ",
        y_label="problems solved (%)",
    )
    run.series(
        "CountDown-3: distinct n-grams per word",
        {
            f"distinct-{n}": [
                (p, fmean(mean_distinct(trial.by_penalty[p], n) for trial in trials))
                for p in penalties
            ]
            for n in NGRAMS
        },
        x_label="diversity penalty λ",
        y_label="distinct n-grams / words",
        note="At λ = 0 every group is the same. Beam search stands in the table.",
    )


def show_groups(run: Run, trials: Sequence[CountdownTrial]) -> None:
    """Coverage by the number of beams and groups, each with its own lambda."""
    pairs = sorted(trials[0].by_groups)
    oracles = {pair: [trial.oracle(trial.by_groups[pair][1]) for trial in trials] for pair in pairs}
    run.table(
        "CountDown-3: beams, groups, and problems solved by one of all candidates (%)",
        ("beams B", "groups G", "λ chosen", "mean", "smallest", "largest", "distinct-4"),
        [
            (
                b,
                g,
                ", ".join(f"{trial.by_groups[b, g][0]:g}" for trial in trials) if g > 1 else "–",
                fmean(oracles[b, g]),
                min(oracles[b, g]),
                max(oracles[b, g]),
                fmean(mean_distinct(trial.by_groups[b, g][1], 4) for trial in trials),
            )
            for b, g in pairs
        ],
    )
    run.series(
        "CountDown-3: problems solved against the number of groups",
        {
            f"{b} beams": [(g, fmean(oracles[b_, g])) for b_, g in pairs if b_ == b]
            for b in sorted({b for b, _ in pairs})
        },
        x_label="groups",
        y_label="problems solved (%)",
        x_log=True,
    )


def show_lists(run: Run, title: str, prompt: str, beam: Decoded, ours: Decoded) -> None:
    """The list of beam search beside that of diverse beam search, for the first prompt of both."""
    run.sample(
        f"{title}: {prompt}",
        {
            "beam search": _listed(beam.lists[0]),
            "diverse beam search": _listed(ours.lists[0]),
        },
        note="The model's log-probability before each candidate.",
    )


def show_text(run: Run, trials: Sequence[TextTrial]) -> None:
    """A row per method: how much the continuations differ, and how probable the best one is."""
    rows = []
    for name in trials[0].decoded:
        found = [trial.decoded[name] for trial in trials]
        lists = [[c.words for c in candidates] for d in found for candidates in d.lists]
        rows.append(
            [
                name,
                *(fmean(mean_distinct(d, n) for d in found) for n in NGRAMS),
                fmean(_n_distinct(d, 2) for d in found),
                fmean(self_bleu(words) for words in lists),
                fmean(pairwise_edit_distance(words) for words in lists),
                fmean(_mean_length(d) for d in found),
                _best_or_none(found),
            ]
        )
    n_prompts = sum(len(trial.prompts) for trial in trials)
    n_candidates = len(trials[0].beam.lists[0])
    run.table(
        f"SmolLM2-135M, {n_candidates} continuations of each of {n_prompts} texts",
        [
            "method",
            *(f"distinct-{n}" for n in NGRAMS),
            "distinct 2-grams",
            "self-BLEU",
            "edit distance",
            "words",
            "best log-prob",
        ],
        rows,
        note=f"Means over the texts. λ and γ are fixed at {TEXT_PENALTY:g} unless said; nothing is "
        "chosen. Samples keep no log-probability. Lower self-BLEU means more diverse.",
    )
    run.series(
        "SmolLM2-135M: distinct n-grams per word",
        {
            name: [
                (n, fmean(mean_distinct(trial.decoded[name], n) for trial in trials))
                for n in NGRAMS
            ]
            for name in trials[0].decoded
        },
        x_label="n",
        y_label="distinct n-grams / words",
    )


def _methods(trials: Sequence[CountdownTrial]) -> Iterator[str]:
    yield from trials[0].decoded
    yield "diverse beam search"


def _method(trial: CountdownTrial, name: str) -> Decoded:
    return trial.diverse if name == "diverse beam search" else trial.decoded[name]


def mean_distinct(decoded: Decoded, n: int) -> float:
    """The mean over the prompts of distinct-n in the list."""
    return fmean(distinct_n([c.words for c in found], n) for found in decoded.lists)


def _n_distinct(decoded: Decoded, n: int) -> float:
    return fmean(count_distinct([c.words for c in found], n) for found in decoded.lists)


def _mean_length(decoded: Decoded) -> float:
    return fmean(mean_length([c.words for c in found]) for found in decoded.lists)


def best_log_prob(decoded: Decoded) -> float:
    """The mean over the prompts of the best log-probability in the list."""
    return fmean(
        max(c.log_prob for c in found if c.log_prob is not None) for found in decoded.lists
    )


def _best_or_none(found: Sequence[Decoded]) -> float | None:
    """The same over several seeds; None for samples, which keep no log-probability."""
    if any(c.log_prob is None for d in found for candidates in d.lists for c in candidates):
        return None
    return fmean(best_log_prob(d) for d in found)


def _listed(candidates: Sequence[Candidate]) -> str:
    return "\n".join(
        c.text if c.log_prob is None else f"{c.log_prob:7.2f}  {c.text.strip()}" for c in candidates
    )
