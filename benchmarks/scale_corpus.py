"""Catalogues of any size for benchmarks: real papers first, then others made from them.

Real papers are those of the arXiv corpus (some 75,000), as an import would read them.

A made paper has the title of one real paper with three words of another's in it, six to nine
sentences drawn from the abstracts of all papers of the same first category, and the authors,
categories and day of a third. So words are as frequent among a million papers as among the real
ones, though there are no new ones, which a real million would have.

A made vector stands for a text that nobody has the days to embed. It lies between a real vector and
one of its ten nearest, moved by the difference of two other real neighbours:

    v = a + t (b - a) + s (c - d),    t uniform in 0..0.5,    scaled to unit length

so that around it directions vary as they do around a real one. Its title's vector is made of the
titles of the same four papers with the same t and s. s is the number for which made
vectors have their ten nearest as near as real ones have theirs, at the same number of both;
`neighbour_statistics` says how alike they are beyond that, and stands in the benchmark's tables.
"""

import gzip
import json
import random
import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.embedded import known
from paperround.catalogue.text import plain_text
from paperround.clock import utc_now
from paperround.db import open_database
from paperround.discovery.embedding import MODEL, embedded_text, packed, text_sha256
from paperround.settings import Settings, get_settings

SEED = 2026
CORPUS = "papers/arxiv_cs_2025-03_2026-07.jsonl.gz"
# The cache of embeddings that `make bench-search` fills with papers of the corpus.
EMBEDDED = "arxiv"
_BATCH = 5_000
# The number of a batch that no catalogue has: what is made to be compared.
_NO_BATCH = 1 << 30
# Among so many real vectors neighbours are looked for: all of them would take a minute.
_SAMPLE = 20_000
_NEIGHBOURS = 10
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")

Floats = npt.NDArray[np.float32]
Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Row:
    """A paper as the benchmark's catalogue holds it."""

    title: str
    abstract: str
    authors: Sequence[str]
    categories: Sequence[str]
    day: date


