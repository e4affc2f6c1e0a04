"""One training loop for all arms: equal windows of text, equal updates, another loss in each.

What a batch is worth differs between arms, and nothing else: windows come from the seed alone.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paperround.papers.ditto.baselines import (
    SG_GAMMA,
    UL_ALPHA,
    scale_grad_loss,
    unlikelihood_sequence_loss,
    unlikelihood_token_loss,
)
from paperround.papers.ditto.method import LAMBDA, build_pseudo_repetition, ditto_loss

Objective = Literal["mle", "ditto", "ul-token", "ul-token-seq", "scale-grad"]
# Of a row, what a sequence-level update continues; the rest is written by the model.
_PREFIX_SHARE = 0.5


@dataclass(frozen=True)
class Arm:
    """A way to fine-tune; `rate` is the share of updates on repetitions, or whole sequences."""

    name: str
    objective: Objective
    lam: float = LAMBDA
    rate: float = 0.5
    alpha: float = UL_ALPHA
    gamma: float = SG_GAMMA


MLE = Arm("MLE", "mle")
DITTO = Arm("DITTO, λ 0.5", "ditto")


@dataclass(frozen=True)
class FineTuning:
    """How every arm is trained; `rows` x `context` tokens an update, constant learning rate."""

    updates: int
    rows: int = 4
    context: int = 128
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    clip_norm: float = 1.0


@dataclass
class Trained:
    """What a training leaves behind besides the model.

    `ditto_updates` of the updates used the loss of repetitions (or sequences); in `fallbacks` more
    no row of the batch held a sentence to repeat, so plain text was used.
    """

    losses: list[float] = field(default_factory=list)
    ditto_updates: int = 0
    fallbacks: int = 0


def fine_tune(
    model: PreTrainedModel,
    ids: Tensor,
    arm: Arm,
    plan: FineTuning,
    end_ids: Collection[int],
    *,
    seed: int,
    on_update: Callable[[int], None] | None = None,
) -> Trained:
    """Trains the model's trainable parameters in place on a text (tokens,).

    `on_update(n)` is called after update n, with the model in evaluation mode.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=plan.learning_rate, weight_decay=plan.weight_decay)
    windows = torch.Generator().manual_seed(seed)
    choices = torch.Generator().manual_seed(seed + 1)
    trained = Trained()
    span = torch.arange(plan.context + 1)
    for update in range(plan.updates):
        starts = torch.randint(len(ids) - plan.context, (plan.rows, 1), generator=windows)
        # (rows, context + 1)
        rows = ids[starts + span]
        special = random.Random(f"update {seed} {update}").random() < arm.rate
        model.train()
        loss = _loss(model, rows, arm, special, end_ids, choices, trained)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, plan.clip_norm)
        optimizer.step()
        trained.losses.append(loss.item())
        model.eval()
        if on_update is not None:
            on_update(update + 1)
    return trained


def train_last_layers(model: PreTrainedModel, n_layers: int) -> None:
    """Only the last `n_layers` blocks of a Llama-like model stay trainable."""
    model.requires_grad_(False)
    blocks: Sequence[nn.Module] = model.model.layers
    for block in blocks[-n_layers:]:
        block.requires_grad_(True)


def _loss(
    model: PreTrainedModel,
    rows: Tensor,
    arm: Arm,
    special: bool,
    end_ids: Collection[int],
    choices: torch.Generator,
    trained: Trained,
) -> Tensor:
    inputs, labels = rows[:, :-1], rows[:, 1:]
    if special and arm.objective == "ditto":
        pseudo = build_pseudo_repetition(rows, end_ids, generator=choices, length=inputs.shape[1])
        if len(pseudo):
            trained.ditto_updates += 1
            logits = model(pseudo.input_ids, use_cache=False).logits
            return ditto_loss(logits, pseudo.labels, pseudo.prev_index, pseudo.mask, arm.lam)
        trained.fallbacks += 1
    if special and arm.objective == "ul-token-seq":
        trained.ditto_updates += 1
        n_prefix = int(_PREFIX_SHARE * inputs.shape[1])
        return unlikelihood_sequence_loss(model, inputs[:, :n_prefix], inputs.shape[1] - n_prefix)
    logits = model(inputs, use_cache=False).logits
    if arm.objective in ("ul-token", "ul-token-seq"):
        return unlikelihood_token_loss(logits, labels, arm.alpha)
    if arm.objective == "scale-grad":
        return scale_grad_loss(logits, labels, arm.gamma)
    return nn.functional.cross_entropy(logits.float().flatten(0, 1), labels.flatten())
