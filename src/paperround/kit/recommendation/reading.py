"""Interactions from CSV files, frames of any library, plain columns, and our own assets.

Nothing here imports pandas, polars or their like: a frame is whatever gives a column by its name.
"""

import csv
import gzip
import lzma
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from paperround.errors import UsageError
from paperround.kit.assets import find_asset
from paperround.kit.recommendation.interactions import (
    Duplicates,
    InteractionLog,
    Ints,
    TimeUnit,
    build_log,
)

# What a column is called where nobody says; the first that is there counts. "user_id:token" and
# its like are RecBole's.
USER_NAMES = ("user", "user_id", "userid", "session", "session_id", "customer_id", "visitor_id")
ITEM_NAMES = ("item", "item_id", "itemid", "product_id", "movie_id", "track_id", "article_id")
TIME_NAMES = ("time", "timestamp", "date", "datetime", "event_time", "created_at", "unix_time")
_DELIMITERS = ("\t", ";", "|", ",")
# Where a log has gaps between events but no dates, its users' first events are put here.
_SOMEDAY_S = 946_684_800.0


def read_interactions(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    time: str | None = None,
    duplicates: Duplicates = "exact",
    time_unit: TimeUnit = "s",
) -> InteractionLog:
    """The log of a CSV file, a frame, a mapping of columns, an iterable of rows, or a log as it is.

    A frame is one of pandas or polars, a table of Arrow or a data set of Hugging Face. Columns are
    found by their usual names (user, item, time and the like) unless named. Without a
    time column the rows' own order counts. Rows are tuples (user, item) or (user, item, time).
    Raises UsageError when a column is not there or no sound row is left; single broken rows are
    counted and named in the log's `cleaning`.
    """
    if isinstance(source, InteractionLog):
        return source
    users: Any
    items: Any
    times: Any
    # Rows of a frame are numbered as frames do it, those of a file by their lines.
    first_row, where = 0, ""
    if isinstance(source, str | Path):
        users, items, times = _columns_of_csv(Path(source), user, item, time)
        first_row, where = 2, f"{source}: "
    elif (names := _column_names(source)) is not None:
        columns = {
            what: None if name is None else _values(source[names[name]])
            for what, name in _named(list(names), user, item, time).items()
        }
        users, items, times = columns["user"], columns["item"], columns["time"]
    else:
        users, items, times = _columns_of_rows(source)
    try:
        return build_log(
            users, items, times, duplicates=duplicates, time_unit=time_unit, first_row=first_row
        )
    except UsageError as error:
        raise UsageError(f"{where}{error}") from error


def _columns_of_csv(
    path: Path, user: str | None, item: str | None, time: str | None
) -> tuple[list[Any], list[Any], list[Any] | None]:
    """The three columns of a text file with a header line; .gz and .xz are opened.

    The delimiter is the one of tab, semicolon, bar and comma that parts the header into most
    columns. Ids are texts as they stand in the file, in UTF-8.
    """
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file")
    rows = _Rows(path, user, item, time)
    users, items, times = [], [], []
    for row in rows:
        users.append(row[0])
        items.append(row[1])
        times.append(row[2])
    return users, items, times if rows.has_time else None


