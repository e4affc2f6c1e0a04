"""The day's papers, and those of other days, weeks and months."""

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from paperround.clock import utc_now
from paperround.db import read
from paperround.discovery.feed import Feed, Order, feed
from paperround.discovery.periods import Period
from paperround.errors import NotFoundError
from paperround.runs.queries import Tally
from paperround.web import claims, wording
from paperround.web.feeds import alternates
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.voting import counted, voting_on

router = APIRouter()

PAPERS_PER_PAGE = 30
_STRIP_PAPERS = 6

OrderAsked = Annotated[Order, Query()]
After = Annotated[str | None, Query(max_length=300)]


@router.get("/")
def latest(
    request: Request, site: SiteHere, order: OrderAsked = "votes", after: After = None
) -> Response:
    """The latest day with papers."""
    return _page(request, site, "day", None, order, after)


@router.get("/day/{text}")
def day(
    request: Request, site: SiteHere, text: str, order: OrderAsked = "votes", after: After = None
) -> Response:
    """The papers of a day: `/day/2026-06-30`."""
    return _page(request, site, "day", text, order, after)


@router.get("/week/{text}")
def week(
    request: Request, site: SiteHere, text: str, order: OrderAsked = "votes", after: After = None
) -> Response:
    """The papers of a week, from Monday to Sunday: `/week/2026-W26`."""
    return _page(request, site, "week", text, order, after)


@router.get("/month/{text}")
def month(
    request: Request, site: SiteHere, text: str, order: OrderAsked = "votes", after: After = None
) -> Response:
    """The papers of a month: `/month/2026-06`."""
    return _page(request, site, "month", text, order, after)


def _page(
    request: Request, site: Site, period: Period, text: str | None, order: Order, after: str | None
) -> Response:
    start = None if text is None else wording.parse_period(period, text)
    if text is not None and start is None:
        raise NotFoundError(f"'{text[:40]}' is no {period}")
    with read(site.engine) as connection:
        shown = feed(
            connection, period, start, order, after, PAPERS_PER_PAGE, rooms=site.papers_by_slug
        )
        shown = replace(shown, papers=tuple(counted(connection, shown.papers)))
        voting = voting_on(request, connection, shown.papers)
        tallies = claims.tallies(connection, site)
    address = wording.period_address(period, shown.start)
    days = [paper.day for paper in shown.papers if paper.day is not None]
    return render(
        request,
        "feed.html",
        fragment="entries",
        section="feed",
        feed=shown,
        order=order,
        order_query="" if order == "votes" else f"?order={order}",
        address=address,
        heading=_heading(shown),
        note=_note(shown),
        # Where the other periods' links lead: a day of this one that has papers.
        anchor=max(days, default=shown.start),
        tallies=tallies,
        voting=voting,
        feeds=alternates(f"/{period}" if text is None else address),
        latest=alternates(f"/{period}"),
        strip=_strip(site, tallies),
        n_rooms=len(site.rooms),
    )


def _heading(shown: Feed) -> str:
    if not shown.papers:
        return "No papers yet"
    return wording.period_title(shown.period, shown.start, shown.end)


def _note(shown: Feed) -> str | None:
    """Why other papers are shown than were asked for, None where they are not."""
    if shown.asked == shown.start or not shown.papers:
        return None
    asked = {
        "day": f"on {wording.day(shown.asked)}",
        "week": f"in the week of {wording.day(shown.asked)}",
        "month": f"in {shown.asked:%B %Y}",
    }[shown.period]
    return f"There are no papers {asked}. These are the nearest."


def _strip(site: Site, tallies: dict[str, Tally]) -> list[dict[str, object]]:
    """Some of the papers that run: others each day, so that all come by."""
    rooms = list(site.rooms.values())
    first = utc_now().date().toordinal() * _STRIP_PAPERS % max(len(rooms), 1)
    chosen = (rooms[first:] + rooms[:first])[:_STRIP_PAPERS]
    return [
        {
            "paper": room.card.paper,
            "title": room.card.title,
            "tally": tallies[room.card.paper],
        }
        for room in chosen
    ]
