"""Runs as JSON: the latest, one with its record, queueing and cancelling."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from paperround.db import read
from paperround.errors import NotFoundError
from paperround.runs.actions import cancel_run, queue_run
from paperround.runs.queries import recent_runs, run_by_id
from paperround.web.api.cursors import next_address
from paperround.web.api.shapes import PROBLEMS, Problem, RunAsked, RunOut, RunsOut
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import who_asks

router = APIRouter(tags=["runs"], responses=PROBLEMS)

_FORBIDDEN: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "Runs cannot be started from there"}
}

RunId = Annotated[str, Path(max_length=26)]


@router.get("/runs")
def list_runs(
    site: SiteHere,
    slug: Annotated[str | None, Query(max_length=60, examples=["copyspec"])] = None,
    cursor: Annotated[str | None, Query(max_length=26)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> RunsOut:
    """The runs of one paper or of all, the last queued first."""
    with read(site.engine) as connection:
        found = recent_runs(connection, slug, limit + 1, before=cursor)
    shown, follows = found[:limit], None
    if len(found) > limit:
        asked = {"slug": slug} if slug else {}
        follows = next_address("runs", shown[-1].id, limit, **asked)
    return RunsOut(runs=[RunOut.of(run) for run in shown], next=follows)


@router.post("/runs", status_code=202, responses=_FORBIDDEN)
def add_run(request: Request, response: Response, site: SiteHere, asked: RunAsked) -> RunOut:
    """Queues a run; the same run that waits or is under way already is not queued twice."""
    asker = who_asks(request)
    run_id = queue_run(site.engine, asked.slug, asked.scale, asked.seeds, asker=asker)
    response.headers["location"] = f"/api/v1/runs/{run_id}"
    return _run(site, run_id)


@router.get("/runs/{run_id}")
def get_run(site: SiteHere, run_id: RunId) -> RunOut:
    """A run, with its record once it has ended."""
    return _run(site, run_id)


@router.post("/runs/{run_id}/cancel", status_code=202, responses=_FORBIDDEN)
def cancel(request: Request, site: SiteHere, run_id: RunId) -> RunOut:
    """Cancels a run; one that has ended stays as it is."""
    asker = who_asks(request)
    cancel_run(site.engine, run_id, asker=asker)
    return _run(site, run_id)


def _run(site: Site, run_id: str) -> RunOut:
    with read(site.engine) as connection:
        found = run_by_id(connection, run_id)
    if found is None:
        raise NotFoundError(f"no run '{run_id}'")
    return RunOut.of(found)
