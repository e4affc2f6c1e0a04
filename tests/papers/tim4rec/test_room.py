"""The baselines, the training, the recommender by name, and its ONNX file."""

import json
import math

import numpy as np
import onnxruntime
import pytest
import torch

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.ranking import best_items
from paperround.kit.recommendation.recommender import Recommender
from paperround.kit.recommendation.splits import leave_one_out
from paperround.papers.tim4rec import (
    GapBucketSASRec,
    GapBucketSSD,
    TimeAwareSSDRecommender,
    TiSASRec,
)
from paperround.papers.tim4rec.cost import growth, megaflops, seconds_in_turns, training_step
from paperround.papers.tim4rec.trials import (
    CONTROL,
    OURS,
    PAPER,
    QUICK,
    SSD,
    build,
    shuffle_gaps,
    train,
)

N_ITEMS = 15


def a_log(users=12, steps=9):
    """Users whose next item depends on the gap before the last event: 10 seconds, or a week."""
    rng = np.random.default_rng(0)
    who, what, when = [], [], []
    for user in range(users):
        now = 1.5e9
        for step in range(steps):
            gap = 10.0 if rng.random() < 0.5 else 604_800.0
            now += gap
            who.append(f"u{user}")
            what.append(f"i{(user + 2 * step + (gap > 10)) % N_ITEMS}")
            when.append(now)
    return build_log(who, what, when)


def histories(rows=3, length=10, seed=0):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, N_ITEMS + 1, (rows, length), generator=generator)
    gaps = torch.rand(rows, length, generator=generator, dtype=torch.float64) * 1e5
    return items, 1.5e9 + gaps.round().cumsum(dim=1)


@pytest.mark.parametrize("unit_s", [None, 60.0])
def test_tisasrec_without_vectors_per_pair_gives_what_it_gives_with_them(unit_s):
    torch.manual_seed(0)
    factored = TiSASRec(N_ITEMS, d_model=16, unit_s=unit_s).eval()
    explicit = TiSASRec(N_ITEMS, d_model=16, unit_s=unit_s, form="explicit").eval()
    explicit.load_state_dict(factored.state_dict())
    items, times = histories()
    items[1, 6:], times[1, 6:] = 0, 0.0
    for model in (factored, explicit):
        model(items, times).square().sum().backward()
    torch.testing.assert_close(factored(items, times), explicit(items, times), atol=1e-5, rtol=1e-5)
    for one, other in zip(factored.parameters(), explicit.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-3)


def test_intervals_are_counted_in_the_rows_smallest_that_is_not_0():
    model = TiSASRec(N_ITEMS, max_interval=5)
    items = torch.tensor([[1, 2, 3, 4, 0]])
    times = torch.tensor([[100.0, 100.0, 110.0, 1000.0, 0.0]]).double()
    codes = model.interval_codes(items, times)[0, :4, :4]
    assert codes.tolist() == [[0, 0, 1, 5], [0, 0, 1, 5], [1, 1, 0, 5], [5, 5, 5, 0]]
    assert not model.causal
    still = model.interval_codes(items, torch.full_like(times, 7.0))
    assert int(still.max()) == 0


