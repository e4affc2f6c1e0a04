import json
from dataclasses import asdict

import numpy as np
import pytest

from paperround.errors import UsageError
from paperround.kit.recommendation.evaluation import Evaluation
from paperround.kit.recommendation.metrics import Ranks, paired_bootstrap
from paperround.kit.recommendation.report import (
    Published,
    compare,
    paired_over_seeds,
    reported_beside_measured,
)


def _evaluation(above, n=100, mask_seen=False) -> Evaluation:
    above = np.asarray(above)
    return Evaluation(
        Ranks(above, np.zeros_like(above), np.full_like(above, n)), "mean", mask_seen, {}
    )


def _of(hits: float, seed: int, n: int = 400) -> Evaluation:
    """An evaluation whose targets stand first for about this share of the cases, else last."""
    drawn = np.random.default_rng(seed).random(n)
    return _evaluation(np.where(drawn < hits, 0, 50))


def test_a_row_has_the_mean_and_the_spread_of_its_seeds():
    table = compare(
        {
            "base": [_evaluation([0, 50, 50, 50])],
            "ours": [_evaluation([0, 0, 50, 50]), _evaluation([0, 0, 0, 0])],
        },
        baseline="base",
        metrics=["hr@10"],
    )
    ours = table.of("ours", "hr@10")
    assert ours.per_seed == (0.5, 1.0)
    assert ours.mean == 0.75
    assert ours.sd == pytest.approx(np.sqrt(0.125))
    assert ours.ratio == 3.0
    assert ours.difference is not None
    assert ours.difference.mean == 0.5
    assert ours.seeds_above == 2
    base = table.of("base", "hr@10")
    assert (base.sd, base.difference, base.says) == (None, None, "baseline")


def test_what_is_clearly_better_is_said_and_what_is_not_is_not():
    base = [_of(0.2, seed) for seed in range(3)]
    table = compare(
        {
            "base": base,
            "better": [_of(0.4, seed) for seed in range(3, 6)],
            "worse": [_of(0.1, seed) for seed in range(6, 9)],
            "same": [_of(0.2, seed) for seed in range(9, 12)],
        },
        baseline="base",
        metrics=["hr@10"],
    )
    said = {row.model: row.says for row in table.rows}
    assert said == {
        "base": "baseline",
        "better": "better",
        "worse": "worse",
        "same": "no sure difference",
    }


def test_with_one_seed_it_is_the_paired_bootstrap():
    rng = np.random.default_rng(0)
    first, second = rng.random(300), rng.random(300)
    ours, usual = paired_over_seeds(first, second), paired_bootstrap(first, second)
    assert asdict(ours) == pytest.approx(asdict(usual), abs=0.01)


def test_seeds_that_disagree_widen_the_interval():
    # Both have the same mean per case; in the second pair whole seeds differ.
    zero = np.zeros((4, 200))
    calm = paired_over_seeds(np.full((4, 200), 0.1), zero)
    torn = paired_over_seeds(np.repeat([[0.4], [-0.2], [0.4], [-0.2]], 200, axis=1), zero)
    assert calm.mean == pytest.approx(torn.mean)
    assert calm.sure
    assert not torn.sure


def test_the_interval_over_seeds_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    covered = 0
    for trial in range(60):
        # No true difference: users vary, seeds vary, and both models alike.
        user = rng.normal(size=200)
        first = user + rng.normal(scale=0.2, size=(10, 1)) + rng.normal(size=(10, 200))
        second = user + rng.normal(scale=0.2, size=(10, 1)) + rng.normal(size=(10, 200))
        covered += not paired_over_seeds(first, second, resamples=300, seed=trial).sure
    assert covered >= 50


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (_evaluation([1, 2, 3], mask_seen=True), "do not compare.*seen items masked"),
        (_evaluation([1, 2]), "do not compare.*2 cases"),
        (_evaluation([1, 2, 3], n=50), "among other candidates"),
    ],
)
def test_figures_of_another_protocol_never_share_a_table(other, said):
    with pytest.raises(UsageError, match=said):
        compare({"base": [_evaluation([1, 2, 3])], "ours": [other]}, baseline="base")


def test_a_table_needs_its_baseline_and_something_of_every_model():
    with pytest.raises(UsageError, match="no model 'other' to compare with; there are base"):
        compare({"base": [_evaluation([1])]}, baseline="other")
    with pytest.raises(UsageError, match="ours has no evaluation"):
        compare({"base": [_evaluation([1])], "ours": []}, baseline="base")
    with pytest.raises(UsageError, match="cannot be paired"):
        paired_over_seeds(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(UsageError, match="no cases"):
        paired_over_seeds(np.zeros((2, 0)), np.zeros((2, 0)))


def test_a_baseline_that_finds_nothing_has_no_ratio():
    table = compare(
        {"base": [_evaluation([50, 50])], "ours": [_evaluation([0, 50])]},
        baseline="base",
        metrics=["hr@10"],
    )
    assert table.of("ours", "hr@10").ratio is None
    assert "+0.5000 |" in table.markdown()
    with pytest.raises(KeyError):
        table.of("ours", "hr@20")


def test_the_table_prints_its_flags_and_goes_into_json():
    table = compare(
        {"base": [_of(0.2, 0)], "ours": [_of(0.4, 1), _of(0.4, 2)]},
        baseline="base",
        metrics=["hr@10", "ndcg@10"],
    )
    text = table.markdown()
    assert text.count("\n| ours |") == 2
    assert text.endswith("Full ranking, seen items ranked, ties mean, 400 cases.")
    assert json.loads(json.dumps(table.as_dicts()))[3]["says"] == "better"


def test_published_figures_of_another_protocol_have_a_column_of_their_own():
    table = compare({"base": [_evaluation([0, 50])]}, baseline="base", metrics=["hr@10"])
    lines = reported_beside_measured(
        table,
        [
            Published("base", "hr@10", 0.8, "100 sampled negatives", "its table 2"),
            Published("other", "hr@10", 0.3, "full ranking", "its README"),
        ],
    )
    measured = f"measured: {table.flags}"
    sampled, full = "reported: 100 sampled negatives", "reported: full ranking"
    assert [list(line) for line in lines] == [["model", "metric", measured, sampled, full]] * 2
    assert [lines[0][measured], lines[0][sampled], lines[0][full]] == [
        "0.5000",
        "0.8000 (its table 2)",
        "–",
    ]
    assert lines[1] == {
        "model": "other",
        "metric": "hr@10",
        measured: "–",
        sampled: "–",
        full: "0.3000 (its README)",
    }
