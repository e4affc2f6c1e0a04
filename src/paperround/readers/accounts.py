"""Accounts: signing up and in, names, passwords, addresses, roles, suspension, the end of one."""

import re
from datetime import datetime, timedelta

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from paperround.db import read, write
from paperround.errors import ForbiddenError, NotFoundError, SignInError, UsageError
from paperround.log import get_logger
from paperround.readers import limits
from paperround.readers.acts import forget_name, record_act
from paperround.readers.comments import take_back_all
from paperround.readers.links import forget_links, new_link, use_link
from paperround.readers.mail import Mailing, put_in_outbox
from paperround.readers.queries import reader_by_id, reader_by_name
from paperround.readers.records import Purpose, Reader
from paperround.readers.secrets import check_password, hash_password, is_outdated, is_password
from paperround.readers.sessions import begin_session, end_sessions
from paperround.readers.subscriptions import (
    follow_address,
    forget_requests,
    forget_subscriber,
)
from paperround.readers.tables import (
    ApiTokenTable,
    LinkTable,
    OutboxTable,
    ReaderTable,
    SubscriberTable,
)
from paperround.runs.rights import Role
from paperround.runs.tables import RunTable

# So old is an account that nobody vouched for before its votes count fully in trending.
ESTABLISHED_AFTER = timedelta(days=7)
FORMER_READER = "a former reader"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,38}[A-Za-z0-9]")
# What RFC 5321 lets stand before the @ without quotes, so that no part of it is read as a comment
# or as a second address; and the names of hosts as they are looked up.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")
_WRONG = "that name and that password do not belong together"


def checked_name(name: str) -> str:
    """The name as it is kept. Raises UsageError for one that cannot be."""
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise UsageError(
            "a name has 2 to 40 letters or digits, with . _ - between them, such as ada-l"
        )
    return name


def checked_email(address: str) -> str:
    """The address as it is kept. Raises UsageError for what is none, or not in ASCII."""
    address = address.strip()
    if not address.isascii():
        raise UsageError(
            "mail goes to addresses in plain letters only (ASCII); a domain in others has a "
            "spelling that begins with xn--"
        )
    local, _, host = address.rpartition("@")
    is_one = _EMAIL.fullmatch(address) and not host.rpartition(".")[2].isdigit()
    if not is_one or len(local) > 64 or len(address) > 254:
        raise UsageError(f"'{address[:60]}' is no address of mail")
    return address


def add_reader(
    connection: Connection,
    name: str,
    now: datetime,
    *,
    role: Role = Role.READER,
    password: str | None = None,
    is_vouched_for: bool = False,
) -> int:
    """The id of a new reader; `password` is a hash already.

    Raises UsageError for a name that cannot be, or that somebody has.
    """
    name = checked_name(name)
    if reader_by_name(connection, name) is not None:
        raise UsageError(f"somebody is called '{name}' already; take another name")
    vouched = is_vouched_for or role in (Role.MODERATOR, Role.ADMIN)
    return connection.scalars(
        insert(ReaderTable)
        .values(
            name=name,
            name_key=name.casefold(),
            role=role.value,
            password=password,
            created_at=now,
            established_at=now if vouched else now + ESTABLISHED_AFTER,
        )
        .returning(ReaderTable.id)
    ).one()


def sign_up(
    engine: Engine,
    name: str,
    password: str,
    *,
    address: str,
    agent: str,
    now: datetime,
    link: str | None = None,
    held: str | None = None,
) -> str:
    """The token of a new reader's first session.

    `link` is the secret of an invitation or of the admin's link, None where everybody may sign up.
    `held` is the token of a session that the browser has already: it ends.
    Raises UsageError for a name or a password that cannot be, TooOftenError for the sixth from one
    network address within half an hour, NotFoundError for a link that is used up.
    """
    name = checked_name(name)
    check_password(password, name)
    hashed = hash_password(password)
    with write(engine) as connection:
        role, vouched = Role.READER, False
        if link is not None:
            used = use_link(connection, link, now, Purpose.ADMIN, Purpose.INVITATION)
            role = Role.ADMIN if used.purpose is Purpose.ADMIN else Role.READER
            vouched = True
        else:
            limits.spend(connection, limits.SIGN_UPS, address, now)
        reader_id = add_reader(
            connection, name, now, role=role, password=hashed, is_vouched_for=vouched
        )
        return begin_session(connection, reader_id, agent, now, held)


