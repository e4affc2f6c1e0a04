"""How search answers at scale: `make bench-search-scale`.

The catalogue is the arXiv corpus of PAPERROUND_ASSETS (some 75,000 papers) and then `--papers` of
them, a million unless said otherwise: the real ones, and others recombined from them. A recombined
paper has the title of one real paper with a phrase of another's, six to nine sentences of abstracts
of papers of the same first category in random order, and the authors, categories and day of a
third; the seed is fixed. Its vector is that of two embedded real texts and a little noise, scaled
to unit length: nobody can embed a million abstracts on two cores in a day, and searching does not
care.

For each size: seconds to build both indexes, their bytes on disk, memory of a process that
searches, milliseconds of searches by words, by meaning and by both for one client and for sixteen
(the query's own embedding counted in, results with highlights), and how many of the exact ten
nearest vectors the sketches find. Beside it, on the same documents and queries: SQLite's FTS5
alone, and Tantivy alone through its own query parser.
"""

import argparse
import json
import os
import random
import re
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, text

from benchmarks.search import Rows, write_results
from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.clock import utc_now
from paperround.db import open_database, read, write
from paperround.discovery.embedding import DIMENSIONS, MODEL
from paperround.discovery.searching import Searcher
from paperround.runs.environment import describe_environment
from paperround.settings import Settings, get_settings

