"""What admins see and do: accounts, invitations, and how the work in the background stands.

Every act is written into the moderators' log in the transaction that does it. What could be used to
take an account over (a role, a link for a password, the end of an account) asks for the admin's own
password first, so that a browser left open is not enough.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, delete, func, or_, select

from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.db import write
from paperround.errors import ForbiddenError, NotFoundError, UsageError
from paperround.readers import accounts
from paperround.readers.acts import record_act
from paperround.readers.comments import one_line
from paperround.readers.links import new_link
from paperround.readers.queries import READER_COLUMNS, reader_by_id, reader_from_row
from paperround.readers.records import Purpose, Reader
from paperround.readers.submissions import count_open
from paperround.readers.tables import LinkTable, OutboxTable, ReaderTable
from paperround.runs.rights import Role
from paperround.runs.tables import RunTable

MAX_BECAUSE = 500


class Change(StrEnum):
    """What an admin may do with an account without their password."""

    SUSPEND = "suspend"
    READMIT = "readmit"


@dataclass(frozen=True)
class Invitation:
    """An invitation that nobody has used; `id` names it, and is no part of its secret."""

    id: str
    by: str | None
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True)
class State:
    """How the work in the background stands."""

    mails_waiting: int
    # Of those, how many have failed at least once.
    mails_failed: int
    oldest_mail_at: datetime | None
    runs_queued: int
    runs_running: int
    submissions_open: int
    papers: int
    papers_not_embedded: int
    readers_by_role: dict[str, int]
    readers_suspended: int


# --- reads


def readers_like(
    connection: Connection, text: str, after: str | None, n: int
) -> list[tuple[str, Reader]]:
    """At most n readers in whose name or address the text stands, by name, from after that one.

    Each with its cursor. Without a text it reads as many rows of the index on names as are shown.
    """
    query = select(ReaderTable.name_key, *READER_COLUMNS)
    text = text.strip().casefold()[:100]
    if text:
        query = query.where(
            or_(
                ReaderTable.name_key.contains(text, autoescape=True),
                ReaderTable.email_key.contains(text, autoescape=True),
            )
        )
    if after is not None:
        query = query.where(ReaderTable.name_key > after)
    rows = connection.execute(query.order_by(ReaderTable.name_key).limit(n))
    return [(row.name_key, reader_from_row(row)) for row in rows]


def invitations(connection: Connection, now: datetime) -> list[Invitation]:
    """The invitations that are open, the newest first. Reads the table of links, which is small."""
    rows = connection.execute(
        select(LinkTable.token_sha256, ReaderTable.name, LinkTable.created_at, LinkTable.expires_at)
        .outerjoin(ReaderTable, ReaderTable.id == LinkTable.reader_id)
        .where(LinkTable.purpose == Purpose.INVITATION.value, LinkTable.expires_at > now)
        .order_by(LinkTable.created_at.desc())
    )
    return [
        Invitation(row.token_sha256[:8].hex(), row.name, row.created_at, row.expires_at)
        for row in rows
    ]


def state_of(connection: Connection) -> State:
    """How the work stands now. Counts rows of indexes."""

    def count(query: object) -> int:
        return connection.scalar(query) or 0  # type: ignore[call-overload]

    active = connection.execute(
        select(RunTable.state, func.count().label("n"))
        .where(RunTable.state.in_(("queued", "running")))
        .group_by(RunTable.state)
    )
    runs = {row.state: row.n for row in active}
    roles = connection.execute(
        select(ReaderTable.role, func.count().label("n")).group_by(ReaderTable.role)
    )
    papers = count(select(func.count()).select_from(PaperTable))
    return State(
        mails_waiting=count(select(func.count()).select_from(OutboxTable)),
        mails_failed=count(select(func.count()).where(OutboxTable.attempts > 0)),
        oldest_mail_at=connection.scalar(select(func.min(OutboxTable.due_at))),
        runs_queued=runs.get("queued", 0),
        runs_running=runs.get("running", 0),
        submissions_open=count_open(connection),
        papers=papers,
        papers_not_embedded=max(
            0, papers - count(select(func.count()).select_from(EmbeddingTable))
        ),
        readers_by_role={row.role: row.n for row in roles},
        readers_suspended=count(select(func.count()).where(ReaderTable.suspended_at.is_not(None))),
    )


# --- acts


def change_role(
    engine: Engine, admin: Reader, reader_id: int, role: str, password: str, now: datetime
) -> Reader:
    """The reader with another role. Raises SignInError where the admin's password is wrong."""
    _check_admin(admin)
    if role not in (Role.READER, Role.MODERATOR, Role.ADMIN):
        raise UsageError(f"no role '{role[:20]}'; there are reader, moderator and admin")
    accounts.confirm_password(engine, admin, password, now)
    with write(engine) as connection:
        accounts.set_role(connection, _reader(connection, reader_id), Role(role), now, admin)
        return _reader(connection, reader_id)


