"""Subscriptions: what an address is told of by digest, kept, changed and ended.

How an address comes here is in `subscribing.py`. When the last subscription of an address ends,
nothing is kept of it.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.db import write
from paperround.errors import NotFoundError, UsageError
from paperround.readers.records import Reader
from paperround.readers.secrets import is_lasting_token, lasting_token, number_in
from paperround.readers.subjects import Kind, Subject
from paperround.readers.tables import (
    OutboxTable,
    ReaderTable,
    SubscriberTable,
    SubscriptionRequestTable,
    SubscriptionTable,
)
from paperround.readers.times import Cadence, Hours, kept_hours, next_due

MAX_SUBSCRIPTIONS = 50
# What the links of a digest are good for.
MANAGE, STOP = "manage", "stop"


@dataclass(frozen=True)
class Subscription:
    """A subject that stands in an address's digests; `id` is 0 until it is kept."""

    id: int
    subject: Subject
    cadence: Cadence
    since: datetime


@dataclass(frozen=True)
class Subscriber:
    """A confirmed address, and when its digests come."""

    id: int
    email: str
    reader_id: int | None
    hours: Hours
    seed: bytes
    next_at: datetime | None
    suspended_at: datetime | None
    suspended_because: str


def subscribe_reader(
    engine: Engine,
    reader: Reader,
    subject: Subject,
    cadence: Cadence,
    now: datetime,
    hours: Hours | None = None,
) -> int:
    """The id of a reader's subscription, which their confirmed address gets from now on.

    One that stands already gets the cadence. `hours` None leaves them as they are. Raises
    UsageError for a reader without a confirmed address, or with too many subscriptions.
    """
    if reader.email is None:
        raise UsageError("confirm an address of mail on your own page first")
    with write(engine) as connection:
        held = keep_subscriber(connection, reader.email, reader.id, hours or Hours(), now)
        if hours is not None:
            change_hours(connection, held, hours)
        return keep_subscription(connection, held, subject, cadence, now)


def add_subscription(
    engine: Engine, subscriber_id: int, subject: Subject, cadence: Cadence, now: datetime
) -> int:
    """The id of one more subscription of a confirmed address; as `subscribe_reader`."""
    with write(engine) as connection:
        subscriber_by_id(connection, subscriber_id)
        return keep_subscription(connection, subscriber_id, subject, cadence, now)


def set_hours(engine: Engine, subscriber_id: int, hours: Hours, now: datetime) -> None:
    """From now on digests come at these hours."""
    with write(engine) as connection:
        change_hours(connection, subscriber_id, hours)
        _plan(connection, subscriber_id, now)


def set_cadence(
    engine: Engine, subscriber_id: int, subscription_id: int, cadence: Cadence, now: datetime
) -> None:
    """Makes a subscription daily or weekly. Raises NotFoundError where the address has none."""
    with write(engine) as connection:
        done = connection.execute(
            update(SubscriptionTable)
            .where(_own(subscriber_id, subscription_id))
            .values(cadence=cadence.value)
        )
        if not done.rowcount:
            raise NotFoundError("this address has no such subscription")
        _plan(connection, subscriber_id, now)


def end_subscription(
    engine: Engine, subscriber_id: int, subscription_id: int, now: datetime
) -> bool:
    """Whether the address has others left; with the last one all that is kept of it goes.

    Raises NotFoundError where the address has no such subscription.
    """
    with write(engine) as connection:
        done = connection.execute(
            delete(SubscriptionTable).where(_own(subscriber_id, subscription_id))
        )
        if not done.rowcount:
            raise NotFoundError("this address has no such subscription")
        if subscriptions_of(connection, subscriber_id):
            _plan(connection, subscriber_id, now)
            return True
        forget_subscriber(connection, SubscriberTable.id == subscriber_id)
        return False


def end_all(engine: Engine, subscriber_id: int) -> None:
    """Ends all subscriptions of an address, and forgets it."""
    with write(engine) as connection:
        forget_subscriber(connection, SubscriberTable.id == subscriber_id)


def forget_subscriber(connection: Connection, which: ColumnElement[bool]) -> None:
    """Removes these subscribers with all that hangs on them, and what was asked for them.

    Mail that waits for an address goes too, but for a reader's, whose it may be otherwise.
    """
    gone = connection.execute(
        select(SubscriberTable.email, SubscriberTable.reader_id).where(which)
    ).all()
    for row in gone:
        forget_requests(connection, row.email)
        if row.reader_id is None:
            connection.execute(delete(OutboxTable).where(OutboxTable.recipient == row.email))
    connection.execute(delete(SubscriberTable).where(which))


