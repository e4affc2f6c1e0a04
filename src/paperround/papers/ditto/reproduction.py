"""Measures the paper's claims: self-reinforcement on SmolLM2-135M, and its cure on two models.

Both models learn from the first 70 % of WikiText-2's validation part and are measured on the rest.
Every arm has the same start, windows, updates and learning rate. What an arm is stands in
`fine_tuning.py`, what is measured of it in `trials.py`, tables and charts in `report.py`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import spearmanr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import UsageError
from paperround.kit.language_models import load_language_model, use_threads
from paperround.papers.ditto import report
from paperround.papers.ditto.evaluation import continuations, ordinary_ids
from paperround.papers.ditto.fine_tuning import DITTO, MLE, Arm, FineTuning
from paperround.papers.ditto.metrics import repeats_previous
from paperround.papers.ditto.reinforcement import Reinforcement, self_reinforcement
from paperround.papers.ditto.texts import read_wikitext, sentences_of_text, words_of
from paperround.papers.ditto.trials import (
    CONTRASTIVE,
    DECODINGS,
    GREEDY,
    Job,
    Outcome,
    Setting,
    run_all,
    text_itself,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

NUCLEUS = "nucleus p 0.9"
# Copies that the claims speak of; copy 0 is the sentence's first occurrence.
_LATE = 7
_START = 4

# ScaleGrad, unlikelihood and the control have their published settings, as DITTO has.
UL_TOKEN = Arm("unlikelihood, tokens", "ul-token")
UL_BOTH = Arm("unlikelihood, tokens and sequences", "ul-token-seq")
SCALE_GRAD = Arm("ScaleGrad, γ 0.5", "scale-grad")
OTHER_LAMBDAS = (
    Arm("DITTO, λ 0.3", "ditto", lam=0.3),
    Arm("DITTO, λ 0.9", "ditto", lam=0.9),
    Arm("DITTO, λ 0 (control)", "ditto", lam=0.0),
)


@dataclass(frozen=True)
class Size:
    """How much of everything a scale measures. Arms in `once` run with the first seed only."""

    sentences_per_seed: int
    analysis_copies: int
    small: Setting
    small_arms: tuple[Arm, ...]
    large: Setting | None
    large_arms: tuple[Arm, ...] = ()
    large_once: tuple[Arm, ...] = ()
    pools: bool = False


def quick_size(text: Path, small: Path, large: Path) -> Size:
    """The quick scale: SmolLM2 untrained, two arms on the small model."""
    return Size(
        sentences_per_seed=6,
        analysis_copies=10,
        small=Setting(
            name="small",
            folder=small,
            text_folder=text,
            plan=FineTuning(updates=100, learning_rate=1e-3),
            last_layers=None,
            n_sentences=12,
            n_copies=9,
            n_prefixes=32,
            prefix_tokens=32,
            new_tokens=96,
            fit_tokens=8_192,
        ),
        small_arms=(MLE, DITTO),
        large=None,
    )


def standard_size(text: Path, small: Path, large: Path) -> Size:
    """The standard scale: all arms on the small model, four on SmolLM2."""
    return Size(
        sentences_per_seed=16,
        analysis_copies=16,
        small=Setting(
            name="small",
            folder=small,
            text_folder=text,
            plan=FineTuning(updates=150, rows=8, learning_rate=1e-3),
            last_layers=None,
            n_sentences=32,
            n_copies=9,
            n_prefixes=128,
            prefix_tokens=50,
            new_tokens=100,
            fit_tokens=65_536,
        ),
        small_arms=(MLE, DITTO, *OTHER_LAMBDAS, UL_TOKEN, UL_BOTH, SCALE_GRAD),
        large=Setting(
            name="smollm2",
            folder=large,
            text_folder=text,
            plan=FineTuning(updates=60),
            last_layers=8,
            n_sentences=16,
            n_copies=8,
            n_prefixes=48,
            prefix_tokens=32,
            new_tokens=96,
            fit_tokens=6_144,
            looks=(30,),
        ),
        large_arms=(MLE, DITTO),
        large_once=(UL_TOKEN, SCALE_GRAD),
        pools=True,
    )


SIZES: Mapping[Scale, Callable[[Path, Path, Path], Size]] = {
    Scale.QUICK: quick_size,
    Scale.STANDARD: standard_size,
}


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale not in (Scale.QUICK, Scale.STANDARD):
        raise UsageError(
            "ditto's full scale is a configuration nobody has run: a 16-layer model on "
            "WikiText-103; see the room's README. Use quick or standard"
        )
    text, large = run.asset("wikitext-2-valid"), run.asset("smollm2-135m")
    size = SIZES[run.scale](text, run.asset("ditto-small-lm"), large)
    use_threads(run.threads)
    human_repetition(run, text)
    with run.stage("load SmolLM2-135M", 1) as stage:
        model, tokenizer = load_language_model(large)
        stage.advance()
    self_reinforcement_of_a_real_model(run, model, tokenizer, size, text)
    del model

    outcomes = train_and_measure(run, size)
    cure(run, "small", size.small, outcomes, "a GPT of 1 M parameters")
    if size.large is not None:
        cure(run, "smollm2", size.large, outcomes, "SmolLM2-135M")


def human_repetition(run: Run, text_folder: Path) -> None:
    """Abstract: people almost never write the same sentence twice in a row."""
    words = words_of("\n".join(read_wikitext(text_folder)))
    repeated, pairs = repeats_previous(words, frozenset(".!?"))
    run.measure("human-repetition", 100 * repeated / pairs)


def self_reinforcement_of_a_real_model(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    size: Size,
    text_folder: Path,
) -> None:
    """Section 2: TP, IR and WR of every copy; sentences that start higher end higher."""
    text = read_wikitext(text_folder)[1]
    per_seed = size.sentences_per_seed
    sentences = sentences_of_text(text, per_seed * len(run.seeds))
    curves: list[Reinforcement] = []
    with run.stage("repeat sentences to SmolLM2-135M", len(run.seeds)) as stage:
        for i, seed in enumerate(run.seeds):
            # Every seed has sentences of its own.
            part = sentences[i :: len(run.seeds)]
            curve = self_reinforcement(model, tokenizer, part, n_repeats=size.analysis_copies)
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
    if size.pools:
        pools = pools_of(model, tokenizer, sentences[:per_seed], size.analysis_copies, run.seeds[0])
        report.show_pools(run, pools)


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
    """The outcomes of every arm on both models: "small" and "smollm2"."""
    jobs: list[Job] = []
    if size.large is not None:
        # The long ones first, so that no processor is idle at the end.
        jobs += [
            (size.large, arm, s, (GREEDY, NUCLEUS)) for s in run.seeds for arm in size.large_arms
        ]
        jobs += [(size.large, arm, run.seeds[0], (GREEDY, NUCLEUS)) for arm in size.large_once]
        jobs.append((size.large, None, run.seeds[0], (GREEDY, NUCLEUS)))
    everything = (*DECODINGS, CONTRASTIVE) if size.large is not None else tuple(DECODINGS)
    for seed in run.seeds:
        for arm in size.small_arms:
            remedies = arm is MLE and seed == run.seeds[0]
            decodings = everything if remedies else (GREEDY, NUCLEUS)
            jobs.append((size.small, arm, seed, decodings))
    jobs.append((size.small, None, run.seeds[0], (GREEDY, NUCLEUS)))
    found: dict[str, list[Outcome]] = {"small": [], "smollm2": []}
    with run.stage("fine-tune and measure the arms", len(jobs)) as stage:
        for job, outcome in run_all(jobs, run.threads):
            found[job[0].name].append(outcome)
            stage.advance()
    order = {arm.name: i for i, arm in enumerate((*size.small_arms, *size.large_once))}
    for outcomes in found.values():
        outcomes.sort(key=lambda outcome: (order.get(outcome.arm or "", -1), outcome.seed))
    return found


def cure(
    run: Run, model: str, setting: Setting, found: Mapping[str, Sequence[Outcome]], title: str
) -> None:
    """The claims of the training on one model, DITTO against plain fine-tuning, seed by seed."""
    outcomes = found[model]
    for seed in run.seeds:
        mle, ditto = (_one(outcomes, arm.name, seed) for arm in (MLE, DITTO))
        measure_pair(run, model, setting, mle, ditto)
    with_text = text_itself(setting)
    report.show_arms(run, title, outcomes)
    report.show_written(run, title, outcomes, with_text)
    report.show_curves(run, title, outcomes)
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


def _one(outcomes: Iterable[Outcome], arm: str, seed: int) -> Outcome:
    return next(o for o in outcomes if o.arm == arm and o.seed == seed)
