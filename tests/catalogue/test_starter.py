import json
import lzma
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import islice
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from paperround.catalogue import starter
from paperround.catalogue.actions import BATCH, import_records
from paperround.catalogue.queries import count_papers, paper_by_key, papers_by_key
from paperround.catalogue.records import Imported
from paperround.catalogue.sources import read_source
from paperround.catalogue.tables import AppearanceTable, BandTable, PaperTable
from paperround.db import connect, migrate, read
from paperround.kit.assets import find_asset
from paperround.settings import Settings

PAGE = Path(__file__).with_name("data") / "daily-papers-search.txt"


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Engine, Imported]]:
    """A catalogue that began with the starter, and what its import did."""
    engine = connect(f"sqlite:///{tmp_path_factory.mktemp('starter') / 'db.sqlite3'}")
    migrate(engine)
    done = starter.import_starter(engine)
    assert done is not None
    yield engine, done
    engine.dispose()


def test_the_starter_fills_an_empty_catalogue(started: tuple[Engine, Imported]) -> None:
    engine, done = started
    assert (done.read, done.added, done.rejections) == (2_566, 2_566, ())
    with read(engine) as connection:
        assert count_papers(connection) == 2_566
        # Nothing is computed that nobody has asked for.
        assert connection.scalar(select(func.count()).select_from(BandTable)) == 0
        by_source = Counter(connection.scalars(select(AppearanceTable.source)))
        newest = connection.scalar(select(func.max(PaperTable.day)))
    assert by_source == {"hf-page": 47, "arxiv": 2_519}
    assert newest == date(2026, 7, 1)


def test_a_paper_of_the_seed_page_is_whole(started: tuple[Engine, Imported]) -> None:
    with read(started[0]) as connection:
        found = paper_by_key(connection, "2502.08923")
    assert found is not None
    assert found.paper.title.startswith("CopySpec")
    assert len(found.paper.authors) == 4
    assert found.paper.published == date(2025, 2, 12)
    assert found.paper.venue == "EMNLP 2025"
    assert found.paper.code_url == "https://github.com/RazvanDu/CopySpec"
    assert found.identifiers == (("arxiv", "2502.08923"),)


def test_a_catalogue_with_papers_is_left_alone(started: tuple[Engine, Imported]) -> None:
    assert starter.import_starter(started[0]) is None


def test_the_seed_page_brings_nothing_new_to_it(started: tuple[Engine, Imported]) -> None:
    done = import_records(started[0], read_source("hf-page", [str(PAGE), "2026-04-13"]))
    assert (done.read, done.added, done.updated, done.merged, done.rejected) == (47, 0, 0, 0, 0)


def test_an_import_that_was_killed_is_completed(engine: Engine) -> None:
    items = read_source("jsonl", [str(starter.STARTER)])
    import_records(engine, islice(items, BATCH))
    done = starter.import_starter(engine)
    assert done is not None
    assert (done.added, done.updated) == (2_566 - BATCH, 0)


def test_a_catalogue_of_other_papers_does_not_become_the_starter(engine: Engine) -> None:
    import_records(engine, read_source("hf-page", [str(PAGE), "2026-04-13"]))
    assert starter.import_starter(engine) is None


def test_the_names_of_the_first_and_last_paper_are_the_files() -> None:
    lines = lzma.decompress(starter.STARTER.read_bytes()).splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    assert (ids[0], ids[-1]) == (starter.FIRST, starter.LAST)
    assert len(set(ids)) == len(ids)


def test_it_is_an_asset_with_the_right_checksum(settings: Settings) -> None:
    assert find_asset("arxiv-starter", settings).folder == starter.STARTER.parent


def test_every_paper_stands_under_its_arxiv_id(started: tuple[Engine, Imported]) -> None:
    lines = lzma.decompress(starter.STARTER.read_bytes()).splitlines()
    ids = [json.loads(line)["id"] for line in lines]
    with read(started[0]) as connection:
        assert papers_by_key(connection, ids).keys() == set(ids)
