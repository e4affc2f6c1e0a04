"""Measures the paper's claims on two tasks, beside beam search, sibling rank and sampling.

CountDown: a tiny GPT trained on solutions writes B candidates per problem, and a strict grader says
which are right, so oracle@B is a fact and no judge's opinion. Text: SmolLM2-135M continues story
openings and questions; there is no right answer, so what counts is how much the candidates differ.
All methods spend the same number of model rows: B per prompt, in one batch.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import torch
from scipy.stats import binomtest
from transformers import LogitsProcessorList, PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import UsageError
from paperround.kit.language_models import load_language_model, use_threads
from paperround.kit.tasks import countdown
from paperround.papers.diverse_beam_search.checkpoint import (
    DIFFICULTY,
    shipped_countdown_model,
    train_countdown_model,
)
from paperround.papers.diverse_beam_search.method import (
    AntiLMLogitsProcessor,
    SiblingRankLogitsProcessor,
    generate_diverse,
)
from paperround.papers.diverse_beam_search.metrics import (
    count_distinct,
    distinct_n,
    mean_length,
    oracle_at_k,
    pairwise_edit_distance,
    self_bleu,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run, Stage

# A solution of CountDown-3 has 12 words, then EOS; one more leaves room for a wrong one.
COUNTDOWN_TOKENS = 14
# What the authors found good across their tasks (Section 5).
PAPER_PENALTIES = (0.2, 0.4, 0.6, 0.8)
# The default of the authors' program; used on text, where nothing is chosen.
TEXT_PENALTY = 0.5
# Sibling rank gets the paper's range too; on text the same fixed value.
TEXT_GAMMA = 0.5
# Weight and length of the anti-LM term, within what its authors report.
ANTILM_WEIGHT, ANTILM_TOKENS = 0.5, 5
PROMPTS = Path(__file__).with_name("data") / "prompts.txt"
NGRAMS = (1, 2, 3, 4)


@dataclass(frozen=True)
class Plan:
    """The sizes of a scale. Without `token_budget` the shipped model is used for every seed.

    `num_beams`: the first is the one that the claims are about. `penalties` and `gammas` are tried
    on validation problems, the best one is used on the test problems.
    """

    token_budget: int | None
    n_validation: int
    n_test: int
    num_beams: tuple[int, ...]
    penalties: tuple[float, ...]
    gammas: tuple[float, ...]
    vary_groups: bool
    prompts_per_seed: int
    text_beams: int
    text_tokens: int
    text_penalties: tuple[float, ...]
    prompts_per_batch: int
    with_antilm: bool
    timed: bool


PLANS = {
    Scale.QUICK: Plan(
        token_budget=None,
        n_validation=50,
        n_test=100,
        num_beams=(8,),
        penalties=(0.5, 1.0, 2.0),
        gammas=(0.5, 1.0, 2.0),
        vary_groups=False,
        prompts_per_seed=4,
        text_beams=4,
        text_tokens=16,
        text_penalties=(TEXT_PENALTY,),
        prompts_per_batch=4,
        with_antilm=False,
        timed=False,
    ),
    Scale.STANDARD: Plan(
        token_budget=1_000_000,
        n_validation=200,
        n_test=300,
        num_beams=(8, 4, 16),
        penalties=(0.2, 0.4, 0.6, 0.8, 1.5, 3.0),
        gammas=(0.1, 0.25, 0.5, 1.0, 2.0, 4.0),
        vary_groups=True,
        prompts_per_seed=13,
        text_beams=8,
        text_tokens=32,
        text_penalties=(0.2, TEXT_PENALTY, 1.5),
        prompts_per_batch=13,
        with_antilm=True,
        timed=True,
    ),
}


@dataclass(frozen=True)
class Candidate:
    """One generated text, with the model's log-probability where the method keeps it."""

    text: str
    log_prob: float | None = None
    group: int = 0

    @property
    def words(self) -> list[str]:
        """What n-grams are counted over."""
        return self.text.split()