class _Rows:
    """The (user, item, time) cells of a CSV file; None where a line has too few."""

    def __init__(self, path: Path, user: str | None, item: str | None, time: str | None) -> None:
        self._path, self._wanted = path, (user, item, time)
        with _open(path) as file:
            header = file.readline().lstrip("\ufeff").rstrip("\r\n")
        if not header.strip():
            raise UsageError(f"{path}: the first line should name the columns and is empty")
        # The one that parts most columns: another may stand inside a quoted name.
        parted = {d: next(csv.reader([header], delimiter=d)) for d in _DELIMITERS}
        self._delimiter = max(parted, key=lambda delimiter: len(parted[delimiter]))
        names = [name.strip() for name in parted[self._delimiter]]
        # RecBole's atomic files write `user_id:token`.
        names = [name.partition(":")[0] for name in names]
        try:
            found = _named(names, *self._wanted)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from error
        places = {name: place for place, name in reversed(list(enumerate(names)))}
        self._user, self._item = places[str(found["user"])], places[str(found["item"])]
        self._time = None if found["time"] is None else places[str(found["time"])]
        self.has_time = self._time is not None

    def __iter__(self) -> Iterator[tuple[str | None, str | None, str | None]]:
        # An id may be a long text; the default limit of a field would stop the whole file.
        csv.field_size_limit(sys.maxsize)
        with _open(self._path) as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            next(reader)
            for cells in reader:
                if cells:
                    yield (
                        _cell(cells, self._user),
                        _cell(cells, self._item),
                        None if self._time is None else _cell(cells, self._time),
                    )
                else:
                    # An empty line keeps its number, and is rejected as one without a user.
                    yield None, None, None


def _cell(cells: list[str], place: int) -> str | None:
    return cells[place] if place < len(cells) else None


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="")
    if path.suffix == ".xz":
        return lzma.open(path, "rt", encoding="utf-8", errors="surrogateescape", newline="")
    return path.open(encoding="utf-8", errors="surrogateescape", newline="")


def _named(
    names: Sequence[str], user: str | None, item: str | None, time: str | None
) -> dict[str, str | None]:
    """The names of the three columns, as they stand; that of the time may be None."""
    found: dict[str, str | None] = {}
    for what, said, usual in (
        ("user", user, USER_NAMES),
        ("item", item, ITEM_NAMES),
        ("time", time, TIME_NAMES),
    ):
        if said is not None:
            if said not in names:
                raise UsageError(f"no column '{said}'; there are {', '.join(names)}")
            found[what] = said
            continue
        folded = {name.lower(): name for name in reversed(names)}
        found[what] = next((folded[name] for name in usual if name in folded), None)
        if found[what] is None and what != "time":
            raise UsageError(
                f"which column is the {what}? None of {', '.join(names)} has a usual name; "
                f"say {what}=… (--column {what}=… on the command line)"
            )
    return found


def _column_names(source: Any) -> dict[str, Any] | None:
    """The columns' names by their text, of whatever gives a column by its name; else None."""
    if hasattr(source, "collect_schema") and not hasattr(source, "to_numpy"):
        raise UsageError("a lazy frame has no rows yet; pass frame.collect()")
    if isinstance(source, Mapping):
        return {str(name): name for name in source}
    # Arrow's tables have both, and their `columns` are the columns themselves.
    names = getattr(source, "column_names", None)
    if names is None:
        names = getattr(source, "columns", None)
    return None if names is None else {str(name): name for name in names}


def _values(column: Any) -> Any:
    """A column's cells as Python or numpy values: pandas, polars, numpy or a plain sequence."""
    if hasattr(column, "to_numpy"):
        values = column.to_numpy()
        # pandas keeps zones in objects, polars' strings come as objects: both are handled cell by
        # cell later. Masked integers become floats, which would change ids.
        if isinstance(values, np.ndarray) and values.dtype.kind not in "fO":
            return values
        listed = column.to_pylist() if hasattr(column, "to_pylist") else column.to_list()
        return np.array(listed, dtype=object)
    return column


def _columns_of_rows(rows: Iterable[Any]) -> tuple[list[Any], list[Any], list[Any] | None]:
    users, items, times = [], [], []
    for number, row in enumerate(rows):
        if isinstance(row, str) or not isinstance(row, Sequence) or len(row) not in (2, 3):
            raise UsageError(
                f"row {number} is {row!r}; give (user, item) or (user, item, time), a frame, a "
                "mapping of columns or the path of a CSV file"
            )
        users.append(row[0])
        items.append(row[1])
        times.append(row[2] if len(row) == 3 else None)
    given = sum(time is not None for time in times)
    return users, items, times if given else None