def real_papers(assets: Path) -> list[Row]:
    """The papers of the corpus, in its order, with titles and abstracts in plain words."""
    rows = []
    with gzip.open(assets / CORPUS, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            day = date.fromisoformat(row["listed"][0]) if row["listed"] else date(2026, 1, 1)
            title, abstract = plain_text(row["title"]), plain_text(row["abstract"])
            rows.append(Row(title, abstract, row["authors"], row["categories"], day))
    return rows


class Maker:
    """Makes papers from real ones; the same number gives the same paper, whoever asks first."""

    def __init__(self, real: Sequence[Row]) -> None:
        """From all real papers, whose sentences it keeps by first category."""
        self._real = real
        self._sentences: dict[str, list[str]] = {}
        for row in real:
            of_category = self._sentences.setdefault(row.categories[0], [])
            of_category += _SENTENCE.split(row.abstract)

    def papers(self, batch: int, n: int) -> Iterator[Row]:
        """The first n papers of that batch."""
        rng = random.Random(f"{SEED}-{batch}")
        for _ in range(n):
            one, other, third = (rng.choice(self._real) for _ in range(3))
            words, more = one.title.split(), other.title.split()
            cut = rng.randrange(len(words) + 1)
            sentences = self._sentences[one.categories[0]]
            yield Row(
                title=" ".join([*words[:cut], *more[:3], *words[cut:]]),
                abstract=" ".join(rng.choices(sentences, k=rng.randint(6, 9))),
                authors=third.authors,
                categories=one.categories,
                day=third.day,
            )


@dataclass(frozen=True)
class VectorMaker:
    """Makes vectors from real ones."""

    # (sample, 384), unit length: of texts, and of their titles.
    vectors: Floats
    titles: Floats
    # The rows of each text's nearest, (sample, 10).
    neighbours: npt.NDArray[np.int64]
    # s above.
    moved: float

    def vectors_of(self, batch: int, n: int) -> tuple[Floats, Floats]:
        """The first n texts' vectors of that batch and their titles', (n, 384), unit length."""
        texts, titles = (
            # The same numbers are drawn for both.
            _made(real, self.neighbours, self.moved, n, np.random.default_rng((SEED, batch)))
            for real in (self.vectors, self.titles)
        )
        return texts, titles


def vector_maker(real: Floats, titles: Floats) -> VectorMaker:
    """The maker whose vectors have their ten nearest as near as the real ones have theirs."""
    rng = np.random.default_rng(SEED)
    chosen = rng.permutation(len(real))[:_SAMPLE]
    sample = real[chosen]
    neighbours, cosines = nearest(sample, sample, _NEIGHBOURS + 1)
    neighbours = neighbours[:, 1:]
    wanted = float(cosines[:, 1:].mean())
    low, high = 0.0, 2.0
    # The further they are moved, the further apart they are: halving finds the place.
    tried = min(len(sample), 5_000)
    for _ in range(8):
        moved = (low + high) / 2
        made = _made(sample, neighbours, moved, len(sample), np.random.default_rng(SEED))
        _, near = nearest(made[:tried], made, _NEIGHBOURS + 1)
        low, high = (moved, high) if near[:, 1:].mean() > wanted else (low, moved)
    return VectorMaker(sample, titles[chosen], neighbours, round((low + high) / 2, 3))


def neighbour_statistics(vectors: Floats, n: int = 1_000) -> dict[str, float]:
    """Of n of them: cosines to the 1st, 10th and 100th nearest, and to any other.

    `directions` is the participation ratio of their variances: of how many independent directions
    of equal variance they have as much as.
    """
    rng = np.random.default_rng(SEED)
    asked = vectors[rng.permutation(len(vectors))[:n]]
    _, near = nearest(asked, vectors, min(101, len(vectors)))
    others = vectors[rng.integers(0, len(vectors), len(asked))]
    variances = np.linalg.eigvalsh(np.cov(asked.T.astype(np.float64)))
    return {
        "1st": round(float(near[:, 1].mean()), 3),
        "10th": round(float(near[:, min(10, near.shape[1] - 1)].mean()), 3),
        "100th": round(float(near[:, -1].mean()), 3),
        "any": round(float((asked * others).sum(axis=1).mean()), 3),
        "directions": round(float(variances.sum() ** 2 / (variances**2).sum())),
    }


def nearest(
    queries: Floats, vectors: Floats | Halves, n: int
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Rows and cosines of each query's exact n nearest, nearest first; both (queries, n).

    Memory stays bounded whatever the number of vectors: they are compared by the block.
    """
    rows = np.zeros((len(queries), 0), np.int64)
    cosines = np.zeros((len(queries), 0), np.float32)
    for start in range(0, len(vectors), 20_000):
        block = np.asarray(vectors[start : start + 20_000], dtype=np.float32)
        for part in range(0, len(queries), 2_000):
            here = slice(part, part + 2_000)
            found = queries[here] @ block.T
            best = np.argpartition(-found, min(n, found.shape[1]) - 1, axis=1)[:, :n]
            if part == 0:
                new_rows = np.zeros((len(queries), best.shape[1]), np.int64)
                new_cosines = np.zeros((len(queries), best.shape[1]), np.float32)
            new_rows[here] = best + start
            new_cosines[here] = np.take_along_axis(found, best, axis=1)
        rows, cosines = np.hstack([rows, new_rows]), np.hstack([cosines, new_cosines])
        kept = np.argsort(-cosines, axis=1, kind="stable")[:, :n]
        rows = np.take_along_axis(rows, kept, axis=1)
        cosines = np.take_along_axis(cosines, kept, axis=1)
    return rows, cosines


def made_catalogue(home: Path, n: int, assets: Path) -> dict[str, Any]:
    """Fills the home's database with n papers and their vectors, and says how they were made.

    What a former call has written is kept, batch by batch, so that it may be interrupted.
    """
    said = home / "made.json"
    if said.is_file():
        kept: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
        return kept
    real = real_papers(assets)
    texts = [embedded_text(row.title, row.abstract) for row in real]
    embedded, titles = known(EMBEDDED), known(f"{EMBEDDED}-titles")
    digests = [
        (text_sha256(text), text_sha256(row.title)) for text, row in zip(texts, real, strict=True)
    ]
    places = [
        place for place, (text, title) in enumerate(digests) if text in embedded and title in titles
    ]
    if len(places) < 1_000:
        raise SystemExit("too few papers have an embedding: run `make bench-search` first")
    vectors = np.stack([embedded[digests[place][0]] for place in places]).astype(np.float32)
    of_titles = np.stack([titles[digests[place][1]] for place in places]).astype(np.float32)
    maker, vector_makers = Maker(real), vector_maker(vectors, of_titles)
    settings = Settings(home=home, cache=get_settings().cache_dir)
    open_database(settings).dispose()
    connection = sqlite3.connect(settings.home / "paperround.sqlite3")
    connection.execute("PRAGMA synchronous = OFF")
    real_places = set(places)
    (there,) = connection.execute("SELECT coalesce(max(id), 0) FROM paper").fetchone()
    for batch, start in enumerate(range(0, n, _BATCH)):
        end = min(start + _BATCH, n)
        if start < there:
            continue
        own, own_titles = vector_makers.vectors_of(batch, end - start)
        rows = real[start:end]
        for place in real_places.intersection(range(start, end)):
            own[place - start] = embedded[digests[place][0]]
            own_titles[place - start] = titles[digests[place][1]]
        if len(rows) < end - start:
            rows = [*rows, *maker.papers(batch, end - start - len(rows))]
        with connection:
            _write(connection, start + 1, rows, own.astype(np.float16), packed(own_titles))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    first = vectors[: len(vector_makers.vectors)]
    statistics = [
        {"vectors": "real", "number": len(vectors), **neighbour_statistics(vectors)},
        {
            "vectors": "made, as many",
            "number": len(vectors),
            **neighbour_statistics(vector_makers.vectors_of(_NO_BATCH, len(first))[0]),
        },
    ]
    done = {
        "papers": n,
        "real papers": min(n, len(real)),
        "real vectors": sum(place < n for place in places),
        "moved": vector_makers.moved,
        "neighbours": statistics,
    }
    said.write_text(json.dumps(done), encoding="utf-8")
    return done


def _made(
    vectors: Floats,
    neighbours: npt.NDArray[np.int64],
    moved: float,
    n: int,
    rng: np.random.Generator,
) -> Floats:
    a, c = rng.integers(0, len(vectors), n), rng.integers(0, len(vectors), n)
    b = neighbours[a, rng.integers(0, _NEIGHBOURS, n)]
    d = neighbours[c, rng.integers(0, _NEIGHBOURS, n)]
    t = rng.uniform(0.0, 0.5, (n, 1)).astype(np.float32)
    made = vectors[a] + t * (vectors[b] - vectors[a]) + moved * (vectors[c] - vectors[d])
    unit: Floats = made / np.linalg.norm(made, axis=1, keepdims=True)
    return unit.astype(np.float32)


def _write(
    connection: sqlite3.Connection,
    first: int,
    rows: Sequence[Row],
    vectors: Halves,
    titles: npt.NDArray[np.int8],
) -> None:
    now = utc_now().replace(tzinfo=None).isoformat(" ")
    connection.executemany(
        "INSERT INTO paper (id, key, title, abstract, title_text, abstract_text, authors,"
        " categories, day, listed, links, keywords, withdrawn, votes, comments, title_key,"
        " added_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '[]', '[]', 0, 0, 0, '', ?, ?)",
        [
            (
                number,
                f"paper-{number}",
                row.title,
                row.abstract,
                row.title,
                row.abstract,
                json.dumps(row.authors, ensure_ascii=False),
                json.dumps(row.categories),
                (day := (row.day - timedelta(days=number % 5)).isoformat()),
                day,
                now,
                now,
            )
            for number, row in enumerate(rows, start=first)
        ],
    )
    connection.executemany(
        "INSERT INTO embedding (paper_id, model, text_sha256, vector, title_vector, number)"
        " VALUES (?, ?, zeroblob(32), ?, ?, ?)",
        [
            (number, MODEL, vector.tobytes(), title.tobytes(), number)
            for number, (vector, title) in enumerate(zip(vectors, titles, strict=True), start=first)
        ],
    )
