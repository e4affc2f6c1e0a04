"""A small Transformer for translation, and its training from random weights."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import MarianConfig, MarianMTModel, PreTrainedTokenizerFast

from paperround.kit.translation.batches import IGNORED, batches_by_tokens, encode_pairs
from paperround.kit.translation.texts import Pair, begin_words


@dataclass(frozen=True)
class TranslatorSize:
    """The size of a translator. The default, 7 M parameters with 6,000 pieces, is our choice."""

    d_model: int = 256
    n_encoder_layers: int = 3
    n_decoder_layers: int = 3
    n_heads: int = 4
    d_ffn: int = 1024
    dropout: float = 0.1
    max_positions: int = 256
    # Of the weights at first; 0.02 is what Marian's configuration has. d_model ** -0.5, as fairseq
    # has it, learns to look at the source far sooner where the model is small.
    init_std: float = 0.02


@dataclass(frozen=True)
class TrainingPlan:
    """How a translator is trained: `steps` updates, or as many as `max_seconds` allow.

    With `steps` a result can be repeated; with `max_seconds` it depends on the machine. With both,
    what comes first ends the training. The learning rate rises to its peak in the first
    `warmup_share` of the training and falls to nothing in a straight line.
    """

    steps: int | None = None
    max_seconds: float | None = None
    # Padded, of both sides.
    batch_tokens: int = 4_000
    learning_rate: float = 2e-3
    warmup_share: float = 0.1
    label_smoothing: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    # This share of the examples is cut to prefixes of both sides.
    prefix_share: float = 0.0

    def __post_init__(self) -> None:
        """Refuses a plan without an end."""
        if self.steps is None and self.max_seconds is None:
            raise ValueError("a plan needs steps, max_seconds or both")

    def progress(self, step: int, seconds: float) -> float:
        """The share of the training that is done, 1 at its end."""
        by_steps = 0.0 if self.steps is None else step / self.steps if self.steps else 1.0
        by_time = 0.0 if self.max_seconds is None else seconds / self.max_seconds
        return min(1.0, max(by_steps, by_time))


def build_translator(
    tokenizer: PreTrainedTokenizerFast, size: TranslatorSize | None = None, *, seed: int
) -> MarianMTModel:
    """An untrained model for the tokenizer's vocabulary; the caller's random state stays as is."""
    size = size or TranslatorSize()
    config = MarianConfig(
        vocab_size=len(tokenizer),
        d_model=size.d_model,
        encoder_layers=size.n_encoder_layers,
        decoder_layers=size.n_decoder_layers,
        encoder_attention_heads=size.n_heads,
        decoder_attention_heads=size.n_heads,
        encoder_ffn_dim=size.d_ffn,
        decoder_ffn_dim=size.d_ffn,
        dropout=size.dropout,
        max_position_embeddings=size.max_positions,
        scale_embedding=True,
        init_std=size.init_std,
        activation_function="relu",
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.bos_token_id,
        forced_eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MarianMTModel(config).eval()


def train_translator(
    pairs: Sequence[Pair],
    tokenizer: PreTrainedTokenizerFast,
    plan: TrainingPlan,
    size: TranslatorSize | None = None,
    *,
    seed: int,
    model: MarianMTModel | None = None,
    on_progress: Callable[[int, float], None] | None = None,
) -> MarianMTModel:
    """A translator of the pairs' targets, in evaluation mode, on the CPU.

    `model` goes on from a model that is there, and is changed. `on_progress(step, loss)` is called
    after each update with the loss in nats per target token (label smoothing included). Pairs
    that are longer than the model's positions are left out. The same seed and steps give the
    same weights on the same machine; the caller's random state stays as it is.
    """
    model = build_translator(tokenizer, size, seed=seed) if model is None else model
    longest = model.config.max_position_embeddings - 1
    batches = batches_by_tokens(
        encode_pairs(tokenizer, pairs, longest=longest),
        plan.batch_tokens,
        pad=tokenizer.pad_token_id,
        seed=seed,
        prefix_share=plan.prefix_share,
        beginnings=begin_words(tokenizer),
    )

    def loss() -> Tensor:
        batch = next(batches)
        labels = batch.target.masked_fill(batch.target_mask == 0, IGNORED)
        logits = model(
            input_ids=batch.source,
            attention_mask=batch.source_mask,
            decoder_input_ids=model.prepare_decoder_input_ids_from_labels(labels),
            use_cache=False,
        ).logits
        return nn.functional.cross_entropy(
            logits.flatten(0, 1),
            labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=plan.label_smoothing,
        )

    train_by_plan(model, plan, loss, seed=seed, on_progress=on_progress)
    return model


def train_by_plan(
    model: nn.Module,
    plan: TrainingPlan,
    loss_of_next_batch: Callable[[], Tensor],
    *,
    seed: int,
    on_progress: Callable[[int, float], None] | None = None,
) -> None:
    """Trains the model as the plan says, and leaves it in evaluation mode.

    `on_progress(step, loss)` is called after each update. The seed is that of dropout; the caller's
    random state stays as it is.
    """
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, betas=plan.betas, weight_decay=plan.weight_decay
    )
    started = time.monotonic()
    step = 0
    model.train()
    with torch.random.fork_rng(devices=[]):
        # Dropout draws from the global state.
        torch.manual_seed(seed)
        while (progress := plan.progress(step, time.monotonic() - started)) < 1:
            _set_learning_rate(optimizer, plan, progress)
            loss = loss_of_next_batch()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), plan.clip_norm)
            optimizer.step()
            step += 1
            if on_progress is not None:
                on_progress(step, loss.item())
    model.eval()


def _set_learning_rate(
    optimizer: torch.optim.Optimizer, plan: TrainingPlan, progress: float
) -> None:
    """Sets the plan's rate at that share of the training; not quite zero at its beginning."""
    # Half an update's worth, so that the first update does something.
    first = 0.5 / plan.steps if plan.steps else 1e-3
    rising = (progress + first) / plan.warmup_share if plan.warmup_share else math.inf
    falling = (1 - progress) / max(1 - plan.warmup_share, 1e-9)
    for group in optimizer.param_groups:
        group["lr"] = plan.learning_rate * min(rising, falling, 1.0)
