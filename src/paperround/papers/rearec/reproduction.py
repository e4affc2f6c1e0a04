"""Measures ReaRec's claims: the equally tuned base, ERL and PRL, and the controls.

Quick: MovieLens-100K, 100 users, what must hold exactly, what a step costs, that every recipe
learns. Standard: all of its users and Amazon Beauty, a search of the temperature for the base and
for each recipe alike, then three seeds of each. Seen items are ranked too, as in the paper.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray

from paperround.errors import PaperroundError, UsageError
from paperround.kit.recommendation.counting import Markov, Popularity
from paperround.kit.recommendation.evaluation import (
    Evaluation,
    evaluate,
    length_quartiles,
    popularity_quartiles,
)
from paperround.kit.recommendation.interactions import InteractionLog, k_core, sample_users
from paperround.kit.recommendation.metrics import paired_bootstrap
from paperround.kit.recommendation.reading import (
    load_amazon,
    movielens_100k_titles,
    read_interactions,
)
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import use_fast_arithmetic
from paperround.papers.rearec.losses import RecipeOptions
from paperround.papers.rearec.method import LatentReasoning
from paperround.papers.rearec.profile import (
    dropout_ranks,
    mean_step_cosine,
    oracle_ceiling,
    step_profile,
    step_ranks,
)
from paperround.papers.rearec.variants import METRIC, STEPS, Job, Plan, Trained, Variant, train_all
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

FILMS, BEAUTY, BERT = "MovieLens-100K", "Beauty", "Beauty, BERT4Rec"
METRICS = ("hr@10", "ndcg@10", "hr@20", METRIC)
# The middle of the paper's grid, which is {.05, .1, .5, 1, 2, 5}.
TAUS = (0.5, 1.0, 2.0)
SEARCH_EPOCHS = 4
# The newest events of each user: a history of 30, and two to be predicted.
MAX_LEN, NEWEST = 30, 32
# Histories whose encoding and reasoning are timed.
TIMED_ROWS = 128

QUICK = Plan(
    d_model=32,
    n_layers=1,
    max_len=MAX_LEN,
    dropout=0.2,
    batch_size=16,
    learning_rate=3e-3,
    epochs=6,
    options=RecipeOptions(kl_weight=0.005, sampled_targets=64),
)
STANDARD = Plan(
    d_model=64,
    n_layers=2,
    max_len=MAX_LEN,
    dropout=0.2,
    batch_size=32,
    learning_rate=2e-3,
    epochs=10,
    options=RecipeOptions(kl_weight=0.005, sampled_targets=128),
)
# Amazon's data is sparser: more dropout. Its histories are shorter: more rows a batch.
STANDARD_BEAUTY = replace(STANDARD, dropout=0.4, batch_size=48, epochs=10)
STANDARD_BERT = replace(STANDARD_BEAUTY, backbone="bert4rec", batch_size=128, epochs=6)
QUICK_USERS, QUICK_BERT_USERS, BEAUTY_USERS, BERT_USERS = 100, 20, 2500, 500

Trainings = dict[tuple[str, Variant], list[Trained]]


def reproduce(run: Run) -> None:
    """Measures every claim that the scale can; raises UsageError at the full scale."""
    use_fast_arithmetic(run.threads)
    if run.scale is Scale.QUICK:
        quick(run)
    elif run.scale is Scale.STANDARD:
        standard(run)
    else:
        raise UsageError("rearec has no full scale to run here; see its README")


def quick(run: Run) -> None:
    """What must hold exactly, what a step costs, and that every recipe learns on both backbones."""
    log = films(run)
    data = {
        FILMS: leave_one_out(sample_users(log, QUICK_USERS, seed=0)),
        BERT: leave_one_out(sample_users(log, QUICK_BERT_USERS, seed=0)),
    }
    plans = {FILMS: QUICK, BERT: replace(QUICK, backbone="bert4rec", batch_size=64)}
    jobs = [
        Job(name, variant, seed, 1.0, data[name], plans[name])
        for seed in run.seeds
        for name in data
        for variant in ("base", "erl", "prl")
    ]
    trained = trainings(run, "train", jobs, processes=1)
    measure_learning(run, trained)
    measure_identities(run, trained)
    measure_cost(run, trained)
    show_metrics(run, FILMS, trained)
    show_curves(run, FILMS, trained)
    show_films(run, trained)


def standard(run: Run) -> None:
    """Everything: tuned alike, three seeds each, beside the controls."""
    beauty = beauty_of(run)
    data = {
        FILMS: leave_one_out(films(run)),
        BEAUTY: leave_one_out(sample_users(beauty, BEAUTY_USERS, seed=0)),
        BERT: leave_one_out(sample_users(beauty, BERT_USERS, seed=0)),
    }
    plans = {FILMS: STANDARD, BEAUTY: STANDARD_BEAUTY, BERT: STANDARD_BERT}
    taus = search(run, data[FILMS])
    variants: Mapping[str, Sequence[Variant]] = {
        FILMS: ("prl", "erl", "naive", "rpe", "one more layer", "base"),
        BEAUTY: ("erl", "base"),
        BERT: ("prl", "erl", "base"),
    }
    jobs = [
        Job(name, variant, seed, taus.get(variant, taus["base"]), data[name], plans[name])
        for name in data
        for seed in run.seeds
        for variant in variants[name]
    ]
    # The longest first, so that no process waits long for the other at the end.
    jobs.sort(key=lambda job: (job.variant != "prl", job.variant != "erl", job.data != BEAUTY))
    trained = trainings(run, "train", jobs, processes=run.threads)
    measure_learning(run, trained)
    measure_identities(run, trained)
    measure_cost(run, trained)
    measure_gain(run, trained)
    measure_collapse(run, trained)
    measure_ceiling(run, trained)
    measure_rare_items(run, trained)
    for name in data:
        show_metrics(run, name, trained)
    show_groups(run, trained)
    show_curves(run, FILMS, trained)
    show_films(run, trained)


def films(run: Run) -> InteractionLog:
    """MovieLens-100K, the 5-core, each user's newest events."""
    return newest(k_core(read_interactions(run.asset("ml-100k") / "ml-100k.inter")))


