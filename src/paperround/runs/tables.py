"""The schema of runs: one row per run, and the events that it has emitted so far."""

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
    # The record (`Result.to_json`) once the run has ended.
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))

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
