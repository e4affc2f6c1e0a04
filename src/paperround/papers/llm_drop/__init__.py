"""LLM-Drop: leave out the attentions, MLPs or blocks of a language model that change least.

Scores every block, attention and MLP of a decoder by how little it turns the residual stream, in
one pass over some calibration text, and deletes the most similar ones, without training. Attentions
are the most redundant: they can go in number, and the cache of keys and values goes with them. Use
it to make a model smaller and faster in a minute where some quality may be paid, on its own or
before quantisation or a short repair. Small models have little to spare: on 135 million parameters
eight of thirty attentions nearly double the perplexity. Where a smaller distilled model is at hand,
compare with that first.

    from paperround.papers import llm_drop

    scores = llm_drop.score_sublayers(model, windows)          # (1, tokens) each
    plan = llm_drop.plan_drop(scores, 8, kind="attention")
    removed = llm_drop.drop(model, plan)                        # removed.restore() undoes it
    llm_drop.save_dropped(model, "smaller", form="code", tokenizer=tokenizer)

Works on models of transformers whose layers are attention and then MLP, each with its norm: Llama,
Mistral, Qwen2, Qwen3, Gemma 2 and 3, GPT-2 and what is built like them; others are refused. What a
saved folder needs to be loaded, and what it saves, is said in `saving`. `decoding_speedup` measures
the speed-up beside the one that the removed work allows.

He, Sun, Shen, Li: What Matters in Transformers? Not All Attention is Needed, arXiv 2406.15786, 2024
(TMLR 2026 as: Uncovering the Redundancy in Transformers via a Unified Study of Layer Dropping).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paperround.papers.llm_drop.lora import repair
    from paperround.papers.llm_drop.measures import (
        cache_bytes_per_token,
        cache_size_bytes,
        choice_accuracy,
        mean_loss,
        next_passage_choices,
        perplexity,
        speedup_degradation_ratio,
        token_windows,
    )
    from paperround.papers.llm_drop.peers import plan_by_loss, plan_last, plan_randomly
    from paperround.papers.llm_drop.plans import (
        DropPlan,
        drop,
        dropped,
        plan_angular,
        plan_consecutive,
        plan_drop,
        plan_iteratively,
    )
    from paperround.papers.llm_drop.saving import SavedModel, load_dropped, save_dropped
    from paperround.papers.llm_drop.scores import (
        Scores,
        SpanScores,
        score_spans,
        score_sublayers,
    )
    from paperround.papers.llm_drop.speed import (
        DecodingSpeedup,
        StepWork,
        allowed_speedup,
        decoding_speedup,
        step_work,
        time_decoding,
        time_prompts,
    )
    from paperround.papers.llm_drop.sublayers import Removed, drop_sublayers, dropped_sublayers

_MODULES = {
    "measures": (
        "cache_bytes_per_token",
        "cache_size_bytes",
        "choice_accuracy",
        "mean_loss",
        "next_passage_choices",
        "perplexity",
        "speedup_degradation_ratio",
        "token_windows",
    ),
    "peers": ("plan_by_loss", "plan_last", "plan_randomly"),
    "plans": (
        "DropPlan",
        "drop",
        "dropped",
        "plan_angular",
        "plan_consecutive",
        "plan_drop",
        "plan_iteratively",
    ),
    "lora": ("repair",),
    "saving": ("SavedModel", "load_dropped", "save_dropped"),
    "scores": ("Scores", "SpanScores", "score_spans", "score_sublayers"),
    "speed": (
        "DecodingSpeedup",
        "StepWork",
        "allowed_speedup",
        "decoding_speedup",
        "step_work",
        "time_decoding",
        "time_prompts",
    ),
    "sublayers": ("Removed", "drop_sublayers", "dropped_sublayers"),
}

__all__ = [
    "DecodingSpeedup",
    "DropPlan",
    "Removed",
    "SavedModel",
    "Scores",
    "SpanScores",
    "StepWork",
    "allowed_speedup",
    "cache_bytes_per_token",
    "cache_size_bytes",
    "choice_accuracy",
    "decoding_speedup",
    "drop",
    "drop_sublayers",
    "dropped",
    "dropped_sublayers",
    "load_dropped",
    "mean_loss",
    "next_passage_choices",
    "perplexity",
    "plan_angular",
    "plan_by_loss",
    "plan_consecutive",
    "plan_drop",
    "plan_iteratively",
    "plan_last",
    "plan_randomly",
    "repair",
    "save_dropped",
    "score_spans",
    "score_sublayers",
    "speedup_degradation_ratio",
    "step_work",
    "time_decoding",
    "time_prompts",
    "token_windows",
]


def __getattr__(name: str) -> Any:
    # Importing the room must not import torch: the web process lists every room.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
