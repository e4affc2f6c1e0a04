"""`paperround import`, `paper show` and `paper split`, as a shell has them."""

import gzip
import json
from pathlib import Path

import pytest

from paperround.cli import call
from paperround.settings import Settings

ROWS = (
    '{"_id": 7, "title": "Forgetting mixtures", "text": "We study."}\n'
    '{"_id": 8, "title": ""}\n'
    '{"_id": 9, "title": "Cracks", "text": "Bridges age.", "published": "0000-01-01"}\n'
    '{"_id": 10, "title": "Bridges", "text": "Bridges age."}\n'
)


@pytest.fixture
def rows(tmp_path: Path, settings: Settings) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text(ROWS, encoding="utf-8")
    return file


def test_other_peoples_rows_go_in_and_what_is_rejected_is_written_down(
    rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rejects = tmp_path / "rejects.jsonl"
    options = ["--map", "id=_id,abstract=text", "--rejects", str(rejects), "--json"]
    assert call(["import", "jsonl", str(rows), *options]) == 1
    counts = json.loads(capsys.readouterr().out)
    assert {name: counts[name] for name in ("read", "added", "rejected")} == {
        "read": 4,
        "added": 2,
        "rejected": 2,
    }
    written = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert [each["place"] for each in written] == ["line 2", "line 3"]
    assert written[0]["reason"] == "no title"
    assert "no such day" in written[1]["reason"]


@pytest.mark.parametrize(
    "options",
    [
        ["jsonl", "--map", "id"],
        ["jsonl", "--map", "titel=t"],
        ["bibtex", "--map", "id=_id"],
        ["arxiv-oai", "sets=cs"],
        ["arxiv-rss", "nothing to see"],
        ["jsonl", "--rejects", "/nowhere/at/all"],
    ],
)
def test_a_wrong_option_is_usage(
    rows: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, *rest = options
    files = [str(rows)] if source in ("jsonl", "bibtex") else []
    assert call(["import", source, *files, *rest]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_merge_is_shown_and_split(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "two.jsonl"
    file.write_text(
        '{"id": "2604.00001", "title": "Forgetting Mixtures", "authors": ["Ann Lee"]}\n'
        '{"source": "lab", "source_key": "7", "title": "Forgetting mixtures", "votes": 3,'
        ' "authors": ["Ann Lee"], "comment": "8 pages"}\n',
        encoding="utf-8",
    )
    assert call(["import", "jsonl", str(file)]) == 0
    capsys.readouterr()
    assert call(["paper", "show", "2604.00001", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [source["source"] for source in shown["sources"]] == ["arxiv", "lab"]
    assert shown["sources"][1]["met_by"] == "title"
    assert "comment" in shown["sources"][1]["gives"]
    assert call(["paper", "show", "2604.00001"]) == 0
    assert "lab 7  (title, " in capsys.readouterr().out
    assert call(["paper", "split", "2604.00001", "lab", "7"]) == 0
    new = capsys.readouterr().out.strip()
    assert new.startswith("forgetting-mixtures-")
    assert call(["paper", "split", "2604.00001", "lab", "7"]) == 2
    # The file again changes nothing.
    capsys.readouterr()
    assert call(["import", "jsonl", str(file), "--json"]) == 0
    counts = json.loads(capsys.readouterr().out)
    assert (counts["added"], counts["updated"], counts["merged"]) == (0, 0, 0)


GOOD = b'{"id": "2604.00001", "title": "Forgetting Mixtures", "authors": ["Ann Lee"]}\n'
OTHER = b'{"id": "2604.00002", "title": "Bridges"}\n'
BOMB = b"""<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]>
<collection><volume><paper id="1"><title>&b;</title></paper></volume></collection>"""
VOLUME = b"""<collection><volume><meta><booktitle>B</booktitle></meta>
<paper id="1"><title>One</title><url>2022.acl-long.1</url></paper>
<paper id="2"><title>Two</title><url>2022.acl-lo"""


@pytest.mark.parametrize(
    ("source", "name", "data", "added", "place", "reason"),
    [
        ("jsonl", "cut.jsonl", GOOD + OTHER[:20], 1, "line 2", "not JSON"),
        ("jsonl", "cut.jsonl.gz", gzip.compress(GOOD)[:-9], 1, "line 2", "could not be read"),
        ("jsonl", "latin.jsonl", GOOD + b'{"title": "Br\xfccken"}\n' + OTHER, 2, "line 2", "UTF-8"),
        (
            "jsonl",
            "long.jsonl",
            GOOD + b'{"title": "' + b"x" * (10 << 20) + b'"}\n' + OTHER,
            2,
            "line 2",
            "longer than 8 MiB",
        ),
        (
            "jsonl",
            "title.jsonl",
            GOOD + b'{"title": "' + b"x" * (5 << 20) + b'"}\n' + OTHER,
            2,
            "line 2",
            "5,242,880 characters",
        ),
        (
            "jsonl",
            "year.jsonl",
            GOOD + b'{"title": "Old", "published": "0000-01-01"}\n' + OTHER,
            2,
            "line 2",
            "no such day",
        ),
        (
            "jsonl",
            "control.jsonl",
            GOOD + b'{"title": "\\u0000\\u0007"}\n' + OTHER,
            2,
            "line 2",
            "no title",
        ),
        (
            "jsonl",
            "twice.jsonl",
            GOOD + b'{"id": "2604.00001", "title": "Cracks", "authors": ["C. Diaz"]}\n' + OTHER,
            2,
            "line 2",
            "another paper under that name",
        ),
        ("acl-anthology", "bomb.xml", BOMB, 0, "the whole file", "document type or entities"),
        ("acl-anthology", "cut.xml", VOLUME, 1, "line 3", "not XML"),
        ("bibtex", "cut.bib", b"@article{a, title={One}}\n@article{b, tit", 1, "line 2", "BibTeX"),
        ("openreview", "cut.json", b'[{"id": "1", "title": "One"}, {"id"', 1, "item 2", "not JSON"),
    ],
)
def test_what_is_broken_is_named_and_everything_good_is_in(
    tmp_path: Path,
    settings: Settings,
    capsys: pytest.CaptureFixture[str],
    source: str,
    name: str,
    data: bytes,
    added: int,
    place: str,
    reason: str,
) -> None:
    file, rejects = tmp_path / name, tmp_path / "rejects"
    file.write_bytes(data)
    assert call(["import", source, str(file), "--rejects", str(rejects), "--json"]) == 1
    counts = json.loads(capsys.readouterr().out)
    assert (counts["added"], counts["rejected"]) == (added, 1)
    (written,) = map(json.loads, rejects.read_text(encoding="utf-8").splitlines())
    assert written["place"].startswith(place)
    assert reason in written["reason"]
