import gzip
import io
import json
import lzma
import sys
import tracemalloc
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources import jsonl, read_source
from paperround.errors import UsageError

LISTING = {
    "id": "1904.11093",
    "title": "Deep Sparse Representation-based Classification",
    "authors": ["Mahdi Abavisani", "Vishal M. Patel"],
    "categories": ["cs.CV", "68T45, 62H30"],
    "comment": None,
    "abstract": "We present a transductive method.",
    "listed": ["2025-10-14", "2025-10-13"],
}


def items(*lines: object) -> list[PaperRecord | Rejected]:
    text = "".join(f"{json.dumps(line) if not isinstance(line, str) else line}\n" for line in lines)
    return list(jsonl.read_lines(io.BytesIO(text.encode("utf-8", "surrogatepass"))))


def test_a_listing_of_arxiv_is_read() -> None:
    assert items(LISTING) == [
        PaperRecord(
            source="arxiv",
            source_key="1904.11093",
            title="Deep Sparse Representation-based Classification",
            abstract="We present a transductive method.",
            authors=("Mahdi Abavisani", "Vishal M. Patel"),
            listed=date(2025, 10, 13),
            categories=("cs.CV", "68T45, 62H30"),
            identifiers={"arxiv": "1904.11093"},
        )
    ]


def test_our_own_shape_says_everything_that_a_record_can_hold() -> None:
    row = {
        "source": "our-lab",
        "source_key": "17",
        "title": "A title",
        "abstract": "An abstract.",
        "authors": ["Ann Lee"],
        "author_count": 2,
        "organisation": "Deep Lab",
        "published": "2025-02-12",
        "listed": "2025-02-14T00:00:00Z",
        "categories": ["cs.CL"],
        "comment": "8 pages",
        "venue": "ICLR 2026",
        "code_url": "https://github.com/a/b",
        "project_url": "https://a.org",
        "pdf_url": "https://a.org/b.pdf",
        "votes": 3,
        "comments": 0,
        "identifiers": {"doi": "10.1/x"},
    }
    assert items(row) == [
        PaperRecord(
            source="our-lab",
            source_key="17",
            title="A title",
            abstract="An abstract.",
            authors=("Ann Lee",),
            author_count=2,
            organisation="Deep Lab",
            published=date(2025, 2, 12),
            listed=date(2025, 2, 14),
            categories=("cs.CL",),
            comment="8 pages",
            venue="ICLR 2026",
            code_url="https://github.com/a/b",
            project_url="https://a.org",
            pdf_url="https://a.org/b.pdf",
            votes=3,
            comments=0,
            identifiers={"doi": "10.1/x"},
        )
    ]


def test_a_title_is_enough_and_unknown_is_not_none() -> None:
    (record,) = items({"title": "Only a title"})
    assert isinstance(record, PaperRecord)
    assert (record.source, record.votes, record.comments) == ("jsonl", None, None)
    assert record.source_key == items({"title": "only a title!"})[0].source_key  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", None),
        ("   ", None),
        ("{", "not JSON"),
        ("[]", "not an object but []"),
        ("null", "not an object but null"),
        ('{"title": 5}', "title is 5; it must be text"),
        ('{"title": null}', "no title"),
        ('{"id": "2312.00858"}', "no title"),
        ('{"title": "T", "authors": "a"}', 'authors is "a"; it must be a list of texts'),
        ('{"title": "T", "authors": [1]}', "authors holds 1; it must be a list of texts"),
        ('{"title": "T", "abstract": {}}', "abstract is {}; it must be text"),
        ('{"title": "T", "votes": true}', "votes is true; it must be a whole number"),
        ('{"title": "T", "votes": 1.5}', "votes is 1.5; it must be a whole number"),
        ('{"title": "T", "published": "0000-00-00"}', "there is no such day"),
        ('{"title": "T", "published": "2025-02-30"}', "there is no such day"),
        ('{"title": "T", "published": 20250212}', "write a day like 2026-04-13"),
        ('{"title": "T", "listed": ["soon"]}', "write a day like 2026-04-13"),
        ('{"title": "T", "identifiers": "x"}', "identifiers is"),
        ('{"title": "T", "identifiers": {"doi": 1}}', "doi is 1; it must be text"),
        ("[" * 100_000, "not a paper"),
        ('{"title": "T", "votes": ' + "9" * 5_000 + "}", "not a paper"),
    ],
)
def test_a_broken_line_is_refused_with_its_number_and_the_rest_goes_in(
    line: str, reason: str | None
) -> None:
    first, *refused, last = items({"title": "One"}, line, {"title": "Two"})
    assert (first.title, last.title) == ("One", "Two")  # type: ignore[union-attr]
    assert last.place == "line 3"
    if reason is None:
        assert refused == []
    else:
        (refusal,) = refused
        assert isinstance(refusal, Rejected)
        assert refusal.place == "line 2"
        assert reason in refusal.reason
        assert len(refusal.reason) < 200


