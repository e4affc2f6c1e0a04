"""Tokens with which a reader's programs use the API: limited in what they open, revocable."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from paperround.db import write
from paperround.errors import UsageError
from paperround.readers.queries import READER_COLUMNS, reader_from_row
from paperround.readers.records import Reader
from paperround.readers.secrets import new_token, token_hash
from paperround.readers.tables import ApiTokenTable, ReaderTable

# So that a token that lies about is known for one.
PREFIX = "paperround_"
MAX_TOKENS = 20
MAX_DAYS = 366
_USED_WITHIN = timedelta(minutes=10)


class Scope(StrEnum):
    """What a token opens beside what everybody may read."""

    READ = "read"
    VOTE = "vote"
    COMMENT = "comment"
    RUN = "run"
    SUBSCRIBE = "subscribe"
    COLLECT = "collect"
    SUBMIT = "submit"
    MODERATE = "moderate"
    ADMIN = "admin"


def add_token(
    engine: Engine,
    reader: Reader,
    name: str,
    scopes: Sequence[str],
    days: int,
    now: datetime,
) -> str:
    """The new token, which is shown this once. Raises UsageError."""
    name = " ".join(name.split())
    if not 1 <= len(name) <= 60 or not name.isprintable():
        raise UsageError("give the token a name of at most 60 characters, to know it by")
    if unknown := sorted(set(scopes) - set(Scope)):
        raise UsageError(f"no scope '{unknown[0][:20]}'; there are {', '.join(Scope)}")
    if not scopes:
        raise UsageError("choose what the token may do")
    if not 1 <= days <= MAX_DAYS:
        raise UsageError(f"a token lasts for 1 to {MAX_DAYS} days")
    token = PREFIX + new_token()
    with write(engine) as connection:
        held = select(func.count()).where(ApiTokenTable.reader_id == reader.id)
        if (connection.scalar(held) or 0) >= MAX_TOKENS:
            raise UsageError(f"you have {MAX_TOKENS} tokens; revoke one first")
        connection.execute(
            insert(ApiTokenTable).values(
                reader_id=reader.id,
                name=name,
                token_sha256=token_hash(token),
                scopes=[scope.value for scope in Scope if scope in scopes],
                created_at=now,
                expires_at=now + timedelta(days=days),
            )
        )
    return token


def find_token(
    connection: Connection, token: str, now: datetime
) -> tuple[int, datetime | None, frozenset[Scope], Reader] | None:
    """The token's id, when it was last used, what it opens and whose it is (token_sha256).

    None for one that is revoked, expired or made up, and while its reader is suspended.
    """
    row = connection.execute(
        select(
            ApiTokenTable.id.label("token_id"),
            ApiTokenTable.used_at,
            ApiTokenTable.scopes,
            *READER_COLUMNS,
        )
        .join(ReaderTable, ReaderTable.id == ApiTokenTable.reader_id)
        .where(
            ApiTokenTable.token_sha256 == token_hash(token),
            ApiTokenTable.expires_at.is_(None) | (ApiTokenTable.expires_at > now),
            ReaderTable.suspended_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    scopes = frozenset(Scope(scope) for scope in row.scopes)
    return row.token_id, row.used_at, scopes, reader_from_row(row)


def keep_used(engine: Engine, token_id: int, used_at: datetime | None, now: datetime) -> None:
    """Notes that the token is in use, at most every ten minutes."""
    if used_at is not None and now - used_at < _USED_WITHIN:
        return
    with write(engine) as connection:
        connection.execute(
            update(ApiTokenTable).where(ApiTokenTable.id == token_id).values(used_at=now)
        )


def revoke_token(engine: Engine, reader: Reader, token_id: int) -> bool:
    """Ends a reader's token; False where they have none with that id."""
    with write(engine) as connection:
        done = connection.execute(
            delete(ApiTokenTable).where(
                ApiTokenTable.id == token_id, ApiTokenTable.reader_id == reader.id
            )
        )
        return done.rowcount > 0
