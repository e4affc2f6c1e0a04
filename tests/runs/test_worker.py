"""Workers against a real queue and real processes, some of which are killed."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import psutil
import pytest
from sqlalchemy import select

from paperround.db import read
from paperround.runs.actions import cancel_run, queue_run
from paperround.runs.card import Scale
from paperround.runs.queries import events_after, recent_runs, run_by_id
from paperround.runs.queue import Claimed, TableQueue
from paperround.runs.tables import RunEventTable
from paperround.runs.worker import Worker

WORKER = """
import sys, threading
from paperround.db import open_database
from paperround.runs.worker import Worker
from paperround.settings import get_settings

stop = threading.Event()
if sys.argv[1:] == ["--stoppable"]:
    import signal
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
Worker(open_database(), get_settings()).run_forever(stop)
"""


@pytest.fixture
def start_worker():
    """Starts workers as processes of their own; they are gone after the test."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", textwrap.dedent(WORKER), *arguments]
        started.append(subprocess.Popen(command))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def view(engine, run_id):
    with read(engine) as connection:
        return run_by_id(connection, run_id)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def written_pids(path) -> list[int]:
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def telling_its_pid(path, then: str) -> str:
    return f'with open({str(path)!r}, "a") as file: print(os.getpid(), file=file)\n{then}'


def test_a_queued_run_is_run_and_its_record_stored(make_room, engine, settings):
    make_room(
        """
        with run.stage("measure", total=3) as stage:
            for seed in run.seeds:
                run.measure("faster", 2, seed=seed)
                stage.advance()
        run.series("Speed", {"ours": [(1, 1), (2, 4)]}, x_label="tokens", y_label="s")
        """
    )
    run_id = queue_run(engine, "little", "quick")
    worker = Worker(engine, settings)
    assert worker.run_one()
    assert not worker.run_one()
    run = view(engine, run_id)
    assert (run.state, run.reason, run.attempts) == ("finished", "", 1)
    assert run.result.verdicts == {"faster": "holds", "smaller": "not measured"}
    assert run.queued_at <= run.started_at <= run.ended_at
    # The chart is drawn by then, outside the web process.
    assert len(list((settings.cache_dir / "charts").glob("*.svg"))) == 1
    with read(engine) as connection:
        events = events_after(connection, run_id)
    assert [number for number, _ in events] == sorted({number for number, _ in events})
    kinds = [event["kind"] for _, event in events]
    assert kinds[0] == "started"
    assert kinds.count("measure") == 3
    assert kinds.count("progress") == 1


def test_a_run_that_fails_is_stored_as_failed_with_what_it_measured(make_room, engine, settings):
    make_room("run.measure('faster', 2, seed=0); raise ValueError('no')")
    run_id = queue_run(engine, "little", "quick")
    Worker(engine, settings).run_one()
    run = view(engine, run_id)
    assert (run.state, run.reason) == ("failed", "ValueError: no")
    assert run.result.claims[0].measured == (2.0,)
    assert run.tally.measured == 0


def test_a_paper_that_was_uninstalled_meanwhile_fails_its_run_and_the_queue_goes_on(
    make_room, engine, settings
):
    gone = make_room("pass", slug="gone")
    make_room("run.measure('faster', 2)", slug="stays")
    first, second = (queue_run(engine, slug, "quick") for slug in ("gone", "stays"))
    gone.folder.joinpath("card.toml").unlink()
    worker = Worker(engine, settings)
    assert [worker.run_one() for _ in range(3)] == [True, True, False]
    assert view(engine, first).state == "failed"
    assert "it could not be run: gone: " in view(engine, first).reason
    assert view(engine, second).state == "finished"


def test_a_worker_outlives_a_queue_that_fails(make_room, engine, settings, wait_for, monkeypatch):
    monkeypatch.setattr("paperround.runs.worker._PAUSE_S", 0.01)
    make_room("run.measure('faster', 2)")
    run_id = queue_run(engine, "little", "quick")

    class Moody(TableQueue):
        moods = 3

        def claim(self, worker: str) -> Claimed | None:
            self.moods -= 1
            if self.moods > 0:
                raise OSError("the disk is in a mood")
            return super().claim(worker)

    stop = threading.Event()
    worker = Worker(engine, settings, queue=Moody(engine))
    thread = threading.Thread(target=worker.run_forever, args=(stop,))
    thread.start()
    wait_for(lambda: view(engine, run_id).state == "finished")
    stop.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_running_run_is_cancelled_within_two_seconds(
    make_room, engine, settings, tmp_path, wait_for
):
    pids = tmp_path / "pids"
    # Asking it to end does not help.
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
    make_room(telling_its_pid(pids, stubborn))
    took = []
    # Another program may have the processor for a while: one of three has to be in time.
    for attempt in range(3):
        run_id = queue_run(engine, "little", "quick")
        thread = threading.Thread(target=Worker(engine, settings).run_one)
        thread.start()
        pid = wait_for(lambda before=attempt: written_pids(pids)[before:])[0]
        asked_at = time.monotonic()
        cancel_run(engine, run_id)
        wait_for(lambda gone=pid: is_gone(gone))
        took.append(time.monotonic() - asked_at)
        thread.join(30)
        run = view(engine, run_id)
        assert (run.state, run.reason) == ("cancelled", "cancelled")
        assert run.result.status == "cancelled"
        if took[-1] < 2:
            break
    assert min(took) < 2


