"""How much faster a dropped model decodes, and how much faster the removed work lets it be.

Decoding one sequence, a step reads every weight that is left once, and the keys and values of
every attention that is left, and does two floating point operations with each number it has read.
No processor does so little with its numbers without waiting for them: a CPU does some tens of
operations in the time in which a number arrives from memory, a GPU some hundreds. The bytes are
what the step waits for, so the speed-up that the removed share of work allows is the ratio of the
bytes; that of the operations is counted too, and says what a large batch or a prompt would gain.

The count is what has to be read, once. transformers' `DynamicCache` copies the cache when a token
is added, and each sub-layer has a fixed cost in calls, of which an attention has more than an MLP:
both are removed with an attention and counted nowhere, so that a measured speed-up may be somewhat
above what is allowed. A dropped model that stays clearly below computes what it should not.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from paperround.papers.llm_drop.measures import check_fits
from paperround.papers.llm_drop.plans import DropPlan, dropped
from paperround.papers.llm_drop.sublayers import (
    Dropped,
    decoder_of,
    layers_of,
    layout_of,
)

# The first steps of an arm find nothing of it in the processor's caches.
_WARM_UP_STEPS = 2


@dataclass(frozen=True)
class StepWork:
    """What one step of decoding one sequence has to do, at some length of context."""

    flops: int
    weight_bytes: int
    cache_bytes: int

    @property
    def bytes_read(self) -> int:
        """Weights and cache, each once."""
        return self.weight_bytes + self.cache_bytes


@dataclass(frozen=True)
class DecodingSpeedup:
    """Factors over the intact model for one plan; seconds are medians over the steps."""

    context: int
    allowed_by_bytes: float
    allowed_by_flops: float
    measured: float
    intact_s: float
    dropped_s: float

    @property
    def share_of_allowed(self) -> float:
        """The measured speed-up over the one that the bytes allow; 1 is all of it."""
        return self.measured / self.allowed_by_bytes


def step_work(model: PreTrainedModel, context: int) -> StepWork:
    """Operations and bytes of a step after so many tokens, counted on the model as it is.

    For dense models: of a mixture of experts all experts are counted. A window that slides bounds
    the tokens that its attention reads. Raises ValueError for a negative context.
    """
    if context < 0:
        raise ValueError(f"a context has no {context} tokens")
    layout, decoder, config = layout_of(model), decoder_of(model), model.config
    n_heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    n_kv_heads = getattr(config, "num_key_value_heads", None) or n_heads
    flops = weight_bytes = cache_bytes = 0
    for i, layer in enumerate(layers_of(model)):
        flops += _matrix_flops(layer)
        weight_bytes += _bytes(layer)
        if not isinstance(getattr(layer, layout.attention), Dropped):
            # The new token is read as well.
            tokens = min(context + 1, _window(config, i) or context + 1)
            # Queries by keys, and weights by values.
            flops += 2 * 2 * n_heads * head_size * tokens
            cache_bytes += 2 * n_kv_heads * head_size * tokens * model.dtype.itemsize
    head = model.get_output_embeddings()
    flops += 2 * head.weight.numel()
    weight_bytes += _bytes(head)
    # Of the input embedding a single row is read; the final norm is all there is besides.
    embedding = model.get_input_embeddings()
    for name, child in decoder.named_children():
        if child is not embedding and name != layout.layers and not _is_table(child):
            weight_bytes += _bytes(child)
    return StepWork(flops, weight_bytes, cache_bytes)


def allowed_speedup(model: PreTrainedModel, plan: DropPlan, context: int) -> tuple[float, float]:
    """What the removed share of work allows at most: (by bytes read, by operations).

    Nothing is run. The model is the intact one and stays so.
    """
    before = step_work(model, context)
    with dropped(model, plan):
        after = step_work(model, context)
    return before.bytes_read / after.bytes_read, before.flops / after.flops


def decoding_speedup(
    model: PreTrainedModel,
    plan: DropPlan,
    *,
    context: int = 512,
    n_steps: int = 20,
    prompt_ids: Tensor | None = None,
) -> DecodingSpeedup:
    """The speed-up that the plan allows and the one it has, steps of both models in turn.

    `prompt_ids`, (1, context or more), is what stands in the cache; without it, tokens drawn with a
    fixed seed, as in the official benchmark. Costs two passes over the context and 2 (n_steps + 2)
    steps. The model is the intact one and stays so. Raises ValueError as `time_decoding`.
    """
    by_bytes, by_flops = allowed_speedup(model, plan, context)
    plans = {"intact": DropPlan(), "dropped": plan}
    seconds = time_decoding(model, plans, context=context, n_steps=n_steps, prompt_ids=prompt_ids)
    intact_s, dropped_s = median(seconds["intact"]), median(seconds["dropped"])
    return DecodingSpeedup(context, by_bytes, by_flops, intact_s / dropped_s, intact_s, dropped_s)


def time_decoding(
    model: PreTrainedModel,
    plans: Mapping[str, DropPlan],
    *,
    context: int,
    n_steps: int = 20,
    prompt_ids: Tensor | None = None,
) -> dict[str, list[float]]:
    """Seconds of each step of greedy decoding under each plan, batch of one.

    The plans take turns step by step, in an order that turns round each time, so that a slow moment
    of the machine falls on all of them. Each has a cache of its own with `context` tokens, to which
    every step adds one. Raises ValueError for a context below one or above the model's positions,
    no steps, or a prompt that is too short.
    """
    if context < 1 or n_steps < 1:
        raise ValueError(f"a context of {context} and {n_steps} steps: there must be one at least")
    ids = _prompt(model, context, prompt_ids)
    check_fits(model, context + n_steps + _WARM_UP_STEPS)
    caches, tokens = {}, {}
    for name, plan in plans.items():
        cache = DynamicCache(config=model.config)
        with dropped(model, plan):
            tokens[name] = _step(model, ids, cache)
        caches[name] = cache

    def step(name: str) -> None:
        tokens[name] = _step(model, tokens[name], caches[name])

    seconds = _in_turn(model, plans, step, n_steps + _WARM_UP_STEPS)
    return {name: of_plan[_WARM_UP_STEPS:] for name, of_plan in seconds.items()}


def time_prompts(
    model: PreTrainedModel,
    plans: Mapping[str, DropPlan],
    *,
    context: int,
    n_repeats: int = 5,
    prompt_ids: Tensor | None = None,
) -> dict[str, list[float]]:
    """Seconds of each pass over a prompt of `context` tokens under each plan, in turn as above."""
    ids = _prompt(model, context, prompt_ids)
    check_fits(model, context)

    def run(name: str) -> None:
        _step(model, ids, DynamicCache(config=model.config))

    return _in_turn(model, plans, run, n_repeats)


def _in_turn(
    model: PreTrainedModel,
    plans: Mapping[str, DropPlan],
    act: Callable[[str], None],
    n_times: int,
) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in plans}
    for turn in range(n_times):
        names: Sequence[str] = list(plans) if turn % 2 == 0 else list(plans)[::-1]
        for name in names:
            with dropped(model, plans[name]):
                _wait_for(model)
                started = time.perf_counter()
                act(name)
                _wait_for(model)
                seconds[name].append(time.perf_counter() - started)
    return seconds


def _step(model: PreTrainedModel, ids: Tensor, cache: DynamicCache) -> Tensor:
    with torch.inference_mode():
        output = model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1].argmax(dim=-1, keepdim=True)


def _wait_for(model: PreTrainedModel) -> None:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)


def _prompt(model: PreTrainedModel, context: int, prompt_ids: Tensor | None) -> Tensor:
    if prompt_ids is None:
        generator = torch.Generator().manual_seed(0)
        prompt_ids = torch.randint(0, model.config.vocab_size, (1, context), generator=generator)
    if prompt_ids.ndim != 2 or len(prompt_ids) != 1 or prompt_ids.shape[1] < context:
        raise ValueError(f"a prompt of shape (1, {context} or more) is needed")
    return prompt_ids[:, :context].to(model.device)


def _window(config: Any, layer: int) -> int | None:
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    return window if types is None or types[layer] == "sliding_attention" else None


def _matrix_flops(module: torch.nn.Module) -> int:
    return sum(2 * p.numel() for p in module.parameters() if p.ndim == 2)


def _bytes(module: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in module.parameters())


def _is_table(module: torch.nn.Module) -> bool:
    # Position embeddings, of which a single row is read too.
    return isinstance(module, torch.nn.Embedding)
