"""Ways to take an account over, or to have one twice: each ends where it began."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import TypeVar

import pytest
from sqlalchemy import Engine, func, select

from paperround.db import read, write
from paperround.errors import NotFoundError, PaperroundError, UsageError
from paperround.readers import accounts
from paperround.readers.identities import sign_in_as
from paperround.readers.links import new_link
from paperround.readers.mail import Mailing
from paperround.readers.queries import reader_by_id, sessions_of
from paperround.readers.records import Purpose, Reader
from paperround.readers.sessions import begin_session, find_session
from paperround.readers.tables import OutboxTable, ReaderTable
from paperround.settings import MailServer

AddReader = Callable[..., Reader]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
PASSWORD = "kettle orbit mango 7"
NEW = "nine other words 8"
HOME = "https://papers.example"
MAILING = Mailing(MailServer(host="localhost", sender="p@papers.example"), HOME)
FROM = {"address": "192.0.2.1", "agent": "Browser", "now": NOON}

T = TypeVar("T")


def at_once(acts: list[Callable[[], T]]) -> list[T | PaperroundError]:
    """What became of acts that begin at the same moment."""
    gate = Barrier(len(acts))

    def do(act: Callable[[], T]) -> T | PaperroundError:
        gate.wait()
        try:
            return act()
        except PaperroundError as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(do, acts))


def linked(engine: Engine, reader: Reader, purpose: Purpose, email: str | None = None) -> str:
    with write(engine) as connection:
        path = new_link(connection, purpose, NOON, reader_id=reader.id, email=email)
    return path.rpartition("/")[2]


def test_of_many_who_want_one_name_at_once_one_has_it(engine: Engine) -> None:
    names = ["ada", "Ada", "ADA", "aDa", "ada"]
    done = at_once(
        [
            lambda name=name: accounts.sign_up(  # type: ignore[misc]
                engine, name, PASSWORD, **FROM
            )
            for name in names
        ]
    )
    assert sum(isinstance(each, str) for each in done) == 1
    assert {str(each).partition("'")[0] for each in done if isinstance(each, UsageError)} == {
        "somebody is called "
    }
    with read(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(ReaderTable)) == 1


def test_of_two_who_confirm_one_address_at_once_one_has_it(engine: Engine, add: AddReader) -> None:
    links = [linked(engine, add(name), Purpose.EMAIL, "Ada@lab.example") for name in ("ada", "bo")]
    done = at_once([lambda link=link: accounts.confirm_email(engine, link, NOON) for link in links])  # type: ignore[misc]
    assert sorted(map(type, done), key=str) == [UsageError, str]
    with read(engine) as connection:
        assert connection.scalars(select(ReaderTable.email_key)).all().count("ada@lab.example") == 1


def test_an_invitation_that_many_use_at_once_makes_one_account(
    engine: Engine, add: AddReader
) -> None:
    link = linked(engine, add("boss"), Purpose.INVITATION)
    done = at_once(
        [
            lambda name=name: accounts.sign_up(engine, name, PASSWORD, link=link, **FROM)  # type: ignore[misc, arg-type]
            for name in ("bo", "cy", "di", "ed")
        ]
    )
    assert sum(isinstance(each, NotFoundError) for each in done) == 3


def test_a_link_for_a_password_that_two_use_at_once_sets_one(
    engine: Engine, add: AddReader
) -> None:
    link = linked(engine, add("ada"), Purpose.PASSWORD)
    passwords = ["nine other words 8", "eight other words 9"]
    done = at_once(
        [lambda new=new: accounts.set_password(engine, link, new, NOON) for new in passwords]  # type: ignore[misc]
    )
    assert sorted(map(type, done), key=str) == [NotFoundError, str]
    opens = []
    for password in passwords:
        try:
            opens.append(accounts.sign_in(engine, "ada", password, **FROM))  # type: ignore[arg-type]
        except PaperroundError:
            continue
    assert len(opens) == 1


@pytest.mark.parametrize("how", ["changed", "by a link"])
def test_a_new_password_makes_links_good_for_nothing_that_somebody_else_may_have(
    engine: Engine, add: AddReader, how: str
) -> None:
    ada, bo = add("ada"), add("bo")
    evil = linked(engine, ada, Purpose.EMAIL, "evil@elsewhere.example")
    other = linked(engine, bo, Purpose.EMAIL, "bo@lab.example")
    by_mail = linked(engine, ada, Purpose.PASSWORD)
    if how == "changed":
        with write(engine) as connection:
            token = begin_session(connection, ada.id, "", NOON)
            found = find_session(connection, token, NOON)
        assert found is not None
        accounts.change_password(engine, ada, PASSWORD, NEW, session_id=found[0].id, now=NOON)
    else:
        accounts.set_password(engine, by_mail, NEW, NOON)
    with pytest.raises(NotFoundError):
        accounts.confirm_email(engine, evil, NOON)
    with pytest.raises(NotFoundError):
        accounts.set_password(engine, by_mail, "yet other words 7", NOON)
    assert accounts.confirm_email(engine, other, NOON) == "bo@lab.example"


def test_a_new_address_makes_a_link_good_for_nothing_that_went_to_the_former(
    engine: Engine, add: AddReader
) -> None:
    ada = add("ada")
    accounts.confirm_email(engine, linked(engine, ada, Purpose.EMAIL, "old@lab.example"), NOON)
    accounts.ask_for_password(engine, "ada", MAILING, address="192.0.2.1", now=NOON)
    with read(engine) as connection:
        mail = connection.scalars(select(OutboxTable.text)).one()
    (line,) = [line for line in mail.splitlines() if line.startswith(HOME)]
    accounts.confirm_email(engine, linked(engine, ada, Purpose.EMAIL, "new@lab.example"), NOON)
    with pytest.raises(NotFoundError):
        accounts.set_password(engine, line.rpartition("/")[2], NEW, NOON)


def test_a_browser_that_signs_in_again_has_one_session(engine: Engine, add: AddReader) -> None:
    ada, bo = add("ada"), add("bo")
    first = accounts.sign_in(engine, "ada", PASSWORD, **FROM)  # type: ignore[arg-type]
    second = accounts.sign_in(engine, "ada", PASSWORD, held=first, **FROM)  # type: ignore[arg-type]
    elsewhere = accounts.sign_in(engine, "ada", PASSWORD, **FROM)  # type: ignore[arg-type]
    third = accounts.sign_in(engine, "bo", PASSWORD, held=second, **FROM)  # type: ignore[arg-type]
    joined = sign_in_as(
        engine,
        "https://id.example",
        "1",
        wanted_name="cy",
        may_sign_up=True,
        agent="",
        now=NOON,
        held=third,
    )
    with read(engine) as connection:
        for token, name in (
            (first, None),
            (second, None),
            (third, None),
            (elsewhere, "ada"),
            (joined, "cy"),
        ):
            found = find_session(connection, token, NOON)
            assert (found[1].name if found else None) == name
        assert len(sessions_of(connection, ada.id, NOON.replace(year=2025))) == 1
        assert sessions_of(connection, bo.id, NOON.replace(year=2025)) == []


def test_a_token_that_somebody_else_chose_never_becomes_a_session(
    engine: Engine, add: AddReader
) -> None:
    add("ada")
    planted = "chosen-by-somebody-else"
    token = accounts.sign_in(engine, "ada", PASSWORD, held=planted, **FROM)  # type: ignore[arg-type]
    with read(engine) as connection:
        assert find_session(connection, planted, NOON) is None
        assert find_session(connection, token, NOON) is not None
        assert reader_by_id(connection, 1) is not None
