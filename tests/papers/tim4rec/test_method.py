"""TiM4Rec: both variants, row by row and event by event, and what each may know."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from paperround.errors import UsageError
from paperround.papers.tim4rec import Mamba2Mixer, TimeAwareSSDRecommender, TimeModulation
from paperround.papers.tim4rec.mixer import CausalConv
from paperround.papers.tim4rec.modulation import gaps_of

N_ITEMS, MAX_LEN = 20, 12


def a_model(seed=0, noise=0.2, **options):
    """A small model in evaluation mode whose weights are large enough to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings_ = {"d_model": 8, "head_dim": 8, "d_state": 4, "max_len": MAX_LEN} | options
        model = TimeAwareSSDRecommender(N_ITEMS, **settings_)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += noise * torch.randn_like(parameter)
            model.items.weight[0] = 0.0
    return model.eval()


def histories(lengths=(12, 5, 1), seed=0, width=MAX_LEN):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, N_ITEMS + 1, (len(lengths), width), generator=generator)
    gaps = torch.rand(len(lengths), width, generator=generator, dtype=torch.float64) * 10
    times = 1.3e9 + gaps.exp().round().cumsum(dim=1)
    real = torch.arange(width) < torch.tensor(lengths)[:, None]
    return items * real, times * real


def one_by_one(model, items, times):
    state, hidden = model.start(len(items)), []
    for place in range(items.shape[1]):
        now = None if times is None else times[:, place]
        states, state = model.step(items[:, place], now, state)
        hidden.append(states)
    return torch.stack(hidden, dim=1)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 40),
    st.sampled_from([1, 4, 32]),
    st.booleans(),
    st.integers(1, 3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 100),
)
def test_event_by_event_is_the_whole_row(length, chunk_size, is_time, n_layers, p2p, ffn, seed):
    model = a_model(
        seed, chunk_size=chunk_size, is_time=is_time, n_layers=n_layers, p2p=p2p, ffn=ffn
    )
    items, times = histories((length, length), seed, width=length)
    with torch.no_grad():
        torch.testing.assert_close(
            one_by_one(model, items, times), model(items, times), atol=1e-4, rtol=1e-4
        )


def test_event_by_event_is_the_whole_row_in_double_precision():
    model = a_model().double()
    items, times = histories((40, 40), width=40)
    with torch.no_grad():
        torch.testing.assert_close(
            one_by_one(model, items, times), model(items, times), atol=1e-9, rtol=1e-9
        )


@pytest.mark.parametrize("options", [{}, {"is_time": False}, {"n_layers": 1}])
@pytest.mark.parametrize("k", [0, 4, 10])
def test_what_comes_later_changes_no_earlier_state(options, k):
    model = a_model(**options)
    items, times = histories((12, 12))
    later_items, later_times = items.clone(), times.clone()
    later_items[:, k + 1 :] = later_items[:, k + 1 :] % N_ITEMS + 1
    later_times[:, k + 1 :] += 1e6
    with torch.no_grad():
        before, after = model(items, times), model(later_items, later_times)
    torch.testing.assert_close(before[:, : k + 1], after[:, : k + 1], atol=1e-6, rtol=0)
    assert (before[:, k + 1 :] - after[:, k + 1 :]).abs().max() > 1e-3


def test_a_gap_changes_the_states_after_it():
    for variant in ("causal", "paper"):
        model = a_model(variant=variant, noise=0.6)
        items, times = histories((12, 12))
        later = times.clone()
        later[:, 8:] += 1e6
        with torch.no_grad():
            assert (model(items, times)[:, 8:] - model(items, later)[:, 8:]).abs().max() > 1e-3


def test_the_papers_branch_lets_a_later_gap_into_earlier_states_and_says_so():
    model = a_model(variant="paper", noise=0.6)
    items, times = histories((12, 12))
    later = times.clone()
    later[:, 8:] += 1e6
    with torch.no_grad():
        moved = (model(items, times)[:, :8] - model(items, later)[:, :8]).abs().max()
    assert moved > 1e-4
    assert not model.causal
    with pytest.raises(UsageError, match="no recurrent form"):
        model.start(1)


