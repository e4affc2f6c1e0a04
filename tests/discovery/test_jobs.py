"""What is done for search while nobody waits."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, func, select, update

from paperround.catalogue.tables import EmbeddingTable, PaperTable
from paperround.db import read, write
from paperround.discovery import jobs
from paperround.discovery.embedding import Embedder
from paperround.settings import Settings

AddPaper = Callable[..., int]
PATIENCE_S = 60.0


def count_embedded(engine: Engine) -> int:
    with read(engine) as connection:
        return connection.execute(select(func.count()).select_from(EmbeddingTable)).scalar_one()


def wait_until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "it did not happen in time"
        threading.Event().wait(0.02)


@contextmanager
def embedding(engine: Engine, settings: Settings, is_busy: Callable[[], bool]) -> Iterator[None]:
    stop = threading.Event()
    thread = threading.Thread(target=jobs.keep_embedded, args=(engine, settings, stop, is_busy))
    thread.start()
    yield
    stop.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@pytest.fixture(autouse=True)
def look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_LOOK_INTERVAL_S", 0.05)


def test_new_papers_get_their_embedding_and_later_ones_too(
    engine: Engine, settings: Settings, embedder: Embedder, add_paper: AddPaper
) -> None:
    add_paper("Copying what repeats")
    with embedding(engine, settings, lambda: False):
        wait_until(lambda: count_embedded(engine) == 1)
        later = add_paper("What comes later")
        with write(engine) as connection:
            changed = update(PaperTable).where(PaperTable.id == later)
            connection.execute(changed.values(updated_at=datetime(2027, 1, 1, tzinfo=UTC)))
        wait_until(lambda: count_embedded(engine) == 2)


def test_a_run_is_not_disturbed(
    engine: Engine, settings: Settings, embedder: Embedder, add_paper: AddPaper
) -> None:
    add_paper("Copying what repeats")
    asked = threading.Event()
    free = threading.Event()

    def is_busy() -> bool:
        asked.set()
        return not free.is_set()

    with embedding(engine, settings, is_busy):
        assert asked.wait(PATIENCE_S)
        assert count_embedded(engine) == 0
        free.set()
        wait_until(lambda: count_embedded(engine) == 1)