def sign_in(
    engine: Engine,
    name: str,
    password: str,
    *,
    address: str,
    agent: str,
    now: datetime,
    held: str | None = None,
) -> str:
    """The token of a new session; `name` may be the confirmed address of mail.

    `held` is the token of a session that the browser has already: it ends.
    Raises SignInError, in the same words and after the same time whether there is such an account
    or not, and TooOftenError while too many have failed.
    """
    name = name.strip().casefold()[:254]
    with write(engine) as connection:
        limits.spend_sign_in(connection, name, address, now)
    with read(engine) as connection:
        row = connection.execute(
            select(ReaderTable.id, ReaderTable.password, ReaderTable.suspended_at).where(
                (ReaderTable.name_key == name) | (ReaderTable.email_key == name)
            )
        ).first()
    if not is_password(row.password if row else None, password) or row is None:
        raise SignInError(_WRONG)
    if row.suspended_at is not None:
        raise ForbiddenError("this account is suspended; ask whoever runs this place")
    fresh = hash_password(password) if is_outdated(row.password) else None
    with write(engine) as connection:
        limits.forgive_sign_ins(connection, name, address)
        if fresh is not None:
            connection.execute(
                update(ReaderTable).where(ReaderTable.id == row.id).values(password=fresh)
            )
        return begin_session(connection, row.id, agent, now, held)


def change_password(
    engine: Engine, reader: Reader, old: str, new: str, *, session_id: int, now: datetime
) -> None:
    """Sets another password; all other sessions end. Raises SignInError where `old` is wrong."""
    check_password(new, reader.name)
    confirm_password(engine, reader, old, now)
    _set_password(engine, reader.id, new, but=session_id)


def confirm_password(engine: Engine, reader: Reader, password: str, now: datetime) -> None:
    """Raises SignInError unless it is the reader's password; failures count as those of sign-in.

    A reader without a password has nothing to confirm with, and passes.
    """
    with write(engine) as connection:
        stored = connection.scalar(select(ReaderTable.password).where(ReaderTable.id == reader.id))
        if stored is not None:
            limits.spend_sign_in(connection, f"confirm {reader.name}", f"{reader.id}", now)
    if stored is None:
        return
    if not is_password(stored, password):
        raise SignInError("that is not your password")
    with write(engine) as connection:
        limits.forgive_sign_ins(connection, f"confirm {reader.name}", f"{reader.id}")


def set_password(engine: Engine, link: str, new: str, now: datetime) -> str:
    """The name of the reader whose password it is now. All their sessions and API tokens end.

    Raises NotFoundError for a link that is used up, UsageError for a password that cannot be.
    """
    check_password(new)
    hashed = hash_password(new)
    with write(engine) as connection:
        used = use_link(connection, link, now, Purpose.PASSWORD)
        reader = None if used.reader_id is None else reader_by_id(connection, used.reader_id)
        if reader is None:
            raise NotFoundError("this account is gone")
        check_password(new, reader.name)
        connection.execute(
            update(ReaderTable).where(ReaderTable.id == reader.id).values(password=hashed)
        )
        end_sessions(connection, reader.id)
        get_logger().info("password.set", reader=reader.id)
        # Whoever had got in may have made a token, or asked for an address of their own.
        forget_links(connection, reader.id)
        connection.execute(delete(ApiTokenTable).where(ApiTokenTable.reader_id == reader.id))
        return reader.name


def ask_for_password(
    engine: Engine, name: str, mailing: Mailing, *, address: str, now: datetime
) -> None:
    """Mails a link to whoever has that name or address, where they have confirmed one.

    It does and takes the same whether there is such an account or not. Raises TooOftenError.
    """
    name = name.strip().casefold()[:254]
    with write(engine) as connection:
        limits.spend(connection, limits.MAILS_FROM, address, now)
        limits.spend(connection, limits.MAILS_TO, f"password {name}", now)
        row = connection.execute(
            select(ReaderTable.id, ReaderTable.name, ReaderTable.email).where(
                (ReaderTable.name_key == name) | (ReaderTable.email_key == name),
                ReaderTable.email.is_not(None),
                ReaderTable.suspended_at.is_(None),
            )
        ).first()
        # For nobody the same is written: a link that nobody is told, in a mail that is not sent.
        reader_id, called, email = (row.id, row.name, row.email) if row else (None, name, "")
        path = new_link(connection, Purpose.PASSWORD, now, reader_id=reader_id)
        put_in_outbox(
            connection,
            email,
            "A new password for Paperround",
            f"Somebody, perhaps you, asked for a new password for {called}.\n\n"
            f"Choose it here, within two hours:\n{mailing.public_url}{path}\n\n"
            "If it was not you, leave this mail as it is: nothing has changed.\n",
            now,
        )


def ask_for_email(
    engine: Engine, reader: Reader, email: str, mailing: Mailing, *, now: datetime
) -> None:
    """Mails a link to the address; once its button is pressed the address is the reader's."""
    email = checked_email(email)
    with write(engine) as connection:
        limits.spend(connection, limits.MAILS_TO, f"email {reader.id}", now)
        limits.spend(connection, limits.MAILS_TO, f"email {email}", now)
        path = new_link(connection, Purpose.EMAIL, now, reader_id=reader.id, email=email)
        put_in_outbox(
            connection,
            email,
            "Confirm your address for Paperround",
            f"{reader.name} wants to use this address with Paperround.\n\n"
            f"If that is you, confirm it here, within two days:\n{mailing.public_url}{path}\n\n"
            "If not, leave this mail as it is, and it will not be used.\n",
            now,
        )


