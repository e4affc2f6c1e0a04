"""Changes of papers in order, for the index of words, which leaves the database."""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_CHANGED = """
INSERT INTO paper_change (paper_id, number)
VALUES ({paper}, (SELECT coalesce(max(number), 0) + 1 FROM paper_change))
ON CONFLICT (paper_id) DO UPDATE SET number = excluded.number;
"""
_COLUMNS = (
    "title_text, abstract_text, authors, organisation, categories, published, day,"
    " code_url, project_url, pdf_url, links"
)


def upgrade() -> None:
    for trigger in ("paper_words_added", "paper_words_removed", "paper_words_changed"):
        op.execute(f"DROP TRIGGER IF EXISTS {trigger}")
    op.execute("DROP TABLE paper_words")
    op.create_table(
        "paper_change",
        sa.Column("paper_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("paper_id"),
        sa.UniqueConstraint("number"),
    )
    op.execute("INSERT INTO paper_change (paper_id, number) SELECT id, id FROM paper")
    for name, event, row in (
        ("added", "INSERT ON paper", "new.id"),
        ("changed", f"UPDATE OF {_COLUMNS} ON paper", "new.id"),
        ("removed", "DELETE ON paper", "old.id"),
        ("found", "INSERT ON appearance", "new.paper_id"),
        ("moved", "UPDATE OF paper_id ON appearance", "new.paper_id"),
        ("lost", "DELETE ON appearance", "old.paper_id"),
    ):
        op.execute(
            f"CREATE TRIGGER paper_change_{name} AFTER {event}"
            f" BEGIN {_CHANGED.format(paper=row)} END"
        )
    # What tells this database from any other whose index may lie in the same folder.
    op.execute(
        sa.text("INSERT INTO sequence (name, last) VALUES ('database', :number)").bindparams(
            number=secrets.randbits(62)
        )
    )
