"""Reasoning steps against their plain form, and the identities that the method rests on."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import GRU4Rec, SASRec
from paperround.kit.recommendation.models import padded_on_the_left
from paperround.papers.rearec import AtStep, LatentReasoning, reason_with_cache

N_ITEMS, MAX_LEN = 30, 9
BACKBONES = ["sasrec", "bidirectional", "bert4rec"]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}
# Histories of one to MAX_LEN items each, how many steps, and which weights.
LENGTHS = st.lists(st.integers(1, MAX_LEN), min_size=1, max_size=5)
STEPS, SEEDS = st.integers(0, 4), st.integers(0, 99)
few = settings(max_examples=10)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_without_steps_it_is_its_encoder_bit_for_bit(backbone, a_model, histories):
    model, items = a_model(0, backbone=backbone), histories()
    for pool in ("mean", "last"):
        model.pool = pool
        assert torch.equal(model.score_batch(items), model.encoder.score_batch(items))


@pytest.mark.parametrize("backbone", BACKBONES)
@given(lengths=LENGTHS, num_steps=STEPS, seed=SEEDS)
@few
def test_kept_keys_give_what_encoding_everything_again_gives(
    backbone, lengths, num_steps, seed, a_model, histories
):
    model, items = a_model(num_steps, seed, backbone), histories(lengths, seed)
    torch.testing.assert_close(model.steps(items), model.steps_without_cache(items), **CLOSE)


@given(lengths=LENGTHS, num_steps=STEPS, seed=SEEDS)
@few
def test_all_positions_at_once_are_every_prefix_by_itself(
    lengths, num_steps, seed, a_model, histories
):
    model, items = a_model(num_steps, seed), histories(lengths, seed)
    together = model.all_positions(items)
    for row, length in enumerate(lengths):
        for position in range(length):
            alone = model.steps(items[row : row + 1, : position + 1])
            torch.testing.assert_close(together[row, position], alone[0], **CLOSE)


@given(lengths=LENGTHS, seed=SEEDS)
@few
def test_chosen_prefixes_get_what_they_get_among_all(lengths, seed, a_model, histories):
    model, items = a_model(2, seed), histories(lengths, seed)
    rows, places = (items != 0).nonzero(as_tuple=True)
    chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:4]
    found = model.reason(model.read(items), (rows[chosen], places[chosen]))
    wanted = model.all_positions(items)[rows[chosen], places[chosen]]
    torch.testing.assert_close(found, wanted, **CLOSE)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_items_do_not_notice_that_something_reasons_behind_them(backbone, a_model, histories):
    model, items = a_model(3, backbone=backbone), histories()
    assert torch.equal(model.steps(items)[:, 0], model.encoder.last_hidden(items))
    if model.causal:
        assert torch.equal(model.all_positions(items)[:, :, 0], model.encoder(items))


@pytest.mark.parametrize("backbone", BACKBONES)
@given(lengths=LENGTHS, seed=SEEDS)
@few
def test_a_user_alone_gets_what_the_same_user_gets_in_a_wider_batch(
    backbone, lengths, seed, a_model, histories
):
    model, items = a_model(2, seed, backbone), histories(lengths, seed)
    together = model.steps(items)
    for row, length in enumerate(lengths):
        alone = model.steps(items[row : row + 1, :length])
        torch.testing.assert_close(alone[0], together[row], **CLOSE)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_the_embedding_of_padding_changes_nothing(backbone, a_model, histories):
    model, items = a_model(2, backbone=backbone), histories()
    before = model.score_batch(items)
    with torch.no_grad():
        model.encoder.items.weight[0] = 9.0
    torch.testing.assert_close(model.score_batch(items), before, **CLOSE)


@given(lengths=LENGTHS, seed=SEEDS)
@few
def test_padding_on_the_left_and_on_the_right_are_one(lengths, seed, a_model, histories):
    right, left = a_model(2, seed), a_model(2, seed, padding="left")
    left.load_state_dict(right.state_dict())
    items = histories(lengths, seed)
    torch.testing.assert_close(left.score_batch(items), right.score_batch(items), **CLOSE)
    moved, _ = padded_on_the_left(items, None)
    ours, theirs = left.all_positions(moved), right.all_positions(items)
    torch.testing.assert_close(ours[moved != 0], theirs[items != 0], **CLOSE)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_history_of_one_item_and_an_empty_one_are_scored(backbone, a_model):
    scores = a_model(2, backbone=backbone).score_batch(torch.tensor([[4], [0]]))
    assert torch.isfinite(scores[:, 1:]).all()


@pytest.mark.parametrize("backbone", ["sasrec", "bidirectional"])
@given(seed=SEEDS)
@few
def test_renumbering_the_items_renumbers_the_scores(backbone, seed, a_model, histories):
    model, other = a_model(2, 1, backbone), a_model(2, 1, backbone)
    items = histories(seed=seed)
    order = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(seed)) + 1
    renumbered = torch.cat([torch.zeros(1, dtype=torch.long), order])
    with torch.no_grad():
        other.encoder.items.weight[renumbered] = model.encoder.items.weight.clone()
    torch.testing.assert_close(
        other.score_batch(renumbered[items])[:, renumbered], model.score_batch(items), **CLOSE
    )


def test_each_step_can_score_alone_and_the_mean_is_of_all_of_them(a_model, histories):
    model, items = a_model(2), histories()
    states = model.steps(items)
    for step in range(3):
        assert torch.equal(AtStep(model, step).score_batch(items), model.score(states[:, step]))
    torch.testing.assert_close(model.last_hidden(items), states.mean(dim=1))
    assert torch.equal(a_model(2, pool="last").last_hidden(items), states[:, -1])


@pytest.mark.parametrize("backbone", BACKBONES)
@given(num_steps=st.integers(1, 4), seed=SEEDS)
@few
def test_a_noisy_branch_without_noise_is_the_clean_one(
    backbone, num_steps, seed, a_model, histories
):
    model, items = a_model(num_steps, seed, backbone), histories(seed=seed)
    read = model.read(items)
    clean = model.reason(read)
    torch.testing.assert_close(model.reason(read, clean=clean), clean, **CLOSE)
    generator = torch.Generator().manual_seed(seed)
    noisy = model.reason(read, clean=clean, noise_std=0.1, generator=generator)
    assert torch.equal(noisy[:, 0], clean[:, 0])
    assert not torch.allclose(noisy[:, 1], clean[:, 1])


def test_without_step_embeddings_and_norm_a_step_gets_the_bare_state(a_model, histories):
    naive, items = a_model(1, step_embeddings=False, share_norm=False), histories()
    assert not naive.step_embeddings.requires_grad
    assert naive.step_embeddings.abs().max() == 0
    state = naive.steps(items)[:, 0]
    assert torch.equal(naive._step_input(state, 0), state)
    assert not torch.allclose(a_model(1)._step_input(state, 0), state)


def test_a_bidirectional_encoder_reasons_at_the_end_of_prefixes_only(a_model, histories):
    for backbone in ("bidirectional", "bert4rec"):
        with pytest.raises(UsageError, match="train it on prefixes"):
            a_model(2, backbone=backbone).all_positions(histories())


@pytest.fixture
def decoder():
    from transformers import LlamaConfig, LlamaModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return LlamaModel(
            LlamaConfig(
                vocab_size=40, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=2,
            )
        ).eval()  # fmt: skip


def test_a_transformers_decoder_reasons_over_its_cache(decoder):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(0, 40, (3, 5), generator=generator)
    steps = 0.1 * torch.randn(2, 16, generator=generator)
    with torch.no_grad():
        read = decoder(input_ids=tokens, use_cache=True)
        found = reason_with_cache(
            decoder, read.last_hidden_state[:, -1], read.past_key_values, steps
        )
        embedded = decoder.get_input_embeddings()(tokens)
        for step in range(2):
            embedded = torch.cat([embedded, (found[:, step] + steps[step])[:, None]], dim=1)
            anew = decoder(inputs_embeds=embedded).last_hidden_state[:, -1]
            torch.testing.assert_close(found[:, step + 1], anew, **CLOSE)


def test_rows_of_a_decoder_that_are_padded_on_the_left_reason_as_if_alone(decoder):
    tokens = torch.tensor([[0, 0, 7, 3, 5], [1, 2, 3, 4, 5]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    steps = 0.1 * torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    positions = (mask.cumsum(dim=1) - 1).clamp(min=0)
    with torch.no_grad():
        read = decoder(
            input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=True
        )
        together = reason_with_cache(
            decoder, read.last_hidden_state[:, -1], read.past_key_values, steps, mask
        )
        read = decoder(input_ids=tokens[:1, 2:], use_cache=True)
        alone = reason_with_cache(
            decoder, read.last_hidden_state[:, -1], read.past_key_values, steps
        )
    torch.testing.assert_close(together[:1], alone, **CLOSE)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda make: make(-1), "0 steps or more"),
        (lambda make: make(pool="max"), "no pooling 'max'"),
        (lambda make: LatentReasoning(GRU4Rec(5)), "needs SASRec or BERT4Rec, not GRU4Rec"),
        (lambda make: AtStep(make(2), 3), "has steps 0 to 2, and not 3"),
        (lambda make: LatentReasoning(SASRec(5, padding="middle")), "not 'middle'"),
    ],
)
def test_what_means_nothing_is_refused(make, said, a_model):
    with pytest.raises(UsageError, match=said):
        make(a_model)
