"""The command line: parse, call, print. Results go to standard output, everything else to error.

Exit status: 0 all well, 1 a bar falls short or an item was rejected, 2 usage, 3 failed with the
reason in one line, 130 interrupted. Rooms are imported inside the commands, so that `--help` of
any command answers at once.
"""

import sys
from typing import TYPE_CHECKING

import typer
from typer._click.exceptions import UsageError as CommandLineError

# Each of these adds its commands to the application.
from paperround.cli import (  # noqa: F401
    assets,
    catalogue,
    compressing,
    digests,
    generating,
    readers,
    recommending,
    results,
    running,
    site,
)
from paperround.cli.console import app
from paperround.errors import PaperroundError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["app", "call", "main"]


def main() -> None:
    """Runs the command line and ends the process with its exit status."""
    sys.exit(call(sys.argv[1:]))


def call(arguments: "Sequence[str]") -> int:
    """The exit status of one command line; every error becomes one line on standard error."""
    # `--debug` helps wherever it is typed, since one thinks of it after a command has failed.
    debug = "--debug" in arguments
    rest = [argument for argument in arguments if argument != "--debug"]
    try:
        status = app(args=["--debug", *rest] if debug else rest, standalone_mode=False)
    except CommandLineError as error:
        error.show(sys.stderr)
        return 2
    except typer.TyperException as error:
        return _complain(str(error), 2)
    except typer.Abort:
        return 130
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough, as `| head` does.
        sys.stderr.close()
        return 0
    except PaperroundError as error:
        if debug:
            raise
        return _complain(str(error), error.exit_status)
    except Exception as error:
        if debug:
            raise
        return _complain(f"{type(error).__name__}: {error} (--debug shows where)", 3)
    return status if isinstance(status, int) else 0


def _complain(message: str, status: int) -> int:
    print(f"paperround: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return status
