"""Measures UniRec's claims: whom a plain model serves, and what each part of the method adds.

All variants of a seed begin with the same encoder weights and are chosen by the same validation
cases; what is compared is paired by users. Tables (uniform users, frequent items, neighbours) are
of train events alone. Seen items are ranked too, ties count half. Times known to a model are those
of its history, never the target's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from paperround.kit.recommendation.counting import Markov, Popularity
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.evaluation import (
    Evaluation,
    by_group,
    evaluate,
    popularity_quartiles,
    same_day,
)
from paperround.kit.recommendation.interactions import (
    Floats,
    k_core,
    sample_users,
)
from paperround.kit.recommendation.metrics import paired_bootstrap
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.reading import (
    load_amazon,
    load_movielens_100k,
    movielens_100k_titles,
)
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import (
    Progress,
    Trainer,
    TrainingPlan,
    TrainingResult,
    use_fast_arithmetic,
)
from paperround.papers.unirec.baselines import IntervalBias, best_average, rare_items_decay
from paperround.papers.unirec.enhancements import (
    Curriculum,
    ItemFrequencyLoss,
    KeepFrequent,
    SequenceUniformityLoss,
    UniRec,
)
from paperround.papers.unirec.identities import differences
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.study import Effect, ends, matched_difference, strata_of
from paperround.papers.unirec.timed import TimeAware
from paperround.papers.unirec.uniformity import (
    Statistic,
    frequency_split,
    gap_variance,
    item_interval_variance,
    rarity,
    same_day_share,
    uniformity_split,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run, Stage

METRIC = "ndcg@10"
# Which parts each variant has, by its name in tables.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "SASRec": (),
    "+ SE": ("sequence",),
    "+ IE": ("items",),
    "+ SE + IE": ("sequence", "items"),
    "+ times": ("times",),
    "all of UniRec": ("sequence", "items", "times"),
    "decay of rare items": ("decay",),
    "interval bias": ("bias",),
}
BASE, ALL, DECAY, BIAS = "SASRec", "all of UniRec", "decay of rare items", "interval bias"
ENHANCED = ("+ SE", "+ IE", "+ SE + IE")
AVERAGED = "averaged neighbours"
# What the released code calls uniform: the 40 % whose gaps vary most.
_THEIRS = "+ SE, irregular users"


@dataclass(frozen=True)
class Plan:
    """The sizes of a scale, and what was tuned on validation, alike for all variants."""

    users: int | None
    newest: int
    d_model: int
    n_layers: int
    max_len: int
    # By asset: sparse histories need more of it.
    dropout: Mapping[str, float]
    batch_size: int
    learning_rate: float
    epochs: int
    patience: int
    variants: tuple[str, ...]
    sequence_weight: float = 0.2
    head_weight: float = 0.3
    tail_weight: float = 0.1
    decay: float = 0.1


PLANS = {
    Scale.QUICK: Plan(
        users=None,
        newest=30,
        d_model=32,
        n_layers=1,
        max_len=30,
        dropout={"ml-100k": 0.2},
        batch_size=64,
        learning_rate=3e-3,
        epochs=6,
        patience=6,
        variants=(BASE, ALL),
    ),
    Scale.STANDARD: Plan(
        users=5_000,
        newest=30,
        d_model=64,
        n_layers=1,
        max_len=30,
        dropout={"ml-100k": 0.3, "amazon-beauty": 0.5, "amazon-toys": 0.5},
        batch_size=64,
        learning_rate=3e-3,
        epochs=10,
        patience=3,
        variants=tuple(VARIANTS),
    ),
}


@dataclass(frozen=True)
class Ground:
    """A data set, split, with what the enhancements know of its train events."""

    name: str
    split: Split
    head: NDArray[np.bool_]
    rarity: Floats
    near: ItemNeighbours

    @property
    def rare_targets(self) -> NDArray[np.bool_]:
        """(test cases,) True where the target is not among the frequent items."""
        return ~self.head[self.split.test.items]


@dataclass(frozen=True)
class Trained:
    """One variant of one seed on one data set; `weights` are those of the losses it had besides."""

    seed: int
    model: AbstractSequenceEncoder
    training: TrainingResult
    test: Evaluation
    weights: Mapping[str, float]


Results = Mapping[str, Mapping[str, Sequence[Trained]]]


def reproduce(run: Run) -> None:
    """Measures every claim that the scale has a bar for."""
    use_fast_arithmetic(run.threads)
    plan = PLANS[run.scale]
    grounds = [ground_of(name, plan, run) for name in run.card.scales[run.scale].assets]
    measure_identities(run, grounds[0])
    results: dict[str, dict[str, list[Trained]]] = {}
    for ground in grounds:
        found = results.setdefault(ground.name, {})
        total = len(run.seeds) * len(plan.variants) * plan.epochs
        with run.stage(f"train on {ground.name}", total=total) as stage:
            for seed in run.seeds:
                for name in plan.variants:
                    found.setdefault(name, []).append(train(name, ground, plan, seed, stage))
            if run.scale is Scale.STANDARD:
                found[AVERAGED] = [averaged(ground, base) for base in found[BASE]]
    measure_frequency(run, grounds, results)
    measure_learning(run, results)
    if run.scale is Scale.STANDARD:
        measure_item_quartiles(run, grounds, results)
        measure_uniform_users(run, grounds, results)
        measure_gain(run, grounds, results)
        measure_variants(run, grounds, results)
        show_definitions(run, grounds, results, plan)
    show(run, grounds, results)


def ground_of(asset: str, plan: Plan, run: Run) -> Ground:
    """The data set of an asset, as large as the plan says."""
    run.asset(asset)
    if asset == "ml-100k":
        log = load_movielens_100k()
        place = log.offsets[log.user + 1] - np.arange(len(log))
        log = k_core(log.select(place <= plan.newest))
    else:
        log = load_amazon(asset.removeprefix("amazon-"))
        if plan.users is not None:
            # A sample thins out the items; those that still have four events make a catalogue
            # about as dense as that of all users.
            log = k_core(sample_users(log, plan.users, seed=0), user=5, item=4)
    split = leave_one_out(log)
    train_log = split.train
    return Ground(
        asset,
        split,
        frequency_split(train_log),
        rarity(train_log),
        ItemNeighbours.fit(train_log),
    )


def train(
    name: str,
    ground: Ground,
    plan: Plan,
    seed: int,
    stage: Stage | None,
    uniform: NDArray[np.bool_] | None = None,
) -> Trained:
    """A variant, chosen by validation at its best epoch, evaluated on the test."""
    parts, log = VARIANTS[name], ground.split.train
    torch.manual_seed(seed)
    base = SASRec(
        log.n_items,
        d_model=plan.d_model,
        n_layers=plan.n_layers,
        max_len=plan.max_len,
        dropout=plan.dropout[ground.name],
    )
    encoder: AbstractSequenceEncoder = base
    if "times" in parts:
        encoder = TimeAware(
            base, ("calendar", "interval") if log.time_is_absolute else ("interval",)
        )
    if "bias" in parts:
        encoder = IntervalBias(base)
    curriculum = Curriculum(plan.epochs)
    sequence = items = None
    if "sequence" in parts:
        flagged = uniformity_split(log) if uniform is None else uniform
        sequence = SequenceUniformityLoss(
            plan.d_model, flagged, KeepFrequent(ground.head), curriculum=curriculum
        )
    if "items" in parts:
        items = ItemFrequencyLoss(
            plan.d_model, ground.near, ground.head, ground.rarity, curriculum=curriculum
        )
    model = UniRec(
        encoder,
        sequence,
        items,
        sequence_weight=plan.sequence_weight,
        head_weight=plan.head_weight,
        tail_weight=plan.tail_weight,
    )
    aux_losses = model.aux_losses()
    if "decay" in parts:
        aux_losses.append(rare_items_decay(log.item_counts, plan.decay))
    done = [0]

    def on_progress(at: Progress) -> None:
        if stage is not None and at.epoch > done[0]:
            stage.advance(at.epoch - done[0])
            done[0] = at.epoch

    training = Trainer(
        model,
        SequenceDataset(log, "windows", plan.max_len, shift=True),
        ground.split.valid,
        next_items(),
        TrainingPlan(
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            learning_rate=plan.learning_rate,
            patience=plan.patience,
            metric=METRIC,
        ),
        seed=seed,
        aux_losses=aux_losses,
        on_progress=on_progress,
    ).fit()
    if stage is not None:
        # Epochs that patience spared.
        stage.advance(plan.epochs - done[0])
    return Trained(
        seed,
        encoder.eval(),
        training,
        evaluate(encoder, ground.split.test),
        {aux.name: aux.weight for aux in aux_losses},
    )


def averaged(ground: Ground, base: Trained) -> Trained:
    """The base with its rare items moved towards their neighbours, as far as validation says."""
    model, _ = best_average(base.model, ground.near, ~ground.head, ground.split.valid, METRIC)
    return Trained(base.seed, model, base.training, evaluate(model, ground.split.test), {})


def measure_identities(run: Run, ground: Ground) -> None:
    """The largest difference of all checks, per seed."""
    rows: list[tuple[str | float, ...]] = []
    for seed in run.seeds:
        found = differences(ground.split, seed)
        run.measure("identities", max(found.values()), seed=seed)
        rows += [(name, seed, value) for name, value in found.items()]
    run.table("What must hold exactly", ("check", "seed", "largest difference"), rows)


def measure_frequency(run: Run, grounds: Sequence[Ground], results: Results) -> None:
    """NDCG@10 of the base on frequent over that on rare targets; the smallest of the data sets."""
    rows: list[tuple[str | float, ...]] = []
    ratios, trivial = [], []
    for ground in grounds:
        rare = ground.rare_targets
        base = mean_per_case(results[ground.name][BASE], METRIC)
        popular = evaluate(popularity(ground), ground.split.test).per_case(METRIC)
        # Where no rare target is found at all, one hit at rank 10 bounds the ratio from below.
        floor = 1 / np.log2(11) / max(1, int(rare.sum()))
        ratios.append(float(base[~rare].mean() / max(float(base[rare].mean()), floor)))
        trivial.append(float(popular[~rare].mean()))
        for name, values in (("SASRec", base), ("popularity", popular)):
            rows.append(
                (
                    ground.name,
                    name,
                    float(values[~rare].mean()),
                    float(values[rare].mean()),
                    int((~rare).sum()),
                    int(rare.sum()),
                )
            )
    least = int(np.argmin(ratios))
    run.measure("frequent-items", ratios[least], baseline=trivial[least])
    run.table(
        "NDCG@10 on frequent and on rare targets",
        ("data", "model", "frequent", "rare", "frequent targets", "rare targets"),
        rows,
        note="Frequent: the 30 % of items with most train events. Popularity shows how much of "
        "the difference needs no model.",
    )


def measure_learning(run: Run, results: Results) -> None:
    """The last epoch's loss over the first's, the largest over the data sets, per seed."""

    def ratio(each: Trained) -> float:
        # The losses that are added change with their curricula; what is left is the next items'.
        return own_loss(each, -1) / own_loss(each, 0)

    for place, seed in enumerate(run.seeds):
        run.measure(
            "learns",
            max(ratio(found[ALL][place]) for found in results.values()),
            baseline=max(ratio(found[BASE][place]) for found in results.values()),
            seed=seed,
        )


def own_loss(each: Trained, epoch: int) -> float:
    """An epoch's loss of the next items alone."""
    record = each.training.epochs[epoch]
    return record.loss - sum(each.weights[name] * part for name, part in record.parts.items())


