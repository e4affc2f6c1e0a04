"""Digests are sent: what is due is claimed, composed, and handed to the mail server, each once.

`readers/digests.py` says how it is that none goes out twice.
"""

import smtplib
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

from sqlalchemy import Engine

from paperround.catalogue.records import PaperId
from paperround.clock import utc_now
from paperround.db import read
from paperround.discovery.digest.composing import Composer
from paperround.discovery.digest.writing import Place, written
from paperround.discovery.searching import Searcher
from paperround.errors import UsageError
from paperround.log import get_logger
from paperround.readers import digests
from paperround.readers.bounces import is_for_good
from paperround.readers.digests import Taken
from paperround.readers.due import due_now
from paperround.readers.mail import connected
from paperround.readers.secrets import place_key
from paperround.settings import MailServer, Settings

log = get_logger()

_LOOK_INTERVAL_S = 20.0
_AT_ONCE = 50
_ADDRESSES_AT_ONCE = 200


@dataclass(frozen=True)
class Sent:
    """What became of the digests of a round."""

    sent: int = 0
    empty: int = 0
    refused: int = 0
    put_off: int = 0
    unknown: int = 0


def place_of(settings: Settings) -> Place:
    """Whose mail it is. Raises UsageError where no mail is configured."""
    if settings.mail is None:
        raise UsageError(
            "this Paperround sends no mail: set [mail] and public_url (see docs/readers.md)"
        )
    return Place(settings.mail.sender, settings.public_url, place_key(settings.home))


def send_digests(
    engine: Engine,
    settings: Settings,
    searcher: Searcher,
    now: Callable[[], datetime] = utc_now,
    must_stop: Callable[[], bool] = lambda: False,
) -> Sent:
    """Sends what is due, and says what became of it. May be killed at any moment, and run again.

    Raises UsageError where no mail is configured.
    """
    place = place_of(settings)
    assert settings.mail is not None
    if lost := digests.mark_unknown(engine, now()):
        log.error("digest.unknown", digests=lost, reason="ended while they were handed over")
    # Nobody is claimed twice in a round: a claim moves the address's next digest into the future.
    while not must_stop() and digests.claim_due(engine, now(), _ADDRESSES_AT_ONCE):
        pass
    composer = Composer(engine, searcher)
    total = Sent(unknown=lost)
    while not must_stop() and (taken := digests.take(engine, now(), _AT_ONCE)):
        try:
            for outcome in _send_all(engine, settings.mail, place, composer, searcher, taken, now):
                total = replace(total, **{outcome: getattr(total, outcome) + 1})
                if must_stop():
                    # What was taken and not handed over is free again in five minutes.
                    return total
        except _NoServer as error:
            log.warning("digest.no_server", reason=error.reason, digests=error.put_off)
            return replace(total, put_off=total.put_off + error.put_off)
    return total


def dry_run(
    engine: Engine, settings: Settings, searcher: Searcher, folder: Path, now: datetime
) -> int:
    """How many digests it wrote into the folder, as `.eml` files: what would be sent at `now`.

    Nothing is claimed or sent. Files are called by the date and the number of the subscriber.
    """
    if settings.mail is None or not settings.public_url:
        # A look at it needs no server.
        place = Place(
            "papers@localhost.localdomain",
            settings.public_url or "http://127.0.0.1:8000",
            place_key(settings.home),
        )
    else:
        place = place_of(settings)
    folder.mkdir(parents=True, exist_ok=True)
    n = 0
    for name, message in composed(engine, searcher, place, now):
        folder.joinpath(f"{name}.eml").write_bytes(message.as_bytes())
        n += 1
    return n


def composed(
    engine: Engine, searcher: Searcher, place: Place, now: datetime
) -> Iterator[tuple[str, EmailMessage]]:
    """The mails that would be sent at `now`, one after the other, with a name for each."""
    composer, rooms, after = Composer(engine, searcher), searcher.rooms(), 0
    while True:
        with read(engine) as connection:
            found = due_now(connection, now, after, _ADDRESSES_AT_ONCE)
            known = [digests.known_to(connection, due.subscriber, now) for due in found]
        if not found:
            return
        after = found[-1].subscriber.id
        for due, told in zip(found, known, strict=True):
            digest = composer.compose(due, told)
            if digest.papers:
                name = f"{due.day.isoformat()}-{due.subscriber.id}"
                yield name, written(digest, due, f"dry.{name}", place, rooms, now)


def keep_digests_sent(
    engine: Engine,
    settings: Settings,
    searcher: Searcher,
    stop: threading.Event,
    now: Callable[[], datetime] = utc_now,
) -> None:
    """Sends what is due until `stop` is set, and forgets what is old; for a thread of its own."""
    swept_at: datetime | None = None
    while not stop.wait(_LOOK_INTERVAL_S):
        try:
            if swept_at is None or now() - swept_at > timedelta(hours=1):
                swept_at = now()
                digests.forget_old(engine, swept_at)
            if settings.mail is not None and digests.is_any_due(engine, now()):
                done = send_digests(engine, settings, searcher, now, stop.is_set)
                log.info("digest.sent", **vars(done))
        # The database may be busy, or a paper odd; the next look is soon.
        except Exception as error:
            log.error("digest.failed", error=repr(error), exc_info=True)


