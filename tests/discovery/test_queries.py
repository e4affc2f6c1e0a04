"""Each query stands on the index that it names."""

from collections.abc import Callable
from datetime import date

import pytest
from sqlalchemy import Connection, Engine, event

from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.discovery import queries
from paperround.discovery.embedding import MODEL

DAY, LATER = date(2026, 7, 1), date(2026, 7, 31)
EXPECTED: list[tuple[str, Callable[[Connection], object], bool]] = [
    ("ix_paper_day", lambda c: queries.last_day_until(c, DAY), False),
    ("ix_paper_day", lambda c: queries.last_day_until(c, None), False),
    ("ix_paper_day", lambda c: queries.first_day_after(c, DAY), False),
    ("ix_paper_day", lambda c: queries.ids_by_votes(c, DAY, DAY, None, 5), True),
    ("ix_paper_day", lambda c: queries.ids_by_votes(c, DAY, DAY, (3, 4), 5), True),
    ("ix_paper_day", lambda c: queries.ids_by_votes(c, DAY, LATER, (3, 4), 5), True),
    ("ix_paper_day", lambda c: queries.ids_by_day(c, DAY, DAY, None, 5), True),
    ("ix_paper_day", lambda c: queries.ids_by_day(c, DAY, LATER, (DAY, 4), 5), True),
    ("ix_paper_day", lambda c: list(queries.texts(c)), False),
    ("ix_embedding_number", lambda c: queries.embedding_state(c, MODEL), False),
    ("ix_embedding_number", lambda c: queries.embeddings_after(c, MODEL, 5), False),
    ("sqlite_autoindex_identifier_1", lambda c: queries.id_by_identifier(c, "doi", "x"), False),
    ("sqlite_autoindex_paper_change_1", lambda c: queries.change_state(c), False),
    ("sqlite_autoindex_paper_change_1", lambda c: queries.changed_since(c, 5), False),
    ("sqlite_autoindex_paper_change_1", lambda c: queries.removed_since(c, 5), False),
    ("sqlite_autoindex_paper_change_1", lambda c: queries.n_changes_since(c, 5, 9), False),
    ("sqlite_autoindex_paper_change_1", lambda c: list(queries.papers_to_index(c, 5, 9)), False),
    ("ix_appearance_paper_id", lambda c: list(queries.papers_to_index(c, None, 9)), True),
    ("ix_embedding_number", lambda c: queries.last_embedding(c, MODEL), False),
    ("ix_embedding_number", lambda c: queries.n_embeddings_after(c, MODEL, 5, 9), False),
    ("PRIMARY KEY", lambda c: queries.ordered_by(c, [PaperId(1)]), False),
    ("PRIMARY KEY", lambda c: queries.texts_of(c, [PaperId(1)]), False),
]


@pytest.mark.parametrize(("index", "query", "sorts"), EXPECTED)
def test_a_query_stands_on_its_index(
    engine: Engine, index: str, query: Callable[[Connection], object], sorts: bool
) -> None:
    plans: list[str] = []

    def explain(
        connection: Connection, cursor: object, statement: str, parameters: object, *_: object
    ) -> None:
        if not statement.startswith("EXPLAIN"):
            rows = connection.connection.cursor().execute(
                f"EXPLAIN QUERY PLAN {statement}", parameters
            )
            plans.extend(row[3] for row in rows)

    event.listen(engine, "before_cursor_execute", explain)
    with read(engine) as connection:
        query(connection)
    assert any(index in step for step in plans), plans
    assert any("TEMP B-TREE" in step for step in plans) == sorts, plans
