"""What a reader sees beside the claims: tables, charts, and answers in two orders."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from paperround.papers.set_based_prompting.lookup import LookupTrial
from paperround.papers.set_based_prompting.questions import Question
from paperround.papers.set_based_prompting.sensitivity import OrderSensitivity
from paperround.papers.set_based_prompting.trials import Trial
from paperround.runs.reproduction import Run

# Below this a chart of logarithms shows nothing: the order that everything is compared with.
_FLOOR = 1e-7


def show_orders(
    run: Run, found: Mapping[str, Sequence[OrderSensitivity]], questions: Sequence[Question]
) -> None:
    """A row per form, and how far each order of the first question moves the next token."""
    n_orders = len(found["plain"][0].orders)
    n_others = sum(len(one.orders) - 1 for one in found["plain"])
    run.table(
        f"{len(questions)} questions in all {n_orders} orders of their options",
        (
            "prompt",
            "largest difference (nats)",
            "smallest of the questions (nats)",
            f"next token changes, of {n_others}",
            f"answer changes, of {n_others}",
        ),
        [
            (
                name,
                max(one.max_deviation for one in several),
                min(one.max_deviation for one in several),
                sum(one.argmax_flips for one in several),
                sum(one.answer_flips for one in several),
            )
            for name, several in found.items()
        ],
        note="SmolLM2-135M in float32. The difference is the largest between two orders in the "
        "log-probability of any next token; changes are counted against the data set's order.",
    )
    run.series(
        "How far each order moves the next token",
        {name: _by_order(several[0]) for name, several in found.items()},
        x_label=f"order of the options, 2 to {n_orders}",
        y_label="largest difference to the first order (nats)",
        y_log=True,
        note=f"The question: {questions[0].text} What is left of set-based prompts is rounding: "
        "the same numbers, summed in another order.",
    )


def _by_order(one: OrderSensitivity) -> list[tuple[int, float]]:
    moved = (one.log_probs - one.log_probs[0]).abs().amax(-1).tolist()
    return [(place, max(far, _FLOOR)) for place, far in enumerate(moved, start=1) if place > 1]


def show_multiple_choice(run: Run, trial: Trial) -> None:
    """A row per condition: accuracy, its spread over orders, how many answers an order turns."""
    plain, backwards = trial.plain, trial.reversed_order
    n_orders, n_members = len(trial.orders), len(trial.orders[0])
    notes = [f"Chance is {1 / n_members:.2f}. Options scored by their summed log-probability."]
    rows: list[tuple[str, float, float | None, float | None, float | None, int]] = [
        (
            f"plain, mean of {n_orders} orders",
            fmean(plain.accuracies),
            min(plain.accuracies),
            max(plain.accuracies),
            plain.flips(0, backwards),
            1,
        ),
        ("plain, order of the data set", plain.accuracy(0), None, None, None, 1),
        ("plain, reversed", plain.accuracy(backwards), None, None, None, 1),
    ]
    if n_orders == 2 * n_members:
        notes.append(
            f"Averages and votes stand over the {n_members} rotations of the given order, and over "
            "those of the reversed one."
        )
        # Each half puts every option at every place once.
        halves = (range(n_members), range(n_members, n_orders))
        for how in ("average", "vote"):
            one, other = (trial.ensemble(how, half).argmax(-1) for half in halves)
            answers = plain.answers
            accuracies = [(best == answers).float().mean().item() for best in (one, other)]
            rows.append(
                (
                    f"{how} over {n_members} orders",
                    fmean(accuracies),
                    min(accuracies),
                    max(accuracies),
                    (one != other).float().mean().item(),
                    n_members,
                )
            )
    if "sorted" in trial.conditions:
        notes.append(
            "Sorted options know no order either, but one place stays better than another, and "
            "spelling decides who gets it."
        )
        accuracy = trial.conditions["sorted"].accuracy()
        rows.append(("plain, options sorted", accuracy, accuracy, accuracy, 0.0, 1))
    for name in ("mask only", "positions only", "set-based"):
        if name in trial.conditions:
            condition = trial.conditions[name]
            rows.append(
                (
                    name,
                    fmean(condition.accuracies),
                    min(condition.accuracies),
                    max(condition.accuracies),
                    condition.flips(0, 1),
                    1,
                )
            )
    run.table(
        f"{trial.name}, {len(trial.questions)} questions, SmolLM2-135M",
        (
            "prompt",
            "accuracy",
            "in the worst order",
            "in the best order",
            "answers that the reversed order turns",
            "passes a question",
        ),
        rows,
        note=" ".join(notes),
    )


def show_places(run: Run, trials: Sequence[Trial]) -> None:
    """Accuracy by the place of the right option: what a plain prompt makes of the place."""
    lines = {}
    for trial in trials:
        by_place = trial.accuracy_by_place()
        lines[f"{trial.name}, plain"] = by_place
        level = trial.set_based.accuracy()
        lines[f"{trial.name}, set-based"] = [(place, level) for place, _ in by_place]
    run.series(
        "Right answers by the place of the right option",
        lines,
        x_label="place of the right option",
        y_label="share of right answers",
        note="SmolLM2-135M. A set prompt has no places, so its line is level by construction. "
        f"Boxes: {len(trials[0].questions)} questions such as which thing the red box contains.",
    )


def show_boxes(run: Run, trial: Trial) -> None:
    """One question of boxes with the model's answer in every order asked."""
    question = trial.questions[0]
    things = question.options
    plain = [
        f"{' '.join(things[i] for i in order)}  ->  {things[int(scores[0].argmax())]}"
        for order, scores in zip(trial.orders, trial.plain.by_order, strict=True)
    ]
    ours = [
        f"{' '.join(things[i] for i in order)}  ->  {things[int(scores[0].argmax())]}"
        for order, scores in zip(
            (trial.orders[0], trial.orders[trial.reversed_order]),
            trial.set_based.by_order,
            strict=True,
        )
    ]
    run.sample(
        f"Which thing is named: {question.prompt.text}",
        {"plain": "\n".join(plain), "set-based": "\n".join(ours)},
        note=f"The order of the facts, then SmolLM2-135M's answer. Right is "
        f"{things[question.answer]!r}.",
    )


