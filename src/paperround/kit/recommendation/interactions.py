"""The interaction log: who took what, in order. Everything else of this folder reads it.

Items are coded 1..n, and 0 is padding everywhere. Users are coded 0..m-1. Codes follow the first
appearance in the input, so no code says anything about order or popularity beyond that.
"""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from paperround.errors import UsageError

PAD = 0

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Duplicates = Literal["exact", "consecutive", "keep"]
TimeUnit = Literal["s", "ms", "us", "ns"]
Side = Literal["right", "left"]

_PER_SECOND: dict[TimeUnit, float] = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
# Unix seconds of 1900-01-01 and 2200-01-01: what lies outside is another unit or a slip.
EARLIEST_S, LATEST_S = -2_208_988_800.0, 7_258_118_400.0
# 2000-01-01.
_CENTURY_S = 946_684_800.0
_SHOWN_REJECTIONS = 20
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Cleaning:
    """What reading did to the rows. `rejections` names the first rejected rows and why."""

    read: int = 0
    rejected: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    rejections: tuple[str, ...] = ()

    def __str__(self) -> str:
        return (
            f"{self.read} rows read, {self.rejected} rejected, {self.duplicates} duplicates "
            f"dropped, {self.out_of_order} out of order"
        )


@dataclass(frozen=True)
class InteractionLog:
    """Events sorted by user, then time, then the row they came in: three columns of one length.

    `user` holds codes 0..n_users-1 and is ascending, `item` codes 1..n_items, `time` Unix seconds
    or None where the input had none and its order counts. `user_ids[u]` and `item_ids[i - 1]` are
    the caller's ids. `time_is_absolute` is False where only the gaps of one user mean something.
    """

    user: Ints
    item: Ints
    time: Floats | None
    user_ids: Sequence[Hashable]
    item_ids: Sequence[Hashable]
    time_is_absolute: bool = True
    cleaning: Cleaning = field(default_factory=Cleaning)

    @property
    def n_users(self) -> int:
        """How many users there are ids for; after a selection some may have no events."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """How many items there are ids for: the size of the catalogue."""
        return len(self.item_ids)

    def __len__(self) -> int:
        return len(self.item)

    @cached_property
    def offsets(self) -> Ints:
        """(n_users + 1,): the events of user u stand at offsets[u]:offsets[u + 1]."""
        counts = np.bincount(self.user, minlength=self.n_users)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @cached_property
    def item_counts(self) -> Ints:
        """(n_items + 1,): events per item code; that of padding is 0."""
        return np.bincount(self.item, minlength=self.n_items + 1).astype(np.int64)

    def sequence(self, user: int) -> Ints:
        """The items of a user, oldest first."""
        return self.item[self.offsets[user] : self.offsets[user + 1]]

    def times(self, user: int) -> Floats | None:
        """The times of a user's events, or None where the log has none."""
        if self.time is None:
            return None
        return self.time[self.offsets[user] : self.offsets[user + 1]]

    def select(self, rows: NDArray[Any]) -> "InteractionLog":
        """The events that a mask (or ascending row numbers) names, with the same codes and ids."""
        return replace(
            self,
            user=self.user[rows],
            item=self.item[rows],
            time=None if self.time is None else self.time[rows],
        )

    def tied_share(self) -> float:
        """The share of a user's transitions between events of the very same time, 0..1.

        The order inside a tie is the input's and may mean nothing; a next item inside a tie is
        noise. Without times nothing is known to be tied.
        """
        inside = self.user[1:] == self.user[:-1]
        if self.time is None or not inside.any():
            return 0.0
        return float((np.diff(self.time)[inside] == 0).mean())


