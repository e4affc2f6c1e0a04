import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, delete, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from paperround.catalogue.tables import IdentifierTable, PaperTable
from paperround.db import connect, migrate, open_database, read, write
from paperround.errors import PaperroundError
from paperround.migrations.tables import metadata
from paperround.settings import Settings

NOON = datetime(2026, 4, 13, 12, tzinfo=UTC)


def add_paper(connection: Connection, key: str = "2604.00001", at: datetime = NOON) -> None:
    values = {
        "title": "T",
        "abstract": "",
        "title_text": "T",
        "abstract_text": "",
        "title_key": "t",
    }
    lists = {"authors": [], "categories": [], "votes": 0, "comments": 0}
    connection.execute(
        insert(PaperTable), {"key": key, **values, **lists, "added_at": at, "updated_at": at}
    )


def keys(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.scalars(select(PaperTable.key).order_by(PaperTable.key)))


def test_the_history_of_migrations_leads_to_the_declared_tables(engine: Engine) -> None:
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection,
            opts={"compare_type": True, "render_as_batch": True},
        )
        assert compare_metadata(context, metadata) == []


def test_the_comparison_notices_a_missing_column(engine: Engine) -> None:
    with write(engine) as connection:
        connection.execute(text("ALTER TABLE paper DROP COLUMN venue"))
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection), metadata)
    assert any("venue" in str(difference) for difference in found)


def test_a_database_can_be_opened_again_and_again(settings: Settings) -> None:
    for number in range(3):
        engine = open_database(settings)
        with write(engine) as connection:
            add_paper(connection, f"2604.0000{number}")
        engine.dispose()
    engine = open_database(settings)
    assert keys(engine) == ["2604.00000", "2604.00001", "2604.00002"]
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(settings: Settings) -> None:
    engine = open_database(settings)
    with write(engine) as connection:
        add_paper(connection)
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(PaperroundError, match="at schema 9999, newer than this program; upgrade"):
        open_database(settings)
    engine = connect(settings.database)
    with read(engine) as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    assert keys(engine) == ["2604.00001"]
    engine.dispose()


def test_a_transaction_that_fails_leaves_nothing(engine: Engine) -> None:
    with pytest.raises(RuntimeError), write(engine) as connection:
        add_paper(connection)
        raise RuntimeError
    assert keys(engine) == []


def test_a_reader_keeps_its_state_while_another_writes(engine: Engine) -> None:
    statement = select(PaperTable.key)
    with read(engine) as reading:
        assert reading.scalars(statement).all() == []
        with write(engine) as writing:
            add_paper(writing)
        assert reading.scalars(statement).all() == []
    assert keys(engine) == ["2604.00001"]


def test_a_writer_has_the_lock_from_its_first_moment(engine: Engine, settings: Settings) -> None:
    impatient = connect(settings.database)
    with impatient.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    with write(engine), pytest.raises(OperationalError, match="locked"), write(impatient):
        pass
    impatient.dispose()


def test_what_belongs_to_a_paper_goes_with_it(engine: Engine) -> None:
    with write(engine) as connection:
        add_paper(connection)
        connection.execute(
            insert(IdentifierTable), {"scheme": "arxiv", "value": "2604.00001", "paper_id": 1}
        )
        connection.execute(delete(PaperTable))
        assert connection.scalars(select(IdentifierTable.value)).all() == []


def test_nothing_can_refer_to_a_paper_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(IntegrityError), write(engine) as connection:
        connection.execute(
            insert(IdentifierTable), {"scheme": "arxiv", "value": "2604.00001", "paper_id": 1}
        )


def test_times_come_back_in_utc_whatever_zone_they_came_in(engine: Engine) -> None:
    tokyo = timezone(timedelta(hours=9))
    with write(engine) as connection:
        add_paper(connection, at=datetime(2026, 4, 13, 21, tzinfo=tokyo))
        (found,) = connection.scalars(select(PaperTable.added_at))
    assert found == NOON
    assert found.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(StatementError, match="has no time zone"), write(engine) as connection:
        add_paper(connection, at=datetime(2026, 4, 13))


def test_another_engine_is_refused_with_what_can_be_used() -> None:
    with pytest.raises(PaperroundError, match="postgresql is not supported yet; use sqlite"):
        connect("postgresql://localhost/papers")


def test_many_may_read_inside_of_reading(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'papers.sqlite3'}")
    migrate(engine)
    n_threads = 24
    together = threading.Barrier(n_threads, timeout=20)

    def read_twice(_: int) -> list[str]:
        with read(engine):
            together.wait()
            with read(engine):
                together.wait()
                return keys(engine)

    with ThreadPoolExecutor(n_threads) as threads:
        assert list(threads.map(read_twice, range(n_threads))) == [[]] * n_threads
    engine.dispose()


def test_the_folder_of_a_database_is_made(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'a' / 'b' / 'papers.sqlite3'}")
    migrate(engine)
    assert keys(engine) == []
    engine.dispose()
