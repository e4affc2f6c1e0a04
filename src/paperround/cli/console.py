"""The application that the commands join, and how they speak.

Results go to standard output, everything else to standard error.
"""

import json
from typing import Annotated, Any

import typer

from paperround import __version__

app = typer.Typer(
    name="paperround",
    help="Your daily papers, and they run.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def say(text: str = "") -> None:
    """Prints one line of a command's result."""
    typer.echo(text)


def say_json(data: Any) -> None:
    """Prints a command's result as one line of JSON."""
    typer.echo(json.dumps(data, ensure_ascii=False))


def tell(text: str) -> None:
    """Prints what is no result, such as a warning or what to do next, to standard error."""
    typer.echo(text, err=True)


def _say_version(wanted: bool) -> None:
    if wanted:
        say(f"paperround {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option(help="Show where an error came from.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True)
    ] = False,
) -> None:
    from paperround import log

    log.configure(debug=debug)
