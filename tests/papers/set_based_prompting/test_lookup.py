"""The task that a tiny GPT learns: its questions, its loss, and what is counted."""

import random

import pytest
import torch

from paperround.papers.set_based_prompting import PLAIN, SET_BASED, encode_set_prompt, set_inputs
from paperround.papers.set_based_prompting.lookup import (
    KEYS,
    VALUES,
    Lookup,
    LookupPlan,
    LookupTrial,
    answer_loss,
    draw_lookups,
    further_plan,
    measure,
    train,
    untrained_model,
    value_scores,
)


def a_lookup():
    return Lookup((("crow", "red"), ("fox", "blue"), ("owl", "green")), (1, 0, 2))


def test_a_lookup_reads_as_pairs_and_a_question():
    assert a_lookup().prompt.text == " crow red ; fox blue ; owl green ; ? fox"
    assert a_lookup().answer == "blue"
    training = a_lookup().training_prompt.text
    assert training == " crow red ; fox blue ; owl green ; ? fox blue ? crow red ? owl green"


def test_drawn_lookups_have_different_keys_and_values_and_questions_that_repeat():
    lookups = draw_lookups(50, random.Random(0))
    assert {len(x.pairs) for x in lookups} == {4, 5, 6, 7, 8}
    for x in lookups:
        keys, values = zip(*x.pairs, strict=True)
        assert len(set(keys)) == len(set(values)) == len(x.pairs)
        assert set(keys) <= set(KEYS)
        assert set(values) <= set(VALUES)
        assert len(x.asked) == len(x.pairs)
        assert set(x.asked) <= set(range(len(x.pairs)))
    assert any(len(set(x.asked)) < len(x.asked) for x in lookups)
    assert lookups == draw_lookups(50, random.Random(0))


@pytest.mark.parametrize("form", [PLAIN, SET_BASED])
def test_the_loss_is_that_of_the_values_after_their_questions(form):
    model, tokenizer = untrained_model(0)
    lookups = [a_lookup(), *draw_lookups(2, random.Random(1))]
    expected = []
    for x in lookups:
        encoding = encode_set_prompt(tokenizer, x.training_prompt, form=form)
        log_probs = model(**set_inputs(model, encoding)).logits[0].log_softmax(-1)
        words = tokenizer.convert_ids_to_tokens(encoding.input_ids.tolist())
        asked = [i for i, word in enumerate(words) if word == "?"]
        assert len(asked) == len(x.pairs)
        expected += [-log_probs[i + 1, encoding.input_ids[i + 2]] for i in asked]
    loss = answer_loss(model, tokenizer, lookups, form)
    assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), abs=1e-5)


def test_training_lowers_the_loss_and_follows_the_seed():
    plan = LookupPlan(steps=12, batch_size=8, learning_rate=5e-3, warmup_steps=2)
    runs = []
    for seed in (0, 0, 1):
        model, tokenizer = untrained_model(0)
        steps = []
        losses = train(
            model, tokenizer, plan, seed=seed, on_step=lambda step, loss, to=steps: to.append(step)
        )
        assert steps == list(range(12))
        runs.append(losses)
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert runs[0][-1] < runs[0][0] - 0.2


def test_further_training_is_gentler():
    plan = LookupPlan(steps=500)
    expected = LookupPlan(200, 64, plan.learning_rate / 4, warmup_steps=20, easy_share=0.0)
    assert further_plan(plan, 200) == expected


def test_scores_are_log_probabilities_of_the_values():
    model, tokenizer = untrained_model(0)
    scores = value_scores(model, tokenizer, [a_lookup().prompt] * 2, PLAIN)
    assert scores.shape == (2, len(VALUES))
    assert (scores < 0).all()
    ids = torch.tensor([tokenizer.encode("crow red ; fox blue ; owl green ; ? fox")])
    expected = model(ids).logits[0, -1].log_softmax(-1)[tokenizer.convert_tokens_to_ids(VALUES)]
    assert torch.allclose(scores[0], expected, atol=1e-5)


def test_a_trial_counts_over_orders():
    trial = LookupTrial(
        seed=0,
        places=torch.tensor([[1, 2, 1], [2, 1, 1]]),
        right={
            "plain": torch.tensor([[True, True, False], [False, True, False]]),
            "average": torch.tensor([[True, True, False]]),
        },
        best={"plain": torch.tensor([[4, 5, 6], [7, 5, 8]]), "average": torch.tensor([[4, 5, 6]])},
    )
    assert trial.accuracy("plain") == pytest.approx(0.5)
    assert trial.worst_order("plain") == pytest.approx(1 / 3)
    assert trial.right_in_all("plain") == pytest.approx(1 / 3)
    assert trial.changes("plain") == pytest.approx(2 / 3)
    assert trial.changes("average") == 0
    # At the first place: right, wrong, right, wrong; at the second: right, wrong.
    assert trial.by_place("plain") == [(1, pytest.approx(0.5)), (2, pytest.approx(0.5))]
    assert trial.by_place("average") == [(1, pytest.approx(0.5)), (2, pytest.approx(1.0))]


def test_set_prompts_give_the_same_answers_in_every_order():
    model, tokenizer = untrained_model(3)
    further = {"trained further, set-based": model}
    trial = measure(model, tokenizer, further, n=12, n_orders=4, seed=0)
    for name in ("set-based", "trained further, set-based", "average over orders"):
        assert trial.changes(name) == 0
    assert trial.places.shape == (4, 12)
    assert set(trial.right) == {
        "plain", "mask only", "positions only", "set-based", "trained further, set-based",
        "average over orders", "vote over orders",
    }  # fmt: skip
