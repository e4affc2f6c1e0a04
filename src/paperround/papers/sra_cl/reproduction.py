"""Measures SRA-CL's claims: on films at quick, on Amazon Beauty's products and titles at standard.

All variants of a seed begin with the same encoder weights, see the same batches with the same
dropout, and are chosen by the same validation cases; what is compared is paired by users. The
baseline is the backbone with the full softmax and nothing else ("w/o CL"), never SASRec's original
loss. Seen items are ranked too, as in the paper. No language model writes descriptions here: a
user's vector is the mean of the titles' vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import torch

from paperround.errors import UsageError
from paperround.kit.recommendation.counting import Markov, Popularity
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.evaluation import Evaluation, evaluate, same_day
from paperround.kit.recommendation.interactions import (
    InteractionLog,
    Ints,
    compact,
    k_core,
    sample_users,
)
from paperround.kit.recommendation.item_text import ItemText, load_item_text
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.reading import load_amazon, read_interactions
from paperround.kit.recommendation.report import Comparison, compare
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.text import (
    Neighbours,
    item_vectors,
    minilm,
    nearest_neighbours,
)
from paperround.kit.recommendation.training import (
    Progress,
    Trainer,
    TrainingPlan,
    TrainingResult,
    use_fast_arithmetic,
)
from paperround.papers.sra_cl.baselines import duorec
from paperround.papers.sra_cl.method import NeighbourStates, SemanticContrastive
from paperround.papers.sra_cl.retrieval import (
    Vectors,
    co_occurrence_rate,
    matched_random,
    user_vectors,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run, Stage

METRIC = "ndcg@20"
METRICS = ("hr@10", "ndcg@10", "hr@20", METRIC)
# Section 4.1 and the released configuration: histories of 20, ten neighbours, .1 for both losses.
MAX_LEN, K, ALPHA, BETA, RATIO = 20, 10, 0.1, 0.1, 0.2
BASE, RANDOM, FULL = "w/o CL", "random neighbours", "SRA-CL"
# Alphas and betas of each variant with the two losses.
WEIGHTS = {
    FULL: (ALPHA, BETA),
    RANDOM: (ALPHA, BETA),
    "only L_CS": (ALPHA, 0.0),
    "only L_IS": (0.0, BETA),
}
_INVARIANT_USERS = 120
_SHOWN = 3


@dataclass(frozen=True)
class Plan:
    """The sizes of a scale. `alone` are variants that only the first seed trains."""

    data: str
    users: int | None
    newest: int | None
    with_attributes: bool
    d_model: int
    n_layers: int
    dropout: float
    batch_size: int
    learning_rate: float
    epochs: int
    eval_every: int
    variants: tuple[str, ...]
    alone: tuple[str, ...]
    states: NeighbourStates
    warmup_epochs: int = 0
    # Small steps take longer where two threads share them.
    max_threads: int = 2
    # How many events a product must have.
    item_core: int = 5


PLANS = {
    # As many events a user as Beauty's have; films' titles say little without their genres.
    Scale.QUICK: Plan(
        data="ml-100k",
        users=600,
        newest=9,
        with_attributes=True,
        d_model=32,
        n_layers=1,
        dropout=0.2,
        batch_size=64,
        learning_rate=3e-3,
        epochs=4,
        eval_every=1,
        variants=(BASE, FULL),
        alone=(),
        states="fresh",
        max_threads=1,
    ),
    Scale.STANDARD: Plan(
        data="amazon-beauty",
        users=5_000,
        newest=None,
        # The 5-core's 12,101 products for as many users are too many to learn in minutes.
        item_core=10,
        with_attributes=False,
        d_model=64,
        n_layers=2,
        dropout=0.5,
        batch_size=64,
        learning_rate=2e-3,
        epochs=12,
        eval_every=4,
        variants=(BASE, RANDOM, FULL),
        alone=("DuoRec",),
        states="stale",
    ),
}


@dataclass(frozen=True)
class Data:
    """A split, what is known of its items in words, and who is near whom."""

    split: Split
    text: ItemText
    items: Vectors
    users: Vectors
    near_items: Neighbours
    near_users: Neighbours


@dataclass(frozen=True)
class Trained:
    """One variant of one seed."""

    name: str
    seed: int
    encoder: AbstractSequenceEncoder
    training: TrainingResult
    test: Evaluation


def reproduce(run: Run) -> None:
    """Measures every claim that the scale can; raises UsageError at the full scale."""
    if run.scale not in PLANS:
        raise UsageError("sra-cl has no full scale to run here; see its README")
    plan = PLANS[run.scale]
    use_fast_arithmetic(min(run.threads, plan.max_threads))
    data = prepare(run, plan)
    measure_retrieval(run, data)
    measure_invariants(run, data)
    trained: dict[str, list[Trained]] = {}
    for seed in run.seeds:
        first = seed == run.seeds[0]
        for name in (*plan.variants, *(plan.alone if first else ())):
            with run.stage(f"train {name}, seed {seed}", total=plan.epochs) as stage:
                trained.setdefault(name, []).append(train(name, data, plan, seed, stage))
    measure_losses(run, trained[FULL], plan)
    show(run, trained, data)
    if run.scale is Scale.STANDARD:
        comparison = compare(
            {name: [each.test for each in trained[name]] for name in plan.variants},
            baseline=BASE,
            metrics=METRICS,
        )
        measure_gain(run, trained, comparison)
        show_days(run, trained, data.split)


def prepare(run: Run, plan: Plan) -> Data:
    """The log, cut and split; texts as vectors; neighbours, from the training events alone."""
    for name in ("minilm-int8", "minilm-vocab"):
        run.asset(name)
    folder = run.asset(plan.data)
    with run.stage("read the events"):
        split = leave_one_out(load_log(plan, folder))
        text = load_item_text(plan.data)
    with run.stage("turn titles into vectors"):
        items = item_vectors(
            split.train,
            text,
            minilm(threads=run.threads),
            with_attributes=plan.with_attributes,
            cache=run.scratch / "vectors",
        )
    with run.stage("look for neighbours"):
        # Plain means are the default; `decay` below 1 weights recent titles.
        users = user_vectors(split.train, items, newest=MAX_LEN, decay=1.0)
        return Data(
            split, text, items, users, nearest_neighbours(items, K), nearest_neighbours(users, K)
        )


def load_log(plan: Plan, folder: Path) -> InteractionLog:
    """The events of a plan: the newest of each user where that is said, some users."""
    if plan.data == "ml-100k":
        log = k_core(read_interactions(folder / "ml-100k.inter"))
    else:
        log = k_core(load_amazon(plan.data.removeprefix("amazon-")), item=plan.item_core)
    if plan.newest is not None:
        log = compact(log.select(log.offsets[log.user + 1] - np.arange(len(log)) <= plan.newest))
    return sample_users(log, plan.users or log.n_users, seed=0)


def train(name: str, data: Data, plan: Plan, seed: int, stage: Stage | None) -> Trained:
    """A variant, evaluated on the test at its best epoch by validation."""
    train_log = data.split.train
    torch.manual_seed(seed)
    encoder = SASRec(
        train_log.n_items,
        d_model=plan.d_model,
        n_layers=plan.n_layers,
        max_len=MAX_LEN,
        dropout=plan.dropout,
    )
    model: AbstractSequenceEncoder = encoder
    aux = duorec(train_log) if name == "DuoRec" else []
    if name in WEIGHTS:
        alpha, beta = WEIGHTS[name]
        near_users, near_items = data.near_users, data.near_items
        if name == RANDOM:
            near_users = matched_random(near_users, np.diff(train_log.offsets), seed=seed)
            near_items = matched_random(near_items, train_log.item_counts, seed=seed)
        model = SemanticContrastive(
            encoder,
            train_log,
            data.items,
            data.users,
            alpha=alpha,
            beta=beta,
            ratio=RATIO,
            states=plan.states,
            warmup_epochs=plan.warmup_epochs,
            user_neighbours=near_users,
            item_neighbours=near_items,
        )
        aux = model.aux_losses()
    done = [0]

    def on_progress(at: Progress) -> None:
        if stage is not None and at.epoch > done[0]:
            stage.advance(at.epoch - done[0])
            done[0] = at.epoch

    training = Trainer(
        model,
        SequenceDataset(train_log, "windows", MAX_LEN, shift=True),
        data.split.valid,
        next_items(),
        TrainingPlan(
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            patience=plan.epochs,
            eval_every=plan.eval_every,
            metric=METRIC,
        ),
        seed=seed,
        aux_losses=aux,
        on_progress=on_progress,
    ).fit()
    return Trained(
        name, seed, encoder, training, evaluate(encoder, data.split.test, metrics=METRICS)
    )


def measure_retrieval(run: Run, data: Data) -> None:
    """How much nearer neighbours' titles are than any two titles', and how often both are taken."""
    near = data.near_items.rows
    item, place = np.nonzero(near >= 0)
    pairs = np.stack([item, near[item, place]], axis=1)
    unit = data.items / np.maximum(np.linalg.norm(data.items, axis=1, keepdims=True), 1e-12)
    known = np.flatnonzero(data.items.any(axis=1))
    rows = []
    for seed in run.seeds:
        others = random_pairs(known, len(pairs), seed)
        cosines = [float((unit[a] * unit[b]).sum(axis=1).mean()) for a, b in (pairs.T, others.T)]
        rates = [co_occurrence_rate(data.split.train, both) for both in (pairs, others)]
        run.measure("similar-texts", cosines[0] - cosines[1], baseline=cosines[1], seed=seed)
        # With no random pair taken together there is nothing to divide by: half of one pair.
        least = max(rates[1], 0.5 / len(others))
        run.measure("taken-together", rates[0] / least, baseline=rates[1], seed=seed)
        rows.append((seed, *cosines, *rates))
    run.table(
        f"{K} nearest items by text, against as many random pairs",
        ("seed", "cosine, neighbours", "cosine, random", "taken together", "the same, random"),
        rows,
        note="Taken together: the share of pairs of which some user has both in training.",
    )


def random_pairs(codes: Ints, n: int, seed: int) -> Ints:
    """Pairs (n, 2) of two different codes each."""
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(codes), size=n)
    second = (first + rng.integers(1, len(codes), size=n)) % len(codes)
    return np.stack([codes[first], codes[second]], axis=1)


def measure_invariants(run: Run, data: Data) -> None:
    """What must hold exactly, per seed on a few users; the largest difference found."""
    log = data.split.train
    few = log.select(log.user < _INVARIANT_USERS)
    rng = np.random.default_rng(run.seeds[0])
    for seed in run.seeds:
        losses, scores = [], []
        for weights in (None, (0.0, 0.0), (ALPHA, BETA)):
            torch.manual_seed(seed)
            encoder = SASRec(log.n_items, d_model=16, n_layers=1, max_len=MAX_LEN, dropout=0.5)
            model: AbstractSequenceEncoder = encoder
            aux = []
            if weights is not None:
                model = SemanticContrastive(
                    encoder,
                    few,
                    data.items,
                    data.users,
                    alpha=weights[0],
                    beta=weights[1],
                    user_neighbours=data.near_users,
                    item_neighbours=data.near_items,
                )
                aux = model.aux_losses()
            fitted = Trainer(
                model,
                SequenceDataset(few, "windows", MAX_LEN),
                None,
                next_items(),
                TrainingPlan(epochs=2, batch_size=32),
                seed=seed,
                aux_losses=aux,
            ).fit()
            losses.append([epoch.loss for epoch in fitted.epochs])
            if isinstance(model, SemanticContrastive):
                history = model.histories[:32]
                before = model.score_batch(history)
                for table in (model.user_text, model.user_neighbours, model.item_neighbours):
                    table.zero_()
                scores += [
                    model.score_batch(history) - before,
                    encoder.score_batch(history) - before,
                ]
        rows = rng.choice(np.flatnonzero(data.items.any(axis=1)), size=50, replace=False)
        unit = data.items / np.maximum(np.linalg.norm(data.items, axis=1, keepdims=True), 1e-12)
        similar = unit[rows] @ unit.T
        similar[np.arange(len(rows)), rows] = -np.inf
        similar[:, ~data.items.any(axis=1)] = -np.inf
        brute = -np.sort(-similar, axis=1)[:, :K]
        run.measure(
            "invariants",
            max(
                # Weights of 0 leave the baseline's losses alone; texts take no part in scores.
                float(np.abs(np.subtract(losses[0], losses[1])).max()),
                *(float(difference[:, 1:].abs().max()) for difference in scores),
                float(np.abs(brute - data.near_items.similarity[rows]).max()),
            ),
            seed=seed,
        )


def measure_losses(run: Run, full: Sequence[Trained], plan: Plan) -> None:
    """The ratio of last to first epoch, the larger of the two losses'; they have to be finite."""
    for each in full:
        parts = [epoch.parts for epoch in each.training.epochs[plan.warmup_epochs :]]
        run.measure(
            "losses-fall",
            max(parts[-1][name] / parts[0][name] for name in parts[0]),
            seed=each.seed,
        )
    epochs = full[0].training.epochs[plan.warmup_epochs :]
    run.series(
        "The two contrastive losses of SRA-CL while training, first seed",
        {name: [(at.epoch, at.parts[name]) for at in epochs] for name in epochs[0].parts},
        x_label="epoch",
        y_label="nats",
    )


