"""What must hold exactly: the method's functions against examples worked out by hand."""

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from paperround.kit.recommendation.encoders import SASRec
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.models import AbstractSequenceEncoder
from paperround.kit.recommendation.objectives import next_items
from paperround.kit.recommendation.samples import Batch, SequenceDataset
from paperround.kit.recommendation.splits import Split, leave_one_out
from paperround.kit.recommendation.training import Trainer, TrainingPlan
from paperround.papers.unirec.admix import AdmixAttention
from paperround.papers.unirec.enhancements import (
    Curriculum,
    KeepFrequent,
    SequenceUniformityLoss,
    UniRec,
)
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.time_encoding import calendar_fields, interval_hours
from paperround.papers.unirec.uniformity import gap_variance, rarity, uniformity_split

_HOUR, _DAY = 3_600.0, 86_400.0


def differences(split: Split, seed: int) -> Mapping[str, float]:
    """The largest absolute difference of each check, by what it checks; 0 or nearly so."""
    return {
        "variances of gaps": _variances(),
        "curricula at epochs 0, 100, 220": _curricula(),
        "the sub-sequence of a history": _sub_sequence(),
        "a score between neighbours": _neighbours(),
        "calendar and intervals": _times(),
        "neighbours without the test's events": _no_leak(split),
        "mixed attention that selects the items' map": _selected_map(seed),
        "causality of both halves": _causality(seed),
        "nothing dropped, nothing to agree on": _nothing_dropped(split, seed),
        "training without the losses": _switched_off(split, seed),
    }


def _variances() -> float:
    # Gaps of 1 and 3 s: variance 2. Of 4, 4, 4: none, and uniform.
    log = build_log([0] * 3 + [1] * 4, [1, 2, 3, 1, 2, 3, 4], [0, 1, 4, 10, 14, 18, 22])
    flagged = uniformity_split(log, 0.5)
    return _far(gap_variance(log), [2.0, 0.0]) + _far(flagged, [False, True])


def _curricula() -> float:
    curriculum, rare = Curriculum(), torch.tensor([0.0, 100.0])
    lengths = torch.tensor([3, 53])
    return max(
        _far([curriculum.tail(e) for e in (0, 110, 220)], [0.0, math.sqrt(0.5), 1.0]),
        _far(curriculum.sequence(100, lengths), [0.0, 1.0]),
        _far(curriculum.sequence(220, lengths), [1.0, 0.0]),
        _far(curriculum.head(0, rare), [math.sin(math.pi / 12), 0.0]),
        _far(curriculum.head(220, rare), [0.0, 1.0]),
    )


def _sub_sequence() -> float:
    keep = np.zeros(10, dtype=bool)
    keep[[1, 3]] = True
    items = torch.tensor([[1, 2, 3, 4, 5], [2, 7, 0, 0, 0]])
    kept, times = KeepFrequent(keep)(items, items.double() * 10)
    assert times is not None
    expected = np.array([[1, 3, 4, 5, 0], [2, 7, 0, 0, 0]])
    return _far(kept, expected) + _far(times, expected * 10)


def _neighbours() -> float:
    # Items 1 and 2 share one user of two items, 99 s apart; both occur once, so neither is rare.
    log = build_log(["a", "a"], ["x", "y"], [0.0, 99.0])
    similarity = 1 / math.log(3)
    score = 0.4 * similarity / (1 + similarity) + 0.8 / (1 + math.log(100)) + 0.5
    found = ItemNeighbours.fit(log, k=2)
    return max(
        _far(found.scores[1], [score, 0.0]),
        _far(found.table[1:], [[2, 1], [1, 2]]),
        _far(rarity(log)[1:], [0.0, 0.0]),
    )


def _times() -> float:
    # 29 February 2024, 13:20 UTC: a Thursday, day 60, week 9. 1 January 2021: week 53 of 2020.
    moments = torch.tensor([1_709_212_800.0, 1_609_459_200.0], dtype=torch.float64)
    expected = [[2024, 2, 29, 3, 60, 9, 13], [2021, 1, 1, 4, 1, 53, 0]]
    gaps = torch.tensor([0.0, 2.5 * _HOUR, 500 * _DAY], dtype=torch.float64)
    return max(_far(calendar_fields(moments), expected), _far(interval_hours(gaps), [0, 2, 8_760]))


def _no_leak(split: Split) -> float:
    """The table of train events, and the same where every test event is another item."""
    log = split.test.log
    item = log.item.copy()
    item[split.test.target] = item[split.test.target] % log.n_items + 1
    other = leave_one_out(replace(log, item=item)).train
    return _far(ItemNeighbours.fit(split.train).table, ItemNeighbours.fit(other).table)


def _selected_map(seed: int) -> float:
    torch.manual_seed(seed)
    attention = AdmixAttention(6, 4, heads=1).double().eval()
    with torch.no_grad():
        attention.mix[0].weight.copy_(torch.tensor([[1.0, 0.0]]))
        attention.mix[0].bias.fill_(100.0)
        attention.mix[2].weight.fill_(1.0)
        attention.mix[2].bias.fill_(-100.0)
        x = torch.randn(3, 9, 10, dtype=torch.float64)
        plain = functional.scaled_dot_product_attention(
            attention.query_item(x[..., :6]),
            attention.key_item(x[..., :6]),
            attention.value(x),
            is_causal=True,
        )
        return _far(attention(x, x), plain)


def _causality(seed: int) -> float:
    torch.manual_seed(seed)
    attention = AdmixAttention(6, 4, heads=2).eval()
    far = 0.0
    with torch.no_grad():
        x = torch.randn(2, 7, 10)
        for half in (slice(0, 6), slice(6, 10)):
            other = x.clone()
            other[:, 4:, half] += 1.0
            far = max(far, _far(attention(x, x)[:, :4], attention(other, other)[:, :4]))
    return far


def _nothing_dropped(split: Split, seed: int) -> float:
    encoder = _small(split, seed).eval()
    n_items = split.train.n_items
    loss = SequenceUniformityLoss(
        encoder.d_model,
        np.ones(split.train.n_users, dtype=bool),
        KeepFrequent(np.ones(n_items + 1, dtype=bool)),
        curriculum=Curriculum(constant=1.0),
    )
    batch = _first_batch(split)
    with torch.no_grad():
        return float(loss(encoder, batch, torch.Generator().manual_seed(seed)))


def _switched_off(split: Split, seed: int) -> float:
    """Two epochs of the base, and of the base inside UniRec without a loss: the same weights."""
    some = np.unique(split.train.user)[:40]
    log = split.train.select(np.isin(split.train.user, some))
    plan = TrainingPlan(epochs=2, batch_size=16)
    data = SequenceDataset(log, "windows", 10, shift=True)
    plain, inside = _small(split, seed), _small(split, seed)
    for model in (plain, UniRec(inside)):
        Trainer(model, data, None, next_items(), plan, seed=seed).fit()
    ours, theirs = plain.state_dict(), inside.state_dict()
    return max(_far(ours[name], theirs[name]) for name in ours)


def _small(split: Split, seed: int) -> AbstractSequenceEncoder:
    torch.manual_seed(seed)
    return SASRec(split.train.n_items, d_model=8, n_layers=1, max_len=10, dropout=0.2)


def _first_batch(split: Split) -> Batch:
    return next(SequenceDataset(split.train, "windows", 10).batches(32, seed=None))


def _far(found: object, expected: object) -> float:
    first, second = (
        np.asarray(x.detach() if isinstance(x, Tensor) else x, dtype=np.float64)
        for x in (found, expected)
    )
    return float(np.abs(first - second).max())