SEED = 2026
CORPUS = "papers/arxiv_cs_2025-03_2026-07.jsonl.gz"
N_QUERIES = 200
CLIENTS = (1, 16)
_BATCH = 5_000
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def main() -> None:
    """Measures each size in a process of its own, prints, and writes both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--papers", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, help="measure searches over this home (internal)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    if arguments.work:
        print(json.dumps(searches(arguments.work)))
        return
    assets = get_settings().assets
    if assets is None or not (assets / CORPUS).is_file():
        raise SystemExit(f"{CORPUS} is not in PAPERROUND_ASSETS")
    real = list(_corpus(assets / CORPUS))
    built: Rows = []
    timed: Rows = []
    for n in dict.fromkeys((len(real), arguments.papers)):
        with tempfile.TemporaryDirectory() as folder:
            home = Path(folder)
            built.append(build(home, real, n))
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.search_scale", "--work", str(home)],
                check=True,
                capture_output=True,
                text=True,
            )
            timed += [{"papers": f"{n:,}", **row} for row in json.loads(done.stdout)]
            timed += [{"papers": f"{n:,}", **row} for row in peers(home)]
    sections = {"Built": built, "Searches, milliseconds": timed}
    write_results(
        arguments.out, describe_environment(os.cpu_count() or 1), sections, name="search-scale"
    )


def build(home: Path, real: Sequence[dict[str, Any]], n: int) -> dict[str, object]:
    """A catalogue of n papers with its indexes; how long and how large they became."""
    settings = _settings(home)
    engine = open_database(settings)
    rng = np.random.default_rng(SEED)
    vectors = _real_vectors()
    now = utc_now()
    number = 0
    for rows in _batches(_papers(real, n)):
        drawn = _recombined_vectors(vectors, len(rows), rng)
        values = [_values(number + place, row, now) for place, row in enumerate(rows, start=1)]
        with write(engine) as connection:
            connection.execute(insert(PaperTable), values)
            connection.execute(
                insert(EmbeddingTable),
                [
                    {
                        "paper_id": value["id"],
                        "model": MODEL,
                        "text_sha256": b"\0" * 32,
                        "vector": vector.tobytes(),
                        "number": value["id"],
                    }
                    for value, vector in zip(values, drawn, strict=True)
                ],
            )
        number += len(rows)
    started = time.perf_counter()
    Searcher(engine, settings).refresh()
    seconds = time.perf_counter() - started
    engine.dispose()
    folders = {name: _bytes(settings.search_dir / name) for name in ("words", "vectors")}
    database = (home / "paperround.sqlite3").stat().st_size
    return {
        "papers": f"{n:,}",
        "both indexes, s": round(seconds, 1),
        "papers a second": round(n / seconds),
        "words, bytes a paper": round(folders["words"] / n),
        "vectors, bytes a paper": round(folders["vectors"] / n),
        "database, bytes a paper": round(database / n),
    }


def searches(home: Path) -> Rows:
    """Milliseconds of searches, and the memory of this process after them."""
    settings = _settings(home)
    engine = open_database(settings)
    searcher = Searcher(engine, settings)
    asked = _queries(engine)
    rows: Rows = []
    for mode in ("words", "meaning", "both"):
        searcher.search("what warms a search up", mode=mode)
        for clients in CLIENTS:

            def ask(query: str, mode: str = mode) -> None:
                searcher.search(query, mode=mode)

            # Other words for other clients: nobody is answered from memory.
            queries = [f"{query} {mode} {clients}" for query in asked]
            rows.append({"search": mode, "clients": clients, **_timed(ask, queries, clients)})
    with read(engine) as connection:
        recall = _recall(connection, searcher)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for row in rows:
        row["memory, MB"] = round(memory)
        row["recall@10 of sketches"] = round(recall, 3)
    engine.dispose()
    return rows


def peers(home: Path) -> Rows:
    """The same queries to FTS5 alone and to Tantivy alone."""
    import tantivy

    settings = _settings(home)
    engine = open_database(settings)
    asked = _queries(engine)
    engine.dispose()
    connection = sqlite3.connect(home / "paperround.sqlite3", check_same_thread=False)
    connection.execute(
        "CREATE VIRTUAL TABLE peer USING fts5(title_text, abstract_text, content='paper',"
        " content_rowid='id', tokenize='porter unicode61')"
    )
    connection.execute("INSERT INTO peer(peer) VALUES ('rebuild')")
    connection.commit()

    def fts5(query: str) -> None:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", query))
        connection.execute(
            "SELECT rowid FROM peer WHERE peer MATCH ? ORDER BY bm25(peer, 3, 1) LIMIT 20", (words,)
        ).fetchall()

    (folder,) = (settings.search_dir / "words").glob("words-*")
    index = tantivy.Index.open(str(folder))
    analyzer = (
        tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        .filter(tantivy.Filter.lowercase())
        .filter(tantivy.Filter.stemmer("english"))
        .build()
    )
    index.register_tokenizer("english", analyzer)
    index.register_tokenizer("names", analyzer)
    searcher = index.searcher()

    def alone(query: str) -> None:
        parsed, _ = index.parse_query_lenient(query, ["text"])
        searcher.search(parsed, 20, count=False)

    rows: Rows = []
    for name, ask in (("SQLite FTS5 alone", fts5), ("Tantivy alone", alone)):
        ask("what warms a search up")
        rows.append({"search": name, "clients": 1, **_timed(ask, asked, 1)})
    connection.close()
    blank = {"memory, MB": "", "recall@10 of sketches": ""}
    return [{**row, **blank} for row in rows]


def _timed(ask: Callable[[str], None], queries: Sequence[str], clients: int) -> dict[str, object]:
    def took(query: str) -> float:
        started = time.perf_counter()
        ask(query)
        return 1000 * (time.perf_counter() - started)

    started = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        each = list(pool.map(took, queries))
    seconds = time.perf_counter() - started
    cuts = statistics.quantiles(each, n=100)
    return {
        "median": round(statistics.median(each), 1),
        "p95": round(cuts[94], 1),
        "p99": round(cuts[98], 1),
        "a second": round(len(queries) / seconds, 1),
    }


def _recall(connection: Any, searcher: Searcher, n: int = 50) -> float:
    """The part of the exact ten nearest that is found, over queries that are other papers."""
    index = searcher._vectors
    files = index._snapshot.files
    if files is None:
        return 1.0
    rng = np.random.default_rng(SEED)
    found = []
    for row in rng.integers(0, len(files.ids), n):
        query = files.vectors[row].astype(np.float32)
        query = query + 0.3 * rng.standard_normal(DIMENSIONS).astype(np.float32) / DIMENSIONS**0.5
        query /= np.linalg.norm(query)
        scores = np.concatenate(
            [
                files.vectors[start : start + 100_000].astype(np.float32) @ query
                for start in range(0, len(files.ids), 100_000)
            ]
        )
        exact = set(np.asarray(files.ids[np.argsort(-scores)[:10]]).tolist())
        near = {int(paper_id) for paper_id, _ in index.nearest(query, 10)}
        found.append(len(exact & near) / 10)
    return statistics.fmean(found)


def _queries(engine: Any) -> list[str]:
    """Two to six words of titles, in random order."""
    with read(engine) as connection:
        titles = list(
            connection.scalars(
                text("SELECT title_text FROM paper WHERE id % 97 = 1 ORDER BY id LIMIT 2000")
            )
        )
    rng = random.Random(SEED)
    chosen = []
    for title in rng.sample(titles, min(N_QUERIES, len(titles))):
        words = title.split()
        chosen.append(" ".join(rng.sample(words, min(len(words), rng.randint(2, 6)))))
    return chosen


def _papers(real: Sequence[dict[str, Any]], n: int) -> Iterator[dict[str, Any]]:
    yield from real[:n]
    rng = random.Random(SEED)
    by_category: dict[str, list[str]] = {}
    for row in real:
        by_category.setdefault(row["categories"][0], []).extend(_SENTENCE.split(row["abstract"]))
    for _ in range(n - len(real)):
        one, other, third = rng.choice(real), rng.choice(real), rng.choice(real)
        words, more = one["title"].split(), other["title"].split()
        cut = rng.randrange(len(words) + 1)
        sentences = by_category[one["categories"][0]]
        yield {
            "title": " ".join([*words[:cut], *more[:3], *words[cut:]]),
            "abstract": " ".join(rng.choices(sentences, k=rng.randint(6, 9))),
            "authors": third["authors"],
            "categories": one["categories"],
            "listed": third["listed"],
        }


def _recombined_vectors(
    real: npt.NDArray[np.float32], n: int, rng: np.random.Generator
) -> npt.NDArray[np.float16]:
    drawn = real[rng.integers(0, len(real), n)] + 0.6 * real[rng.integers(0, len(real), n)]
    drawn += 0.3 * rng.standard_normal((n, DIMENSIONS)).astype(np.float32) / DIMENSIONS**0.5
    unit: npt.NDArray[np.float16] = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(
        np.float16
    )
    return unit


def _real_vectors() -> npt.NDArray[np.float32]:
    """Every embedding that the benchmarks' cache holds, of real abstracts."""
    found = []
    for path in sorted((get_settings().cache_dir / "benchmarks").glob(f"*.{MODEL}.npz")):
        with np.load(path) as kept:
            found.append(kept["rows"].astype(np.float32))
    if not found:
        raise SystemExit("no embeddings of real texts yet: run `make bench-search` first")
    return np.concatenate(found)


def _corpus(path: Path) -> Iterator[dict[str, Any]]:
    import gzip

    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            row["title"] = " ".join(row["title"].split())
            row["abstract"] = " ".join(row["abstract"].split())
            yield row


def _batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _values(number: int, row: dict[str, Any], now: Any) -> dict[str, Any]:
    day = date.fromisoformat(row["listed"][0]) if row["listed"] else date(2026, 1, 1)
    return {
        "id": number,
        "key": f"paper-{number}",
        "title": row["title"],
        "abstract": row["abstract"],
        "title_text": row["title"],
        "abstract_text": row["abstract"],
        "authors": row["authors"],
        "categories": row["categories"],
        "day": day - timedelta(days=number % 5),
        "title_key": "",
        "added_at": now,
        "updated_at": now,
    }


def _settings(home: Path) -> Settings:
    return Settings(home=home, cache=get_settings().cache_dir)


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