def build_log(
    users: Iterable[Any],
    items: Iterable[Any],
    times: Iterable[Any] | None = None,
    *,
    duplicates: Duplicates = "exact",
    time_unit: TimeUnit = "s",
    time_is_absolute: bool = True,
    first_row: int = 1,
) -> InteractionLog:
    """The log of three columns, sorted stably by user and time; rows in the input's own order else.

    Ids may be anything hashable. Times are numbers in `time_unit`, ISO 8601 texts, or datetimes. A
    row without user or item, or whose time is missing, no number or outside 1900 to 2200, is
    rejected and named in `cleaning` (rows are numbered from `first_row`). `duplicates` says what
    is one event: "exact" (same user, item and time; without times nothing is), "consecutive" (the
    same item again right after itself), "keep". Raises UsageError when no row is left, or when the
    columns have different lengths.
    """
    user_column, item_column = _listed(users), _listed(items)
    time_column = None if times is None else _seconds(times, time_unit)
    if len(user_column) != len(item_column) or (
        time_column is not None and len(time_column) != len(user_column)
    ):
        raise UsageError(
            f"{len(user_column)} users, {len(item_column)} items"
            + ("" if time_column is None else f", {len(time_column)} times")
            + ": every event needs one of each"
        )
    kept, rejections, n_rejected = _sound_rows(user_column, item_column, time_column, first_row)
    if not len(kept):
        why = f"; {rejections[0]}" if rejections else ""
        raise UsageError(f"no interactions: {len(user_column)} rows read{why}")
    if len(kept) < len(user_column):
        user_column = [user_column[row] for row in kept]
        item_column = [item_column[row] for row in kept]
        time_column = None if time_column is None else time_column[kept]
    user, user_ids = _coded(user_column, start=0)
    item, item_ids = _coded(item_column, start=1)
    order, out_of_order = _chronological(user, time_column)
    user, item = user[order], item[order]
    time = None if time_column is None else time_column[order]
    repeated = _repeated(user, item, time, duplicates)
    log = InteractionLog(
        user,
        item,
        time,
        user_ids,
        item_ids,
        time_is_absolute=time_is_absolute,
        cleaning=Cleaning(
            read=len(kept) + n_rejected,
            rejected=n_rejected,
            duplicates=int(repeated.sum()),
            out_of_order=out_of_order,
            rejections=tuple(rejections),
        ),
    )
    return log.select(~repeated) if repeated.any() else log


def k_core(
    log: InteractionLog, user: int = 5, item: int = 5, *, unique: bool = False
) -> InteractionLog:
    """The largest part where every user has `user` events and every item `item`; codes anew.

    Users and items with fewer are dropped until nothing changes. `unique` counts a user's repeats
    of one item once (UniRec); else rows are counted. Raises UsageError when nothing is left.
    """
    rows = np.arange(len(log))
    while True:
        counted = rows
        if unique:
            pairs = log.user[rows] * (log.n_items + 1) + log.item[rows]
            counted = rows[np.unique(pairs, return_index=True)[1]]
        per_user = np.bincount(log.user[counted], minlength=log.n_users)
        per_item = np.bincount(log.item[counted], minlength=log.n_items + 1)
        stay = (per_user[log.user[rows]] >= user) & (per_item[log.item[rows]] >= item)
        if stay.all():
            break
        rows = rows[stay]
    if not len(rows):
        raise UsageError(
            f"no user has {user} events on items with {item}: the {user}/{item}-core is empty"
        )
    return compact(log.select(rows))


def compact(log: InteractionLog) -> InteractionLog:
    """The same events with codes only for users and items that occur."""
    users, user = np.unique(log.user, return_inverse=True)
    items, item = np.unique(log.item, return_inverse=True)
    return replace(
        log,
        user=user.astype(np.int64),
        item=item.astype(np.int64) + 1,
        user_ids=[log.user_ids[code] for code in users],
        item_ids=[log.item_ids[code - 1] for code in items],
    )


def sample_users(log: InteractionLog, n: int, *, seed: int) -> InteractionLog:
    """The events of `n` users drawn at random, codes anew; the whole log where it has fewer."""
    present = np.unique(log.user)
    if len(present) <= n:
        return log
    drawn = np.random.default_rng(seed).choice(present, size=n, replace=False)
    return compact(log.select(np.isin(log.user, drawn)))


def shuffle_ties(log: InteractionLog, *, seed: int, within_s: float = _DAY_S) -> InteractionLog:
    """The log with the order inside each user's day (or other `within_s`) drawn at random.

    Where a source wrote a day's events in an order of its own, as Amazon's files do by product
    number, every model learns that order; this shows what is left without it.
    """
    if log.time is None:
        raise UsageError("without times it is not known what falls on the same day")
    stretch = np.floor(log.time / within_s)
    drawn = np.random.default_rng(seed).random(len(log))
    return log.select(np.lexsort((drawn, stretch, log.user)))


def same_stretch_as_before(log: InteractionLog, within_s: float = _DAY_S) -> NDArray[np.bool_]:
    """Per event, whether it falls on the same day (or `within_s`) as the user's event before it."""
    same = np.zeros(len(log), dtype=bool)
    if log.time is not None and len(log):
        stretch = np.floor(log.time / within_s)
        same[1:] = (log.user[1:] == log.user[:-1]) & (stretch[1:] == stretch[:-1])
    return same


