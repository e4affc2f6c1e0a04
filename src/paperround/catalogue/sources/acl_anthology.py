"""The ACL Anthology's XML: a collection of volumes of papers, with markup in titles and abstracts.

    <collection id="2022.acl"><volume id="long"><meta><booktitle>…</booktitle>…</meta>
    <paper id="1"><title><fixed-case>A</fixed-case>dapLeR</title><author><first>Ali</first>…

A volume's own matter stands before its papers; events and front matter are no papers.
"""

import calendar
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import IO
from xml.etree.ElementTree import Element

from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.fields import RowError, doi_of, year_day
from paperround.catalogue.sources.files import check_files, open_files, place_in
from paperround.catalogue.sources.markup import child, child_text, children, xml_elements

SOURCE = "acl-anthology"
_MONTHS = [name.lower() for name in calendar.month_name[1:]]
_ID = re.compile(r"[A-Z]\d{2}-\d{4,5}|\d{4}\.[A-Za-z0-9_]+-[A-Za-z0-9_]+\.\d+")


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of files of the Anthology's data, such as `2022.acl.xml`."""
    check_files(SOURCE, arguments)
    return (
        item for shown, stream in open_files(arguments) for item in read_collection(stream, shown)
    )


def read_collection(stream: IO[bytes], shown: str = "") -> Iterator[PaperRecord | Rejected]:
    """The papers of one collection."""
    venue: str | None = None
    published: date | None = None
    n_meta = 0
    for item in xml_elements(stream, ("meta", "paper"), shown):
        if isinstance(item, Rejected):
            yield item
            continue
        number, name, element = item
        if name == "meta":
            # An event has some too: its own title and days, and no book.
            if child(element, "booktitle") is None:
                continue
            n_meta += 1
            venue, published = _venue(element), _published(element)
            continue
        place = place_in(shown, f"volume {n_meta}, paper {element.get('id', number)}")
        try:
            yield _record(element, venue, published, place)
        except RowError as error:
            yield Rejected(place, str(error))


def _record(paper: Element, venue: str | None, published: date | None, place: str) -> PaperRecord:
    title = _marked_up(child(paper, "title"))
    if not title:
        raise RowError("no title")
    key = child_text(paper, "url") or ""
    if not _ID.fullmatch(key):
        # A paper kept elsewhere has an address there in place of its id.
        key = child_text(paper, "bibkey") or ""
    if not key:
        raise RowError("neither an Anthology id nor a key of its bibliography")
    doi = doi_of(child_text(paper, "doi"))
    identifiers = ({"acl": key} if _ID.fullmatch(key) else {}) | ({"doi": doi} if doi else {})
    codes = [code.get("url") or "" for code in children(paper, "pwccode")]
    retracted = child(paper, "retracted") is not None or child(paper, "removed") is not None
    return PaperRecord(
        source=SOURCE,
        source_key=key,
        title=title,
        abstract=_marked_up(child(paper, "abstract")),
        authors=tuple(filter(None, map(_name, children(paper, "author")))),
        published=published,
        venue=venue,
        code_url=next((code for code in codes if code), None),
        pdf_url=f"https://aclanthology.org/{key}.pdf" if "acl" in identifiers else None,
        withdrawn=retracted or None,
        identifiers=identifiers,
        place=place,
    )


def _name(author: Element) -> str:
    parts = (child_text(author, part) for part in ("first", "last", "suffix"))
    return " ".join(part for part in parts if part)


def _venue(meta: Element) -> str | None:
    """The venues' short names and the year, such as "ACL 2022"; else the book's title."""
    venues = [
        name.upper() for each in children(meta, "venue") if (name := "".join(each.itertext()))
    ]
    year = child_text(meta, "year")
    if venues:
        return " ".join([*dict.fromkeys(venues), *([year] if year else [])])
    title = child_text(meta, "booktitle")
    return title if title and len(title) <= 200 else None


def _published(meta: Element) -> date | None:
    year = child_text(meta, "year")
    day = year_day(int(year)) if year and re.fullmatch(r"[0-9]{1,4}", year) else None
    words = re.findall(r"[a-z]+", (child_text(meta, "month") or "").lower())
    month = next((_MONTHS.index(word) + 1 for word in words if word in _MONTHS), 1)
    return day.replace(month=month) if day else None


def _marked_up(element: Element | None) -> str:
    """The text with its formulas and emphasis as LaTeX, as arXiv has them; other markup is dropped.

    <fixed-case> keeps letters in bibliographies and says nothing here.
    """
    if element is None:
        return ""
    parts = [element.text or ""]
    for inner in element:
        inside = _marked_up(inner)
        match inner.tag:
            case "tex-math":
                parts.append(f"${inside}$")
            case "i" | "b" if inside:
                parts.append(f"\\{'emph' if inner.tag == 'i' else 'textbf'}{{{inside}}}")
            case _:
                parts.append(inside)
        parts.append(inner.tail or "")
    return " ".join("".join(parts).split())
