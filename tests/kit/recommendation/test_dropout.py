import pytest
import torch

from paperround.kit.recommendation.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.2, 0.5, 0.99])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_share_that_is_dropped_and_the_mean_are_as_asked(p, seed):
    torch.manual_seed(seed)
    n = 200_003
    out = dropout(torch.ones(n), p, True)
    assert out.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-3)
    # Four standard errors of a share, and of the mean of what is 0 or 1 / (1 - p).
    error = 4 * (p * (1 - p) / n) ** 0.5 + 1e-5
    assert float((out == 0).float().mean()) == pytest.approx(p, abs=error)
    assert float(out.mean()) == pytest.approx(1, abs=error / (1 - p))


def test_neighbours_are_dropped_independently():
    # Four values share one drawn number: none of the four places may know of another.
    torch.manual_seed(0)
    kept = dropout(torch.ones(100_000, 4), 0.5, True) > 0
    together = torch.corrcoef(kept.double().T)
    assert together == pytest.approx(torch.eye(4, dtype=torch.float64), abs=0.015)
    patterns = (kept.long() * torch.tensor([1, 2, 4, 8])).sum(dim=1).bincount(minlength=16)
    assert (patterns / len(kept)).tolist() == pytest.approx([1 / 16] * 16, abs=0.005)


def test_gradients_go_where_values_went():
    torch.manual_seed(0)
    x = torch.randn(7, 5, requires_grad=True)
    out = dropout(x, 0.3, True)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad * x.detach(), out.detach())


def test_the_generator_decides_and_another_seed_decides_otherwise():
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(dropout(torch.ones(64), 0.5, True))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_nothing_is_dropped_and_nothing_drawn_outside_training_or_with_probability_0():
    x = torch.randn(3)
    state = torch.get_rng_state()
    assert Dropout(0.5).eval()(x) is x
    assert dropout(x, 0.0, True) is x
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(dropout(x, 1.0, True), torch.zeros(3))
