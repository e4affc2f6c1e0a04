"""What a reader sees of parts A and B beside the claims."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from paperround.papers.making_the_most.texts import Text
from paperround.papers.making_the_most.windows import Reading
from paperround.runs.reproduction import Run


class Tuned(Protocol):
    """What was tried for one arm: step sizes, and what each gained on each text, in percent."""

    @property
    def lrs(self) -> Sequence[float]: ...

    @property
    def gains(self) -> Tensor: ...


def show_perplexities(
    run: Run,
    model: str,
    perplexities: Mapping[str, Mapping[str, Sequence[float]]],
    costs: Mapping[str, Reading],
    n_seeds: int,
) -> None:
    """A row per way of reading: perplexity of each text with its spread, and what it costs."""
    texts = list(next(iter(perplexities.values())))
    columns = ["read", *(f"{text}{end}" for text in texts for end in ("", ", lowest", ", highest"))]
    rows = []
    for name, by_text in perplexities.items():
        cost = costs[name]
        row: list[str | float | None] = [name]
        for text in texts:
            values = by_text[text]
            several = len(values) > 1
            row += [
                fmean(values),
                min(values) if several else None,
                max(values) if several else None,
            ]
        rows.append([*row, cost.passes, cost.keys, cost.carried])
    run.table(
        f"A: perplexity by what is known of the past: {model}",
        (*columns, "tokens computed per token", "keys per query", "tokens carried"),
        rows,
        note=f"The same tokens for all rows; trained memories have {n_seeds} seeds, and where a "
        "learnt prefix has a spread it has as many. "
        "Carried: tokens whose keys and values are kept between windows, in all layers; a slot in "
        "one layer of thirty counts 1/30.",
    )


def show_places(run: Run, model: str, arms: Mapping[str, Sequence[Tensor]], window: int) -> None:
    """The mean loss by a token's place in its window, the first window left out."""
    lines = {}
    for name, found in arms.items():
        # (runs, rows, tokens); the first window has no past to know.
        losses = torch.stack([one.double() for one in found])[..., window:]
        by_place = losses.unflatten(-1, (-1, window)).mean(dim=(0, 1, 2))
        lines[name] = list(enumerate(by_place.tolist(), 1))
    run.series(
        f"A: loss by place in the window: {model}",
        lines,
        x_label="tokens of the window before it",
        y_label="loss (nats)",
        note="What a memory knows is worth most where the window itself says little yet.",
    )


def show_courses(run: Run, courses: Mapping[str, Sequence[float]]) -> None:
    """The loss while SmolLM2's memory and its control are trained."""
    run.series(
        "A: loss while it is trained, SmolLM2-135M",
        {name: list(enumerate(course, 1)) for name, course in courses.items()},
        x_label="update",
        y_label="loss (nats a token)",
        note="The first seed's. Both read the same places of the same texts.",
    )


def show_descent(run: Run, before: Tensor, after: Tensor, lr: float) -> None:
    """How far one small step on its states lowers each window's own loss."""
    lower = (before - after).double()
    run.series(
        "B: how far one step makes the window itself likelier",
        {
            "mean over the passages": list(enumerate(lower.mean(dim=0).tolist(), 1)),
            "least": list(enumerate(lower.amin(dim=0).tolist(), 1)),
        },
        x_label="window of 32 tokens",
        y_label="loss before minus after (nats)",
        note=f"Adam, step size {lr}. The window is read again after the step, so that this is no "
        "score; it says that gradients point where they should. The states of earlier windows are "
        "stepped on as well, so that later windows have more of them.",
    )


def show_tuning(run: Run, texts: Sequence[str], tuning: Mapping[str, Tuned]) -> None:
    """The gain by step size, for each arm."""
    for arm, found in tuning.items():
        run.series(
            f"B: gain by step size on the tuning passages: {arm}",
            {
                text: list(zip(found.lrs, gains.tolist(), strict=True))
                for text, gains in zip(texts, found.gains, strict=True)
            },
            x_label="step size",
            y_label="loss saved (%)",
            x_log=True,
            note="Where none gains, no step is taken on that text.",
        )


def show_gains(
    run: Run,
    texts: Sequence[Text],
    means: Mapping[str, Tensor],
    best: Mapping[str, Sequence[float]],
    base: str,
) -> None:
    """A row for each text and arm: the loss, and what it saves of the loss without updates."""
    rows = []
    for i, text in enumerate(texts):
        for name, values in means.items():
            plain = means[base][i, : values.shape[1]]
            gains = 100 * (plain - values[i]) / plain
            several = len(gains) > 1 and name != base
            rows.append(
                (
                    text.name,
                    "familiar" if text.familiar else "unlike",
                    name,
                    best[name][i] if name in best else None,
                    float(values[i].mean()),
                    None if name == base else float(gains.mean()),
                    float(gains.min()) if several else None,
                    float(gains.max()) if several else None,
                )
            )
    run.table(
        "B: losses of SmolLM2-135M with its states optimised",
        ("text", "kind", "arm", "step size", "loss (nats)", "saved (%)", "least", "most"),
        rows,
        note="Every loss was taken before any step that has seen the token. One step a window. The "
        "control has Adam's step sizes. Dynamic evaluation reads the first passage of each text "
        "only, and its savings are of that passage.",
    )


def show_words(
    run: Run,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[Text],
    tests: Tensor,
    found: Mapping[str, Tensor],
    arms: tuple[str, str],
) -> None:
    """Of each unfamiliar text the tokens that gained and lost most in the first passage."""
    for i, text in enumerate(texts):
        if text.familiar:
            continue
        gained = (found[arms[0]][i, 0] - found[arms[1]][i, 0]).double()
        order = gained.argsort(descending=True).tolist()

        def line(places: Sequence[int], gained: Tensor = gained, row: Tensor = tests[i, 0]) -> str:
            return "\n".join(
                f"{gained[p]:+.2f}  …{tokenizer.decode(row[max(0, p - 8) : p + 1])!r} → "
                f"{tokenizer.decode(row[p + 1 : p + 2])!r}"
                for p in places
            )

        run.sample(
            f"B: what the updates change most: {text.name}",
            {"likelier": line(order[:6]), "less likely": line(order[-6:][::-1])},
            note="Nats by which the token behind the arrow became likelier.",
        )


def show_few_shot(
    run: Run, right: Mapping[int, Sequence[tuple[bool, bool]]], n_classes: int
) -> None:
    """Accuracy by the number of examples, without and with the prompt's states optimised."""
    rows = []
    for n, pairs in right.items():
        both = 100 * np.array(pairs, dtype=float)
        low, high = _interval(both[:, 1] - both[:, 0])
        rows.append((n, *both.mean(axis=0), float((both[:, 1] - both[:, 0]).mean()), low, high))
    run.table(
        "B: few-shot classification of emoji names",
        ("examples a class", "right (%)", "optimised", "difference (points)", "from", "to"),
        rows,
        note=f"{len(next(iter(right.values())))} questions, {n_classes} classes of equal size. "
        "From and to: 95 % of 2,000 resamplings of the questions.",
    )


def _interval(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(differences), size=(2_000, len(differences)))
    low, high = np.percentile(differences[drawn].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
