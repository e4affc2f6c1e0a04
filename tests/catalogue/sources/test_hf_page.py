import csv
import io
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources import hf_page, read_source
from paperround.errors import UsageError

DATA = Path(__file__).parents[1] / "data"
PAGE = (DATA / "daily-papers-search.txt").read_text(encoding="utf-8")
# The folder that developers share; users do not have it.
SHARED_PAGE = Path(__file__).parents[4] / "shared/data/seed/daily-papers-search.txt"
SAVED = date(2026, 4, 13)
WITHOUT_FOOTER = (
    "Revision or Re-Solving? Decomposing Second-Pass Gains in Multi-LLM Pipelines",
    "DeepPrune: Parallel Scaling without Inter-trace Redundancy",
)


def papers(text: str, today: date = SAVED) -> list[PaperRecord]:
    return [item for item in hf_page.read_page(text, today=today) if isinstance(item, PaperRecord)]


def rejections(text: str, today: date = SAVED) -> list[Rejected]:
    return [item for item in hf_page.read_page(text, today=today) if isinstance(item, Rejected)]


def as_a_person_reads_it() -> list[tuple[str, int | None, str | None, date | None, int | None]]:
    with (DATA / "daily-papers-search.tsv").open(encoding="utf-8", newline="") as file:
        return [
            (
                row["title"],
                int(row["authors"]) if row["authors"] else None,
                row["organisation"] or None,
                date.fromisoformat(row["date"]) if row["date"] else None,
                int(row["comments"]) if row["comments"] else None,
            )
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


def what_is_read(records: list[PaperRecord]) -> list[tuple]:
    return [(r.title, r.author_count, r.organisation, r.published, r.comments) for r in records]


READ = papers(PAGE)


def test_all_47_papers_come_out_in_order_with_what_the_page_says_of_them() -> None:
    assert what_is_read(READ) == as_a_person_reads_it()
    assert rejections(PAGE) == []
    assert len({record.source_key for record in READ}) == 47


def test_every_abstract_is_its_papers_own_and_whole() -> None:
    lines = PAGE.splitlines()
    for record in READ:
        number = int(record.place.removeprefix("line "))
        assert lines[number - 1] == record.title
        assert lines[number + 1].strip() == record.abstract


@pytest.mark.skipif(not SHARED_PAGE.exists(), reason="the shared folder is a developer's")
def test_the_shared_page_reads_as_our_copy() -> None:
    assert papers(SHARED_PAGE.read_text(encoding="utf-8")) == READ


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\r"),
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n\n", "\n"),
        lambda text: text.replace("\n\n", "\n\n\n"),
        lambda text: text.replace("  •", "*").replace("·", "-"),
        lambda text: text.replace("  •", "  â€¢").replace("·", "Â·"),
        lambda text: text.replace("•", "").replace("·", "∙"),
        lambda text: text.replace("·\n", "· "),
        lambda text: text.replace("authors\n·\n", "authors · "),
        lambda text: text.replace("\n\n  •", "  •"),
        lambda text: text.replace("1 authors", "1 author"),
        lambda text: text[text.index("The Latent Space") :],
        lambda text: text + "\n\n",
        lambda text: "Daily Papers — search\n\nLog in\n\n" + text,
    ],
)
def test_the_page_survives_what_programs_do_to_text(change) -> None:  # type: ignore[no-untyped-def]
    assert change(PAGE) != PAGE
    assert what_is_read(papers(change(PAGE))) == what_is_read(READ)
    assert [(r.abstract, r.source_key) for r in papers(change(PAGE))] == [
        (r.abstract, r.source_key) for r in READ
    ]


BLANKS = [i for i, line in enumerate(PAGE.split("\n")) if not line.strip()][:-1]


@given(st.sets(st.sampled_from(BLANKS)), st.sets(st.sampled_from(BLANKS)))
def test_blank_lines_may_be_lost_and_doubled_anywhere(lost: set[int], doubled: set[int]) -> None:
    lines = []
    for i, line in enumerate(PAGE.split("\n")):
        lines += [] if i in lost else [line, line] if i in doubled else [line]
    text = "\n".join(lines)
    assert what_is_read(papers(text)) == what_is_read(READ)
    assert rejections(text) == []


@given(st.sampled_from(range(len(PAGE.split("\n")))))
def test_a_lost_line_costs_at_most_the_papers_beside_it(lost: int) -> None:
    lines = PAGE.split("\n")
    text = "\n".join(lines[:lost] + lines[lost + 1 :])
    found = papers(text)
    same = {record.title for record in READ} & {record.title for record in found}
    assert len(same) >= 45
    # A paper that is lost is named with its line.
    assert len(found) == 47 or rejections(text)


@given(st.integers(0, 46))
def test_a_title_glued_to_its_abstract_is_refused_with_its_line(number: int) -> None:
    record = READ[number]
    text = PAGE.replace(f"{record.title}\n\n{record.abstract}", record.title + record.abstract)
    assert [r.title for r in papers(text)] == [r.title for r in READ if r is not record]
    (refusal,) = rejections(text)
    assert refusal.place == record.place
    assert "without a title" in refusal.reason


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for item in hf_page.read_page(text, today=SAVED):
        assert isinstance(item, PaperRecord | Rejected)