def measure_item_quartiles(run: Run, grounds: Sequence[Ground], results: Results) -> None:
    """How far the top quartile's interval of HR@10 lies above the bottom's, worst data set."""
    apart: list[float] = []
    trivial: list[float] = []
    rows: list[tuple[str | float, ...]] = []
    for ground in grounds:
        labels = popularity_quartiles(ground.split.test, ground.split.train)
        base = mean_per_case(results[ground.name][BASE], "hr@10")
        popular = evaluate(popularity(ground), ground.split.test).per_case("hr@10")
        for name, values, found in (("SASRec", base, apart), ("popularity", popular, trivial)):
            groups = {group.name: group for group in by_group(values, labels)}
            known = sorted(group for group in groups if group != "cold")
            found.append(groups[known[-1]].low - groups[known[0]].high)
            rows += [
                (ground.name, name, g.name, g.mean, g.low, g.high, g.n) for g in groups.values()
            ]
    worst = int(np.argmin(apart))
    run.measure("item-quartiles", apart[worst], baseline=trivial[worst])
    run.table(
        "HR@10 by how often the target occurs in training, seeds averaged",
        ("data", "model", "quartile of targets", "HR@10", "low", "high", "targets"),
        rows,
        note="Q1 rarest, Q4 most frequent, cold: not in training. Intervals of 95 %.",
    )


