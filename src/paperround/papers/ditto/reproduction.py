"""Measures the paper's claims: self-reinforcement on SmolLM2-135M, and its cure on two models.

Both models learn from the first 70 % of WikiText-2's validation part and are measured on the rest.
Every arm has the same start, windows, updates and learning rate. What an arm is stands in
`fine_tuning.py`, what is measured of it in `trials.py`, tables and charts in `report.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from scipy.stats import spearmanr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import UsageError
from paperround.kit.language_models import load_language_model, use_threads
from paperround.papers.ditto import report
from paperround.papers.ditto.evaluation import continuations, ordinary_ids, prefixes_of
from paperround.papers.ditto.fine_tuning import DITTO, MLE, Arm, FineTuning
from paperround.papers.ditto.method import end_token_ids
from paperround.papers.ditto.metrics import repeats_previous, repetition_metrics
from paperround.papers.ditto.reinforcement import Reinforcement, self_reinforcement
from paperround.papers.ditto.small_lm import PretrainingPlan
from paperround.papers.ditto.texts import read_wikitext, sentences_of_text, words_of
from paperround.papers.ditto.trials import (
    CONTRASTIVE,
    DECODINGS,
    GREEDY,
    Base,
    Job,
    Outcome,
    Setting,
    decoder,
    run_all,
    text_itself,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

NUCLEUS = "nucleus p 0.9"
# Copies that the claims speak of; copy 0 is the sentence's first occurrence.
_LATE = 7
_START = 4
# What the quick scale lets SmolLM2 write: 4 prefixes of 32 tokens, 64 more, these ways.
_WATCHED, _WATCHED_NEW = (4, 32), 64
_REMEDIES = (GREEDY, "repetition penalty 1.2")

# ScaleGrad, unlikelihood and the control have their published settings, as DITTO has.
UL_TOKEN = Arm("unlikelihood, tokens", "ul-token")
UL_BOTH = Arm("unlikelihood, tokens and sequences", "ul-token-seq")
SCALE_GRAD = Arm("ScaleGrad, γ 0.5", "scale-grad")
OTHER_LAMBDAS = (
    Arm("DITTO, λ 0.3", "ditto", lam=0.3),
    Arm("DITTO, λ 0.9", "ditto", lam=0.9),
)
CONTROL = Arm("DITTO, λ 0 (control)", "ditto", lam=0.0)


@dataclass(frozen=True)
class Comparison:
    """Arms on one model. Those in `once` run with the first seed only."""

    setting: Setting
    title: str
    arms: tuple[Arm, ...]
    once: tuple[Arm, ...] = ()


@dataclass(frozen=True)
class Size:
    """How much of everything a scale measures; a quick run has no comparisons."""

    sentences_per_seed: int
    analysis_copies: int
    comparisons: tuple[Comparison, ...] = ()
    base: Base | None = None


def quick_size(run: Run) -> Size:
    """The quick scale: SmolLM2 as it is."""
    return Size(sentences_per_seed=6, analysis_copies=10)


def standard_size(run: Run) -> Size:
    """The standard scale: all arms on a small GPT that is trained first, two on SmolLM2."""
    text, folder = run.asset("wikitext-2-valid"), run.scratch / "small-lm"
    small = Setting(
        name="small",
        folder=folder,
        text_folder=text,
        # Longer rows than SmolLM2's: small pieces make long sentences.
        plan=FineTuning(updates=100, context=256, learning_rate=1e-3),
        last_layers=None,
        n_sentences=32,
        n_copies=9,
        longest_sentence=10,
        n_prefixes=128,
        prefix_tokens=50,
        new_tokens=100,
        fit_tokens=32_768,
    )
    large = Setting(
        name="smollm2",
        folder=run.asset("smollm2-135m"),
        text_folder=text,
        plan=FineTuning(updates=24),
        last_layers=8,
        n_sentences=12,
        n_copies=8,
        longest_sentence=16,
        n_prefixes=24,
        prefix_tokens=32,
        new_tokens=96,
        fit_tokens=2_048,
        looks=(12,),
    )
    return Size(
        sentences_per_seed=8,
        analysis_copies=12,
        comparisons=(
            # The long ones first, so that no processor is idle at the end.
            Comparison(large, "SmolLM2-135M", (MLE, DITTO)),
            Comparison(
                small,
                "a GPT of 1 M parameters",
                (MLE, DITTO),
                (*OTHER_LAMBDAS, UL_TOKEN, SCALE_GRAD, CONTROL, UL_BOTH),
            ),
        ),
        base=Base(
            folder=folder,
            text_folder=text,
            abstracts_folder=run.asset("arxiv-starter"),
            plan=PretrainingPlan(token_budget=1_500_000),
        ),
    )


SIZES: Mapping[Scale, Callable[[Run], Size]] = {
    Scale.QUICK: quick_size,
    Scale.STANDARD: standard_size,
}


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale not in SIZES:
        raise UsageError(
            "ditto's full scale is a configuration nobody has run: a 16-layer model on "
            "WikiText-103; see the room's README. Use quick or standard"
        )
    size = SIZES[run.scale](run)
    use_threads(run.threads)
    train, test = read_wikitext(run.asset("wikitext-2-valid"))
    human_repetition(run, train + test)
    with run.stage("load SmolLM2-135M", 1) as stage:
        model, tokenizer = load_language_model(run.asset("smollm2-135m"))
        stage.advance()
    sentences = sentences_of_text(test, size.sentences_per_seed * len(run.seeds))
    self_reinforcement_of_a_real_model(run, model, tokenizer, sentences, size.analysis_copies)
    if not size.comparisons:
        untrained_loops(run, model, tokenizer, test)
        run.note("Nothing is trained at the quick scale: the cure is measured at the standard one.")
        return
    kinds_of_sentences(run, model, tokenizer, sentences[:: len(run.seeds)], size.analysis_copies)
    del model
    outcomes = train_and_measure(run, size)
    for comparison in reversed(size.comparisons):
        cure(run, comparison, outcomes[comparison.setting.name])


def human_repetition(run: Run, text: str) -> None:
    """Abstract: people almost never write the same sentence twice in a row."""
    repeated, pairs = repeats_previous(words_of(text))
    run.measure("human-repetition", 100 * repeated / pairs)


def self_reinforcement_of_a_real_model(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    n_copies: int,
) -> None:
    """Section 2: TP, IR and WR of every copy; sentences that start higher end higher."""
    curves: list[Reinforcement] = []
    with run.stage("repeat sentences to SmolLM2-135M", len(run.seeds)) as stage:
        for i, seed in enumerate(run.seeds):
            # Every seed has sentences of its own.
            curve = self_reinforcement(
                model, tokenizer, sentences[i :: len(run.seeds)], n_repeats=n_copies
            )
            curves.append(curve)
            tp = curve.token_probability
            run.measure("preference", tp[1] / tp[0], baseline=tp[0], seed=seed)
            run.measure("ceiling", tp[8], baseline=tp[0], seed=seed)
            run.measure("winning", curve.winning_rate[8], baseline=curve.winning_rate[0], seed=seed)
            run.measure("improvement", curve.improvement_rate[1], seed=seed)
            stage.advance()
    starts = [tp[0] for curve in curves for tp in curve.per_sentence]
    later = [tp[_START] for curve in curves for tp in curve.per_sentence]
    run.measure("stronger-start", float(spearmanr(starts, later).statistic))
    report.show_reinforcement(run, curves)


def untrained_loops(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    """What the model writes as it is, greedily and with remedies at decoding."""
    prefixes = prefixes_of(torch.tensor(tokenizer(text)["input_ids"]), *_WATCHED)
    with run.stage("let SmolLM2-135M write", len(_REMEDIES)) as stage:
        written: dict[str, list[list[int]]] = {}
        for name in _REMEDIES:
            written[name] = decoder(name)(model, prefixes, _WATCHED_NEW, run.seeds[0])
            stage.advance()
    ends = end_token_ids(tokenizer)
    report.show_remedies(
        run, {name: repetition_metrics(rows, ends) for name, rows in written.items()}
    )
    for i in range(2):
        run.sample(
            f"SmolLM2-135M goes on: {' '.join(tokenizer.decode(prefixes[i]).split())}",
            {name: " ".join(tokenizer.decode(rows[i]).split()) for name, rows in written.items()},
        )


def kinds_of_sentences(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    n_copies: int,
) -> None:
    """Abstract, third finding: the curves of likelier and less likely kinds of sentences."""
    with run.stage("repeat three kinds of sentences to SmolLM2-135M"):
        report.show_pools(run, pools_of(model, tokenizer, sentences, n_copies, run.seeds[0]))


def pools_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    n_copies: int,
    seed: int,
) -> dict[str, Reinforcement]:
    """The curves of sentences from the text, from the model itself, and of random tokens.

    The model's are what it samples after each of the text's first words, random ones have as many
    tokens as the text's.
    """
    own, noise = [], []
    generator = torch.Generator().manual_seed(seed)
    ordinary = torch.tensor(ordinary_ids(tokenizer))
    for i, sentence in enumerate(sentences):
        ids = tokenizer(" " + sentence, return_tensors="pt")["input_ids"]
        n = ids.shape[1]
        start = ids[:, : max(1, n // 4)]
        # Sampling draws from the global state; a fork leaves the caller's as it is.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + i)
            new = continuations(model, start, n - start.shape[1], do_sample=True, top_k=0)[0]
        own.append([*start[0].tolist(), *new])
        noise.append(ordinary[torch.randint(len(ordinary), (n,), generator=generator)].tolist())
    return {
        name: self_reinforcement(model, tokenizer, pool, n_repeats=n_copies)
        for name, pool in (
            ("text", list(sentences)),
            ("the model's own", own),
            ("random tokens", noise),
        )
    }


def train_and_measure(run: Run, size: Size) -> dict[str, list[Outcome]]:
    """The outcomes of every arm of every comparison, by the name of its setting."""
    jobs: list[Job] = []
    for comparison in size.comparisons:
        for seed in run.seeds:
            first = seed == run.seeds[0]
            for arm in (*comparison.arms, *(comparison.once if first else ())):
                ways: tuple[str, ...] = (GREEDY,)
                if comparison.setting.name == "small":
                    # Other decodings cost minutes on SmolLM2, and seeds add little to them here.
                    remedies = (*DECODINGS, CONTRASTIVE) if arm is MLE else (GREEDY, NUCLEUS)
                    ways = remedies if first else ways
                jobs.append((comparison.setting, arm, seed, ways))
        jobs.append((comparison.setting, None, run.seeds[0], (GREEDY,)))
    found: dict[str, list[Outcome]] = {c.setting.name: [] for c in size.comparisons}
    with run.stage("train a small GPT, fine-tune and measure all arms", len(jobs)) as stage:
        for job, outcome in run_all(jobs, run.threads, size.base):
            found[job[0].name].append(outcome)
            stage.advance()
    for comparison in size.comparisons:
        order = {arm.name: i for i, arm in enumerate((*comparison.arms, *comparison.once))}
        outcomes = found[comparison.setting.name]
        found[comparison.setting.name] = sorted(outcomes, key=partial(_place, order))
    return found


def cure(run: Run, comparison: Comparison, outcomes: Sequence[Outcome]) -> None:
    """The claims of the training on one model, DITTO against plain fine-tuning, seed by seed."""
    setting, title = comparison.setting, comparison.title
    for seed in run.seeds:
        mle, ditto = (_one(outcomes, arm.name, seed) for arm in (MLE, DITTO))
        measure_pair(run, setting.name, setting, mle, ditto)
    report.show_curves(run, title, outcomes)
    report.show_arms(run, title, outcomes)
    report.show_written(run, title, outcomes, text_itself(setting))
    report.show_samples(run, title, outcomes, (MLE.name, DITTO.name))


def measure_pair(run: Run, model: str, setting: Setting, mle: Outcome, ditto: Outcome) -> None:
    """What one seed says of the claims on one model."""
    seed = mle.seed
    tp_mle, tp_ditto = mle.curve.token_probability, ditto.curve.token_probability
    ppl = mle.fit.perplexity
    run.measure(f"perplexity-{model}", ditto.fit.perplexity / ppl, baseline=ppl, seed=seed)
    late = tp_mle[_LATE]
    run.measure(f"late-copies-{model}", tp_ditto[_LATE] / late, baseline=late, seed=seed)
    rep_mle, rep_ditto = mle.repetition[GREEDY], ditto.repetition[GREEDY]
    # Where plain fine-tuning writes no loop at all, one continuation in a loop stands for it.
    loops = max(rep_mle.loop_share, 1 / setting.n_prefixes)
    run.measure(f"loops-{model}", rep_ditto.loop_share / loops, baseline=loops, seed=seed)
    rep_4 = rep_mle.rep_n[4]
    run.measure(f"rep-4-{model}", rep_ditto.rep_n[4] / rep_4, baseline=rep_4, seed=seed)
    if model == "small":
        last = len(tp_mle) - 1
        growth = tp_mle[last] / tp_mle[1]
        ratio = tp_ditto[last] / tp_ditto[1] / growth
        run.measure("growth-small", ratio, baseline=growth, seed=seed)
        run.measure("rise-mle-small", tp_mle[8] / tp_mle[0], baseline=tp_mle[0], seed=seed)
        run.measure("fall-ditto-small", tp_ditto[8] / tp_ditto[0], baseline=tp_ditto[0], seed=seed)


def _place(order: Mapping[str, int], outcome: Outcome) -> tuple[int, int]:
    """The model before any training comes first, then the arms as they are listed."""
    return order.get(outcome.arm or "", -1), outcome.seed


def _one(outcomes: Iterable[Outcome], arm: str, seed: int) -> Outcome:
    return next(o for o in outcomes if o.arm == arm and o.seed == seed)
