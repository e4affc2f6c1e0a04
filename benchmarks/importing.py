"""How fast papers come in, and how surely one paper is one: `make bench-import`.

The corpus of 74,726 arXiv papers goes into an empty catalogue, on one core, until it can be
searched by words, and again into the full one; beside them, in the same run on the same core,
`sqlite-utils insert --pk` with `enable-fts` takes the same rows, unpacked for it beforehand. Each
is a process of its own, whose greatest memory is taken down. Embeddings are made by the worker
afterwards and are not counted.

Identity is measured on OpenReview's and the ACL Anthology's papers against the same catalogue. Two
records are known to be one paper where two witnesses agree: their authors (half the family names
of the shorter list), and either their titles (letters and digits) or their abstracts (13-grams of
characters, Jaccard 0.5). Then one witness is hidden from the program: without authors, it decides
by titles and abstracts, and the authors judge; without abstracts, or without titles, likewise.
Writes benchmarks/results/import.json and import.md.
"""

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from paperround import log
from paperround.catalogue.actions import import_records
from paperround.catalogue.identity import title_key
from paperround.catalogue.records import Item, PaperRecord
from paperround.catalogue.sources import read_source
from paperround.catalogue.storing import complete_bands
from paperround.catalogue.tables import AppearanceTable, IdentifierTable
from paperround.catalogue.text import plain_text
from paperround.db import connect, migrate, read, write
from paperround.discovery.word_index import WordIndex
from paperround.errors import UsageError
from paperround.papers.slimpajama_dc import true_jaccard
from paperround.runs.environment import describe_environment
from paperround.settings import get_settings

RESULTS = Path(__file__).with_name("results")
ARXIV = "papers/arxiv_cs_2025-03_2026-07.jsonl.gz"
CONFERENCES = "papers/openreview_acl_metadata.jsonl.gz"
GOAL_PER_S, GOAL_MEMORY_MB, GOAL_AGAIN, GOAL_BESIDE = 3_000.0, 500.0, 3.0, 2.0
HIDDEN = ("nothing", "authors", "abstracts", "titles")
_SAME_ABSTRACT = 0.5


