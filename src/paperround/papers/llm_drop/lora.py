"""A short repair of a dropped model with LoRA (Hu et al., 2021), through the library peft.

The paper fine-tunes dropped models afterwards; here the low-rank weights are merged into the model
at the end, so that what is saved and timed is the dropped model and nothing beside it.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paperround.errors import MissingExtraError, TrainingError
from paperround.papers.llm_drop.sublayers import layout_of

# Queries, values and what leaves the MLP, by the names that the families give them.
_TARGETS = ("q_proj", "v_proj", "qkv_proj", "c_attn", "down_proj", "mlp.c_proj")


def repair(
    model: PreTrainedModel,
    batches: Sequence[Tensor],
    *,
    rank: int = 8,
    learning_rate: float = 1e-3,
    seed: int = 0,
    on_step: Callable[[], None] = lambda: None,
) -> tuple[PreTrainedModel, list[float]]:
    """The model with its kept sub-layers tuned on these batches, one step each; and the losses.

    Works in place: the low-rank weights are merged at the end. Batches are token ids without
    padding, (sequences, tokens). AdamW without decay, the learning rate falls linearly. Raises
    MissingExtraError without peft, ValueError without batches or a part to tune, TrainingError
    where a loss is not finite; the model has its old weights then.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise MissingExtraError(
            'the repair needs peft: pip install "paperround[papers]"'
        ) from error
    if not batches:
        raise ValueError("there is nothing to train on")
    targets = _targets(model)
    if not targets:
        raise ValueError(f"{type(model).__name__} has none of the parts {', '.join(_TARGETS)}")
    trained_before = [p for p in model.parameters() if p.requires_grad]
    was_training = model.training
    # GPT-2 keeps its matrices the other way round.
    config = LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=targets,
        task_type="CAUSAL_LM",
        fan_in_fan_out="c_attn" in " ".join(targets),
    )
    devices = [] if model.device.type == "cpu" else [model.device]
    with torch.random.fork_rng(devices):
        # The first low-rank weights, and dropout where the model has it.
        torch.manual_seed(seed)
        with warnings.catch_warnings():
            # peft asks transformers by a name that transformers has given up.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
            tuned = get_peft_model(model, config)
        try:
            losses = _train(tuned, batches, learning_rate, on_step)
        except BaseException:
            tuned.unload()
            raise
        else:
            tuned.merge_and_unload()
        finally:
            for parameter in trained_before:
                parameter.requires_grad_(True)
            model.train(was_training)
    return model, losses


def _train(
    tuned: Any, batches: Sequence[Tensor], learning_rate: float, on_step: Callable[[], None]
) -> list[float]:
    optimizer = torch.optim.AdamW(
        [p for p in tuned.parameters() if p.requires_grad], lr=learning_rate, weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    losses: list[float] = []
    tuned.train()
    for batch in batches:
        ids = batch.to(tuned.device)
        loss = tuned(input_ids=ids, labels=ids, use_cache=False).loss
        if not torch.isfinite(loss):
            raise TrainingError(
                f"the loss is {float(loss.detach())} at step {len(losses)}; lower the learning rate"
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        on_step()
    return losses


def _targets(model: PreTrainedModel) -> list[str]:
    """The full names of the parts to tune in the sub-layers that are left."""
    layout = layout_of(model)
    path = f"{layout.decoder}.{layout.layers}."
    return [
        name
        for name, module in model.named_modules()
        if name.startswith(path)
        and name.endswith(tuple(f".{target}" for target in _TARGETS))
        and any(True for _ in module.parameters(recurse=False))
    ]
