"""Training learns, stops, repeats, resumes; and ends with the batch named where numbers break."""

import json
import math
from dataclasses import replace

import pytest
import torch

from paperround.errors import TrainingError, UsageError
from paperround.kit.recommendation.encoders import BERT4Rec, GRU4Rec, OriginalSASRec, SASRec
from paperround.kit.recommendation.evaluation import evaluate
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.models import find_model
from paperround.kit.recommendation.objectives import masked_items, next_items
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import leave_one_out
from paperround.kit.recommendation.training import AuxLoss, FitTask, Trainer, TrainingPlan

MAX_LEN = 6
PLAN = TrainingPlan(epochs=4, batch_size=8, learning_rate=3e-3, patience=10)


@pytest.fixture(scope="module")
def split():
    """40 users who walk around a circle of 12 items: what follows is certain."""
    events = [(user, (user + step) % 12) for user in range(40) for step in range(9)]
    return leave_one_out(build_log(*zip(*events, strict=True)))


def an_encoder(split, kind=SASRec, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        n_items = split.train.n_items
        return kind(n_items, d_model=16, max_len=MAX_LEN, **{"dropout": 0.1, **options})


def a_trainer(split, encoder, plan=PLAN, objective=None, **options):
    data = SequenceDataset(split.train, "windows", MAX_LEN)
    return Trainer(encoder, data, split.valid, objective or next_items(), plan, **options)


def weights(encoder):
    return {name: tensor.clone() for name, tensor in encoder.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("kind", "objective"),
    [
        (SASRec, next_items()),
        (SASRec, next_items("sampled", negatives=5)),
        (SASRec, next_items("gbce", negatives=5)),
        (OriginalSASRec, next_items("bce", negatives=2)),
        (GRU4Rec, next_items()),
        (BERT4Rec, masked_items(last_only_ratio=0.8)),
    ],
    ids=["ce", "sampled", "gbce", "original", "gru", "bert"],
)
def test_every_network_learns_what_certainly_follows(split, kind, objective):
    encoder = an_encoder(split, kind, dropout=0.0)
    before = evaluate(encoder, split.test)["hr@1"]
    plan = TrainingPlan(epochs=60, batch_size=8, learning_rate=5e-3, patience=60)
    result = a_trainer(split, encoder, plan, objective).fit()
    after = evaluate(encoder, split.test)["hr@1"]
    assert after > 0.9 > before
    assert result.epochs[-1].loss < result.epochs[0].loss


def test_the_learning_rate_falls_to_its_last_share(split):
    rates = []

    def watch(progress):
        rates.append(trainer._optimizer.param_groups[0]["lr"])

    plan = replace(PLAN, learning_rate=0.01, final_share=0.1)
    trainer = a_trainer(split, an_encoder(split), plan, on_progress=watch)
    trainer.fit()
    n_steps = 4 * math.ceil(40 / 8)
    falling = [0.01 * (1 - 0.9 * step / n_steps) for step in range(n_steps)]
    assert rates == pytest.approx(falling)


@pytest.mark.parametrize(("mode", "rows"), [("windows", 40), ("prefix", 40 * 6)])
def test_a_model_known_by_name_learns_rows_cut_as_asked(split, mode, rows):
    kind = find_model("sasrec")
    small = {"d_model": 8, "max_len": MAX_LEN, "epochs": 1, "batch_size": 8}
    options = kind.complete({**small, "mode": mode})
    seen = []
    encoder = kind.build(split.train.n_items, options)
    kind.fit(encoder, FitTask(split.train, split.valid, 0, options, on_progress=seen.append))
    assert seen[-1].batches == rows / 8


def test_a_cut_that_there_is_not_is_refused(split):
    kind = find_model("sasrec")
    options = kind.complete({"mode": "words"})
    encoder = kind.build(split.train.n_items, options)
    with pytest.raises(UsageError, match="no mode 'words'; there are windows, prefix"):
        kind.fit(encoder, FitTask(split.train, split.valid, 0, options))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(split):
    found = []
    for seed in (1, 1, 2):
        encoder = an_encoder(split)
        a_trainer(split, encoder, seed=seed).fit()
        found.append(weights(encoder))
    assert same(found[0], found[1])
    assert not same(found[0], found[2])


def test_training_leaves_the_callers_random_state_alone(split):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    a_trainer(split, an_encoder(split)).fit()
    assert torch.equal(torch.get_rng_state(), state)


def test_a_resumed_training_ends_as_an_uninterrupted_one(split, tmp_path):
    whole = an_encoder(split)
    uninterrupted = a_trainer(split, whole).fit()

    class Interrupted(Exception):
        pass

    def interrupt(at):
        if (at.epoch, at.batch) == (3, 2):
            raise Interrupted

    path, resumed = tmp_path / "state", an_encoder(split)
    with pytest.raises(Interrupted):
        a_trainer(split, resumed, checkpoint=path, on_progress=interrupt).fit()
    resumed = an_encoder(split, seed=9)
    epochs = []
    trainer = a_trainer(
        split, resumed, checkpoint=path, on_progress=lambda at: epochs.append(at.epoch)
    )
    result = trainer.fit()
    assert set(epochs) == {3, 4}
    assert same(weights(resumed), weights(whole))
    assert [record.loss for record in result.epochs] == [
        record.loss for record in uninterrupted.epochs
    ]


def test_a_finished_training_can_be_asked_again_and_go_on_longer(split, tmp_path):
    path = tmp_path / "state"
    first = an_encoder(split)
    a_trainer(split, first, checkpoint=path).fit()
    again = an_encoder(split)
    assert len(a_trainer(split, again, checkpoint=path).fit().epochs) == PLAN.epochs
    assert same(weights(first), weights(again))
    longer = replace(PLAN, epochs=6)
    assert len(a_trainer(split, an_encoder(split), longer, checkpoint=path).fit().epochs) == 6


def test_a_checkpoint_of_another_training_is_refused(split, tmp_path):
    path = tmp_path / "state"
    a_trainer(split, an_encoder(split), checkpoint=path).fit()
    with pytest.raises(UsageError, match="another training: seed is 0 there and 1 here"):
        a_trainer(split, an_encoder(split), seed=1, checkpoint=path).fit()
    other = replace(PLAN, learning_rate=1e-2)
    with pytest.raises(UsageError, match=r"learning_rate is 0\.003 there and 0\.01 here"):
        a_trainer(split, an_encoder(split), other, checkpoint=path).fit()


def test_a_checkpoint_of_another_version_or_of_nothing_is_refused(split, tmp_path):
    path = tmp_path / "state"
    path.write_bytes(b"this is no checkpoint")
    with pytest.raises(UsageError, match="is no checkpoint that can be read"):
        a_trainer(split, an_encoder(split), checkpoint=path).fit()
    torch.save({"format": 99}, path)
    with pytest.raises(UsageError, match="checkpoint of format 99; this program reads 1"):
        a_trainer(split, an_encoder(split), checkpoint=path).fit()


def breaking(at_call, value=math.nan):
    """The usual loss, which becomes `value` at one call."""
    calls, usual = [0], next_items()

    def objective(encoder, batch, generator):
        calls[0] += 1
        loss = usual(encoder, batch, generator)
        return loss * value if calls[0] == at_call else loss

    return objective


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_broken_loss_names_the_batch_and_keeps_the_last_good_weights(split, tmp_path, value):
    path = tmp_path / "state"
    # Five batches an epoch: the second batch of the third epoch breaks.
    n = a_trainer(split, an_encoder(split)).data.n_batches(PLAN.batch_size)
    good = an_encoder(split)
    kept = a_trainer(split, good, replace(PLAN, epochs=2)).fit()
    encoder = an_encoder(split)
    trainer = a_trainer(split, encoder, objective=breaking(2 * n + 2, value), checkpoint=path)
    with pytest.raises(TrainingError) as caught:
        trainer.fit()
    said = str(caught.value)
    assert f"the loss became {value} in epoch 3, batch 2 of {n} (users " in said
    assert f"kept the weights of epoch {kept.best_epoch}, and the checkpoint state" in said
    assert "\n" not in said
    assert same(weights(encoder), weights(good))
    # The checkpoint holds the last whole epoch: what is resumed there ends well.
    resumed, whole = an_encoder(split), an_encoder(split)
    a_trainer(split, resumed, checkpoint=path).fit()
    a_trainer(split, whole).fit()
    assert same(weights(resumed), weights(whole))


def test_a_broken_gradient_is_caught_before_it_reaches_the_weights(split):
    usual = next_items()

    def objective(encoder, batch, generator):
        # Finite itself, with an infinite slope: the square root at 0.
        return usual(encoder, batch, generator) + torch.sqrt(0 * encoder.items.weight.abs().sum())

    encoder = an_encoder(split)
    before = weights(encoder)
    with pytest.raises(TrainingError, match="the gradient's norm became nan in epoch 1, batch 1"):
        a_trainer(split, encoder, objective=objective).fit()
    assert same(weights(encoder), before)


def test_a_last_step_that_broke_the_weights_is_caught_before_they_are_kept(split, tmp_path):
    checkpoint = tmp_path / "state"
    encoder = an_encoder(split)
    a_trainer(split, encoder, replace(PLAN, epochs=1, batch_size=999), checkpoint=checkpoint).fit()
    good, state = weights(encoder), checkpoint.read_bytes()

    trainer = a_trainer(
        split, encoder, replace(PLAN, epochs=2, batch_size=999), checkpoint=checkpoint
    )
    step = trainer._optimizer.step

    def overflowing():
        step()
        with torch.no_grad():
            encoder.positions.weight.fill_(math.inf)

    trainer._optimizer.step = overflowing
    with pytest.raises(TrainingError, match=r"after epoch 2 the scores of .* kept the weights of"):
        trainer.fit()
    assert same(weights(encoder), good)
    assert checkpoint.read_bytes() == state


def test_patience_stops_and_the_best_epoch_is_what_is_left(split):
    plan = TrainingPlan(epochs=200, batch_size=8, learning_rate=1e-2, patience=3)
    encoder = an_encoder(split)
    result = a_trainer(split, encoder, plan).fit()
    assert result.stopped == "patience"
    metrics = [record.metric for record in result.epochs]
    assert result.best_metric == max(metrics)
    assert metrics.index(max(metrics)) + 1 == result.best_epoch == len(metrics) - 3
    assert evaluate(encoder, split.valid)["ndcg@10"] == result.best_metric
    assert not encoder.training


def test_evaluations_may_be_rarer_and_the_last_epoch_has_one(split):
    plan = replace(PLAN, epochs=5, eval_every=2)
    result = a_trainer(split, an_encoder(split), plan).fit()
    assert [record.metric is not None for record in result.epochs] == [
        False, True, False, True, True,
    ]  # fmt: skip


def test_no_epoch_begins_after_the_seconds_are_spent(split):
    # The last epoch is evaluated, also where it comes earlier than the plan has one.
    plan = replace(PLAN, eval_every=3, seconds=1e-9)
    result = a_trainer(split, an_encoder(split), plan).fit()
    assert (result.stopped, len(result.epochs), result.best_epoch) == ("seconds", 1, 1)
    result = a_trainer(split, an_encoder(split), replace(PLAN, epochs=2, seconds=1e9)).fit()
    assert (result.stopped, len(result.epochs)) == ("epochs", 2)


def test_without_validation_every_epoch_runs_and_the_last_stays(split):
    data = SequenceDataset(split.train, "windows", MAX_LEN)
    result = Trainer(an_encoder(split), data, None, next_items(), PLAN).fit()
    assert (result.stopped, result.best_epoch, result.best_metric) == ("epochs", 4, None)


def test_a_loss_that_is_added_with_weight_0_changes_nothing(split):
    def drawing(encoder, batch, generator):
        torch.rand(5, generator=generator)
        return encoder.items.weight.square().mean()

    plain, added, weighty = (an_encoder(split) for _ in range(3))
    a_trainer(split, plain).fit()
    a_trainer(split, added, aux_losses=[AuxLoss("aux", drawing, 0.0)]).fit()
    result = a_trainer(split, weighty, aux_losses=[AuxLoss("aux", drawing, 1.0)]).fit()
    assert same(weights(plain), weights(added))
    assert not same(weights(plain), weights(weighty))
    assert result.epochs[0].parts["aux"] > 0


def test_a_result_is_a_line_for_a_table(split):
    result = a_trainer(split, an_encoder(split), seed=3).fit()
    row = json.loads(json.dumps(result.row()))
    assert (row["seed"], row["epochs"], row["plan_metric"]) == (3, 4, "ndcg@10")
    assert row["interactions_per_second"] > 0
    assert row["peak_rss_mb"] > 10


def test_nothing_to_learn_and_rows_that_do_not_fit_are_refused(split):
    lonely = build_log(["a", "b"], ["x", "y"])
    with pytest.raises(UsageError, match="no user has two events"):
        Trainer(an_encoder(split), SequenceDataset(lonely), None, next_items())
    too_long = SequenceDataset(split.train, "windows", MAX_LEN + 1)
    with pytest.raises(UsageError, match="rows of 7 are too long for a model of 6"):
        Trainer(an_encoder(split), too_long, None, next_items())
    left = SequenceDataset(split.train, "windows", MAX_LEN, pad="left")
    with pytest.raises(UsageError, match="expects padding on the right, the rows have it on"):
        Trainer(an_encoder(split), left, None, next_items())
