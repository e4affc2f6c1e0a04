"""A result at its own address, in the forms that travel, and two of them side by side."""

import base64
import json
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.db import read
from paperround.errors import NotFoundError
from paperround.runs.charts import charts_of, draw_bars
from paperround.runs.comparison import compare_results
from paperround.runs.export import FORMATS
from paperround.runs.queries import tally_of
from paperround.runs.records import ResultView, find_result, results_kept
from paperround.runs.results import Result
from paperround.web.rendering import kept_response, render
from paperround.web.samples import result_images
from paperround.web.site import Site, SiteHere

router = APIRouter()

_MAX_OTHERS = 30

# By the ending of the address: which form, and what a browser is told of it.
_ENDINGS = {
    "json": ("json", "application/json"),
    "md": ("markdown", "text/markdown; charset=utf-8"),
    "ipynb": ("notebook", "application/x-ipynb+json"),
}

ResultAsked = Annotated[str, Query(max_length=64)]


@router.get("/results/{name}")
def result(request: Request, site: SiteHere, name: str) -> Response:
    """A result's page: `/results/3f9c…`, or with `.json`, `.md` or `.ipynb` its file."""
    asked, _, ending = name.partition(".")
    if ending and ending not in _ENDINGS:
        raise NotFoundError(f"a result has no form '.{ending[:20]}'")
    view, found = _found(site, asked)
    if asked != view.id:
        return RedirectResponse(f"/results/{view.id}{'.' + ending if ending else ''}", 302)
    if ending:
        return _file(request, view, found, ending)
    room = site.rooms.get(view.slug)
    with read(site.engine) as connection:
        others = [other for other in results_kept(connection, [view.slug]) if other.id != view.id]
    # The same card and scale first: only with those it compares.
    others.sort(key=lambda o: (o.card_sha256 != view.card_sha256, o.scale != view.scale, -o.number))
    return render(
        request,
        "result.html",
        section="claims",
        view=view,
        result=found,
        room=room,
        title=_title(site, found),
        tally=tally_of(found),
        is_of_other_card=room is not None and room.card_sha256 != view.card_sha256,
        charts=charts_of(found, site.settings),
        bars=draw_bars(found.tables, site.settings),
        card_text=json.dumps(found.card, ensure_ascii=False, indent=2) if found.card else "",
        others=others[:_MAX_OTHERS],
    )


@router.get("/results/{result_id}/images/{number}.png")
def image(request: Request, site: SiteHere, result_id: str, number: int) -> Response:
    """The image of that number among all that the result's samples show, from 0."""
    _, found = _found(site, result_id)
    images = result_images(found.samples)
    if not 0 <= number < len(images):
        raise NotFoundError(f"the result has {len(images)} images")
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return Response(base64.b64decode(images[number]), media_type="image/png", headers=headers)


@router.get("/compare")
def compare(request: Request, site: SiteHere, a: ResultAsked = "", b: ResultAsked = "") -> Response:
    """Two results of a paper side by side; with one alone, the others to choose from."""
    first = _found(site, a) if a else None
    second = _found(site, b) if b else None
    if first is None or second is None:
        chosen = first or second
        with read(site.engine) as connection:
            views = results_kept(connection, [chosen[0].slug] if chosen else None)
        return render(
            request,
            "compare_choose.html",
            section="claims",
            chosen=chosen[0] if chosen else None,
            views=views[: -_MAX_OTHERS - 1 : -1],
        )
    compared = compare_results(first[1], second[1])
    return render(
        request,
        "compare.html",
        section="claims",
        compared=compared,
        sides=((first[0], "A"), (second[0], "B")),
        title=_title(site, first[1]),
        json_address=f"/api/v1/compare?a={first[0].id}&b={second[0].id}",
    )


def _found(site: Site, asked: str) -> tuple[ResultView, Result]:
    with read(site.engine) as connection:
        return find_result(connection, asked, site.rooms.values())


def _title(site: Site, found: Result) -> str:
    room = site.rooms.get(found.slug)
    if room is not None:
        return room.card.title
    return str((found.card or {}).get("title") or found.slug)


def _file(request: Request, view: ResultView, found: Result, ending: str) -> Response:
    form, media_type = _ENDINGS[ending]
    name = f"{view.slug}-{view.scale}-{view.id[:8]}.{ending}"
    headers = {
        "content-disposition": f'{"inline" if ending == "md" else "attachment"}; filename="{name}"',
        "cache-control": "public, max-age=3600",
    }
    return kept_response(request, FORMATS[form](found), media_type, headers)
