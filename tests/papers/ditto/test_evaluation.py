"""Perplexity, accuracy and copying of a model, and what it writes."""

import math

import pytest
import torch

from paperround.papers.ditto.evaluation import (
    continuations,
    fit_to_text,
    prefixes_of,
    random_copy_accuracy,
    repeated_pairs,
)
from paperround.papers.ditto.texts import sentences_of_text, words_of


class Copying(torch.nn.Module):
    """Predicts, sure of it, the token that stood `back` places before the next one."""

    def __init__(self, back, vocabulary=40):
        super().__init__()
        self.back, self.vocabulary = back, vocabulary

    def forward(self, input_ids, **_):
        logits = torch.zeros(*input_ids.shape, self.vocabulary)
        logits[:, self.back - 1 :].scatter_(
            -1, input_ids[:, : input_ids.shape[1] - self.back + 1].unsqueeze(-1), 20.0
        )
        return type("Output", (), {"logits": logits})


def test_a_model_that_knows_nothing_has_the_vocabularys_perplexity(a_model):
    model = a_model("llama")
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    ids = torch.randint(30, (65,), generator=torch.Generator().manual_seed(0))
    fit = fit_to_text(model, ids, 16)
    assert fit.perplexity == pytest.approx(model.config.vocab_size, rel=1e-5)


def test_perplexity_is_that_of_the_windows_one_by_one(a_model):
    model = a_model("gpt2")
    ids = torch.randint(30, (70,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        total = sum(
            torch.nn.functional.cross_entropy(
                model(ids[None, i : i + 16]).logits[0], ids[i + 1 : i + 17], reduction="sum"
            ).item()
            for i in range(0, 64, 16)
        )
    fit = fit_to_text(model, ids, 16, batch_size=3)
    assert fit.perplexity == pytest.approx(math.exp(total / 64), rel=1e-4)


def test_a_text_that_repeats_is_copied_right_by_a_model_that_copies():
    ids = torch.tensor([3, 4, 5, 6] * 9)
    fit = fit_to_text(Copying(4), ids, 32)
    # The first window's first three targets have nothing four places before them.
    assert fit.accuracy == pytest.approx(29 / 32)
    assert fit.copy_accuracy == 1.0


def test_a_text_shorter_than_a_window_is_refused(a_model):
    with pytest.raises(ValueError, match="less than one window"):
        fit_to_text(a_model(), torch.arange(10), 16)


def test_pairs_that_come_again_are_marked():
    inputs, targets = torch.tensor([[1, 2, 1, 2]]), torch.tensor([[2, 1, 2, 3]])
    assert repeated_pairs(inputs, targets).tolist() == [[False, False, True, False]]


def test_random_text_is_copied_by_who_looks_back_and_by_nobody_else(a_model):
    how = {"rows": 20, "length": 8, "seed": 1}
    assert random_copy_accuracy(Copying(8), range(40), **how) == 1.0
    assert random_copy_accuracy(Copying(3), range(40), **how) < 0.3


def test_prefixes_stand_at_even_distances_and_are_the_same_each_time():
    ids = torch.arange(100)
    assert prefixes_of(ids, 4, 3).tolist() == [[0, 1, 2], [25, 26, 27], [50, 51, 52], [75, 76, 77]]
    with pytest.raises(ValueError, match="no 40 prefixes"):
        prefixes_of(ids, 40, 3)


def test_continuations_have_the_length_asked_for_and_know_their_row(a_model):
    model = a_model("llama", seed=2)
    prefixes = torch.randint(7, 30, (5, 4), generator=torch.Generator().manual_seed(2))
    together = continuations(model, prefixes, 12, batch_size=2)
    assert [len(row) for row in together] == [12] * 5
    assert continuations(model, prefixes[3:4], 12) == together[3:4]


TEXT = """
 = A river =

 The river is long and wide and slow and old . It is deep ! In the spring it rises again .
 In the spring it rises again .

 = = Course = =

 The <unk> of the river is long and wide and old .
"""


def test_headings_are_no_words():
    assert "Course" not in words_of(TEXT)
    assert words_of(TEXT)[0] == "The"


def test_sentences_have_the_asked_length_no_unknown_word_and_come_once():
    found = sentences_of_text(TEXT, 2, shortest=6, longest=12)
    assert found == [
        "The river is long and wide and slow and old .",
        "In the spring it rises again .",
    ]
    with pytest.raises(ValueError, match="has 2 sentences"):
        sentences_of_text(TEXT, 3, shortest=6, longest=12)
