"""What may enter the catalogue: records with sound text, dates, links and identifiers.

Sources differ; this is the one gate that all records pass. Repairable is what nobody would miss
(control characters, spaces); everything else is refused with a reason.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from paperround.catalogue.identity import arxiv_id, is_category, title_key
from paperround.catalogue.records import PaperRecord, ReportedResult
from paperround.catalogue.text import one_line

MAX_TITLE = 1_000
MAX_ABSTRACT = 50_000
MAX_COMMENT = 5_000
MAX_AUTHORS = 20_000
MAX_NAME = 200
MAX_URL = 2_000
MAX_SOURCE = 30
MAX_KEY = 200
MAX_SCHEME = 20
MAX_CATEGORIES = 50
MAX_LINKS = 1_000
MAX_COUNT = 2**31 - 1
_FIRST_YEAR = 1500

# Control characters but for line breaks and tabs, what no text holds (U+FFFE, U+FFFF), and halves
# of surrogate pairs, which JSON can carry and UTF-8 cannot.
_UNWANTED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
# Marks that turn the writing direction of all that follows on a page.
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Lines of up to five words in ASCII with a space between them, short enough for a name.
_SOUND_NAMES = re.compile(r"(?:[!-~]{1,39}(?: [!-~]{1,39}){0,4}\n)*")
_URL = re.compile(r"https?://[^\s<>\"'`\\]+", re.IGNORECASE)


class RecordError(ValueError):
    """Why a record cannot enter the catalogue, in one line."""


def cleaned(record: PaperRecord) -> PaperRecord:
    """The record with sound values. Raises RecordError with the reason where that cannot be."""
    changed: dict[str, Any] = {}
    for name, gate in _GATES.items():
        value = getattr(record, name)
        # Most is unknown of most papers.
        if value is None or value == ():
            continue
        sound = gate(value, name)
        if sound != value:
            changed[name] = sound
    return _replaced(record, changed) if changed else record


def _replaced(record: PaperRecord, changed: Mapping[str, Any]) -> PaperRecord:
    # As dataclasses.replace, which sets each of thirty fields anew and takes ten times as long.
    copied = object.__new__(PaperRecord)
    vars(copied).update(vars(record), **changed)
    return copied


def _text(value: str, name: str, limit: int) -> str:
    if not isinstance(value, str):
        raise RecordError(f"{name} is {_shown(value)}; it must be text")
    if len(value) > limit:
        raise RecordError(f"{name} has {len(value):,} characters; at most {limit:,} make sense")
    if value.isascii() and value.replace("\n", " ").isprintable():
        return value
    sound = value.replace("\r\n", "\n").replace("\r", "\n")
    sound = _DIRECTIONS.sub("", _UNWANTED.sub(" ", sound))
    return unicodedata.normalize("NFC", sound)


def _line(value: str, name: str, limit: int) -> str:
    return one_line(_text(value, name, limit))


def _required(value: str, name: str, limit: int) -> str:
    line = _line(value, name, limit)
    if not line:
        raise RecordError(f"no {name}")
    return line


def _optional(limit: int) -> Callable[[str, str], str | None]:
    return lambda value, name: _line(value, name, limit) or None


def _title(title: str, name: str) -> str:
    line = _line(title, name, MAX_TITLE)
    if not line or not title_key(line):
        raise RecordError("no title")
    return line


def _abstract(abstract: str, name: str) -> str:
    return _text(abstract, name, MAX_ABSTRACT).strip()


def _names(authors: Sequence[str], _: str) -> tuple[str, ...]:
    if len(authors) > MAX_AUTHORS:
        raise RecordError(f"{len(authors):,} authors; at most {MAX_AUTHORS:,} make sense")
    # Most papers' are sound, and one look at all of them tells.
    if all(type(author) is str for author in authors) and _SOUND_NAMES.fullmatch(
        "\n".join([*authors, ""])
    ):
        return tuple(authors)
    lines = (_line(author, "author", MAX_NAME) for author in authors)
    return tuple(line for line in lines if line)


def _categories(categories: Sequence[str], _: str) -> tuple[str, ...]:
    """Those of arXiv, first = primary: codes of MSC and ACM stand with them and say little."""
    known = dict.fromkeys(each for each in categories if is_category(each))
    if len(known) != len(categories):
        lines = (_line(category, "category", MAX_NAME) for category in categories)
        known = dict.fromkeys(each for each in lines if is_category(each))
    return tuple(known)[:MAX_CATEGORIES]


def _keywords(keywords: Sequence[str], _: str) -> tuple[str, ...]:
    kept = (_line(keyword, "keyword", MAX_NAME) for keyword in keywords[:MAX_LINKS])
    return tuple(dict.fromkeys(keyword for keyword in kept if keyword))[:MAX_CATEGORIES]


def _identifiers(given: Mapping[str, str], _: str) -> dict[str, str]:
    identifiers = {
        _required(scheme, "identifier scheme", MAX_SCHEME): _required(
            value, f"identifier {scheme}", MAX_KEY
        )
        for scheme, value in given.items()
    }
    if "key" in identifiers:
        raise RecordError("the identifier scheme 'key' is the catalogue's own; use another name")
    if (arxiv := identifiers.get("arxiv")) is not None:
        stripped = arxiv_id(arxiv)
        if stripped is None:
            raise RecordError(f"{_shown(arxiv)} is no arXiv id")
        identifiers["arxiv"] = stripped
    return identifiers


def _day(day: date, name: str) -> date:
    if day.year < _FIRST_YEAR:
        raise RecordError(f"{name} is {day}; no paper is that old")
    return day


def _count(count: int, name: str) -> int:
    if not 0 <= count <= MAX_COUNT:
        raise RecordError(f"{name} is {count}; it must be between 0 and {MAX_COUNT:,}")
    return count


def _links(links: Sequence[str], _: str) -> tuple[str, ...]:
    kept = (_url(link, "link") for link in links[:MAX_LINKS])
    return tuple(dict.fromkeys(link for link in kept if link))


def _results(results: Sequence[ReportedResult], _: str) -> tuple[ReportedResult, ...]:
    return tuple(
        ReportedResult(
            task=_line(result.task, "task", MAX_NAME),
            dataset=_line(result.dataset, "dataset", MAX_NAME),
            metric=_required(result.metric, "metric", MAX_NAME),
            value=_required(result.value, "value", MAX_NAME),
            model=_line(result.model, "model", MAX_NAME),
        )
        for result in results
    )


def _url(url: str, name: str) -> str | None:
    line = _line(url, name, MAX_URL)
    if line and not _URL.fullmatch(line):
        raise RecordError(f"{name} is {_shown(line)}; it must be a web address")
    return line or None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


# By field, what makes it sound or refuses it.
_GATES: Mapping[str, Callable[[Any, str], Any]] = {
    "source": lambda value, name: _required(value, name, MAX_SOURCE),
    "source_key": lambda value, name: _required(value, name, MAX_KEY),
    "identifiers": _identifiers,
    "title": _title,
    "abstract": _abstract,
    "authors": _names,
    "author_count": _count,
    "organisation": _optional(MAX_NAME),
    "published": _day,
    "listed": _day,
    "categories": _categories,
    "keywords": _keywords,
    "comment": _optional(MAX_COMMENT),
    "venue": _optional(MAX_NAME),
    "code_url": _url,
    "project_url": _url,
    "pdf_url": _url,
    "links": _links,
    "votes": _count,
    "comments": _count,
    "results": _results,
}
