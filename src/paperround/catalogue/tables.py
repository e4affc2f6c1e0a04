"""The catalogue's schema: papers, what identifies them, where they came from."""

from datetime import date, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from paperround.db import Table, UtcDateTime


class PaperTable(Table):
    """One record per paper, whatever number of sources it came from."""

    __tablename__ = "paper"

    id: Mapped[int] = mapped_column(primary_key=True)
    # What stands in its address: the arXiv id where there is one.
    key: Mapped[str] = mapped_column(String(80), unique=True)
    # As the source gives them, LaTeX and all.
    title: Mapped[str] = mapped_column(Text)
    abstract: Mapped[str] = mapped_column(Text)
    # The same as plain words, for search, mail and readers without JavaScript.
    title_text: Mapped[str] = mapped_column(Text)
    abstract_text: Mapped[str] = mapped_column(Text)
    authors: Mapped[list[str]] = mapped_column(JSON)
    # Some sources tell the number of authors and not the names.
    author_count: Mapped[int | None]
    organisation: Mapped[str | None] = mapped_column(String(200))
    # `identity.organisation_key`: what stands in the address of its organisation's page.
    organisation_key: Mapped[str | None] = mapped_column(String(80))
    published: Mapped[date | None]
    # The first day on which a source listed it; a replacement never lists a paper again.
    listed: Mapped[date | None]
    # The day of the feed that it belongs to: `listed`, else `published`.
    day: Mapped[date | None]
    categories: Mapped[list[str]] = mapped_column(JSON)
    comment: Mapped[str | None] = mapped_column(Text)
    venue: Mapped[str | None] = mapped_column(String(200))
    code_url: Mapped[str | None] = mapped_column(Text)
    project_url: Mapped[str | None] = mapped_column(Text)
    pdf_url: Mapped[str | None] = mapped_column(Text)
    # Repositories, models and data sets that its sources link or its abstract names.
    links: Mapped[list[str]] = mapped_column(JSON, default=list)
    # Subjects and methods, in the words of its best source.
    keywords: Mapped[list[str]] = mapped_column(JSON, default=list)
    withdrawn: Mapped[bool] = mapped_column(default=False)
    votes: Mapped[int] = mapped_column(default=0)
    comments: Mapped[int] = mapped_column(default=0)
    # `identity.title_key`: equal for the same title in two sources' spelling.
    title_key: Mapped[str] = mapped_column(Text)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (
        # Read backwards by the feed: the newest day first, the most votes first within a day.
        Index("ix_paper_day", "day", "votes", "id"),
        # The same for one organisation's papers.
        Index("ix_paper_organisation_key", "organisation_key", "day", "id"),
    )


class IdentifierTable(Table):
    """What identifies a paper for certain, such as ("arxiv", "2502.08923") or ("doi", …)."""

    __tablename__ = "identifier"

    scheme: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[str] = mapped_column(String(200), primary_key=True)
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), index=True)


class AppearanceTable(Table):
    """A source in which a paper was found, under the source's own name for it, and what it said.

    A paper is computed from its appearances and nothing else, so that a merge can be looked at and
    undone, and the order in which sources come in decides nothing but which is the newest.
    """

    __tablename__ = "appearance"

    source: Mapped[str] = mapped_column(String(30), primary_key=True)
    source_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), index=True)
    # When it last said something new.
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # Grows with everything new that any source says: the greater is the newer.
    number: Mapped[int] = mapped_column(BigInteger, default=0)
    # Of the title that this source gives: a paper is met by any of its titles.
    title_key: Mapped[str] = mapped_column(Text, default="", index=True)
    # How it was found to be this paper (`records.Said.met_by`).
    met_by: Mapped[str] = mapped_column(String(20), default="first")
    identifiers: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    # What it says otherwise than the paper, by column; nothing, where it says the same.
    differs: Mapped[dict[str, object] | None] = mapped_column(JSON(none_as_null=True))
    # Of the record as it was read, by which an unchanged one is passed over.
    digest: Mapped[bytes | None] = mapped_column(LargeBinary(16))


class ReportedTable(Table):
    """What others reported of a paper: leaderboards' rows, under the appearance that gave them."""

    __tablename__ = "reported"

    source: Mapped[str] = mapped_column(String(30), primary_key=True)
    source_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    # A hash of task, data set, metric and model: a later value replaces an earlier one.
    place: Mapped[bytes] = mapped_column(LargeBinary(12), primary_key=True)
    task: Mapped[str] = mapped_column(Text)
    dataset: Mapped[str] = mapped_column(Text)
    metric: Mapped[str] = mapped_column(Text)
    value: Mapped[str] = mapped_column(Text)
    model: Mapped[str] = mapped_column(Text)

    __table_args__ = (
        ForeignKeyConstraint(
            ["source", "source_key"],
            ["appearance.source", "appearance.source_key"],
            ondelete="CASCADE",
        ),
    )


class ApartTable(Table):
    """Two papers that a person has told apart: they are never merged again."""

    __tablename__ = "apart"

    low_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True
    )
    high_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class SequenceTable(Table):
    """The last number given, by name: numbers are never given twice, whatever was deleted since."""

    __tablename__ = "sequence"

    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)


class ChangeTable(Table):
    """When a paper was last added, changed or removed, in the order of a growing number.

    Triggers of the database write it, whoever writes the paper, so that an index beside the
    database need only remember the last number that it has seen.
    """

    __tablename__ = "paper_change"

    # Not a foreign key: a removed paper keeps its row.
    paper_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(BigInteger, unique=True)


class BookmarkTable(Table):
    """Where an import of a source stopped that was not finished, by what was asked of it."""

    __tablename__ = "bookmark"

    source: Mapped[str] = mapped_column(String(30), primary_key=True)
    scope: Mapped[str] = mapped_column(String(500), primary_key=True)
    position: Mapped[str] = mapped_column(Text)
    stored_at: Mapped[datetime] = mapped_column(UtcDateTime)


class ScheduledImportTable(Table):
    """One run of a scheduled import: when, what became of it."""

    __tablename__ = "scheduled_import"

    id: Mapped[int] = mapped_column(primary_key=True)
    # Which `[[sources]]` of the configuration it was, by its name.
    name: Mapped[str] = mapped_column(String(100))
    # The moment at which it was due; two workers never do the same one.
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    state: Mapped[str] = mapped_column(String(10))
    read: Mapped[int] = mapped_column(default=0)
    added: Mapped[int] = mapped_column(default=0)
    updated: Mapped[int] = mapped_column(default=0)
    merged: Mapped[int] = mapped_column(default=0)
    rejected: Mapped[int] = mapped_column(default=0)
    # Why it failed, or the first of the rejections.
    reason: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (UniqueConstraint("name", "due_at"),)


class BandTable(Table):
    """MinHash band keys of the abstracts, by which near-duplicates are found (SlimPajama-DC)."""

    __tablename__ = "band"

    band: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class EmbeddingTable(Table):
    """The embedding of a paper's title and abstract: float16, unit length, of the named model.

    `title_vector` is that of its title alone, in int8, of any length; None where a former version
    of this program made none.
    """

    __tablename__ = "embedding"

    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(String(60))
    # Of the embedded text, so that a changed abstract is embedded again.
    text_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    title_vector: Mapped[bytes | None] = mapped_column(LargeBinary)
    # Grows with every write, so that whoever holds the vectors in memory reads only what is new.
    number: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_embedding_number", "model", "number"),)
