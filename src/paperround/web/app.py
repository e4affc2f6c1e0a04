"""The site as an ASGI application: what `paperround serve` serves and what tests talk to."""

import threading
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import paperround
from paperround.catalogue.records import PaperId
from paperround.db import open_database, write
from paperround.discovery.query_language import Part
from paperround.discovery.searching import Searcher
from paperround.errors import ForbiddenError, UsageError
from paperround.log import get_logger
from paperround.runs.records import keep_shipped
from paperround.runs.rooms import InstalledRooms, Room
from paperround.settings import Settings
from paperround.verdicts import papers_with
from paperround.web import access, failures, guard
from paperround.web.api import admin as api_admin
from paperround.web.api import claims as api_claims
from paperround.web.api import collections as api_collections
from paperround.web.api import generations as api_generations
from paperround.web.api import moderation as api_moderation
from paperround.web.api import organisations as api_organisations
from paperround.web.api import papers as api_papers
from paperround.web.api import readers as api_readers
from paperround.web.api import runs as api_runs
from paperround.web.api import submissions as api_submissions
from paperround.web.api import subscriptions as api_subscriptions
from paperround.web.buckets import Buckets
from paperround.web.description import describe_problems
from paperround.web.pages import (
    accounts,
    admin,
    authorship,
    claims,
    collections,
    comments,
    feed,
    feeds,
    generations,
    me,
    openid,
    organisations,
    papers,
    plain,
    results,
    runnable,
    runs,
    search,
    sources,
    submissions,
    subscriptions,
    votes,
)
from paperround.web.rendering import STATIC
from paperround.web.site import Site
from paperround.work import work_in_threads

log = get_logger()

# Every address but the static files and the API's own description. The first that fits answers, so
# that those under a paper's address come before the paper's page, which takes all that is left.
ROUTERS: Sequence[tuple[APIRouter, str]] = (
    (api_readers.router, access.API),
    (api_readers.trending_router, access.API),
    (api_subscriptions.router, access.API),
    (api_collections.router, access.API),
    (api_submissions.router, access.API),
    (api_generations.router, access.API),
    (api_moderation.router, access.API),
    (api_organisations.router, access.API),
    (api_admin.router, access.API),
    (api_papers.router, access.API),
    (api_runs.router, access.API),
    (api_claims.router, access.API),
    (api_claims.short_router, access.SHORT_API),
    *(
        (page.router, "")
        for page in (
            # Their addresses end like a feed's: before those that take any ending.
            *(feeds, feed, search, runnable, runs, claims, results, sources, accounts, openid, me),
            *(votes, comments, subscriptions, collections, submissions, authorship, generations),
            *(organisations, admin),
            *(papers, plain),
        )
    ),
)

# What a worker gets to end its run's process and give the run back.
_WORKER_STOPS_WITHIN_S = 10
_GZIP_FROM_BYTES = 1_000


def create_app(
    settings: Settings, *, local_only: bool, worker: bool, hosts: Collection[str] = ()
) -> FastAPI:
    """The site over the database that the settings name, migrated on the way.

    `local_only` says that the server listens on a loopback address: only then is whoever sits at it
    the admin while nobody has an account, and only then is the `Host` header held against the
    loopback names and `hosts`, to which the name in `public_url` belongs.
    `worker` starts one in a thread, for as long as the application runs.
    """
    engine = open_database(settings)

    def keep(rooms: Collection[Room]) -> None:
        with write(engine) as connection:
            keep_shipped(connection, rooms)

    installed = InstalledRooms(on_change=keep)
    for slug, reason in installed.now()[1].items():
        log.warning("room.broken", slug=slug, reason=reason)

    def found(part: Part) -> Collection[PaperId]:
        return papers_with(engine, installed.now()[0].values(), part)

    def rooms() -> dict[str, str]:
        return {slug: room.card.paper for slug, room in installed.now()[0].items()}

    site = Site(
        settings=settings,
        engine=engine,
        searcher=Searcher(engine, settings, found, rooms, waits=False),
        local_only=local_only,
        worker=worker,
        hosts=frozenset([*hosts, *_public_host(settings)]),
        installed=installed,
        searches=_searches(settings),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        stop = threading.Event()
        threads = work_in_threads(engine, settings, stop, site.searcher) if worker else []
        yield
        stop.set()
        for thread in threads:
            thread.join(_WORKER_STOPS_WITHIN_S)
        site.searcher.close()
        engine.dispose()

    app = FastAPI(
        title="Paperround",
        version=paperround.__version__,
        summary="Daily papers that run: the catalogue, its search, and what was measured.",
        openapi_url="/api/v1/openapi.json",
        # Their pages load scripts from elsewhere; the description itself is served.
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        dependencies=[Depends(access.check_role), Depends(access.check_form)],
    )
    app.state.site = site
    for router, prefix in ROUTERS:
        app.include_router(router, prefix=prefix, include_in_schema=prefix == access.API)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    failures.install(app)
    describe_problems(app)
    app.add_middleware(_Gate)
    app.add_middleware(GZipMiddleware, minimum_size=_GZIP_FROM_BYTES)
    app.add_middleware(_KeptStaticFiles)
    app.add_middleware(guard.HeadAsGet)
    is_https = settings.public_url.startswith("https://")
    app.add_middleware(guard.SecurityHeaders, is_https=is_https)
    return app


def _searches(settings: Settings) -> Buckets | None:
    per_minute = settings.searches_per_minute
    return Buckets(per_minute, burst=max(10, per_minute // 2)) if per_minute else None


def _public_host(settings: Settings) -> list[str]:
    name = urlsplit(settings.public_url).hostname
    return [name] if name else []


class _Gate:
    """Turns away foreign names and the posts of foreign pages, before their body is read."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            request = Request(scope)
            site: Site = request.app.state.site
            try:
                guard.check_host(request.headers, local_only=site.local_only, hosts=site.hosts)
                if scope["method"] not in ("GET", "HEAD", "OPTIONS"):
                    guard.check_post(request.headers, scope["path"])
            except (UsageError, ForbiddenError) as error:
                await failures.answer(request, error)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class _KeptStaticFiles:
    """Lets browsers keep static files for a year: a new version has a new address."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/static/"):
            await self._app(scope, receive, send)
            return
        versioned = scope["query_string"].startswith(b"v=")

        async def send_kept(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in (200, 304):
                policy = b"public, max-age=31536000, immutable" if versioned else b"no-cache"
                message["headers"] = [*message["headers"], (b"cache-control", policy)]
            await send(message)

        await self._app(scope, receive, send_kept)
