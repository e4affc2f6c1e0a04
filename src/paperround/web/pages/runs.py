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
from paperround.runs.charts import draw_bars, draw_charts
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
from paperround.web.rendering import environment, render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import who_asks, why_runs_are_closed

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
    return render(fragment="live", template="run.html", **_context(request, site, run_id))


@router.get("/runs/{run_id}/events")
async def follow(request: Request, site: SiteHere, run_id: str) -> Response:
    """A stream of the run page's live parts, each time that one has changed, until the run ends."""
    # A run that is not there is a 404 and no stream.
    await run_sync(_context, request, site, run_id)
    return EventSourceResponse(_changes(request, site, run_id))


@router.post("/runs/{run_id}/cancel")
def cancel(request: Request, site: SiteHere, run_id: str) -> Response:
    """Cancels the run and leads back to its page."""
    asker = who_asks(request)
    cancel_run(site.engine, run_id, asker=asker)
    return RedirectResponse(f"/runs/{run_id}", status_code=303)


async def _changes(request: Request, site: Site, run_id: str) -> AsyncIterator[dict[str, str]]:
    sent: dict[str, str] = {}
    so_far, drawn = _SoFar(), -1
    for _ in range(round(_STREAM_S / _LOOK_INTERVAL_S)):
        context = await run_sync(_context, request, site, run_id, so_far)
        if context["ended"]:
            yield {"event": "end", "data": context["run"].state}
            return
        blocks = ["live"]
        # Charts take a second to draw and are large: only when there is something new.
        if so_far.shown != drawn:
            drawn = so_far.shown
            blocks.append("so_far")
        for block in blocks:
            body = await run_sync(_block, block, context)
            if body != sent.get(block):
                sent[block] = body
                yield {"event": "progress" if block == "live" else "shown", "data": body}
        await anyio.sleep(_LOOK_INTERVAL_S)


def _block(name: str, context: dict[str, Any]) -> str:
    page = environment().get_template("run.html")
    return "".join(page.blocks[name](page.new_context(context)))


@dataclass(frozen=True)
class _Measured:
    """What a run has measured of a claim so far."""

    says: str
    values: tuple[float, ...]
    baseline: float | None


class _SoFar:
    """What a run has measured and shown so far; asked again, it reads only the events that are new.

    `shown` counts what it has shown, over all attempts, so that a change can be told.
    """

    def __init__(self) -> None:
        self._number = 0
        self.shown = 0
        self.measured: dict[str, list[Event]] = {}
        self.events: dict[str, list[Event]] = {"series": [], "table": [], "sample": [], "note": []}

    def read_on(self, connection: Connection, run_id: str) -> None:
        """Reads on, of the attempt that is under way."""
        while events := events_after(connection, run_id, self._number):
            for number, event in events:
                self._number = number
                self._take(event)

    def _take(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "started":
            self.measured = {}
            self.events = {kind: [] for kind in self.events}
            self.shown += 1
        elif kind == "measure":
            self.measured.setdefault(event["claim"], []).append(event)
        elif kind in self.events:
            # As a result keeps it, so that its chart is drawn once.
            self.events[kind].append({name: event[name] for name in event if name != "kind"})
            self.shown += 1


def _context(
    request: Request, site: Site, run_id: str, so_far: _SoFar | None = None
) -> dict[str, Any]:
    """What the run's page shows. Raises NotFoundError."""
    so_far = so_far or _SoFar()
    with read(site.engine) as connection:
        found = run_by_id(connection, run_id)
        if found is None:
            raise NotFoundError(f"no run '{run_id[:40]}'")
        room = site.rooms.get(found.slug)
        progress = None
        if found.is_active:
            earlier = typical_stages(connection, room, found.scale) if room else []
            progress = run_progress(connection, found, utc_now(), earlier)
            so_far.read_on(connection, run_id)
    return {
        "request": request,
        "section": "runs",
        "run": found,
        "ended": not found.is_active,
        "heading": room.card.title if room else found.slug,
        "paper_key": room.card.paper if room else None,
        "progress": progress,
        "says": _says(found, progress),
        "limit_s": room.card.scales[found.scale].time_limit_s if room else None,
        "measured": _measured_so_far(room, so_far.measured),
        "so_far": so_far.events,
        "result": found.result,
        # Drawn when a template asks for them: most looks of the stream show none.
        "draw": lambda series: draw_charts(series, site.settings),
        "bars": lambda tables: draw_bars(tables, site.settings),
        "log": _log_tail(site.settings.runs_dir / found.id / LOG_NAME),
        "closed": why_runs_are_closed(request),
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
        if progress.ahead:
            return f"Next: {progress.ahead[0][0]}."
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
