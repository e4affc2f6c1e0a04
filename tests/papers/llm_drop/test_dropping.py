"""A dropped model is the model whose sub-layers answer zeros, and its cache is short and right."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    DynamicCache,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    PreTrainedModel,
    StaticCache,
)

from paperround.papers.llm_drop.measures import (
    cache_bytes_per_token,
    cache_size_bytes,
    n_parameters,
    n_parameters_of,
)
from paperround.papers.llm_drop.plain import silenced
from paperround.papers.llm_drop.plans import DropPlan, drop, dropped
from paperround.papers.llm_drop.sublayers import drop_sublayers, dropped_sublayers, layers_of

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gpt2")
N_LAYERS = 4
# The first attention, from whose cache entry transformers reads the positions; the last; blocks.
PLANS = (
    DropPlan(attention=(0,)),
    DropPlan(attention=(3, 1)),
    DropPlan(mlp=(0, 2)),
    DropPlan(attention=(0, 2), mlp=(0, 1)),
    DropPlan(attention=(0, 1, 2), mlp=(0, 1, 2, 3)),
)

Make = Callable[..., Any]

some = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
layers = st.frozensets(st.integers(0, N_LAYERS - 1), max_size=N_LAYERS - 1).map(tuple)
plans = st.builds(DropPlan, attention=layers, mlp=layers)


def logits(model: PreTrainedModel, ids: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=ids, use_cache=False).logits


def generated(model: PreTrainedModel, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    return model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=24,
        min_new_tokens=24,
        do_sample=False,
        **options,
    )


@pytest.mark.parametrize("family", FAMILIES)
@given(plan=plans)
@some
def test_it_is_the_model_whose_sublayers_answer_zeros(
    a_model: Make, some_ids: Make, family: str, plan: DropPlan
) -> None:
    model, ids = a_model(family), some_ids()
    wanted = logits(silenced(model, plan), ids)
    with dropped(model, plan):
        assert torch.allclose(logits(model, ids), wanted, atol=1e-10)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_with_a_cache_it_generates_what_it_generates_without(
    a_model: Make, some_ids: Make, family: str, plan: DropPlan
) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, plan)
    assert torch.equal(generated(model, ids), generated(model, ids, use_cache=False))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_the_cache_has_an_entry_for_each_attention_that_is_left(
    a_model: Make, some_ids: Make, family: str, plan: DropPlan
) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, plan)
    kept = N_LAYERS - len(plan.attention)
    # Whoever makes the cache: the model, its caller with and without a configuration, `generate`.
    for cache in (None, DynamicCache(config=model.config), DynamicCache()):
        output = model(input_ids=ids, past_key_values=cache, use_cache=True)
        assert len(output.past_key_values.layers) == kept
        assert output.past_key_values.get_seq_length() == 9
        assert all(entry.keys is not None for entry in output.past_key_values.layers)
    output = generated(model, ids, return_dict_in_generate=True)
    assert len(output.past_key_values.layers) == kept


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_a_static_cache_is_cut_to_size_as_well(a_model: Make, some_ids: Make, family: str) -> None:
    model, ids = a_model(family), some_ids(1, 9)
    drop(model, DropPlan(attention=(0, 2)))
    cache = StaticCache(config=model.config, max_cache_len=40)
    assert torch.equal(
        generated(model, ids, past_key_values=cache), generated(model, ids, use_cache=False)
    )
    assert len(cache.layers) == N_LAYERS - 2


def test_a_batch_of_unequal_lengths_generates_what_its_rows_generate_alone(
    a_model: Make, some_ids: Make
) -> None:
    model = drop_and_return(a_model("llama"), DropPlan(attention=(0, 3), mlp=(1,)))
    short, long = some_ids(1, 5, seed=1), some_ids(1, 9, seed=2)
    padded = torch.full((2, 9), 2)
    padded[0, 4:], padded[1] = short[0], long[0]
    mask = torch.ones_like(padded)
    mask[0, :4] = 0
    together = model.generate(
        padded, attention_mask=mask, max_new_tokens=12, min_new_tokens=12, do_sample=False
    )
    for row, alone in zip(together, (short, long), strict=True):
        single = model.generate(
            alone,
            attention_mask=torch.ones_like(alone),
            max_new_tokens=12,
            min_new_tokens=12,
            do_sample=False,
        )
        assert torch.equal(row[-12:], single[0, -12:])


def drop_and_return(model: PreTrainedModel, plan: DropPlan) -> PreTrainedModel:
    drop(model, plan)
    return model


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
def test_beam_search_reorders_the_short_cache(a_model: Make, some_ids: Make, family: str) -> None:
    model = drop_and_return(a_model(family), DropPlan(attention=(0, 1)))
    ids = some_ids(1, 7)
    assert torch.equal(
        generated(model, ids, num_beams=3), generated(model, ids, num_beams=3, use_cache=False)
    )


def test_a_cache_that_the_intact_model_filled_is_refused(a_model: Make, some_ids: Make) -> None:
    model, ids = a_model("llama"), some_ids(1, 9)
    cache = model(input_ids=ids, use_cache=True).past_key_values
    drop(model, DropPlan(attention=(1,)))
    with pytest.raises(ValueError, match="filled by a model"):
        model(input_ids=ids, past_key_values=cache)


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_dropped_gives_bit_identical_logits(
    a_model: Make, some_ids: Make, family: str
) -> None:
    model, ids = a_model(family), some_ids()
    before = logits(model, ids)
    drop(model, DropPlan())
    assert torch.equal(logits(model, ids), before)


@given(layer=st.integers(0, N_LAYERS - 1))
@some
def test_a_block_is_its_attention_and_its_mlp(a_model: Make, some_ids: Make, layer: int) -> None:
    ids = some_ids()
    block = a_model("qwen3")
    drop_sublayers(block, attention=[layer], mlp=[layer])
    one_by_one = a_model("qwen3")
    drop_sublayers(one_by_one, attention=[layer])
    drop_sublayers(one_by_one, mlp=[layer])
    assert torch.equal(logits(block, ids), logits(one_by_one, ids))
    assert dropped_sublayers(block) == dropped_sublayers(one_by_one) == ((layer,), (layer,))


@pytest.mark.parametrize("family", FAMILIES)
@given(plan=plans)
@some
def test_the_parameters_of_what_is_dropped_go_and_no_others(
    a_model: Make, family: str, plan: DropPlan
) -> None:
    model = a_model(family)
    expected = n_parameters(model) - sum(
        n_parameters_of(model, kind, layer)
        for kind, layers in (("attention", plan.attention), ("mlp", plan.mlp))
        for layer in layers
    )
    drop(model, plan)
    assert n_parameters(model) == expected


@pytest.mark.parametrize("family", FAMILIES)
@given(first=plans, second=plans)
@some
def test_restoring_gives_the_intact_model_back(
    a_model: Make, some_ids: Make, family: str, first: DropPlan, second: DropPlan
) -> None:
    model, ids = a_model(family), some_ids(1, 8)
    names, before = list(model.state_dict()), logits(model, ids)
    with dropped(model, first):
        rest = DropPlan(
            tuple(set(second.attention) - set(first.attention)) if not first.attention else (),
            tuple(set(second.mlp) - set(first.mlp)),
        )
        with dropped(model, rest):
            logits(model, ids)
    assert list(model.state_dict()) == names
    assert torch.equal(logits(model, ids), before)
    assert not hasattr(model.config, "drop_attn_list")
    assert len(model(input_ids=ids, use_cache=True).past_key_values.layers) == N_LAYERS


@pytest.mark.parametrize("family", FAMILIES)
def test_the_bytes_of_the_cache_fall_with_the_attentions(a_model: Make, family: str) -> None:
    model = a_model(family)
    # Within every window, so that sliding layers hold as much as the others.
    before = cache_size_bytes(model, 5)
    drop(model, DropPlan(attention=(0, 3), mlp=(1,)))
    assert cache_size_bytes(model, 5) * N_LAYERS == before * (N_LAYERS - 2)
    assert cache_size_bytes(model, 5) == 5 * cache_bytes_per_token(model)


@pytest.mark.parametrize(
    ("attention", "mlp", "words"),
    [
        ((4,), (), "no layer 4"),
        ((), (-1,), "no layer -1"),
        (range(N_LAYERS), (), "one attention at least"),
    ],
)
def test_what_cannot_be_dropped_is_refused_and_nothing_changed(
    a_model: Make, some_ids: Make, attention: Any, mlp: Any, words: str
) -> None:
    model, ids = a_model("llama"), some_ids()
    before = logits(model, ids)
    with pytest.raises(ValueError, match=words):
        drop_sublayers(model, attention, mlp)
    assert torch.equal(logits(model, ids), before)


def test_what_is_gone_cannot_be_dropped_again(a_model: Make) -> None:
    model = a_model("llama")
    drop_sublayers(model, attention=[2])
    with pytest.raises(ValueError, match="layer 2 has lost its self_attn already"):
        drop_sublayers(model, attention=[2])
    with pytest.raises(ValueError, match="one attention at least"):
        drop_sublayers(model, attention=[0, 1, 3])


def test_a_family_with_attention_and_mlp_side_by_side_is_refused() -> None:
    config = GPTNeoXConfig(
        vocab_size=20,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
    )
    with pytest.raises(ValueError, match="GPTNeoXForCausalLM has no layers"):
        drop_sublayers(GPTNeoXForCausalLM(config), attention=[0])


def test_what_is_dropped_trains_no_more_and_the_rest_does(a_model: Make, some_ids: Make) -> None:
    model = drop_and_return(a_model("gemma3"), DropPlan(attention=(1,), mlp=(2,))).train()
    model.activation_checkpointing_enable({"use_reentrant": False})
    ids = some_ids()
    model(input_ids=ids, labels=ids).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert not list(layers_of(model)[1].self_attn.parameters())
