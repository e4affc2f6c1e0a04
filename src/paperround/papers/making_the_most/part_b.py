"""Part B measured: steps on SmolLM2-135M's cached states, beside none and beside steps on weights.

Five texts, two of kinds that such a model has seen much of and three that it has not. Of each, one
passage tunes the step sizes, and others, one a seed, are measured on. Rows of a batch are texts of
their own with step sizes of their own, so that all texts are read at once, and a whole grid of step
sizes with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from paperround.kit.language_models import load_language_model
from paperround.papers.making_the_most import report
from paperround.papers.making_the_most.decoders import token_losses
from paperround.papers.making_the_most.dynamic_evaluation import Chosen, DynamicEvaluation
from paperround.papers.making_the_most.hidden_states import HiddenStateOptimizer, Optimizer
from paperround.papers.making_the_most.texts import (
    LABELS,
    Emoji,
    Text,
    few_shot_prompt,
    passages,
    read_emoji,
    read_tokens,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

NONE, ADAM, SGD = "no update", "states, Adam", "states, SGD"
MISPLACED = "states, Adam, misplaced (control)"
NORMS, ALL = "dynamic evaluation, norms", "dynamic evaluation, all weights"
WEIGHTS: Mapping[str, Chosen] = {NORMS: "norms", ALL: "all"}
# Of the windows whose descent is looked at: small beside any that was tuned.
_SMALL_STEP = 1e-3
_BEGINNING, _WRITTEN = 48, 12
_LONGEST_PROMPT = 1_024


@dataclass(frozen=True)
class FewShot:
    """Classification of emoji names: examples a class in the prompt, questions a class, sizes."""

    examples: tuple[int, ...]
    questions: int
    lrs: tuple[float, ...]


@dataclass(frozen=True)
class Grid:
    """Step sizes that are tried on the tuning passages."""

    adam: tuple[float, ...]
    sgd: tuple[float, ...]
    norms: tuple[float, ...]
    all_weights: tuple[float, ...]


@dataclass(frozen=True)
class Size:
    """How much is read; lengths in tokens."""

    window: int
    max_cache: int
    # Windows of the checks on Alice in Wonderland, one row a seed.
    checked: int
    passage: int = 0
    tuned: int = 0
    n_characters: int = 40_000
    grid: Grid | None = None
    few_shot: FewShot | None = None


# The model rests much attention on its first tokens, whatever they are: they stay in every arm.
N_SINKS = 4
SIZES = {
    Scale.QUICK: Size(window=32, max_cache=256, checked=2),
    Scale.STANDARD: Size(
        window=32,
        max_cache=256,
        checked=6,
        passage=160,
        tuned=128,
        n_characters=400_000,
        grid=Grid(
            adam=(3e-3, 1e-2, 3e-2),
            sgd=(0.1, 0.3, 1.0),
            norms=(1e-2, 1e-1),
            all_weights=(1e-3, 1e-2),
        ),
        few_shot=FewShot(examples=(1, 2, 4), questions=6, lrs=(1e-2,)),
    ),
}


def measure_b(run: Run) -> None:
    """Measures the claims of part B at the run's scale."""
    size = SIZES[run.scale]
    with run.stage("load SmolLM2-135M", 1) as stage:
        model, tokenizer = load_language_model(run.asset("smollm2-135m"))
        stage.advance()
    novel = run.asset("canterbury-alice-asyoulik") / "alice29.txt.xz"
    checks(run, model, read_tokens(novel, tokenizer, size.n_characters), size)
    if size.grid is None:
        written(run, model, tokenizer, novel)
        return
    texts = read_texts(run, tokenizer, size)
    losses_of_texts(run, model, tokenizer, texts, size, size.grid)
    if size.few_shot is not None:
        classification(run, model, tokenizer, size, size.few_shot)


def read_texts(run: Run, tokenizer: PreTrainedTokenizerBase, size: Size) -> list[Text]:
    """The five texts as tokens."""
    short = run.asset("canterbury-alice-asyoulik")
    places = (
        ("novel (alice29)", True, short / "alice29.txt.xz"),
        (
            "proceedings (lcet10)",
            True,
            run.asset("canterbury-lcet10-plrabn12") / "lcet10.txt.xz",
        ),
        ("play in verse (asyoulik)", False, short / "asyoulik.txt.xz"),
        ("German captions", False, run.asset("multi30k") / "val.de.gz"),
        (
            "Python source",
            False,
            run.asset("python-standard-library") / "python_stdlib_3.11.7.py.txt.xz",
        ),
    )
    return [
        Text(name, familiar, read_tokens(path, tokenizer, size.n_characters))
        for name, familiar, path in places
    ]