def measure_uniform_users(run: Run, grounds: Sequence[Ground], results: Results) -> None:
    """HR@10 of the most uniform less that of the least uniform users, raw and matched."""
    rows: list[tuple[str | float, ...]] = []
    raw_above = matched_above = 0
    for ground in grounds:
        split = ground.split
        users = split.test.users
        values = mean_per_case(results[ground.name][BASE], "hr@10")
        later = same_day(split.test) == "later day"
        confounded = strata_of(
            split.test.history_lengths.astype(np.float64), same_day_share(split.train)[users]
        )
        all_as_one = np.zeros(len(users), dtype=np.int64)
        statistics: tuple[Statistic, ...] = ("gap_variance", "log_gap_variance")
        for statistic in statistics:
            most, least = ends(gap_variance(split.train, statistic)[users])
            for kind, strata, some in (
                ("raw", all_as_one, np.ones(len(users), dtype=bool)),
                ("raw, target on a later day", all_as_one, later),
                ("matched", confounded, np.ones(len(users), dtype=bool)),
            ):
                effect = matched_difference(values, most & some, least & some, strata)
                rows.append((ground.name, statistic, kind, *_cells(effect)))
                if statistic == "gap_variance":
                    raw_above += kind == "raw" and effect.mean > 0
                    matched_above += kind == "matched" and effect.mean > 0
    run.measure("uniform-users", raw_above, baseline=matched_above)
    run.table(
        "HR@10 of a plain SASRec: 40 % most uniform users less 40 % least",
        ("data", "variance of", "how", "difference", "low", "high", "uniform", "irregular"),
        rows,
        note="Matched: within quartiles of history length and of the share of same-day "
        "transitions. Where it is about 0, uniformity is an effect of these. Amazon's order inside "
        "a day is by product number, so targets on a later day stand apart.",
    )


