"""arXiv's daily listings as RSS or Atom: what was announced today in categories.

A replacement is news of an old paper and does not list it again. There is nothing on weekends and
holidays; a listing that has not changed since the last import is not even sent.
"""

import io
import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import IO
from xml.etree.ElementTree import Element

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Bookmark, Item, PaperRecord, Rejected
from paperround.catalogue.sources.arxiv_snapshot import listed_authors
from paperround.catalogue.sources.fields import (
    RowError,
    day_of,
    doi_of,
    says_withdrawn,
    short_name,
)
from paperround.catalogue.sources.files import check_files, open_files
from paperround.catalogue.sources.markup import child_text, children, xml_elements
from paperround.catalogue.visiting import Visit
from paperround.errors import SourceError, UsageError

SOURCE = "arxiv-rss"
_PAPERS_OF = "arxiv"
ADDRESS = "https://rss.arxiv.org/rss"
_CATEGORIES = re.compile(r"[a-z-]+(\.[A-Za-z-]+)?(\+[a-z-]+(\.[A-Za-z-]+)?)*")
_LISTS = ("new", "cross")
_ABSTRACT = re.compile(
    r"arXiv:\S+\s+Announce Type:\s*(?P<type>[\w-]+)\s*Abstract:\s*", re.IGNORECASE
)


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of saved listings."""
    check_files(SOURCE, arguments)
    return (item for shown, stream in open_files(arguments) for item in read_listing(stream, shown))


def visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    """Today's listing of categories such as `cs.CL+cs.LG`, or several of them."""
    if not arguments:
        raise UsageError("arxiv-rss takes categories such as cs.CL, or cs.CL+cs.LG")
    for argument in arguments:
        if not _CATEGORIES.fullmatch(argument):
            raise UsageError(f"'{argument}' is no category of arXiv, such as cs.CL or cs.CL+cs.LG")
    return _visit(arguments, visit)


def _visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    for argument in arguments:
        address = f"{visit.address(SOURCE, ADDRESS)}/{argument}"
        known = json.loads(visit.bookmark(SOURCE, argument) or "{}")
        answer = visit.fetcher.get(address, **known)
        if answer is None:
            continue
        if answer.status != 200:
            raise SourceError(f"{address}: status {answer.status}")
        yield from read_listing(io.BytesIO(answer.body))
        news = {"etag": answer.etag, "last_modified": answer.last_modified}
        yield Bookmark(SOURCE, argument, json.dumps(news) if any(news.values()) else None)


def read_listing(stream: IO[bytes], shown: str = "") -> Iterator[PaperRecord | Rejected]:
    """The papers of one listing, RSS or Atom."""
    for item in xml_elements(stream, ("item", "entry"), shown):
        if isinstance(item, Rejected):
            yield item
            continue
        number, name, element = item
        place = f"{shown}, {name} {number}" if shown else f"{name} {number}"
        try:
            yield _record(element, place)
        except RowError as error:
            yield Rejected(place, str(error))


def _record(entry: Element, place: str) -> PaperRecord:
    named = child_text(entry, "guid") or child_text(entry, "id") or ""
    arxiv = arxiv_id(named) or arxiv_id(child_text(entry, "link") or "")
    title = child_text(entry, "title")
    if arxiv is None:
        raise RowError(f"{named} is no arXiv id")
    if title is None:
        raise RowError("no title")
    about = child_text(entry, "description") or child_text(entry, "summary") or ""
    head = _ABSTRACT.match(about)
    announced = child_text(entry, "announce_type") or (head["type"] if head else "")
    abstract = about[head.end() :] if head else about
    day = child_text(entry, "pubDate") or child_text(entry, "published")
    categories = (each.get("term") or each.text or "" for each in children(entry, "category"))
    doi = doi_of(child_text(entry, "DOI"))
    return PaperRecord(
        source=_PAPERS_OF,
        source_key=arxiv,
        title=title,
        abstract=abstract,
        authors=listed_authors(child_text(entry, "creator")),
        listed=_listed(day, announced),
        categories=tuple(categories),
        venue=short_name(child_text(entry, "journal_reference")),
        withdrawn=says_withdrawn(abstract),
        identifiers={"arxiv": arxiv} | ({"doi": doi} if doi else {}),
        place=place,
    )


def _listed(day: str | None, announced: str) -> date | None:
    return day_of(day, "the day of the listing") if announced in _LISTS else None