def test_a_factor_of_one_everywhere_is_the_model_without_time():
    class Ones(nn.Module):
        def forward(self, T):
            return torch.ones_like(T), T

    for variant in ("causal", "paper"):
        model, plain = a_model(variant=variant), a_model(is_time=False)
        for layer, other in zip(model.layers, plain.layers, strict=True):
            layer.modulation = Ones()
            other.load_state_dict(layer.state_dict())
        plain.items.load_state_dict(model.items.state_dict())
        plain.input_norm.load_state_dict(model.input_norm.state_dict())
        items, times = histories()
        assert torch.equal(model(items, times), plain(items))


@pytest.mark.parametrize("seed", [0, 7])
def test_with_one_seed_the_model_without_time_has_the_same_weights(seed):
    states = []
    for is_time in (True, False):
        torch.manual_seed(seed)
        states.append(TimeAwareSSDRecommender(N_ITEMS, is_time=is_time).state_dict())
    assert states[1].keys() < states[0].keys()
    assert all(torch.equal(states[0][name], value) for name, value in states[1].items())


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["causal", "paper"]), st.integers(-(10**8), 10**9), st.integers(0, 50))
def test_moving_all_times_changes_nothing(variant, by, seed):
    model = a_model(variant=variant)
    items, times = histories(seed=seed)
    moved = torch.where(items != 0, times + by, 0.0)
    with torch.no_grad():
        torch.testing.assert_close(model(items, times), model(items, moved), atol=1e-5, rtol=1e-5)


@settings(max_examples=25, deadline=None)
@given(st.floats(0.5, 1000), st.integers(0, 50))
def test_stretching_all_gaps_leaves_the_papers_time_input(by, seed):
    model = a_model(variant="paper")
    items, times = histories((12, 7), seed)
    stretched = torch.where(items != 0, times[:, :1] + by * (times - times[:, :1]), 0.0)
    torch.testing.assert_close(
        model.time_input(items, times), model.time_input(items, stretched), atol=1e-4, rtol=1e-4
    )


def test_how_wide_a_row_is_padded_means_nothing_to_the_causal_variant():
    model = a_model()
    items, times = histories((5, 3))
    with torch.no_grad():
        whole = model.last_hidden(items, times)
        torch.testing.assert_close(whole, model.last_hidden(items[:, :5], times[:, :5]))
        longer = a_model(max_len=2 * MAX_LEN)
        torch.testing.assert_close(whole, longer.last_hidden(items, times))


def test_the_papers_variant_depends_on_max_len_and_not_on_the_width_of_a_batch():
    model = a_model(variant="paper")
    items, times = histories((5, 3))
    with torch.no_grad():
        whole = model.last_hidden(items, times)
        torch.testing.assert_close(whole, model.last_hidden(items[:, :5], times[:, :5]))
    # The norm alone: the same gaps beside more zeros are other numbers.
    wider = a_model(variant="paper", max_len=2 * MAX_LEN)
    for each in (model, wider):
        each.time_input.norm.reset_parameters()
    narrow = model.time_input(items, times)[:, :5]
    with torch.no_grad():
        T = wider.time_input(*(nn.functional.pad(t, (0, MAX_LEN)) for t in (items, times)))
    assert (narrow - T[:, :5]).abs().max() > 0.1
    with pytest.raises(UsageError, match="rows of at most 12"):
        model(*histories((13,), width=13))


def test_with_raw_pads_the_papers_time_input_says_little_but_the_length():
    model = a_model(variant="paper", raw_pads=True)
    model.time_input.norm.reset_parameters()
    (items, times), (_, other) = histories((6,), 0), histories((6,), 1)
    one, two = model.time_input(items, times), model.time_input(items, other)
    assert (one - two).abs().max() < 0.01
    model.time_input.raw_pads = False
    assert (model.time_input(items, times) - model.time_input(items, other)).abs().max() > 0.1


def test_one_time_for_all_events_is_the_norms_bias():
    model = a_model(variant="paper")
    items, times = histories((6, 3))
    same = torch.where(items != 0, times[:, :1], 0.0)
    T = model.time_input(items, same)
    torch.testing.assert_close(T, model.time_input.norm.bias[:, None].expand_as(T))


