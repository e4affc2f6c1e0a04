"""Which papers stand in a digest."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.discovery.digest.composing import (
    PAPERS_PER_DIGEST,
    PAPERS_PER_SECTION,
    Composer,
    Digest,
)
from paperround.discovery.searching import Searcher
from paperround.readers.digests import known_to
from paperround.readers.due import due_now
from paperround.readers.records import Mark
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import Subscriber
from paperround.readers.tables import DigestTable, MarkTable, ReaderTable
from paperround.readers.times import Cadence, Hours

AddPaper = Callable[..., PaperId]
AddSubscriber = Callable[..., Subscriber]
DAY = date(2026, 7, 1)


def composed(engine: Engine, searcher: Searcher, now: datetime) -> list[Digest]:
    with read(engine) as connection:
        found = due_now(connection, now, 0, 100)
        known = [known_to(connection, due.subscriber, now) for due in found]
    composer = Composer(engine, searcher)
    return [composer.compose(due, told) for due, told in zip(found, known, strict=True)]


def titles(digest: Digest) -> dict[str, list[str]]:
    return {
        section.subject.says: [paper.title_text for paper in section.papers]
        for section in digest.sections
    }


def test_each_subject_has_its_papers_the_most_voted_first(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("One", votes=1)
    paper("Two", votes=2)
    paper("Other", categories=["cs.LG"], authors=["Cy Cee"])
    paper("Institute", categories=["math.CO"], organisation="The Institute")
    paper("Kites and strings", categories=["math.CO"])
    paper("Strings alone", categories=["math.CO"])
    subscriber(
        "ada@lab.example",
        Subject(Kind.CATEGORY, "cs.CL"),
        Subject(Kind.AUTHOR, "cy cee"),
        Subject(Kind.ORGANISATION, "The Institute"),
        Subject(Kind.SEARCH, "kites strings", "words"),
        Subject(Kind.CATEGORY, "quant-ph"),
    )
    (digest,) = composed(engine, searcher, datetime.fromisoformat("2026-07-02T07:00Z"))
    assert titles(digest) == {
        "Papers in cs.CL": ["Two", "One"],
        "Papers by cy cee": ["Other"],
        "Papers of The Institute": ["Institute"],
        "Papers for “kites strings”": ["Kites and strings"],
    }


def test_a_saved_search_keeps_its_filters_and_what_it_leaves_out(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("Kites in the wind")
    paper("Kites in the wind and rain")
    paper("Kites in the wind elsewhere", categories=["cs.LG"])
    paper("Wind in the kites")
    subscriber("a@lab.example", Subject(Kind.SEARCH, '"in the wind" cat:cs.CL -rain', "words"))
    (digest,) = composed(engine, searcher, datetime.fromisoformat("2026-07-02T07:00Z"))
    assert list(titles(digest).values()) == [["Kites in the wind"]]


def test_no_paper_stands_twice_in_a_digest(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("One")
    subscriber("a@lab.example", Subject(Kind.CATEGORY, "cs.CL"), Subject(Kind.AUTHOR, "Ada Ay"))
    (digest,) = composed(engine, searcher, datetime.fromisoformat("2026-07-02T07:00Z"))
    assert titles(digest) == {"Papers in cs.CL": ["One"]}


def test_the_first_digest_has_one_period_and_later_ones_what_came_late(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    for n in range(12):
        paper(f"{n} days ago", day=date(2026, 7, 10) - timedelta(days=n))
    morning = datetime.fromisoformat("2026-07-10T07:00Z")
    subscriber("new@lab.example", at=morning - timedelta(hours=20))
    subscriber("old@lab.example", at=morning - timedelta(days=300))
    subscriber("new@week.example", cadence=Cadence.WEEKLY, at=morning - timedelta(hours=20))
    subscriber("old@week.example", cadence=Cadence.WEEKLY, at=morning - timedelta(days=300))
    wednesday = datetime.fromisoformat("2026-07-13T07:00Z")
    new, old = composed(engine, searcher, morning)[:2]
    assert sorted(titles(new)["Papers in cs.CL"]) == ["0 days ago", "1 days ago"]
    assert sorted(titles(old)["Papers in cs.CL"]) == [f"{n} days ago" for n in range(7)]
    weekly = {
        due.subscriber.email: due
        for due in _due(engine, wednesday)
        if due.subscriber.email.endswith("week.example")
    }
    composer = Composer(engine, searcher)
    first = composer.compose(weekly["new@week.example"], ())
    late = composer.compose(weekly["old@week.example"], ())
    # From seven days before it began; and two weeks back.
    assert len(first.papers) + first.sections[0].n_more == 8
    assert len(late.papers) + late.sections[0].n_more == 11


def test_a_subject_is_searched_for_once_a_date_whoever_subscribes_and_how_often(
    engine: Engine,
    searcher: Searcher,
    paper: AddPaper,
    subscriber: AddSubscriber,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paper("New", day=date(2026, 7, 6))
    paper("Of last week", day=date(2026, 6, 28))
    for n in range(5):
        subscriber(f"daily{n}@lab.example", at=datetime.fromisoformat("2026-05-01T12:00Z"))
        weekly = f"weekly{n}@lab.example"
        subscriber(weekly, cadence=Cadence.WEEKLY, at=datetime.fromisoformat("2026-05-01T12:00Z"))
    real, asked = searcher.answers_among, []

    def counted(query: str, *rest: object, **options: object) -> list[PaperId]:
        asked.append(query)
        return real(query, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(searcher, "answers_among", counted)
    digests = composed(engine, searcher, datetime.fromisoformat("2026-07-06T07:00Z"))
    assert asked == ["cat:cs.CL"]
    told = [sorted(titles(digest)["Papers in cs.CL"]) for digest in digests]
    assert told == [["New"], ["New", "Of last week"]] * 5


def _due(engine: Engine, now: datetime) -> list:  # type: ignore[type-arg]
    with read(engine) as connection:
        return due_now(connection, now, 0, 100)


def test_a_paper_of_tomorrow_waits(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("Tomorrow's", day=date(2026, 7, 3))
    paper("Today's", day=date(2026, 7, 2))
    subscriber("tokyo@lab.example", hours=Hours("Asia/Tokyo", 1))
    subscriber("la@lab.example", hours=Hours("America/Los_Angeles", 9))
    # In Tokyo it is one in the morning of the third, in Los Angeles nine in that of the second.
    tokyo, la = composed(engine, searcher, datetime.fromisoformat("2026-07-02T16:00Z"))
    assert sorted(titles(tokyo)["Papers in cs.CL"]) == ["Today's", "Tomorrow's"]
    assert titles(la) == {"Papers in cs.CL": ["Today's"]}


def test_what_an_address_has_been_told_or_its_reader_has_marked_is_not_new(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    ids = [paper(f"Paper {n}") for n in range(6)]
    held = subscriber()
    morning = datetime.fromisoformat("2026-07-02T07:00Z")
    row = {"subscriber_id": held.id, "day": DAY, "due_at": morning, "claimed_at": morning}
    states = ("sent", "unknown", "handed", "refused", "claimed")
    with write(engine) as connection:
        for paper_id, state in zip(ids, states, strict=False):
            values = {**row, "message_id": state, "state": state, "papers": [paper_id]}
            connection.execute(insert(DigestTable).values(**values))
        reader = connection.execute(
            insert(ReaderTable).values(
                name="ada",
                name_key="ada",
                role="reader",
                created_at=morning,
                established_at=morning,
            )
        ).inserted_primary_key[0]
        connection.execute(
            insert(MarkTable).values(
                reader_id=reader, paper_id=ids[5], mark=Mark.NOT_FOR_ME.value, at=morning
            )
        )
        with_reader = replace(held, reader_id=reader)
        known = known_to(connection, with_reader, morning)
        much_later = known_to(connection, with_reader, morning + timedelta(days=61))
    assert known == {*ids[:3], ids[5]}
    assert much_later == {ids[5]}


def test_a_digest_has_an_end_and_says_how_many_more_there_are(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    subjects = [Subject(Kind.CATEGORY, f"x.{name}") for name in "abcdef"]
    for name in "abcdef":
        for n in range(PAPERS_PER_SECTION + 3):
            paper(f"{name} {n}", categories=[f"x.{name}"])
    subscriber("a@lab.example", *subjects)
    (digest,) = composed(engine, searcher, datetime.fromisoformat("2026-07-02T07:00Z"))
    assert len(digest.papers) == PAPERS_PER_DIGEST
    assert {section.n_more for section in digest.sections} == {3}


def test_nothing_trends_where_nothing_has_happened_of_late(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("Liked", votes=50)
    paper("Liked elsewhere", votes=40, categories=["cs.LG"])
    paper("Not liked", votes=0)
    subscriber("a@lab.example", Subject(Kind.TRENDING))
    subscriber("b@lab.example", Subject(Kind.TRENDING, "cs.LG"))
    every, one = composed(engine, searcher, datetime.fromisoformat("2026-07-02T07:00Z"))
    assert titles(every) == {"Trending papers": ["Liked", "Liked elsewhere"]}
    assert titles(one) == {"Trending in cs.LG": ["Liked elsewhere"]}
    later = composed(engine, searcher, datetime.fromisoformat("2026-09-02T07:00Z"))
    assert [digest.papers for digest in later] == [[], []]


def test_withdrawn_papers_are_no_news(
    engine: Engine, searcher: Searcher, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("Gone", withdrawn=True)
    subscriber()
    (digest,) = composed(engine, searcher, datetime.fromisoformat("2026-07-02T07:00Z"))
    assert digest.papers == []
