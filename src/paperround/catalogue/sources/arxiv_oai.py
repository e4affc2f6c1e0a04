"""arXiv's OAI-PMH: harvests of whole sets, resumed by token, and afterwards what has changed.

A datestamp is the day of a record's last change, and never that of its submission. A token dies at
midnight; a harvest whose token has died begins again at its day, and what is known is passed over.
"""

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlencode
from xml.etree.ElementTree import Element

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Bookmark, Item, PaperRecord, Rejected, Removed
from paperround.catalogue.sources.arxiv_snapshot import listed_authors
from paperround.catalogue.sources.fields import (
    RowError,
    day_of,
    doi_of,
    says_withdrawn,
    short_name,
)
from paperround.catalogue.sources.markup import (
    child,
    child_text,
    children,
    local_name,
    xml_elements,
)
from paperround.catalogue.visiting import Visit
from paperround.errors import SourceError, UsageError

SOURCE = "arxiv-oai"
# All of arXiv's doors lead to the same papers.
_PAPERS_OF = "arxiv"
ADDRESS = "https://oaipmh.arxiv.org/oai"
_FORMATS = ("arXiv", "arXivRaw", "oai_dc")
_OPTIONS = ("set", "from", "until", "format")


class _BadTokenError(Exception):
    """The resumption token has died."""


@dataclass(frozen=True)
class _Position:
    """Where a harvest stands: inside it its token; after it the day to go on from."""

    token: str | None = None
    # Of the harvest that is under way.
    since: str | None = None
    # The day of the server when that harvest began: the next one's `since`.
    began: str | None = None


@dataclass
class Page:
    """One answer: its items, the token of the next, the server's day, its error."""

    items: list[Item]
    token: str | None = None
    day: str | None = None
    error: str | None = None
    error_text: str = ""


def visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    """The records of `set=cs from=2026-01-01 until=2026-02-01 format=arXiv`, each optional.

    Without `from`, what has changed since the last harvest of the same set.
    """
    options = dict(argument.partition("=")[::2] for argument in arguments)
    if unknown := [name for name in options if name not in _OPTIONS or not options[name]]:
        raise UsageError(f"arxiv-oai has no '{unknown[0]}'; write {', '.join(_OPTIONS)}=…")
    prefix = options.pop("format", "arXiv")
    if prefix not in _FORMATS:
        raise UsageError(f"no format '{prefix}'; there are {', '.join(_FORMATS)}")
    for name in ("from", "until"):
        try:
            day_of(options.get(name), name)
        except RowError as error:
            raise UsageError(str(error)) from error
    return _harvest(prefix, options, visit)


def _harvest(prefix: str, options: Mapping[str, str], visit: Visit) -> Iterator[Item]:
    scope = " ".join([prefix, *(f"{name}={value}" for name, value in sorted(options.items()))])
    position = _Position(**json.loads(visit.bookmark(SOURCE, scope) or "{}"))
    if position.token is None:
        position = _Position(since=options.get("from") or position.began)
    is_resumed = position.token is not None
    while True:
        try:
            page = _page(prefix, options, position, visit)
        except _BadTokenError as error:
            if not is_resumed:
                raise SourceError(f"arXiv: {error}") from error
            # From the beginning of this harvest, once: its day is kept.
            is_resumed, position = False, replace(position, token=None)
            continue
        position = replace(position, token=page.token, began=position.began or page.day)
        yield from page.items
        if page.token is None:
            # With an end of its own a harvest has no next one.
            is_over = "until" in options or "from" in options
            left = None if is_over else json.dumps({"began": position.began})
            yield Bookmark(SOURCE, scope, left)
            return
        yield Bookmark(SOURCE, scope, json.dumps(vars(position)))


def _page(prefix: str, options: Mapping[str, str], position: _Position, visit: Visit) -> Page:
    asked = {"verb": "ListRecords"}
    if position.token is not None:
        # A token goes alone: it stands for all that was asked.
        asked["resumptionToken"] = position.token
    else:
        asked |= {"metadataPrefix": prefix}
        asked |= {name: options[name] for name in ("set", "until") if name in options}
        asked |= {"from": position.since} if position.since else {}
    address = f"{visit.address(SOURCE, ADDRESS)}?{urlencode(asked)}"
    answer = visit.get(address)
    page = read_page(answer.body)
    if page.error == "badResumptionToken":
        raise _BadTokenError(page.error_text)
    if page.error == "noRecordsMatch":
        return Page([], day=page.day)
    if page.error is not None:
        raise SourceError(f"{address}: {page.error}: {page.error_text}")
    if answer.status != 200:
        raise SourceError(f"{address}: status {answer.status}")
    if page.day is None:
        raise SourceError(f"{address}: the answer is not OAI-PMH")
    return page


