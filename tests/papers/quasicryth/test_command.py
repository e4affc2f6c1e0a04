"""`paperround quasicryth`: a file in, a file out, and nothing half-written ever."""

import io
import json
import os
import sys

import pytest

from paperround.cli import call
from paperround.errors import UsageError
from paperround.papers.quasicryth import decompress, write_qm56
from paperround.papers.quasicryth.command import size_in_bytes


@pytest.fixture
def book(tmp_path):
    path = tmp_path / "book.txt"
    path.write_bytes(b"It was the best of times, it was the worst of times.\n" * 40)
    return path


def test_a_file_there_and_back(book, capsys):
    text = book.read_bytes()
    assert call(["quasicryth", str(book)]) == 0
    packed = book.with_name("book.txt.qcy")
    assert decompress(packed.read_bytes()) == text
    book.unlink()
    assert call(["quasicryth", "-d", str(packed)]) == 0
    assert book.read_bytes() == text
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "book.txt.qcy" in printed.err


def test_json_says_what_was_done(book, capsys):
    assert call(["quasicryth", str(book), "--mode", "fib", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes_read"] == book.stat().st_size
    assert said["bytes_written"] == book.with_name("book.txt.qcy").stat().st_size


def test_nothing_is_overwritten_unasked(book, capsys):
    taken = book.with_name("book.txt.qcy")
    taken.write_bytes(b"precious")
    assert call(["quasicryth", str(book)]) == 2
    assert taken.read_bytes() == b"precious"
    assert "--force" in capsys.readouterr().err
    assert call(["quasicryth", str(book), "--force"]) == 0
    assert decompress(taken.read_bytes()) == book.read_bytes()


def test_a_damaged_file_leaves_nothing_behind(book, capsys):
    packed = book.with_name("bad.qcy")
    packed.write_bytes(b"QCY\x01 something else")
    before = sorted(path.name for path in book.parent.iterdir())
    assert call(["quasicryth", "-d", str(packed)]) == 3
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert sorted(path.name for path in book.parent.iterdir()) == before


def test_a_dictionary_is_trained_and_used(book, tmp_path, capsys):
    folder = tmp_path / "samples"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.txt").write_bytes(book.read_bytes())
    known = tmp_path / "known.qcyd"
    assert call(["quasicryth", str(folder), "--train", "--out", str(known)]) == 0
    assert call(["quasicryth", str(book), "--dictionary", str(known)]) == 0
    packed = book.with_name("book.txt.qcy")
    out = tmp_path / "again.txt"
    assert call(["quasicryth", "-d", str(packed), "--out", str(out)]) == 3
    assert not out.exists()
    with_it = ["--dictionary", str(known)]
    assert call(["quasicryth", "-d", str(packed), "--out", str(out), *with_it]) == 0
    assert out.read_bytes() == book.read_bytes()
    capsys.readouterr()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--mode", "fastest"],
        ["--block-size", "many"],
        ["--block-size", "3"],
        ["-d"],
        ["--train"],
        ["--out", "-", "--json"],
    ],
)
def test_wrong_options_end_with_status_2_and_one_line(book, arguments, capsys):
    assert call(["quasicryth", str(book), *arguments]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert [path.name for path in book.parent.iterdir()] == ["book.txt"]


def test_sizes_are_written_as_people_write_them():
    assert [size_in_bytes(text) for text in ("4096", "512K", "16M", "1g", "2MiB")] == [
        4_096,
        512 << 10,
        16 << 20,
        1 << 30,
        2 << 20,
    ]
    with pytest.raises(UsageError):
        size_in_bytes("-1M")


def test_what_cannot_be_read_or_written_is_said_in_one_line(book, tmp_path, capsys):
    locked = tmp_path / "locked.txt"
    locked.mkdir()
    for arguments, said in (
        ([str(locked)], "is a folder"),
        ([str(tmp_path / "none.txt")], "none.txt: no such file"),
        ([str(book), "--out", str(tmp_path / "none" / "x.qcy")], "none is no folder"),
        ([str(book), "--out", str(locked), "--force"], "is a folder"),
        ([str(book), "--dictionary", str(tmp_path / "none.qcyd")], "none.qcyd: no such file"),
        ([str(tmp_path / "none"), "--train", "--out", str(tmp_path / "x")], "none: no such file"),
    ):
        assert call(["quasicryth", *arguments]) == 2
        printed = capsys.readouterr()
        assert said in printed.err
        assert len(printed.err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["book.txt", "locked.txt"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_named(book, capsys):
    book.chmod(0)
    assert call(["quasicryth", str(book)]) == 2
    assert "book.txt: permission denied" in capsys.readouterr().err


def test_the_permissions_stay_those_of_the_file(book):
    book.chmod(0o640)
    assert call(["quasicryth", str(book)]) == 0
    packed = book.with_name("book.txt.qcy")
    assert packed.stat().st_mode & 0o777 == 0o640
    packed.chmod(0o604)
    assert call(["quasicryth", "-d", str(packed), "--force"]) == 0
    assert book.stat().st_mode & 0o777 == 0o604


def test_a_file_of_the_official_program_comes_back(book, tmp_path):
    packed = tmp_path / "book.qtc"
    packed.write_bytes(write_qm56(book.read_bytes()))
    out = tmp_path / "again.txt"
    assert call(["quasicryth", "-d", str(packed), "--out", str(out)]) == 0
    assert out.read_bytes() == book.read_bytes()
    assert call(["quasicryth", "-d", str(packed), "--out", str(out), "--force"]) == 0
    limit = ["--max-block-size", "1K", "--force"]
    assert call(["quasicryth", "-d", str(packed), "--out", str(out), *limit]) == 3


def test_a_stream_goes_through_standard_input_and_output(book, monkeypatch, capsysbinary):
    text = book.read_bytes()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(text))))
    assert call(["quasicryth", "-"]) == 0
    packed = capsysbinary.readouterr().out
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(packed))))
    assert call(["quasicryth", "-d", "-"]) == 0
    assert capsysbinary.readouterr().out == text


def test_a_terminal_gets_no_compressed_bytes(book, monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert call(["quasicryth", str(book), "--out", "-"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "terminal" in printed.err
