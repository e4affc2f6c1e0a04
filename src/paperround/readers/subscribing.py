"""How an address comes to have digests: asked for by anybody, confirmed by who reads its mail.

Whoever asks gets the same answer, after the same work, whatever is known of the address.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select

from paperround.db import write
from paperround.errors import NotFoundError
from paperround.readers import limits
from paperround.readers.accounts import checked_email
from paperround.readers.mail import Mailing, put_in_outbox
from paperround.readers.secrets import new_token, token_hash
from paperround.readers.subjects import Kind, Subject, said_hours
from paperround.readers.subscriptions import (
    Subscriber,
    change_hours,
    keep_subscriber,
    keep_subscription,
    let_in_again,
    manage_path,
    subscriber_at,
    subscriber_by_id,
)
from paperround.readers.tables import SubscriptionRequestTable
from paperround.readers.times import Cadence, Hours, kept_hours

REQUEST_LASTS = timedelta(days=2)


@dataclass(frozen=True)
class Request:
    """A subscription that waits for its address to be confirmed."""

    email: str
    subject: Subject
    cadence: Cadence
    hours: Hours


def ask_to_subscribe(
    engine: Engine,
    email: str,
    subject: Subject,
    cadence: Cadence,
    hours: Hours,
    mailing: Mailing,
    *,
    address: str,
    now: datetime,
) -> None:
    """Mails a link to the address; once its button is pressed, it is subscribed.

    It does and takes the same whether the address is known here or not. `address` is the network
    address that asks. Raises UsageError for what is no address of mail, TooOftenError.
    """
    email = checked_email(email)
    token = new_token()
    with write(engine) as connection:
        limits.spend(connection, limits.SUBSCRIBE_FROM, address, now)
        limits.spend(connection, limits.SUBSCRIBE_TO, email, now)
        table = SubscriptionRequestTable
        connection.execute(delete(table).where(table.expires_at < now))
        connection.execute(
            insert(table).values(
                token_sha256=token_hash(token),
                email=email,
                kind=subject.kind.value,
                value=subject.value,
                mode=subject.mode,
                cadence=cadence.value,
                zone=hours.zone,
                hour=hours.hour,
                weekday=hours.weekday,
                expires_at=now + REQUEST_LASTS,
            )
        )
        put_in_outbox(
            connection,
            email,
            "Confirm your subscription to Paperround",
            f"Somebody, perhaps you, wants this address to get, {said_hours(hours, cadence)}:\n\n"
            f"    {subject.says}\n\n"
            "If that is you, confirm it here, within two days:\n"
            f"{mailing.public_url}/subscribe/{token}\n\n"
            "If not, leave this mail as it is: nothing will be sent.\n",
            now,
        )


def ask_for_manage_link(
    engine: Engine, email: str, mailing: Mailing, key: bytes, *, address: str, now: datetime
) -> None:
    """Mails the link of `manage_path` to an address that has subscriptions.

    It answers the same whether there is such an address or not. Raises UsageError, TooOftenError.
    """
    email = checked_email(email)
    with write(engine) as connection:
        limits.spend(connection, limits.SUBSCRIBE_FROM, address, now)
        limits.spend(connection, limits.SUBSCRIBE_TO, email, now)
        found = subscriber_at(connection, email)
        number, seed, to = (found.id, found.seed, found.email) if found else (0, b"", "")
        put_in_outbox(
            connection,
            to,
            "Your subscriptions to Paperround",
            "Change or end what this address gets here:\n"
            f"{mailing.public_url}{manage_path(key, number, seed)}\n\n"
            "Whoever has this link can do so; keep it to yourself.\n",
            now,
        )


def find_request(connection: Connection, token: str, now: datetime) -> Request:
    """What the link would confirm. Raises NotFoundError once it is used, expired or made up."""
    table = SubscriptionRequestTable
    row = connection.execute(
        select(
            table.email,
            table.kind,
            table.value,
            table.mode,
            table.cadence,
            table.zone,
            table.hour,
            table.weekday,
        ).where(table.token_sha256 == token_hash(token), table.expires_at > now)
    ).one_or_none()
    if row is None:
        raise NotFoundError("this link has been used or has expired; subscribe once more")
    subject = Subject(Kind(row.kind), row.value, row.mode)
    return Request(
        row.email, subject, Cadence(row.cadence), kept_hours(row.zone, row.hour, row.weekday)
    )


def confirm_request(engine: Engine, token: str, now: datetime) -> tuple[Subscriber, Request]:
    """The subscriber, who gets what was asked for from now on. Uses the link up; NotFoundError.

    An address that was suspended because its mail came back is not any more: this one arrived.
    """
    with write(engine) as connection:
        request = find_request(connection, token, now)
        connection.execute(
            delete(SubscriptionRequestTable).where(
                SubscriptionRequestTable.token_sha256 == token_hash(token)
            )
        )
        subscriber_id = keep_subscriber(connection, request.email, None, request.hours, now)
        change_hours(connection, subscriber_id, request.hours)
        let_in_again(connection, subscriber_id)
        keep_subscription(connection, subscriber_id, request.subject, request.cadence, now)
        return subscriber_by_id(connection, subscriber_id), request
