"""Mail goes through a real SMTP server; what fails is tried again, and given up in the end."""

import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from sqlalchemy import Engine, select
from sqlalchemy.exc import OperationalError

from paperround.db import read, write
from paperround.errors import UsageError
from paperround.readers import mail
from paperround.readers.mail import mailing_of, put_in_outbox, send_due
from paperround.readers.tables import OutboxTable
from paperround.settings import MailServer, Settings

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


class Postbox:
    """What has arrived; `answer` is what the server says to a recipient."""

    def __init__(self) -> None:
        self.arrived: list[tuple[list[str], EmailMessage]] = []
        self.answer = "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, options: Any
    ) -> str:
        if self.answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.answer

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(message, EmailMessage)
        self.arrived.append((envelope.rcpt_tos, message))
        return "250 OK"


@pytest.fixture
def postbox() -> Iterator[tuple[Postbox, MailServer]]:
    box = Postbox()
    # Port 0 would be taken for "none": the controller connects to what it was told.
    controller = Controller(box, hostname="127.0.0.1", port=_free_port())
    controller.start()
    yield (
        box,
        MailServer(
            host="127.0.0.1", port=controller.port, security="none", sender="papers@lab.example"
        ),
    )
    controller.stop()


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def waiting(engine: Engine) -> list[datetime]:
    with read(engine) as connection:
        return list(connection.scalars(select(OutboxTable.due_at)))


@pytest.fixture
def put(engine: Engine) -> Callable[..., None]:
    def put_one(
        subject: str = "A subject", text: str = "Grüße\nhttps://papers.example/x\n"
    ) -> None:
        with write(engine) as connection:
            put_in_outbox(connection, "ada@lab.example", subject, text, NOON)

    return put_one


def test_a_mail_arrives_once(
    engine: Engine, postbox: tuple[Postbox, MailServer], put: Callable[..., None]
) -> None:
    box, server = postbox
    put()
    assert send_due(engine, server, NOON) == 1
    assert send_due(engine, server, NOON + timedelta(days=1)) == 0
    ((recipients, message),) = box.arrived
    assert recipients == ["ada@lab.example"]
    assert message["From"] == "Paperround <papers@lab.example>"
    assert message["To"] == "ada@lab.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message.get_content().replace("\r\n", "\n") == "Grüße\nhttps://papers.example/x\n"
    assert waiting(engine) == []


def test_what_a_transaction_takes_back_is_not_sent(
    engine: Engine, postbox: tuple[Postbox, MailServer]
) -> None:
    box, server = postbox
    with pytest.raises(RuntimeError), write(engine) as connection:
        put_in_outbox(connection, "ada@lab.example", "s", "t", NOON)
        raise RuntimeError
    assert send_due(engine, server, NOON) == 0
    assert box.arrived == []


def test_a_mail_that_is_put_off_is_tried_again_and_given_up_in_the_end(
    engine: Engine, postbox: tuple[Postbox, MailServer], put: Callable[..., None]
) -> None:
    box, server = postbox
    put()
    box.answer = "451 later, please"
    now, waits = NOON, []
    while due := waiting(engine):
        now = max(now, due[0])
        assert send_due(engine, server, now) == 0
        waits += [round((at - now).total_seconds() / 60) for at in waiting(engine)]
    assert waits == [1, 2, 4, 8, 16, 32, 64]
    assert box.arrived == []


def test_a_mail_that_is_put_off_once_arrives_later(
    engine: Engine, postbox: tuple[Postbox, MailServer], put: Callable[..., None]
) -> None:
    box, server = postbox
    put()
    box.answer = "451 later, please"
    send_due(engine, server, NOON)
    box.answer = "250 OK"
    assert send_due(engine, server, NOON + timedelta(seconds=30)) == 0
    assert send_due(engine, server, NOON + timedelta(seconds=90)) == 1


def test_a_recipient_that_is_refused_for_good_is_not_tried_again(
    engine: Engine, postbox: tuple[Postbox, MailServer], put: Callable[..., None]
) -> None:
    box, server = postbox
    put()
    box.answer = "550 nobody of that name"
    assert send_due(engine, server, NOON) == 0
    assert waiting(engine) == []


def test_a_server_that_is_away_loses_no_mail(engine: Engine, put: Callable[..., None]) -> None:
    put()
    gone = MailServer(
        host="127.0.0.1", port=_free_port(), security="none", sender="papers@lab.example"
    )
    assert send_due(engine, gone, NOON) == 0
    assert len(waiting(engine)) == 1


def test_a_server_whose_name_is_not_certified_gets_nothing(
    engine: Engine, postbox: tuple[Postbox, MailServer], put: Callable[..., None]
) -> None:
    box, server = postbox
    put()
    secure = server.model_copy(update={"security": "starttls"})
    assert send_due(engine, secure, NOON) == 0
    assert box.arrived == []
    assert len(waiting(engine)) == 1


def test_a_subject_cannot_bring_headers_of_its_own(
    engine: Engine, postbox: tuple[Postbox, MailServer], put: Callable[..., None]
) -> None:
    box, server = postbox
    put(subject="A subject\r\nBcc: eve@evil.example")
    put(subject="Another")
    # It is not written at all, and the one behind it goes out.
    assert send_due(engine, server, NOON) == 1
    assert [message["Subject"] for _, message in box.arrived] == ["Another"]
    assert len(waiting(engine)) == 1


def test_a_mail_to_nobody_is_thrown_away_and_nothing_is_asked_of_the_server(
    engine: Engine, postbox: tuple[Postbox, MailServer]
) -> None:
    box, server = postbox
    with write(engine) as connection:
        put_in_outbox(connection, "", "A new password", "for nobody", NOON)
    away = server.model_copy(update={"port": 1})
    assert send_due(engine, away, NOON) == 0
    assert (box.arrived, waiting(engine)) == ([], [])


def test_the_thread_that_sends_outlives_a_database_that_fails(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop, looks = threading.Event(), []

    def fails_once(*_: object) -> None:
        looks.append(1)
        if len(looks) == 1:
            raise OperationalError("BEGIN", {}, Exception("database is locked"))
        stop.set()

    monkeypatch.setattr(mail, "forget_old_attempts", fails_once)
    monkeypatch.setattr(mail, "_LOOK_INTERVAL_S", 0.001)
    days = itertools.count()
    mail.keep_sent(engine, settings, stop, lambda: NOON + timedelta(days=next(days)))
    assert len(looks) == 2


def test_mail_without_a_server_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(UsageError, match="paperround user reset"):
        mailing_of(settings)


@pytest.mark.parametrize(
    "changes",
    [
        {"security": "none", "password": "secret"},
        {"sender": "nobody"},
        {"sender": "a@b.de\r\nBcc: c@d.de"},
        {"port": 0},
    ],
)
def test_a_mail_server_that_cannot_be_is_refused_on_start(changes: dict[str, object]) -> None:
    values: dict[str, object] = {"host": "localhost", "sender": "a@b.de", **changes}
    with pytest.raises(ValueError, match=r"."):
        MailServer.model_validate(values)


def test_mail_needs_the_address_that_its_links_lead_to(settings: Settings) -> None:
    server = MailServer(host="localhost", sender="a@b.de")
    with pytest.raises(ValueError, match="public_url"):
        Settings(home=settings.home, mail=server)
    Settings(home=settings.home, mail=server, public_url="https://papers.example")
    for wrong in ("papers.example", "ftp://x", "https://x/path", "https://a:b@x"):
        with pytest.raises(ValueError, match="public_url"):
            Settings(home=settings.home, public_url=wrong)
