"""How search answers at scale: `make bench-search-scale`.

The catalogue is the arXiv corpus of PAPERROUND_ASSETS (some 75,000 papers) and then `--papers` of
them, a million unless said otherwise: the real ones, and others made from them, words and vectors,
as `scale_corpus.py` describes.

For each size: seconds to build both indexes, bytes on disk and memory while building;
milliseconds of searches by words, by meaning and by both, the query's own embedding counted in,
for one client and for sixteen, inside a process and from a real server with a page of twenty
results; the memory of that server; and how many of the exact ten nearest vectors the sketches
find. Beside it, on the same papers with the same queries: SQLite's FTS5, Tantivy and LanceDB alone
(`search_peers.py`). No query is asked twice.

What is not measured (making the papers, installing LanceDB) is done by `--prepare` alone or by the
first call, and kept in the cache with each part's figures, so that an interrupted call goes on
where it stopped. `--again` measures everything anew; `--budget` begins no part after so many
seconds and says what is left.
"""

import argparse
import json
import os
import random
import re
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil

from benchmarks import scale_corpus, search_peers
from benchmarks.search import Rows, write_results
from paperround.db import open_database, read
from paperround.discovery.embedding import QueryEmbedder
from paperround.discovery.searching import Searcher
from paperround.runs.environment import describe_environment
from paperround.settings import Settings, get_settings

CLIENTS = (1, 16)
MODES = ("words", "meaning", "both")
# For each way of asking and number of clients: at the 99th percentile three are slower.
N_QUERIES = 300
# FTS5 takes up to a second for each at a million.
N_QUERIES_SLOW = 60
SHOWN = 20
_WARM = 20
# The goals of the issue, by the number of papers: hybrid median, and p95 or p99, one client.
GOALS = {75_000: "both: median 20, p95 40", 1_000_000: "both: median 40, p99 150"}
_STARTS_WITHIN_S = 300.0

# What is measured of each size, in this order: searches need what is built.
PARTS = ("built", "inside", "server", "fts5", "tantivy", "lancedb")