def confirm_email(engine: Engine, link: str, now: datetime) -> str:
    """The address that is confirmed now. Raises NotFoundError, and UsageError if another has it."""
    with write(engine) as connection:
        used = use_link(connection, link, now, Purpose.EMAIL)
        if used.email is None or used.reader_id is None:
            raise NotFoundError("this link names no address")
        key = used.email.casefold()
        holder = connection.scalar(select(ReaderTable.id).where(ReaderTable.email_key == key))
        if holder not in (None, used.reader_id):
            raise UsageError("another account here uses this address already")
        connection.execute(
            update(ReaderTable)
            .where(ReaderTable.id == used.reader_id)
            .values(email=used.email, email_key=key)
        )
        # A link for a password that went to the former address is good for nothing any more.
        forget_links(connection, used.reader_id)
        follow_address(connection, used.reader_id, used.email, now)
        return used.email


def set_role(
    connection: Connection, reader: Reader, role: Role, now: datetime, by: Reader | None
) -> None:
    """Gives a reader another role. Raises UsageError for a visitor's, or for the last admin's."""
    if role is Role.VISITOR:
        raise UsageError("a reader is a reader, a moderator or an admin")
    if reader.role is Role.ADMIN and role is not Role.ADMIN:
        _check_not_last_admin(connection, reader)
    values: dict[str, object] = {"role": role.value}
    if role is not Role.READER:
        values["established_at"] = min(reader.established_at, now)
    connection.execute(update(ReaderTable).where(ReaderTable.id == reader.id).values(**values))
    record_act(connection, by, f"made {role.value}", reader.name, now)


def suspend(
    connection: Connection, reader: Reader, by: Reader | None, now: datetime, note: str = ""
) -> None:
    """Shuts a reader out until `readmit`: their sessions end, their tokens open nothing."""
    if reader.role is Role.ADMIN:
        _check_not_last_admin(connection, reader)
    connection.execute(
        update(ReaderTable).where(ReaderTable.id == reader.id).values(suspended_at=now)
    )
    end_sessions(connection, reader.id)
    record_act(connection, by, "suspended", reader.name, now, note)


def readmit(connection: Connection, reader: Reader, by: Reader | None, now: datetime) -> None:
    """Ends a suspension."""
    connection.execute(
        update(ReaderTable).where(ReaderTable.id == reader.id).values(suspended_at=None)
    )
    record_act(connection, by, "readmitted", reader.name, now)


def delete_reader(connection: Connection, reader: Reader) -> None:
    """Removes the account and all that is personal in it.

    Votes, marks, sessions, tokens, subscriptions, reports and comments go. Of a comment that was
    answered an empty place stays, for the answers' sake, and nothing says whose it was. Raises
    UsageError for the last admin while there are other readers.
    """
    if reader.role is Role.ADMIN and _count_others(connection, reader):
        _check_not_last_admin(connection, reader)
    take_back_all(connection, reader.id)
    connection.execute(
        update(RunTable).where(RunTable.owner == reader.name).values(owner=FORMER_READER)
    )
    forget_name(connection, reader, FORMER_READER)
    asked = select(LinkTable.email).where(LinkTable.reader_id == reader.id)
    to_them = (OutboxTable.recipient == reader.email) | OutboxTable.recipient.in_(asked)
    connection.execute(delete(OutboxTable).where(to_them))
    forget_subscriber(connection, SubscriberTable.reader_id == reader.id)
    if reader.email is not None:
        forget_subscriber(connection, SubscriberTable.email_key == reader.email.casefold())
        forget_requests(connection, reader.email)
    connection.execute(delete(ReaderTable).where(ReaderTable.id == reader.id))


def free_name(connection: Connection, wanted: str) -> str:
    """A name that nobody has, near the one wanted."""
    letters = re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("._-")[:32].strip("._-")
    stem = letters if len(letters) >= 2 else "reader"
    for number in range(1, 10_000):
        name = stem if number == 1 else f"{stem}-{number}"
        if reader_by_name(connection, name) is None:
            return name
    raise UsageError(f"too many readers are called '{stem}'")


def _set_password(engine: Engine, reader_id: int, new: str, *, but: int) -> None:
    hashed = hash_password(new)
    with write(engine) as connection:
        connection.execute(
            update(ReaderTable).where(ReaderTable.id == reader_id).values(password=hashed)
        )
        end_sessions(connection, reader_id, but=but)
        get_logger().info("password.set", reader=reader_id)
        forget_links(connection, reader_id)


def _check_not_last_admin(connection: Connection, reader: Reader) -> None:
    others = connection.scalar(
        select(func.count()).where(
            ReaderTable.role == Role.ADMIN.value,
            ReaderTable.suspended_at.is_(None),
            ReaderTable.id != reader.id,
        )
    )
    if not others:
        raise UsageError(f"{reader.name} is the only admin; make another one first")


def _count_others(connection: Connection, reader: Reader) -> int:
    return connection.scalar(select(func.count()).where(ReaderTable.id != reader.id)) or 0
