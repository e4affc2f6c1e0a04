"""The schema of runs: a row per run, the events that it has emitted, and the results."""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from paperround.db import Table, UtcDateTime


class RunTable(Table):
    """One execution of a reproduction, from the moment it is queued."""

    __tablename__ = "run"

    id: Mapped[str] = mapped_column(String(26), primary_key=True)
    slug: Mapped[str] = mapped_column(String(60))
    scale: Mapped[str] = mapped_column(String(10))
    seeds: Mapped[list[int]] = mapped_column(JSON)
    # queued, running, finished, failed, cancelled, lost
    state: Mapped[str] = mapped_column(String(10))
    # Why it is in that state, for a person.
    reason: Mapped[str] = mapped_column(Text, default="")
    priority: Mapped[int] = mapped_column(default=0)
    # Who has asked for it: a reader's name, or "this machine".
    owner: Mapped[str] = mapped_column(String(80), default="", server_default="")
    queued_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    ended_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # Which worker holds it, and until when that is believed without a heartbeat.
    worker: Mapped[str | None] = mapped_column(String(120))
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # How often a worker has started it: a worker that dies gives its run back, once.
    attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)

    __table_args__ = (
        Index("ix_run_queue", "state", "priority", "queued_at"),
        Index("ix_run_slug", "slug", "scale", "ended_at"),
    )


class RunEventTable(Table):
    """What a run emitted, in order; the pages show it live, the result is made of it."""

    __tablename__ = "run_event"

    run_id: Mapped[str] = mapped_column(ForeignKey("run.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(UtcDateTime)
    event: Mapped[dict[str, Any]] = mapped_column(JSON)


class ResultTable(Table):
    """A result that this place knows of: measured here, shipped with a room, or imported."""

    __tablename__ = "result"

    # The order in which results came here, which no clock can turn around.
    number: Mapped[int] = mapped_column(primary_key=True)
    # `Result.id`, the checksum of what was measured.
    id: Mapped[str] = mapped_column(String(64), unique=True)
    slug: Mapped[str] = mapped_column(String(60))
    scale: Mapped[str] = mapped_column(String(10))
    # finished, failed, cancelled
    status: Mapped[str] = mapped_column(String(10))
    card_sha256: Mapped[str] = mapped_column(String(64))
    started_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # here, shipped, imported
    origin: Mapped[str] = mapped_column(String(10))
    # Of an imported one, where whoever imported it says that it comes from.
    origin_note: Mapped[str] = mapped_column(Text)
    kept_at: Mapped[datetime] = mapped_column(UtcDateTime)
    # A result outlives its run.
    run_id: Mapped[str | None] = mapped_column(
        ForeignKey("run.id", ondelete="SET NULL"), unique=True
    )
    # What lists show, so that they need not read records: made of the record by `records.digest`.
    digest: Mapped[dict[str, Any]] = mapped_column(JSON)
    # `Result.to_json`; last, since it may be megabytes.
    record: Mapped[dict[str, Any]] = mapped_column(JSON)

    __table_args__ = (
        Index("ix_result_card", "slug", "scale", "card_sha256", "number"),
        Index("ix_result_kept_at", "kept_at"),
    )