def measure_gain(
    run: Run, trained: Mapping[str, Sequence[Trained]], comparison: Comparison
) -> None:
    """The pooled paired gain over "w/o CL", and where SRA-CL stands to it and to the control."""
    values = {name: [each.test[METRIC] for each in trained[name]] for name in (BASE, RANDOM, FULL)}
    base = fmean(values[BASE])
    difference = comparison.of(FULL, METRIC).difference
    assert difference is not None
    run.measure("gain", difference.low / base, baseline=base)
    for claim, other in (("non-inferior", BASE), ("meaning", RANDOM)):
        pooled = ((stdev(values[other]) ** 2 + stdev(values[FULL]) ** 2) / 2) ** 0.5
        level = fmean(values[other])
        run.measure(claim, (fmean(values[FULL]) - level) / pooled, baseline=level)
    rows = []
    for row in comparison.rows:
        if row.difference is not None:
            rows.append(
                (
                    row.model,
                    row.metric,
                    row.difference.mean,
                    row.difference.low,
                    row.difference.high,
                    row.ratio,
                    f"{row.seeds_above} of {len(row.per_seed)}",
                    row.says,
                )
            )
    run.table(
        f"Above {BASE}: paired by users, pooled over seeds",
        ("variant", "metric", "difference", "low", "high", "ratio", "seeds above", "at this scale"),
        rows,
        note="95 % intervals of 1,000 resamples of users and of seeds.",
    )