def main() -> None:
    """Measures and writes the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, help="only so many papers, to see that it works")
    parser.add_argument("--no-identity", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("DATABASE", "FILE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    log.configure()
    if arguments.child:
        import_once(*arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measured(Path(folder), arguments.n, identity=not arguments.no_identity)
    print(report(results))
    if arguments.n is None:
        RESULTS.mkdir(exist_ok=True)
        for name, text in (
            ("import.json", json.dumps(results, indent=1) + "\n"),
            ("import.md", report(results)),
        ):
            RESULTS.joinpath(name).write_text(text, encoding="utf-8")


def measured(folder: Path, n: int | None, *, identity: bool) -> dict[str, Any]:
    """All figures."""
    packed, plain = folder / "corpus.jsonl.gz", folder / "corpus.jsonl"
    with gzip.open(_corpus(ARXIV)) as source, plain.open("wb") as rows:
        rows.writelines(islice(source, n))
    with plain.open("rb") as rows, gzip.open(packed, "wb", compresslevel=6) as file:
        file.writelines(rows)
    database = folder / "catalogue.sqlite3"
    engine = connect(f"sqlite:///{database}")
    migrate(engine)
    engine.dispose()
    child = [sys.executable, "-m", "benchmarks.importing", "--child", str(database), str(packed)]
    beside = str(folder / "beside.sqlite3")
    tool = [sys.executable, "-m", "sqlite_utils"]
    results: dict[str, Any] = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "environment": describe_environment(os.cpu_count() or 1),
        "load_average": list(os.getloadavg()),
        "first": timed(child),
        "second": timed(child),
        "sqlite_utils_insert": timed(
            [*tool, "insert", beside, "papers", str(plain), "--nl", "--pk", "id"]
        ),
        "sqlite_utils_enable_fts": timed(
            [*tool, "enable-fts", beside, "papers", "title", "abstract", "authors"]
        ),
        "database_mb": round(database.stat().st_size / 1e6, 1),
        "words_mb": round(_bytes(database.with_suffix(".words")) / 1e6, 1),
    }
    if identity:
        results["identity"] = identity_figures(folder, packed)
    return results


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(command: list[str]) -> dict[str, Any]:
    """Seconds by the clock and of the processor, greatest memory, and what it printed last."""
    core = min(os.sched_getaffinity(0))
    started = time.monotonic()
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    ) as process:
        printed = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 1):
        raise SystemExit(f"{command} ended with {process.returncode}")
    figures = {
        "seconds": round(time.monotonic() - started, 2),
        "processor_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024, 1),
    }
    last = printed.splitlines()[-1] if printed else ""
    return figures | (json.loads(last) if last.startswith("{") else {})


def import_once(database: str, file: str) -> None:
    """Imports a file, brings the index of words up to date, and prints what became of it."""
    engine = connect(f"sqlite:///{database}")
    done = import_records(engine, read_source("jsonl", [file]))
    started = time.monotonic()
    words = WordIndex(Path(database).with_suffix(".words"))
    with read(engine) as connection:
        words.refresh(connection)
    indexed = round(time.monotonic() - started, 2)
    counts = {name: getattr(done, name) for name in ("read", "added", "updated", "merged")}
    rest = {"rejected": done.rejected, "searchable": words.n_papers, "index_seconds": indexed}
    print(json.dumps({**counts, **rest}))


# --- identity


def identity_figures(folder: Path, arxiv_file: Path) -> dict[str, Any]:
    """Precision and recall of merging conference papers into arXiv's, by what is hidden."""
    conferences = _records(read_source("openreview", [str(_corpus(CONFERENCES))]))
    arxiv = {
        record.source_key: record for record in _records(read_source("jsonl", [str(arxiv_file)]))
    }
    truth = known_pairs(conferences, arxiv)
    figures: dict[str, Any] = {"conference_papers": len(conferences), "known_pairs": len(truth)}
    full = folder / "arxiv.sqlite3"
    _fill(full, arxiv_file)
    for hidden in HIDDEN:
        copy = folder / f"{hidden}.sqlite3"
        shutil.copyfile(full, copy)
        engine = connect(f"sqlite:///{copy}")
        import_records(engine, [_without(record, hidden) for record in conferences])
        merged = merges(engine)
        engine.dispose()
        copy.unlink()
        by_key = {record.source_key: record for record in conferences}
        right = [
            (key, arxiv_id)
            for key, arxiv_id in merged
            if (key, arxiv_id) in truth or _is_one(by_key[key], arxiv[arxiv_id])
        ]
        figures[hidden] = {
            "merged": len(merged),
            "right": len(right),
            "precision": round(len(right) / len(merged), 4) if merged else None,
            "recall": round(len(truth & set(merged)) / len(truth), 4) if truth else None,
            "wrong": sorted(set(merged) - set(right))[:20],
        }
    return figures


def _fill(database: Path, arxiv_file: Path) -> None:
    """Makes a catalogue of arXiv's papers, with the bands of all their abstracts."""
    engine = connect(f"sqlite:///{database}")
    migrate(engine)
    import_records(engine, read_source("jsonl", [str(arxiv_file)]))
    after: int | None = 0
    while after is not None:
        with write(engine) as connection:
            after = complete_bands(connection, after)
    # The last to leave writes the log back, so that the file alone is the catalogue.
    engine.dispose()


def known_pairs(
    conferences: Iterable[PaperRecord], arxiv: Mapping[str, PaperRecord]
) -> set[tuple[str, str]]:
    """The pairs of a conference paper and an arXiv id that two witnesses agree on."""
    by_title: dict[str, list[str]] = defaultdict(list)
    by_authors: dict[tuple[str, str], list[str]] = defaultdict(list)
    for key, record in arxiv.items():
        by_title[title_key(record.title)].append(key)
        if record.authors:
            by_authors[_first_and_last(record)].append(key)
    pairs = set()
    for record in conferences:
        candidates = set(by_title[title_key(record.title)])
        if record.authors:
            candidates |= set(by_authors[_first_and_last(record)])
        pairs |= {(record.source_key, key) for key in candidates if _is_one(record, arxiv[key])}
    return pairs


def merges(engine: Engine) -> list[tuple[str, str]]:
    """Each conference paper that was merged into one of arXiv, with its arXiv id."""
    statement = (
        select(AppearanceTable.source_key, IdentifierTable.value)
        .join(IdentifierTable, IdentifierTable.paper_id == AppearanceTable.paper_id)
        .where(AppearanceTable.source == "openreview", IdentifierTable.scheme == "arxiv")
    )
    with read(engine) as connection:
        return [(key, arxiv_id) for key, arxiv_id in connection.execute(statement)]


