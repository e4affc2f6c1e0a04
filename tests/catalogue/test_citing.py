"""What other programs get of a paper: BibTeX that our own source reads back, CSL-JSON, RIS."""

import io
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime

import pytest
import rispy
from hypothesis import example, given
from hypothesis import strategies as st

from paperround.catalogue.citing import Cited, bibtex, csl_json, ris
from paperround.catalogue.cleaning import RecordError, cleaned
from paperround.catalogue.identity import title_key
from paperround.catalogue.records import Paper, PaperId, PaperRecord
from paperround.catalogue.sources.bibtex import read_text
from paperround.catalogue.text import plain_text

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def cited(record: PaperRecord, note: str = "") -> Cited:
    """The record as the paper that the catalogue makes of it."""
    paper = Paper(
        id=PaperId(1),
        key="x",
        title=record.title,
        abstract=record.abstract,
        title_text=plain_text(record.title),
        abstract_text=plain_text(record.abstract),
        authors=record.authors,
        author_count=None,
        organisation=None,
        published=record.published,
        listed=None,
        day=record.published,
        categories=record.categories,
        comment=None,
        venue=record.venue,
        code_url=None,
        project_url=None,
        pdf_url=record.pdf_url,
        votes=0,
        comments=0,
        keywords=record.keywords,
    )
    return Cited(paper, record.identifiers, note)


def read_back(papers: Sequence[Cited]) -> list[PaperRecord]:
    items = list(read_text(io.BytesIO(bibtex(papers).encode())))
    assert all(isinstance(item, PaperRecord) for item in items), items
    return items  # type: ignore[return-value]


def words(text: str) -> str:
    """The letters and digits of a text, by which a title is known; signs may change their shape."""
    return "".join(char for char in title_key(text) if char.isalnum()) if text.strip() else ""


def a_record(**changes: object) -> PaperRecord:
    fields: dict[str, object] = {
        "source": "jsonl",
        "source_key": "1",
        "title": "On the counting of things",
        "abstract": "We count.",
        "authors": ("Ada Ay", "Bo van der Bee"),
        "published": date(2026, 6, 30),
        "categories": ("cs.CL",),
        "identifiers": {"arxiv": "2606.00001"},
    }
    return PaperRecord(**{**fields, **changes})  # type: ignore[arg-type]


# Whatever a source may hold, and what BibTeX and LaTeX trip over.
SIGNS = st.sampled_from(
    ["{", "}", "\\", "@", "@article{x,", '"', "%", "&", "#", "_", "$", "$x_1$", "\\{", "~", "^",
     " and ", ",", "=", "é", "\\'e", "\\alpha", "中", "``", "''", "--", "\n", "x = {y},"]
)  # fmt: skip
TEXT = st.lists(st.one_of(SIGNS, st.text(max_size=6)), max_size=8).map("".join)
NAMES = st.one_of(
    st.sampled_from(["Ada Ay", "Barnes and Noble, Inc.", "others", "and", "Erdős, P.", "AND Co"]),
    st.text(
        st.characters(categories=["L", "Zs"], include_characters="-.,'"), min_size=1, max_size=20
    ),
)


@given(
    title=TEXT,
    abstract=TEXT,
    authors=st.lists(NAMES, max_size=4),
    day=st.none() | st.dates(date(1600, 1, 1), date(2999, 12, 31)),
    venue=st.none() | TEXT,
    note=TEXT,
    identifiers=st.fixed_dictionaries(
        {},
        optional={
            "arxiv": st.sampled_from(["2606.00001", "math/0309136"]),
            "doi": st.sampled_from(["10.1000/xyz123", "10.1/{", "10.1145/3292500.3330701"]),
            "openreview": st.just("abc_DEF-123"),
        },
    ),
)
@example("A {tale", "", ["Ada Ay"], None, None, "", {})
@example("50% of $x_i$ & more #1", "a\n@article{x,", ["Ada Ay"], None, "\\", "{", {})
@example("\\{a\\}", "", [], None, None, "", {"arxiv": "2606.00001"})
def test_bibtex_is_read_back_by_our_own_source(
    title: str,
    abstract: str,
    authors: list[str],
    day: date | None,
    venue: str | None,
    note: str,
    identifiers: Mapping[str, str],
) -> None:
    try:
        record = cleaned(
            a_record(
                title=f"On {title}",
                abstract=abstract,
                authors=tuple(authors),
                published=day,
                venue=venue,
                identifiers=identifiers,
            )
        )
    except RecordError:
        return
    (back,) = read_back([cited(record, note)])
    back = cleaned(back)
    assert words(back.title) == words(record.title)
    names = [[words(name) for name in each.authors if words(name)] for each in (back, record)]
    assert names[0] == names[1]
    assert back.published == day
    assert words(back.abstract) == words(record.abstract)
    for scheme, value in record.identifiers.items():
        if "{" not in value and (scheme != "openreview"):
            assert back.identifiers[scheme] == value


