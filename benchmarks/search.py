"""How well search answers: `make bench-search`. How fast at scale: `make bench-search-scale`.

Each part is a table in benchmarks/results/search.md, its figures in search.json:

1. One query, "sequential redundancy": how many of the 47 papers of the first page are found in the
   starter catalogue, among all papers of the arXiv corpus by words, and, by meaning too, among as
   many of them, in random order, as are embedded. A picture; nothing was tuned on it.
2. Retrieval on public queries where PAPERROUND_ASSETS has them: SciFact's training queries, TLDR to
   paper, and the SciRepEval sample of searches with the papers that people clicked. Words alone,
   meaning alone and both, with a paired bootstrap over the queries of how far both is ahead of the
   better of the two; what other ways of fusing would give; and what others make of the same texts
   and vectors: SQLite's FTS5, Tantivy and LanceDB alone (`search_peers.py`).
3. How long a search of the starter catalogue takes in a warm process.

The weights in fusion.py and word_index.py were chosen on the queries of part 2 and on nothing else.
Embeddings are computed once and kept in the cache, for `--budget` seconds a set at a time (the
three sets take some twenty minutes of one processor in all, the whole corpus two hours); a set that
is not done yet has words alone in its table.
"""

import argparse
import csv
import gzip
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sqlalchemy import Connection, Engine, insert, select

from benchmarks import search_peers
from benchmarks.embedded import embedded
from paperround.catalogue.records import PaperId
from paperround.catalogue.starter import import_starter
from paperround.catalogue.tables import AppearanceTable, PaperTable
from paperround.catalogue.text import plain_text
from paperround.clock import utc_now
from paperround.db import open_database, read, write
from paperround.discovery import queries
from paperround.discovery.embedding import MODEL, QueryEmbedder, embedded_text, packed, text_sha256
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
# Other queries of the same benchmark, by others: they say what to expect, and are no comparison.
KNOWN = (
    {"SciFact's test queries": "BM25 (Anserini, multifield; bm25s)", "nDCG@10": ".665; .687"},
    {"SciFact's test queries": "BM25 (SQLite FTS5; DuckDB; PostgreSQL's ts_rank; quackir)",
     "nDCG@10": ".686; .680; .569"},
    {"SciFact's test queries": "all-MiniLM-L6-v2 alone (MTEB)", "nDCG@10": ".645"},
    {"SciFact's test queries": "bge-base-en-v1.5 alone, five times the size (MTEB)",
     "nDCG@10": ".744"},
    {"SciFact's test queries": "BM25 and bge-base by rank (RRF; quackir, DuckDB)",
     "nDCG@10": ".744"},
)  # fmt: skip

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
    parser.add_argument("--budget", type=float, default=1500, help="seconds of embedding a set")
    parser.add_argument("--corpus-papers", type=int, default=5_000, help="to embed of the corpus")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    papers = get_settings().assets
    papers = papers / "papers" if papers else Path("absent")
    sections: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine, settings = database_of(folder / "starter")
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
        for judged in judged_sets(papers):
            sections[f"{judged.name}: {len(judged.queries)} queries"] = retrieval(
                folder / judged.name, judged, arguments.budget
            )
        corpus = papers / "arxiv_cs_2025-03_2026-07.jsonl.gz"
        if corpus.is_file():
            sections[f"The query “{QUERY}” over the arXiv corpus"] = whole_corpus(
                folder / "corpus", corpus, titles, arguments.corpus_papers, arguments.budget
            )
    sections["Known figures"] = [dict(row) for row in KNOWN]
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


