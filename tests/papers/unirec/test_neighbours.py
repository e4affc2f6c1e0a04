"""The neighbour table against the formula written out, and that it looks at train events alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.splits import leave_one_out
from paperround.papers.unirec.neighbours import ItemNeighbours
from paperround.papers.unirec.uniformity import rarity


def by_the_formula(log, timed=True):
    """Score(i, j) of every pair, by loops."""
    taken = {}
    for user, item, time in zip(log.user, log.item, log.time, strict=True):
        taken.setdefault(int(user), {}).setdefault(int(item), float(time))
    n_users = {}
    for items in taken.values():
        for item in items:
            n_users[item] = n_users.get(item, 0) + 1
    var = rarity(log)
    scores = {}
    for i in n_users:
        for j in n_users:
            both = [u for u in taken.values() if i in u and j in u]
            if i == j or not both:
                continue
            sim = sum(1 / math.log(1 + len(u)) for u in both)
            sim /= math.sqrt(n_users[i] * n_users[j])
            gap = sum(abs(u[i] - u[j]) for u in both) / len(both)
            scores[i, j] = (
                0.4 * sim / (1 + sim)
                + (0.8 / (1 + math.log(1 + gap)) if timed else 0.0)
                + 0.5 / (1 + math.log(1 + var[j]))
            )
    return scores


events = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 8), st.integers(0, 500)), min_size=1, max_size=40
)


@settings(deadline=None)
@given(events)
def test_scores_are_the_formulas_and_the_best_come_first(rows):
    log = build_log(*zip(*rows, strict=True))
    found, expected = ItemNeighbours.fit(log, k=3), by_the_formula(log)
    for i in range(1, log.n_items + 1):
        best = sorted((s for (a, _), s in expected.items() if a == i), reverse=True)[:3]
        n = len(best)
        np.testing.assert_allclose(found.scores[i, :n], best)
        for place in range(n):
            j = int(found.table[i, place])
            assert expected[i, j] == pytest.approx(found.scores[i, place])
        # Itself, and only itself, stands where there is no neighbour.
        assert (found.table[i, n:] == i).all()
        assert (found.scores[i, n:] == 0).all()
        assert i not in found.table[i, :n]


def test_the_similarity_alone_is_symmetric():
    # Without times, and with all items equally frequent, nothing else tells i, j from j, i.
    log = build_log([0, 0, 1, 1, 2, 2], list("abbcca"))
    found = ItemNeighbours.fit(log, k=2)
    score = {
        (i, int(j)): s
        for i in range(1, 4)
        for j, s in zip(found.table[i], found.scores[i], strict=True)
    }
    assert len(score) == 6
    for (i, j), s in score.items():
        assert s == pytest.approx(score[j, i])
    sim = 1 / math.log(3) / 2
    assert score[1, 2] == pytest.approx(0.4 * sim / (1 + sim) + 0.5)


def test_what_a_user_does_last_changes_nothing_in_training():
    rows = [(user, (user * 3 + step) % 11, 10 * step) for user in range(8) for step in range(6)]
    log = build_log(*zip(*rows, strict=True))
    rows[5] = (0, rows[20][1], 1_000)
    other = build_log(*zip(*rows, strict=True))
    first = ItemNeighbours.fit(leave_one_out(log).train)
    second = ItemNeighbours.fit(leave_one_out(other).train)
    ours = {
        log.item_ids[i - 1]: [log.item_ids[j - 1] for j in first.table[i]] for i in range(1, 12)
    }
    theirs = {
        other.item_ids[i - 1]: [other.item_ids[j - 1] for j in second.table[i]]
        for i in range(1, 12)
    }
    assert ours == theirs


def test_of_a_long_history_the_newest_events_count():
    log = build_log([0] * 6, list("abcdef"), range(6))
    found = ItemNeighbours.fit(log, k=5, max_history=3)
    assert (found.table[1] == 1).all()
    assert set(found.table[6].tolist()) == {4, 5, 6}


def test_draws_are_of_the_table_and_follow_the_generator():
    log = build_log([0] * 6 + [1] * 6, [*range(6), *range(5, -1, -1)])
    found = ItemNeighbours.fit(log, k=5)
    items = torch.tensor([1, 2, 6])
    drawn = [found.draw(items, 3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    for item, row in zip(items.tolist(), drawn[0].tolist(), strict=True):
        assert len(set(row)) == 3
        assert set(row) <= set(found.table[item].tolist())
    assert found.draw(items, 9, torch.Generator()).shape == (3, 5)


def test_numbers_that_make_no_sense_are_refused():
    log = build_log([0, 0], [1, 2])
    with pytest.raises(UsageError, match="at least 1"):
        ItemNeighbours.fit(log, k=0)
