"""The recommender as people use it: any ids, any input, honest answers, files that come back."""

import json
from datetime import date
from uuid import UUID

import numpy as np
import onnxruntime
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from paperround.errors import UsageError
from paperround.kit.recommendation import Recommender, build_log, read_interactions
from paperround.kit.recommendation.ranking import LARGE_CATALOGUE, ItemIndex, best_items
from paperround.kit.recommendation.saved_ids import ids_from_json, ids_to_json

N_ITEMS = 12
FAST = {"epochs": 15, "d_model": 16, "learning_rate": 1e-2, "batch_size": 8, "dropout": 0.0}
NETWORKS = ["sasrec", "sasrec-original", "gru4rec", "bert4rec"]
COUNTING = ["popularity", "markov-1", "markov-3", "item-knn"]


def events(users=40, steps=9):
    """(user, item, time): users walk around a circle of 12 items."""
    return [
        (f"user {user}", f"item {(user + step) % N_ITEMS}", 100.0 * step)
        for user in range(users)
        for step in range(steps)
    ]


def options_of(name):
    if name in COUNTING:
        return {}
    slow = {"epochs": 150, "patience": 150, "learning_rate": 2e-3, "last_only_ratio": 0.8}
    return {**FAST, **slow} if name == "bert4rec" else FAST


@pytest.fixture(scope="module")
def fitted():
    """Every built-in model, fitted to the circle."""
    return {
        name: Recommender(name, **options_of(name)).fit(events()) for name in NETWORKS + COUNTING
    }


@pytest.fixture(scope="module")
def sasrec(fitted):
    return fitted["sasrec"]


def next_of(item, by=1):
    return f"item {(int(item.split()[1]) + by) % N_ITEMS}"


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "bert4rec", "markov-1", "markov-3"])
def test_what_certainly_follows_is_recommended_first(fitted, name):
    for start in range(3):
        history = [f"item {(start + step) % N_ITEMS}" for step in range(8)]
        (answer,) = fitted[name].recommend([history], k=3)
        assert answer.items[0] == next_of(history[-1])
        assert answer.basis == "history"


@pytest.mark.parametrize("name", NETWORKS + COUNTING)
def test_every_model_has_one_interface(fitted, name, tmp_path):
    recommender = fitted[name]
    answers = recommender.recommend(["user 0", ["item 3"], "nobody", []], k=4)
    assert [len(answer) for answer in answers] == [3, 4, 4, 4]
    for answer in answers:
        assert answer.scores == sorted(answer.scores, reverse=True)
        assert len(set(answer.items)) == len(answer)
    assert recommender.evaluate(events(users=5)).metrics.keys() >= {"hr@10", "ndcg@10"}
    recommender.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    again = loaded.recommend(["user 0", ["item 3"], "nobody", []], k=4)
    assert again == answers
    assert (
        loaded.get_params()
        == Recommender(name, **recommender._kind.complete(recommender.options)).get_params()
    )


def test_a_user_gets_what_the_sequence_of_the_users_events_gets(sasrec):
    sequence = [item for user, item, _ in events() if user == "user 7"]
    by_user, by_sequence = sasrec.recommend(["user 7", sequence], k=5)
    assert by_user.items == by_sequence.items
    assert by_user.scores == pytest.approx(by_sequence.scores, abs=1e-4)


def test_the_order_and_the_number_of_queries_change_no_answer(sasrec):
    queries = [f"user {n}" for n in range(30)] + [["item 1"] * n for n in range(5)]
    together = sasrec.recommend(queries, k=3)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = sasrec.recommend([query], k=3)
        assert alone.items == answer.items


def test_seen_items_are_left_out_unless_they_are_wanted(sasrec):
    history = [f"item {n}" for n in range(6)]
    (fresh,) = sasrec.recommend([history], k=N_ITEMS)
    assert set(fresh.items) == {f"item {n}" for n in range(6, 12)}
    (everything,) = sasrec.recommend([history], k=N_ITEMS, exclude_seen=False)
    assert len(everything) == N_ITEMS


def test_items_seen_long_before_the_models_memory_are_left_out_too(sasrec):
    history = ["item 5"] + [f"item {n % 3}" for n in range(200)]
    (answer,) = sasrec.recommend([history], k=N_ITEMS)
    assert "item 5" not in answer.items
    assert len(answer) == N_ITEMS - 4


