"""The two recipes that keep reasoning steps from being one and the same: ERL and PRL.

Each takes the states r_0..r_K of P targets, (P, K + 1, d), and gives the loss. `objective_of` makes
them losses for the kit's trainer, which draw what they need from the trainer's generator. Where
paper and released code differ, RecipeOptions has both, and the README says which is the default.
"""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD
from paperround.kit.recommendation.losses import full_softmax, in_batch_info_nce
from paperround.kit.recommendation.objectives import Objective
from paperround.kit.recommendation.samples import Batch
from paperround.papers.rearec.method import LatentReasoning

Recipe = Literal["naive", "rpe", "erl", "prl"]
RECIPES: tuple[Recipe, ...] = ("naive", "rpe", "erl", "prl")
Pairs = Literal["upper", "all"]

# Nats. A problem that is learnt by heart has a cross entropy near 0, and any divergence outweighs
# that harmlessly; a whole nat below 0 is a divergence that runs away.
_RUN_AWAY = -1.0


@dataclass(frozen=True)
class RecipeOptions:
    """What a recipe is tuned by. Defaults: the paper's where it has one, else the released code's.

    The paper searches `tau` in {.05, .1, .5, 1, 2, 5}, `alpha` in {1, 1.2, 1.5, 2, 5, 10} and
    `kl_weight` in {.001, .005, .01, .05, .1}; `tau` 1 and `alpha` 1.5 are our choice of those.
    `sampled_targets` limits the targets of the KL and contrastive terms (ours, for memory: they
    need a matrix of targets by items for every step).
    """

    tau: float = 1.0
    alpha: float = 1.5
    kl_weight: float = 0.05
    kl_pairs: Pairs = "upper"
    kl_detach: bool = False
    kl_max: float | None = None
    rcl_weight: float = 1.0
    early_weight: float = 1.0
    reduction: Literal["mean", "sum"] = "mean"
    noise_std: float = 0.01
    warmup_epochs: int = 2
    sampled_targets: int = 256


def temperatures(tau: float, alpha: float, num_steps: int) -> list[float]:
    """tau_k = tau * alpha^(K - k) for k = 0..K: soft first, tau last (Section 3.4)."""
    if tau <= 0 or alpha <= 0:
        raise UsageError(f"tau and alpha are above 0, not {tau} and {alpha}")
    return [tau * alpha ** (num_steps - k) for k in range(num_steps + 1)]


def step_divergence(
    states: Tensor,
    table: Tensor,
    tau: float = 1.0,
    *,
    bias: Tensor | None = None,
    pairs: Pairs = "upper",
    detach: bool = False,
    kl_max: float | None = None,
) -> Tensor:
    """The mean KL(y^i || y^j) over pairs of steps i < j (or all i != j); y = softmax(r E^T / tau).

    `states` is (P, K + 1, d), `table` (n_items + 1, d) with padding in row 0. `detach` holds y^j,
    the side of the logarithm, fixed, as the released code does. `kl_max` clamps each target's
    divergence: what is maximised without a bound can run away. 0 where K is 0.
    """
    if pairs not in ("upper", "all"):
        raise UsageError(f"no pairs '{pairs}'; there are upper, all")
    n_steps = states.shape[1]
    logits = states @ table[1:].T
    if bias is not None:
        logits = logits + bias[1:]
    log_y = functional.log_softmax(logits / tau, dim=-1).unbind(dim=1)
    total = states.new_zeros(())
    chosen = [
        (i, j)
        for i in range(n_steps)
        for j in range(n_steps)
        if i < j or (pairs == "all" and i > j)
    ]
    for i, j in chosen:
        first, second = log_y[i], log_y[j].detach() if detach else log_y[j]
        divergence = (first.exp() * (first - second)).sum(dim=-1)
        total = total + (divergence if kl_max is None else divergence.clamp(max=kl_max)).mean()
    return total / max(1, len(chosen))


