"""How well search answers: `make bench-search`. How fast at scale: `make bench-search-scale`.

Each part is a table in benchmarks/results/search.md, its figures in search.json:

1. One query, "sequential redundancy", over the starter catalogue and over the whole arXiv corpus:
   how many of the 47 papers of the first page are found. A picture; nothing was tuned on it.
2. Retrieval on public queries where PAPERROUND_ASSETS has them: SciFact's training queries, TLDR to
   paper, and the SciRepEval sample of searches with the papers that people clicked. Words alone,
   meaning alone and both, with a paired bootstrap over the queries of how far both is ahead of the
   better of the two; and what other ways of fusing would give.
3. How long a search of the starter catalogue takes in a warm process.

The weights in fusion.py and word_index.py were chosen on the queries of part 2 and on nothing else.
Embeddings of the sets are computed once and kept in the cache; `--budget` says for how many seconds
at a time, and a set that is not done yet has words alone in its table.
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

from benchmarks.embedded import embedded
from paperround.catalogue.records import PaperId
from paperround.catalogue.starter import import_starter
from paperround.catalogue.tables import AppearanceTable, PaperTable
from paperround.clock import utc_now
from paperround.db import open_database, read, write
from paperround.discovery import queries
from paperround.discovery.embedding import MODEL, embedded_text, text_sha256
from paperround.discovery.fusion import MEANING_WEIGHT, fuse
from paperround.discovery.searching import Searcher
from paperround.discovery.starter import load_starter_vectors
from paperround.runs.environment import describe_environment
from paperround.settings import Settings, get_settings

QUERY = "sequential redundancy"
FIRST_PAGE = "hf-page"
TLDR = "TLDR to paper"
N_TIMED_QUERIES = 200
MEANING_WEIGHTS = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
# As in the paper (Cormack, Clarke, Büttcher, SIGIR 2009).
RRF_K = 60
RESAMPLES = 2_000

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
    parser.add_argument("--budget", type=float, default=3600, help="seconds of embedding a set")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    papers = get_settings().assets
    papers = papers / "papers" if papers else Path("absent")
    sections: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine, settings = _database(folder / "starter")
        import_starter(engine)
        load_starter_vectors(engine)
        searcher = Searcher(engine, settings)
        wanted = _first_page(engine)
        sections[f"The query “{QUERY}” over the starter catalogue"] = first_page(
            engine, searcher, wanted
        )
        sections["A warm search of the starter catalogue, milliseconds"] = latency(engine, searcher)
        titles = _titles(engine, wanted)
        engine.dispose()
        for judged in _judged_sets(papers):
            sections[f"{judged.name}: {len(judged.queries)} queries"] = retrieval(
                folder / judged.name, judged, arguments.budget
            )
        corpus = papers / "arxiv_cs_2025-03_2026-07.jsonl.gz"
        if corpus.is_file():
            sections[f"The query “{QUERY}” over the whole corpus"] = whole_corpus(
                folder / "corpus", corpus, titles, arguments.budget
            )
    write_results(arguments.out, describe_environment(os.cpu_count() or 1), sections)


def first_page(engine: Engine, searcher: Searcher, wanted: Set[PaperId]) -> Rows:
    """Recall of the first page's papers by each way of searching."""
    ways: dict[str, list[PaperId]] = {}
    with read(engine) as connection:
        tfidf = _tfidf(connection)
        if tfidf is not None:
            ways["TF-IDF, cosine (scikit-learn)"] = tfidf
    for mode in ("words", "meaning", "both"):
        ways[f"Paperround, {mode}"] = [paper for paper, _ in searcher.ranking(QUERY, mode=mode)]
    return [
        {
            "search": way,
            f"recall@{len(wanted)}": round(_recall(found[: len(wanted)], wanted), 3),
            "recall@100": round(_recall(found[:100], wanted), 3),
            "recall@200": round(_recall(found[:200], wanted), 3),
        }
        for way, found in ways.items()
    ]