class _NoServer(Exception):
    """The mail server is away, or takes nothing from us; all that was taken is put off."""

    def __init__(self, reason: str, put_off: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.put_off = put_off


def _send_all(
    engine: Engine,
    server: MailServer,
    place: Place,
    composer: Composer,
    searcher: Searcher,
    taken: list[Taken],
    now: Callable[[], datetime],
) -> Iterator[str]:
    """What became of each, by the name of a field of `Sent`."""
    rooms = searcher.rooms()
    waiting: list[_Mail] = []
    for each in taken:
        if not each.due.subscriber.email.isascii():
            # One from before addresses were held to ASCII; SMTP as it is spoken here has no others.
            yield _refused(engine, each, 553, "5.1.3 an address in other letters", now())
            continue
        try:
            mail = _composed(engine, place, composer, rooms, each, now())
        # An odd paper or address must not keep the others from their digests.
        except Exception as error:
            log.error("digest.broken", digest=each.id, error=repr(error), exc_info=True)
            yield _put_off(engine, each, repr(error), now())
            continue
        if mail is None:
            digests.note_empty(engine, each, now())
            yield "empty"
        else:
            waiting.append(mail)
    while waiting:
        done = 0
        try:
            with connected(server) as smtp:
                while waiting:
                    outcome = _send_one(engine, server, smtp, waiting[0], now)
                    waiting.pop(0)
                    done += 1
                    if outcome is not None:
                        yield outcome
        except _Ended as ended:
            # The others need another session.
            waiting.pop(0)
            if ended.outcome is not None:
                yield ended.outcome
        except (OSError, smtplib.SMTPException) as error:
            # Many servers end a session after some mails; one that takes none is away.
            if not done:
                for mail in waiting:
                    digests.put_off(engine, mail.taken, now(), f"no mail server: {error}")
                raise _NoServer(repr(error), len(waiting)) from error


@dataclass(frozen=True)
class _Mail:
    """A digest as it goes out, and the papers in it."""

    taken: Taken
    papers: list[PaperId]
    content: bytes


def _composed(
    engine: Engine,
    place: Place,
    composer: Composer,
    rooms: Mapping[str, str],
    taken: Taken,
    now: datetime,
) -> _Mail | None:
    """The mail of a digest; None where nothing is new to the address."""
    with read(engine) as connection:
        known = digests.known_to(connection, taken.due.subscriber, now)
    digest = composer.compose(taken.due, known)
    if not digest.papers:
        return None
    message = written(digest, taken.due, taken.message_id, place, rooms, now)
    return _Mail(taken, [paper.id for paper in digest.papers], message.as_bytes())


class _Ended(Exception):
    """A session that has come to its end with a digest, of which `outcome` is noted."""

    def __init__(self, outcome: str | None) -> None:
        super().__init__(outcome)
        self.outcome = outcome


def _send_one(
    engine: Engine,
    server: MailServer,
    smtp: smtplib.SMTP,
    mail: _Mail,
    now: Callable[[], datetime],
) -> str | None:
    """What became of one digest; None where it is another process's, or its address has left.

    Raises _Ended where the session has come to its end with it.

    An SMTPException or an OSError that it raises says nothing of this digest, and nothing of it was
    handed over.
    """
    taken = mail.taken
    code, says = smtp.mail(server.bounces or server.sender)
    if code >= 400:
        # That is about us: all others would be refused the same.
        raise smtplib.SMTPSenderRefused(code, says, server.sender)
    try:
        code, says = smtp.rcpt(taken.due.subscriber.email)
    except (OSError, smtplib.SMTPException) as error:
        # A server that hangs up at one address must not keep the others from their digests.
        raise _Ended(_put_off(engine, taken, f"hung up: {error!r}", now())) from error
    if code >= 400:
        return _begun_anew(smtp, _refused(engine, taken, code, says, now()))
    if not digests.hand_over(engine, taken, mail.papers, now()):
        return _begun_anew(smtp, None)
    try:
        code, says = smtp.data(mail.content)
    except smtplib.SMTPDataError as error:
        # It did not even want to see it.
        return _refused(engine, taken, error.smtp_code, error.smtp_error, now())
    except (OSError, smtplib.SMTPException) as error:
        digests.note_unknown(engine, taken, now(), f"broke while it was handed over: {error!r}")
        log.error("digest.unknown", digest=taken.id, reason=repr(error))
        raise _Ended("unknown") from error
    if code >= 400:
        return _refused(engine, taken, code, says, now())
    digests.note_sent(engine, taken, now())
    return "sent"


def _begun_anew(smtp: smtplib.SMTP, outcome: str | None) -> str | None:
    """The outcome, where the session goes on with the next digest; else raises _Ended with it."""
    try:
        smtp.rset()
    except (OSError, smtplib.SMTPException) as error:
        raise _Ended(outcome) from error
    return outcome


def _put_off(engine: Engine, taken: Taken, reason: str, now: datetime) -> str:
    return "put_off" if digests.put_off(engine, taken, now, reason) else "refused"


def _refused(engine: Engine, taken: Taken, code: int, says: bytes | str, now: datetime) -> str:
    text = says.decode("utf-8", "replace") if isinstance(says, bytes) else says
    reason = f"{code} {' '.join(text.split())}"
    if code < 500:
        return _put_off(engine, taken, reason, now)
    suspended = digests.refuse(engine, taken, now, reason, for_good=is_for_good(code, text))
    log.warning("digest.refused", digest=taken.id, code=code, suspended=suspended)
    return "refused"
