"""Measures TiM4Rec's claims: exactness and cost at quick, and what the gaps are worth at standard.

Models and training stand in trials.py; what is timed, in cost.py.
"""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev

import numpy as np
import torch
from torch import Tensor

from paperround.errors import UsageError
from paperround.kit.recommendation.counting import Markov, Popularity
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.interactions import (
    k_core,
    sample_users,
)
from paperround.kit.recommendation.metrics import paired_bootstrap
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.reading import (
    load_amazon,
    movielens_100k_titles,
    read_interactions,
)
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import (
    use_fast_arithmetic,
)
from paperround.papers.tim4rec.baselines import DAY_S, TiSASRec
from paperround.papers.tim4rec.cost import (
    growth,
    histories,
    megaflops,
    reading,
    seconds_in_turns,
    training_step,
)
from paperround.papers.tim4rec.method import TimeAwareSSDRecommender
from paperround.papers.tim4rec.plain import ssd_matrix, ssd_recurrence
from paperround.papers.tim4rec.scan import ssd_scan, step_sizes
from paperround.papers.tim4rec.trials import (
    BEAUTY,
    BUCKETS,
    CHUNK,
    CONTROL,
    MAX_LEN,
    METRIC,
    MOVIELENS,
    OURS,
    QUICK,
    SASREC,
    SSD,
    Plan,
    Trained,
    newest,
    shuffle_gaps,
    times_of,
    train,
)
from paperround.runs.card import Scale
from paperround.runs.reproduction import Run

LENGTHS = (256, 512, 1024)

Found = Mapping[str, Sequence[Trained]]


def reproduce(run: Run) -> None:
    """Measures every claim that the scale can; raises UsageError at the full scale."""
    if run.scale not in (Scale.QUICK, Scale.STANDARD):
        raise UsageError("tim4rec has no full scale to run here; see its README")
    use_fast_arithmetic(run.threads)
    films = k_core(read_interactions(run.asset("ml-100k") / "ml-100k.inter"))
    if run.scale is Scale.QUICK:
        split = leave_one_out(sample_users(newest(films, QUICK.newest), 250, seed=0))
        trained = train_all(run, QUICK, split)
        show_results(run, QUICK, trained, split)
    else:
        split = leave_one_out(newest(films, MOVIELENS.newest))
        trained = train_all(run, MOVIELENS, split)
        measure_gain(run, MOVIELENS, trained, split, "gain-movielens")
        run.asset("amazon-beauty")
        shop = newest(sample_users(load_amazon("beauty"), 4_000, seed=0), BEAUTY.newest)
        shop_split = leave_one_out(k_core(shop, 3, 5))
        sold = train_all(run, BEAUTY, shop_split)
        measure_gain(run, BEAUTY, sold, shop_split, "gain-beauty")
        measure_steps(run)
    measure_learning(run, trained)
    measure_forms(run, trained, split)
    measure_causality(run, trained, split)
    measure_growth(run)
    show_user(run, trained[OURS][0].model, split)


def train_all(run: Run, plan: Plan, split: Split) -> dict[str, list[Trained]]:
    """Every model of a plan, by name, one per seed."""
    trained: dict[str, list[Trained]] = {}
    for seed in run.seeds:
        shuffled = leave_one_out(shuffle_gaps(split.test.log, seed))
        for name in (*plan.models, *(plan.alone if seed == run.seeds[0] else ())):
            with run.stage(f"{plan.name}: {name}, seed {seed}", total=plan.epochs) as stage:
                data = shuffled if name == CONTROL else split
                trained.setdefault(name, []).append(train(name, data, plan, seed, stage))
    return trained


