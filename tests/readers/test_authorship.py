"""Who says that they are an author, and who confirms it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, insert, text

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import IdentifierTable
from paperround.db import read, write
from paperround.errors import ForbiddenError, NotFoundError, TooOftenError, UsageError
from paperround.readers.authorship import (
    CONFIRMED,
    REFUSED,
    REVOKED,
    authorship_of,
    authorships_in,
    authorships_of,
    claim_authorship,
    confirmed_on,
    decide,
    take_back,
)
from paperround.readers.queries import latest_acts
from paperround.readers.records import Reader
from paperround.runs.rights import Role

AddReader = Callable[..., Reader]
AddPaper = Callable[..., PaperId]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
KEY = "2606.00001"


@pytest.fixture
def one(paper: AddPaper) -> PaperId:
    return paper(KEY, authors=["Ada Ay", "Bo Bee"])


def test_what_is_said_waits_until_a_moderator_confirms_it(
    engine: Engine, add: AddReader, one: PaperId
) -> None:
    ada, mo = add("ada"), add("mo", Role.MODERATOR)
    number = claim_authorship(engine, ada, KEY, "Ada Ay", " my  page says so ", NOON)
    with read(engine) as connection:
        assert confirmed_on(connection, one) == []
        (waiting,) = authorships_in(connection, "asked", None, 9)
        assert (waiting.reader, waiting.author, waiting.note) == (
            "ada",
            "Ada Ay",
            "my page says so",
        )
    decide(engine, mo, number, CONFIRMED, "her page says so", NOON)
    with read(engine) as connection:
        assert confirmed_on(connection, one) == [("Ada Ay", "ada")]
        (act,) = latest_acts(connection)
        assert (act.by, act.act) == ("mo", "confirmed an author")
        assert act.on == f"ada as Ada Ay of {KEY}"
    decide(engine, mo, number, REVOKED, "it was another Ada", NOON)
    with read(engine) as connection:
        assert confirmed_on(connection, one) == []
        held = authorship_of(connection, one, ada.id)
    assert held is not None
    assert (held.state, held.because) == ("revoked", "it was another Ada")


def test_what_was_refused_can_be_said_again(engine: Engine, add: AddReader, one: PaperId) -> None:
    ada, mo = add("ada"), add("mo", Role.MODERATOR)
    number = claim_authorship(engine, ada, KEY, "Ada Ay", "believe me", NOON)
    with pytest.raises(UsageError, match="take that back first"):
        claim_authorship(engine, ada, KEY, "Bo Bee", "believe me", NOON)
    decide(engine, mo, number, REFUSED, "no sign of it", NOON)
    assert claim_authorship(engine, ada, KEY, "Ada Ay", "see my page", NOON) == number
    with read(engine) as connection:
        (again,) = authorships_of(connection, ada.id, None, 9)
    assert (again.state, again.because, again.decided_at) == ("asked", "", None)


def test_only_moderators_decide_and_not_on_their_own(
    engine: Engine, add: AddReader, one: PaperId
) -> None:
    ada, mo, boss = add("ada"), add("mo", Role.MODERATOR), add("boss", Role.ADMIN)
    number = claim_authorship(engine, ada, KEY, "Ada Ay", "believe me", NOON)
    with pytest.raises(ForbiddenError):
        decide(engine, ada, number, CONFIRMED, "I am", NOON)
    own = claim_authorship(engine, mo, KEY, "Bo Bee", "I am", NOON)
    with pytest.raises(ForbiddenError, match="another moderator"):
        decide(engine, mo, own, CONFIRMED, "I am", NOON)
    decide(engine, boss, own, CONFIRMED, "I know him", NOON)
    with pytest.raises(UsageError, match="say why"):
        decide(engine, mo, number, CONFIRMED, "  ", NOON)
    with pytest.raises(NotFoundError):
        decide(engine, mo, 99, CONFIRMED, "why", NOON)


@pytest.mark.parametrize(
    ("path", "state"),
    [((), REVOKED), ((REFUSED,), REFUSED), ((REFUSED,), REVOKED), ((CONFIRMED,), CONFIRMED),
     ((CONFIRMED,), REFUSED)],
)  # fmt: skip
def test_a_decision_that_makes_no_sense_is_refused(
    engine: Engine, add: AddReader, one: PaperId, path: tuple[str, ...], state: str
) -> None:
    ada, mo = add("ada"), add("mo", Role.MODERATOR)
    number = claim_authorship(engine, ada, KEY, "Ada Ay", "believe me", NOON)
    for step in path:
        decide(engine, mo, number, step, "because", NOON)
    with pytest.raises(UsageError, match="cannot be"):
        decide(engine, mo, number, state, "because", NOON)


def test_an_author_is_one_reader(engine: Engine, add: AddReader, one: PaperId) -> None:
    ada, eve, mo = add("ada"), add("eve"), add("mo", Role.MODERATOR)
    first = claim_authorship(engine, ada, KEY, "Ada Ay", "believe me", NOON)
    second = claim_authorship(engine, eve, KEY, "Ada Ay", "believe me", NOON)
    decide(engine, mo, first, CONFIRMED, "because", NOON)
    with pytest.raises(UsageError, match="another reader"):
        decide(engine, mo, second, CONFIRMED, "because", NOON)
    with pytest.raises(NotFoundError):
        take_back(engine, eve, first)
    take_back(engine, ada, first)
    decide(engine, mo, second, CONFIRMED, "because", NOON)
    with read(engine) as connection:
        assert confirmed_on(connection, one) == [("Ada Ay", "eve")]


@pytest.mark.parametrize(
    ("key", "author", "note"),
    [
        ("nowhere", "Ada Ay", "x"),
        (KEY, "Ada", "x"),
        (KEY, "Ada Ay", " "),
        (KEY, "Ada Ay", "x" * 1001),
    ],
)
def test_what_cannot_be_said_is_refused(
    engine: Engine, add: AddReader, one: PaperId, key: str, author: str, note: str
) -> None:
    with pytest.raises(UsageError):
        claim_authorship(engine, add(), key, author, note, NOON)


def test_there_is_a_limit(engine: Engine, add: AddReader, one: PaperId) -> None:
    ada = add()
    for _ in range(10):
        take_back(engine, ada, claim_authorship(engine, ada, KEY, "Ada Ay", "x", NOON))
    with pytest.raises(TooOftenError):
        claim_authorship(engine, ada, KEY, "Ada Ay", "x", NOON)
    claim_authorship(engine, ada, KEY, "Ada Ay", "x", NOON + timedelta(days=1))


def test_it_follows_a_paper_that_turns_out_to_be_another(
    engine: Engine, add: AddReader, one: PaperId, paper: AddPaper
) -> None:
    ada, mo = add("ada"), add("mo", Role.MODERATOR)
    paper("goes", authors=["Ada Ay"])
    number = claim_authorship(engine, ada, "goes", "Ada Ay", "x", NOON)
    decide(engine, mo, number, CONFIRMED, "because", NOON)
    with write(engine) as connection:
        connection.execute(insert(IdentifierTable).values(scheme="key", value="goes", paper_id=one))
        connection.execute(text("DELETE FROM paper WHERE key = 'goes'"))
        assert confirmed_on(connection, one) == [("Ada Ay", "ada")]
