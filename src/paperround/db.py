"""The database: one schema on SQLite now, opened, migrated and written to through this module."""

import json
import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, DateTime, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

from paperround.errors import PaperroundError
from paperround.settings import Settings, get_settings

_BUSY_TIMEOUT_MS = 10_000


class Table(DeclarativeBase):
    """What every room's tables are declared on."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC; SQLite itself keeps no zone."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: object) -> datetime | None:
        """Refuses naive times: nobody could say which zone they were in."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        """The stored time, aware again."""
        return None if value is None else value.replace(tzinfo=UTC)


def open_database(settings: Settings | None = None) -> Engine:
    """The engine of a database that is migrated to this program's schema; makes it where absent.

    Raises PaperroundError when the database is newer than the program.
    """
    settings = settings or get_settings()
    engine = connect(settings.database)
    migrate(engine)
    return engine


def connect(url: str) -> Engine:
    """An engine for that address, with the folder of an SQLite file made. Migrates nothing."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise PaperroundError(f"{parsed.get_backend_name()} is not supported yet; use sqlite")
    pool: dict[str, Any] = {}
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        # A thread may read inside of reading: with a limit, as many threads as it allows would each
        # hold one connection and wait for another.
        pool = {"max_overflow": -1}
    engine = create_engine(
        url,
        **pool,
        json_serializer=lambda value: json.dumps(value, ensure_ascii=False, allow_nan=False),
        json_deserializer=orjson.loads,
    )
    event.listen(engine, "connect", _configure_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """A transaction that may write: it commits at the end and rolls back on any error.

    It takes SQLite's write lock at once. A transaction that starts reading and writes later would
    fail as soon as another process wrote in between; one that waits in line does not.
    """
    with engine.connect().execution_options(write=True) as connection, connection.begin():
        yield connection


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """A transaction that reads one consistent state and never waits for writers."""
    with engine.connect() as connection:
        yield connection


def migrate(engine: Engine) -> None:
    """Brings the schema up to this program's; does nothing when it is there already."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    scripts = ScriptDirectory.from_config(config)
    with read(engine) as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current == scripts.get_current_head():
        return
    if current is not None and current not in {s.revision for s in scripts.walk_revisions()}:
        raise PaperroundError(
            f"the database is at schema {current}, newer than this program; upgrade Paperround"
        )
    with write(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _configure_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    # SQLAlchemy emits BEGIN itself (below): sqlite3's own habit of opening transactions late would
    # leave a read outside the transaction that follows it.
    connection.isolation_level = None
    # SQLite has it by itself only where its build was told to.
    connection.create_function("exp2", 1, math.exp2, deterministic=True)
    for pragma in (
        "journal_mode = WAL",
        # Every commit reaches the disk before it is acknowledged.
        "synchronous = FULL",
        f"busy_timeout = {_BUSY_TIMEOUT_MS}",
        "foreign_keys = ON",
        "cache_size = -32000",
        "temp_store = MEMORY",
        # What is mapped counts as this process's memory; four times as much made nothing faster.
        "mmap_size = 67108864",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
