"""Papers: bring them in, find them, see where one came from."""

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paperround import terminal
from paperround.cli.console import Json, app, say, say_json, tell
from paperround.cli.preparing import prepare_catalogue
from paperround.terminal import Progress

if TYPE_CHECKING:
    from paperround.discovery.search import SearchAnswer

paper_app = typer.Typer(help="One paper: where it came from.", no_args_is_help=True)
app.add_typer(paper_app, name="paper")

_REJECTIONS_SHOWN = 100


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
    from paperround.discovery.searching import Searcher
    from paperround.settings import get_settings

    engine = open_database()
    visit = visit_with(engine, get_settings())
    items = read_source(source, arguments or [], visit=visit, keys=terminal.pairs(keys, "--map"))
    with Progress("Importing", unit="papers") as progress, rejects_to(rejects) as write_rejected:
        done = import_records(
            engine, items, on_progress=progress.advance_to, on_rejected=write_rejected
        )
    with Progress("Indexing"):
        # The next search would do it, and whoever searches would wait for it.
        Searcher(engine).refresh()
    for rejected in done.rejections[:_REJECTIONS_SHOWN]:
        tell(f"{rejected.place}: {rejected.reason}")
    if done.rejected > _REJECTIONS_SHOWN:
        where = f"; all are in {rejects}" if rejects else "; --rejects FILE writes them all"
        tell(f"… and {done.rejected - _REJECTIONS_SHOWN:,} more{where}")
    counts = {
        "read": done.read,
        "added": done.added,
        "updated": done.updated,
        "merged": done.merged,
        "rejected": done.rejected,
        "seconds": round(done.seconds, 2),
    }
    if as_json:
        say_json(counts)
    else:
        say(", ".join(f"{number} {what}" for what, number in counts.items()))
    raise typer.Exit(1 if done.rejected else 0)


@app.command()
def search(
    query: Annotated[
        str, typer.Argument(help='Words, "a phrase", -not, author:, year:2024.., an arXiv id.')
    ] = "",
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="How many papers.")] = 20,
    mode: Annotated[str, typer.Option(help="both, words or meaning.")] = "both",
    order: Annotated[str, typer.Option(help="relevance, newest, votes or trending.")] = "relevance",
    diverse: Annotated[bool, typer.Option(help="Versions of a paper take one place.")] = False,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Let the model of [reranker] rank the first again.")
    ] = False,
    batch: Annotated[
        Path | None,
        typer.Option(help="Queries, an object with _id and text a line; prints a TREC run."),
    ] = None,
    tag: Annotated[str, typer.Option(help="The run's name in its last column.")] = "paperround",
    as_json: Json = False,
) -> None:
    """Find papers, best first.

    Example: paperround search "sequential redundancy" -n 5
    """
    from paperround.cli.finding import searcher_over
    from paperround.db import open_database
    from paperround.errors import UsageError

    if (batch is None) == (not query.strip()):
        raise UsageError("say what to search for, or --batch FILE with one query a line")
    engine = open_database()
    if batch is not None:
        from paperround.cli.evaluating import write_run

        write_run(engine, batch, n=n, mode=mode, tag=tag, rerank=rerank)
        return
    prepare_catalogue(engine)
    searcher = searcher_over(engine)
    try:
        answer = searcher.search(query, n=n, mode=mode, order=order, diverse=diverse, rerank=rerank)
    finally:
        searcher.close()
    if answer.note:
        tell(answer.note)
    if answer.reranked:
        again = answer.reranked
        tell(f"{again.model} ranked the first {again.papers} again in {again.seconds:.1f} s.")
    if as_json:
        say_json(
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
        _not_as_asked(rerank, answer)
        return
    for rank, hit in enumerate(answer.hits, start=1):
        day = hit.paper.published or hit.paper.day
        say(f"{rank:>3}  {hit.paper.key:<12} {day or '':<10}  {hit.paper.title_text}")
        for version in hit.versions:
            say(f"     {version.key:<12} {'':<10}  also {version.title_text}")
    if not answer.hits:
        tell(f"No paper answers '{query}'.")
    for drop in answer.drops:
        tell(f"Without {drop.part}: {drop.papers:,} papers.")
    _not_as_asked(rerank, answer)


def _not_as_asked(rerank: bool, answer: "SearchAnswer") -> None:
    """Exit status 3 where papers were found and not ranked again, though that was asked for."""
    if rerank and answer.hits and answer.mode_used != "identifier" and answer.reranked is None:
        raise typer.Exit(3)


def _iso(day: date | None) -> str | None:
    return day.isoformat() if day else None


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
        say_json(terminal.provenance_fields(found))
    else:
        say(terminal.provenance_text(found))


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
    say(new)
    tell(f"{source} {source_key} is the paper {new} now, and will not be merged with {key} again.")
