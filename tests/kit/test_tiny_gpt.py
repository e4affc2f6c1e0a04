import itertools

import pytest
import torch

from paperround.kit.tiny_gpt import (
    S,
    TinyGptConfig,
    TrainingPlan,
    build_tiny_gpt,
    load_tiny_gpt,
    save_tiny_gpt,
    train_tiny_gpt,
    word_level_tokenizer,
)

WORDS = [str(n) for n in range(10)] + ["+", "="]
TINY = TinyGptConfig(d_model=32, n_layers=1, n_heads=2, d_ffn=32, max_positions=32)


def sums():
    for a, b in itertools.cycle(itertools.product(range(5), repeat=2)):
        yield f"{a} + {b} =", str(a + b)


def test_the_s_size_has_under_a_million_parameters():
    model = build_tiny_gpt(word_level_tokenizer(WORDS), S, seed=0)
    assert 800_000 < sum(p.numel() for p in model.parameters()) < 1_000_000


def test_texts_are_one_token_per_word_after_a_first_bos():
    tokenizer = word_level_tokenizer(WORDS)
    ids = tokenizer("3 + 4 = 7")["input_ids"]
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "3", "+", "4", "=", "7"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "3 + 4 = 7"
    assert tokenizer.padding_side == "left"
    with pytest.raises(ValueError, match="given twice: 1"):
        word_level_tokenizer(["1", "2", "1"])


def test_training_learns_small_sums():
    tokenizer = word_level_tokenizer(WORDS)
    model = build_tiny_gpt(tokenizer, TINY, seed=0)
    losses = train_tiny_gpt(model, tokenizer, sums(), TrainingPlan(40_000, batch_tokens=300))
    assert losses[-1] < 0.3 * losses[0]
    prompt = tokenizer("2 + 2 =", return_tensors="pt")
    made = model.generate(
        prompt["input_ids"], attention_mask=prompt["attention_mask"], max_new_tokens=2
    )
    assert tokenizer.decode(made[0], skip_special_tokens=True) == "2 + 2 = 4"
    assert made[0, -1] == tokenizer.eos_token_id


def test_training_spends_its_budget_in_tokens_and_says_so():
    tokenizer = word_level_tokenizer(WORDS)
    spent = []
    losses = train_tiny_gpt(
        build_tiny_gpt(tokenizer, TINY, seed=0),
        tokenizer,
        sums(),
        TrainingPlan(3_000, batch_tokens=300),
        on_step=lambda n_tokens, loss: spent.append(n_tokens),
    )
    assert 3_000 <= sum(spent) < 3_300
    assert max(spent) <= 300
    assert len(spent) == len(losses)


def test_the_same_seed_trains_the_same_model():
    tokenizer = word_level_tokenizer(WORDS)
    plan = TrainingPlan(2_000, batch_tokens=300)
    losses = [
        train_tiny_gpt(build_tiny_gpt(tokenizer, TINY, seed=4), tokenizer, sums(), plan, seed=4)
        for _ in range(2)
    ]
    assert losses[0] == losses[1]


def test_only_the_answer_and_its_end_are_learnt():
    # With a prompt that is never the same, a model that learnt the prompt too would change on it.
    tokenizer = word_level_tokenizer(WORDS)
    model = build_tiny_gpt(tokenizer, TINY, seed=0)
    seen = []

    def example():
        yield "1 + 1 =", "2"

    loss = train_tiny_gpt(
        model, tokenizer, example(), TrainingPlan(1_000), on_step=lambda n, _: seen.append(n)
    )[0]
    fresh = build_tiny_gpt(tokenizer, TINY, seed=0)
    ids = torch.tensor([tokenizer("1 + 1 = 2")["input_ids"] + [tokenizer.eos_token_id]])
    log_probs = fresh(ids).logits[0].log_softmax(-1)
    by_hand = -(log_probs[4, ids[0, 5]] + log_probs[5, ids[0, 6]]) / 2
    assert seen == [7]
    assert loss == pytest.approx(by_hand.item(), abs=1e-5)


def test_padding_does_not_count():
    tokenizer = word_level_tokenizer(WORDS)

    def losses_of(*examples):
        model = build_tiny_gpt(tokenizer, TINY, seed=0)
        return train_tiny_gpt(model, tokenizer, iter(examples), TrainingPlan(10_000))

    short, long = ("1 =", "1"), ("1 + 1 + 1 + 1 + 1 =", "5")
    apart = (losses_of(short)[0] + losses_of(long)[0]) / 2
    assert losses_of(short, long)[0] == pytest.approx(apart, abs=1e-5)


def test_an_unknown_word_is_named():
    tokenizer = word_level_tokenizer(WORDS)
    model = build_tiny_gpt(tokenizer, TINY, seed=0)
    with pytest.raises(ValueError, match="no word 'eleven'"):
        train_tiny_gpt(model, tokenizer, iter([("eleven =", "1")]), TrainingPlan(100))


def test_building_a_model_leaves_the_callers_random_state_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    build_tiny_gpt(word_level_tokenizer(WORDS), TINY, seed=9)
    assert torch.equal(torch.rand(3), expected)


def test_number_features_put_equal_remainders_side_by_side():
    tokenizer = word_level_tokenizer([str(n) for n in range(21)])
    weight = build_tiny_gpt(tokenizer, TINY, seed=0).get_input_embeddings().weight
    ids = tokenizer.get_vocab()
    # The first dimension is the cosine of period 2: even and odd numbers differ in sign.
    even, odd = (weight[[ids[str(n)] for n in range(start, 21, 2)], 0] for start in (0, 1))
    assert even.tolist() == pytest.approx([0.15] * 11)
    assert odd.tolist() == pytest.approx([-0.15] * 10)
    with pytest.raises(ValueError, match="number features need d_model >= 26"):
        build_tiny_gpt(tokenizer, TinyGptConfig(d_model=16), seed=0)


def test_a_saved_model_comes_back_within_half_precision(tmp_path):
    tokenizer = word_level_tokenizer(WORDS)
    model = build_tiny_gpt(tokenizer, TINY, seed=0).eval()
    save_tiny_gpt(model, tokenizer, tmp_path)
    again, its_tokenizer = load_tiny_gpt(tmp_path)
    ids = its_tokenizer("1 + 2 =", return_tensors="pt")["input_ids"]
    assert its_tokenizer.get_vocab() == tokenizer.get_vocab()
    assert again.dtype == torch.float32
    assert not again.training
    assert torch.allclose(model(ids).logits, again(ids).logits, atol=1e-2)
