"""Results in a table of their own, under the checksum of what they measured."""

import hashlib
import json
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

from paperround.db import UtcDateTime

revision = "results_1"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "result",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("slug", sa.String(length=60), nullable=False),
        sa.Column("scale", sa.String(length=10), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("card_sha256", sa.String(length=64), nullable=False),
        sa.Column("started_at", UtcDateTime(), nullable=False),
        sa.Column("origin", sa.String(length=10), nullable=False),
        sa.Column("origin_note", sa.Text(), nullable=False),
        sa.Column("kept_at", UtcDateTime(), nullable=False),
        sa.Column("run_id", sa.String(length=26), nullable=True),
        sa.Column("digest", sa.JSON(), nullable=False),
        sa.Column("record", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], ondelete="SET NULL"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("id"),
        sa.UniqueConstraint("run_id"),
    )
    op.create_index(
        "ix_result_card", "result", ["slug", "scale", "card_sha256", "number"], unique=False
    )
    _move_records()
    op.drop_column("run", "result")


def _move_records() -> None:
    """Moves each ended run's record into the new table, in the order in which they ended."""
    connection = op.get_bind()
    run = sa.table(
        "run",
        sa.column("id", sa.String()),
        sa.column("ended_at", UtcDateTime()),
        sa.column("result", sa.JSON(none_as_null=True)),
    )
    result = sa.table(
        "result",
        *(sa.column(name, sa.String()) for name in ("id", "slug", "scale", "status", "run_id")),
        *(sa.column(name, sa.String()) for name in ("card_sha256", "origin", "origin_note")),
        sa.column("started_at", UtcDateTime()),
        sa.column("kept_at", UtcDateTime()),
        sa.column("digest", sa.JSON()),
        sa.column("record", sa.JSON()),
    )
    ended = sa.select(run.c.id).where(run.c.ended_at.is_not(None)).order_by(run.c.ended_at)
    for run_id in connection.scalars(ended).all():
        # One at a time: together they may be larger than memory.
        row = connection.execute(
            sa.select(run.c.ended_at, run.c.result).where(run.c.id == run_id)
        ).one()
        if row.result is not None:
            connection.execute(sa.insert(result), _row(run_id, row.ended_at, row.result))


def _row(run_id: str, ended_at: Any, record: dict[str, Any]) -> dict[str, Any]:
    measured = {key: value for key, value in record.items() if key != "claims"}
    text = json.dumps(measured, sort_keys=True)
    environment = record["environment"]
    kept = ("processor", "cores", "memory_gb", "system", "paperround", "commit")
    return {
        "id": hashlib.sha256(text.encode()).hexdigest(),
        "slug": record["slug"],
        "scale": record["scale"],
        "status": record["status"],
        "card_sha256": record["card_sha256"],
        "started_at": datetime.fromisoformat(record["started_at"]),
        "origin": "here",
        "origin_note": "",
        "kept_at": ended_at,
        "run_id": run_id,
        "digest": {
            "seconds": record["seconds"],
            "seeds": record["seeds"],
            "environment": {key: environment[key] for key in kept if key in environment},
            "claims": [_figure(claim) for claim in record["claims"]],
        },
        "record": record,
    }


def _figure(claim: dict[str, Any]) -> dict[str, Any]:
    measured, bar = claim["measured"], claim["bar"]
    spread = (min(measured), max(measured)) if len(measured) > 1 else (None, None)
    limits = (("at_least", "≥"), ("at_most", "≤"))
    said = " and ".join(f"{sign} {bar[name]:g}" for name, sign in limits if name in bar)
    return {
        "id": claim["id"],
        "verdict": claim["verdict"],
        "value": claim["value"],
        "low": spread[0],
        "high": spread[1],
        "baseline": claim["baseline"],
        "bar": said or "–",
        "reason": claim["reason"],
    }
