"""Subscriptions of addresses: asked for, confirmed, changed, ended; and what is left then."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from paperround.db import Table, read, write
from paperround.errors import NotFoundError, PaperroundError, TooOftenError, UsageError
from paperround.readers.accounts import ask_for_email, confirm_email, delete_reader
from paperround.readers.export import export_reader
from paperround.readers.mail import Mailing
from paperround.readers.queries import reader_by_id
from paperround.readers.records import Reader
from paperround.readers.secrets import (
    is_lasting_token,
    lasting_token,
    number_in,
    place_key,
)
from paperround.readers.subjects import Kind, Subject, checked_cadence, checked_subject
from paperround.readers.subscribing import (
    ask_for_manage_link,
    ask_to_subscribe,
    confirm_request,
    find_request,
)
from paperround.readers.subscriptions import (
    MANAGE,
    MAX_SUBSCRIPTIONS,
    STOP,
    Subscriber,
    add_subscription,
    end_all,
    end_subscription,
    manage_path,
    resume,
    set_cadence,
    set_hours,
    subscribe_reader,
    subscriber_at,
    subscriber_by_token,
    subscriber_of_reader,
    subscriptions_of,
    suspend_subscriber,
)
from paperround.readers.tables import OutboxTable, SubscriberTable
from paperround.readers.times import Cadence, Hours, due_moment
from paperround.settings import MailServer

AddReader = Callable[..., Reader]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
MAILING = Mailing(MailServer(host="localhost", sender="p@p.example"), "https://papers.example")
BERLIN = Hours("Europe/Berlin", 7, 0)
CL = Subject(Kind.CATEGORY, "cs.CL")
EMAIL = "ada@lab.example"
KEY = b"k" * 32


def mails(engine: Engine) -> list[tuple[str, str]]:
    with read(engine) as connection:
        rows = connection.execute(select(OutboxTable.recipient, OutboxTable.text))
        return [(row.recipient, row.text) for row in rows]


def ask(engine: Engine, email: str = EMAIL, subject: Subject = CL, **options: object) -> str:
    """The secret in the mail that came of it."""
    before = len(mails(engine))
    values: dict[str, object] = {"address": "192.0.2.1", "now": NOON, **options}
    ask_to_subscribe(
        engine,
        email,
        subject,
        Cadence.DAILY,
        BERLIN,
        MAILING,
        **values,  # type: ignore[arg-type]
    )
    (sent,) = mails(engine)[before:]
    assert sent[0] == email
    found = re.search(r"https://papers\.example/subscribe/(\S+)", sent[1])
    assert found is not None
    return found[1]


def subscriber(engine: Engine, email: str = EMAIL) -> Subscriber | None:
    with read(engine) as connection:
        return subscriber_at(connection, email)


def subscribed(engine: Engine, email: str = EMAIL) -> list[tuple[str, str]]:
    with read(engine) as connection:
        found = subscriber_at(connection, email)
        held = subscriptions_of(connection, found.id) if found else []
    return [(each.subject.says, each.cadence.value) for each in held]


@pytest.fixture
def ada(engine: Engine, add: AddReader) -> Reader:
    return with_address(engine, add("ada"), EMAIL)


def with_address(engine: Engine, reader: Reader, email: str) -> Reader:
    ask_for_email(engine, reader, email, MAILING, now=NOON)
    found = re.search(r"/confirm/(\S+)", mails(engine)[-1][1])
    assert found is not None
    confirm_email(engine, found[1], NOON)
    with read(engine) as connection:
        again = reader_by_id(connection, reader.id)
    assert again is not None
    return again


def test_nothing_is_kept_of_an_address_that_has_not_confirmed(engine: Engine) -> None:
    token = ask(engine)
    assert subscriber(engine) is None
    with read(engine) as connection:
        for _ in range(2):
            found = find_request(connection, token, NOON)
            assert (found.email, found.subject, found.hours) == (EMAIL, CL, BERLIN)
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert token in mails(engine)[0][1]
    assert token not in dump.replace(mails(engine)[0][1], "")


def test_pressing_the_button_subscribes_once(engine: Engine) -> None:
    token = ask(engine)
    made, _ = confirm_request(engine, token, NOON)
    assert subscribed(engine) == [("Papers in cs.CL", "daily")]
    assert (made.hours, made.next_at) == (BERLIN, datetime(2026, 7, 2, 5, tzinfo=UTC))
    with pytest.raises(NotFoundError):
        confirm_request(engine, token, NOON)


def test_a_request_expires(engine: Engine) -> None:
    token = ask(engine)
    with pytest.raises(NotFoundError):
        confirm_request(engine, token, NOON + timedelta(days=2))
    ask(engine, "bo@lab.example", now=NOON + timedelta(days=3))
    with read(engine) as connection:
        table = Table.metadata.tables["subscription_request"]
        assert [row.email for row in connection.execute(select(table))] == ["bo@lab.example"]


def test_who_is_known_and_who_is_not_get_the_same_mail(engine: Engine, add: AddReader) -> None:
    with_address(engine, add("bo"), "bo@lab.example")
    confirm_request(engine, ask(engine, EMAIL), NOON)
    said = []
    for email in (EMAIL, "bo@lab.example", "nobody@lab.example"):
        token = ask(engine, email, Subject(Kind.TRENDING))
        said.append(mails(engine)[-1][1].replace(token, "…"))
    assert len(set(said)) == 1


def test_an_address_is_written_to_so_often_and_a_network_asks_so_often(engine: Engine) -> None:
    for n in range(4):
        ask(engine, address=f"192.0.2.{n}")
    with pytest.raises(TooOftenError):
        ask(engine, EMAIL.upper(), address="192.0.2.9")
    for n in range(20):
        ask(engine, f"a{n}@lab.example", address="198.51.100.1")
    with pytest.raises(TooOftenError):
        ask(engine, "b@lab.example", address="198.51.100.1")
    assert len(mails(engine)) == 24


@pytest.mark.parametrize(
    "email", ["", "ada", "a b@lab.example", "a@b", "a@b.c\r\nBcc: d@e.fg", "ä@lab.example"]
)
def test_what_is_no_address_is_refused(engine: Engine, email: str) -> None:
    with pytest.raises(UsageError):
        ask(engine, email)
    assert mails(engine) == []


@pytest.mark.parametrize(
    ("kind", "value", "mode"),
    [
        ("everything", "", ""),
        ("category", "", ""),
        ("category", "two words", ""),
        ("author", '"', ""),
        ("author", "x" * 201, ""),
        ("organisation", "a\0b", ""),
        ("search", " ", ""),
        ("search", "x" * 1001, ""),
        ("search", "x", "magic"),
    ],
)
def test_what_cannot_be_subscribed_to_is_refused(kind: str, value: str, mode: str) -> None:
    with pytest.raises(UsageError):
        checked_subject(kind, value, mode)


def test_no_cadence_but_two() -> None:
    assert checked_cadence("weekly") is Cadence.WEEKLY
    with pytest.raises(UsageError):
        checked_cadence("hourly")


@given(kind=st.sampled_from(list(Kind)), value=st.text(max_size=80))
def test_what_is_checked_stays_so_and_leads_to_a_page(kind: Kind, value: str) -> None:
    try:
        subject = checked_subject(kind, value)
    except UsageError:
        return
    assert checked_subject(subject.kind, subject.value, subject.mode) == subject
    assert subject.says.isprintable()
    assert re.fullmatch(r"/(trending|search)(\?[\x21-\x7e]+)?", subject.path)


def test_an_author_s_name_cannot_bring_filters_of_its_own() -> None:
    subject = checked_subject("author", 'Ay" cat:cs.CL "')
    assert subject.query == 'author:"Ay cat:cs.CL"'


def test_a_reader_subscribes_with_the_address_that_they_have_confirmed(
    engine: Engine, add: AddReader, ada: Reader
) -> None:
    first = subscribe_reader(engine, ada, CL, Cadence.DAILY, NOON, BERLIN)
    assert subscribe_reader(engine, ada, CL, Cadence.WEEKLY, NOON) == first
    assert subscribed(engine) == [("Papers in cs.CL", "weekly")]
    held = subscriber(engine)
    assert held is not None
    # The first of July 2026 is a Wednesday.
    assert held.next_at == due_moment(datetime(2026, 7, 6).date(), BERLIN)
    with pytest.raises(UsageError, match="confirm an address"):
        subscribe_reader(engine, add("bo"), CL, Cadence.DAILY, NOON)


def test_what_an_address_had_by_itself_is_its_reader_s(engine: Engine, add: AddReader) -> None:
    confirm_request(engine, ask(engine), NOON)
    ada = add("ada")
    with read(engine) as connection:
        assert subscriber_of_reader(connection, ada) is None
    ada = with_address(engine, ada, EMAIL)
    with read(engine) as connection:
        found = subscriber_of_reader(connection, ada)
    assert found is not None
    assert found.reader_id == ada.id


def test_subscriptions_follow_a_reader_to_another_address(engine: Engine, ada: Reader) -> None:
    subscribe_reader(engine, ada, CL, Cadence.DAILY, NOON, BERLIN)
    there = "ada@home.example"
    confirm_request(engine, ask(engine, there), NOON)
    confirm_request(engine, ask(engine, there, Subject(Kind.TRENDING)), NOON)
    with_address(engine, ada, there)
    assert subscribed(engine, there) == [("Papers in cs.CL", "daily"), ("Trending papers", "daily")]
    assert subscriber(engine, EMAIL) is None


def test_hours_and_cadences_change_and_the_last_end_forgets_the_address(engine: Engine) -> None:
    made, _ = confirm_request(engine, ask(engine), NOON)
    second = add_subscription(engine, made.id, Subject(Kind.TRENDING), Cadence.WEEKLY, NOON)
    set_hours(engine, made.id, Hours("Asia/Tokyo", 22, 4), NOON)
    held = subscriber(engine)
    assert held is not None
    assert held.next_at == datetime(2026, 7, 1, 13, tzinfo=UTC)
    with read(engine) as connection:
        first = subscriptions_of(connection, made.id)[0].id
    set_cadence(engine, made.id, first, Cadence.WEEKLY, NOON)
    held = subscriber(engine)
    assert held is not None
    assert held.next_at == datetime(2026, 7, 3, 13, tzinfo=UTC)
    other, _ = confirm_request(engine, ask(engine, "bo@lab.example"), NOON)
    for forbidden in (
        lambda: end_subscription(engine, other.id, first, NOON),
        lambda: set_cadence(engine, other.id, first, Cadence.DAILY, NOON),
    ):
        with pytest.raises(NotFoundError):
            forbidden()
    assert end_subscription(engine, made.id, first, NOON)
    assert not end_subscription(engine, made.id, second, NOON)
    assert subscriber(engine) is None


def test_an_address_has_so_many_subscriptions(engine: Engine) -> None:
    made, _ = confirm_request(engine, ask(engine), NOON)
    for n in range(MAX_SUBSCRIPTIONS - 1):
        subject = Subject(Kind.AUTHOR, f"Author {n}")
        add_subscription(engine, made.id, subject, Cadence.DAILY, NOON)
    with pytest.raises(UsageError, match="at most"):
        add_subscription(engine, made.id, Subject(Kind.TRENDING), Cadence.DAILY, NOON)


def test_a_suspended_address_comes_back_by_confirming_anew_or_by_its_reader(
    engine: Engine, ada: Reader
) -> None:
    subscribe_reader(engine, ada, CL, Cadence.DAILY, NOON, BERLIN)
    made = subscriber(engine)
    assert made is not None
    for again in (
        lambda: confirm_request(engine, ask(engine), NOON),
        lambda: resume(engine, made.id, NOON),
    ):
        with write(engine) as connection:
            suspend_subscriber(connection, made.id, "550 5.1.1 no such user", NOON)
        held = subscriber(engine)
        assert held is not None
        assert (held.next_at, held.suspended_because) == (None, "550 5.1.1 no such user")
        # Another subscription does not wake it up.
        add_subscription(engine, made.id, Subject(Kind.TRENDING), Cadence.DAILY, NOON)
        held = subscriber(engine)
        assert held is not None
        assert held.next_at is None
        again()
        held = subscriber(engine)
        assert held is not None
        assert held.suspended_at is None
        assert held.next_at is not None


def test_a_link_is_good_for_its_address_and_its_purpose_alone(
    engine: Engine, settings: object
) -> None:
    made, _ = confirm_request(engine, ask(engine), NOON)
    token = manage_path(KEY, made.id, made.seed).rpartition("/")[2]
    with read(engine) as connection:
        assert subscriber_by_token(connection, token, MANAGE, KEY) == made
        assert subscriber_by_token(connection, token, STOP, KEY) is None
        assert subscriber_by_token(connection, token, MANAGE, b"x" * 32) is None
        for wrong in ("", "x", token[:-1], token + "A", "B" + token[1:], "é" * 40, token.lower()):
            assert subscriber_by_token(connection, wrong, MANAGE, KEY) is None
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert token not in dump
    end_all(engine, made.id)
    # Whoever has its number afterwards has another link.
    again, _ = confirm_request(engine, ask(engine, "bo@lab.example"), NOON)
    assert again.id == made.id
    with read(engine) as connection:
        assert subscriber_by_token(connection, token, MANAGE, KEY) is None


@given(number=st.integers(0, 2**48 - 1), seed=st.binary(min_size=16, max_size=16))
def test_a_lasting_token_says_whose_it_is_and_cannot_be_guessed(number: int, seed: bytes) -> None:
    token = lasting_token(KEY, MANAGE, number, seed)
    assert re.fullmatch(r"[A-Za-z0-9_-]{40}", token)
    assert number_in(token) == number
    assert is_lasting_token(token, KEY, MANAGE, number, seed)
    assert not is_lasting_token(token, KEY, STOP, number, seed)
    assert not is_lasting_token(token, KEY, MANAGE, (number + 1) % 2**48, seed)


@given(text=st.text(max_size=60))
def test_any_text_is_a_token_or_none(text: str) -> None:
    number = number_in(text)
    assert number is None or not is_lasting_token(text, KEY, MANAGE, number, b"s" * 16)


def test_the_key_is_made_once_and_is_for_its_owner_alone(tmp_path: Path) -> None:
    place_key.cache_clear()
    key = place_key(tmp_path / "home")
    place_key.cache_clear()
    assert place_key(tmp_path / "home") == key
    path = tmp_path / "home" / "links.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(b"short")
    place_key.cache_clear()
    with pytest.raises(PaperroundError, match="32 bytes"):
        place_key(tmp_path / "home")
    place_key.cache_clear()


def test_a_lost_link_comes_again_to_the_address_and_nobody_learns_more(engine: Engine) -> None:
    confirm_request(engine, ask(engine), NOON)
    before = len(mails(engine))
    for email in ("nobody@lab.example", EMAIL.upper()):
        ask_for_manage_link(engine, email, MAILING, KEY, address="192.0.2.1", now=NOON)
    (nobody, _), (recipient, text) = mails(engine)[before:]
    assert (nobody, recipient) == ("", EMAIL)
    assert "https://papers.example/subscriptions/" in text


def test_all_that_is_kept_goes_with_the_reader_and_is_in_the_export(
    engine: Engine, add: AddReader, ada: Reader
) -> None:
    add("bo")
    subscribe_reader(engine, ada, CL, Cadence.DAILY, NOON, BERLIN)
    ask(engine, EMAIL, Subject(Kind.TRENDING))
    with read(engine) as connection:
        found = export_reader(connection, ada)
    assert found["digest"][0]["zone"] == "Europe/Berlin"
    assert [each["value"] for each in found["subscriptions"]] == ["cs.CL"]
    assert "seed" not in str(found)
    with write(engine) as connection:
        delete_reader(connection, ada)
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert "ada@" not in dump.lower()


def test_nothing_is_left_of_an_address_that_ends_all(engine: Engine) -> None:
    made, _ = confirm_request(engine, ask(engine), NOON)
    token = ask(engine, EMAIL, Subject(Kind.TRENDING))
    end_all(engine, made.id)
    with pytest.raises(NotFoundError):
        confirm_request(engine, token, NOON)
    with read(engine) as connection:
        assert connection.execute(select(SubscriberTable)).all() == []
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert "ada@" not in dump.lower()
    # Twice does no harm.
    end_all(engine, made.id)
