"""Measures the paper's claims: that no order matters, what each edit does alone, what it costs.

The guarantee and the effect of the edits are shown on prompts in all orders of four options. What
multiple choice costs is asked with SmolLM2-135M, which is near chance as GPT-2 is in the paper, so
a model that is well above it is trained in the run: a tiny GPT that looks keys up. What is run is
in `trials.py` and `lookup.py`, tables and charts in `report.py`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.errors import UsageError
from paperround.kit.language_models import load_language_model, use_threads
from paperround.papers.set_based_prompting import lookup, report
from paperround.papers.set_based_prompting.encoding import FORMS
from paperround.papers.set_based_prompting.generation import set_generate
from paperround.papers.set_based_prompting.prompts import SetPrompt
from paperround.papers.set_based_prompting.questions import (
    Question,
    draw_boxes,
    read_questions,
)
from paperround.papers.set_based_prompting.scoring import (
    contains_only_correct,
    official_option_probabilities,
    option_ids,
)
from paperround.papers.set_based_prompting.sensitivity import (
    OrderSensitivity,
    order_sensitivity,
    rotations,
)
from paperround.papers.set_based_prompting.trials import (
    Trial,
    every_rotation,
    given_and_reversed,
    n_passes,
    run_trial,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

# All 24 orders of four options; five would have 120.
N_MEMBERS = 4
# What the authors generate before they look for the answer.
OFFICIAL_TOKENS = 10
SAMPLE_TOKENS = 16


@dataclass(frozen=True)
class Plan:
    """The sizes of a scale. Without `lookup` no model is trained."""

    n_csqa: int
    n_mmlu: int
    n_boxes: int
    n_official: int
    # Whether plain prompts get all rotations, and every edit its own row; else two orders.
    every_condition: bool
    lookup: lookup.LookupPlan | None
    further_steps: int = 200
    n_lookups: int = 300
    # Below it the model has not learned the task, and no figure of it says anything of the edits.
    least_accuracy: float = 0.9
    n_lookup_orders: int = 6


PLANS = {
    Scale.QUICK: Plan(
        n_csqa=24, n_mmlu=0, n_boxes=0, n_official=0, every_condition=False, lookup=None
    ),
    Scale.STANDARD: Plan(
        n_csqa=80,
        n_mmlu=50,
        n_boxes=20,
        n_official=20,
        every_condition=True,
        lookup=lookup.LookupPlan(steps=500),
    ),
}


def reproduce(run: Run) -> None:
    """Measures every claim that the scale can; raises UsageError at the full scale."""
    if run.scale not in PLANS:
        raise UsageError(
            "set-based-prompting's full scale is a configuration that nobody has run: models of "
            "8 B parameters on a GPU; see the room's README. Use quick or standard"
        )
    measure_at(run, PLANS[run.scale])


def measure_at(run: Run, plan: Plan) -> None:
    """What `reproduce` does, at any size."""
    use_threads(run.threads)
    folder = run.asset("set-prompt-questions")
    csqa, mmlu = (read_questions(folder, dataset) for dataset in ("csqa", "mmlu"))
    with run.stage("load SmolLM2-135M", 1) as stage:
        model, tokenizer = load_language_model(run.asset("smollm2-135m"))
        stage.advance()

    measure_orders(run, model, tokenizer, csqa)
    if not plan.every_condition:
        csqa = shortest_first(csqa, tokenizer)
    show_two_orders(run, model, tokenizer, csqa[1])
    multiple_choice(run, model, tokenizer, plan, csqa, mmlu)
    if plan.n_official:
        official_scores(run, model, tokenizer, csqa[: plan.n_official])
    if plan.lookup is not None:
        # A tiny model gains nothing from a second thread.
        use_threads(1)
        measure_lookup(run, plan, plan.lookup)
        use_threads(run.threads)
    run.note(
        "SmolLM2-135M answers multiple choice near chance (one in five, one in four), as GPT-2 "
        "does in the paper: there an edit can neither harm nor help by much, and what a change of "
        "order turns is no understanding. Larger models are for the full scale."
    )


def shortest_first(
    questions: Sequence[Question], tokenizer: PreTrainedTokenizerBase
) -> list[Question]:
    """The questions by the tokens of their longest option, then by their own length."""

    def cost(question: Question) -> tuple[int, int]:
        longest = max(map(len, option_ids(tokenizer, question.continuations)))
        return longest, len(question.prompt.text)

    return sorted(questions, key=cost)


def measure_orders(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
) -> None:
    """The abstract's guarantee, and the ablation: one question a seed in all of its 24 orders."""
    found: dict[str, list[OrderSensitivity]] = {name: [] for name in FORMS}
    # The shortest ones: 24 orders under four forms are nearly a hundred prompts a question.
    short = shortest_first(questions, tokenizer)
    asked = [short[seed % len(short)].with_options(N_MEMBERS) for seed in run.seeds]
    with run.stage("ask in all orders", len(asked) * len(FORMS)) as stage:
        for question in asked:
            for name, form in FORMS.items():
                found[name].append(
                    order_sensitivity(
                        model,
                        tokenizer,
                        question.prompt,
                        options=question.continuations,
                        form=form,
                    )
                )
                stage.advance()
    for seed, plain, ours, mask, positions in zip(
        run.seeds,
        *(found[name] for name in ("plain", "set-based", "mask only", "positions only")),
        strict=True,
    ):
        by_rounding = ours.max_deviation
        run.measure("order-independence", by_rounding, baseline=plain.max_deviation, seed=seed)
        run.measure(
            "no-flips",
            ours.argmax_flips + ours.answer_flips,
            baseline=plain.argmax_flips + plain.answer_flips,
            seed=seed,
        )
        run.measure("plain-depends", plain.max_deviation, baseline=by_rounding, seed=seed)
        for claim, edit in (("mask-alone", mask), ("positions-alone", positions)):
            # Equal to the last bit would be a ratio of infinity.
            ratio = edit.max_deviation / max(by_rounding, 1e-9)
            run.measure(claim, ratio, baseline=by_rounding, seed=seed)
    report.show_orders(run, found, asked)