def test_unknown_items_are_skipped_and_counted(sasrec):
    known, mixed, unknown = sasrec.recommend(
        [["item 1", "item 2"], ["a new one", "item 1", None, "item 2"], ["?", ["list"]]], k=3
    )
    assert mixed.items == known.items
    assert (known.skipped, mixed.skipped, unknown.skipped) == (0, 2, 2)
    assert unknown.basis == "popularity"


def test_an_unknown_user_and_an_empty_history_get_what_is_popular_and_are_told():
    log = [("a", "x"), ("b", "x"), ("c", "y"), ("a", "z"), ("b", "z"), ("c", "z")]
    recommender = Recommender("markov-1").fit(log)
    for answer in recommender.recommend(["nobody", [], np.array([])], k=2):
        assert answer.basis == "popularity"
        assert answer.items == ["z", "x"]


def test_nothing_is_recommended_where_everything_was_seen(sasrec):
    (answer,) = sasrec.recommend([[f"item {n}" for n in range(N_ITEMS)]])
    assert answer.items == []
    assert answer.basis == "history"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("user 1",), "takes a list of users or of sequences, not 'user 1'; for one user write"),
        ((7,), "takes a list of users"),
        ((["user 1"], 0), "k must be a whole number of at least 1, not 0"),
        ((["user 1"], 2.5), "k must be a whole number"),
        ((["user 1"], True), "k must be a whole number"),
        (([{"a": 1}],), "neither a user's id nor a list of items"),
    ],
)
def test_a_question_that_means_nothing_is_refused(sasrec, arguments, said):
    with pytest.raises(UsageError, match=said):
        sasrec.recommend(*arguments)


def test_nothing_can_be_asked_before_fitting():
    for ask in (
        lambda r: r.recommend([[]]),
        lambda r: r.evaluate(),
        lambda r: r.save("x"),
        lambda r: r.export_onnx("x"),
    ):
        with pytest.raises(UsageError, match="is not fitted; call fit or load first"):
            ask(Recommender("popularity"))


def test_it_has_the_habits_of_scikit_learn():
    recommender = Recommender("sasrec", seed=3, epochs=2)
    assert recommender.get_params() == {"model": "sasrec", "seed": 3, "epochs": 2}
    assert recommender.set_params(epochs=4) is recommender
    assert recommender.get_params()["epochs"] == 4
    assert repr(recommender) == "Recommender('sasrec', seed=3, epochs=4)"
    assert recommender.fit(events()) is recommender
    assert (recommender.n_items_, len(recommender.user_ids_)) == (N_ITEMS, 40)
    with pytest.raises(UsageError, match="has no option 'speed'"):
        recommender.set_params(speed=1)
    from sklearn.base import clone

    assert clone(recommender).get_params() == recommender.get_params()


class _DataSet:
    """What a data set of Hugging Face looks like from here: names, and columns by name."""

    def __init__(self, columns):
        self._columns = columns

    @property
    def column_names(self):
        return list(self._columns)

    def __getitem__(self, name):
        return self._columns[name]


class _ArrowColumn(tuple):
    """What a column of an Arrow table looks like from here."""

    __slots__ = ()

    def to_numpy(self):
        return np.array(self, dtype=object)

    def to_pylist(self):
        return list(self)


def frames():
    columns = dict(zip(("user", "item", "time"), zip(*events(), strict=True), strict=True))
    columns = {name: list(values) for name, values in columns.items()}
    return {
        "pandas": pd.DataFrame(columns),
        "polars": pl.DataFrame(columns),
        "mapping": columns,
        "data set": _DataSet(columns),
        "arrow": _DataSet({name: _ArrowColumn(values) for name, values in columns.items()}),
        "rows": events(),
        "log": build_log(*columns.values()),
    }


