"""Digests through a real SMTP server: what arrives, what is refused, what comes later."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.discovery.digest import Sent, dry_run, sending
from paperround.discovery.digest.sending import place_of, send_digests
from paperround.discovery.searching import Searcher
from paperround.errors import UsageError
from paperround.readers import digests
from paperround.readers.accounts import add_reader, delete_reader
from paperround.readers.queries import reader_by_id
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import (
    Subscriber,
    end_all,
    set_cadence,
    set_hours,
    subscribe_reader,
    subscriber_at,
    subscriber_by_id,
    subscriptions_of,
)
from paperround.readers.tables import DigestTable, ReaderTable, SubscriberTable
from paperround.readers.times import Cadence, Hours
from paperround.settings import MailServer, Settings

AddPaper = Callable[..., PaperId]
AddSubscriber = Callable[..., Subscriber]
Postbox = Any
ADA = "ada@lab.example"
MORNING = datetime.fromisoformat("2026-07-02T07:00Z")
DAY = timedelta(days=1)


@pytest.fixture
def send(engine: Engine, mail_settings: Settings, searcher: Searcher) -> Callable[[datetime], Sent]:
    def send_at(now: datetime) -> Sent:
        return send_digests(engine, mail_settings, searcher, lambda: now)

    return send_at


Send = Callable[[datetime], Sent]


def states(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.scalars(select(DigestTable.state).order_by(DigestTable.id)))


def with_mail(settings: Settings, port: int) -> Settings:
    server = MailServer(host="127.0.0.1", port=port, security="none", sender="papers@lab.example")
    return settings.model_copy(update={"mail": server, "public_url": "https://papers.example"})


def held(engine: Engine, email: str = ADA) -> Subscriber:
    with read(engine) as connection:
        found = subscriber_at(connection, email)
    assert found is not None
    return found


def text_of(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return part.get_content().replace("\r\n", "\n")


def test_a_digest_arrives_when_it_is_due_and_once(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("A paper on kites")
    subscriber(ADA)
    assert send(MORNING - timedelta(minutes=1)) == Sent()
    assert send(MORNING) == Sent(sent=1)
    for later in (timedelta(0), timedelta(minutes=6), timedelta(hours=23)):
        assert send(MORNING + later) == Sent()
    (message,) = postbox.to(ADA)
    assert message["To"] == ADA
    assert message["Subject"] == "1 paper: A paper on kites"
    assert "A paper on kites" in text_of(message)
    assert postbox.senders == ["bounces@lab.example"]
    # The day after there is nothing new, and then there is.
    assert send(MORNING + DAY) == Sent(empty=1)
    paper("A second one", day=date(2026, 7, 4))
    assert send(MORNING + 2 * DAY) == Sent(sent=1)
    assert "kites" not in text_of(postbox.to(ADA)[1])
    assert states(engine) == ["sent", "empty", "sent"]


def test_after_days_without_a_worker_there_is_one_digest_of_all(
    postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    subscriber(ADA)
    for n in range(1, 5):
        paper(f"Of day {n}", day=date(2026, 7, n))
    assert send(MORNING + 3 * DAY) == Sent(sent=1)
    assert send(MORNING + 3 * DAY + timedelta(hours=1)) == Sent()
    text = text_of(postbox.to(ADA)[0])
    assert [n for n in range(1, 5) if f"Of day {n}" in text] == [1, 2, 3, 4]


def test_a_digest_that_waits_gives_way_to_a_later_one_which_has_its_papers(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    subscriber(ADA)
    paper("Of the first", day=date(2026, 7, 2))
    digests.claim_due(engine, MORNING)
    (old,) = digests.take(engine, MORNING, 1)
    paper("Of the second", day=date(2026, 7, 3))
    assert send(MORNING + DAY) == Sent(sent=1)
    assert not digests.hand_over(engine, old, [], MORNING + DAY)
    (message,) = postbox.to(ADA)
    assert text_of(message).count("/papers/") == 2
    assert states(engine) == ["refused", "sent"]


def test_a_paper_that_came_late_is_told_and_one_that_was_left_out_is_not(
    postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    subscriber(ADA)
    for n in range(12):
        paper(f"In time {n:02}", votes=100 - n)
    assert send(MORNING) == Sent(sent=1)
    paper("Late", votes=0, added_at=MORNING + timedelta(hours=3))
    paper("Very late", votes=90, day=date(2026, 6, 1), added_at=MORNING + timedelta(hours=3))
    assert send(MORNING + DAY) == Sent(sent=1)
    first, second = (text_of(message) for message in postbox.to(ADA))
    assert "In time 09" in first
    assert "2 more papers" in first
    assert second.count("/papers/") == 1
    assert "Late" in second


def test_daily_and_weekly_subscriptions_come_in_one_digest(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    subscriber(ADA, Subject(Kind.CATEGORY, "cs.CL"), Subject(Kind.CATEGORY, "cs.LG"))
    with read(engine) as connection:
        weekly = subscriptions_of(connection, held(engine).id)[1].id
    set_cadence(engine, held(engine).id, weekly, Cadence.WEEKLY, MORNING - DAY)
    for n in range(1, 8):
        paper(f"Language {n}", day=date(2026, 7, n))
        paper(f"Learning {n}", day=date(2026, 7, n), categories=["cs.LG"])
    for n in range(8):
        send(MORNING + n * DAY)
    texts = [text_of(message) for message in postbox.to(ADA)]
    # The sixth of July is the Monday.
    assert [("PAPERS IN CS.LG" in text, "PAPERS IN CS.CL" in text) for text in texts] == [
        *[(False, True)] * 4,
        (True, True),
        (False, True),
    ]


def test_changing_hours_zone_and_cadence_brings_no_period_twice(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    send(MORNING)
    who = held(engine).id
    with read(engine) as connection:
        (only,) = subscriptions_of(connection, who)
    now = MORNING
    for hours in (Hours("UTC", 9), Hours("Pacific/Honolulu", 3), Hours("Pacific/Kiritimati", 1)):
        set_hours(engine, who, hours, now)
        for cadence in (Cadence.WEEKLY, Cadence.DAILY):
            set_cadence(engine, who, only.id, cadence, now)
        now += timedelta(hours=3)
        send(now)
    with read(engine) as connection:
        days = connection.scalars(select(DigestTable.day)).all()
    assert len(days) == len(set(days))
    assert len(postbox.to(ADA)) == 1


def test_the_letter_can_be_unsubscribed_by_one_click(
    postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    send(MORNING)
    (message,) = postbox.to(ADA)
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    address = message["List-Unsubscribe"].strip()
    assert address.startswith("<https://papers.example/unsubscribe/")
    assert address.endswith(">")
    assert address.strip("<>") in text_of(message)
    assert message["Message-ID"].endswith("@lab.example>")
    assert message["List-ID"] == "Paperround <digest.papers.example>"


def test_an_address_that_leaves_gets_nothing_though_it_was_claimed(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    assert digests.claim_due(engine, MORNING) == 1
    (taken,) = digests.take(engine, MORNING, 5)
    end_all(engine, held(engine).id)
    assert not digests.hand_over(engine, taken, [], MORNING)
    assert send(MORNING + DAY) == Sent()
    assert postbox.arrived == []


def test_a_digest_that_two_have_taken_goes_to_one(
    engine: Engine, paper: AddPaper, subscriber: AddSubscriber
) -> None:
    paper("One")
    subscriber(ADA)
    digests.claim_due(engine, MORNING)
    (slow,) = digests.take(engine, MORNING, 5)
    assert digests.take(engine, MORNING, 5) == []
    (quick,) = digests.take(engine, MORNING + digests.TAKEN_FOR, 5)
    assert quick.message_id == slow.message_id
    assert digests.hand_over(engine, quick, [1], MORNING)
    assert not digests.hand_over(engine, slow, [1], MORNING)
    digests.note_empty(engine, slow, MORNING)
    assert not digests.hand_over(engine, quick, [1], MORNING)
    assert states(engine) == ["handed"]


def test_what_the_server_puts_off_comes_later_and_is_given_up_in_the_end(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    subscriber("bo@lab.example")
    postbox.answers[ADA] = "451 4.7.1 later, please"
    assert send(MORNING) == Sent(sent=1, put_off=1)
    assert send(MORNING + timedelta(seconds=50)) == Sent()
    postbox.answers.clear()
    assert send(MORNING + timedelta(seconds=70)) == Sent(sent=1)
    assert len(postbox.to(ADA)) == 1

    paper("Two", day=date(2026, 7, 3))
    postbox.answers[ADA] = "451 4.7.1 later, please"
    now, outcomes = MORNING + DAY, []
    for _ in range(11):
        outcomes.append(send(now))
        now += timedelta(hours=2, minutes=10)
    assert outcomes[0] == Sent(sent=1, put_off=1)
    assert outcomes[1:] == [*[Sent(put_off=1)] * 9, Sent(refused=1)]
    assert held(engine).suspended_at is None


def test_what_is_put_off_after_its_text_was_sent_comes_later_too(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    postbox.on = lambda step: "452 4.3.1 the disk is full" if step == "DATA" else None
    assert send(MORNING) == Sent(put_off=1)
    postbox.on = lambda step: None
    assert send(MORNING + timedelta(minutes=2)) == Sent(sent=1)
    assert len(postbox.to(ADA)) == 1


def test_an_address_that_is_none_is_suspended_at_once(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    subscriber("bo@lab.example")
    postbox.answers[ADA] = "550 5.1.1 no such user"
    assert send(MORNING) == Sent(sent=1, refused=1)
    assert held(engine).suspended_because == "550 5.1.1 no such user"
    assert held(engine).next_at is None
    postbox.answers.clear()
    paper("Two", day=date(2026, 7, 3))
    assert send(MORNING + DAY) == Sent(sent=1)
    assert postbox.to(ADA) == []


def test_a_server_that_mistrusts_us_suspends_nobody_at_once(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    subscriber(ADA)
    postbox.answers[ADA] = "550 5.7.1 your network is on a list"
    for n in range(3):
        assert held(engine).suspended_at is None
        paper(f"Paper {n}", day=date(2026, 7, 1 + n))
        assert send(MORNING + n * DAY) == Sent(refused=1)
    assert held(engine).suspended_because.startswith("550 5.7.1")


def test_a_digest_that_is_taken_ends_the_count_of_refusals(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    subscriber(ADA)
    for n in range(6):
        paper(f"Paper {n}", day=date(2026, 7, 2 + n))
        postbox.answers[ADA] = "250 OK" if n % 3 == 2 else "554 5.7.1 no"
        send(MORNING + n * DAY)
    assert held(engine).suspended_at is None
    # What was refused was not told, and comes with the next.
    assert [text.count("/papers/") for text in map(text_of, postbox.to(ADA))] == [3, 3]


def test_a_sender_that_is_refused_is_our_fault_and_nobody_else_s(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    postbox.on = lambda step: "550 5.7.1 who are you" if step == "MAIL" else None
    assert send(MORNING) == Sent(put_off=1)
    assert held(engine).suspended_at is None
    postbox.on = lambda step: None
    assert send(MORNING + timedelta(minutes=2)) == Sent(sent=1)


def test_a_server_that_is_away_loses_no_digest(
    engine: Engine,
    mail_settings: Settings,
    searcher: Searcher,
    postbox: Postbox,
    paper: AddPaper,
    subscriber: AddSubscriber,
    send: Send,
) -> None:
    paper("One")
    subscriber(ADA)
    assert mail_settings.mail is not None
    gone = mail_settings.model_copy(
        update={"mail": mail_settings.mail.model_copy(update={"port": 1})}
    )
    assert send_digests(engine, gone, searcher, lambda: MORNING) == Sent(put_off=1)
    assert send(MORNING + timedelta(minutes=2)) == Sent(sent=1)


def test_a_server_that_ends_sessions_early_gets_the_rest_in_another(
    postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    for n in range(7):
        subscriber(f"reader{n}@lab.example")
    mails = iter(range(100))
    postbox.on = lambda step: (
        "421 4.7.0 enough for now" if step == "MAIL" and next(mails) % 4 == 3 else None
    )
    assert send(MORNING) == Sent(sent=7)
    assert len({address for address, _ in postbox.arrived}) == 7


@pytest.fixture
def breaking() -> Iterator[int]:
    """The port of a server that takes a mail in, and goes away without a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    talk(listening.accept()[0])

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)


