"""Everything that is kept of a reader, as JSON; secrets are kept as hashes and stay here."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from paperround.catalogue.tables import PaperTable
from paperround.db import Table
from paperround.readers.records import Reader
from paperround.readers.tables import (
    ActTable,
    ApiTokenTable,
    CommentTable,
    IdentityTable,
    LinkTable,
    MarkTable,
    ReaderTable,
    ReportTable,
    SessionTable,
    VoteTable,
)
from paperround.runs.tables import RunTable

# What is kept under a reader, table by table, and the columns that leave. A test holds it against
# the schema: a table that refers to readers and is not here fails it.
EXPORTED: Mapping[str, tuple[type[Table], tuple[str, ...]]] = {
    "identities": (IdentityTable, ("issuer", "subject", "created_at")),
    "sessions": (SessionTable, ("agent", "created_at", "seen_at")),
    "links": (LinkTable, ("purpose", "email", "created_at", "expires_at")),
    "tokens": (ApiTokenTable, ("name", "scopes", "created_at", "used_at", "expires_at")),
    "votes": (VoteTable, ("paper_id", "at")),
    "marks": (MarkTable, ("paper_id", "mark", "at")),
    "comments": (
        CommentTable,
        ("id", "paper_id", "parent_id", "text", "created_at", "edited_at", "hidden_because"),
    ),
    "reports": (ReportTable, ("comment_id", "reason", "at", "settled_at")),
    "acts": (ActTable, ("at", "act", "on", "note")),
}


def export_reader(connection: Connection, reader: Reader) -> dict[str, Any]:
    """All of it, JSON-ready: times in ISO 8601, papers by their keys."""
    account = connection.execute(
        select(
            ReaderTable.name,
            ReaderTable.email,
            ReaderTable.role,
            ReaderTable.created_at,
            ReaderTable.established_at,
            ReaderTable.suspended_at,
        ).where(ReaderTable.id == reader.id)
    ).one()
    found: dict[str, Any] = {"account": _plain(account._asdict())}
    for name, (table, columns) in EXPORTED.items():
        chosen = [getattr(table, column) for column in columns]
        mine = table.__table__.c.reader_id == reader.id
        query = select(*chosen).where(mine)
        if "paper_id" in columns:
            query = (
                select(PaperTable.key.label("paper"), *chosen)
                .join(PaperTable, PaperTable.id == table.__table__.c.paper_id)
                .where(mine)
            )
        found[name] = [_plain(row._asdict()) for row in connection.execute(query)]
    runs = select(RunTable.id, RunTable.slug, RunTable.scale, RunTable.state, RunTable.queued_at)
    found["runs"] = [
        _plain(row._asdict())
        for row in connection.execute(runs.where(RunTable.owner == reader.name))
    ]
    return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in row.items()
        if name != "paper_id"
    }
