from collections.abc import Callable
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.discovery.trending import trending_papers, trending_score
from paperround.errors import UsageError

AddPaper = Callable[..., PaperId]
DAY = date(2026, 7, 1)
COUNTS = st.integers(0, 10_000)


def test_the_score_is_that_of_the_formula() -> None:
    # log2(1 + 3 + 2 * 2) = 3, and day 10 of the calendar counts 10 / 2.
    assert trending_score(date.fromordinal(10), votes=3, comments=2) == 8.0


def test_twice_the_attention_makes_up_for_two_days() -> None:
    older = trending_score(DAY - timedelta(days=2), votes=7, comments=0)
    assert older == trending_score(DAY, votes=3, comments=0)


@given(votes=COUNTS, comments=COUNTS)
def test_attention_and_youth_only_ever_lift(votes: int, comments: int) -> None:
    score = trending_score(DAY, votes, comments)
    assert trending_score(DAY, votes + 1, comments) > score
    assert trending_score(DAY, votes, comments + 1) > score
    assert trending_score(DAY + timedelta(days=1), votes, comments) > score


@given(first=st.tuples(COUNTS, COUNTS), second=st.tuples(COUNTS, COUNTS), days=st.integers(0, 3000))
def test_two_papers_keep_their_order_as_they_age(
    first: tuple[int, int], second: tuple[int, int], days: int
) -> None:
    before = trending_score(DAY, *first) - trending_score(DAY - timedelta(days=1), *second)
    later = DAY + timedelta(days=days)
    after = trending_score(later, *first) - trending_score(later - timedelta(days=1), *second)
    assert after == pytest.approx(before, abs=1e-6)


def test_negative_counts_count_as_none() -> None:
    assert trending_score(DAY, -5, -5) == trending_score(DAY, 0, 0)


def test_the_list_is_of_the_last_days_that_have_papers(engine: Engine, add_paper: AddPaper) -> None:
    add_paper(day=DAY - timedelta(days=14), votes=1000)
    loved = add_paper(day=DAY - timedelta(days=13), votes=1000)
    first, second = add_paper(day=DAY), add_paper(day=DAY)
    add_paper(votes=1000)

    def ids(**options: object) -> list[PaperId]:
        with read(engine) as connection:
            return [paper.id for paper in trending_papers(connection, **options)]  # type: ignore[arg-type]

    assert ids() == [loved, second, first]
    assert ids(n=1) == [loved]
    assert ids(days=1) == [second, first]
    assert ids(until=DAY - timedelta(days=1), days=1) == [loved]
    assert ids(days=10**6)[0] == loved
    assert len(ids(days=10**6)) == 4


def test_without_any_attention_the_newest_come_first(engine: Engine, add_paper: AddPaper) -> None:
    papers = [add_paper(day=DAY - timedelta(days=days)) for days in (3, 2, 2, 0)]
    with read(engine) as connection:
        assert [paper.id for paper in trending_papers(connection)] == papers[::-1]


def test_an_empty_catalogue_has_no_trend(engine: Engine) -> None:
    with read(engine) as connection:
        assert trending_papers(connection) == []
        with pytest.raises(UsageError):
            trending_papers(connection, days=0)
