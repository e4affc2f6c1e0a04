"""CL4SRec and DuoRec: what their views are made of, and that any encoder learns by them."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import BERT4Rec, GRU4Rec, SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.objectives import masked_items, next_items
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.training import Trainer, TrainingPlan
from paperround.papers.sra_cl import cl4srec, duorec, info_nce
from paperround.papers.sra_cl.baselines import random_view

MAX_LEN = 8


def a_log(users=10, steps=6):
    return build_log(
        [f"u{user}" for user in range(users) for _ in range(steps)],
        [(user + 2 * step) % 11 for user in range(users) for step in range(steps)],
    )


def an_encoder(log, kind=SASRec, dropout=0.0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return kind(log.n_items, d_model=8, max_len=MAX_LEN, dropout=dropout, **options)


def a_batch(log, pad="right"):
    return next(iter(SequenceDataset(log, "windows", MAX_LEN, pad=pad).batches(6, seed=None)))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@given(st.lists(st.integers(1, MAX_LEN), min_size=1, max_size=5), st.integers(0, 1000))
def test_a_view_is_a_crop_or_hides_or_shuffles_a_stretch(lengths, seed):
    items = np.zeros((len(lengths), MAX_LEN), dtype=np.int64)
    for row, length in enumerate(lengths):
        # All different, so that order shows.
        items[row, :length] = np.arange(1, length + 1) + 10 * row
    rng = np.random.default_rng(seed)
    view, kept = random_view(items, np.array(lengths), rng, hidden_item=99)
    for row, length in enumerate(lengths):
        own, made = items[row, :length], view[row, : kept[row]]
        assert (view[row, kept[row] :] == 0).all()
        assert (made != 0).all()
        if kept[row] < length:
            assert kept[row] == max(1, int(0.6 * length))
            assert made.tolist() == list(range(made[0], made[0] + kept[row]))
        elif (made == 99).any():
            assert (made == 99).sum() == int(0.3 * length)
            assert (made[made != 99] == own[made != 99]).all()
        else:
            assert sorted(made) == sorted(own)
            moved = np.flatnonzero(made != own)
            assert len(moved) == 0 or moved[-1] - moved[0] < int(0.6 * length)


def test_other_histories_of_the_same_target_are_what_is_drawn_to():
    # Both end in item 3, after other items; the rest ends in items of its own.
    log = build_log([0, 0, 0, 1, 1, 1, 2, 2], ["a", "b", "c", "d", "e", "c", "f", "g"])
    encoder = an_encoder(log)
    (_, target_loss) = duorec(log)
    batch = a_batch(log)
    states = encoder.last_hidden(batch.items)
    same = torch.eye(3, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    # The first row's partner is its own history or the second's, by a draw.
    possible = []
    for first in (0, 1):
        for second in (0, 1):
            partners = states[[first, second, 2]]
            possible.append(info_nce(states, partners, same=same).item())
    found = {
        round(target_loss.objective(encoder, batch, generator(seed)).item(), 4)
        for seed in range(40)
    }
    assert found == {round(value, 4) for value in possible}
    assert len(found) > 1


def test_without_dropout_the_same_history_gives_equal_views():
    log = a_log()
    encoder = an_encoder(log)
    (same_history, _) = duorec(log)
    batch = a_batch(log)
    states = encoder.last_hidden(batch.items)
    expected = info_nce(states, states, same=batch.users[:, None] == batch.users)
    torch.testing.assert_close(same_history.objective(encoder, batch, generator()), expected)


@pytest.mark.parametrize("name", ["duorec", "cl4srec"])
@pytest.mark.parametrize(
    ("kind", "objective"),
    [(SASRec, next_items()), (GRU4Rec, next_items()), (BERT4Rec, masked_items())],
)
def test_any_encoder_of_the_kit_learns_by_them(name, kind, objective):
    log = a_log()
    aux = duorec(log) if name == "duorec" else cl4srec()
    encoder = an_encoder(log, kind, dropout=0.2)
    plan = TrainingPlan(epochs=3, batch_size=4, learning_rate=1e-2)
    data = SequenceDataset(log, "windows", MAX_LEN)
    result = Trainer(encoder, data, None, objective, plan, aux_losses=aux).fit()
    assert set(result.epochs[0].parts) == {one.name for one in aux}
    assert all(np.isfinite(list(epoch.parts.values())).all() for epoch in result.epochs)


def test_weights_of_0_leave_a_loss_out():
    log = a_log()
    assert duorec(log, unsupervised=0.0, supervised=0.0) == []
    assert [one.name for one in duorec(log, unsupervised=0.0)] == ["same target"]
    assert cl4srec(weight=0.0) == []


def test_what_cannot_be_done_is_refused():
    log = a_log()
    with pytest.raises(UsageError, match="crop lies in"):
        cl4srec(crop=0.0)
    (loss,) = cl4srec()
    with pytest.raises(UsageError, match="nothing to hide items with"):
        loss.objective(an_encoder(log, padding="left"), a_batch(log, "left"), generator())
