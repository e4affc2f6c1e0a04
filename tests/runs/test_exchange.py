"""What another Paperround exported is read, checked, and not believed where it can be computed."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from paperround.db import read, write
from paperround.errors import CardError, UsageError
from paperround.runs.card import Scale
from paperround.runs.exchange import export_json, import_result, read_foreign
from paperround.runs.export import result_markdown, result_notebook
from paperround.runs.records import Origin, keep_result, results_kept
from paperround.runs.results import Result

EVENTS = (
    {"kind": "stage-end", "stage": "count", "seconds": 1.5},
    {"kind": "asset", "name": "ml-1m", "sha256": "ab" * 32},
    {"kind": "measure", "claim": "faster", "value": 2.0, "baseline": 1.0, "seed": 0},
    {"kind": "measure", "claim": "faster", "value": 1.0, "baseline": 1.0, "seed": 1},
    {"kind": "table", "title": "T", "columns": ["a"], "rows": [[1], [None], ["=1|2"]], "note": ""},
    {
        "kind": "series",
        "title": "S",
        "lines": {"a": [[0.0, 1.0]]},
        "x_label": "x",
        "y_label": "y",
        "x_log": False,
        "y_log": False,
        "note": "",
    },
    {"kind": "sample", "title": "S", "parts": [{"label": "a", "text": "ü"}], "note": ""},
    {"kind": "note", "text": "so it is"},
)


def a_result(room, events=EVENTS, **changes) -> Result:
    options = {
        "status": "finished",
        "reason": "",
        "started_at": datetime(2026, 4, 13, 12, tzinfo=UTC),
        "seconds": 1.0,
        "seeds": (0, 1),
        "environment": {"processor": "A", "cores": 2, "versions": {"torch": "2.13"}},
        "card_sha256": room.card_sha256,
    }
    return Result.from_events(room.card, Scale.QUICK, events, **{**options, **changes})


def test_what_is_exported_is_read_back_equal_and_without_the_paper_installed(make_room):
    result = a_result(make_room())
    foreign = read_foreign(export_json(result).encode())
    assert foreign.result == result
    assert foreign.result.id == result.id
    assert foreign.corrections == ()


def test_a_verdict_in_a_file_is_computed_again_and_said(make_room):
    data = json.loads(export_json(a_result(make_room())))
    data["claims"][0] |= {"verdict": "falls short", "value": 99.0, "bar": {"at_least": -1e300}}
    foreign = read_foreign(json.dumps(data).encode())
    assert foreign.result.claims[0].verdict == "holds"
    assert foreign.result.claims[0].value == 1.5
    [said] = foreign.corrections
    assert said == "faster: the file says 'falls short', its measurements say 'holds'"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seconds": 9.0}, "changed after it was exported"),
        ({"measurements": []}, "changed after it was exported"),
        ({"card_sha256": "00" * 32}, "its card has the checksum"),
        ({"card": None, "id": None}, None),
        ({"card": {"slug": "little"}}, "its card cannot be read"),
        ({"slug": "other"}, "says that it is of other"),
        ({"paper": "other"}, "says that it is of little"),
        ({"format": 2}, "format"),
        ({"extra": 1}, "extra"),
        ({"started_at": "2026-04-13T12:00:00"}, "started_at"),
        ({"seconds": -1}, "seconds"),
        ({"seeds": ["one"]}, "seeds"),
        ({"environment": {"a": {"b": {"c": 1}}}}, "environment"),
        ({"status": "excellent"}, "status"),
        ({"seconds": "1.0"}, "seconds"),
        ({"environment": {"cores": "two"}}, "environment.cores"),
        ({"environment": {"memory_gb": "lots"}}, "environment.memory_gb"),
        ({"environment": {"versions": ["torch"]}}, "environment.versions"),
        ({"environment": {"x" * 400: 1}}, "environment"),
        ({"started_at": "0001-01-01T00:00:00+14:00"}, "the year 1"),
        ({"claims": [{"id": [], "verdict": {}}], "seconds": 2}, "changed after"),
        ({"measurements": [{"claim": "better", "value": 1.0}]}, "broken event"),
        (
            {"measurements": [{"claim": "no", "value": 1.0, "baseline": None, "seed": None}]},
            "no claim 'no'",
        ),
        (
            {"measurements": [{"claim": "faster", "value": 1.0, "baseline": None, "seed": 7}]},
            "not one of the run's",
        ),
        ({"tables": [{"title": "T", "columns": ["a"], "rows": [[]], "note": ""}]}, "a cell per"),
        ({"samples": [{"title": "S", "parts": [{"label": "a", "png": "<"}], "note": ""}]}, "event"),
    ],
)
def test_a_file_that_does_not_agree_with_itself_is_refused(make_room, change, says):
    room = make_room()
    data = {**json.loads(export_json(a_result(room))), **change}
    if says is None:
        # Without a card the same paper, installed here, lends its own.
        with pytest.raises(CardError, match="carries no card"):
            read_foreign(json.dumps(data).encode())
        assert read_foreign(json.dumps(data).encode(), [room]).result.card is None
        return
    with pytest.raises(CardError, match=says):
        read_foreign(json.dumps(data).encode(), [room])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"{}",
        b"\xff\xfe",
        b'{"format": NaN}',
        b"[" * 100_000,
        b'{"format": 1, "seconds": Infinity}',
    ],
)
def test_what_is_no_result_is_refused_in_one_line(data):
    with pytest.raises(CardError, match="not a result") as raised:
        read_foreign(data)
    assert "\n" not in str(raised.value)


def test_imported_twice_it_is_there_once_and_says_where_it_came_from(make_room, engine, tmp_path):
    path = tmp_path / "lab.json"
    path.write_text(export_json(a_result(make_room())), encoding="utf-8")
    for is_new in (True, False):
        with write(engine) as connection:
            assert import_result(connection, path, note="the lab").is_new is is_new
    with read(engine) as connection:
        [view] = results_kept(connection)
    assert (view.origin, view.origin_note) == ("imported", "the lab")


def test_a_result_of_this_machine_that_comes_back_stays_its_own(make_room, engine, tmp_path):
    path = tmp_path / "mine.json"
    result = a_result(make_room())
    path.write_text(export_json(result), encoding="utf-8")
    with write(engine) as connection:
        keep_result(connection, result, Origin.HERE)
        assert not import_result(connection, path).is_new
        assert [view.origin for view in results_kept(connection)] == ["here"]


def test_a_file_that_cannot_be_read_says_its_name(engine, tmp_path, monkeypatch):
    monkeypatch.setattr("paperround.runs.exchange.FILE_LIMIT_BYTES", 10)
    large = tmp_path / "large.json"
    large.write_text("x" * 11)
    with write(engine) as connection:
        with pytest.raises(UsageError, match=r"nothing\.json: No such file"):
            import_result(connection, tmp_path / "nothing.json")
        with pytest.raises(UsageError, match=r"large\.json.*at most"):
            import_result(connection, large)


def test_markdown_keeps_foreign_words_from_being_markup(make_room):
    note = {"kind": "note", "text": "<script>alert(1)</script> | [x](javascript:1)\n# no"}
    text = result_markdown(a_result(make_room(), [*EVENTS, note]))
    assert "| It is faster. | 3.1 | 1 | 1.5 (1 to 2) | ≥ 1.5 | holds |" in text
    assert r"\<script\>" in text
    assert "<script>" not in text
    assert r"=1\|2" in text
    assert "\n# no" not in text


def test_the_notebook_measures_again_and_compares(make_room, settings, tmp_path):
    room = make_room("for seed in run.seeds: run.measure('faster', 2.0 + seed, seed=seed)")
    events = [{"kind": "measure", "claim": "faster", "value": 5.0, "baseline": None, "seed": 1}]
    notebook = json.loads(result_notebook(a_result(room, events, seeds=(1,))))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    code = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=True
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("faster"))
    assert line.split() == ["faster", "5", "3", "0.60", "holds"]


def test_nothing_in_a_result_becomes_code_of_the_notebook(make_room):
    result = a_result(make_room())
    hostile = "''' + __import__('os').system('true') + '''\\"
    odd = Result(**{**result.__dict__, "slug": hostile, "paper": hostile})
    for cell in json.loads(result_notebook(odd))["cells"]:
        if cell["cell_type"] == "code":
            names = compile("".join(cell["source"]), "cell", "exec").co_names
            assert "__import__" not in names
