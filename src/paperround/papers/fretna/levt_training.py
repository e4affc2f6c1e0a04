"""Training the Levenshtein Transformer: it learns from an oracle what to insert and to delete.

What to insert is learnt from the target with tokens taken out at random, what to delete from
fillings of the gaps that are drawn from the model. Prefixes of sources are learnt beside whole ones
(`TrainingPlan`'s `prefix_share`), without which the model deletes what it said of a shorter source.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from paperround.kit.translation import (
    IGNORED,
    Batch,
    Pair,
    TrainingPlan,
    TranslatorSize,
    batches_by_tokens,
    begin_words,
    build_translator,
    encode_pairs,
    train_by_plan,
)
from paperround.papers.fretna.levt import LevenshteinTransformer
from paperround.papers.fretna.oracle import (
    align,
    deletion_labels,
    gaps_between,
    random_subsequence,
    without,
)

# fairseq's label smoothing; the deletion classifier has none.
TOKEN_SMOOTHING = 0.1
INSERTION_SMOOTHING = 0.01


class Losses(NamedTuple):
    """The three losses, each a mean over its positions; they are added with equal weights."""

    insertion: Tensor
    token: Tensor
    deletion: Tensor

    @property
    def total(self) -> Tensor:
        """What is minimised."""
        return self.insertion + self.token + self.deletion


def build_levt(
    tokenizer: PreTrainedTokenizerFast, size: TranslatorSize | None = None, *, seed: int
) -> LevenshteinTransformer:
    """An untrained model for the tokenizer's vocabulary; the caller's random state stays as is."""
    return LevenshteinTransformer.from_translator(
        build_translator(tokenizer, size, seed=seed),
        placeholder_token_id=tokenizer.mask_token_id,
        seed=seed,
    )


def levt_losses(model: LevenshteinTransformer, batch: Batch, generator: torch.Generator) -> Losses:
    """The losses of a batch whose targets end with `</s>`. Source: Gu et al. 2019, Section 4."""
    config = model.config
    n = len(batch.target)
    begin = batch.target.new_full((n, 1), config.bos_token_id)
    target = torch.cat([begin, batch.target], dim=1)
    target_mask = torch.cat([torch.ones_like(begin), batch.target_mask], dim=1)
    states = model.encode(batch.source, batch.source_mask)

    y, y_mask = random_subsequence(target, target_mask, config.pad_token_id, generator)
    kept = align(y, y_mask, target, target_mask)
    counts = gaps_between(kept, y_mask).clamp(max=config.max_insertions)
    h = model.decode(y, y_mask, states, batch.source_mask)
    insertion = nn.functional.cross_entropy(
        model.insertion_logits(h, y_mask).flatten(0, 1),
        counts.masked_fill(y_mask[:, 1:] == 0, IGNORED).flatten(),
        ignore_index=IGNORED,
        label_smoothing=INSERTION_SMOOTHING,
    )

    gaps = without(kept, target, target_mask, config.placeholder_token_id)
    holes = gaps == config.placeholder_token_id
    h = model.decode(gaps, target_mask, states, batch.source_mask)
    logits = model.token_logits(h[holes])
    # Where nothing was taken out anywhere: a zero that backpropagation can follow.
    token = _smoothed_over_words(logits, target[holes], model) if len(logits) else logits.sum()

    filled = gaps.clone()
    if len(logits):
        # Drawn, not the likeliest (fairseq's `--sampling-for-deletion`): a stream's former
        # translation has more wrong tokens than the likeliest fillings of a few gaps.
        drawn = torch.multinomial(logits.detach().softmax(-1).cpu(), 1, generator=generator)
        filled[holes] = drawn[:, 0].to(filled.device)
    h = model.decode(filled, target_mask, states, batch.source_mask)
    gone = deletion_labels(filled, target_mask, target, target_mask)
    asked = target_mask.bool().clone()
    asked[:, 0] = False
    asked.scatter_(1, (target_mask.sum(1) - 1)[:, None], False)
    deletion = nn.functional.cross_entropy(
        model.deletion_logits(h, target_mask).flatten(0, 1),
        gone.masked_fill(~asked, IGNORED).flatten(),
        ignore_index=IGNORED,
    )
    return Losses(insertion, token, deletion)


def train_levt(
    model: LevenshteinTransformer,
    pairs: Sequence[Pair],
    tokenizer: PreTrainedTokenizerFast,
    plan: TrainingPlan,
    *,
    seed: int,
    on_progress: Callable[[int, Losses], None] | None = None,
) -> LevenshteinTransformer:
    """The model itself, trained on the pairs and in evaluation mode; repeatable for a seed.

    `plan.label_smoothing` is not used: the three losses have their own. `on_progress(step, losses)`
    is called after each update. The caller's random state stays as it is.
    """
    batches = batches_by_tokens(
        encode_pairs(tokenizer, pairs, longest=model.config.max_position_embeddings - 2),
        plan.batch_tokens,
        pad=tokenizer.pad_token_id,
        seed=seed,
        prefix_share=plan.prefix_share,
        beginnings=begin_words(tokenizer),
    )
    if plan.steps is None:
        raise ValueError("a Levenshtein Transformer is trained for a number of steps; give one")
    generator = torch.Generator().manual_seed(seed)
    # The losses of the last update: three, where an update knows their sum.
    last: list[Losses] = []

    def loss() -> Tensor:
        last[:] = [levt_losses(model, next(batches), generator)]
        return last[0].total

    def tell(step: int, total: float) -> None:
        if on_progress is not None:
            on_progress(step, last[0])

    train_by_plan(model, plan, loss, seed=seed, on_progress=tell)
    return model


def _smoothed_over_words(logits: Tensor, targets: Tensor, model: LevenshteinTransformer) -> Tensor:
    """Cross-entropy with label smoothing over those tokens alone that can be chosen."""
    log_probs = logits.log_softmax(-1)
    config = model.config
    chosen = torch.ones(logits.shape[-1], dtype=torch.bool, device=logits.device)
    chosen[[config.pad_token_id, config.bos_token_id]] = False
    chosen[[config.eos_token_id, config.placeholder_token_id]] = False
    nll = -log_probs.gather(-1, targets[:, None])[:, 0]
    spread = -log_probs[:, chosen].mean(-1)
    return ((1 - TOKEN_SMOOTHING) * nll + TOKEN_SMOOTHING * spread).mean()
