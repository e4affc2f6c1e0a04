"""A reader's vote for a paper, and what they mark it as for themselves."""

from datetime import datetime

from sqlalchemy import Engine, delete, func, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert

from paperround.catalogue.records import PaperId
from paperround.db import write
from paperround.readers import limits
from paperround.readers.records import Mark, Reader
from paperround.readers.tables import MarkTable, VoteTable


def set_vote(
    engine: Engine, reader: Reader, paper_id: PaperId, votes: bool | None, now: datetime
) -> tuple[bool, int]:
    """Whether the reader votes for the paper now, and how many do.

    `votes` None turns the vote around, as a button does. To set what is set already changes
    nothing, not even when it was voted. Raises TooOftenError.
    """
    this = (VoteTable.reader_id == reader.id) & (VoteTable.paper_id == paper_id)
    with write(engine) as connection:
        stands = connection.execute(select(VoteTable.at).where(this)).first() is not None
        wanted = not stands if votes is None else votes
        if wanted != stands:
            limits.spend(connection, limits.VOTES, f"{reader.id}", now)
        if wanted and not stands:
            connection.execute(
                insert(VoteTable).values(reader_id=reader.id, paper_id=paper_id, at=now)
            )
        elif stands and not wanted:
            connection.execute(delete(VoteTable).where(this))
        count = select(func.count()).where(VoteTable.paper_id == paper_id)
        return wanted, connection.scalar(count) or 0


def set_mark(
    engine: Engine, reader: Reader, paper_id: PaperId, mark: Mark | None, now: datetime
) -> None:
    """Marks the paper for the reader alone; None takes the mark away."""
    with write(engine) as connection:
        if mark is None:
            connection.execute(
                delete(MarkTable).where(
                    MarkTable.reader_id == reader.id, MarkTable.paper_id == paper_id
                )
            )
            return
        row = {"reader_id": reader.id, "paper_id": paper_id, "mark": mark.value, "at": now}
        connection.execute(
            upsert(MarkTable)
            .values(row)
            .on_conflict_do_update(
                index_elements=["reader_id", "paper_id"],
                set_={"mark": mark.value, "at": now},
                where=MarkTable.mark != mark.value,
            )
        )