def show_official(run: Run, rows: Sequence[tuple[str, str, float, float]], n: int) -> None:
    """The authors' own two scores."""
    run.table(
        f"The authors' own scores, {n} questions of CommonsenseQA, SmolLM2-135M",
        ("prompt", "order", "contains only the right option", "right by the steps' logits"),
        rows,
        note="Ten greedy tokens after the authors' own prompt, which ends with a space. The second "
        "score reads an option's tokens off the steps generated, so it is no likelihood.",
    )


def show_lookup(run: Run, trials: Sequence[LookupTrial]) -> None:
    """A row per condition of the lookup model, means over the seeds, and accuracy by place."""
    first = trials[0]
    n_orders, n = first.places.shape
    run.table(
        f"Looking a key up in a set of 4 to 8 pairs, {n} lookups a seed in {n_orders} orders",
        (
            "prompt",
            "accuracy",
            "in the worst order",
            "right in every order",
            "answers not the same in every order",
            "passes",
        ),
        [
            (
                name,
                fmean(trial.accuracy(name) for trial in trials),
                fmean(trial.worst_order(name) for trial in trials),
                fmean(trial.right_in_all(name) for trial in trials),
                fmean(trial.changes(name) for trial in trials),
                n_orders if "over orders" in name else 1,
            )
            for name in first.right
        ],
        note="A GPT of a third of a million parameters, trained in the run with ordinary prompts "
        "in random order. Trained further: as many steps again on ordinary prompts (the control) "
        f"or on set prompts. Means over {len(trials)} seeds. An average or vote over orders is "
        "asked once, with all of them.",
    )
    shown = ("plain", "positions only", "mask only", "set-based", "trained further, set-based")
    run.series(
        "Looked up right, by the place of the pair",
        {name: _mean_by_place([trial.by_place(name) for trial in trials]) for name in shown},
        x_label="place of the pair that is asked for",
        y_label="share of right answers",
    )


def show_learning(run: Run, losses: Mapping[int, Sequence[float]]) -> None:
    """How the loss of the lookup model fell with each seed; (steps,) in nats per answer."""
    run.series(
        "Learning to look up",
        {
            f"seed {seed}": list(enumerate(_smoothed(of_seed), start=1))
            for seed, of_seed in losses.items()
        },
        x_label="tenths of the training",
        y_label="loss (nats per answer)",
    )


def _mean_by_place(several: Sequence[Sequence[tuple[int, float]]]) -> list[tuple[int, float]]:
    shares: dict[int, list[float]] = {}
    for by_place in several:
        for place, share in by_place:
            shares.setdefault(place, []).append(share)
    return [(place, fmean(shares[place])) for place in sorted(shares)]


def _smoothed(losses: Sequence[float]) -> list[float]:
    size = max(1, len(losses) // 10)
    return [fmean(losses[i : i + size]) for i in range(0, len(losses), size)]