@pytest.mark.parametrize(
    "model",
    [
        TiSASRec(N_ITEMS, unit_s=86_400.0),
        GapBucketSSD(TimeAwareSSDRecommender(N_ITEMS, is_time=False)),
        GapBucketSASRec(SASRec(N_ITEMS)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_a_baseline_that_knows_time_is_causal_and_uses_it(model):
    model.eval()
    items, times = histories()
    later = times.clone()
    later[:, 5:] += 30 * 86_400
    with torch.no_grad():
        before, after = model(items, times), model(items, later)
    assert model.causal
    torch.testing.assert_close(before[:, :5], after[:, :5], atol=1e-6, rtol=0)
    assert (before[:, 5:] - after[:, 5:]).abs().max() > 1e-4
    with pytest.raises(UsageError, match="needs the times"):
        model(items)


def test_a_gaps_bucket_is_the_logarithm_of_its_units():
    model = GapBucketSSD(TimeAwareSSDRecommender(N_ITEMS, is_time=False), n_buckets=4)
    days = torch.tensor([[0.0, 0.5, 1.5, 4.5, 104.5]]).double()
    found = model.gaps(torch.ones(1, 5, dtype=torch.long), 1.5e9 + 86_400 * days)
    # Gaps of 0, 0.5, 1, 3 and 100 days: log2(1 + gap) is 0, 0.58, 1, 2 and 6.7.
    expected = model.gaps.table.weight[[0, 0, 1, 2, 3]]
    torch.testing.assert_close(found[0], expected)


def test_shuffling_keeps_items_order_and_every_users_gaps():
    log = a_log()
    shuffled = shuffle_gaps(log, seed=1)
    assert np.array_equal(shuffled.item, log.item)
    moved = 0
    for user in range(log.n_users):
        one, other = np.diff(log.times(user)), np.diff(shuffled.times(user))
        assert sorted(one) == pytest.approx(sorted(other))
        moved += not np.allclose(one, other)
        assert shuffled.times(user)[0] == log.times(user)[0]
    assert moved > log.n_users // 2
    with pytest.raises(UsageError, match="no gaps to shuffle"):
        shuffle_gaps(build_log(["a", "a"], [1, 2]), seed=0)


@pytest.mark.parametrize("name", [SSD, OURS, CONTROL, PAPER])
def test_training_lowers_the_loss_and_gives_the_same_twice(name):
    split = leave_one_out(a_log())
    once, again = (train(name, split, QUICK, 3, None) for _ in range(2))
    losses = [epoch.loss for epoch in once.training.epochs]
    assert losses[-1] < losses[0]
    assert losses == [epoch.loss for epoch in again.training.epochs]


def test_our_model_and_its_control_begin_alike():
    states = []
    for name in (OURS, CONTROL):
        torch.manual_seed(0)
        states.append(build(name, N_ITEMS, QUICK).state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_growth_is_the_exponent():
    assert growth([256, 512, 1024], [3.0, 12.0, 48.0]) == pytest.approx(2.0)


def test_counted_operations_grow_as_the_equations_say():
    short, long = megaflops(1_000), megaflops(4_000)
    for name, power in {
        "SSD4Rec*": 1,
        "TiM4Rec, causal": 1,
        "TiSASRec, explicit": 2,
        "SASRec": 2,
    }.items():
        assert math.log(long[name] / short[name], 4) == pytest.approx(power, abs=0.2), name
    assert short["SSD4Rec*"] < short["TiM4Rec, causal"] < short["TiM4Rec, paper"]


def test_ways_are_timed_in_turns_and_the_first_round_does_not_count():
    order = []
    found = seconds_in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert order == ["a", "b"] * 3
    assert set(found) == {"a", "b"}


@pytest.mark.parametrize("unit_s", [None, 60.0])
def test_a_timed_step_is_a_step_of_training(unit_s):
    model = TiSASRec(N_ITEMS, d_model=8, max_len=10, unit_s=unit_s)
    before = model.items.weight.detach().clone()
    training_step(model, *histories())()
    assert not torch.equal(before, model.items.weight)


@pytest.fixture(scope="module", params=["causal", "paper"])
def fitted(request):
    options = {"d_model": 16, "head_dim": 8, "max_len": 8, "epochs": 2, "variant": request.param}
    return Recommender("tim4rec", **options).fit(a_log(), hold_out=True)


def test_it_recommends_by_name_and_its_file_gives_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "shop.model")
    again = Recommender.load(tmp_path / "shop.model")
    assert again.recommend(["u1", "u2"]) == fitted.recommend(["u1", "u2"])
    assert len(fitted.evaluate()) == 12
    (answer,) = fitted.recommend([["i1", "i2", "unheard of"]], k=3, times=[[1e9, 1e9 + 5, 2e9]])
    assert (answer.basis, answer.skipped, len(answer)) == ("history", 1, 3)
    with pytest.raises(UsageError, match="needs the times of a sequence's events"):
        fitted.recommend([["i1", "i2"]])


def test_a_log_without_times_is_refused_and_goes_without_the_time_branch():
    rows = [(f"u{n % 5}", f"i{n % 7}") for n in range(60)]
    with pytest.raises(UsageError, match="needs the times of events"):
        Recommender("tim4rec", epochs=1).fit(rows)
    without = Recommender("tim4rec", epochs=1, is_time=False, d_model=16, head_dim=8).fit(rows)
    assert len(without.recommend(["u1"], k=3, exclude_seen=False)[0]) == 3


def test_onnx_gives_the_same_ranking(fitted, tmp_path):
    path = tmp_path / "model.onnx"
    fitted.export_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    max_len = json.loads(about["max_len"])
    queries = [["i1"], ["i2", "i3", "i4"], [f"i{n % 9}" for n in range(8)]]
    when = [[1.5e9 + 70 * n * n for n in range(len(query))] for query in queries]
    items, times = np.zeros((3, max_len), dtype=np.int64), np.zeros((3, max_len))
    for row, query in enumerate(queries):
        items[row, : len(query)] = [fitted.code_of(item) for item in query]
        times[row, : len(query)] = when[row]
    (scores,) = session.run(["scores"], {"items": items, "times": times})
    answers = fitted.recommend(queries, k=N_ITEMS, exclude_seen=False, times=when)
    for row, answer in zip(scores, answers, strict=True):
        found, values = best_items(row.copy(), N_ITEMS, np.array([], dtype=np.int64))
        assert [fitted.item_ids_[code - 1] for code in found] == answer.items
        assert values == pytest.approx(answer.scores, abs=1e-4)