def show_two_orders(
    run: Run, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, question: Question
) -> None:
    """What the model says to a question in two orders, with and without the method."""
    # The template's text has the markers where they were, so the sets survive it.
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": question.prompt.marked().removesuffix("\nAnswer:")}],
        add_generation_prompt=True,
        tokenize=False,
    )
    prompt = SetPrompt.parse(said)
    reverse = prompt.permuted(rotations(len(question.options), reverse=True)[0])
    texts = {}
    with run.stage("write an answer in two orders", 2) as stage:
        for name in ("plain", "set-based"):
            written = set_generate(
                model,
                tokenizer,
                [prompt, reverse],
                form=FORMS[name],
                add_bos=False,
                max_new_tokens=SAMPLE_TOKENS,
            )
            texts[f"{name}, options as given"], texts[f"{name}, reversed"] = written.texts
            stage.advance()
    run.sample(
        f"SmolLM2-135M is asked: {question.text} {', '.join(question.options)}",
        texts,
        note=f"Greedy, {SAMPLE_TOKENS} tokens at most. The right option is "
        f"{question.options[question.answer]!r}.",
    )


def multiple_choice(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    plan: Plan,
    csqa: Sequence[Question],
    mmlu: Sequence[Question],
) -> None:
    """All conditions on CommonsenseQA, MMLU and the boxes, with what they measure."""
    orders_of = every_rotation if plan.every_condition else given_and_reversed
    forms = tuple(FORMS) if plan.every_condition else ("plain", "set-based")
    trials: list[Trial] = []
    for name, questions, claim in (
        ("CommonsenseQA", csqa[: plan.n_csqa], "accuracy-csqa"),
        # A question of each subject before a second one of any.
        ("MMLU", mmlu[:: max(1, len(mmlu) // max(1, plan.n_mmlu))][: plan.n_mmlu], "accuracy-mmlu"),
    ):
        if not questions:
            continue
        orders = orders_of(len(questions[0].options))
        every: dict[str, Any] = {"forms": forms, "with_sorted": plan.every_condition}
        passes = n_passes(orders, **every)
        with run.stage(f"ask {len(questions)} questions of {name}", passes) as stage:
            trial = run_trial(name, model, tokenizer, questions, orders, stage, **every)
        trials.append(trial)
        run.measure(
            claim,
            abs(trial.set_based.accuracy() - trial.default_and_reversed),
            baseline=trial.default_and_reversed,
        )
        report.show_multiple_choice(run, trial)
    run.measure(
        "flips-of-plain",
        trials[0].plain.flips(0, trials[0].reversed_order),
        baseline=trials[0].set_based.flips(0, 1),
    )
    if plan.every_condition:
        run.measure("flips-of-sets", max(trial.set_based.flips(0, 1) for trial in trials))
    if plan.n_boxes:
        ask_boxes(run, model, tokenizer, plan.n_boxes, trials)


def ask_boxes(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    n: int,
    trials: Sequence[Trial],
) -> None:
    """What the place of a fact does to an ordinary prompt, beside the questions of `trials`."""
    boxes = draw_boxes(n, seed=0)
    n_facts = len(boxes[0].options)
    orders = [*rotations(n_facts), rotations(n_facts, reverse=True)[0]]
    passes = n_passes(orders, ("plain", "set-based"), with_sorted=False)
    with run.stage(f"ask {len(boxes)} questions of boxes", passes) as stage:
        asked = run_trial(
            "boxes", model, tokenizer, boxes, orders, stage, forms=("plain", "set-based")
        )
    report.show_places(run, [asked, *trials])
    report.show_boxes(run, asked)


def official_scores(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
) -> None:
    """The authors' own two scores: ten greedy tokens after their own prompt."""
    batch_size = 12
    reverse = rotations(len(questions[0].options), reverse=True)[0]
    rows = []
    conditions = (("plain", False), ("plain", True), ("set-based", False), ("set-based", True))
    with run.stage("generate answers as the authors do", len(conditions)) as stage:
        for name, is_reversed in conditions:
            right, likely = [], []
            for start in range(0, len(questions), batch_size):
                batch = questions[start : start + batch_size]
                prompts = [
                    q.official_prompt.permuted(reverse) if is_reversed else q.official_prompt
                    for q in batch
                ]
                written = set_generate(
                    model,
                    tokenizer,
                    prompts,
                    form=FORMS[name],
                    max_new_tokens=OFFICIAL_TOKENS,
                    output_logits=True,
                )
                assert written.logits is not None
                for q, text, logits, length in zip(
                    batch, written.texts, written.logits, written.lengths, strict=True
                ):
                    right.append(contains_only_correct(text, q.options, q.answer))
                    ids = option_ids(tokenizer, q.options)
                    found = official_option_probabilities(logits[:length], ids)
                    likely.append(int(found.argmax()) == q.answer)
            order = "reversed" if is_reversed else "as given"
            rows.append((name, order, sum(right) / len(right), sum(likely) / len(likely)))
            stage.advance()
    report.show_official(run, rows, len(questions))


def measure_lookup(run: Run, plan: Plan, training: lookup.LookupPlan) -> None:
    """A model above chance: trained on ordinary prompts, then asked, and trained on, with sets."""
    trials: list[lookup.LookupTrial] = []
    losses: dict[int, list[float]] = {}
    ask = partial(lookup.measure, n=plan.n_lookups)
    for seed in run.seeds:
        model, tokenizer = lookup.untrained_model(seed)
        with run.stage(f"learn to look up, seed {seed}", training.steps) as stage:
            losses[seed] = lookup.train(
                model, tokenizer, training, seed=seed, on_step=lambda step, loss: stage.advance()
            )
        normal = ask(model, tokenizer, {}, n_orders=2, seed=seed).accuracy("plain")
        if normal < plan.least_accuracy:
            run.note(
                f"Seed {seed}: the lookup model has not learned its task (accuracy {normal:.2f}, "
                f"{training.steps} steps), so it is left out of the two claims."
            )
            continue
        further = {}
        with run.stage(f"train further, seed {seed}", 2 * plan.further_steps) as stage:
            # The control: as many further steps on ordinary prompts.
            for name in ("plain", "set-based"):
                trained = copy.deepcopy(model)
                lookup.train(
                    trained,
                    tokenizer,
                    lookup.further_plan(training, plan.further_steps),
                    form=FORMS[name],
                    seed=seed + 1,
                    on_step=lambda step, loss: stage.advance(),
                )
                further[f"trained further, {name}"] = trained
        with run.stage(f"look up in {plan.n_lookup_orders} orders, seed {seed}"):
            trials.append(ask(model, tokenizer, further, n_orders=plan.n_lookup_orders, seed=seed))
    report.show_learning(run, losses)
    for trial in trials:
        normal = trial.accuracy("plain")
        run.measure(
            "lookup-zero-shot",
            # A model that learned nothing has no ratio, and one right answer is next to none.
            trial.accuracy("set-based") / max(normal, 1 / plan.n_lookups),
            baseline=normal,
            seed=trial.seed,
        )
        run.measure(
            "lookup-fine-tuned",
            trial.accuracy("trained further, set-based") - normal,
            baseline=normal,
            seed=trial.seed,
        )
    if trials:
        report.show_lookup(run, trials)
