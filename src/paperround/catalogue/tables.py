"""The catalogue's schema: papers, what identifies them, where they came from."""

from datetime import date, datetime

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, LargeBinary, String, Text
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
    votes: Mapped[int] = mapped_column(default=0)
    comments: Mapped[int] = mapped_column(default=0)
    # `identity.title_key`: equal for the same title in two sources' spelling.
    title_key: Mapped[str] = mapped_column(Text, index=True)
    added_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)

    # Read backwards by the feed: the newest day first, the most votes first within a day.
    __table_args__ = (Index("ix_paper_day", "day", "votes", "id"),)


class IdentifierTable(Table):
    """What identifies a paper for certain, such as ("arxiv", "2502.08923") or ("doi", …)."""

    __tablename__ = "identifier"

    scheme: Mapped[str] = mapped_column(String(20), primary_key=True)
    value: Mapped[str] = mapped_column(String(200), primary_key=True)
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), index=True)


class AppearanceTable(Table):
    """A source in which a paper was found, under the source's own name for it."""

    __tablename__ = "appearance"

    source: Mapped[str] = mapped_column(String(30), primary_key=True)
    source_key: Mapped[str] = mapped_column(String(200), primary_key=True)
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"), index=True)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class BandTable(Table):
    """MinHash band keys of the abstracts, by which near-duplicates are found (SlimPajama-DC)."""

    __tablename__ = "band"

    band: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )


class EmbeddingTable(Table):
    """The embedding of a paper's title and abstract: float16, unit length, of the named model."""

    __tablename__ = "embedding"

    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True
    )
    model: Mapped[str] = mapped_column(String(60))
    # Of the embedded text, so that a changed abstract is embedded again.
    text_sha256: Mapped[bytes] = mapped_column(LargeBinary(32))
    vector: Mapped[bytes] = mapped_column(LargeBinary)
    # Grows with every write, so that whoever holds the vectors in memory reads only what is new.
    number: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_embedding_number", "model", "number"),)
