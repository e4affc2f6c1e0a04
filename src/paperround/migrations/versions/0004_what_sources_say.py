"""What each source says of a paper, what others reported, bookmarks and scheduled imports."""

import sqlalchemy as sa
from alembic import op

from paperround.db import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("paper", sa.Column("links", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("paper", sa.Column("keywords", sa.JSON(), nullable=False, server_default="[]"))
    op.add_column("paper", sa.Column("withdrawn", sa.Boolean(), nullable=False, server_default="0"))
    op.drop_index("ix_paper_title_key", "paper")
    for column in (
        sa.Column("number", sa.BigInteger(), nullable=False, server_default="0"),
        sa.Column("title_key", sa.Text(), nullable=False, server_default=""),
        sa.Column("met_by", sa.String(length=20), nullable=False, server_default="first"),
        sa.Column("identifiers", sa.JSON(), nullable=False, server_default="{}"),
        sa.Column("differs", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=True),
    ):
        op.add_column("appearance", column)
    # What each source said before is not known any more: each is taken to have said what the paper
    # says, until it is imported again.
    op.execute(
        "UPDATE appearance SET number = rowid,"
        " title_key = (SELECT title_key FROM paper WHERE paper.id = paper_id),"
        " identifiers = (SELECT json_group_object(scheme, value) FROM identifier"
        "  WHERE identifier.paper_id = appearance.paper_id AND scheme != 'key')"
    )
    op.create_index("ix_appearance_title_key", "appearance", ["title_key"], unique=False)
    op.create_table(
        "reported",
        sa.Column("source", sa.String(length=30), nullable=False),
        sa.Column("source_key", sa.String(length=200), nullable=False),
        sa.Column("place", sa.LargeBinary(length=12), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["source", "source_key"],
            ["appearance.source", "appearance.source_key"],
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("source", "source_key", "place"),
    )
    op.create_table(
        "apart",
        sa.Column("low_id", sa.Integer(), nullable=False),
        sa.Column("high_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["low_id"], ["paper.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["high_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("low_id", "high_id"),
    )
    op.create_index("ix_apart_high_id", "apart", ["high_id"], unique=False)
    op.create_table(
        "sequence",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute(
        "INSERT INTO sequence VALUES"
        " ('paper', (SELECT coalesce(max(id), 0) FROM paper)),"
        " ('appearance', (SELECT coalesce(max(number), 0) FROM appearance))"
    )
    op.create_table(
        "bookmark",
        sa.Column("source", sa.String(length=30), nullable=False),
        sa.Column("scope", sa.String(length=500), nullable=False),
        sa.Column("position", sa.Text(), nullable=False),
        sa.Column("stored_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("source", "scope"),
    )
    op.create_table(
        "scheduled_import",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("due_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("read", sa.Integer(), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("merged", sa.Integer(), nullable=False),
        sa.Column("rejected", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", "due_at"),
    )
    # Without the index of prefixes, which no query used: it took half of an import's time.
    for statement in REBUILT_WORDS:
        op.execute(statement)


REBUILT_WORDS = (
    "DROP TABLE paper_words",
    """
CREATE VIRTUAL TABLE paper_words USING fts5(
    title_text, abstract_text, authors,
    content='paper', content_rowid='id',
    tokenize='porter unicode61 remove_diacritics 2'
)
""",
    "INSERT INTO paper_words(paper_words) VALUES ('rebuild')",
    # Bytes of words kept in memory before they are written: a batch of papers fits.
    "INSERT INTO paper_words(paper_words, rank) VALUES ('hashsize', 16777216)",
)
