"""Embeddings of titles by themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.add_column("embedding", sa.Column("title_vector", sa.LargeBinary(), nullable=True))