def load_movielens_100k() -> InteractionLog:
    """MovieLens-100K (943 users, 1,682 films, 100,000 ratings with times), every rating an event.

    Its licence is for research, without redistribution; it comes with a wheel of its own.
    """
    folder = find_asset("ml-100k").folder
    return read_interactions(folder / "ml-100k.inter")


def movielens_100k_titles() -> dict[str, tuple[str, str]]:
    """Title (with its year) and genres of the films of MovieLens-100K, by their ids."""
    lines = (find_asset("ml-100k").folder / "ml-100k.item").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in lines.splitlines()[1:]]
    return {row[0]: (f"{row[1]} ({row[2]})", row[3]) for row in rows}


def load_movielens_1m() -> tuple[InteractionLog, Ints]:
    """MovieLens-1M without times (6,040 users, 3,416 films), and the users it is incomplete for.

    The second-last event of those 367 users is unknown: leave them out of validation
    (`leave_one_out(log, not_validated=...)`), and for strict comparison out of the test.
    """
    users, items, incomplete = [], [], set()
    for line in asset_lines("ml-1m", "sequences.tsv.xz"):
        user, complete, sequence = line.split("\t")
        events = sequence.split()
        users += [user] * len(events)
        items += events
        if complete == "0":
            incomplete.add(user)
    log = build_log(users, items)
    codes = [code for code, user in enumerate(log.user_ids) if user in incomplete]
    return log, np.array(codes, dtype=np.int64)


def load_movielens_1m_with_times() -> InteractionLog:
    """The first 669 users of MovieLens-1M, with the times of their 100,000 ratings."""
    rows = [line.split("::") for line in asset_lines("ml-1m", "ratings_users1-669.dat.xz")]
    return build_log(
        [row[0] for row in rows], [row[1] for row in rows], [float(row[3]) for row in rows]
    )


def load_amazon(category: str) -> InteractionLog:
    """The 5-core of Amazon Beauty (22,363 users, 12,101 items) or Toys (19,412, 11,924) of 2014.

    Times have the resolution of a day, and only gaps inside a user mean something. Inside a day the
    source is ordered by product number, which every sequence model profits from: see
    `shuffle_ties`, and report same-day and later-day targets apart.
    """
    if category not in ("beauty", "toys"):
        raise UsageError(f"no Amazon category '{category}' here; there are beauty, toys")
    users, items, times = [], [], []
    for line in asset_lines(f"amazon-{category}", "sequences.tsv.xz"):
        user, sequence, gaps = line.split("\t")
        events = sequence.split()
        users += [user] * len(events)
        items += events
        times += list(_SOMEDAY_S + np.cumsum([float(gap) for gap in gaps.split()]))
    return build_log(users, items, times, duplicates="keep", time_is_absolute=False)


def load_lastfm() -> InteractionLog:
    """LastFM (HetRec 2011, 1,090 users, 3,646 artists), in time order, without times."""
    users, items = [], []
    for line in asset_lines("lastfm", "sequences.txt.xz"):
        user, *events = line.split()
        users += [user] * len(events)
        items += events
    return build_log(users, items)


def load_diginetica(periods: Iterable[int] = range(17)) -> InteractionLog:
    """DIGINETICA's click sessions of some of its 17 weeks; a session is a user.

    Sessions have no times, but weeks follow each other: `session_id` is prefixed by its week.
    """
    users, items = [], []
    for period in periods:
        for line in asset_lines("diginetica", f"period_{period}.txt.xz"):
            session, item = line.split()
            users.append(f"{period}-{session}")
            items.append(item)
    return build_log(users, items)


def asset_lines(asset: str, name: str) -> list[str]:
    """The lines of an asset's text file, opened where it is compressed."""
    with _open(find_asset(asset).folder / name) as file:
        return file.read().splitlines()
