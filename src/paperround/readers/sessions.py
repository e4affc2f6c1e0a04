"""Who is signed in: sessions begin, are looked up, and end. Each is a row that can be revoked."""

from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, insert, select, update

from paperround.db import write
from paperround.log import get_logger
from paperround.readers.queries import READER_COLUMNS, reader_from_row
from paperround.readers.records import Reader, Session
from paperround.readers.secrets import new_token, token_hash
from paperround.readers.tables import ReaderTable, SessionTable

# A session that nobody used for so long has ended, and none lasts longer than that in all.
IDLE = timedelta(days=14)
LONGEST = timedelta(days=90)
# How exactly it is known when a session was last used: not every page is a write.
_SEEN_WITHIN = timedelta(hours=1)
_MAX_AGENT = 200


def begin_session(
    connection: Connection, reader_id: int, agent: str, now: datetime, held: str | None = None
) -> str:
    """The new session's token, which the browser alone holds. Ended sessions are swept out.

    `held` is the token that the browser has so far, whoever's: its session ends.
    """
    token = new_token()
    if held is not None:
        connection.execute(
            delete(SessionTable).where(SessionTable.token_sha256 == token_hash(held))
        )
    connection.execute(
        delete(SessionTable).where(
            SessionTable.reader_id == reader_id,
            (SessionTable.seen_at < now - IDLE) | (SessionTable.created_at < now - LONGEST),
        )
    )
    connection.execute(
        insert(SessionTable).values(
            token_sha256=token_hash(token),
            reader_id=reader_id,
            agent="".join(c for c in agent if c.isprintable())[:_MAX_AGENT],
            created_at=now,
            seen_at=now,
        )
    )
    get_logger().info("session.began", reader=reader_id)
    return token


def find_session(
    connection: Connection, token: str, now: datetime
) -> tuple[Session, Reader] | None:
    """The session that holds the token and its reader; None once it has ended (token_sha256)."""
    row = connection.execute(
        select(
            SessionTable.id.label("session_id"),
            SessionTable.agent,
            SessionTable.created_at.label("began_at"),
            SessionTable.seen_at,
            *READER_COLUMNS,
        )
        .join(ReaderTable, ReaderTable.id == SessionTable.reader_id)
        .where(
            SessionTable.token_sha256 == token_hash(token),
            SessionTable.seen_at > now - IDLE,
            SessionTable.created_at > now - LONGEST,
            ReaderTable.suspended_at.is_(None),
        )
    ).one_or_none()
    if row is None:
        return None
    return Session(row.session_id, row.agent, row.began_at, row.seen_at), reader_from_row(row)


def keep_seen(engine: Engine, session: Session, now: datetime) -> None:
    """Notes that the session is in use, at most once an hour."""
    if now - session.seen_at < _SEEN_WITHIN:
        return
    with write(engine) as connection:
        connection.execute(
            update(SessionTable).where(SessionTable.id == session.id).values(seen_at=now)
        )


def end_session(connection: Connection, reader_id: int, session_id: int) -> bool:
    """Ends a reader's session; False where they have none with that id."""
    done = connection.execute(
        delete(SessionTable).where(
            SessionTable.id == session_id, SessionTable.reader_id == reader_id
        )
    )
    return done.rowcount > 0


def end_sessions(connection: Connection, reader_id: int, *, but: int | None = None) -> None:
    """Ends all sessions of a reader, but for the one named."""
    condition = SessionTable.reader_id == reader_id
    if but is not None:
        condition &= SessionTable.id != but
    connection.execute(delete(SessionTable).where(condition))
