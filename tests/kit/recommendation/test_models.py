"""What holds of every network and every counting model, and what of single ones."""

import itertools

import numpy as np
import pytest
import torch

from paperround.errors import UsageError
from paperround.kit.recommendation.counting import ItemKNN, Markov, Popularity
from paperround.kit.recommendation.encoders import (
    BERT4Rec,
    GRU4Rec,
    OriginalSASRec,
    SASRec,
    SelfAttention,
    attention_mask,
    position_ids,
)
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.models import find_model, known_models
from paperround.kit.recommendation.objectives import masked_items, next_items
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.splits import leave_one_out

N_ITEMS, MAX_LEN = 30, 8
CAUSAL = [SASRec, OriginalSASRec, GRU4Rec]
ENCODERS = [*CAUSAL, BERT4Rec]


def an_encoder(kind, seed=0, **options):
    """A small network in evaluation mode whose weights are large enough to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = kind(N_ITEMS, d_model=16, max_len=MAX_LEN, **options)
        with torch.no_grad():
            for parameter in encoder.parameters():
                parameter += 0.3 * torch.randn_like(parameter)
            encoder.items.weight[0] = 0.0
    return encoder.eval()


def histories(seed=0, lengths=(8, 5, 1, 3)):
    """Rows padded on the right."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((len(lengths), MAX_LEN), dtype=np.int64)
    for row, length in enumerate(lengths):
        rows[row, :length] = rng.integers(1, N_ITEMS + 1, length)
    return torch.from_numpy(rows)


def a_log(seed=0, users=6):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(2, MAX_LEN + 2, users)
    events = [(u, int(i)) for u in range(users) for i in rng.integers(0, N_ITEMS, lengths[u])]
    # Every item occurs, so that codes and ids agree in number.
    return build_log(
        [u for u, _ in events] + ["all"] * N_ITEMS,
        [i for _, i in events] + list(range(N_ITEMS)),
    )


@pytest.mark.parametrize("kind", CAUSAL)
def test_what_comes_later_changes_no_earlier_state(kind):
    encoder, items = an_encoder(kind), histories(lengths=(8, 8))
    before = encoder(items)
    for position in range(1, MAX_LEN):
        changed = items.clone()
        changed[:, position:] = changed[:, position:] % N_ITEMS + 1
        after = encoder(changed)
        assert torch.equal(after[:, :position], before[:, :position])
        assert not torch.allclose(after[:, position], before[:, position])