def beauty_of(run: Run) -> InteractionLog:
    """Amazon Beauty where users have 5 events or more and products 15: a catalogue of 1,067."""
    run.asset("amazon-beauty")
    return newest(k_core(load_amazon("beauty"), user=5, item=15))


def newest(log: InteractionLog) -> InteractionLog:
    """The last events of each user."""
    place = log.offsets[log.user + 1] - np.arange(len(log))
    return log.select(place <= NEWEST)


def trainings(run: Run, stage_name: str, jobs: Sequence[Job], processes: int) -> Trainings:
    """What came of the jobs, by data and variant, in the order of the seeds."""
    found: Trainings = {}
    with run.stage(stage_name, total=len(jobs)) as stage:
        for trained in train_all(jobs, processes):
            found.setdefault((trained.job.data, trained.job.variant), []).append(trained)
            stage.advance()
    for each in found.values():
        each.sort(key=lambda one: run.seeds.index(one.job.seed))
    return found


def search(run: Run, split: Split) -> dict[Variant, float]:
    """The best temperature by validation for the base and each recipe, the first seed, one budget.

    The other variants take the base's.
    """
    plan = replace(STANDARD, epochs=SEARCH_EPOCHS)
    jobs = [
        Job(FILMS, variant, run.seeds[0], tau, split, plan)
        for variant in ("prl", "erl", "base")
        for tau in TAUS
    ]
    with run.stage("search the temperature", total=len(jobs)) as stage:
        valid: dict[tuple[Variant, float], float] = {}
        for trained in train_all(jobs, run.threads):
            valid[trained.job.variant, trained.job.tau] = trained.best_valid
            stage.advance()
    variants: tuple[Variant, ...] = ("base", "erl", "prl")
    chosen = {name: max((valid[name, tau], tau) for tau in TAUS)[1] for name in variants}
    run.table(
        f"The search of the temperature: validation {METRIC} on {FILMS}",
        ("variant", *(f"τ = {tau:g}" for tau in TAUS), "chosen"),
        [(name, *(valid[name, tau] for tau in TAUS), chosen[name]) for name in variants],
        note=f"Seed {run.seeds[0]}, {SEARCH_EPOCHS} epochs each (PRL {plan.epochs_of('prl')}). "
        "Variants that are not listed take the base's.",
    )
    return chosen


