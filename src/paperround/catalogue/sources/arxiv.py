"""arXiv's API: a search or ids, as Atom, page by page.

Its answers change once a day, so each is kept until then and not asked for again. An error comes as
an entry with the title "Error" that looks like a result; an id that arXiv does not have is left out
without a word; pages in the middle of a result come back empty now and then.
"""

import io
from collections.abc import Iterator, Sequence
from urllib.parse import urlencode
from xml.etree.ElementTree import Element

from paperround.catalogue.identity import arxiv_id
from paperround.catalogue.records import Bookmark, Item, PaperRecord, Rejected
from paperround.catalogue.sources.fields import (
    RowError,
    day_of,
    doi_of,
    says_withdrawn,
    short_name,
)
from paperround.catalogue.sources.markup import child, child_text, children, xml_elements
from paperround.catalogue.visiting import Visit
from paperround.errors import SourceError, UsageError

SOURCE = "arxiv"
ADDRESS = "https://export.arxiv.org/api/query"
_PER_PAGE = 500
_IDS_PER_PAGE = 100
# arXiv gives no more of one search; its records are to be had by arxiv-oai.
_WINDOW = 30_000
_EMPTY_PAGES = 4


def visit(arguments: Sequence[str], visit: Visit) -> Iterator[Item]:
    """The papers of a search such as `cat:cs.CL AND abs:decoding`, newest first, or of ids.

    A number behind the search is the most papers to read. A broken import goes on at its page.
    """
    if not arguments:
        raise UsageError("arxiv takes a search such as 'cat:cs.CL', or arXiv ids")
    ids = [arxiv_id(argument) for argument in arguments]
    if all(ids):
        return _by_id(arguments, visit)
    most = _WINDOW
    if len(arguments) > 1 and arguments[-1].isdecimal():
        *arguments, last = arguments
        most = min(int(last), _WINDOW)
    return _search(" ".join(arguments), most, visit)


def _by_id(ids: Sequence[str], visit: Visit) -> Iterator[Item]:
    for start in range(0, len(ids), _IDS_PER_PAGE):
        wanted = ids[start : start + _IDS_PER_PAGE]
        query = {"id_list": ",".join(wanted), "max_results": _IDS_PER_PAGE}
        _, items = _page(visit, query)
        yield from items
        found = {item.source_key for item in items if isinstance(item, PaperRecord)}
        for each in wanted:
            if arxiv_id(each) not in found:
                yield Rejected(each, "arXiv has no such paper")


def _search(search: str, most: int, visit: Visit) -> Iterator[Item]:
    scope = f"{search} {most}"
    start = int(visit.bookmark(SOURCE, scope) or 0)
    n_empty = 0
    while start < most:
        query = {
            "search_query": search,
            "start": start,
            "max_results": min(_PER_PAGE, most - start),
            "sortBy": "submittedDate",
            "sortOrder": "descending",
        }
        total, items = _page(visit, query)
        if not items:
            n_empty += 1
            if start >= total:
                break
            if n_empty >= _EMPTY_PAGES:
                raise SourceError(f"arXiv: the page at {start:,} of {total:,} stays empty")
            continue
        n_empty = 0
        yield from items
        start += len(items)
        if start >= min(total, most):
            break
        yield Bookmark(SOURCE, scope, str(start))
    yield Bookmark(SOURCE, scope, None)


def _page(visit: Visit, query: dict[str, object]) -> tuple[int, list[PaperRecord | Rejected]]:
    """How many papers there are in all, and those of one page. Raises SourceError for errors."""
    address = f"{visit.address(SOURCE, ADDRESS)}?{urlencode(query)}"
    if (kept := visit.kept.get(address)) is not None:
        return read_feed(kept)
    answer = visit.get(address)
    total, items = read_feed(answer.body)
    if answer.status != 200:
        raise SourceError(f"{address}: status {answer.status}")
    if items and not any(isinstance(item, Rejected) for item in items):
        visit.kept.put(address, answer.body)
    return total, items


def read_feed(body: bytes) -> tuple[int, list[PaperRecord | Rejected]]:
    """How many papers answer in all, and those of this feed. Raises SourceError for an error."""
    total = 0
    items: list[PaperRecord | Rejected] = []
    for item in xml_elements(io.BytesIO(body), ("totalResults", "entry")):
        if isinstance(item, Rejected):
            items.append(item)
            continue
        number, name, element = item
        if name == "totalResults":
            text = (element.text or "").strip()
            total = int(text) if text.isdecimal() else 0
            continue
        if "/api/errors" in (child_text(element, "id") or ""):
            raise SourceError(f"arXiv: {child_text(element, 'summary') or 'an error'}")
        place = f"entry {number}"
        try:
            items.append(_record(element, place))
        except RowError as error:
            items.append(Rejected(place, str(error)))
    return total, items


def _record(entry: Element, place: str) -> PaperRecord:
    arxiv = arxiv_id(child_text(entry, "id") or "")
    title = child_text(entry, "title")
    if arxiv is None:
        raise RowError(f"{child_text(entry, 'id')} is no arXiv id")
    if title is None:
        raise RowError("no title")
    primary = child(entry, "primary_category")
    categories = [primary] if primary is not None else []
    categories += children(entry, "category")
    terms = dict.fromkeys(each.get("term") or "" for each in categories)
    authors = children(entry, "author")
    affiliations = (child_text(author, "affiliation") for author in authors)
    doi = doi_of(child_text(entry, "doi"))
    comment, abstract = child_text(entry, "comment"), child_text(entry, "summary") or ""
    venue = child_text(entry, "journal_ref")
    return PaperRecord(
        source=SOURCE,
        source_key=arxiv,
        title=title,
        abstract=abstract,
        authors=tuple(filter(None, (child_text(author, "name") for author in authors))),
        organisation=short_name(next(filter(None, affiliations), None)),
        published=day_of(child_text(entry, "published"), "published"),
        categories=tuple(term for term in terms if term),
        comment=comment,
        venue=short_name(venue),
        withdrawn=says_withdrawn(comment, abstract),
        identifiers={"arxiv": arxiv} | ({"doi": doi} if doi else {}),
        place=place,
    )