@dataclass(frozen=True)
class Language:
    """A model, its tokenizer, how many new tokens it may write, how many prompts go in a batch."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    n_new_tokens: int
    prompts_per_batch: int


@dataclass(frozen=True)
class Decoded:
    """For each prompt its list of candidates, and the seconds that they all took."""

    lists: list[list[Candidate]]
    seconds: float


# What a method does with one batch: the tokenizer's output to the rows and their numbers.
Decoder = Callable[[Language, dict[str, torch.Tensor]], list[list[Candidate]]]


def reproduce(run: Run) -> None:
    """Measures every claim that the scale can; raises UsageError at the full scale."""
    if run.scale not in PLANS:
        raise UsageError("diverse-beam-search has no full scale to run here; see its README")
    use_threads(run.threads)
    plan = PLANS[run.scale]
    trials = [_countdown_trial(run, plan, seed) for seed in run.seeds]
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

    texts = _text_trials(run, plan)
    for text in texts:
        measure_distinct_on_text(run, text)
    show_text(run, texts)
    if plan.timed:
        measure_cost(run, trials, texts)
    for text in texts[:2]:
        show_lists(run, "A continuation", text.prompts[0], text.decoded["beam search"],
                   text.decoded[_text_name(TEXT_PENALTY)])  # fmt: skip


# ---- decoding: every method with B rows per prompt


def diverse(num_beams: int, num_beam_groups: int, diversity_penalty: float) -> Decoder:
    """Diverse beam search; with one group plain beam search. The model's favourite comes first."""

    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        found = generate_diverse(
            language.model,
            inputs,
            num_beams=num_beams,
            num_beam_groups=num_beam_groups,
            diversity_penalty=diversity_penalty,
            max_new_tokens=language.n_new_tokens,
        )
        texts = _new_texts(language, inputs, found.sequences)
        rows = [
            Candidate(text, float(log_prob), int(group))
            for text, log_prob, group in zip(
                texts, found.model_log_probs, found.groups, strict=True
            )
            if log_prob.isfinite()
        ]
        per_prompt = _chunks(rows, num_beams)
        return [sorted(rows, key=lambda row: -(row.log_prob or 0.0)) for rows in per_prompt]

    return decode


def beam_search_of_transformers(num_beams: int) -> Decoder:
    """The beam search that transformers has; here for its time, its lists equal one group's."""

    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        found = language.model.generate(
            **inputs,
            do_sample=False,
            num_beams=num_beams,
            num_return_sequences=num_beams,
            length_penalty=0.0,
            max_new_tokens=language.n_new_tokens,
        )
        return _chunks([Candidate(t) for t in _new_texts(language, inputs, found)], num_beams)

    return decode


def sibling_rank(num_beams: int, gamma: float) -> Decoder:
    """Beam search that charges gamma k for a beam's k-th best extension."""
    return _with_processor(num_beams, lambda language, inputs: SiblingRankLogitsProcessor(gamma))


def antilm(num_beams: int) -> Decoder:
    """Beam search by log p(y | x) - weight log U(y), U being the same model without the prompt."""

    def processor(language: Language, inputs: dict[str, torch.Tensor]) -> AntiLMLogitsProcessor:
        return AntiLMLogitsProcessor(
            language.model,
            bos=language.tokenizer.bos_token_id,
            weight=ANTILM_WEIGHT,
            prompt_length=inputs["input_ids"].shape[1],
            first_tokens=ANTILM_TOKENS,
        )

    return _with_processor(num_beams, processor)


def sampling(n: int, temperature: float, top_p: float, seed: int) -> Decoder:
    """n independent samples, in the order in which they were drawn."""

    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = language.model.generate(
                **inputs,
                do_sample=True,
                temperature=temperature,
                top_p=top_p,
                top_k=0,
                num_beams=1,
                num_return_sequences=n,
                max_new_tokens=language.n_new_tokens,
            )
        return _chunks([Candidate(t) for t in _new_texts(language, inputs, found)], n)

    return decode


def samplers(n: int, seed: int) -> dict[str, Decoder]:
    """The samplers that a user would take today, by the name that the tables show."""
    return {
        "sampling, T 0.7": sampling(n, 0.7, 1.0, seed),
        "sampling, T 1.0": sampling(n, 1.0, 1.0, seed),
        "sampling, T 1.0, top-p 0.95": sampling(n, 1.0, 0.95, seed),
    }