def test_many_papers_keep_their_order_and_their_names_apart() -> None:
    papers = [
        cited(a_record(identifiers={"arxiv": f"2606.{n:05d}"}, title=f"On the counting, {n}"))
        for n in range(30)
    ]
    back = read_back(papers)
    assert [record.identifiers["arxiv"] for record in back] == [f"2606.{n:05d}" for n in range(30)]
    text = bibtex(papers)
    assert "@misc{ay2026counting,\n" in text
    assert "@misc{ay2026counting-2,\n" in text


def test_an_entry_reads_as_people_write_them() -> None:
    paper = cited(
        a_record(
            title=r"The $\mathcal{O}(n)$ road & 5% more",
            venue="Proceedings of the 12th Meeting of Counters",
            authors=("Ada Ay", "Bo van der Bee", "Barnes and Noble, Inc."),
            identifiers={"arxiv": "2606.00001", "doi": "10.1000/xyz"},
        ),
        note="Read for the seminar",
    )
    text = bibtex([paper])
    assert text.startswith("@inproceedings{ay2026mathcal") or "@inproceedings{ay2026" in text
    for line in (
        r"title = {The $\mathcal{O}(n)$ road \& 5\% more}",
        "author = {Ada Ay and Bo van der Bee and {Barnes and Noble, Inc.}}",
        "booktitle = {Proceedings of the 12th Meeting of Counters}",
        "eprint = {2606.00001}",
        "doi = {10.1000/xyz}",
        "annote = {Read for the seminar}",
    ):
        assert line in text


@pytest.mark.parametrize(
    ("venue", "bib", "csl", "tag"),
    [
        (None, "@misc", "article", "GEN"),
        ("NeurIPS 2025", "@inproceedings", "paper-conference", "CPAPER"),
        ("Journal of Counting", "@article", "article-journal", "JOUR"),
    ],
)
def test_the_kind_follows_from_the_venue(venue: str | None, bib: str, csl: str, tag: str) -> None:
    papers = [cited(a_record(venue=venue))]
    assert bibtex(papers).startswith(bib)
    assert json.loads(csl_json(papers))[0]["type"] == csl
    assert ris(papers).startswith(f"TY  - {tag}\r\n")


def test_csl_json_has_names_in_their_parts_and_the_day() -> None:
    (item,) = json.loads(csl_json([cited(a_record(authors=("Ada Ay", "Bo van der Bee", "Plato")))]))
    assert item["author"] == [
        {"family": "Ay", "given": "Ada"},
        {"family": "van der Bee", "given": "Bo"},
        {"literal": "Plato"},
    ]
    assert item["issued"] == {"date-parts": [[2026, 6, 30]]}
    assert item["number"] == "arXiv:2606.00001"
    assert item["URL"] == "https://arxiv.org/abs/2606.00001"


@given(title=TEXT, abstract=TEXT, note=TEXT, authors=st.lists(NAMES, min_size=1, max_size=3))
def test_ris_is_read_by_another_program(
    title: str, abstract: str, note: str, authors: list[str]
) -> None:
    try:
        record = cleaned(a_record(title=f"On {title}", abstract=abstract, authors=tuple(authors)))
    except RecordError:
        return
    paper = cited(record, note)
    first, second = rispy.loads(ris([paper, paper]))
    assert first == second
    assert words(first["title"]) == words(record.title)
    assert first["doi"] if "doi" in record.identifiers else first["date"] == "2026/06/30"
    assert len(first.get("authors", [])) == len([name for name in record.authors if name.strip()])
    # Nothing that a paper says begins a line of its own.
    assert set(first) <= {
        "type_of_reference", "title", "authors", "year", "date", "abstract", "notes",
        "urls", "keywords", "secondary_title",
    }  # fmt: skip


def test_no_papers_are_an_empty_bibliography() -> None:
    assert (bibtex([]), json.loads(csl_json([])), ris([])) == ("", [], "")
