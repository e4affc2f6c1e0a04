"""Forward passes, counted and timed."""

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

    For models whose cache is a DynamicCache that can be rolled back.
    """
    # Any tokens do; small vocabularies have few.
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (torch.arange(n_context + longest, device=model.device) * 37 % vocabulary)[None]
    cache = DynamicCache(config=model.config.get_text_config(decoder=True))
    # Without it, sliding windows forget at once what a roll-back has to bring back.
    cache.activate_past_recording()
    with torch.inference_mode():
        model(input_ids=ids[:, :n_context], past_key_values=cache, logits_to_keep=1)

    def time_pass(n_tokens: int) -> float:
        with torch.inference_mode():
            started = time.perf_counter()
            model(input_ids=ids[:, n_context : n_context + n_tokens], past_key_values=cache)
            seconds = time.perf_counter() - started
        cache.crop(-n_tokens)
        return seconds

    return time_pass