def decode(language: Language, prompts: Sequence[str], decoder: Decoder) -> Decoded:
    """Each prompt's candidates, decoded in batches padded on the left."""
    tokenizer = language.tokenizer
    tokenizer.padding_side = "left"
    lists: list[list[Candidate]] = []
    started = time.perf_counter()
    for batch in _chunks(prompts, language.prompts_per_batch):
        encoded = tokenizer(batch, return_tensors="pt", padding=True)
        inputs = {key: encoded[key] for key in ("input_ids", "attention_mask")}
        lists += decoder(language, inputs)
    return Decoded(lists, time.perf_counter() - started)


def _with_processor(num_beams: int, make: Callable[..., object]) -> Decoder:
    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        found = generate_diverse(
            language.model,
            inputs,
            num_beams=num_beams,
            num_beam_groups=1,
            max_new_tokens=language.n_new_tokens,
            logits_processor=LogitsProcessorList([make(language, inputs)]),
        )
        texts = _new_texts(language, inputs, found.sequences)
        rows = [
            Candidate(text, float(log_prob))
            for text, log_prob in zip(texts, found.model_log_probs, strict=True)
        ]
        per_prompt = _chunks(rows, num_beams)
        return [sorted(rows, key=lambda row: -(row.log_prob or 0.0)) for rows in per_prompt]

    return decode


def _new_texts(
    language: Language, inputs: dict[str, torch.Tensor], sequences: torch.Tensor
) -> list[str]:
    new = sequences[:, inputs["input_ids"].shape[1] :]
    return language.tokenizer.batch_decode(new, skip_special_tokens=True)


def _chunks(items: Sequence, size: int) -> list[list]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


# ---- CountDown


@dataclass(frozen=True)
class CountdownTrial:
    """Everything decoded for one seed, on test problems with what was chosen on validation ones.

    `decoded` by the method's name. `by_penalty`: diverse lists at G = B for each lambda, the lists
    at 0 among them. `by_groups`: (B, G) to the penalty chosen for it and its lists.
    `validation_gain`: oracle@B above beam search in points, for each lambda, on validation problems.
    """

    seed: int
    num_beams: int
    problems: list[countdown.Problem]
    penalty: float
    gamma: float
    decoded: dict[str, Decoded]
    by_penalty: dict[float, Decoded]
    by_groups: dict[tuple[int, int], tuple[float, Decoded]]
    validation_gain: dict[float, float]
    transformers_seconds: float | None

    @property
    def beam(self) -> Decoded:
        """Plain beam search."""
        return self.decoded["beam search"]

    @property
    def diverse(self) -> Decoded:
        """Diverse beam search with the chosen penalty."""
        return self.by_penalty[self.penalty]

    def solved(self, decoded: Decoded, k: int | None = None) -> list[bool]:
        """For each problem whether one of the first k candidates (all without k) is a solution."""
        return [
            bool(oracle_at_k([float(countdown.grade(problem, c.text).ok) for c in found], k or len(found)))
            for problem, found in zip(self.problems, decoded.lists, strict=True)
        ]  # fmt: skip

    def oracle(self, decoded: Decoded, k: int | None = None) -> float:
        """The percentage of problems with a solution among the first k candidates."""
        return 100 * fmean(self.solved(decoded, k))

    def n_solutions(self, decoded: Decoded) -> float:
        """The mean number of different right expressions in a list."""
        return fmean(
            len({g.answer for c in found if (g := countdown.grade(problem, c.text)).ok})
            for problem, found in zip(self.problems, decoded.lists, strict=True)
        )