def show(run: Run, trained: Mapping[str, Sequence[Trained]], data: Data) -> None:
    """Every variant beside the counting models, the curves of training, and who is near whom."""
    split = data.split
    rows: list[tuple[str | float, ...]] = []
    for name, counter in (
        ("popularity", Popularity(split.train.n_items)),
        ("Markov-3", Markov(split.train.n_items, 3)),
    ):
        found = evaluate(counter.fit(split.train), split.test, metrics=METRICS)
        rows.append((name, "–", *[found[metric] for metric in METRICS], "–", "–"))
    for name, each in trained.items():
        means = [fmean(one.test[metric] for one in each) for metric in METRICS]
        spread = stdev([one.test[METRIC] for one in each]) if len(each) > 1 else "–"
        seconds = fmean(epoch.seconds for one in each for epoch in one.training.epochs)
        rows.append((name, len(each), *means, spread, round(seconds, 2)))
    run.table(
        "Test, full ranking, seen items ranked, means over seeds",
        (
            "model",
            "seeds",
            "HR@10",
            "NDCG@10",
            "HR@20",
            "NDCG@20",
            "sd NDCG@20",
            "seconds an epoch",
        ),
        rows,
        note=f"Leave-one-out, {len(split.test)} users, {split.train.n_items} items, ties mean.",
    )
    run.series(
        "Validation NDCG@20 while training, first seed",
        {
            name: [
                (epoch.epoch, epoch.metric)
                for epoch in each[0].training.epochs
                if epoch.metric is not None
            ]
            for name, each in trained.items()
        },
        x_label="epoch",
        y_label="NDCG@20",
    )
    titles = ["", *data.text.texts(split.train.item_ids)]

    def listed(codes: Ints) -> str:
        return "\n".join(titles[code] for code in codes if code > 0)

    item = int(split.train.item[0])
    run.sample(
        "An item, and the items that may take its place in a history",
        {"item": titles[item], "nearest by text": listed(data.near_items.of(item)[:_SHOWN])},
    )
    user = int(np.flatnonzero(data.near_users.rows[:, 0] >= 0)[0])
    other = int(data.near_users.rows[user, 0])
    run.sample(
        "A user's last items, and those of the user nearest to them",
        {
            "user": listed(split.train.sequence(user)[-_SHOWN:]),
            "nearest user": listed(split.train.sequence(other)[-_SHOWN:]),
        },
        note="Users are near whose titles' vectors have similar means.",
    )


def show_days(run: Run, trained: Mapping[str, Sequence[Trained]], split: Split) -> None:
    """Targets on the day of the event before, where Beauty's order is an artefact, and later."""
    days = same_day(split.test)
    rows: list[tuple[str | float, ...]] = []
    for name, each in trained.items():
        per_case = np.mean([one.test.per_case(METRIC) for one in each], axis=0)
        inside = [float(per_case[days == day].mean()) for day in ("same day", "later day")]
        rows.append((name, len(each), *inside))
    run.table(
        "NDCG@20 by the day of the target",
        ("model", "seeds", "same day", "later day"),
        rows,
        note=f"{int((days == 'same day').sum())} of {len(days)} targets fall on the day of the "
        "event before them. Inside a day Beauty's files are ordered by product number, which every "
        "sequence model profits from and no user made.",
    )
