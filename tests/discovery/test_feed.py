import base64
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine

from paperround.catalogue.records import PaperId
from paperround.db import open_database, read
from paperround.discovery.feed import Feed, Order, Period, bounds, feed
from paperround.errors import UsageError
from paperround.settings import Settings

AddPaper = Callable[..., PaperId]
ORDERS = get_args(Order)
PERIODS = get_args(Period)
FRIDAY = date(2026, 7, 3)


@pytest.fixture(scope="module")
def months(
    tmp_path_factory: pytest.TempPathFactory, adder: Callable[..., AddPaper]
) -> Iterator[Engine]:
    """Two months of working days, seven papers each, with few votes and many ties."""
    engine = open_database(Settings(home=Path(tmp_path_factory.mktemp("months"))))
    add = adder(engine)
    for offset in range(60):
        day = date(2026, 5, 4) + timedelta(days=offset)
        if day.weekday() < 5:
            for number in range(7):
                add(
                    f"Paper {number} of {day}",
                    day=day,
                    votes=(offset * number) % 3,
                    comments=number % 2,
                )
    add("A paper of no day")
    yield engine
    engine.dispose()


def all_pages(
    connection: Connection, period: Period, start: date | None, order: Order, n: int
) -> list[Feed]:
    pages = [feed(connection, period, start, order, None, n)]
    while pages[-1].next_cursor is not None:
        pages.append(feed(connection, period, start, order, pages[-1].next_cursor, n))
    return pages


@settings(max_examples=25)
@given(
    period=st.sampled_from(PERIODS),
    order=st.sampled_from(ORDERS),
    n=st.integers(1, 40),
    start=st.dates(date(2026, 5, 1), date(2026, 7, 10)),
)
def test_pages_of_any_size_show_every_paper_once_in_order(
    months: Engine, period: Period, order: Order, n: int, start: date
) -> None:
    with read(months) as connection:
        pages = all_pages(connection, period, start, order, n)
        (whole,) = all_pages(connection, period, start, order, 200)
    shown = [paper.id for page in pages for paper in page.papers]
    assert shown == [paper.id for paper in whole.papers]
    assert len(shown) == len(set(shown))
    assert all(len(page.papers) == n for page in pages[:-1])
    days = {paper.day for paper in whole.papers}
    working = sum(
        (whole.start + timedelta(days=offset)).weekday() < 5
        and date(2026, 5, 4) <= whole.start + timedelta(days=offset) < date(2026, 7, 3)
        for offset in range((whole.end - whole.start).days + 1)
    )
    assert len(shown) == 7 * working
    assert all(day is not None and whole.start <= day <= whole.end for day in days)


def test_each_order_orders_as_it_says(engine: Engine, add_paper: AddPaper) -> None:
    voted = add_paper(day=FRIDAY - timedelta(days=3), votes=8)
    talked = add_paper(day=FRIDAY - timedelta(days=2), comments=20)
    new = add_paper(day=FRIDAY)
    newer = add_paper(day=FRIDAY)

    def ids(order: Order) -> list[PaperId]:
        with read(engine) as connection:
            return [paper.id for paper in feed(connection, "week", None, order, None, 9).papers]

    assert ids("votes") == [voted, newer, new, talked]
    assert ids("newest") == [newer, new, talked, voted]
    # 10 * 40 / 80 = 5, halved in three days; 10 * 8 / 48 = 1.7 a day longer; 0, 0.
    assert ids("trending") == [talked, voted, newer, new]


def test_an_empty_day_snaps_back_to_the_last_one_with_papers(
    engine: Engine, add_paper: AddPaper
) -> None:
    add_paper(day=FRIDAY)
    sunday = FRIDAY + timedelta(days=2)
    with read(engine) as connection:
        page = feed(connection, "day", sunday, "votes", None, 5)
    assert (page.start, page.end, page.asked) == (FRIDAY, FRIDAY, sunday)
    assert len(page.papers) == 1


def test_before_the_first_day_the_first_one_is_shown(engine: Engine, add_paper: AddPaper) -> None:
    add_paper(day=FRIDAY)
    with read(engine) as connection:
        page = feed(connection, "month", date(2020, 2, 10), "votes", None, 5)
    assert (page.start, page.asked) == (date(2026, 7, 1), date(2020, 2, 1))
    assert (page.earlier, page.later) == (None, None)


def test_an_empty_catalogue_has_an_empty_feed_of_today(engine: Engine) -> None:
    with read(engine) as connection:
        page = feed(
            connection, "week", None, "votes", None, 5, now=lambda: datetime(2026, 7, 5, tzinfo=UTC)
        )
    assert (page.start, page.end, page.asked) == (date(2026, 6, 29), date(2026, 7, 5), page.start)
    assert (page.papers, page.next_cursor, page.earlier, page.later) == ((), None, None, None)