def measure_gain(run: Run, plan: Plan, trained: Found, split: Split, claim: str) -> None:
    """What the gaps are worth on one data set, against the network without them and controls."""
    level = {name: fmean(each.test[METRIC] for each in group) for name, group in trained.items()}
    ours = [each.test[METRIC] for each in trained[OURS]]
    base = [each.test[METRIC] for each in trained[SSD]]
    pooled = ((stdev(base) ** 2 + stdev(ours) ** 2) / 2) ** 0.5
    run.measure("non-inferior", (fmean(ours) - fmean(base)) / pooled, baseline=level[SSD])
    run.measure("time-is-used", level[OURS] / level[CONTROL] - 1, baseline=level[CONTROL])
    above = level[OURS] / level[BUCKETS] - 1
    run.measure("mask-against-buckets", above, baseline=level[BUCKETS])
    apart = max(abs(level[name] / level[SASREC] - 1) for name in level)
    run.measure("near-sasrec", apart, baseline=level[SASREC])
    rows = []
    for name in (name for name in plan.models if name != OURS):
        paired = paired_bootstrap(
            np.mean([each.test.per_case(METRIC) for each in trained[OURS]], axis=0),
            np.mean([each.test.per_case(METRIC) for each in trained[name]], axis=0),
        )
        low, mean, high = (x / level[name] for x in (paired.low, paired.mean, paired.high))
        if name == SSD:
            run.measure(claim, low, baseline=level[SSD])
        says = "above" if low > 0 else "below" if high < 0 else "not resolvable"
        rows.append((name, mean, low, high, paired.n, says))
    run.table(
        f"{plan.name}: NDCG@10 of TiM4Rec above others, relative, paired by users",
        ("against", "difference", "low", "high", "users", "at this scale"),
        rows,
        note="Means over the seeds; 95 % percentile intervals of 1,000 resamples of users.",
    )
    show_results(run, plan, trained, split)


def measure_learning(run: Run, trained: Found) -> None:
    """The ratio of TiM4Rec's last loss to its first, beside that of SSD4Rec*."""
    for each, base in zip(trained[OURS], trained[SSD], strict=True):
        own, other = each.training.epochs, base.training.epochs
        run.measure(
            "learns",
            own[-1].loss / own[0].loss,
            baseline=other[-1].loss / other[0].loss,
            seed=each.seed,
        )


def measure_forms(run: Run, trained: Found, split: Split) -> None:
    """Chunks, the whole matrix and the recurrence, on every trained model's own tensors."""
    (batch, *_) = split.test.batches(16, MAX_LEN)
    items, times = torch.from_numpy(batch.items), times_of(batch.times)
    for each in trained[OURS]:
        model = each.model
        assert isinstance(model, TimeAwareSSDRecommender)
        run.measure("forms-agree", _difference(model, items, times), seed=each.seed)
        run.measure("forms-agree-fp64", _difference(model.double(), items, times), seed=each.seed)
        model.float()


def _difference(model: TimeAwareSSDRecommender, items: Tensor, times: Tensor) -> float:
    """The largest distance of any form from the whole matrix, or of the model's steps from rows."""
    with torch.no_grad():
        x, T = model.embed(items), model.first_time_input(items, times)
        largest = 0.0
        for layer in model.layers:
            g, _ = layer.modulation(T)
            _, terms = layer.mixer.terms(x, g)
            matrix = ssd_matrix(**terms)
            others = [ssd_scan(**terms, chunk_size=size) for size in (1, 7, 32, CHUNK)]
            others.append(ssd_recurrence(**terms))
            largest = max(largest, *(float((y - matrix).abs().max()) for y in others))
            x, T = layer(x, T)
        state = model.start(len(items))
        for place in range(items.shape[1]):
            hidden, state = model.step(items[:, place], times[:, place], state)
            real = items[:, place] != 0
            if real.any():
                largest = max(largest, float((hidden - x[:, place])[real].abs().max()))
    return largest


def measure_causality(run: Run, trained: Found, split: Split) -> None:
    """How far later events move earlier states: here, and in the paper's own time branch."""
    lengths = split.test.history_lengths
    length = min(MAX_LEN, int(lengths.max()))
    (batch, *_) = split.test.select(lengths >= length).batches(32, length)
    items, times = torch.from_numpy(batch.items), times_of(batch.times)
    later_items, later_times = items.clone(), times.clone()
    half = length // 2
    later_items[:, half:] = items[:, half:].flip(1)
    later_times[:, half:] += 7 * DAY_S * torch.arange(1, length - half + 1)
    given_twice = ((items, times), (later_items, later_times))
    for each in trained[OURS]:
        model = each.model
        assert isinstance(model, TimeAwareSSDRecommender)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(each.seed)
            paper = TimeAwareSSDRecommender(
                model.n_items,
                d_model=model.d_model,
                n_layers=len(model.layers),
                # The paper's branch takes rows of this length and no others.
                max_len=length,
                variant="paper",
            )
        # The trained layers, behind the paper's branch as it is before training.
        paper.load_state_dict(
            {k: v for k, v in model.state_dict().items() if "modulation" not in k}, strict=False
        )
        moved = []
        for one in (model, paper.eval()):
            before, after = (_knows(one, *given) for given in given_twice)
            moved.append(float((before - after)[:, :half].abs().max()))
        run.measure("causality", moved[0], baseline=moved[1], seed=each.seed)