def ensemble_reasoning_loss(
    states: Tensor,
    table: Tensor,
    target: Tensor,
    options: RecipeOptions,
    sampled: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """ERL: CE of the mean state, minus kl_weight times how far the steps' distributions differ.

    L = L_Rec + lambda L_KL, L_KL = -sum KL(y^i || y^j) (Section 3.3): divergence is maximised.
    `sampled` are the numbers of the targets that the divergence is taken over; all with None.
    """
    loss = full_softmax(states.mean(dim=1), table, target, bias, options.tau)
    if not options.kl_weight:
        return loss
    divergence = step_divergence(
        states if sampled is None else states[sampled],
        table,
        options.tau,
        bias=bias,
        pairs=options.kl_pairs,
        detach=options.kl_detach,
        kl_max=options.kl_max,
    )
    return loss - options.kl_weight * divergence


def progressive_reasoning_loss(
    states: Tensor,
    noisy: Tensor | None,
    table: Tensor,
    target: Tensor,
    options: RecipeOptions,
    users: Tensor | None = None,
    sampled: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """PRL: CE of every step at its own temperature, plus agreement of noisy and clean steps.

    L_Rec = -sum_k log softmax(r_k E^T / tau_k)[target], and the contrastive L_RCL pulls the noisy
    r~_k to the clean r_k among other users' (Section 3.4). `reduction` "sum" is the paper's, "mean"
    (default) the released code's: CE(r_K) + mean of the early steps' CE + mean of the steps' RCL.
    `noisy` are the states of the `sampled` targets (of all with None), or None to leave L_RCL out;
    targets of one user (`users`, (P,)) are no negatives of each other.
    """
    if options.reduction not in ("mean", "sum"):
        raise UsageError(f"no reduction '{options.reduction}'; there are mean, sum")
    n_steps = states.shape[1] - 1
    taus = temperatures(options.tau, options.alpha, n_steps)
    each = [
        full_softmax(state, table, target, bias, tau)
        for state, tau in zip(states.unbind(dim=1), taus, strict=True)
    ]
    share = 1.0 if options.reduction == "sum" else 1 / max(1, n_steps)
    loss = each[-1]
    for early in each[:-1]:
        loss = loss + options.early_weight * share * early
    if noisy is None or not n_steps:
        return loss
    if sampled is not None:
        states = states[sampled]
        users = None if users is None else users[sampled]
    same = None if users is None else users[:, None] == users[None, :]
    for k in range(1, n_steps + 1):
        agreement = in_batch_info_nce(noisy[:, k], states[:, k], options.tau, same=same)
        loss = loss + options.rcl_weight * share * agreement
    return loss


def objective_of(recipe: Recipe, options: RecipeOptions | None = None) -> Objective:
    """The loss of a recipe for the kit's trainer, on prefixes or (causal encoders) all positions.

    "naive" and "rpe" train r_K alone with CE (they differ in the model: without and with step
    embeddings). PRL's noisy branch and contrastive term begin after `warmup_epochs`: before any
    item signal exists the term spreads the states and nothing is learnt. Warns (RuntimeWarning,
    once) when ERL's divergence, which has no bound, outweighs its cross entropy by far.
    """
    options = options or RecipeOptions()
    if recipe not in RECIPES:
        raise UsageError(f"no recipe '{recipe}'; there are {', '.join(RECIPES)}")
    warned = False

    def objective(model: LatentReasoning, batch: Batch, generator: torch.Generator) -> Tensor:
        nonlocal warned
        real = batch.targets != PAD
        table, bias, target = model.item_embeddings(), model.item_bias(), batch.targets[real]
        rows, places = real.nonzero(as_tuple=True)
        # One target per row: the ends of prefixes, where a step is one token and not a row of them.
        ends = len(rows) == len(real) and bool((real.sum(dim=1) == 1).all())
        states = model.steps(batch.items) if ends else model.all_positions(batch.items)[real]
        if recipe in ("naive", "rpe"):
            return full_softmax(states[:, -1], table, target, bias, options.tau)
        sampled = _some(len(target), options.sampled_targets, generator)
        if recipe == "erl":
            loss = ensemble_reasoning_loss(states, table, target, options, sampled, bias)
            if not warned and loss.item() < _RUN_AWAY:
                warned = True
                warnings.warn(
                    f"ERL's divergence outweighs its cross entropy (loss {loss.item():.3g} in "
                    f"epoch {batch.epoch}) and has no bound: lower kl_weight, now "
                    f"{options.kl_weight:g}, or set kl_max",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return loss
        users, noisy = batch.users[rows], None
        if batch.epoch > options.warmup_epochs and options.rcl_weight and model.num_steps:
            chosen = torch.arange(len(target)) if sampled is None else sampled
            # Read again: other dropout is the second difference between the branches.
            read = model.read(batch.items)
            at = read.last[rows[chosen]] if ends else places[chosen]
            noisy = model.reason(
                read,
                (rows[chosen], at),
                clean=states[chosen],
                noise_std=options.noise_std,
                generator=generator,
            )
        return progressive_reasoning_loss(
            states, noisy, table, target, options, users, sampled, bias
        )

    return objective


def _some(n: int, limit: int, generator: torch.Generator) -> Tensor | None:
    """Numbers of `limit` of n targets, drawn; None for all of them."""
    if limit <= 0 or n <= limit:
        return None
    return torch.randperm(n, generator=generator)[:limit]
