"""What a reader sees beside the claims: the curves, a row per arm, and the texts themselves."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from paperround.papers.ditto.metrics import Repetition
from paperround.papers.ditto.reinforcement import Reinforcement
from paperround.papers.ditto.trials import Outcome
from paperround.runs.reproduction import Run

UNTRAINED = "before fine-tuning"
# As `_numbers` gives them.
_COLUMNS = (
    "in a loop at the end (%)",
    "Rep-4 (%)",
    "Rep-2 (%)",
    "Rep-Sen (%)",
    "copies in the longest loop",
)


def show_reinforcement(run: Run, curves: Sequence[Reinforcement]) -> None:
    """TP, IR and WR of SmolLM2 by copy, as a chart, and by place within the sentence."""
    n_copies = range(len(curves[0].token_probability))
    rows = [[curve.rows()[n] for curve in curves] for n in n_copies]

    def line(key: str) -> list[tuple[int, float]]:
        return [(n, fmean(row[key] for row in rows[n])) for n in n_copies]

    run.series(
        "Every copy makes the next more probable (SmolLM2-135M-Instruct)",
        {
            "probability of a token (TP)": line("TP"),
            "tokens likelier than in copy 0 (IR)": line("IR"),
            "tokens that would be chosen (WR)": line("WR"),
        },
        x_label="copies of the sentence before this one",
        y_label="mean over the sentences' tokens",
        note=f"{sum(len(c.per_sentence) for c in curves)} sentences of Wikipedia, untrained model.",
    )
    places = [key for key in ("TP_first", "TP_middle", "TP_last") if key in rows[0][0]]
    run.table(
        "Where in the sentence the probability rises",
        (
            "copies before",
            "TP",
            *(key.removeprefix("TP_") + " token" for key in places),
            "IR",
            "WR",
        ),
        [
            (n, *(fmean(row[key] for row in rows[n]) for key in ("TP", *places, "IR", "WR")))
            for n in n_copies
        ],
        note="The last token is the full stop. Means over the seeds, each with its own sentences.",
    )


def show_pools(run: Run, pools: Mapping[str, Reinforcement]) -> None:
    """The curves of sentences from three sources."""
    run.series(
        "Sentences that start likelier repeat more strongly (SmolLM2-135M-Instruct)",
        {name: list(enumerate(curve.token_probability)) for name, curve in pools.items()},
        x_label="copies of the sentence before this one",
        y_label="mean probability of a token (TP)",
        note="As many sentences of each kind, equally long.",
    )


def show_remedies(run: Run, found: Mapping[str, Repetition]) -> None:
    """A row per way of decoding an untrained model."""
    run.table(
        "What SmolLM2-135M-Instruct writes as it is",
        ("decoding", *_COLUMNS),
        [(name, *_numbers([repetition])) for name, repetition in found.items()],
        note="Four continuations: to look at, not to measure.",
    )


def show_arms(run: Run, title: str, outcomes: Sequence[Outcome]) -> None:
    """A row per arm: what it learnt of the text, and what it kept of looking back."""
    rows = []
    for name, found in _by_arm(outcomes).items():
        last = len(found[0].curve.token_probability) - 1
        rows.append(
            (
                name,
                len(found),
                fmean(o.fit.perplexity for o in found),
                100 * fmean(o.fit.accuracy for o in found),
                _percent([o.fit.copy_accuracy for o in found]),
                100 * fmean(o.random_copying for o in found),
                *(fmean(o.curve.token_probability[n] for o in found) for n in (0, 1, last)),
                _percent([o.ditto_share for o in found]),
                fmean(o.seconds for o in found),
            )
        )
    run.table(
        f"Fine-tuned in equal updates: {title}",
        (
            "training",
            "seeds",
            "perplexity",
            "right tokens (%)",
            "right where the text repeats itself (%)",
            "random tokens copied (%)",
            "TP, copy 0",
            "TP, copy 1",
            "TP, last copy",
            "repetition updates (%)",
            "seconds",
        ),
        rows,
        note="On text that no arm was trained on; means over the seeds. Copied tokens are the "
        "second half of random ones, given twice. Seconds are of one thread, on a shared machine.",
    )
    if at := {n for o in outcomes for n in o.at_updates}:
        run.table(
            f"Perplexity during the training: {title}",
            ("training", *(f"after {n} updates" for n in sorted(at)), "at the end"),
            [
                (
                    name,
                    *(fmean(o.at_updates[n] for o in found) for n in sorted(at)),
                    fmean(o.fit.perplexity for o in found),
                )
                for name, found in _by_arm(outcomes).items()
                if name != UNTRAINED
            ],
        )


def show_written(run: Run, title: str, outcomes: Sequence[Outcome], text: Repetition) -> None:
    """A row per arm and way of decoding: how repetitive the continuations are."""
    rows: list[tuple[str, str, float, float, float, float, float]] = []
    for name, found in _by_arm(outcomes).items():
        for decoding in dict.fromkeys(d for o in found for d in o.repetition):
            part = [o.repetition[decoding] for o in found if decoding in o.repetition]
            rows.append((name, decoding, *_numbers(part)))
    rows.append(("the text itself", "–", *_numbers([text])))
    run.table(
        f"What they write: {title}",
        (
            "training",
            "decoding",
            *_COLUMNS,
        ),
        rows,
        note="Continuations of the same prefixes; lower is less repetitive; the text itself says "
        "how little is natural. A penalty or a blocked 4-gram at decoding changes no model.",
    )


def show_curves(run: Run, title: str, outcomes: Sequence[Outcome]) -> None:
    """TP by copy for every arm."""
    run.series(
        f"The probability of a repeated sentence: {title}",
        {
            name: [
                (n, fmean(o.curve.token_probability[n] for o in found))
                for n in range(len(found[0].curve.token_probability))
            ]
            for name, found in _by_arm(outcomes).items()
        },
        x_label="copies of the sentence before this one",
        y_label="mean probability of a token (TP)",
        note="Sentences from text that no arm was trained on; means over the seeds.",
    )


def show_samples(run: Run, title: str, outcomes: Sequence[Outcome], arms: tuple[str, str]) -> None:
    """The same beginnings, continued greedily by two arms of the first seed."""
    first = {o.arm: o for o in reversed(outcomes) if o.arm in arms}
    one, other = (first[name] for name in arms)
    for i, prompt in enumerate(one.prompts[:2]):
        run.sample(
            f"{title}, greedy: {' '.join(prompt.split())}",
            {
                name: " ".join(o.written[i].split())
                for name, o in zip(arms, (one, other), strict=True)
            },
        )


def _by_arm(outcomes: Sequence[Outcome]) -> dict[str, list[Outcome]]:
    found: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        found.setdefault(outcome.arm or UNTRAINED, []).append(outcome)
    return found


def _percent(shares: Sequence[float | None]) -> float | None:
    given = [share for share in shares if share is not None]
    return 100 * fmean(given) if given else None


def _numbers(found: Sequence[Repetition]) -> tuple[float, float, float, float, float]:
    return (
        100 * fmean(r.loop_share for r in found),
        100 * fmean(r.rep_n[4] for r in found),
        100 * fmean(r.rep_n[2] for r in found),
        100 * fmean(r.rep_sen for r in found),
        fmean(r.loop_copies for r in found),
    )
