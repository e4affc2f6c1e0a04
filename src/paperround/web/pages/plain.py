"""Pages and small answers that need no more than words."""

from fastapi import APIRouter
from sqlalchemy import text
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response

from paperround.db import read
from paperround.web.rendering import STATIC, render
from paperround.web.site import SiteHere

router = APIRouter()


@router.get("/help")
def keyboard(request: Request) -> Response:
    """How to get about: keys, search, the API."""
    return render(request, "help.html")


@router.get("/healthz")
def healthz(site: SiteHere) -> Response:
    """Whether the server answers and reaches its database."""
    with read(site.engine) as connection:
        connection.execute(text("SELECT 1"))
    return JSONResponse({"status": "ok"}, headers={"cache-control": "no-store"})


@router.get("/robots.txt")
def robots() -> Response:
    """Everything may be read, but for the endless (searches, runs, comparisons) and generations."""
    return PlainTextResponse(
        "User-agent: *\nDisallow: /search\nDisallow: /runs\nDisallow: /compare\nDisallow: /gener\n"
    )


@router.get("/favicon.ico")
def favicon() -> Response:
    """The site's sign, where browsers look for it unasked."""
    return FileResponse(STATIC / "favicon.svg", media_type="image/svg+xml")
