"""A memory from window to window: exact where it is closed, bounded, and of use when trained."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.kit.language_models.families import FAMILIES, random_model
from paperround.papers.making_the_most.decoders import attentions_of
from paperround.papers.making_the_most.plain import attention_with_slots
from paperround.papers.making_the_most.recurrence import Memory, WindowRecurrence
from paperround.papers.making_the_most.windows import window_losses

WINDOW = 6
few = settings(max_examples=12, deadline=None)


def a_recurrence(family="llama", model=None, *, is_open=True, **changes):
    """A recurrence of a small random model whose slots say something, unless it is closed."""
    torch.set_num_threads(1)
    given_ = {"window": WINDOW, "n_slots": 2, "d_hidden": 8, **changes}
    recurrence = WindowRecurrence(model or random_model(family), **given_)
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        recurrence.memory.to_values.weight.normal_()
        recurrence.memory.bias.fill_(0.5 if is_open else -torch.inf)
    return recurrence


def some_ids(rows=2, n=4 * WINDOW + 1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, n), generator=generator)


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def the_same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def close(a, b):
    return torch.allclose(a, b, rtol=0, atol=1e-9 if a.dtype == torch.float64 else 1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_closed_memory_leaves_the_model_bit_for_bit(family):
    recurrence = a_recurrence(family, is_open=False)
    ids = some_ids()
    losses, _ = recurrence.losses(ids)
    assert torch.equal(losses, window_losses(recurrence.model, ids, WINDOW))


@pytest.mark.parametrize("family", FAMILIES)
def test_slots_without_weight_change_nothing_and_slots_with_weight_do(family):
    recurrence = a_recurrence(family)
    ids = some_ids()
    alone = window_losses(recurrence.model, ids, WINDOW)
    with torch.no_grad():
        heard, _ = recurrence.losses(ids)
        recurrence.memory.bias.fill_(-1e4)
        unheard, _ = recurrence.losses(ids)
    assert close(unheard, alone)
    assert torch.equal(heard[:, :WINDOW], alone[:, :WINDOW])
    assert not close(heard[:, WINDOW:], alone[:, WINDOW:])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_row_of_a_batch_is_read_as_if_it_were_alone(family):
    recurrence = a_recurrence(family)
    ids = some_ids(rows=3)
    with torch.no_grad():
        together, memory = recurrence.losses(ids)
        for row in range(3):
            alone, own = recurrence.losses(ids[row : row + 1])
            assert close(alone[0], together[row])
            assert close(own.values[:, 0], memory.values[:, row])


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_write_layers_attention_is_the_equations(implementation):
    model = random_model("llama")
    model.set_attn_implementation(implementation)
    recurrence = a_recurrence(model=model, write_layer=2, read_layer=1)
    attention = attentions_of(model)[2]
    inputs, outputs = [], []

    def keep(module, args, kwargs, output):
        inputs.append((kwargs["hidden_states"], kwargs["position_embeddings"]))
        outputs.append(output[0])

    handle = attention.register_forward_hook(keep, with_kwargs=True)
    with torch.no_grad():
        _, memory = recurrence.losses(some_ids(rows=1, n=WINDOW + 1))
        recurrence.losses(some_ids(rows=1, n=WINDOW + 1, seed=1), memory)
    handle.remove()
    hidden, (cos, sin) = inputs[1]

    def heads(projection, turned):
        states = projection(hidden).unflatten(-1, (-1, 8)).transpose(1, 2)
        if not turned:
            return states[0]
        half = torch.cat([-states[..., 4:], states[..., :4]], dim=-1)
        return (states * cos[:, None] + half * sin[:, None])[0]

    queries = heads(attention.q_proj, True) * 8**-0.5
    keys, values = heads(attention.k_proj, True), heads(attention.v_proj, False)
    # Two query heads to each head of keys.
    found = [
        attention_with_slots(
            queries[head],
            keys[head // 2],
            values[head // 2],
            (memory.keys[0, 0, head // 2], memory.values[0, 0, head // 2]),
            recurrence.memory.bias.detach()[0],
        )
        for head in range(4)
    ]
    expected = attention.o_proj(torch.cat(found, dim=-1))
    assert torch.allclose(outputs[1][0], expected, atol=1e-9)


@few
@given(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_the_memory_does_not_grow_with_the_text(n_windows_read, n_kept, n_slots, n_layers):
    recurrence = a_recurrence(
        n_slots=n_slots, n_windows=n_kept, write_layer=tuple(range(n_layers)), read_layer=2
    )
    with torch.no_grad():
        _, memory = recurrence.losses(some_ids(1, n_windows_read * WINDOW + 1))
    kept = min(n_kept, n_windows_read)
    # Keys and values of two heads of size 8.
    assert memory.n_numbers == 2 * n_layers * 2 * 8 * n_slots * kept


def test_a_text_read_in_pieces_is_the_text_read_at_once():
    recurrence = a_recurrence(n_windows=2)
    ids = some_ids(n=6 * WINDOW + 1)
    with torch.no_grad():
        whole, last = recurrence.losses(ids)
        first, memory = recurrence.losses(ids[:, : 2 * WINDOW + 1])
        second, end = recurrence.losses(ids[:, 2 * WINDOW :], memory)
    assert close(torch.cat([first, second], dim=1), whole)
    assert close(end.keys, last.keys)


def test_nothing_that_comes_later_changes_a_loss():
    recurrence, ids = a_recurrence(), some_ids(1)
    with torch.no_grad():
        before = recurrence.losses(ids)[0]
        for place in range(ids.shape[1]):
            other = ids.clone()
            other[0, place] = (other[0, place] + 1) % 256
            after = recurrence.losses(other)[0]
            assert torch.equal(before[0, : max(0, place - 1)], after[0, : max(0, place - 1)])


def test_texts_of_unequal_lengths_are_read_in_one_batch():
    recurrence, ids = a_recurrence(), some_ids(rows=3)
    with torch.no_grad():
        # Whatever stands behind a text.
        together = recurrence.losses(ids)[0]
        for row, n in enumerate((4 * WINDOW + 1, WINDOW + 2, 2)):
            alone = recurrence.losses(ids[row : row + 1, :n])[0][0]
            assert close(alone, together[row, : n - 1])


def changed_windows(recurrence, ids, place):
    """The windows whose losses change with the token at a place."""
    other = ids.clone()
    other[0, place] += 1
    with torch.no_grad():
        difference = recurrence.losses(ids)[0] - recurrence.losses(other)[0]
    return {int(i) // WINDOW for i in difference[0].abs().gt(1e-12).nonzero()[:, 0]}


def test_the_memory_reaches_back_through_the_hidden_states():
    ids = some_ids(1, 5 * WINDOW + 1)
    # Read behind where it is written: the first window is felt in the last one.
    chained = a_recurrence(write_layer=1, read_layer=2)
    assert changed_windows(chained, ids, 2) == {0, 1, 2, 3, 4}
    # Read before: a summary has seen its own window only, and is kept for `n_windows`.
    assert changed_windows(a_recurrence(write_layer=2, read_layer=1), ids, 2) == {0, 1}
    two = a_recurrence(write_layer=2, read_layer=1, n_windows=2)
    assert changed_windows(two, ids, 2) == {0, 1, 2}


def test_a_prefix_that_remembers_nothing_says_the_same_in_every_window():
    recurrence = a_recurrence(remembers=False)
    ids = some_ids(1, 5 * WINDOW + 1)
    assert changed_windows(recurrence, ids, 2) == {0}
    with torch.no_grad():
        memories = [recurrence.losses(some_ids(1, WINDOW + 1, seed))[1] for seed in (0, 1)]
    assert torch.equal(memories[0].values, memories[1].values)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_memory_through_windows_and_never_the_model(family):
    recurrence = a_recurrence(family)
    recurrence.losses(some_ids())[0].mean().backward()
    assert all(parameter.grad is None for parameter in recurrence.model.parameters())
    assert all(bool(p.grad.abs().sum() > 0) for p in recurrence.memory.parameters())
    assert all(parameter.requires_grad for parameter in recurrence.model.parameters())


def test_checkpoints_give_the_same_gradients():
    found = []
    for checkpointing in (False, True):
        recurrence = a_recurrence()
        losses, _ = recurrence.losses(some_ids(), checkpointing=checkpointing)
        losses.mean().backward()
        assert all(parameter.grad is None for parameter in recurrence.model.parameters())
        found.append([parameter.grad for parameter in recurrence.memory.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_detached_memory_is_where_gradients_end():
    recurrence = a_recurrence()
    _, memory = recurrence.losses(some_ids(n=WINDOW + 1))
    assert memory.keys.requires_grad
    assert not memory.detach().keys.requires_grad
    assert torch.equal(memory.detach().values, memory.values)


@pytest.mark.parametrize("family", FAMILIES)
def test_training_the_memory_leaves_the_model_as_it_was(family):
    model = random_model(family)
    before, hooks = weights(model), [len(m._forward_pre_hooks) for m in model.modules()]
    recurrence = WindowRecurrence(model, WINDOW, n_slots=2, d_hidden=8)
    start = {name: value.clone() for name, value in recurrence.memory.state_dict().items()}
    course = recurrence.fit(some_ids(1, 200)[0], 3, n_streams=2, bptt=2)
    assert len(course) == 3
    assert the_same(weights(model), before)
    assert hooks == [len(m._forward_pre_hooks) for m in model.modules()]
    assert not the_same(recurrence.memory.state_dict(), start)


def test_the_model_learns_too_where_it_is_asked_to():
    recurrence = a_recurrence()
    before = weights(recurrence.model)
    recurrence.fit(some_ids(1, 200)[0], 2, n_streams=2, bptt=2, model_learning_rate=1e-3)
    assert not the_same(weights(recurrence.model), before)


def test_the_same_seed_trains_the_same_memory():
    model = random_model("llama")

    def course(seed):
        recurrence = WindowRecurrence(model, WINDOW, d_hidden=8, seed=seed)
        return recurrence.fit(some_ids(1, 300)[0], 3, n_streams=2, bptt=2, seed=seed)

    assert course(0) == course(0)
    assert course(0) != course(1)


def test_a_memory_learns_what_only_the_window_before_can_know():
    """Every window of a text says one word again and again; the first token of the next says it."""
    torch.set_num_threads(1)
    words = torch.randint(0, 8, (400,), generator=torch.Generator().manual_seed(0)) * 16
    ids = words.repeat_interleave(25 * WINDOW)
    model = random_model("llama", dtype=torch.float32)
    recurrence = WindowRecurrence(model, WINDOW, n_slots=2, d_hidden=32, start_bias=-1.0)
    course = recurrence.fit(ids, 60, n_streams=8, bptt=3, learning_rate=1e-2, restart=8)
    assert sum(course[-5:]) < 0.8 * sum(course[:5])


def test_a_saved_memory_is_had_again():
    recurrence, other = a_recurrence(), a_recurrence(seed=3)
    ids = some_ids()
    with torch.no_grad():
        assert not torch.equal(recurrence.losses(ids)[0], other.losses(ids)[0])
        other.memory.load_state_dict(copy.deepcopy(recurrence.memory.state_dict()))
        assert torch.equal(recurrence.losses(ids)[0], other.losses(ids)[0])


def test_the_model_may_be_in_half_precision():
    recurrence = a_recurrence(model=random_model("llama", dtype=torch.bfloat16))
    losses, memory = recurrence.losses(some_ids())
    assert losses.dtype == memory.keys.dtype == torch.float32
    losses.mean().backward()
    assert all(bool(p.grad.isfinite().all()) for p in recurrence.memory.parameters())


def test_perplexity_is_that_of_the_mean_loss():
    recurrence = a_recurrence()
    losses = recurrence.losses(some_ids())[0].detach()
    assert recurrence.perplexity(some_ids()) == pytest.approx(float(losses.mean().exp()))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"window": 0}, "window"),
        ({"n_slots": 0}, "n_slots"),
        ({"read_layer": 4}, "layers 0 to 3"),
        ({"write_layer": -5}, "layers 0 to 3"),
        ({"write_layer": ()}, "no layer"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        a_recurrence(**changes)


def test_an_attention_without_masks_of_numbers_is_refused():
    model = random_model("llama")
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="set_attn_implementation"):
        WindowRecurrence(model, WINDOW)


@pytest.mark.parametrize("ids", [torch.zeros(3, dtype=torch.long), torch.zeros(2, 1).long()])
def test_a_text_that_cannot_be_scored_is_refused(ids):
    with pytest.raises(ValueError, match="token"):
        a_recurrence().losses(ids)


def test_what_cannot_be_trained_on_is_refused():
    with pytest.raises(ValueError, match="too few"):
        a_recurrence().fit(some_ids(1, 20)[0], 4)
    with pytest.raises(ValueError, match="restart"):
        a_recurrence().fit(some_ids(1, 200)[0], 4, restart=0)


def test_a_memory_counts_its_numbers():
    memory = Memory(torch.zeros(2, 3, 4, 5, 6), torch.zeros(2, 3, 4, 5, 6))
    assert memory.n_numbers == 2 * 2 * 4 * 5 * 6
