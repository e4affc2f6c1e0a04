"""Results: export them, import others', compare two."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paperround import terminal
from paperround.cli.console import Json, app, say, say_json, tell

if TYPE_CHECKING:
    from paperround.runs.results import Result

result_app = typer.Typer(help="Results: export, import, compare.", no_args_is_help=True)
app.add_typer(result_app, name="result")


@result_app.command(name="list")
def result_list(
    slug: Annotated[str | None, typer.Argument(help="Only this paper's.")] = None,
    as_json: Json = False,
) -> None:
    """List the results that this place knows of, the newest last.

    Example: paperround result list copyspec
    """
    from paperround.db import open_database, read, write
    from paperround.runs.records import keep_shipped, results_kept
    from paperround.runs.rooms import find_room, find_rooms

    engine = open_database()
    rooms = find_rooms()[0] if slug is None else {slug: find_room(slug)}
    with write(engine) as connection:
        keep_shipped(connection, rooms.values())
    with read(engine) as connection:
        views = results_kept(connection, None if slug is None else [slug])
    if as_json:
        say_json([view.to_json() for view in views])
        return
    for view in views:
        where = f"{view.origin.value} {view.origin_note}".strip()
        started = f"{view.started_at:%Y-%m-%d %H:%M}"
        say(f"{view.id[:16]}  {started}  {view.slug:<22} {view.scale.value:<9} {where}")


@result_app.command(name="export")
def result_export(
    result_id: Annotated[str, typer.Argument(metavar="ID", help="Its id, or how it begins.")],
    form: Annotated[str, typer.Option("--format", help="json, markdown or notebook.")] = "json",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file; standard output otherwise.")
    ] = None,
) -> None:
    """Write a result for others: a file to import, to read, or to run.

    Example: paperround result export 3f9c2a71 --format notebook -o again.ipynb
    """
    from paperround.errors import UsageError
    from paperround.runs.export import FORMATS

    if form not in FORMATS:
        raise UsageError(f"no format '{form}'; there are {', '.join(FORMATS)}")
    text = FORMATS[form](_result(result_id))
    if output is None:
        say(text.rstrip("\n"))
        return
    draft = output.with_name(f".{output.name}.draft")
    try:
        draft.write_text(text, encoding="utf-8")
        draft.replace(output)
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from error


@result_app.command(name="import")
def result_import(
    files: Annotated[list[Path], typer.Argument(help="What another Paperround exported.")],
    note: Annotated[str, typer.Option("--from", help="Where it comes from, in words.")] = "",
    as_json: Json = False,
) -> None:
    """Keep results that another Paperround measured; their verdicts are computed here.

    Example: paperround result import lab-server.json --from "the lab's server"
    """
    from paperround.db import open_database, write
    from paperround.errors import CardError
    from paperround.runs.exchange import import_result
    from paperround.runs.rooms import find_rooms

    engine, rooms, rejected = open_database(), find_rooms()[0], 0
    for path in files:
        try:
            with write(engine) as connection:
                done = import_result(connection, path, rooms.values(), note)
        except CardError as error:
            rejected += 1
            tell(f"paperround: {error}")
            continue
        for correction in done.corrections:
            tell(f"{path}: corrected {correction}")
        if as_json:
            facts = {"result": done.result.id, "new": done.is_new, "slug": done.result.slug}
            say_json({**facts, "corrections": done.corrections})
        else:
            say(f"{done.result.id}  {'imported' if done.is_new else 'was here already'}")
    raise typer.Exit(1 if rejected else 0)


@result_app.command(name="compare")
def result_compare(
    a: Annotated[str, typer.Argument(help="A result's id, or how it begins.")],
    b: Annotated[str, typer.Argument(help="Another's.")],
    across_cards: Annotated[
        bool, typer.Option("--across-cards", help="Show results of different cards too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Set two results of a paper side by side; exit status 1 where their verdicts differ.

    Example: paperround result compare 3f9c2a71 8d04be55
    """
    from paperround.errors import UsageError
    from paperround.runs.comparison import compare_results

    compared = compare_results(_result(a), _result(b))
    if not compared.is_comparable and not across_cards:
        raise UsageError(
            f"not compared: {'; '.join(compared.why_not)}; "
            "--across-cards shows them beside each other"
        )
    if as_json:
        say_json(compared.to_json())
    else:
        for reason in compared.why_not:
            tell(f"Not compared: {reason}.")
        say(terminal.comparison_table(compared))
    raise typer.Exit(1 if compared.disagreements else 0)


def _result(result_id: str) -> "Result":
    from paperround.db import open_database, read
    from paperround.runs.records import find_result
    from paperround.runs.rooms import find_rooms

    with read(open_database()) as connection:
        return find_result(connection, result_id, find_rooms()[0].values())[1]