def measure_learning(run: Run, trained: Trainings) -> None:
    """The ratio of last to first loss, the largest over recipes and backbones."""
    for place, seed in enumerate(run.seeds):
        ratios: dict[str, list[float]] = {"base": [], "recipe": []}
        for (_, variant), each in trained.items():
            losses = [epoch.loss for epoch in each[place].training.epochs]
            # PRL's contrast joins after the warm-up: the first epoch with all terms counts.
            first = each[place].job.plan.options.warmup_epochs if variant == "prl" else 0
            kind = "recipe" if variant in ("erl", "prl") else "base"
            if variant in ("base", "erl", "prl"):
                ratios[kind].append(losses[-1] / losses[first])
        run.measure("learns", max(ratios["recipe"]), baseline=max(ratios["base"]), seed=seed)


def measure_identities(run: Run, trained: Trainings) -> None:
    """The largest difference between ways to the same states, after training, every backbone."""
    for place, seed in enumerate(run.seeds):
        without, anew, positions = [], [], []
        for (_, variant), each in trained.items():
            if variant not in ("erl", "prl"):
                continue
            model, items = each[place].model(), histories_of(each[place].job.split, 64)
            bare = LatentReasoning(model.encoder, 0).eval()
            with torch.no_grad():
                base = model.encoder.score_batch(items)[:, 1:]
                without.append(apart(bare.score_batch(items)[:, 1:], base))
                kept = model.last_states(items)
                anew.append(apart(kept, model.steps_without_cache(items)))
                if model.causal:
                    last = (items != 0).sum(dim=1) - 1
                    together = model.all_positions(items)[torch.arange(len(items)), last]
                    positions.append(apart(together, kept))
        run.measure("no-steps-is-base", max(without), seed=seed)
        run.measure("kept-keys", max(anew), seed=seed)
        run.measure("all-positions", max(positions), seed=seed)


def apart(one: torch.Tensor, other: torch.Tensor) -> float:
    """The largest absolute difference."""
    return float((one - other).abs().max())


def histories_of(split: Split, n: int, least: int = 1) -> torch.Tensor:
    """(n or fewer, longest): the first test histories that have `least` events."""
    (batch, *_) = split.test.select(split.test.history_lengths >= least).batches(n, MAX_LEN)
    return torch.from_numpy(batch.items)


def measure_cost(run: Run, trained: Trainings) -> None:
    """What a step costs over full histories, per seed's ERL, in the same rounds as encoding."""
    # A machine that is shared disturbs one thread less than two that wait for each other.
    torch.set_num_threads(1)
    rows = []
    for each in trained[FILMS, "erl"]:
        items = histories_of(each.job.split, TIMED_ROWS, least=MAX_LEN)
        profile = step_profile(each.model(), items)
        run.measure("latency", profile.share, baseline=profile.encode_ms, seed=each.job.seed)
        run.measure("cache", profile.saved, baseline=profile.step_anew_ms, seed=each.job.seed)
        rows.append((each.job.seed, profile.encode_ms, profile.step_ms, profile.step_anew_ms))
    torch.set_num_threads(run.threads)
    run.table(
        f"What reasoning costs: {len(items)} histories of {MAX_LEN}, milliseconds, one thread",
        ("seed", "encoding", "one step, keys kept", "one step, encoded anew"),
        rows,
        note="Medians of 20 rounds taken in turns.",
    )


def better_recipe(trained: Trainings, name: str) -> Variant:
    """The recipe that validation prefers on this data, over the seeds."""
    there: list[Variant] = [v for v in ("erl", "prl") if (name, v) in trained]
    return max(there, key=lambda v: fmean(each.best_valid for each in trained[name, v]))


def over_seeds(each: Sequence[Trained]) -> NDArray[np.float64]:
    """(cases,): the metric of every case, the seeds' mean."""
    return np.mean([one.test.per_case(METRIC) for one in each], axis=0)


