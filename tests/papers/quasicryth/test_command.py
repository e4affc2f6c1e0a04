"""`paperround quasicryth`: a file in, a file out, and nothing half-written ever."""

import json

import pytest

from paperround.cli import call
from paperround.errors import UsageError
from paperround.papers.quasicryth import decompress
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