@pytest.mark.parametrize("kind", frames())
def test_frames_columns_and_rows_are_one(kind, tmp_path):
    log, wanted = read_interactions(frames()[kind]), frames()["log"]
    assert (log.item == wanted.item).all()
    assert (log.time == wanted.time).all()
    assert log.item_ids == wanted.item_ids


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_csv_file_is_the_same_log(tmp_path, delimiter):
    path = tmp_path / "events.csv"
    lines = [delimiter.join(("user_id", "item_id", "timestamp"))]
    lines += [delimiter.join(map(str, event)) for event in events()]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    log = read_interactions(path)
    assert (log.item == frames()["log"].item).all()
    assert log.item_ids[0] == "item 0"


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_whole_numbers_with_gaps_stay_whole_numbers(make):
    frame = make({"user": [1, 1, None], "item": [7, 8, 9]})
    log = read_interactions(frame)
    assert [type(item) for item in log.item_ids] == [int, int]
    assert log.cleaning.rejections == ("row 2: no user",)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_dates_of_a_frame_are_times(make):
    days = [date(2020, 1, 3), date(2020, 1, 1), date(2020, 1, 2)]
    frame = make({"user": ["u"] * 3, "item": list("abc"), "date": days})
    if make is pd.DataFrame:
        frame["date"] = pd.to_datetime(frame["date"])
    log = read_interactions(frame)
    assert [log.item_ids[item - 1] for item in log.item] == ["b", "c", "a"]


def test_a_lazy_frame_is_told_what_it_lacks():
    with pytest.raises(UsageError, match=r"no rows yet; pass frame.collect\(\)"):
        read_interactions(pl.DataFrame({"user": ["u"], "item": ["a"]}).lazy())


def test_columns_may_have_numbers_for_names():
    frame = pd.DataFrame([["u", "a"], ["u", "b"]])
    assert read_interactions(frame, user="0", item="1").item_ids == ["a", "b"]


def test_columns_may_be_named_and_a_missing_one_is():
    frame = pd.DataFrame({"who": ["a", "a"], "isbn": ["x", "y"]})
    assert len(read_interactions(frame, user="who", item="isbn")) == 2
    with pytest.raises(UsageError, match=r"which column is the user.*say user="):
        read_interactions(frame)
    with pytest.raises(UsageError, match="no column 'when'; there are who, isbn"):
        read_interactions(frame, user="who", item="isbn", time="when")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line should name the columns and is empty"),
        ("a,b\n1,2\n", "which column is the user"),
        ("user,item\n", "no interactions: 0 rows read"),
        ("user,item,time\nu,a,never\n", "row 2: no time"),
    ],
)
def test_a_csv_file_that_holds_no_log_is_named(tmp_path, text, said):
    path = tmp_path / "events.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said) as caught:
        read_interactions(path)
    assert "events.csv" in str(caught.value)