def read_page(body: bytes) -> Page:
    """The records of one answer, with what else it says."""
    page = Page([])
    for item in xml_elements(
        io.BytesIO(body), ("responseDate", "record", "resumptionToken", "error")
    ):
        if isinstance(item, Rejected):
            page.items.append(item)
            continue
        number, name, element = item
        text = "".join(element.itertext()).strip()
        match name:
            case "responseDate":
                page.day = text[:10] or None
            case "resumptionToken":
                page.token = text or None
            case "error":
                page.error, page.error_text = element.get("code", "error"), text
            case _:
                page.items += _items(element, number)
    return page


def _items(record: Element, number: int) -> Iterator[Item]:
    header = child(record, "header")
    named = child_text(header, "identifier") if header is not None else None
    place = f"record {number}" + (f" ({named})" if named else "")
    arxiv = arxiv_id(named or "")
    if arxiv is None:
        yield Rejected(place, f"{named} is no arXiv id")
        return
    if header is not None and header.get("status") == "deleted":
        yield Removed(_PAPERS_OF, arxiv, place)
        return
    metadata = child(record, "metadata")
    inner = next(iter(metadata), None) if metadata is not None else None
    try:
        if inner is None:
            raise RowError("no metadata")
        match local_name(inner):
            case "dc":
                yield _dublin_core(inner, arxiv, place)
            case "arXiv" | "arXivRaw":
                yield _arxiv(inner, arxiv, place)
            case other:
                raise RowError(f"metadata of the format {other}, which was not asked for")
    except RowError as error:
        yield Rejected(place, str(error))


def _arxiv(record: Element, arxiv: str, place: str) -> PaperRecord:
    title = child_text(record, "title")
    if title is None:
        raise RowError("no title")
    authors = child(record, "authors")
    named = children(authors, "author") if authors is not None else []
    names = tuple(filter(None, map(_name, named))) or listed_authors(child_text(record, "authors"))
    versions = children(record, "version")
    created = child_text(versions[0], "date") if versions else child_text(record, "created")
    affiliations = (child_text(author, "affiliation") for author in named)
    doi = doi_of(child_text(record, "doi"))
    comment, abstract = child_text(record, "comments"), child_text(record, "abstract") or ""
    return PaperRecord(
        source=_PAPERS_OF,
        source_key=arxiv,
        title=title,
        abstract=abstract,
        authors=names,
        organisation=short_name(next(filter(None, affiliations), None)),
        published=day_of(created, "created"),
        categories=tuple((child_text(record, "categories") or "").split()),
        comment=comment,
        venue=short_name(child_text(record, "journal-ref")),
        withdrawn=says_withdrawn(comment, abstract),
        identifiers={"arxiv": arxiv} | ({"doi": doi} if doi else {}),
        place=place,
    )


def _dublin_core(record: Element, arxiv: str, place: str) -> PaperRecord:
    def texts(name: str) -> list[str]:
        found = (" ".join("".join(each.itertext()).split()) for each in children(record, name))
        return [text for text in found if text]

    titles, about = texts("title"), texts("description")
    if not titles:
        raise RowError("no title")
    dois = filter(None, map(doi_of, texts("identifier")))
    doi = next((each for each in dois if arxiv_id(each) is None), None)
    return PaperRecord(
        source=_PAPERS_OF,
        source_key=arxiv,
        title=titles[0],
        abstract=about[0] if about else "",
        authors=tuple(_spoken(name) for name in texts("creator")),
        # The first of the dates is that of the first version.
        published=day_of(next(iter(texts("date")), None), "date"),
        comment=about[1].removeprefix("Comment: ") if len(about) > 1 else None,
        categories=tuple(texts("subject")),
        withdrawn=says_withdrawn(*about[:2]),
        identifiers={"arxiv": arxiv} | ({"doi": doi} if doi else {}),
        place=place,
    )


def _name(author: Element) -> str:
    parts = (child_text(author, part) for part in ("forenames", "keyname", "suffix"))
    return " ".join(part for part in parts if part)


def _spoken(name: str) -> str:
    last, comma, first = name.partition(", ")
    return f"{first} {last}" if comma else name