def _knows(model: TimeAwareSSDRecommender, items: Tensor, times: Tensor) -> Tensor:
    """(B, L, d + h layers): the last states, and the factors of every layer."""
    with torch.no_grad():
        T, factors = model.first_time_input(items, times), []
        for layer in model.layers:
            g, T = layer.modulation(T)
            factors.append(g)
        return torch.cat([model(items, times), *factors], dim=-1)


def measure_growth(run: Run) -> None:
    """How the seconds of reading grow with the length, and the operations counted beside them."""
    n_items = 1_000
    took: dict[str, list[tuple[float, float]]] = {}
    with run.stage("growth with the length", total=len(LENGTHS)) as stage:
        for length in LENGTHS:
            items, times = histories(4, length, n_items, seed=run.seeds[0])

            def tim4rec(is_time: bool, length: int = length) -> AbstractSequenceEncoder:
                return TimeAwareSSDRecommender(n_items, n_layers=1, max_len=length, is_time=is_time)

            models = {
                "SSD4Rec*": tim4rec(False),
                "TiM4Rec": tim4rec(True),
                "SASRec": SASRec(n_items, n_layers=1, max_len=length),
                "TiSASRec, factored": TiSASRec(n_items, n_layers=1, max_len=length),
                "TiSASRec": TiSASRec(n_items, n_layers=1, max_len=length, form="explicit"),
            }
            ways = {name: reading(model, items, times) for name, model in models.items()}
            # The one that takes seconds takes few rounds; the others need many for a sound median.
            slow = {"TiSASRec": ways.pop("TiSASRec")}
            found = {**seconds_in_turns(ways, 9), **seconds_in_turns(slow, 2)}
            for name, seconds in found.items():
                took.setdefault(name, []).append((length, 1000 * seconds))
            stage.advance()
    slopes = {name: growth(*zip(*points, strict=True)) for name, points in took.items()}
    run.measure("linear", slopes["TiM4Rec"], baseline=slopes["SSD4Rec*"])
    run.measure("quadratic-peer", slopes["TiSASRec"], baseline=slopes["SASRec"])
    run.series(
        "Reading 4 histories, one layer of width 64, no gradients",
        took,
        x_label="events in a history",
        y_label="milliseconds",
        x_log=True,
        y_log=True,
        note="TiSASRec keeps a vector per pair of events; factored (ours) it gives the same "
        "numbers without them. SASRec's attention runs as one fused kernel.",
    )
    by_length = {length: megaflops(length) for length in (50, *LENGTHS)}
    measured = {
        "SSD4Rec*": "SSD4Rec*",
        "TiM4Rec, causal": "TiM4Rec",
        "SASRec": "SASRec",
        "TiSASRec, explicit": "TiSASRec",
        "TiSASRec, factored": "TiSASRec, factored",
    }
    rows = [
        (
            name,
            *[by_length[length][name] for length in by_length],
            slopes.get(measured.get(name, "")),
        )
        for name in by_length[LENGTHS[0]]
    ]
    run.table(
        "Counted operations of one layer and one history, millions, and the measured growth",
        ("model", *[f"length {length}" for length in by_length], "slope of the seconds"),
        rows,
        note="Without the feed-forward part. A slope of 1 is linear, of 2 quadratic.",
    )


def measure_steps(run: Run) -> None:
    """Seconds of training steps: against SSD4Rec* at 50 events, against TiSASRec at 200."""
    n_items = 3_416
    with run.stage("training steps", total=2) as stage:
        items, times = histories(128, 50, n_items, seed=run.seeds[0])
        short = seconds_in_turns(
            {
                SSD: training_step(
                    TimeAwareSSDRecommender(n_items, is_time=False, chunk_size=CHUNK), items, times
                ),
                OURS: training_step(
                    TimeAwareSSDRecommender(n_items, chunk_size=CHUNK), items, times
                ),
                SASREC: training_step(SASRec(n_items), items, times),
            },
            rounds=9,
        )
        stage.advance()
        items, times = histories(32, 200, n_items, seed=run.seeds[0])
        tisasrec = {
            f"TiSASRec, {form}": training_step(
                TiSASRec(n_items, max_len=200, unit_s=60.0, form=form), items, times
            )
            for form in ("explicit", "factored")
        }
        long = seconds_in_turns(
            {
                SSD: training_step(
                    TimeAwareSSDRecommender(n_items, max_len=200, is_time=False), items, times
                ),
                OURS: training_step(TimeAwareSSDRecommender(n_items, max_len=200), items, times),
                SASREC: training_step(SASRec(n_items, max_len=200), items, times),
                **tisasrec,
            },
            rounds=3,
        )
        stage.advance()
    run.measure("overhead", short[OURS] / short[SSD] - 1, baseline=1000 * short[SSD])
    explicit = long["TiSASRec, explicit"]
    run.measure("cheaper-than-tisasrec", explicit / long[OURS], baseline=1000 * explicit)
    run.table(
        "A training step, milliseconds: 6,400 events, 3,416 items, width 64, two layers",
        ("model", "128 histories of 50", "32 histories of 200"),
        [
            (name, 1000 * short[name] if name in short else None, 1000 * seconds)
            for name, seconds in long.items()
        ],
        note="Full softmax, gradients and Adam included, medians of rounds taken in turns.",
    )


