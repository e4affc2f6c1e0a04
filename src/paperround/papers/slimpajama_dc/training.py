"""What duplicates, and a mixture's diversity, do to a small model at an equal token budget.

Every arm trains the same model for the same number of tokens and is judged on the same held-out
documents of all seven sources. Arms of one seed share their initial weights and their documents.
Arms run side by side, one process and one thread each.
"""

import random
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

import numpy as np
from numpy.typing import NDArray

from paperround.papers.slimpajama_dc.corpora import domain_documents
from paperround.papers.slimpajama_dc.corpus import decontaminate, mix
from paperround.papers.slimpajama_dc.deduplicator import MinHashDeduplicator
from paperround.papers.slimpajama_dc.planting import Document
from paperround.papers.slimpajama_dc.small_lm import Arm, Encoder, train_and_evaluate
from paperround.runs.reproduction import Run

# Sized for two cores: 21 arms at 7,000 tokens per second and core are about eight minutes.
N_TOKENS = 600 * 4 * 128 + 1
_DOCUMENTS_PER_SOURCE, _HELD_OUT_PER_SOURCE = 330, 30
DUPLICATE_MASSES = (0.0, 0.1, 0.4)
_FULL_MASS = 0.4
# Half of the copies belong to documents that every source holds once, as syndicated pages are;
# half to a few that come 20 to 100 times, as boilerplate does.
_MANY = (20, 100)

Pools = Mapping[str, Sequence[str]]


def measure_training(run: Run) -> None:
    """Raw at three shares of duplicates, local and global at the largest, mixtures after global."""
    with run.stage("hold out documents of every source"):
        # Twice as many as are needed: a third of the code is boilerplate and goes at once.
        documents = domain_documents(
            run.asset("text-of-seven-domains"),
            2 * (_DOCUMENTS_PER_SOURCE + _HELD_OUT_PER_SOURCE),
            seed=run.seeds[0],
        )
        pools, held_out = hold_out(documents)
    with run.stage("learn the vocabulary"):
        encoder = Encoder(text for texts in pools.values() for text in texts)
        held = {s: tokens_of(texts, encoder) for s, texts in held_out.items()}
    arms: dict[tuple[str, int], Arm] = {}
    with run.stage("build the arms' corpora", total=len(run.seeds)) as stage:
        for seed in run.seeds:
            for name, corpus in corpora_of(pools, seed).items():
                arms[name, seed] = Arm(name, seed, drawn_tokens(corpus, encoder, seed), held)
            stage.advance()
    losses = _train_all(run, arms)
    _report_scopes(run, losses)
    _report_mixtures(run, losses)


