"""Serving, working, and looking after the database."""

from typing import Annotated

import typer

from paperround.cli.console import Json, app, say, say_json, tell
from paperround.cli.preparing import prepare_catalogue


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 picks a free one.")] = 8000,
    worker: Annotated[bool, typer.Option(help="Run queued papers in this process.")] = True,
) -> None:
    """Serve the site and its API.

    Example: paperround serve --port 8080
    """
    from paperround.web.server import serve as serve_site

    serve_site(host=host, port=port, worker=worker, prepare=prepare_catalogue)


@app.command()
def worker() -> None:
    """Run queued papers until interrupted, beside a server started with --no-worker.

    Example: paperround worker
    """
    import signal
    import threading

    from paperround.cli.finding import searcher_over
    from paperround.db import open_database
    from paperround.settings import get_settings
    from paperround.work import work_in_threads

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    engine = open_database()
    threads = work_in_threads(engine, get_settings(), stop, searcher_over(engine))
    tell("Waiting for runs; Ctrl-C ends.")
    stop.wait()
    for thread in threads:
        thread.join()


@app.command()
def migrate() -> None:
    """Bring the database to this program's schema; other commands do it by themselves.

    Example: paperround migrate
    """
    from paperround.db import open_database
    from paperround.settings import get_settings

    open_database().dispose()
    tell(f"The database in {get_settings().home} is up to date.")


@app.command()
def check(
    slugs: Annotated[list[str] | None, typer.Argument(help="Only these papers' rooms.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Remake what can be derived.")] = False,
    as_json: Json = False,
) -> None:
    """Look for faults: the database, the papers' rooms, their results and assets.

    Example: paperround check
    """
    from paperround.catalogue.checking import check_catalogue
    from paperround.db import open_database
    from paperround.discovery.searching import Searcher
    from paperround.runs.checking import check_records, check_room
    from paperround.runs.rooms import find_room, find_rooms

    rooms, broken = find_rooms()
    engine = open_database()
    searcher = Searcher(engine)
    if repair:
        searcher.rebuild()
    faults = []
    if not slugs:
        faults += [*check_catalogue(engine), *check_records(engine), *searcher.faults()]
    faults += [f"{slug}: {reason}" for slug, reason in broken.items() if not slugs]
    for room in [find_room(slug) for slug in slugs] if slugs else rooms.values():
        faults += [f"{room.slug}: {fault}" for fault in check_room(room)]
    if as_json:
        say_json({"faults": faults})
    else:
        for fault in faults:
            say(fault)
        tell(f"{len(faults)} faults." if faults else "All is well.")
    raise typer.Exit(1 if faults else 0)
