"""Lists of conference papers from OpenReview and the Anthology: flat JSON, texts joined by ";".

    [{"id": "…", "title": "…", "author": "A;B", "abstract": "…", "status": "Poster",
      "site": "https://openreview.net/forum?id=…", "github": "", "gs_citation": -1, …}]

Such lists also hold e-mail addresses, genders and profiles of people; none of that is read.
"""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.fields import (
    address_of,
    identifiers_in,
    object_of,
    records_of,
    required,
    text_of,
    texts_of,
    year_day,
)
from paperround.catalogue.sources.files import check_files, json_items, open_files

SOURCE = "openreview"
# Files are named for what they hold, such as iclr2023.json.
_FILE_NAME = re.compile(r"([a-z]{2,12})(\d{4})\.json", re.IGNORECASE)
_NAMES = {"corl": "CoRL", "automl": "AutoML", "neurips": "NeurIPS", "interspeech": "Interspeech"}


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of lists, one JSON list a file or one object a line."""
    check_files(SOURCE, arguments)
    return _read(arguments)


def _read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    for argument, (name, stream) in zip(arguments, open_files(arguments), strict=True):
        named = _FILE_NAME.match(Path(argument).name)
        venue, year = (named[1], int(named[2])) if named else (None, None)
        yield from records_of(json_items(stream, name), partial(_record, venue=venue, year=year))


def _record(value: object, place: str, *, venue: str | None, year: int | None) -> PaperRecord:
    row = object_of(value)
    key = required(row, "id")
    site, pdf = text_of(row, "site"), text_of(row, "pdf")
    arxiv = text_of(row, "arxiv")
    identifiers = identifiers_in(site, pdf, text_of(row, "openreview"), arxiv, text_of(row, "doi"))
    venue = text_of(row, "venue") or text_of(row, "conference") or venue
    given_year = row.get("year")
    year = given_year if type(given_year) is int else year
    status = (text_of(row, "status") or "").lower()
    return PaperRecord(
        source=SOURCE,
        source_key=key,
        title=required(row, "title"),
        abstract=text_of(row, "abstract") or "",
        authors=texts_of(row, "authors" if "authors" in row else "author"),
        keywords=texts_of(row, "keywords"),
        published=year_day(year),
        venue=_venue(venue, year),
        code_url=address_of(text_of(row, "github")),
        project_url=address_of(text_of(row, "project")),
        pdf_url=address_of(pdf),
        withdrawn=True if "withdraw" in status else None,
        identifiers=identifiers,
        place=place,
    )


def _venue(venue: str | None, year: int | None) -> str | None:
    if not venue:
        return None
    name = _NAMES.get(venue.lower(), venue.upper() if venue.islower() else venue)
    return f"{name} {year}" if year and str(year) not in name else name