def link_for_password(
    engine: Engine, admin: Reader, reader_id: int, password: str, now: datetime
) -> str:
    """The path of a link with which the reader chooses a new password, shown this once."""
    _check_admin(admin)
    accounts.confirm_password(engine, admin, password, now)
    with write(engine) as connection:
        reader = _reader(connection, reader_id)
        record_act(connection, admin, "made a link for a password", reader.name, now)
        return new_link(connection, Purpose.PASSWORD, now, reader_id=reader.id)


def change(
    engine: Engine, admin: Reader, reader_id: int, what: Change, because: str, now: datetime
) -> Reader:
    """The reader, shut out or let in again. Raises UsageError for the admin's own account."""
    _check_admin(admin)
    because = one_line(because)
    if len(because) > MAX_BECAUSE:
        raise UsageError(f"the reason has at most {MAX_BECAUSE} characters")
    with write(engine) as connection:
        reader = _reader(connection, reader_id)
        if reader.id == admin.id:
            raise UsageError("this is your own account")
        if what is Change.SUSPEND:
            if not because:
                raise UsageError("say why, for the other moderators")
            accounts.suspend(connection, reader, admin, now, because)
        else:
            accounts.readmit(connection, reader, admin, now)
        return _reader(connection, reader_id)


def end_account(
    engine: Engine, admin: Reader, reader_id: int, name: str, password: str, now: datetime
) -> None:
    """Deletes somebody's account and all that is personal in it.

    Raises UsageError unless `name` is the reader's, SignInError for a wrong password.
    """
    _check_admin(admin)
    with write(engine) as connection:
        reader = _reader(connection, reader_id)
    if name.strip().casefold() != reader.name.casefold():
        raise UsageError(f"type the name, {reader.name}, to say that you mean it")
    accounts.confirm_password(engine, admin, password, now)
    with write(engine) as connection:
        accounts.delete_reader(connection, _reader(connection, reader_id))
        # Not the name: nothing personal of theirs stays.
        record_act(connection, admin, "deleted an account", accounts.FORMER_READER, now)


def invite(engine: Engine, admin: Reader, now: datetime) -> str:
    """The path of a new invitation, shown this once."""
    _check_admin(admin)
    with write(engine) as connection:
        record_act(connection, admin, "invited", "somebody", now)
        return new_link(connection, Purpose.INVITATION, now, reader_id=admin.id)


def revoke_invitation(engine: Engine, admin: Reader, invitation: str, now: datetime) -> None:
    """Ends an invitation that nobody has used. Raises NotFoundError."""
    _check_admin(admin)
    with write(engine) as connection:
        held = connection.scalars(
            select(LinkTable.token_sha256).where(LinkTable.purpose == Purpose.INVITATION.value)
        ).all()
        named = [token for token in held if token[:8].hex() == invitation]
        if not named:
            raise NotFoundError("that invitation is used or revoked")
        connection.execute(delete(LinkTable).where(LinkTable.token_sha256.in_(named)))
        record_act(connection, admin, "revoked an invitation", invitation, now)


def _check_admin(reader: Reader) -> None:
    if reader.role is not Role.ADMIN:
        raise ForbiddenError("only admins look after accounts")


def _reader(connection: Connection, reader_id: int) -> Reader:
    found = reader_by_id(connection, reader_id)
    if found is None:
        raise NotFoundError(f"no reader {reader_id}")
    return found
