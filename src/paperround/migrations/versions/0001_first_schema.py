"""The first schema: the catalogue with its word index, and the runs."""

import sqlalchemy as sa
from alembic import op

from paperround.db import UtcDateTime

revision = "0001"
down_revision = None

# External content: the words are indexed, the text itself stands once, in `paper`.
WORDS = """
CREATE VIRTUAL TABLE paper_words USING fts5(
    title_text, abstract_text, authors,
    content='paper', content_rowid='id',
    tokenize='porter unicode61 remove_diacritics 2', prefix='2 3'
)
"""
_OLD = (
    "INSERT INTO paper_words(paper_words, rowid, title_text, abstract_text, authors) "
    "VALUES ('delete', old.id, old.title_text, old.abstract_text, old.authors);"
)
_NEW = (
    "INSERT INTO paper_words(rowid, title_text, abstract_text, authors) "
    "VALUES (new.id, new.title_text, new.abstract_text, new.authors);"
)
TRIGGERS = (
    f"CREATE TRIGGER paper_words_added AFTER INSERT ON paper BEGIN {_NEW} END",
    f"CREATE TRIGGER paper_words_removed AFTER DELETE ON paper BEGIN {_OLD} END",
    "CREATE TRIGGER paper_words_changed AFTER UPDATE OF title_text, abstract_text, authors "
    f"ON paper BEGIN {_OLD} {_NEW} END",
)


def upgrade() -> None:
    op.create_table(
        "paper",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=80), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("abstract", sa.Text(), nullable=False),
        sa.Column("title_text", sa.Text(), nullable=False),
        sa.Column("abstract_text", sa.Text(), nullable=False),
        sa.Column("authors", sa.JSON(), nullable=False),
        sa.Column("author_count", sa.Integer(), nullable=True),
        sa.Column("organisation", sa.String(length=200), nullable=True),
        sa.Column("published", sa.Date(), nullable=True),
        sa.Column("listed", sa.Date(), nullable=True),
        sa.Column("day", sa.Date(), nullable=True),
        sa.Column("categories", sa.JSON(), nullable=False),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("venue", sa.String(length=200), nullable=True),
        sa.Column("code_url", sa.Text(), nullable=True),
        sa.Column("project_url", sa.Text(), nullable=True),
        sa.Column("pdf_url", sa.Text(), nullable=True),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("comments", sa.Integer(), nullable=False),
        sa.Column("title_key", sa.Text(), nullable=False),
        sa.Column("added_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_paper_day", "paper", ["day", "votes", "id"], unique=False)
    op.create_index("ix_paper_title_key", "paper", ["title_key"], unique=False)
    op.create_table(
        "run",
        sa.Column("id", sa.String(length=26), nullable=False),
        sa.Column("slug", sa.String(length=60), nullable=False),
        sa.Column("scale", sa.String(length=10), nullable=False),
        sa.Column("seeds", sa.JSON(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("queued_at", UtcDateTime(), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("worker", sa.String(length=120), nullable=True),
        sa.Column("leased_until", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("cancel_requested", sa.Boolean(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_run_queue", "run", ["state", "priority", "queued_at"], unique=False)
    op.create_index("ix_run_slug", "run", ["slug", "scale", "ended_at"], unique=False)
    op.create_table(
        "appearance",
        sa.Column("source", sa.String(length=30), nullable=False),
        sa.Column("source_key", sa.String(length=200), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("seen_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("source", "source_key"),
    )
    op.create_index("ix_appearance_paper_id", "appearance", ["paper_id"], unique=False)
    op.create_table(
        "band",
        sa.Column("band", sa.Integer(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("band", "key", "paper_id"),
    )
    op.create_index("ix_band_paper_id", "band", ["paper_id"], unique=False)
    op.create_table(
        "embedding",
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(length=60), nullable=False),
        sa.Column("text_sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("paper_id"),
    )
    op.create_index("ix_embedding_number", "embedding", ["model", "number"], unique=False)
    op.create_table(
        "identifier",
        sa.Column("scheme", sa.String(length=20), nullable=False),
        sa.Column("value", sa.String(length=200), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("scheme", "value"),
    )
    op.create_index("ix_identifier_paper_id", "identifier", ["paper_id"], unique=False)
    op.create_table(
        "run_event",
        sa.Column("run_id", sa.String(length=26), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("event", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "number"),
    )
    for statement in (WORDS, *TRIGGERS):
        op.execute(statement)
