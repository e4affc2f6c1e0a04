"""The peer that moves weights: it learns while it reads, and puts all back."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.kit.language_models.families import FAMILIES, random_model
from paperround.papers.making_the_most.decoders import token_losses
from paperround.papers.making_the_most.dynamic_evaluation import DynamicEvaluation
from paperround.papers.making_the_most.hidden_states import HiddenStateOptimizer

WINDOW = 6
few = settings(max_examples=10, deadline=None)


def an_evaluation(model=None, lr=0.05, **changes):
    torch.set_num_threads(1)
    given_ = {"window": WINDOW, "max_cache": 64, **changes}
    return DynamicEvaluation(model or random_model("llama"), lr, **given_)


def some_ids(rows=2, n=4 * WINDOW + 3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (rows, n), generator=generator)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", ["sgd", "rms"])
def test_weights_and_flags_are_afterwards_what_they_were(family, rule):
    model = random_model(family)
    first = next(model.parameters())
    first.requires_grad_(False)
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    evaluation = an_evaluation(model, optimizer=rule, parameters="all", decay=0.1)
    still = an_evaluation(model, 0.0).score(some_ids())
    assert not torch.allclose(evaluation.score(some_ids()), still)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not first.requires_grad
    assert model.training
    assert all(p.grad is None for p in model.parameters())


def test_weights_are_put_back_when_reading_fails():
    model = random_model("gpt2")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = some_ids(1)
    ids[0, -4] = 1000
    with pytest.raises(IndexError):
        an_evaluation(model).score(ids)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("max_cache", [64, 10])
def test_steps_of_length_0_score_what_the_other_method_scores(family, max_cache):
    model, ids = random_model(family), some_ids(1)
    found = an_evaluation(model, 0.0, max_cache=max_cache, n_sinks=2).score(ids)
    other = HiddenStateOptimizer(model, 0.0, window=WINDOW, max_cache=max_cache, n_sinks=2)
    assert torch.allclose(found, other.score(ids), rtol=0, atol=1e-5)


@few
@given(st.integers(0, 4 * WINDOW + 2), st.integers(1, 2), st.sampled_from(["sgd", "rms"]))
def test_no_score_has_seen_the_token_or_what_comes_later(place, steps, rule):
    evaluation = an_evaluation(steps=steps, optimizer=rule)
    ids = some_ids(1)
    other = ids.clone()
    other[0, place] = (other[0, place] + 1) % 256
    n_same = max(0, place - 1)
    assert torch.equal(evaluation.score(ids)[0, :n_same], evaluation.score(other)[0, :n_same])


def test_a_step_is_gradient_descent():
    """With a cache of one window's length the second window's losses can be had by hand."""
    model, ids = random_model("llama"), some_ids(1, 2 * WINDOW + 1)
    found = an_evaluation(model, 0.1, parameters="all").score(ids)
    losses = token_losses(model(ids[:, :WINDOW]).logits, ids[:, 1 : WINDOW + 1])
    assert torch.allclose(found[:, :WINDOW], losses)
    losses.mean().backward()
    with torch.no_grad():
        before = model(ids[:, :WINDOW], use_cache=True).past_key_values
        for parameter in model.parameters():
            parameter -= 0.1 * parameter.grad
        positions = torch.arange(WINDOW, 2 * WINDOW)[None]
        logits = model(
            ids[:, WINDOW : 2 * WINDOW], past_key_values=before, position_ids=positions
        ).logits
        expected = token_losses(logits, ids[:, WINDOW + 1 :])
    assert torch.allclose(found[:, WINDOW:], expected)


def test_every_row_begins_with_the_models_own_weights():
    evaluation, ids = an_evaluation(parameters="all"), some_ids(2)
    assert torch.equal(evaluation.score(ids)[1:], evaluation.score(ids[1:]))


def test_full_decay_leaves_nothing_learnt():
    ids = some_ids(1)
    assert torch.equal(an_evaluation(decay=1.0).score(ids), an_evaluation(lr=0.0).score(ids))


def test_text_that_repeats_is_learnt():
    ids = some_ids(1, 2 * WINDOW, seed=4).repeat(1, 8)
    learnt = an_evaluation(lr=0.05, parameters="all", max_cache=12).score(ids)
    plain = an_evaluation(lr=0.0, max_cache=12).score(ids)
    assert float(learnt[:, -12:].mean()) < float(plain[:, -12:].mean()) - 0.1


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"optimizer": "adam"}, "adam"),
        ({"lr": -1.0}, "lr"),
        ({"decay": 2.0}, "decay"),
        ({"window": 0}, "window"),
        ({"parameters": lambda name, parameter: False}, "no parameter"),
    ],
)
def test_what_makes_no_sense_is_refused(changes, word):
    with pytest.raises(ValueError, match=word):
        an_evaluation(**changes)
