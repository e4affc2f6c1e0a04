"""Telling a run's processes from all others, and the living from the dead."""

import subprocess
import sys

import psutil
import pytest

from paperround.runs.processes import MARK, Family, has_ended, this_process

SLEEP = [sys.executable, "-c", "import os, time; os.close(1); time.sleep(600)"]


@pytest.fixture
def start():
    """Starts a process that has begun to sleep; it is gone after the test."""
    started = []

    def go(**options) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(SLEEP, stdout=subprocess.PIPE, **options)
        started.append(process)
        # Its output closes once it is past its start.
        process.stdout.read()
        return process

    yield go
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_marked_process_is_of_the_family_and_another_is_not(start):
    ours, other = start(env={MARK: "one two"}), start(env={MARK: "one"})
    family = Family(None, "one two")
    assert [process.pid for process in family.members()] == [ours.pid]
    assert family.memory_bytes() > 1_000_000
    assert family.own_memory_bytes() > 0
    family.kill()
    assert ours.wait(5) == -9
    assert other.poll() is None
    assert family.members() == []


def test_a_process_in_the_session_is_of_the_family_without_a_mark(start):
    root = start(start_new_session=True)
    family = Family(root.pid, "a mark that nobody carries")
    assert [process.pid for process in family.members()] == [root.pid]
    family.kill()
    assert root.wait(5) == -9


def test_a_family_never_ends_who_asks():
    family = Family(None, psutil.Process().environ().get(MARK, "no mark"))
    assert psutil.Process().pid not in [process.pid for process in family.members()]


def test_a_process_is_known_to_have_ended_once_it_has(start):
    code = "from paperround.runs.processes import this_process; print(this_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert has_ended(done.stdout.strip())
    assert not has_ended(this_process())
