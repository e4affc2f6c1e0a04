"""Papers as JSON, one object a line: Paperround's own shape, which takes in arXiv's listings.

    {"id": "2502.08923", "title": "…", "abstract": "…", "authors": ["…"], "author_count": 4,
     "categories": ["cs.CL"], "published": "2025-02-12", "listed": ["2025-02-14"], "comment": "…",
     "venue": "…", "organisation": "…", "code_url": "https://…", "project_url": "https://…",
     "pdf_url": "https://…", "votes": 3, "comments": 1, "identifiers": {"doi": "…"},
     "source": "…", "source_key": "…"}

Only `title` is required. An `id` that is an arXiv id identifies the paper, another one only names
it in its source; `listed` is a day or several, of which the first counts; other keys are passed
over. Files may be plain, .gz, .xz, .bz2 or .zst, told by their first bytes; nothing is read ahead.
Rows of others are read by naming their keys: `--map id=_id,abstract=text`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import IO, Any

import orjson

from paperround.catalogue.identity import arxiv_id, derived_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.fields import RowError, records_of, shown
from paperround.catalogue.sources.files import READ_ERRORS, check_files, open_files
from paperround.errors import UsageError

SOURCE = "jsonl"
_MAX_LINE_BYTES = 8 << 20
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?$", re.ASCII)


def read(
    arguments: Sequence[str], keys: Mapping[str, str] | None = None
) -> Iterator[PaperRecord | Rejected]:
    """The papers of JSONL files, or of standard input for `-`.

    `keys` says under which key of a row each of ours stands, where it is another.
    """
    check_files(SOURCE, arguments)
    for ours in keys or {}:
        if ours not in _READERS:
            raise UsageError(f"--map has no '{ours}'; there are {', '.join(sorted(_READERS))}")
    return (
        item
        for shown, stream in open_files(arguments)
        for item in read_lines(stream, shown, keys=keys)
    )


def read_lines(
    stream: IO[bytes], name: str = "", *, keys: Mapping[str, str] | None = None
) -> Iterator[PaperRecord | Rejected]:
    """The papers of a stream of lines; `name` stands before the line's number where it is given."""

    def record(row: Mapping[str, Any], place: str) -> PaperRecord:
        return _record(renamed(row, keys) if keys else row, place)

    return records_of(rows_of_lines(stream, name), record)


def renamed(row: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    """A row of others under our keys; a key of ours that is mapped is never read as it stands."""
    kept = {key: value for key, value in row.items() if key not in keys}
    mapped = {ours: row[theirs] for ours, theirs in keys.items() if theirs in row}
    if type(mapped.get("id")) is int:
        # Many a corpus numbers its rows.
        mapped["id"] = str(mapped["id"])
    return kept | mapped


def rows_of_lines(
    stream: IO[bytes], name: str = ""
) -> Iterator[tuple[str, dict[str, Any]] | Rejected]:
    """The objects of a stream of lines with their places, and the lines that are none."""
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
    except READ_ERRORS as error:
        reason = f"{error}; what follows could not be read"
        yield Rejected(f"{where}{number + 1}", reason)


def _item(line: bytes, place: str) -> tuple[str, dict[str, Any]] | Rejected:
    try:
        row = orjson.loads(line)
    except orjson.JSONDecodeError:
        # The slow reader takes a little more (NaN, long numbers), and says what is wrong where.
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            return Rejected(place, f"not UTF-8 (byte 0x{line[error.start]:02x})")
        except json.JSONDecodeError as error:
            return Rejected(place, f"not JSON ({error.msg} at character {error.pos + 1})")
        except (RecursionError, ValueError) as error:
            # Nested too deep, or a number of too many digits.
            return Rejected(place, f"not a paper ({error})")
    if not isinstance(row, dict):
        return Rejected(place, f"not an object but {shown(row)}")
    return place, row


def _record(row: Mapping[str, Any], place: str) -> PaperRecord:
    said = {
        name: reader(value, name)
        for name, value in row.items()
        if value is not None and (reader := _READERS.get(name)) is not None
    }
    title = said.get("title", "")
    if not title.strip():
        raise RowError("no title")
    named = said.pop("id", "")
    identifiers = said.setdefault("identifiers", {})
    # Anything that is none is refused, with everything else that is no identifier, on its way in.
    given = identifiers.get("arxiv", "")
    if arxiv := arxiv_id(given) or given or arxiv_id(named):
        identifiers["arxiv"] = arxiv
    said["source"] = said.get("source") or ("arxiv" if arxiv else SOURCE)
    said["source_key"] = said.get("source_key") or arxiv or named or derived_key(title)
    return PaperRecord(**said, place=place)


def _text(value: object, name: str) -> str:
    if type(value) is not str:
        raise RowError(f"{name} is {shown(value)}; it must be text")
    return value


def _number(value: object, name: str) -> int:
    if type(value) is not int:
        raise RowError(f"{name} is {shown(value)}; it must be a whole number")
    return value


def _texts(values: object, name: str) -> tuple[str, ...]:
    if not isinstance(values, list):
        raise RowError(f"{name} is {shown(values)}; it must be a list of texts")
    for value in values:
        if type(value) is not str:
            raise RowError(f"{name} holds {shown(value)}; it must be a list of texts")
    return tuple(values)


def _identifiers(given: object, name: str) -> dict[str, str]:
    if not isinstance(given, dict):
        raise RowError(f"{name} is {shown(given)}; it must be an object")
    return {scheme: "" if v is None else _text(v, scheme) for scheme, v in given.items()}


def _first_day(days: object, name: str) -> date | None:
    return min(
        (_day(day, name) for day in (days if isinstance(days, list) else [days])), default=None
    )


def _day(value: object, name: str) -> date:
    # A time of day behind the day says nothing here.
    found = _DAY.match(value) if isinstance(value, str) else None
    try:
        if found is not None:
            return date.fromisoformat(found[1])
    except ValueError as error:
        raise RowError(f"{name} is {shown(value)}; there is no such day") from error
    raise RowError(f"{name} is {shown(value)}; write a day like 2026-04-13")


# By key, what reads its value.
_READERS: Mapping[str, Callable[[object, str], Any]] = {
    "id": _text,
    "title": _text,
    "abstract": _text,
    "authors": _texts,
    "author_count": _number,
    "categories": _texts,
    "keywords": _texts,
    "published": _day,
    "listed": _first_day,
    "comment": _text,
    "venue": _text,
    "organisation": _text,
    "code_url": _text,
    "project_url": _text,
    "pdf_url": _text,
    "links": _texts,
    "votes": _number,
    "comments": _number,
    "identifiers": _identifiers,
    "source": _text,
    "source_key": _text,
}
