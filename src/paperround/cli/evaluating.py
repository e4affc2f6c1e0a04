"""Many queries at once, as standard tools of evaluation read and write them."""

from pathlib import Path

from sqlalchemy import Engine

from paperround.cli.console import say, tell
from paperround.terminal import Progress

_SHOWN = 10


def write_run(
    engine: Engine, path: Path, *, n: int, mode: str, tag: str, rerank: bool = False
) -> None:
    """Prints a TREC run (`qid Q0 docid rank score tag`) for a file of queries, as BEIR has them.

    A paper goes by the id that a JSONL file gave it, which is what judgements name, else by its
    address. Papers without an embedding get theirs first, unless words alone are asked for. Raises
    UsageError for a file without queries or a tag with a space in it, RerankError where the first
    papers are to be ranked again and cannot be.
    """
    import json

    from paperround.catalogue.queries import source_keys
    from paperround.catalogue.sources.jsonl import SOURCE
    from paperround.cli.finding import searcher_over
    from paperround.db import read
    from paperround.discovery.embedding import embed_missing, load_embedder
    from paperround.errors import UsageError

    if not tag or len(tag.split()) != 1:
        raise UsageError(f"'{tag}' is no tag: it is one column, without spaces")
    queries: dict[str, str] = {}
    faults = []
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                    queries[str(row["_id"])] = str(row["text"])
                except (ValueError, KeyError, TypeError):
                    faults.append(f"line {number}: no object with _id and text")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    for fault in faults[:_SHOWN]:
        tell(f"{path}, {fault}")
    if faults or not queries:
        raise UsageError(f"{path}: {len(faults)} lines are no queries" if faults else "no queries")
    searcher = searcher_over(engine)
    if mode != "words":
        with Progress("Embedding", unit="papers") as progress:
            embed_missing(engine, load_embedder(), on_progress=progress.advance_to)
    with Progress("Searching", total=len(queries), unit="queries") as progress:
        for number, (name, text) in enumerate(queries.items(), start=1):
            ranked = searcher.ranking(text, mode=mode, rerank=rerank)[:n]
            with read(engine) as connection:
                names = source_keys(connection, SOURCE, [paper_id for paper_id, _ in ranked])
            rank = 0
            for paper_id, score in ranked:
                for document in names[paper_id]:
                    rank += 1
                    say(f"{name} Q0 {document} {rank} {score:.6f} {tag}")
            progress.advance_to(number)
