"""What every test may use: a home of its own, and a migrated database in it."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from sqlalchemy import Engine

from paperround.db import open_database
from paperround.settings import Settings, get_settings

# Fetched assets are shared by all tests, and by the next run of the tests. Nothing of a test lands
# in the home of whoever runs it.
CACHE = Path(__file__).parents[1] / ".cache"
os.environ.setdefault("PAPERROUND_CACHE", str(CACHE))
os.environ["PAPERROUND_HOME"] = str(CACHE / "home")

# Tests never reach a model hub; what they need is an asset.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# How long an example takes depends on the machine and says nothing about the code.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings with an empty home; the whole process sees the same home while the test runs."""
    monkeypatch.setenv("PAPERROUND_HOME", str(tmp_path / "home"))
    get_settings.cache_clear()
    yield get_settings()
    get_settings.cache_clear()


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_database(settings)
    yield engine
    engine.dispose()


def pytest_make_parametrize_id(val: object) -> str | None:
    """A name for bytes by their number: what they hold may be long, and hold the time of day."""
    return f"{len(val)}-bytes" if isinstance(val, bytes) else None