def measure_gain(run: Run, trained: Trainings) -> None:
    """How far the better recipe lies above the base, on each set, and how sure that is."""
    gains: list[list[float]] = []
    resolved: list[tuple[float, float]] = []
    rows: list[tuple[str | float, ...]] = []
    for name, claim in ((FILMS, "non-inferior-movielens"), (BEAUTY, "non-inferior-beauty")):
        base, better = trained[name, "base"], better_recipe(trained, name)
        ours = [each.test[METRIC] for each in trained[name, better]]
        theirs = [each.test[METRIC] for each in base]
        gains.append([gain_of(value, other) for value, other in zip(ours, theirs, strict=True)])
        pooled = ((stdev(theirs) ** 2 + stdev(ours) ** 2) / 2) ** 0.5
        run.measure(claim, (fmean(ours) - fmean(theirs)) / pooled, baseline=fmean(theirs))
        paired = paired_bootstrap(over_seeds(trained[name, better]), over_seeds(base))
        resolved.append((paired.low, fmean(theirs)))
    for place, seed in enumerate(run.seeds):
        level = fmean(trained[name, "base"][place].test[METRIC] for name in (FILMS, BEAUTY))
        run.measure("gain", fmean(gain[place] for gain in gains), baseline=level, seed=seed)
    low, level = max(resolved)
    run.measure("gain-is-resolved", low, baseline=level)
    for (name, variant), each in trained.items():
        if variant == "base":
            continue
        base = trained[name, "base"]
        paired = paired_bootstrap(over_seeds(each), over_seeds(base))
        says = "not resolvable" if not paired.sure else "above" if paired.mean > 0 else "below"
        level = float(over_seeds(base).mean())
        rows.append((name, variant, level, paired.mean, paired.low, paired.high, paired.n, says))
    run.table(
        f"{METRIC} above the base, paired by users, seeds averaged",
        ("data", "variant", "base", "difference", "low", "high", "users", "at this scale"),
        rows,
        note="95 % percentile intervals of 1,000 resamples. The recipe that stands for ReaRec on a "
        "set is chosen by validation: "
        + "; ".join(f"{name}: {better_recipe(trained, name)}" for name in (FILMS, BEAUTY, BERT))
        + ".",
    )


def measure_collapse(run: Run, trained: Trainings) -> None:
    """How much closer to each other naive steps lie than ERL's."""
    rows = []
    for place, seed in enumerate(run.seeds):
        cosine = {
            variant: mean_step_cosine(
                trained[FILMS, variant][place].model(),
                trained[FILMS, variant][place].job.split.test,
            )
            for variant in ("naive", "rpe", "erl", "prl")
        }
        run.measure("collapse", cosine["naive"] - cosine["erl"], baseline=cosine["erl"], seed=seed)
        rows.append((seed, *cosine.values()))
    run.table(
        f"Mean cosine between two states of one history, {FILMS}",
        ("seed", "naive", "rpe", "erl", "prl"),
        rows,
        note="1 is collapse: all steps say the same.",
    )


def measure_ceiling(run: Run, trained: Trainings) -> None:
    """Choosing a state by the answer: among steps, and among as many dropout passes of the base."""
    rows: list[tuple[str | float, ...]] = []
    for name in (FILMS, BEAUTY):
        better = better_recipe(trained, name)
        for each, base in zip(trained[name, better], trained[name, "base"], strict=True):
            deployed, level, test = each.test[METRIC], base.test[METRIC], each.job.split.test
            states = step_ranks(each.model(), test)
            steps = float(oracle_ceiling(states, METRIC).mean())
            passes = dropout_ranks(base.model(), test, STEPS + 1, seed=each.job.seed)
            control = float(oracle_ceiling(passes, METRIC).mean())
            single = [float(oracle_ceiling([state], METRIC).mean()) for state in states]
            rows.append((name, each.job.seed, better, *single, deployed, steps, level, control))
            if name == FILMS:
                run.measure("ceiling", steps / deployed - 1, baseline=deployed, seed=each.job.seed)
                run.measure(
                    "ceiling-above-control", steps / control, baseline=control, seed=each.job.seed
                )
    run.table(
        f"{METRIC} of each step, and of the best one by the answer",
        (
            "data",
            "seed",
            "recipe",
            *(f"r_{k}" for k in range(STEPS + 1)),
            "deployed",
            "best step",
            "base",
            "base, best of its dropout passes",
        ),
        rows,
        note="A ceiling uses the answer. The control chooses among as many as there are steps.",
    )


def measure_rare_items(run: Run, trained: Trainings) -> None:
    """The relative gain on the rarer half of the targets less that on the more popular half."""
    for place, seed in enumerate(run.seeds):
        extra, heads = [], []
        for name in (FILMS, BEAUTY):
            ours = trained[name, better_recipe(trained, name)][place]
            base, split = trained[name, "base"][place], ours.job.split
            quartile = popularity_quartiles(split.test, split.train)
            rare = np.isin(quartile, ("cold", "Q1", "Q2"))
            gain = [
                gain_of(
                    float(ours.test.per_case(METRIC)[part].mean()),
                    float(base.test.per_case(METRIC)[part].mean()),
                )
                for part in (rare, ~rare)
            ]
            extra.append(gain[0] - gain[1])
            heads.append(gain[1])
        run.measure("rare-items", fmean(extra), baseline=fmean(heads), seed=seed)


