"""Runs: the latest ones, one of them live, and cancelling it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.to_thread import run_sync
from fastapi import APIRouter
from sqlalchemy import Connection
from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import NotFoundError
from paperround.runs.actions import cancel_run
from paperround.runs.charts import charts_of
from paperround.runs.execution import LOG_NAME
from paperround.runs.progress import Progress
from paperround.runs.queries import (
    RunView,
    events_after,
    recent_runs,
    run_by_id,
    run_progress,
    typical_stages,
)
from paperround.runs.reproduction import Event
from paperround.runs.rooms import Room
from paperround.web import wording
from paperround.web.guard import check_run_access, why_runs_are_closed
from paperround.web.rendering import environment, render
from paperround.web.site import Site, SiteHere

router = APIRouter()

_RUNS_SHOWN = 50
_LOG_TAIL_BYTES = 6_000
_LOOK_INTERVAL_S = 0.5
# A stream that has lasted this long ends; the browser opens it anew by itself.
_STREAM_S = 1_200


@router.get("/runs")
def runs(request: Request, site: SiteHere) -> Response:
    """The latest runs on this machine."""
    with read(site.engine) as connection:
        found = recent_runs(connection, n=_RUNS_SHOWN)
    titles = {slug: room.card.title for slug, room in site.rooms.items()}
    return render(request, "runs.html", section="runs", runs=found, titles=titles)


@router.get("/runs/{run_id}")
def run(request: Request, site: SiteHere, run_id: str) -> Response:
    """One run: its progress while it lasts, its result afterwards."""
    return render(request, "run.html", fragment="live", **_context(request, site, run_id))


@router.get("/runs/{run_id}/events")
async def follow(request: Request, site: SiteHere, run_id: str) -> Response:
    """A stream of the run page's live part, each time that it has changed, until the run ends."""
    # A run that is not there is a 404 and no stream.
    await run_sync(_context, request, site, run_id)
    return EventSourceResponse(_changes(request, site, run_id))


@router.post("/runs/{run_id}/cancel")
def cancel(request: Request, site: SiteHere, run_id: str) -> Response:
    """Cancels the run and leads back to its page."""
    check_run_access(request, local_only=site.local_only)
    cancel_run(site.engine, run_id)
    return RedirectResponse(f"/runs/{run_id}", status_code=303)


async def _changes(request: Request, site: Site, run_id: str) -> AsyncIterator[dict[str, str]]:
    sent, seen = None, _Measurements()
    for _ in range(round(_STREAM_S / _LOOK_INTERVAL_S)):
        context = await run_sync(_context, request, site, run_id, seen)
        if context["ended"]:
            yield {"event": "end", "data": context["run"].state}
            return
        body = await run_sync(_live_part, context)
        if body != sent:
            sent = body
            yield {"event": "progress", "data": body}
        await anyio.sleep(_LOOK_INTERVAL_S)


def _live_part(context: dict[str, Any]) -> str:
    page = environment().get_template("run.html")
    return "".join(page.blocks["live"](page.new_context(context)))


@dataclass(frozen=True)
class _Measured:
    """What a run has measured of a claim so far."""

    says: str
    values: tuple[float, ...]
    baseline: float | None


class _Measurements:
    """What a run has measured so far; asked again, it reads only the events that are new."""

    def __init__(self) -> None:
        self._number = 0
        self._by_claim: dict[str, list[Event]] = {}

    def read_on(self, connection: Connection, run_id: str) -> Mapping[str, Sequence[Event]]:
        """The `measure` events by claim, of the attempt that is under way."""
        while events := events_after(connection, run_id, self._number):
            for number, event in events:
                self._number = number
                if event["kind"] == "started":
                    self._by_claim = {}
                elif event["kind"] == "measure":
                    self._by_claim.setdefault(event["claim"], []).append(event)
        return self._by_claim


def _context(
    request: Request, site: Site, run_id: str, seen: _Measurements | None = None
) -> dict[str, Any]:
    """What the run's page shows. Raises NotFoundError."""
    with read(site.engine) as connection:
        found = run_by_id(connection, run_id)
        if found is None:
            raise NotFoundError(f"no run '{run_id[:40]}'")
        room = site.rooms.get(found.slug)
        measured: list[_Measured] = []
        progress = None
        if found.is_active:
            earlier = typical_stages(connection, room, found.scale) if room else []
            progress = run_progress(connection, found, utc_now(), earlier)
            by_claim = (seen or _Measurements()).read_on(connection, run_id)
            measured = _measured_so_far(room, by_claim)
    return {
        "section": "runs",
        "run": found,
        "ended": not found.is_active,
        "heading": room.card.title if room else found.slug,
        "paper_key": room.card.paper if room else None,
        "stages": progress.stages if progress else (),
        "says": _says(found, progress),
        "seconds_left": progress.seconds_left if progress else None,
        "measured": measured,
        "result": found.result,
        "charts": charts_of(found.result, site.settings) if found.result else [],
        "log": _log_tail(site.settings.runs_dir / found.id / LOG_NAME),
        "closed": why_runs_are_closed(request, local_only=site.local_only),
        "worker": site.worker,
    }


def _says(run: RunView, progress: Progress | None) -> str:
    """One sentence on where the run stands; it is read out when it changes."""
    if not run.is_active or progress is None:
        took = ""
        if run.started_at and run.ended_at:
            took = f"after {wording.duration((run.ended_at - run.started_at).total_seconds())}"
        return f"{took}{': ' if took and run.reason else ''}{run.reason}".strip()
    if run.cancel_requested:
        return "Stopping."
    if run.state == "queued":
        return "Waiting for its turn."
    if progress.current is None:
        return "Starting." if not progress.stages else "Finishing."
    return f"Under way: {progress.current.name}."


def _measured_so_far(room: Room | None, by_claim: Mapping[str, Sequence[Event]]) -> list[_Measured]:
    says = {claim.id: claim.says for claim in room.card.claims} if room else {}
    return [
        _Measured(
            says.get(claim, claim),
            tuple(event["value"] for event in events),
            next((e["baseline"] for e in events if e["baseline"] is not None), None),
        )
        for claim, events in by_claim.items()
    ]


def _log_tail(path: Path) -> str:
    """The last few thousand bytes of a run's log, from the beginning of a line."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _LOG_TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return text.partition("\n")[2] if size > _LOG_TAIL_BYTES else text
