"""Readers to test with, and a moment at which everything happens."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, insert

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import IdentifierTable, PaperTable
from paperround.db import read, write
from paperround.readers.accounts import add_reader
from paperround.readers.queries import reader_by_id
from paperround.readers.records import Reader
from paperround.readers.secrets import hash_password
from paperround.runs.rights import Role

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
PASSWORD = "kettle orbit mango 7"

AddReader = Callable[..., Reader]
AddPaper = Callable[..., PaperId]


@pytest.fixture(scope="session")
def hashed() -> str:
    """The hash of PASSWORD, made once: it takes its time on purpose."""
    return hash_password(PASSWORD)


@pytest.fixture
def add(engine: Engine, hashed: str) -> AddReader:
    """Adds a reader whose password is PASSWORD."""

    def add_one(name: str = "ada", role: Role = Role.READER, at: datetime = NOON) -> Reader:
        with write(engine) as connection:
            reader_id = add_reader(connection, name, at, role=role, password=hashed)
        with read(engine) as connection:
            found = reader_by_id(connection, reader_id)
        assert found is not None
        return found

    return add_one


@pytest.fixture
def paper(engine: Engine) -> AddPaper:
    """Adds a paper under a key."""

    def add_one(key: str = "2606.00001", **changes: object) -> PaperId:
        values = {"title": key, "title_text": key, "title_key": key, "abstract": ""}
        lists: dict[str, object] = {"authors": [], "categories": [], "abstract_text": ""}
        times = {"added_at": NOON, "updated_at": NOON}
        with write(engine) as connection:
            row = {"key": key, **values, **lists, **times, **changes}
            done = connection.execute(insert(PaperTable).values(**row))
            paper_id = PaperId(done.inserted_primary_key[0])
            connection.execute(
                insert(IdentifierTable).values(scheme="arxiv", value=key, paper_id=paper_id)
            )
        return paper_id

    return add_one
