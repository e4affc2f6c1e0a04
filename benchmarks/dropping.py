"""What a model decodes faster without some sub-layers, a part of `make bench-decoding`.

SmolLM2-135M in float32 decodes one sequence greedily, intact and without the attentions, MLPs or
blocks that LLM-Drop's scores name, steps of both in turn. What the removed share of computation
allows is the ratio of the bytes that a step reads (`llm_drop/speed.py` says why), and stands beside
the measured speed-up; the ratio of operations stands there too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.spreads import said, spread
from paperround.kit.assets import find_asset
from paperround.kit.language_models.loading import load_language_model
from paperround.papers import llm_drop
from paperround.papers.llm_drop.plans import DropKind
from paperround.papers.llm_drop.texts import drawn_windows, read_texts

Figures = dict[str, Any]

# The dropped kinds and their numbers: a quarter of thirty of each kind, and half of the attentions.
PLANS: Sequence[tuple[DropKind, int]] = (
    ("attention", 8),
    ("attention", 15),
    ("mlp", 8),
    ("block", 8),
)
# Of the speed-up that the removed share allows, so much is asked.
LEAST_SHARE = 0.9
_CALIBRATION = (4, 256)
_CHARACTERS = 100_000


def dropping(repeats: int, contexts: Sequence[int], n_steps: int, seed: int) -> Figures:
    """Each plan's speed-up at each length of context, allowed and measured."""
    model, tokenizer = load_language_model(find_asset("smollm2-135m").folder)
    texts = read_texts(
        find_asset("lcet10").folder,
        find_asset("canterbury-alice-asyoulik").folder,
        tokenizer,
        _CHARACTERS,
    )
    scores = llm_drop.score_sublayers(model, drawn_windows(texts.calibration, *_CALIBRATION, seed))
    rows = []
    for kind, n in PLANS:
        plan = llm_drop.plan_drop(scores, n, kind)
        for context in contexts:
            found = [
                llm_drop.decoding_speedup(model, plan, context=context, n_steps=n_steps)
                for _ in range(repeats)
            ]
            rows.append(
                {
                    "dropped": f"{n} of kind {kind}",
                    "context": context,
                    "ms_a_step": spread([1_000 * f.dropped_s for f in found]),
                    "intact_ms_a_step": spread([1_000 * f.intact_s for f in found]),
                    "allowed_by_bytes": round(found[0].allowed_by_bytes, 4),
                    "allowed_by_operations": round(found[0].allowed_by_flops, 4),
                    "measured": spread([f.measured for f in found]),
                    "of_allowed": spread([f.share_of_allowed for f in found]),
                }
            )
    goal = f"every speed-up is at least {LEAST_SHARE:.0%} of what the removed share allows"
    return {
        "steps": n_steps,
        "rows": rows,
        "goals": {goal: all(row["of_allowed"][0] >= LEAST_SHARE for row in rows)},
    }


def dropping_report(part: Mapping[str, Any]) -> list[str]:
    """The part as lines of Markdown."""
    lines = [
        "SmolLM2-135M in float32 without the sub-layers that change least, one sequence, "
        f"{part['steps']} steps after so many tokens of context.",
        "",
        "| dropped | context | ms a step | intact | allowed by bytes | by operations | measured | "
        "of allowed by bytes |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return lines + [
        f"| {row['dropped']} | {row['context']:,} | {said(row['ms_a_step'])} | "
        f"{said(row['intact_ms_a_step'])} | {row['allowed_by_bytes']:.3f} | "
        f"{row['allowed_by_operations']:.3f} | {said(row['measured'])} | "
        f"{said(row['of_allowed'])} |"
        for row in part["rows"]
    ]
