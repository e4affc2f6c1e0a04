"""What people would otherwise search with, over the same papers: FTS5, Tantivy and LanceDB alone.

Each is used as its documentation shows it: its own index with stemming where it has it, its own
query parser or one OR of the query's words, its own way of fusing. LanceDB is no dependency of
Paperround; `lancedb_here` installs it into a folder of the cache the first time.
"""

import importlib
import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from paperround.discovery.embedding import DIMENSIONS
from paperround.settings import get_settings

LANCEDB = ("lancedb==0.40.0", "pyarrow==26.0.1")
_BATCH = 10_000
# Below this many vectors LanceDB's own advice is to search without an index.
LANCEDB_INDEXED_FROM = 50_000

Embed = Callable[[str], npt.NDArray[np.float32]]
# A query, and how many to find: their ids, best first.
Ask = Callable[[str, int], list[int]]
Peers = dict[str, Ask]


def fts5(database: Path, folder: Path) -> Ask:
    """SQLite's FTS5: porter stems, any of the words, its own bm25 with titles three times."""
    path = folder / "fts5.sqlite3"
    connection = sqlite3.connect(path)
    connection.executescript(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;"
        "CREATE VIRTUAL TABLE paper USING fts5"
        "(title, abstract, content='', tokenize='porter unicode61');"
    )
    for rows in _papers(database):
        with connection:
            connection.executemany(
                "INSERT INTO paper (rowid, title, abstract) VALUES (?, ?, ?)", rows
            )
    connection.execute("INSERT INTO paper (paper) VALUES ('optimize')")
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    # A connection serves one thread at a time.
    own = threading.local()

    def ask(query: str, n: int) -> list[int]:
        if not hasattr(own, "connection"):
            own.connection = sqlite3.connect(path)
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", query))
        found = own.connection.execute(
            "SELECT rowid FROM paper WHERE paper MATCH ? ORDER BY bm25(paper, 3, 1) LIMIT ?",
            (words, n),
        )
        return [rowid for (rowid,) in found]

    return ask


def tantivy_alone(database: Path, folder: Path) -> Ask:
    """Tantivy with its English analyser on titles and abstracts, and its own query parser."""
    import tantivy

    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", stored=True)
    for name in ("title", "abstract"):
        builder.add_text_field(name, tokenizer_name="en_stem")
    path = folder / "tantivy"
    path.mkdir()
    index = tantivy.Index(builder.build(), path=str(path))
    writer = index.writer(128_000_000, 1)
    for rows in _papers(database):
        for paper_id, title, abstract in rows:
            document = tantivy.Document()
            document.add_integer("id", paper_id)
            document.add_text("title", title)
            document.add_text("abstract", abstract)
            writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    index.reload()
    searcher = index.searcher()

    def ask(query: str, n: int) -> list[int]:
        asked, _ = index.parse_query_lenient(query, ["title", "abstract"])
        hits = searcher.search(asked, n, count=False).hits
        return [searcher.doc(address)["id"][0] for _, address in hits]

    return ask


def lancedb(database: Path, folder: Path, embed: Embed) -> Peers:
    """LanceDB by words, by vectors, and hybrid as it comes, which is by ranks (RRF)."""
    pyarrow, lance = lancedb_here()
    schema = pyarrow.schema(
        [
            ("id", pyarrow.int64()),
            ("text", pyarrow.string()),
            ("vector", pyarrow.list_(pyarrow.float16(), DIMENSIONS)),
        ]
    )

    def batches() -> Iterator[Any]:
        for ids, texts, vectors in _papers_with_vectors(database):
            flat = pyarrow.array(vectors.reshape(-1))
            column = pyarrow.FixedSizeListArray.from_arrays(flat, DIMENSIONS)
            yield pyarrow.record_batch([pyarrow.array(ids), pyarrow.array(texts), column], schema)

    table = lance.connect(str(folder / "lancedb")).create_table(
        "paper", batches(), schema=schema, mode="overwrite"
    )
    kinds = importlib.import_module("lancedb.index")
    table.create_index("text", config=kinds.FTS())
    if table.count_rows() >= LANCEDB_INDEXED_FROM:
        table.create_index("vector", config=kinds.IvfPq(distance_type="cosine"))

    def by_words(query: str, n: int) -> list[int]:
        # Words without signs: its parser takes some of them for operators.
        words = " ".join(re.findall(r"\w+", query))
        return _ids(table.search(words, query_type="fts").select(["id"]).limit(n))

    def by_meaning(query: str, n: int) -> list[int]:
        found = table.search(embed(query)).distance_type("cosine").select(["id"]).limit(n)
        return _ids(found)

    def both(query: str, n: int) -> list[int]:
        words = " ".join(re.findall(r"\w+", query))
        found = table.search(query_type="hybrid").vector(embed(query)).text(words)
        return _ids(found.distance_type("cosine").select(["id"]).limit(n))

    return {"words": by_words, "meaning": by_meaning, "both": both}


def lancedb_here() -> tuple[Any, Any]:
    """Pyarrow and lancedb, imported; installed into the cache where they are not there yet."""
    folder = get_settings().cache_dir / "benchmarks" / "lancedb-packages"
    done = folder / "ready"
    if not (done.is_file() and done.read_text(encoding="utf-8") == " ".join(LANCEDB)):
        print(f"Installing LanceDB into {folder} (a minute, once)", file=sys.stderr)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, "--upgrade", "--target", str(folder), *LANCEDB],
            check=True, capture_output=True, text=True, timeout=1800,
        )  # fmt: skip
        done.write_text(" ".join(LANCEDB), encoding="utf-8")
    # It warns of every search that its defaults will change.
    os.environ.setdefault("LANCE_LOG", "error")
    # Last, so that what both need is the same for both.
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    return importlib.import_module("pyarrow"), importlib.import_module("lancedb")


def _ids(query: Any) -> list[int]:
    return list(query.to_arrow()["id"].to_pylist())


def _papers(database: Path) -> Iterator[list[tuple[int, str, str]]]:
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    found = connection.execute("SELECT id, title_text, abstract_text FROM paper ORDER BY id")
    while rows := found.fetchmany(_BATCH):
        yield rows
    connection.close()


def _papers_with_vectors(
    database: Path,
) -> Iterator[tuple[list[int], list[str], npt.NDArray[np.float16]]]:
    # LanceDB goes on reading in a thread of its own, one at a time.
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True, check_same_thread=False)
    found = connection.execute(
        "SELECT id, title_text || '. ' || abstract_text, vector FROM paper"
        " JOIN embedding ON paper_id = id ORDER BY id"
    )
    while rows := found.fetchmany(_BATCH):
        ids, texts, vectors = zip(*rows, strict=True)
        joined = np.frombuffer(b"".join(vectors), dtype=np.float16)
        yield list(ids), list(texts), joined.reshape(-1, DIMENSIONS)
    connection.close()