def main() -> None:
    """Measures each part in a process of its own, prints, and writes both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", type=int, default=1_000_000)
    parser.add_argument("--sizes", type=int, nargs="*", help="these instead of 75,000 and --papers")
    parser.add_argument("--prepare", action="store_true", help="make the papers, measure nothing")
    parser.add_argument("--again", action="store_true", help="measure what was measured before")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds")
    parser.add_argument("--without", nargs="*", default=[], choices=PARTS)
    parser.add_argument("--part", choices=PARTS, help="of the home in --home (internal)")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(_MEASURES[arguments.part](arguments.home)))
        return
    begun = time.monotonic()
    assets = get_settings().assets
    if assets is None or not (assets / scale_corpus.CORPUS).is_file():
        raise SystemExit(f"{scale_corpus.CORPUS} is not in PAPERROUND_ASSETS")
    sizes = arguments.sizes or [75_000, arguments.papers]
    homes = {n: get_settings().cache_dir / "benchmarks" / f"search-scale-{n}" for n in sizes}
    if arguments.prepare:
        _prepare(homes, assets)
        return
    found: dict[int, dict[str, Any]] = {}
    for n, home in homes.items():
        if arguments.again:
            for path in home.glob("measured-*.json"):
                path.unlink()
        _prepare({n: home}, assets)
        found[n] = {}
        for part in PARTS:
            if part in arguments.without:
                continue
            left = arguments.budget - (time.monotonic() - begun)
            measured = _measured(home, part, left)
            if measured is None:
                print(f"{n:,}, {part}: no time is left; run this again", file=sys.stderr)
            else:
                found[n][part] = measured
    made = {
        n: json.loads((home / "made.json").read_text(encoding="utf-8")) for n, home in homes.items()
    }
    write_results(
        arguments.out,
        describe_environment(os.cpu_count() or 1),
        sections(made, found),
        name="search-scale",
        notes=notes(made, found),
    )


def sections(
    made: Mapping[int, Mapping[str, Any]], found: Mapping[int, Mapping[str, Any]]
) -> dict[str, Rows]:
    """The tables."""
    built, timed, served, recalls, papers = [], [], [], [], []
    for n, parts in found.items():
        size = {"papers": f"{n:,}"}
        built += [{**size, **row} for part in parts.values() for row in part.get("built", [])]
        timed += [{**size, **row} for part in parts.values() for row in part.get("timed", [])]
        served += [{**size, **row} for part in parts.values() for row in part.get("served", [])]
        recalls += [{**size, **row} for part in parts.values() for row in part.get("recall", [])]
        for row in made[n]["neighbours"]:
            papers.append(
                {
                    **size,
                    "of them real": f"{made[n]['real papers']:,}",
                    "real vectors": f"{made[n]['real vectors']:,}",
                    **row,
                }
            )
    tables = {
        "Papers and vectors: cosine to the 1st, 10th, 100th nearest and to any other": papers,
        "Built": built,
        "Searches inside a process, milliseconds, the query's embedding counted in": timed,
        "A server's answers (JSON, 20 papers with facets), milliseconds": served,
        "Of the exact ten nearest vectors, the sketches find": recalls,
    }
    return {title: _filled(rows) for title, rows in tables.items() if rows}


def notes(
    made: Mapping[int, Mapping[str, Any]], found: Mapping[int, Mapping[str, Any]]
) -> list[str]:
    """What a reader of the tables must know."""
    said = [
        f"{n:,} papers: {record['real papers']:,} are real, of which {record['real vectors']:,}"
        " have their real embedding; all other papers and vectors are made from them as"
        f" `benchmarks/scale_corpus.py` says (a vector is moved by {record['moved']} of a"
        " difference)."
        for n, record in made.items()
    ]
    said += [f"Goals for {n:,} papers, one client: {goal}." for n, goal in GOALS.items()]
    said.append(
        "Goals for a million: under 1 GB resident in the web process, 4 KB of disk a paper for what"
        " search adds, recall@10 of .95. Resident memory counts the pages of mapped files that the"
        " system happens to keep, and gives back when others need memory; «own» leaves them out."
    )
    left = [f"{n:,} {part}" for n in found for part in PARTS if part not in found[n]]
    return [*said, *([f"Not measured in this run: {', '.join(left)}."] if left else [])]


# The parts, each in a process of its own.


def build(home: Path) -> dict[str, Any]:
    """Both indexes made anew: seconds, bytes on disk, the most memory that it took."""
    settings = _settings(home)
    shutil.rmtree(settings.search_dir, ignore_errors=True)
    engine = open_database(settings)
    searcher = Searcher(engine, settings)
    begun = time.perf_counter()
    with read(engine) as connection:
        searcher._words.refresh(connection)
    words_s = time.perf_counter() - begun
    with read(engine) as connection:
        searcher._vectors.refresh(connection)
    vectors_s = time.perf_counter() - begun - words_s
    n = searcher._words.n_papers
    engine.dispose()
    row = {
        "what": "Paperround, both indexes",
        "seconds": round(words_s + vectors_s, 1),
        "papers a second": round(n / (words_s + vectors_s)),
        "bytes a paper": round(_bytes(settings.search_dir) / n),
        "of them words": round(_bytes(settings.search_dir / "words") / n),
        "most memory, MB": _most_memory(),
    }
    embeddings, whole = _table_bytes(home)
    rows = [
        row,
        {"what": "its embeddings in the database", "bytes a paper": round(embeddings / n)},
        {"what": "the whole database, papers and all", "bytes a paper": round(whole / n)},
    ]
    return {"built": rows}


def inside(home: Path) -> dict[str, Any]:
    """Milliseconds of searches in this process, its memory, and what the sketches find."""
    settings = _settings(home)
    engine = open_database(settings)
    searcher = Searcher(engine, settings)
    asked = _queries(home)
    timed: Rows = []
    for mode in MODES:

        def ask(query: str, mode: str = mode) -> None:
            searcher.search(query, mode=mode, n=SHOWN, diverse=True, facets=True)

        timed += [
            {"search": f"Paperround, {mode}", **row} for row in _by_clients(ask, asked, N_QUERIES)
        ]

    def filtered(query: str) -> None:
        searcher.search(query, n=SHOWN, diverse=True, facets=True)

    wide = _with_filters(asked)
    timed += [
        {"search": "Paperround, both, with a filter", **row}
        for row in _by_clients(filtered, wide, N_QUERIES // 3)
    ]
    return {"timed": timed, "recall": _recalls(searcher, home, asked)}


def server(home: Path) -> dict[str, Any]:
    """Milliseconds of a real server's answers and its memory afterwards."""
    asked = _queries(home)
    served: Rows = []
    with _serving(home) as (address, process):
        start = _memory(process)
        with httpx2.Client(base_url=address, timeout=60.0) as client:
            for mode in MODES:

                def ask(query: str, mode: str = mode) -> None:
                    client.get(
                        "/api/v1/search", params={"q": query, "mode": mode}
                    ).raise_for_status()

                for row in _by_clients(ask, asked, N_QUERIES // 3):
                    served.append({"search": mode, **row})
        after = _memory(process)
    for row in served:
        row["resident, MB"] = after["resident"]
        row["own, MB"] = after["own"]
        row["own before any search"] = start["own"]
    return {"served": served}


def peer_fts5(home: Path) -> dict[str, Any]:
    """SQLite's FTS5."""
    return _peer(home, "SQLite FTS5 alone", "fts5*", search_peers.fts5, N_QUERIES_SLOW)


def peer_tantivy(home: Path) -> dict[str, Any]:
    """Tantivy with its own query parser."""
    return _peer(home, "Tantivy alone", "tantivy", search_peers.tantivy_alone, N_QUERIES)


def peer_lancedb(home: Path) -> dict[str, Any]:
    """LanceDB by words, by vectors and by both."""
    embed = QueryEmbedder(_settings(home))

    def made(database: Path, folder: Path) -> search_peers.Peers:
        return search_peers.lancedb(database, folder, embed)

    return _peer(home, "LanceDB", "lancedb", made, N_QUERIES)


_MEASURES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "built": build,
    "inside": inside,
    "server": server,
    "fts5": peer_fts5,
    "tantivy": peer_tantivy,
    "lancedb": peer_lancedb,
}


