"""DITTO: a language model that stops repeating its own sentences, by a little more training.

Greedy text of small and fine-tuned models falls into loops, because every repetition of a sentence
makes the next one more probable. `self_reinforcement` measures that on any causal model; the
training takes it away: half of the updates see a sentence repeated until the row is full, and learn
that each copy be only lambda times as probable as the one before it. Use it where a model that you
may train loops under greedy decoding or beam search, and decoding should stay as it is. Where the
weights cannot be changed, set `repetition_penalty` or `no_repeat_ngram_size`: they need no training
and cost little, but forbid repetitions that belong to the text as well. Where text must be copied
over and over (tables, code, transcripts), measure copying before and after.

    from paperround.papers.ditto import DittoTrainer

    trainer = DittoTrainer(model, args, train_dataset=dataset, processing_class=tokenizer)
    trainer.train()

`build_pseudo_repetition` and `ditto_loss` are the same for a training loop of your own.

Xu, Liu, Yan, Cai, Li, Li: Learning to Break the Loop: Analyzing and Mitigating Repetitions for
Neural Text Generation, arXiv 2206.02369, NeurIPS 2022.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paperround.papers.ditto.baselines import (
        contrastive_search,
        scale_grad_loss,
        unlikelihood_sequence_loss,
        unlikelihood_token_loss,
    )
    from paperround.papers.ditto.method import (
        PseudoBatch,
        build_pseudo_repetition,
        ditto_loss,
        end_token_ids,
    )
    from paperround.papers.ditto.metrics import (
        Loop,
        Repetition,
        longest_loop,
        rep_n,
        rep_sen,
        repetition_metrics,
    )
    from paperround.papers.ditto.reinforcement import Reinforcement, self_reinforcement
    from paperround.papers.ditto.trainer import DittoDataCollator, DittoMixin, DittoTrainer

__all__ = [
    "DittoDataCollator",
    "DittoMixin",
    "DittoTrainer",
    "Loop",
    "PseudoBatch",
    "Reinforcement",
    "Repetition",
    "build_pseudo_repetition",
    "contrastive_search",
    "ditto_loss",
    "end_token_ids",
    "longest_loop",
    "rep_n",
    "rep_sen",
    "repetition_metrics",
    "scale_grad_loss",
    "self_reinforcement",
    "unlikelihood_sequence_loss",
    "unlikelihood_token_loss",
]

_MODULES = {
    "baselines": (
        "contrastive_search",
        "scale_grad_loss",
        "unlikelihood_sequence_loss",
        "unlikelihood_token_loss",
    ),
    "method": ("PseudoBatch", "build_pseudo_repetition", "ditto_loss", "end_token_ids"),
    "metrics": (
        "Loop",
        "Repetition",
        "longest_loop",
        "rep_n",
        "rep_sen",
        "repetition_metrics",
    ),
    "reinforcement": ("Reinforcement", "self_reinforcement"),
    "trainer": ("DittoDataCollator", "DittoMixin", "DittoTrainer"),
}


def __getattr__(name: str) -> Any:
    # Importing the room must not import torch: the web process lists every room.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
