"""Loss, questions and SDR, against values worked out by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from paperround.papers.llm_drop.measures import (
    Choice,
    cache_size_bytes,
    choice_accuracy,
    mean_loss,
    next_passage_choices,
    perplexity,
    speedup_degradation_ratio,
)
from paperround.papers.llm_drop.plans import DropPlan
from paperround.papers.llm_drop.scores import score_sublayers
from paperround.papers.llm_drop.speed import time_decoding
from paperround.papers.llm_drop.texts import drawn_windows, spread_windows

Make = Callable[..., Any]


def test_the_loss_is_that_of_the_library(a_model: Make, some_ids: Make) -> None:
    model, ids = a_model("llama"), some_ids(3, 12)
    wanted = float(model(input_ids=ids, labels=ids).loss.detach())
    assert mean_loss(model, [ids]) == pytest.approx(wanted)
    assert mean_loss(model, ids.split(1)) == pytest.approx(wanted)
    assert perplexity(model, [ids]) == pytest.approx(math.exp(wanted))


def test_every_token_counts_alike_in_batches_of_unequal_length(
    a_model: Make, some_ids: Make
) -> None:
    model, short, long = a_model("gpt2"), some_ids(1, 3, seed=1), some_ids(1, 21, seed=2)
    together = mean_loss(model, [short, long])
    assert together == pytest.approx(
        (2 * mean_loss(model, [short]) + 20 * mean_loss(model, [long])) / 22
    )


def test_a_model_that_knows_nothing_has_the_vocabulary_as_its_perplexity(
    a_model: Make, some_ids: Make
) -> None:
    model = a_model("qwen2")
    with torch.no_grad():
        model.lm_head.weight.zero_()
    assert perplexity(model, [some_ids()]) == pytest.approx(model.config.vocab_size)


def test_without_a_token_to_predict_there_is_no_loss(a_model: Make) -> None:
    with pytest.raises(ValueError, match="no token to predict"):
        mean_loss(a_model("llama"), [torch.tensor([[5]])])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_longer_than_the_context_is_refused(
    a_model: Make, some_ids: Make, family: str
) -> None:
    model, ids = a_model(family), some_ids(1, 129)
    for refuses in (
        lambda: mean_loss(model, [ids]),
        lambda: score_sublayers(model, [ids]),
        lambda: cache_size_bytes(model, 129),
        lambda: time_decoding(model, {"intact": DropPlan()}, context=127),
    ):
        with pytest.raises(ValueError, match="more than the 128 positions"):
            refuses()


def test_the_right_continuation_is_the_most_probable_one(a_model: Make, some_ids: Make) -> None:
    model, ids = a_model("llama"), some_ids(1, 6)
    best = model(input_ids=ids).logits[0, -1].argsort(descending=True).tolist()
    beginning = tuple(ids[0].tolist())
    right = Choice(beginning, tuple((token,) for token in best[:4]))
    wrong = Choice(beginning, tuple((token,) for token in (best[2], best[1], best[3], best[4])))
    tied = Choice(beginning, ((best[0],), (best[0],), (best[1],), (best[2],)))
    assert choice_accuracy(model, [right]) == 1
    assert choice_accuracy(model, [wrong]) == 0
    assert choice_accuracy(model, [tied]) == 0
    assert choice_accuracy(model, [right, wrong, right, right], batch_size=3) == 0.75


def test_questions_have_the_true_passage_first_and_no_overlaps() -> None:
    ids = list(range(1_000))
    asked = next_passage_choices(ids, 10, seed=3, beginning=6, length=4)
    assert asked == next_passage_choices(ids, 10, seed=3, beginning=6, length=4)
    assert len({choice.beginning for choice in asked}) == 10
    for choice in asked:
        assert choice.continuations[0][0] == choice.beginning[-1] + 1
        assert len(set(choice.continuations)) == 4
        assert all(way[0] % 10 == 6 and len(way) == 4 for way in choice.continuations)
    with pytest.raises(ValueError, match="10 windows of 100, 11 are needed"):
        next_passage_choices(ids, 11, seed=0, beginning=90, length=10)


def test_the_ratio_of_points_lost_to_percent_gained() -> None:
    assert speedup_degradation_ratio(60.0, 57.6, 1.48) == pytest.approx(0.05)
    assert speedup_degradation_ratio(60.0, 61.0, 1.5) < 0
    with pytest.raises(ValueError, match="speed-up of 1 gains nothing"):
        speedup_degradation_ratio(60.0, 59.0, 1.0)


def test_windows_are_apart_and_repeat_with_their_seed() -> None:
    ids = list(range(100))
    windows = drawn_windows(ids, 4, 10, seed=1)
    starts = [int(window[0, 0]) for window in windows]
    assert starts == sorted(set(starts))
    assert all(start % 10 == 0 for start in starts)
    assert [w.tolist() for w in windows] == [w.tolist() for w in drawn_windows(ids, 4, 10, seed=1)]
    assert [int(w[0, 0]) for w in spread_windows(ids, 5, 10)] == [0, 20, 40, 60, 80]
    with pytest.raises(ValueError, match="10 windows of 10 tokens, not 11"):
        spread_windows(ids, 11, 10)
