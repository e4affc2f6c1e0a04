"""The two losses: what they compute, whom their gradients reach, and what is left without them."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import BERT4Rec, GRU4Rec, SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.objectives import masked_items, next_items
from paperround.kit.recommendation.samples import Batch, SequenceDataset
from paperround.kit.recommendation.splits import leave_one_out
from paperround.kit.recommendation.training import Trainer, TrainingPlan
from paperround.papers.unirec.enhancements import (
    Curriculum,
    ItemFrequencyLoss,
    KeepFrequent,
    SequenceUniformityLoss,
    UniRec,
)
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.uniformity import frequency_split, rarity, uniformity_split

N_ITEMS, MAX_LEN, D = 12, 8, 16


@pytest.fixture(scope="module")
def split():
    """40 users who walk around a circle of 12 items, each at a pace of their own."""
    events = [
        (user, (user + step) % N_ITEMS, 1_000.0 * step ** (1 + user % 3))
        for user in range(40)
        for step in range(9)
    ]
    return leave_one_out(build_log(*zip(*events, strict=True)))


def an_encoder(kind=SASRec, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(N_ITEMS, d_model=D, max_len=MAX_LEN, **{"dropout": 0.0, **options})


def a_batch(rows, users=None, epoch=100):
    """Rows of items, padded on the right; the target is the next item of the circle."""
    width = max(map(len, rows))
    items = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    targets = torch.where(items > 0, items % N_ITEMS + 1, 0)
    users = torch.arange(len(rows)) if users is None else torch.tensor(users)
    return Batch(items, targets, users, epoch=epoch)


def everyone(n=3):
    return np.ones(n, dtype=bool)


def all_kept():
    return KeepFrequent(np.ones(N_ITEMS + 1, dtype=bool))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def an_item_loss(split, **options):
    train = split.train
    torch.manual_seed(3)
    return ItemFrequencyLoss(
        D, ItemNeighbours.fit(train), frequency_split(train), rarity(train), **options
    )


# Sub-sequences

rows = st.lists(st.integers(1, N_ITEMS), min_size=0, max_size=MAX_LEN)
flags = st.lists(st.booleans(), min_size=N_ITEMS + 1, max_size=N_ITEMS + 1)


@given(rows, flags, st.sampled_from([0.0, 1.0]))
def test_a_sub_sequence_keeps_order_the_last_two_and_the_times(row, flagged, inject):
    keep = np.array(flagged)
    items = torch.tensor([[*row, *[0] * (MAX_LEN + 1 - len(row))]])
    times = torch.where(items > 0, 100.0 + torch.arange(MAX_LEN + 1, dtype=torch.float64), 0.0)
    kept, when = KeepFrequent(keep, inject=inject)(items, times, generator())
    n = int((kept[0] != 0).sum())
    assert n >= min(2, len(row))
    assert (kept[0, n:] == 0).all()
    assert (when[0, n:] == 0).all()
    assert kept[0, :n].tolist()[-2:] == row[-2:]
    places = [int(t - 100) for t in when[0, :n]]
    assert places == sorted(set(places))
    if inject and not keep[1:].all():
        # Everything that is not kept makes room for something rare.
        assert n == len(row)
    expected = [p for p, item in enumerate(row) if keep[item] or p >= len(row) - 2]
    if not inject:
        assert places == expected
    for place, item in zip(places, kept[0, :n].tolist(), strict=True):
        assert item == row[place] if place in expected else not keep[item]


def test_a_sub_sequence_may_be_made_without_times():
    keep = np.zeros(N_ITEMS + 1, dtype=bool)
    keep[[1, 3]] = True
    kept, when = KeepFrequent(keep)(torch.tensor([[1, 2, 3, 4, 5], [2, 2, 7, 0, 0]]), None)
    assert kept.tolist() == [[1, 3, 4, 5, 0], [2, 7, 0, 0, 0]]
    assert when is None


# Curricula


def test_curricula_are_the_closed_forms():
    curriculum, lengths = Curriculum(), torch.tensor([3, 28, 53])
    assert curriculum.tail(0) == 0.0
    assert curriculum.tail(220) == pytest.approx(1.0)
    assert curriculum.tail(110) == pytest.approx(math.sin(math.pi / 4))
    # At e = 100 the epoch's part is 0; at 220 it is a quarter turn; at 0 minus five sixths of one.
    at = {e: curriculum.sequence(e, lengths).tolist() for e in (0, 100, 220)}
    assert at[100] == pytest.approx([0.0, math.sin(math.pi / 4), 1.0], abs=1e-6)
    assert at[220] == pytest.approx([1.0, math.sin(math.pi * 0.75), 0.0], abs=1e-6)
    assert at[0] == pytest.approx(
        [abs(math.sin(math.pi / 2 * (-5 / 6 + part))) for part in (0, 0.5, 1)], abs=1e-6
    )
    rare = torch.tensor([0.0, 50.0, 100.0])
    assert curriculum.head(100, rare).tolist() == pytest.approx([1.0, 0.5**0.5, 0.0], abs=1e-6)
    assert curriculum.head(220, rare).tolist() == pytest.approx([0.0, 0.5**0.5, 1.0], abs=1e-6)
    # sin(pi/2 (1/6)) for the most frequent; the others would be negative.
    assert curriculum.head(0, rare).tolist() == pytest.approx(
        [math.sin(math.pi / 12), 0.0, 0.0], abs=1e-6
    )


@given(st.floats(0, 220), st.integers(0, 200), st.floats(0, 100))
def test_every_weight_lies_between_nothing_and_all(epoch, length, rare):
    curriculum = Curriculum()
    for weight in (
        float(curriculum.sequence(epoch, torch.tensor([length]))),
        float(curriculum.head(epoch, torch.tensor([rare]))),
        curriculum.tail(epoch),
    ):
        assert 0.0 <= weight <= 1.0


def test_a_shorter_training_goes_through_the_same_curriculum():
    short, whole, rare = Curriculum(22), Curriculum(), torch.tensor([10.0])
    assert short.tail(11) == pytest.approx(whole.tail(110))
    assert torch.allclose(short.head(15, rare), whole.head(150, rare))
    lengths = torch.tensor([7])
    assert torch.allclose(short.sequence(15, lengths), whole.sequence(150, lengths))
    assert Curriculum(constant=0.5).tail(3) == 0.5
    assert Curriculum(constant=0.5).sequence(3, lengths).tolist() == [0.5]


# Sequence enhancement


def test_the_loss_is_nothing_where_nothing_is_dropped():
    encoder = an_encoder()
    loss = SequenceUniformityLoss(D, everyone(2), all_kept(), curriculum=Curriculum(constant=1.0))
    batch = a_batch([[1, 2, 3, 4, 5], [7, 8, 9]])
    for detach in (True, False):
        loss.detach_target = detach
        assert loss(encoder, batch, generator()).item() == 0.0


def test_the_sequence_loss_is_the_formula():
    encoder, keep = an_encoder().eval(), np.zeros(N_ITEMS + 1, dtype=bool)
    keep[1] = True
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator())
    curriculum = Curriculum()
    uniform = np.array([True, False, True])
    # The third row's sub-sequence has two items, the second row's user is irregular.
    batch = a_batch([[1, 2, 3, 4], [1, 5, 6, 7], [8, 9, 10]], epoch=150)
    weight = float(curriculum.sequence(150, torch.tensor([3])))
    whole = encoder.last_hidden(torch.tensor([[1, 2, 3, 4]]))
    short = encoder.last_hidden(torch.tensor([[1, 3, 4]]))
    square = (short - whole).square().sum().item()
    for reduction, expected in (("sum", square), ("mean", square / D)):
        loss = SequenceUniformityLoss(D, uniform, KeepFrequent(keep), reduction=reduction)
        found = loss(encoder, batch, generator()).item()
        assert found == pytest.approx(weight * expected / 3, rel=1e-4)
    assert square > 0


def test_the_long_sequence_gets_no_gradient_unless_asked():
    encoder, keep = an_encoder(), np.zeros(N_ITEMS + 1, dtype=bool)
    keep[1] = True
    batch = a_batch([[1, 2, 3, 4]])
    for detach in (True, False):
        loss = SequenceUniformityLoss(
            D,
            everyone(1),
            KeepFrequent(keep),
            curriculum=Curriculum(constant=1.0),
            detach_target=detach,
        )
        encoder.zero_grad()
        loss(encoder, batch, generator()).backward()
        grads = encoder.items.weight.grad.abs().sum(dim=1)
        # Item 2 is in the long sequence alone.
        assert (grads[2] == 0) == detach
        assert grads[[1, 3, 4]].min() > 0
        assert loss.weight.weight.grad.abs().sum() > 0


def test_the_target_is_clean_and_training_goes_on_as_before():
    encoder = an_encoder(dropout=0.5).train()
    loss = SequenceUniformityLoss(D, everyone(1), all_kept(), curriculum=Curriculum(constant=1.0))
    batch = a_batch([[1, 2, 3, 4]])
    # The short branch has dropout, the target none: they differ though nothing was dropped.
    assert loss(encoder, batch, generator()).item() > 0
    assert encoder.training


def test_rows_without_anyone_uniform_or_long_enough_cost_nothing():
    encoder = an_encoder()
    nobody = SequenceUniformityLoss(D, np.zeros(2, dtype=bool), all_kept())
    assert nobody(encoder, a_batch([[1, 2, 3], [4, 5, 6]]), generator()).item() == 0.0
    short = SequenceUniformityLoss(D, everyone(2), all_kept())
    zero = short(encoder, a_batch([[1, 2], [4]]), generator())
    assert zero.item() == 0.0
    zero.backward()


def test_padding_on_the_left_gives_the_same_loss():
    keep = np.zeros(N_ITEMS + 1, dtype=bool)
    keep[1] = True
    right, left = an_encoder(), an_encoder(padding="left")
    loss = SequenceUniformityLoss(
        D, everyone(2), KeepFrequent(keep), curriculum=Curriculum(constant=1.0)
    )
    batch = a_batch([[1, 2, 3, 4], [1, 5, 6, 1]])
    padded = torch.nn.functional.pad(batch.items, (2, 0))
    moved = Batch(padded, padded, batch.users, epoch=batch.epoch)
    expected = loss(right, batch, generator()).item()
    assert loss(left, moved, generator()).item() == pytest.approx(expected, rel=1e-4)
    assert expected > 0


# Item enhancement


def test_the_item_losses_are_the_formulas(split):
    encoder, loss = an_encoder(), an_item_loss(split)
    batch = a_batch([[1, 2, 3], [3, 4, 5, 6, 7, 8]], epoch=150)
    table = encoder.item_embeddings()
    ids = torch.tensor([1, 2, 3, 4, 5, 6, 7, 8])
    for head in (True, False):
        items = ids[loss.is_head[ids] == head]
        assert len(items) > 0
        predicted = []
        drawn = loss.neighbours.draw(items, 3, generator(5))
        for item, near in zip(items, drawn, strict=True):
            attention = torch.softmax(torch.stack([table[item] @ table[j] for j in near]), dim=0)
            summary = sum(a * table[j] for a, j in zip(attention, near, strict=True))
            predicted.append(loss.transfer(torch.cat([table[item], summary])))
        distance = (torch.stack(predicted) - table[items]).square().mean(dim=1)
        if head:
            weight = Curriculum().head(150, loss.rarity[items])
            found = loss.head(encoder, batch, generator(5))
        else:
            weight = Curriculum().tail(150)
            found = loss.tail(encoder, batch, generator(5))
        torch.testing.assert_close(found, (weight * distance).mean())
        assert found.item() > 0


def test_rare_items_follow_the_layer_and_do_not_move_it(split):
    encoder = an_encoder()
    loss = an_item_loss(split, curriculum=Curriculum(constant=1.0))
    batch = a_batch([[1, 2, 3], [3, 4, 5, 6, 7, 8]])
    loss.tail(encoder, batch, generator()).backward()
    assert loss.transfer.weight.grad is None
    moved = encoder.items.weight.grad.abs().sum(dim=1) > 0
    present = batch.items.unique()[1:]
    assert torch.equal(moved.nonzero()[:, 0], present[~loss.is_head[present]])


def test_frequent_items_teach_the_layer_and_are_no_moving_target(split):
    encoder = an_encoder()
    loss = an_item_loss(split, curriculum=Curriculum(constant=1.0))
    batch = a_batch([[1, 2, 3, 4, 5, 6]])
    with torch.no_grad():
        # Predictions that do not depend on the embeddings leave them the target's gradient alone.
        loss.transfer.weight.zero_()
        loss.transfer.bias.fill_(1.0)
    loss.head(encoder, batch, generator()).backward()
    assert encoder.items.weight.grad.abs().sum() == 0
    assert loss.transfer.bias.grad.abs().sum() > 0


def test_a_batch_without_frequent_or_rare_items_costs_nothing(split):
    loss, encoder = an_item_loss(split), an_encoder()
    loss.is_head[:] = True
    assert loss.tail(encoder, a_batch([[1, 2]]), generator()).item() == 0.0
    loss.is_head[:] = False
    assert loss.head(encoder, a_batch([[1, 2]]), generator()).item() == 0.0


# Together


def train(split, model, aux=(), objective=None, epochs=3, seed=1):
    data = SequenceDataset(split.train, "windows", MAX_LEN, shift=True)
    plan = TrainingPlan(epochs=epochs, batch_size=8, learning_rate=3e-3, patience=10)
    return Trainer(
        model, data, split.valid, objective or next_items(), plan, seed=seed, aux_losses=aux
    ).fit()


def whole(split, encoder, **options):
    train_log = split.train
    sequence = SequenceUniformityLoss(
        D, uniformity_split(train_log), KeepFrequent(frequency_split(train_log))
    )
    return UniRec(encoder, sequence, an_item_loss(split), **options)


def test_without_enhancements_training_is_the_encoders_own_bit_for_bit(split):
    plain, wrapped = an_encoder(dropout=0.2), an_encoder(dropout=0.2)
    first = train(split, plain)
    model = UniRec(wrapped)
    assert model.aux_losses() == []
    second = train(split, model)
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, wrapped.state_dict()[name]), name
    assert [epoch.loss for epoch in first.epochs] == [epoch.loss for epoch in second.epochs]


@pytest.mark.parametrize(
    ("kind", "objective"),
    [(SASRec, next_items()), (GRU4Rec, next_items()), (BERT4Rec, masked_items())],
    ids=["sasrec", "gru4rec", "bert4rec"],
)
def test_the_losses_train_with_any_encoder(split, kind, objective):
    encoder = an_encoder(kind)
    model = whole(split, encoder)
    result = train(split, model, model.aux_losses(), objective, epochs=12)
    assert set(result.epochs[0].parts) == {"sequence", "frequent items", "rare items"}
    assert result.epochs[-1].loss < result.epochs[0].loss
    items = torch.tensor([[1, 2, 3]])
    assert torch.equal(model.score_batch(items), encoder.score_batch(items))


def test_each_loss_alone_comes_down(split):
    encoder = an_encoder()
    curriculum = Curriculum(constant=1.0)
    train_log = split.train
    sequence = SequenceUniformityLoss(
        D,
        uniformity_split(train_log),
        KeepFrequent(frequency_split(train_log)),
        curriculum=curriculum,
    )
    model = UniRec(encoder, sequence, an_item_loss(split, curriculum=curriculum))
    parts = [e.parts for e in train(split, model, model.aux_losses(), epochs=25).epochs]
    for name in ("sequence", "frequent items"):
        assert parts[-1][name] < parts[0][name]


def test_weights_scale_what_is_added(split):
    model = whole(split, an_encoder(), sequence_weight=0.7, head_weight=0.5, tail_weight=0.25)
    assert [aux.weight for aux in model.aux_losses()] == [0.7, 0.5, 0.25]


def test_numbers_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="last is at least 1"):
        KeepFrequent(np.ones(3, dtype=bool), last=0)
    with pytest.raises(UsageError, match="inject 0 to 1"):
        KeepFrequent(np.ones(3, dtype=bool), inject=1.5)
