"""Measures LLM-Drop's claims on SmolLM2-135M: what goes, what it costs, and what it saves.

A seed draws the calibration windows, and one set of random attentions. What is measured on is the
same for all seeds and arms.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean

from scipy.stats import spearmanr
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import UsageError
from paperround.kit.language_models import load_language_model, use_threads
from paperround.papers.llm_drop import report, savings
from paperround.papers.llm_drop.lora import repair
from paperround.papers.llm_drop.measures import choice_accuracy, next_passage_choices
from paperround.papers.llm_drop.peers import plan_by_loss, plan_last, plan_randomly
from paperround.papers.llm_drop.plans import (
    DropKind,
    DropPlan,
    dropped,
    plan_angular,
    plan_consecutive,
    plan_drop,
    plan_iteratively,
)
from paperround.papers.llm_drop.scores import Scores, score_spans, score_sublayers
from paperround.papers.llm_drop.study import Arm, Arms, Perplexities
from paperround.papers.llm_drop.sublayers import layers_of
from paperround.papers.llm_drop.texts import Texts, drawn_windows, read_texts, spread_windows
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

KINDS: tuple[DropKind, ...] = ("attention", "block", "mlp")


@dataclass(frozen=True)
class PeerSize:
    """What only the standard scale has: stronger baselines, questions and a repair."""

    ns: tuple[int, ...]
    # Of the first seed's windows, as many as each of these is calibrated on.
    by_loss_windows: int
    iterative_windows: int
    span_windows: int
    n_questions: int
    repair_steps: int
    repair_tokens: int


@dataclass(frozen=True)
class Size:
    """How much is calibrated on, measured and timed. Windows are (how many, tokens in each)."""

    calibration: tuple[int, int]
    # Per text.
    measured: tuple[int, int]
    texts: tuple[str, ...]
    # How many sub-layers go: for the claims, in the sweep, in the timed model (half of 30).
    n: int
    sweep: tuple[int, ...]
    half: int
    sample_tokens: int
    n_characters: int | None
    timing: savings.TimingSize | None = None
    peers: PeerSize | None = None


SIZES = {
    Scale.QUICK: Size(
        calibration=(2, 256),
        measured=(3, 256),
        texts=("fiction",),
        n=8,
        sweep=(8,),
        half=15,
        sample_tokens=24,
        n_characters=100_000,
    ),
    Scale.STANDARD: Size(
        calibration=(8, 256),
        measured=(4, 256),
        texts=("fiction", "proceedings"),
        n=8,
        sweep=(4, 8, 12, 15),
        half=15,
        sample_tokens=40,
        n_characters=None,
        timing=savings.TimingSize(contexts=(64, 512), claimed_context=512, n_steps=20),
        peers=PeerSize(
            ns=(4, 8),
            by_loss_windows=1,
            iterative_windows=4,
            span_windows=8,
            n_questions=32,
            repair_steps=60,
            repair_tokens=128,
        ),
    ),
}


def reproduce(run: Run) -> None:
    """Measures every claim of the card that this scale can; raises UsageError at full."""
    if run.scale not in SIZES:
        raise UsageError(
            "llm-drop's full scale is a configuration nobody has run: Llama-2-13B on a GPU; see "
            "the room's full.toml and README. Use quick or standard"
        )
    use_threads(run.threads)
    proceedings, novel = run.asset("lcet10"), run.asset("canterbury-alice-asyoulik")
    size = SIZES[run.scale]
    with run.stage("load SmolLM2-135M", 1) as stage:
        model, tokenizer = load_language_model(run.asset("smollm2-135m"))
        texts = read_texts(proceedings, novel, tokenizer, size.n_characters)
        stage.advance()
    measure(run, model, tokenizer, texts, size)


def measure(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Texts,
    size: Size,
) -> None:
    """All of a scale's measurements, on a model in float32."""
    scores = score_by_seed(run, model, texts, size)
    cost_of_dropping(run, model, texts, size, scores)
    first = scores[run.seeds[0]]
    shown = {
        "intact": DropPlan(),
        **{f"{_N_OF[kind]}, {size.n}": plan_drop(first, size.n, kind) for kind in KINDS},
        f"{_N_OF['attention']}, {size.half}": plan_drop(first, size.half, "attention"),
    }
    halves = {seed: plan_drop(scores[seed], size.half, "attention") for seed in run.seeds}
    savings.cache_and_parameters(run, model, shown, halves)
    speedups: Mapping[str, float] = {}
    if size.timing is None:
        savings.what_is_allowed(run, model, shown)
    else:
        speedups = savings.seconds(run, model, shown, halves, size.timing)
    report.show_texts(run, model, tokenizer, shown, size.sample_tokens)
    if size.peers is not None:
        questions(run, model, texts, shown, size.peers, speedups)
        repaired(run, model, texts, size, size.peers, plan_drop(first, size.n, "attention"))