def forget_requests(connection: Connection, email: str) -> None:
    """Removes what waits to be confirmed by that address."""
    table = SubscriptionRequestTable
    connection.execute(delete(table).where(func.lower(table.email) == email.casefold()))


def resume(engine: Engine, subscriber_id: int, now: datetime) -> None:
    """Lets a suspended address have its digests again."""
    with write(engine) as connection:
        let_in_again(connection, subscriber_id)
        _plan(connection, subscriber_id, now)


def let_in_again(connection: Connection, subscriber_id: int) -> None:
    """Ends a suspension; `_plan` says when the next digest comes."""
    connection.execute(
        update(SubscriberTable)
        .where(SubscriberTable.id == subscriber_id)
        .values(suspended_at=None, suspended_because="", refusals=0)
    )


def suspend_subscriber(
    connection: Connection, subscriber_id: int, because: str, now: datetime
) -> None:
    """Sends the address nothing more until it is resumed or confirmed anew."""
    connection.execute(
        update(SubscriberTable)
        .where(SubscriberTable.id == subscriber_id)
        .values(suspended_at=now, suspended_because=because[:300], next_at=None)
    )


def follow_address(connection: Connection, reader: int, email: str, now: datetime) -> None:
    """A reader's subscriptions go to the address that they have confirmed now.

    Those that this address had by itself become the reader's; where both had some, they are joined.
    """
    key = email.casefold()
    own = connection.scalar(select(SubscriberTable.id).where(SubscriberTable.reader_id == reader))
    there = connection.scalar(select(SubscriberTable.id).where(SubscriberTable.email_key == key))
    this = update(SubscriberTable)
    if own is not None and there is not None and own != there:
        held = {subscription.subject for subscription in subscriptions_of(connection, own)}
        for other in subscriptions_of(connection, there):
            if other.subject not in held:
                connection.execute(
                    update(SubscriptionTable)
                    .where(SubscriptionTable.id == other.id)
                    .values(subscriber_id=own)
                )
        connection.execute(delete(SubscriberTable).where(SubscriberTable.id == there))
    if own is not None:
        values = {"email": email, "email_key": key, "refusals": 0}
        alive = {"suspended_at": None, "suspended_because": ""}
        connection.execute(this.where(SubscriberTable.id == own).values(**values, **alive))
        _plan(connection, own, now)
    elif there is not None:
        connection.execute(this.where(SubscriberTable.id == there).values(reader_id=reader))


def subscriptions_of(connection: Connection, subscriber_id: int) -> list[Subscription]:
    """What an address subscribes to, the earliest first (index: subscriber_id, …)."""
    table = SubscriptionTable
    rows = connection.execute(
        select(table.id, table.kind, table.value, table.mode, table.cadence, table.since)
        .where(table.subscriber_id == subscriber_id)
        .order_by(table.id)
    )
    return [
        Subscription(
            row.id,
            Subject(Kind(row.kind), row.value, row.mode),
            Cadence(row.cadence),
            row.since,
        )
        for row in rows
    ]


def subscriber_of_reader(connection: Connection, reader: Reader) -> Subscriber | None:
    """The reader's own, or the one of their confirmed address (indexes: reader_id, email_key)."""
    mine = SubscriberTable.reader_id == reader.id
    if reader.email is not None:
        mine |= SubscriberTable.reader_id.is_(None) & (
            SubscriberTable.email_key == reader.email.casefold()
        )
    return _one(connection, mine)


def subscriber_by_token(
    connection: Connection, token: str, purpose: str, key: bytes
) -> Subscriber | None:
    """Whose link it is, for that purpose; None for one that is made up, or whose address left."""
    number = number_in(token)
    found = None if number is None else _one(connection, SubscriberTable.id == number)
    if found is None or not is_lasting_token(token, key, purpose, found.id, found.seed):
        return None
    return found


def manage_path(key: bytes, subscriber_id: int, seed: bytes) -> str:
    """The path of the page on which whoever gets the digests changes what is in them."""
    return f"/subscriptions/{lasting_token(key, MANAGE, subscriber_id, seed)}"


def stop_path(key: bytes, subscriber_id: int, seed: bytes) -> str:
    """The path that ends all of an address's digests by one POST (RFC 8058)."""
    return f"/unsubscribe/{lasting_token(key, STOP, subscriber_id, seed)}"


