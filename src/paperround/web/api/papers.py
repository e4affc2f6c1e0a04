"""The catalogue as JSON: papers, the feed, search, and the papers that run."""

from dataclasses import replace
from datetime import date
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query

from paperround.catalogue.queries import paper_by_key, papers_by_id
from paperround.db import read
from paperround.discovery.feed import Order, feed
from paperround.discovery.periods import Period
from paperround.discovery.search import MAX_RESULTS, Mode
from paperround.discovery.search import Order as SearchOrder
from paperround.errors import NotFoundError
from paperround.web import claims
from paperround.web.api.shapes import (
    PROBLEMS,
    TOO_OFTEN,
    FeedOut,
    HitOut,
    PaperDetailOut,
    PaperOut,
    PapersOut,
    RerankedOut,
    RunnableOut,
    RunnablesOut,
    SearchOut,
)
from paperround.web.pace import Paced
from paperround.web.queries import ids_added_before
from paperround.web.site import SiteHere
from paperround.web.voting import counted

router = APIRouter(tags=["papers"], responses=PROBLEMS)

_PAGE = 30
_MAX_PAGE = 200

Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE, description="papers per page")]


@router.get("/papers")
def list_papers(
    site: SiteHere,
    cursor: Annotated[str | None, Query(max_length=80, examples=["2312.00858"])] = None,
    limit: Limit = _PAGE,
) -> PapersOut:
    """All papers, the last added first. Go on with the address in `next`."""
    with read(site.engine) as connection:
        ids = ids_added_before(connection, cursor, limit + 1)
        papers = counted(connection, papers_by_id(connection, ids[:limit]))
    more = len(ids) > limit
    return PapersOut(
        papers=[PaperOut.of(paper) for paper in papers],
        next=_next("papers", cursor=papers[-1].key, limit=limit) if more else None,
    )


@router.get("/feed")
def get_feed(
    site: SiteHere,
    period: Annotated[Period, Query(examples=["day"])] = "day",
    start: Annotated[
        date | None, Query(description="a day of the period; the latest if absent")
    ] = None,
    order: Annotated[Order, Query(examples=["votes"])] = "votes",
    cursor: Annotated[str | None, Query(max_length=300)] = None,
    limit: Limit = _PAGE,
) -> FeedOut:
    """The papers of a day, a week or a month."""
    with read(site.engine) as connection:
        shown = feed(connection, period, start, order, cursor, limit, rooms=site.papers_by_slug)
        papers = counted(connection, shown.papers)
    follows = None
    if shown.next_cursor is not None:
        follows = _next(
            "feed",
            period=period,
            start=shown.start.isoformat(),
            order=order,
            cursor=shown.next_cursor,
            limit=limit,
        )
    return FeedOut(
        papers=[PaperOut.of(paper) for paper in papers],
        next=follows,
        period=shown.period,
        start=shown.start,
        end=shown.end,
        earlier=shown.earlier,
        later=shown.later,
    )


@router.get("/papers/{key:path}")
def get_paper(site: SiteHere, key: Annotated[str, Path(examples=["2312.00858"])]) -> PaperDetailOut:
    """A paper with all that is known of it."""
    with read(site.engine) as connection:
        detail = paper_by_key(connection, key)
        if detail is None:
            raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
        detail = replace(detail, paper=counted(connection, [detail.paper])[0])
    return PaperDetailOut.of_detail(detail, site.rooms_by_paper.get(key))


@router.get("/search", responses=TOO_OFTEN)
def search(
    site: SiteHere,
    paced: Paced,
    q: Annotated[str, Query(min_length=1, examples=["sequential redundancy"])],
    mode: Annotated[Mode, Query(examples=["both"])] = "both",
    order: Annotated[SearchOrder, Query(examples=["relevance"])] = "relevance",
    diverse: Annotated[bool, Query(description="versions of a paper take one place")] = True,
    page: Annotated[int, Query(ge=1, le=MAX_RESULTS)] = 1,
    n: Annotated[int, Query(ge=1, le=_MAX_PAGE)] = 20,
    rerank: Annotated[
        bool, Query(description="let the server's model, if it has one, rank the first again")
    ] = False,
) -> SearchOut:
    """Papers that answer a query, best first. `/help` says what a query may hold."""
    answer = site.searcher.search(
        q,
        n=n,
        start=(page - 1) * n,
        mode=mode,
        order=order,
        diverse=diverse,
        facets=True,
        rerank=rerank,
    )
    with read(site.engine) as connection:
        papers = counted(connection, [hit.paper for hit in answer.hits])
    hits = [replace(hit, paper=paper) for hit, paper in zip(answer.hits, papers, strict=True)]
    follows = None
    if page * n < answer.total:
        asked = {"q": q, "mode": mode, "order": order, "diverse": diverse}
        if rerank:
            asked["rerank"] = rerank
        follows = _next("search", **asked, page=page + 1, n=n)
    return SearchOut(
        query=q,
        mode=answer.mode_used,
        note=answer.note,
        total=answer.total,
        hits=[HitOut.of(hit) for hit in hits],
        facets={name: dict(values) for name, values in (answer.facets or {}).items()},
        reranked=None if answer.reranked is None else RerankedOut(**vars(answer.reranked)),
        next=follows,
    )


@router.get("/runnable")
def list_runnable(site: SiteHere) -> RunnablesOut:
    """The papers that run, and where their claims stand."""
    with read(site.engine) as connection:
        found = claims.summaries(connection, site)
    return RunnablesOut(
        runnable=[RunnableOut.of(room, found.get(slug)) for slug, room in site.rooms.items()]
    )


def _next(what: str, **query: object) -> str:
    return f"/api/v1/{what}?{urlencode(query)}"
