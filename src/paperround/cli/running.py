"""Papers that run: list them, measure them, begin a new one."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paperround import terminal
from paperround.cli.console import Json, app, say, say_json, tell
from paperround.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paperround.runs.results import Result


@app.command()
def papers(as_json: Json = False) -> None:
    """List the papers that run, with the state of their claims.

    Example: paperround papers
    """
    from paperround.db import open_database, read
    from paperround.runs.queries import latest_results
    from paperround.runs.rooms import find_rooms

    rooms, broken = find_rooms()
    with read(open_database()) as connection:
        latest = {slug: latest_results(connection, room) for slug, room in rooms.items()}
    if as_json:
        say_json(
            [
                {
                    "slug": slug,
                    "paper": room.card.paper,
                    "title": room.card.title,
                    "family": room.card.family,
                    "claims": [claim.id for claim in room.card.claims],
                    "latest": {
                        scale.value: found.result.verdicts
                        for scale, found in latest[slug].items()
                        if not found.is_of_older_card
                    },
                }
                for slug, room in rooms.items()
            ]
        )
    else:
        for slug, room in rooms.items():
            states = (
                f"{scale.value}: {terminal.tally(found.result)}"
                + (" (measured with an older card)" if found.is_of_older_card else "")
                for scale, found in latest[slug].items()
            )
            say(f"{slug:<22} {room.card.paper:<12} {'; '.join(states) or 'not measured yet'}")
            say(f"{'':<22} {room.card.title}")
    for slug, reason in broken.items():
        tell(f"{slug}: {reason}")
    if broken:
        raise typer.Exit(3)


@app.command()
def run(
    slugs: Annotated[list[str] | None, typer.Argument(help="Which papers to run.")] = None,
    all_papers: Annotated[bool, typer.Option("--all", help="Every runnable paper.")] = False,
    scale: Annotated[str, typer.Option(help="quick or standard.")] = "quick",
    seed: Annotated[list[int] | None, typer.Option(help="Instead of the card's seeds.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write SLUG/SCALE.json here.")] = None,
    ship: Annotated[bool, typer.Option(help="Write into the paper's own room.")] = False,
    as_json: Json = False,
) -> None:
    """Measure the claims of papers again, on this machine.

    Example: paperround run copyspec --scale quick
    """
    import signal

    from paperround.db import open_database
    from paperround.errors import UsageError
    from paperround.runs.actions import seeds_for
    from paperround.runs.card import Scale
    from paperround.runs.rooms import find_room, find_rooms
    from paperround.runs.worker import Worker
    from paperround.settings import get_settings

    if bool(slugs) == all_papers:
        raise UsageError("name the papers to run, or say --all")
    if scale not in set(Scale):
        raise UsageError(f"no scale '{scale}'; there are {', '.join(Scale)}")
    rooms = list(find_rooms()[0].values()) if all_papers else [find_room(s) for s in slugs or []]
    # Asked to end, as by `kill` or `timeout`, it ends its runs as Ctrl-C does.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    engine, settings, worst = open_database(), get_settings(), 0
    results = []
    for room in rooms:
        with Progress(f"{room.slug} ({scale})") as progress:
            seeds = seeds_for(room, scale, seed or None)
            result = Worker(engine, settings).run_now(
                room.slug, Scale(scale), seeds, progress.show_event
            )
        results.append(result)
        if as_json:
            say_json(result.line())
        else:
            say(terminal.result_table(result))
        if result.status == "finished":
            for folder in ([out / room.slug] if out else []) + ([room.results_dir] if ship else []):
                result.write(folder / f"{scale}.json")
            worst = max(worst, 0 if result.holds else 1)
        else:
            tell(f"paperround: {room.slug}: {result.status}: {result.reason}")
            worst = 130 if result.status == "cancelled" else max(worst, 3)
            if result.status == "cancelled":
                break
    if len(results) > 1 and not as_json:
        say("Slowest: " + ", ".join(_slowest(results)))
    raise typer.Exit(worst)


def _slowest(results: "Sequence[Result]", n: int = 10) -> list[str]:
    ordered = sorted(results, key=lambda result: result.seconds, reverse=True)
    return [f"{result.slug} {result.seconds:.0f} s" for result in ordered[:n]]


@app.command()
def new(
    slug: Annotated[str, typer.Argument(help="Its name: small letters, digits, hyphens.")],
    paper: Annotated[str, typer.Option(help="The paper's id, such as 2502.08923.")] = "",
    into: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write the skeleton of a paper's room; its reproduction fails until it is written.

    In a checkout of Paperround it becomes a room among the others, elsewhere a package of its own.

    Example: paperround new my-paper --paper 2502.08923
    """
    from paperround.catalogue.identity import arxiv_id
    from paperround.catalogue.queries import paper_by_key
    from paperround.db import open_database, read
    from paperround.runs.skeleton import write_skeleton

    key, title = arxiv_id(paper) or paper, ""
    if key:
        with read(open_database()) as connection:
            known = paper_by_key(connection, key)
        title = known.paper.title_text if known else ""
    skeleton = write_skeleton(slug, into, paper=key, title=title)
    for path in skeleton.files:
        say(str(path))
    tell(
        f"Write method.py and reproduction.py, then: {skeleton.install}; paperround run {slug}; "
        f"paperround check {slug} says what is missing."
    )