def measure_gain(run: Run, grounds: Sequence[Ground], results: Results) -> None:
    """Paired intervals of every variant above the base, and on how many data sets all of it is."""
    rows: list[tuple[str | float, ...]] = []
    above = 0
    for ground in grounds:
        found = results[ground.name]
        base = mean_per_case(found[BASE], METRIC)
        for name, each in found.items():
            if name == BASE:
                continue
            ours = mean_per_case(each, METRIC)
            for kind, some in (
                ("all", np.ones(len(ours), dtype=bool)),
                ("rare", ground.rare_targets),
            ):
                paired = paired_bootstrap(ours[some], base[some])
                says = (
                    "reproduced"
                    if paired.low > 0
                    else "below"
                    if paired.high < 0
                    else "not resolvable"
                )
                rows.append(
                    (
                        ground.name,
                        name,
                        kind,
                        paired.mean,
                        paired.low,
                        paired.high,
                        paired.n,
                        says,
                    )
                )
                above += name == ALL and kind == "all" and paired.low > 0
    base_mean = fmean(fmean(values(found[BASE])) for found in results.values())
    run.measure("gain", above, baseline=base_mean)
    run.table(
        "NDCG@10 above SASRec, paired by users, seeds averaged",
        ("data", "variant", "targets", "difference", "low", "high", "users", "at this scale"),
        rows,
        note="95 % percentile intervals of 1,000 resamples.",
    )