def is_missing(value: Any) -> bool:
    """Whether a cell stands for nothing: None, NaN, NaT, pandas' NA, an empty or blank text."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return isinstance(value, np.datetime64) and bool(np.isnat(value))


def _listed(column: Iterable[Any]) -> list[Any]:
    # Plain Python values, so that an id can be looked up, printed and saved without numpy.
    if isinstance(column, np.ndarray):
        return list(column.tolist())
    return [value.item() if isinstance(value, np.generic) else value for value in column]


def _sound_rows(
    users: list[Any], items: list[Any], times: Floats | None, first_row: int
) -> tuple[Ints, list[str], int]:
    reasons: dict[int, str] = {}
    for name, column in (("user", users), ("item", items)):
        # Few ids are looked at often: each is judged once.
        judged: dict[Any, str | None] = {}
        for row, value in enumerate(column):
            try:
                fault = judged[value]
            except KeyError:
                fault = judged[value] = _fault_of_id(name, value)
            except TypeError:
                fault = f"the {name} {value!r} cannot be an id"
            if fault is not None:
                reasons.setdefault(row, fault)
    if times is not None:
        for row in np.flatnonzero(~((times >= EARLIEST_S) & (times <= LATEST_S))).tolist():
            seconds = times[row]
            absurd = f"time {seconds:g} s is not in 1900..2200{_other_unit(seconds)}"
            said = "no time" if math.isnan(seconds) else absurd
            reasons.setdefault(row, said)
    sound = np.ones(len(users), dtype=bool)
    sound[list(reasons)] = False
    shown = [f"row {row + first_row}: {reasons[row]}" for row in sorted(reasons)]
    return np.flatnonzero(sound), shown[:_SHOWN_REJECTIONS], len(reasons)


def _fault_of_id(name: str, value: Any) -> str | None:
    if is_missing(value):
        return f"no {name}"
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"the {name} {value!r} is no text in UTF-8"
    return None


def _other_unit(seconds: float) -> str:
    """The unit in which the number would be a time of this century, for the message."""
    for unit, per_second in _PER_SECOND.items():
        if per_second > 1 and _CENTURY_S <= seconds / per_second <= LATEST_S:
            return f"; it may be meant in {unit}: say time_unit={unit}, or --time-unit {unit}"
    return ""


def _seconds(times: Iterable[Any], unit: TimeUnit) -> Floats:
    """Unix seconds; NaN where a cell holds no time."""
    if unit not in _PER_SECOND:
        raise UsageError(f"no time unit '{unit}'; there are {', '.join(_PER_SECOND)}")
    column = times if isinstance(times, np.ndarray) else np.asarray(list(times), dtype=object)
    if np.issubdtype(column.dtype, np.datetime64):
        whole = column.astype("datetime64[us]")
        return np.where(np.isnat(whole), np.nan, whole.astype(np.int64) / 1e6)
    if np.issubdtype(column.dtype, np.number):
        return column.astype(np.float64) / _PER_SECOND[unit]
    return np.array([_moment(value, unit) for value in column], dtype=np.float64)


def _moment(value: Any, unit: TimeUnit) -> float:
    if is_missing(value) or isinstance(value, bool):
        return math.nan
    if isinstance(value, str):
        try:
            return float(value) / _PER_SECOND[unit]
        except ValueError:
            return _iso_seconds(value)
    if isinstance(value, int | float | np.number):
        return float(value) / _PER_SECOND[unit]
    if hasattr(value, "isoformat"):
        return _iso_seconds(value.isoformat())
    if isinstance(value, np.datetime64):
        return float(value.astype("datetime64[us]").astype(np.int64)) / 1e6
    return math.nan


def _iso_seconds(text: str) -> float:
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        return math.nan
    # A time without a zone is taken as UTC, on every machine alike.
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _coded(column: list[Any], start: int) -> tuple[Ints, list[Hashable]]:
    codes: dict[Hashable, int] = {}
    coded = np.fromiter(
        (codes.setdefault(value, len(codes) + start) for value in column),
        dtype=np.int64,
        count=len(column),
    )
    return coded, list(codes)


def _chronological(user: Ints, time: Floats | None) -> tuple[Ints, int]:
    if time is None:
        return np.argsort(user, kind="stable"), 0
    order = np.lexsort((np.arange(len(user)), time, user))
    by_user = np.argsort(user, kind="stable")
    earlier = (user[by_user][1:] == user[by_user][:-1]) & (np.diff(time[by_user]) < 0)
    return order, int(earlier.sum())


def _repeated(user: Ints, item: Ints, time: Floats | None, rule: Duplicates) -> NDArray[np.bool_]:
    repeated = np.zeros(len(user), dtype=bool)
    if rule == "consecutive":
        repeated[1:] = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    elif rule == "exact" and time is not None:
        order = np.lexsort((np.arange(len(user)), item, time, user))
        same = (
            (np.diff(user[order]) == 0) & (np.diff(item[order]) == 0) & (np.diff(time[order]) == 0)
        )
        repeated[order[1:][same]] = True
    elif rule not in ("exact", "keep"):
        raise UsageError(f"no rule '{rule}' for duplicates; there are exact, consecutive, keep")
    return repeated
