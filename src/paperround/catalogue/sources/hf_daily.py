"""Hugging Face's daily papers as JSON: the answers of its API, saved or asked for.

The same facts stand at two levels, in the entry and in its paper; where they differ, the paper is
right.
"""

import re
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Item, PaperRecord, Rejected
from paperround.catalogue.sources.fields import (
    RowError,
    address_of,
    count_of,
    day_of,
    object_of,
    objects_of,
    records_of,
    required,
    shown,
    text_of,
    texts_of,
)
from paperround.catalogue.sources.files import check_files, json_items_of
from paperround.catalogue.visiting import Visit
from paperround.errors import SourceError, UsageError

SOURCE = "hf-daily"
ADDRESS = "https://huggingface.co/api"
_PER_PAGE = 100
_PERIODS = {
    "date": re.compile(r"\d{4}-\d{2}-\d{2}"),
    "week": re.compile(r"\d{4}-W\d{2}"),
    "month": re.compile(r"\d{4}-\d{2}"),
}


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of saved answers: daily papers, a search, or one paper."""
    check_files(SOURCE, arguments)
    return records_of(json_items_of(arguments), _record)


def visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    """The daily papers of days, weeks (2025-W09) or months (2025-02); today's without any."""
    for argument in arguments or [""]:
        yield from _visit_period(argument, visit)


def _visit_period(argument: str, visit: Visit) -> Iterator[Item]:
    asked = next(({n: argument} for n, p in _PERIODS.items() if p.fullmatch(argument)), None)
    if asked is None and argument:
        raise UsageError(f"'{argument}' is neither a file nor a day, week or month like 2025-W09")
    page = 0
    while True:
        query = urlencode({**(asked or {}), "p": page, "limit": _PER_PAGE})
        address = f"{visit.address(SOURCE, ADDRESS)}/daily_papers?{query}"
        answer = visit.get_json(address)
        if not isinstance(answer, list):
            raise SourceError(f"{address}: the answer is no list of papers")
        where = f"{argument or 'today'}, page {page}"
        rows = ((f"{where}, item {number}", row) for number, row in enumerate(answer, start=1))
        yield from records_of(rows, _record)
        if len(answer) < _PER_PAGE:
            return
        page += 1


def _record(value: object, place: str) -> PaperRecord:
    entry = object_of(value)
    inner = entry.get("paper", {})
    if not isinstance(inner, dict):
        raise RowError(f"paper is {shown(inner)}; it must be an object")
    row = {**entry, **inner}
    arxiv = arxiv_id(required(row, "id"))
    if arxiv is None:
        raise RowError(f"{shown(row['id'])} is no arXiv id")
    organisation = row.get("organization") or {}
    if not isinstance(organisation, dict):
        raise RowError(f"organization is {shown(organisation)}; it must be an object")
    return PaperRecord(
        source=SOURCE,
        source_key=arxiv,
        title=required(row, "title"),
        abstract=(text_of(row, "summary") or "").replace("\n", " "),
        authors=tuple(
            required(author, "name")
            for author in objects_of(row, "authors")
            if author.get("hidden") is not True
        ),
        organisation=text_of(organisation, "fullname") or text_of(organisation, "name"),
        keywords=texts_of(row, "ai_keywords"),
        published=day_of(text_of(row, "publishedAt"), "publishedAt"),
        listed=day_of(text_of(row, "submittedOnDailyAt"), "submittedOnDailyAt"),
        code_url=address_of(text_of(row, "githubRepo")),
        project_url=address_of(text_of(row, "projectPage")),
        votes=count_of(row, "upvotes"),
        comments=count_of(row, "numComments"),
        withdrawn=True if row.get("withdrawnAt") else None,
        identifiers={"arxiv": arxiv},
        place=place,
    )
