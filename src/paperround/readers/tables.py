"""The schema of readers: accounts, votes, comments, collections, submissions, mail, digests."""

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
)
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


class CollectionTable(Table):
    """Papers that a reader keeps together, in an order of their own."""

    __tablename__ = "collection"

    id: Mapped[int] = mapped_column(primary_key=True)
    # What stands in its address: random, so that one that is not public is not found by counting.
    key: Mapped[str] = mapped_column(String(16), unique=True)
    reader_id: Mapped[int] = mapped_column(ForeignKey("reader.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(120))
    about: Mapped[str] = mapped_column(Text)
    # private, link, public
    visibility: Mapped[str] = mapped_column(String(10))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # When a paper came, went or moved, or its name changed.
    changed_at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_collection_visibility", "visibility", "changed_at", "id"),)


class CollectionPaperTable(Table):
    """A paper in a collection, and its owner's note on it."""

    __tablename__ = "collection_paper"

    collection_id: Mapped[int] = mapped_column(
        ForeignKey("collection.id", ondelete="CASCADE"), primary_key=True
    )
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    # Grows along the list; what was taken out leaves a gap.
    position: Mapped[int]
    note: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index("ix_collection_paper_position", "collection_id", "position"),)


class SubmissionTable(Table):
    """What a reader handed in: an address to be fetched, a bibliography, or a paper by hand."""

    __tablename__ = "submission"

    id: Mapped[int] = mapped_column(primary_key=True)
    # Nothing once the reader has gone: the papers stay.
    reader_id: Mapped[int | None] = mapped_column(
        ForeignKey("reader.id", ondelete="SET NULL"), index=True
    )
    # address, bibtex, by-hand
    kind: Mapped[str] = mapped_column(String(10))
    # As it was handed in; a paper by hand as JSON.
    asked: Mapped[str] = mapped_column(Text)
    # Where a bibliography's papers go beside the catalogue.
    collection_id: Mapped[int | None] = mapped_column(
        ForeignKey("collection.id", ondelete="SET NULL"), index=True
    )
    # waiting, working, done, failed
    state: Mapped[str] = mapped_column(String(10), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Why it failed.
    reason: Mapped[str] = mapped_column(Text, default="")
    n_rejected: Mapped[int] = mapped_column(default=0)
    # The first of them: [place, reason].
    rejections: Mapped[list[list[str]]] = mapped_column(JSON, default=list)


class SubmittedTable(Table):
    """A paper that a submission named: added by it, or found in the catalogue."""

    __tablename__ = "submitted"

    submission_id: Mapped[int] = mapped_column(
        ForeignKey("submission.id", ondelete="CASCADE"), primary_key=True
    )
    paper_id: Mapped[int] = mapped_column(
        ForeignKey("paper.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    is_new: Mapped[bool]


class AuthorshipTable(Table):
    """A reader's word that they are one of a paper's authors, and what a moderator made of it."""

    __tablename__ = "authorship"

    id: Mapped[int] = mapped_column(primary_key=True)
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id", ondelete="CASCADE"))
    reader_id: Mapped[int] = mapped_column(ForeignKey("reader.id", ondelete="CASCADE"), index=True)
    # As the paper has the name.
    author: Mapped[str] = mapped_column(String(200))
    # How a moderator can tell that it is so.
    note: Mapped[str] = mapped_column(Text)
    # asked, confirmed, refused, revoked
    state: Mapped[str] = mapped_column(String(10), index=True)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # What the moderator wrote who decided last.
    because: Mapped[str] = mapped_column(Text, default="", server_default="")

    __table_args__ = (UniqueConstraint("paper_id", "reader_id"),)


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


class SubscriberTable(Table):
    """A confirmed address that gets digests, of a reader or of anybody; and when it gets them."""

    __tablename__ = "subscriber"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(String(254), unique=True)
    # The reader whose confirmed address it is.
    reader_id: Mapped[int | None] = mapped_column(
        ForeignKey("reader.id", ondelete="CASCADE"), unique=True
    )
    # What its links are made of, together with a key that is not in the database.
    seed: Mapped[bytes] = mapped_column(LargeBinary(16))
    # At this hour of this zone; what is weekly on this day, 0 for Monday.
    zone: Mapped[str] = mapped_column(String(64))
    hour: Mapped[int]
    weekday: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # When the next digest is due; nothing while it is suspended or subscribes to nothing.
    next_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    # How many digests were refused since the last that was taken.
    refusals: Mapped[int] = mapped_column(default=0)
    suspended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    suspended_because: Mapped[str] = mapped_column(Text, default="")


class SubscriptionTable(Table):
    """What an address subscribes to: it stands in each of its digests, daily or weekly."""

    __tablename__ = "subscription"

    id: Mapped[int] = mapped_column(primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(ForeignKey("subscriber.id", ondelete="CASCADE"))
    # trending, category, organisation, author, search
    kind: Mapped[str] = mapped_column(String(12))
    # The category, the name, the query; of trending, a category or nothing.
    value: Mapped[str] = mapped_column(Text)
    # How a query is searched for: both, words, meaning. Nothing for the others.
    mode: Mapped[str] = mapped_column(String(8))
    # daily, weekly
    cadence: Mapped[str] = mapped_column(String(6))
    since: Mapped[datetime] = mapped_column(UtcDateTime)

    __table_args__ = (UniqueConstraint("subscriber_id", "kind", "value", "mode"),)


class SubscriptionRequestTable(Table):
    """A subscription that somebody asked for, until the address's owner confirms it."""

    __tablename__ = "subscription_request"

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    email: Mapped[str] = mapped_column(String(254), index=True)
    kind: Mapped[str] = mapped_column(String(12))
    value: Mapped[str] = mapped_column(Text)
    mode: Mapped[str] = mapped_column(String(8))
    cadence: Mapped[str] = mapped_column(String(6))
    zone: Mapped[str] = mapped_column(String(64))
    hour: Mapped[int]
    weekday: Mapped[int]
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)


class DigestTable(Table):
    """One digest for one address: claimed when it is due, then sent, refused, or empty."""

    __tablename__ = "digest"

    id: Mapped[int] = mapped_column(primary_key=True)
    subscriber_id: Mapped[int] = mapped_column(
        ForeignKey("subscriber.id", ondelete="CASCADE"), index=True
    )
    # The subscriber's own date on which it is due.
    day: Mapped[date]
    # The same at every attempt; random, so that nobody can name it who has not got it.
    message_id: Mapped[str] = mapped_column(String(120), unique=True)
    # claimed, handed, sent, refused, empty, unknown
    state: Mapped[str] = mapped_column(String(8))
    # The papers that stand in it, from the moment that it is handed over.
    papers: Mapped[list[int]] = mapped_column(JSON, default=list)
    claimed_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    # Of one that is claimed: who looks for work takes it from then on.
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(default=0)
    # When it was handed to the mail server, or ended otherwise.
    at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text, default="")

    __table_args__ = (Index("ix_digest_state", "state", "due_at"),)


class DigestPartTable(Table):
    """That a subscription's period is in a digest: the key by which none is told twice."""

    __tablename__ = "digest_part"

    subscription_id: Mapped[int] = mapped_column(
        ForeignKey("subscription.id", ondelete="CASCADE"), primary_key=True
    )
    # The subscriber's own date on which the period ends.
    day: Mapped[date] = mapped_column(primary_key=True)
    digest_id: Mapped[int] = mapped_column(ForeignKey("digest.id", ondelete="CASCADE"), index=True)


class GenerationTable(Table):
    """A text that somebody asked a language model for, and what came of it."""

    __tablename__ = "generation"

    # A ULID: later ones sort after earlier ones, and 80 bits of it are random. Whoever has it may
    # see what was generated.
    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    # Nothing where this machine has asked, before anybody had an account.
    reader_id: Mapped[int | None] = mapped_column(
        ForeignKey("reader.id", ondelete="CASCADE"), index=True
    )
    # As the configuration names it.
    model: Mapped[str] = mapped_column(String(60))
    method: Mapped[str] = mapped_column(String(60))
    options: Mapped[dict[str, Any]] = mapped_column(JSON)
    prompt: Mapped[str] = mapped_column(Text)
    is_chat: Mapped[bool]
    max_new_tokens: Mapped[int]
    seed: Mapped[int] = mapped_column(BigInteger)
    # waiting, working, done, failed
    state: Mapped[str] = mapped_column(String(10), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Why it failed.
    reason: Mapped[str] = mapped_column(Text, default="")
    # `runs.generation.Report`, once it is done.
    report: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