def _peer(
    home: Path,
    name: str,
    files: str,
    make: Callable[[Path, Path], search_peers.Ask | search_peers.Peers],
    n_queries: int,
) -> dict[str, Any]:
    folder = home / "peers"
    folder.mkdir(exist_ok=True)
    for path in folder.glob(files):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    begun = time.perf_counter()
    made = make(home / "paperround.sqlite3", folder)
    seconds = time.perf_counter() - begun
    papers = json.loads((home / "made.json").read_text(encoding="utf-8"))["papers"]
    built = {
        "what": name,
        "seconds": round(seconds, 1),
        "papers a second": round(papers / seconds),
        "bytes a paper": round(sum(_bytes(path) for path in folder.glob(files)) / papers),
        "most memory, MB": _most_memory(),
    }
    asked = _queries(home)
    timed: Rows = []
    for how, ask in made.items() if isinstance(made, dict) else [("", made)]:

        def once(query: str, ask: search_peers.Ask = ask) -> None:
            ask(query, SHOWN)

        label = f"{name}, {how}" if how else name
        timed += [{"search": label, **row} for row in _by_clients(once, asked, n_queries)]
    for path in folder.glob(files):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {"built": [built], "timed": timed}


def _by_clients(
    ask: Callable[[str], object], queries: Iterator[str], n: int
) -> Iterator[dict[str, object]]:
    for _ in range(_WARM):
        ask(next(queries))
    for clients in CLIENTS:
        chosen = [next(queries) for _ in range(n)]
        yield {"clients": clients, **_timed(ask, chosen, clients)}


