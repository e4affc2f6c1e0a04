"""Digests from the command line: sent, looked at in files, and what came back of them."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from paperround.cli.console import Json, app, say, say_json, tell

digest_app = typer.Typer(help="Digests: the mail of subscriptions.", no_args_is_help=True)
app.add_typer(digest_app, name="digest")


@digest_app.command(name="send")
def digest_send(
    dry_run: Annotated[
        Path | None, typer.Option(help="Write .eml files into this folder; send nothing.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="With --dry-run: as of then, such as 2026-07-01T07:00Z.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send the digests that are due; a server or a worker does so by itself.

    Example: paperround digest send --dry-run letters
    """
    from paperround.cli.finding import searcher_over
    from paperround.clock import utc_now
    from paperround.db import open_database
    from paperround.discovery.digest import dry_run as write_files
    from paperround.discovery.digest import send_digests
    from paperround.errors import UsageError
    from paperround.settings import get_settings

    if at is not None and dry_run is None:
        raise UsageError("--at goes with --dry-run: what is sent is sent now")
    moment = utc_now() if at is None else _moment(at)
    engine, settings = open_database(), get_settings()
    searcher = searcher_over(engine)
    if dry_run is not None:
        n = write_files(engine, settings, searcher, dry_run, moment)
        if as_json:
            say_json({"written": n, "folder": str(dry_run)})
        else:
            tell(f"{n} digests written into {dry_run}; nothing was sent.")
        return
    done = send_digests(engine, settings, searcher)
    if as_json:
        say_json(vars(done))
    else:
        tell(", ".join(f"{n} {name.replace('_', ' ')}" for name, n in vars(done).items()) + ".")
    raise typer.Exit(1 if done.unknown or done.refused else 0)


@digest_app.command(name="bounce")
def digest_bounce(
    files: Annotated[
        list[Path], typer.Argument(help="Reports of delivery, one mail each; - for standard input.")
    ],
    as_json: Json = False,
) -> None:
    """Note mail that came back (RFC 3464): an address that is none gets no more digests.

    A mail server can do it for each: in /etc/aliases, bounces: "|paperround digest bounce -".

    Example: paperround digest bounce report.eml
    """
    from paperround.clock import utc_now
    from paperround.db import open_database
    from paperround.errors import UsageError
    from paperround.readers.bounces import note_bounces, read_report

    found, wrong = [], 0
    for path in files:
        try:
            if str(path) == "-":
                found += read_report(sys.stdin.buffer)
            else:
                with path.open("rb") as file:
                    found += read_report(file)
        except (UsageError, OSError) as error:
            wrong += 1
            tell(f"{path}: {error}")
    known, suspended = note_bounces(open_database(), found, utc_now())
    if as_json:
        say_json({"failures": len(found), "known": known, "suspended": suspended, "wrong": wrong})
    else:
        say(f"{len(found)} failures, {known} of digests sent here; {suspended} addresses suspended")
    raise typer.Exit(1 if wrong else 0)


@digest_app.command(name="status")
def digest_status(as_json: Json = False) -> None:
    """Say how many digests of the last sixty days are in which state.

    `unknown` are those that were being handed over when the process or the connection ended: they
    may have gone out, and are not sent again.

    Example: paperround digest status
    """
    from paperround.db import open_database, read
    from paperround.readers.digests import tally

    with read(open_database()) as connection:
        found = tally(connection)
    if as_json:
        say_json(found)
        return
    for state, n in sorted(found.items()):
        say(f"{state:<8} {n:>8,}")


def _moment(text: str) -> datetime:
    from paperround.errors import UsageError

    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"'{text[:40]}' is no moment; write 2026-07-01T07:00Z") from error
    if moment.tzinfo is None:
        raise UsageError(f"'{text[:40]}' has no zone; write 2026-07-01T07:00Z")
    return moment
