"""The feeds of the pages that list papers, and of a paper's comments."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from paperround.catalogue.organisations import organisation_by_key, papers_of_organisation
from paperround.catalogue.queries import paper_by_key
from paperround.clock import utc_now
from paperround.db import read
from paperround.discovery import trending as formula
from paperround.discovery.feed import Feed, feed
from paperround.discovery.periods import Period
from paperround.discovery.search import MAX_QUERY_CHARACTERS, Mode
from paperround.errors import NotFoundError, UsageError
from paperround.readers.collections import find_collection, latest_in
from paperround.readers.queries import newest_comments
from paperround.readers.subjects import Kind, Subject, checked_subject
from paperround.web import wording
from paperround.web.feeds import (
    MAX_ENTRIES,
    Entry,
    Listing,
    checked_form,
    feed_response,
    paper_entry,
    subject_listing,
)
from paperround.web.pace import Paced
from paperround.web.site import Site, SiteHere
from paperround.web.stand_in import from_card

router = APIRouter()


@router.get("/day.{form}")
def latest_day(request: Request, site: SiteHere, form: str) -> Response:
    """The latest day with papers."""
    return _period(request, site, "day", None, form)


@router.get("/week.{form}")
def latest_week(request: Request, site: SiteHere, form: str) -> Response:
    """The latest week with papers."""
    return _period(request, site, "week", None, form)


@router.get("/month.{form}")
def latest_month(request: Request, site: SiteHere, form: str) -> Response:
    """The latest month with papers."""
    return _period(request, site, "month", None, form)


@router.get("/day/{text}.{form}")
def day(request: Request, site: SiteHere, text: str, form: str) -> Response:
    """The papers of a day: `/day/2026-06-30.atom`."""
    return _period(request, site, "day", text, form)


@router.get("/week/{text}.{form}")
def week(request: Request, site: SiteHere, text: str, form: str) -> Response:
    """The papers of a week: `/week/2026-W26.atom`."""
    return _period(request, site, "week", text, form)


@router.get("/month/{text}.{form}")
def month(request: Request, site: SiteHere, text: str, form: str) -> Response:
    """The papers of a month: `/month/2026-06.atom`."""
    return _period(request, site, "month", text, form)


@router.get("/trending.{form}")
def trending(
    request: Request,
    site: SiteHere,
    form: str,
    period: Annotated[Period, Query()] = "week",
    category: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """What people attend to now."""
    checked_form(form)
    with read(site.engine) as connection:
        found = formula.trending_papers(
            connection, period, utc_now(), site.papers_by_slug, category=category, n=MAX_ENTRIES
        )
    query = {"period": period, **({"category": category} if category else {})}
    says = f"Trending in {category}" if category else "Trending"
    listing = Listing(
        f"{says}, by the {period}",
        f"/trending?{wording.query(query)}",
        "/trending",
        tuple(paper_entry(paper) for paper, _ in found.papers),
        query,
    )
    return feed_response(request, site, listing, form)


@router.get("/search.{form}")
def search(
    request: Request,
    site: SiteHere,
    paced: Paced,
    form: str,
    q: Annotated[str, Query(min_length=1)],
    mode: Mode = "both",
) -> Response:
    """The newest of the papers that answer a query."""
    checked_form(form)
    subject = Subject(Kind.SEARCH, q.strip()[:MAX_QUERY_CHARACTERS], mode)
    made = subject_listing(site, subject, "/search")
    query = {"q": subject.value, **({"mode": mode} if mode != "both" else {})}
    listing = Listing(subject.value, made.page, made.feed, made.entries, query)
    return feed_response(request, site, listing, form)


@router.get("/categories/{name}.{form}")
def category(request: Request, site: SiteHere, paced: Paced, name: str, form: str) -> Response:
    """The newest papers of a category: `/categories/cs.CL.atom`."""
    return _subject(request, site, Kind.CATEGORY, name, form)


@router.get("/authors/{name}.{form}")
def author(request: Request, site: SiteHere, paced: Paced, name: str, form: str) -> Response:
    """The newest papers of an author: `/authors/Ada Ay.atom`."""
    return _subject(request, site, Kind.AUTHOR, name, form)


@router.get("/organisations/{organisation}.{form}")
def organisation(request: Request, site: SiteHere, organisation: str, form: str) -> Response:
    """The newest papers of an organisation: `/organisations/google-deepmind.atom`."""
    checked_form(form)
    with read(site.engine) as connection:
        found = organisation_by_key(connection, organisation)
        if found is None:
            raise NotFoundError(f"no paper here is of an organisation '{organisation[:80]}'")
        papers = papers_of_organisation(connection, found.key, None, MAX_ENTRIES)
    where = f"/organisations/{found.key}"
    entries = tuple(paper_entry(paper) for paper in papers)
    return feed_response(request, site, Listing(found.name, where, where, entries), form)


@router.get("/collections/{collection}.{form}")
def collection(request: Request, site: SiteHere, collection: str, form: str) -> Response:
    """What was put into a collection last. One that is somebody's own has no feed, for them too:
    who reads feeds holds no session.
    """
    checked_form(form)
    with read(site.engine) as connection:
        found = find_collection(connection, collection, None)
        last = latest_in(connection, found.id, MAX_ENTRIES)
    where = f"/collections/{found.key}"
    entries = tuple(replace(paper_entry(each.paper), at=each.at) for each in last)
    listing = Listing(f"{found.name}, by {found.owner}", where, where, entries)
    return feed_response(request, site, listing, form)


@router.get("/runnable.{form}")
def runnable(request: Request, site: SiteHere, form: str) -> Response:
    """The papers that run, the newest first."""
    checked_form(form)
    with read(site.engine) as connection:
        entries = [
            paper_entry(detail.paper)
            if (detail := paper_by_key(connection, key))
            else replace(paper_entry(from_card(room).paper), text=room.card.summary)
            for key, room in site.rooms_by_paper.items()
        ]
    entries.sort(key=lambda entry: (entry.at, entry.path))
    listing = Listing(
        "Papers that run", "/runnable", "/runnable", tuple(reversed(entries))[:MAX_ENTRIES]
    )
    return feed_response(request, site, listing, form)


@router.get("/papers/{key:path}/comments.{form}")
def comments(request: Request, site: SiteHere, key: str, form: str) -> Response:
    """The newest comments on a paper."""
    checked_form(form)
    with read(site.engine) as connection:
        detail = paper_by_key(connection, key)
        if detail is None:
            raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
        found = newest_comments(connection, detail.paper.id, MAX_ENTRIES)
    listing = Listing(
        f"Comments on {detail.paper.title_text}",
        f"/papers/{detail.paper.key}#comments",
        f"/papers/{detail.paper.key}/comments",
        tuple(
            Entry(
                f"/comments/{each.id}",
                wording.beginning(each.text),
                each.text,
                (each.author,) if each.author else (),
                (),
                each.edited_at or each.created_at,
            )
            for each in found
        ),
    )
    return feed_response(request, site, listing, form)


def _period(request: Request, site: Site, period: Period, text: str | None, form: str) -> Response:
    checked_form(form)
    start = None if text is None else wording.parse_period(period, text)
    if text is not None and start is None:
        raise NotFoundError(f"'{text[:40]}' is no {period}")
    with read(site.engine) as connection:
        shown = feed(
            connection, period, start, "newest", None, MAX_ENTRIES, rooms=site.papers_by_slug
        )
    address = wording.period_address(period, shown.start)
    listing = Listing(
        _heading(shown, is_latest=text is None),
        address if text is not None or period != "day" else "/",
        f"/{period}" if text is None else address,
        tuple(paper_entry(paper) for paper in shown.papers),
    )
    return feed_response(request, site, listing, form)


def _heading(shown: Feed, *, is_latest: bool) -> str:
    if is_latest:
        return f"The latest {shown.period}"
    return wording.period_title(shown.period, shown.start, shown.end)


def _subject(request: Request, site: Site, kind: Kind, name: str, form: str) -> Response:
    checked_form(form)
    try:
        subject = checked_subject(kind.value, name)
    except UsageError as error:
        raise NotFoundError(str(error)) from error
    what = {Kind.CATEGORY: "categories", Kind.AUTHOR: "authors"}[kind]
    feed_path = f"/{what}/{wording.quoted(subject.value)}"
    return feed_response(request, site, subject_listing(site, subject, feed_path), form)
