"""Scores of options, the authors' own scores, and how much an order matters."""

import math
from itertools import permutations

import pytest
import torch

from paperround.papers.set_based_prompting import (
    MASK_ONLY,
    PLAIN,
    SET_BASED,
    SetPrompt,
    average_over_orders,
    contains_only_correct,
    encode_set_prompt,
    official_option_probabilities,
    order_sensitivity,
    rotations,
    score_options,
    score_questions,
    set_inputs,
    set_of,
    vote_over_orders,
)

OPTIONS = [" w1 w2", " w3", " w4 w5 w6"]


def a_prompt(options=OPTIONS):
    return SetPrompt(["w0", set_of(options), "w7"])


def by_hand(model, tokenizer, prompt, option, form):
    """The log-probability of each token of the option, from one pass over prompt and option."""
    encoding = encode_set_prompt(tokenizer, prompt, form=form)
    longer = SetPrompt([*prompt.parts, option])
    with torch.no_grad():
        inputs = set_inputs(model, encode_set_prompt(tokenizer, longer, form=form))
        log_probs = model(**inputs).logits[0].log_softmax(-1)
    ids = tokenizer.encode(option, add_special_tokens=False)
    rows = range(len(encoding) - 1, len(encoding) - 1 + len(ids))
    return torch.stack([log_probs[row, token] for row, token in zip(rows, ids, strict=True)])


@pytest.mark.parametrize("form", [SET_BASED, PLAIN, MASK_ONLY])
def test_a_score_is_the_options_log_probability(model, tokenizer, atol, form):
    for normalise, how in (("sum", torch.sum), ("mean", torch.mean)):
        scores = score_options(
            model, tokenizer, a_prompt(), OPTIONS, normalise=normalise, form=form
        )
        for score, option in zip(scores, OPTIONS, strict=True):
            expected = how(by_hand(model, tokenizer, a_prompt(), option, form))
            assert score.item() == pytest.approx(expected.item(), abs=atol)


def test_pmi_takes_off_what_the_option_has_anywhere(a_model, tokenizer):
    model = a_model()
    neutral = SetPrompt(["w7"])
    scores = score_options(model, tokenizer, a_prompt(), OPTIONS, normalise="pmi")
    for score, option in zip(scores, OPTIONS, strict=True):
        asked, free = (
            by_hand(model, tokenizer, p, option, SET_BASED).sum() for p in (a_prompt(), neutral)
        )
        assert score.item() == pytest.approx((asked - free).item(), abs=1e-9)
    other = score_options(model, tokenizer, a_prompt(), OPTIONS, normalise="pmi", neutral="w9 w8")
    assert not torch.allclose(scores, other)


def test_no_order_of_the_members_changes_a_score(model, tokenizer, atol):
    first, *others = (
        score_options(model, tokenizer, a_prompt().permuted(order), OPTIONS)
        for order in permutations(range(3))
    )
    for other in others:
        assert torch.allclose(other, first, rtol=0, atol=atol)


def test_many_questions_in_batches_score_as_each_alone(model, tokenizer, atol):
    questions = [
        (a_prompt(), OPTIONS),
        (SetPrompt(["w9 w8 w7 w6 w5", set_of(["w4", "w3"]), "w2"]), [" w4", " w3"]),
        (SetPrompt(["w1"]), [" w2 w3 w4 w5"]),
    ]
    alone = [score_options(model, tokenizer, *question) for question in questions]
    for batch_size in (1, 2, 8):
        together = score_questions(model, tokenizer, questions, batch_size=batch_size)
        for found, expected in zip(together, alone, strict=True):
            assert torch.allclose(found, expected, rtol=0, atol=atol)


def test_options_that_cannot_be_scored_are_refused(a_model, tokenizer):
    with pytest.raises(ValueError, match="the option '' has no token"):
        score_options(a_model(), tokenizer, a_prompt(), [" w1", ""])
    with pytest.raises(ValueError, match="normalise='best'"):
        score_options(a_model(), tokenizer, a_prompt(), OPTIONS, normalise="best")
    with pytest.raises(ValueError, match="the question has no options"):
        score_options(a_model(), tokenizer, a_prompt(), [])
    long = " ".join(["w1"] * 60)
    with pytest.raises(ValueError, match="shorten the prompt"):
        score_options(a_model("gpt2"), tokenizer, a_prompt(), [f" {long}"])


def test_the_authors_first_score_wants_the_right_text_and_no_other():
    options = ["bank", "river bank", "mall"]
    assert contains_only_correct("It is a mall.", options, 2)
    assert not contains_only_correct("a mall or a bank", options, 2)
    assert not contains_only_correct("nothing", options, 2)
    assert contains_only_correct("the bank", options, 0)
    # An option that contains another can never be right.
    assert not contains_only_correct("the river bank", options, 1)


