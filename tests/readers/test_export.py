"""Tokens of the API, and the export, which is complete by construction."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, event, func, insert, select, text

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import PaperTable
from paperround.db import Table, read, write
from paperround.errors import UsageError
from paperround.kit.language_models.declarations import Declaration
from paperround.readers.accounts import delete_reader, suspend
from paperround.readers.authorship import claim_authorship, decide
from paperround.readers.collections import add_collection, hide_collection, put_paper
from paperround.readers.comments import add_comment
from paperround.readers.export import EXPORTED, OF_SUBSCRIBER, export_reader
from paperround.readers.generations import queue_generation
from paperround.readers.queries import latest_acts, tokens_of
from paperround.readers.records import Mark, Reader, Visibility
from paperround.readers.submissions import submit_address
from paperround.readers.tables import CommentTable, ReaderTable, SubscriberTable, VoteTable
from paperround.readers.tokens import (
    MAX_TOKENS,
    PREFIX,
    Scope,
    add_token,
    find_token,
    revoke_token,
)
from paperround.readers.votes import set_mark, set_vote
from paperround.runs.generation import Asked
from paperround.runs.rights import Asker, Role
from paperround.settings import Settings

AddReader = Callable[..., Reader]
AddPaper = Callable[..., PaperId]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def a_generation(engine: Engine, reader: Reader) -> None:
    queue_generation(
        engine,
        reader,
        Asked("My words"),
        NOON,
        asker=Asker(reader.name, reader.role),
        declared={"greedy": Declaration("greedy", "plain")},
        settings=Settings(),
    )


def test_a_token_opens_what_it_says_until_it_expires(engine: Engine, add: AddReader) -> None:
    ada = add()
    token = add_token(engine, ada, " my  script ", ["vote", "read"], 10, NOON)
    assert token.startswith(PREFIX)
    with read(engine) as connection:
        found = find_token(connection, token, NOON + timedelta(days=9))
        assert found is not None
        assert (found[2], found[3].name) == ({Scope.READ, Scope.VOTE}, "ada")
        assert find_token(connection, token, NOON + timedelta(days=10)) is None
        assert find_token(connection, token + "x", NOON) is None
        (held,) = tokens_of(connection, ada.id)
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert (held.name, held.scopes) == ("my script", ("read", "vote"))
    assert token.removeprefix(PREFIX) not in dump


def test_a_token_ends_when_it_is_revoked_and_while_its_reader_is_out(
    engine: Engine, add: AddReader
) -> None:
    ada, eve = add("ada"), add("eve")
    token = add_token(engine, ada, "one", ["read"], 10, NOON)
    with read(engine) as connection:
        (held,) = tokens_of(connection, ada.id)
    assert not revoke_token(engine, eve, held.id)
    with write(engine) as connection:
        suspend(connection, ada, None, NOON)
        assert find_token(connection, token, NOON) is None
        connection.execute(text("UPDATE reader SET suspended_at = NULL"))
        assert find_token(connection, token, NOON) is not None
    assert revoke_token(engine, ada, held.id)
    with read(engine) as connection:
        assert find_token(connection, token, NOON) is None


@pytest.mark.parametrize(
    ("name", "scopes", "days"),
    [
        ("", ["read"], 9),
        ("x" * 61, ["read"], 9),
        ("x", [], 9),
        ("x", ["all"], 9),
        ("x", ["read"], 0),
        ("x", ["read"], 367),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    engine: Engine, add: AddReader, name: str, scopes: list[str], days: int
) -> None:
    with pytest.raises(UsageError):
        add_token(engine, add(), name, scopes, days, NOON)


def test_a_reader_holds_so_many_tokens(engine: Engine, add: AddReader) -> None:
    ada = add()
    for n in range(MAX_TOKENS):
        add_token(engine, ada, f"token {n}", ["read"], 9, NOON)
    with pytest.raises(UsageError, match="revoke one"):
        add_token(engine, ada, "one more", ["read"], 9, NOON)


def test_every_table_that_refers_to_readers_is_exported() -> None:
    referring = {
        table.name
        for table in Table.metadata.tables.values()
        if any(key.column.table is ReaderTable.__table__ for key in table.foreign_keys)
    }
    assert {table.__tablename__ for table, _ in EXPORTED.values()} == referring
    on_an_address = {
        table.name
        for table in Table.metadata.tables.values()
        if any(key.column.table is SubscriberTable.__table__ for key in table.foreign_keys)
    }
    assert {table.__tablename__ for table, _ in OF_SUBSCRIBER.values()} == on_an_address


def test_the_export_has_what_a_reader_gave_and_no_secret(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, one = add("ada", Role.MODERATOR), paper(authors=["Ada Ay"])
    shelf = add_collection(engine, ada, "Mine", NOON)
    put_paper(engine, ada, shelf.key, one, NOON, note="read §3")
    submit_address(engine, ada, "2606.00007", NOON)
    claim_authorship(engine, ada, "2606.00001", "Ada Ay", "my page", NOON)
    set_vote(engine, ada, one, True, NOON)
    set_mark(engine, ada, one, Mark.READ, NOON)
    add_comment(engine, ada, one, "Mine.", NOON)
    a_generation(engine, ada)
    token = add_token(engine, ada, "script", ["read"], 9, NOON)
    with read(engine) as connection:
        found = export_reader(connection, ada)
    assert set(found) == {"account", "runs", "collected", *EXPORTED, *OF_SUBSCRIBER}
    assert found["collections"][0]["name"] == "Mine"
    assert found["collected"] == [
        {
            "collection": shelf.key,
            "paper": "2606.00001",
            "note": "read §3",
            "at": "2026-07-01T12:00:00+00:00",
        }
    ]
    assert found["submissions"][0]["asked"] == "2606.00007"
    assert found["authorships"][0]["author"] == "Ada Ay"
    assert found["votes"] == [{"paper": "2606.00001", "at": "2026-07-01T12:00:00+00:00"}]
    assert found["marks"][0]["mark"] == "read"
    assert found["comments"][0]["text"] == "Mine."
    assert found["generations"][0]["prompt"] == "My words"
    assert found["tokens"][0]["name"] == "script"
    assert "argon2" not in str(found)
    assert "sha256" not in str(found)
    assert token not in str(found)


def test_ten_thousand_votes_and_comments_are_exported_and_deleted_whole(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, bo, one = add("ada"), add("bo"), paper()
    n = 10_000
    with write(engine) as connection:
        fields = {"title": "x", "title_text": "x", "title_key": "x", "abstract": ""}
        fields |= {"abstract_text": "", "authors": [], "categories": []}
        times = {"added_at": NOON, "updated_at": NOON}
        papers = [{"key": f"x{k}", **fields, **times} for k in range(n)]
        connection.execute(insert(PaperTable), papers)
        ids = connection.scalars(select(PaperTable.id).where(PaperTable.id != one)).all()
        votes = [{"reader_id": ada.id, "paper_id": k, "at": NOON} for k in ids]
        connection.execute(insert(VoteTable), votes)
        said = {"paper_id": one, "reader_id": ada.id, "created_at": NOON}
        remarks = [{**said, "text": f"No. {k}"} for k in range(n)]
        connection.execute(insert(CommentTable), remarks)
        first = connection.scalar(select(func.min(CommentTable.id)))
    add_comment(engine, bo, one, "Why?", NOON, parent_id=first)
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
    with read(engine) as connection:
        found = export_reader(connection, ada)
    assert (len(found["votes"]), len(found["comments"])) == (n, n)
    assert found["votes"][-1] == {"paper": f"x{n - 1}", "at": "2026-07-01T12:00:00+00:00"}
    # As many as there are tables, not as there are rows.
    assert len(statements) < 40
    with write(engine) as connection:
        delete_reader(connection, ada)
        left = connection.execute(select(CommentTable.reader_id, CommentTable.text)).all()
        assert connection.scalar(select(func.count()).select_from(VoteTable)) == 0
    # The one that was answered leaves its place.
    assert [tuple(row) for row in left] == [(None, ""), (bo.id, "Why?")]


def test_the_log_of_moderators_forgets_a_name_wherever_it_stands(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, adam, mod = add("ada"), add("adam"), add("mod", Role.MODERATOR)
    paper(authors=["Ada Ay of ada", "Bo"])
    for reader, author in ((ada, "Ada Ay of ada"), (adam, "Bo")):
        asked = claim_authorship(engine, reader, "2606.00001", author, "my page", NOON)
        decide(engine, mod, asked, "confirmed", "known", NOON)
        shelf = add_collection(engine, reader, "x", NOON, visibility=Visibility.PUBLIC)
        hide_collection(engine, mod, shelf.key, "an advert", NOON)
        with write(engine) as connection:
            suspend(connection, reader, mod, NOON, "spam")
    with write(engine) as connection:
        delete_reader(connection, ada)
        said = [act.on for act in latest_acts(connection)]
    assert [on for on in said if on.startswith("ada ") or on.endswith(" of ada")] == []
    assert "a former reader as Ada Ay of ada of 2606.00001" in said
    assert "adam as Bo of 2606.00001" in said
    assert sum(on.endswith("a former reader") for on in said) == 2


def test_nothing_that_refers_to_a_reader_is_left_of_one(
    engine: Engine, add: AddReader, paper: AddPaper
) -> None:
    ada, one = add("ada"), paper(authors=["Ada Ay"])
    add("admin", Role.ADMIN)
    shelf = add_collection(engine, ada, "Mine", NOON)
    put_paper(engine, ada, shelf.key, one, NOON, note="read §3")
    submit_address(engine, ada, "2606.00007", NOON)
    claim_authorship(engine, ada, "2606.00001", "Ada Ay", "my page", NOON)
    set_vote(engine, ada, one, True, NOON)
    set_mark(engine, ada, one, Mark.READ, NOON)
    add_comment(engine, ada, one, "Mine.", NOON)
    add_token(engine, ada, "script", ["read"], 9, NOON)
    a_generation(engine, ada)
    with write(engine) as connection:
        delete_reader(connection, ada)
        left = [
            table.name
            for table in Table.metadata.sorted_tables
            if "reader_id" in table.columns
            and connection.execute(table.select().where(table.c.reader_id == ada.id)).first()
        ]
        collected = connection.execute(text("SELECT count(*) FROM collection_paper")).scalar_one()
    assert left == []
    assert collected == 0