def test_one_walks_over_empty_periods_in_both_directions(
    engine: Engine, add_paper: AddPaper
) -> None:
    for day in (date(2026, 1, 30), date(2026, 6, 26), FRIDAY):
        add_paper(day=day)
    with read(engine) as connection:
        page = feed(connection, "day", date(2026, 6, 26), "votes", None, 5)
        assert (page.earlier, page.later) == (date(2026, 1, 30), FRIDAY)
        page = feed(connection, "week", date(2026, 6, 28), "votes", None, 5)
        assert (page.start, page.end) == (date(2026, 6, 22), date(2026, 6, 28))
        assert (page.earlier, page.later) == (date(2026, 1, 26), date(2026, 6, 29))
        page = feed(connection, "month", date(2026, 6, 1), "votes", None, 5)
        assert (page.start, page.end) == (date(2026, 6, 1), date(2026, 6, 30))
        assert (page.earlier, page.later) == (date(2026, 1, 1), date(2026, 7, 1))


@pytest.mark.parametrize("period", PERIODS)
def test_walking_back_meets_every_paper_of_a_day(months: Engine, period: Period) -> None:
    seen: list[PaperId] = []
    with read(months) as connection:
        start: date | None = None
        while True:
            page = feed(connection, period, start, "votes", None, 200)
            seen += [paper.id for paper in page.papers]
            if page.earlier is None:
                break
            assert feed(connection, period, page.earlier, "votes", None, 1).later == page.start
            start = page.earlier
    assert len(seen) == len(set(seen)) == 44 * 7


@given(period=st.sampled_from(PERIODS), day=st.dates())
def test_a_period_holds_its_day_and_meets_the_next(period: Period, day: date) -> None:
    first, last = bounds(period, day)
    assert first <= day <= last
    assert bounds(period, first) == bounds(period, last) == (first, last)
    if last < date.max:
        assert bounds(period, last + timedelta(days=1))[0] == last + timedelta(days=1)


@pytest.mark.parametrize("start", [date.min, date.max])
@pytest.mark.parametrize("period", PERIODS)
def test_the_ends_of_the_calendar_are_days_like_others(
    months: Engine, period: Period, start: date
) -> None:
    with read(months) as connection:
        assert feed(connection, period, start, "newest", None, 5).papers


@settings(max_examples=40)
@given(
    cursor=st.one_of(
        st.text(max_size=40),
        st.text(max_size=40).map(lambda text: base64.urlsafe_b64encode(text.encode()).decode()),
    )
)
def test_a_made_up_cursor_is_refused(months: Engine, cursor: str) -> None:
    with read(months) as connection, pytest.raises(UsageError, match="cursor"):
        feed(connection, "month", FRIDAY, "votes", cursor, 5)


@settings(max_examples=30)
@given(order=st.sampled_from(ORDERS), place=st.integers(0, 200), sign=st.sampled_from("Ab3_-= é"))
def test_a_cursor_with_one_sign_changed_is_refused(
    months: Engine, order: Order, place: int, sign: str
) -> None:
    with read(months) as connection:
        cursor = feed(connection, "month", None, order, None, 5).next_cursor
        assert cursor is not None
        place %= len(cursor)
        forged = cursor[:place] + sign + cursor[place + 1 :]
        if forged != cursor:
            with pytest.raises(UsageError, match="cursor"):
                feed(connection, "month", None, order, forged, 5)


def test_a_cursor_of_another_feed_is_refused(months: Engine) -> None:
    with read(months) as connection:
        cursor = feed(connection, "month", date(2026, 6, 1), "votes", None, 5).next_cursor
        assert cursor is not None
        for period, start, order in (
            ("month", date(2026, 5, 1), "votes"),
            ("week", date(2026, 6, 1), "votes"),
            ("month", date(2026, 6, 1), "newest"),
        ):
            with pytest.raises(UsageError, match="of another feed"):
                feed(connection, period, start, order, cursor, 5)


def test_a_paper_that_comes_in_above_shifts_no_page(engine: Engine, add_paper: AddPaper) -> None:
    papers = [add_paper(day=FRIDAY) for _ in range(4)]
    with read(engine) as connection:
        first = feed(connection, "day", None, "votes", None, 2)
    add_paper(day=FRIDAY, votes=5)
    with read(engine) as connection:
        second = feed(connection, "day", None, "votes", first.next_cursor, 2)
    assert [paper.id for page in (first, second) for paper in page.papers] == papers[::-1]


@pytest.mark.parametrize(
    ("period", "order", "n"),
    [("year", "votes", 5), ("day", "best", 5), ("day", "votes", 0), ("day", "votes", 201)],
)
def test_nonsense_is_refused(months: Engine, period: Period, order: Order, n: int) -> None:
    with read(months) as connection, pytest.raises(UsageError):
        feed(connection, period, None, order, None, n)
