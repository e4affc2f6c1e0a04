"""UniRec as a recommender: fitted by name, saved, exported; what it needs, and what it says."""

import json

import numpy as np
import onnxruntime
import pytest
import torch

from paperround.errors import UsageError
from paperround.kit.recommendation import Recommender
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.ranking import best_items
from paperround.kit.recommendation.saved_ids import ids_from_json
from paperround.papers.unirec.admix import AdmixEncoder
from paperround.papers.unirec.timed import TimeAware

DAY = 86_400.0
SMALL = {"epochs": 3, "d_model": 16, "max_len": 8, "curriculum_epochs": 3, "dropout": 0.1}
EVENTS = [
    (f"user {user}", f"item {(user + step) % 9}", 1e9 + DAY * step * (1 + user % 3))
    for user in range(30)
    for step in range(8)
]
KINDS = {
    "whole": {},
    "no times in the model": {"time": "none"},
    "intervals": {"time": "interval"},
    "the paper's backbone and loss": {"backbone": "admix", "loss": "bce"},
    "one sampled negative": {"loss": "bce", "time": "none"},
}


@pytest.fixture(scope="module")
def fitted():
    return {
        name: Recommender("unirec", seed=1, **SMALL, **options).fit(EVENTS, hold_out=True)
        for name, options in KINDS.items()
    }


every_kind = pytest.mark.parametrize("name", KINDS)


def test_what_is_kept_is_the_encoder_without_the_losses(fitted):
    assert isinstance(fitted["whole"].model_, TimeAware)
    assert isinstance(fitted["no times in the model"].model_, SASRec)
    assert isinstance(fitted["the paper's backbone and loss"].model_, AdmixEncoder)
    for name in KINDS:
        parts = fitted[name].training_.epochs[0].parts
        assert set(parts) == {"sequence", "frequent items", "rare items"}
        # What recommends is what was trained, and not the weights it began with.
        assert fitted[name].evaluate()["hr@10"] >= 0.9


@every_kind
def test_a_saved_recommender_answers_as_before(fitted, name, tmp_path):
    path = tmp_path / "unirec.model"
    fitted[name].save(path)
    loaded = Recommender.load(path)
    users = ["user 1", "user 2", "a stranger"]
    for before, after in zip(
        fitted[name].recommend(users, k=4, exclude_seen=False),
        loaded.recommend(users, k=4, exclude_seen=False),
        strict=True,
    ):
        assert before.items == after.items
        assert before.basis == after.basis


@pytest.mark.parametrize(
    "name", ["whole", "no times in the model", "the paper's backbone and loss"]
)
def test_onnx_gives_the_same_ranking(fitted, name, tmp_path):
    recommender, path = fitted[name], tmp_path / "model.onnx"
    recommender.export_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    ids, max_len = ids_from_json(json.loads(about["item_ids"])), int(about["max_len"])
    queries = [[f"item {n % 9}" for n in range(length)] for length in (1, 3, 8, 20)]
    when = [[1.2e9 + 3 * DAY * n for n in range(len(query))] for query in queries]
    given = {"items": np.zeros((len(queries), max_len), dtype=np.int64)}
    if recommender.model_.needs_times:
        given["times"] = np.zeros((len(queries), max_len))
    for row, (query, times) in enumerate(zip(queries, when, strict=True)):
        codes = [recommender.code_of(item) for item in query][-max_len:]
        given["items"][row, : len(codes)] = codes
        if "times" in given:
            given["times"][row, : len(codes)] = times[-max_len:]
    assert {put.name for put in session.get_inputs()} == set(given)
    (scores,) = session.run(["scores"], given)
    answers = recommender.recommend(queries, k=9, exclude_seen=False, times=when)
    for row, answer in zip(scores, answers, strict=True):
        found, values = best_items(row.copy(), 9, np.array([], dtype=np.int64))
        assert [ids[code - 1] for code in found] == answer.items
        assert values == pytest.approx(answer.scores, abs=1e-4)
    (alone,) = session.run(["scores"], {key: value[:1] for key, value in given.items()})
    assert alone[0] == pytest.approx(scores[0], abs=1e-4)


def test_without_any_enhancement_it_is_the_kits_sasrec():
    sizes = {**SMALL, "n_layers": 1}
    del sizes["curriculum_epochs"]
    off = {"sequence": False, "items": False, "time": "none", "curriculum_epochs": 3}
    ours = Recommender("unirec", seed=4, **sizes, **off).fit(EVENTS)
    theirs = Recommender("sasrec", seed=4, **sizes).fit(EVENTS)
    for name, weight in theirs.model_.state_dict().items():
        assert torch.equal(ours.model_.state_dict()[name], weight)


def test_times_are_asked_for_where_they_are_needed():
    untimed = [event[:2] for event in EVENTS]
    with pytest.raises(UsageError, match="needs the times"):
        Recommender("unirec", **SMALL).fit(untimed)
    with pytest.raises(UsageError, match="the sequence enhancement needs the times"):
        Recommender("unirec", **SMALL, time="none").fit(untimed)
    fitted = Recommender("unirec", **SMALL, time="none", sequence=False).fit(untimed)
    assert fitted.recommend([["item 1"]], k=1)[0].items
    gaps = build_log(*zip(*EVENTS, strict=True), time_is_absolute=False)
    with pytest.raises(UsageError, match="gaps without dates; say time=interval"):
        Recommender("unirec", **SMALL).fit(gaps)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"time": "moon"}, "time is one of none, interval, calendar, both"),
        ({"loss": "hinge"}, "loss is ce or bce"),
        ({"backbone": "mamba"}, "no backbone 'mamba'"),
        ({"backbone": "admix", "time": "calendar"}, "the admix backbone has intervals"),
        ({"head_share": 0.0}, "a share lies above 0"),
        ({"uniformity": 0.5}, "unirec has no option 'uniformity'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options, said):
    with pytest.raises(UsageError, match=said):
        Recommender("unirec", **SMALL, **options).fit(EVENTS)
