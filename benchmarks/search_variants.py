"""Other ways of ranking, tried on the development queries: `make bench-search-variants`.

Over the three sets of `make bench-search`, from their embeddings in the cache: what each way adds
to the nDCG@10 of words and meaning fused as they are, with a paired bootstrap over the queries. A
way is kept if it gains on every set. Writes benchmarks/results/search-variants.md.

- a query moved toward its first answers (pseudo-relevance feedback by vectors: Rocchio)
- the query's words joined by telling words of its first answers (RM3; Abdul-Jaleel et al., 2004)
- papers' vectors moved toward their nearest (what is around a paper says what it is about)
- vectors without their mean or their largest common directions (Mu and Viswanath, ICLR 2018)
- titles left out, summed with the whole text, or of more or less weight
- meaning weighted by how long the query is
- both fused with every candidate's BM25 scaled from its lowest, as others do it

`--rerank FOLDER` measures what a model that reads query and text together makes of the first ten
of a sample of SciFact's queries, and how long it takes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.embedded import embedded
from benchmarks.search import (
    Judged,
    Rows,
    ahead_by,
    database_of,
    fill,
    judged_sets,
    ndcg_at_10,
    write_results,
)
from paperround.discovery.embedding import embedded_text
from paperround.discovery.fusion import MEANING_WEIGHT, TITLE_DISCOUNT
from paperround.discovery.query_language import parse
from paperround.discovery.searching import Searcher
from paperround.runs.environment import describe_environment
from paperround.settings import get_settings

Floats = npt.NDArray[np.float32]
# Scores of one query: every document's BM25 (0 where no word was found), and its cosine.
Ranked = npt.NDArray[np.float64]
# The queries that are ranked again, and how many of each one's first.
RERANKED, FIRST = 40, 10


@dataclass(frozen=True)
class Scored:
    """A set with what every variant starts from."""

    judged: Judged
    keys: list[str]
    # (documents, 384) and (queries, 384), unit length.
    documents: Floats
    titles: Floats
    queries: Floats
    # (queries, documents): BM25 of what words found, 0 elsewhere.
    bm25: list[dict[int, float]]
    rank: Callable[[str], dict[int, float]]


def main() -> None:
    """Measures, prints, and writes both files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rerank", type=Path, help="a folder with a model")
    parser.add_argument("--by", default="auto", help="how the model is asked")
    parser.add_argument("--budget", type=float, default=300, help="seconds of embedding a set")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("results"))
    arguments = parser.parse_args()
    assets = get_settings().assets
    sections: dict[str, Rows] = {}
    with tempfile.TemporaryDirectory() as folder:
        for judged in judged_sets(assets / "papers" if assets else Path("absent")):
            scored = _scored(Path(folder) / judged.name, judged, arguments.budget)
            if scored is None:
                continue
            if arguments.rerank is None:
                sections[f"{judged.name}: {len(judged.queries)} queries"] = variants(scored)
            elif judged.name == "SciFact":
                sections["Ranked again"] = reranked(scored, arguments.rerank, arguments.by)
    write_results(
        arguments.out,
        describe_environment(os.cpu_count() or 1),
        sections,
        name="search-variants" if arguments.rerank is None else "search-rerank",
        notes=NOTES if arguments.rerank is None else (),
    )


NOTES = (
    "Kept is what gains on every set; the others stand here so that nobody need try them again.",
)


def variants(scored: Scored) -> Rows:
    """nDCG@10 of each way, and how far it is ahead of what search does now."""
    now = _per_query(scored, lambda q: fused(scored, q, scored.queries[q]))
    rows: Rows = [{"way": "as it is", "nDCG@10": round(statistics.fmean(now), 4), "ahead by": ""}]
    for name, way in ways(scored).items():
        found = _per_query(scored, way)
        rows.append(
            {
                "way": name,
                "nDCG@10": round(statistics.fmean(found), 4),
                "ahead by": ahead_by(found, now, "as it is").removesuffix(" of as it is"),
            }
        )
    return rows


