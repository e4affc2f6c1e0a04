"""What SlimPajama-DC claims of deduplication, measured on documents with planted copies.

Quick: abstracts of the starter catalogue. Standard: documents of seven domains, all abstracts of
fifteen months as they are, and in `training.py` what duplicates cost a small model.
"""

import gzip
import json
import lzma
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHashLSH

from paperround.papers.slimpajama_dc.baselines import (
    all_jaccard,
    components,
    datasketch_minhash,
    exact_hash_copies,
)
from paperround.papers.slimpajama_dc.corpora import abstracts, domain_documents
from paperround.papers.slimpajama_dc.deduplicator import MinHashDeduplicator
from paperround.papers.slimpajama_dc.minhash import (
    BANDS,
    MIN_CHARS,
    NUM_PERM,
    ROWS,
    Signature,
    band_keys,
    candidate_probability,
    char_shingles,
    clean_text,
    optimal_bands,
    signatures,
    true_jaccard,
)
from paperround.papers.slimpajama_dc.planting import (
    NEAR_TARGETS,
    Copy,
    Document,
    frequent_words,
    near_copy,
    plant,
    shingle_jaccard,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

# Below 200 pairs a share is too rough to be compared with a probability.
_MIN_PAIRS, _BIN_WIDTH = 200, 0.05
_CURVE_TARGETS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
_AGREEMENT_DOCUMENTS = 500


@dataclass(frozen=True)
class _Size:
    documents_per_source: int
    curve_pairs_per_target_and_seed: int


_SIZES = {Scale.QUICK: _Size(10_000, 160), Scale.STANDARD: _Size(600, 300)}


def reproduce(run: Run) -> None:
    """Measures every claim that the scale has a bar for."""
    quick = run.scale is Scale.QUICK
    size = _SIZES[run.scale]
    if quick:
        path = run.asset("arxiv-abstracts-starter") / "starter.jsonl.xz"
        with lzma.open(path, "rt", encoding="utf-8") as lines:
            documents = abstracts(lines)
    else:
        documents = domain_documents(
            run.asset("text-of-seven-domains"), size.documents_per_source, seed=run.seeds[0]
        )
    # A short document is dropped before it could meet a copy of itself.
    documents = [doc for doc in documents if len(clean_text(doc.text)) >= MIN_CHARS]
    measure_parameters(run)
    signed = sign(run, documents)
    words = frequent_words(documents)
    measure_curve(run, documents, signed, words, size.curve_pairs_per_target_and_seed)
    corpora = {seed: plant(documents, words, seed) for seed in run.seeds}
    measure_scopes(run, documents, signed, corpora)
    measure_agreement(run, *corpora[run.seeds[0]])
    show_real_copies(run, documents, signed)
    if not quick:
        measure_all_abstracts(run)
        # Only this part needs torch.
        from paperround.papers.slimpajama_dc.training import measure_training

        measure_training(run)


def measure_parameters(run: Run) -> None:
    """Whether 9 x 13 is the optimum for 0.8, by our search and by datasketch's."""
    theirs = MinHashLSH(threshold=0.8, num_perm=NUM_PERM)
    found = optimal_bands(0.8, NUM_PERM)
    run.measure(
        "parameters",
        float(found == (BANDS, ROWS)),
        baseline=float((theirs.b, theirs.r) == (BANDS, ROWS)),
    )


def sign(run: Run, documents: Sequence[Document]) -> dict[str, Signature]:
    """The signature of every document by its id, and the speed beside datasketch's."""
    texts = [doc.text for doc in documents]
    with run.stage("sign the documents", total=len(texts)) as stage:
        started = time.process_time()
        rows = signatures(texts)
        ours_s = (time.process_time() - started) / len(texts)
        stage.advance(len(texts))
    few = texts[:: max(1, len(texts) // 400)][:400]
    with run.stage("sign some with datasketch", total=len(few)) as stage:
        theirs = np.empty((len(few), NUM_PERM), dtype=np.uint32)
        started = time.process_time()
        for i, text in enumerate(few):
            theirs[i] = datasketch_minhash(text).hashvalues
            stage.advance()
        theirs_s = (time.process_time() - started) / len(few)
    characters = float(np.mean([len(text) for text in texts]))
    same = bool((signatures(few) == theirs).all())
    run.table(
        "Speed of signing, one core",
        ["implementation", "documents per second of processor time", "same signatures"],
        [
            ["ours (numpy, SHA-1 included)", round(1 / ours_s), same],
            ["datasketch 2.0, update_batch", round(1 / theirs_s), same],
        ],
        note=f"Documents of {characters:.0f} characters on average, shingling included.",
    )
    return {doc.id: row for doc, row in zip(documents, rows, strict=True)}


def measure_curve(
    run: Run,
    documents: Sequence[Document],
    signed: dict[str, Signature],
    words: Sequence[str],
    pairs_per_target: int,
) -> None:
    """The share of near copies that share a band, by their measured similarity, beside P(s)."""
    found: list[bool] = []
    similarity: list[float] = []
    total = len(run.seeds) * len(_CURVE_TARGETS) * pairs_per_target
    with run.stage("compare near copies with the curve", total=total) as stage:
        for seed in run.seeds:
            rng = random.Random(seed)
            originals = [doc for doc in documents if len(clean_text(doc.text)) >= 400]
            copies: list[str] = []
            chosen: list[Document] = []
            for original in rng.sample(originals, min(pairs_per_target, len(originals))):
                own = set(char_shingles(original.text))
                for target in _CURVE_TARGETS:
                    copy = near_copy(original.text, target, words, rng)
                    copies.append(copy)
                    chosen.append(original)
                    similarity.append(shingle_jaccard(own, copy))
                stage.advance(len(_CURVE_TARGETS))
            for original, row in zip(chosen, signatures(copies), strict=True):
                keys = set(band_keys(signed[original.id]))
                found.append(not keys.isdisjoint(band_keys(row)))
    s, hit = np.array(similarity), np.array(found)
    expected = np.array([candidate_probability(x) for x in s])
    rows, measured_line, distances = [], [], []
    bins = np.floor(s / _BIN_WIDTH + 1e-9).astype(int)
    for place in np.unique(bins):
        inside = bins == place
        n = int(inside.sum())
        if n < _MIN_PAIRS:
            continue
        middle, share = float(s[inside].mean()), float(hit[inside].mean())
        # The mean of P over the bin's own pairs: the curve is steep inside a bin.
        curve = float(expected[inside].mean())
        rows.append([round(middle, 3), n, round(share, 4), round(curve, 4)])
        measured_line.append((middle, share))
        distances.append(abs(share - curve))
    run.measure("detection-curve", max(distances), baseline=max(row[2] for row in rows))
    grid = [i / 100 for i in range(40, 101)]
    run.series(
        "Near copies found, by their similarity",
        {
            "measured": measured_line,
            "1 - (1 - s^13)^9": [(x, candidate_probability(x)) for x in grid],
            "exact hash": [(x, 0.0) for x in grid[:-1]],
        },
        x_label="true Jaccard similarity of 13-gram shingles",
        y_label="share of pairs found",
        note="The exact hash finds none of these; only at 1 it finds all.",
    )
    run.table(
        "Near copies found",
        ["mean similarity", "pairs", "found (share)", "mean P(s) (share)"],
        rows,
        note=f"Bins of {_BIN_WIDTH} in the measured similarity with at least {_MIN_PAIRS} pairs, "
        f"over {len(run.seeds)} seeds.",
    )


def measure_scopes(
    run: Run,
    documents: Sequence[Document],
    signed: dict[str, Signature],
    corpora: dict[int, tuple[list[Document], list[Copy]]],
) -> None:
    """Local against global deduplication of the planted corpora: copies, bytes, false merges."""
    per_kind: dict[tuple[str, str], list[float]] = {}
    removed: dict[str, list[tuple[int, float]]] = {"local": [], "global": [], "exact hash": []}
    matrices = {}
    with run.stage("deduplicate locally and globally", total=3 * len(run.seeds)) as stage:
        for seed, (corpus, copies) in corpora.items():
            rows = _signed_again(corpus, signed)
            text_of = {doc.id: doc.text for doc in corpus}
            size_of = {doc.id: len(doc.text.encode()) for doc in corpus}
            dropped: dict[str, dict[str, str]] = {"exact hash": exact_hash_copies(corpus)}
            stage.advance()
            for scope in ("local", "global"):
                dedup = MinHashDeduplicator(scope=scope).fit(
                    text_of.values(), text_of, (doc.source for doc in corpus), rows
                )
                dropped[scope] = dedup.duplicate_of_
                matrices[scope] = dedup.source_matrix()
                stage.advance()
            total = sum(size_of.values())
            for scope, gone in dropped.items():
                share = sum(size_of[i] for i in gone) / total
                removed[scope].append((seed, share))
                for kind, found in _found_by_kind(gone, copies).items():
                    per_kind.setdefault((kind, scope), []).append(found)
            crossing = {scope: per_kind["cross", scope][-1] for scope in ("local", "global")}
            run.measure(
                "cross-source-copies",
                crossing["global"] - crossing["local"],
                baseline=crossing["local"],
                seed=seed,
            )
            run.measure(
                "global-removes-more",
                removed["global"][-1][1] / removed["local"][-1][1],
                baseline=removed["local"][-1][1],
                seed=seed,
            )
            wrong = _wrongly_dropped(dropped["global"], copies, text_of)
            run.measure("false-merges", wrong / len(corpus), baseline=0.0, seed=seed)
    kinds = sorted({kind for kind, _ in per_kind})
    run.table(
        "Planted copies removed (share), mean over the seeds",
        ["copies", "exact hash", "local", "global"],
        [
            [
                kind,
                *(
                    round(float(np.mean(per_kind[kind, s])), 4)
                    for s in ("exact hash", "local", "global")
                ),
            ]
            for kind in kinds
        ],
        note="cross and mirror stand in another source than their original, exact and near beside "
        "it. The exact hash is SHA-256 of the cleaned text, over all sources.",
    )
    run.series(
        "Bytes removed",
        {scope: [(seed, 100 * share) for seed, share in line] for scope, line in removed.items()},
        x_label="seed",
        y_label="bytes removed (%)",
        note="Of the corpus with its planted copies; the share itself is our choice.",
    )
    sources = sorted({doc.source for doc in documents})
    run.table(
        "Documents dropped, by their source (rows) and that of the kept one (columns)",
        ["source", *sources],
        [[a, *(matrices["global"].get((a, b), 0) for b in sources)] for a in sources],
        note="Global deduplication, last seed. Local deduplication has the diagonal only.",
    )
    corpus, copies = corpora[run.seeds[0]]
    texts = {doc.id: doc for doc in corpus}
    near = max((c for c in copies if c.kind == "near"), key=lambda c: -abs(c.jaccard - 0.8))
    run.sample(
        "A planted near copy",
        {"original": texts[near.original].text, "copy": texts[near.id].text},
        note=f"True Jaccard similarity {near.jaccard:.3f}: found with probability "
        f"{candidate_probability(near.jaccard):.2f}.",
    )


def measure_agreement(run: Run, corpus: Sequence[Document], copies: Sequence[Copy]) -> None:
    """Ours, datasketch's LSH, the paper's loop and brute force on 500 documents: the same pairs."""
    wanted = {copy.id for copy in copies[:150]} | {copy.original for copy in copies[:150]}
    few = [doc for doc in corpus if doc.id in wanted]
    few += [doc for doc in corpus if doc.id not in wanted][: _AGREEMENT_DOCUMENTS - len(few)]
    texts = [doc.text for doc in few]
    timings = {}
    with run.stage("agree with datasketch and brute force", total=4) as stage:
        started = time.process_time()
        dedup = MinHashDeduplicator(min_chars=0).fit(texts)
        keys = [set(band_keys(row)) for row in signatures(texts)]
        ours = {
            (i, j) for i in range(len(few)) for j in range(i) if not keys[i].isdisjoint(keys[j])
        }
        timings["ours"] = time.process_time() - started
        stage.advance()
        started = time.process_time()
        sketches = [datasketch_minhash(text) for text in texts]
        lsh = MinHashLSH(num_perm=NUM_PERM, params=(BANDS, ROWS))
        for i, sketch in enumerate(sketches):
            lsh.insert(i, sketch)
        theirs = {(i, j) for i, sketch in enumerate(sketches) for j in lsh.query(sketch) if j < i}
        timings["datasketch MinHashLSH"] = time.process_time() - started
        stage.advance()
        values = np.stack([sketch.hashvalues for sketch in sketches])[:, : BANDS * ROWS]
        bands = values.reshape(len(few), BANDS, ROWS)
        brute = {
            (i, int(j))
            for i in range(len(few))
            for j in np.flatnonzero((bands[:i] == bands[i]).all(axis=2).any(axis=1))
        }
        stage.advance()
        started = time.process_time()
        jaccard = all_jaccard(texts)
        timings["all pairs, true Jaccard"] = time.process_time() - started
        stage.advance()
    # The paper's loop: a pair per band with the first document of a key, then components.
    clusters = components(len(few), theirs)
    same_clusters = {frozenset(c) for c in dedup.clusters_} == clusters
    union = ours | theirs | brute
    agreement = len(ours & theirs & brute) / len(union) if same_clusters and union else 0.0
    run.measure("agreement", agreement, baseline=len(theirs & brute) / len(theirs | brute))
    alike = {(int(i), int(j)) for i, j in np.argwhere(jaccard >= 0.8) if j < i}
    exact = exact_hash_copies(few)
    run.table(
        f"Four ways to find the copies among {len(few)} documents",
        ["way", "pairs", "of the pairs with J >= 0.8 (share)", "processor seconds"],
        [
            ["MinHash-LSH, ours", len(ours), _share(ours, alike), round(timings["ours"], 2)],
            [
                "MinHash-LSH, datasketch 2.0",
                len(theirs),
                _share(theirs, alike),
                round(timings["datasketch MinHashLSH"], 2),
            ],
            [
                "true Jaccard >= 0.8 of all pairs",
                len(alike),
                1.0,
                round(timings["all pairs, true Jaccard"], 2),
            ],
            [
                "exact hash of the cleaned text",
                len(exact),
                round(len(exact) / max(1, len(alike)), 3),
                0.0,
            ],
        ],
        note="Pairs that share a band; all pairs counted, not only those with the first.",
    )


def show_real_copies(run: Run, documents: Sequence[Document], signed: dict[str, Signature]) -> None:
    """What the deduplicator finds among the documents as they are, nothing planted."""
    text_of = {doc.id: doc.text for doc in documents}
    with run.stage("look for copies among the documents as they are"):
        found = MinHashDeduplicator().fit(text_of.values(), text_of, signed=signed.values())
        near = MinHashDeduplicator(threshold=0.3).fit(
            text_of.values(), text_of, signed=signed.values()
        )
        pairs = sorted(
            ((true_jaccard(text_of[a], text_of[b]), a, b) for a, b in near.pairs_), reverse=True
        )
    run.note(
        f"Among the {len(documents)} documents as they are, the paper's parameters find "
        f"{len(found.duplicate_of_)} near-duplicates and {len(found.short_)} short documents; "
        f"the most similar pair that looser bands (for 0.3) find has a true Jaccard similarity of "
        f"{pairs[0][0]:.3f}."
        if pairs
        else f"Among the {len(documents)} documents as they are, no two are alike."
    )
    for jaccard, a, b in pairs[:2]:
        run.sample(
            "The most similar real documents",
            {a: text_of[a], b: text_of[b]},
            note=f"True Jaccard similarity {jaccard:.3f}; nothing planted here.",
        )


def measure_all_abstracts(run: Run) -> None:
    """All 74,726 abstracts as they are: real near-duplicates, their share, and the time it took."""
    folder = run.asset("arxiv-abstracts-2025-2026")
    with gzip.open(folder / "arxiv_cs_2025-03_2026-07.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    text_of = {row["id"]: row["abstract"] for row in rows}
    title_of = {row["id"]: row["title"] for row in rows}
    dedup = MinHashDeduplicator()
    ids = list(text_of)
    with run.stage("deduplicate all abstracts", total=len(ids)) as stage:
        started = time.process_time()
        for start in range(0, len(ids), 2_048):
            part = ids[start : start + 2_048]
            dedup.partial_fit([text_of[i] for i in part], part)
            stage.advance(len(part))
        seconds = time.process_time() - started
    with run.stage("sign 1,000 with datasketch", total=1_000) as stage:
        started = time.process_time()
        lsh = MinHashLSH(num_perm=NUM_PERM, params=(BANDS, ROWS))
        for i in ids[:1_000]:
            lsh.insert(i, datasketch_minhash(text_of[i]))
            stage.advance()
        theirs = 1_000 / (time.process_time() - started)
    exact = exact_hash_copies([Document(i, "arxiv", text) for i, text in text_of.items()])
    jaccards = [true_jaccard(text_of[a], text_of[b]) for a, b in dedup.pairs_]
    total = sum(len(text.encode()) for text in text_of.values())
    gone = sum(len(text_of[i].encode()) for i in dedup.duplicate_of_)
    run.table(
        "All abstracts as they are",
        ["what", "value"],
        [
            ["abstracts", len(ids)],
            ["near-duplicates dropped", len(dedup.duplicate_of_)],
            ["largest cluster", max((len(c) for c in dedup.clusters_), default=0)],
            ["dropped by the exact hash of the cleaned text", len(exact)],
            ["bytes removed (%)", round(100 * gone / total, 3)],
            [
                "short, under 200 cleaned characters (%)",
                round(100 * len(dedup.short_) / len(ids), 3),
            ],
            ["pairs with true Jaccard below 0.5", sum(s < 0.5 for s in jaccards)],
            ["lowest true Jaccard of a pair", round(min(jaccards, default=1.0), 3)],
            ["documents per second of processor time, ours", round(len(ids) / seconds)],
            ["documents per second of processor time, datasketch's MinHashLSH", round(theirs)],
        ],
    )
    for (a, b), jaccard in sorted(zip(dedup.pairs_, jaccards, strict=True), key=lambda p: p[1])[:3]:
        run.sample(
            "Real near-duplicates",
            {f"{i}: {title_of[i]}": text_of[i] for i in (a, b)},
            note=f"True Jaccard similarity {jaccard:.3f}; two papers of the listings.",
        )


def _signed_again(corpus: Sequence[Document], signed: dict[str, Signature]) -> list[Signature]:
    """The corpus's signatures; only those of documents that are not known are computed."""
    new = [doc for doc in corpus if doc.id not in signed]
    rows = signatures([doc.text for doc in new])
    known = signed | {doc.id: row for doc, row in zip(new, rows, strict=True)}
    return [known[doc.id] for doc in corpus]


def _found_by_kind(dropped: dict[str, str], copies: Sequence[Copy]) -> dict[str, float]:
    """The share of each kind of planted copy of which one of the two was dropped for the other."""
    hits: dict[str, list[bool]] = {}
    for copy in copies:
        kind: str = copy.kind
        if kind == "near":
            kind = f"near {min(NEAR_TARGETS, key=lambda target: abs(target - copy.jaccard))}"
        home = dropped.get(copy.id, copy.id), dropped.get(copy.original, copy.original)
        hits.setdefault(kind, []).append(home[0] == home[1])
    return {kind: float(np.mean(found)) for kind, found in hits.items()}


def _wrongly_dropped(
    dropped: dict[str, str], copies: Sequence[Copy], text_of: dict[str, str]
) -> int:
    """How many documents were dropped for one that is neither planted as theirs nor alike."""
    planted = {(copy.id, copy.original) for copy in copies}
    return sum(
        true_jaccard(text_of[i], text_of[kept]) < 0.5
        for i, kept in dropped.items()
        if (i, kept) not in planted and (kept, i) not in planted
    )


def _share(found: set[tuple[int, int]], wanted: set[tuple[int, int]]) -> float:
    return round(len(found & wanted) / max(1, len(wanted)), 3)