def _timed(ask: Callable[[str], object], queries: Sequence[str], clients: int) -> dict[str, object]:
    def took(query: str) -> float:
        begun = time.perf_counter()
        ask(query)
        return 1000 * (time.perf_counter() - begun)

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(took, queries))
    seconds = time.perf_counter() - begun
    cuts = statistics.quantiles(each, n=100)
    return {
        "queries": len(queries),
        "median": round(statistics.median(each), 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "a second": round(len(queries) / seconds, 1),
    }


def _recalls(searcher: Searcher, home: Path, asked: Iterator[str], n: int = 100) -> Rows:
    """For queries as people type them, and for papers: with all papers, and the real ones alone."""
    files = searcher._vectors._snapshot.files
    if files is None:
        return []
    made = json.loads((home / "made.json").read_text(encoding="utf-8"))
    rng = np.random.default_rng(scale_corpus.SEED)
    typed = np.stack([searcher._embed(next(asked)) for _ in range(n)])
    own = files.vectors[np.sort(rng.integers(0, len(files.ids), n))].astype(np.float32)
    rows: Rows = []
    for name, queries in (("queries", typed), ("papers like a paper", own)):
        exact, cosines = scale_corpus.nearest(queries, files.vectors, 11)
        exact, first = exact[:, :10], 0 if name == "queries" else 1
        shares = []
        for query, best in zip(queries, exact, strict=True):
            near = {int(paper_id) for paper_id, _ in searcher._vectors.nearest(query, 10)}
            shares.append(len(near & {int(files.ids[row]) for row in best}) / 10)
        rows.append(
            {
                "real vectors": f"{made['real vectors']:,}",
                "asked with": name,
                "recall@10": round(statistics.fmean(shares), 4),
                "the worst of them": min(shares),
                "cosine of the 1st": round(float(cosines[:, first].mean()), 3),
                "of the 10th": round(float(cosines[:, first + 9].mean()), 3),
            }
        )
    return rows


def _queries(home: Path) -> Iterator[str]:
    """Two to six words of a real paper's title in random order, each title once."""
    connection = sqlite3.connect(f"file:{home / 'paperround.sqlite3'}?mode=ro", uri=True)
    real = json.loads((home / "made.json").read_text(encoding="utf-8"))["real papers"]
    titles = [
        title
        for (title,) in connection.execute("SELECT title_text FROM paper WHERE id <= ?", (real,))
    ]
    connection.close()
    rng = random.Random(scale_corpus.SEED)
    rng.shuffle(titles)
    for title in titles:
        words = re.findall(r"\w[\w-]*", title)
        if len(words) > 1:
            yield " ".join(rng.sample(words, min(len(words), rng.randint(2, 6))))


def _with_filters(asked: Iterator[str]) -> Iterator[str]:
    """The queries with a filter each: some keep a third of all papers, some a handful."""
    rng = random.Random(scale_corpus.SEED)
    for query in asked:
        first, *rest = query.split()
        yield rng.choice(
            [
                f"{query} cat:cs.CV",
                f"{query} year:2026",
                f"{query} -{first} survey",
                f"{first} {' '.join(rest)} author:wang",
                f'"language models" {query}',
            ]
        )


@contextmanager
def _serving(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server's address and its process, over that home."""
    command = [sys.executable, "-m", "paperround.cli", "serve", "--port", "0", "--no-worker"]
    environment = {
        **os.environ,
        "PAPERROUND_HOME": str(home),
        "PAPERROUND_CACHE": str(get_settings().cache_dir),
    }
    log = home / "log"
    begun = time.monotonic()
    with log.open("w") as said, subprocess.Popen(command, env=environment, stderr=said) as process:
        try:
            address = None
            while address is None:
                if process.poll() is not None or time.monotonic() - begun > _STARTS_WITHIN_S:
                    raise SystemExit(f"the server did not start:\n{log.read_text()}")
                time.sleep(0.1)
                address = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
            httpx2.get(f"{address[0]}/healthz", timeout=60.0).raise_for_status()
            yield address[0], psutil.Process(process.pid)
        finally:
            process.terminate()


def _prepare(homes: Mapping[int, Path], assets: Path) -> None:
    for n, home in homes.items():
        home.mkdir(parents=True, exist_ok=True)
        if not (home / "made.json").is_file():
            print(f"Making {n:,} papers in {home} (once)", file=sys.stderr)
        scale_corpus.made_catalogue(home, n, assets)
    search_peers.lancedb_here()


def _measured(home: Path, part: str, left_s: float) -> dict[str, Any] | None:
    """What a part measures, or measured before; None where no time is left to do it."""
    kept = home / f"measured-{part}.json"
    needs_index = part in ("inside", "server") and not (home / "search").is_dir()
    if kept.is_file() and not needs_index:
        before: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return before
    if left_s <= 0 or needs_index:
        return None
    command = [sys.executable, "-m", "benchmarks.search_scale", "--part", part, "--home", str(home)]
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{part} failed; what it said stands above")
    print(f"{home.name}, {part}: {time.monotonic() - begun:.0f} s", file=sys.stderr)
    # What it logged stands above its figures.
    now: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    kept.write_text(json.dumps(now), encoding="utf-8")
    return now


def _memory(process: psutil.Process) -> dict[str, int]:
    """Megabytes that a process has resident, and of those its own: not of mapped files."""
    seen = process.memory_info()
    own = seen.rss - getattr(seen, "shared", 0)
    return {"resident": round(seen.rss / 1e6), "own": round(own / 1e6)}


def _most_memory() -> int:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def _table_bytes(home: Path) -> tuple[int, int]:
    """Bytes of the database's embeddings with their indexes, and of all of it."""
    connection = sqlite3.connect(f"file:{home / 'paperround.sqlite3'}?mode=ro", uri=True)
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (vectors, rows) = connection.execute(
        "SELECT sum(length(vector) + length(title_vector) + length(text_sha256) + length(model)),"
        " count(*) FROM embedding"
    ).fetchone()
    connection.close()
    # A row's own numbers, and its entry in ix_embedding_number.
    return vectors + 60 * rows, size * pages


def _filled(rows: Rows) -> Rows:
    heads = dict.fromkeys(head for row in rows for head in row)
    return [{head: row.get(head, "") for head in heads} for row in rows]


def _settings(home: Path) -> Settings:
    return Settings(home=home, cache=get_settings().cache_dir)


def _bytes(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(inner.stat().st_size for inner in path.rglob("*") if inner.is_file())


if __name__ == "__main__":
    main()
