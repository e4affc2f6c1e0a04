"""Semantic Scholar: answers of its API, shards of its datasets, and its bulk search.

    {"total": 2674, "token": "…", "data": [{"paperId": "…", "externalIds": {"ArXiv": "…"}, …}]}

An answer about many ids holds null for those that it does not know.
"""

from collections.abc import Iterator, Sequence
from urllib.parse import quote, urlencode

from paperround.catalogue.records import Bookmark, Item, PaperRecord, Rejected
from paperround.catalogue.sources.fields import (
    RowError,
    address_of,
    count_of,
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
    year_day,
)
from paperround.catalogue.sources.files import check_files, json_items_of
from paperround.catalogue.visiting import Visit
from paperround.errors import SourceError

SOURCE = "semantic-scholar"
ADDRESS = "https://api.semanticscholar.org/graph/v1"
# Under these an answer has its papers.
_LISTS = ("data", "recommendedPapers")
_FIELDS = "title,abstract,year,publicationDate,venue,authors,externalIds,openAccessPdf,corpusId"


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of saved answers, or of a dataset's shards with one object a line."""
    check_files(SOURCE, arguments)
    return records_of(rows_of_pages(json_items_of(arguments), *_LISTS), _record)


def visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    """The papers that answer a bulk search, page by page; a broken import goes on at its token."""
    query = " ".join(arguments)
    token = visit.bookmark(SOURCE, query)
    while True:
        asked = {"query": query, "fields": _FIELDS} | ({"token": token} if token else {})
        address = f"{visit.address(SOURCE, ADDRESS)}/paper/search/bulk?{urlencode(asked)}"
        answer = visit.get_json(address)
        if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
            raise SourceError(f"{address}: the answer has no list of papers")
        yield from records_of(rows_of_pages([("the answer", answer)], *_LISTS), _record)
        token = answer.get("token")
        if token is not None and not isinstance(token, str):
            raise SourceError(f"{address}: the token of the next page is {shown(token)}, no text")
        yield Bookmark(SOURCE, query, token)
        if token is None:
            return


def find(name: str, visit: Visit) -> Iterator[Item]:
    """The paper of a DOI (`DOI:10.…`) or of its own id; a Rejected where there is none."""
    where = f"{visit.address(SOURCE, ADDRESS)}/paper/{quote(name, safe=':/')}"
    paper = visit.find_json(f"{where}?{urlencode({'fields': _FIELDS})}")
    if paper is None:
        yield Rejected(name, "Semantic Scholar has no such paper")
    else:
        yield from records_of([(name, paper)], _record)


def _record(value: object, place: str) -> PaperRecord:
    if value is None:
        raise RowError("null: an id that Semantic Scholar does not know")
    row = object_of(value)
    if "message" in row and "paperId" not in row:
        raise RowError(f"an error: {str(row['message'])[:200]}")
    corpus = row.get("corpusId", row.get("corpusid"))
    key = text_of(row, "paperId") or (str(corpus) if type(corpus) is int else None)
    if key is None:
        raise RowError("no paperId")
    external = row.get("externalIds") or row.get("externalids") or {}
    if not isinstance(external, dict):
        raise RowError(f"externalIds is {shown(external)}; it must be an object")
    names = {name.lower(): value for name, value in external.items() if isinstance(value, str)}
    identifiers = identifiers_in(names.get("arxiv"), names.get("doi"))
    if (acl := names.get("acl")) is not None:
        identifiers |= identifiers_in(acl)
    doi = doi_of(names.get("doi"))
    if doi and "arxiv" not in identifiers_in(doi):
        identifiers["doi"] = doi
    identifiers["s2"] = key
    pdf = row.get("openAccessPdf") or {}
    published = text_of(row, "publicationDate") or text_of(row, "publicationdate")
    return PaperRecord(
        source=SOURCE,
        source_key=key,
        title=required(row, "title"),
        abstract=text_of(row, "abstract") or "",
        authors=tuple(text_of(a, "name") or "" for a in objects_of(row, "authors")),
        published=day_of(published, "publicationDate") or year_day(count_of(row, "year")),
        venue=text_of(row, "venue") or None,
        pdf_url=address_of(text_of(pdf, "url")) if isinstance(pdf, dict) else None,
        identifiers=identifiers,
        place=place,
    )
