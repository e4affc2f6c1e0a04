"""Plans follow the scores, and nothing else; peers choose as they say."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperround.papers.llm_drop.measures import mean_loss
from paperround.papers.llm_drop.peers import plan_by_loss, plan_last, plan_randomly
from paperround.papers.llm_drop.plans import (
    DropPlan,
    dropped,
    plan_angular,
    plan_consecutive,
    plan_drop,
    plan_iteratively,
)
from paperround.papers.llm_drop.scores import Scores, SpanScores, score_sublayers
from paperround.papers.llm_drop.study import Perplexities

Make = Callable[..., Any]

SCORES = Scores(
    {
        "attention": (0.5, 0.99, 0.97, 0.98),
        "mlp": (0.1, 0.96, 0.975, 0.6),
        "block": (0.05, 0.95, 0.94, 0.9),
    },
    n_tokens=100,
)

one_layer = st.floats(-1, 1).map(lambda x: round(x, 2))
six_layers = st.lists(one_layer, min_size=6, max_size=6).map(tuple)
some_scores = st.builds(
    lambda a, m, b: Scores({"attention": a, "mlp": m, "block": b}, 1),
    six_layers,
    six_layers,
    six_layers,
)


def test_the_most_similar_of_a_kind_go_first() -> None:
    assert plan_drop(SCORES, 3, "attention") == DropPlan(attention=(1, 3, 2))
    assert plan_drop(SCORES, 2, "mlp") == DropPlan(mlp=(2, 1))
    assert plan_drop(SCORES, 2, "block") == DropPlan(attention=(1, 2), mlp=(1, 2))
    assert plan_drop(SCORES, 0, "attention") == DropPlan()


def test_jointly_the_best_go_whichever_they_are() -> None:
    assert plan_drop(SCORES, 3, "joint") == DropPlan(attention=(1, 3), mlp=(2,))


def test_protected_layers_keep_everything() -> None:
    assert plan_drop(SCORES, 2, "attention", protect=(1,)) == DropPlan(attention=(3, 2))
    with pytest.raises(ValueError, match="3 of kind 'block' can be chosen"):
        plan_drop(SCORES, 4, "block", protect=(0,))


@given(scores=some_scores, n=st.integers(0, 6), kind=st.sampled_from(["attention", "mlp", "block"]))
def test_nothing_that_stays_is_more_similar_than_what_goes(
    scores: Scores, n: int, kind: Any
) -> None:
    plan = plan_drop(scores, n, kind)
    gone = plan.mlp if kind == "mlp" else plan.attention
    of_kind = scores.similarity[kind]
    stays = [of_kind[layer] for layer in range(6) if layer not in gone]
    assert len(gone) == len(set(gone)) == n
    assert [of_kind[i] for i in gone] == sorted((of_kind[i] for i in gone), reverse=True)
    assert all(of_kind[i] >= other for i in gone for other in stays)


@given(scores=some_scores, n=st.integers(0, 11))
def test_a_longer_plan_begins_with_the_shorter(scores: Scores, n: int) -> None:
    short, long = plan_drop(scores, n, "joint"), plan_drop(scores, n + 1, "joint")
    assert short.as_set() < long.as_set()
    assert long.attention[: len(short.attention)] == short.attention
    assert long.mlp[: len(short.mlp)] == short.mlp


def test_a_span_of_blocks_is_the_one_that_turns_least() -> None:
    similarity = (
        (1.0, 0.2, 0.1, 0.1),
        (0.0, 1.0, 0.8, 0.7),
        (0.0, 0.0, 1.0, 0.9),
        (0.0, 0.0, 0.0, 1.0),
    )
    distance = tuple(tuple(1 - s for s in row) for row in similarity)
    spans = SpanScores(similarity, distance)
    assert plan_consecutive(spans, 1) == DropPlan((2,), (2,))
    assert plan_consecutive(spans, 2) == plan_angular(spans, 2) == DropPlan((1, 2), (1, 2))
    assert plan_consecutive(spans, 1, protect=(2,)) == DropPlan((1,), (1,))
    assert plan_consecutive(spans, 0) == DropPlan()
    with pytest.raises(ValueError, match="no 2 consecutive layers"):
        plan_consecutive(spans, 2, protect=(1,))
    with pytest.raises(ValueError, match="no 4 consecutive layers"):
        plan_angular(spans, 4)


@given(
    n=st.integers(0, 8),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["attention", "mlp", "block"]),
)
def test_random_plans_are_of_the_asked_size_and_repeat_with_their_seed(
    n: int, seed: int, kind: Any
) -> None:
    plan = plan_randomly(8, n, kind, seed)
    assert plan == plan_randomly(8, n, kind, seed)
    assert plan.n_sublayers == (2 * n if kind == "block" else n)
    assert all(0 <= layer < 8 for _, layer in plan.as_set())


def test_every_layer_is_drawn_as_often_as_any_other() -> None:
    drawn = [plan_randomly(4, 1, "attention", seed).attention[0] for seed in range(800)]
    assert all(150 < drawn.count(layer) < 250 for layer in range(4))


def test_the_last_go_deepest_first() -> None:
    assert plan_last(6, 2, "attention") == DropPlan(attention=(5, 4))
    assert plan_last(6, 2, "block", protect=(5,)) == DropPlan((4, 3), (4, 3))
    with pytest.raises(ValueError, match="7 cannot be dropped"):
        plan_last(6, 7, "mlp")


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("kind", ["attention", "mlp", "block", "joint"])
def test_greedy_by_loss_takes_what_harms_least_each_time(
    a_model: Make, some_ids: Make, family: str, kind: Any
) -> None:
    model, batches = a_model(family), [some_ids(1, 9, seed=1), some_ids(2, 12, seed=2)]
    chosen = plan_by_loss(model, batches, 2, kind)
    expected: list[DropPlan] = []
    for _ in range(2):
        gone = {unit for plan in expected for unit in plan.as_set()}
        candidates = [
            plan
            for layer in range(4)
            for plan in (
                [DropPlan((layer,), (layer,))]
                if kind == "block"
                else [
                    plan
                    for of_kind, plan in (
                        ("attention", DropPlan(attention=(layer,))),
                        ("mlp", DropPlan(mlp=(layer,))),
                    )
                    if kind in (of_kind, "joint")
                ]
            )
            if not plan.as_set() & gone
        ]
        expected.append(
            min(candidates, key=lambda plan: loss_without(model, batches, [*expected, plan]))
        )
    assert chosen.as_set() == {unit for plan in expected for unit in plan.as_set()}


def loss_without(model: Any, batches: Any, plans: list[DropPlan]) -> float:
    everything = DropPlan(
        tuple(layer for plan in plans for layer in plan.attention),
        tuple(layer for plan in plans for layer in plan.mlp),
    )
    with dropped(model, everything):
        return mean_loss(model, batches)


@pytest.mark.parametrize("kind", ["attention", "mlp", "block", "joint"])
def test_iterating_scores_the_dropped_model_anew(a_model: Make, some_ids: Make, kind: Any) -> None:
    model, batches = a_model("qwen2"), [some_ids()]
    chosen = plan_iteratively(model, batches, 2, kind)
    kinds = ("attention", "mlp") if kind == "joint" else (kind,)
    first = plan_drop(score_sublayers(model, batches, kinds), 1, kind)
    with dropped(model, first):
        again = score_sublayers(model, batches, kinds)
    protect = first.attention if kind == "block" else ()
    second = plan_drop(again, 1, kind, protect=protect)
    assert chosen.as_set() == first.as_set() | second.as_set()
    assert plan_iteratively(model, batches, 1, kind) == first
    with pytest.raises(ValueError, match="cannot be dropped"):
        plan_iteratively(model, batches, 4, kind, protect=(0, 1, 2))


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt2"])
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    attention=st.frozensets(st.integers(0, 3), max_size=3).map(tuple),
    mlp=st.frozensets(st.integers(0, 3)).map(tuple),
)
def test_measuring_from_the_first_dropped_layer_is_measuring_it_all(
    a_model: Make,
    some_ids: Make,
    family: str,
    attention: tuple[int, ...],
    mlp: tuple[int, ...],
) -> None:
    model, windows = a_model(family), [some_ids(1, 13, seed=s) for s in range(3)]
    plan = DropPlan(attention, mlp)
    found = Perplexities(model, {"a": windows[:1], "b": windows[1:]})(plan)
    with dropped(model, plan):
        losses = [mean_loss(model, [window]) for window in windows]
    assert found.perplexity == pytest.approx(2.718281828459045 ** (sum(losses) / 3))
    assert found.by_text["a"] == pytest.approx(2.718281828459045 ** losses[0])


def test_a_plan_is_measured_once_whatever_its_order(a_model: Make, some_ids: Make) -> None:
    times: list[None] = []
    measured = Perplexities(a_model("llama"), {"a": [some_ids(1, 9)]}, lambda: times.append(None))
    assert measured(DropPlan((1, 2))) == measured(DropPlan((2, 1)))
    assert len(times) == 1