def show_results(run: Run, plan: Plan, trained: Found, split: Split) -> None:
    """Every model beside the counting ones, and how validation went."""
    metrics = ("hr@10", METRIC, "hr@20", "ndcg@20")
    n_items = split.train.n_items
    rows: list[tuple[str | float | None, ...]] = []
    for name, counter in (("popularity", Popularity(n_items)), ("Markov-3", Markov(n_items, 3))):
        found = evaluate(counter.fit(split.train), split.test)
        rows.append((name, None, *[found[metric] for metric in metrics], None, None))
    for name, each in trained.items():
        values = [fmean(one.test[metric] for one in each) for metric in metrics]
        spread = stdev([one.test[METRIC] for one in each]) if len(each) > 1 else None
        best = fmean(one.training.best_epoch for one in each)
        rows.append((name, len(each), *values, spread, best))
    run.table(
        f"{plan.name}: test, full ranking, seen items ranked",
        ("model", "seeds", "HR@10", "NDCG@10", "HR@20", "NDCG@20", "sd NDCG@10", "best epoch"),
        rows,
        note=f"Leave-one-out, {len(split.test)} users, {n_items} items, ties mean. "
        f"{100 * split.test.log.tied_share():.0f} % of the transitions are between events of one "
        "time, in an order that may mean nothing.",
    )
    run.series(
        f"{plan.name}: validation NDCG@10, first seed",
        {
            name: [(at.epoch, at.metric) for at in each[0].training.epochs if at.metric is not None]
            for name, each in trained.items()
        },
        x_label="epoch",
        y_label="NDCG@10",
    )


def show_user(run: Run, model: AbstractSequenceEncoder, split: Split) -> None:
    """One user's last films with their gaps, what the first layer keeps at each, and its answer."""
    assert isinstance(model, TimeAwareSSDRecommender)
    titles = movielens_100k_titles()
    (newest_times,) = (each.times for each in split.test.batches(len(split.test), 9))
    varied = [np.unique(np.diff(row)).size for row in times_of(newest_times).numpy()]
    chosen = int(np.argmax(varied))
    (batch, *_) = split.test.select(np.array([chosen])).batches(1, MAX_LEN)
    items, times = torch.from_numpy(batch.items), times_of(batch.times)
    with torch.no_grad():
        kept = _kept(model, items, times)[0]
        answers = {
            "with these gaps": model.score_batch(items, times),
            "had all been watched at once": model.score_batch(items, times[:, :1].expand_as(times)),
        }
    gaps = times[0].diff(prepend=times[0, :1]).tolist()

    def film(code: int) -> str:
        return titles[str(split.train.item_ids[code - 1])][0]

    lines = [
        f"{_said(gaps[place])} {film(int(items[0, place]))}: keeps {100 * float(kept[place]):.0f} %"
        for place in range(max(0, items.shape[1] - 8), items.shape[1])
    ]
    run.sample(
        "One user's last films, and what follows with and without the gaps",
        {
            "gap, film, share of the memory kept": "\n".join(lines),
            **{
                name: "\n".join(film(int(code)) for code in scores[0].topk(5).indices)
                for name, scores in answers.items()
            },
            "what came": film(int(batch.target[0])),
        },
        note="The share kept is exp(dt A) of the first layer, its mean over the heads.",
    )


def _kept(model: TimeAwareSSDRecommender, items: Tensor, times: Tensor) -> Tensor:
    """(B, L): the mean over the heads of the first layer's decay."""
    layer = model.layers[0]
    g, _ = layer.modulation(model.first_time_input(items, times))
    _, terms = layer.mixer.terms(model.embed(items), g)
    steps = step_sizes(terms["dt"], terms["dt_bias"], dt_softplus=True)
    return (steps * terms["A"]).exp().mean(dim=-1)


def _said(seconds: float) -> str:
    for unit, size in (("d", DAY_S), ("h", 3_600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
