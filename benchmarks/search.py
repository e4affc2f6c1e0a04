"""How well and how fast search answers: `make bench-search`.

Three parts, each a table in benchmarks/results/search.md and its figures in search.json:

1. The starter catalogue and one query, "sequential redundancy": how many of the 47 papers of the
   first page stand among the first 47 and the first 100 results. Nothing was tuned on it.
2. How long a search takes in a warm process, the query's embedding included, results with their
   highlights; and by words over the whole corpus file where PAPERROUND_ASSETS has it.
3. Retrieval on public queries where PAPERROUND_ASSETS has them: SciFact's training queries, TLDR to
   paper, and the SciRepEval sample of searches with the papers that people clicked. `--embed`
   embeds SciFact and SciRepEval too (minutes) and shows what other weights would do.

`words.WEIGHTS` was chosen on SciFact's training queries and the SciRepEval sample. Meaning counts
as much as words: on the SciRepEval sample no weight from 0.25 to 1.5 differed by more than .012.
"""

import argparse
import csv
import gzip
import json
import math
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, insert, select

from paperround.catalogue.records import PaperId
from paperround.catalogue.starter import import_starter
from paperround.catalogue.tables import AppearanceTable, PaperTable
from paperround.clock import utc_now
from paperround.db import connect, migrate, read, write
from paperround.discovery import queries, words
from paperround.discovery.embedding import Embedder, embedded_text, load_embedder
from paperround.discovery.fusion import reciprocal_rank_fusion
from paperround.discovery.search import FUSION_DEPTH, MEANING_WEIGHT, search
from paperround.discovery.searching import Searcher
from paperround.discovery.starter import load_starter_vectors
from paperround.discovery.vectors import VectorIndex
from paperround.runs.environment import describe_environment
from paperround.settings import get_settings

QUERY = "sequential redundancy"
FIRST_PAGE = "hf-page"
TLDR = "TLDR to paper"
N_TIMED_QUERIES = 200
TITLE_WEIGHTS = (1.0, 1.5, 2.0, 3.0, 5.0)
MEANING_WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)

Rows = list[dict[str, object]]


@dataclass(frozen=True)
class Document:
    """A text to be found."""

    key: str
    title: str
    abstract: str


@dataclass(frozen=True)
class Judged:
    """Queries and what answers them: query key to text, query key to document key to grade."""

    name: str
    documents: list[Document]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]


def main() -> None:
    """Measures, prints, and writes both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--embed", action="store_true", help="embed SciFact too (minutes)")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    sections: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as folder:
        engine = _database(Path(folder, "starter.sqlite3"))
        import_starter(engine)
        load_starter_vectors(engine)
        sections[f"The query “{QUERY}” over the starter catalogue"] = first_page(engine)
        sections["A warm search, milliseconds"] = latency(engine, "starter catalogue")
        engine.dispose()
        papers = get_settings().assets
        papers = papers / "papers" if papers else Path("absent")
        corpus = papers / "arxiv_cs_2025-03_2026-07.jsonl.gz"
        if corpus.is_file():
            engine = _database(Path(folder, "corpus.sqlite3"))
            _fill(engine, _corpus(corpus))
            sections["A warm search, milliseconds"] += latency(
                engine, "whole corpus", modes=["words"]
            )
            engine.dispose()
        embedder = load_embedder() if arguments.embed else None
        for judged in _judged_sets(papers):
            engine = _database(Path(folder, f"{judged.name}.sqlite3"))
            sections[f"{judged.name}: {len(judged.queries)} queries"] = retrieval(
                engine, judged, None if judged.name == TLDR else embedder
            )
            engine.dispose()
    write_results(arguments.out, describe_environment(os.cpu_count() or 1), sections)


def first_page(engine: Engine) -> Rows:
    """Recall of the first page's papers by each way of searching."""
    rows: Rows = []
    with read(engine) as connection:
        wanted = set(
            connection.scalars(
                select(AppearanceTable.paper_id).where(AppearanceTable.source == FIRST_PAGE)
            )
        )
        vectors = VectorIndex()
        vectors.refresh(connection)
        ways: dict[str, list[PaperId]] = {"FTS5, every word demanded": _all_words(connection)}
        tfidf = _tfidf(connection)
        if tfidf is not None:
            ways["TF-IDF, cosine (scikit-learn)"] = tfidf
        model = load_embedder()

        def embed(text: str) -> np.ndarray:
            return model.embed([text])[0]

        for mode in ("words", "meaning", "both"):
            answer = search(
                connection,
                QUERY,
                n=100,
                mode=mode,
                vectors=vectors,
                embed=lambda text: model.embed([text])[0],
            )
            if answer.mode_used != mode:
                raise SystemExit(f"no search by {mode}: {answer.note}")
            ways[f"Paperround, {mode}"] = [hit.paper.id for hit in answer.hits]
    for way, found in ways.items():
        rows.append(
            {
                "search": way,
                f"recall@{len(wanted)}": round(_recall(found[: len(wanted)], wanted), 3),
                "recall@100": round(_recall(found[:100], wanted), 3),
                "found in 100": len(wanted & set(found[:100])),
            }
        )
    return rows


