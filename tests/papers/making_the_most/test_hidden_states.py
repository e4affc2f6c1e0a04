"""Steps on cached states: nothing at length 0, downhill when small, and blind to what is scored."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from paperround.kit.language_models.families import FAMILIES, random_model
from paperround.papers.making_the_most.decoders import GivenStates, token_losses
from paperround.papers.making_the_most.hidden_states import HiddenStateOptimizer
from paperround.papers.making_the_most.layer_inputs import LayerInputs, keys_values_of
from paperround.papers.making_the_most.plain import optimised_losses

WINDOW = 6
few = settings(max_examples=10, deadline=None)
MODELS = {}


def a_model(family="llama"):
    """One model a family: nothing here may change it, which a test of its own sees to."""
    torch.set_num_threads(1)
    if family not in MODELS:
        MODELS[family] = random_model(family)
    return MODELS[family]


def an_optimizer(family="llama", lr=0.05, **changes):
    given_ = {"window": WINDOW, "max_cache": 64, **changes}
    return HiddenStateOptimizer(a_model(family), lr, **given_)


def some_ids(rows=2, n=4 * WINDOW + 3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, n), generator=generator)


def losses_at_once(model, ids):
    with torch.no_grad():
        return token_losses(model(input_ids=ids[:, :-1]).logits, ids[:, 1:])


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-9 if a.dtype == torch.float64 else 1e-4)


each_kind = pytest.mark.parametrize("states", ["kv", "hidden"])
each_way = pytest.mark.parametrize(
    ("states", "optimizer"), [("kv", "adam"), ("kv", "sgd"), ("hidden", "adam")]
)


@pytest.mark.parametrize("family", FAMILIES)
@each_way
def test_steps_of_length_0_leave_the_models_own_losses(family, states, optimizer):
    ids = some_ids()
    found = an_optimizer(family, 0.0, states=states, optimizer=optimizer).score(ids)
    assert close(found, losses_at_once(a_model(family), ids))


@each_kind
@pytest.mark.parametrize("n_sinks", [0, 3])
def test_the_cache_is_that_of_transformers_with_its_oldest_columns_taken_out(states, n_sinks):
    ids, model = some_ids(n=6 * WINDOW), a_model()
    found = an_optimizer(lr=0.0, max_cache=10, n_sinks=n_sinks, states="kv").score(ids)
    cache, losses = DynamicCache(), []
    for start in range(0, ids.shape[1] - 1, WINDOW):
        read = ids[:, start : start + WINDOW][:, : ids.shape[1] - 1 - start]
        positions = torch.arange(start, start + read.shape[1])[None]
        with torch.no_grad():
            logits = model(read, past_key_values=cache, position_ids=positions).logits
        losses.append(token_losses(logits, ids[:, start + 1 : start + 1 + read.shape[1]]))
        for layer in cache.layers:
            if layer.keys.shape[2] > 10:
                recent = layer.keys.shape[2] - (10 - n_sinks)
                layer.keys, layer.values = (
                    torch.cat([one[:, :, :n_sinks], one[:, :, recent:]], dim=2)
                    for one in (layer.keys, layer.values)
                )
    assert close(found, torch.cat(losses, dim=1))


def test_inputs_of_layers_that_slide_out_of_the_cache_are_those_of_the_model():
    """Of one layer, where keys and values depend on nothing that came before."""
    torch.set_num_threads(1)
    model = random_model("llama", num_hidden_layers=1)
    ids = some_ids(n=6 * WINDOW)
    kinds = [
        HiddenStateOptimizer(model, 0.0, states=kind, window=WINDOW, max_cache=10).score(ids)
        for kind in ("kv", "hidden")
    ]
    assert close(*kinds)


@pytest.mark.parametrize("max_cache", [100, 11])
@pytest.mark.parametrize("adam", [True, False])
def test_losses_are_those_of_an_optimizer_for_every_column(max_cache, adam):
    ids = some_ids(1, 4 * WINDOW + 2)
    lr = 0.02 if adam else 3.0
    plain = optimised_losses(a_model(), ids, lr=lr, window=WINDOW, max_cache=max_cache, adam=adam)
    found = an_optimizer(lr=lr, max_cache=max_cache, optimizer="adam" if adam else "sgd").score(ids)
    assert torch.allclose(found, plain, atol=1e-7)
    assert not torch.allclose(found, an_optimizer(lr=0.0, max_cache=max_cache).score(ids))


@pytest.mark.parametrize("family", FAMILIES)
@each_kind
def test_the_weights_stay_bit_for_bit(family, states):
    model = a_model(family)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    an_optimizer(family, states=states, steps=2, refresh=True).score(some_ids())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any("forward" in vars(module) for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("family", FAMILIES)
@each_kind
def test_a_small_step_goes_downhill(family, states):
    before, after = an_optimizer(family, 1e-3, states=states, optimizer="sgd").descend(some_ids())
    assert bool((after < before).all())


@each_kind
def test_several_steps_go_further_down(states):
    ids = some_ids()
    once, often = (
        an_optimizer(lr=0.01, states=states, optimizer="sgd", steps=steps).descend(ids)[1]
        for steps in (1, 4)
    )
    # The first window has the same states before it in both.
    assert bool((often[:, 0] < once[:, 0]).all())


@few
@given(
    place=st.integers(0, 4 * WINDOW + 2),
    states=st.sampled_from(["kv", "hidden"]),
    steps=st.integers(1, 2),
    refresh=st.booleans(),
)
def test_no_score_has_seen_the_token_or_what_comes_later(place, states, steps, refresh):
    optimizer = an_optimizer(states=states, steps=steps, refresh=refresh)
    ids = some_ids(1)
    other = ids.clone()
    other[0, place] = (other[0, place] + 1) % 256
    # A token that changes is scored as another one, and all before it as ever.
    n_same = max(0, place - 1)
    assert torch.equal(optimizer.score(ids)[0, :n_same], optimizer.score(other)[0, :n_same])


@pytest.mark.parametrize("states", ["kv", "hidden"])
def test_the_last_window_is_scored_with_the_steps_before_it_and_none_of_its_own(states):
    ids = some_ids(1, 3 * WINDOW + 1)
    longer = torch.cat([ids, some_ids(1, 5, seed=1)], dim=1)
    optimizer = an_optimizer(states=states)
    assert close(optimizer.score(longer)[:, : 3 * WINDOW], optimizer.score(ids))


@pytest.mark.parametrize("family", FAMILIES)
@each_way
def test_a_row_of_a_batch_is_optimised_as_if_it_were_alone(family, states, optimizer):
    ids = some_ids(rows=3)
    made = an_optimizer(family, states=states, optimizer=optimizer, steps=2)
    together = made.score(ids)
    # Adam's step of a gradient near zero has the sign of rounding.
    tolerance = 1e-6 if together.dtype == torch.float64 else 1e-2
    for row in range(3):
        assert torch.allclose(made.score(ids[row : row + 1])[0], together[row], atol=tolerance)


@each_kind
def test_texts_of_unequal_lengths_are_read_in_one_batch(states):
    optimizer, lengths = an_optimizer(states=states, steps=2), (4 * WINDOW + 3, WINDOW + 2, 2)
    ids = some_ids(rows=3)
    # Whatever stands behind a text.
    together = optimizer.score(ids)
    for row, n in enumerate(lengths):
        alone = optimizer.score(ids[row : row + 1, :n])[0]
        assert torch.allclose(alone, together[row, : n - 1], atol=1e-6)


def test_every_row_may_have_a_step_size_of_its_own():
    ids = some_ids(rows=3)
    sizes = [0.0, 0.01, 0.1]
    together = an_optimizer(lr=torch.tensor(sizes)).score(ids)
    for row, lr in enumerate(sizes):
        alone = an_optimizer(lr=lr).score(ids[row : row + 1])[0]
        assert torch.allclose(alone, together[row], atol=1e-6)


@each_kind
def test_only_the_chosen_layers_change(states):
    ids = some_ids(1, 2 * WINDOW)
    chosen = an_optimizer(states=states, layers=[1, -1])
    _, moved = chosen._read_all(ids, ends_scored=False)
    _, still = an_optimizer(lr=0.0, states=states)._read_all(ids[:, :WINDOW], ends_scored=False)
    per_layer = 2 if states == "kv" else 1
    same = [
        torch.equal(a[..., :WINDOW, :], b)
        for a, b in zip(moved.tensors, still.tensors, strict=True)
    ]
    assert [same[per_layer * layer] for layer in range(4)] == [True, False, True, False]


def test_moments_and_ages_leave_with_their_columns():
    optimizer = an_optimizer(max_cache=2 * WINDOW, n_sinks=2)
    _, states = optimizer._read_all(some_ids(1, 4 * WINDOW), ends_scored=False)
    assert states.positions.tolist() == [0, 1, *range(2 * WINDOW + 2, 4 * WINDOW)]
    # A step for every window since the column came, that of its own included.
    assert states.age.tolist() == [4, 4, *[2] * (WINDOW - 2), *[1] * WINDOW]
    for moment in (*states.first, *states.second):
        assert moment.shape[-2] == 2 * WINDOW


def test_refreshed_states_follow_from_the_changed_ones_below_them():
    ids = some_ids(1, WINDOW)
    refreshed, stale, still = (
        an_optimizer(lr=lr, refresh=refresh)._read_all(ids, ends_scored=False)[1].tensors
        for lr, refresh in ((0.05, True), (0.05, False), (0.0, False))
    )
    changes = [a - b for a, b in zip(stale, still, strict=True)]
    # A plain reading whose attention is given what the step has changed.
    cache = GivenStates((), changes)
    with torch.no_grad():
        a_model()(ids, past_key_values=cache, use_cache=True)
    assert all(close(a, b) for a, b in zip(refreshed, cache.new, strict=True))
    # Layer 0 reads embeddings, which no step changes; above it all is other.
    same = [torch.equal(a, b) for a, b in zip(refreshed, stale, strict=True)]
    assert same == [True] * 2 + [False] * 6


@pytest.mark.parametrize("family", FAMILIES)
def test_keys_and_values_from_inputs_of_layers_are_the_models_own(family):
    model, ids = a_model(family), some_ids(n=9)
    positions = torch.arange(9)
    with torch.no_grad(), LayerInputs(model) as inputs:
        cache = model(ids, past_key_values=DynamicCache(), use_cache=True).past_key_values
    with torch.no_grad():
        found = keys_values_of(model, inputs.seen, positions)
    theirs = [states for layer in cache.layers for states in (layer.keys, layer.values)]
    assert all(close(a, b) for a, b in zip(found, theirs, strict=True))


def test_a_method_that_was_put_on_a_layer_stays_there():
    model = random_model("llama")
    layer = model.model.layers[1]
    theirs = layer.forward
    layer.forward = theirs
    keys_values_of(model, [torch.zeros(1, 3, 32, dtype=torch.float64)] * 4, torch.arange(3))
    assert vars(layer)["forward"] is theirs


def test_a_misplaced_step_changes_other_columns_as_much():
    ids = some_ids(1, WINDOW + 1)
    placed = an_optimizer(optimizer="sgd")._read_all(ids[:, :-1], ends_scored=False)[1]
    generator = torch.Generator().manual_seed(3)
    misplaced = an_optimizer(optimizer="sgd", misplaced=generator)
    moved = misplaced._read_all(ids[:, :-1], ends_scored=False)[1]
    still = an_optimizer(lr=0.0)._read_all(ids[:, :-1], ends_scored=False)[1]
    order = torch.randperm(WINDOW, generator=torch.Generator().manual_seed(3))
    for one, other, before in zip(moved.tensors, placed.tensors, still.tensors, strict=True):
        assert torch.allclose(one - before, (other - before)[..., order, :], atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
@each_kind
def test_generate_goes_on_from_an_optimised_prompt(family, states):
    ids = some_ids(1, 20)
    model = a_model(family)
    plain = model.generate(ids, max_new_tokens=8, do_sample=False, pad_token_id=256)
    for lr in (0.0, 0.5):
        cache = an_optimizer(family, lr, states=states).fit_prompt(ids[:, :-1])
        assert cache.get_seq_length() == 19
        written = model.generate(
            ids, past_key_values=cache, max_new_tokens=8, do_sample=False, pad_token_id=256
        )
        assert torch.equal(written, plain) == (lr == 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_scored_as_the_text_that_they_end(family):
    prompt = some_ids(1, 9)[0]
    queries = [some_ids(1, n, seed=n)[0] for n in (1, 4, 2)]
    labels = [torch.tensor(ids) for ids in ([5], [9, 8, 7], [9, 8, 6], [3])]
    found = an_optimizer(family, 0.0).classify(prompt, queries, labels, rows=2)
    for i, query in enumerate(queries):
        for j, label in enumerate(labels):
            losses = losses_at_once(a_model(family), torch.cat([prompt, query, label])[None])
            assert float(found[i, j]) == pytest.approx(
                -float(losses[0, -len(label) :].sum()), abs=1e-3
            )


def test_an_optimised_prompt_changes_how_likely_labels_are():
    prompt, queries = some_ids(1, 9)[0], [some_ids(1, 3, seed=5)[0]]
    labels = [torch.tensor([5]), torch.tensor([6])]
    plain = an_optimizer(lr=0.0).classify(prompt, queries, labels)
    assert not torch.allclose(an_optimizer().classify(prompt, queries, labels), plain)


def test_a_model_in_half_precision_has_states_in_float32():
    torch.set_num_threads(1)
    model = random_model("llama", dtype=torch.bfloat16)
    for states in ("kv", "hidden"):
        optimizer = HiddenStateOptimizer(model, 1e-3, window=WINDOW, states=states)
        losses, kept = optimizer._read_all(some_ids(), ends_scored=False)
        assert {one.dtype for one in (*kept.tensors, *kept.first, *losses)} == {torch.float32}
        cache = optimizer.fit_prompt(some_ids())
        assert cache.layers[0].keys.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"optimizer": "adagrad"}, "adagrad"),
        ({"states": "values"}, "values"),
        ({"steps": -1}, "steps"),
        ({"window": 0}, "window"),
        ({"max_cache": 4, "n_sinks": 4}, "n_sinks"),
        ({"lr": -1.0}, "lr"),
        ({"layers": [4]}, "layers 0 to 3"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        an_optimizer(**changes)


def test_what_cannot_be_read_is_refused():
    optimizer = an_optimizer()
    with pytest.raises(ValueError, match="too few"):
        optimizer.score(some_ids(1, 1))
    with pytest.raises(ValueError, match="rows, tokens"):
        optimizer.score(some_ids()[0])
    with pytest.raises(ValueError, match="max_cache is 64"):
        optimizer.fit_prompt(some_ids(1, 65))
    with pytest.raises(ValueError, match="one token or more"):
        optimizer.classify(some_ids()[0], [], [torch.tensor([1])])
    gpt2 = an_optimizer("gpt2", max_cache=600)
    with pytest.raises(ValueError, match="has learnt 512"):
        gpt2.score(some_ids(1, 600))
    with pytest.raises(ValueError, match="513 tokens need"):
        gpt2.classify(some_ids(1, 509)[0], [some_ids(1, 3)[0]], [torch.tensor([1, 2])])
    with pytest.raises(ValueError, match="too few"):
        gpt2.classify(torch.zeros(0).long(), [some_ids(1, 3)[0]], [torch.tensor([1])])
