"""A catalogue of the first schema keeps its papers and their sources."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text

import paperround.migrations
from paperround.catalogue.actions import import_records
from paperround.catalogue.checking import check_catalogue
from paperround.catalogue.provenance import provenance_of
from paperround.catalogue.records import PaperRecord
from paperround.db import connect, migrate, read, write

PAPER = (
    "INSERT INTO paper (id, key, title, abstract, title_text, abstract_text, authors,"
    " author_count, categories, votes, comments, title_key, added_at, updated_at)"
    " VALUES (7, '2604.00001', 'Zebras', 'Text.', 'Zebras', 'Text.', '[\"Ann Lee\"]',"
    " 1, '[]', 3, 0, 'zebras', '2026-04-01', '2026-04-01')"
)


def test_papers_of_the_first_schema_are_met_again(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'old.sqlite3'}")
    config = Config()
    config.set_main_option("script_location", str(Path(paperround.migrations.__file__).parent))
    with write(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    with write(engine) as connection:
        connection.execute(text(PAPER))
        connection.execute(text("INSERT INTO identifier VALUES ('arxiv', '2604.00001', 7)"))
        connection.execute(
            text("INSERT INTO appearance VALUES ('arxiv', '2604.00001', 7, '2026-04-01 00:00:00')")
        )
    migrate(engine)
    assert check_catalogue(engine) == []
    with read(engine) as connection:
        found = provenance_of(connection, "2604.00001")
        # What an index that follows the changes has to read.
        changes = connection.execute(text("SELECT paper_id FROM paper_change"))
        assert list(changes.scalars()) == [7]
    assert [dict(said.identifiers) for said in found.said] == [{"arxiv": "2604.00001"}]
    assert found.said[0].values["title"] == "Zebras"
    again = PaperRecord("arxiv", "2604.00001", "Zebras", identifiers={"arxiv": "2604.00001"})
    page = PaperRecord("hf-page", "title:zebras", "Zebras!", organisation="Lab")
    done = import_records(engine, [again, page])
    assert (done.added, done.updated, done.merged) == (0, 0, 1)
    # A new paper takes a number that no paper ever had.
    other = PaperRecord("hf-page", "title:giraffes", "Giraffes")
    assert import_records(engine, [other]).added == 1
    with read(engine) as connection:
        assert connection.execute(text("SELECT max(id) FROM paper")).scalar_one() == 8
    engine.dispose()