def an_optimizer(
    model: PreTrainedModel,
    size: Size,
    lr: float | Tensor,
    optimizer: Optimizer = "adam",
    misplaced: torch.Generator | None = None,
) -> HiddenStateOptimizer:
    """The method as it is measured: one step a window, keys and values of all layers."""
    return HiddenStateOptimizer(
        model,
        lr,
        optimizer=optimizer,
        window=size.window,
        max_cache=size.max_cache,
        n_sinks=N_SINKS,
        misplaced=misplaced,
    )


def checks(run: Run, model: PreTrainedModel, ids: Tensor, size: Size) -> None:
    """What has to hold whatever a step gains: no step changes nothing, a small one goes down."""
    rows = passages(ids, len(run.seeds), size.checked * size.window + 1)
    with run.stage("check steps on SmolLM2-135M's states", 3) as stage:
        own = cached_losses(model, rows, size.window)
        stage.advance()
        still = an_optimizer(model, size, 0.0).score(rows)
        stage.advance()
        before, after = an_optimizer(model, size, _SMALL_STEP).descend(rows)
        stage.advance()
    for place, seed in enumerate(run.seeds):
        difference = float((still - own)[place].abs().max())
        base = float(own[place].mean())
        run.measure("no-step-no-change", difference, baseline=base, seed=seed)
        share = float((after < before)[place].double().mean())
        run.measure("descent", share, baseline=0.5, seed=seed)
    report.show_descent(run, before, after, _SMALL_STEP)


def cached_losses(model: PreTrainedModel, ids: Tensor, window: int) -> Tensor:
    """The losses of (rows, tokens) as transformers' own cache gives them, window after window."""
    cache, losses = DynamicCache(config=model.config), []
    with torch.inference_mode():
        for start in range(0, ids.shape[1] - 1, window):
            targets = ids[:, start + 1 : start + 1 + window]
            read = ids[:, start : start + targets.shape[1]]
            logits = model(input_ids=read, past_key_values=cache, use_cache=True).logits
            losses.append(token_losses(logits, targets))
    return torch.cat(losses, dim=1)


def written(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, novel: Path
) -> None:
    """How the model goes on with a passage, as it is and with the passage's states optimised."""
    ids = passages(read_tokens(novel, tokenizer, 20_000), 1, _BEGINNING)
    texts = {}
    with run.stage("let SmolLM2-135M go on", 2) as stage:
        for name, lr in (("as it is", 0.0), ("states optimised, Adam 0.01", 1e-2)):
            optimizer = HiddenStateOptimizer(model, lr, window=32, steps=int(lr > 0))
            cache = optimizer.fit_prompt(ids[:, :-1])
            with torch.inference_mode():
                found = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    past_key_values=cache,
                    max_new_tokens=_WRITTEN,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                )
            texts[name] = tokenizer.decode(found[0, ids.shape[1] :])
            stage.advance()
    end = " ".join(tokenizer.decode(ids[0, -24:]).split())
    run.sample(
        f"B: SmolLM2-135M goes on: … {end}", texts, note="Greedy, after a passage of a novel."
    )


