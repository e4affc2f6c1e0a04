"""How often somebody may try: failed sign-ins wait longer each time, the rest has a limit.

Attempts are rows, so that every process of a server counts the same ones, and a restart forgets
none. They are noted before the answer is known: many guesses at once are many attempts.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select

from paperround.errors import TooOftenError
from paperround.readers.tables import AttemptTable

_KEPT = timedelta(days=1)
_LONGEST_WAIT_S = 300


@dataclass(frozen=True)
class Limit:
    """So many within so long: a moving window."""

    kind: str
    n: int
    within: timedelta


SIGN_UPS = Limit("sign-up", 5, timedelta(minutes=30))
MAILS_TO = Limit("mail-to", 3, timedelta(hours=1))
MAILS_FROM = Limit("mail-from", 10, timedelta(hours=1))
SUBSCRIBE_TO = Limit("subscribe-to", 4, timedelta(hours=20))
SUBSCRIBE_FROM = Limit("subscribe-from", 20, timedelta(hours=20))
LINKS = Limit("link", 30, timedelta(minutes=10))
COMMENTS = Limit("comment", 20, timedelta(minutes=10))
REPORTS = Limit("report", 20, timedelta(hours=1))
VOTES = Limit("vote", 120, timedelta(minutes=10))
COLLECTING = Limit("collect", 300, timedelta(minutes=10))
SUBMISSIONS = Limit("submission", 20, timedelta(hours=1))
GENERATIONS = Limit("generation", 30, timedelta(hours=1))
AUTHORSHIPS = Limit("authorship", 10, timedelta(days=1))

# So many sign-ins may fail before the next one waits; from an address, where a whole office may
# sit, more of them.
FREE_FAILURES = {"sign-in": 5, "sign-in-from": 30}


def spend(connection: Connection, limit: Limit, who: str, now: datetime) -> None:
    """Notes an attempt. Raises TooOftenError, and notes nothing, where the limit is reached."""
    times = _times(connection, limit.kind, who, now - limit.within)
    if len(times) >= limit.n:
        wait_s = max(1, round((times[-limit.n] + limit.within - now).total_seconds()))
        raise TooOftenError(f"that is too often; try again in {_duration(wait_s)}", wait_s)
    _note(connection, limit.kind, who, now)


def spend_sign_in(connection: Connection, account: str, address: str, now: datetime) -> None:
    """Notes an attempt to sign in to an account from a network address.

    Raises TooOftenError while the wait lasts that the failures before it have earned: after the
    free ones a second, and twice as long after each further one, up to five minutes. It is the same
    for a name that nobody has.
    """
    waits = [
        _wait_s(_times(connection, kind, who, now - _KEPT), FREE_FAILURES[kind], now)
        for kind, who in (("sign-in", account), ("sign-in-from", address))
    ]
    if (wait_s := max(waits)) > 0:
        raise TooOftenError(
            f"too many sign-ins have failed; try again in {_duration(wait_s)}", wait_s
        )
    _note(connection, "sign-in", account, now)
    _note(connection, "sign-in-from", address, now)


def forgive_sign_ins(connection: Connection, account: str, address: str) -> None:
    """Forgets an account's failures after a success, and the address's one attempt that it was."""
    connection.execute(delete(AttemptTable).where(_of("sign-in", account)))
    last = connection.scalar(select(func.max(AttemptTable.id)).where(_of("sign-in-from", address)))
    connection.execute(delete(AttemptTable).where(AttemptTable.id == last))


def forget_old_attempts(connection: Connection, now: datetime) -> None:
    """Removes what no limit asks about any more (index: ix_attempt_at)."""
    connection.execute(delete(AttemptTable).where(AttemptTable.at < now - _KEPT))


def _wait_s(failures: list[datetime], free: int, now: datetime) -> int:
    if len(failures) < free:
        return 0
    earned = min(2 ** min(len(failures) - free, 20), _LONGEST_WAIT_S)
    left = failures[-1] + timedelta(seconds=earned) - now
    return max(0, -(-left // timedelta(seconds=1)))


def _times(connection: Connection, kind: str, who: str, since: datetime) -> list[datetime]:
    """When it was attempted since then, the earliest first (index: ix_attempt_kind)."""
    rows: Iterable[datetime] = connection.scalars(
        select(AttemptTable.at)
        .where(_of(kind, who), AttemptTable.at > since)
        .order_by(AttemptTable.at)
    )
    return list(rows)


def _note(connection: Connection, kind: str, who: str, now: datetime) -> None:
    connection.execute(insert(AttemptTable).values(kind=kind, key=_key(who), at=now))


def _of(kind: str, who: str) -> ColumnElement[bool]:
    return (AttemptTable.kind == kind) & (AttemptTable.key == _key(who))


def _key(who: str) -> bytes:
    return hashlib.blake2b(who.casefold().encode("utf-8", "replace"), digest_size=16).digest()


def _duration(seconds: int) -> str:
    if seconds < 90:
        return f"{seconds} s"
    return f"{-(-seconds // 60)} min"