class Hanging:
    """A server that takes all mail, and hangs up when it hears one address."""

    def __init__(self) -> None:
        self.hangs_up_at = ""
        self.last_words = b""
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.listening.listen()
        self.port: int = self.listening.getsockname()[1]

    def serve(self) -> None:
        """Talks to one after the other until it is shut."""
        with contextlib.suppress(OSError):
            while True:
                with self.listening.accept()[0] as connection:
                    self.talk(connection)

    def talk(self, connection: socket.socket) -> None:
        connection.sendall(b"220 here\r\n")
        is_text = False
        for line in connection.makefile("rb"):
            word = line[:4].upper()
            if is_text and line != b".\r\n":
                continue
            if word == b"RCPT" and self.hangs_up_at and self.hangs_up_at.encode() in line:
                connection.sendall(self.last_words)
                return
            is_text = word == b"DATA"
            connection.sendall(b"354 go on\r\n" if is_text else b"250 OK\r\n")


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    server = Hanging()
    threading.Thread(target=server.serve, daemon=True).start()
    yield server
    server.listening.shutdown(socket.SHUT_RDWR)
    server.listening.close()


def test_a_server_that_hangs_up_at_one_address_keeps_nobody_else_from_their_digest(
    engine: Engine,
    hanging: Hanging,
    settings: Settings,
    searcher: Searcher,
    paper: AddPaper,
    subscriber: AddSubscriber,
) -> None:
    paper("One")
    for name in ("ada", "bo", "cy"):
        subscriber(f"{name}@lab.example")
    # The first of all, whom each round begins with.
    hanging.hangs_up_at = ADA
    ours = with_mail(settings, hanging.port)
    assert send_digests(engine, ours, searcher, lambda: MORNING) == Sent(sent=2, put_off=1)
    assert states(engine) == ["claimed", "sent", "sent"]
    hanging.hangs_up_at = ""
    later = MORNING + timedelta(minutes=2)
    assert send_digests(engine, ours, searcher, lambda: later) == Sent(sent=1)


