"""Everything that is kept of a reader, as JSON; secrets are kept as hashes and stay here."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, select

from paperround.catalogue.tables import PaperTable
from paperround.db import Table
from paperround.readers.records import Reader
from paperround.readers.tables import (
    ActTable,
    ApiTokenTable,
    AuthorshipTable,
    CollectionPaperTable,
    CollectionTable,
    CommentTable,
    DigestTable,
    GenerationTable,
    IdentityTable,
    LinkTable,
    MarkTable,
    ReaderTable,
    ReportTable,
    SessionTable,
    SubmissionTable,
    SubscriberTable,
    SubscriptionTable,
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
    "collections": (
        CollectionTable,
        ("key", "name", "about", "visibility", "created_at", "changed_at"),
    ),
    "submissions": (
        SubmissionTable,
        ("kind", "asked", "state", "at", "ended_at", "reason", "n_rejected", "rejections"),
    ),
    "authorships": (
        AuthorshipTable,
        ("paper_id", "author", "note", "state", "asked_at", "decided_at", "because"),
    ),
    "generations": (
        GenerationTable,
        (
            *("id", "model", "method", "options", "prompt", "is_chat", "max_new_tokens", "seed"),
            *("state", "at", "started_at", "ended_at", "reason", "report"),
        ),
    ),
    "reports": (ReportTable, ("comment_id", "reason", "at", "settled_at")),
    "digest": (
        SubscriberTable,
        ("email", "zone", "hour", "weekday", "created_at", "suspended_at", "suspended_because"),
    ),
    "acts": (ActTable, ("at", "act", "on", "note")),
}

# The same of what hangs on the reader's address, and not on the reader.
OF_SUBSCRIBER: Mapping[str, tuple[type[Table], tuple[str, ...]]] = {
    "subscriptions": (SubscriptionTable, ("kind", "value", "mode", "cadence", "since")),
    "digests": (DigestTable, ("day", "state", "papers", "at", "reason")),
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
    address = select(SubscriberTable.id).where(SubscriberTable.reader_id == reader.id)
    for name, (table, columns) in OF_SUBSCRIBER.items():
        query = select(*(getattr(table, column) for column in columns)).where(
            table.__table__.c.subscriber_id.in_(address)
        )
        found[name] = [_plain(row._asdict()) for row in connection.execute(query)]
    _name_papers(connection, found["digests"])
    collected = CollectionPaperTable
    papers = (
        select(
            CollectionTable.key.label("collection"),
            PaperTable.key.label("paper"),
            collected.note,
            collected.at,
        )
        .join(CollectionTable, CollectionTable.id == collected.collection_id)
        .join(PaperTable, PaperTable.id == collected.paper_id)
        .where(CollectionTable.reader_id == reader.id)
        .order_by(CollectionTable.id, collected.position)
    )
    found["collected"] = [_plain(row._asdict()) for row in connection.execute(papers)]
    runs = select(RunTable.id, RunTable.slug, RunTable.scale, RunTable.state, RunTable.queued_at)
    found["runs"] = [
        _plain(row._asdict())
        for row in connection.execute(runs.where(RunTable.owner == reader.name))
    ]
    return found


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, date) else value
        for name, value in row.items()
        if name != "paper_id"
    }


def _name_papers(connection: Connection, digests: list[dict[str, Any]]) -> None:
    """Puts keys in the place of the papers' ids; a paper that is gone is left out."""
    for digest in digests:
        ids = digest["papers"]
        keys = {
            row.id: row.key
            for row in connection.execute(
                select(PaperTable.id, PaperTable.key).where(PaperTable.id.in_(ids))
            )
        }
        digest["papers"] = [keys[paper_id] for paper_id in ids if paper_id in keys]
