"""The claims board, one claim's page, the board as CSV, and badges for other sites."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.db import read
from paperround.errors import NotFoundError
from paperround.runs.board import Filter, board, board_csv, select_rows
from paperround.runs.card import Scale
from paperround.runs.queries import claim_summary, standings
from paperround.runs.records import results_kept
from paperround.runs.rooms import Room
from paperround.runs.verdicts import Verdict
from paperround.web import claims
from paperround.web.badges import badge_svg
from paperround.web.claims import Descending, FilterAsked, SortAsked, chosen_rows
from paperround.web.rendering import kept_response, render
from paperround.web.site import Site, SiteHere

router = APIRouter()

ROWS_PER_PAGE = 60
_MAX_RESULTS = 50
_BADGE_SECONDS = 300

# What a heading says, by the column that it sorts by.
_HEADINGS = {
    "claim": "Claim",
    "scale": "Scale",
    "reported": "Reported",
    "measured": "Measured",
    "bar": "Bar",
    "verdict": "Verdict",
    "when": "When",
    "machine": "Machine",
}


@router.get("/claims")
def show_board(
    request: Request,
    site: SiteHere,
    wanted: FilterAsked,
    sort: SortAsked = "",
    down: Descending = False,
    page: Annotated[int, Query(ge=1, le=10_000)] = 1,
) -> Response:
    """The board: filters, links that sort, sixty rows a page."""
    with read(site.engine) as connection:
        everything = board(connection, site.rooms.values())
    rows = chosen_rows(everything, wanted, sort, down)
    # What each verdict's link would show, the other filters kept.
    counted = Counter(row.verdict for row in select_rows(everything, replace(wanted, verdict="")))
    pages = max(1, -(-len(rows) // ROWS_PER_PAGE))
    page = min(page, pages)

    def address(**changes: object) -> str:
        return _address("/claims", wanted, {"sort": sort, "down": down, **changes})

    return render(
        request,
        "claims.html",
        section="claims",
        rows=rows[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE],
        n_rows=len(rows),
        wanted=wanted,
        sort=sort,
        down=down,
        columns=[_column(name, says, sort, down, address) for name, says in _HEADINGS.items()],
        by_paper=_column("paper", "Paper", sort, down, address),
        verdicts=[(v.value, counted[v], address(verdict=v.value)) for v in Verdict],
        n_all=counted.total(),
        all_address=address(verdict=""),
        families=sorted({room.card.family for room in site.rooms.values()}),
        papers=sorted((r.card.title, r.slug) for r in site.rooms.values()),
        scales=[scale.value for scale in Scale],
        page=page,
        pages=pages,
        earlier=address(page=page - 1) if page > 1 else None,
        later=address(page=page + 1) if page < pages else None,
        csv_address=_address("/claims.csv", wanted, {"sort": sort, "down": down}),
        json_address=_address("/api/v1/claims", wanted, {"sort": sort, "down": down}),
        is_filtered=wanted != Filter(),
    )


@router.get("/claims.csv")
def board_as_csv(
    request: Request,
    site: SiteHere,
    wanted: FilterAsked,
    sort: SortAsked = "",
    down: Descending = False,
) -> Response:
    """The board, or what a filter leaves of it, as CSV; a spreadsheet runs nothing of it."""
    with read(site.engine) as connection:
        rows = chosen_rows(board(connection, site.rooms.values()), wanted, sort, down)
    headers = {
        "content-disposition": 'attachment; filename="claims.csv"',
        "cache-control": "no-cache",
    }
    return kept_response(request, board_csv(rows), "text/csv; charset=utf-8", headers)


@router.get("/claims/about")
def about(request: Request) -> Response:
    """What a verdict says, and what it does not."""
    return render(request, "claims_about.html", section="claims")


@router.get("/verdicts")
def verdicts() -> Response:
    """The same, where it stood before there was a board."""
    return RedirectResponse("/claims/about", status_code=301)


@router.get("/claims/{slug}/{claim_id}")
def one_claim(request: Request, site: SiteHere, slug: str, claim_id: str) -> Response:
    """A claim: where it stands at each scale, every result that measured it, what changed."""
    room = _room(site, slug)
    with read(site.engine) as connection:
        rows = [row for row in board(connection, [room]) if row.claim.id == claim_id]
        kept = [view for view in results_kept(connection, [slug]) if view.claim(claim_id)]
    if not rows:
        raise NotFoundError(f"{slug} has no claim '{claim_id[:60]}'")
    return render(
        request,
        "claim.html",
        section="claims",
        room=room,
        claim=rows[0].claim,
        rows=rows,
        views=kept[: -_MAX_RESULTS - 1 : -1],
        n_views=len(kept),
        badge=f"/badges/{slug}/{claim_id}.svg",
        site_address=f"{request.url.scheme}://{request.url.netloc}",
    )


@router.get("/badges/{slug}.svg")
def paper_badge(request: Request, site: SiteHere, slug: str) -> Response:
    """Where the claims of a paper stand, at its largest scale with a result."""
    room = site.rooms.get(slug)
    if room is None:
        return _badge(request, "no such paper here", "not-measured", status=404)
    with read(site.engine) as connection:
        summary = claim_summary(connection, [room]).get(slug)
    if summary is None or not summary.tally.measured:
        return _badge(request, "claims not measured yet", "not-measured")
    tally = summary.tally
    noun = "claim holds" if tally.measured == 1 else "claims hold"
    says = f"{tally.holds} of {tally.measured} {noun}, {summary.scale} scale"
    return _badge(request, says, claims.tally_state(tally))


@router.get("/badges/{slug}/{claim_id}.svg")
def claim_badge(
    request: Request,
    site: SiteHere,
    slug: str,
    claim_id: str,
    scale: Annotated[str, Query(max_length=10)] = "",
) -> Response:
    """Where one claim stands: at a scale, or at the largest that measured it."""
    room = site.rooms.get(slug)
    if room is None or claim_id not in {claim.id for claim in room.card.claims}:
        return _badge(request, "no such claim here", "not-measured", status=404)
    if scale and scale not in set(Scale):
        return _badge(request, "no such scale", "not-measured", status=404)
    with read(site.engine) as connection:
        standing = standings(connection, [room])
    for candidate in reversed(Scale):
        stands = standing.get((slug, candidate))
        figure = stands.current.claim(claim_id) if stands and stands.current else None
        if figure is None or (scale and candidate != scale):
            continue
        if figure.verdict is not Verdict.NOT_MEASURED:
            says = f"{claim_id} {figure.verdict}, {candidate} scale"
            return _badge(request, says, figure.verdict.replace(" ", "-"))
    return _badge(request, f"{claim_id} not measured yet", "not-measured")


def _room(site: Site, slug: str) -> Room:
    room = site.rooms.get(slug)
    if room is None:
        raise NotFoundError(f"no runnable paper '{slug[:60]}' here")
    return room


def _badge(request: Request, says: str, state: str, status: int = 200) -> Response:
    headers = {
        # Long enough to spare the server, short enough that a verdict is never old for long.
        "cache-control": f"public, max-age={_BADGE_SECONDS}",
        # Made to be shown elsewhere: the site's own policy would keep it here.
        "cross-origin-resource-policy": "cross-origin",
        "access-control-allow-origin": "*",
    }
    svg = badge_svg("paperround", says, state)
    return kept_response(request, svg, "image/svg+xml", headers, status)


def _column(name: str, says: str, sort: str, down: bool, address: Any) -> dict[str, str]:
    """A heading's link: the first press sorts upwards, the second downwards."""
    here = name == sort
    return {
        "name": name,
        "says": says,
        "address": address(sort=name, down=here and not down),
        "order": ("descending" if down else "ascending") if here else "none",
    }


def _address(path: str, wanted: Filter, changes: Mapping[str, object]) -> str:
    """The address of the board with that filter and order; what says nothing is left out."""
    query: dict[str, object] = {
        "family": wanted.family,
        "paper": wanted.paper,
        "verdict": wanted.verdict,
        "scale": wanted.scale,
        "q": wanted.text,
        "changed": wanted.changed,
        **changes,
    }
    for flag in ("changed", "down"):
        query[flag] = "yes" if query[flag] else ""
    if not query["sort"]:
        query["down"] = ""
    said = {name: value for name, value in query.items() if value not in ("", 1)}
    return f"{path}?{urlencode(said)}" if said else path