_N_OF: Mapping[DropKind, str] = {
    "attention": "attentions",
    "mlp": "MLPs",
    "block": "blocks",
    "joint": "either",
}

# Of the ways to choose, those in the chart; the others have too few points or stand too close.
_CHARTED = (
    "attentions",
    "blocks",
    "MLPs",
    "random attentions",
    "attentions, greedy by perplexity",
    "consecutive blocks, by cosine",
)


def score_by_seed(run: Run, model: PreTrainedModel, texts: Texts, size: Size) -> dict[int, Scores]:
    """The scores of each seed's windows; measures what the scores alone say."""
    scores = {}
    with run.stage("score blocks, attentions, MLPs", len(run.seeds)) as stage:
        for seed in run.seeds:
            windows = drawn_windows(texts.calibration, *size.calibration, seed)
            scores[seed] = score_sublayers(model, windows)
            stage.advance()
    n_layers = len(layers_of(model))
    for seed, of_seed in scores.items():
        attention, mlp = (
            fmean(
                similarity
                for similarity in of_seed.similarity[kind][n_layers // 3 : 2 * n_layers // 3]
                if similarity is not None
            )
            for kind in ("attention", "mlp")
        )
        run.measure("attention-more-similar", attention - mlp, baseline=mlp, seed=seed)
    correlations = [
        float(spearmanr(a.similarity["attention"], b.similarity["attention"]).statistic)
        for a, b in combinations(scores.values(), 2)
    ]
    if correlations:
        run.measure("rank-stability", min(correlations), baseline=1.0)
    report.show_scores(run, list(scores.values()), size.calibration)
    return scores


def cost_of_dropping(
    run: Run, model: PreTrainedModel, texts: Texts, size: Size, scores: Mapping[int, Scores]
) -> None:
    """Perplexity by kind and number, and that of every peer, on the same windows."""
    n_layers, first, n = len(layers_of(model)), run.seeds[0], size.n
    arms = Arms()
    for kind in KINDS:
        for n_swept in size.sweep:
            # Every seed where a claim asks; elsewhere the first one shows the course.
            for seed in run.seeds if n_swept == n else run.seeds[:1]:
                arms.add(_N_OF[kind], n_swept, seed, plan_drop(scores[seed], n_swept, kind))
    for seed in run.seeds:
        arms.add("random attentions", n, seed, plan_randomly(n_layers, n, "attention", seed))
    arms.add("last attentions", n, first, plan_last(n_layers, n, "attention"))
    if size.peers is not None:
        add_peers(run, model, texts, size, size.peers, scores, arms)
    windows = {name: spread_windows(texts.measured[name], *size.measured) for name in size.texts}
    with run.stage("perplexity without what goes", arms.n_different + 1) as stage:
        perplexities = Perplexities(model, windows, on_measured=stage.advance)
        intact = perplexities(DropPlan())
        measured = {arm: perplexities(plan) for arm, plan in arms.plans.items()}

    def value(name: str, seed: int) -> float:
        return measured[Arm(name, n, seed)].perplexity

    random = fmean(value("random attentions", seed) for seed in run.seeds)
    for seed in run.seeds:
        attention, block, mlp = (value(_N_OF[kind], seed) for kind in KINDS)
        run.measure("attention-over-block", block / attention, baseline=block, seed=seed)
        run.measure("attention-over-mlp", mlp / attention, baseline=mlp, seed=seed)
        run.measure("block-over-mlp", mlp / block, baseline=mlp, seed=seed)
        run.measure("similarity-over-random", random / attention, baseline=random, seed=seed)
        if size.peers is not None:
            joint = value(_N_OF["joint"], seed)
            run.measure("joint", attention / joint, baseline=attention, seed=seed)
    report.show_perplexities(run, arms, measured, intact, size.measured, _CHARTED)


def add_peers(
    run: Run,
    model: PreTrainedModel,
    texts: Texts,
    size: Size,
    peers: PeerSize,
    scores: Mapping[int, Scores],
    arms: Arms,
) -> None:
    """Joint Drop, and the peers whose plans need passes of their own."""
    n_layers, first, most = len(layers_of(model)), run.seeds[0], max(peers.ns)
    windows = drawn_windows(texts.calibration, *size.calibration, first)
    for seed in run.seeds:
        arms.add(_N_OF["joint"], size.n, seed, plan_drop(scores[seed], size.n, "joint"))
    for n in peers.ns:
        # As many sub-layers as that many blocks have.
        arms.add(_N_OF["joint"], 2 * n, first, plan_drop(scores[first], 2 * n, "joint"))
        arms.add("last blocks", n, first, plan_last(n_layers, n, "block"))
    with run.stage("score spans of blocks", 1) as stage:
        spans = score_spans(model, windows[: peers.span_windows])
        stage.advance()
    for n in peers.ns:
        arms.add("consecutive blocks, by cosine", n, first, plan_consecutive(spans, n))
        arms.add("consecutive blocks, by angle", n, first, plan_angular(spans, n))
    with run.stage("score anew after every drop", most) as stage:
        iterative = plan_iteratively(
            model, windows[: peers.iterative_windows], most, "attention", on_step=stage.advance
        )
    with run.stage("greedy by perplexity", most) as stage:
        by_loss = plan_by_loss(
            model, windows[: peers.by_loss_windows], most, "attention", on_step=stage.advance
        )
    for n in peers.ns:
        # Both choose one by one, so that the first n are their plan for n.
        for name, plan in (
            ("attentions, scored anew", iterative),
            ("attentions, greedy by perplexity", by_loss),
        ):
            arms.add(name, n, first, replace(plan, attention=plan.attention[:n]))


def questions(
    run: Run,
    model: PreTrainedModel,
    texts: Texts,
    plans: Mapping[str, DropPlan],
    peers: PeerSize,
    speedups: Mapping[str, float],
) -> None:
    """Accuracy at telling the passage that comes next from three others, and what speed costs."""
    asked = [
        choice
        for ids in texts.measured.values()
        for choice in next_passage_choices(ids, peers.n_questions // len(texts.measured), 0)
    ]
    accuracies = {}
    with run.stage("choose the next passage", len(plans)) as stage:
        for name, plan in plans.items():
            with dropped(model, plan):
                accuracies[name] = 100 * choice_accuracy(model, asked)
            stage.advance()
    report.show_accuracy(run, accuracies, speedups, len(asked))


def repaired(
    run: Run, model: PreTrainedModel, texts: Texts, size: Size, peers: PeerSize, plan: DropPlan
) -> None:
    """Perplexity before and after a short repair with LoRA; changes the model for good."""
    seed = run.seeds[0]
    windows = {name: spread_windows(texts.measured[name], *size.measured) for name in size.texts}
    batches = drawn_windows(texts.calibration, peers.repair_steps, peers.repair_tokens, seed)
    with dropped(model, plan):
        before = Perplexities(model, windows)(DropPlan())
        with run.stage("repair with LoRA", len(batches)) as stage:
            _, losses = repair(model, batches, seed=seed, on_step=stage.advance)
        after = Perplexities(model, windows)(DropPlan())
    report.show_repair(run, plan, before, after, losses)