def _countdown_trial(run: Run, plan: Plan, seed: int) -> CountdownTrial:
    """Trains or loads the model of a seed, chooses lambda and gamma, decodes the test problems."""
    if plan.token_budget is None:
        model, tokenizer = shipped_countdown_model()
    else:
        with run.stage(f"train the CountDown model, seed {seed}", plan.token_budget) as stage:
            model, tokenizer, _ = train_countdown_model(
                plan.token_budget, seed, lambda n_tokens, loss: stage.advance(n_tokens)
            )
    language = Language(model, tokenizer, COUNTDOWN_TOKENS, prompts_per_batch=100)
    validation = countdown.generate("validation", plan.n_validation, seed, DIFFICULTY)
    problems = countdown.generate("test", plan.n_test, seed, DIFFICULTY)
    prompts = [problem.prompt for problem in problems]
    n_beams = plan.num_beams[0]

    pairs = [(b, g) for b in plan.num_beams for g in _group_counts(plan, b)]
    n_lists = (
        len(pairs) * len(plan.penalties) + 1 + len(plan.gammas)  # on validation
        + 1 + len(plan.penalties) + len(pairs) + len(plan.num_beams) + 4  # on test
    )  # fmt: skip
    with run.stage(f"search CountDown solutions, seed {seed}", n_lists) as stage:

        def on_test(decoder: Decoder) -> Decoded:
            return _counted(stage, decode(language, prompts, decoder))

        def tried(decoder: Decoder) -> float:
            found = _counted(stage, decode(language, [p.prompt for p in validation], decoder))
            return 100 * fmean(
                any(countdown.grade(problem, candidate.text).ok for candidate in candidates)
                for problem, candidates in zip(validation, found.lists, strict=True)
            )

        chosen: dict[tuple[int, int], float] = {}
        gains: dict[float, float] = {}
        plain = tried(diverse(n_beams, 1, 0.0))
        for b, g in pairs:
            oracles = {penalty: tried(diverse(b, g, penalty)) for penalty in plan.penalties}
            chosen[b, g] = max(oracles, key=lambda penalty: oracles[penalty])
            if (b, g) == (n_beams, n_beams):
                gains = {penalty: oracle - plain for penalty, oracle in oracles.items()}
        by_gamma = {gamma: tried(sibling_rank(n_beams, gamma)) for gamma in plan.gammas}
        gamma = max(by_gamma, key=lambda gamma: by_gamma[gamma])

        decoded = {name: on_test(sampler) for name, sampler in samplers(n_beams, seed).items()}
        by_penalty = {
            penalty: on_test(diverse(n_beams, n_beams, penalty))
            for penalty in (0.0, *plan.penalties)
        }
        by_groups = {(b, 1): (0.0, on_test(diverse(b, 1, 0.0))) for b in plan.num_beams}
        for (b, g), penalty in chosen.items():
            by_groups[b, g] = (penalty, on_test(diverse(b, g, penalty)))
        decoded["beam search"] = by_groups[n_beams, 1][1]
        decoded["sibling rank"] = on_test(sibling_rank(n_beams, gamma))
    transformers_seconds = None
    if plan.timed:
        transformers_seconds = decode(language, prompts, beam_search_of_transformers(n_beams)).seconds
    return CountdownTrial(
        seed=seed,
        num_beams=n_beams,
        problems=problems,
        penalty=chosen[n_beams, n_beams],
        gamma=gamma,
        decoded=decoded,
        by_penalty=by_penalty,
        by_groups=by_groups,
        validation_gain=gains,
        transformers_seconds=transformers_seconds,
    )  # fmt: skip