def _is_one(one: PaperRecord, other: PaperRecord) -> bool:
    ours, theirs = _family_names(one), _family_names(other)
    if not ours or not theirs or 2 * len(ours & theirs) < min(len(ours), len(theirs)):
        return False
    if title_key(one.title) == title_key(other.title):
        return True
    abstracts = plain_text(one.abstract), plain_text(other.abstract)
    return bool(true_jaccard(*abstracts) >= _SAME_ABSTRACT)


def _family_names(record: PaperRecord) -> set[str]:
    return {title_key(name.split()[-1]) for name in record.authors if name.split()}


def _first_and_last(record: PaperRecord) -> tuple[str, str]:
    first, last = (record.authors[i].split() or ["?"] for i in (0, -1))
    return title_key(first[-1]), title_key(last[-1])


def _without(record: PaperRecord, hidden: str) -> PaperRecord:
    # Identifiers would decide before anything else.
    bare = replace(record, identifiers={}, pdf_url=None)
    match hidden:
        case "authors":
            return replace(bare, authors=())
        case "abstracts":
            return replace(bare, abstract="")
        case "titles":
            return replace(bare, title=f"Untitled {record.source_key}")
        case _:
            return bare


def _records(items: Iterable[Item]) -> list[PaperRecord]:
    def sound() -> Iterator[PaperRecord]:
        for item in items:
            if isinstance(item, PaperRecord):
                yield item

    return list(sound())


def _corpus(name: str) -> Path:
    folder = get_settings().assets
    path = folder / name if folder else None
    if path is None or not path.is_file():
        raise UsageError(f"the corpus {name} is not here; PAPERROUND_ASSETS names its folder")
    return path


# --- in words


def report(results: Mapping[str, Any]) -> str:
    """The figures as Markdown, each goal beside what was measured."""
    first, second = results["first"], results["second"]
    insert, index = results["sqlite_utils_insert"], results["sqlite_utils_enable_fts"]
    beside_s = insert["seconds"] + index["seconds"]
    rate, again = first["read"] / first["seconds"], first["seconds"] / second["seconds"]
    times = first["seconds"] / beside_s
    peak = max(first["peak_mb"], second["peak_mb"])
    lines = [
        "# Import",
        "",
        f"Measured {results['measured_at']} by `make bench-import`, one process on one core; load"
        f" {results['load_average'][0]:.1f} when it began.",
        "",
        "| what | measured | goal | |",
        "| --- | ---: | ---: | --- |",
        _row("papers a second, first import", rate, GOAL_PER_S, rate >= GOAL_PER_S),
        _row("papers a second of processor time", first["read"] / first["processor_seconds"]),
        _row("seconds, first import", first["seconds"]),
        _row("of these, to index the words", first["index_seconds"]),
        _row("seconds, second import", second["seconds"]),
        _row("times as fast again", again, GOAL_AGAIN, again >= GOAL_AGAIN),
        _row(
            "changed by the second import",
            second["added"] + second["updated"] + second["merged"],
            0,
            second["added"] + second["updated"] + second["merged"] == 0,
        ),
        _row("greatest memory, MB", peak, GOAL_MEMORY_MB, peak < GOAL_MEMORY_MB),
        _row("seconds, sqlite-utils insert --pk and enable-fts", beside_s),
        _row("times as slow as sqlite-utils", times, GOAL_BESIDE, times <= GOAL_BESIDE),
        _row("the database, MB", results["database_mb"]),
        _row("the index of words, MB", results["words_mb"]),
        "",
        f"{first['read']:,} rows: {first['added']:,} added, {first['rejected']:,} rejected."
        " sqlite-utils stores and indexes the rows as they are: no cleaning, no identity, no"
        " plain text of formulas, no stems.",
    ]
    if (identity := results.get("identity")) is not None:
        lines += [
            "",
            f"Identity: {identity['conference_papers']:,} conference papers against the same"
            f" catalogue, {identity['known_pairs']:,} known pairs (see the top of"
            " benchmarks/importing.py for how they are known).",
            "",
            "| hidden from the program | merged | precision | recall |",
            "| --- | ---: | ---: | ---: |",
        ]
        lines += [
            f"| {hidden} | {identity[hidden]['merged']} | {identity[hidden]['precision']} |"
            f" {identity[hidden]['recall']} |"
            for hidden in HIDDEN
        ]
    return "\n".join(lines) + "\n"


def _row(what: str, value: float, goal: float | None = None, holds: bool | None = None) -> str:
    verdict = "" if holds is None else "holds" if holds else "falls short"
    return f"| {what} | {value:,.4g} | {'' if goal is None else f'{goal:,g}'} | {verdict} |"


if __name__ == "__main__":
    main()