def test_gaps_of_a_second_survive_times_of_today():
    items = torch.tensor([[1, 2, 3, 0]])
    times = torch.tensor([[1_700_000_000.0, 1_700_000_001.0, 1_700_000_003.0, 0.0]]).double()
    times[0, :3] = 1_700_000_000 + torch.tensor([0.0, 1.0, 3.0]).double()
    assert gaps_of(items, times).tolist() == [[0.0, 1.0, 2.0, 0.0]]
    assert gaps_of(items, times, raw_pads=True)[0, 3] < -1e9


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 12), st.integers(0, 11))
def test_an_output_of_the_convolution_sees_its_kernels_length_and_no_more(k, length, at):
    torch.manual_seed(0)
    conv = CausalConv(3, k).double()
    x = torch.randn(1, length, 3).double()
    at = min(at, length - 1)
    moved = x.clone()
    moved[:, at] += 1
    changed = (conv(x) - conv(moved)).abs().amax(dim=(0, 2)) > 1e-12
    expected = [at <= t < at + k for t in range(length)]
    assert changed.tolist() == expected


def test_other_item_numbers_are_the_same_scores_elsewhere():
    model, items_and_times = a_model(), histories()
    items, times = items_and_times
    order = torch.randperm(N_ITEMS, generator=torch.Generator().manual_seed(1)) + 1
    code = torch.cat([torch.zeros(1, dtype=torch.long), order])
    other = a_model()
    with torch.no_grad():
        other.items.weight[code] = model.items.weight.clone()
    torch.testing.assert_close(
        other.score_batch(code[items], times)[:, code], model.score_batch(items, times)
    )


def test_a_row_in_a_batch_is_the_row_alone():
    for variant in ("causal", "paper"):
        model = a_model(variant=variant)
        items, times = histories()
        together = model.score_batch(items, times)
        for row, length in enumerate((12, 5, 1)):
            alone = model.score_batch(items[row : row + 1, :length], times[row : row + 1, :length])
            torch.testing.assert_close(together[row : row + 1], alone, atol=1e-5, rtol=1e-5)


def test_an_empty_history_and_unsorted_times_give_finite_scores():
    model = a_model()
    items, times = histories((0, 12))
    assert torch.isfinite(model.score_batch(items, times)[:, 1:]).all()
    assert torch.isfinite(model.score_batch(items, times.flip(1))[:, 1:]).all()


def test_a_model_of_one_layer_has_no_residual_around_its_mixer():
    one, two = a_model(n_layers=1), a_model(n_layers=2)
    assert [layer.residual for layer in (*one.layers, *two.layers)] == [False, True, True]
    with torch.no_grad():
        one.layers[0].mixer.out_proj.weight.zero_()
    items, times = histories((12, 12))
    hidden = one(items, times)
    assert torch.allclose(hidden, hidden[:1, :1].expand_as(hidden))


def test_kaiming_draws_the_convolutions_and_leaves_the_rest_of_their_kind():
    torch.manual_seed(0)
    model = TimeAwareSSDRecommender(N_ITEMS, kaiming=True)
    conv = model.layers[0].mixer.conv
    assert torch.equal(conv.bias, torch.zeros_like(conv.bias))
    assert float(conv.weight.detach().std()) == pytest.approx(
        (2 / conv.weight.numel()) ** 0.5, rel=0.1
    )


def test_steps_begin_between_a_thousandth_and_a_tenth_and_decays_as_mamba_2_has_them():
    mixer = Mamba2Mixer(64)
    steps = nn.functional.softplus(mixer.dt_bias)
    assert bool(((steps > 0.00099) & (steps < 0.101)).all())
    assert bool(((mixer.A_log.exp() >= 1) & (mixer.A_log.exp() <= 16)).all())
    assert (mixer.n_heads, mixer.d_inner, mixer.conv_dim) == (4, 128, 192)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: a_model(variant="linear"), "no variant 'linear'; there are causal, paper"),
        (lambda: a_model(n_layers=0), "at least one layer"),
        (lambda: a_model(head_dim=5), "16 channels cannot be parted into heads of 5"),
        (lambda: a_model(activation="gelu"), "no activation 'gelu'"),
        (lambda: a_model()(torch.ones(1, 3, dtype=torch.long)), "needs the times of events"),
        (lambda: TimeModulation(4, 2, variant="x"), "no variant 'x'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make, said):
    with pytest.raises(UsageError, match=said):
        make()