def _group_counts(plan: Plan, num_beams: int) -> list[int]:
    """The numbers of groups above one that a number of beams is tried with."""
    return sorted({2, num_beams // 2, num_beams}) if plan.vary_groups else [num_beams]


def _counted(stage: Stage, decoded: Decoded) -> Decoded:
    stage.advance()
    return decoded


# ---- the claims


def measure_oracle(run: Run, trial: CountdownTrial) -> None:
    """Tables 1 and 2: oracle@B above beam search, in points."""
    baseline = trial.oracle(trial.beam)
    gain = trial.oracle(trial.diverse) - baseline
    run.measure("oracle", gain, baseline=baseline, seed=trial.seed)


def measure_distinct_on_countdown(run: Run, trial: CountdownTrial) -> None:
    """Table 1: distinct n-grams per word, against beam search."""
    _measure_distinct(run, "countdown", trial.diverse, trial.beam, trial.seed)


def measure_distinct_on_text(run: Run, trial: "TextTrial") -> None:
    """The same on text, with the authors' default penalty."""
    diverse_lists = trial.decoded[_text_name(TEXT_PENALTY)]
    _measure_distinct(run, "text", diverse_lists, trial.decoded["beam search"], trial.seed)


def _measure_distinct(run: Run, task: str, ours: Decoded, beam: Decoded, seed: int) -> None:
    ratios = {n: _distinct(ours, n) / _distinct(beam, n) for n in NGRAMS}
    for n in (2, 4):
        run.measure(f"distinct-{n}-{task}", ratios[n], baseline=_distinct(beam, n), seed=seed)
    run.measure(f"distinct-every-n-{task}", min(ratios.values()), seed=seed)


def measure_lambda_zero(run: Run, trial: CountdownTrial) -> None:
    """Section 3: without a penalty all groups are the same; the share of problems where they are."""
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
    ours, beam = _best_log_prob(trial.diverse), _best_log_prob(trial.beam)
    run.measure("top-1", ours - beam, baseline=beam, seed=trial.seed)


def measure_more_groups(run: Run, trial: CountdownTrial) -> None:
    """Section 5.1: more groups cover more; the smallest step of oracle@B from G to the next G."""
    oracles = [
        trial.oracle(decoded)
        for (b, _), (_, decoded) in sorted(trial.by_groups.items())
        if b == trial.num_beams
    ]
    steps = [after - before for before, after in zip(oracles, oracles[1:], strict=False)]
    run.measure("more-groups", min(steps), baseline=oracles[0], seed=trial.seed)


def measure_lambda_range(run: Run, trial: CountdownTrial) -> None:
    """Section 5.1: the smallest gain over beam search for lambda within 0.2 to 0.8."""
    gains = [trial.validation_gain[penalty] for penalty in PAPER_PENALTIES]
    run.measure("lambda-range", min(gains), seed=trial.seed)


def measure_cost(
    run: Run, trials: Sequence[CountdownTrial], texts: Sequence["TextTrial"]
) -> None:
    """Section 3: seconds against beam search, ours or that of transformers, whichever is faster."""
    rows = []
    for task, trial_seconds in (
        ("CountDown", [(t.seed, t.diverse.seconds, t.beam.seconds, t.transformers_seconds) for t in trials]),
        ("text", [(t.seed, t.decoded[_text_name(TEXT_PENALTY)].seconds, t.decoded["beam search"].seconds, t.transformers_seconds) for t in texts]),
    ):  # fmt: skip
        for seed, ours, beam, of_transformers in trial_seconds:
            fastest = min(beam, of_transformers or beam)
            run.measure("cost", ours / fastest, baseline=fastest, seed=seed)
            rows.append((task, seed, ours, beam, of_transformers, ours / fastest))
    run.table(
        "Seconds for the same prompts and the same number of beams",
        ("task", "seed", "diverse beam search", "beam search here", "beam search of transformers",
         "ratio to the faster"),
        rows,
    )  # fmt: skip


# ---- what a reader sees of CountDown


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
                *(fmean(_distinct(d, n) for _, d in found) for n in NGRAMS),
                fmean(_n_distinct(d, 2) for _, d in found),
                fmean(_mean_length(d) for _, d in found),
                _mean_or_none([_best_log_prob(d) for _, d in found]),
            ]
        )
    chosen = "; ".join(f"seed {t.seed}: λ {t.penalty:g}, γ {t.gamma:g}" for t in trials)
    run.table(
        f"CountDown-3, {n_beams} candidates per problem, {len(trials[0].problems)} problems a seed",
        ["method", *(f"oracle@{k} (%)" for k in ks), "solutions found",
         *(f"distinct-{n}" for n in NGRAMS), "distinct 2-grams", "words", "best log-prob"],
        rows,
        note="Means over the seeds. Chosen on validation problems: " + chosen + ". Beams in the order "
        "of the model's log-probability, samples in the order drawn.",
    )  # fmt: skip


def show_paired(run: Run, trials: Sequence[CountdownTrial]) -> None:
    """Problems that only one of two methods solves, against every other method."""
    rows = []
    for name in _methods(trials):
        if name == "diverse beam search":
            continue
        only_ours = only_theirs = 0
        for trial in trials:
            pairs = zip(trial.solved(trial.diverse), trial.solved(_method(trial, name)), strict=True)
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
                (p, fmean(_distinct(trial.by_penalty[p], n) for trial in trials)) for p in penalties
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
    oracles = {
        pair: [trial.oracle(trial.by_groups[pair][1]) for trial in trials] for pair in pairs
    }
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
                fmean(_distinct(trial.by_groups[b, g][1], 4) for trial in trials),
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


# ---- text


@dataclass(frozen=True)
class TextTrial:
    """The lists that every method gave for the prompts of one seed, by the method's name."""

    seed: int
    prompts: list[str]
    decoded: dict[str, Decoded]
    transformers_seconds: float | None


