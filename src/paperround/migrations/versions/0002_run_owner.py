"""A run knows who has asked for it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "run", sa.Column("owner", sa.String(length=80), server_default="", nullable=False)
    )