def test_bytes_that_are_not_utf_8_are_refused_with_their_line() -> None:
    raw = b'{"title": "One"}\n{"title": "caf\xe9"}\n'
    assert list(jsonl.read_lines(io.BytesIO(raw)))[1] == Rejected("line 2", "not UTF-8 (byte 0xe9)")


def test_a_byte_order_mark_and_missing_last_newline_are_fine() -> None:
    (record,) = jsonl.read_lines(io.BytesIO(b'\xef\xbb\xbf{"title": "One"}'))
    assert record.title == "One"  # type: ignore[union-attr]


def test_an_endless_line_is_refused_without_being_held() -> None:
    raw = b'{"title": "' + b"x" * (30 << 20) + b'"}\n{"title": "Two"}\n'
    stream = io.BytesIO(raw)
    tracemalloc.start()
    refusal, last = jsonl.read_lines(stream)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refusal == Rejected("line 1", "longer than 8 MiB")
    assert last.title == "Two"  # type: ignore[union-attr]
    assert peak < 20 << 20


@pytest.mark.parametrize("opened", [Path.open, gzip.open, lzma.open])
def test_files_may_be_packed_under_any_name(tmp_path: Path, opened) -> None:  # type: ignore[no-untyped-def]
    file = tmp_path / "papers.data"
    with opened(file, "wb") as out:
        out.write(json.dumps(LISTING).encode() + b"\n")
    assert [item.place for item in read_source("jsonl", [str(file)])] == ["line 1"]


@pytest.mark.parametrize("packed", [gzip.compress, lzma.compress])
def test_a_file_that_breaks_off_gives_what_it_holds_and_says_where_it_ends(
    tmp_path: Path, packed
) -> None:  # type: ignore[no-untyped-def]
    # Numbers that do not repeat, so that packing leaves something to cut.
    lines = [json.dumps({"title": f"Paper {n * 2_654_435_761 % 2**32:x}"}) for n in range(20_000)]
    whole = packed("\n".join(lines).encode())
    file = tmp_path / "papers"
    file.write_bytes(whole[: len(whole) // 2])
    *read, refusal = read_source("jsonl", [str(file)])
    assert len(read) > 1_000
    assert all(isinstance(item, PaperRecord) for item in read[:-1])
    assert isinstance(refusal, Rejected)
    assert "could not be read" in refusal.reason


def test_several_files_are_told_apart_in_messages(tmp_path: Path) -> None:
    for name in ("one.jsonl", "two.jsonl"):
        (tmp_path / name).write_text('{"title": "T"}\n{}\n')
    found = read_source("jsonl", [str(tmp_path / "one.jsonl"), str(tmp_path / "two.jsonl")])
    assert [item.place for item in found if isinstance(item, Rejected)] == [
        "one.jsonl, line 2",
        "two.jsonl, line 2",
    ]


def test_papers_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BufferedReader(io.BytesIO(gzip.compress(b'{"title": "One"}')))  # type: ignore[arg-type]

    monkeypatch.setattr(sys, "stdin", Input)
    assert [item.title for item in read_source("jsonl", ["-"])] == ["One"]  # type: ignore[union-attr]


def test_wrong_arguments_are_refused_before_anything_is_read() -> None:
    for arguments in ([], ["/nowhere/at/all"], ["/"]):
        with pytest.raises(UsageError):
            read_source("jsonl", arguments)


def test_an_unknown_source_is_named_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="no source 'arxive'; there are acl-anthology, arxiv, "):
        read_source("arxive", [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    [
        "id",
        "title",
        "abstract",
        "authors",
        "author_count",
        "published",
        "listed",
        "categories",
        "identifiers",
        "votes",
    ]
)


@given(st.dictionaries(FIELDS, JSON))
def test_any_object_is_read_or_refused(row: dict[str, object]) -> None:
    (item,) = items(json.dumps(row))
    assert isinstance(item, PaperRecord | Rejected)


@given(st.binary())
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    for item in jsonl.read_lines(io.BytesIO(raw)):
        assert isinstance(item, PaperRecord | Rejected)
