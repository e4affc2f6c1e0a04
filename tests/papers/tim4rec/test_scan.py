"""The chunked scan, the structured masked matrix and the recurrence are one map, on any sizes."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers.tim4rec import (
    Mamba2Mixer,
    ssd_matrix,
    ssd_recurrence,
    ssd_recurrent_step,
    ssd_scan,
    structured_mask,
)


def terms(rows=2, length=9, groups=1, per_group=2, width=3, states=4, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    heads = groups * per_group
    return {
        "x": drawn(rows, length, heads, width),
        "dt": drawn(rows, length, heads),
        "A": -drawn(heads).exp(),
        "B": drawn(rows, length, groups, states),
        "C": drawn(rows, length, groups, states),
        "D": drawn(heads),
        "dt_bias": drawn(heads),
        "dt_softplus": True,
    }


sizes = st.fixed_dictionaries(
    {
        "rows": st.integers(1, 3),
        "length": st.sampled_from([1, 2, 5, 16, 31, 32, 33, 70]),
        "groups": st.integers(1, 2),
        "per_group": st.integers(1, 3),
        "width": st.integers(1, 4),
        "states": st.integers(1, 5),
        "seed": st.integers(0, 1000),
    }
)


@settings(max_examples=40, deadline=None)
@given(sizes, st.sampled_from([1, 3, 7, 16, 32, 64]))
def test_chunks_matrix_and_recurrence_agree_in_double_precision(size, chunk_size):
    given_terms = terms(**size)
    matrix = ssd_matrix(**given_terms)
    torch.testing.assert_close(
        ssd_scan(**given_terms, chunk_size=chunk_size), matrix, atol=1e-9, rtol=1e-9
    )
    torch.testing.assert_close(ssd_recurrence(**given_terms), matrix, atol=1e-9, rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(sizes, st.sampled_from([1, 7, 32]))
def test_chunks_matrix_and_recurrence_agree_in_single_precision(size, chunk_size):
    given_terms = terms(**size, dtype=torch.float32)
    matrix = ssd_matrix(**given_terms)
    torch.testing.assert_close(
        ssd_scan(**given_terms, chunk_size=chunk_size), matrix, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(ssd_recurrence(**given_terms), matrix, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("chunk_size", [4, 32])
def test_gradients_of_the_scan_are_those_of_the_matrix(chunk_size):
    found = []
    for way in (lambda **t: ssd_scan(**t, chunk_size=chunk_size), ssd_matrix):
        given_terms = {
            name: value.requires_grad_() if isinstance(value, torch.Tensor) else value
            for name, value in terms(length=11).items()
        }
        way(**given_terms).square().sum().backward()
        found.append({n: v.grad for n, v in given_terms.items() if isinstance(v, torch.Tensor)})
    for name, grad in found[0].items():
        torch.testing.assert_close(grad, found[1][name], atol=1e-9, rtol=1e-9, msg=name)


def test_a_scan_in_two_parts_is_one_scan():
    whole = terms(length=21)
    y, final = ssd_scan(**whole, chunk_size=8, return_final_states=True)
    along = ("x", "dt", "B", "C")
    parts = [
        {n: v[:, rows] if n in along else v for n, v in whole.items()}
        for rows in (slice(0, 13), slice(13, 21))
    ]
    first, state = ssd_scan(**parts[0], chunk_size=8, return_final_states=True)
    second, last = ssd_scan(
        **parts[1], chunk_size=8, initial_states=state, return_final_states=True
    )
    torch.testing.assert_close(torch.cat([first, second], dim=1), y)
    torch.testing.assert_close(last, final)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 3), st.integers(0, 1000))
def test_the_mask_is_lower_triangular_and_semiseparable(length, heads, seed):
    generator = torch.Generator().manual_seed(seed)
    decay = torch.rand(2, length, heads, generator=generator, dtype=torch.float64)
    mask = structured_mask(decay)
    assert torch.equal(mask, mask.tril())
    assert torch.equal(mask.diagonal(dim1=-2, dim2=-1), torch.ones(2, heads, length).double())
    for i in range(length):
        for j in range(i + 1):
            for k in range(j + 1):
                torch.testing.assert_close(mask[..., i, k], mask[..., i, j] * mask[..., j, k])


def test_the_mask_is_the_product_of_what_lies_between_worked_out_by_hand():
    mask = structured_mask(torch.tensor([0.5, 0.25, 0.1]).double().view(1, 3, 1))
    expected = [[1, 0, 0], [0.25, 1, 0], [0.025, 0.1, 1]]
    torch.testing.assert_close(mask[0, 0], torch.tensor(expected).double())


def test_one_state_worked_out_by_hand():
    # a = exp(-1 * 1); y_2 = a * 1 * 2 * 3 + 5 * 7 * 3, with C = 3 and D = 0.
    one = torch.ones(1, 2, 1, 1)
    y = ssd_scan(
        x=torch.tensor([2.0, 5.0]).view(1, 2, 1, 1),
        dt=torch.ones(1, 2, 1),
        A=-torch.ones(1),
        B=torch.tensor([1.0, 7.0]).view(1, 2, 1, 1),
        C=3 * one,
    )
    assert y.flatten().tolist() == pytest.approx([6.0, 6 * 2.718281828**-1 + 105], rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(-20, 20), st.floats(0.01, 20))
def test_a_decay_lies_between_0_and_1(dt, a):
    state = torch.ones(1, 1, 1, 1).double()
    zero = torch.zeros(1, 1, 1).double()
    _, after = ssd_recurrent_step(
        state,
        zero,
        torch.tensor([[dt]]).double(),
        torch.tensor([-a]).double(),
        zero,
        zero,
        dt_softplus=True,
    )
    assert 0 <= float(after) <= 1
    if dt * a < 30:
        assert 0 < float(after) < 1 or dt < -15


def test_a_step_of_size_0_leaves_the_state_and_a_large_one_forgets_it():
    state = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    x, B = torch.ones(2, 3, 4), torch.zeros(2, 1, 5)
    _, same = ssd_recurrent_step(state, x, torch.zeros(2, 3), -torch.ones(3), B, B)
    assert torch.equal(same, state)
    _, gone = ssd_recurrent_step(state, x, torch.full((2, 3), 200.0), -torch.ones(3), B, B)
    assert gone.abs().max() < 1e-30


def test_very_fast_decays_give_no_nan_in_values_or_gradients():
    given_terms = terms(length=70, dtype=torch.float32)
    given_terms["dt"] = (given_terms["dt"] * 300).requires_grad_()
    y = ssd_scan(**given_terms)
    y.sum().backward()
    assert torch.isfinite(y).all()
    assert torch.isfinite(given_terms["dt"].grad).all()
    torch.testing.assert_close(y, ssd_matrix(**given_terms), atol=1e-2, rtol=1e-4)


def test_a_gate_and_a_skip_per_channel_are_as_the_kernels_have_them():
    given_terms = terms()
    z = torch.randn_like(given_terms["x"])
    given_terms["D"] = torch.randn(2, 3).double()
    plain = ssd_matrix(**{**given_terms, "D": None}) + given_terms["x"] * given_terms["D"]
    torch.testing.assert_close(ssd_scan(**given_terms, z=z), plain * z * z.sigmoid())


def test_impossible_sizes_are_refused():
    with pytest.raises(UsageError, match="at least one position"):
        ssd_scan(**terms(), chunk_size=0)
    wrong = terms(groups=2)
    wrong["x"], wrong["dt"] = wrong["x"][:, :, :3], wrong["dt"][:, :, :3]
    with pytest.raises(UsageError, match="cannot share"):
        ssd_scan(**wrong)


@pytest.mark.parametrize("length", [1, 5, 40])
def test_the_mixer_is_the_slow_path_of_transformers_with_the_same_weights(length):
    from transformers import Mamba2Config
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer as Theirs

    config = Mamba2Config(
        hidden_size=16,
        num_heads=4,
        head_dim=8,
        state_size=6,
        expand=2,
        n_groups=1,
        conv_kernel=4,
        chunk_size=8,
        use_bias=True,
        hidden_act="silu",
        layer_norm_epsilon=1e-5,
        num_hidden_layers=1,
    )
    torch.manual_seed(0)
    theirs = Theirs(config, layer_idx=0).eval()
    ours = Mamba2Mixer(16, d_state=6, head_dim=8, activation="silu", chunk_size=8).eval()
    with torch.no_grad():
        for linear in ("in_proj", "out_proj"):
            getattr(ours, linear).load_state_dict(getattr(theirs, linear).state_dict())
        ours.conv.weight.copy_(theirs.conv1d.weight[:, 0])
        ours.conv.bias.copy_(theirs.conv1d.bias)
        ours.norm.copy_(theirs.norm.weight)
        for name in ("A_log", "D", "dt_bias"):
            getattr(ours, name).copy_(getattr(theirs, name))
        u = torch.randn(2, length, 16)
        torch.testing.assert_close(ours(u), theirs(u), atol=1e-4, rtol=1e-4)
