"""A paper's page: all that is known of it and, where it runs, what was measured."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.catalogue.queries import paper_by_key, reported_of
from paperround.catalogue.records import PaperDetail
from paperround.catalogue.statements import READER
from paperround.db import read
from paperround.discovery.similar import Alike
from paperround.errors import NotFoundError, UsageError
from paperround.readers.authorship import authorship_of, confirmed_on
from paperround.readers.collections import collections_of, collections_with
from paperround.readers.queries import comments_on, mark_of, mentioned_on
from paperround.readers.submissions import who_submitted
from paperround.runs.actions import queue_run
from paperround.runs.board import changes_of, spread_of
from paperround.runs.card import Scale
from paperround.runs.charts import charts_of, draw_bars
from paperround.runs.queries import LatestResult, Tally, latest_results, recent_runs, tally_of
from paperround.runs.records import results_kept
from paperround.runs.rooms import Room
from paperround.runs.verdicts import judge
from paperround.web import claims, wording
from paperround.web.decoding import declared_here
from paperround.web.feeds import alternates
from paperround.web.remarks import thread
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.stand_in import from_card
from paperround.web.visitors import who, who_asks, why_runs_are_closed
from paperround.web.voting import counted, voting_on

router = APIRouter()

_SIMILAR = 6
_RUNS_SHOWN = 5
_RESULTS_SHOWN = 12
_LINKS_SHOWN = 20
_README_LIMIT_BYTES = 512 << 10
# What stands on the page of a paper that is not in the catalogue.
_NOBODY_SAID: Mapping[str, Any] = {
    "room": None,
    "voting": None,
    "shelves": None,
    "authors_here": (),
    "authorship": None,
    "submitted": None,
    "may_withdraw": False,
}


@router.get("/papers/{key:path}")
def paper(
    request: Request, site: SiteHere, key: str, scale: Annotated[str | None, Query()] = None
) -> Response:
    """The page of the paper with that key, such as `2312.00858`."""
    room = site.rooms_by_paper.get(key)
    with read(site.engine) as connection:
        detail = paper_by_key(connection, key)
        if detail is None and room is None:
            raise NotFoundError(f"no paper '{key[:80]}' in this catalogue")
        if detail is not None and detail.paper.key != key:
            # Another spelling of its id, or a version of it: one paper has one address.
            return RedirectResponse(f"/papers/{detail.paper.key}", status_code=301)
        room_context = {} if room is None else _room_context(connection, request, site, room, scale)
        tallies = claims.tallies(connection, site)
        reported = reported_of(connection, detail.paper.id) if detail is not None else []
        own = {} if detail is None else _reading(connection, request, detail)
    if detail is not None:
        shown, note = detail, None
        like = site.searcher.alike(detail.paper.id, n=_SIMILAR)
    else:
        assert room is not None
        shown, like = from_card(room), Alike((), ())
        note = "This paper comes with an installed package and is not in the catalogue yet."
    return render(
        request,
        "paper.html",
        paper=own.pop("paper", shown.paper),
        n_authors=max(shown.paper.author_count or 0, len(shown.paper.authors)),
        identifiers=shown.identifiers,
        sources=sorted({source for source, _ in shown.sources}),
        links=_links(shown),
        reported=reported,
        like=like,
        tallies=tallies,
        note=note,
        feeds=alternates(f"/papers/{shown.paper.key}/comments") if detail is not None else [],
        **{**_NOBODY_SAID, **room_context, **own},
    )


@router.post("/papers/{key:path}/runs")
def run_paper(
    request: Request, site: SiteHere, key: str, scale: Annotated[str, Form()] = Scale.QUICK
) -> Response:
    """Queues a run of the paper and leads to its page."""
    asker = who_asks(request)
    room = site.rooms_by_paper.get(key)
    if room is None:
        raise NotFoundError(f"no paper '{key[:80]}' runs here")
    run_id = queue_run(site.engine, room.slug, scale, asker=asker)
    return RedirectResponse(f"/runs/{run_id}", status_code=303)


def _reading(connection: Connection, request: Request, detail: PaperDetail) -> dict[str, Any]:
    """What readers said of the paper, and what whoever asks may say."""
    reader, paper = who(request).reader, detail.paper
    is_typed = {source for source, _ in detail.sources} == {READER}
    own = [] if reader is None else collections_of(connection, reader.id)
    holding = collections_with(connection, reader.id, paper.id) if reader else set()
    return {
        "held": [each for each in own if each.id in holding],
        "shelves": [(each.key, each.name) for each in own if each.id not in holding],
        "authors_here": confirmed_on(connection, paper.id),
        "authorship": authorship_of(connection, paper.id, reader.id) if reader else None,
        "submitted": who_submitted(connection, paper.id),
        "may_withdraw": is_typed and reader is not None and reader.is_moderator,
        "paper": counted(connection, [paper])[0],
        "voting": voting_on(request, connection, [paper]),
        "mark": mark_of(connection, reader.id, paper.id) if reader else None,
        "remarks": thread(comments_on(connection, paper.id), reader),
        "named_on": mentioned_on(connection, paper.id),
    }


def _room_context(
    connection: Connection, request: Request, site: Site, room: Room, asked: str | None
) -> dict[str, Any]:
    results = latest_results(connection, room)
    scales = [scale for scale in Scale if room.card.scales[scale].runs_here or scale in results]
    if asked is None:
        # The largest that says something, as the marks on other pages do.
        scale = next((s for s in reversed(scales) if s in results), Scale.QUICK)
    elif asked in scales:
        scale = Scale(asked)
    else:
        raise UsageError(f"no scale '{asked[:40]}' here; there are {', '.join(scales)}")
    latest = results.get(scale)
    # What was measured with another card is told beside this card's claims, and decides nothing.
    older = latest if latest is not None and latest.is_of_older_card else None
    latest = None if older else latest
    counted = {s: found for s, found in results.items() if not found.is_of_older_card}
    largest = next((counted[s] for s in reversed(scales) if s in counted), None)
    runs = recent_runs(connection, room.slug, _RUNS_SHOWN)
    kept = results_kept(connection, [room.slug])
    at_scale = [view for view in kept if view.scale is scale]
    return {
        "room": room,
        "scales": [s.value for s in scales],
        "runnable_scales": [
            s.value
            for s in scales
            if room.card.scales[s].runs_here and s.value in who(request).scales
        ],
        "scale": scale.value,
        "notes_of_scale": room.card.scales[scale],
        "latest": latest,
        "older": older,
        "spreads": {
            claim.id: spread
            for claim in room.card.claims
            if (spread := spread_of(at_scale, room.card_sha256, claim.id)) is not None
        },
        "changes": sorted(
            (
                (change, claim)
                for claim in room.card.claims
                for change in changes_of(at_scale, claim.id)
            ),
            key=lambda pair: pair[0].at,
        ),
        "kept": kept[: -_RESULTS_SHOWN - 1 : -1],
        "n_kept": len(kept),
        "summary": tally_of(largest.result) if largest else Tally(0, 0, len(room.card.claims)),
        "unmeasured": judge(room.card, scale, [], "not measured yet"),
        "charts": charts_of(latest.result, site.settings) if latest else [],
        "bars": draw_bars(latest.result.tables, site.settings) if latest else [],
        "closed": why_runs_are_closed(request),
        "decodes_by": [one.name for one in declared_here(site).values() if one.slug == room.slug],
        "active": next((run for run in runs if run.is_active), None),
        "runs": runs,
        "costs": {s.value: _cost(room, s, counted.get(s)) for s in scales},
        "full": None if Scale.FULL in scales else room.card.scales[Scale.FULL].about,
        "readme_text": _readme(room.folder / "README.md"),
    }


def _cost(room: Room, scale: Scale, latest: LatestResult | None) -> str:
    limit = f"at most {wording.duration(room.card.scales[scale].time_limit_s)}"
    if latest is None:
        return limit
    where = "there" if latest.is_shipped else "here"
    return f"took {wording.duration(latest.result.seconds)} {where}; {limit}"


def _readme(path: Path) -> str:
    if not path.is_file() or path.stat().st_size > _README_LIMIT_BYTES:
        return ""
    return path.read_text(encoding="utf-8", errors="replace")


def _links(detail: PaperDetail) -> list[tuple[str, str]]:
    identifiers = dict(detail.identifiers)
    arxiv, doi = identifiers.get("arxiv"), identifiers.get("doi")
    candidates = [
        ("arXiv", f"https://arxiv.org/abs/{arxiv}" if arxiv else None),
        ("PDF", detail.paper.pdf_url or (f"https://arxiv.org/pdf/{arxiv}" if arxiv else None)),
        ("Code", detail.paper.code_url),
        ("Project", detail.paper.project_url),
        ("DOI", f"https://doi.org/{doi}" if doi else None),
        *((_label(link), link) for link in detail.paper.links[:_LINKS_SHOWN]),
    ]
    return [
        (label, address)
        for label, url in candidates
        if (address := wording.web_address(url)) is not None
    ]


def _label(link: str) -> str:
    """What an address leads to, by its first part on the Hub; else code."""
    on_the_hub = link.removeprefix("https://huggingface.co/")
    if on_the_hub == link:
        return "Code"
    kinds = {"datasets": "Data set", "spaces": "Space", "collections": "Collection"}
    return kinds.get(on_the_hub.partition("/")[0], "Model")
