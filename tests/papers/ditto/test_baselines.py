"""The baselines' losses against their equations, and contrastive search's limit case."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from paperround.papers.ditto.baselines import (
    contrastive_search,
    earlier_tokens,
    repeated_ngrams,
    scale_grad_loss,
    unlikelihood_sequence_loss,
    unlikelihood_token_loss,
)


def a_batch(vocabulary=6, length=7, rows=2):
    torch.manual_seed(3)
    return torch.randn(rows, length, vocabulary), torch.randint(vocabulary, (rows, length))


def test_earlier_tokens_are_the_targets_before():
    seen = earlier_tokens(torch.tensor([[2, 0, -100, 1]]), 4)[0]
    assert [row.nonzero().flatten().tolist() for row in seen] == [[], [2], [0, 2], [0, 2]]


def test_token_unlikelihood_is_its_equation():
    logits, labels = a_batch()
    p = logits.double().softmax(-1)
    wanted = 0.0
    for row, targets in enumerate(labels.tolist()):
        for t, target in enumerate(targets):
            wanted -= math.log(p[row, t, target])
            for c in set(targets[:t]) - {target}:
                wanted -= 0.7 * math.log(1 - p[row, t, c])
    loss = unlikelihood_token_loss(logits, labels, alpha=0.7)
    assert loss.item() == pytest.approx(wanted / labels.numel(), rel=1e-5)


def test_scale_grad_is_its_equation():
    logits, labels = a_batch()
    p = logits.double().softmax(-1)
    wanted = 0.0
    for row, targets in enumerate(labels.tolist()):
        for t, target in enumerate(targets):
            scaled = [p[row, t, v].item() * (1.0 if v in targets[:t] else 0.3) for v in range(6)]
            wanted -= math.log(scaled[target] / sum(scaled))
    loss = scale_grad_loss(logits, labels, gamma=0.3)
    assert loss.item() == pytest.approx(wanted / labels.numel(), rel=1e-5)


def test_both_are_cross_entropy_when_switched_off():
    logits, labels = a_batch()
    labels[0, :3] = -100
    plain = cross_entropy(logits.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(unlikelihood_token_loss(logits, labels, alpha=0.0), plain)
    torch.testing.assert_close(scale_grad_loss(logits, labels, gamma=1.0), plain)


@pytest.mark.parametrize("gamma", [0.0, -1.0, 1.5])
def test_a_gamma_outside_its_range_is_refused(gamma):
    with pytest.raises(ValueError, match="gamma"):
        scale_grad_loss(*a_batch(), gamma=gamma)


def test_repeated_ngrams_are_marked_whole():
    mask = repeated_ngrams(torch.tensor([[1, 2, 3, 1, 2, 4, 1, 2]]), n=2)
    assert mask.int().tolist() == [[0, 0, 0, 1, 1, 0, 1, 1]]


def test_sequence_unlikelihood_counts_the_models_own_repeats(a_model):
    model = a_model("llama", seed=1)
    prefixes = torch.randint(7, 30, (3, 5), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        continued = model.generate(
            prefixes, attention_mask=torch.ones_like(prefixes), do_sample=False,
            max_new_tokens=30, min_new_tokens=30,
        )  # fmt: skip
        p = model(continued).logits.softmax(-1)
    wanted, n_repeated = 0.0, 0
    for row in range(3):
        new = continued[row, 5:].tolist()
        marks = repeated_ngrams(torch.tensor([new]), 2)[0]
        for t, token in enumerate(new):
            if marks[t]:
                n_repeated += 1
                wanted -= math.log(1 - p[row, 4 + t, token])
    loss = unlikelihood_sequence_loss(model, prefixes, 30, n=2)
    assert n_repeated > 5
    assert loss.item() == pytest.approx(wanted / 90, rel=1e-3)
    loss.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma", "qwen3"])
def test_contrastive_search_without_its_penalty_is_greedy(a_model, family):
    model = a_model(family)
    # Neither may end early.
    model.generation_config.eos_token_id = None
    prefixes = torch.randint(7, 30, (2, 4), generator=torch.Generator().manual_seed(1))
    greedy = model.generate(
        prefixes, attention_mask=torch.ones_like(prefixes), do_sample=False, max_new_tokens=8
    )
    assert torch.equal(contrastive_search(model, prefixes, 8, alpha=0.0), greedy)
    # Pay enough for likeness, and another text comes out.
    assert not torch.equal(contrastive_search(model, prefixes, 8, alpha=0.9), greedy)


@pytest.mark.parametrize(
    ("prefixes", "how", "word"),
    [
        (torch.zeros(1, 0, dtype=torch.long), {}, "prefixes"),
        (torch.zeros(3, dtype=torch.long), {}, "prefixes"),
        (torch.ones(1, 2, dtype=torch.long), {"k": 0}, "k is 0"),
        (torch.ones(1, 2, dtype=torch.long), {"k": 99}, "k is 99"),
        (torch.ones(1, 2, dtype=torch.long), {"alpha": -0.1}, "alpha"),
    ],
)
def test_a_search_that_cannot_be_is_refused(a_model, prefixes, how, word):
    with pytest.raises(ValueError, match=word):
        contrastive_search(a_model(), prefixes, 3, **how)


def test_a_model_without_a_cache_is_refused_and_no_new_tokens_give_the_prefix(a_model):
    class Forgetful(torch.nn.Module):
        config = a_model().config

        def forward(self, tokens, **_):
            shape = (*tokens.shape, 30)
            output = {"logits": torch.zeros(shape), "hidden_states": (torch.ones(shape),)}
            return type("Output", (), output | {"past_key_values": None})

    prefixes = torch.tensor([[7, 8, 9]])
    with pytest.raises(ValueError, match="Forgetful gives no cache"):
        contrastive_search(Forgetful(), prefixes, 3)
    assert torch.equal(contrastive_search(a_model(), prefixes, 0), prefixes)
