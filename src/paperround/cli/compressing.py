"""Papers' methods that are commands of their own."""

from pathlib import Path
from typing import Annotated

import typer

from paperround.cli.console import Json, app, say_json, tell
from paperround.terminal import Progress


@app.command()
def quasicryth(
    file: Annotated[Path, typer.Argument(help="The file; - is standard input.")],
    decompress: Annotated[
        bool, typer.Option("--decompress", "-d", help="From FILE.qcy back to FILE.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Make a dictionary of FILE or a folder; needs --out.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="What to write; - too.")] = None,
    mode: Annotated[str, typer.Option(help="multi, fib, period5, none or all.")] = "multi",
    block_size: Annotated[str, typer.Option(help="Larger: smaller files, more memory.")] = "16M",
    max_block_size: Annotated[str, typer.Option(help="With -d: the largest to accept.")] = "64M",
    dictionary: Annotated[Path | None, typer.Option(help="One that --train made.")] = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Overwrite.")] = False,
    as_json: Json = False,
) -> None:
    """Compress a text on Fibonacci tilings (arXiv 2603.14999), or decompress it with -d.

    Example: paperround quasicryth book.txt
    """
    from paperround.errors import UsageError
    from paperround.papers.quasicryth import command

    if train and out is None:
        raise UsageError("--train writes a dictionary; say where with --out")
    if as_json and "-" in (str(out), str(file) if out is None else ""):
        raise UsageError("--json would land in the middle of the data on standard output")
    is_file = file.is_file()
    what = "Decompressing" if decompress else "Training" if train else "Compressing"
    with Progress(what, total=file.stat().st_size if is_file else None, unit="bytes") as progress:
        if train and out is not None:
            done = command.train(file, out, force)
        else:
            done = command.run(
                file,
                decompress=decompress,
                out=out,
                mode=mode,
                block_size=block_size,
                dictionary=dictionary,
                force=force,
                max_block_size=max_block_size,
                on_progress=progress.advance_to,
            )
    if as_json:
        say_json(vars(done))
    else:
        share = f"{done.bytes_written / done.bytes_read:.2%}" if done.bytes_read else "–"
        tell(
            f"{done.target}: {done.bytes_read} bytes to {done.bytes_written} ({share}), "
            f"{done.seconds:.2f} s"
        )