def test_the_authors_second_score_reads_options_off_the_generated_steps():
    steps = torch.tensor([[0.0, 1.0, 2.0], [3.0, 0.0, 5.0]])
    # Options of one, two and three tokens; the third token has no step.
    found = official_option_probabilities(steps, [[2], [1, 0], [0, 2, 1]])
    expected = torch.tensor([2.0, (1 + 3) / 2, (0 + 5) / 2]).softmax(0)
    assert torch.allclose(found, expected)


def test_sensitivity_sees_the_order_of_an_ordinary_prompt_and_none_of_a_set(model, tokenizer, atol):
    plain = order_sensitivity(model, tokenizer, a_prompt(), options=OPTIONS, form=PLAIN)
    assert len(plain.orders) == 6
    assert plain.orders[0] == (0, 1, 2)
    assert plain.max_deviation > 1e-3
    ours = order_sensitivity(model, tokenizer, a_prompt(), options=OPTIONS)
    assert ours.max_deviation <= atol
    assert ours.argmax_flips == ours.answer_flips == 0


def test_flips_are_counted_against_the_given_order(a_model, tokenizer):
    found = order_sensitivity(a_model(), tokenizer, a_prompt(), options=OPTIONS, form=PLAIN)
    best = [scores.argmax() for scores in found.scores]
    by_order = [
        score_options(
            a_model(), tokenizer, a_prompt().permuted(order), OPTIONS, form=PLAIN
        ).argmax()
        for order in found.orders
    ]
    assert best == by_order
    assert found.answer_flips == sum(b != best[0] for b in best)
    tokens = found.log_probs.argmax(-1)
    assert found.argmax_flips == (tokens != tokens[0]).sum()
    assert order_sensitivity(a_model(), tokenizer, a_prompt(), form=PLAIN).answer_flips == 0


def test_orders_are_all_a_number_or_a_list(a_model, tokenizer):
    def orders(wanted, prompt=None, **kwargs):
        prompt = prompt or a_prompt()
        return order_sensitivity(a_model(), tokenizer, prompt, wanted, **kwargs).orders

    drawn = orders(4, seed=1)
    assert len(set(drawn)) == 4
    assert drawn[0] == (0, 1, 2)
    assert drawn == orders(4, seed=1)
    assert len(orders(100)) == 6
    assert orders([(2, 1, 0), (0, 1, 2)]) == [(0, 1, 2), (2, 1, 0)]
    with pytest.raises(ValueError, match="40,320 orders; ask for a number"):
        orders("all", SetPrompt([set_of([f"w{i}" for i in range(8)]), "w9"]))
    with pytest.raises(ValueError, match="orders=0"):
        orders(0)
    with pytest.raises(ValueError, match="orders='some'"):
        orders("some")
    with pytest.raises(ValueError, match="has 1 sets; there is no set 1"):
        orders("all", part=1)


def test_rotations_put_every_member_at_every_place_once():
    for reverse in (False, True):
        found = rotations(4, reverse=reverse)
        assert len(set(found)) == 4
        for place in range(4):
            assert {order[place] for order in found} == {0, 1, 2, 3}
    assert rotations(3) == [(0, 1, 2), (1, 2, 0), (2, 0, 1)]
    assert rotations(3, reverse=True) == [(2, 1, 0), (1, 0, 2), (0, 2, 1)]


def test_averages_and_votes_over_orders():
    scores = torch.tensor([[-1.0, -2.0, -9.0], [-1.0, -2.0, -9.0], [-9.0, -1.0, -8.0]])
    assert average_over_orders(scores).tolist() == pytest.approx([-11 / 3, -5 / 3, -26 / 3])
    assert average_over_orders(scores).argmax() == 1
    assert vote_over_orders(scores).argmax() == 0
    # One vote each: the mean decides, and adds less than a vote.
    tied = torch.tensor([[0.0, -1.0], [-3.0, 0.0]])
    assert vote_over_orders(tied).argmax() == 1
    assert vote_over_orders(tied).max() < 2
    assert math.floor(vote_over_orders(scores)[0]) == 2


def test_the_average_over_all_orders_knows_no_order(a_model, tokenizer):
    means = [
        average_over_orders(
            order_sensitivity(
                a_model(), tokenizer, a_prompt().permuted(order), options=OPTIONS, form=PLAIN
            ).scores
        )
        for order in ((0, 1, 2), (2, 0, 1))
    ]
    assert torch.allclose(means[0], means[1], rtol=0, atol=1e-9)
