"""`paperround recommend` as scripts rely on it."""

import json

import pytest

from paperround.cli import call

FAST = ["--set", "epochs=3", "--set", "d_model=16", "--set", "max_len=8"]


@pytest.fixture
def events(tmp_path):
    """A file of 30 users who walk around a circle of 12 items."""
    path = tmp_path / "events.csv"
    lines = ["user,item,timestamp"]
    lines += [
        f"user {user},item {(user + step) % 12},{100 * step}"
        for user in range(30)
        for step in range(8)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def said(capsys):
    """Standard output's JSON lines, and standard error."""
    printed = capsys.readouterr()
    return [json.loads(line) for line in printed.out.splitlines()], printed.err


def test_fit_writes_a_file_that_recommend_and_evaluate_take(events, tmp_path, capsys):
    out = tmp_path / "shop.model"
    command = ["recommend", "fit", str(events), "--model", "sasrec", "--out", str(out), *FAST]
    assert call([*command, "--json"]) == 0
    ((summary,), _) = said(capsys)
    assert (summary["users"], summary["items"], summary["events"]) == (30, 12, 240)
    assert summary["epochs"] == 3
    assert summary["file"] == str(out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []

    asked = ["recommend", "recommend", str(events), "--model", str(out), "-k", "3", "--json"]
    assert call([*asked, "--user", "user 3", "--user", "nobody"]) == 0
    ((known, unknown), _) = said(capsys)
    assert known["user"] == "user 3"
    assert known["basis"] == "history"
    assert len(known["items"]) == 3
    assert unknown["basis"] == "popularity"

    assert call(["recommend", "evaluate", str(events), "--model", str(out), "--json"]) == 0
    ((found,), _) = said(capsys)
    assert found["cases"] == 30


def test_a_model_by_name_is_fitted_on_the_spot(events, capsys):
    asked = ["recommend", "recommend", str(events), "--model", "markov-1", "-k", "1"]
    assert call([*asked, "--json", "--user", "user 0"]) == 0
    (((answer),), _) = said(capsys)
    assert answer["items"][0]["item"] == "item 8"
    assert call(asked) == 0
    assert len(capsys.readouterr().out.splitlines()) == 30


def test_evaluate_holds_out_and_says_under_which_flags(events, capsys):
    asked = ["recommend", "evaluate", str(events), "--model", "markov-1"]
    assert call([*asked, "--json"]) == 0
    ((found,), _) = said(capsys)
    assert found["hr@10"] == 1.0
    assert "seen items ranked" in found["flags"]
    assert call([*asked, "--mask-seen"]) == 0
    assert "seen items masked" in capsys.readouterr().out


def test_rejected_lines_are_named_and_the_status_says_so(events, capsys):
    with events.open("a", encoding="utf-8") as file:
        file.write("user 1,,5\nuser 1,item 1,tomorrow\n")
    assert call(["recommend", "evaluate", str(events), "--model", "popularity", "--json"]) == 1
    ((found,), told) = said(capsys)
    assert found["rejected"] == 2
    assert "row 242: no item" in told
    assert "row 243: no time" in told


def test_an_interrupted_fit_goes_on_and_leaves_no_trace(events, tmp_path, capsys, monkeypatch):
    from paperround.kit.recommendation import training

    out, usual = tmp_path / "model", training.Trainer._epoch

    def interrupted(self, epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return usual(self, epoch)

    command = ["recommend", "fit", str(events), "--out", str(out), *FAST, "--json"]
    monkeypatch.setattr(training.Trainer, "_epoch", interrupted)
    assert call(command) == 130
    assert not out.exists()
    assert (tmp_path / ".model.training").is_file()
    done = []
    monkeypatch.setattr(
        training.Trainer, "_epoch", lambda self, epoch: done.append(epoch) or usual(self, epoch)
    )
    capsys.readouterr()
    assert call(command) == 0
    assert done == [3]
    assert out.is_file()
    assert not (tmp_path / ".model.training").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "EVENTS", "--model", "sasrek"], "no model 'sasrek'; there are"),
        (["evaluate", "NOWHERE"], "there is no such file"),
        (["evaluate", "EVENTS", "--set", "speed=2"], "has no option 'speed'"),
        (["evaluate", "EVENTS", "--set", "speed"], "--set takes NAME=VALUE, not 'speed'"),
        (["evaluate", "EVENTS", "--set", "epochs=0"], "epochs must be at least 1, not 0"),
        (["evaluate", "EVENTS", "--column", "size=x"], "takes user=, item= or time=, not 'size'"),
        (["evaluate", "EVENTS", "--column", "item=x"], "no column 'x'; there are user, item"),
        (["evaluate", "EVENTS", "--time-unit", "h"], "'h' is not one of"),
        (["recommend", "EVENTS", "-k", "0"], "-k"),
        (["fit", "EVENTS"], "--out"),
        (["fit", "EVENTS", "--model", "EVENTS", "--out", "x"], "holds no recommender|no whole"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_usage_error_is_one_line_and_status_2(arguments, message, events, capsys):
    import re

    places = {"EVENTS": str(events), "NOWHERE": str(events.with_name("nowhere.csv"))}
    assert call(["recommend", *[places.get(part, part) for part in arguments]]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.search(message, " ".join(printed.err.split()))
    assert "Traceback" not in printed.err