def measure_variants(run: Run, grounds: Sequence[Ground], results: Results) -> None:
    """The variants' means over data sets, per seed, beside the base's spread over seeds."""
    base = over_sets(results, BASE)
    spread = stdev(base)

    def above(name: str) -> float:
        return (fmean(over_sets(results, name)) - fmean(base)) / spread

    run.measure("non-inferior", min(above(name) for name in ENHANCED), baseline=fmean(base))
    run.measure("time", above("+ times"), baseline=above(BIAS))
    rare = {
        name: rare_over_sets(grounds, results, name) for name in ("+ IE", BASE, DECAY, AVERAGED)
    }
    better = max((DECAY, AVERAGED), key=lambda name: fmean(rare[name]))
    for place, seed in enumerate(run.seeds):
        ours = rare["+ IE"][place]
        run.measure("rare-items", ours - rare[BASE][place], baseline=rare[BASE][place], seed=seed)
        run.measure(
            "rare-items-above-simple-cures",
            ours - rare[better][place],
            baseline=rare[better][place],
            seed=seed,
        )
    run.note(f"The better simple cure for rare items here: {better}.")


def show_definitions(run: Run, grounds: Sequence[Ground], results: Results, plan: Plan) -> None:
    """Where paper and released code mean different things: how different they are here."""
    rows: list[tuple[str | float | None, ...]] = []
    seed = run.seeds[0]
    for ground in grounds:
        train_log, whole = ground.split.train, ground.split.test.log
        uniform, theirs = (
            uniformity_split(train_log),
            uniformity_split(train_log, 0.4, side="irregular"),
        )
        rows.append(
            (ground.name, "users uniform here and by the released flag", _share(uniform & theirs))
        )
        rows.append(
            (
                ground.name,
                "users whose flag changes if test events are looked at",
                _share(uniform != uniformity_split(whole)),
            )
        )
        leaked = ItemNeighbours.fit(whole)
        rows.append(
            (
                ground.name,
                "neighbours that change if test events are looked at",
                1
                - _share((ground.near.table[1:, :, None] == leaked.table[1:, None, :]).any(axis=2)),
            )
        )
        if train_log.time_is_absolute:
            variance = item_interval_variance(train_log)
            known = ~np.isnan(variance)
            rows.append(
                (
                    ground.name,
                    "rank correlation of an item's count and its interval variance",
                    float(spearmanr(train_log.item_counts[known], variance[known]).statistic),
                )
            )
    ground = grounds[0]
    with run.stage("the released code's uniform users", total=plan.epochs) as stage:
        theirs = uniformity_split(ground.split.train, 0.4, side="irregular")
        other = train("+ SE", ground, plan, seed, stage, uniform=theirs)
    ours = results[ground.name]["+ SE"][0]
    for name, each in (("+ SE", ours), (_THEIRS, other)):
        rows.append((ground.name, f"NDCG@10 of {name}, seed {seed}", each.test[METRIC]))
    run.table(
        "What the released code means, and what the paper says", ("data", "what", "value"), rows
    )


