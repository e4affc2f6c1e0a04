"""Listings as feeds: Atom (RFC 4287), RSS 2.0 and JSON Feed 1.1, each with ETag and Last-Modified.

A page that lists something makes a `Listing` and answers with `feed_response`; its HTML says with
`alternates` where the feeds are.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from email.utils import format_datetime
from hashlib import sha256
from typing import Any, Literal, get_args
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from paperround.catalogue.records import Paper
from paperround.clock import utc_now
from paperround.errors import NotFoundError
from paperround.readers.subjects import Subject
from paperround.web.conditional import has_it
from paperround.web.rendering import environment
from paperround.web.site import Site

Form = Literal["atom", "rss", "json"]
FORMS: tuple[Form, ...] = get_args(Form)
MEDIA_TYPES: dict[str, str] = {
    "atom": "application/atom+xml",
    "rss": "application/rss+xml",
    "json": "application/feed+json",
}
NAMES = {"atom": "Atom", "rss": "RSS", "json": "JSON Feed"}
MAX_ENTRIES = 50

_AUTHORS = 20
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One thing of a listing; `path` is its address here, which is its identifier as well."""

    path: str
    title: str
    text: str
    authors: tuple[str, ...]
    categories: tuple[str, ...]
    at: datetime


@dataclass(frozen=True)
class Listing:
    """What a page lists. `page` is the page's address here, `feed` the feed's without its ending,
    and `query` what follows.
    """

    title: str
    page: str
    feed: str
    entries: tuple[Entry, ...]
    query: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Alternate:
    """A feed of a page: its kind, and its address."""

    form: Form
    media_type: str
    name: str
    path: str


def paper_entry(paper: Paper) -> Entry:
    """A paper as it stands in feeds: dated by the day of the feed that it belongs to."""
    day = paper.day or paper.published
    return Entry(
        f"/papers/{quote(paper.key, safe='/:._-')}",
        paper.title_text,
        paper.abstract_text,
        paper.authors[:_AUTHORS],
        paper.categories,
        _EARLIEST if day is None else datetime.combine(day, time(), UTC),
    )


def subject_listing(
    site: Site, subject: Subject, feed: str, *, title: str = "", page: str = ""
) -> Listing:
    """The newest papers of a category, an author, an organisation or a query.

    `feed` is the feed's address without its ending; `title` and `page` are the subject's own
    unless they are given.
    """
    answer = site.searcher.search(
        subject.query,
        n=MAX_ENTRIES,
        mode=subject.mode or "words",
        order="newest",
        diverse=True,
    )
    return Listing(
        title or subject.says,
        page or subject.path,
        feed,
        tuple(paper_entry(hit.paper) for hit in answer.hits),
    )


def alternates(feed: str, query: dict[str, str] | None = None) -> list[Alternate]:
    """The feeds of a page whose feed has that address, without its ending."""
    follows = f"?{urlencode(query)}" if query else ""
    return [
        Alternate(form, MEDIA_TYPES[form], NAMES[form], f"{feed}.{form}{follows}") for form in FORMS
    ]


def checked_form(form: str) -> Form:
    """The form that an address ends in. Raises NotFoundError for another ending."""
    if form not in FORMS:
        raise NotFoundError(f"no feed ends in '.{form[:10]}'; there are {', '.join(FORMS)}")
    return form


def feed_response(request: Request, site: Site, listing: Listing, form: str) -> Response:
    """The listing as a feed, or 304 where the asker has it already."""
    kind = checked_form(form)
    base = site.settings.public_url or str(request.base_url).rstrip("/")
    own = f"{listing.feed}.{kind}" + (f"?{urlencode(listing.query)}" if listing.query else "")
    body = _json(listing, base, own) if kind == "json" else _xml(listing, base, own, kind)
    etag = f'"{sha256(body).hexdigest()[:24]}"'
    since = site.seen_answers.since(base + own, etag, utc_now())
    headers = {
        # Weak: the same feed is sent packed and unpacked.
        "etag": f"W/{etag}",
        "last-modified": format_datetime(since, usegmt=True),
        "cache-control": "no-cache",
        # A feed is there to be read by others.
        "cross-origin-resource-policy": "cross-origin",
    }
    if has_it(request, etag, since):
        return Response(status_code=304, headers=headers)
    media_type = MEDIA_TYPES[kind] + ("" if kind == "json" else "; charset=utf-8")
    return Response(body, headers={**headers, "content-type": media_type})


def _xml(listing: Listing, base: str, own: str, form: str) -> bytes:
    rendered = (
        environment()
        .get_template(f"feed.{form}")
        .render(
            listing=listing,
            base=base,
            own=base + own,
            updated=_updated(listing.entries),
            atom_time=lambda at: at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            rss_time=lambda at: format_datetime(at.astimezone(UTC), usegmt=True),
        )
    )
    return "".join(filter(_is_xml, rendered)).encode()


def _json(listing: Listing, base: str, own: str) -> bytes:
    content: dict[str, Any] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": f"Paperround: {listing.title}",
        "home_page_url": base + listing.page,
        "feed_url": base + own,
        "language": "en",
        "items": [
            {
                "id": base + entry.path,
                "url": base + entry.path,
                "title": entry.title,
                "content_text": entry.text,
                "date_published": entry.at.isoformat(timespec="seconds"),
                "authors": [{"name": name} for name in entry.authors],
                "tags": list(entry.categories),
            }
            for entry in listing.entries
        ],
    }
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


def _updated(entries: Sequence[Entry]) -> datetime:
    return max((entry.at for entry in entries), default=_EARLIEST)


def _is_xml(sign: str) -> bool:
    """Whether XML 1.0 lets the sign stand in a text at all."""
    return (
        sign in "\t\n\r"
        or " " <= sign <= "\ud7ff"
        or "\ue000" <= sign <= "\ufffd"
        or sign >= "\U00010000"
    )
