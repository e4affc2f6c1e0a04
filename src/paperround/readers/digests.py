"""Digests as the database has them: claimed once for each period, taken, handed over, ended.

    claimed -> handed -> sent       the mail server has it
       |  ^        |---> unknown    the way broke while it was handed over: it is not sent again
       |  '--------'                the mail server put it off: it is tried again
       |---> empty                  nothing is new to the address
       '---> refused                for good, or for most of a day

A digest is claimed by inserting a row for each subscription and period, whose key it is: whoever
comes second inserts none. It is noted as handed, in a transaction of its own, right before its text
goes to the mail server; whoever finds it so afterwards knows that it may have gone out, and lets it
be. Between these two nothing has been sent and everything may be done again. So no digest goes out
twice, whenever a process is killed; one that was killed within the moment that the mail server
takes the text in may be lost, and is counted as `unknown`.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.catalogue.records import PaperId
from paperround.db import read, write
from paperround.readers.due import TOLD, Due, claimed, due_now
from paperround.readers.subscriptions import Subscriber, subscriptions_of, suspend_subscriber
from paperround.readers.tables import (
    DigestPartTable,
    DigestTable,
    MarkTable,
    SubscriberTable,
    SubscriptionRequestTable,
)
from paperround.readers.times import last_due_day, next_due

# What an address was told of so long ago may be told again; older digests are forgotten.
REMEMBERED = timedelta(days=60)
# Whoever takes a digest has so long to hand it over before somebody else may.
TAKEN_FOR = timedelta(minutes=5)
# One that is being handed over for so long is so no more.
HANDED_FOR = timedelta(minutes=15)
# Tried after 1, 2, 4, … 64 minutes, until the next daily one is near, which has its papers too.
GIVEN_UP_AFTER = timedelta(hours=20)
_LONGEST_WAIT = 6
# So many digests in a row that the mail server refuses suspend an address.
MAX_REFUSALS = 3


@dataclass(frozen=True)
class Taken:
    """A claimed digest that this process is to send, at the attempt with this number."""

    id: int
    message_id: str
    claimed_at: datetime
    attempt: int
    due: Due


def claim_due(engine: Engine, now: datetime, n: int = 200) -> int:
    """Claims what is due for at most n addresses; how many addresses that were."""
    with write(engine) as connection:
        found = due_now(connection, now, 0, n)
        for due in found:
            _claim(connection, due, now)
        return len(found)


def take(engine: Engine, now: datetime, n: int) -> list[Taken]:
    """At most n claimed digests for this process to send (index: ix_digest_state)."""
    with write(engine) as connection:
        rows = connection.execute(
            update(DigestTable)
            .where(
                DigestTable.id.in_(
                    select(DigestTable.id)
                    .where(DigestTable.state == "claimed", DigestTable.due_at <= now)
                    .order_by(DigestTable.due_at, DigestTable.id)
                    .limit(n)
                )
            )
            .values(due_at=now + TAKEN_FOR, attempts=DigestTable.attempts + 1)
            .returning(
                DigestTable.id,
                DigestTable.subscriber_id,
                DigestTable.day,
                DigestTable.message_id,
                DigestTable.claimed_at,
                DigestTable.attempts,
            )
        ).all()
        return [
            Taken(row.id, row.message_id, row.claimed_at, row.attempts, claimed(connection, row))
            for row in rows
        ]


def known_to(connection: Connection, subscriber: Subscriber, now: datetime) -> set[PaperId]:
    """The papers that the address has been told of in the last sixty days (subscriber_id).

    Those that its reader has marked are no news either (primary key of `mark`).
    """
    lists = connection.scalars(
        select(DigestTable.papers).where(
            DigestTable.subscriber_id == subscriber.id,
            DigestTable.state.in_(TOLD),
            DigestTable.claimed_at > now - REMEMBERED,
        )
    )
    known = {PaperId(paper_id) for papers in lists for paper_id in papers}
    if subscriber.reader_id is not None:
        marked = select(MarkTable.paper_id).where(MarkTable.reader_id == subscriber.reader_id)
        known.update(PaperId(paper_id) for paper_id in connection.scalars(marked))
    return known


def hand_over(engine: Engine, taken: Taken, papers: Iterable[PaperId], now: datetime) -> bool:
    """Whether this process may hand it to the mail server now; nobody does so ever after.

    False where somebody else has it meanwhile, or the address has left.
    """
    with write(engine) as connection:
        done = connection.execute(
            update(DigestTable)
            .where(
                DigestTable.id == taken.id,
                DigestTable.state == "claimed",
                DigestTable.attempts == taken.attempt,
            )
            .values(state="handed", papers=list(papers), at=now)
        )
        return done.rowcount > 0


def note_sent(engine: Engine, taken: Taken, now: datetime) -> None:
    """The mail server has taken it."""
    with write(engine) as connection:
        _end(connection, taken.id, "sent", now)
        connection.execute(
            update(SubscriberTable)
            .where(SubscriberTable.id == taken.due.subscriber.id)
            .values(refusals=0)
        )


def note_empty(engine: Engine, taken: Taken, now: datetime) -> None:
    """Nothing was new, and nothing is sent."""
    with write(engine) as connection:
        if _is_ours(connection, taken):
            _end(connection, taken.id, "empty", now)


def note_unknown(engine: Engine, taken: Taken, now: datetime, reason: str) -> None:
    """The way to the mail server broke while it was handed over."""
    with write(engine) as connection:
        _end(connection, taken.id, "unknown", now, reason)


def put_off(engine: Engine, taken: Taken, now: datetime, reason: str) -> bool:
    """Whether it will be tried again, later each time; else it is refused.

    Only where it is certain that the mail server did not take it.
    """
    if now - taken.claimed_at >= GIVEN_UP_AFTER:
        refuse(engine, taken, now, reason, for_good=False)
        return False
    with write(engine) as connection:
        connection.execute(
            update(DigestTable)
            .where(DigestTable.id == taken.id, DigestTable.attempts == taken.attempt)
            .values(
                state="claimed",
                papers=[],
                due_at=now + timedelta(minutes=2 ** min(taken.attempt - 1, _LONGEST_WAIT)),
                reason=reason[:300],
            )
        )
    return True


def refuse(engine: Engine, taken: Taken, now: datetime, reason: str, *, for_good: bool) -> bool:
    """Whether the address is suspended now: at once where there is no such address, else after
    three digests in a row that were refused.
    """
    with write(engine) as connection:
        _end(connection, taken.id, "refused", now, reason, papers=[])
        return _count_refusal(connection, taken.due.subscriber.id, reason, now, for_good)


def take_back_sent(
    connection: Connection, message_id: str, email: str, reason: str, now: datetime, for_good: bool
) -> bool | None:
    """What a bounce does: the digest was refused behind the mail server. Whether the address is
    suspended now; None where no digest with that name went to that address, or it is noted already.
    """
    row = connection.execute(
        select(DigestTable.id, DigestTable.subscriber_id)
        .join(SubscriberTable, SubscriberTable.id == DigestTable.subscriber_id)
        .where(
            DigestTable.message_id == message_id,
            DigestTable.state.in_(TOLD),
            SubscriberTable.email_key == email.casefold(),
        )
    ).one_or_none()
    if row is None:
        return None
    _end(connection, row.id, "refused", now, reason)
    return _count_refusal(connection, row.subscriber_id, reason, now, for_good)


def mark_unknown(engine: Engine, now: datetime) -> int:
    """How many digests were being handed over when their process ended; they are let be."""
    stale = (DigestTable.state == "handed") & (DigestTable.at < now - HANDED_FOR)
    with read(engine) as connection:
        if connection.execute(select(DigestTable.id).where(stale).limit(1)).first() is None:
            return 0
    with write(engine) as connection:
        done = connection.execute(
            update(DigestTable)
            .where(stale)
            .values(state="unknown", reason="the process ended while it was handed over")
        )
        return done.rowcount


def forget_old(engine: Engine, now: datetime) -> None:
    """Removes digests that nobody asks about, and requests that nobody confirmed."""
    with write(engine) as connection:
        connection.execute(delete(DigestTable).where(DigestTable.claimed_at < now - REMEMBERED))
        expired = SubscriptionRequestTable.expires_at < now
        connection.execute(delete(SubscriptionRequestTable).where(expired))


def is_any_due(engine: Engine, now: datetime) -> bool:
    """Whether there is anything to claim or to send (indexes: next_at, ix_digest_state)."""
    to_send = (DigestTable.state == "claimed") & (DigestTable.due_at <= now)
    with read(engine) as connection:
        return any(
            connection.execute(query.limit(1)).first() is not None
            for query in (
                select(SubscriberTable.id).where(SubscriberTable.next_at <= now),
                select(DigestTable.id).where(to_send),
            )
        )


def tally(connection: Connection) -> dict[str, int]:
    """How many digests of the last sixty days are in each state. Reads ix_digest_state."""
    rows = connection.execute(select(DigestTable.state, func.count()).group_by(DigestTable.state))
    return {state: n for state, n in rows}  # noqa: C416  (a row is not a pair to the type checker)


def _claim(connection: Connection, due: Due, now: datetime) -> None:
    subscriber = due.subscriber
    cadences = {each.cadence for each in subscriptions_of(connection, subscriber.id)}
    following = [next_due(now, subscriber.hours, cadence) for cadence in cadences]
    connection.execute(
        update(SubscriberTable)
        .where(SubscriberTable.id == subscriber.id)
        .values(next_at=min(following, default=None))
    )
    if not due.parts:
        return
    # One that waits still has had its day: this one has its papers too.
    connection.execute(
        update(DigestTable)
        .where(DigestTable.subscriber_id == subscriber.id, DigestTable.state == "claimed")
        .values(state="refused", at=now, reason="a later one takes its place")
    )
    digest_id = connection.scalars(
        insert(DigestTable)
        .values(
            subscriber_id=subscriber.id,
            day=due.day,
            message_id=f"{due.day.isoformat()}.{secrets.token_hex(16)}",
            state="claimed",
            papers=[],
            claimed_at=now,
            due_at=now,
            attempts=0,
            reason="",
        )
        .returning(DigestTable.id)
    ).one()
    n_parts = 0
    for part in due.parts:
        day = last_due_day(now, subscriber.hours, part.subscription.cadence)
        done = connection.execute(
            upsert(DigestPartTable)
            .values(subscription_id=part.subscription.id, day=day, digest_id=digest_id)
            .on_conflict_do_nothing()
        )
        n_parts += done.rowcount
    if not n_parts:
        connection.execute(delete(DigestTable).where(DigestTable.id == digest_id))


def _is_ours(connection: Connection, taken: Taken) -> bool:
    found = select(DigestTable.id).where(
        DigestTable.id == taken.id,
        DigestTable.state == "claimed",
        DigestTable.attempts == taken.attempt,
    )
    return connection.execute(found).first() is not None


def _end(
    connection: Connection,
    digest_id: int,
    state: str,
    now: datetime,
    reason: str = "",
    **values: object,
) -> None:
    connection.execute(
        update(DigestTable)
        .where(DigestTable.id == digest_id)
        .values(state=state, at=now, reason=reason[:300], **values)
    )


def _count_refusal(
    connection: Connection, subscriber_id: int, reason: str, now: datetime, for_good: bool
) -> bool:
    refusals = connection.scalar(
        update(SubscriberTable)
        .where(SubscriberTable.id == subscriber_id)
        .values(refusals=SubscriberTable.refusals + 1)
        .returning(SubscriberTable.refusals)
    )
    if refusals is None or not (for_good or refusals >= MAX_REFUSALS):
        return False
    suspend_subscriber(connection, subscriber_id, reason, now)
    waiting = (DigestTable.subscriber_id == subscriber_id) & (DigestTable.state == "claimed")
    connection.execute(
        update(DigestTable).where(waiting).values(state="refused", at=now, reason=reason[:300])
    )
    return True