def show(run: Run, grounds: Sequence[Ground], results: Results) -> None:
    """Every variant beside the counting models, the curves of training, and one rare item."""
    metrics = ("hr@10", METRIC, "mrr")
    rows: list[tuple[str | float, ...]] = []
    for ground in grounds:
        n_items = ground.split.train.n_items
        markov = Markov(n_items, 3).fit(ground.split.train)
        rare = ground.rare_targets
        for name, counter in (("popularity", popularity(ground)), ("Markov-3", markov)):
            found = evaluate(counter, ground.split.test)
            rows.append(
                (
                    ground.name,
                    name,
                    "–",
                    *[found[metric] for metric in metrics],
                    "–",
                    float(found.per_case(METRIC)[rare].mean()),
                    found.sampled(METRIC, 100),
                )
            )
        for name, each in results[ground.name].items():
            rows.append(
                (
                    ground.name,
                    name,
                    len(each),
                    *[fmean(one.test[metric] for one in each) for metric in metrics],
                    stdev(values(each)) if len(each) > 1 else "–",
                    float(mean_per_case(each, METRIC)[rare].mean()),
                    fmean(one.test.sampled(METRIC, 100) for one in each),
                )
            )
    run.table(
        "Test, means over seeds",
        (
            "data",
            "model",
            "seeds",
            "HR@10",
            "NDCG@10",
            "MRR",
            "sd NDCG@10",
            "NDCG@10 rare",
            "NDCG@10 of 100 sampled",
        ),
        rows,
        note="Leave-one-out, all items ranked, seen ones too, ties mean. The last column is the "
        "expectation under the paper's protocol, 100 uniform negatives; it keeps no order of "
        "models.",
    )
    ground = grounds[0]
    run.series(
        f"Validation NDCG@10 while training on {ground.name}, first seed",
        {
            name: [
                (epoch.epoch, epoch.metric)
                for epoch in each[0].training.epochs
                if epoch.metric is not None
            ]
            for name, each in results[ground.name].items()
            if name != AVERAGED
        },
        x_label="epoch",
        y_label="NDCG@10",
    )
    titles, log = movielens_100k_titles(), ground.split.train
    rare_items = np.flatnonzero(~ground.head & (log.item_counts >= 5))
    item = int(rare_items[np.argmax(ground.near.scores[rare_items, 0])])

    def film(code: int) -> str:
        return titles[str(log.item_ids[code - 1])][0]

    run.sample(
        "A rare film and the neighbours that speak for it",
        {
            "the film": f"{film(item)}, {log.item_counts[item]} times",
            "neighbours": "\n".join(
                f"{film(int(near))}, {log.item_counts[near]} times"
                for near in ground.near.table[item, :5]
            ),
        },
    )


def popularity(ground: Ground) -> Popularity:
    """Popularity, fitted to the train events."""
    return Popularity(ground.split.train.n_items).fit(ground.split.train)


def values(each: Sequence[Trained]) -> list[float]:
    """NDCG@10 on the test, per seed."""
    return [one.test[METRIC] for one in each]


def mean_per_case(each: Sequence[Trained], metric: str) -> Floats:
    """A metric of every test case, averaged over the seeds."""
    return np.mean([one.test.per_case(metric) for one in each], axis=0)


def over_sets(results: Results, name: str) -> list[float]:
    """NDCG@10 averaged over the data sets, per seed."""
    return [fmean(seed) for seed in zip(*(values(f[name]) for f in results.values()), strict=True)]


def rare_over_sets(grounds: Sequence[Ground], results: Results, name: str) -> list[float]:
    """NDCG@10 on rare targets averaged over the data sets, per seed."""
    each = [
        [
            float(one.test.per_case(METRIC)[ground.rare_targets].mean())
            for one in results[ground.name][name]
        ]
        for ground in grounds
    ]
    return [fmean(seed) for seed in zip(*each, strict=True)]


def _cells(effect: Effect) -> tuple[float, ...]:
    return (effect.mean, effect.low, effect.high, effect.n_first, effect.n_second)


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean())
