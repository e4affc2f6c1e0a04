"""Forward passes, counted and timed."""

import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache, PreTrainedModel


@dataclass
class PassCount:
    """Forward passes seen so far, and how many tokens each was given."""

    lengths: list[int] = field(default_factory=list)

    @property
    def passes(self) -> int:
        """How many passes there were."""
        return len(self.lengths)


@contextmanager
def counted_passes(model: PreTrainedModel) -> Iterator[PassCount]:
    """Counts the model's forward passes, whoever calls it."""
    count = PassCount()

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        count.lengths.append(ids.shape[1])

    hook = model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield count
    finally:
        hook.remove()


def pass_timer(model: PreTrainedModel, n_context: int, longest: int) -> Callable[[int], float]:
    """Seconds of one forward pass over so many tokens, `longest` at most, after `n_context` cached.

    Raises ValueError for models that keep no cache, or one that cannot be rolled back, and where
    the context is too short.
    """
    limit = getattr(model.config.get_text_config(decoder=True), "max_position_embeddings", None)
    if limit is not None and n_context + longest > limit:
        raise ValueError(f"{n_context} + {longest} tokens exceed the model's context of {limit}")
    if "past_key_values" not in inspect.signature(model.forward).parameters or model._is_stateful:
        raise ValueError(f"{type(model).__name__} has no cache to be rolled back")
    # Any tokens do; small vocabularies have few.
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(n_context + longest, device=model.device) * 37 % vocabulary)[None]
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    # Without it, sliding windows forget at once what a roll-back has to bring back.
    cache.activate_past_recording()
    with torch.inference_mode():
        model(input_ids=ids[:, :n_context], past_key_values=cache)
    if cache.get_seq_length() != n_context:
        raise ValueError(f"{type(model).__name__} has no cache to be rolled back")

    def time_pass(n_tokens: int) -> float:
        with torch.inference_mode():
            started = time.perf_counter()
            step_ids = ids[:, n_context : n_context + n_tokens]
            logits = model(input_ids=step_ids, past_key_values=cache).logits
            # A GPU is waited for by whoever reads a number.
            float(logits[0, -1, 0])
            seconds = time.perf_counter() - started
        cache.crop(-n_tokens)
        return seconds

    return time_pass