def losses_of_texts(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    size: Size,
    grid: Grid,
) -> None:
    """Step sizes tuned on a passage of each text, and all arms measured on the others."""
    n_seeds = len(run.seeds)
    length = max(size.passage, size.tuned) + 1
    # (texts, passages, tokens); the last passage of each text is for tuning.
    cut = torch.stack([passages(text.ids, n_seeds + 1, length) for text in texts])
    tests = cut[:, :-1, : size.passage + 1]
    tuning = tune(run, model, cut[:, -1, : size.tuned + 1], size, grid)
    report.show_tuning(run, [text.name for text in texts], tuning)
    rows = tests.flatten(0, 1)

    def by_row(arm: str) -> Tensor:
        return torch.tensor(tuning[arm].best).repeat_interleave(n_seeds)

    generator = torch.Generator().manual_seed(run.seeds[0])
    found: dict[str, Tensor] = {}
    with run.stage("read passages with every arm", 4 + 2 * len(texts)) as stage:
        for name, optimizer in (
            (NONE, unchanged(model, size)),
            (ADAM, an_optimizer(model, size, by_row(ADAM))),
            (SGD, an_optimizer(model, size, by_row(SGD), "sgd")),
            (MISPLACED, an_optimizer(model, size, by_row(ADAM), "adam", generator)),
        ):
            found[name] = optimizer.score(rows).unflatten(0, (len(texts), n_seeds))
            stage.advance()
        for name in WEIGHTS:
            # Weights serve every row, so that rows are read one by one: the first passages only.
            one_by_one = []
            for place in range(len(texts)):
                evaluation = on_weights(model, size, name, tuning[name].best[place])
                one_by_one.append(evaluation.score(tests[place, :1]))
                stage.advance()
            found[name] = torch.stack(one_by_one)
    means = {name: losses.double().mean(dim=-1) for name, losses in found.items()}
    measure_gains(run, texts, means, tuning)
    report.show_gains(run, texts, means, {name: tuning[name].best for name in tuning}, NONE)
    report.show_words(run, tokenizer, texts, tests, found, (NONE, ADAM))


@dataclass(frozen=True)
class Tuned:
    """An arm's step size for each text, and the gain of every one that was tried, in percent."""

    best: tuple[float, ...]
    # (texts, step sizes), and the step sizes.
    gains: Tensor
    lrs: tuple[float, ...]

    def best_gain(self, text: int) -> float:
        """The gain of the chosen step size on the tuning passage; 0 where none helped."""
        return max(0.0, float(self.gains[text].max()))


