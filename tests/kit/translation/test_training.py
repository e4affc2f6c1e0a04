"""A translator learns a toy language, repeatably, and says what it learnt."""

from functools import partial

import pytest
import torch

from paperround.errors import UsageError
from paperround.kit.translation import (
    Pair,
    TrainingPlan,
    TranslatorSize,
    bleu,
    bootstrap_difference,
    build_translator,
    chrf,
    distil,
    length_limit,
    source_ids,
    train_translator,
    translate,
    translate_ids,
)

SIZE = TranslatorSize(
    d_model=64, n_encoder_layers=1, n_decoder_layers=1, n_heads=4, d_ffn=64, dropout=0.0
)
PLAN = TrainingPlan(steps=300, batch_tokens=800, learning_rate=5e-3, label_smoothing=0.0)


@pytest.fixture(scope="module")
def trained(pairs, tokenizer):
    losses = []
    model = train_translator(
        pairs, tokenizer, PLAN, SIZE, seed=0, on_progress=lambda step, loss: losses.append(loss)
    )
    return model, losses


def test_it_learns_to_translate(trained, pairs, tokenizer):
    model, losses = trained
    assert len(losses) == PLAN.steps
    assert losses[-1] < 0.3 * losses[0]
    made = translate(model, tokenizer, [pair.source for pair in pairs[:60]])
    right = sum(text == pair.target for text, pair in zip(made, pairs, strict=False))
    assert right >= 40
    assert bleu(made, [pair.target for pair in pairs[:60]]) > 60


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_draws(pairs, tokenizer):
    plan = TrainingPlan(steps=3, batch_tokens=200, prefix_share=0.5)
    size = TranslatorSize(d_model=16, n_heads=2, d_ffn=16, n_encoder_layers=1, n_decoder_layers=1)

    def weights(seed):
        model = train_translator(pairs, tokenizer, plan, size, seed=seed)
        assert not model.training
        return torch.cat([p.detach().flatten() for p in model.parameters()])

    state = torch.get_rng_state()
    first = weights(5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(3)
    assert torch.equal(first, weights(5))
    assert not torch.equal(first, weights(6))


def test_a_training_goes_on_from_a_model_that_is_there(pairs, tokenizer):
    model = build_translator(tokenizer, SIZE, seed=1)
    before = model.lm_head.weight.clone()
    assert train_translator(pairs, tokenizer, PLAN.__class__(steps=0), seed=0, model=model) is model
    assert torch.equal(model.lm_head.weight, before)
    train_translator(pairs, tokenizer, PLAN.__class__(steps=1), seed=0, model=model)
    assert not torch.equal(model.lm_head.weight, before)
    # One matrix for both sides and the output.
    assert model.lm_head.weight is model.get_encoder().embed_tokens.weight


def test_weights_begin_as_large_as_asked(tokenizer):
    for std in (0.02, 0.2):
        size = TranslatorSize(16, 1, 1, 2, 16, init_std=std)
        weights = build_translator(tokenizer, size, seed=0).get_encoder().layers[0].fc1.weight
        assert float(weights.detach().std()) == pytest.approx(std, rel=0.15)


def test_a_plan_ends_by_steps_or_by_time(pairs, tokenizer):
    with pytest.raises(ValueError, match="steps, max_seconds"):
        TrainingPlan()
    plan = TrainingPlan(steps=10, max_seconds=100.0)
    assert [plan.progress(5, 10.0), plan.progress(2, 60.0), plan.progress(3, 200.0)] == [
        0.5,
        0.6,
        1,
    ]
    steps = []
    train_translator(
        pairs,
        tokenizer,
        TrainingPlan(max_seconds=0.05, batch_tokens=100),
        SIZE,
        seed=0,
        on_progress=lambda step, loss: steps.append(step),
    )
    assert steps == list(range(1, len(steps) + 1))
    assert steps


def test_a_batch_translates_as_one_by_one_and_empty_stays_empty(trained, pairs, tokenizer):
    model, _ = trained
    sources = [source_ids(tokenizer, pair.source) for pair in pairs[:12]]
    together = translate_ids(model, [*sources, []])
    assert together[-1] == []
    assert together[:-1] == [translate_ids(model, [ids])[0] for ids in sources]
    assert together[:-1] == translate_ids(model, sources, batch_tokens=1)
    assert translate(model, tokenizer, []) == []


def test_a_model_that_never_ends_is_cut_at_its_sources_limit(pairs, tokenizer):
    model = build_translator(tokenizer, SIZE, seed=0)
    with torch.no_grad():
        model.final_logits_bias[0, tokenizer.eos_token_id] = -1e9
        model.final_logits_bias[0, tokenizer.pad_token_id] = -1e9
    made = translate_ids(model, [[5], [5, 6, 7, 8, 9, 10]])
    assert [len(ids) for ids in made] == [length_limit(1), length_limit(6)] == [11, 19]


def test_beam_search_is_transformers_own(trained, pairs, tokenizer):
    model, _ = trained
    texts = [pair.source for pair in pairs[:5]]
    assert len(translate(model, tokenizer, texts, num_beams=3)) == 5


def test_distilled_pairs_keep_their_sources_and_say_what_the_model_says(trained, pairs, tokenizer):
    model, _ = trained
    seen = []
    made = distil(model, tokenizer, pairs[:30], batch_tokens=40, on_progress=seen.append)
    assert sum(seen) == 30
    assert [pair.source for pair in made] == [pair.source for pair in pairs[:30]]
    assert [p.target for p in made] == translate(model, tokenizer, [p.source for p in pairs[:30]])


def test_an_unfinished_source_has_no_end(tokenizer):
    whole = source_ids(tokenizer, "dog cat")
    assert source_ids(tokenizer, "dog cat", finished=False) == whole[:-1]
    assert whole[-1] == tokenizer.eos_token_id


def test_a_tokenizer_that_ends_no_text_loses_no_piece_of_an_unfinished_one(tokenizer):
    def endless(text):
        return {"input_ids": tokenizer(text, add_special_tokens=False)["input_ids"]}

    endless.eos_token_id = tokenizer.eos_token_id
    assert source_ids(endless, "dog cat", finished=False) == source_ids(endless, "dog cat")
    assert source_ids(endless, "", finished=False) == []


def test_a_source_longer_than_the_models_positions_is_refused_by_its_place(trained):
    model, _ = trained
    most = model.config.max_position_embeddings
    assert translate_ids(model, [[5] * most])
    with pytest.raises(UsageError, match=f"source 1 has {most + 1} pieces, the model has {most}"):
        translate_ids(model, [[5], [5] * (most + 1)])


def test_quality_is_100_for_the_reference_itself_and_says_when_lines_are_missing():
    texts = ["ein mann schläft auf der bank .", "zwei hunde laufen über das gras ."]
    assert bleu(texts, texts) == pytest.approx(100)
    assert chrf(texts, texts) == pytest.approx(100)
    assert chrf(["ein mann", "zwei hunde"], texts) < 60
    for metric in (bleu, chrf):
        with pytest.raises(ValueError, match="1 translations for 2"):
            metric(texts[:1], texts)
        with pytest.raises(ValueError, match="0 translations for 0"):
            metric([], [])


def test_a_bootstrap_tells_a_clear_difference_from_none():
    references = [f"das ist der satz mit der nummer {i} ." for i in range(20)]
    worse = [f"das ist ein wort mit nummer {i}" for i in range(20)]
    low, high = bootstrap_difference(references, worse, references, draws=40)
    assert 0 < low <= high
    assert bootstrap_difference(worse, worse, references, chrf, draws=40) == (0, 0)


def test_a_bootstrap_of_counts_is_that_of_whole_corpora():
    references = ["ein mann schläft auf der bank .", "zwei hunde laufen .", "ein kind", "ja"]
    ours = ["ein mann schläft auf einer bank .", "hunde laufen .", "", "ja ja"]
    theirs = ["ein mann auf der bank .", "zwei hunde laufen .", "das kind", "nein"]
    differences = set()
    for seed in range(30):
        # One draw at a time, among them some where no run of four words agrees.
        draw = partial(bootstrap_difference, ours, theirs, references, draws=1, seed=seed)
        assert draw() == pytest.approx(draw(metric=lambda made, refs: bleu(made, refs)))
        differences.add(draw())
    assert len(differences) > 10


def test_a_pair_names_its_sides():
    assert Pair("a", "b").target == "b"
