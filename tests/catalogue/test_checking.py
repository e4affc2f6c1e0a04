import sqlite3

import pytest
from sqlalchemy import Engine

from paperround.catalogue.actions import import_records
from paperround.catalogue.checking import check_catalogue
from paperround.catalogue.records import PaperRecord


@pytest.fixture
def catalogue(engine: Engine) -> Engine:
    records = [PaperRecord("test", str(n), f"A paper on zebras, part {n}") for n in range(3)]
    import_records(engine, records)
    return engine


def test_a_sound_catalogue_has_no_faults(catalogue: Engine) -> None:
    assert check_catalogue(catalogue) == []


def test_a_row_that_refers_to_nothing_is_found(catalogue: Engine) -> None:
    # As a program leaves it that does not ask SQLite to mind foreign keys.
    careless = sqlite3.connect(str(catalogue.url.database))
    careless.execute("PRAGMA foreign_keys = OFF")
    careless.execute("INSERT INTO identifier (scheme, value, paper_id) VALUES ('x', 'y', 99)")
    careless.commit()
    careless.close()
    (fault,) = check_catalogue(catalogue)
    assert fault == "the database: a row of identifier refers to paper, which lacks it"
