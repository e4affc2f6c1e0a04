"""`--model sra-cl`: texts from where they are, and a model that is the backbone alone."""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from paperround.cli import call
from paperround.errors import UsageError
from paperround.kit.recommendation import Recommender, SASRec, build_log, find_model
from paperround.papers.sra_cl.recommender import read_texts, vectors_of

FAST = {
    "epochs": 6,
    "d_model": 16,
    "learning_rate": 1e-2,
    "batch_size": 8,
    "dropout": 0.0,
    "k": 3,
    "max_len": 12,
}


def events(users=14, steps=8):
    return [
        (f"user {user}", f"item {(user + step) % 12}", 100.0 * step)
        for user in range(users)
        for step in range(steps)
    ]


def a_recommender(**options):
    return Recommender("sra-cl", **{**FAST, "vectors": "behaviour", **options})


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec", "bert4rec"])
def test_any_backbone_learns_by_all_three_losses(backbone):
    fitted = a_recommender(backbone=backbone).fit(events())
    first, last = (fitted.training_.epochs[at] for at in (0, -1))
    assert last.metric > first.metric
    assert set(last.parts) == {"cross-user", "intra-user"}
    assert len(fitted.recommend(["user 1"], k=3)[0].items) == 3


def test_it_finds_what_follows():
    fitted = a_recommender(epochs=15).fit(events(), hold_out=True)
    # Of 12 items in a circle, chance is .25.
    assert fitted.evaluate(metrics=["hr@3"])["hr@3"] > 0.6


def test_what_is_kept_is_the_plain_backbone(tmp_path):
    recommender = a_recommender().fit(events())
    assert type(recommender.model_) is SASRec
    recommender.save(tmp_path / "shop.model")
    back = Recommender.load(tmp_path / "shop.model")
    asked = ["user 1", ["item 4", "item 5"]]
    for one, other in zip(recommender.recommend(asked), back.recommend(asked), strict=True):
        assert one.items == other.items


def test_the_exported_graph_gives_the_same_ranking(tmp_path):
    recommender = a_recommender().fit(events())
    recommender.export_onnx(tmp_path / "shop.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "shop.onnx"))
    items = np.zeros((3, 12), dtype=np.int64)
    for row, length in enumerate((2, 5, 12)):
        items[row, :length] = np.arange(1, length + 1)
    (scores,) = session.run(["scores"], {"items": items})
    own = recommender.model_.score_batch(torch.from_numpy(items)).numpy()
    assert (np.argsort(-scores[:, 1:], axis=1) == np.argsort(-own[:, 1:], axis=1)).all()
    np.testing.assert_allclose(scores[:, 1:], own[:, 1:], atol=1e-5)


def test_texts_come_from_a_file_and_else_from_the_ids_themselves(tmp_path):
    log = build_log(["a", "a", "b"], ["red tea", "green tea", "a hammer"])
    options = {**find_model("sra-cl").options, "vectors": "tfidf"}
    by_id = vectors_of(log, {**options, "texts": ""})
    assert (by_id[0] == 0).all()
    assert by_id[1] @ by_id[2] > by_id[1] @ by_id[3]
    path = tmp_path / "items.csv"
    path.write_text('item,title,brand\nred tea,nail\na hammer,nail,"x, y"\n', encoding="utf-8")
    with pytest.raises(UsageError, match="line 2: 2 cells under 3 columns"):
        vectors_of(log, {**options, "texts": str(path)})
    path.write_text("title;item\nnail;red tea\nnail;a hammer\n", encoding="utf-8")
    by_file = vectors_of(log, {**options, "texts": str(path)})
    assert (by_file[1] == by_file[3]).all()
    # The file says nothing of green tea.
    assert (by_file[2] == 0).all()


def test_numbers_without_texts_are_refused_with_the_remedy():
    log = build_log([1, 1, 2], [10, 11, 12])
    options = find_model("sra-cl").options
    with pytest.raises(UsageError, match=r"texts=items\.csv.*vectors=behaviour"):
        vectors_of(log, options)
    assert vectors_of(log, {**options, "vectors": "behaviour"}).shape[0] == 4
    with pytest.raises(UsageError, match="looks at no texts"):
        vectors_of(log, {**options, "vectors": "behaviour", "texts": "items.csv"})


def test_texts_of_numbered_items_are_found(tmp_path):
    path = tmp_path / "items.jsonl"
    lines = [{"item": 10, "text": "red tea"}, {"item": "11", "text": "green tea"}]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    log = build_log([1, 1, 2], [10, 11, 12])
    options = {**find_model("sra-cl").options, "vectors": "tfidf", "texts": str(path)}
    vectors = vectors_of(log, options)
    assert vectors.any(axis=1).tolist() == [False, True, True, False]


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("items.csv", b"item\nx\n", "a column for the item and one for its text"),
        ("items.csv", b"", "a column for the item and one for its text"),
        ("items.csv", b"item,text\n", "has no texts"),
        ("items.csv", b"\xff\xfe\x00", "cannot be read"),
        ("items.jsonl", b'{"item": 1}\n', "line 1: wanted an object"),
        ("items.jsonl", b"\n[1]\n", "line 2: wanted an object"),
    ],
)
def test_a_file_of_texts_that_cannot_be_used_is_refused(tmp_path, name, content, word):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=word):
        read_texts(tmp_path / name)
    with pytest.raises(UsageError, match="cannot be read"):
        read_texts(tmp_path / "none.csv")


@pytest.mark.parametrize("options", [{"backbone": "mamba"}, {"vectors": "word2vec"}])
def test_unknown_choices_are_refused_with_those_there_are(options):
    with pytest.raises(UsageError, match="there are"):
        Recommender("sra-cl", **{**FAST, **options}).fit(events())


def test_the_command_fits_and_recommends(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    file, model = tmp_path / "events.csv", tmp_path / "shop.model"
    lines = [f"{user},{item},{int(time)}" for user, item, time in events(12)]
    file.write_text("\n".join(["user,item,time", *lines]), encoding="utf-8")
    settings = [*(f"{name}={value}" for name, value in FAST.items()), "vectors=tfidf"]
    given = [part for setting in settings for part in ("--set", setting)]
    fit = ["recommend", "fit", str(file), "--model", "sra-cl", "--out", str(model)]
    assert call([*fit, *given]) == 0
    capsys.readouterr()
    ask = ["recommend", "recommend", str(file), "--model", str(model), "--user", "user 3"]
    assert call([*ask, "-k", "2", "--json"]) == 0
    (answer,) = capsys.readouterr().out.splitlines()
    assert len(json.loads(answer)["items"]) == 2