def _text_trials(run: Run, plan: Plan) -> list[TextTrial]:
    model, tokenizer = load_language_model(run.asset("smollm2-135m"))
    language = Language(model, tokenizer, plan.text_tokens, plan.prompts_per_batch)
    prompts = PROMPTS.read_text(encoding="utf-8").splitlines()
    beams = plan.text_beams
    trials = []
    for place, seed in enumerate(run.seeds):
        start = place * plan.prompts_per_seed
        chosen = [prompts[i % len(prompts)] for i in range(start, start + plan.prompts_per_seed)]
        methods = {
            **samplers(beams, seed),
            "beam search": diverse(beams, 1, 0.0),
            "sibling rank": sibling_rank(beams, TEXT_GAMMA),
            **{_text_name(p): diverse(beams, beams, p) for p in plan.text_penalties},
        }
        if plan.with_antilm:
            methods["anti-LM"] = antilm(beams)
        if plan.timed:
            methods["transformers"] = beam_search_of_transformers(beams)
        decoded = {}
        with run.stage(f"continue {len(chosen)} texts, seed {seed}", len(methods)) as stage:
            for name, method in methods.items():
                decoded[name] = decode(language, chosen, method)
                stage.advance()
        of_transformers = decoded.pop("transformers", None)
        seconds = of_transformers.seconds if of_transformers is not None else None
        trials.append(TextTrial(seed, chosen, decoded, seconds))
    return trials


def show_text(run: Run, trials: Sequence[TextTrial]) -> None:
    """A row per method: how much the continuations differ, and how probable the best one is."""
    rows = []
    for name in trials[0].decoded:
        found = [trial.decoded[name] for trial in trials]
        rows.append(
            [
                name,
                *(fmean(_distinct(d, n) for d in found) for n in NGRAMS),
                fmean(_n_distinct(d, 2) for d in found),
                fmean(self_bleu([c.words for c in lst]) for d in found for lst in d.lists),
                fmean(pairwise_edit_distance([c.words for c in lst]) for d in found for lst in d.lists),
                fmean(_mean_length(d) for d in found),
                _mean_or_none([_best_log_prob(d) for d in found]),
            ]
        )  # fmt: skip
    n_prompts = sum(len(trial.prompts) for trial in trials)
    n_candidates = len(trials[0].decoded["beam search"].lists[0])
    run.table(
        f"SmolLM2-135M, {n_candidates} continuations of each of {n_prompts} texts",
        ["method", *(f"distinct-{n}" for n in NGRAMS), "distinct 2-grams", "self-BLEU",
         "edit distance", "words", "best log-prob"],
        rows,
        note=f"Means over the texts. λ and γ are fixed at {TEXT_PENALTY:g} unless said; nothing is "
        "chosen. Samples keep no log-probability. Lower self-BLEU means more diverse.",
    )  # fmt: skip
    run.series(
        "SmolLM2-135M: distinct n-grams per word",
        {
            name: [(n, fmean(_distinct(trial.decoded[name], n) for trial in trials)) for n in NGRAMS]
            for name in trials[0].decoded
        },
        x_label="n",
        y_label="distinct n-grams / words",
    )


def _text_name(penalty: float) -> str:
    return f"diverse beam search, λ {penalty:g}"


# ---- small measures over lists of lists


def _methods(trials: Sequence[CountdownTrial]) -> Iterator[str]:
    yield from trials[0].decoded
    yield "diverse beam search"


def _method(trial: CountdownTrial, name: str) -> Decoded:
    return trial.diverse if name == "diverse beam search" else trial.decoded[name]


def _distinct(decoded: Decoded, n: int) -> float:
    return fmean(distinct_n([c.words for c in found], n) for found in decoded.lists)


def _n_distinct(decoded: Decoded, n: int) -> float:
    return fmean(count_distinct([c.words for c in found], n) for found in decoded.lists)


def _mean_length(decoded: Decoded) -> float:
    return fmean(mean_length([c.words for c in found]) for found in decoded.lists)


def _best_log_prob(decoded: Decoded) -> float | None:
    """The mean over the prompts of the best log-probability in the list; None for samples."""
    best = []
    for found in decoded.lists:
        known = [c.log_prob for c in found if c.log_prob is not None]
        if not known:
            return None
        best.append(max(known))
    return fmean(best)


def _mean_or_none(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _listed(candidates: Sequence[Candidate]) -> str:
    return "\n".join(
        c.text if c.log_prob is None else f"{c.log_prob:7.2f}  {c.text.strip()}" for c in candidates
    )
