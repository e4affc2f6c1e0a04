"""Every loss against its formula; the block-wise softmax against PyTorch's, with gradients."""

import math

import pytest
import torch
from torch.nn import functional

from paperround.kit.recommendation import losses
from paperround.kit.recommendation.losses import (
    binary_cross_entropy,
    cosine_softmax,
    full_softmax,
    generalised_binary_cross_entropy,
    in_batch_info_nce,
    sampled_softmax,
)


@pytest.fixture
def batch():
    """(hidden, table, target, bias) in double precision, 63 targets over 17 items."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(63, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    table = torch.randn(18, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(18, generator=generator, dtype=torch.float64, requires_grad=True)
    target = torch.randint(1, 18, (63,), generator=generator)
    return hidden, table, target, bias


def plain_softmax(hidden, table, target, bias=None, temperature=1.0):
    logits = hidden @ table[1:].T + (0 if bias is None else bias[1:])
    return functional.cross_entropy(logits / temperature, target - 1)


@pytest.mark.parametrize("block", [1, 17 * 10, 1 << 22])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_full_softmax_is_pytorchs_in_value_and_gradients(
    batch, block, with_bias, temperature, monkeypatch
):
    monkeypatch.setattr(losses, "_BLOCK_SCORES", block)
    hidden, table, target, bias = batch
    given = (hidden, table, bias) if with_bias else (hidden, table)
    found, wanted = (
        loss(hidden, table, target, bias if with_bias else None, temperature)
        for loss in (full_softmax, plain_softmax)
    )
    assert found.item() == pytest.approx(wanted.item(), abs=1e-12)
    pairs = zip(
        torch.autograd.grad(3 * found, given), torch.autograd.grad(3 * wanted, given), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=1e-12)


def test_padding_is_never_in_the_denominator(batch):
    hidden, table, target, _ = batch
    before = full_softmax(hidden, table, target)
    with torch.no_grad():
        table[0] = 1e3
    after = full_softmax(hidden, table, target)
    assert after.item() == before.item()
    assert torch.autograd.grad(after, table)[0][0].abs().max() == 0


def test_a_catalogue_of_one_item_has_nothing_to_lose():
    hidden, table = torch.randn(3, 4, requires_grad=True), torch.randn(2, 4)
    loss = full_softmax(hidden, table, torch.ones(3, dtype=torch.long))
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_large_scores_do_not_overflow():
    table = torch.tensor([[0.0], [1e4], [-1e4]])
    loss = full_softmax(torch.tensor([[1.0]]), table, torch.tensor([2]))
    assert loss.item() == pytest.approx(2e4)


def test_bce_is_its_formula_and_several_negatives_weigh_as_one(batch):
    hidden, table, target, _ = batch
    negatives = torch.randint(1, 18, (63, 1), generator=torch.Generator().manual_seed(1))
    positive = (hidden * table[target]).sum(1)
    negative = (hidden * table[negatives[:, 0]]).sum(1)
    wanted = -(torch.sigmoid(positive).log() + (1 - torch.sigmoid(negative)).log()).mean()
    assert binary_cross_entropy(hidden, table, target, negatives).item() == pytest.approx(
        wanted.item()
    )
    many = binary_cross_entropy(hidden, table, target, negatives.repeat(1, 5))
    assert many.item() == pytest.approx(wanted.item())


def test_gbce_with_no_calibration_is_bce_and_full_calibration_scales_the_positive(batch):
    hidden, table, target, _ = batch
    negatives = torch.randint(1, 18, (63, 4), generator=torch.Generator().manual_seed(1))
    positive = functional.softplus(-(hidden * table[target]).sum(1)).mean()
    negative = (
        functional.softplus(torch.einsum("td,tkd->tk", hidden, table[negatives])).sum(1).mean()
    )
    plain = generalised_binary_cross_entropy(hidden, table, target, negatives, calibration=0.0)
    assert plain.item() == pytest.approx((positive + negative).item())
    calibrated = generalised_binary_cross_entropy(hidden, table, target, negatives, calibration=1.0)
    # beta at t = 1 is the sampled share, 4 of the 16 other items.
    assert calibrated.item() == pytest.approx((4 / 16 * positive + negative).item())


def test_a_sampled_softmax_over_all_others_is_the_full_one(batch):
    hidden, table, target, _ = batch
    everything = torch.arange(1, 18).expand(63, -1)
    found = sampled_softmax(hidden, table, target, everything)
    assert found.item() == pytest.approx(plain_softmax(hidden, table, target).item())


def test_info_nce_of_equal_rows_is_the_log_of_the_batch():
    rows = torch.ones(5, 3)
    assert in_batch_info_nce(rows, rows).item() == pytest.approx(math.log(5))
    distinct = 30 * torch.eye(5)
    assert in_batch_info_nce(distinct, distinct).item() == pytest.approx(0.0, abs=1e-6)


def test_pairs_that_are_no_negatives_are_left_out_and_the_own_pair_never_is():
    rows = torch.ones(4, 3)
    same = torch.zeros(4, 4, dtype=torch.bool)
    same[0, 1] = same[1, 0] = True
    same.fill_diagonal_(True)
    found = in_batch_info_nce(rows, rows, same=same).item()
    assert found == pytest.approx((2 * math.log(3) + 2 * math.log(4)) / 4)
    everyone = torch.ones(4, 4, dtype=torch.bool)
    assert in_batch_info_nce(rows, rows, same=everyone).item() == 0.0


def test_the_log_q_correction_takes_the_popular_down():
    rows = torch.ones(2, 3)
    log_q = torch.tensor([math.log(0.9), math.log(0.1)])
    assert in_batch_info_nce(rows, rows, log_q=log_q).item() == pytest.approx(
        -(math.log(0.1) + math.log(0.9)) / 2
    )


def test_cosines_do_not_see_lengths(batch):
    hidden, table, target, _ = batch
    first = cosine_softmax(hidden, table, target)
    assert cosine_softmax(7 * hidden, 0.1 * table, target).item() == pytest.approx(first.item())
