"""Votes and marks: one each, exact under a crowd, and kept when two papers turn out to be one."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select, text

from paperround.catalogue.actions import import_records
from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import PaperId, PaperRecord
from paperround.db import read, write
from paperround.errors import TooOftenError
from paperround.readers.comments import add_comment
from paperround.readers.queries import (
    comments_on,
    mark_of,
    mentioned_on,
    papers_marked,
    papers_voted,
    votes_here,
)
from paperround.readers.records import Mark, Reader
from paperround.readers.tables import VoteTable
from paperround.readers.votes import set_mark, set_vote

AddReader = Callable[..., Reader]
AddPaper = Callable[..., PaperId]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def test_a_second_press_takes_the_vote_back(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    reader, one = add(), paper()
    assert set_vote(engine, reader, one, None, NOON) == (True, 1)
    assert set_vote(engine, reader, one, None, NOON) == (False, 0)
    assert set_vote(engine, reader, one, True, NOON) == (True, 1)
    later = NOON + timedelta(hours=1)
    assert set_vote(engine, reader, one, True, later) == (True, 1)
    with read(engine) as connection:
        # Nobody makes a vote younger by giving it again.
        assert papers_voted(connection, reader.id, None, 9) == [(one, NOON)]


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.sampled_from([None, True, False])))
)
def test_the_count_is_the_number_of_readers_who_vote(
    engine: Engine, add: AddReader, paper: AddPaper, steps: list[tuple[int, int, bool | None]]
) -> None:
    with write(engine) as connection:
        for table in ("attempt", "reader", "paper"):
            connection.execute(text(f"DELETE FROM {table}"))
    readers = [add(f"reader-{n}") for n in range(3)]
    papers = [paper(f"2606.0000{n}") for n in range(3)]
    votes: set[tuple[int, int]] = set()
    for who, which, wanted in steps:
        pair = (who, which)
        should = pair not in votes if wanted is None else wanted
        votes = votes | {pair} if should else votes - {pair}
        stands, count = set_vote(engine, readers[who], papers[which], wanted, NOON)
        assert stands == should
        assert count == sum(1 for _, p in votes if p == which)


def test_fifty_readers_at_once_are_fifty_votes(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    one = paper()
    readers = [add(f"reader-{n}") for n in range(50)]
    with ThreadPoolExecutor(25) as pool:
        list(pool.map(lambda reader: set_vote(engine, reader, one, True, NOON), readers))
    with read(engine) as connection:
        assert votes_here(connection, [one]) == {one: 50}


def test_one_reader_s_presses_at_once_leave_one_vote_or_none(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    reader, one = add(), paper()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: set_vote(engine, reader, one, None, NOON), range(9)))
    with read(engine) as connection:
        assert len(connection.scalars(select(VoteTable.paper_id)).all()) == 1


def test_voting_has_a_limit_and_giving_the_same_again_does_not_count(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    reader, one = add(), paper()
    for _ in range(120):
        set_vote(engine, reader, one, None, NOON)
    set_vote(engine, reader, one, False, NOON)
    with pytest.raises(TooOftenError):
        set_vote(engine, reader, one, True, NOON)


def test_a_paper_has_one_mark_of_a_reader(engine: Engine, add: AddReader, paper: AddPaper) -> None:
    reader, one = add(), paper()
    set_mark(engine, reader, one, Mark.LATER, NOON)
    set_mark(engine, reader, one, Mark.READ, NOON + timedelta(hours=1))
    set_mark(engine, reader, one, Mark.READ, NOON + timedelta(hours=2))
    with read(engine) as connection:
        assert papers_marked(connection, reader.id, Mark.LATER, None, 9) == []
        assert papers_marked(connection, reader.id, Mark.READ, None, 9) == [
            (one, NOON + timedelta(hours=1))
        ]
    set_mark(engine, reader, one, None, NOON)
    with read(engine) as connection:
        assert mark_of(connection, reader.id, one) is None


def test_pages_of_votes_of_one_moment_leave_nothing_out(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    reader = add()
    papers = [paper(f"2606.{n:05d}") for n in range(7)]
    for n, one in enumerate(papers):
        set_vote(engine, reader, one, True, NOON + timedelta(hours=n // 3))
    shown: list[PaperId] = []
    after = None
    with read(engine) as connection:
        while rows := papers_voted(connection, reader.id, after, 2):
            shown += [paper_id for paper_id, _ in rows]
            after = rows[-1][1], rows[-1][0]
    assert shown == papers[::-1]


def test_what_readers_gave_two_papers_stays_when_they_turn_out_to_be_one(
    engine: Engine, add: AddReader
) -> None:
    title = "A rather long and telling title on counting without fingers"

    def record(source: str, key: str, **changes: object) -> PaperRecord:
        fields: dict[str, object] = {
            "source": source,
            "source_key": key,
            "title": title,
            "authors": ("Ada Ay", "Bo Bee"),
            "listed": date(2026, 6, 30),
            **changes,
        }
        return PaperRecord(**fields)  # type: ignore[arg-type]

    import_records(engine, [record("acl", "acl-1", identifiers={"acl": "2026.acl-1"})])
    import_records(
        engine,
        [record("arxiv", "2606.00001", title="Counting", identifiers={"arxiv": "2606.00001"})],
    )
    import_records(
        engine,
        [record("jsonl", "x", title="Another paper on letters", identifiers={"doi": "10.1/x"})],
    )
    with read(engine) as connection:
        rows = connection.execute(text("SELECT id, key FROM paper ORDER BY id")).all()
    assert len(rows) == 3
    (acl, acl_key), (arxiv, _), (third, _) = rows
    ada, bo = add("ada"), add("bo")
    set_vote(engine, ada, PaperId(acl), True, NOON)
    set_vote(engine, ada, PaperId(arxiv), True, NOON)
    set_vote(engine, bo, PaperId(acl), True, NOON)
    set_mark(engine, bo, PaperId(acl), Mark.LATER, NOON)
    add_comment(engine, ada, PaperId(acl), "On this one.", NOON)
    add_comment(engine, ada, PaperId(third), f"As in /papers/{acl_key}.", NOON)
    # Another source knows both identifiers: the two are one paper.
    both = {"arxiv": "2606.00001", "acl": "2026.acl-1"}
    import_records(engine, [record("openalex", "W1", identifiers=both)])
    with read(engine) as connection:
        detail = paper_by_key(connection, "2606.00001")
        assert detail is not None
        one = detail.paper.id
        assert connection.scalar(text("SELECT count(*) FROM paper")) == 2
        assert votes_here(connection, [one]) == {one: 2}
        assert mark_of(connection, bo.id, one) is Mark.LATER
        assert [comment.text for comment in comments_on(connection, one)] == ["On this one."]
        assert len(mentioned_on(connection, one)) == 1
