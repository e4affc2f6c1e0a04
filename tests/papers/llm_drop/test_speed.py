"""Counted work is the model's own numbers; measured speed is of the models that were asked for."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from paperround.papers.llm_drop.measures import cache_bytes_per_token, n_parameters_of
from paperround.papers.llm_drop.plans import DropPlan, drop
from paperround.papers.llm_drop.speed import (
    allowed_speedup,
    decoding_speedup,
    step_work,
    time_decoding,
    time_prompts,
)
from paperround.papers.llm_drop.sublayers import dropped_sublayers

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2")

Make = Callable[..., Any]


def test_the_work_of_a_step_by_hand(a_model: Make) -> None:
    work = step_work(a_model("llama"), context=9)
    # 4 layers of width 32 with 4 heads of 8 and 2 for keys and values, an MLP of 48 with three
    # matrices, and a vocabulary of 40; 8 bytes a number.
    attention, mlp, head = 32 * (32 + 16 + 16 + 32), 3 * 32 * 48, 32 * 40
    assert work.flops == 2 * (4 * (attention + mlp) + head) + 4 * 4 * 4 * 8 * 10
    norms = (2 * 4 + 1) * 32
    assert work.weight_bytes == 8 * (4 * (attention + mlp) + head + norms)
    assert work.cache_bytes == 10 * 2 * 4 * 2 * 8 * 8


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_dropped_is_what_is_not_read(a_model: Make, family: str) -> None:
    model, plan = a_model(family), DropPlan(attention=(1, 3), mlp=(0,))
    before = step_work(model, 4)
    removed = sum(n_parameters_of(model, "attention", layer) for layer in plan.attention)
    removed += n_parameters_of(model, "mlp", 0)
    drop(model, plan)
    after = step_work(model, 4)
    assert before.weight_bytes - after.weight_bytes == 8 * removed
    assert after.cache_bytes == 5 * cache_bytes_per_token(model) == before.cache_bytes / 2
    assert after.flops < before.flops


def test_a_window_bounds_what_is_read(a_model: Make) -> None:
    # Every layer of Mistral slides over 6 tokens, every other of Gemma's.
    assert step_work(a_model("mistral"), 100).cache_bytes == 6 * cache_bytes_per_token(
        a_model("mistral")
    )
    gemma = a_model("gemma3")
    assert step_work(gemma, 100).cache_bytes == (6 + 101) / 2 * cache_bytes_per_token(gemma)


def test_position_tables_are_not_read_whole(a_model: Make) -> None:
    work, model = step_work(a_model("gpt2"), 0), a_model("gpt2")
    table = model.transformer.wpe.weight.nbytes
    assert work.weight_bytes == sum(p.nbytes for p in model.parameters()) - table


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_allowed_grows_with_what_goes_and_leaves_the_model(
    a_model: Make, family: str
) -> None:
    model = a_model(family)
    assert allowed_speedup(model, DropPlan(), 5) == (1.0, 1.0)
    one, two = (allowed_speedup(model, DropPlan(attention=of), 5) for of in ((1,), (1, 2)))
    assert 1 < one[0] < two[0]
    assert 1 < one[1] < two[1]
    assert dropped_sublayers(model) == ((), ())


def test_longer_contexts_allow_more_where_attention_goes(a_model: Make) -> None:
    model, plan = a_model("qwen3"), DropPlan(attention=(0, 1))
    allowed = [allowed_speedup(model, plan, context)[0] for context in (0, 50, 5_000)]
    assert allowed == sorted(allowed)
    # In the end the cache is all there is to read, and half of it is gone.
    assert allowed_speedup(model, plan, 10**9)[0] == pytest.approx(2, abs=1e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_are_timed_on_the_models_asked_for(
    a_model: Make, some_ids: Make, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, plan = a_model(family), DropPlan(attention=(0,))
    seen: list[tuple[int, int]] = []
    forward = type(model).forward

    def watched(self: Any, **kwargs: Any) -> Any:
        output = forward(self, **kwargs)
        cache = kwargs["past_key_values"]
        seen.append((kwargs["input_ids"].shape[1], len(cache.layers)))
        return output

    monkeypatch.setattr(model, "forward", watched.__get__(model))
    seconds = time_decoding(
        model,
        {"intact": DropPlan(), "dropped": plan},
        context=7,
        n_steps=3,
        prompt_ids=some_ids(1, 8),
    )
    assert {name: len(steps) for name, steps in seconds.items()} == {"intact": 3, "dropped": 3}
    assert all(second > 0 for steps in seconds.values() for second in steps)
    # The prompt once each, then in turn, the order turning round.
    assert seen == [(7, 4), (7, 3)] + [(1, 4), (1, 3), (1, 3), (1, 4)] * 2 + [(1, 4), (1, 3)]
    assert dropped_sublayers(model) == ((), ())


def test_allowed_and_measured_come_together(a_model: Make) -> None:
    model, plan = a_model("llama"), DropPlan(attention=(0, 1, 2))
    found = decoding_speedup(model, plan, context=12, n_steps=3)
    assert (found.allowed_by_bytes, found.allowed_by_flops) == allowed_speedup(model, plan, 12)
    assert found.measured == found.intact_s / found.dropped_s
    assert found.share_of_allowed == found.measured / found.allowed_by_bytes
    assert found.context == 12


def test_prompts_are_timed_in_turn(a_model: Make) -> None:
    model = a_model("gpt2")
    seconds = time_prompts(
        model, {"a": DropPlan(), "b": DropPlan(mlp=(1,))}, context=6, n_repeats=2
    )
    assert {name: len(repeats) for name, repeats in seconds.items()} == {"a": 2, "b": 2}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"context": 0}, "a context of 0"),
        ({"context": 5, "n_steps": 0}, "0 steps"),
        ({"context": 5, "prompt_ids": torch.zeros(1, 4, dtype=torch.long)}, "5 or more"),
        ({"context": 2, "prompt_ids": torch.zeros(2, 4, dtype=torch.long)}, "2 or more"),
    ],
)
def test_what_cannot_be_timed_is_refused(
    a_model: Make, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        time_decoding(a_model("llama"), {"intact": DropPlan()}, **options)
