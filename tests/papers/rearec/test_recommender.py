"""`Recommender("rearec")` as people use it: every recipe and backbone, files, ONNX, a shell."""

import json

import numpy as np
import onnxruntime
import pytest
from typer.testing import CliRunner

from paperround.cli import app
from paperround.errors import UsageError
from paperround.kit.recommendation import Recommender
from paperround.kit.recommendation.ranking import best_items
from paperround.kit.recommendation.saved_ids import ids_from_json

N_ITEMS = 12
FAST = {"epochs": 16, "d_model": 16, "learning_rate": 1e-2, "batch_size": 16, "dropout": 0.0,
        "max_len": 12, "kl_weight": 0.005, "rcl_weight": 0.1}  # fmt: skip
KINDS = [("erl", "sasrec"), ("erl", "bidirectional"), ("prl", "bert4rec")]


def events(users=30, steps=9):
    """(user, item, time): users walk around a circle of 12 items."""
    return [
        (f"user {user}", f"item {(user + step) % N_ITEMS}", 100.0 * step)
        for user in range(users)
        for step in range(steps)
    ]


@pytest.fixture(scope="module")
def fitted():
    return {
        kind: Recommender("rearec", recipe=kind[0], backbone=kind[1], **FAST).fit(events())
        for kind in KINDS
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_learns_what_comes_next(fitted, kind):
    for start in (2, 7):
        query = [f"item {(start + step) % N_ITEMS}" for step in range(4)]
        (answer,) = fitted[kind].recommend([query], k=1)
        assert answer.items == [f"item {(start + 4) % N_ITEMS}"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_model_answers_as_before(fitted, kind, tmp_path):
    fitted[kind].save(tmp_path / "a.model")
    loaded = Recommender.load(tmp_path / "a.model")
    queries = ["user 3", ["item 4", "item 5"], "a stranger"]
    assert loaded.recommend(queries, k=5) == fitted[kind].recommend(queries, k=5)


@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_same_ranking(fitted, kind, tmp_path):
    recommender, path = fitted[kind], tmp_path / "model.onnx"
    recommender.export_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    ids = ids_from_json(json.loads(session.get_modelmeta().custom_metadata_map["item_ids"]))
    queries = [["item 1"], ["item 2", "item 3", "item 4"], [f"item {n % 12}" for n in range(12)]]
    items = np.zeros((len(queries), FAST["max_len"]), dtype=np.int64)
    for row, query in enumerate(queries):
        items[row, : len(query)] = [recommender.code_of(item) for item in query]
    (scores,) = session.run(["scores"], {"items": items})
    answers = recommender.recommend(queries, k=N_ITEMS, exclude_seen=False)
    for row, answer in zip(scores, answers, strict=True):
        found, values = best_items(row.copy(), N_ITEMS, np.array([], dtype=np.int64))
        assert values == pytest.approx(answer.scores, abs=1e-4)
        assert [ids[code - 1] for code in found] == answer.items


def test_unknown_recipes_and_backbones_are_refused():
    for options, said in (
        ({"recipe": "some"}, "no recipe 'some'; there are naive, rpe, erl, prl"),
        ({"backbone": "gru4rec"}, "no backbone 'gru4rec'; there are sasrec, bidirectional"),
        ({"steps": 2}, "has no option 'steps'"),
    ):
        with pytest.raises(UsageError, match=said):
            Recommender("rearec", **{**FAST, **options}).fit(events())


@pytest.mark.usefixtures("settings")
def test_a_shell_fits_and_recommends(tmp_path):
    table, model = tmp_path / "events.csv", tmp_path / "shop.model"
    rows = [",".join(map(str, event)) for event in events()]
    table.write_text("\n".join(["user,item,time", *rows]) + "\n", encoding="utf-8")
    sets = [f"--set={name}={value}" for name, value in FAST.items()]

    def run(*arguments):
        done = CliRunner().invoke(app, ["recommend", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        return done.stdout

    run("fit", table, "--model", "rearec", *sets, "--out", model)
    said = run("recommend", table, "--model", model, "--user", "user 3", "-k", "2", "--json")
    # User 3 has had items 3 to 11.
    assert json.loads(said.splitlines()[0])["items"][0]["item"] == "item 0"