def whole_corpus(folder: Path, path: Path, titles: Mapping[str, Document], budget: float) -> Rows:
    """The same among all papers of the corpus; those of the page that it lacks are added."""
    documents = {document.key: document for document in _corpus(path)}
    documents |= {key: document for key, document in titles.items() if key not in documents}
    engine, settings = _database(folder)
    keys = _fill(engine, list(documents.values()))
    has_meaning = _store(engine, "arxiv", list(documents.values()), budget)
    wanted = {paper_id for paper_id, key in keys.items() if key in titles}
    searcher = Searcher(engine, settings)
    rows: Rows = []
    for mode in ("words", "meaning", "both") if has_meaning else ("words",):
        found = [paper for paper, _ in searcher.ranking(QUERY, mode=mode)]
        rows.append(
            {
                "papers": f"{len(documents):,}",
                "search": mode,
                "recall@100": round(_recall(found[:100], wanted), 3),
                "recall@200": round(_recall(found[:200], wanted), 3),
            }
        )
    engine.dispose()
    return rows


def latency(engine: Engine, searcher: Searcher) -> Rows:
    """Median and 95th percentile of searches with new queries of two to six words of a title."""
    with read(engine) as connection:
        titles = list(connection.scalars(select(PaperTable.title_text).order_by(PaperTable.id)))
    rng = random.Random(2026)
    rows: Rows = []
    for mode in ("words", "meaning", "both"):
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
                "papers": f"{len(titles):,}",
                "search": mode,
                "median": round(statistics.median(took), 1),
                "p95": round(statistics.quantiles(took, n=20)[-1], 1),
            }
        )
    return rows


