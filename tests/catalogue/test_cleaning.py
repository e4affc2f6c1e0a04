from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.cleaning import MAX_ABSTRACT, MAX_TITLE, RecordError, cleaned
from paperround.catalogue.records import PaperRecord


def a_record(**fields: object) -> PaperRecord:
    return replace(PaperRecord(source="test", source_key="1", title="A title"), **fields)


def test_what_nobody_would_miss_is_taken_out() -> None:
    record = cleaned(
        a_record(
            title="A\x00 title\u202e with\nlines \ud800",
            abstract="One\x07 two\r\nthree\x85",
            authors=("  Ann\tLee ", "", "\x00"),
            venue="   ",
        )
    )
    assert record.title == "A title with lines"
    assert record.abstract == "One  two\nthree"
    assert record.authors == ("Ann Lee",)
    assert record.venue is None


def test_markup_of_pages_stays_text() -> None:
    assert cleaned(a_record(title="On <script>")).title == "On <script>"


def test_accents_are_composed() -> None:
    assert cleaned(a_record(title="Erdo\u030bs")).title == "Erdős"


def test_only_arxivs_categories_are_kept_and_each_once() -> None:
    record = cleaned(a_record(categories=("cs.CL", "68T45, 62H30", "I.2.7", "stat.ML", "cs.CL")))
    assert record.categories == ("cs.CL", "stat.ML")


def test_versions_are_stripped_from_arxiv_ids() -> None:
    assert cleaned(a_record(identifiers={"arxiv": "2312.00858v3"})).identifiers == {
        "arxiv": "2312.00858"
    }


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"title": ""}, "no title"),
        ({"title": "\x00 \n"}, "no title"),
        ({"title": "x" * (1 << 20)}, "title has 1,048,576 characters; at most 1,000 make sense"),
        ({"abstract": "x" * (MAX_ABSTRACT + 1)}, "abstract has 50,001 characters"),
        ({"source": ""}, "no source"),
        ({"source_key": "k" * 201}, "source_key has 201 characters"),
        ({"venue": "v" * 201}, "venue has 201 characters"),
        ({"authors": ("x" * 201,)}, "author has 201 characters"),
        ({"votes": -1}, "votes is -1"),
        ({"comments": 2**40}, "comments is 1099511627776"),
        ({"published": date(1, 1, 1)}, "published is 0001-01-01; no paper is that old"),
        ({"code_url": "javascript:alert(1)"}, "code_url is 'javascript:alert(1)'; it must be"),
        ({"pdf_url": "https://x.org/a b"}, "pdf_url is"),
        ({"project_url": 'https://x.org/"onclick='}, "project_url is"),
        ({"identifiers": {"arxiv": "nonsense"}}, "'nonsense' is no arXiv id"),
        ({"identifiers": {"doi": ""}}, "no identifier doi"),
        ({"identifiers": {"key": "x"}}, "is the catalogue's own"),
    ],
)
def test_what_cannot_be_repaired_is_refused_with_the_reason(
    fields: dict[str, object], reason: str
) -> None:
    with pytest.raises(RecordError, match=r".") as refusal:
        cleaned(a_record(**fields))
    assert reason in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_three_thousand_authors_are_many_but_fine() -> None:
    assert len(cleaned(a_record(authors=("Ann Lee",) * 3_303)).authors) == 3_303


def test_the_longest_title_is_kept_whole() -> None:
    assert len(cleaned(a_record(title="x" * MAX_TITLE)).title) == MAX_TITLE


@given(st.text(max_size=300), st.text(max_size=300), st.lists(st.text(max_size=50), max_size=4))
def test_any_text_is_cleaned_once_and_for_all(
    title: str, abstract: str, authors: list[str]
) -> None:
    try:
        once = cleaned(a_record(title=title, abstract=abstract, authors=tuple(authors)))
    except RecordError:
        return
    assert cleaned(once) == once
    assert (once.title + once.abstract).encode("utf-8")
    assert "\x00" not in once.title + once.abstract
