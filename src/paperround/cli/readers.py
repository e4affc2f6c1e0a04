"""Readers from the command line: accounts, roles, links for a password, export, the end of one."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from paperround.cli.console import Json, app, say, say_json, tell

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from paperround.readers.records import Reader
    from paperround.runs.rights import Role

user_app = typer.Typer(help="Readers and their accounts.", no_args_is_help=True)
app.add_typer(user_app, name="user")

Name = Annotated[str, typer.Argument(help="The reader's name.")]


@user_app.command(name="add")
def user_add(
    name: Name,
    role: Annotated[str, typer.Option(help="reader, moderator or admin.")] = "reader",
) -> None:
    """Make an account, and print the link with which its reader chooses a password.

    Example: paperround user add ada --role admin
    """
    from paperround.clock import utc_now
    from paperround.db import open_database, write
    from paperround.readers.accounts import add_reader
    from paperround.readers.acts import record_act
    from paperround.readers.links import new_link
    from paperround.readers.records import Purpose

    now = utc_now()
    with write(open_database()) as connection:
        reader_id = add_reader(connection, name, now, role=_role(role), is_vouched_for=True)
        path = new_link(connection, Purpose.PASSWORD, now, reader_id=reader_id)
        record_act(connection, None, f"added as {role}", name, now)
    _say_link(path, "two hours")


@user_app.command(name="invite")
def user_invite() -> None:
    """Print a link with which somebody makes their own account, once.

    Example: paperround user invite
    """
    from paperround.clock import utc_now
    from paperround.db import open_database, write
    from paperround.errors import UsageError
    from paperround.readers.links import new_link
    from paperround.readers.records import Purpose
    from paperround.settings import get_settings

    if get_settings().sign_up == "closed":
        raise UsageError("sign_up = 'closed' refuses invitations; write 'invitation' there")
    with write(open_database()) as connection:
        path = new_link(connection, Purpose.INVITATION, utc_now())
    _say_link(path, "two weeks")


@user_app.command(name="list")
def user_list(as_json: Json = False) -> None:
    """List the readers.

    Example: paperround user list
    """
    from paperround.db import open_database, read
    from paperround.readers.queries import all_readers

    with read(open_database()) as connection:
        readers = all_readers(connection)
    if as_json:
        say_json(
            [
                {
                    "name": reader.name,
                    "role": reader.role.value,
                    "email": reader.email,
                    "created_at": reader.created_at.isoformat(timespec="seconds"),
                    "suspended": reader.suspended_at is not None,
                }
                for reader in readers
            ]
        )
        return
    for reader in readers:
        state = "suspended" if reader.suspended_at else ""
        say(f"{reader.name:<40} {reader.role:<10} {reader.created_at:%Y-%m-%d} {state}".rstrip())


@user_app.command(name="promote")
def user_promote(
    name: Name, role: Annotated[str, typer.Argument(help="reader, moderator or admin.")]
) -> None:
    """Give a reader another role.

    Example: paperround user promote ada moderator
    """
    from paperround.clock import utc_now
    from paperround.db import open_database, write
    from paperround.readers.accounts import set_role

    with write(open_database()) as connection:
        set_role(connection, _reader(connection, name), _role(role), utc_now(), by=None)
    tell(f"{name} is a {role} now.")


@user_app.command(name="suspend")
def user_suspend(
    name: Name,
    end: Annotated[bool, typer.Option("--end", help="Let them in again.")] = False,
) -> None:
    """Shut a reader out: their sessions end, their tokens open nothing, what they wrote stays.

    Example: paperround user suspend ada
    """
    from paperround.clock import utc_now
    from paperround.db import open_database, write
    from paperround.readers.accounts import readmit, suspend

    with write(open_database()) as connection:
        reader = _reader(connection, name)
        if end:
            readmit(connection, reader, None, utc_now())
        else:
            suspend(connection, reader, None, utc_now())
    tell(f"{name} may come in again." if end else f"{name} is shut out.")


@user_app.command(name="reset")
def user_reset(name: Name) -> None:
    """Print a link with which a reader chooses a new password, once.

    Example: paperround user reset ada
    """
    from paperround.clock import utc_now
    from paperround.db import open_database, write
    from paperround.readers.links import new_link
    from paperround.readers.records import Purpose

    with write(open_database()) as connection:
        reader = _reader(connection, name)
        path = new_link(connection, Purpose.PASSWORD, utc_now(), reader_id=reader.id)
    _say_link(path, "two hours")


@user_app.command(name="export")
def user_export(
    name: Name,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A file; standard output otherwise.")
    ] = None,
) -> None:
    """Write everything that is kept of a reader, as JSON.

    Example: paperround user export ada -o ada.json
    """
    from paperround.db import open_database, read
    from paperround.readers.export import export_reader

    with read(open_database()) as connection:
        found = export_reader(connection, _reader(connection, name))
    text = json.dumps(found, ensure_ascii=False, indent=1)
    if output is None:
        say(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


@user_app.command(name="delete")
def user_delete(
    name: Name, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Delete an account and all that is personal in it.

    Example: paperround user delete ada --yes
    """
    import sys

    from paperround.db import open_database, read, write
    from paperround.errors import UsageError
    from paperround.readers.accounts import delete_reader

    engine = open_database()
    with read(engine) as connection:
        reader = _reader(connection, name)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("this deletes an account for good; say --yes")
        typer.confirm(
            f"Delete {reader.name} with all votes, marks, comments and tokens, for good?",
            abort=True,
            err=True,
        )
    with write(engine) as connection:
        delete_reader(connection, reader)
    tell(f"{reader.name} is deleted.")


def _reader(connection: "Connection", name: str) -> "Reader":
    from paperround.errors import NotFoundError
    from paperround.readers.queries import reader_by_name

    found = reader_by_name(connection, name)
    if found is None:
        raise NotFoundError(f"nobody is called '{name[:60]}'; `paperround user list` has the names")
    return found


def _role(name: str) -> "Role":
    from paperround.errors import UsageError
    from paperround.runs.rights import Role

    roles = [role for role in Role if role is not Role.VISITOR]
    if name not in roles:
        raise UsageError(f"no role '{name[:20]}'; there are {', '.join(roles)}")
    return Role(name)


def _say_link(path: str, lasts: str) -> None:
    """The link on standard output, what to do with it on the other."""
    from paperround.settings import get_settings

    base = get_settings().public_url
    say(f"{base or 'http://127.0.0.1:8000'}{path}")
    tell(f"It works once, within {lasts}. Hand it over where nobody else reads it.")
    if not base:
        tell("public_url is not set: this is the address of a server on this machine.")
