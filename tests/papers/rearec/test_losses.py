"""The two recipes: limit cases worked out by hand, and that the kit's trainer learns by them."""

import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.losses import full_softmax
from paperround.kit.recommendation.samples import SequenceDataset
from paperround.kit.recommendation.training import Trainer, TrainingPlan
from paperround.papers.rearec import (
    LatentReasoning,
    RecipeOptions,
    ensemble_reasoning_loss,
    objective_of,
    progressive_reasoning_loss,
    step_divergence,
    temperatures,
)

MAX_LEN = 9
SEEDS = st.integers(0, 999)
few = settings(max_examples=40)


def drawn(seed=0, scale=1.0):
    """(states, table, target): 12 targets, 3 states each, in double precision."""
    generator = torch.Generator().manual_seed(seed)
    return (
        scale * torch.randn(12, 3, 8, generator=generator, dtype=torch.float64),
        torch.randn(21, 8, generator=generator, dtype=torch.float64),
        torch.randint(1, 21, (12,), generator=generator),
    )


@given(tau=st.floats(0.05, 5.0), alpha=st.floats(1.01, 10.0), num_steps=st.integers(0, 5))
def test_temperatures_fall_strictly_to_tau(tau, alpha, num_steps):
    found = temperatures(tau, alpha, num_steps)
    assert len(found) == num_steps + 1
    assert found[-1] == tau
    assert all(early > late for early, late in itertools.pairwise(found))
    assert temperatures(tau, 1.0, num_steps) == [tau] * (num_steps + 1)


def test_temperatures_by_hand():
    assert temperatures(0.5, 2.0, 2) == [2.0, 1.0, 0.5]
    for tau, alpha in ((0.0, 1.0), (1.0, 0.0)):
        with pytest.raises(UsageError, match="above 0"):
            temperatures(tau, alpha, 1)


@given(seed=SEEDS, scale=st.floats(0.01, 5.0), pairs=st.sampled_from(["upper", "all"]))
@few
def test_steps_that_agree_do_not_diverge_and_others_do(seed, scale, pairs):
    found, table, _ = drawn(seed, scale)
    same = found[:, :1].expand(-1, 3, -1)
    assert step_divergence(same, table, pairs=pairs).item() == pytest.approx(0.0, abs=1e-12)
    assert step_divergence(found, table, pairs=pairs) > 0
    assert step_divergence(found[:, :1], table, pairs=pairs).item() == 0.0


@given(seed=SEEDS, order=st.permutations([0, 1, 2]))
@few
def test_over_all_pairs_the_order_of_the_steps_does_not_matter(seed, order):
    found, table, _ = drawn(seed)
    assert step_divergence(found[:, order], table, pairs="all").item() == pytest.approx(
        step_divergence(found, table, pairs="all").item()
    )


