"""Papers as JSON, one object a line: Paperround's own shape, which takes in arXiv's listings.

    {"id": "2502.08923", "title": "…", "abstract": "…", "authors": ["…"], "author_count": 4,
     "categories": ["cs.CL"], "published": "2025-02-12", "listed": ["2025-02-14"], "comment": "…",
     "venue": "…", "organisation": "…", "code_url": "https://…", "project_url": "https://…",
     "pdf_url": "https://…", "votes": 3, "comments": 1, "identifiers": {"doi": "…"},
     "source": "…", "source_key": "…"}

Only `title` is required. An `id` that is an arXiv id identifies the paper, another one only names
it in its source; `listed` is a day or several, of which the first counts; other keys are passed
over. Files may be plain, .gz or .xz, told by their first bytes; nothing is read ahead.
"""

import gzip
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, cast

from paperround.catalogue.identity import arxiv_id, derived_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.errors import UsageError

SOURCE = "jsonl"
_MAX_LINE_BYTES = 8 << 20
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?$", re.ASCII)


class _RowError(ValueError):
    """Why a row is no paper."""


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of JSONL files, or of standard input for `-`."""
    if not arguments:
        raise UsageError("jsonl takes files, or - for standard input")
    for name in arguments:
        if name != "-" and not Path(name).is_file():
            raise UsageError(f"{name}: there is no such file")
    return _read_all(arguments)


def read_lines(stream: IO[bytes], name: str = "") -> Iterator[PaperRecord | Rejected]:
    """The papers of a stream of lines; `name` stands before the line's number where it is given."""
    where = f"{name}, line " if name else "line "
    number = 0
    try:
        while line := stream.readline(_MAX_LINE_BYTES + 1):
            number += 1
            if len(line) > _MAX_LINE_BYTES:
                while line and not line.endswith(b"\n"):
                    line = stream.readline(_MAX_LINE_BYTES)
                yield Rejected(f"{where}{number}", f"longer than {_MAX_LINE_BYTES >> 20} MiB")
                continue
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            if line.strip():
                yield _item(line, f"{where}{number}")
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        reason = f"{error}; what follows could not be read"
        yield Rejected(f"{where}{number + 1}", reason)


def _read_all(names: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    for name in names:
        shown = Path(name).name if len(names) > 1 else ""
        if name == "-":
            yield from read_lines(_unpacked(cast(BufferedReader, sys.stdin.buffer)), shown)
        else:
            with Path(name).open("rb") as file, _unpacked(file) as stream:
                yield from read_lines(stream, shown)


def _unpacked(file: BufferedReader) -> IO[bytes]:
    start = file.peek(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(file))
    if start.startswith(b"\xfd7zXZ\x00"):
        return lzma.open(file)
    return file


def _item(line: bytes, place: str) -> PaperRecord | Rejected:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return Rejected(place, f"not UTF-8 (byte 0x{line[error.start]:02x})")
    except json.JSONDecodeError as error:
        return Rejected(place, f"not JSON ({error.msg} at character {error.pos + 1})")
    except (RecursionError, ValueError) as error:
        # Nested too deep, or a number of too many digits.
        return Rejected(place, f"not a paper ({error})")
    try:
        if not isinstance(row, dict):
            raise _RowError(f"not an object but {_shown(row)}")
        return _record(row, place)
    except _RowError as error:
        return Rejected(place, str(error))


def _record(row: Mapping[str, Any], place: str) -> PaperRecord:
    title = _text(row, "title") or ""
    if not title.strip():
        raise _RowError("no title")
    identifiers = _identifiers(row)
    arxiv = identifiers.get("arxiv")
    return PaperRecord(
        source=_text(row, "source") or ("arxiv" if arxiv else SOURCE),
        source_key=(_text(row, "source_key") or arxiv or _text(row, "id") or derived_key(title)),
        title=title,
        abstract=_text(row, "abstract") or "",
        authors=_texts(row, "authors"),
        author_count=_number(row, "author_count"),
        organisation=_text(row, "organisation"),
        published=None if row.get("published") is None else _day(row["published"], "published"),
        listed=_first_day(row),
        categories=_texts(row, "categories"),
        comment=_text(row, "comment"),
        venue=_text(row, "venue"),
        code_url=_text(row, "code_url"),
        project_url=_text(row, "project_url"),
        pdf_url=_text(row, "pdf_url"),
        votes=_number(row, "votes"),
        comments=_number(row, "comments"),
        identifiers=identifiers,
        place=place,
    )


def _identifiers(row: Mapping[str, Any]) -> dict[str, str]:
    given = row.get("identifiers") or {}
    if not isinstance(given, dict):
        raise _RowError(f"identifiers is {_shown(given)}; it must be an object")
    found = {scheme: _text(given, scheme) or "" for scheme in given}
    if "arxiv" not in found and (arxiv := arxiv_id(_text(row, "id") or "")):
        found["arxiv"] = arxiv
    if "arxiv" in found:
        # Anything else is refused, with everything else that is no identifier, on its way in.
        found["arxiv"] = arxiv_id(found["arxiv"]) or found["arxiv"]
    return found


def _first_day(row: Mapping[str, Any]) -> date | None:
    listed = row.get("listed")
    days = listed if isinstance(listed, list) else [] if listed is None else [listed]
    return min((_day(day, "listed") for day in days), default=None)


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value: str | None = _typed(row, name, str, "text")
    return value


def _number(row: Mapping[str, Any], name: str) -> int | None:
    value: int | None = _typed(row, name, int, "a whole number")
    if isinstance(value, bool):
        raise _RowError(f"{name} is {_shown(value)}; it must be a whole number")
    return value


def _texts(row: Mapping[str, Any], name: str) -> tuple[str, ...]:
    values = _typed(row, name, list, "a list of texts") or []
    for value in values:
        if not isinstance(value, str):
            raise _RowError(f"{name} holds {_shown(value)}; it must be a list of texts")
    return tuple(values)


def _day(value: object, name: str) -> date:
    # A time of day behind the day says nothing here.
    found = _DAY.match(value) if isinstance(value, str) else None
    try:
        if found is not None:
            return date.fromisoformat(found[1])
    except ValueError as error:
        raise _RowError(f"{name} is {_shown(value)}; there is no such day") from error
    raise _RowError(f"{name} is {_shown(value)}; write a day like 2026-04-13")


def _typed(row: Mapping[str, Any], name: str, kind: type, what: str) -> Any:
    value = row.get(name)
    if value is not None and not isinstance(value, kind):
        raise _RowError(f"{name} is {_shown(value)}; it must be {what}")
    return value


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 60 else f"{text[:60]}…"
