"""What moderators and admins do is written down, in the transaction that does it."""

from datetime import datetime

from sqlalchemy import Connection, insert, update

from paperround.readers.records import Reader
from paperround.readers.tables import ActTable
from paperround.runs.rights import THIS_MACHINE


def record_act(
    connection: Connection, by: Reader | None, act: str, on: str, now: datetime, note: str = ""
) -> None:
    """Writes down what was done, on what, and by whom: None is a command of this machine."""
    connection.execute(
        insert(ActTable).values(
            at=now,
            reader_id=by.id if by else None,
            by=by.name if by else THIS_MACHINE.name,
            act=act,
            on=on[:120],
            note=note[:500],
        )
    )


def forget_name(connection: Connection, reader: Reader, instead: str) -> None:
    """Puts another word where the reader's name stands, by them and about them."""
    connection.execute(update(ActTable).where(ActTable.reader_id == reader.id).values(by=instead))
    connection.execute(update(ActTable).where(ActTable.on == reader.name).values(on=instead))
