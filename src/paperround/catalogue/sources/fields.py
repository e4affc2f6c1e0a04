"""What the rows of other people's lists hold, read strictly: text, days, names, identifiers."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.files import place_in

_ISO_DAY = re.compile(r"\s*(\d{4}-\d{2}-\d{2})(?:[T ].*)?$", re.ASCII | re.DOTALL)
_DOI = re.compile(r"(?:https?://(?:dx\.)?doi\.org/|doi:\s*)?(10\.\d{4,9}/\S+)$", re.IGNORECASE)
_ACL = re.compile(
    r"(?:https?://(?:www\.)?(?:aclanthology\.org|aclweb\.org/anthology)/(?:papers/.*/)?"
    r"|10\.18653/v1/|10\.3115/v1/)?"
    r"([A-Z]\d{2}-\d{4}|\d{4}\.[a-z0-9_]+-[a-z0-9_]+\.\d+)(?:v\d+)?(?:\.pdf|/)?$"
)
_OPENREVIEW = re.compile(r"https?://openreview\.net/(?:forum|pdf)\?id=([\w-]{3,40})(?:[&#].*)?$")
_LONGEST_NAME = 200
_WITHDRAWN = re.compile(
    r"^\W*withdrawn\b|\b(?:paper|article|submission|manuscript|preprint|work)\b[^.]{0,40}"
    r"\b(?:is|was|been|being)\s+withdrawn\b",
    re.IGNORECASE,
)


class RowError(ValueError):
    """Why a row is no paper, in one line."""


def records_of(
    rows: Iterable[tuple[str, Any] | Rejected], record: Callable[[Any, str], PaperRecord]
) -> Iterator[PaperRecord | Rejected]:
    """What `record` makes of each row and its place, or why it makes nothing, in order."""
    for item in rows:
        if isinstance(item, Rejected):
            yield item
            continue
        place, row = item
        try:
            yield record(row, place)
        except RowError as error:
            yield Rejected(place, str(error))


def rows_of_pages(
    pages: Iterable[tuple[str, Any] | Rejected], *names: str
) -> Iterator[tuple[str, Any] | Rejected]:
    """The rows in the list that a page of a server's answers has under one of the names.

    What is no such page is a row itself.
    """
    for item in pages:
        if isinstance(item, Rejected):
            yield item
            continue
        place, page = item
        listed = next(
            (n for n in names if isinstance(page, dict) and isinstance(page.get(n), list)), ""
        )
        if not listed:
            yield item
            continue
        label = "result" if listed == "results" else listed
        for number, row in enumerate(page[listed], start=1):
            yield place_in(place, f"{label} {number}"), row


def object_of(value: object) -> Mapping[str, Any]:
    """The value, which has to be an object. Raises RowError."""
    if not isinstance(value, dict):
        raise RowError(f"not an object but {shown(value)}")
    return value


def text_of(row: Mapping[str, Any], name: str) -> str | None:
    """The text under a name; None where there is none. Raises RowError for anything else."""
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise RowError(f"{name} is {shown(value)}; it must be text")


def required(row: Mapping[str, Any], name: str) -> str:
    """The text under a name that every paper has."""
    value = text_of(row, name)
    if value is None or not value.strip():
        raise RowError(f"no {name}")
    return value


def objects_of(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in the list under a name."""
    values = row.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise RowError(f"{name} is {shown(values)}; it must be a list of objects")
    return values


def texts_of(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The texts under a name: a list, or one text in which semicolons stand between them."""
    values = row.get(name)
    if isinstance(values, str):
        values = values.split(";")
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RowError(f"{name} is {shown(values)}; it must be a list of texts")
    return tuple(stripped for value in values if (stripped := value.strip()))


def count_of(row: Mapping[str, Any], name: str) -> int | None:
    """The number of things under a name; None where it is unknown."""
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise RowError(f"{name} is {shown(value)}; it must be a whole number")
    return value if value >= 0 else None


def day_of(text: str | None, name: str) -> date | None:
    """The day in an ISO date or a date of mail, whatever time stands behind it."""
    if text is None or not text.strip():
        return None
    found = _ISO_DAY.match(text)
    try:
        if found is not None:
            return date.fromisoformat(found[1])
        moment: datetime = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError) as error:
        raise RowError(f"{name} is {shown(text)}; there is no such day") from error
    return moment.date()


def year_day(year: int | None) -> date | None:
    """The first of January of a year, where a source knows no more than the year."""
    if year is None or not 1 <= year <= 9999:
        return None
    return date(year, 1, 1)


def doi_of(text: str | None) -> str | None:
    """The DOI in a DOI or its address, in small letters; None where there is none."""
    found = _DOI.match(text.strip()) if text else None
    return found[1].lower().rstrip(".,;") if found else None


def identifiers_in(*texts: str | None) -> dict[str, str]:
    """By scheme, what the addresses and identifiers among the texts identify; the first counts.

    arXiv's DOIs are arXiv ids, and those of the ACL Anthology its ids as well.
    """
    found: dict[str, str] = {}
    for text in texts:
        if not text:
            continue
        text = text.strip()
        if (arxiv := arxiv_id(text)) is not None:
            found.setdefault("arxiv", arxiv)
            continue
        doi = doi_of(text)
        if doi is not None:
            found.setdefault("doi", doi)
        if (acl := _ACL.match(doi or text)) is not None:
            found.setdefault("acl", acl[1])
        elif (forum := _OPENREVIEW.match(text)) is not None:
            found.setdefault("openreview", forum[1])
    return found


def address_of(text: str | None) -> str | None:
    """The text where it is a web address; None for anything else, which some lists have there."""
    stripped = text.strip() if text else ""
    return stripped if re.match(r"https?://\S+$", stripped) else None


def short_name(text: str | None) -> str | None:
    """A venue's or an organisation's name; some hold a whole history there, which is none."""
    return text if text and len(text) <= _LONGEST_NAME else None


def says_withdrawn(*texts: str | None) -> bool | None:
    """True where a comment or an abstract says that the paper was withdrawn; else None."""
    return any(text and _WITHDRAWN.search(text[:300]) for text in texts) or None


def shown(value: object) -> str:
    """A value in a message, cut short."""
    text = json.dumps(value, ensure_ascii=True, default=str)
    return text if len(text) <= 60 else f"{text[:60]}…"
