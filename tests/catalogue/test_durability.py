"""What was acknowledged survives `kill -9`; two writers at once lose nothing of each other's."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import select

from paperround.catalogue.actions import BATCH, import_records
from paperround.catalogue.checking import check_catalogue
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.tables import AppearanceTable, PaperTable
from paperround.db import connect, migrate, read

# Imports papers from a number on without end, or up to another one; says what is done for good.
IMPORTER = """
import sys
from itertools import count
from paperround.catalogue.actions import import_records
from paperround.catalogue.records import PaperRecord
from paperround.db import connect

url, first, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
numbers = range(first, last) if last else count(first)
records = (
    PaperRecord("arxiv", f"2604.{n:05}", f"Paper {n}", identifiers={"arxiv": f"2604.{n:05}"})
    for n in numbers
)
import_records(connect(url), records, on_progress=lambda done: print(done, flush=True))
"""


def importer(url: str, first: int = 0, last: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", IMPORTER, url, str(first), str(last)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def numbers_here(url: str) -> set[int]:
    engine = connect(url)
    try:
        assert check_catalogue(engine) == []
        with read(engine) as connection:
            named = set(connection.scalars(select(AppearanceTable.source_key)))
            assert set(connection.scalars(select(PaperTable.key))) == named
    finally:
        engine.dispose()
    return {int(key.partition(".")[2]) for key in named}


def a_database(folder: Path) -> str:
    url = f"sqlite:///{folder / 'paperround.sqlite3'}"
    engine = connect(url)
    migrate(engine)
    engine.dispose()
    return url


@pytest.mark.parametrize("delay_s", [0.0, 0.02, 0.1])
def test_a_killed_import_leaves_all_that_it_acknowledged_and_whole_batches(
    tmp_path: Path, delay_s: float
) -> None:
    url = a_database(tmp_path)
    child = importer(url)
    assert child.stdout is not None
    acknowledged = [int(child.stdout.readline()) for _ in range(2)][-1]
    # At some moment of the third batch or a later one.
    time.sleep(delay_s)
    child.kill()
    child.communicate()
    here = numbers_here(url)
    assert set(range(acknowledged)) <= here
    assert here == set(range(len(here)))
    assert len(here) % BATCH == 0
    engine = connect(url)
    rest = [
        PaperRecord("arxiv", f"2604.{n:05}", f"Paper {n}", identifiers={"arxiv": f"2604.{n:05}"})
        for n in range(len(here) + 1)
    ]
    assert import_records(engine, rest).added == 1
    engine.dispose()


def test_two_processes_import_at_once_and_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    url = a_database(tmp_path)
    # They share the papers from 500 to 1,500.
    children = [importer(url, 0, 1_500), importer(url, 500, 2_000)]
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 0, errors
    assert numbers_here(url) == set(range(2_000))


def test_whoever_reads_meanwhile_sees_whole_batches(tmp_path: Path) -> None:
    url = a_database(tmp_path)
    child = importer(url, 0, 4 * BATCH)
    seen = set()
    while child.poll() is None:
        seen.add(len(numbers_here(url)))
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    assert {n % BATCH for n in seen} <= {0}
    assert len(numbers_here(url)) == 4 * BATCH
