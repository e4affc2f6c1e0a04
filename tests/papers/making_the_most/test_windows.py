"""Reading without a memory: every token scored once, with the context that each way gives it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, GPT2Config, T5Config, T5ForConditionalGeneration

from paperround.kit.language_models.families import FAMILIES, random_model
from paperround.papers.making_the_most.decoders import (
    attentions_of,
    has_rotary_positions,
    layers_of,
    token_losses,
)
from paperround.papers.making_the_most.windows import (
    cost_of_sinks,
    cost_of_windows,
    overlapping_losses,
    sink_losses,
    window_losses,
)

few = settings(max_examples=15, deadline=None)
MODEL = random_model("llama")


def some_ids(rows=2, n=27, seed=0):
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, n), generator=generator)


def losses_of(model, ids):
    with torch.no_grad():
        return token_losses(model(input_ids=ids[:, :-1]).logits, ids[:, 1:])


@few
@given(st.integers(2, 30), st.integers(1, 9), st.data())
def test_every_token_is_scored_with_all_that_its_window_has_before_it(n, window, data):
    stride = data.draw(st.integers(1, window))
    ids = some_ids(1, n)
    found = overlapping_losses(MODEL, ids, window, stride)
    assert found.shape == (1, n - 1)
    for place in range(n - 1):
        # The first window that reads the token before it.
        start = max(0, -(-(place + 1 - window) // stride)) * stride
        expected = losses_of(MODEL, ids[:, start : place + 2])[0, -1]
        assert float(found[0, place]) == pytest.approx(float(expected), abs=1e-9)


def test_windows_do_not_see_each_other():
    ids = some_ids()
    found = window_losses(MODEL, ids, 5)
    assert torch.allclose(found[:, 5:10], losses_of(MODEL, ids[:, 5:11]))
    assert torch.allclose(window_losses(MODEL, ids, 100), losses_of(MODEL, ids))


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "gpt2"])
def test_sinks_with_a_window_as_long_as_the_text_are_plain_reading(family):
    model, ids = random_model(family), some_ids()
    found = sink_losses(model, ids, 13)
    # Two windows: nothing has left before a third one.
    expected = losses_of(model, ids[:, :27])[:, :26]
    assert torch.allclose(found[:, :26], expected, atol=1e-5)


def test_sinks_stand_right_before_the_window():
    """In a model of one layer keys are of a token and its place alone: all can be set by hand."""
    model, ids = random_model("llama", num_hidden_layers=1), some_ids(1, 41)
    found = sink_losses(model, ids, 8, n_sinks=3)
    # The third window reads 16 to 23, keeps 8 to 15, and has the sinks 0 to 2 at 5 to 7.
    read = torch.cat([ids[:, :3], ids[:, 8:24]], dim=1)
    with torch.no_grad():
        logits = model(
            read, position_ids=torch.arange(5, 24)[None], past_key_values=DynamicCache()
        ).logits
    expected = token_losses(logits[:, -8:], ids[:, 17:25])
    assert torch.allclose(found[:, 16:24], expected)


def test_what_makes_no_sense_is_refused():
    ids = some_ids()
    with pytest.raises(ValueError, match="stride of 0"):
        overlapping_losses(MODEL, ids, 4, 0)
    with pytest.raises(ValueError, match="stride of 5"):
        overlapping_losses(MODEL, ids, 4, 5)
    with pytest.raises(ValueError, match="one sink"):
        sink_losses(MODEL, ids, 4, 0)
    with pytest.raises(ValueError, match="rotary"):
        sink_losses(random_model("gpt2"), ids, 4)
    with pytest.raises(ValueError, match="too few"):
        window_losses(MODEL, ids[:, :1], 4)
    with pytest.raises(ValueError, match="has learnt 512"):
        window_losses(random_model("gpt2"), some_ids(1, 700), 600)


def test_costs_are_counted_per_token():
    assert cost_of_windows(32).passes == 1
    assert cost_of_windows(32).keys == 16.5
    assert cost_of_windows(32, 16).passes == 2
    sinks = cost_of_sinks(32, 4)
    assert (sinks.passes, sinks.keys, sinks.carried) == (1.125, 52.5, 36)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_and_attentions_are_found_in_every_family(family):
    model = random_model(family)
    assert len(layers_of(model)) == 4
    assert [attention.layer_idx for attention in attentions_of(model)] == [0, 1, 2, 3]
    assert has_rotary_positions(model) == (family != "gpt2")


def test_models_of_other_kinds_are_refused():
    t5 = T5ForConditionalGeneration(
        T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    )
    with pytest.raises(ValueError, match="T5ForConditionalGeneration has no list"):
        layers_of(t5)
    crossed = random_model("gpt2", **{"add_cross_attention": True})
    assert isinstance(crossed.config, GPT2Config)
    with pytest.raises(ValueError, match="one attention each"):
        layers_of(crossed)
