"""Links that are sent or printed and good for one use: to join, set a password, confirm an address.

Opening one shows a page; pressing its button uses it up, so that a scanner of mails that opens
every link uses none.
"""

from datetime import datetime, timedelta

from sqlalchemy import Connection, delete, insert, select

from paperround.errors import NotFoundError
from paperround.readers.queries import has_readers
from paperround.readers.records import Link, Purpose
from paperround.readers.secrets import new_token, token_hash
from paperround.readers.tables import LinkTable

LASTS = {
    Purpose.ADMIN: timedelta(days=7),
    Purpose.INVITATION: timedelta(days=14),
    Purpose.PASSWORD: timedelta(hours=2),
    Purpose.EMAIL: timedelta(days=2),
}
# Where each is opened.
PATHS = {
    Purpose.ADMIN: "/join/",
    Purpose.INVITATION: "/join/",
    Purpose.PASSWORD: "/password/",
    Purpose.EMAIL: "/confirm/",
}


def new_link(
    connection: Connection,
    purpose: Purpose,
    now: datetime,
    *,
    reader_id: int | None = None,
    email: str | None = None,
) -> str:
    """The path of a new link, which is the only place where its secret stands.

    A new one for the same reader takes the place of the former, but for invitations.
    """
    connection.execute(delete(LinkTable).where(LinkTable.expires_at < now))
    if purpose is not Purpose.INVITATION:
        connection.execute(
            delete(LinkTable).where(
                LinkTable.purpose == purpose.value,
                LinkTable.reader_id.is_not_distinct_from(reader_id),
            )
        )
    token = new_token()
    connection.execute(
        insert(LinkTable).values(
            token_sha256=token_hash(token),
            purpose=purpose.value,
            reader_id=reader_id,
            email=email,
            created_at=now,
            expires_at=now + LASTS[purpose],
        )
    )
    return PATHS[purpose] + token


def first_admin_link(connection: Connection, now: datetime) -> str | None:
    """The path of a link that makes the admin; None once anybody has an account."""
    if has_readers(connection):
        return None
    return new_link(connection, Purpose.ADMIN, now)


def find_link(connection: Connection, token: str, now: datetime) -> Link:
    """What the link is good for. Raises NotFoundError for one that is used, expired or made up."""
    row = connection.execute(
        select(LinkTable.purpose, LinkTable.reader_id, LinkTable.email).where(
            LinkTable.token_sha256 == token_hash(token), LinkTable.expires_at > now
        )
    ).one_or_none()
    if row is None or (row.purpose == Purpose.ADMIN and has_readers(connection)):
        raise NotFoundError("this link has been used or has expired; ask for a new one")
    return Link(Purpose(row.purpose), row.reader_id, row.email)


def forget_links(connection: Connection, reader_id: int) -> None:
    """Makes a reader's links for a password and for an address good for nothing."""
    connection.execute(
        delete(LinkTable).where(
            LinkTable.reader_id == reader_id,
            LinkTable.purpose.in_((Purpose.PASSWORD.value, Purpose.EMAIL.value)),
        )
    )


def use_link(connection: Connection, token: str, now: datetime, *purposes: Purpose) -> Link:
    """The same, used up in the caller's transaction. NotFoundError also for another kind."""
    link = find_link(connection, token, now)
    if link.purpose not in purposes:
        raise NotFoundError("this link is good for something else")
    connection.execute(delete(LinkTable).where(LinkTable.token_sha256 == token_hash(token)))
    return link