def test_the_divergence_is_pytorchs_over_the_pairs():
    found, table, _ = drawn()
    bias = torch.linspace(-1, 1, 21, dtype=torch.float64)
    y = torch.log_softmax((found @ table[1:].T + bias[1:]) / 0.5, dim=-1)
    wanted = [
        torch.nn.functional.kl_div(y[:, j], y[:, i], reduction="batchmean", log_target=True)
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    found_divergence = step_divergence(found, table, 0.5, bias=bias)
    assert found_divergence.item() == pytest.approx(sum(wanted).item() / 3)
    clamped = step_divergence(found, table, 0.5, bias=bias, kl_max=1e-3)
    assert clamped.item() == pytest.approx(1e-3)


def test_detaching_holds_the_side_of_the_logarithm_fixed():
    # The released code: kl_div(log_y_i.detach(), y_j), which is KL(y_j || y_i) with y_i fixed.
    found, table, _ = drawn()
    found.requires_grad_()
    (ours,) = torch.autograd.grad(step_divergence(found, table, pairs="all", detach=True), found)
    log_y = torch.log_softmax(found @ table[1:].T, dim=-1)
    wanted = sum(
        torch.nn.functional.kl_div(
            log_y[:, i].detach(), log_y[:, j], reduction="batchmean", log_target=True
        )
        for i in range(3)
        for j in range(3)
        if i != j
    )
    (theirs,) = torch.autograd.grad(wanted / 6, found)
    torch.testing.assert_close(ours, theirs)
    (upper,) = torch.autograd.grad(step_divergence(found, table, detach=True), found)
    assert upper[:, 2].abs().max() == 0
    assert upper[:, 0].abs().max() > 0


@given(seed=SEEDS, weight=st.floats(0.0, 1.0))
@few
def test_erl_of_steps_that_agree_is_plain_cross_entropy(seed, weight):
    found, table, target = drawn(seed)
    same = found[:, :1].expand(-1, 3, -1)
    plain = full_softmax(found[:, 0], table, target, temperature=0.5).item()
    options = RecipeOptions(tau=0.5, kl_weight=weight)
    assert ensemble_reasoning_loss(same, table, target, options).item() == pytest.approx(plain)


def test_erl_is_the_mean_states_cross_entropy_less_the_weighted_divergence():
    found, table, target = drawn()
    options = RecipeOptions(tau=2.0, kl_weight=0.1)
    some = torch.tensor([0, 3, 5])
    wanted = full_softmax(found.mean(dim=1), table, target, temperature=2.0)
    wanted -= 0.1 * step_divergence(found[some], table, 2.0)
    assert ensemble_reasoning_loss(found, table, target, options, some).item() == pytest.approx(
        wanted.item()
    )


def test_prl_sums_every_step_at_its_own_temperature():
    found, table, target = drawn()
    ce = [
        full_softmax(found[:, k], table, target, temperature=tau).item()
        for k, tau in enumerate((2.0, 1.0, 0.5))
    ]
    options = RecipeOptions(tau=0.5, alpha=2.0, reduction="sum")
    assert progressive_reasoning_loss(found, None, table, target, options).item() == pytest.approx(
        sum(ce)
    )
    mean = RecipeOptions(tau=0.5, alpha=2.0, reduction="mean")
    assert progressive_reasoning_loss(found, None, table, target, mean).item() == pytest.approx(
        ce[2] + (ce[0] + ce[1]) / 2
    )


def contrast_of(states, noisy, users=None, tau=1.0):
    """L_RCL alone, the mean over the steps."""
    _, table, target = drawn()
    options = RecipeOptions(tau=tau)
    with_it, without = (
        progressive_reasoning_loss(states, given_, table, target, options, users)
        for given_ in (noisy, None)
    )
    return (with_it - without).item()


@given(seed=SEEDS)
@few
def test_agreement_of_equally_long_states_costs_at_most_the_log_of_the_batch(seed):
    states = torch.nn.functional.normalize(drawn(seed)[0], dim=-1)
    assert contrast_of(states, states) <= math.log(12) + 1e-12


def test_agreement_of_equal_rows_costs_the_log_of_the_batch_exactly():
    equal = torch.ones(12, 3, 8, dtype=torch.float64)
    assert contrast_of(equal, equal) == pytest.approx(math.log(12))
    # Targets of one user are no negatives of each other.
    assert contrast_of(equal, equal, torch.zeros(12)) == pytest.approx(0.0)
    assert contrast_of(equal, equal, torch.arange(12) // 2) == pytest.approx(math.log(11))


def test_agreement_is_the_dot_product_softmax_of_noisy_against_clean():
    states, noisy = drawn(1)[0], drawn(2)[0]
    wanted = 0.0
    for k in (1, 2):
        scores = noisy[:, k] @ states[:, k].T / 0.5
        wanted += -torch.log_softmax(scores, dim=1).diagonal().mean().item() / 2
    assert contrast_of(states, noisy, tau=0.5) == pytest.approx(wanted)


@pytest.mark.parametrize("recipe", ["naive", "rpe", "erl", "prl"])
@pytest.mark.parametrize(
    ("backbone", "mode"),
    [
        ("sasrec", "windows"),
        ("sasrec", "prefix"),
        ("bidirectional", "prefix"),
        ("bert4rec", "prefix"),
    ],
)
def test_every_recipe_learns_on_every_backbone(recipe, backbone, mode, a_model, a_log):
    model = a_model(
        2, seed=3, backbone=backbone, dropout=0.1, pool="mean" if recipe == "erl" else "last",
        step_embeddings=recipe != "naive",
    )  # fmt: skip
    data = SequenceDataset(a_log, mode, MAX_LEN)
    plan = TrainingPlan(epochs=12, batch_size=2 if mode == "windows" else 16, learning_rate=1e-2)
    objective = objective_of(recipe, RecipeOptions(kl_weight=0.01, rcl_weight=0.1))
    result = Trainer(model, data, None, objective, plan).fit()
    # PRL's contrastive term comes in after two epochs, raises the loss once, and falls slowly.
    assert result.epochs[-1].loss < 0.98 * result.epochs[2].loss
    assert (model.step_embeddings.abs().max() > 0) == (recipe != "naive")


@pytest.mark.parametrize("recipe", ["rpe", "erl", "prl"])
def test_prefixes_and_all_positions_have_the_same_losses(recipe, a_model, a_log):
    model = a_model(2)
    options = RecipeOptions(kl_weight=0.1, sampled_targets=0, noise_std=0.0)
    objective, totals = objective_of(recipe, options), []
    for mode in ("windows", "prefix"):
        # One batch, so that the contrast has the same negatives either way.
        (batch,) = SequenceDataset(a_log, mode, MAX_LEN).batches(999, seed=0, epoch=9)
        totals.append(objective(model, batch, torch.Generator()).item())
    assert totals[0] == pytest.approx(totals[1], abs=1e-4)


def test_contrast_waits_for_the_warm_up(a_model, a_log):
    with_noise = []

    class Recording(LatentReasoning):
        def reason(self, read, prefixes=None, **options):
            with_noise.append(options["noise_std"])
            return super().reason(read, prefixes, **options)

    model = a_model(1)
    model.__class__ = Recording
    data, objective = SequenceDataset(a_log, "windows", MAX_LEN), objective_of("prl")
    for epoch in (1, 2, 3):
        assert with_noise == []
        for batch in data.batches(99, seed=0, epoch=epoch):
            objective(model, batch, torch.Generator())
    assert with_noise == [RecipeOptions().noise_std]


def fit_erl(model, log, epochs, **options):
    data = SequenceDataset(log, "windows", MAX_LEN)
    plan = TrainingPlan(epochs=epochs, batch_size=4, learning_rate=3e-2)
    objective = objective_of("erl", RecipeOptions(**options))
    return Trainer(model, data, None, objective, plan).fit()


def test_a_divergence_that_runs_away_is_told_and_can_be_bounded(a_model, a_log):
    with pytest.warns(RuntimeWarning, match="lower kl_weight, now 5, or set kl_max") as told:
        result = fit_erl(a_model(2), a_log, 30, kl_weight=5.0)
    assert len(told) == 1
    assert result.epochs[-1].loss < -5.0
    with pytest.warns(RuntimeWarning):
        bounded = fit_erl(a_model(2), a_log, 30, kl_weight=5.0, kl_max=1.0)
    assert bounded.epochs[-1].loss >= -5.0


def test_three_hundred_steps_at_the_papers_largest_weight_stay_finite_or_are_told(a_model, a_log):
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = fit_erl(a_model(2), a_log, 150, kl_weight=0.1)
    losses = [epoch.loss for epoch in result.epochs]
    assert all(map(math.isfinite, losses))
    assert told or min(losses) >= -1.0


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: objective_of("some"), "no recipe 'some'"),
        (lambda: step_divergence(*drawn()[:2], pairs="some"), "no pairs 'some'"),
        (
            lambda: progressive_reasoning_loss(
                drawn()[0], None, *drawn()[1:], RecipeOptions(reduction="max")
            ),
            "no reduction 'max'",
        ),
    ],
)
def test_what_means_nothing_is_refused(make, said):
    with pytest.raises(UsageError, match=said):
        make()
