"""Readers: accounts, sessions, votes, marks, comments, tokens, mail that waits."""

import sqlalchemy as sa
from alembic import op

from paperround.db import UtcDateTime

revision = "0005"
down_revision = "0004"

# When two papers are found to be one, the one that goes leaves its key with the one that stays; so
# do its readers' votes, marks, comments and mentions. A vote that stands there already stays one.
KEPT_TOGETHER = """
CREATE TRIGGER paper_merged BEFORE DELETE ON paper
WHEN EXISTS (
    SELECT 1 FROM identifier
    WHERE scheme = 'key' AND value = old.key AND paper_id != old.id
)
BEGIN
    UPDATE OR IGNORE vote SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
    UPDATE OR IGNORE mark SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
    UPDATE comment SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
    UPDATE OR IGNORE mention SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
END
"""


def upgrade() -> None:
    op.create_table(
        "reader",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("name_key", sa.String(length=40), nullable=False),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("email_key", sa.String(length=254), nullable=True),
        sa.Column("password", sa.Text(), nullable=True),
        sa.Column("role", sa.String(length=10), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("established_at", UtcDateTime(), nullable=False),
        sa.Column("suspended_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name_key"),
        sa.UniqueConstraint("email_key"),
    )
    op.create_table(
        "identity",
        sa.Column("issuer", sa.String(length=255), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("issuer", "subject"),
    )
    op.create_index("ix_identity_reader_id", "identity", ["reader_id"], unique=False)
    op.create_table(
        "session",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(length=200), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_index("ix_session_reader_id", "session", ["reader_id"], unique=False)
    op.create_table(
        "link",
        sa.Column("token_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("purpose", sa.String(length=10), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=True),
        sa.Column("email", sa.String(length=254), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_sha256"),
    )
    op.create_index("ix_link_reader_id", "link", ["reader_id"], unique=False)
    op.create_table(
        "attempt",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("key", sa.LargeBinary(length=16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_attempt_kind", "attempt", ["kind", "key", "at"], unique=False)
    op.create_index("ix_attempt_at", "attempt", ["at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("recipient", sa.String(length=254), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_outbox_due_at", "outbox", ["due_at"], unique=False)
    op.create_table(
        "api_token",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=60), nullable=False),
        sa.Column("token_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("used_at", UtcDateTime(), nullable=True),
        sa.Column("expires_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("token_sha256"),
    )
    op.create_index("ix_api_token_reader_id", "api_token", ["reader_id"], unique=False)
    for name, columns in (
        ("vote", ()),
        ("mark", (sa.Column("mark", sa.String(length=10), nullable=False),)),
    ):
        op.create_table(
            name,
            sa.Column("reader_id", sa.Integer(), nullable=False),
            sa.Column("paper_id", sa.Integer(), nullable=False),
            *columns,
            sa.Column("at", UtcDateTime(), nullable=False),
            sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
            sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
            sa.PrimaryKeyConstraint("reader_id", "paper_id"),
        )
        op.create_index(f"ix_{name}_paper_id", name, ["paper_id"], unique=False)
        op.create_index(f"ix_{name}_at", name, ["at"], unique=False)
    op.create_table(
        "comment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=True),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("edited_at", UtcDateTime(), nullable=True),
        sa.Column("hidden_at", UtcDateTime(), nullable=True),
        sa.Column("hidden_because", sa.Text(), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["parent_id"], ["comment.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_comment_paper_id", "comment", ["paper_id", "id"], unique=False)
    for column in ("reader_id", "parent_id", "created_at"):
        op.create_index(f"ix_comment_{column}", "comment", [column], unique=False)
    op.create_table(
        "mention",
        sa.Column("comment_id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("written", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(["comment_id"], ["comment.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("comment_id", "paper_id", "written"),
    )
    op.create_index("ix_mention_paper_id", "mention", ["paper_id"], unique=False)
    op.create_table(
        "report",
        sa.Column("comment_id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["comment_id"], ["comment.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("comment_id", "reader_id"),
    )
    op.create_index("ix_report_reader_id", "report", ["reader_id"], unique=False)
    op.create_index("ix_report_settled_at", "report", ["settled_at"], unique=False)
    op.create_table(
        "act",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=True),
        sa.Column("by", sa.String(length=40), nullable=False),
        sa.Column("act", sa.String(length=40), nullable=False),
        sa.Column("on", sa.String(length=120), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_act_reader_id", "act", ["reader_id"], unique=False)
    # "When was anything measured here": trending asks for the latest results alone.
    op.create_index("ix_result_kept_at", "result", ["kept_at"], unique=False)
    op.execute(KEPT_TOGETHER)