def test_a_delimiter_inside_a_quoted_name_parts_nothing(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text('"user","item","price|EUR; gross"\n"Lee, Ann","a|b",3\n', encoding="utf-8")
    log = read_interactions(path)
    assert (log.user_ids, log.item_ids) == (["Lee, Ann"], ["a|b"])


def test_lines_in_another_encoding_are_named_and_never_read_as_something_else(tmp_path):
    path = tmp_path / "events.csv"
    path.write_bytes("user,item\nJürgen,tea\nAnn,tea\nAnn,Käse\n".encode("latin-1"))
    log = read_interactions(path)
    assert (log.user_ids, log.item_ids) == (["Ann"], ["tea"])
    assert log.cleaning.rejections == (
        "row 2: the user 'J\\udcfcrgen' is no text in UTF-8",
        "row 4: the item 'K\\udce4se' is no text in UTF-8",
    )


def test_broken_lines_of_a_csv_file_are_counted_and_the_rest_goes_in(tmp_path):
    path = tmp_path / "events.csv"
    path.write_text('user,item,time\nu,a,1\nu\n\n"two words",b,2\nu,c,x\n', encoding="utf-8")
    log = read_interactions(path)
    assert list(log.user_ids) == ["u", "two words"]
    assert log.cleaning.rejected == 3
    assert log.cleaning.rejections == ("row 3: no item", "row 4: no user", "row 6: no time")


def test_a_file_that_is_not_there_and_rows_that_are_none_are_refused(tmp_path):
    with pytest.raises(UsageError, match="there is no such file"):
        read_interactions(tmp_path / "none.csv")
    with pytest.raises(UsageError, match="row 0 is 'ab'; give"):
        read_interactions(["ab"])


def test_held_out_events_are_what_evaluate_is_about():
    recommender = Recommender("markov-1").fit(events(), hold_out=True)
    found = recommender.evaluate()
    assert len(found) == 40
    assert found["hr@1"] == 1.0
    with pytest.raises(UsageError, match="nothing was held out"):
        Recommender("markov-1").fit(events()).evaluate()
    with pytest.raises(UsageError, match="hold_out needs users with three events"):
        Recommender("markov-1").fit([("a", "x"), ("a", "y")], hold_out=True)


def test_later_events_are_evaluated_by_ids_and_unknown_targets_are_left_out(fitted):
    later = [
        ("a", "item 3"), ("a", "what is this"), ("a", "item 4"),
        ("b", "item 3"), ("b", "unheard of"),
        ("c", "item 5"),
    ]  # fmt: skip
    found = fitted["markov-1"].evaluate(later)
    assert len(found) == 1
    assert found["hr@1"] == 1.0
    with pytest.raises(UsageError, match="no user of these interactions has a last event"):
        fitted["markov-1"].evaluate([("a", "strange"), ("a", "stranger")])


@pytest.mark.parametrize("name", ["sasrec", "markov-1", "item-knn", "popularity"])
def test_one_item_per_user_is_answered_as_well_as_can_be(name):
    lonely = [(f"u{n}", f"i{n % 3}") for n in range(9)]
    if name == "sasrec":
        with pytest.raises(UsageError, match="nothing to learn: no user has two events"):
            Recommender(name, **FAST).fit(lonely)
    else:
        (answer,) = Recommender(name).fit(lonely).recommend(["u0"])
        assert sorted(answer.items) == ["i1", "i2"]


@pytest.mark.parametrize("name", ["sasrec", "bert4rec", "gru4rec", "markov-3", "popularity"])
def test_a_catalogue_of_one_item_is_recommended_or_not(name):
    options = {} if name in COUNTING else {**FAST, "epochs": 2}
    recommender = Recommender(name, **options).fit([("a", "x"), ("a", "x"), ("b", "x")])
    assert recommender.recommend(["a"])[0].items == []
    assert recommender.recommend(["a"], exclude_seen=False)[0].items == ["x"]


def test_a_user_of_100_000_events_is_fitted_and_answered():
    log = build_log(["u"] * 100_000, [n % 500 for n in range(100_000)])
    recommender = Recommender("markov-3").fit(log)
    (answer,) = recommender.recommend(["u"], k=3, exclude_seen=False)
    assert answer.items[0] == 0
    assert recommender.recommend(["u"])[0].items == []


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(), st.integers(), st.booleans(), st.floats(allow_nan=False), st.binary(),
            st.dates(), st.datetimes(), st.uuids(),
            st.tuples(st.text(), st.integers(), st.tuples(st.dates())),
        )
    )
)  # fmt: skip
def test_ids_come_back_from_json_as_they_were(ids):
    back = ids_from_json(json.loads(json.dumps(ids_to_json(ids))))
    assert back == ids
    assert [type(value) for value in back] == [type(value) for value in ids]


