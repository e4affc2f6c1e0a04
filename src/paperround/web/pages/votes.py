"""Votes, reading marks, and trending with the reasons for each place."""

from typing import Annotated

from fastapi import APIRouter, Form, Query
from sqlalchemy import Connection, Engine
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import Paper
from paperround.clock import utc_now
from paperround.db import read
from paperround.discovery import trending as formula
from paperround.discovery.periods import Period
from paperround.errors import NotFoundError, UsageError
from paperround.readers.records import Mark
from paperround.readers.votes import set_mark, set_vote
from paperround.web import claims
from paperround.web.feeds import alternates
from paperround.web.pages.accounts import local_path
from paperround.web.rendering import render, wants_fragment
from paperround.web.site import SiteHere
from paperround.web.visitors import ReaderHere
from paperround.web.voting import counted, voting_on

router = APIRouter()

PAPERS = 30
_CATEGORIES = 40

Back = Annotated[str, Form(max_length=300)]
PeriodAsked = Annotated[Period, Query()]


@router.get("/trending")
def trending(
    request: Request,
    site: SiteHere,
    period: PeriodAsked = "week",
    category: Annotated[str, Query(max_length=60)] = "",
) -> Response:
    """What people attend to now, of all papers or of one category."""
    now = utc_now()
    with read(site.engine) as connection:
        found = formula.trending_papers(
            connection, period, now, site.papers_by_slug, category=category, n=PAPERS
        )
        wide = found
        if category:
            wide = formula.trending_papers(connection, period, now, site.papers_by_slug, n=100)
        papers = counted(connection, [paper for paper, _ in found.papers])
        voting = voting_on(request, connection, papers)
        tallies = claims.tallies(connection, site)
    categories = {name for paper, _ in wide.papers for name in paper.categories}
    return render(
        request,
        "trending.html",
        section="trending",
        period=period,
        category=category,
        categories=sorted({*categories, *([category] if category else [])})[:_CATEGORIES],
        standings=[(p, s) for p, (_, s) in zip(papers, found.papers, strict=True)],
        as_of=found.as_of,
        is_now=found.as_of == now,
        voting=voting,
        tallies=tallies,
        feeds=alternates(
            "/trending", {"period": period, **({"category": category} if category else {})}
        ),
    )


@router.get("/trending/why/{key:path}")
def why(request: Request, site: SiteHere, key: str, period: PeriodAsked = "week") -> Response:
    """Why a paper stands where it stands: each part of the formula with its number."""
    now = utc_now()
    with read(site.engine) as connection:
        paper = _paper_in(connection, key)
        standing, place, as_of = formula.standing_of(
            connection, paper.id, period, now, site.papers_by_slug
        )
    return render(
        request,
        "trending_why.html",
        section="trending",
        paper=paper,
        period=period,
        standing=standing,
        place=place,
        as_of=as_of,
        is_now=as_of == now,
        half_life_days=formula.HALF_LIVES[period].total_seconds() / 86_400,
        formula=formula,
    )


@router.post("/papers/{key:path}/vote")
def vote(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    key: str,
    next: Back = "",
) -> Response:
    """Votes for the paper, or takes the vote back."""
    paper = _paper(site.engine, key)
    set_vote(site.engine, reader, paper.id, None, utc_now())
    back = local_path(next) if next else f"/papers/{paper.key}"
    if not wants_fragment(request):
        return RedirectResponse(back, status_code=303)
    with read(site.engine) as connection:
        (shown,) = counted(connection, [paper])
        voting = voting_on(request, connection, [shown])
    return render(request, "vote.html", is_secret=True, paper=shown, voting=voting, back=back)


@router.post("/papers/{key:path}/mark")
def mark(
    site: SiteHere,
    reader: ReaderHere,
    key: str,
    mark: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Marks the paper for the reader alone; without a mark, takes the mark away."""
    paper = _paper(site.engine, key)
    if mark and mark not in set(Mark):
        raise UsageError(f"no mark '{mark}'; there are {', '.join(Mark)}")
    set_mark(site.engine, reader, paper.id, Mark(mark) if mark else None, utc_now())
    return RedirectResponse(f"/papers/{paper.key}", status_code=303)


def _paper(engine: Engine, key: str) -> Paper:
    with read(engine) as connection:
        return _paper_in(connection, key)


def _paper_in(connection: Connection, key: str) -> Paper:
    detail = paper_by_key(connection, key)
    if detail is None:
        raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
    return detail.paper
