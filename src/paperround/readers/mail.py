"""Mail: written into the outbox in the transaction that wants it, sent by a worker.

So whoever asks waits for no mail server, and cannot tell by the time whether a mail was written.
"""

import smtplib
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Any

from sqlalchemy import Connection, Engine, delete, insert, select, update

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import UsageError
from paperround.log import get_logger
from paperround.readers.limits import forget_old_attempts
from paperround.readers.tables import OutboxTable
from paperround.settings import MailServer, Settings

log = get_logger()

_TIMEOUT_S = 30
_LOOK_INTERVAL_S = 5.0
# A worker that takes a mail has so long to send it before another one tries.
_TAKEN_FOR = timedelta(minutes=5)
# Tried for about four hours: after 1, 2, 4, … minutes.
_MAX_ATTEMPTS = 8


@dataclass(frozen=True)
class Mailing:
    """Where mail goes out, and the address that its links lead to."""

    server: MailServer
    public_url: str


def mailing_of(settings: Settings) -> Mailing:
    """How this place sends mail. Raises UsageError where it is not configured."""
    if settings.mail is None:
        raise UsageError(
            "this Paperround sends no mail; ask its admin for a link (paperround user reset NAME)"
        )
    return Mailing(settings.mail, settings.public_url)


def put_in_outbox(
    connection: Connection, recipient: str, subject: str, text: str, now: datetime
) -> None:
    """Writes a mail that will be sent once the caller's transaction has ended well.

    One to nobody (an empty recipient) is thrown away when its turn comes: who asks for a mail to
    somebody who is not here has had the same work done, and cannot tell by the time.
    """
    connection.execute(
        insert(OutboxTable).values(recipient=recipient, subject=subject, text=text, due_at=now)
    )


@contextmanager
def connected(server: MailServer) -> Iterator[smtplib.SMTP]:
    """A session with the mail server, signed in; its certificate is checked where there is one.

    Raises OSError and smtplib.SMTPException.
    """
    context = ssl.create_default_context()
    if server.security == "tls":
        opened: smtplib.SMTP = smtplib.SMTP_SSL(
            server.host, server.port, timeout=_TIMEOUT_S, context=context
        )
    else:
        opened = smtplib.SMTP(server.host, server.port, timeout=_TIMEOUT_S)
    with opened as smtp:
        if server.security == "starttls":
            smtp.starttls(context=context)
        if server.user:
            smtp.login(server.user, server.password.get_secret_value())
        smtp.ehlo_or_helo_if_needed()
        yield smtp


def send_due(engine: Engine, server: MailServer, now: datetime) -> int:
    """How many mails were sent of those that are due. What fails is tried again later."""
    with write(engine) as connection:
        taken = connection.execute(
            update(OutboxTable)
            .where(
                OutboxTable.id.in_(
                    select(OutboxTable.id)
                    .where(OutboxTable.due_at <= now)
                    .order_by(OutboxTable.due_at)
                    .limit(50)
                )
            )
            .values(due_at=now + _TAKEN_FOR, attempts=OutboxTable.attempts + 1)
            .returning(
                OutboxTable.id,
                OutboxTable.recipient,
                OutboxTable.subject,
                OutboxTable.text,
                OutboxTable.attempts,
            )
        ).all()
    sent = 0
    for row in taken:
        if not row.recipient:
            with write(engine) as connection:
                connection.execute(delete(OutboxTable).where(OutboxTable.id == row.id))
            continue
        try:
            _send(server, row.recipient, _message(server, row, now))
        # A ValueError is a mail that cannot be written: it must not keep the others from going out.
        except (OSError, ValueError, smtplib.SMTPException) as error:
            # A refusal for good (5xx) will not be another one in an hour.
            refused = isinstance(error, smtplib.SMTPRecipientsRefused) and all(
                code >= 500 for code, _ in error.recipients.values()
            )
            _failed(engine, row.id, row.attempts, now, type(error).__name__, for_good=refused)
            continue
        with write(engine) as connection:
            connection.execute(delete(OutboxTable).where(OutboxTable.id == row.id))
        sent += 1
    return sent


def keep_sent(
    engine: Engine,
    settings: Settings,
    stop: threading.Event,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Sends what is due until `stop` is set, and forgets attempts that no limit asks about."""
    swept_at: datetime | None = None
    while not stop.wait(_LOOK_INTERVAL_S):
        try:
            if swept_at is None or now() - swept_at > timedelta(hours=1):
                swept_at = now()
                with write(engine) as connection:
                    forget_old_attempts(connection, swept_at)
            if settings.mail is not None and _is_any_due(engine, now()):
                send_due(engine, settings.mail, now())
        # The database may be busy; the next look is soon, and the thread must live to take it.
        except Exception as error:
            log.error("mail.broke", error=repr(error), exc_info=True)


def _is_any_due(engine: Engine, now: datetime) -> bool:
    with read(engine) as connection:
        due = select(OutboxTable.id).where(OutboxTable.due_at <= now).limit(1)
        return connection.execute(due).first() is not None


def _failed(
    engine: Engine, mail_id: int, attempts: int, now: datetime, reason: str, *, for_good: bool
) -> None:
    gives_up = for_good or attempts >= _MAX_ATTEMPTS
    this = OutboxTable.id == mail_id
    with write(engine) as connection:
        if gives_up:
            connection.execute(delete(OutboxTable).where(this))
        else:
            later = now + timedelta(minutes=2 ** (attempts - 1))
            connection.execute(update(OutboxTable).where(this).values(due_at=later))
    (log.error if gives_up else log.warning)(
        "mail.failed", mail=mail_id, attempts=attempts, reason=reason, gives_up=gives_up
    )


def _message(server: MailServer, row: Any, now: datetime) -> EmailMessage:
    message = EmailMessage()
    message["From"] = f"Paperround <{server.sender}>"
    message["To"] = row.recipient
    message["Subject"] = row.subject
    message["Date"] = format_datetime(now)
    message["Message-ID"] = make_msgid(domain=server.sender.partition("@")[2])
    # No holiday answers, please.
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(row.text)
    return message


def _send(server: MailServer, recipient: str, message: EmailMessage) -> None:
    with connected(server) as smtp:
        # To whom it was written, whatever a header may be read as.
        smtp.send_message(message, to_addrs=[recipient])
