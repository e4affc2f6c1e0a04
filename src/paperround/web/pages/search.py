"""Search by words and by meaning."""

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from paperround.db import read
from paperround.discovery.search import Mode
from paperround.web import claims
from paperround.web.rendering import render
from paperround.web.site import SiteHere

router = APIRouter()

HITS_PER_PAGE = 20
MAX_HITS = 200


@router.get("/search")
def search(
    request: Request,
    site: SiteHere,
    q: Annotated[str, Query()] = "",
    mode: Annotated[Mode, Query()] = "both",
    n: Annotated[int, Query(ge=1, le=MAX_HITS)] = HITS_PER_PAGE,
) -> Response:
    """The papers that answer the query, best first."""
    query = q.strip()
    answer = site.searcher.search(query, n=n, mode=mode) if query else None
    with read(site.engine) as connection:
        tallies = claims.tallies(connection, site) if answer and answer.hits else {}
    full = answer is not None and len(answer.hits) == n < MAX_HITS
    return render(
        request,
        "search.html",
        q=query,
        mode=mode,
        answer=answer,
        more=min(n + HITS_PER_PAGE, MAX_HITS) if full else None,
        tallies=tallies,
    )