@pytest.mark.parametrize("kind", ENCODERS)
def test_the_width_of_the_padding_changes_no_prediction(kind):
    encoder = an_encoder(kind)
    for row in histories():
        length = int((row != 0).sum())
        narrow, wide = row[None, :length], row[None]
        torch.testing.assert_close(encoder.last_hidden(narrow), encoder.last_hidden(wide))


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_user_alone_gets_what_the_same_user_gets_in_a_batch(kind):
    encoder, items = an_encoder(kind), histories()
    together = encoder.score_batch(items)
    for row in range(len(items)):
        alone = encoder.score_batch(items[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [SASRec, OriginalSASRec])
def test_padding_on_the_left_and_on_the_right_are_one(kind):
    right, left = an_encoder(kind), an_encoder(kind, padding="left")
    left.load_state_dict(right.state_dict())
    items = histories()
    torch.testing.assert_close(
        left.score_batch(items), right.score_batch(items), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", CAUSAL)
def test_prefixes_and_all_positions_have_the_same_losses(kind):
    encoder, log = an_encoder(kind), a_log()
    objective, generator = next_items(), torch.Generator()
    totals = []
    for mode in ("prefix", "windows"):
        dataset = SequenceDataset(log.select(log.user < 6), mode, MAX_LEN)
        losses = [
            (objective(encoder, batch, generator).item(), batch.n_targets)
            for batch in dataset.batches(4, seed=0)
        ]
        totals.append(sum(loss * n for loss, n in losses) / sum(n for _, n in losses))
    # Histories of up to MAX_LEN events: a window holds the whole of each.
    assert max(len(log.sequence(user)) for user in range(6)) <= MAX_LEN + 1
    assert totals[0] == pytest.approx(totals[1], abs=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
def test_renumbering_the_items_renumbers_the_scores(kind):
    encoder, other, items = an_encoder(kind), an_encoder(kind), histories()
    shuffled = torch.from_numpy(np.random.default_rng(1).permutation(N_ITEMS)) + 1
    renumbered = torch.cat([torch.zeros(1, dtype=torch.long), shuffled])
    with torch.no_grad():
        other.items.weight[renumbered] = encoder.items.weight[: N_ITEMS + 1]
        if kind is BERT4Rec:
            other.bias[renumbered] = encoder.bias.clone()
    found = other.score_batch(renumbered[items])
    torch.testing.assert_close(
        found[:, renumbered], encoder.score_batch(items), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_is_never_recommended_and_an_empty_history_has_finite_scores(kind):
    scores = an_encoder(kind).score_batch(torch.zeros(2, MAX_LEN, dtype=torch.long))
    assert torch.isneginf(scores[:, 0]).all()
    assert torch.isfinite(scores[:, 1:]).all()


def test_left_padded_rows_of_padding_alone_are_finite():
    encoder = an_encoder(SASRec, padding="left")
    assert torch.isfinite(encoder(torch.zeros(2, MAX_LEN, dtype=torch.long))).all()


@pytest.mark.parametrize("kind", ENCODERS)
def test_scoring_leaves_the_training_mode_and_draws_nothing(kind):
    encoder = an_encoder(kind).train()
    state = torch.get_rng_state()
    first = encoder.score_batch(histories())
    assert encoder.training
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(encoder.score_batch(histories()), first)


@pytest.mark.parametrize("kind", ENCODERS)
def test_padding_keeps_its_zero_embedding_through_a_step(kind):
    encoder, log = an_encoder(kind).train(), a_log()
    objective = masked_items() if kind is BERT4Rec else next_items()
    (batch,) = SequenceDataset(log.select(log.user < 6), "windows", MAX_LEN).batches(99, seed=None)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=0.1)
    objective(encoder, batch, torch.Generator()).backward()
    optimizer.step()
    assert encoder.items.weight[0].abs().max() == 0


def test_the_mask_of_attention_keeps_its_diagonal_and_hides_padding():
    items = torch.tensor([[3, 4, 0], [0, 0, 0]])
    causal = attention_mask(items, causal=True)[0, 0]
    assert causal.tolist() == [[True, False, False], [True, True, False], [True, True, True]]
    both = attention_mask(items, causal=False)
    assert both[0, 0].tolist() == [[True, True, False], [True, True, False], [True, True, True]]
    assert both[1, 0].tolist() == torch.eye(3, dtype=torch.bool).tolist()


def test_positions_count_from_the_first_real_item_on_either_side():
    items = torch.tensor([[0, 0, 5, 6], [5, 6, 0, 0]])
    assert position_ids(items).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]


def test_an_encoder_that_sees_later_positions_is_not_trained_on_all_at_once():
    encoder, log = an_encoder(SASRec, causal=False), a_log()
    data = SequenceDataset(log, "windows", MAX_LEN)
    with pytest.raises(UsageError, match="sees later positions; train it on prefixes"):
        next_items()(encoder, next(data.batches(4, seed=0)), torch.Generator())
    prefixes = SequenceDataset(log, "prefix", MAX_LEN)
    next_items()(encoder, next(prefixes.batches(4, seed=0)), torch.Generator())


def test_bert4rec_asks_behind_a_full_history_and_sees_both_sides():
    encoder, items = an_encoder(BERT4Rec), histories(lengths=(8, 4))
    changed = items.clone()
    changed[:, 0] = changed[:, 0] % N_ITEMS + 1
    assert not torch.allclose(encoder.last_hidden(items), encoder.last_hidden(changed))
    later = items.clone()
    later[0, 7] = later[0, 7] % N_ITEMS + 1
    assert not torch.allclose(encoder(items)[0, 0], encoder(later)[0, 0])


def test_bert4rec_hides_at_least_one_item_of_every_row_and_never_padding():
    seen = []

    class Recording(BERT4Rec):
        def forward(self, items, times=None):
            seen.append(items)
            return super().forward(items, times)

    encoder, log = an_encoder(Recording), a_log()
    data = SequenceDataset(log, "windows", MAX_LEN)
    for ratio, last_only in itertools.product((0.0, 0.5), (0.0, 1.0)):
        for batch in data.batches(4, seed=0):
            masked_items(ratio, last_only)(encoder, batch, torch.Generator())
            rows = torch.cat([batch.items[:, :1], batch.targets], dim=1)
            hidden = seen[-1] == encoder.mask_item
            assert (rows[hidden] != 0).all()
            assert hidden.any(dim=1).all()
            last = (rows != 0).sum(dim=1) - 1
            if last_only == 1.0 or ratio == 0.0:
                assert hidden.sum(dim=1).tolist() == [1] * len(rows)
                assert hidden[torch.arange(len(rows)), last].all()


def test_popularity_ranks_by_count():
    log = build_log(list("aabbc"), list("xyxyx"))
    scores = Popularity(log.n_items).fit(log).score_batch(torch.zeros(1, 1, dtype=torch.long))
    assert scores[0].tolist() == pytest.approx([-np.inf, 3 / 5, 2 / 5])


def test_markov_adds_what_followed_each_of_the_last_items():
    # x is followed by y twice and by z once; y by z once.
    log = build_log(list("aaabbcc"), list("xyzxyxz"))
    x, y, z = (log.item_ids.index(name) + 1 for name in "xyz")
    model = Markov(log.n_items, order=2).fit(log)
    scores = model.score_batch(torch.tensor([[x, y], [x, 0]]))
    share = {item: log.item_counts[item] / len(log) for item in (x, y, z)}
    assert scores[0, z].item() == pytest.approx(1.0 / 1 + (1 / 3) / 2 + 1e-3 * share[z])
    assert scores[0, y].item() == pytest.approx((2 / 3) / 2 + 1e-3 * share[y])
    assert scores[1, y].item() == pytest.approx(2 / 3 + 1e-3 * share[y])
    assert scores[1, x].item() == pytest.approx(1e-3 * share[x])


def test_markov_never_joins_two_users():
    log = build_log(list("ab"), list("xy"))
    scores = Markov(log.n_items).fit(log).score_batch(torch.tensor([[1]]))
    assert scores[0, 1].item() == scores[0, 2].item()


def test_item_knn_is_its_formula():
    log = build_log(list("aabbc"), list("xyxyx"))
    model = ItemKNN(log.n_items).fit(log)
    similarity = 2 / np.sqrt((3 + 20) * (2 + 20))
    scores = model.score_batch(torch.tensor([[1, 2], [2, 0]]))
    assert scores[0, 2].item() == pytest.approx(0.8 * similarity, abs=1e-8)
    assert scores[0, 1].item() == pytest.approx(similarity, abs=1e-8)
    assert scores[1, 1].item() == pytest.approx(similarity, abs=1e-8)


def test_fewer_neighbours_keep_the_nearest():
    log = build_log(list("aabbbccc"), list("xyxyzyzw"))
    whole, two = ItemKNN(log.n_items).fit(log), ItemKNN(log.n_items, neighbours=2).fit(log)
    for item in range(1, log.n_items + 1):
        asked = torch.tensor([[item]])
        kept = two.score_batch(asked)[0, 1:] > 1e-6
        everything = whole.score_batch(asked)[0, 1:]
        assert kept.sum() == min(2, int((everything > 1e-6).sum()))
        assert everything[kept].min() >= everything[~kept].max() - 1e-6


@pytest.mark.parametrize("model", [Popularity, Markov, ItemKNN])
def test_statistics_of_counting_models_come_from_train_events_alone(model):
    """What is validated and tested may be anything: no score changes by a bit."""
    users = ["all"] * 9 + [f"user {number // 8}" for number in range(48)]
    # The first user has every item, so that codes are the same in all logs.
    walks = np.random.default_rng(0).integers(0, 9, size=48)
    late = np.arange(48) % 8 >= 6
    logs = [
        build_log(users, [*range(9), *items.tolist()])
        for items in (walks, np.where(late, 8 - walks, walks), np.where(~late, 8 - walks, walks))
    ]
    asked = torch.arange(1, 10)[:, None]
    as_it_was, later_changed, training_changed = (
        model(9).fit(leave_one_out(log).train).score_batch(asked) for log in logs
    )
    assert torch.equal(as_it_was, later_changed)
    assert not torch.equal(as_it_was, training_changed)


@pytest.mark.parametrize("kind", ["none", "causal", "allowed", "added"])
def test_masks_mean_in_training_what_they_mean_in_use(kind):
    torch.manual_seed(0)
    attention, x = SelfAttention(8, 2, 1e-9), torch.randn(3, 5, 8)
    allowed = torch.rand(3, 1, 5, 5) < 0.6 + torch.eye(5)
    mask = {"allowed": allowed, "added": torch.randn(3, 2, 5, 5)}.get(kind)
    trained = attention.train()(x, x, mask, kind == "causal")
    assert torch.allclose(trained, attention.eval()(x, x, mask, kind == "causal"), atol=1e-6)


def test_attention_in_training_is_the_attention_of_use_but_for_its_dropout():
    for padding in ("right", "left"):
        torch.manual_seed(0)
        # So small a probability drops nothing, and yet takes the path of training.
        encoder = SASRec(
            9, d_model=8, max_len=5, dropout=0.0, attention_dropout=1e-9, padding=padding
        )
        items = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]])
        if padding == "left":
            items = torch.tensor([[1, 2, 3, 4, 5], [0, 0, 0, 6, 7]])
        real = items != 0
        assert torch.allclose(encoder.train()(items)[real], encoder.eval()(items)[real], atol=1e-6)


def test_every_model_is_known_by_name_and_an_unknown_option_is_named():
    names = {"sasrec", "sasrec-original", "gru4rec", "bert4rec"}
    names |= {"popularity", "markov-1", "markov-3", "item-knn"}
    assert names <= set(known_models())
    with pytest.raises(UsageError, match="no model 'sasrek'; there are"):
        find_model("sasrek")
    with pytest.raises(UsageError, match="sasrec has no option 'depth'; its options are"):
        find_model("sasrec").complete({"depth": 3})
    with pytest.raises(UsageError, match="sasrec: epochs is int, not 'many'"):
        find_model("sasrec").complete({"epochs": "many"})
    with pytest.raises(UsageError, match="popularity has no option 'epochs'; its options are none"):
        find_model("popularity").complete({"epochs": 1})


def test_heads_share_the_width_and_padding_has_two_sides():
    with pytest.raises(UsageError, match="d_model 10 cannot be shared by 3 heads"):
        SASRec(5, d_model=10, n_heads=3)
    with pytest.raises(UsageError, match="padding stands on the right or the left"):
        SASRec(5, padding="middle")