def hold_out(documents: Sequence[Document]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The training and the held-out texts of every source; no near copy of one among the other.

    Every source gives equally many: were one smaller, planted copies would change the shares of
    the sources, and the arms would differ in more than their duplicates.
    """
    kept = MinHashDeduplicator().fit([doc.text for doc in documents], [doc.id for doc in documents])
    stay = set(kept.kept_)
    by_source: dict[str, list[str]] = {}
    for doc in documents:
        if doc.id in stay:
            by_source.setdefault(doc.source, []).append(doc.text)
    held = {source: texts[:_HELD_OUT_PER_SOURCE] for source, texts in by_source.items()}
    all_held = [text for texts in held.values() for text in texts]
    pools = {
        source: decontaminate(texts[_HELD_OUT_PER_SOURCE:], all_held)[:_DOCUMENTS_PER_SOURCE]
        for source, texts in by_source.items()
    }
    return pools, held


def corpora_of(pools: Pools, seed: int) -> dict[str, Pools]:
    """The corpus of every arm: duplicates planted, then removed by the real deduplicator."""
    corpora: dict[str, Pools] = {}
    for mass in DUPLICATE_MASSES:
        raw = with_duplicates(pools, mass, seed)
        corpora[f"raw {mass:.0%}"] = raw
        if mass == _FULL_MASS:
            corpora[f"local {mass:.0%}"] = deduplicated(raw, "local")
            corpora[f"global {mass:.0%}"] = deduplicated(raw, "global")
    clean = corpora[f"global {_FULL_MASS:.0%}"]
    corpora["web"] = {"web": clean["web"]}
    corpora["web + code"] = {source: clean[source] for source in ("web", "code")}
    return corpora


def with_duplicates(pools: Pools, mass: float, seed: int) -> dict[str, list[str]]:
    """The sources with copies added until `mass` of all characters are copies.

    Copies go to sources other than the original's, first each source in turn, then at random.
    """
    rng = random.Random(seed)
    result = {source: list(texts) for source, texts in pools.items()}
    names = sorted(result)
    originals = [(source, text) for source in names for text in pools[source]]
    rng.shuffle(originals)
    wanted = mass / (1.0 - mass) * sum(len(text) for _, text in originals)
    for part, copies in (("syndicated", None), ("boilerplate", _MANY)):
        added = 0
        while originals and added < wanted / 2:
            source, text = originals.pop()
            if part == "syndicated" or copies is None:
                homes = [name for name in names if name != source]
            else:
                homes = rng.choices(names, k=rng.randint(*copies))
            for home in homes:
                result[home].append(text)
                added += len(text)
    return result


def deduplicated(pools: Pools, scope: str) -> dict[str, list[str]]:
    """The sources after deduplication; of a copied document the first that comes stays.

    The order is random across sources: none has the first word.
    """
    documents = [(source, text) for source in sorted(pools) for text in pools[source]]
    random.Random(0).shuffle(documents)
    dedup = MinHashDeduplicator(scope="local" if scope == "local" else "global").fit(
        (text for _, text in documents), sources=(source for source, _ in documents)
    )
    stay = set(dedup.kept_)
    result: dict[str, list[str]] = {source: [] for source in pools}
    for i, (source, text) in enumerate(documents):
        if i in stay:
            result[source].append(text)
    return result


def drawn_tokens(pools: Pools, encoder: Encoder, seed: int) -> NDArray[np.int32]:
    """`N_TOKENS` tokens of documents drawn from the sources with weight 1 each."""
    ids = {text: encoder.encode(text) for texts in pools.values() for text in texts}
    drawn = mix(
        pools, dict.fromkeys(pools, 1.0), N_TOKENS, seed, count_tokens=lambda text: len(ids[text])
    )
    tokens = [token for _, text in drawn for token in ids[text]]
    return np.array(tokens[:N_TOKENS], dtype=np.int32)


def tokens_of(texts: Sequence[str], encoder: Encoder) -> NDArray[np.int32]:
    """The tokens of all texts, one after the other."""
    return np.array([token for text in texts for token in encoder.encode(text)], dtype=np.int32)


def _train_all(
    run: Run, arms: Mapping[tuple[str, int], Arm]
) -> dict[tuple[str, int], dict[str, float]]:
    losses: dict[tuple[str, int], dict[str, float]] = {}
    with (
        run.stage("train the arms", total=len(arms)) as stage,
        # Spawned, not forked: a fork after numpy and torch have started threads can hang.
        ProcessPoolExecutor(run.threads, mp_context=get_context("spawn")) as pool,
    ):
        waiting = {pool.submit(train_and_evaluate, arm): key for key, arm in arms.items()}
        for done in as_completed(waiting):
            losses[waiting[done]] = done.result()
            stage.advance()
    return losses


def _report_scopes(run: Run, losses: Mapping[tuple[str, int], Mapping[str, float]]) -> None:
    mean = {key: float(np.mean(list(loss.values()))) for key, loss in losses.items()}

    def over_seeds(name: str) -> NDArray[np.float64]:
        return np.array([mean[name, seed] for seed in run.seeds])

    full = f"{_FULL_MASS:.0%}"
    raw, local, whole = (over_seeds(f"{scope} {full}") for scope in ("raw", "local", "global"))
    # The spread of each arm over the seeds, pooled over the arms that are compared.
    spread = float(np.sqrt(np.mean([np.var(arm, ddof=1) for arm in (raw, local, whole)])))
    gap = float(raw.mean() - whole.mean())
    run.measure("global-beats-raw", gap / max(spread, 1e-9), baseline=float(raw.mean()))
    run.measure(
        "global-local-raw-order",
        float(min(raw.mean() - local.mean(), local.mean() - whole.mean())),
        baseline=float(local.mean()),
    )
    run.table(
        "Held-out loss, mean over seven sources (nats per token)",
        ["arm", *(f"seed {seed}" for seed in run.seeds), "mean"],
        [
            [
                name,
                *(round(mean[name, seed], 4) for seed in run.seeds),
                float(over_seeds(name).mean()),
            ]
            for name in dict.fromkeys(name for name, _ in losses)
        ],
        note=f"{N_TOKENS - 1} tokens each; pooled standard deviation over the seeds "
        f"{spread:.4f}, gap between raw and global at {full} {gap:.4f}.",
    )
    clean = float(over_seeds("raw 0%").mean())
    lines = {
        "raw": [
            (100 * mass, float(over_seeds(f"raw {mass:.0%}").mean())) for mass in DUPLICATE_MASSES
        ],
        "local": [(0.0, clean), (100 * _FULL_MASS, float(local.mean()))],
        "global": [(0.0, clean), (100 * _FULL_MASS, float(whole.mean()))],
    }
    run.series(
        "Held-out loss by the share of duplicates",
        lines,
        x_label="duplicates in the corpus before deduplication (% of characters)",
        y_label="mean held-out loss (nats per token)",
        note="At 0 % the three corpora are one, trained once; at 10 % only raw is trained.",
    )


def _report_mixtures(run: Run, losses: Mapping[tuple[str, int], Mapping[str, float]]) -> None:
    arms = {"web": "web", "web + code": "web + code", "all seven": f"global {_FULL_MASS:.0%}"}
    for seed in run.seeds:
        loss = {name: losses[arm, seed] for name, arm in arms.items()}
        mean = {name: float(np.mean(list(each.values()))) for name, each in loss.items()}
        rival = min(mean["web"], mean["web + code"])
        run.measure("diversity-wins", rival - mean["all seven"], baseline=rival, seed=seed)
        worst = max(loss["web"], key=lambda source: loss["web"][source])
        run.measure(
            "diversity-worst-source",
            loss["web"][worst] - loss["all seven"][worst],
            baseline=loss["web"][worst],
            seed=seed,
        )
    sources = sorted(losses[arms["web"], run.seeds[0]])
    run.table(
        "Held-out loss by source after global deduplication (nats per token)",
        ["mixture", *sources],
        [
            [
                name,
                *(
                    round(float(np.mean([losses[arm, seed][s] for seed in run.seeds])), 3)
                    for s in sources
                ),
            ]
            for name, arm in arms.items()
        ],
        note="Mean over the seeds. On web itself the model that saw only web should win; that the "
        "others win elsewhere is near to a tautology.",
    )
