"""Who readers are at a provider of OpenID Connect: signed in by it, joined, and parted from it."""

from datetime import datetime

from sqlalchemy import Connection, Engine, delete, insert, select

from paperround.db import write
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers.accounts import add_reader, free_name
from paperround.readers.queries import identities_of
from paperround.readers.records import Reader
from paperround.readers.sessions import begin_session
from paperround.readers.tables import IdentityTable, ReaderTable


def sign_in_as(
    engine: Engine,
    issuer: str,
    subject: str,
    *,
    wanted_name: str,
    may_sign_up: bool,
    agent: str,
    now: datetime,
    held: str | None = None,
) -> str:
    """The token of a session for whoever a provider of OpenID Connect says it is.

    Somebody known is signed in, somebody unknown gets an account where they may sign up; an account
    is never found by an address of mail, which a provider may not have checked. `held` is the token
    of a session that the browser has already: it ends. Raises ForbiddenError where they may not.
    """
    with write(engine) as connection:
        known = connection.execute(
            select(IdentityTable.reader_id, ReaderTable.suspended_at)
            .join(ReaderTable, ReaderTable.id == IdentityTable.reader_id)
            .where(IdentityTable.issuer == issuer, IdentityTable.subject == subject)
        ).one_or_none()
        if known is not None:
            if known.suspended_at is not None:
                raise ForbiddenError("this account is suspended; ask whoever runs this place")
            return begin_session(connection, known.reader_id, agent, now, held)
        if not may_sign_up:
            raise ForbiddenError("nobody here goes by that identity, and sign-up is not open")
        reader_id = add_reader(connection, free_name(connection, wanted_name), now)
        _add_identity(connection, issuer, subject, reader_id, now)
        return begin_session(connection, reader_id, agent, now, held)


def join_identity(engine: Engine, reader: Reader, issuer: str, subject: str, now: datetime) -> None:
    """Lets a reader sign in by a provider of OpenID Connect as well, as they have asked for.

    Raises UsageError where that identity is somebody else's here.
    """
    with write(engine) as connection:
        holder = connection.scalar(
            select(IdentityTable.reader_id).where(
                IdentityTable.issuer == issuer, IdentityTable.subject == subject
            )
        )
        if holder not in (None, reader.id):
            raise UsageError("that identity belongs to another reader here")
        if holder is None:
            _add_identity(connection, issuer, subject, reader.id, now)


def end_identity(engine: Engine, reader: Reader, identity: str) -> None:
    """Signs the reader in by that identity no more. NotFoundError where they have none of that id.

    Raises UsageError for the last way in of a reader without a password.
    """
    with write(engine) as connection:
        held = {each.id: each for each in identities_of(connection, reader.id)}
        if identity not in held:
            raise NotFoundError("you do not go by that identity")
        if len(held) == 1 and not reader.has_password:
            raise UsageError("choose a password first: you have no other way in")
        issuer, subject = held[identity].issuer, held[identity].subject
        this = (IdentityTable.issuer == issuer) & (IdentityTable.subject == subject)
        connection.execute(delete(IdentityTable).where(this))


def _add_identity(
    connection: Connection, issuer: str, subject: str, reader_id: int, now: datetime
) -> None:
    connection.execute(
        insert(IdentityTable).values(
            issuer=issuer, subject=subject, reader_id=reader_id, created_at=now
        )
    )
