"""Whatever a file holds: every parser ends with records and rejected items, and never an error."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import IO

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from paperround.catalogue.actions import digest_of
from paperround.catalogue.cleaning import RecordError, cleaned
from paperround.catalogue.records import Item, PaperRecord, Rejected, Removed
from paperround.catalogue.sources import (
    acl_anthology,
    arxiv,
    arxiv_oai,
    arxiv_rss,
    bibtex,
    hf_page,
    jsonl,
    read_source,
)
from paperround.catalogue.sources.files import json_items, unpacked
from paperround.clock import utc_now
from paperround.errors import SourceError

DATA = Path(__file__).with_name("data")
PAGE = Path(__file__).parents[1] / "data" / "daily-papers-search.txt"


def of_feed(data: bytes) -> Iterator[Item]:
    try:
        yield from arxiv.read_feed(data)[1]
    except SourceError:
        # An error that the server reports is one line for a person.
        return


def of_page(data: bytes) -> Iterator[Item]:
    text = data.decode("utf-8", "replace")
    yield from hf_page.read_page(text, today=utc_now().date())


BIB = rb"""
@string{acl = "Annual Meeting of the {ACL}"}
@inproceedings{lee2026, title = {{F}orgetting {\'e}tudes},
  author = {Lee, Ann and Xu, Bo and others}, booktitle = acl, year = 2026, month = apr,
  doi = {10.1/x}}
@article{xu, title={Cracks}, journal={arXiv preprint arXiv:2502.08923}, year={2025}}
"""
EVALUATION = b"""[{"task": "T", "subtasks": [], "datasets": [{"dataset": "D",
 "sota": {"metrics": ["A"], "rows": [{"model_name": "m", "paper_title": "P",
 "paper_url": "https://arxiv.org/abs/1805.06939",
 "paper_date": null, "code_links": [{"title": "c", "url": "https://github.com/a/b"}],
 "metrics": {"A": "41.8"}}]}}]}, {"paper_url": "u", "paper_title": "P", "repo_url": "https://a.org"}]
"""
ANSWER = b"""{"total": 1, "token": "x", "data": [null, {"paperId": "p", "title": "T", "year": 2024,
 "externalIds": {"ArXiv": "2502.08923", "DOI": "10.1/x"}, "authors": [{"name": "Ann Lee"}]}]}"""
LIST = b"""[{"id": "f", "title": "T", "author": "A;B", "status": "Poster", "gs_citation": -1,
 "site": "https://openreview.net/forum?id=abcdef", "keywords": "x;y", "rating": "5;6"}]"""

# What is parsed and a real payload of it.
PARSERS: dict[str, tuple[Callable[[bytes], Iterator[Item]] | str, bytes]] = {
    "acl-anthology": (
        lambda data: acl_anthology.read_collection(BytesIO(data)),
        (DATA / "2022.naloma.xml").read_bytes(),
    ),
    "arxiv": (of_feed, (DATA / "rss_cs.CL.xml").read_bytes()[:2_000]),
    "arxiv-oai": (
        lambda data: iter(arxiv_oai.read_page(data).items),
        (DATA / "ListRecords_arXiv_page1.xml").read_bytes()[:6_000],
    ),
    "arxiv-rss": (
        lambda data: arxiv_rss.read_listing(BytesIO(data)),
        (DATA / "rss_cs.CL.xml").read_bytes()[:8_000],
    ),
    "bibtex": (lambda data: bibtex.read_text(BytesIO(data)), BIB),
    "hf-page": (of_page, PAGE.read_bytes()[:6_000]),
    "jsonl": (
        lambda data: jsonl.read_lines(BytesIO(data)),
        b'{"id": "2502.08923", "title": "T", "authors": ["A"], "listed": ["2025-02-14"]}\n' * 3,
    ),
    # These are read from files.
    "arxiv-snapshot": ("arxiv-snapshot", (DATA / "snapshot.jsonl").read_bytes()),
    "hf-daily": ("hf-daily", (DATA / "SHAPE_ONLY_api_daily_papers.json").read_bytes()[:6_000]),
    "openalex": ("openalex", (DATA / "SHAPE_ONLY_works_page.json").read_bytes()),
    "openreview": ("openreview", LIST),
    "paperswithcode": ("paperswithcode", EVALUATION),
    "semantic-scholar": ("semantic-scholar", ANSWER),
}


@st.composite
def damaged(draw: st.DrawFn, payload: bytes) -> bytes:
    """A real payload with some of its bytes cut out, doubled or replaced."""
    data = payload
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.sampled_from([0, 1, 2, 8, 64, 1_000, len(data)])))
        pieces = [b"", data[start:end] * 2, b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b'"', b"{", b"<"]
        words = [b"null", b"[]", b"-1", b"1e999", b"\\ud800", b"0000-00-00", b"&x;", b"{}", b"</a>"]
        data = data[:start] + draw(st.sampled_from([*pieces, *words])) + data[end:]
    return data


def check_items(items: Iterator[Item]) -> None:
    for item in items:
        assert isinstance(item, PaperRecord | Rejected | Removed)
        assert item.place
        if isinstance(item, Rejected):
            assert item.reason
            assert "\n" not in item.reason
        if isinstance(item, PaperRecord):
            digest_of(item)
            try:
                sound = cleaned(item)
            except RecordError as error:
                assert str(error)
            else:
                assert cleaned(sound) == sound
                # It can be stored: nothing in it that UTF-8 or a database cannot hold.
                repr(sound).encode()


def parse(name: str, data: bytes, folder: Path) -> Iterator[Item]:
    parser, _ = PARSERS[name]
    if callable(parser):
        return parser(data)
    file = folder / "file"
    file.write_bytes(data)
    return read_source(parser, [str(file)])


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=60, print_blob=False)
def test_damaged_files_end_in_records_and_rejected_items(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.getbasetemp()
    check_items(parse(name, data.draw(damaged(PARSERS[name][1])), folder))


@pytest.mark.parametrize("name", PARSERS)
@given(data=st.binary(max_size=400))
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=30)
@example(data=b"")
@example(data=b"\xef\xbb\xbf")
@example(data=b"[" * 100_000)
@example(data=b'{"a":' * 20_000)
@example(data=b"<a>" * 20_000)
@example(data=b"9" * 10_000)
@example(data="{}".encode("utf-16"))
def test_any_bytes_end_in_records_and_rejected_items(
    name: str, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_items(parse(name, data, tmp_path_factory.getbasetemp()))


@pytest.mark.parametrize("name", [name for name in PARSERS if name != "arxiv"])
def test_the_real_payload_has_papers(name: str, tmp_path: Path) -> None:
    items = list(parse(name, PARSERS[name][1], tmp_path))
    assert any(isinstance(item, PaperRecord) for item in items)


BOMB = b"""<?xml version="1.0"?>
<!DOCTYPE lolz [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<collection id="x"><volume id="1"><paper id="1"><title>&b;</title></paper></volume></collection>"""
OUTSIDE = BOMB.replace(b'"lol"', b'SYSTEM "file:///etc/passwd"')


@pytest.mark.parametrize("name", ["acl-anthology", "arxiv", "arxiv-oai", "arxiv-rss"])
@pytest.mark.parametrize("data", [BOMB, OUTSIDE])
def test_entities_are_refused(name: str, data: bytes, tmp_path: Path) -> None:
    (item,) = parse(name, data, tmp_path)
    assert isinstance(item, Rejected)
    assert "document type" in item.reason


def volume(*papers: bytes) -> bytes:
    head = b'<?xml version="1.0" encoding="UTF-8"?><collection id="x"><volume id="1">'
    return head + b"".join(papers) + b"</volume></collection>"


def paper(number: int, title: bytes) -> bytes:
    key = f"<url>2022.acl-long.{number}</url>".encode()
    return b"<paper id='%d'><title>%s</title>%s</paper>" % (number, title, key)


def test_one_wrong_letter_costs_one_paper() -> None:
    data = volume(paper(1, b"One"), paper(2, b"Zw\xe4i"), paper(3, "Dréi".encode()))
    one, two, three = acl_anthology.read_collection(BytesIO(data))
    assert isinstance(one, PaperRecord)
    assert two == Rejected("paper 2", "its letters are not of the file's encoding")
    assert isinstance(three, PaperRecord)
    assert three.title == "Dréi"


def test_another_encoding_that_says_so_is_read() -> None:
    data = volume(paper(1, "Zwäi".encode("latin-1"))).replace(b"UTF-8", b"ISO-8859-1")
    (item,) = acl_anthology.read_collection(BytesIO(data))
    assert isinstance(item, PaperRecord)
    assert item.title == "Zwäi"


def test_control_characters_are_spaces() -> None:
    data = volume(paper(1, b"One\x0btwo\x00three"))
    (item,) = acl_anthology.read_collection(BytesIO(data))
    assert isinstance(item, PaperRecord)
    assert item.title == "One two three"


@pytest.mark.parametrize("cut", range(150, 160))
def test_what_came_before_a_break_is_read(cut: int) -> None:
    papers = [paper(number, b"Title") for number in range(1, 9)]
    whole = volume(*papers)
    items = list(acl_anthology.read_collection(BytesIO(whole[: len(whole) - cut])))
    assert isinstance(items[-1], Rejected)
    assert "not XML" in items[-1].reason
    assert all(isinstance(item, PaperRecord) for item in items[:-1])
    assert len(items) >= 6


def test_a_list_that_breaks_off_gives_what_came_before() -> None:
    items = list(json_items(BytesIO(b'[{"a": 1}, {"b": 2}, {"c"')))
    assert items[:2] == [("item 1", {"a": 1}), ("item 2", {"b": 2})]
    assert isinstance(items[2], Rejected)
    assert items[2].place == "item 3"


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)))
def test_a_list_is_read_as_json_has_it(values: list[object]) -> None:
    data = json.dumps(values).encode()
    # Read in the smallest pieces, so that every value is cut somewhere.
    assert list(json_items(Slow(data))) == [(f"item {i}", v) for i, v in enumerate(values, 1)]


class Slow(BytesIO):
    """A stream that gives three bytes at a time."""

    def read1(self, size: int | None = -1) -> bytes:
        return super().read1(3)


@pytest.mark.parametrize("name", ["gz", "xz", "zst", "plain"])
@pytest.mark.parametrize("kept", [1.0, 0.69901])
def test_packed_files_are_told_by_their_bytes_and_say_when_they_break_off(
    name: str, kept: float
) -> None:
    rows = b'{"title": "A title of some length"}\n' * 20_000
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gz": gzip.compress,
        "xz": lzma.compress,
        "zst": zstandard.ZstdCompressor().compress,
        "plain": bytes,
    }
    data = pack[name](rows)
    stream: IO[bytes] = unpacked(BufferedReader(BytesIO(data[: int(len(data) * kept)])))  # type: ignore[type-var,assignment]
    items = list(jsonl.read_lines(stream))
    if kept == 1.0:
        assert len(items) == 20_000
        assert all(isinstance(item, PaperRecord) for item in items)
    else:
        assert isinstance(items[-1], Rejected)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bibtex", BIB * 300),
        ("openreview", b"[" + b", ".join([LIST.strip()[1:-1]] * 300) + b"]"),
        ("acl-anthology", PARSERS["acl-anthology"][1] * 20),
        ("arxiv-rss", (DATA / "rss_cs.CL.xml").read_bytes()),
        ("jsonl", PARSERS["jsonl"][1] * 300),
    ],
)
def test_a_packed_file_that_breaks_off_gives_all_that_came_before(
    name: str, data: bytes, pack: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.write_bytes(data)
    # A few bytes are missing: of the checksum, and of the last letters perhaps.
    cut.write_bytes(pack(data)[:-9])
    read = [item for item in read_source(name, [str(whole)]) if isinstance(item, PaperRecord)]
    came = list(read_source(name, [str(cut)]))
    kept = [item for item in came if isinstance(item, PaperRecord)]
    refused = [item for item in came if isinstance(item, Rejected)]
    assert any("could not be read" in item.reason for item in refused)
    if pack is gzip.compress:
        assert len(kept) >= len(read) - 2
    assert kept == read[: len(kept)]


def test_a_file_of_two_zstandard_frames_is_one() -> None:
    pack = zstandard.ZstdCompressor().compress
    data = pack(b'{"title": "A"}\n') + pack(b'{"title": "B"}\n')
    items = list(jsonl.read_lines(unpacked(BufferedReader(BytesIO(data)))))  # type: ignore[type-var]
    assert [item.title for item in items if isinstance(item, PaperRecord)] == ["A", "B"]


def test_a_title_of_ten_megabytes_is_refused_and_the_rest_goes_in() -> None:
    data = volume(paper(1, b"x" * (10 << 20)), paper(2, b"Two"))
    huge, two = acl_anthology.read_collection(BytesIO(data))
    assert isinstance(huge, PaperRecord)
    with pytest.raises(RecordError, match="10,485,760 characters"):
        cleaned(huge)
    assert isinstance(two, PaperRecord)
