"""SRA-CL's losses against their equations, and what must hold of a model trained by them."""

import math
from dataclasses import replace

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
from paperround.kit.recommendation.text import nearest_neighbours
from paperround.kit.recommendation.training import Trainer, TrainingPlan
from paperround.papers.sra_cl import (
    LearnableSynthesis,
    PlainMean,
    SemanticContrastive,
    info_nce,
    semantic_substitution,
)
from paperround.papers.sra_cl.method import padded_on_the_right

N_ITEMS, MAX_LEN, D_TEXT = 18, 8, 5


def a_log(users=12, steps=7):
    return build_log(
        [f"u{user}" for user in range(users) for _ in range(steps)],
        [(user + step * step) % N_ITEMS for user in range(users) for step in range(steps)],
    )


def item_text(log, seed=0):
    rows = np.random.default_rng(seed).normal(size=(log.n_items + 1, D_TEXT))
    rows[0] = 0.0
    return rows


def an_encoder(log, kind=SASRec, seed=0, dropout=0.0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(log.n_items, d_model=8, max_len=MAX_LEN, dropout=dropout, **options)


def a_model(log, encoder=None, seed=0, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SemanticContrastive(
            encoder or an_encoder(log), log, item_text(log), **{"k": 3, **options}
        )


def a_batch(log, rows=6, pad="right"):
    return next(iter(SequenceDataset(log, "windows", MAX_LEN, pad=pad).batches(rows, seed=None)))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def trained(log, model, objective=None, epochs=3, seed=1, mode="windows", aux=()):
    return Trainer(
        model,
        SequenceDataset(log, mode, MAX_LEN, pad=model.padding),
        None,
        objective or next_items(),
        TrainingPlan(epochs=epochs, batch_size=4, learning_rate=1e-2),
        seed=seed,
        aux_losses=aux,
    ).fit()


# InfoNCE


@pytest.mark.parametrize("n", [1, 2, 7])
def test_equal_vectors_cost_the_logarithm_of_the_number_of_candidates(n):
    rows = torch.ones(n, 4)
    assert float(info_nce(rows, rows)) == pytest.approx(math.log(2 * n - 1), abs=1e-5)
    assert float(info_nce(rows, rows, symmetric=False)) == pytest.approx(math.log(n), abs=1e-5)


@pytest.mark.parametrize("symmetric", [True, False])
def test_identical_views_of_orthonormal_rows_cost_nothing_at_a_low_temperature(symmetric):
    rows = torch.eye(5)
    assert float(info_nce(rows, rows, 0.01, symmetric=symmetric)) == pytest.approx(0.0, abs=1e-6)


@given(st.integers(2, 6), st.integers(0, 1000))
def test_the_symmetric_form_does_not_care_which_view_is_first(n, seed):
    first, second = torch.randn(2, n, 3, generator=generator(seed))
    torch.testing.assert_close(info_nce(first, second), info_nce(second, first))


@pytest.mark.parametrize("symmetric", [True, False])
def test_info_nce_is_the_equation_written_out(symmetric):
    first, second = torch.randn(2, 4, 3, generator=generator(), dtype=torch.float64)
    both = torch.cat([first, second])
    terms = []
    for i in range(8 if symmetric else 4):
        partner = (i + 4) % 8
        others = [j for j in range(8) if j != i] if symmetric else range(4, 8)
        scores = {j: math.exp(float(both[i] @ both[j]) / 0.5) for j in others}
        terms.append(-math.log(scores[partner] / sum(scores.values())))
    found = info_nce(first, second, 0.5, symmetric=symmetric)
    assert found.item() == pytest.approx(sum(terms) / len(terms), abs=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_rows_of_one_user_are_no_negatives_of_each_other(symmetric):
    first, second = torch.randn(2, 3, 4, generator=generator())
    users = torch.tensor([0, 0, 0])
    same = users[:, None] == users[None, :]
    assert float(info_nce(first, second, symmetric=symmetric, same=same)) == pytest.approx(0.0)
    apart = info_nce(first, second, symmetric=symmetric, same=torch.eye(3, dtype=torch.bool))
    torch.testing.assert_close(apart, info_nce(first, second, symmetric=symmetric))


def test_cosines_do_not_see_how_long_vectors_are():
    first, second = torch.randn(2, 4, 3, generator=generator())
    torch.testing.assert_close(
        info_nce(3 * first, second, similarity="cosine"),
        info_nce(first, 5 * second, similarity="cosine"),
    )


# The learnt mixture


def a_synthesis(**options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LearnableSynthesis(D_TEXT, 4, **options).eval()


def texts_and_states(k=5, rows=3, seed=0):
    draw = generator(seed)
    return (
        torch.randn(rows, D_TEXT, generator=draw),
        torch.randn(rows, k, D_TEXT, generator=draw),
        torch.randn(rows, k, 4, generator=draw),
    )


@given(st.integers(1, 6), st.integers(0, 1000))
def test_weights_are_a_distribution_over_the_real_neighbours(k, seed):
    anchor, texts, _ = texts_and_states(k, seed=seed)
    real = torch.rand(3, k, generator=generator(seed)) < 0.6
    real[:, 0] = True
    weights = a_synthesis().weights(anchor, texts, real).detach()
    assert (weights >= 0).all()
    assert (weights[~real] == 0).all()
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(3))


def test_weights_are_the_equation_written_out():
    synthesis = a_synthesis()
    anchor, texts, _ = texts_and_states(rows=1, k=3)
    adapted = synthesis.adapter(anchor[0])
    scores = []
    for text in texts[0]:
        pair = torch.cat([adapted, synthesis.adapter(text)])
        score = (synthesis.attention.weight[0] @ pair).item()
        scores.append(math.exp(score if score > 0 else 0.2 * score))
    expected = torch.tensor([[score / sum(scores) for score in scores]])
    torch.testing.assert_close(synthesis.weights(anchor, texts).detach(), expected)


def test_one_neighbour_is_the_positive_itself():
    anchor, texts, states = texts_and_states(k=1)
    torch.testing.assert_close(a_synthesis()(anchor, texts, states), states[:, 0])


def test_without_attention_the_positive_is_the_plain_mean():
    anchor, texts, states = texts_and_states()
    synthesis = a_synthesis()
    torch.nn.init.zeros_(synthesis.attention.weight)
    torch.testing.assert_close(synthesis(anchor, texts, states), states.mean(dim=1))
    torch.testing.assert_close(PlainMean()(anchor, texts, states), states.mean(dim=1))
    real = torch.tensor([[True, True, False, False, False]]).expand(3, -1)
    some = states[:, :2].mean(dim=1)
    torch.testing.assert_close(synthesis(anchor, texts, states, real), some)
    torch.testing.assert_close(PlainMean()(anchor, texts, states, real), some)


@given(st.permutations(range(5)))
def test_the_order_of_neighbours_does_not_matter(order):
    anchor, texts, states = texts_and_states()
    synthesis = a_synthesis()
    torch.testing.assert_close(
        synthesis(anchor, texts[:, order], states[:, order]), synthesis(anchor, texts, states)
    )


# Replacing items


@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=6),
    st.floats(0.0, 1.0),
    st.integers(0, 1000),
    st.sampled_from(["right", "left"]),
)
def test_exactly_the_stated_share_of_each_history_is_replaced(lengths, ratio, seed, side):
    # Item i has the neighbours i + 1 and i + 2: never the item itself.
    n = 20
    neighbours = torch.tensor([[-1, -1], *[[i % n + 1, (i + 1) % n + 1] for i in range(1, n + 1)]])
    items = torch.zeros(len(lengths), 12, dtype=torch.long)
    for row, length in enumerate(lengths):
        codes = torch.randint(1, n + 1, (length,), generator=generator(seed + row))
        items[row, slice(length) if side == "right" else slice(12 - length, 12)] = codes
    view = semantic_substitution(items, neighbours, ratio, generator=generator(seed))
    changed = view != items
    assert ((view == 0) == (items == 0)).all()
    for row, length in enumerate(lengths):
        expected = min(length, max(1, round(np.float32(ratio) * length))) if ratio else 0
        assert int(changed[row].sum()) == expected
    at = changed.nonzero(as_tuple=True)
    assert (neighbours[items[at]] == view[at][:, None]).any(dim=1).all()


def test_every_neighbour_is_drawn_about_as_often_as_the_others():
    neighbours = torch.tensor([[0, 0, 0], [2, 3, 4], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    items = torch.ones(3000, 1, dtype=torch.long)
    drawn = semantic_substitution(items, neighbours, 1.0, generator=generator())
    counts = torch.bincount(drawn.flatten(), minlength=5)
    assert counts[:2].tolist() == [0, 0]
    # 1,000 each; a standard deviation is 26.
    assert (counts[2:] - 1000).abs().max() < 130


def test_items_without_neighbours_stay_and_short_lists_are_never_overrun():
    neighbours = torch.tensor([[-1, -1], [-1, -1], [3, -1], [2, 1]])
    items = torch.tensor([[1, 2, 1, 2]]).repeat(200, 1)
    view = semantic_substitution(items, neighbours, 1.0, generator=generator())
    assert view.unique(dim=0).tolist() == [[1, 3, 1, 3]]


def test_nothing_replaced_and_no_dropout_make_equal_views():
    log = a_log()
    model = a_model(log, ratio=0.0, similarity="cosine", temperature=0.01)
    batch = a_batch(log)
    rows = padded_on_the_right(batch.items)
    assert torch.equal(
        semantic_substitution(rows, model.item_neighbours, 0.0, generator=generator()), rows
    )
    states = model.last_hidden(rows)
    expected = info_nce(
        states, states, 0.01, similarity="cosine", same=batch.users[:, None] == batch.users
    )
    torch.testing.assert_close(model.intra_user_loss(batch, generator()), expected)


def test_a_share_outside_0_to_1_is_refused():
    with pytest.raises(UsageError, match=r"0 to 1, not 1\.5"):
        semantic_substitution(
            torch.ones(1, 1).long(), torch.ones(2, 1).long(), 1.5, generator=generator()
        )


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=4))
def test_padding_moves_to_the_right_and_items_keep_their_order(rows):
    moved = padded_on_the_right(torch.tensor(rows)).tolist()
    for row, after in zip(rows, moved, strict=True):
        items = [item for item in row if item]
        assert after == items + [0] * (4 - len(items))


# The two losses on a model


def test_the_cross_user_loss_is_the_equation_written_out():
    log = a_log()
    model = a_model(log, synthesis_dropout=0.0).eval()
    batch = a_batch(log)
    positives = []
    for user in batch.users.tolist():
        near = model.user_neighbours[user].tolist()
        states = torch.stack(
            [
                model.encoder.last_hidden(
                    torch.from_numpy(log.sequence(v)[-MAX_LEN:].copy())[None]
                )[0]
                for v in near
            ]
        )
        weights = model.synthesis.weights(model.user_text[[user]], model.user_text[near][None])[0]
        positives.append(weights @ states)
    own = torch.stack(
        [
            model.encoder.last_hidden(torch.from_numpy(log.sequence(user)[:-1].copy())[None])[0]
            for user in batch.users.tolist()
        ]
    )
    for model.symmetric in (False, True):
        expected = info_nce(own, torch.stack(positives), symmetric=model.symmetric)
        torch.testing.assert_close(model.cross_user_loss(batch, generator()), expected)


def test_oneself_as_the_only_neighbour_is_ones_own_positive():
    log = a_log()
    users = np.arange(log.n_users)[:, None]
    oneself = type(nearest_neighbours(item_text(log), 1))(
        users, np.ones_like(users, dtype=np.float32)
    )
    model = a_model(log, user_neighbours=oneself).eval()
    states = model._states_of(model.user_neighbours)[:, 0]
    torch.testing.assert_close(states, model.encoder.last_hidden(model.histories))


def test_kept_states_are_those_of_the_epochs_beginning():
    log = a_log()
    model = a_model(log, states="stale", synthesis_dropout=0.0)
    fresh = a_model(log, model.encoder, synthesis_dropout=0.0)
    batch = a_batch(log)
    first = model.cross_user_loss(batch, generator())
    torch.testing.assert_close(first, fresh.cross_user_loss(batch, generator()))
    with torch.no_grad():
        model.encoder.items.weight[1:] += torch.randn(log.n_items, 8, generator=generator())
    next_epoch = Batch(batch.items, batch.targets, batch.users, epoch=2)
    stale = model.cross_user_loss(batch, generator())
    renewed = model.cross_user_loss(next_epoch, generator())
    torch.testing.assert_close(renewed, fresh.cross_user_loss(batch, generator()))
    assert not torch.isclose(stale, renewed)


@pytest.mark.parametrize(("grad", "reached"), [(True, True), (False, False)])
def test_neighbours_get_gradients_only_where_they_should(grad, reached):
    log = a_log()
    model = a_model(log, neighbour_grad=grad)
    states = model._states_of(model.user_neighbours[:4])
    assert states.requires_grad is reached


def test_gradients_reach_the_adapter_and_never_the_texts():
    log = a_log()
    model = a_model(log)
    model.cross_user_loss(a_batch(log), generator()).backward()
    assert model.synthesis.adapter.weight.grad.abs().sum() > 0
    assert model.synthesis.attention.weight.grad.abs().sum() > 0
    assert not model.user_text.requires_grad
    assert "user_text" not in dict(model.named_parameters())


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_batch_of_one_has_nothing_to_contrast(symmetric):
    log = a_log()
    model = a_model(log, symmetric=symmetric)
    batch = a_batch(log, rows=1)
    for loss in (model.cross_user_loss, model.intra_user_loss):
        found = loss(batch, generator())
        found.backward()
        assert found.item() == 0.0


def test_users_without_neighbours_take_no_part():
    log = a_log()
    near = nearest_neighbours(np.random.default_rng(1).normal(size=(log.n_users, 3)), 3)
    near.rows[3] = -1
    model = a_model(log, user_neighbours=near).eval()
    batch = a_batch(log)
    others = batch.users != 3
    rest = Batch(batch.items[others], batch.targets[others], batch.users[others])
    torch.testing.assert_close(
        model.cross_user_loss(batch, generator()), model.cross_user_loss(rest, generator())
    )


def test_a_user_of_whom_no_item_has_a_text_is_compared_by_behaviour():
    log = a_log()
    text = item_text(log)
    text[np.unique(log.sequence(2))] = 0.0
    model = SemanticContrastive(an_encoder(log), log, text, k=3)
    assert (model.user_text[2] == 0).all()
    assert (model.user_neighbours[2] >= 0).all()
    assert torch.isfinite(model.cross_user_loss(a_batch(log), generator()))


def test_users_who_only_occur_later_are_nobodys_neighbours():
    log = a_log()
    train = log.select(log.user != 5)
    text = np.random.default_rng(0).normal(size=(log.n_users, 4))
    model = SemanticContrastive(an_encoder(log), train, item_text(log), text, k=log.n_users - 1)
    assert 5 not in model.user_neighbours


def test_left_padding_gives_the_same_losses():
    log = build_log([0, 0, 0, 1, 1, 1, 1, 2, 2], [1, 2, 3, 3, 1, 2, 4, 4, 2])
    right = a_model(log, an_encoder(log), k=1, synthesis_dropout=0.0)
    left_encoder = an_encoder(log, padding="left")
    left_encoder.load_state_dict(right.encoder.state_dict())
    left = a_model(log, left_encoder, k=1, synthesis_dropout=0.0)
    for name in ("cross_user_loss", "intra_user_loss"):
        torch.testing.assert_close(
            getattr(left, name)(a_batch(log, pad="left"), generator()),
            getattr(right, name)(a_batch(log), generator()),
            atol=1e-5,
            rtol=1e-5,
        )


# Training and what is left of it


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_with_both_weights_at_0_training_is_the_baselines_exactly(dropout):
    log = a_log()
    plain = an_encoder(log, dropout=dropout)
    switched_off = a_model(log, an_encoder(log, dropout=dropout), alpha=0.0, beta=0.0)
    baseline = trained(log, plain)
    ours = trained(log, switched_off, aux=switched_off.aux_losses())
    assert [epoch.loss for epoch in ours.epochs] == [epoch.loss for epoch in baseline.epochs]
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, switched_off.encoder.state_dict()[name]), name