def keep_subscriber(
    connection: Connection, email: str, reader_id: int | None, hours: Hours, now: datetime
) -> int:
    """The id of a confirmed address's subscriber, made where there is none.

    It is the reader's whose confirmed address it is, known or not by who asks.
    """
    key = email.casefold()
    if reader_id is None:
        reader_id = connection.scalar(select(ReaderTable.id).where(ReaderTable.email_key == key))
    if reader_id is not None:
        follow_address(connection, reader_id, email, now)
    connection.execute(
        upsert(SubscriberTable)
        .values(
            email=email,
            email_key=key,
            reader_id=reader_id,
            seed=secrets.token_bytes(16),
            zone=hours.zone,
            hour=hours.hour,
            weekday=hours.weekday,
            created_at=now,
            refusals=0,
            suspended_because="",
        )
        .on_conflict_do_nothing()
    )
    return connection.scalars(
        select(SubscriberTable.id).where(SubscriberTable.email_key == key)
    ).one()


def keep_subscription(
    connection: Connection, subscriber_id: int, subject: Subject, cadence: Cadence, now: datetime
) -> int:
    """The id of a subscription, kept from now on; one that stands gets the cadence."""
    held = subscriptions_of(connection, subscriber_id)
    same = next((each.id for each in held if each.subject == subject), None)
    if same is not None:
        connection.execute(
            update(SubscriptionTable)
            .where(SubscriptionTable.id == same)
            .values(cadence=cadence.value)
        )
    elif len(held) >= MAX_SUBSCRIPTIONS:
        raise UsageError(f"an address has at most {MAX_SUBSCRIPTIONS} subscriptions; end one first")
    else:
        same = connection.scalars(
            insert(SubscriptionTable)
            .values(
                subscriber_id=subscriber_id,
                kind=subject.kind.value,
                value=subject.value,
                mode=subject.mode,
                cadence=cadence.value,
                since=now,
            )
            .returning(SubscriptionTable.id)
        ).one()
    _plan(connection, subscriber_id, now)
    return same


def change_hours(connection: Connection, subscriber_id: int, hours: Hours) -> None:
    """Sets the hours; `_plan` says when the next digest comes."""
    connection.execute(
        update(SubscriberTable)
        .where(SubscriberTable.id == subscriber_id)
        .values(zone=hours.zone, hour=hours.hour, weekday=hours.weekday)
    )


def _plan(connection: Connection, subscriber_id: int, now: datetime) -> None:
    """Notes when the next digest is due; one that is due already and not claimed yet stays so."""
    subscriber = subscriber_by_id(connection, subscriber_id)
    cadences = {each.cadence for each in subscriptions_of(connection, subscriber_id)}
    if subscriber.next_at is not None and subscriber.next_at <= now:
        return
    due = [next_due(now, subscriber.hours, cadence) for cadence in cadences]
    next_at = min(due) if due and subscriber.suspended_at is None else None
    connection.execute(
        update(SubscriberTable).where(SubscriberTable.id == subscriber_id).values(next_at=next_at)
    )


def _own(subscriber_id: int, subscription_id: int) -> ColumnElement[bool]:
    return (SubscriptionTable.id == subscription_id) & (
        SubscriptionTable.subscriber_id == subscriber_id
    )


def subscriber_by_id(connection: Connection, subscriber_id: int) -> Subscriber:
    """The subscriber with that id (index: primary). Raises NotFoundError."""
    found = _one(connection, SubscriberTable.id == subscriber_id)
    if found is None:
        raise NotFoundError("this address gets nothing any more; subscribe once more")
    return found


def subscriber_at(connection: Connection, email: str) -> Subscriber | None:
    """The subscriber of an address (index: email_key)."""
    return _one(connection, SubscriberTable.email_key == email.casefold())


def _one(connection: Connection, which: ColumnElement[bool]) -> Subscriber | None:
    table = SubscriberTable
    row = connection.execute(
        select(
            table.id,
            table.email,
            table.reader_id,
            table.zone,
            table.hour,
            table.weekday,
            table.seed,
            table.next_at,
            table.suspended_at,
            table.suspended_because,
        )
        .where(which)
        .order_by(table.reader_id.is_(None))
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    return Subscriber(
        row.id,
        row.email,
        row.reader_id,
        kept_hours(row.zone, row.hour, row.weekday),
        row.seed,
        row.next_at,
        row.suspended_at,
        row.suspended_because,
    )