def retrieval(folder: Path, judged: Judged, budget: float) -> Rows:
    """nDCG@10 and recall@100 of words, meaning and both, and of other ways of fusing."""
    engine, settings = _database(folder)
    keys = _fill(engine, judged.documents)
    has_meaning = _store(engine, judged.name, judged.documents, budget)
    searcher = Searcher(engine, settings)
    found: dict[str, dict[str, list[tuple[PaperId, float]]]] = {
        mode: {query: searcher.ranking(text, mode=mode) for query, text in judged.queries.items()}
        for mode in (("words", "meaning", "both") if has_meaning else ("words",))
    }
    engine.dispose()
    per_query = {mode: _ndcgs(judged, keys, ranked) for mode, ranked in found.items()}
    rows = [{"search": mode, **_scores(judged, keys, ranked)} for mode, ranked in found.items()]
    if not has_meaning:
        return rows
    alone = max(("words", "meaning"), key=lambda mode: statistics.fmean(per_query[mode]))
    ahead = np.array(per_query["both"]) - np.array(per_query[alone])
    rng = np.random.default_rng(0)
    means = ahead[rng.integers(0, len(ahead), (RESAMPLES, len(ahead)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    rows[-1]["both is ahead by"] = f"{ahead.mean():+.4f} ({low:+.4f} to {high:+.4f}) of {alone}"
    for weight in MEANING_WEIGHTS:
        if weight != MEANING_WEIGHT:
            fused = {
                query: fuse(dict(found["words"][query]), dict(found["meaning"][query]), weight)
                for query in judged.queries
            }
            rows.append({"search": f"both, meaning x {weight:g}", **_scores(judged, keys, fused)})
    by_rank = {
        query: _by_rank([found[mode][query][:200] for mode in ("words", "meaning")])
        for query in judged.queries
    }
    rows.append({"search": "both, by rank (RRF)", **_scores(judged, keys, by_rank)})
    return [{**dict.fromkeys(rows[2], ""), **row} for row in rows]


def _by_rank(rankings: Sequence[Sequence[tuple[PaperId, float]]]) -> list[tuple[PaperId, float]]:
    sums: dict[PaperId, float] = {}
    for ranking in rankings:
        for rank, (paper_id, _) in enumerate(ranking, start=1):
            sums[paper_id] = sums.get(paper_id, 0.0) + 1 / (RRF_K + rank)
    return sorted(sums.items(), key=lambda item: -item[1])


def _ndcgs(
    judged: Judged,
    keys: Mapping[PaperId, str],
    ranked: Mapping[str, Sequence[tuple[PaperId, float]]],
) -> list[float]:
    return [
        ndcg_at_10([keys[paper] for paper, _ in ranked[query][:10]], judged.relevant[query])
        for query in judged.queries
    ]


def ndcg_at_10(found: Sequence[str], grades: Mapping[str, int]) -> float:
    """Normalised discounted cumulative gain of the first ten, 0 to 1; linear gain, as in BEIR."""
    gain = sum(
        grades.get(key, 0) / math.log2(rank + 1) for rank, key in enumerate(found[:10], start=1)
    )
    ideal = sorted(grades.values(), reverse=True)[:10]
    return gain / sum(grade / math.log2(rank + 1) for rank, grade in enumerate(ideal, start=1))


def write_results(
    folder: Path,
    environment: Mapping[str, object],
    sections: Mapping[str, Rows],
    name: str = "search",
) -> None:
    """Prints the tables, and writes NAME.md and NAME.json."""
    day = utc_now().date().isoformat()
    lines = [
        "# Search, measured",
        "",
        f"{day}, {environment['processor']}, {environment['cores']} cores,"
        f" Python {environment['python']}, commit {environment['commit']}."
        f" `make bench-{name}` prints these again.",
    ]
    for title, rows in sections.items():
        heads = list(rows[0])
        lines += ["", f"## {title}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        lines += [f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows]
    text = "\n".join(lines) + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    figures = {"date": day, "environment": environment, "sections": sections}
    (folder / f"{name}.json").write_text(
        json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )


def _scores(
    judged: Judged,
    keys: Mapping[PaperId, str],
    ranked: Mapping[str, Sequence[tuple[PaperId, float]]],
) -> dict[str, object]:
    recalls = [
        _recall([keys[paper] for paper, _ in ranked[query][:100]], set(judged.relevant[query]))
        for query in judged.queries
    ]
    return {
        "nDCG@10": round(statistics.fmean(_ndcgs(judged, keys, ranked)), 4),
        "recall@100": round(statistics.fmean(recalls), 4),
    }


def _recall(found: Sequence[object], wanted: Set[object]) -> float:
    return len(wanted & set(found)) / len(wanted)


def _first_page(engine: Engine) -> set[PaperId]:
    with read(engine) as connection:
        found = connection.scalars(
            select(AppearanceTable.paper_id).where(AppearanceTable.source == FIRST_PAGE)
        )
        return {PaperId(paper_id) for paper_id in found}


def _titles(engine: Engine, ids: Set[PaperId]) -> dict[str, Document]:
    with read(engine) as connection:
        rows = connection.execute(
            select(PaperTable.key, PaperTable.title_text, PaperTable.abstract_text).where(
                PaperTable.id.in_(ids)
            )
        )
        return {row.key: Document(row.key, row.title_text, row.abstract_text) for row in rows}


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


def _database(home: Path) -> tuple[Engine, Settings]:
    settings = Settings(home=home, cache=get_settings().cache_dir)
    return open_database(settings), settings


def _store(engine: Engine, name: str, documents: Sequence[Document], budget: float) -> bool:
    """Whether the documents have their embeddings now, numbered as `_fill` numbers them."""
    texts = [embedded_text(document.title, document.abstract) for document in documents]
    rows = embedded(name.split()[0].lower(), texts, budget_s=budget)
    if rows is None:
        return False
    with write(engine) as connection:
        queries.store_embeddings(
            connection,
            [
                queries.EmbeddingRow(
                    PaperId(number), MODEL, text_sha256(text), row.astype(np.float16).tobytes()
                )
                for number, (text, row) in enumerate(zip(texts, rows, strict=True), start=1)
            ],
        )
    return True


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