def test_a_worker_that_is_stopped_gives_its_run_back_and_leaves_no_process(
    make_room, engine, settings, tmp_path, wait_for, start_worker
):
    pids = tmp_path / "pids"
    make_room(telling_its_pid(pids, "time.sleep(600)"))
    run_id = queue_run(engine, "little", "quick")
    process = start_worker("--stoppable")
    [pid] = wait_for(lambda: written_pids(pids))
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert is_gone(pid)
    run = view(engine, run_id)
    assert (run.state, run.attempts, run.started_at) == ("queued", 0, None)


def test_a_killed_worker_is_followed_by_another_and_a_run_that_kills_two_is_lost(
    make_room, engine, settings, tmp_path, wait_for, start_worker
):
    pids = tmp_path / "pids"
    # It starts a process in a session of its own, which nothing ends with the worker.
    stray = "import subprocess; subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    make_room(telling_its_pid(pids, stray + "time.sleep(600)"), slug="deadly")
    make_room("run.measure('faster', 2)", slug="harmless")
    deadly = queue_run(engine, "deadly", "quick", priority=1)
    harmless = queue_run(engine, "harmless", "quick")
    for attempt in (1, 2):
        process = start_worker()
        wait_for(lambda n=attempt: len(written_pids(pids)) == n)
        run = view(engine, deadly)
        assert (run.state, run.attempts) == ("running", attempt)
        process.kill()
        process.wait()
        wait_for(lambda n=attempt: is_gone(written_pids(pids)[n - 1]))
    start_worker()
    wait_for(lambda: view(engine, harmless).state == "finished")
    run = view(engine, deadly)
    assert (run.state, run.reason) == ("lost", "its worker died, and there is no further attempt")
    mark = str(settings.runs_dir / deadly)
    strays = [p for p in psutil.process_iter() if mark in _environ(p).get("PAPERROUND_RUN", "")]
    assert strays == []


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:
        return {}


def test_a_worker_whose_run_was_taken_away_stops_it_and_stores_nothing(
    make_room, engine, settings, tmp_path, wait_for
):
    pids = tmp_path / "pids"
    make_room(telling_its_pid(pids, "time.sleep(600)"))
    run_id = queue_run(engine, "little", "quick")
    worker = Worker(engine, settings)
    thread = threading.Thread(target=worker.run_one)
    thread.start()
    [pid] = wait_for(lambda: written_pids(pids))
    queue = TableQueue(engine)
    queue.take_back(Claimed(run_id, "little", "quick", (0, 1, 2), 1, worker.name))
    thread.join(10)
    assert is_gone(pid)
    run = view(engine, run_id)
    assert (run.state, run.result) == ("queued", None)


def test_a_run_that_somebody_waits_for_passes_by_the_queue_and_is_stored(
    make_room, engine, settings
):
    make_room("run.measure('faster', 2, seed=7)")
    queued = queue_run(engine, "little", "quick")
    seen = []
    result = Worker(engine, settings).run_now("little", Scale.QUICK, (7,), seen.append)
    assert result.claims[0].seeds == (7,)
    assert [event["kind"] for event in seen] == ["started", "measure"]
    with read(engine) as connection:
        states = {run.id: run.state for run in recent_runs(connection)}
    assert states.pop(queued) == "queued"
    assert view(engine, states.popitem()[0]).result == result


def test_a_run_that_somebody_waits_for_is_cancelled_by_an_interruption(make_room, engine, settings):
    make_room("run.note(str(os.getpid())); time.sleep(600)")
    pids = []

    def interrupt(event: dict[str, object]) -> None:
        if event["kind"] == "note":
            pids.append(int(str(event["text"])))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Worker(engine, settings).run_now("little", Scale.QUICK, (0,), interrupt)
    assert is_gone(pids[0])
    with read(engine) as connection:
        [run] = recent_runs(connection)
    assert (run.state, run.reason) == ("cancelled", "interrupted")


def test_an_interrupted_worker_gives_its_run_back(make_room, engine, settings, monkeypatch):
    make_room("time.sleep(600)")
    run_id = queue_run(engine, "little", "quick")

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("paperround.runs.worker.measure", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Worker(engine, settings).run_one()
    assert view(engine, run_id).state == "queued"


def test_progress_of_a_long_stage_leaves_one_row(make_room, engine, settings):
    make_room(
        """
        with run.stage("count", total=24) as stage:
            for _ in range(24):
                time.sleep(0.11)
                stage.advance()
        """
    )
    run_id = queue_run(engine, "little", "quick")
    Worker(engine, settings).run_one()
    with read(engine) as connection:
        rows = connection.execute(
            select(RunEventTable.number, RunEventTable.event).where(RunEventTable.run_id == run_id)
        ).all()
    progress = [row for row in rows if row.event["kind"] == "progress"]
    assert [row.event["done"] for row in progress] == [24]
    # It was recorded while it moved, under a number that rose.
    assert progress[0].number > 3


def test_the_environment_names_no_host_and_no_folder(make_room, engine, settings):
    make_room("run.measure('faster', 2)")
    run_id = queue_run(engine, "little", "quick")
    Worker(engine, settings).run_one()
    text = str(view(engine, run_id).result.to_json())
    assert os.uname().nodename not in text
    assert str(settings.home) not in text
