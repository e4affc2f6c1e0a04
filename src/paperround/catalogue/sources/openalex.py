"""OpenAlex works: saved answers, snapshot files with one work a line, and its search.

An abstract comes as the places of its words, {"Large": [0], "language": [1], …}, and often not at
all. Searches go page by page with a cursor.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

from paperround.catalogue.records import Bookmark, Item, PaperRecord, Rejected
from paperround.catalogue.sources.fields import (
    RowError,
    address_of,
    day_of,
    doi_of,
    identifiers_in,
    object_of,
    objects_of,
    records_of,
    required,
    rows_of_pages,
    shown,
    text_of,
)
from paperround.catalogue.sources.files import check_files, json_items_of
from paperround.catalogue.visiting import Visit
from paperround.errors import SourceError

SOURCE = "openalex"
ADDRESS = "https://api.openalex.org"
_PER_PAGE = 200
_MAX_WORDS = 20_000


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of saved answers, or of snapshot files."""
    check_files(SOURCE, arguments)
    return records_of(rows_of_pages(json_items_of(arguments), "results"), _record)


def visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    """The works that answer a search, or match a filter such as `filter=primary_topic.id:T10181`.

    A broken import goes on at its cursor.
    """
    query = " ".join(arguments)
    filtered = query.removeprefix("filter=")
    asked = {"filter": filtered} if filtered != query else {"search": query}
    cursor = visit.bookmark(SOURCE, query) or "*"
    while True:
        page = urlencode({**asked, "per-page": _PER_PAGE, "cursor": cursor})
        address = f"{visit.address(SOURCE, ADDRESS)}/works?{page}"
        answer = visit.get_json(address)
        if not isinstance(answer, dict) or not isinstance(answer.get("results"), list):
            raise SourceError(f"{address}: the answer has no list of works")
        yield from records_of(rows_of_pages([("the answer", answer)], "results"), _record)
        meta = answer.get("meta")
        following = meta.get("next_cursor") if isinstance(meta, dict) else None
        is_last = not isinstance(following, str) or not answer["results"] or following == cursor
        yield Bookmark(SOURCE, query, None if is_last else following)
        if is_last:
            return
        cursor = str(following)


def find(name: str, visit: Visit) -> Iterator[Item]:
    """The work of a DOI (`doi:10.…`) or of OpenAlex's own id (`W…`); a Rejected where none is."""
    address = f"{visit.address(SOURCE, ADDRESS)}/works/{quote(name, safe=':/')}"
    work = visit.find_json(address)
    if work is None:
        yield Rejected(name, "OpenAlex has no such work")
    else:
        yield from records_of([(name, work)], _record)


def _record(value: object, place: str) -> PaperRecord:
    row = object_of(value)
    work = required(row, "id").rpartition("/")[2]
    title = text_of(row, "title") or text_of(row, "display_name")
    if not title:
        raise RowError("no title")
    location = row.get("primary_location") or {}
    if not isinstance(location, dict):
        raise RowError(f"primary_location is {shown(location)}; it must be an object")
    doi = doi_of(text_of(row, "doi"))
    identifiers = identifiers_in(doi, text_of(location, "landing_page_url"))
    identifiers["openalex"] = work
    authorships = objects_of(row, "authorships")
    venue = location.get("source") or {}
    is_published = text_of(row, "type") != "preprint" and isinstance(venue, dict)
    return PaperRecord(
        source=SOURCE,
        source_key=work,
        title=title,
        abstract=abstract_of(row.get("abstract_inverted_index")),
        authors=tuple(filter(None, map(_author, authorships))),
        organisation=_organisation(authorships),
        published=day_of(text_of(row, "publication_date"), "publication_date"),
        venue=text_of(venue, "display_name") if is_published else None,
        pdf_url=address_of(text_of(location, "pdf_url")),
        withdrawn=True if row.get("is_retracted") is True else None,
        identifiers=identifiers,
        place=place,
    )


def abstract_of(index: object) -> str:
    """The abstract whose words stand at these places. Raises RowError for a wrong index."""
    if index is None:
        return ""
    if not isinstance(index, dict):
        raise RowError(f"abstract_inverted_index is {shown(index)}; it must be an object")
    placed: list[tuple[int, str]] = []
    for word, places in index.items():
        if not isinstance(places, list) or not all(type(place) is int for place in places):
            raise RowError(f"abstract_inverted_index has no places of {shown(word)}")
        placed += [(place, word) for place in places]
    if len(placed) > _MAX_WORDS:
        raise RowError(f"an abstract of {len(placed):,} words; at most {_MAX_WORDS:,} make sense")
    return " ".join(word for _, word in sorted(placed))


def _author(authorship: Mapping[str, Any]) -> str:
    author = authorship.get("author") or {}
    name = text_of(author, "display_name") if isinstance(author, dict) else None
    return name or text_of(authorship, "raw_author_name") or ""


def _organisation(authorships: Sequence[Mapping[str, Any]]) -> str | None:
    """The first author's first institution."""
    for institution in objects_of(authorships[0], "institutions") if authorships else []:
        if name := text_of(institution, "display_name"):
            return name
    return None