def whole_corpus(
    folder: Path, path: Path, titles: Mapping[str, Document], n: int, budget: float
) -> Rows:
    """The same among all papers of the corpus, by words; by meaning among those embedded.

    These are the first n of the corpus in a random order, or as many as the cache holds; the papers
    of the page that are not among them are added to both.
    """
    documents = [document for document in corpus_documents(path) if document.key not in titles]
    texts = [embedded_text(document.title, document.abstract) for document in documents]
    _, n_embedded = embedded("arxiv", texts[:n], budget_s=budget)
    if n_embedded == n:
        _, n_embedded = embedded("arxiv", texts, budget_s=0)
    rows: Rows = []
    for some, modes in (
        (documents, ("words",)),
        (documents[:n_embedded], ("words", "meaning", "both")),
    ):
        every = [*titles.values(), *some]
        engine, settings = database_of(folder / str(len(every)))
        keys = fill(engine, every)
        if "meaning" in modes:
            _store(engine, "arxiv", every[: len(titles)], budget)
            _store(engine, "arxiv", some, budget, first=len(titles) + 1)
        wanted = {paper_id for paper_id, key in keys.items() if key in titles}
        searcher = Searcher(engine, settings)
        for mode in modes:
            found = [paper for paper, _ in searcher.ranking(QUERY, mode=mode)]
            rows.append(
                {
                    "papers": f"{len(every):,}",
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
    engine, settings = database_of(folder)
    keys = fill(engine, judged.documents)
    has_meaning = _store(engine, judged.name, judged.documents, budget)
    searcher = Searcher(engine, settings)
    beside = _peers(folder, engine, settings, has_meaning)
    found: dict[str, dict[str, list[tuple[PaperId, float]]]] = {
        mode: {query: searcher.ranking(text, mode=mode) for query, text in judged.queries.items()}
        for mode in (("words", "meaning", "both") if has_meaning else ("words",))
    }
    engine.dispose()
    per_query = {mode: _ndcgs(judged, keys, ranked) for mode, ranked in found.items()}
    rows = [
        {"search": f"Paperround, {mode}", **_scores(judged, keys, ranked)}
        for mode, ranked in found.items()
    ]
    others: Rows = []
    for name, ask in beside.items():
        # Its ids in its order; their scores say nothing here.
        ranked = {
            query: [(PaperId(paper), 0.0) for paper in ask(text, 100)]
            for query, text in judged.queries.items()
        }
        others.append({"search": name, **_scores(judged, keys, ranked)})
        if has_meaning:
            others[-1]["both is ahead by"] = ahead_by(
                per_query["both"], _ndcgs(judged, keys, ranked), "it"
            )
    if not has_meaning:
        return [*rows, *others]
    alone = max(("words", "meaning"), key=lambda mode: statistics.fmean(per_query[mode]))
    rows[-1]["both is ahead by"] = ahead_by(per_query["both"], per_query[alone], alone)
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
    return [{**dict.fromkeys(rows[2], ""), **row} for row in [*rows, *others]]


def ahead_by(ours: Sequence[float], others: Sequence[float], name: str) -> str:
    """How far one is ahead of the other: the mean over queries, and where 95 % of resamples lie."""
    ahead = np.array(ours) - np.array(others)
    rng = np.random.default_rng(0)
    means = ahead[rng.integers(0, len(ahead), (RESAMPLES, len(ahead)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return f"{ahead.mean():+.4f} ({low:+.4f} to {high:+.4f}) of {name}"


def _peers(
    folder: Path, engine: Engine, settings: Settings, has_meaning: bool
) -> search_peers.Peers:
    database = settings.home / "paperround.sqlite3"
    peers = {
        "SQLite FTS5 alone": search_peers.fts5(database, folder),
        "Tantivy alone": search_peers.tantivy_alone(database, folder),
    }
    if has_meaning:
        try:
            made = search_peers.lancedb(database, folder, QueryEmbedder(settings))
        except (subprocess.SubprocessError, OSError) as error:
            print(f"LanceDB is left out: {error}", file=sys.stderr)
            return peers
        peers |= {f"LanceDB, {how}": ask for how, ask in made.items()}
    return peers


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
    notes: Sequence[str] = (),
) -> None:
    """Prints the tables, and writes NAME.md and NAME.json."""
    day = utc_now().date().isoformat()
    lines = [
        "# Search, measured",
        "",
        f"{day}, {environment['processor']}, {environment['cores']} cores,"
        f" Python {environment['python']}, commit {environment['commit']}."
        f" `make bench-{name}` prints these again.",
        *(line for note in notes for line in ("", note)),
    ]
    for title, rows in sections.items():
        heads = list(rows[0])
        lines += ["", f"## {title}", "", f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
        lines += [f"| {' | '.join(str(row[head]) for head in heads)} |" for row in rows]
    text = "\n".join(lines) + "\n"
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")
    figures = {"date": day, "environment": environment, "notes": list(notes), "sections": sections}
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


def database_of(home: Path) -> tuple[Engine, Settings]:
    """A fresh home's database, with the models of this one."""
    settings = Settings(home=home, cache=get_settings().cache_dir)
    return open_database(settings), settings


def _store(
    engine: Engine, name: str, documents: Sequence[Document], budget: float, first: int = 1
) -> bool:
    """Whether the documents have their embeddings now, numbered from `first` as `fill` does."""
    texts = [embedded_text(document.title, document.abstract) for document in documents]
    kept = name.split()[0].lower()
    rows, n = embedded(kept, texts, budget_s=budget)
    titles, n_titles = embedded(
        f"{kept}-titles", [document.title for document in documents], budget_s=budget
    )
    if min(n, n_titles) < len(texts):
        return False
    with write(engine) as connection:
        queries.store_embeddings(
            connection,
            [
                queries.EmbeddingRow(
                    PaperId(number), MODEL, text_sha256(text), row.tobytes(), title.tobytes()
                )
                for number, (text, row, title) in enumerate(
                    zip(texts, rows.astype(np.float16), packed(titles), strict=True), start=first
                )
            ],
        )
    return True


def fill(engine: Engine, documents: Sequence[Document]) -> dict[PaperId, str]:
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


def corpus_documents(path: Path) -> list[Document]:
    """The papers of the arXiv corpus in a random order, the same every time."""
    documents = [_document(row["id"], row["title"], row["abstract"]) for row in _lines(path)]
    random.Random(2026).shuffle(documents)
    return documents


def _document(key: str, title: str | None, abstract: str | None) -> Document:
    """With plain words for LaTeX, as an import reads it."""
    return Document(key, plain_text(title or ""), plain_text(abstract or ""))


def judged_sets(papers: Path) -> Iterator[Judged]:
    """Those that the folder of papers holds."""
    scifact = papers / "benchmarks" / "scifact"
    if scifact.is_dir():
        yield Judged(
            "SciFact",
            [
                _document(row["_id"], row["title"], row["text"])
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
            [_document(row["id"], row["title"], row["abstract"]) for row in _lines(corpus)],
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
                documents[key] = _document(key, paper["title"], paper["abstract"])
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
