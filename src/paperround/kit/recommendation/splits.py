"""What is trained on, what is chosen by, what is tested: two protocols.

Leave-one-out is the field's habit. It leaks the global future: other users' training events may be
later than a user's test event. Where times are absolute, `temporal_split` does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError
from paperround.kit.recommendation.interactions import PAD, Floats, InteractionLog, Ints


@dataclass(frozen=True)
class HistoryBatch:
    """Histories of a few cases, newest `max_len` events, padded on the right with 0.

    `items` is (batch, length), `times` the same or None, `target` (batch,), `rows` the numbers of
    the cases. `seen` holds, per case, every item of the whole history, however long.
    """

    items: Ints
    times: Floats | None
    target: Ints
    rows: Ints
    seen: list[Ints]


@dataclass(frozen=True)
class Cases:
    """Events to be predicted: `target` are row numbers of `log`, ascending.

    The history of a case is everything that its user did before, in the whole log: for a test case
    that includes the validation event.
    """

    log: InteractionLog
    target: Ints

    def __len__(self) -> int:
        return len(self.target)

    @property
    def users(self) -> Ints:
        """(cases,): whose events they are."""
        return self.log.user[self.target]

    @property
    def items(self) -> Ints:
        """(cases,): the items to be predicted."""
        return self.log.item[self.target]

    @property
    def history_lengths(self) -> Ints:
        """(cases,): how many events stand before the target."""
        return self.target - self.log.offsets[self.users]

    def select(self, rows: NDArray[Any]) -> "Cases":
        """The cases that a mask or numbers name."""
        return Cases(self.log, self.target[rows])

    def batches(self, batch_size: int, max_len: int) -> Iterator[HistoryBatch]:
        """All cases in order, the last batch included, each as wide as its longest history."""
        for start in range(0, len(self), batch_size):
            rows = np.arange(start, min(start + batch_size, len(self)))
            targets = self.target[rows]
            first = self.log.offsets[self.log.user[targets]]
            yield HistoryBatch(
                *padded(self.log, np.maximum(first, targets - max_len), targets),
                target=self.log.item[targets],
                rows=rows,
                seen=[self.log.item[a:b] for a, b in zip(first, targets, strict=True)],
            )


@dataclass(frozen=True)
class Split:
    """Three parts of one log; `protocol` says how they were cut, in words for a table."""

    protocol: str
    train: InteractionLog
    valid: Cases
    test: Cases


def padded(
    log: InteractionLog, start: Ints, stop: Ints, side: str = "right"
) -> tuple[Ints, Floats | None]:
    """Items (rows, longest) of the ranges start:stop of the log, PAD where there is none; times.

    Times are 0 on padding. The width is at least 1, so that an empty history is a row of padding.
    """
    lengths = stop - start
    width = max(1, int(lengths.max(initial=0)))
    column = np.arange(width)
    if side == "right":
        place = start[:, None] + column
        real = column < lengths[:, None]
    else:
        place = stop[:, None] - width + column
        real = column >= width - lengths[:, None]
    place = np.where(real, place, 0)
    items = np.where(real, log.item[place], PAD)
    return items, None if log.time is None else np.where(real, log.time[place], 0.0)


def leave_one_out(log: InteractionLog, *, not_validated: Ints | None = None) -> Split:
    """The last event of each user is its test, the one before its validation, the rest trains.

    Users with fewer than three events only train. `not_validated` names users (codes) whose
    second-last event does not count (it trains no model, and validates none).
    """
    lengths = np.diff(log.offsets)
    tested = np.flatnonzero(lengths >= 3)
    last = log.offsets[tested + 1] - 1
    validated = tested if not_validated is None else np.setdiff1d(tested, not_validated)
    mask = np.ones(len(log), dtype=bool)
    mask[last] = False
    mask[last - 1] = False
    return Split(
        protocol="leave-one-out",
        train=log.select(mask),
        valid=Cases(log, log.offsets[validated + 1] - 2),
        test=Cases(log, last),
    )


def last_events(log: InteractionLog, *, max_cases: int | None = None, seed: int = 0) -> Split:
    """Users' last events are set aside to choose by, nothing is tested: for a model to be used.

    Users with fewer than three events train in full, so that something follows something in every
    history that gives a case; `max_cases` limits how many do (drawn at random).
    """
    lengths = np.diff(log.offsets)
    chosen = np.flatnonzero(lengths >= 3)
    if max_cases is not None and len(chosen) > max_cases:
        rng = np.random.default_rng(seed)
        chosen = np.sort(rng.choice(chosen, size=max_cases, replace=False))
    last = log.offsets[chosen + 1] - 1
    mask = np.ones(len(log), dtype=bool)
    mask[last] = False
    none = Cases(log, np.array([], dtype=np.int64))
    return Split("last events set aside", log.select(mask), Cases(log, last), none)


def temporal_split(
    log: InteractionLog,
    t_valid: float,
    t_test: float,
    *,
    min_history: int = 5,
    known_items: bool = True,
) -> Split:
    """Events before `t_valid` train, those before `t_test` validate, the rest test (ReaRec).

    A case needs `min_history` events before it; with `known_items`, events on items that training
    never saw are dropped, from histories as well. Raises UsageError without absolute times.
    """
    if log.time is None or not log.time_is_absolute:
        raise UsageError("a temporal split needs absolute times, and this log has none")
    if not t_valid < t_test:
        raise UsageError(f"validation must start before the test: {t_valid} and {t_test}")
    if known_items:
        known = np.zeros(log.n_items + 1, dtype=bool)
        known[log.item[log.time < t_valid]] = True
        log = log.select(known[log.item])
    assert log.time is not None
    place = np.arange(len(log)) - log.offsets[log.user]
    enough = place >= min_history
    return Split(
        protocol="temporal",
        train=log.select(log.time < t_valid),
        valid=Cases(log, np.flatnonzero(enough & (log.time >= t_valid) & (log.time < t_test))),
        test=Cases(log, np.flatnonzero(enough & (log.time >= t_test))),
    )


def temporal_thresholds(
    log: InteractionLog, valid_share: float = 0.1, test_share: float = 0.1
) -> tuple[float, float]:
    """The times (t_valid, t_test) that leave these shares of the events after them."""
    if log.time is None:
        raise UsageError("a temporal split needs absolute times, and this log has none")
    shares = [1 - valid_share - test_share, 1 - test_share]
    t_valid, t_test = np.quantile(log.time, shares)
    return float(t_valid), float(t_test)
