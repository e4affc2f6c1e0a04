"""Accounts: who may have one, who gets in, and what is left when one goes."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from argon2 import PasswordHasher
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select, text

from paperround.db import read, write
from paperround.errors import (
    ForbiddenError,
    NotFoundError,
    SignInError,
    TooOftenError,
    UsageError,
)
from paperround.readers import accounts
from paperround.readers.links import find_link, first_admin_link, new_link
from paperround.readers.mail import Mailing
from paperround.readers.queries import (
    all_readers,
    reader_by_name,
    sessions_of,
)
from paperround.readers.records import Purpose, Reader
from paperround.readers.secrets import check_password, hash_password, is_password
from paperround.readers.sessions import IDLE, LONGEST, find_session
from paperround.readers.tables import LinkTable, OutboxTable, ReaderTable, SessionTable
from paperround.readers.tokens import add_token, find_token
from paperround.runs.rights import Role
from paperround.settings import MailServer

AddReader = Callable[..., Reader]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
PASSWORD = "kettle orbit mango 7"
MAILING = Mailing(MailServer(host="localhost", sender="p@papers.example"), "https://papers.example")


def sign_up(engine: Engine, name: str = "ada", **changes: object) -> str:
    options = {"address": "192.0.2.1", "agent": "Browser", "now": NOON, **changes}
    return accounts.sign_up(engine, name, PASSWORD, **options)  # type: ignore[arg-type]


def sign_in(engine: Engine, name: str, password: str, **changes: object) -> str:
    options = {"address": "192.0.2.1", "agent": "Browser", "now": NOON, **changes}
    return accounts.sign_in(engine, name, password, **options)  # type: ignore[arg-type]


def who_holds(engine: Engine, token: str, at: object = NOON) -> str | None:
    with read(engine) as connection:
        found = find_session(connection, token, at)  # type: ignore[arg-type]
    return found[1].name if found else None


def token_in(path: str) -> str:
    return path.rpartition("/")[2]


def test_who_signs_up_is_signed_in_and_can_sign_in_again(engine: Engine) -> None:
    assert who_holds(engine, sign_up(engine, "Ada-L")) == "Ada-L"
    assert who_holds(engine, sign_in(engine, " ADA-l ", PASSWORD)) == "Ada-L"


def test_a_name_in_other_letters_is_the_same_name(engine: Engine) -> None:
    sign_up(engine, "ada")
    with pytest.raises(UsageError, match="somebody is called 'ADA' already"):
        sign_up(engine, "ADA")


@pytest.mark.parametrize(
    "name",
    [
        # A letter that looks like another, signs that cannot be seen, that turn the words around.
        *("аda", "ada\u202eda", "ad\u200ba", "ada\u0301", "ａｄａ", "ada\u00a0bo"),
        *(
            "ada bo",
            "<b>",
            "ada@lab.example",
            "a",
            "-ada",
            "ada.",
            "a" * 41,
            "",
            "../ada",
            "ada\r\nx: y",
        ),
    ],
    ids=ascii,
)
def test_a_name_that_could_be_taken_for_another_is_refused(engine: Engine, name: str) -> None:
    with pytest.raises(UsageError):
        sign_up(engine, name)


@given(st.text(max_size=50))
def test_a_name_is_letters_that_stand_in_an_address_and_a_sentence(name: str) -> None:
    try:
        kept = accounts.checked_name(name)
    except UsageError:
        return
    assert kept == name.strip()
    assert kept.isascii()
    assert 2 <= len(kept) <= 40
    assert kept.replace(".", "").replace("_", "").replace("-", "").isalnum()


@pytest.mark.parametrize(
    "password",
    ["short", "aaaaaaaaaaaaa", "1234567890123", "paperround123", "ada-lovelace", "abcabcabcabc"],
)
def test_a_password_that_is_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(UsageError):
        check_password(password, "ada-lovelace")


@pytest.mark.parametrize(
    "password", [PASSWORD, "пароль из слов", "x9!Qw#7pLm", "a" * 2 + "völlig anders"]
)
def test_a_password_of_one_s_own_is_taken(password: str) -> None:
    check_password(password, "ada")


def test_a_password_is_kept_as_argon2id_with_a_salt_of_its_own() -> None:
    one, other = hash_password(PASSWORD), hash_password(PASSWORD)
    assert one.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert one != other
    assert is_password(one, PASSWORD)
    assert not is_password(one, PASSWORD + "x")
    assert not is_password(None, PASSWORD)


def test_a_hash_of_weaker_parameters_is_replaced_on_sign_in(engine: Engine, add: AddReader) -> None:
    add("ada")
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with write(engine) as connection:
        connection.execute(text("UPDATE reader SET password = :weak"), {"weak": weak})
    sign_in(engine, "ada", PASSWORD)
    with read(engine) as connection:
        kept = connection.scalar(select(ReaderTable.password))
    assert kept is not None
    assert kept.startswith("$argon2id$v=19$m=19456")


def test_a_wrong_name_and_a_wrong_password_are_refused_alike(
    engine: Engine, add: AddReader
) -> None:
    add("ada")
    said = []
    for name in ("ada", "nobody"):
        with pytest.raises(SignInError) as raised:
            sign_in(engine, name, "another password")
        said.append(str(raised.value))
    assert said[0] == said[1]


def test_refusing_takes_as_long_whether_there_is_such_an_account(
    engine: Engine, add: AddReader
) -> None:
    add("ada")
    times: dict[str, list[float]] = {"ada": [], "nobody": []}
    for turn in range(12):
        for name, taken in times.items():
            begun = time.process_time()
            with pytest.raises(SignInError):
                # Long after the last, so that nobody waits.
                sign_in(engine, name, "wrong words", now=NOON + timedelta(days=2 * turn))
            taken.append(time.process_time() - begun)
    ratio = statistics.median(times["nobody"]) / statistics.median(times["ada"])
    # Without a hash to compare with it would be a few hundredths.
    assert 0.5 < ratio < 2


def test_failed_sign_ins_wait_longer_each_time_and_a_name_nobody_has_waits_the_same(
    engine: Engine, add: AddReader
) -> None:
    add("ada")
    waits: dict[str, list[int]] = {"ada": [], "nobody": []}
    for name, waited in waits.items():
        now = NOON
        for n in range(16):
            try:
                sign_in(engine, name, "wrong words", now=now, address=f"{name} {n}")
            except TooOftenError as error:
                waited.append(error.wait_s)
                now += timedelta(seconds=error.wait_s)
                with pytest.raises(SignInError):
                    sign_in(engine, name, "wrong words", now=now, address=f"{name} {n}")
            except SignInError:
                pass
    assert waits["ada"] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert waits["nobody"] == waits["ada"]


def test_many_guesses_at_once_are_many_attempts(engine: Engine, add: AddReader) -> None:
    add("ada")

    def guess(n: int) -> str:
        try:
            sign_in(engine, "ada", f"wrong words {n}", address=f"192.0.2.{n}")
        except (SignInError, TooOftenError) as error:
            return type(error).__name__
        return "in"

    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(guess, range(24)))
    assert said.count("SignInError") == 5
    assert said.count("TooOftenError") == 19


def test_a_success_forgives_what_failed_before(engine: Engine, add: AddReader) -> None:
    add("ada")
    for _ in range(3):
        for _ in range(4):
            with pytest.raises(SignInError):
                sign_in(engine, "ada", "wrong words")
        sign_in(engine, "ada", PASSWORD)


def test_the_sixth_sign_up_from_one_place_waits(engine: Engine) -> None:
    for n in range(5):
        sign_up(engine, f"reader-{n}")
    with pytest.raises(TooOftenError):
        sign_up(engine, "reader-5")
    sign_up(engine, "reader-5", address="192.0.2.2")
    sign_up(engine, "reader-6", now=NOON + timedelta(minutes=31))


def test_sessions_end_by_idling_by_age_and_when_they_are_ended(
    engine: Engine, add: AddReader
) -> None:
    reader = add("ada")
    token = sign_in(engine, "ada", PASSWORD)
    assert who_holds(engine, token, NOON + IDLE - timedelta(seconds=1)) == "ada"
    assert who_holds(engine, token, NOON + IDLE) is None
    with write(engine) as connection:
        connection.execute(text("UPDATE session SET seen_at = '2027-01-01 00:00:00.000000'"))
    assert who_holds(engine, token, NOON + LONGEST - timedelta(seconds=1)) == "ada"
    assert who_holds(engine, token, NOON + LONGEST) is None
    other = sign_in(engine, "ada", PASSWORD)
    with read(engine) as connection:
        (first,) = [s for s in sessions_of(connection, reader.id, NOON) if s.seen_at > NOON]
    accounts.change_password(
        engine, reader, PASSWORD, "quite another 12 words", session_id=first.id, now=NOON
    )
    assert who_holds(engine, token) == "ada"
    assert who_holds(engine, other) is None


def test_what_a_browser_holds_is_not_in_the_database(engine: Engine, add: AddReader) -> None:
    add("ada")
    token = sign_in(engine, "ada", PASSWORD)
    with read(engine) as connection:
        kept = connection.scalars(select(SessionTable.token_sha256)).all()
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert len(kept) == 1
    assert token not in dump
    assert PASSWORD not in dump


def test_the_first_link_makes_the_admin_once(engine: Engine) -> None:
    with write(engine) as connection:
        former = first_admin_link(connection, NOON)
        path = first_admin_link(connection, NOON)
    assert former is not None
    assert path is not None
    with pytest.raises(NotFoundError):
        sign_up(engine, "eve", link=token_in(former))
    sign_up(engine, "ada", link=token_in(path))
    with pytest.raises(NotFoundError):
        sign_up(engine, "eve", link=token_in(path))
    with write(engine) as connection:
        assert first_admin_link(connection, NOON) is None
        assert [(r.name, r.role) for r in all_readers(connection)] == [("ada", Role.ADMIN)]


def test_an_admin_link_that_lies_about_makes_no_second_admin(engine: Engine) -> None:
    with write(engine) as connection:
        path = first_admin_link(connection, NOON)
    assert path is not None
    sign_up(engine, "ada")
    with pytest.raises(NotFoundError):
        sign_up(engine, "eve", link=token_in(path))


def test_a_link_that_fails_stays_good(engine: Engine, add: AddReader) -> None:
    add("ada")
    with write(engine) as connection:
        link = token_in(new_link(connection, Purpose.INVITATION, NOON))
    with pytest.raises(UsageError):
        sign_up(engine, "ADA", link=link)
    sign_up(engine, "bo", link=link)
    with read(engine) as connection:
        bo = reader_by_name(connection, "bo")
    assert bo is not None
    # Whoever is invited counts at once; who signs up by themselves counts after a week.
    assert bo.established_at == NOON


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_link_expires_and_is_good_for_its_own_purpose_only(
    engine: Engine, purpose: Purpose
) -> None:
    with write(engine) as connection:
        link = token_in(new_link(connection, purpose, NOON))
    with read(engine) as connection, pytest.raises(NotFoundError):
        find_link(connection, link, NOON + timedelta(days=30))
    if purpose is not Purpose.PASSWORD:
        with pytest.raises(NotFoundError):
            accounts.set_password(engine, link, "any words at all 3", NOON)
    if purpose is not Purpose.EMAIL:
        with pytest.raises(NotFoundError):
            accounts.confirm_email(engine, link, NOON)
    if purpose in (Purpose.EMAIL, Purpose.PASSWORD):
        with pytest.raises(NotFoundError):
            sign_up(engine, "eve", link=link)


def mails(engine: Engine) -> list[tuple[str, str]]:
    with read(engine) as connection:
        rows = connection.execute(select(OutboxTable.recipient, OutboxTable.text))
        return [(row.recipient, row.text) for row in rows]


def link_in(mail: str) -> str:
    (line,) = [line for line in mail.splitlines() if line.startswith("https://papers.example/")]
    return token_in(line)


def with_email(engine: Engine, reader: Reader, email: str = "Ada@lab.example") -> None:
    accounts.ask_for_email(engine, reader, email, MAILING, now=NOON)
    accounts.confirm_email(engine, link_in(mails(engine)[-1][1]), NOON)
    with write(engine) as connection:
        connection.execute(text("DELETE FROM outbox"))


def test_an_address_counts_once_it_is_confirmed(engine: Engine, add: AddReader) -> None:
    reader = add("ada")
    accounts.ask_for_email(engine, reader, "ada@lab.example", MAILING, now=NOON)
    with pytest.raises(SignInError):
        sign_in(engine, "ada@lab.example", PASSWORD)
    ((recipient, mail),) = mails(engine)
    assert recipient == "ada@lab.example"
    assert accounts.confirm_email(engine, link_in(mail), NOON) == "ada@lab.example"
    sign_in(engine, "ADA@lab.example", PASSWORD)


def test_an_address_is_one_reader_s(engine: Engine, add: AddReader) -> None:
    with_email(engine, add("ada"))
    eve = add("eve")
    # Nothing tells eve that the address is known here: its owner alone gets the link.
    accounts.ask_for_email(engine, eve, "ada@lab.example", MAILING, now=NOON)
    with pytest.raises(UsageError):
        accounts.confirm_email(engine, link_in(mails(engine)[-1][1]), NOON)


@pytest.mark.parametrize(
    "address",
    [
        *("", "ada", "a@b", "a b@c.de", "a@b.de\r\nBcc: c@d.de", "<a@b.de>", "a@b.de,c@d.de"),
        # Quotes and comments, by which one address has many spellings.
        *(
            "@b.de",
            '"a b"@c.de',
            "a(1)@b.de",
            "a@b.de(1)",
            "a@(1)b.de",
            "(1)a@b.de",
            "a@[192.0.2.1]",
        ),
        *("a..b@c.de", ".a@c.de", "a.@c.de", "a@-b.de", "a@b-.de", "a@b..de", "a@b.1", "a@b@c.de"),
        # Other letters: a server may know them or not, and some look like others.
        *("ädä@lab.example", "ada@bücher.example", "аda@lab.example", "ada@lab.example\u202e"),
        f"{'a' * 65}@b.de",
        f"a@{'b.' * 130}de",
    ],
    ids=ascii,
)
def test_what_is_no_address_is_refused(engine: Engine, add: AddReader, address: str) -> None:
    with pytest.raises(UsageError):
        accounts.ask_for_email(engine, add("ada"), address, MAILING, now=NOON)
    assert mails(engine) == []


def test_a_mailed_link_sets_a_password_and_ends_everything(engine: Engine, add: AddReader) -> None:
    reader = add("ada")
    with_email(engine, reader)
    session = sign_in(engine, "ada", PASSWORD)
    token = add_token(engine, reader, "script", ["read"], 10, NOON)
    accounts.ask_for_password(engine, "ADA", MAILING, address="192.0.2.1", now=NOON)
    ((recipient, mail),) = mails(engine)
    assert recipient == "Ada@lab.example"
    assert accounts.set_password(engine, link_in(mail), "nine new words 9", NOON) == "ada"
    assert who_holds(engine, session) is None
    with read(engine) as connection:
        assert find_token(connection, token, NOON) is None
    with pytest.raises(SignInError):
        sign_in(engine, "ada", PASSWORD)
    sign_in(engine, "ada", "nine new words 9")
    with pytest.raises(NotFoundError):
        accounts.set_password(engine, link_in(mail), "nine new words 8", NOON)


def test_asking_for_a_password_of_nobody_mails_nothing_and_is_limited_alike(
    engine: Engine, add: AddReader
) -> None:
    with_email(engine, add("ada"))
    add("bo")
    for name in ("nobody", "bo", "ada"):
        for n in range(3):
            accounts.ask_for_password(
                engine, name, MAILING, address=f"192.0.2.{n}", now=NOON + timedelta(minutes=n)
            )
        with pytest.raises(TooOftenError):
            accounts.ask_for_password(
                engine, name, MAILING, address="192.0.2.9", now=NOON + timedelta(minutes=4)
            )
    # What is for nobody is written just as well, and goes to no address.
    sent = [recipient for recipient, _ in mails(engine)]
    assert sent == [*[""] * 6, *["Ada@lab.example"] * 3]
    # Only the last of hers is good, and one that nobody has been told.
    with read(engine) as connection:
        assert len(connection.scalars(select(LinkTable.purpose)).all()) == 2
    for mail in (mails(engine)[0][1], mails(engine)[5][1]):
        with pytest.raises(NotFoundError):
            accounts.set_password(engine, link_in(mail), "nine new words 9", NOON)


def test_the_same_is_asked_of_the_database_whether_somebody_is_there_or_not(
    engine: Engine, add: AddReader
) -> None:
    with_email(engine, add("ada"))
    asked: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    done = []
    for n, name in enumerate(("ada", "nobody", "ada@lab.example")):
        asked.clear()
        accounts.ask_for_password(engine, name, MAILING, address=f"192.0.2.{n}", now=NOON)
        # What is compared with nothing is written otherwise, and looked up in the same index.
        done.append([each.replace("IS NULL", "IS ?") for each in asked])
    assert done[0] == done[1] == done[2]


def test_a_suspended_reader_is_out_until_readmitted(engine: Engine, add: AddReader) -> None:
    reader = add("ada")
    token = sign_in(engine, "ada", PASSWORD)
    with write(engine) as connection:
        accounts.suspend(connection, reader, None, NOON)
    assert who_holds(engine, token) is None
    with pytest.raises(ForbiddenError):
        sign_in(engine, "ada", PASSWORD)
    with pytest.raises(SignInError):
        sign_in(engine, "ada", "wrong words")
    with write(engine) as connection:
        accounts.readmit(connection, reader, None, NOON)
    sign_in(engine, "ada", PASSWORD)


def test_the_last_admin_stays_one(engine: Engine, add: AddReader) -> None:
    admin, other = add("ada", Role.ADMIN), add("bo")
    for act in (
        lambda c: accounts.set_role(c, admin, Role.READER, NOON, by=None),
        lambda c: accounts.suspend(c, admin, None, NOON),
        lambda c: accounts.delete_reader(c, admin),
    ):
        with pytest.raises(UsageError, match="only admin"), write(engine) as connection:
            act(connection)
    with write(engine) as connection:
        accounts.set_role(connection, other, Role.ADMIN, NOON, by=admin)
        accounts.delete_reader(connection, admin)
