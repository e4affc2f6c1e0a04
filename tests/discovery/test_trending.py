"""Trending: each number of its formula worked out by hand, its burst, its window, its order."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, insert, text

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.discovery.periods import Period
from paperround.discovery.trending import Standing, standing_of, standings_of_days, trending_papers
from paperround.errors import UsageError
from paperround.readers.accounts import add_reader
from paperround.readers.tables import CommentTable, MarkTable, ReaderTable, VoteTable
from paperround.runs.tables import ResultTable

AddPaper = Callable[..., PaperId]
NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(days=400)
WEEK = timedelta(days=3)


@pytest.fixture
def reader(engine: Engine) -> Callable[..., int]:
    """Adds a reader; known for long unless said otherwise."""
    count = iter(range(100_000))

    def add(since: datetime = LONG_AGO) -> int:
        with write(engine) as connection:
            return add_reader(connection, f"reader-{next(count)}", since)

    return add


@pytest.fixture
def give(engine: Engine, reader: Callable[..., int]) -> Callable[..., None]:
    """One vote, comment or read of a new reader each, some time before NOW."""

    def one(
        paper_id: PaperId,
        kind: str = "vote",
        ago: timedelta = timedelta(),
        since: datetime = LONG_AGO,
        by: int | None = None,
    ) -> None:
        row = {"reader_id": by or reader(since), "paper_id": paper_id}
        with write(engine) as connection:
            if kind == "vote":
                connection.execute(insert(VoteTable), {**row, "at": NOW - ago})
            elif kind == "comment":
                said = {"text": "so", "created_at": NOW - ago}
                connection.execute(insert(CommentTable), {**row, **said})
            else:
                connection.execute(insert(MarkTable), {**row, "mark": kind, "at": NOW - ago})

    return one


def add_result(engine: Engine, slug: str, at: datetime, **changes: object) -> None:
    row: dict[str, object] = {
        "id": f"{slug} {at} {changes}"[:64],
        "slug": slug,
        "scale": "quick",
        "status": "finished",
        "card_sha256": "0" * 64,
        "started_at": at,
        "origin": "here",
        "origin_note": "",
        "kept_at": at,
        "digest": {},
        "record": {},
        **changes,
    }
    with write(engine) as connection:
        connection.execute(insert(ResultTable), row)


def listed(engine: Engine, period: Period = "week", **options: object) -> list[Standing]:
    rooms = {"little": "paper-1"}
    with read(engine) as connection:
        found = trending_papers(connection, period, NOW, rooms, **options)  # type: ignore[arg-type]
    return [standing for _, standing in found.papers]


def score(engine: Engine, period: Period = "week") -> float:
    (standing,) = listed(engine, period)
    return standing.score


@pytest.mark.parametrize(("kind", "worth"), [("vote", 1.0), ("comment", 2.0), ("read", 0.5)])
@pytest.mark.parametrize(("period", "days"), [("day", 0.5), ("week", 3), ("month", 12)])
def test_attention_is_worth_half_after_a_half_life(
    engine: Engine,
    add_paper: AddPaper,
    give: Callable[..., None],
    kind: str,
    worth: float,
    period: Period,
    days: float,
) -> None:
    paper = add_paper()
    give(paper, kind)
    assert score(engine, period) == pytest.approx(worth)
    give(paper, kind, timedelta(days=days))
    assert score(engine, period) == pytest.approx(1.5 * worth)
    give(paper, kind, timedelta(days=2 * days))
    assert score(engine, period) == pytest.approx(1.75 * worth, abs=1e-6)


def test_what_is_older_than_eight_half_lives_is_left_out(
    engine: Engine, add_paper: AddPaper, give: Callable[..., None]
) -> None:
    give(add_paper(), "vote", timedelta(days=24, seconds=1))
    assert listed(engine) == []
    assert len(listed(engine, "month")) == 1


def test_one_reader_s_comments_count_once_by_the_latest(
    engine: Engine, add_paper: AddPaper, give: Callable[..., None], reader: Callable[..., int]
) -> None:
    paper, talker = add_paper(), reader()
    for days in (3, 0, 6):
        give(paper, "comment", timedelta(days=days), by=talker)
    (standing,) = listed(engine)
    assert (standing.comments, standing.comments_points) == (1, pytest.approx(2.0))


def test_what_is_hidden_taken_back_or_by_the_suspended_counts_nothing(
    engine: Engine, add_paper: AddPaper, give: Callable[..., None]
) -> None:
    paper = add_paper()
    give(paper, "comment")
    with write(engine) as connection:
        connection.execute(text("UPDATE comment SET hidden_at = '2026-07-01 00:00:00.000000'"))
    give(paper, "not-for-me")
    give(paper, "later")
    assert listed(engine) == []
    give(paper, "vote")
    with write(engine) as connection:
        connection.execute(text("UPDATE reader SET suspended_at = '2026-07-01 00:00:00.000000'"))
    assert listed(engine) == []


def test_a_thousand_new_accounts_lift_a_paper_by_one_vote(
    engine: Engine, add_paper: AddPaper, give: Callable[..., None]
) -> None:
    honest, lifted = add_paper(), add_paper()
    for _ in range(2):
        give(honest)
    with write(engine) as connection:
        fresh = {"password": None, "role": "reader", "created_at": NOW, "established_at": NOW}
        fresh["established_at"] = NOW + timedelta(days=7)
        rows = [{"name": f"n{n}", "name_key": f"n{n}", **fresh} for n in range(1000)]
        connection.execute(insert(ReaderTable), rows)
        connection.execute(
            text(
                "INSERT INTO vote SELECT id, :paper, '2026-07-01 11:00:00.000000' FROM reader"
                " WHERE name LIKE 'n%'"
            ),
            {"paper": lifted},
        )
    first, second = listed(engine)
    assert first.paper_id == honest
    assert (second.new, second.votes) == (1000, 0)
    assert second.new_points > 900
    assert second.score == second.new_counted == pytest.approx(2 ** (-1 / 72))
    # A week later they are still those who voted while they were new.
    give(lifted)
    give(lifted)
    (first, _) = listed(engine)
    assert first.paper_id == lifted
    assert first.score == pytest.approx(4.0)


def test_a_vote_of_a_reader_who_was_there_for_a_week_counts_fully(
    engine: Engine, add_paper: AddPaper, give: Callable[..., None]
) -> None:
    paper = add_paper()
    give(paper, since=NOW - timedelta(days=7))
    give(paper, since=NOW - timedelta(days=7, seconds=-1))
    (standing,) = listed(engine)
    assert (standing.votes, standing.new) == (1, 1)


def test_each_scale_that_was_measured_here_counts_once(engine: Engine, add_paper: AddPaper) -> None:
    add_paper()
    for hours in range(5):
        add_result(engine, "little", NOW - timedelta(hours=hours))
    assert score(engine) == pytest.approx(3.0)
    add_result(engine, "little", NOW - WEEK, scale="standard")
    assert score(engine) == pytest.approx(4.5)
    add_result(engine, "little", NOW, scale="full", status="failed")
    add_result(engine, "little", NOW, scale="full", origin="shipped")
    add_result(engine, "little", NOW, scale="full", origin="imported")
    add_result(engine, "unknown", NOW, scale="full")
    (standing,) = listed(engine)
    assert (standing.scales, standing.score) == (2, pytest.approx(4.5))


def test_what_sources_count_stays_below_ten(engine: Engine, add_paper: AddPaper) -> None:
    yesterday = NOW.date() - timedelta(days=1)
    few = add_paper(day=yesterday, votes=20, comments=10)
    many = add_paper(day=yesterday, votes=10**9)
    negative = add_paper(day=yesterday, votes=-5, comments=3)
    found = {standing.paper_id: standing for standing in listed(engine)}
    # The paper's day ended twelve hours ago.
    decay = 2 ** (-0.5 / 3)
    assert found[few].elsewhere_points == pytest.approx(10 * 40 / 80 * decay)
    assert 9.99 * decay < found[many].elsewhere_points < 10 * decay
    assert found[negative].elsewhere_points == pytest.approx(10 * 6 / 46 * decay)


def test_a_list_is_of_the_category_that_is_asked_for(engine: Engine, add_paper: AddPaper) -> None:
    papers = [add_paper(day=NOW.date(), votes=3) for _ in range(3)]
    with write(engine) as connection:
        for paper, said in zip(papers, ('["cs.CL", "cs.LG"]', '["cs.LG"]', "[]"), strict=True):
            connection.execute(
                text("UPDATE paper SET categories = :said WHERE id = :paper"),
                {"said": said, "paper": paper},
            )
    assert [s.paper_id for s in listed(engine, category="cs.LG")] == [papers[1], papers[0]]
    assert [s.paper_id for s in listed(engine, category="cs.CL")] == [papers[0]]
    assert listed(engine, category="cs.%") == []
    assert listed(engine, category="' OR 1=1 --") == []


def test_where_nothing_is_new_the_list_is_of_the_last_day_with_papers(
    engine: Engine, add_paper: AddPaper
) -> None:
    paper = add_paper(day=date(2026, 1, 5), votes=40)
    with read(engine) as connection:
        found = trending_papers(connection, "week", NOW, {})
    assert found.as_of.date() == date(2026, 1, 5)
    assert [(p.id, round(s.score, 6)) for p, s in found.papers] == [(paper, 5.0)]


def test_an_empty_catalogue_has_no_trend(engine: Engine) -> None:
    assert listed(engine) == []
    with pytest.raises(UsageError):
        listed(engine, n=0)


def test_a_paper_knows_its_place_and_its_parts(
    engine: Engine, add_paper: AddPaper, give: Callable[..., None]
) -> None:
    first, second, none = add_paper(), add_paper(), add_paper()
    give(first)
    give(first, "comment")
    give(second)
    with read(engine) as connection:
        standing, place, _ = standing_of(connection, second, "week", NOW, {})
        assert (standing.score, place) == (pytest.approx(1.0), 2)
        standing, place, _ = standing_of(connection, none, "week", NOW, {})
        assert (standing.score, place) == (0.0, None)


@hypothesis_settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    given_=st.lists(
        st.tuples(
            st.integers(0, 5), st.sampled_from(["vote", "comment", "read"]), st.integers(0, 500)
        ),
        max_size=20,
    ),
    elsewhere=st.lists(
        st.tuples(st.integers(-3, 900), st.integers(-3, 90)), min_size=6, max_size=6
    ),
)
def test_the_parts_make_the_score_and_the_scores_the_order(
    engine: Engine,
    add_paper: AddPaper,
    give: Callable[..., None],
    given_: list[tuple[int, str, int]],
    elsewhere: list[tuple[int, int]],
) -> None:
    with write(engine) as connection:
        connection.execute(text("DELETE FROM paper"))
        connection.execute(delete(ReaderTable))
    papers = [add_paper(day=NOW.date(), votes=v, comments=c) for v, c in elsewhere]
    for place, kind, hours in given_:
        since = LONG_AGO if hours % 3 else NOW - timedelta(hours=hours)
        give(papers[place], kind, timedelta(hours=hours), since)
    found = listed(engine)
    assert found == sorted(found, key=lambda s: (-s.score, -s.paper_id))
    for s in found:
        parts = s.votes_points + s.comments_points + s.reads_points
        assert s.new_counted <= s.new_points + 1e-12
        assert s.score == pytest.approx(
            parts + s.new_counted + s.measured_points + s.elsewhere_points
        )
    day = NOW.date()
    with read(engine) as connection:
        whole = standings_of_days(connection, day, day, "week", NOW, {}, None, 50)
        pages, after = [], None
        while page := standings_of_days(connection, day, day, "week", NOW, {}, after, 2):
            pages += page
            after = page[-1].score, page[-1].paper_id
    assert pages == whole
    assert {s.paper_id for s in whole} == set(papers)


def test_the_formula_reads_what_is_new_by_its_indexes(engine: Engine) -> None:
    plans: list[str] = []

    def explain(
        connection: object, cursor: object, statement: str, parameters: object, *_: object
    ) -> None:
        if not statement.startswith("EXPLAIN"):
            rows = connection.connection.cursor().execute(  # type: ignore[attr-defined]
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
            plans.extend(row[3] for row in rows)

    event.listen(engine, "before_cursor_execute", explain)
    with read(engine) as connection:
        trending_papers(connection, "week", NOW, {"little": "paper-1"})
    for index in ("ix_vote_at", "ix_mark_at", "ix_comment_created_at", "ix_result_kept_at"):
        assert any(index in step for step in plans), plans
    assert any("ix_paper_day" in step for step in plans), plans
    for table in ("vote", "mark", "comment", "paper", "reader"):
        assert f"SCAN {table}" not in plans
