"""The model and its refinements: limits, fixed points, batches, and the plain form."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.translation import (
    TrainingPlan,
    build_translator,
    encode_pairs,
    length_limit,
    padded,
    source_ids,
)
from paperround.kit.translation.batches import batches_by_tokens
from paperround.papers.fretna import (
    LevenshteinTransformer,
    build_levt,
    levt_losses,
    refine,
    train_levt,
)
from paperround.papers.fretna.levt import relative_positions
from paperround.papers.fretna.plain import refine_once

TOKENS = st.lists(st.integers(5, 40), max_size=14)
SAME_FIXTURES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=12, deadline=None
)


def ids(tokenizer, texts):
    return [source_ids(tokenizer, text) for text in texts]


@SAME_FIXTURES
@given(y=TOKENS, seed=st.integers(0, 5), which=st.integers(0, 7))
def test_one_refinement_is_that_of_the_definition(y, seed, which, a_levt, tokenizer, sources):
    model = a_levt(seed)
    source = source_ids(tokenizer, sources[which])
    limit = length_limit(len(source))
    wanted = refine_once(model, source, y, limit)
    assert refine(model, [source], [y], max_refinements=1)[0].tokens == wanted


def test_a_batch_refines_as_one_by_one_and_counts_what_each_would_cost_alone(
    a_levt, tokenizer, sources
):
    generator = torch.Generator().manual_seed(1)
    rows = ids(tokenizer, sources)
    initial = [
        torch.randint(5, 40, (n,), generator=generator).tolist() for n in (0, 1, 3, 9, 4, 0, 12, 2)
    ]
    for seed in range(4):
        model = a_levt(seed)
        together = refine(model, rows, initial, max_refinements=4)
        alone = [
            refine(model, [source], [y], max_refinements=4)[0]
            for source, y in zip(rows, initial, strict=True)
        ]
        assert together == alone


@SAME_FIXTURES
@given(
    y=st.lists(st.integers(5, 40), max_size=60),
    seed=st.integers(0, 9),
    bias=st.sampled_from([0.0, 1.0, 9.0]),
)
def test_it_ends_within_its_limits_and_both_ends_never_appear(
    y, seed, bias, a_levt, tokenizer, sources
):
    model = a_levt(seed)
    source = source_ids(tokenizer, sources[0])
    [row] = refine(model, [source], [y], max_refinements=6, append_bias=bias)
    assert len(row.history) <= 6
    assert row.history[-1] == row.tokens
    assert 1 <= row.passes <= 18
    assert len(row.tokens) <= max(length_limit(len(source)), len(y))
    assert not {0, 1, 2, 4} & set(row.tokens)


def test_what_no_refinement_changes_stays_as_it_is(a_levt, tokenizer, sources):
    rows = ids(tokenizer, sources)
    found = 0
    for seed in range(6):
        model = a_levt(seed)
        for source, row in zip(rows, refine(model, rows, max_refinements=30), strict=True):
            if len(row.history) == 30:
                # Some random models go in circles for ever.
                continue
            found += 1
            again = refine(model, [source], [row.tokens], max_refinements=30)[0]
            assert again.tokens == row.tokens
            # One, or three where the model deletes tokens and then says the same again.
            assert again.passes in (1, 3)
    assert found > 5


def test_the_history_has_every_refinement(a_levt, tokenizer, sources):
    model, rows = a_levt(2), ids(tokenizer, sources)
    for n in (1, 2, 3):
        for short, long in zip(
            refine(model, rows, max_refinements=n),
            refine(model, rows, max_refinements=4),
            strict=True,
        ):
            assert short.history == long.history[:n]


def test_positions_start_at_zero_and_are_then_the_plain_model(tokenizer, size):
    model = build_levt(tokenizer, size, seed=0)
    assert not model.deletion_position.weight.any()
    assert not model.insertion_position.weight.any()
    h = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert torch.equal(model.deletion_logits(h, mask), model.deletion(h))
    pairs = torch.cat([h[:, :-1], h[:, 1:]], dim=-1)
    assert torch.equal(model.insertion_logits(h, mask), model.insertion(pairs))


def test_a_strong_bias_only_appends(a_levt, tokenizer, sources):
    rows = ids(tokenizer, sources)
    initial = [[7, 8, 9]] * len(rows)
    for seed in range(4):
        for row in refine(a_levt(seed), rows, initial, max_refinements=1, append_bias=1e6):
            # The last token's r is below 1, so not even it is deleted.
            assert row.tokens[:3] == [7, 8, 9]


def test_relative_positions_go_from_zero_to_one():
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    assert relative_positions((2, 5), mask).tolist() == [
        [0, 0.25, 0.5, 0.75, 1],
        [0, 0.5, 1, 1, 1],
    ]
    assert relative_positions((1, 3), None).tolist() == [[0, 0.5, 1]]


def test_the_decoder_sees_both_sides_and_no_padding(a_levt, tokenizer, sources):
    model = a_levt(0)
    source, source_mask = padded(ids(tokenizer, sources[:1]), 0)
    states = model.encode(source, source_mask)
    y = torch.tensor([[1, 6, 7, 8, 2]])
    h = model.decode(y, torch.ones_like(y), states, source_mask)
    other = model.decode(torch.tensor([[1, 6, 7, 9, 2]]), torch.ones_like(y), states, source_mask)
    assert not torch.allclose(h[:, 1], other[:, 1])
    longer, mask = padded([[1, 6, 7, 8, 2], [1, *range(5, 15), 2]], 0)
    both = model.decode(longer, mask, states.expand(2, -1, -1), source_mask.expand(2, -1))
    assert torch.allclose(both[0, :5], h[0], atol=1e-5)


def test_it_starts_from_a_translators_weights(tokenizer, size):
    translator = build_translator(tokenizer, size, seed=3)
    model = LevenshteinTransformer.from_translator(translator, placeholder_token_id=4, seed=0)
    for name, value in translator.model.state_dict().items():
        assert torch.equal(value, model.model.state_dict()[name])
    with torch.no_grad():
        model.model.shared.weight.zero_()
    assert translator.model.shared.weight.any()


def test_a_saved_model_is_the_same_when_loaded(a_levt, tokenizer, sources, tmp_path):
    model, rows = a_levt(1), ids(tokenizer, sources)
    model.save_pretrained(tmp_path)
    loaded = LevenshteinTransformer.from_pretrained(tmp_path).eval()
    assert loaded.config.placeholder_token_id == 4
    assert refine(loaded, rows) == refine(model, rows)


def test_a_training_learns_all_three_and_repeats_itself(pairs, tokenizer, size):
    plan = TrainingPlan(steps=40, batch_tokens=600, learning_rate=5e-3, prefix_share=0.3)

    def trained(seed):
        losses = []
        model = build_levt(tokenizer, size, seed=seed)
        train_levt(
            model,
            pairs,
            tokenizer,
            plan,
            seed=seed,
            on_progress=lambda step, found: losses.append([float(x.detach()) for x in found]),
        )
        return model, torch.tensor(losses)

    state = torch.get_rng_state()
    model, losses = trained(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training
    assert (losses[-5:].mean(0) < losses[:5].mean(0))[:2].all()
    again, same = trained(0)
    assert torch.equal(losses, same)
    assert torch.equal(model.deletion.weight, again.deletion.weight)
    # The embeddings of positions have left zero: they are learnt.
    assert model.insertion_position.weight.any()


def test_a_batch_from_which_nothing_was_taken_trains_all_the_same(tokenizer, pairs, size):
    model = build_levt(tokenizer, size, seed=0)
    batch = next(batches_by_tokens(encode_pairs(tokenizer, pairs[:1]), 1, pad=0, seed=0))
    for seed in range(30):
        losses = levt_losses(model, batch, torch.Generator().manual_seed(seed))
        assert torch.isfinite(losses.total)
        losses.total.backward()
    assert torch.isfinite(model.deletion.weight.grad).all()


def test_bad_input_is_refused(a_levt, tokenizer, pairs, size):
    model = a_levt(0)
    with pytest.raises(ValueError, match="a source is empty"):
        refine(model, [[5, 2], []])
    with pytest.raises(ValueError, match="1 translations to refine for 2"):
        refine(model, [[5, 2], [6, 2]], [[7]])
    assert refine(model, []) == []
    with pytest.raises(UsageError, match="source 1 has 257 pieces, the model has 256 positions"):
        refine(model, [[5, 2], [5] * 257])
    with pytest.raises(UsageError, match="translation 0 has 255 pieces, the model has room for"):
        refine(model, [[5, 2]], [[7] * 255])
    assert refine(model, [[5, 2]], [[7] * 254], max_refinements=1)
    translator = build_translator(tokenizer, size, seed=0)
    for placeholder in (None, tokenizer.eos_token_id, len(tokenizer)):
        with pytest.raises(UsageError, match="a token of its own"):
            LevenshteinTransformer.from_translator(
                translator, placeholder_token_id=placeholder, seed=0
            )
    with pytest.raises(ValueError, match="number of steps"):
        train_levt(model, pairs, tokenizer, TrainingPlan(max_seconds=1.0), seed=0)
