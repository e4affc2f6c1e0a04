"""BibTeX: bibliographies as people keep them, with broken entries, strings, months and accents."""

import calendar
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import IO

from bibtexparser.entrypoint import parse_string
from bibtexparser.model import DuplicateBlockKeyBlock, Entry, ParsingFailedBlock

from paperround.catalogue.identity import derived_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.fields import RowError, address_of, identifiers_in, year_day
from paperround.catalogue.sources.files import (
    READ_ERRORS,
    check_files,
    open_files,
    place_in,
    some_of,
)
from paperround.catalogue.text import plain_text

SOURCE = "bibtex"
# What it warns of is in the rejections, with its place.
logging.getLogger("bibtexparser").addHandler(logging.NullHandler())
_MAX_BYTES = 64 << 20
_PIECE_BYTES = 1 << 16
_MONTHS = [name.lower() for name in calendar.month_abbr[1:]]
# Not read as papers: what cites nothing.
_NOT_PAPERS = {"proceedings", "book", "manual", "software", "online"}


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of bibliographies."""
    check_files(SOURCE, arguments)
    return (item for shown, stream in open_files(arguments) for item in read_text(stream, shown))


def read_text(stream: IO[bytes], shown: str = "") -> Iterator[PaperRecord | Rejected]:
    """The papers of one bibliography; what cannot be read costs its own entry only."""
    parts: list[bytes] = []
    size = 0
    broken: Rejected | None = None
    try:
        while size <= _MAX_BYTES and (part := some_of(stream, _PIECE_BYTES)):
            parts.append(part)
            size += len(part)
    except READ_ERRORS as error:
        n_lines = sum(part.count(b"\n") for part in parts)
        reason = f"{error}; what follows could not be read"
        broken = Rejected(place_in(shown, f"line {n_lines + 1}"), reason)
    if size > _MAX_BYTES:
        yield Rejected(place_in(shown, "the whole file"), f"longer than {_MAX_BYTES >> 20} MiB")
        return
    if broken is not None:
        yield broken
    text = b"".join(parts).decode("utf-8-sig", "replace")
    library = parse_string(text)
    for block in library.blocks:
        place = place_in(shown, f"line {(block.start_line or 0) + 1}")
        if isinstance(block, DuplicateBlockKeyBlock):
            # Two papers under one key: each is a paper all the same.
            entry = block.ignore_error_block
            yield from _entry(entry, place) if isinstance(entry, Entry) else ()
        elif isinstance(block, ParsingFailedBlock):
            # Its exceptions keep their words in an attribute of their own.
            said = getattr(block.error, "abort_reason", "") or str(block.error)
            yield Rejected(place, f"not BibTeX ({' '.join(said.split())[:200]})")
        elif isinstance(block, Entry):
            yield from _entry(block, place)


def _entry(entry: Entry, place: str) -> Iterator[PaperRecord | Rejected]:
    if entry.entry_type.lower() in _NOT_PAPERS:
        return
    fields = {field.key.lower(): str(field.value) for field in entry.fields}
    try:
        if any("\ufffd" in value for value in fields.values()):
            raise RowError("not UTF-8")
        yield _record(fields, place)
    except RowError as error:
        yield Rejected(place, str(error))


def _record(fields: Mapping[str, str], place: str) -> PaperRecord:
    title = _plain(fields.get("title", ""))
    if not title:
        raise RowError("no title")
    archive = fields.get("archiveprefix", fields.get("eprinttype", "")).lower()
    eprint = fields.get("eprint") if archive in ("", "arxiv") else None
    journal = _plain(fields.get("journal", ""))
    # "arXiv preprint arXiv:2502.08923" is how many write it.
    named = re.search(r"arxiv:\s*(\S+?)[,.]?$", journal, re.IGNORECASE)
    identifiers = identifiers_in(
        eprint, named[1] if named else None, fields.get("doi"), fields.get("url")
    )
    return PaperRecord(
        source=SOURCE,
        # A key is whoever keeps the list's own, and names another paper in the next list.
        source_key=derived_key(title),
        title=title,
        abstract=fields.get("abstract", ""),
        authors=tuple(filter(None, map(_name, _split_names(fields.get("author", ""))))),
        published=_published(fields),
        venue=_plain(fields.get("booktitle", "")) or (journal if not named else None) or None,
        comment=_plain(fields.get("note", "")) or None,
        pdf_url=address_of(fields.get("pdf")),
        identifiers=identifiers,
        place=place,
    )


def _split_names(authors: str) -> list[str]:
    """The names between the words "and" that stand in no braces."""
    names, depth, start = [], 0, 0
    for found in re.finditer(r"[{}]|\s+and\s+", authors):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            depth = max(0, depth - 1)
        elif not depth:
            names.append(authors[start : found.start()])
            start = found.end()
    return [*names, authors[start:]]


def _name(name: str) -> str:
    """The name in "Last, First" and "Last, Jr, First" as it is spoken."""
    if name.strip().lower() == "others":
        return ""
    if _is_group(name.strip()):
        # In braces of its own it is one name, comma or not.
        return _plain(name)
    parts = [_plain(part) for part in name.split(",")]
    if len(parts) == 1:
        return parts[0]
    last, *middle, first = parts
    return " ".join(part for part in (first, last, *middle) if part)


def _is_group(text: str) -> bool:
    """Whether the brace at its beginning is closed by the one at its end."""
    depth = 0
    for place, sign in enumerate(text):
        depth += (sign == "{") - (sign == "}")
        if not depth:
            return sign == "}" and place == len(text) - 1
    return False


def _published(fields: Mapping[str, str]) -> date | None:
    given = fields.get("date", "")
    if found := re.fullmatch(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?", given.strip()):
        try:
            return date(int(found[1]), int(found[2] or 1), int(found[3] or 1))
        except ValueError as error:
            raise RowError(f"date is {given}; there is no such day") from error
    year = re.fullmatch(r"\d{4}", fields.get("year", "").strip())
    day = year_day(int(year[0])) if year else None
    month = fields.get("month", "").strip().lower()
    if day is None or not month:
        return day
    if month.isdecimal() and 1 <= int(month) <= 12:
        return day.replace(month=int(month))
    return day.replace(month=_MONTHS.index(month[:3]) + 1) if month[:3] in _MONTHS else day


def _plain(value: str) -> str:
    return plain_text(value)
