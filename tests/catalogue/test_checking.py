import sqlite3

import pytest
from sqlalchemy import Engine, text

from paperround.catalogue.actions import import_records
from paperround.catalogue.checking import check_catalogue, rebuild_words
from paperround.catalogue.records import PaperRecord
from paperround.db import write


@pytest.fixture
def catalogue(engine: Engine) -> Engine:
    records = [PaperRecord("test", str(n), f"A paper on zebras, part {n}") for n in range(3)]
    import_records(engine, records)
    return engine


def test_a_sound_catalogue_has_no_faults(catalogue: Engine) -> None:
    assert check_catalogue(catalogue) == []


def test_a_word_index_that_has_drifted_is_found_and_remade(catalogue: Engine) -> None:
    with write(catalogue) as connection:
        connection.execute(text("DROP TRIGGER paper_words_changed"))
        connection.execute(text("UPDATE paper SET title_text = 'On giraffes' WHERE id = 2"))
    (fault,) = check_catalogue(catalogue)
    assert "the word index differs" in fault
    rebuild_words(catalogue)
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
