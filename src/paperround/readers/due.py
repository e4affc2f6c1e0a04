"""What is due: for which addresses, and of each subscription the period that is to be told."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from paperround.readers.subscriptions import (
    Subscriber,
    Subscription,
    subscriber_by_id,
    subscriptions_of,
)
from paperround.readers.tables import DigestPartTable, DigestTable, SubscriberTable
from paperround.readers.times import Cadence, Hours, due_moment, last_due_day, local_date

# States in which an address may have what stands in a digest.
TOLD = ("handed", "sent", "unknown")
# What lies before a subscription, and is told of in its first digest.
OWN_DAYS = {Cadence.DAILY: 1, Cadence.WEEKLY: 7}


@dataclass(frozen=True)
class Part:
    """A subscription in a digest, and the last of its periods that its address was told of.

    New is what is listed under a later day than `after_day`, or came late: into the catalogue
    after the moment `after`.
    """

    subscription: Subscription
    after_day: date
    after: datetime


@dataclass(frozen=True)
class Due:
    """A digest that is due: whose, for which date of theirs, and what is to stand in it."""

    subscriber: Subscriber
    day: date
    parts: tuple[Part, ...]


def due_now(connection: Connection, now: datetime, after: int, n: int) -> list[Due]:
    """What is due and nobody has claimed, of the n next subscribers after that id (next_at)."""
    ids = connection.scalars(
        select(SubscriberTable.id)
        .where(SubscriberTable.next_at <= now, SubscriberTable.id > after)
        .order_by(SubscriberTable.id)
        .limit(n)
    ).all()
    return [_due_of(connection, subscriber_id, now) for subscriber_id in ids]


def claimed(connection: Connection, row: Any) -> Due:
    """What a row of `digest`, with id, subscriber_id and day, was claimed for."""
    subscriber = subscriber_by_id(connection, row.subscriber_id)
    ids = set(
        connection.scalars(
            select(DigestPartTable.subscription_id).where(DigestPartTable.digest_id == row.id)
        )
    )
    parts = [
        part_of(connection, each, subscriber.hours, row.day)
        for each in subscriptions_of(connection, subscriber.id)
        if each.id in ids
    ]
    return Due(subscriber, row.day, tuple(parts))


def _due_of(connection: Connection, subscriber_id: int, now: datetime) -> Due:
    """What is due of a subscriber: the latest period of each subscription, if it is a new one."""
    subscriber = subscriber_by_id(connection, subscriber_id)
    today = last_due_day(now, subscriber.hours, Cadence.DAILY)
    parts = []
    for each in subscriptions_of(connection, subscriber_id):
        day = last_due_day(now, subscriber.hours, each.cadence)
        if due_moment(day, subscriber.hours) <= each.since:
            continue
        is_claimed = select(DigestPartTable.day).where(
            DigestPartTable.subscription_id == each.id, DigestPartTable.day >= day
        )
        if connection.execute(is_claimed.limit(1)).first() is None:
            parts.append(part_of(connection, each, subscriber.hours, today))
    return Due(subscriber, today, tuple(parts))


def part_of(connection: Connection, each: Subscription, hours: Hours, day: date) -> Part:
    """The subscription with the last period before the day that was told or had nothing (primary
    key of digest_part); one whose digest was refused was not told.
    """
    last = connection.execute(
        select(DigestTable.day, DigestTable.claimed_at)
        .select_from(DigestPartTable)
        .join(DigestTable, DigestTable.id == DigestPartTable.digest_id)
        .where(
            DigestPartTable.subscription_id == each.id,
            DigestPartTable.day < day,
            DigestTable.state.in_((*TOLD, "empty")),
        )
        .order_by(DigestPartTable.day.desc())
        .limit(1)
    ).one_or_none()
    if last is not None:
        return Part(each, last.day, last.claimed_at)
    own = timedelta(days=OWN_DAYS[each.cadence])
    return Part(each, local_date(each.since, hours) - own, each.since - own)