def test_ids_of_any_type_are_recommended_and_saved(tmp_path):
    ids = ["two words", 7, "7", (1, "x"), UUID(int=5), date(2020, 1, 1), b"raw", 2.5, ""]
    log = [(("tuple", n % 2), item) for n in range(4) for item in ids[:-1]]
    recommender = Recommender("markov-1").fit(log)
    recommender.save(tmp_path / "model")
    loaded = Recommender.load(tmp_path / "model")
    (answer,) = loaded.recommend([("tuple", 1)], exclude_seen=False)
    assert set(answer.items) == set(ids[:-1])
    with pytest.raises(UsageError, match=r"of type complex cannot be saved"):
        Recommender("popularity").fit([("u", 1j), ("u", 2)]).save(tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_file_without_histories_knows_items_and_no_users(sasrec, tmp_path):
    sasrec.save(tmp_path / "model", with_histories=False)
    loaded = Recommender.load(tmp_path / "model")
    assert loaded.recommend([["item 1"]])[0].items == sasrec.recommend([["item 1"]])[0].items
    assert loaded.recommend(["user 1"])[0].basis == "popularity"
    assert b"user 1" not in (tmp_path / "model").read_bytes()


def test_a_file_of_another_version_is_refused_in_one_line(sasrec, tmp_path):
    sasrec.save(tmp_path / "model")
    save_file(
        load_file(tmp_path / "model"),
        tmp_path / "newer",
        {"format": "paperround-recommender", "version": "2", "paperround": "9.9"},
    )
    with pytest.raises(UsageError, match=r"of version 2, written by Paperround 9.9; this program"):
        Recommender.load(tmp_path / "newer")


def test_what_is_no_recommender_is_refused(sasrec, tmp_path):
    path = tmp_path / "model"
    with pytest.raises(UsageError, match="there is no such file"):
        Recommender.load(path)
    path.write_bytes(b"anything at all")
    with pytest.raises(UsageError, match="is no whole recommender file"):
        Recommender.load(path)
    save_file({"weights": torch.zeros(2)}, path)
    with pytest.raises(UsageError, match="holds no recommender of Paperround"):
        Recommender.load(path)
    sasrec.save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UsageError, match="is no whole recommender file"):
        Recommender.load(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_gives_the_same_ranking(fitted, name, tmp_path):
    recommender, path = fitted[name], tmp_path / "model.onnx"
    recommender.export_onnx(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    ids, max_len = ids_from_json(json.loads(about["item_ids"])), int(about["max_len"])
    assert ids == recommender.item_ids_
    queries = [["item 1"], ["item 2", "item 3", "item 4"], [f"item {n % 12}" for n in range(70)]]
    items = np.zeros((len(queries), max_len), dtype=np.int64)
    for row, query in enumerate(queries):
        codes = [recommender.code_of(item) for item in query][-max_len:]
        items[row, : len(codes)] = codes
    (scores,) = session.run(["scores"], {"items": items})
    answers = recommender.recommend(queries, k=N_ITEMS, exclude_seen=False)
    for row, answer in zip(scores, answers, strict=True):
        found, values = best_items(row.copy(), N_ITEMS, np.array([], dtype=np.int64))
        assert [ids[code - 1] for code in found] == answer.items
        assert values == pytest.approx(answer.scores, abs=1e-4)
    (alone,) = session.run(["scores"], {"items": items[:1]})
    assert alone[0] == pytest.approx(scores[0], abs=1e-4)


def test_a_counting_model_has_no_graph(fitted, tmp_path):
    with pytest.raises(UsageError, match="counts and has no graph to export"):
        fitted["markov-1"].export_onnx(tmp_path / "model.onnx")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=60),
    st.integers(1, 70),
    st.sets(st.integers(1, 60)),
)
def test_the_best_items_are_those_of_a_full_sort_ties_by_code(values, k, out):
    scores = np.array([np.inf, *map(float, values)])
    excluded = np.array([code for code in sorted(out) if code < len(scores)], dtype=np.int64)
    ranked = sorted(
        (-score, code) for code, score in enumerate(scores) if code != 0 and code not in excluded
    )
    items, best = best_items(scores.copy(), k, excluded)
    assert items.tolist() == [code for _, code in ranked[:k]]
    assert best.tolist() == [-score for score, _ in ranked[:k]]


@pytest.mark.parametrize("spread", [0.0, 1.0])
@pytest.mark.parametrize("with_bias", [False, True])
def test_two_passes_over_a_large_catalogue_find_exactly_the_best(spread, with_bias):
    generator = torch.Generator().manual_seed(0)
    n = LARGE_CATALOGUE + 3
    table = torch.randn(n + 1, 16, generator=generator)
    # Rows of very different lengths are what coarse copies are bad at.
    table *= torch.exp(spread * torch.randn(n + 1, 1, generator=generator))
    bias = torch.randn(n + 1, generator=generator) if with_bias else None
    index = ItemIndex(table, bias)
    assert index.in_two_passes
    hidden = torch.randn(5, 16, generator=generator)
    scores = hidden @ table.T + (0 if bias is None else bias)
    excluded = [np.arange(1, 50_000), *[np.array([], dtype=np.int64)] * 4]
    for row, (items, best) in enumerate(index.best(hidden, 20, excluded)):
        wanted, values = best_items(scores[row].numpy().copy(), 20, excluded[row])
        assert items.tolist() == wanted.tolist()
        assert best == pytest.approx(values, abs=1e-3)


def test_equal_items_of_a_large_catalogue_are_ordered_by_code():
    n = LARGE_CATALOGUE + 3
    index = ItemIndex(torch.ones(n + 1, 4))
    ((items, _),) = index.best(torch.ones(1, 4), 5, [np.array([2])])
    assert items.tolist() == [1, 3, 4, 5, 6]
