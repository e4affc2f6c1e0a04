"""The encoders that know times, and the paper's own backbone, against what they must reduce to."""

import pytest
import torch
from torch.nn import functional

from paperround.errors import UsageError
from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.samples import Batch
from paperround.papers.unirec.admix import AdmixAttention, AdmixEncoder, admix_bce
from paperround.papers.unirec.baselines import IntervalBias
from paperround.papers.unirec.timed import TimeAware

N_ITEMS, MAX_LEN, HOUR = 20, 7, 3_600.0


def a_sasrec(**options):
    return SASRec(N_ITEMS, d_model=16, max_len=MAX_LEN, **{"dropout": 0.0, **options})


def made(build, seed=0, size=0.3):
    """A model in evaluation mode whose weights are large enough to matter."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += size * torch.randn_like(parameter)
    return model.eval()


MODELS = {
    "both": lambda: TimeAware(a_sasrec()),
    "interval": lambda: TimeAware(a_sasrec(), ("interval",)),
    "calendar": lambda: TimeAware(a_sasrec(), ("calendar",)),
    "admix": lambda: AdmixEncoder(N_ITEMS, d_model=8, max_len=MAX_LEN, dropout=0.0),
    "bias": lambda: IntervalBias(a_sasrec()),
}
every_model = pytest.mark.parametrize("name", MODELS)


def histories(batch=3, length=MAX_LEN, seed=0):
    generator = torch.Generator().manual_seed(seed)
    items = torch.randint(1, N_ITEMS + 1, (batch, length), generator=generator)
    gaps = torch.randint(0, 60, (batch, length), generator=generator).double() * HOUR
    return items, 1e9 + gaps.cumsum(dim=1)


@every_model
def test_what_comes_later_changes_nothing_before(name):
    model = made(MODELS[name])
    items, times = histories()
    before = model(items, times)
    for changed, when in (
        (torch.cat([items[:, :4], items[:, 4:] % N_ITEMS + 1], dim=1), times),
        (items, torch.cat([times[:, :4], times[:, 4:] + 777 * HOUR], dim=1)),
    ):
        after = model(changed, when)
        torch.testing.assert_close(after[:, :4], before[:, :4], atol=1e-5, rtol=1e-5)
        assert not torch.allclose(after[:, 5], before[:, 5], atol=1e-3)


@every_model
def test_padding_changes_nothing(name):
    model = made(MODELS[name])
    items, times = histories(length=4)
    wide = functional.pad(items, (0, 3)), functional.pad(times, (0, 3))
    torch.testing.assert_close(
        model.score_batch(items, times), model.score_batch(*wide), atol=1e-5, rtol=1e-5
    )
    assert torch.isfinite(model.score_batch(items[:, :1] * 0, times[:, :1] * 0)[:, 1:]).all()


@every_model
def test_a_batch_of_one_is_one_of_a_batch(name):
    model = made(MODELS[name])
    items, times = histories()
    torch.testing.assert_close(
        model.score_batch(items[1:2], times[1:2]),
        model.score_batch(items, times)[1:2],
        atol=1e-5,
        rtol=1e-5,
    )


@every_model
def test_times_are_needed_and_said_to_be(name):
    model = made(MODELS[name])
    assert model.needs_times
    with pytest.raises(UsageError, match="needs the times"):
        model.score_batch(histories()[0])


@pytest.mark.parametrize("name", ["interval", "bias"])
def test_what_knows_intervals_alone_does_not_know_the_date(name):
    model = made(MODELS[name])
    items, times = histories()
    torch.testing.assert_close(
        model.score_batch(items, times), model.score_batch(items, times + 3e7), atol=1e-5, rtol=1e-5
    )
    calendar = made(MODELS["calendar"])
    assert not torch.allclose(
        calendar.score_batch(items, times)[:, 1:], calendar.score_batch(items, times + 3e7)[:, 1:]
    )


def test_contexts_of_nothing_leave_the_encoder_as_it_was():
    base = made(a_sasrec)
    model = TimeAware(base)
    with torch.no_grad():
        for parameter in model.encodings.parameters():
            parameter.zero_()
    items, times = histories()
    torch.testing.assert_close(model.eval()(items, times), base(items), atol=1e-6, rtol=1e-6)
    bias = IntervalBias(base).eval()
    torch.testing.assert_close(bias(items, times), base(items), atol=1e-5, rtol=1e-5)


def test_the_two_passes_are_those_of_one_context_each():
    base = made(a_sasrec)
    both = TimeAware(base).eval()
    items, times = histories()
    alone = []
    for name in ("calendar", "interval"):
        one = TimeAware(base, (name,)).eval()
        one.encodings[name] = both.encodings[name]
        alone.append(one(items, times))
    torch.testing.assert_close(both(items, times), sum(alone) / 2, atol=1e-6, rtol=1e-5)


def test_attention_that_mixes_the_items_map_alone_is_causal_attention():
    torch.manual_seed(0)
    attention = AdmixAttention(6, 4, heads=1).double().eval()
    with torch.no_grad():
        attention.sigma.zero_()
        # ReLU passes what a large bias keeps positive: out comes the items' map.
        attention.mix[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        attention.mix[0].bias.fill_(100.0)
        attention.mix[2].weight.fill_(1.0)
        attention.mix[2].bias.fill_(-100.0)
    x = torch.randn(2, 5, 10, dtype=torch.float64)
    expected = functional.scaled_dot_product_attention(
        attention.query_item(x[..., :6]),
        attention.key_item(x[..., :6]),
        attention.value(x),
        is_causal=True,
    )
    torch.testing.assert_close(attention(x, x), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("half", ["items", "context"])
def test_both_halves_of_the_attention_are_causal(half):
    torch.manual_seed(0)
    attention = AdmixAttention(6, 4, heads=2).eval()
    x = torch.randn(1, 5, 10)
    changed = x.clone()
    where = slice(0, 6) if half == "items" else slice(6, 10)
    changed[:, 3:, where] += 5.0
    before, after = attention(x, x), attention(changed, changed)
    torch.testing.assert_close(before[:, :3], after[:, :3])
    assert not torch.allclose(before[:, 4], after[:, 4])


def test_noise_is_of_training_alone_and_its_size_is_learned():
    torch.manual_seed(0)
    attention = AdmixAttention(6, 4, heads=2, sigma=1.0)
    x = torch.randn(1, 5, 10)
    assert torch.equal(attention.eval()(x, x), attention(x, x))
    first, second = attention.train()(x, x), attention(x, x)
    assert not torch.equal(first, second)
    first.square().sum().backward()
    assert attention.sigma.grad.abs().min() > 0


def test_the_score_is_both_passes_and_what_the_items_say_together():
    model = made(MODELS["admix"])
    items, times = histories(batch=1)
    table = model.item_embeddings()
    scores = model.score_batch(items, times)[0]
    passes = model.branches(items, times)
    j = 5
    together = sum(table[i] @ table[j] for i in items[0]) / MAX_LEN**0.5
    expected = sum(state[0, -1, :8] @ table[j] for state in passes.values()) + 0.1 * together
    torch.testing.assert_close(scores[j], expected, atol=1e-4, rtol=1e-4)


def test_the_time_of_a_candidate_changes_no_ranking():
    model = made(MODELS["admix"])
    items, times = histories()
    scores = model.score_batch(items, times)
    moment = times[:, -1:] + 5 * HOUR
    context = model.encodings["calendar"](moment)[:, 0]
    added = (model.branches(items, times)["calendar"][:, -1, 8:] * context).sum(dim=-1)
    assert added.abs().min() > 1e-3
    order = (scores + added[:, None])[:, 1:].argsort(dim=1)
    assert torch.equal(order, scores[:, 1:].argsort(dim=1))


def test_the_papers_loss_is_the_formula():
    model = made(MODELS["admix"])
    items, times = histories()
    targets = items % N_ITEMS + 1
    batch = Batch(items, targets, torch.arange(3), times, times + 9 * HOUR)
    negative = torch.randint(
        1, N_ITEMS + 1, (targets.numel(),), generator=torch.Generator().manual_seed(4)
    ).view_as(targets)
    table = model.item_embeddings()

    def bce(states, context):
        score = (states * table[targets]).sum(-1) + context
        other = (states * table[negative]).sum(-1) + context
        return -(torch.sigmoid(score).log() + torch.sigmoid(-other).log()).mean()

    passes = model.branches(items, times)
    hours = torch.full_like(times, 9)
    moments = {
        "target": {
            "calendar": model.encodings["calendar"](times + 9 * HOUR),
            "interval": model.encodings["interval"].rows(hours.long()),
        },
        "now": {name: encoding(times) for name, encoding in model.encodings.items()},
    }
    for moment, contexts in moments.items():
        expected = 0.1 * bce(model.together(items), 0.0)
        for name, states in passes.items():
            context = (states[..., 8:] * contexts[name]).sum(-1)
            expected = expected + bce(states[..., :8], context)
        found = admix_bce(moment)(model, batch, torch.Generator().manual_seed(4))
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    without = 0.1 * bce(model.together(items), 0.0) + sum(
        bce(states[..., :8], 0.0) for states in passes.values()
    )
    found = admix_bce(None)(model, batch, torch.Generator().manual_seed(4))
    torch.testing.assert_close(found, without, atol=1e-4, rtol=1e-4)


def test_what_makes_no_sense_is_refused():
    for call, said in (
        (lambda: TimeAware(a_sasrec(), ()), "contexts are some of"),
        (lambda: TimeAware(a_sasrec(), ("moon",)), "contexts are some of"),
        (lambda: TimeAware(a_sasrec(padding="left")), "padded on the right"),
        (lambda: IntervalBias(a_sasrec(causal=False)), "a causal encoder"),
        (lambda: AdmixAttention(6, 3, heads=2), "cannot be shared by 2 heads"),
        (lambda: admix_bce("later"), "no candidate time 'later'"),
    ):
        with pytest.raises(UsageError, match=said):
            call()