def latency(engine: Engine, name: str, modes: Sequence[str] = ("words", "meaning", "both")) -> Rows:
    """Median and 95th percentile of searches with new queries of two to six words of a title."""
    with read(engine) as connection:
        titles = list(connection.scalars(select(PaperTable.title_text).order_by(PaperTable.id)))
    rng = random.Random(2026)
    searcher = Searcher(engine)
    rows: Rows = []
    for mode in modes:
        searcher.search("what warms a search up", mode=mode)
        took = []
        for title in rng.sample(titles, min(N_TIMED_QUERIES, len(titles))):
            telling = title.split()
            query = " ".join(rng.sample(telling, min(len(telling), rng.randint(2, 6))))
            started = time.perf_counter()
            searcher.search(query, mode=mode)
            took.append(1000 * (time.perf_counter() - started))
        rows.append(
            {
                "papers": f"{name} ({len(titles):,})",
                "search": mode,
                "median": round(statistics.median(took), 1),
                "p95": round(statistics.quantiles(took, n=20)[-1], 1),
            }
        )
    return rows


def retrieval(engine: Engine, judged: Judged, embedder: Embedder | None) -> Rows:
    """nDCG@10 and recall@100 of words, and with an embedder of meaning and both."""
    keys = _fill(engine, judged.documents)
    rows: Rows = []
    chosen = words.WEIGHTS
    with read(engine) as connection:
        for title_weight in TITLE_WEIGHTS if embedder else [chosen[0]]:
            weights = (title_weight, *chosen[1:])
            by_words = {
                query: queries.ids_by_words(
                    connection, words.match_expression(words.parse(text)), weights, FUSION_DEPTH
                )
                for query, text in judged.queries.items()
            }
            chosen_here = " (chosen)" if embedder and title_weight == chosen[0] else ""
            rows.append(
                {
                    "search": f"words, title x {title_weight:g}{chosen_here}",
                    **_scores(judged, {q: [keys[i] for i, _ in r] for q, r in by_words.items()}),
                }
            )
        if embedder is None:
            return rows
        by_words = {
            query: words.rank_by_words(connection, words.parse(text), FUSION_DEPTH)
            for query, text in judged.queries.items()
        }
    matrix = embedder.embed([embedded_text(d.title, d.abstract) for d in judged.documents])
    asked = embedder.embed(list(judged.queries.values()))
    ids = list(keys)
    by_meaning = {
        query: [ids[row] for row in np.argsort(-(matrix @ vector), kind="stable")[:FUSION_DEPTH]]
        for query, vector in zip(judged.queries, asked, strict=True)
    }
    rows.append(
        {
            "search": "meaning",
            **_scores(judged, {q: [keys[i] for i in r] for q, r in by_meaning.items()}),
        }
    )
    for weight in MEANING_WEIGHTS:
        fused = {
            query: reciprocal_rank_fusion(
                [[paper_id for paper_id, _ in by_words[query]], by_meaning[query]],
                weights=[1.0, weight],
            )
            for query in judged.queries
        }
        chosen_here = " (chosen)" if weight == MEANING_WEIGHT else ""
        rows.append(
            {
                "search": f"both, meaning x {weight:g}{chosen_here}",
                **_scores(judged, {q: [keys[i] for i, _ in r] for q, r in fused.items()}),
            }
        )
    return rows


def ndcg_at_10(found: Sequence[str], grades: Mapping[str, int]) -> float:
    """Normalised discounted cumulative gain of the first ten, 0 to 1; linear gain, as in BEIR."""
    gain = sum(
        grades.get(key, 0) / math.log2(rank + 1) for rank, key in enumerate(found[:10], start=1)
    )
    ideal = sorted(grades.values(), reverse=True)[:10]
    return gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(ideal, start=1))