def ways(scored: Scored) -> dict[str, Callable[[int], Ranked]]:
    """Each way as a function from a query's place to every document's score."""
    documents, queries = scored.documents, scored.queries
    made: dict[str, Callable[[int], Ranked]] = {}
    for n, beta in ((3, 0.2), (3, 0.5), (10, 0.3)):

        def moved(q: int, n: int = n, beta: float = beta) -> Ranked:
            first = np.argsort(-fused(scored, q, queries[q]))[:n]
            return fused(scored, q, _unit(queries[q] + beta * documents[first].mean(axis=0)))

        made[f"query moved by {beta:g} toward its first {n}"] = moved
    for n_words, weight in ((10, 0.2), (20, 0.4)):
        made[f"RM3: {n_words} words of the first 10, weight {weight:g}"] = _rm3(
            scored, n_words, weight
        )
    for n, gamma in ((3, 0.2), (5, 0.5)):
        around = _smoothed(documents, n, gamma)
        made[f"papers moved by {gamma:g} toward their nearest {n}"] = lambda q, around=around: (
            fused(scored, q, queries[q], around)
        )
    for n in (0, 1, 3):
        mean, directions = _common(documents, n)
        without = _unit(_projected(documents, mean, directions))
        titles = _unit(_projected(scored.titles, mean, directions))
        made[f"vectors without their mean and {n} directions"] = (
            lambda q, m=mean, d=directions, w=without, t=titles: fused(
                scored, q, _unit(_projected(queries[q], m, d)), w, t
            )
        )
    made["meaning without titles"] = lambda q: fused(
        scored, q, queries[q], cosines=documents @ queries[q]
    )
    for share in (0.1, 0.3, 0.5):
        made[f"a sum, {share:g} of it the title's cosine"] = lambda q, share=share: fused(
            scored,
            q,
            queries[q],
            cosines=(1 - share) * (documents @ queries[q]) + share * (scored.titles @ queries[q]),
        )
    for discount in (0.0, 0.05, 0.1):
        made[f"the better of text and title less {discount:g}"] = lambda q, discount=discount: (
            fused(
                scored,
                q,
                queries[q],
                cosines=np.maximum(documents @ queries[q], scored.titles @ queries[q] - discount),
            )
        )
    for slope in (0.01, 0.02, -0.01):

        def by_length(q: int, slope: float = slope) -> Ranked:
            n_words = len(parse(_text(scored, q)).words)
            weight = float(np.clip(MEANING_WEIGHT + slope * (n_words - 8), 0.4, 0.9))
            return fused(scored, q, queries[q], weight=weight)

        made[f"weight of meaning grows by {slope:g} a word"] = by_length
    made["BM25 and cosine scaled from the lowest to the highest"] = lambda q: _scaled_sum(scored, q)
    return made


def fused(
    scored: Scored,
    q: int,
    query: Floats,
    documents: Floats | None = None,
    titles: Floats | None = None,
    *,
    weight: float = MEANING_WEIGHT,
    cosines: npt.NDArray[np.floating] | None = None,
    bm25: Mapping[int, float] | None = None,
) -> Ranked:
    """`discovery.fusion.fuse` over all documents at once; what neither way found comes last."""
    told = np.zeros(len(scored.keys))
    for place, score in (scored.bm25[q] if bm25 is None else bm25).items():
        told[place] = score
    near = nearness(scored, query, documents, titles) if cosines is None else cosines
    best = told.max()
    return weight * near.astype(np.float64) + (1 - weight) * (told / best if best > 0 else told)


def nearness(
    scored: Scored, query: Floats, documents: Floats | None = None, titles: Floats | None = None
) -> npt.NDArray[np.floating]:
    """`discovery.fusion.by_meaning` of all documents."""
    texts = (scored.documents if documents is None else documents) @ query
    return np.maximum(texts, (scored.titles if titles is None else titles) @ query - TITLE_DISCOUNT)


def reranked(scored: Scored, folder: Path, by: str) -> Rows:
    """What a model makes of the first ten of some queries, alone and in parts, and its cost."""
    from paperround.kit.reranking import load_scorer

    scorer = load_scorer(folder, by)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    chosen = sorted(rng.permutation(len(scored.queries))[:RERANKED].tolist())
    kept, told, seconds = [], [], []
    for q in chosen:
        sums = fused(scored, q, scored.queries[q])
        first = np.argsort(-sums, kind="stable")[:FIRST]
        texts = [
            embedded_text(scored.judged.documents[i].title, scored.judged.documents[i].abstract)
            for i in first
        ]
        begun = time.perf_counter()
        told.append(np.array(scorer.scores(_text(scored, q), texts)))
        seconds.append(time.perf_counter() - begun)
        kept.append((first, sums[first]))
    rows: Rows = []
    before = [_ndcg(scored, q, first) for q, (first, _) in zip(chosen, kept, strict=True)]
    for weight in (0.0, 0.2, 0.5, 1.0):
        found = []
        for q, (first, had), scores in zip(chosen, kept, told, strict=True):
            total = weight * _standard(scores) + (1 - weight) * _standard(had)
            found.append(_ndcg(scored, q, first[np.argsort(-total, kind="stable")]))
        rows.append(
            {
                "model": "none" if weight == 0 else folder.name,
                "by": "" if weight == 0 else by,
                "weight": weight,
                "queries": len(chosen),
                "first": FIRST,
                "nDCG@10": round(statistics.fmean(found), 4),
                "ahead by": ahead_by(found, before, "none").removesuffix(" of none"),
                "seconds a query": 0.0 if weight == 0 else round(statistics.median(seconds), 2),
            }
        )
    return rows


