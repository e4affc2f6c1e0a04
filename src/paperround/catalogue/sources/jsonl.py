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
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import IO, Any

import orjson

from paperround.catalogue.identity import arxiv_id, derived_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.files import READ_ERRORS, check_files, open_files
from paperround.errors import UsageError

SOURCE = "jsonl"
_MAX_LINE_BYTES = 8 << 20
_WORDS = (
    "id title abstract authors author_count categories keywords published listed comment venue"
    " organisation code_url project_url pdf_url links votes comments identifiers source source_key"
)
_KEYS = frozenset(_WORDS.split())
_DAY = re.compile(r"(\d{4}-\d{2}-\d{2})(?:[T ].*)?$", re.ASCII)


class _RowError(ValueError):
    """Why a row is no paper."""


def read(
    arguments: Sequence[str], keys: Mapping[str, str] | None = None
) -> Iterator[PaperRecord | Rejected]:
    """The papers of JSONL files, or of standard input for `-`.

    `keys` says under which key of a row each of ours stands, where it is another.
    """
    check_files(SOURCE, arguments)
    for ours in keys or {}:
        if ours not in _KEYS:
            raise UsageError(f"--map has no '{ours}'; there are {', '.join(sorted(_KEYS))}")
    return (
        item
        for shown, stream in open_files(arguments)
        for item in read_lines(stream, shown, keys=keys)
    )


def read_lines(
    stream: IO[bytes], name: str = "", *, keys: Mapping[str, str] | None = None
) -> Iterator[PaperRecord | Rejected]:
    """The papers of a stream of lines; `name` stands before the line's number where it is given."""
    for item in rows_of_lines(stream, name):
        if isinstance(item, Rejected):
            yield item
            continue
        place, row = item
        try:
            yield _record(renamed(row, keys) if keys else row, place)
        except _RowError as error:
            yield Rejected(place, str(error))


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
        return Rejected(place, f"not an object but {_shown(row)}")
    return place, row


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
        keywords=_texts(row, "keywords"),
        comment=_text(row, "comment"),
        venue=_text(row, "venue"),
        code_url=_text(row, "code_url"),
        project_url=_text(row, "project_url"),
        pdf_url=_text(row, "pdf_url"),
        links=_texts(row, "links"),
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
    value: str | None = row.get(name)
    return value if value is None or type(value) is str else _typed(row, name, str, "text")


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
