"""A repair lowers the loss, leaves no trace of itself, and touches what is left alone."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from paperround.errors import TrainingError
from paperround.papers.llm_drop.lora import repair
from paperround.papers.llm_drop.measures import mean_loss, n_parameters
from paperround.papers.llm_drop.plans import DropPlan, drop
from paperround.papers.llm_drop.saving import load_dropped, save_dropped

Make = Callable[..., Any]


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_it_lowers_the_loss_and_adds_no_parameter(
    a_model: Make, some_ids: Make, family: str, tmp_path: Any
) -> None:
    model, ids = a_model(family).float(), some_ids(4, 16)
    drop(model, DropPlan(attention=(0, 2), mlp=(3,)))
    names, n, before = list(model.state_dict()), n_parameters(model), mean_loss(model, [ids])
    steps: list[None] = []
    tuned, losses = repair(
        model, [ids] * 12, learning_rate=3e-3, on_step=lambda: steps.append(None)
    )
    assert tuned is model
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert list(model.state_dict()) == names
    assert n_parameters(model) == n
    assert len(losses) == len(steps) == 12
    assert mean_loss(model, [ids]) < before
    # What is tuned is what is saved.
    loaded = load_dropped(save_dropped(model, tmp_path / "small").folder)
    assert mean_loss(loaded, [ids]) == pytest.approx(mean_loss(model, [ids]), rel=1e-5)


def test_the_same_seed_gives_the_same_repair(a_model: Make, some_ids: Make) -> None:
    losses = []
    for _ in range(2):
        model = a_model("llama").float()
        drop(model, DropPlan(attention=(1,)))
        losses.append(repair(model, [some_ids(2, 8)] * 3, seed=7)[1])
    assert losses[0] == losses[1]


def test_a_loss_that_is_not_finite_stops_it_with_the_old_weights(
    a_model: Make, some_ids: Make
) -> None:
    model, ids = a_model("llama").float(), some_ids(2, 8)
    with torch.no_grad():
        model.lm_head.weight[7, 0] = float("inf")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(TrainingError, match="at step 0; lower the learning rate"):
        repair(model, [ids] * 3)
    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_without_anything_to_train_on_it_is_refused(a_model: Make) -> None:
    with pytest.raises(ValueError, match="nothing to train on"):
        repair(a_model("llama"), [])