def gain_of(ours: float, base: float) -> float:
    """How far a metric lies above the base's, as a share of it; raises where that is 0."""
    if base <= 0:
        raise PaperroundError(f"the base found none of the targets, so {METRIC} has no gain")
    return ours / base - 1


def show_metrics(run: Run, name: str, trained: Trainings) -> None:
    """Every variant of one data set beside the counting models."""
    split = trained[name, "base"][0].job.split
    n_items = split.train.n_items
    rows: list[tuple[str | float | None, ...]] = []
    for counter_name, counter in (
        ("popularity", Popularity(n_items)),
        ("Markov-3", Markov(n_items, 3)),
    ):
        found = evaluate(counter.fit(split.train), split.test)
        rows.append((counter_name, None, *means([found]), None, None))
    for (data, variant), each in trained.items():
        if data == name:
            tests = [one.test for one in each]
            spread = stdev([test[METRIC] for test in tests]) if len(tests) > 1 else None
            rows.append((variant, each[0].job.tau, *means(tests), spread, len(tests)))
    run.table(
        f"{name}: test, full ranking, means over seeds",
        ("model", "τ", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "sd NDCG@20", "seeds"),
        rows,
        note=f"{split.protocol}, seen items ranked, ties mean; {len(split.test)} users, "
        f"{n_items} items, {len(split.train)} events to train on.",
    )


def means(tests: Iterable[Evaluation]) -> list[float]:
    """Each metric's mean over evaluations."""
    tests = list(tests)
    return [fmean(test[metric] for test in tests) for metric in METRICS]


def show_groups(run: Run, trained: Trainings) -> None:
    """Where a gain comes from: rare and popular targets, short and long histories."""
    rows = []
    for name in (FILMS, BEAUTY):
        better = better_recipe(trained, name)
        split = trained[name, "base"][0].job.split
        ours, base = over_seeds(trained[name, better]), over_seeds(trained[name, "base"])
        for what, labels in (
            ("target's popularity", popularity_quartiles(split.test, split.train)),
            ("history's length", length_quartiles(split.test)),
        ):
            for label in sorted(set(labels.tolist())):
                part = labels == label
                paired = paired_bootstrap(ours[part], base[part])
                level = float(base[part].mean())
                rows.append(
                    (
                        name,
                        better,
                        what,
                        label,
                        level,
                        paired.mean,
                        paired.low,
                        paired.high,
                        paired.n,
                    )
                )
    run.table(
        f"{METRIC} above the base by group",
        ("data", "recipe", "by", "quarter", "base", "difference", "low", "high", "users"),
        rows,
        note="Q1 are the rarest targets, the shortest histories. Seeds averaged, 95 % intervals.",
    )


def show_curves(run: Run, name: str, trained: Trainings) -> None:
    """How each variant's first seed learns."""
    run.series(
        f"Validation {METRIC} while training on {name}, first seed",
        {
            variant: [
                (epoch.epoch, epoch.metric)
                for epoch in each[0].training.epochs
                if epoch.metric is not None
            ]
            for (data, variant), each in trained.items()
            if data == name
        },
        x_label="epoch",
        y_label=METRIC,
    )


def show_films(run: Run, trained: Trainings) -> None:
    """One user's last films, and what each state would recommend."""
    first = trained[FILMS, "erl"][0]
    titles, split, model = movielens_100k_titles(), first.job.split, first.model()
    (batch, *_) = split.test.select(np.array([0])).batches(1, MAX_LEN)
    with torch.no_grad():
        states = model.last_states(torch.from_numpy(batch.items))[0]
        best = model.score(states)[:, 1:].topk(3, dim=1).indices + 1

    def named(codes: Sequence[int]) -> str:
        return "\n".join(titles[str(split.train.item_ids[code - 1])][0] for code in codes)

    run.sample(
        "One user's last films, and what each state would recommend",
        {
            "the last five": named(batch.items[0][batch.items[0] > 0][-5:].tolist()),
            **{f"r_{k}": named(best[k].tolist()) for k in range(len(best))},
            "what came": named(batch.target.tolist()),
        },
    )
