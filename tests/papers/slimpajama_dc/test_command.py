"""`python -m paperround.papers.slimpajama_dc`: any JSONL in, the lines that stay out."""

import gzip
import json
import lzma
import subprocess
import sys

import pytest

from paperround.papers.slimpajama_dc.__main__ import main

TEXTS = [" ".join(f"{w}{i}" for i in range(60)) for w in ("red", "red", "blue", "green")]


@pytest.fixture
def corpus(tmp_path):
    """Four good lines, the second a copy of the first from another source, and a short one."""
    path = tmp_path / "docs.jsonl"
    rows = [
        {"text": text, "src": src}
        for text, src in zip([*TEXTS, "short"], ["web", "news", "web", "web", "web"], strict=True)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments, capsys):
    status = main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_kept_lines_are_written_byte_for_byte(corpus, tmp_path, capsys):
    out = tmp_path / "kept.jsonl"
    status, printed, err = run(corpus, "--out", out, "--json", capsys=capsys)
    lines = corpus.read_bytes().splitlines(keepends=True)
    assert (status, err) == (0, "")
    assert out.read_bytes() == lines[0] + lines[2] + lines[3]
    counts = json.loads(printed)
    assert {k: counts[k] for k in ("read", "rejected", "short", "duplicates", "kept")} == {
        "read": 5,
        "rejected": 0,
        "short": 1,
        "duplicates": 1,
        "kept": 3,
    }
    assert counts["bytes_kept"] == len(out.read_bytes())
    assert counts["bytes_read"] == corpus.stat().st_size


def test_local_scope_keeps_the_copy_of_another_source(corpus, capsys):
    arguments = ("--scope", "local", "--source-key", "src", "--json")
    status, printed, _ = run(corpus, *arguments, capsys=capsys)
    assert status == 0
    assert json.loads(printed)["duplicates"] == 0


def test_bad_lines_are_located_counted_and_left_out(corpus, tmp_path, capsys):
    with corpus.open("ab") as file:
        file.write(b'{"body": 1}\n[]\nnot json\n{"text": 7}\n\xff\n')
        file.write(json.dumps({"text": TEXTS[2]}).encode())
    out = tmp_path / "kept.jsonl"
    status, printed, err = run(corpus, "--out", out, "--json", capsys=capsys)
    assert status == 1
    counts = json.loads(printed)
    assert (counts["read"], counts["rejected"], counts["duplicates"]) == (11, 5, 2)
    assert "line 6: no 'text'" in err
    assert "line 7: list where an object should be" in err
    assert "line 9: 'text' is int, not a string" in err
    assert len(out.read_bytes().splitlines()) == 3


def test_a_line_without_its_source_is_rejected_whole(corpus, capsys):
    with corpus.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"text": TEXTS[3]}) + "\n")
    status, printed, err = run(corpus, "--source-key", "src", "--json", capsys=capsys)
    assert status == 1
    assert "line 6: no 'src'" in err
    assert json.loads(printed)["rejected"] == 1


@pytest.mark.parametrize(("suffix", "opened"), [(".gz", gzip.open), (".xz", lzma.open)])
def test_compressed_files_are_opened(corpus, suffix, opened, capsys):
    packed = corpus.with_name(corpus.name + suffix)
    with opened(packed, "wb") as file:
        file.write(corpus.read_bytes())
    status, printed, _ = run(packed, capsys=capsys)
    assert status == 0
    assert "duplicates       1" in printed


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scope", "local"], "--source-key"),
        (["--threshold", "3"], "threshold is 3.0"),
        (["--ngram", "0"], "ngram is 0"),
    ],
)
def test_wrong_options_end_with_status_2_and_one_line(corpus, arguments, says, capsys):
    status, printed, err = run(corpus, *arguments, capsys=capsys)
    assert (status, printed) == (2, "")
    assert says in err
    assert len(err.splitlines()) == 1


def test_a_missing_file_ends_with_status_3_and_leaves_no_output(tmp_path, capsys):
    out = tmp_path / "kept.jsonl"
    status, _, err = run(tmp_path / "absent.jsonl", "--out", out, capsys=capsys)
    assert status == 3
    assert "absent.jsonl" in err
    assert list(tmp_path.iterdir()) == []


def test_it_runs_as_a_module(corpus):
    done = subprocess.run(
        [sys.executable, "-m", "paperround.papers.slimpajama_dc", str(corpus), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["kept"] == 3