def test_until_the_warm_up_ends_training_is_the_baselines_exactly():
    log = a_log()
    plain, waiting = an_encoder(log, dropout=0.4), an_encoder(log, dropout=0.4)
    baseline = trained(log, plain)
    model = a_model(log, waiting, warmup_epochs=2)
    ours = trained(log, model, aux=model.aux_losses())
    for place in (0, 1):
        assert ours.epochs[place].loss == baseline.epochs[place].loss
        assert set(ours.epochs[place].parts.values()) == {0.0}
    assert ours.epochs[2].loss > baseline.epochs[2].loss


@pytest.mark.parametrize("states", ["fresh", "stale"])
def test_the_losses_take_no_random_numbers_from_the_recommenders_dropout(states):
    log = a_log()
    encoder = an_encoder(log, dropout=0.5)
    model = a_model(log, encoder, states=states)
    batch = a_batch(log)
    drawn = []
    for use in (False, True):
        torch.manual_seed(3)
        encoder.train()
        if use:
            model.cross_user_loss(batch, generator())
            model.intra_user_loss(batch, generator())
        drawn.append(encoder(batch.items))
    assert torch.equal(*drawn)
    assert encoder.training


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    log = a_log()
    weights = []
    for seed in (1, 1, 2):
        model = a_model(log, an_encoder(log, dropout=0.3))
        trained(log, model, seed=seed, aux=model.aux_losses())
        weights.append(model.encoder.items.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_scores_are_the_encoders_and_know_nothing_of_texts():
    log = a_log()
    model = a_model(log)
    trained(log, model, aux=model.aux_losses())
    items = padded_on_the_right(a_batch(log).items)
    before = model.score_batch(items)
    assert torch.equal(before, model.encoder.score_batch(items))
    for table in (model.user_text, model.user_neighbours, model.item_neighbours, model.histories):
        table.zero_()
    assert torch.equal(before, model.score_batch(items))


@pytest.mark.parametrize(
    ("kind", "objective", "mode"),
    [
        (SASRec, next_items(), "windows"),
        (SASRec, next_items(), "prefix"),
        (GRU4Rec, next_items(), "windows"),
        (BERT4Rec, masked_items(), "windows"),
    ],
)
def test_it_trains_any_encoder_of_the_kit(kind, objective, mode):
    log = a_log()
    model = a_model(log, an_encoder(log, kind))
    result = trained(log, model, objective, mode=mode, aux=model.aux_losses())
    assert set(result.epochs[0].parts) == {"cross-user", "intra-user"}
    assert result.epochs[-1].loss < result.epochs[0].loss


def test_an_interrupted_training_goes_on_to_the_same_weights(tmp_path):
    log = a_log()
    ends = []
    for stops in ((2, 4), (4,)):
        path = tmp_path / f"{len(stops)}.checkpoint"
        for epochs in stops:
            model = a_model(log, an_encoder(log, dropout=0.3), states="stale")
            data = SequenceDataset(log, "windows", MAX_LEN)
            plan = TrainingPlan(epochs=epochs, batch_size=4, learning_rate=1e-2)
            Trainer(
                model,
                data,
                None,
                next_items(),
                plan,
                seed=1,
                aux_losses=model.aux_losses(),
                checkpoint=path,
            ).fit()
        ends.append(model.encoder.items.weight)
    assert torch.equal(*ends)


def test_validation_and_test_events_change_no_vector_and_no_neighbour():
    log = a_log()
    held_out = np.arange(len(log)) >= log.offsets[log.user + 1] - 2
    other = replace(log, item=np.where(held_out, log.item % N_ITEMS + 1, log.item))
    one, two = (a_model(split.train) for split in (leave_one_out(log), leave_one_out(other)))
    for name, table in one.named_buffers():
        assert torch.equal(table, dict(two.named_buffers())[name]), name


# Wrong use


def test_wrong_shapes_and_words_are_refused_in_one_line():
    log = a_log()
    encoder = an_encoder(log)
    text = item_text(log)
    with pytest.raises(UsageError, match=rf"\({log.n_items + 1}, d\), not"):
        SemanticContrastive(encoder, log, text[1:])
    with pytest.raises(UsageError, match="item 4 is not finite"):
        broken = text.copy()
        broken[4, 0] = np.nan
        SemanticContrastive(encoder, log, broken)
    with pytest.raises(UsageError, match="a row per user"):
        SemanticContrastive(encoder, log, text, text)
    with pytest.raises(UsageError, match="knows 19 items"):
        SemanticContrastive(SASRec(19, d_model=8), log, text)
    for wrong, word in (
        ({"states": "old"}, "fresh or stale"),
        ({"synthesis": "sum"}, "learnable or mean"),
        ({"alpha": -1.0}, "at least 0"),
    ):
        with pytest.raises(UsageError, match=word):
            SemanticContrastive(encoder, log, text, **wrong)
