"""Collections, submissions, authorship, and the pages of organisations."""

import sqlalchemy as sa
from alembic import op

from paperround.catalogue.identity import organisation_key
from paperround.db import UtcDateTime

revision = "0008"
down_revision = "0007"

# As `paper_merged` of 0005 does for votes and comments: what readers gave to a paper that turns out
# to be another one stays with that one. What stands there already stays once.
KEPT_TOGETHER = """
CREATE TRIGGER paper_merged_community BEFORE DELETE ON paper
WHEN EXISTS (
    SELECT 1 FROM identifier
    WHERE scheme = 'key' AND value = old.key AND paper_id != old.id
)
BEGIN
    UPDATE OR IGNORE collection_paper SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
    UPDATE OR IGNORE submitted SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
    UPDATE OR IGNORE authorship SET paper_id = (
        SELECT paper_id FROM identifier WHERE scheme = 'key' AND value = old.key
    ) WHERE paper_id = old.id;
END
"""


def upgrade() -> None:
    op.create_table(
        "collection",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=16), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=120), nullable=False),
        sa.Column("about", sa.Text(), nullable=False),
        sa.Column("visibility", sa.String(length=10), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("key"),
    )
    op.create_index("ix_collection_reader_id", "collection", ["reader_id"])
    op.create_index("ix_collection_visibility", "collection", ["visibility", "changed_at", "id"])
    op.create_table(
        "collection_paper",
        sa.Column("collection_id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("collection_id", "paper_id"),
    )
    op.create_index("ix_collection_paper_paper_id", "collection_paper", ["paper_id"])
    op.create_index(
        "ix_collection_paper_position", "collection_paper", ["collection_id", "position"]
    )
    op.create_table(
        "submission",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(length=10), nullable=False),
        sa.Column("asked", sa.Text(), nullable=False),
        sa.Column("collection_id", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("n_rejected", sa.Integer(), nullable=False),
        sa.Column("rejections", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("id"),
    )
    for column in ("reader_id", "collection_id", "state"):
        op.create_index(f"ix_submission_{column}", "submission", [column])
    op.create_table(
        "submitted",
        sa.Column("submission_id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("is_new", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["submission_id"], ["submission.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("submission_id", "paper_id"),
    )
    op.create_index("ix_submitted_paper_id", "submitted", ["paper_id"])
    op.create_table(
        "authorship",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("paper_id", sa.Integer(), nullable=False),
        sa.Column("reader_id", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(length=200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=10), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("because", sa.Text(), nullable=False, server_default=""),
        sa.ForeignKeyConstraint(["paper_id"], ["paper.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["reader_id"], ["reader.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("paper_id", "reader_id"),
    )
    for column in ("reader_id", "state"):
        op.create_index(f"ix_authorship_{column}", "authorship", [column])
    op.execute(KEPT_TOGETHER)

    op.add_column("paper", sa.Column("organisation_key", sa.String(length=80), nullable=True))
    connection = op.get_bind()
    named = sa.text("SELECT DISTINCT organisation FROM paper WHERE organisation IS NOT NULL")
    op.execute("CREATE INDEX organisation_for_a_moment ON paper (organisation)")
    for name in connection.scalars(named).all():
        connection.execute(
            sa.text("UPDATE paper SET organisation_key = :key WHERE organisation = :name"),
            {"key": organisation_key(name), "name": name},
        )
    op.execute("DROP INDEX organisation_for_a_moment")
    op.create_index("ix_paper_organisation_key", "paper", ["organisation_key", "day", "id"])
