"""The schema of readers: accounts and how they sign in, votes, marks, comments, tokens, mail."""

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from paperround.db import Table, UtcDateTime


class ReaderTable(Table):
    """A person with an account."""

    __tablename__ = "reader"

    id: Mapped[int] = mapped_column(primary_key=True)
    # As it is shown; `name_key` is the same in small letters, so that no two look alike.
    name: Mapped[str] = mapped_column(String(40))
    name_key: Mapped[str] = mapped_column(String(40), unique=True)
    # Only an address that was confirmed by a link sent to it.
    email: Mapped[str | None] = mapped_column(String(254))
    email_key: Mapped[str | None] = mapped_column(String(254), unique=True)
    # argon2id in its own notation; nothing for who signs in elsewhere, or has not chosen one yet.
    password: Mapped[str | None] = mapped_column(Text)
    # reader, moderator, admin
    role: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # From when on their votes count fully in trending: at once for who was invited.
    established_at: Mapped[datetime] = mapped_column(UtcDateTime)
    suspended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class IdentityTable(Table):
    """Who a reader is at a provider of OpenID Connect."""

    __tablename__ = "identity"

    issuer: Mapped[str] = mapped_column(String(255), primary_key=True)
    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    reader_id: Mapped[int] = mapped_column(ForeignKey("reader.id", ondelete="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SessionTable(Table):
    """One browser that is signed in. What it holds is kept as a hash."""

    __tablename__ = "session"

    id: Mapped[int] = mapped_column(primary_key=True)
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    reader_id: Mapped[int] = mapped_column(ForeignKey("reader.id", ondelete="CASCADE"), index=True)
    # What the browser calls itself, so that a reader knows the session again.
    agent: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)


class LinkTable(Table):
    """A link that lets whoever holds it do one thing, once: join, set a password, confirm."""

    __tablename__ = "link"

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    # admin, invitation, password, email
    purpose: Mapped[str] = mapped_column(String(10))
    # Whose password or address it is about; of an invitation, who invites.
    reader_id: Mapped[int | None] = mapped_column(
        ForeignKey("reader.id", ondelete="CASCADE"), index=True
    )
    # The address that is to be confirmed.
    email: Mapped[str | None] = mapped_column(String(254))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class AttemptTable(Table):
    """Something that may be done only so often: a failed sign-in, a mail that was asked for."""

    __tablename__ = "attempt"

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    # A hash: of the name that was typed, or of the network address that asked.
    key: Mapped[bytes] = mapped_column(LargeBinary(16))
    at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_attempt_kind", "kind", "key", "at"), Index("ix_attempt_at", "at"))


class OutboxTable(Table):
    """A mail on its way: written in the transaction that wants it sent, sent by a worker."""

    __tablename__ = "outbox"

    id: Mapped[int] = mapped_column(primary_key=True)
    recipient: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    attempts: Mapped[int] = mapped_column(default=0)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class ApiTokenTable(Table):
    """A reader's token for the API. What they hold is kept as a hash."""

    __tablename__ = "api_token"

    id: Mapped[int] = mapped_column(primary_key=True)
    reader_id: Mapped[int] = mapped_column(ForeignKey("reader.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(60))
    token_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class VoteTable(Table):
    """A reader's vote for a paper: there or not."""

    __tablename__ = "vote"

    reader_id: Mapped[int] = mapped_column(
        ForeignKey("reader.id", ondelete="CASCADE"), primary_key=True
    )
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True
    )
    at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_vote_paper_id", "paper_id"), Index("ix_vote_at", "at"))


class MarkTable(Table):
    """What a reader has said of a paper for themselves: read, later, not for me."""

    __tablename__ = "mark"

    reader_id: Mapped[int] = mapped_column(
        ForeignKey("reader.id", ondelete="CASCADE"), primary_key=True
    )
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True
    )
    # read, later, not-for-me
    mark: Mapped[str] = mapped_column(String(10))
    at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_mark_paper_id", "paper_id"), Index("ix_mark_at", "at"))


class CommentTable(Table):
    """A comment on a paper, or an answer to one."""

    __tablename__ = "comment"

    id: Mapped[int] = mapped_column(primary_key=True)
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"))
    # Nothing once its author has gone, or has taken it back while there were answers to it.
    reader_id: Mapped[int | None] = mapped_column(
        ForeignKey("reader.id", ondelete="SET NULL"), index=True
    )
    parent_id: Mapped[int | None] = mapped_column(
        ForeignKey("comment.id", ondelete="CASCADE"), index=True
    )
    # Markdown; empty once it was taken back.
    text: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    edited_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    hidden_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # What the moderator who hid it wrote.
    hidden_because: Mapped[str] = mapped_column(Text, default="", server_default="")

    __table_args__ = (Index("ix_comment_paper_id", "paper_id", "id"),)


class MentionTable(Table):
    """A paper that a comment on another one names, and as what."""

    __tablename__ = "mention"

    comment_id: Mapped[int] = mapped_column(
        ForeignKey("comment.id", ondelete="CASCADE"), primary_key=True
    )
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    written: Mapped[str] = mapped_column(String(80), primary_key=True)


class ReportTable(Table):
    """A reader's word to the moderators about a comment."""

    __tablename__ = "report"

    comment_id: Mapped[int] = mapped_column(
        ForeignKey("comment.id", ondelete="CASCADE"), primary_key=True
    )
    reader_id: Mapped[int] = mapped_column(
        ForeignKey("reader.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    settled_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)


class ActTable(Table):
    """What a moderator or an admin has done, for the others to look at."""

    __tablename__ = "act"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    reader_id: Mapped[int | None] = mapped_column(
        ForeignKey("reader.id", ondelete="SET NULL"), index=True
    )
    # "this machine" for what was done by a command.
    by: Mapped[str] = mapped_column(String(40))
    act: Mapped[str] = mapped_column(String(40))
    on: Mapped[str] = mapped_column(String(120))
    note: Mapped[str] = mapped_column(Text, default="")
