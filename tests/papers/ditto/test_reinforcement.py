"""The curves of self-reinforcement, on tiny models of every family."""

import pytest
import torch

from paperround.papers.ditto.reinforcement import self_reinforcement

FAMILIES = ("llama", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2")

SENTENCES = ["a b c d .", "q r s .", "x y z u v w ."]


def scored(model, tokenizer, text):
    """The probability of every token of a text but the first, by one pass over it alone."""
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        p = model(ids).logits.double().softmax(-1)
    return p[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]


@pytest.mark.parametrize("family", FAMILIES)
def test_copy_zero_is_ordinary_teacher_forced_scoring(family, a_model, tokenizer):
    model = a_model(family)
    curve = self_reinforcement(model, tokenizer, SENTENCES, prefix="m n o .", n_repeats=5)
    for sentence, found in zip(SENTENCES, curve.per_sentence, strict=True):
        n = len(sentence.split())
        wanted = scored(model, tokenizer, f"m n o . {sentence}")[-n:].mean().item()
        assert found[0] == pytest.approx(wanted, abs=1e-5)


def test_every_copy_is_scored_with_all_before_it(a_model, tokenizer):
    model = a_model("llama")
    curve = self_reinforcement(model, tokenizer, ["a b c ."], prefix="m .", n_repeats=4)
    wanted = scored(model, tokenizer, "m . " + " ".join(["a b c ."] * 4))[-16:].view(4, 4).mean(1)
    torch.testing.assert_close(
        torch.tensor(curve.token_probability).double(), wanted, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_batches_change_nothing(a_model, tokenizer, batch_size):
    model = a_model("gpt2")
    curves = [
        self_reinforcement(model, tokenizer, SENTENCES, n_repeats=3, prefix=["m .", "n o p ."],
                           batch_size=size)
        for size in (1, batch_size)
    ]  # fmt: skip
    for one, other in zip(curves[0].per_sentence, curves[1].per_sentence, strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_longer_sentences_weigh_more(a_model, tokenizer):
    curve = self_reinforcement(a_model(), tokenizer, ["a .", "b c d e f g ."], "m .", 3)
    short, long = curve.per_sentence
    for n in range(3):
        wanted = (2 * short[n] + 7 * long[n]) / 9
        assert curve.token_probability[n] == pytest.approx(wanted, abs=1e-6)


def test_positions_add_up_to_the_whole(a_model, tokenizer):
    curve = self_reinforcement(a_model(), tokenizer, ["a b c d e ."], "m .", 3)
    for n in range(3):
        parts = {name: values[n] for name, values in curve.by_position.items()}
        wanted = (parts["first"] + 4 * parts["middle"] + parts["last"]) / 6
        assert curve.token_probability[n] == pytest.approx(wanted, abs=1e-6)


def test_a_model_that_copies_improves_and_wins(a_model, tokenizer):
    """A model made to repeat its last but fourth token: IR and WR are 1 from copy 1 on."""

    class Copying(torch.nn.Module):
        config = a_model().config
        device = torch.device("cpu")

        def forward(self, input_ids, **_):
            logits = torch.zeros(*input_ids.shape, self.config.vocab_size)
            # Token t + 1 equals token t - 3.
            logits[:, 3:].scatter_(-1, input_ids[:, :-3].unsqueeze(-1), 9.0)
            return type("Output", (), {"logits": logits})

    curve = self_reinforcement(Copying(), tokenizer, ["a b c ."], "m n o p q r", 4)
    assert curve.improvement_rate == (0.0, 1.0, 1.0, 1.0)
    assert curve.winning_rate[1:] == (1.0, 1.0, 1.0)
    assert [row["n"] for row in curve.rows()] == [0, 1, 2, 3]
    assert curve.rows()[2]["TP"] == curve.token_probability[2]


def test_ids_may_stand_for_sentences(a_model, tokenizer):
    model = a_model()
    by_text = self_reinforcement(model, tokenizer, ["a b ."], "m .", 2)
    ids = tokenizer("a b .", add_special_tokens=False)["input_ids"]
    assert self_reinforcement(model, tokenizer, [ids], "m .", 2) == by_text


def test_the_models_mode_stays_as_it_was(a_model, tokenizer):
    model = a_model("gpt2-dropout").train()
    first = self_reinforcement(model, tokenizer, SENTENCES, n_repeats=2)
    assert model.training
    assert first == self_reinforcement(model, tokenizer, SENTENCES, n_repeats=2)


@pytest.mark.parametrize(
    ("sentences", "how", "word"),
    [
        ([], {}, "no sentences"),
        (["   "], {}, "no tokens"),
        ([[]], {}, "no tokens"),
        (["a ."], {"n_repeats": 1}, "n_repeats"),
        (["a b c ."], {"n_repeats": 80}, "more than 256"),
        (["a b c ."], {"max_tokens": 10}, "more than 10"),
    ],
)
def test_what_cannot_be_measured_is_refused(a_model, tokenizer, sentences, how, word):
    with pytest.raises(ValueError, match=word):
        self_reinforcement(a_model(), tokenizer, sentences, **how)