def test_a_refusal_after_which_the_server_hangs_up_counts(
    engine: Engine,
    hanging: Hanging,
    settings: Settings,
    searcher: Searcher,
    paper: AddPaper,
    subscriber: AddSubscriber,
) -> None:
    paper("One")
    subscriber(ADA)
    subscriber("bo@lab.example")
    hanging.hangs_up_at = ADA
    hanging.last_words = b"550 5.1.1 no such user\r\n"
    ours = with_mail(settings, hanging.port)
    assert send_digests(engine, ours, searcher, lambda: MORNING) == Sent(sent=1, refused=1)
    assert held(engine).suspended_because == "550 5.1.1 no such user"


def talk(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as lines:
        connection.sendall(b"220 here\r\n")
        for line in lines:
            if line == b".\r\n":
                return
            if line[:4] in (b"EHLO", b"ehlo", b"mail", b"rcpt", b"MAIL", b"RCPT"):
                connection.sendall(b"250 OK\r\n")
            elif line[:4].upper() == b"DATA":
                connection.sendall(b"354 go on\r\n")


def test_what_may_have_gone_out_is_not_sent_again(
    engine: Engine,
    mail_settings: Settings,
    searcher: Searcher,
    postbox: Postbox,
    breaking: int,
    paper: AddPaper,
    subscriber: AddSubscriber,
    send: Send,
) -> None:
    paper("One")
    subscriber(ADA)
    assert mail_settings.mail is not None
    broken = mail_settings.model_copy(
        update={"mail": mail_settings.mail.model_copy(update={"port": breaking})}
    )
    assert send_digests(engine, broken, searcher, lambda: MORNING) == Sent(unknown=1)
    for later in (timedelta(minutes=6), timedelta(hours=2)):
        assert send(MORNING + later) == Sent()
    assert send(MORNING + DAY) == Sent(empty=1)
    assert states(engine) == ["unknown", "empty"]
    assert postbox.arrived == []


def test_an_address_in_other_letters_from_before_keeps_nobody_else_from_their_digest(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber("ädä@bücher.example")
    subscriber(ADA)
    assert send(MORNING) == Sent(sent=1, refused=1)
    assert held(engine, "ädä@bücher.example").suspended_because.startswith("553 5.1.3")
    assert len(postbox.to(ADA)) == 1


def test_a_zone_that_this_machine_does_not_know_is_reckoned_as_utc(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    made = subscriber(ADA)
    subscriber("bo@lab.example")
    with write(engine) as connection:
        mine = update(SubscriberTable).where(SubscriberTable.id == made.id)
        connection.execute(mine.values(zone="Mars/Base"))
    assert send(MORNING - timedelta(minutes=1)) == Sent()
    assert send(MORNING) == Sent(sent=2)
    assert "at 7:00, UTC" in text_of(postbox.to(ADA)[0])
    # What it was stays, for a machine that knows it.
    with read(engine) as connection:
        assert connection.scalar(select(SubscriberTable.zone).limit(1)) == "Mars/Base"


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        # Clocks are set forward over two o'clock, set back over it, and a leap day passes.
        ("Europe/Berlin", date(2026, 3, 27)),
        ("Europe/Berlin", date(2026, 10, 23)),
        ("UTC", date(2028, 2, 27)),
        ("Australia/Lord_Howe", date(2026, 4, 3)),
    ],
    ids=str,
)
def test_over_changes_of_clocks_and_leap_days_each_date_has_one_digest_with_its_papers(
    engine: Engine,
    postbox: Postbox,
    paper: AddPaper,
    subscriber: AddSubscriber,
    send: Send,
    zone: str,
    first: date,
) -> None:
    begins = datetime.combine(first, datetime.min.time(), UTC)
    subscriber(ADA, hours=Hours(zone, 2), at=begins - DAY)
    for n in range(5):
        day = first + n * DAY
        paper(f"Of {day}", day=day, added_at=datetime.combine(day, datetime.min.time(), UTC))
    outcomes = [send(begins + timedelta(hours=n)) for n in range(24 * 5)]
    texts = [text_of(message) for message in postbox.to(ADA)]
    assert sum(done.sent for done in outcomes) == len(texts)
    told = [[n for n in range(5) if f"Of {first + n * DAY}" in text] for text in texts]
    assert sorted(n for each in told for n in each) == list(range(5))
    with read(engine) as connection:
        days = list(connection.scalars(select(DigestTable.day).order_by(DigestTable.day)))
    assert days == [days[0] + n * DAY for n in range(len(days))]


@pytest.mark.parametrize(("step", "expected"), [("RCPT", Sent()), ("DATA", Sent(sent=1))])
def test_an_account_that_is_deleted_while_its_digest_goes_out_leaves_nothing(
    engine: Engine, postbox: Postbox, paper: AddPaper, send: Send, step: str, expected: Sent
) -> None:
    paper("One")
    with write(engine) as connection:
        reader_id = add_reader(connection, "ada", MORNING)
        connection.execute(update(ReaderTable).values(email=ADA, email_key=ADA))
        reader = reader_by_id(connection, reader_id)
    assert reader is not None
    began = MORNING - DAY
    subscribe_reader(engine, reader, Subject(Kind.CATEGORY, "cs.CL"), Cadence.DAILY, began)

    def leave(reached: str) -> None:
        if reached == step:
            with write(engine) as connection:
                delete_reader(connection, reader)

    postbox.on = leave
    assert send(MORNING) == expected
    assert len(postbox.to(ADA)) == expected.sent
    with read(engine) as connection:
        assert subscriber_at(connection, ADA) is None
    assert states(engine) == []
    assert send(MORNING + DAY) == Sent()


def test_an_odd_paper_keeps_nobody_else_from_their_digest(
    engine: Engine,
    postbox: Postbox,
    paper: AddPaper,
    subscriber: AddSubscriber,
    send: Send,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paper("One")
    subscriber(ADA)
    subscriber("bo@lab.example")
    real = sending.written

    def breaks_for_ada(digest: Any, due: Any, *rest: Any) -> EmailMessage:
        if due.subscriber.email == ADA:
            raise ValueError("odd")
        return real(digest, due, *rest)

    monkeypatch.setattr(sending, "written", breaks_for_ada)
    assert send(MORNING) == Sent(sent=1, put_off=1)


def test_without_a_mail_server_it_says_what_to_do(
    engine: Engine, settings: Settings, searcher: Searcher
) -> None:
    with pytest.raises(UsageError, match=r"\[mail\]"):
        send_digests(engine, settings, searcher)


def test_a_dry_run_writes_what_would_be_sent_and_changes_nothing(
    engine: Engine,
    settings: Settings,
    mail_settings: Settings,
    searcher: Searcher,
    postbox: Postbox,
    paper: AddPaper,
    subscriber: AddSubscriber,
    send: Send,
    tmp_path: Path,
) -> None:
    paper("A paper on kites")
    made = subscriber(ADA)
    subscriber("bo@lab.example", Subject(Kind.CATEGORY, "none.such"))
    for out in ("one", "two"):
        assert dry_run(engine, mail_settings, searcher, tmp_path / out, MORNING) == 1
    (path,) = (tmp_path / "two").iterdir()
    assert path.name == f"2026-07-02-{made.id}.eml"
    assert b"A paper on kites" in path.read_bytes()
    # It needs no server to be looked at.
    assert dry_run(engine, settings, searcher, tmp_path / "three", MORNING) == 1
    assert (postbox.arrived, states(engine)) == ([], [])
    assert send(MORNING) == Sent(sent=1, empty=1)
    assert dry_run(engine, mail_settings, searcher, tmp_path / "four", MORNING) == 0


def test_old_digests_are_forgotten(
    engine: Engine, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    send(MORNING)
    digests.forget_old(engine, MORNING + timedelta(days=59))
    assert states(engine) == ["sent"]
    digests.forget_old(engine, MORNING + timedelta(days=61))
    assert states(engine) == []


def test_a_next_moment_that_was_lost_or_set_back_brings_nothing_twice(
    engine: Engine, postbox: Postbox, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    made = subscriber(ADA)
    send(MORNING)
    for back in (MORNING, MORNING - 30 * DAY):
        with write(engine) as connection:
            connection.execute(update(SubscriberTable).values(next_at=back))
        assert send(MORNING + timedelta(hours=1)) == Sent()
    assert len(postbox.to(ADA)) == 1
    with read(engine) as connection:
        assert subscriber_by_id(connection, made.id).next_at == MORNING + DAY


def test_the_tally_says_what_became_of_digests(
    engine: Engine, paper: AddPaper, subscriber: AddSubscriber, send: Send
) -> None:
    paper("One")
    subscriber(ADA)
    subscriber("bo@lab.example", Subject(Kind.CATEGORY, "none.such"))
    send(MORNING)
    with read(engine) as connection:
        assert digests.tally(connection) == {"sent": 1, "empty": 1}


def test_links_are_made_with_the_key_of_this_place(mail_settings: Settings) -> None:
    place = place_of(mail_settings)
    assert (place.sender, place.public_url) == ("papers@lab.example", "https://papers.example")
    assert mail_settings.home.joinpath("links.key").read_bytes() == place.key
