"""All the papers that run, by family."""

from itertools import groupby
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from paperround.db import read
from paperround.runs.queries import ClaimSummary, Tally
from paperround.runs.rooms import Room
from paperround.web import claims
from paperround.web.feeds import alternates
from paperround.web.rendering import render
from paperround.web.site import SiteHere

router = APIRouter()


@router.get("/runnable")
def runnable(request: Request, site: SiteHere) -> Response:
    """The papers that run, with where their claims stand."""
    with read(site.engine) as connection:
        summaries = claims.summaries(connection, site)
    tallies = claims.tallies_by_paper(site, summaries)
    ordered = sorted(site.rooms.values(), key=lambda room: (room.card.family, room.card.title))
    families = [
        (family, [_shown(room, tallies, summaries.get(room.slug)) for room in rooms])
        for family, rooms in groupby(ordered, key=lambda room: room.card.family)
    ]
    return render(
        request,
        "runnable.html",
        section="runnable",
        families=families,
        feeds=alternates("/runnable"),
        broken=sorted(site.broken_rooms.items()),
    )


def _shown(room: Room, tallies: dict[str, Tally], summary: ClaimSummary | None) -> dict[str, Any]:
    where = "ships with Paperround" if summary and summary.is_shipped else "measured here"
    return {
        "paper": room.card.paper,
        "title": room.card.title,
        "summary": room.card.summary,
        "tally": tallies[room.card.paper],
        "measured": f"{summary.scale} scale, {where}" if summary else "",
    }
