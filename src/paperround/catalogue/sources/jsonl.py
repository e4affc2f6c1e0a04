"""Papers from JSON lines: our own shape, one object a line.

    {"id": "2502.08923", "title": "…", "abstract": "…", "authors": ["…"], "categories": ["cs.CL"],
     "published": "2025-02-12", "listed": ["2025-02-14"], "comment": null, "venue": null,
     "organisation": null, "code_url": null, "project_url": null, "pdf_url": null, "votes": 3,
     "comments": 1, "author_count": 4, "identifiers": {"doi": "…"}, "source": "…",
     "source_key": "…"}

Only `title` is required. An `id` that is an arXiv identifier counts as one; `listed` is a day or
several; other keys are ignored. A broken line is rejected with its number, and the rest goes in.
"""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any

from paperround.catalogue.identity import arxiv_id, title_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.files import lines_of, require_files
from paperround.catalogue.text import tidy

_MAX_TITLE = 2_000
_MAX_ABSTRACT = 50_000
_MAX_AUTHORS = 10_000
_MAX_COUNT = 2**31 - 1

# `cs.CL`, `hep-th`, `stat.ML`; corpora also carry codes of other classifications ("68T45").
_CATEGORY = re.compile(r"[a-z]+(-[a-z]+)*(\.[A-Za-z]+(-[a-z]+)*)?")
# A repository named in the abstract or the comment; not gists, issues or files in it.
_REPOSITORY = re.compile(r"github\.com/([A-Za-z0-9][\w-]*)/([\w.-]*[\w-])", re.IGNORECASE)
_NOT_OWNERS = {"orgs", "topics", "features", "about", "sponsors", "settings", "marketplace"}
_SCHEME = re.compile(r"[a-z][a-z0-9-]{0,19}")


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of the files, or of standard input for `-`."""
    for argument in require_files(arguments):
        name = "standard input" if argument == "-" else argument
        for number, line in lines_of(argument):
            if line.isspace():
                continue
            try:
                yield _record(line, f"{name}:{number}")
            except ValueError as error:
                yield Rejected(f"{name}: line {number}", str(error))


def _record(line: bytes, place: str) -> PaperRecord:
    try:
        row = json.loads(line)
    except UnicodeDecodeError as error:
        raise ValueError("not UTF-8") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"not an object but {type(row).__name__}")
    title = _text(row, "title", _MAX_TITLE)
    if not title:
        raise ValueError("no title")
    if not title_key(title):
        raise ValueError("the title has no letter or digit")
    abstract = _text(row, "abstract", _MAX_ABSTRACT)
    comment = _text(row, "comment", _MAX_ABSTRACT)
    identifiers = _identifiers(row)
    key = _text(row, "source_key", 200) or identifiers.get("arxiv") or _text(row, "id", 200)
    return PaperRecord(
        source=_text(row, "source", 30) or ("arxiv" if "arxiv" in identifiers else "jsonl"),
        source_key=key or place[-200:],
        title=title,
        abstract=abstract,
        authors=_names(row, "authors"),
        author_count=_count(row, "author_count"),
        organisation=_text(row, "organisation", 200) or None,
        published=_day(row.get("published"), "published"),
        listed=_first_day(row.get("listed")),
        categories=tuple(name for name in _names(row, "categories") if _CATEGORY.fullmatch(name)),
        comment=comment or None,
        venue=_text(row, "venue", 200) or None,
        code_url=_address(row, "code_url") or repository_named_in(f"{abstract} {comment}"),
        project_url=_address(row, "project_url"),
        pdf_url=_address(row, "pdf_url"),
        votes=_count(row, "votes"),
        comments=_count(row, "comments"),
        identifiers=identifiers,
    )


def repository_named_in(text: str) -> str | None:
    """The address of the first GitHub repository that a text names, None where it names none."""
    for found in _REPOSITORY.finditer(text):
        owner, name = found[1], found[2].removesuffix(".git")
        if owner.lower() not in _NOT_OWNERS and name:
            return f"https://github.com/{owner}/{name}"
    return None


def _text(row: dict[str, Any], name: str, limit: int) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text but {type(value).__name__}")
    tidied = tidy(value)
    if len(tidied) > limit:
        raise ValueError(f"{name} has {len(tidied)} characters; at most {limit}")
    return tidied


def _names(row: dict[str, Any], name: str) -> tuple[str, ...]:
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name} is not a list of texts")
    if len(value) > _MAX_AUTHORS:
        raise ValueError(f"{name} has {len(value)} entries; at most {_MAX_AUTHORS}")
    return tuple(tidied for item in value if (tidied := tidy(item)))


def _count(row: dict[str, Any], name: str) -> int | None:
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MAX_COUNT:
        raise ValueError(f"{name} is {value!r}, not a count")
    return value


def _day(value: Any, name: str) -> date | None:
    if value is None or value == "":
        return None
    try:
        return date.fromisoformat(value[:10])
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} is {value!r}, not a day such as 2025-02-14") from error


def _first_day(value: Any) -> date | None:
    days = value if isinstance(value, list) else [value]
    return min((day for one in days if (day := _day(one, "listed"))), default=None)


def _address(row: dict[str, Any], name: str) -> str | None:
    address = _text(row, name, 2_000)
    # It becomes a link on a page, so nothing but the web may stand there.
    if address and not re.fullmatch(r"https?://[^\s<>\"']+", address):
        raise ValueError(f"{name} is not an http address: {address[:60]!r}")
    return address or None


def _identifiers(row: dict[str, Any]) -> dict[str, str]:
    given = row.get("identifiers") or {}
    if not isinstance(given, dict):
        raise ValueError(f"identifiers is not an object but {type(given).__name__}")
    found = {}
    for scheme, value in given.items():
        if not _SCHEME.fullmatch(scheme) or not isinstance(value, str) or not value.strip():
            raise ValueError(f"identifiers has {scheme!r}: {value!r}")
        found[scheme] = tidy(value)[:200]
    if "arxiv" in found:
        arxiv = arxiv_id(found["arxiv"])
        if arxiv is None:
            raise ValueError(f"{found['arxiv']!r} is no arXiv identifier")
        found["arxiv"] = arxiv
    elif isinstance(row.get("id"), str) and (arxiv := arxiv_id(row["id"])):
        found["arxiv"] = arxiv
    if "doi" in found:
        # Names in the DOI system do not tell capitals from small letters.
        found["doi"] = found["doi"].lower().removeprefix("https://doi.org/")
    return found
