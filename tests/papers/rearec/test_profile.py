"""What steps are worth: the ceiling and its controls, collapse, and what a step costs."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.metrics import Ranks, metric_by_name
from paperround.kit.recommendation.splits import leave_one_out
from paperround.papers.rearec import (
    dropout_ranks,
    mean_step_cosine,
    oracle_ceiling,
    step_profile,
    step_ranks,
)

N = 40
PLACES = st.lists(st.lists(st.integers(0, N - 1), min_size=6, max_size=6), min_size=1, max_size=5)


def ranks_of(places):
    above = np.array(places)
    return Ranks(above, np.zeros_like(above), np.full_like(above, N))


@given(places=PLACES, metric=st.sampled_from(["ndcg@20", "hr@10", "mrr"]))
@settings(max_examples=60)
def test_the_ceiling_is_above_every_step_and_rises_with_more(places, metric):
    steps = [ranks_of(row) for row in places]
    ceiling = oracle_ceiling(steps, metric)
    for step in steps:
        assert (ceiling >= metric_by_name(metric)(step, "mean")).all()
    means = [oracle_ceiling(steps[: k + 1], metric).mean() for k in range(len(steps))]
    assert means == sorted(means)
    best = ranks_of(np.min(places, axis=0))
    assert ceiling == pytest.approx(metric_by_name(metric)(best, "mean"))


def test_the_ceiling_rises_on_random_ranks_too_and_proves_nothing_by_itself():
    rng = np.random.default_rng(0)
    steps = [ranks_of(rng.integers(0, N, 500)) for _ in range(5)]
    means = [oracle_ceiling(steps[: k + 1], "ndcg@20").mean() for k in range(5)]
    assert all(more > 1.05 * fewer for fewer, more in itertools.pairwise(means))


def test_a_ceiling_of_nothing_is_refused():
    with pytest.raises(UsageError, match="no steps to choose from"):
        oracle_ceiling([], "mrr")


def test_the_ranks_of_steps_are_those_of_the_states_that_score_alone(a_model, a_log):
    model, cases = a_model(2, pool="last"), leave_one_out(a_log).test
    ranks = step_ranks(model, cases)
    assert len(ranks) == 3
    assert (ranks[-1].above == evaluate(model, cases).ranks.above).all()
    assert (ranks[0].above == evaluate(model.encoder, cases).ranks.above).all()


def test_dropout_passes_differ_by_the_seed_alone_and_leave_the_model_as_it_was(a_model, a_log):
    model, cases = a_model(0, dropout=0.3), leave_one_out(a_log).test
    torch.manual_seed(5)
    drawn = torch.rand(1)
    torch.manual_seed(5)
    first = dropout_ranks(model, cases, 3, seed=1)
    assert torch.equal(torch.rand(1), drawn)
    again, other = (dropout_ranks(model, cases, 3, seed=seed) for seed in (1, 2))
    assert [each.above.tolist() for each in first] == [each.above.tolist() for each in again]
    assert [each.above.tolist() for each in first] != [each.above.tolist() for each in other]
    assert first[0].above.tolist() != first[1].above.tolist()
    assert not model.training
    sure = dropout_ranks(a_model(0), cases, 2, seed=1)
    assert sure[0].above.tolist() == sure[1].above.tolist()


def test_the_cosine_is_the_mean_over_pairs_of_steps(a_model, a_log):
    model, cases = a_model(2), leave_one_out(a_log).test
    (batch, *_) = cases.batches(99, model.max_len)
    states = model.steps(torch.from_numpy(batch.items)).detach()
    pairs = [
        torch.cosine_similarity(states[:, i], states[:, j], dim=-1).mean().item()
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    for batch_size in (3, 512):
        assert mean_step_cosine(model, cases, batch_size) == pytest.approx(np.mean(pairs), abs=1e-5)
    with pytest.raises(UsageError, match="no two states"):
        mean_step_cosine(a_model(0), cases)


def test_a_step_is_timed_beside_encoding_and_encoding_anew(a_model, histories):
    profile = step_profile(a_model(2), histories(), repeats=3)
    assert profile.encode_ms > 0
    assert profile.step_ms > 0
    assert profile.share == profile.step_ms / profile.encode_ms
    assert profile.saved == profile.step_anew_ms / profile.step_ms
    with pytest.raises(UsageError, match="no step to time"):
        step_profile(a_model(0), histories())
