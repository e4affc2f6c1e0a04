"""What a reader sees beside the claims: similarities, perplexities, texts."""

from collections.abc import Mapping, Sequence
from statistics import fmean, median

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.papers.llm_drop.measures import speedup_degradation_ratio
from paperround.papers.llm_drop.plans import DropPlan, dropped
from paperround.papers.llm_drop.scores import Scores
from paperround.papers.llm_drop.study import Arm, Arms, Measured
from paperround.runs.reproduction import Run

_PROMPT = "The capital of France is Paris. The city lies on the river"
_NAMES = {"attention": "attention", "mlp": "MLP", "block": "block"}


def show_scores(run: Run, scores: Sequence[Scores], windows: tuple[int, int]) -> None:
    """Similarity by layer, mean over the seeds, and the order in which sub-layers would go."""
    n_layers = scores[0].n_layers
    means = {
        name: [
            fmean(of_seed.similarity[kind][layer] or 0.0 for of_seed in scores)  # type: ignore[index]
            for layer in range(n_layers)
        ]
        for kind, name in _NAMES.items()
    }
    run.series(
        "Similarity of what goes into a sub-layer and the stream behind it",
        {name: list(enumerate(by_layer)) for name, by_layer in means.items()},
        x_label="layer",
        y_label="cosine similarity",
        note=f"{windows[0]} windows of {windows[1]} tokens a seed, mean over {len(scores)} seeds. "
        "1 would be a sub-layer that only rescales.",
    )
    run.table(
        "Most similar first",
        ("kind", "layers", "highest", "lowest"),
        [
            (
                name,
                ", ".join(
                    str(layer)
                    for layer in sorted(range(n_layers), key=by_layer.__getitem__, reverse=True)[
                        :10
                    ]
                ),
                max(by_layer),
                min(by_layer),
            )
            for name, by_layer in means.items()
        ],
        note="The first ten. Layer 0 turns the embeddings, which are small, altogether.",
    )


def show_perplexities(
    run: Run,
    arms: Arms,
    measured: Mapping[Arm, Measured],
    intact: Measured,
    windows: tuple[int, int],
    charted: Sequence[str],
) -> None:
    """A row per way of choosing and number; of the charted ones the course over the number."""
    rows: list[list[str | float | int | None]] = [
        ["nothing", 0, "", intact.perplexity, None, None, *intact.by_text.values()]
    ]
    for name, n in dict.fromkeys((arm.name, arm.n) for arm in arms.plans):
        found = [measured[arm] for arm in arms.plans if (arm.name, arm.n) == (name, n)]
        values = [each.perplexity for each in found]
        seeds = [arm.seed for arm in arms.plans if (arm.name, arm.n) == (name, n)]
        plan = arms.plans[Arm(name, n, seeds[0])]
        several = len(values) > 1
        rows.append(
            [
                name,
                n,
                str(plan),
                median(values),
                min(values) if several else None,
                max(values) if several else None,
                *(median(each.by_text[text] for each in found) for text in intact.by_text),
            ]
        )
    run.table(
        "Perplexity without what goes",
        (
            "dropped",
            "n",
            "layers (first seed)",
            "perplexity",
            "lowest",
            "highest",
            *intact.by_text,
        ),
        rows,
        note=f"{windows[0]} windows of {windows[1]} tokens of each text, the same for all rows. "
        "Medians over the seeds where there are several: a seed draws the calibration text, or the "
        "random layers.",
    )
    lines: dict[str, list[tuple[float, float]]] = {}
    for name in dict.fromkeys(arm.name for arm in arms.plans if arm.name in charted):
        ns = sorted({arm.n for arm in arms.plans if arm.name == name})
        points = [
            (n, median(measured[arm].perplexity for arm in arms.plans if arm[:2] == (name, n)))
            for n in ns
        ]
        lines[name] = [(0, intact.perplexity), *points]
    run.series(
        "Perplexity by how many go",
        lines,
        x_label="sub-layers or blocks dropped",
        y_label="perplexity",
        y_log=True,
        note="Chosen by similarity unless said; a block is an attention and an MLP.",
    )


def show_texts(
    run: Run,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    shown: Mapping[str, DropPlan],
    n_tokens: int,
) -> None:
    """How each model goes on with one sentence, greedily."""
    ids = tokenizer(_PROMPT, return_tensors="pt").input_ids.to(model.device)
    written = {}
    with run.stage("watch it write", len(shown)) as stage:
        for name, plan in shown.items():
            with dropped(model, plan), torch.inference_mode():
                output = model.generate(
                    ids,
                    attention_mask=torch.ones_like(ids),
                    max_new_tokens=n_tokens,
                    do_sample=False,
                    pad_token_id=tokenizer.pad_token_id,
                )
            label = name if not plan.n_sublayers else f"without {name}"
            written[label] = tokenizer.decode(output[0, ids.shape[1] :])
            stage.advance()
    run.sample(f"{_PROMPT} …", written, note="Greedy decoding; chosen by similarity.")


def show_accuracy(
    run: Run, accuracies: Mapping[str, float], speedups: Mapping[str, float], n_questions: int
) -> None:
    """Accuracy, and the points of it that each percent of speed costs."""
    base = accuracies["intact"]
    rows = []
    for name, accuracy in accuracies.items():
        speedup = speedups.get(name, 1.0)
        rows.append(
            (
                name,
                accuracy,
                speedup,
                speedup_degradation_ratio(base, accuracy, speedup) if speedup > 1 else None,
            )
        )
    run.table(
        "Which passage comes next, of four",
        ("dropped", "right (%)", "speed-up", "points lost per percent of speed (SDR)"),
        rows,
        note=f"{n_questions} questions of 48 tokens, the right passage and three of 16 tokens from "
        "the same text; 25 is chance. A negative ratio means that nothing was lost.",
    )


def show_repair(
    run: Run, plan: DropPlan, before: Measured, after: Measured, losses: Sequence[float]
) -> None:
    """Perplexity before and after, by text, and the course of the loss."""
    run.table(
        "A repair with LoRA",
        ("text", "perplexity before", "after"),
        [
            ("all", before.perplexity, after.perplexity),
            *((text, before.by_text[text], after.by_text[text]) for text in before.by_text),
        ],
        note=f"Without {plan}; rank 8, {len(losses)} steps on the calibration's part of the "
        "proceedings, whose rest is measured on: that text gains by its kind as well.",
    )
    width = max(1, len(losses) // 20)
    run.series(
        "Loss of the repair",
        {
            "mean of neighbouring steps": [
                (i + width / 2, fmean(losses[i : i + width])) for i in range(0, len(losses), width)
            ]
        },
        x_label="step",
        y_label="loss (nats a token)",
    )
