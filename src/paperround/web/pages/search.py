"""Search by words and by meaning: the page, its feed, and titles while a person types."""

from dataclasses import dataclass, replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.db import read
from paperround.discovery.query_language import parse
from paperround.discovery.search import MAX_QUERY_CHARACTERS, MAX_RESULTS, Mode, Order, SearchAnswer
from paperround.web import claims
from paperround.web.feeds import alternates
from paperround.web.pace import Paced, PacedTitles
from paperround.web.rendering import render
from paperround.web.site import SiteHere
from paperround.web.voting import counted, voting_on

router = APIRouter()

HITS_PER_PAGE = 20
_TITLES = 8
# What a facet is called in a query, and of how many values each shows its count.
_FACETS = (("year", "year", 8), ("category", "cat", 10), ("has", "has", 5), ("source", "source", 6))

_TITLE_CHARACTERS = 400


@dataclass(frozen=True)
class Asked:
    """What an address asks for; `address` gives the address of a change of it."""

    q: str
    mode: str
    order: str
    diverse: bool
    page: int
    rerank: bool = False

    @property
    def searched(self) -> dict[str, str]:
        """What is searched for and how: what a feed or a subscription keeps of it."""
        return {"q": self.q, **({"mode": self.mode} if self.mode != "both" else {})}

    def address(self, path: str = "/search", **changed: object) -> str:
        """The address of the same search with something changed; the first page unless named."""
        values = {**vars(self), "page": 1, **changed}
        shown = {"q": values["q"]}
        for name, usual in (("mode", "both"), ("order", "relevance"), ("page", 1)):
            if values[name] != usual:
                shown[name] = values[name]
        if not values["diverse"]:
            shown["diverse"] = "0"
        if values["rerank"]:
            shown["rerank"] = "1"
        return f"{path}?{urlencode(shown)}"


@dataclass(frozen=True)
class Facet:
    """A value that papers of the answer have, and the address of those that have it."""

    says: str
    papers: int
    address: str


@router.get("/search")
def search(
    request: Request,
    site: SiteHere,
    paced: Paced,
    q: str = "",
    mode: Annotated[Mode, Query()] = "both",
    order: Annotated[Order, Query()] = "relevance",
    diverse: Annotated[bool, Query()] = True,
    page: Annotated[int, Query(ge=1, le=MAX_RESULTS // HITS_PER_PAGE)] = 1,
    rerank: Annotated[bool, Query()] = False,
) -> Response:
    """The papers that answer the query, best first."""
    # One character more than is searched for, so that the answer can say that there were more.
    asked = Asked(q.strip()[: MAX_QUERY_CHARACTERS + 1], mode, order, diverse, page, rerank)
    answer = None
    if asked.q:
        answer = site.searcher.search(
            asked.q,
            n=HITS_PER_PAGE,
            start=(page - 1) * HITS_PER_PAGE,
            mode=mode,
            order=order,
            diverse=diverse,
            facets=True,
            rerank=rerank,
        )
    if answer is not None and answer.mode_used == "identifier" and answer.hits:
        # Whoever pastes what names a paper wants its page.
        return RedirectResponse(f"/papers/{answer.hits[0].paper.key}", status_code=303)
    with read(site.engine) as connection:
        tallies = claims.tallies(connection, site) if answer and answer.hits else {}
        papers = counted(connection, [hit.paper for hit in answer.hits]) if answer else []
        voting = voting_on(request, connection, papers)
    if answer is not None:
        hits = tuple(replace(h, paper=p) for h, p in zip(answer.hits, papers, strict=True))
        answer = replace(answer, hits=hits)
    n_pages = -(-answer.total // HITS_PER_PAGE) if answer else 0
    query = parse(asked.q)
    return render(
        request,
        "search.html",
        q=asked.q,
        asked=asked,
        answer=answer,
        how_many=_how_many(answer),
        n_pages=n_pages,
        tallies=tallies,
        voting=voting,
        chosen=[(part.typed, asked.address(q=query.without(part).typed)) for part in query.filters],
        facets=_facets(asked, answer),
        feeds=alternates("/search", asked.searched) if asked.q else [],
        mail=urlencode({"kind": "search", "value": asked.q, "mode": asked.mode}),
        reranker=site.searcher.reranker,
    )


@router.get("/search/titles")
def titles(request: Request, site: SiteHere, paced: PacedTitles, q: str = "") -> Response:
    """Links to papers whose title has the words that are being typed."""
    beginning = q.strip()[:_TITLE_CHARACTERS]
    found = site.searcher.titles(beginning, n=_TITLES) if len(beginning) > 2 else []
    return render(request, "_titles.html", papers=found)


def _how_many(answer: SearchAnswer | None) -> str:
    """How many papers answer, in words: a search stops at a thousand."""
    if answer is None or not answer.total:
        return ""
    if answer.total >= MAX_RESULTS:
        return f"The first {MAX_RESULTS:,} papers"
    return f"{answer.total:,} papers" if answer.total > 1 else "1 paper"


def _facets(asked: Asked, answer: SearchAnswer | None) -> list[tuple[str, list[Facet]]]:
    """By name, the values that tell the papers of the answer apart."""
    if answer is None or not answer.facets:
        return []
    shown = []
    for name, field, n in (*_FACETS, ("runs", "runs", 1)):
        values = answer.facets.get(name, [])[:n]
        if name == "year":
            values = sorted(values, reverse=True)
        facets = [
            Facet(value, papers, asked.address(q=f"{asked.q} {field}:{value}"))
            for value, papers in values
            if f"{field}:{value}".lower() not in asked.q.lower().split()
        ]
        if facets:
            shown.append((name, facets))
    return shown
