"""What may enter the catalogue: records with sound text, dates, links and identifiers.

Sources differ; this is the one gate that all records pass. Repairable is what nobody would miss
(control characters, spaces); everything else is refused with a reason.
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from paperround.catalogue.identity import arxiv_id, is_category, title_key
from paperround.catalogue.records import PaperRecord, ReportedResult

MAX_TITLE = 1_000
MAX_ABSTRACT = 50_000
MAX_COMMENT = 5_000
MAX_AUTHORS = 20_000
MAX_NAME = 200
MAX_URL = 2_000
MAX_SOURCE = 30
MAX_KEY = 200
MAX_CATEGORIES = 50
MAX_LINKS = 1_000
MAX_COUNT = 2**31 - 1
_FIRST_YEAR = 1500

# Control characters but for line breaks and tabs, what no text holds (U+FFFE, U+FFFF), and halves
# of surrogate pairs, which JSON can carry and UTF-8 cannot.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Marks that turn the writing direction of all that follows on a page.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_URL = re.compile(r"https?://[^\s<>\"'`\\]+", re.IGNORECASE)


class RecordError(ValueError):
    """Why a record cannot enter the catalogue, in one line."""


def cleaned(record: PaperRecord) -> PaperRecord:
    """The record with sound values. Raises RecordError with the reason where that cannot be."""
    arxiv = record.identifiers.get("arxiv")
    stripped = arxiv_id(arxiv) if isinstance(arxiv, str) else None
    if arxiv is not None and stripped is None:
        raise RecordError(f"{_shown(arxiv)} is no arXiv id")
    identifiers = {
        _required(scheme, "identifier scheme", 20): _required(
            value, f"identifier {scheme}", MAX_KEY
        )
        for scheme, value in record.identifiers.items()
    }
    if stripped is not None:
        identifiers["arxiv"] = stripped
    if "key" in identifiers:
        raise RecordError("the identifier scheme 'key' is the catalogue's own; use another name")
    title = _line(record.title, "title", MAX_TITLE)
    if not title or not title_key(title):
        raise RecordError("no title")
    sound: dict[str, Any] = {
        "source": _required(record.source, "source", MAX_SOURCE),
        "source_key": _required(record.source_key, "source_key", MAX_KEY),
        "title": title,
        "abstract": _text(record.abstract, "abstract", MAX_ABSTRACT).strip(),
        "authors": _names(record.authors),
        "author_count": _count(record.author_count, "author_count"),
        "organisation": _line(record.organisation, "organisation", MAX_NAME) or None,
        "published": _day(record.published, "published"),
        "listed": _day(record.listed, "listed"),
        "categories": _categories(record.categories),
        "keywords": _keywords(record.keywords),
        "comment": _line(record.comment, "comment", MAX_COMMENT) or None,
        "venue": _line(record.venue, "venue", MAX_NAME) or None,
        "code_url": _url(record.code_url, "code_url"),
        "project_url": _url(record.project_url, "project_url"),
        "pdf_url": _url(record.pdf_url, "pdf_url"),
        "links": _links(record.links),
        "votes": _count(record.votes, "votes"),
        "comments": _count(record.comments, "comments"),
        "results": tuple(_result(result) for result in record.results),
        "identifiers": identifiers,
    }
    changed = {name: value for name, value in sound.items() if getattr(record, name) != value}
    return _replaced(record, changed) if changed else record


def _replaced(record: PaperRecord, changed: Mapping[str, Any]) -> PaperRecord:
    # As dataclasses.replace, which sets each of thirty fields anew: of an import's time, a tenth.
    copied = object.__new__(PaperRecord)
    vars(copied).update(vars(record), **changed)
    return copied


def _text(value: str | None, name: str, limit: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RecordError(f"{name} is {_shown(value)}; it must be text")
    if len(value) > limit:
        raise RecordError(f"{name} has {len(value):,} characters; at most {limit:,} make sense")
    if value.isascii() and value.replace("\n", " ").isprintable():
        return value
    sound = value.replace("\r\n", "\n").replace("\r", "\n")
    sound = _DIRECTIONS.sub("", _UNWANTED.sub(" ", sound))
    return unicodedata.normalize("NFC", sound)


def _line(value: str | None, name: str, limit: int) -> str:
    if value is None:
        return ""
    if type(value) is str and value.isalnum() and value.isascii() and len(value) <= limit:
        return value
    return " ".join(_text(value, name, limit).split())


def _required(value: str, name: str, limit: int) -> str:
    line = _line(value, name, limit)
    if not line:
        raise RecordError(f"no {name}")
    return line


def _names(authors: Sequence[str]) -> tuple[str, ...]:
    if len(authors) > MAX_AUTHORS:
        raise RecordError(f"{len(authors):,} authors; at most {MAX_AUTHORS:,} make sense")
    lines = (_line(author, "author", MAX_NAME) for author in authors)
    return tuple(line for line in lines if line)


def _categories(categories: Sequence[str]) -> tuple[str, ...]:
    """Those of arXiv, first = primary: codes of MSC and ACM stand with them and say little."""
    kept = (_line(category, "category", MAX_NAME) for category in categories)
    return tuple(dict.fromkeys(each for each in kept if is_category(each)))[:MAX_CATEGORIES]


def _keywords(keywords: Sequence[str]) -> tuple[str, ...]:
    kept = (_line(keyword, "keyword", MAX_NAME) for keyword in keywords[:MAX_LINKS])
    return tuple(dict.fromkeys(keyword for keyword in kept if keyword))[:MAX_CATEGORIES]


def _day(day: date | None, name: str) -> date | None:
    if day is not None and day.year < _FIRST_YEAR:
        raise RecordError(f"{name} is {day}; no paper is that old")
    return day


def _count(count: int | None, name: str) -> int | None:
    if count is None:
        return None
    if not 0 <= count <= MAX_COUNT:
        raise RecordError(f"{name} is {count}; it must be between 0 and {MAX_COUNT:,}")
    return count


def _links(links: Sequence[str]) -> tuple[str, ...]:
    kept = (_url(link, "link") for link in links[:MAX_LINKS])
    return tuple(dict.fromkeys(link for link in kept if link))


def _result(result: ReportedResult) -> ReportedResult:
    return ReportedResult(
        task=_line(result.task, "task", MAX_NAME),
        dataset=_line(result.dataset, "dataset", MAX_NAME),
        metric=_required(result.metric, "metric", MAX_NAME),
        value=_required(result.value, "value", MAX_NAME),
        model=_line(result.model, "model", MAX_NAME),
    )


def _url(url: str | None, name: str) -> str | None:
    line = _line(url, name, MAX_URL)
    if line and not _URL.fullmatch(line):
        raise RecordError(f"{name} is {_shown(line)}; it must be a web address")
    return line or None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
