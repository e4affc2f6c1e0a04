"""What a run may change and use: its own folders, its own processes, its share of processors."""

import json
import os

import pytest

from paperround.runs import confinement
from paperround.runs.card import Scale
from paperround.runs.confinement import confine_writes, landlock_version
from paperround.runs.execution import execute


@pytest.fixture
def execute_room(tmp_path, settings):
    def _execute(room, settings=settings):
        events = []
        outcome = execute(
            room,
            Scale.QUICK,
            (0, 1, 2),
            tmp_path / "run",
            on_event=events.append,
            cancelled=lambda: False,
            settings=settings,
        )
        return outcome, events

    return _execute


@pytest.mark.skipif(not landlock_version(), reason="this kernel has no Landlock")
def test_a_run_can_change_nothing_outside_its_own_folders(make_room, execute_room, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("untouched")
    body = f"""
    import json, signal, subprocess
    from pathlib import Path
    mine, told = Path({str(mine)!r}), {{}}

    def attempt(what, act):
        try:
            act()
            told[what] = "done"
        except OSError as error:
            told[what] = type(error).__name__

    attempt("overwrite", lambda: mine.write_text("changed"))
    attempt("truncate", lambda: os.truncate(mine, 0))
    attempt("remove", mine.unlink)
    attempt("create", mine.with_name("new.txt").touch)
    attempt("rename", lambda: mine.rename(run.scratch / "taken.txt"))
    attempt("signal", lambda: os.kill({os.getpid()}, signal.SIGCONT))
    attempt("scratch", (run.scratch / "own.txt").touch)
    attempt("null", lambda: Path("/dev/null").write_text("x"))
    told["read"] = mine.read_text()
    told["child"] = subprocess.run(["sh", "-c", f"echo changed > '{{mine}}'"]).returncode
    run.note(json.dumps(told))
    """
    outcome, events = execute_room(make_room(body))
    assert outcome.status == "finished", outcome.reason
    told = json.loads(events[0]["text"])
    assert told.pop("child") != 0
    # Signals are a later part of Landlock than files.
    assert told.pop("signal") == ("PermissionError" if landlock_version() >= 6 else "done")
    assert told == {
        "overwrite": "PermissionError",
        "truncate": "PermissionError",
        "remove": "PermissionError",
        "create": "PermissionError",
        "rename": "PermissionError",
        "scratch": "done",
        "null": "done",
        "read": "untouched",
    }
    assert mine.read_text() == "untouched"


def test_a_run_cannot_write_into_the_database_of_the_board(
    make_room, execute_room, settings, engine
):
    body = f"""
    import sqlite3
    sqlite3.connect({str(settings.home / "paperround.sqlite3")!r}).execute("DELETE FROM run")
    """
    outcome, _ = execute_room(make_room(body))
    assert outcome.status == ("failed" if landlock_version() else "finished")


def test_a_run_has_no_more_processors_than_threads(make_room, execute_room, settings):
    body = "run.note(str(len(os.sched_getaffinity(0))))"
    one = settings.model_copy(update={"run_threads": 1})
    _, events = execute_room(make_room(body), one)
    assert events[0]["text"] == "1"


def test_where_the_system_cannot_confine_nothing_is_promised(tmp_path, monkeypatch):
    monkeypatch.setattr(confinement, "landlock_version", lambda: 0)
    assert confine_writes([tmp_path]) is False
    tmp_path.with_name("elsewhere.txt").touch()


def test_a_folder_that_is_not_there_is_an_error_and_not_a_wider_right(tmp_path):
    if not landlock_version():
        pytest.skip("this kernel has no Landlock")
    with pytest.raises(FileNotFoundError):
        confine_writes([tmp_path / "missing"])
    tmp_path.joinpath("still-free.txt").touch()
