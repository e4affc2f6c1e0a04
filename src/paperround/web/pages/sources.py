"""The page of sources: where papers come from by the clock, and how the last imports went."""

from pathlib import PurePath

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from paperround.catalogue.schedule import scheduled_imports
from paperround.catalogue.sources import SOURCES
from paperround.clock import utc_now
from paperround.db import read
from paperround.settings import ScheduledSource
from paperround.web.rendering import render
from paperround.web.site import SiteHere

router = APIRouter()


@router.get("/sources")
def sources(request: Request, site: SiteHere) -> Response:
    """Scheduled imports with their last results, and the sources that there are."""
    with read(site.engine) as connection:
        scheduled = scheduled_imports(connection, site.settings.sources, utc_now())
    return render(
        request,
        "sources.html",
        scheduled=scheduled,
        sources=sorted(SOURCES.values(), key=lambda source: source.name),
        worker=site.worker,
        without_folders=without_folders,
    )


def without_folders(text: str, source: ScheduledSource) -> str:
    """The text with the files among a source's arguments by their names alone.

    Where on the server they lie is no visitor's business.
    """
    for argument in source.arguments:
        if "/" in argument and "://" not in argument:
            text = text.replace(argument, PurePath(argument).name)
    return text
