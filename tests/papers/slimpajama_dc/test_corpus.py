"""The pipeline around deduplication: decontamination, mixing, shuffling, and the report."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers.slimpajama_dc import (
    MinHashDeduplicator,
    clean_text,
    decontaminate,
    mix,
    mixture_report,
    repair_text,
    split_holdout,
    two_pass_shuffle,
)
from paperround.papers.slimpajama_dc.corpus import sha256

texts = st.lists(st.text(max_size=8), max_size=30)


@settings(max_examples=40, deadline=None)
@given(texts, texts)
def test_after_decontamination_training_and_hold_out_share_nothing(train, held):
    left = decontaminate(train, held)
    assert not {sha256(text) for text in left} & {sha256(text) for text in held}
    assert left == [text for text in train if text not in held]


def test_decontamination_by_cleaned_text_drops_other_layouts_too():
    held = ["The same, text."]
    assert decontaminate(["the same text", "other"], held) == ["the same text", "other"]
    by_clean = decontaminate(["the same text", "other"], held, key=clean_text)
    assert by_clean == ["other"]


def test_a_split_holds_out_its_share_and_leaves_no_copy_in_training():
    docs = [f"document {i}" for i in range(990)] + ["document 5"] * 10
    train, validation, test = split_holdout(docs, share=0.1)
    assert len(validation) == len(test) == 100
    assert not set(train) & set(validation + test)
    assert set(train) | set(validation) | set(test) == set(docs)
    assert split_holdout(docs, share=0.1) == (train, validation, test)


def test_realised_proportions_are_within_one_percent_of_the_target():
    sources = {"web": ["w"] * 600, "code": ["c"] * 300, "wiki": ["k"] * 100}
    weights = {"web": 1.0, "code": 2.0, "wiki": 1.0}
    drawn = Counter(name for name, _ in mix(sources, weights, n_tokens=100_000, seed=3))
    assert drawn.total() == 100_000
    for name, target in {"web": 600 / 1300, "code": 600 / 1300, "wiki": 100 / 1300}.items():
        assert abs(drawn[name] / 100_000 - target) <= 0.01


def test_weights_multiply_documents_and_not_tokens():
    sources = {"long": ["x" * 100] * 50, "short": ["y"] * 50}
    drawn = Counter(n for n, _ in mix(sources, {"long": 1, "short": 1}, n_tokens=200_000, seed=0))
    assert abs(drawn["long"] / drawn.total() - 0.5) <= 0.03


def test_a_source_comes_without_repeats_until_it_is_exhausted():
    docs = [f"{i:03}" for i in range(100)]
    drawn = [text for _, text in mix({"a": docs}, {"a": 1.0}, n_tokens=3 * 250, seed=1)]
    assert sorted(drawn[:100]) == docs == sorted(drawn[100:200])
    assert drawn[:100] != drawn[100:200]
    assert len(set(drawn[200:])) == 50
    assert [t for _, t in mix({"a": docs}, {"a": 1.0}, n_tokens=750, seed=1)] == drawn


def test_a_source_of_weight_zero_never_comes():
    drawn = {name for name, _ in mix({"a": ["x"], "b": []}, {"a": 1, "b": 0}, 50, seed=0)}
    assert drawn == {"a"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (({"a": ["x"]}, {"b": 1.0}, 5, 0), "differ in a, b"),
        (({"a": ["x"]}, {"a": -1.0}, 5, 0), "weight of 'a' is -1.0"),
        (({"a": ["x"]}, {"a": math.nan}, 5, 0), "weight of 'a' is nan"),
        (({"a": []}, {"a": 1.0}, 5, 0), "'a' holds no tokens"),
        (({"a": [""]}, {"a": 1.0}, 5, 0), "'a' holds no tokens"),
        (({"a": ["x"]}, {"a": 0.0}, 5, 0), "all weights are 0"),
        (({"a": ["x"]}, {"a": 1.0}, 0, 0), "n_tokens is 0"),
    ],
)
def test_a_mixture_that_cannot_be_drawn_is_refused(arguments, says):
    with pytest.raises(UsageError, match=says):
        mix(*arguments)


@settings(max_examples=30, deadline=None)
@given(texts, st.integers(1, 5))
def test_a_shuffle_loses_nothing_and_repeats_itself(docs, piles):
    shuffled = list(two_pass_shuffle(iter(docs), piles=piles))
    assert sorted(shuffled) == sorted(docs)
    assert list(two_pass_shuffle(docs, piles=piles)) == shuffled


def test_a_shuffle_moves_documents_far_and_cleans_up(tmp_path):
    docs = [str(i) for i in range(2_000)]
    shuffled = list(two_pass_shuffle(docs, folder=tmp_path))
    moved = np.abs(np.argsort([int(text) for text in shuffled]) - np.arange(2_000))
    # The mean distance of a random permutation is n / 3.
    assert abs(moved.mean() / 2_000 - 1 / 3) <= 0.05
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="piles is 0"):
        list(two_pass_shuffle(docs, piles=0))


def test_repairing_mends_mojibake_and_composes():
    assert repair_text("sch\u00c3\u00b6n e\u0301") == "schön é"


def test_the_report_knows_divergences_and_who_lost_to_whom():
    shared = "alpha beta gamma delta " * 20
    report = mixture_report(
        {"web": [shared, "omega psi chi " * 30], "news": [shared.upper()]}, smoothing=1e-9
    )
    assert report.sources == ("web", "news")
    assert report.documents == (2, 1)
    assert report.duplicates.tolist() == [[0, 0], [1, 0]]
    assert report.kl_nats[0, 0] == pytest.approx(0.0)
    # news has 4 words at 1/4, web the same 4 at 20/170: KL(news || web) = log(170 / 80)
    assert report.kl_nats[1, 0] == pytest.approx(math.log(170 / 80), rel=1e-6)
    assert report.kl_nats[0, 1] > 5


@settings(max_examples=10, deadline=None)
@given(st.dictionaries(st.sampled_from("abc"), texts, min_size=1))
def test_divergences_are_finite_and_not_negative(sources):
    report = mixture_report(sources)
    assert np.isfinite(report.kl_nats).all()
    assert (report.kl_nats >= 0).all()
    assert np.diag(report.kl_nats) == pytest.approx(0.0, abs=1e-9)


def test_a_report_without_smoothing_or_with_local_scope_is_refused():
    with pytest.raises(UsageError, match="smoothing is 0"):
        mixture_report({"a": ["x"]}, smoothing=0)
    with pytest.raises(UsageError, match="must be 'global'"):
        mixture_report({"a": ["x"]}, MinHashDeduplicator(scope="local"))


@pytest.mark.parametrize(("share", "says"), [(0.0, "share is 0"), (0.5, "share is 0.5")])
def test_a_share_out_of_range_is_refused(share, says):
    with pytest.raises(UsageError, match=says):
        split_holdout(["a"] * 10, share=share)
    with pytest.raises(UsageError, match="too few"):
        split_holdout(["a", "b"], share=0.3)