def write_results(
    folder: Path, environment: Mapping[str, object], sections: Mapping[str, Rows]
) -> None:
    """Prints the tables, and writes search.md and search.json."""
    day = utc_now().date().isoformat()
    lines = [
        "# Search, measured",
        "",
        f"{day}, {environment['processor']}, {environment['cores']} cores,"
        f" Python {environment['python']}, commit {environment['commit']}."
        " `make bench-search` prints these again.",
    ]
    for title, rows in sections.items():
        heads = list(rows[0])
        lines += ["", f"## {title}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        lines += [f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows]
    text = "\n".join(lines) + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "search.md").write_text(text, encoding="utf-8")
    figures = {"date": day, "environment": environment, "sections": sections}
    (folder / "search.json").write_text(
        json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _scores(judged: Judged, found: Mapping[str, Sequence[str]]) -> dict[str, object]:
    relevant = {query: judged.relevant[query] for query in judged.queries}
    return {
        "nDCG@10": round(
            statistics.fmean(
                ndcg_at_10(found[query], grades) for query, grades in relevant.items()
            ),
            4,
        ),
        "recall@100": round(
            statistics.fmean(
                _recall(found[query][:100], set(grades)) for query, grades in relevant.items()
            ),
            4,
        ),
    }


def _recall(found: Sequence[object], wanted: Set[object]) -> float:
    return len(wanted & set(found)) / len(wanted)


def _all_words(connection: Connection) -> list[PaperId]:
    expression = " AND ".join(f'"{word}"' for word in QUERY.split())
    return [
        paper_id for paper_id, _ in queries.ids_by_words(connection, expression, (1, 1, 0), 100)
    ]


def _tfidf(connection: Connection) -> list[PaperId] | None:
    """The first 100 by the cosine of TF-IDF, as arxiv-sanity has it; None without scikit-learn."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
    except ImportError:
        print("TF-IDF is left out: scikit-learn is not installed")
        return None
    papers = list(queries.texts(connection))
    vectorizer = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, min_df=2, max_df=0.1, stop_words="english"
    )
    matrix = vectorizer.fit_transform([f"{title} {abstract}" for _, title, abstract in papers])
    scores = (matrix @ vectorizer.transform([QUERY]).T).toarray()[:, 0]
    return [papers[row][0] for row in np.argsort(-scores, kind="stable")[:100] if scores[row] > 0]


def _database(path: Path) -> Engine:
    engine = connect(f"sqlite:///{path}")
    migrate(engine)
    return engine


def _fill(engine: Engine, documents: Sequence[Document]) -> dict[PaperId, str]:
    """Writes texts as papers, without the catalogue's merging; gives the key of each id."""
    now = utc_now()
    with write(engine) as connection:
        connection.execute(
            insert(PaperTable),
            [
                {
                    "id": number,
                    "key": document.key,
                    "title": document.title,
                    "abstract": document.abstract,
                    "title_text": document.title,
                    "abstract_text": document.abstract,
                    "authors": [],
                    "categories": [],
                    "title_key": "",
                    "added_at": now,
                    "updated_at": now,
                }
                for number, document in enumerate(documents, start=1)
            ],
        )
    return {PaperId(number): document.key for number, document in enumerate(documents, start=1)}


def _corpus(path: Path) -> list[Document]:
    return [
        Document(row["id"], " ".join(row["title"].split()), " ".join(row["abstract"].split()))
        for row in _lines(path)
    ]


def _judged_sets(papers: Path) -> Iterator[Judged]:
    scifact = papers / "benchmarks" / "scifact"
    if scifact.is_dir():
        yield Judged(
            "SciFact",
            [
                Document(row["_id"], row["title"], row["text"])
                for row in _lines(scifact / "corpus.jsonl.gz")
            ],
            {row["_id"]: row["text"] for row in _lines(scifact / "queries.train.jsonl")},
            _grades(scifact / "qrels.train.tsv"),
        )
    tldr = papers / "benchmarks" / "tldr2paper"
    corpus = papers / "openreview_acl_metadata.jsonl.gz"
    if tldr.is_dir() and corpus.is_file():
        yield Judged(
            TLDR,
            [Document(row["id"], row["title"], row["abstract"] or "") for row in _lines(corpus)],
            {row["_id"]: row["text"] for row in _lines(tldr / "queries.dev.jsonl")},
            _grades(tldr / "qrels.dev.tsv"),
        )
    clicks = papers / "benchmarks" / "scirepeval_search" / "search_small.jsonl.gz"
    if clicks.is_file():
        yield _clicked(clicks)


def _clicked(path: Path) -> Judged:
    """Every candidate of every query in one pool; relevant is what was clicked."""
    documents: dict[str, Document] = {}
    asked: dict[str, str] = {}
    clicked: dict[str, dict[str, int]] = {}
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for number, row in enumerate(map(json.loads, file)):
            for paper in row["candidates"]:
                key = str(paper["corpus_id"])
                documents[key] = Document(key, paper["title"] or "", paper["abstract"] or "")
                if (paper["score"] or 0) > 0:
                    asked[str(number)] = row["query"]
                    clicked.setdefault(str(number), {})[key] = int(paper["score"])
    return Judged("SciRepEval searches", list(documents.values()), asked, clicked)


def _grades(path: Path) -> dict[str, dict[str, int]]:
    grades: dict[str, dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            grades.setdefault(row["query-id"], {})[row["corpus-id"]] = int(row["score"])
    return grades


def _lines(path: Path) -> Iterator[dict[str, str]]:
    opened: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


if __name__ == "__main__":
    main()
