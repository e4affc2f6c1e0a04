"""Collections: whose they are, who sees them, their order, and what a merge leaves of them."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, text

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import IdentifierTable
from paperround.db import read, write
from paperround.errors import ForbiddenError, NotFoundError, TooOftenError, UsageError
from paperround.readers import collections, limits
from paperround.readers.collections import (
    add_collection,
    change_collection,
    collections_of,
    collections_with,
    delete_collection,
    find_collection,
    hide_collection,
    papers_in,
    public_collections,
    put_paper,
    take_out,
)
from paperround.readers.queries import latest_acts
from paperround.readers.records import Reader, Visibility
from paperround.runs.rights import Role

AddReader = Callable[..., Reader]
AddPaper = Callable[..., PaperId]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def order_of(engine: Engine, collection_id: int) -> list[str]:
    with read(engine) as connection:
        return [each.paper.key for each in papers_in(connection, collection_id)]


def test_papers_stand_in_the_order_that_their_reader_gives(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada = add()
    ids = {name: paper(name) for name in "abcd"}
    made = add_collection(engine, ada, " For  the seminar ", NOON, about="Read §3.")
    assert (made.name, made.visibility, made.n_papers) == ("For the seminar", "private", 0)
    for name in "abcd":
        assert put_paper(engine, ada, made.key, ids[name], NOON, note=f"on {name}")
    assert not put_paper(engine, ada, made.key, ids["d"], NOON, place=1)
    assert order_of(engine, made.id) == ["d", "a", "b", "c"]
    put_paper(engine, ada, made.key, ids["a"], NOON, place=99)
    assert order_of(engine, made.id) == ["d", "b", "c", "a"]
    assert take_out(engine, ada, made.key, ids["b"], NOON)
    assert not take_out(engine, ada, made.key, ids["b"], NOON)
    with read(engine) as connection:
        found = papers_in(connection, made.id)
        assert [(each.paper.key, each.note) for each in found] == [
            ("d", "on d"),
            ("c", "on c"),
            ("a", "on a"),
        ]
        # From after a place, one at a time, each is shown once.
        shown, after = [], None
        while page := papers_in(connection, made.id, after, 1):
            shown.append(page[0].paper.key)
            after = page[0].position
        assert shown == ["d", "c", "a"]
        assert collections_with(connection, ada.id, ids["a"]) == {made.id}
        assert collections_with(connection, ada.id, ids["b"]) == set()


@given(
    moves=st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(1, 8)), max_size=9)
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
def test_any_moves_leave_each_paper_where_a_list_would(
    engine: Engine, add: AddReader, paper: AddPaper, moves: list[tuple[str, int | None]]
) -> None:
    with write(engine) as connection:
        for table in ("collection", "paper", "reader", "attempt"):
            connection.execute(text(f"DELETE FROM {table}"))
    ada = add()
    ids = {name: paper(name) for name in "abcdef"}
    made = add_collection(engine, ada, "Moves", NOON)
    expected: list[str] = []
    for name, place in moves:
        put_paper(engine, ada, made.key, ids[name], NOON, place=place)
        if name not in expected:
            expected.append(name)
        if place is not None:
            expected.remove(name)
            expected.insert(place - 1, name)
    assert order_of(engine, made.id) == expected


def test_who_sees_a_collection_depends_on_its_visibility(engine: Engine, add: AddReader) -> None:
    ada, eve = add("ada"), add("eve")
    made = add_collection(engine, ada, "Mine", NOON)
    for visibility, others in (
        (Visibility.PRIVATE, False),
        (Visibility.LINK, True),
        (Visibility.PUBLIC, True),
    ):
        change_collection(engine, ada, made.key, NOON, visibility=visibility)
        with read(engine) as connection:
            assert find_collection(connection, made.key, ada).id == made.id
            for other in (eve, None):
                if others:
                    assert find_collection(connection, made.key, other).id == made.id
                else:
                    with pytest.raises(NotFoundError):
                        find_collection(connection, made.key, other)


def test_nobody_changes_another_s_collection(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, eve, one = add("ada"), add("eve"), paper()
    own = add_collection(engine, ada, "Mine", NOON)
    shown = add_collection(engine, ada, "Shown", NOON, visibility=Visibility.PUBLIC)
    # One that is private is not even there for others.
    for key, error in ((own.key, NotFoundError), (shown.key, ForbiddenError)):
        with pytest.raises(error):
            change_collection(engine, eve, key, NOON, name="Eve's")
        with pytest.raises(error):
            put_paper(engine, eve, key, one, NOON)
        with pytest.raises(error):
            take_out(engine, eve, key, one, NOON)
        with pytest.raises(error):
            delete_collection(engine, eve, key)
    delete_collection(engine, ada, own.key)
    with read(engine) as connection:
        assert [each.key for each in collections_of(connection, ada.id)] == [shown.key]


def test_the_public_list_has_public_ones_with_papers_the_last_changed_first(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, one = add(), paper()
    for n in range(5):
        made = add_collection(engine, ada, f"Public {n}", NOON, visibility=Visibility.PUBLIC)
        put_paper(engine, ada, made.key, one, NOON + timedelta(minutes=n % 3))
    add_collection(engine, ada, "Empty", NOON, visibility=Visibility.PUBLIC)
    hidden = add_collection(engine, ada, "By its address", NOON, visibility=Visibility.LINK)
    put_paper(engine, ada, hidden.key, one, NOON)
    with read(engine) as connection:
        shown, after = [], None
        while page := public_collections(connection, after, 2):
            shown += [each.name for each in page]
            after = page[-1].changed_at, page[-1].id
    assert shown == ["Public 2", "Public 4", "Public 1", "Public 3", "Public 0"]


@pytest.mark.parametrize("name", ["", "   ", "x" * 121, "\u202e", "\x00"])
def test_a_name_that_cannot_be_is_refused(engine: Engine, add: AddReader, name: str) -> None:
    with pytest.raises(UsageError):
        add_collection(engine, add(), name, NOON)


def test_there_are_limits(
    engine: Engine, add: AddReader, paper: AddPaper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "MAX_COLLECTIONS", 2)
    monkeypatch.setattr(collections, "MAX_PAPERS", 2)
    ada = add()
    made = add_collection(engine, ada, "One", NOON)
    add_collection(engine, ada, "Two", NOON)
    with pytest.raises(UsageError, match="delete one first"):
        add_collection(engine, ada, "Three", NOON)
    for name in "ab":
        put_paper(engine, ada, made.key, paper(name), NOON)
    with pytest.raises(UsageError, match="at most 2 papers"):
        put_paper(engine, ada, made.key, paper("c"), NOON)
    with pytest.raises(UsageError, match="a note"):
        put_paper(engine, ada, made.key, paper("d"), NOON, note="x" * 2_001)
    with write(engine) as connection:
        for _ in range(limits.COLLECTING.n - 4):
            limits.spend(connection, limits.COLLECTING, f"{ada.id}", NOON)
    with pytest.raises(TooOftenError):
        change_collection(engine, ada, made.key, NOON, name="Once more")


def test_a_moderator_makes_one_private_and_the_log_says_why(engine: Engine, add: AddReader) -> None:
    ada, mo = add("ada"), add("mo", Role.MODERATOR)
    made = add_collection(engine, ada, "Adverts", NOON, visibility=Visibility.PUBLIC)
    with pytest.raises(ForbiddenError):
        hide_collection(engine, ada, made.key, "mine", NOON)
    with pytest.raises(UsageError, match="say why"):
        hide_collection(engine, mo, made.key, " ", NOON)
    hide_collection(engine, mo, made.key, "adverts", NOON)
    with read(engine) as connection:
        with pytest.raises(NotFoundError):
            find_collection(connection, made.key, mo)
        assert find_collection(connection, made.key, ada).visibility is Visibility.PRIVATE
        (act,) = latest_acts(connection)
    assert (act.by, act.act, act.note) == ("mo", "made private", "adverts")


def test_a_paper_that_turns_out_to_be_another_stays_in_its_collection(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada = add()
    stays, goes = paper("2606.00001"), paper("goes")
    one = add_collection(engine, ada, "One of them", NOON)
    both = add_collection(engine, ada, "Both", NOON)
    put_paper(engine, ada, one.key, goes, NOON, note="kept")
    for paper_id in (stays, goes):
        put_paper(engine, ada, both.key, paper_id, NOON)
    with write(engine) as connection:
        connection.execute(
            insert(IdentifierTable).values(scheme="key", value="goes", paper_id=stays)
        )
        connection.execute(text("DELETE FROM paper WHERE key = 'goes'"))
    with read(engine) as connection:
        (kept,) = papers_in(connection, one.id)
        assert (kept.paper.id, kept.note) == (stays, "kept")
    assert order_of(engine, both.id) == ["2606.00001"]