def _scored(folder: Path, judged: Judged, budget: float) -> Scored | None:
    texts = [embedded_text(document.title, document.abstract) for document in judged.documents]
    name = judged.name.split()[0].lower()
    documents, n = embedded(name, texts, budget_s=budget)
    titles, n_titles = embedded(
        f"{name}-titles", [document.title for document in judged.documents], budget_s=budget
    )
    asked, n_asked = embedded(f"{name}-queries", list(judged.queries.values()), budget_s=budget)
    if n < len(texts) or n_titles < len(texts) or n_asked < len(judged.queries):
        return None
    engine, settings = database_of(folder)
    keys = fill(engine, judged.documents)
    place_of = {paper_id: place for place, paper_id in enumerate(keys)}
    searcher = Searcher(engine, settings)

    def rank(query: str) -> dict[int, float]:
        return {place_of[i]: score for i, score in searcher.ranking(query, mode="words")}

    return Scored(
        judged,
        list(keys.values()),
        documents,
        titles,
        asked,
        [rank(query) for query in judged.queries.values()],
        rank,
    )


def _rm3(scored: Scored, n_words: int, weight: float) -> Callable[[int], Ranked]:
    """The query's BM25 and that of the words that say most in its first ten, summed."""
    from collections import Counter

    from paperround.discovery.query_language import STOP_WORDS, WORD

    texts = [
        [
            word.casefold()
            for word in WORD.findall(embedded_text(document.title, document.abstract))
            if len(word) > 2 and word.casefold() not in STOP_WORDS
        ]
        for document in scored.judged.documents
    ]
    spread: Counter[str] = Counter()
    for words in texts:
        spread.update(set(words))

    def ranked(q: int) -> Ranked:
        own = scored.bm25[q]
        first = sorted(own, key=lambda place: -own[place])[:10]
        telling: Counter[str] = Counter()
        for place in first:
            for word, times in Counter(texts[place]).items():
                rarity = np.log(len(texts) / (1 + spread[word]))
                telling[word] += own[place] * times / max(1, len(texts[place])) * rarity
        words = [word for word, _ in telling.most_common(n_words)]
        if not words:
            return fused(scored, q, scored.queries[q])
        more = scored.rank(" ".join(words))
        top, top_more = max(own.values(), default=1.0), max(more.values(), default=1.0)
        summed = {
            place: (1 - weight) * own.get(place, 0.0) / top
            + weight * more.get(place, 0.0) / top_more
            for place in own.keys() | more.keys()
        }
        return fused(scored, q, scored.queries[q], bm25=summed)

    return ranked


def _smoothed(documents: Floats, n: int, gamma: float) -> Floats:
    moved = np.empty_like(documents)
    for start in range(0, len(documents), 1_000):
        here = documents[start : start + 1_000]
        near = np.argpartition(-(here @ documents.T), n + 1, axis=1)[:, : n + 1]
        moved[start : start + 1_000] = here + gamma * documents[near].mean(axis=1)
    return _unit(moved)


def _common(vectors: Floats, n: int) -> tuple[Floats, Floats]:
    mean = vectors.mean(axis=0)
    if n == 0:
        return mean, np.zeros((0, vectors.shape[1]), np.float32)
    _, directions = np.linalg.eigh(np.cov((vectors - mean).T.astype(np.float64)))
    return mean, directions[:, -n:].T.astype(np.float32)


def _projected(vectors: Floats, mean: Floats, directions: Floats) -> Floats:
    centred = vectors - mean
    projected: Floats = centred - (centred @ directions.T) @ directions
    return projected


def _scaled_sum(scored: Scored, q: int) -> Ranked:
    """Both scaled to 0..1 among the first thousand of either, as LlamaIndex and others do."""
    near = nearness(scored, scored.queries[q])
    among = np.union1d(
        np.argsort(-near)[:1000], np.array(list(scored.bm25[q]), dtype=np.int64)
    ).astype(np.int64)
    told = np.array([scored.bm25[q].get(int(place), 0.0) for place in among])
    sums = np.full(len(near), -1.0)
    scaled_near = (near[among] - near[among].min()) / max(1e-9, float(np.ptp(near[among])))
    scaled_told = (told - told.min()) / max(1e-9, float(np.ptp(told)))
    sums[among] = MEANING_WEIGHT * scaled_near + (1 - MEANING_WEIGHT) * scaled_told
    return sums


def _per_query(scored: Scored, way: Callable[[int], Ranked]) -> list[float]:
    return [
        _ndcg(scored, q, np.argsort(-way(q), kind="stable")[:10])
        for q in range(len(scored.queries))
    ]


def _ndcg(scored: Scored, q: int, places: Sequence[int] | npt.NDArray[np.int64]) -> float:
    name = list(scored.judged.queries)[q]
    return ndcg_at_10([scored.keys[place] for place in places], scored.judged.relevant[name])


def _text(scored: Scored, q: int) -> str:
    return list(scored.judged.queries.values())[q]


def _standard(scores: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    return (scores - scores.mean()) / (scores.std() or 1.0)


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


if __name__ == "__main__":
    main()
