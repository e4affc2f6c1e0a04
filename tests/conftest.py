"""What every test may use: a home of its own, and a migrated database in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from paperround.db import open_database
from paperround.settings import Settings, get_settings

CACHE = Path(__file__).parents[1] / ".cache"

# Tests never reach a model hub; what they need is an asset.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with an empty home; the whole process sees the same home while the test runs.

    Fetched assets are shared by all tests, and by the next run of the tests.
    """
    monkeypatch.setenv("PAPERROUND_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PAPERROUND_CACHE", os.environ.get("PAPERROUND_CACHE") or str(CACHE))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_database(settings)
    yield engine
    engine.dispose()
