"""Losses over items. Each takes hidden states of real targets only, and the item table.

Shapes: `hidden` (targets, d), `table` (n_items + 1, d) with padding in row 0, `target` (targets,)
codes 1..n_items, `bias` (n_items + 1,) or None. Padding is in no denominator. Every loss is the
mean over the targets. The full softmax is the one to compare with: with the same network it gives
a quarter more than one sampled negative (ML-1M HR@10 .315 against .250).
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional

# Logits are made for this many scores at a time (2 MB), in the cache rather than in memory, but for
# enough targets to be worth a matrix product.
_BLOCK_SCORES = 1 << 19
_BLOCK_TARGETS = 48


def full_softmax(
    hidden: Tensor,
    table: Tensor,
    target: Tensor,
    bias: Tensor | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Cross entropy over all items, -log softmax((h E^T + b) / temperature)[target].

    The logits and their gradients are made block by block and never stand in memory whole, so that
    a large catalogue costs time and not memory. Second derivatives are not available.
    """
    scaled = hidden / temperature
    return _BlockwiseCrossEntropy.apply(
        scaled, table, target, None if bias is None else bias / temperature
    )


class _BlockwiseCrossEntropy(Function):
    """mean_i [ logsumexp_v (h_i . e_v + b_v) - (h_i . e_t + b_t) ] over v = 1..n."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, table: Tensor, target: Tensor, bias: Tensor | None
    ) -> Tensor:
        items = table[1:]
        n_targets, n_items = len(hidden), len(items)
        wanted = ctx.needs_input_grad
        grad_hidden = torch.empty_like(hidden) if wanted[0] else None
        # (d, n): products with it read the block's rows as they lie.
        grad_items = hidden.new_zeros(hidden.shape[1], n_items) if wanted[1] else None
        grad_bias = torch.zeros_like(bias) if bias is not None and wanted[3] else None
        loss = hidden.new_zeros(())
        rows = max(_BLOCK_TARGETS, _BLOCK_SCORES // max(1, n_items))
        block = hidden.new_empty(min(rows, n_targets), n_items)
        for start in range(0, n_targets, rows):
            h, t = hidden[start : start + rows], target[start : start + rows] - 1
            logits = torch.mm(h, items.T, out=block[: len(h)])
            if bias is not None:
                logits += bias[1:]
            own = logits.gather(1, t[:, None])
            top = logits.amax(dim=1, keepdim=True)
            shares = torch.softmax(logits, dim=1, out=logits)
            # The largest share is exp(top - logsumexp): one pass instead of a second softmax.
            log_total = top - shares.amax(dim=1, keepdim=True).log()
            loss += (log_total - own).sum()
            # d loss / d logits = shares - one-hot, divided by the number of targets at the end.
            if grad_hidden is not None:
                torch.mm(shares, items, out=grad_hidden[start : start + rows])
            if grad_items is not None:
                grad_items.addmm_(h.T, shares)
            if grad_bias is not None:
                grad_bias[1:] += shares.sum(dim=0)
        grad_table = None
        if grad_hidden is not None:
            grad_hidden.sub_(table[target]).div_(n_targets)
        if grad_items is not None:
            grad_table = torch.cat([hidden.new_zeros(1, hidden.shape[1]), grad_items.T])
            grad_table.index_add_(0, target, hidden, alpha=-1).div_(n_targets)
        if grad_bias is not None:
            grad_bias.sub_(torch.bincount(target, minlength=len(table))).div_(n_targets)
        ctx.grads = (grad_hidden, grad_table, grad_bias)
        return loss / n_targets

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        hidden, table, bias = (None if part is None else grad * part for part in ctx.grads)
        return hidden, table, None, bias


def binary_cross_entropy(
    hidden: Tensor, table: Tensor, target: Tensor, negatives: Tensor
) -> Tensor:
    """-log s(h . e_t) - mean over negatives of log(1 - s(h . e_v)), the original loss of SASRec.

    `negatives` is (targets, k). With several the negatives' mean weighs as much as the positive.
    """
    positive, negative = _sampled_scores(hidden, table, target, negatives)
    return (functional.softplus(-positive) + functional.softplus(negative).mean(dim=1)).mean()


def generalised_binary_cross_entropy(
    hidden: Tensor,
    table: Tensor,
    target: Tensor,
    negatives: Tensor,
    calibration: float = 0.75,
) -> Tensor:
    """gBCE: the positive's probability is raised to beta, against overconfidence from sampling.

    beta = a (t (1 - 1/a) + 1/a), a = k / (n - 1) the sampled share, t the calibration: t = 0 is
    plain BCE with the negatives summed, t = 1 calibrated. Petrov and Macdonald, RecSys 2023.
    """
    n_items, k = len(table) - 1, negatives.shape[1]
    share = k / max(1, n_items - 1)
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    positive, negative = _sampled_scores(hidden, table, target, negatives)
    return (beta * functional.softplus(-positive) + functional.softplus(negative).sum(dim=1)).mean()


def sampled_softmax(hidden: Tensor, table: Tensor, target: Tensor, negatives: Tensor) -> Tensor:
    """Cross entropy over target and negatives; a negative equal to the target is left out."""
    positive, negative = _sampled_scores(hidden, table, target, negatives)
    negative = negative.masked_fill(negatives == target[:, None], -torch.inf)
    logits = torch.cat([positive[:, None], negative], dim=1)
    return (logits.logsumexp(dim=1) - positive).mean()


def in_batch_info_nce(
    first: Tensor,
    second: Tensor,
    temperature: float = 1.0,
    log_q: Tensor | None = None,
    same: Tensor | None = None,
) -> Tensor:
    """-log of the share of second[i] among all second[j], seen from first[i]; (batch, d) both.

    `log_q` (batch,) is the log of how likely each second[j] gets into a batch, subtracted from its
    scores. `same` (batch, batch) marks pairs that are no negatives; the diagonal always counts.
    """
    scores = first @ second.T / temperature
    if log_q is not None:
        scores = scores - log_q
    if same is not None:
        eye = torch.eye(len(first), dtype=torch.bool, device=first.device)
        scores = scores.masked_fill(same & ~eye, -torch.inf)
    return functional.cross_entropy(scores, torch.arange(len(first), device=first.device))


def cosine_softmax(
    hidden: Tensor, table: Tensor, target: Tensor, temperature: float = 0.05
) -> Tensor:
    """Cross entropy over all items where scores are cosines divided by the temperature."""
    return full_softmax(
        functional.normalize(hidden, dim=-1),
        functional.normalize(table, dim=-1),
        target,
        temperature=temperature,
    )


def _sampled_scores(
    hidden: Tensor, table: Tensor, target: Tensor, negatives: Tensor
) -> tuple[Tensor, Tensor]:
    positive = (hidden * table[target]).sum(dim=-1)
    return positive, torch.einsum("td,tkd->tk", hidden, table[negatives])
