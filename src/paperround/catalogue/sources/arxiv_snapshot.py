"""arXiv's metadata snapshot: one JSON object a line, as on Kaggle and elsewhere, millions of them.

{"id": "0704.0046", "authors_parsed": [["Csiszar", "I.", ""]], "title": "…",
 "versions": [{"version": "v1", "created": "Sun, 1 Apr 2007 16:37:36 GMT"}], …}
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.fields import (
    RowError,
    day_of,
    doi_of,
    objects_of,
    records_of,
    required,
    says_withdrawn,
    short_name,
    shown,
    text_of,
)
from paperround.catalogue.sources.files import check_files, open_files
from paperround.catalogue.sources.jsonl import rows_of_lines

SOURCE = "arxiv"


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of snapshot files, plain or packed."""
    check_files("arxiv-snapshot", arguments)
    return (
        item
        for shown, stream in open_files(arguments)
        for item in records_of(rows_of_lines(stream, shown), _record)
    )


def _record(row: Mapping[str, Any], place: str) -> PaperRecord:
    arxiv = arxiv_id(required(row, "id"))
    if arxiv is None:
        raise RowError(f"{shown(row['id'])} is no arXiv id")
    versions = objects_of(row, "versions")
    doi = doi_of(text_of(row, "doi"))
    comment, abstract = text_of(row, "comments"), (text_of(row, "abstract") or "").strip()
    return PaperRecord(
        source=SOURCE,
        source_key=arxiv,
        title=required(row, "title"),
        abstract=abstract,
        authors=_authors(row),
        published=day_of(text_of(versions[0], "created"), "created") if versions else None,
        categories=tuple((text_of(row, "categories") or "").split()),
        comment=comment,
        venue=short_name(text_of(row, "journal-ref")),
        withdrawn=says_withdrawn(comment, abstract),
        identifiers={"arxiv": arxiv} | ({"doi": doi} if doi else {}),
        place=place,
    )


def _authors(row: Mapping[str, Any]) -> tuple[str, ...]:
    parsed = row.get("authors_parsed")
    if isinstance(parsed, list) and parsed:
        names = []
        for name in parsed:
            if not isinstance(name, list) or not all(isinstance(part, str) for part in name):
                raise RowError(f"authors_parsed holds {shown(name)}; it must be a list of texts")
            last, first, *suffix = [*name, "", ""][:3]
            names.append(" ".join(part for part in (first, last, *suffix) if part.strip()))
        return tuple(name for name in names if name)
    return listed_authors(text_of(row, "authors"))


def listed_authors(text: str | None) -> tuple[str, ...]:
    """The names in a text such as "I. Csiszar, F. Hiai and D. Petz"."""
    names = (text or "").replace(" and ", ",").split(",")
    return tuple(stripped for name in names if (stripped := " ".join(name.split())))
