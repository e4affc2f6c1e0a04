"""Imports by the clock."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sqlalchemy import Engine

from paperround.catalogue import schedule
from paperround.catalogue.queries import count_papers
from paperround.catalogue.schedule import import_due, last_due, next_due, scheduled_imports
from paperround.db import read
from paperround.settings import ScheduledSource, Settings

DAILY = ScheduledSource(source="jsonl", arguments=("x",), when="30 5 * * 1-5", zone="Europe/Berlin")


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        # Friday, 5:30 in Berlin is 4:30 in winter and 3:30 in summer.
        (datetime(2026, 11, 20, 4, 30, tzinfo=UTC), datetime(2026, 11, 20, 4, 30, tzinfo=UTC)),
        (datetime(2026, 11, 20, 4, 29, 59, tzinfo=UTC), datetime(2026, 11, 19, 4, 30, tzinfo=UTC)),
        # Nothing on Saturday and Sunday.
        (datetime(2026, 11, 22, 12, tzinfo=UTC), datetime(2026, 11, 20, 4, 30, tzinfo=UTC)),
        (datetime(2026, 7, 1, 12, tzinfo=UTC), datetime(2026, 7, 1, 3, 30, tzinfo=UTC)),
    ],
)
def test_the_last_due_moment_is_by_the_clock_of_its_zone(now: datetime, expected: datetime) -> None:
    assert last_due(DAILY, now) == expected


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)))
def test_now_stands_between_the_last_moment_and_the_next(now: datetime) -> None:
    assert last_due(DAILY, now) <= now < next_due(DAILY, now)


def a_source(folder: Path, *titles: str, name: str = "lab") -> ScheduledSource:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(f'{{"title": "{title}"}}\n' for title in titles), encoding="utf-8")
    return ScheduledSource(source="jsonl", arguments=(str(file),), when="0 6 * * *", name=name)


def test_what_is_due_is_imported_once_and_made_up_for_when_missed(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    ours = settings.model_copy(update={"sources": (a_source(tmp_path, "One", "Two", ""),)})
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert import_due(engine, ours, lambda: noon) == ["lab"]
    assert import_due(engine, ours, lambda: noon) == []
    # Two days nothing ran: one import makes up for both.
    later = datetime(2026, 11, 24, 7, tzinfo=UTC)
    assert import_due(engine, ours, lambda: later) == ["lab"]
    assert import_due(engine, ours, lambda: later) == []
    with read(engine) as connection:
        assert count_papers(connection) == 2
        (found,) = scheduled_imports(connection, ours.sources, later)
    assert found.next_at == datetime(2026, 11, 25, 6, tzinfo=UTC)
    second, first = found.imports
    assert (first.state, first.read, first.added, first.rejected) == ("finished", 3, 2, 1)
    assert first.due_at == datetime(2026, 11, 22, 6, tzinfo=UTC)
    assert first.reason == "line 3: no title"
    assert (second.added, second.due_at.day) == (0, 24)


def test_a_source_that_fails_says_why_and_the_others_go_on(
    engine: Engine, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = ScheduledSource(source="jsonl", arguments=("gone.jsonl",), when="0 6 * * *")
    broken = ScheduledSource(source="bibtex", arguments=("x.bib",), when="0 6 * * *")
    ours = settings.model_copy(update={"sources": (gone, broken, a_source(tmp_path, "One"))})
    usual = schedule.read_source

    def read_source(name: str, *rest: object, **options: object) -> object:
        if name == "bibtex":
            raise ZeroDivisionError("a fault of ours")
        return usual(name, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(schedule, "read_source", read_source)
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    assert len(import_due(engine, ours, lambda: noon)) == 3
    with read(engine) as connection:
        found = scheduled_imports(connection, ours.sources, noon)
    states = [(each.imports[0].state, each.imports[0].reason) for each in found]
    assert states == [
        ("failed", "gone.jsonl: there is no such file"),
        ("failed", "ZeroDivisionError: a fault of ours"),
        ("finished", ""),
    ]


def test_an_import_that_died_with_its_program_has_failed_by_the_next_look(
    engine: Engine, settings: Settings, tmp_path: Path
) -> None:
    ours = settings.model_copy(update={"sources": (a_source(tmp_path, "One"),)})
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    # A process of its own claims the import and is killed in the middle of it.
    child = subprocess.Popen(
        [sys.executable, "-c", DIES, ours.model_dump_json()], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "importing\n"
    # While it lives, nobody else takes its import for dead, or imports the same beside it.
    assert import_due(engine, ours, lambda: noon) == []
    assert [each.state for each in imports(engine, ours, noon)] == ["running"]
    child.kill()
    child.communicate()
    assert import_due(engine, ours, lambda: noon) == []
    (dead,) = imports(engine, ours, noon)
    assert (dead.state, dead.ended_at) == ("failed", noon)
    assert dead.reason.startswith("the program ended before the import did")
    next_day = noon + timedelta(days=1)
    assert import_due(engine, ours, lambda: next_day) == ["lab"]
    assert [each.state for each in imports(engine, ours, next_day)] == ["finished", "failed"]


# Imports what is due on a noon of November, and never comes to an end.
DIES = """
import sys, time
from datetime import UTC, datetime
from paperround.catalogue import schedule
from paperround.db import open_database
from paperround.settings import Settings

def read_source(*_, **__):
    print("importing", flush=True)
    time.sleep(60)

schedule.read_source = read_source
settings = Settings.model_validate_json(sys.argv[1])
noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
schedule.import_due(open_database(settings), settings, lambda: noon)
"""


def imports(
    engine: Engine, settings: Settings, now: datetime
) -> tuple[schedule.ScheduledImport, ...]:
    with read(engine) as connection:
        (found,) = scheduled_imports(connection, settings.sources, now)
    return found.imports


CONFIG = """
contact = "mailto:somebody@example.org"

[[sources]]
source = "arxiv-rss"
arguments = ["cs.CL+cs.LG"]
when = "30 5 * * 1-5"
zone = "Europe/Berlin"

[[sources]]
name = "daily"
source = "hf-daily"
when = "0 * * * *"
"""


def test_the_configuration_names_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_HOME", str(tmp_path))
    (tmp_path / "paperround.toml").write_text(CONFIG, encoding="utf-8")
    found = Settings()
    assert found.contact == "mailto:somebody@example.org"
    assert [source.name for source in found.sources] == ["arxiv-rss cs.CL+cs.LG", "daily"]
    # The environment wins.
    monkeypatch.setenv("PAPERROUND_CONTACT", "https://example.org")
    assert Settings().contact == "https://example.org"


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (CONFIG.replace("30 5 * * 1-5", "every day"), "no time of cron"),
        (CONFIG.replace("Europe/Berlin", "Europe/Bonn"), "there is no zone"),
        (CONFIG.replace("when =", "wen ="), "wen"),
        (CONFIG.replace("[[sources]]", "[[source]]", 1), "source"),
        (CONFIG.replace('name = "daily"', 'name = "arxiv-rss cs.CL+cs.LG"'), "two sources"),
    ],
)
def test_a_fault_in_the_configuration_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str, reason: str
) -> None:
    path = tmp_path / "other.toml"
    path.write_text(broken, encoding="utf-8")
    monkeypatch.setenv("PAPERROUND_CONFIG", str(path))
    with pytest.raises(ValidationError, match=reason):
        Settings()