LINES = st.sampled_from(
    ["", "A Title", "  • 4 authors", "·", "Feb 12, 2025", "Apr 1 5", "Lab Lab", "x" * 400, "7"]
)


@given(st.lists(LINES, max_size=25))
def test_any_order_of_lines_is_read_or_refused_with_a_line_that_exists(lines: list[str]) -> None:
    for item in hf_page.read_page("\n".join(lines), today=SAVED):
        number = int(item.place.removeprefix("line "))
        assert 1 <= number <= max(len(lines), 1)
        if isinstance(item, PaperRecord):
            assert item.title in ("A Title", "Lab Lab", "7")


A_CARD = "A Title\n\n" + "An abstract. " * 30 + "\n\n{footer}\n"


@pytest.mark.parametrize(
    ("footer", "authors", "organisation", "published", "comments"),
    [
        ("  • 4 authors\n·\nFeb 12, 2025 3", 4, None, date(2025, 2, 12), 3),
        ("  • 1,203 authors\n·\nFeb 12, 2025", 1203, None, date(2025, 2, 12), 0),
        ("Deep Lab Deep Lab\n·\nFeb 12, 2025", None, "Deep Lab", date(2025, 2, 12), 0),
        ("deep-lab\n·\nFeb 12, 2025", None, "deep-lab", date(2025, 2, 12), 0),
        ("·\nFeb 12, 2025", None, None, date(2025, 2, 12), 0),
        ("  • 4 authors", 4, None, None, None),
        ("  • 4 authors · Feb 12, 2025 3", 4, None, date(2025, 2, 12), 3),
        ("  • 4 authors\n·\nFeb 12, 2025\n3", 4, None, date(2025, 2, 12), 3),
        ("  • 4 authors\n·\nFebruary 12, 2025", 4, None, date(2025, 2, 12), 0),
        ("  • 4 authors\n·\nApr 1 5", 4, None, date(2026, 4, 1), 5),
        # In April, a December without a year is last year's.
        ("  • 4 authors\n·\nDec 24", 4, None, date(2025, 12, 24), 0),
        ("  • 4 authors\n·\nFeb 29", 4, None, date(2024, 2, 29), 0),
        ("", None, None, None, None),
    ],
)
def test_a_footer_says_what_it_can(
    footer: str,
    authors: int | None,
    organisation: str | None,
    published: date | None,
    comments: int | None,
) -> None:
    (record,) = papers(A_CARD.format(footer=footer))
    assert what_is_read([record]) == [("A Title", authors, organisation, published, comments)]


def test_a_day_that_no_year_has_is_refused_with_its_line() -> None:
    (refusal,) = rejections(A_CARD.format(footer="  • 4 authors\n·\nFeb 30, 2025"))
    assert refusal == Rejected("line 1", "line 7: 'Feb 30, 2025' is no day")


def test_the_pages_own_date_tells_the_year_and_not_the_day_of_the_import() -> None:
    assert papers(PAGE, today=date(2026, 12, 31)) == READ
    # Imported in February, a page of April is last year's, and so are its dates.
    assert papers(PAGE, today=date(2027, 2, 1)) == READ


def test_the_day_that_a_page_was_saved_can_be_said(tmp_path: Path) -> None:
    file = tmp_path / "page.txt"
    file.write_text(PAGE, encoding="utf-8")
    items = list(
        hf_page.read([str(file), "2026-04-13"], now=lambda: datetime(2031, 1, 1, tzinfo=UTC))
    )
    assert items == READ


def test_what_stands_below_the_last_paper_is_refused_and_named() -> None:
    text = PAGE + "\n\nPrevious\n\nNext\n"
    assert papers(text) == READ
    assert [refusal.reason for refusal in rejections(text)] == [
        "'Previous' is followed by neither abstract nor footer",
        "'Next' is followed by neither abstract nor footer",
    ]


def test_a_file_without_papers_says_so() -> None:
    assert rejections("")[0].reason.startswith("no paper on this page")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (PAGE.encode("utf-16"), "is UTF-16; save the page as UTF-8"),
        (PAGE.encode("utf-16-le"), "is not text"),
        (b"Title\n\xe9t\xe9", "is not UTF-8 (byte 0xe9 in line 2)"),
        (b"\x89PNG\r\n\x1a\n\0", "is not text"),
    ],
)
def test_another_encoding_is_refused_with_the_remedy(
    tmp_path: Path, raw: bytes, reason: str
) -> None:
    file = tmp_path / "page.txt"
    file.write_bytes(raw)
    with pytest.raises(UsageError) as refusal:
        list(read_source("hf-page", [str(file)]))
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    "arguments", [[], ["a", "b", "c"], ["a", "13.4.2026"], ["/nowhere/at/all"]]
)
def test_wrong_arguments_are_refused_before_anything_is_read(arguments: list[str]) -> None:
    with pytest.raises(UsageError):
        read_source("hf-page", arguments)


def test_a_page_can_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Input:
        buffer = io.BytesIO(PAGE.encode())

    monkeypatch.setattr(sys, "stdin", Input)
    items: Iterator[PaperRecord | Rejected] = read_source("hf-page", ["-", "2026-04-13"])
    assert list(items) == READ


def test_two_cards_of_one_title_share_their_key() -> None:
    one, other = papers(A_CARD.format(footer="·") + "\n" + A_CARD.format(footer="·").upper())
    assert one.source_key == other.source_key
