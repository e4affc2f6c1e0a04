"""The command line: parse, call, print. Results go to standard output, everything else to error.

Exit status: 0 all well, 1 a bar falls short or an item was rejected, 2 usage, 3 failed with the
reason in one line, 130 interrupted. Rooms are imported inside the commands, so that `--help` of
any command answers at once.
"""

import json
import sys
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer._click.exceptions import UsageError as CommandLineError

from paperround import __version__, terminal
from paperround.errors import PaperroundError
from paperround.terminal import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from paperround.runs.results import Result

app = typer.Typer(
    name="paperround",
    help="Your daily papers, and they run.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
asset_app = typer.Typer(help="Data sets and models, by name.", no_args_is_help=True)
app.add_typer(asset_app, name="asset")
result_app = typer.Typer(help="Results: export, import, compare.", no_args_is_help=True)
app.add_typer(result_app, name="result")
paper_app = typer.Typer(help="One paper: where it came from.", no_args_is_help=True)
app.add_typer(paper_app, name="paper")

_REJECTIONS_SHOWN = 100

recommend_app = typer.Typer(
    help="Recommend next items from a log of who took what.", no_args_is_help=True
)
app.add_typer(recommend_app, name="recommend")

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


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


def _say(text: str = "") -> None:
    typer.echo(text)


def _say_json(data: Any) -> None:
    typer.echo(json.dumps(data, ensure_ascii=False))


def _tell(text: str) -> None:
    typer.echo(text, err=True)


def _say_version(wanted: bool) -> None:
    if wanted:
        _say(f"paperround {__version__}")
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

    serve_site(host=host, port=port, worker=worker, prepare=_prepare_catalogue)


@app.command()
def migrate() -> None:
    """Bring the database to this program's schema; other commands do it by themselves.

    Example: paperround migrate
    """
    from paperround.db import open_database
    from paperround.settings import get_settings

    open_database().dispose()
    _tell(f"The database in {get_settings().home} is up to date.")


@app.command(name="import")
def import_(
    source: Annotated[str, typer.Argument(help="hf-page, arxiv, jsonl, …")],
    arguments: Annotated[
        list[str] | None, typer.Argument(help="Files, - for input, or what to ask for.")
    ] = None,
    keys: Annotated[
        str | None, typer.Option("--map", help="Others' keys: id=_id,abstract=text")
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="Write what is rejected here, one object a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Bring papers into the catalogue from a source.

    Example: paperround import hf-page saved-page.txt
    """
    from paperround.catalogue.actions import import_records
    from paperround.catalogue.rejects import rejects_to
    from paperround.catalogue.sources import read_source
    from paperround.catalogue.visiting import visit_with
    from paperround.db import open_database
    from paperround.settings import get_settings

    engine = open_database()
    visit = visit_with(engine, get_settings())
    items = read_source(source, arguments or [], visit=visit, keys=terminal.pairs(keys, "--map"))
    with Progress("Importing", unit="papers") as progress, rejects_to(rejects) as write_rejected:
        done = import_records(
            engine, items, on_progress=progress.advance_to, on_rejected=write_rejected
        )
    for rejected in done.rejections[:_REJECTIONS_SHOWN]:
        _tell(f"{rejected.place}: {rejected.reason}")
    if done.rejected > _REJECTIONS_SHOWN:
        where = f"; all are in {rejects}" if rejects else "; --rejects FILE writes them all"
        _tell(f"… and {done.rejected - _REJECTIONS_SHOWN:,} more{where}")
    counts = {
        "read": done.read,
        "added": done.added,
        "updated": done.updated,
        "merged": done.merged,
        "rejected": done.rejected,
        "seconds": round(done.seconds, 2),
    }
    if as_json:
        _say_json(counts)
    else:
        _say(", ".join(f"{number} {what}" for what, number in counts.items()))
    raise typer.Exit(1 if done.rejected else 0)


@paper_app.command(name="show")
def paper_show(
    key: Annotated[str, typer.Argument(help="Its address, or an arXiv id.")], as_json: Json = False
) -> None:
    """Show a paper with its sources, and which of them each of its facts was taken from.

    Example: paperround paper show 2312.00858
    """
    from paperround.catalogue.provenance import provenance_of
    from paperround.db import open_database, read

    with read(open_database()) as connection:
        found = provenance_of(connection, key)
    if as_json:
        _say_json(terminal.provenance_fields(found))
    else:
        _say(terminal.provenance_text(found))


@paper_app.command(name="split")
def paper_split(
    key: Annotated[str, typer.Argument(help="The merged paper's address.")],
    source: Annotated[str, typer.Argument(help="The source whose record is another paper.")],
    source_key: Annotated[str, typer.Argument(help="Its name there, as `paper show` has it.")],
) -> None:
    """Undo a merge: what one source says becomes a paper of its own, and stays one.

    Example: paperround paper split 2312.00858 openreview iclr2024:abc
    """
    from paperround.catalogue.actions import split_paper
    from paperround.db import open_database

    new = split_paper(open_database(), key, source, source_key)
    _say(new)
    _tell(f"{source} {source_key} is the paper {new} now, and will not be merged with {key} again.")


@app.command()
def search(
    query: Annotated[str, typer.Argument(help="Words, a sentence, or an arXiv id.")],
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many papers.")] = 20,
    mode: Annotated[str, typer.Option(help="both, words or meaning.")] = "both",
    as_json: Json = False,
) -> None:
    """Find papers, best first.

    Example: paperround search "sequential redundancy" -n 5
    """
    from paperround.discovery.searching import Searcher

    engine = _open_with_papers()
    answer = Searcher(engine).search(query, n=n, mode=mode)
    if answer.note:
        _tell(answer.note)
    if as_json:
        _say_json(
            [
                {
                    "id": hit.paper.key,
                    "title": hit.paper.title_text,
                    "score": round(hit.score, 6),
                    "published": _iso(hit.paper.published or hit.paper.day),
                    "url": f"/papers/{hit.paper.key}",
                    "authors": list(hit.paper.authors),
                }
                for hit in answer.hits
            ]
        )
        return
    for rank, hit in enumerate(answer.hits, start=1):
        day = hit.paper.published or hit.paper.day
        _say(f"{rank:>3}  {hit.paper.key:<12} {day or '':<10}  {hit.paper.title_text}")
    if not answer.hits:
        _tell(f"No paper answers '{query}'.")


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
        _say_json(
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
            _say(f"{slug:<22} {room.card.paper:<12} {'; '.join(states) or 'not measured yet'}")
            _say(f"{'':<22} {room.card.title}")
    for slug, reason in broken.items():
        _tell(f"{slug}: {reason}")
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
            _say_json(result.line())
        else:
            _say(terminal.result_table(result))
        if result.status == "finished":
            for folder in ([out / room.slug] if out else []) + ([room.results_dir] if ship else []):
                result.write(folder / f"{scale}.json")
            worst = max(worst, 0 if result.holds else 1)
        else:
            _tell(f"paperround: {room.slug}: {result.status}: {result.reason}")
            worst = 130 if result.status == "cancelled" else max(worst, 3)
            if result.status == "cancelled":
                break
    if len(results) > 1 and not as_json:
        _say("Slowest: " + ", ".join(_slowest(results)))
    raise typer.Exit(worst)


@app.command()
def worker() -> None:
    """Run queued papers until interrupted, beside a server started with --no-worker.

    Example: paperround worker
    """
    import signal
    import threading

    from paperround.db import open_database
    from paperround.settings import get_settings
    from paperround.work import work_in_threads

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threads = work_in_threads(open_database(), get_settings(), stop)
    _tell("Waiting for runs; Ctrl-C ends.")
    stop.wait()
    for thread in threads:
        thread.join()


@app.command()
def check(
    slugs: Annotated[list[str] | None, typer.Argument(help="Only these papers' rooms.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Remake what can be derived.")] = False,
    as_json: Json = False,
) -> None:
    """Look for faults: the database, the papers' rooms, their results and assets.

    Example: paperround check
    """
    from paperround.catalogue.checking import check_catalogue, rebuild_words
    from paperround.db import open_database
    from paperround.runs.checking import check_records, check_room
    from paperround.runs.rooms import find_room, find_rooms

    rooms, broken = find_rooms()
    engine = open_database()
    if repair:
        rebuild_words(engine)
    faults = [] if slugs else [*check_catalogue(engine), *check_records(engine)]
    faults += [f"{slug}: {reason}" for slug, reason in broken.items() if not slugs]
    for room in [find_room(slug) for slug in slugs] if slugs else rooms.values():
        faults += [f"{room.slug}: {fault}" for fault in check_room(room)]
    if as_json:
        _say_json({"faults": faults})
    else:
        for fault in faults:
            _say(fault)
        _tell(f"{len(faults)} faults." if faults else "All is well.")
    raise typer.Exit(1 if faults else 0)


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
        _say(str(path))
    _tell(
        f"Write method.py and reproduction.py, then: {skeleton.install}; paperround run {slug}; "
        f"paperround check {slug} says what is missing."
    )


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
        _say_json(vars(done))
    else:
        share = f"{done.bytes_written / done.bytes_read:.2%}" if done.bytes_read else "–"
        _tell(
            f"{done.target}: {done.bytes_read} bytes to {done.bytes_written} ({share}), "
            f"{done.seconds:.2f} s"
        )


@asset_app.command(name="list")
def asset_list(as_json: Json = False) -> None:
    """List every asset: what it is, its licence, its size, whether it is here.

    Example: paperround asset list
    """
    from paperround.kit.assets import declared_assets, is_here

    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "what": asset.what,
            "licence": asset.licence,
            "size_bytes": asset.size_bytes,
            "here": is_here(name),
        }
        for name, asset in sorted(declared_assets().items())
    ]
    if as_json:
        _say_json(rows)
        return
    for row in rows:
        here = "here" if row["here"] else "not here"
        _say(f"{row['name']:<20} {row['size_bytes'] / 1e6:>8.1f} MB  {here:<9} {row['what']}")


@asset_app.command(name="get")
def asset_get(
    names: Annotated[list[str] | None, typer.Argument(help="Which assets.")] = None,
    scale: Annotated[str | None, typer.Option(help="All that this scale needs.")] = None,
) -> None:
    """Fetch assets, verify their checksums, and print where they lie.

    Example: paperround asset get smollm2-135m
    """
    from paperround.discovery.embedding import ASSETS as SEARCH_ASSETS
    from paperround.errors import UsageError
    from paperround.kit.assets import find_asset
    from paperround.runs.card import Scale
    from paperround.runs.rooms import find_rooms

    wanted = dict.fromkeys(names or [])
    if scale is not None:
        if scale not in set(Scale):
            raise UsageError(f"no scale '{scale}'; there are {', '.join(Scale)}")
        wanted |= dict.fromkeys(SEARCH_ASSETS)
        for room in find_rooms()[0].values():
            wanted |= dict.fromkeys(room.card.scales[Scale(scale)].assets)
    if not wanted:
        raise UsageError("name an asset, or say --scale quick for all that a quick run needs")
    with Progress("Fetching assets", total=len(wanted), unit="assets") as progress:
        for number, name in enumerate(wanted, start=1):
            found = find_asset(name)
            progress.advance_to(number)
            if names and name in names:
                _say(str(found.folder))


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
        _say_json([view.to_json() for view in views])
        return
    for view in views:
        where = f"{view.origin.value} {view.origin_note}".strip()
        started = f"{view.started_at:%Y-%m-%d %H:%M}"
        _say(f"{view.id[:16]}  {started}  {view.slug:<22} {view.scale.value:<9} {where}")


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
        _say(text.rstrip("\n"))
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
            _tell(f"paperround: {error}")
            continue
        for correction in done.corrections:
            _tell(f"{path}: corrected {correction}")
        if as_json:
            facts = {"result": done.result.id, "new": done.is_new, "slug": done.result.slug}
            _say_json({**facts, "corrections": done.corrections})
        else:
            _say(f"{done.result.id}  {'imported' if done.is_new else 'was here already'}")
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
        _say_json(compared.to_json())
    else:
        for reason in compared.why_not:
            _tell(f"Not compared: {reason}.")
        _say(terminal.comparison_table(compared))
    raise typer.Exit(1 if compared.disagreements else 0)


def _result(result_id: str) -> "Result":
    from paperround.db import open_database, read
    from paperround.runs.records import find_result
    from paperround.runs.rooms import find_rooms

    with read(open_database()) as connection:
        return find_result(connection, result_id, find_rooms()[0].values())[1]


Interactions = Annotated[Path, typer.Argument(help="CSV with a header: user, item, maybe time.")]
ModelName = Annotated[
    str, typer.Option("--model", help="A model's name, or a file that fit wrote.")
]
ModelOptions = Annotated[
    list[str] | None, typer.Option("--set", help="An option of the model, as epochs=20.")
]
Columns = Annotated[
    list[str] | None, typer.Option("--column", help="Which column is what, as item=isbn.")
]
Unit = Annotated[str, typer.Option(help="Unit of numeric times: s, ms, us or ns.")]


@recommend_app.command(name="fit")
def recommend_fit(
    file: Interactions,
    out: Annotated[Path, typer.Option(help="Where the fitted model goes.")],
    model: ModelName = "sasrec",
    setting: ModelOptions = None,
    column: Columns = None,
    time_unit: Unit = "s",
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    as_json: Json = False,
) -> None:
    """Fit a model and write it to one file; run it again to go on after an interruption.

    Example: paperround recommend fit events.csv --model sasrec --out shop.model
    """
    log, recommender = _log_and_recommender(file, model, setting, column, time_unit, seed)
    if recommender.is_fitted:
        from paperround.errors import UsageError

        raise UsageError(f"{model} is fitted already; --model takes a model's name here")
    checkpoint = out.with_name(f".{out.name}.training")
    _fit(recommender, log, checkpoint=checkpoint)
    recommender.save(out)
    checkpoint.unlink(missing_ok=True)
    summary = {**_counts(log), **recommender.summary(), "file": str(out)}
    if as_json:
        _say_json(summary)
    else:
        for name, value in summary.items():
            _say(f"{name:<24} {value}")
    raise typer.Exit(1 if log.cleaning.rejected else 0)


@recommend_app.command(name="evaluate")
def recommend_evaluate(
    file: Interactions,
    model: ModelName = "sasrec",
    setting: ModelOptions = None,
    column: Columns = None,
    time_unit: Unit = "s",
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    mask_seen: Annotated[bool, typer.Option("--mask-seen", help="Rank new items only.")] = False,
    as_json: Json = False,
) -> None:
    """Find each user's last item among all: of a fresh fit without it, or of a fitted model.

    Example: paperround recommend evaluate events.csv --model markov-3
    """
    log, recommender = _log_and_recommender(file, model, setting, column, time_unit, seed)
    if recommender.is_fitted:
        found = recommender.evaluate(log, mask_seen=mask_seen)
    else:
        _fit(recommender, log, hold_out=True)
        found = recommender.evaluate(mask_seen=mask_seen)
    if as_json:
        metrics = {name: round(value, 6) for name, value in found.metrics.items()}
        _say_json(
            {**_counts(log), "model": model, "cases": len(found), "flags": found.flags, **metrics}
        )
    else:
        for name, value in found.metrics.items():
            _say(f"{name:<10} {value:.4f}")
        _say(found.flags)
    raise typer.Exit(1 if log.cleaning.rejected else 0)


@recommend_app.command(name="recommend")
def recommend_recommend(
    file: Interactions,
    model: ModelName = "sasrec",
    user: Annotated[list[str] | None, typer.Option(help="Only these users.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many items each.")] = 10,
    seen: Annotated[bool, typer.Option("--seen", help="Also items that a user had.")] = False,
    setting: ModelOptions = None,
    column: Columns = None,
    time_unit: Unit = "s",
    seed: Annotated[int, typer.Option(help="All the randomness.")] = 0,
    as_json: Json = False,
) -> None:
    """Recommend to the users of a file, by a fitted model or one fitted to that file now.

    Example: paperround recommend recommend events.csv --model shop.model --user ann -k 5
    """
    log, recommender = _log_and_recommender(file, model, setting, column, time_unit, seed)
    if not recommender.is_fitted:
        _fit(recommender, log)
    for name, answer in recommender.answers(log, user or None, k=k, exclude_seen=not seen):
        if as_json:
            # A model fitted in Python may have ids that JSON has no form for.
            plain = [
                item if isinstance(item, str | int | float) else str(item) for item, _ in answer
            ]
            items = [
                {"item": item, "score": round(score, 6)}
                for item, score in zip(plain, answer.scores, strict=True)
            ]
            line = {"user": name, "basis": answer.basis, "skipped": answer.skipped}
            _say_json({**line, "items": items})
        else:
            note = "" if answer.basis == "history" else "  (what is popular)"
            _say(f"{name}: {', '.join(str(item) for item in answer.items)}{note}")
    raise typer.Exit(1 if log.cleaning.rejected else 0)


def _log_and_recommender(
    file: Path,
    model: str,
    settings: list[str] | None,
    columns: list[str] | None,
    time_unit: str,
    seed: int,
) -> Any:
    """The log of a file, and the recommender that `--model` means; names what was rejected."""
    from paperround.errors import UsageError
    from paperround.kit.recommendation import Recommender, read_interactions

    options: dict[str, Any] = {}
    for text in settings or []:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"--set takes NAME=VALUE, not '{text}'")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    named = dict(text.partition("=")[::2] for text in columns or [])
    if unknown := sorted(set(named) - {"user", "item", "time"}):
        raise UsageError(f"--column takes user=, item= or time=, not '{unknown[0]}'")
    fitted = Path(model).is_file()
    if fitted and options:
        raise UsageError(f"{model} is fitted already; --set has nothing to say there")
    recommender = Recommender.load(model) if fitted else Recommender(model, seed=seed, **options)
    log = read_interactions(file, time_unit=time_unit, **named)
    for rejection in log.cleaning.rejections:
        _tell(f"{file}: {rejection}")
    return log, recommender


def _fit(recommender: Any, log: Any, **options: Any) -> None:
    with Progress(f"Training {recommender.model}", unit="batches") as progress:

        def show(at: Any) -> None:
            progress.advance_to((at.epoch - 1) * at.batches + at.batch)

        recommender.fit(log, on_progress=show, **options)


def _counts(log: Any) -> dict[str, Any]:
    cleaning = log.cleaning
    return {
        "users": log.n_users,
        "items": log.n_items,
        "events": len(log),
        "rejected": cleaning.rejected,
        "duplicates": cleaning.duplicates,
        "out_of_order": cleaning.out_of_order,
    }


def _open_with_papers() -> Any:
    from paperround.db import open_database

    engine = open_database()
    _prepare_catalogue(engine)
    return engine


def _prepare_catalogue(engine: Any) -> None:
    """Gives an empty catalogue its first papers and their embeddings, with a progress bar."""
    from paperround.catalogue.starter import import_starter
    from paperround.discovery.starter import load_starter_vectors

    with Progress("Preparing the catalogue", unit="papers") as progress:
        if import_starter(engine, on_progress=progress.advance_to) is not None:
            load_starter_vectors(engine)


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _slowest(results: "Sequence[Result]", n: int = 10) -> list[str]:
    ordered = sorted(results, key=lambda result: result.seconds, reverse=True)
    return [f"{result.slug} {result.seconds:.0f} s" for result in ordered[:n]]


if __name__ == "__main__":
    main()