def tune(
    run: Run, model: PreTrainedModel, rows: Tensor, size: Size, grid: Grid
) -> dict[str, Tuned]:
    """Each arm's step size for each text: the one that gains most on its row, or 0 if none does."""
    n_texts = len(rows)
    found = {}
    n_single = n_texts * (len(grid.norms) + len(grid.all_weights))
    with run.stage("tune step sizes", 3 + n_single) as stage:
        base = unchanged(model, size).score(rows).double()
        stage.advance()
        for name, rule, lrs in ((ADAM, "adam", grid.adam), (SGD, "sgd", grid.sgd)):
            # Every text with every step size, all at once.
            optimizer = an_optimizer(
                model, size, torch.tensor(lrs).repeat(n_texts), cast(Optimizer, rule)
            )
            losses = optimizer.score(rows.repeat_interleave(len(lrs), dim=0)).double()
            found[name] = _tuned(base, losses.unflatten(0, (n_texts, len(lrs))), lrs)
            stage.advance()
        for name, lrs in ((NORMS, grid.norms), (ALL, grid.all_weights)):
            # One text at a time, and dear: the first half of the passage has to do.
            short = rows[:, : size.tuned // 2 + 1]
            single = torch.empty(n_texts, len(lrs), short.shape[1] - 1, dtype=torch.double)
            for text in range(n_texts):
                for place, lr in enumerate(lrs):
                    evaluation = on_weights(model, size, name, lr)
                    single[text, place] = evaluation.score(short[text : text + 1])[0]
                    stage.advance()
            found[name] = _tuned(base[:, : short.shape[1] - 1], single, lrs)
    return found


def _tuned(base: Tensor, losses: Tensor, lrs: Sequence[float]) -> Tuned:
    """From losses without (texts, tokens) and with (texts, step sizes, tokens)."""
    without = base.mean(dim=1, keepdim=True)
    gains = 100 * (without - losses.mean(dim=2)) / without
    best = [lrs[int(row.argmax())] if float(row.max()) > 0 else 0.0 for row in gains]
    return Tuned(tuple(best), gains, tuple(lrs))


def unchanged(model: PreTrainedModel, size: Size) -> HiddenStateOptimizer:
    """Reads with the same cache and takes no step, nor any gradient."""
    optimizer = an_optimizer(model, size, 0.0)
    optimizer.steps = 0
    return optimizer


def on_weights(model: PreTrainedModel, size: Size, name: str, lr: float) -> DynamicEvaluation:
    """Dynamic evaluation with the same windows and cache."""
    return DynamicEvaluation(
        model,
        lr,
        parameters=WEIGHTS[name],
        window=size.window,
        max_cache=size.max_cache,
        n_sinks=N_SINKS,
    )


def measure_gains(
    run: Run, texts: Sequence[Text], means: Mapping[str, Tensor], tuning: Mapping[str, Tuned]
) -> None:
    """The claims, from mean losses of (texts, seeds)."""
    base = means[NONE]
    gains = {name: 100 * (base - means[name]) / base for name in (ADAM, SGD, MISPLACED)}
    # Which optimizer a text gets was chosen where its step size was.
    chosen = torch.stack(
        [
            gains[ADAM if tuning[ADAM].best_gain(i) >= tuning[SGD].best_gain(i) else SGD][i]
            for i in range(len(texts))
        ]
    )
    unlike = [i for i, text in enumerate(texts) if not text.familiar]
    for place, seed in enumerate(run.seeds):
        run.measure(
            "gain-out-of-domain",
            float(chosen[unlike, place].mean()),
            baseline=float(base[unlike, place].mean()),
            seed=seed,
        )
        run.measure(
            "shuffled-control",
            float(gains[MISPLACED][unlike, place].mean()),
            baseline=float(gains[ADAM][unlike, place].mean()),
            seed=seed,
        )
    by_text = chosen.mean(dim=1)
    worst = int(by_text.argmin())
    run.measure("no-text-worse", float(by_text[worst]), baseline=float(base[worst].mean()))


def classification(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    size: Size,
    few_shot: FewShot,
) -> None:
    """Accuracy at telling an emoji's class from its name, the prompt as it is and optimised.

    A seed draws examples and questions; the step size is chosen on other questions.
    """
    emoji = read_emoji(run.asset("emoji-names"))
    lrs = (0.0, *few_shot.lrs)
    # For each number of examples: whether each question was answered rightly, without and with.
    right: dict[int, list[tuple[bool, bool]]] = {n: [] for n in few_shot.examples}
    with run.stage("few-shot classification", len(run.seeds) * len(few_shot.examples)) as stage:
        for seed in run.seeds:
            asked, tried, examples = _drawn(emoji, few_shot, seed)
            answered: dict[int, list[tuple[bool, bool]]] = {n: [] for n in few_shot.examples}
            for n in few_shot.examples:
                chosen = [one for label in LABELS.values() for one in examples[label][:n]]
                order = np.random.default_rng(seed).permutation(len(chosen))
                prompt = few_shot_prompt([chosen[i] for i in order])
                by_lr = [
                    _answers(model, tokenizer, size, lr, prompt, [*tried, *asked]) for lr in lrs
                ]
                best = max(range(1, len(lrs)), key=lambda i: sum(by_lr[i][: len(tried)]))
                pairs = zip(by_lr[0][len(tried) :], by_lr[best][len(tried) :], strict=True)
                answered[n] = list(pairs)
                right[n] += answered[n]
                stage.advance()
            both = np.array([pair for pairs in answered.values() for pair in pairs], dtype=float)
            without, with_ = (100 * both).mean(axis=0)
            run.measure("few-shot", with_ - without, baseline=without, seed=seed)
    report.show_few_shot(run, right, len(LABELS))


def _drawn(
    emoji: Sequence[Emoji], few_shot: FewShot, seed: int
) -> tuple[list[Emoji], list[Emoji], dict[str, list[Emoji]]]:
    """Questions, questions to tune on, and by class the prompt's examples; none is in two."""
    generator = np.random.default_rng(seed)
    asked: list[Emoji] = []
    tried: list[Emoji] = []
    examples = {}
    n, n_tuned = few_shot.questions, max(1, few_shot.questions // 4)
    for label in LABELS.values():
        own = [one for one in emoji if one.label == label]
        order = [own[i] for i in generator.permutation(len(own))]
        asked += order[:n]
        tried += order[n : n + n_tuned]
        examples[label] = order[n + n_tuned : n + n_tuned + max(few_shot.examples)]
    return asked, tried, examples


def _answers(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    size: Size,
    lr: float,
    prompt: str,
    questions: Sequence[Emoji],
) -> list[bool]:
    """Whether each question's likeliest label is its own."""

    def ids(text: str) -> Tensor:
        return tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0]

    words = list(LABELS.values())
    optimizer = HiddenStateOptimizer(model, lr, window=size.window, max_cache=_LONGEST_PROMPT)
    optimizer.steps = 0 if lr == 0 else 1
    logs = optimizer.classify(
        ids(prompt), [ids(f"{one.name} ->") for one in questions], [ids(f" {w}") for w in words]
    )
    best = logs.argmax(dim=1).tolist()
    return [words[place] == one.label for place, one in zip(best, questions, strict=True)]
