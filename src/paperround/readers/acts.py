"""What moderators and admins do is written down, in the transaction that does it."""

import re
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from paperround.readers.records import Act, Reader
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
    """Puts another word where the reader's name stands, by them and about them.

    About them is `ada`, `ada as Ada Ay of 2606.00001` and `collection x1 of ada`.
    """
    connection.execute(update(ActTable).where(ActTable.reader_id == reader.id).values(by=instead))
    whole = ActTable.on == reader.name
    first = ActTable.on.startswith(f"{reader.name} as ", autoescape=True)
    last = ActTable.on.endswith(f" of {reader.name}", autoescape=True)
    rows = connection.execute(select(ActTable.id, ActTable.on).where(whole | first | last)).all()
    for row in rows:
        on = re.sub(
            rf"^{re.escape(reader.name)}(?=$| as )|(?<= of ){re.escape(reader.name)}$",
            instead,
            row.on,
        )
        connection.execute(update(ActTable).where(ActTable.id == row.id).values(on=on[:120]))


def acts_before(connection: Connection, before: int | None, n: int) -> list[tuple[int, Act]]:
    """At most n acts with their numbers, the last first, from before that one (index: primary)."""
    query = select(ActTable.id, ActTable.at, ActTable.by, ActTable.act, ActTable.on, ActTable.note)
    if before is not None:
        query = query.where(ActTable.id < before)
    rows = connection.execute(query.order_by(ActTable.id.desc()).limit(n))
    return [(row.id, Act(row.at, row.by, row.act, row.on, row.note)) for row in rows]
