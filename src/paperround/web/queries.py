"""Reads of the catalogue that only the API needs."""

from sqlalchemy import Connection, select

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import PaperTable
from paperround.errors import UsageError


def ids_added_before(connection: Connection, key: str | None, n: int) -> list[PaperId]:
    """At most n papers, the last added first, from after the paper with that key.

    Stands on the primary key and on the unique index of `key`. Raises UsageError where no paper
    has the key: a cursor that was made up.
    """
    query = select(PaperTable.id).order_by(PaperTable.id.desc()).limit(n)
    if key is not None:
        last = connection.execute(select(PaperTable.id).where(PaperTable.key == key)).scalar()
        if last is None:
            raise UsageError(f"no paper '{key[:80]}' to go on after; start again without it")
        query = query.where(PaperTable.id < last)
    return [PaperId(number) for number in connection.execute(query).scalars()]
