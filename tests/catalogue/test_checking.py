import pytest
from sqlalchemy import Engine, insert, text

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
    from paperround.catalogue.tables import IdentifierTable

    with catalogue.connect() as connection:
        # As a program that does not ask for foreign keys would leave it.
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.execute(insert(IdentifierTable), {"scheme": "x", "value": "y", "paper_id": 99})
        connection.commit()
    catalogue.dispose()
    assert check_catalogue(catalogue) == [
        "the database: a row of identifier refers to paper, which lacks it"
    ]
