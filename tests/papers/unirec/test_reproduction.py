"""The standard scale's measurements on a small world: they run, and mean what the card says."""

from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest

from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.splits import leave_one_out
from paperround.papers.unirec import reproduction
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.reproduction import (
    AVERAGED,
    BASE,
    PLANS,
    VARIANTS,
    Ground,
    averaged,
    measure_frequency,
    measure_gain,
    measure_item_quartiles,
    measure_learning,
    measure_uniform_users,
    measure_variants,
    own_loss,
    show_definitions,
    train,
)
from paperround.papers.unirec.uniformity import frequency_split, rarity
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run
from paperround.runs.rooms import find_rooms

PLAN = replace(
    PLANS[Scale.STANDARD],
    d_model=8,
    epochs=2,
    batch_size=64,
    max_len=8,
    learning_rate=1e-2,
    dropout={"dated": 0.1, "gaps": 0.1},
)
SEEDS = (0, 1)


def a_ground(name, absolute):
    """24 users; item 1 is everywhere, the others come round a circle."""
    rng = np.random.default_rng(5)
    rows = []
    for user in range(24):
        gaps = 86_400.0 * (np.ones(9) if user % 2 else rng.integers(0, 40, 9))
        items = [1 if rng.random() < 0.3 else (user + step) % 20 + 2 for step in range(9)]
        rows += [(user, i, 1e9 + t) for i, t in zip(items, np.cumsum(gaps), strict=True)]
    split = leave_one_out(build_log(*zip(*rows, strict=True), time_is_absolute=absolute))
    log = split.train
    return Ground(name, split, frequency_split(log), rarity(log), ItemNeighbours.fit(log))


@pytest.fixture(scope="module")
def grounds():
    return [a_ground("dated", True), a_ground("gaps", False)]


@pytest.fixture(scope="module")
def results(grounds):
    found = {}
    for ground in grounds:
        each = {
            name: [train(name, ground, PLAN, seed, None) for seed in SEEDS] for name in VARIANTS
        }
        each[AVERAGED] = [averaged(ground, base) for base in each[BASE]]
        found[ground.name] = each
    return found


@pytest.fixture
def a_run(tmp_path):
    events = []
    card = find_rooms()[0]["unirec"].card
    run = Run(card, Scale.STANDARD, SEEDS, tmp_path, events.append)
    return run, events


def measured(events, claim):
    return [event for event in events if event["kind"] == "measure" and event["claim"] == claim]


def test_every_variant_differs_from_the_base_in_its_part_alone(results):
    for found in results.values():
        for place in range(len(SEEDS)):
            parts = {name: set(found[name][place].weights) for name in VARIANTS}
            assert parts[BASE] == parts["+ times"] == parts["interval bias"] == set()
            assert parts["+ SE"] == {"sequence"}
            assert parts["+ IE"] == {"frequent items", "rare items"}
            assert parts["all of UniRec"] == parts["+ SE + IE"] == parts["+ SE"] | parts["+ IE"]
    assert set(results["dated"]["+ times"][0].model.contexts) == {"calendar", "interval"}
    assert results["gaps"]["+ times"][0].model.contexts == ("interval",)


def test_the_own_loss_leaves_out_what_was_added(results):
    each = results["dated"]["+ SE + IE"][0]
    record = each.training.epochs[0]
    added = (
        0.2 * record.parts["sequence"]
        + 0.3 * record.parts["frequent items"]
        + 0.1 * record.parts["rare items"]
    )
    assert added > 0
    assert own_loss(each, 0) == pytest.approx(record.loss - added)


def test_variants_are_measured_in_deviations_of_the_base(grounds, results, a_run):
    run, events = a_run
    measure_variants(run, grounds, results)

    def over_sets(name):
        return [fmean(f[name][s].test["ndcg@10"] for f in results.values()) for s in range(2)]

    base = over_sets(BASE)
    worst = min(fmean(over_sets(name)) for name in ("+ SE", "+ IE", "+ SE + IE"))
    (found,) = measured(events, "non-inferior")
    assert found["value"] == pytest.approx((worst - fmean(base)) / stdev(base))
    assert found["baseline"] == pytest.approx(fmean(base))
    rare = measured(events, "rare-items")
    for place, event in enumerate(rare):
        cases = [
            results[g.name][name][place].test.per_case("ndcg@10")[g.rare_targets].mean()
            for name in ("+ IE", BASE)
            for g in grounds
        ]
        assert event["value"] == pytest.approx(fmean(cases[:2]) - fmean(cases[2:]))
    assert len(measured(events, "rare-items-above-simple-cures")) == len(SEEDS)
    assert len(measured(events, "time")) == 1


def test_a_model_against_itself_gains_nothing(grounds, results, a_run):
    run, events = a_run
    same = {name: dict.fromkeys(found, found[BASE]) for name, found in results.items()}
    measure_gain(run, grounds, same)
    assert measured(events, "gain")[0]["value"] == 0
    (table,) = [event for event in events if event["kind"] == "table"]
    assert {row[-1] for row in table["rows"]} == {"not resolvable"}
    measure_variants(run, grounds, same)
    for claim in ("non-inferior", "time", "rare-items", "rare-items-above-simple-cures"):
        assert {event["value"] for event in measured(events, claim)} == {0.0}


def test_what_a_study_finds_in_a_world_where_uniform_users_are_served(
    grounds, results, a_run, monkeypatch
):
    run, events = a_run
    # Odd users have equal gaps: say that they alone are served.
    monkeypatch.setattr(
        reproduction,
        "mean_per_case",
        lambda each, metric: (grounds[0].split.test.users % 2).astype(float),
    )
    measure_uniform_users(run, grounds, results)
    (found,) = measured(events, "uniform-users")
    assert found["value"] == 2
    assert found["baseline"] in (0, 1, 2)


def test_the_other_measurements_run_on_both_kinds_of_times(grounds, results, a_run):
    run, events = a_run
    measure_frequency(run, grounds, results)
    measure_learning(run, results)
    measure_item_quartiles(run, grounds, results)
    show_definitions(run, grounds, results, PLAN)
    assert measured(events, "frequent-items")[0]["value"] > 1
    assert len(measured(events, "learns")) == len(SEEDS)
    assert len(measured(events, "item-quartiles")) == 1
    table = [event for event in events if event["kind"] == "table"][-1]
    said = {(row[0], row[1]): row[2] for row in table["rows"]}
    assert ("gaps", "rank correlation of an item's count and its interval variance") not in said
    shares = [v for (_, what), v in said.items() if what.startswith(("users", "neighbours"))]
    assert all(0 <= share <= 1 for share in shares)
