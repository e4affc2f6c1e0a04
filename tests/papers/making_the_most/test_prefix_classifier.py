"""The classifier of prefixes: what it learns from, and whether it learns the truth."""

import math

import pytest
import torch

from paperround.kit.language_models.families import FAMILIES
from paperround.papers.making_the_most.attributes import (
    Extensions,
    Labelled,
    Length,
    NonDegenerate,
)
from paperround.papers.making_the_most.conditional_search import conditional_beam_search
from paperround.papers.making_the_most.prefix_classifier import (
    Continuations,
    FitPlan,
    PrefixClassifier,
    fit_label_classifier,
    fit_length_classifier,
    sample_continuations,
)
from paperround.papers.making_the_most.prefix_scores import HiddenTap

EOS = 4


@pytest.mark.parametrize("family", [*FAMILIES, "marian"])
def test_the_states_are_those_that_the_head_was_given(family, searchable):
    model = searchable(family, n_tokens=12)
    ids = torch.tensor([[5, 5, 7, 8], [6, 7, 8, 9]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    if family == "marian":
        # Encoders count positions from the left.
        ids[0], mask[0] = ids[0].flip(0), mask[0].flip(0)
    inputs = {"input_ids": ids, "attention_mask": mask}
    found = sample_continuations(model, inputs, n=3, max_new_tokens=6, seed=1)
    again = sample_continuations(model, inputs, n=3, max_new_tokens=6, seed=1)
    assert torch.equal(found.tokens, again.tokens)
    assert len(found) == 6
    for row in range(6):
        n = int(found.lengths[row])
        assert n <= 6
        assert bool(found.ended[row]) or n == 6
        keep = inputs["attention_mask"][row // 3].bool()
        prompt = inputs["input_ids"][row // 3][keep]
        tokens = found.tokens[row, :n]
        assert not (tokens == EOS).any()
        assert not found.tokens[row, n:].any()
        with torch.no_grad(), HiddenTap(model) as tap:
            for t in range(n + bool(found.ended[row])):
                if family == "marian":
                    start = torch.tensor([[5, *tokens[:t].tolist()]])
                    model(input_ids=prompt[None], decoder_input_ids=start)
                else:
                    model(torch.cat([prompt, tokens[:t]])[None])
                expected, state = tap.hidden_states[0], found.hidden_states[row, t]
                assert torch.allclose(state, expected, atol=1e-4)


def test_what_is_stored_with_a_model_does_not_change_what_it_writes(searchable):
    model = searchable("marian", n_tokens=12)
    options = {"n": 6, "max_new_tokens": 4, "seed": 2}
    expected = sample_continuations(model, torch.tensor([[6, 7, 8]]), **options)
    assert not expected.ended.all()
    model.generation_config.update(forced_eos_token_id=EOS, repetition_penalty=3.0, top_p=0.1)
    found = sample_continuations(model, torch.tensor([[6, 7, 8]]), **options)
    assert torch.equal(found.tokens, expected.tokens)
    assert torch.equal(found.ended, expected.ended)


def test_nothing_is_sampled_from_nothing(searchable):
    model = searchable("gpt2", n_tokens=12)
    ids = torch.tensor([[6, 7, 8]])
    for options, words in (
        ({"n": 0, "max_new_tokens": 4}, "n=0"),
        ({"n": 2, "max_new_tokens": 0}, "max_new_tokens=0"),
        ({"n": 2, "max_new_tokens": 600}, "has learnt 512"),
    ):
        with pytest.raises(ValueError, match=words):
            sample_continuations(model, ids, seed=0, **options)
    with pytest.raises(ValueError, match="too few"):
        sample_continuations(model, ids[:, :0], n=2, max_new_tokens=4, seed=0)


def a_coin(n, seed=0):
    """Continuations whose second token says whether the third and last is 2 or 3."""
    generator = torch.Generator().manual_seed(seed)
    second = torch.randint(0, 2, (n,), generator=generator)
    first = torch.randint(0, 4, (n,), generator=generator)
    tokens = torch.stack([first, second, 2 + second, torch.zeros_like(first)], dim=1)
    states = torch.zeros(n, 4, 16)
    states[:, 2] = second[:, None].float()
    return Continuations(tokens, states, torch.full((n,), 3), torch.ones(n, dtype=torch.bool))


def test_a_label_is_learnt_from_where_it_can_be_known(searchable):
    model = searchable("marian", n_tokens=12)
    losses = []
    classifier = fit_label_classifier(
        model, a_coin(400), lambda tokens, ended: tokens[-1] == 3, FitPlan(steps=300),
        on_step=losses.append,
    )  # fmt: skip
    assert losses[-1] < losses[0]
    empty = torch.zeros(1, 16)
    first = classifier.log_probs(
        Extensions(torch.zeros(1, 0, dtype=torch.long), torch.tensor([[0, 1]]), empty)
    ).exp()
    assert torch.allclose(first.sum(dim=-1), torch.ones(1))
    # Before the second token nobody can know; with it everybody does.
    assert torch.allclose(first[0, :, 1], torch.full((2,), 0.5), atol=0.15)
    second = classifier.log_probs(Extensions(torch.tensor([[0]]), torch.tensor([[0, 1]]), empty))
    assert float(second[0, 0, 1].exp()) < 0.1
    assert float(second[0, 1, 1].exp()) > 0.9
    with pytest.raises(ValueError, match="nothing to tell apart"):
        fit_label_classifier(model, a_coin(9), lambda tokens, ended: True)


def test_what_was_cut_off_teaches_only_what_is_certain(searchable):
    model = searchable("marian", n_tokens=12)
    part = a_coin(50)
    cut = Continuations(
        part.tokens[:, :3], part.hidden_states[:, :3], part.lengths, torch.zeros(50).bool()
    )
    # After one token at least two more follow: certain of two classes, "0" and "1 or more".
    classifier = fit_length_classifier(model, cut, 2, FitPlan(steps=100))
    empty = Extensions(torch.zeros(1, 0, dtype=torch.long), torch.tensor([[1]]), torch.zeros(1, 16))
    assert float(classifier.log_probs(empty)[0, 0, 1]) > math.log(0.9)
    with pytest.raises(ValueError, match="no prefix"):
        fit_length_classifier(model, cut, 5, FitPlan(steps=1))


def test_joined_batches_and_states_that_are_missing(searchable):
    part = a_coin(5)
    both = Continuations.joined([part, part])
    assert len(both) == 10
    classifier = PrefixClassifier(16, searchable("marian", n_tokens=12).get_input_embeddings(), 3)
    with pytest.raises(ValueError, match="needs the model's states"):
        classifier.log_probs(Extensions(part.tokens[:, :1], part.tokens[:, 1:2]))
    # The model's embeddings are not the head's to train or to save.
    assert not any("embed" in name for name in classifier.state_dict())


@pytest.mark.parametrize("family", ["llama", "gpt2", "marian"])
def test_searches_take_each_attribute_with_its_classifier(family, searchable):
    model = searchable(family, n_tokens=12)
    ids = torch.tensor([[6, 7, 8]])
    continuations = sample_continuations(model, ids, n=40, max_new_tokens=8, seed=0)
    label = NonDegenerate(min_length=2, max_repeats=1, max_period=2).holds
    plan = FitPlan(steps=20)
    good = fit_label_classifier(model, continuations, label, plan)
    lengths = fit_length_classifier(model, continuations, 6, plan)
    for attribute in (
        Length(3, lengths),
        Labelled(label, good),
        NonDegenerate(min_length=2, max_repeats=1, max_period=2, posterior=good),
    ):
        assert attribute.needs_hidden_states
        found = conditional_beam_search(model, ids, attribute, num_beams=3, max_new_tokens=6)
        assert found.satisfied.all()
        start = 1 if family == "marian" else 3
        new = found.sequences[0, start : start + int(found.lengths)].tolist()
        ended = new[-1] == EOS
        assert attribute.holds(new[:-1] if ended else new, ended)
