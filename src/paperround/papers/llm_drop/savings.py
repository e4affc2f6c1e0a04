"""What dropping saves: parameters, cache and seconds, measured and counted."""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median

from transformers import PreTrainedModel

from paperround.papers.llm_drop.measures import (
    cache_bytes_per_token,
    cache_size_bytes,
    n_parameters,
)
from paperround.papers.llm_drop.plans import DropPlan, dropped
from paperround.papers.llm_drop.speed import allowed_speedup, time_decoding, time_prompts
from paperround.runs.reproduction import Run

_CONTEXTS = (0, 512, 2_048, 8_000)
_COUNTED_TOKENS = 16


@dataclass(frozen=True)
class TimingSize:
    """How decoding is timed: the tokens in the cache, and the steps whose median is taken."""

    contexts: tuple[int, ...]
    claimed_context: int
    n_steps: int


def cache_and_parameters(
    run: Run,
    model: PreTrainedModel,
    shown: Mapping[str, DropPlan],
    halves: Mapping[int, DropPlan],
) -> None:
    """The bytes of the cache without half of the attentions, and a table of all plans shown."""
    full = cache_size_bytes(model, _COUNTED_TOKENS)
    for seed, plan in halves.items():
        with dropped(model, plan):
            share = cache_size_bytes(model, _COUNTED_TOKENS) / full
        run.measure("cache", share, baseline=full / _COUNTED_TOKENS, seed=seed)
    rows = []
    for name, plan in shown.items():
        with dropped(model, plan):
            rows.append(
                (name, str(plan), n_parameters(model) / 1e6, cache_bytes_per_token(model) / 1e3)
            )
    run.table(
        "What is left of the model",
        ("dropped", "layers, most similar first", "parameters (millions)", "cache (kB a token)"),
        rows,
        note="Tied embeddings are counted once; cache in float32.",
    )


def what_is_allowed(run: Run, model: PreTrainedModel, shown: Mapping[str, DropPlan]) -> None:
    """A chart of the speed-up that the counted work allows, by length of context."""
    run.series(
        "Speed-up of decoding that the removed work allows",
        {
            name: [(c, allowed_speedup(model, plan, c)[0]) for c in _CONTEXTS]
            for name, plan in shown.items()
            if plan.n_sublayers
        },
        x_label="tokens of context",
        y_label="bytes read a step, intact / dropped",
        note="Counted, not timed: weights and cache, each read once a step, one sequence.",
    )


def seconds(
    run: Run,
    model: PreTrainedModel,
    shown: Mapping[str, DropPlan],
    halves: Mapping[int, DropPlan],
    size: TimingSize,
) -> Mapping[str, float]:
    """The measured speed-ups by plan at the claimed context; measures those without half."""
    with run.stage("time decoding without half of the attentions", len(halves)) as stage:
        for seed, plan in halves.items():
            taken = time_decoding(
                model,
                {"intact": DropPlan(), "half": plan},
                context=size.claimed_context,
                n_steps=size.n_steps,
            )
            intact_s, half_s = median(taken["intact"]), median(taken["half"])
            allowed, _ = allowed_speedup(model, plan, size.claimed_context)
            run.measure("decoding-speed", intact_s / half_s, baseline=1 / intact_s, seed=seed)
            run.measure("speed-allowed", intact_s / half_s / allowed, baseline=allowed, seed=seed)
            stage.advance()
    rows, speedups = [], {}
    with run.stage("time what is left", len(size.contexts)) as stage:
        for context in size.contexts:
            steps = time_decoding(model, shown, context=context, n_steps=size.n_steps)
            prompts = time_prompts(model, shown, context=context, n_repeats=3)
            for name, plan in shown.items():
                step_s, prompt_s = median(steps[name]), median(prompts[name])
                by_bytes, by_flops = allowed_speedup(model, plan, context)
                measured = median(steps["intact"]) / step_s
                if context == size.claimed_context:
                    speedups[name] = measured
                rows.append(
                    (
                        context,
                        name,
                        1 / step_s,
                        measured,
                        by_bytes,
                        by_flops,
                        context / prompt_s,
                        median(prompts["intact"]) / prompt_s,
                    )
                )
            stage.advance()
    run.table(
        "Speed, one sequence, float32",
        (
            "tokens of context",
            "dropped",
            "tokens a second",
            "speed-up",
            "allowed by bytes",
            "by operations",
            "prompt, tokens a second",
            "prompt, speed-up",
        ),
        rows,
        note=f"Medians of {size.n_steps} steps, plans in turn, {run.threads} threads. The bytes "
        "are what a step reads at least; calls that go with a sub-layer are not counted in them.",
    )
    what_is_allowed(run, model, shown)
    return speedups
