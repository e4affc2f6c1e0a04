"""`paperround search --batch`: what standard tools of evaluation read."""

import json
from pathlib import Path

import pytest

from paperround.cli import call
from paperround.settings import Settings


@pytest.fixture
def corpus(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    texts = [
        ("d1", "Zebras", "Stripes."),
        ("d2", "Apes", "No stripes."),
        ("d3", "Bees", "Stripes?"),
    ]
    path.write_text("\n".join(json.dumps({"_id": i, "title": t, "text": x}) for i, t, x in texts))
    assert call(["import", "jsonl", "--map", "id=_id,abstract=text", str(path)]) == 0
    return path


def queries(path: Path, *rows: object) -> str:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return str(path)


@pytest.mark.usefixtures("corpus")
def test_a_run_has_six_columns_and_the_corpus_own_ids(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    asked = queries(
        tmp_path / "q.jsonl", {"_id": "q1", "text": "apes stripes"}, {"_id": "q2", "text": "bees"}
    )
    assert call(["search", "--batch", asked, "--mode", "words", "--tag", "mine"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {len(row) for row in rows} == {6}
    assert next(row[2] for row in rows if row[0] == "q1") == "d2"
    assert {row[2] for row in rows if row[0] == "q1"} == {"d1", "d2", "d3"}
    assert [row[:4] for row in rows if row[0] == "q2"] == [["q2", "Q0", "d3", "1"]]
    assert {row[5] for row in rows} == {"mine"}
    for query in ("q1", "q2"):
        scores = [float(row[4]) for row in rows if row[0] == query]
        assert scores == sorted(scores, reverse=True)
        ranks = [int(row[3]) for row in rows if row[0] == query]
        assert ranks == list(range(1, len(ranks) + 1))


@pytest.mark.usefixtures("corpus")
@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([], "no queries"),
        (["{"], "1 lines are no queries"),
        ([{"_id": "q1"}], "1 lines are no queries"),
        (["[1, 2]"], "1 lines are no queries"),
    ],
)
def test_a_file_that_holds_no_queries_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[object], says: str
) -> None:
    assert call(["search", "--batch", queries(tmp_path / "q.jsonl", *rows)]) == 2
    assert says in capsys.readouterr().err


def test_usage_is_one_line(
    settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = queries(tmp_path / "q.jsonl", {"_id": "q1", "text": "x"})
    for arguments in (
        [],
        ["a query", "--batch", asked],
        ["--batch", str(tmp_path / "absent.jsonl")],
        ["--batch", asked, "--tag", "two words"],
    ):
        assert call(["search", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
