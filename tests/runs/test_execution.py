"""Real reproductions of every bad kind, each in its own process."""

import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from paperround.runs.card import Scale
from paperround.runs.child_process import Outcome
from paperround.runs.execution import execute, measure, read_log
from paperround.runs.results import Result
from paperround.runs.rooms import Room
from paperround.settings import Settings


def _execute(
    room: Room, tmp_path: Path, settings: Settings, **options: Any
) -> tuple[Outcome, list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    outcome = execute(
        room,
        Scale.QUICK,
        (0, 1, 2),
        tmp_path / "run",
        on_event=events.append,
        cancelled=options.get("cancelled", lambda: False),
        settings=settings,
    )
    return outcome, events


def _log(tmp_path: Path) -> str:
    log = read_log(tmp_path / "run")
    assert log is not None
    return log


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_reproduction_that_ends_well_gives_its_events_and_a_verdict(
    make_room, tmp_path, settings
):
    room = make_room(
        """
        with run.stage("measure", total=3) as stage:
            for seed in run.seeds:
                run.measure("faster", 2.0 + seed, baseline=1.0, seed=seed)
                stage.advance()
        run.table("Times", ["seed", "s"], [[0, 1.5]])
        run.note("all well")
        print("printed")
        """
    )
    events: list[dict[str, Any]] = []
    result = measure(
        room,
        Scale.QUICK,
        None,
        tmp_path / "run",
        on_event=events.append,
        cancelled=lambda: False,
        settings=settings,
    )
    assert (result.status, result.reason) == ("finished", "")
    assert result.verdicts == {"faster": "holds", "smaller": "not measured"}
    assert result.claims[0].measured == (2.0, 3.0, 4.0)
    assert result.seeds == (0, 1, 2)
    assert result.notes == ("all well",)
    assert [event["kind"] for event in events][:2] == ["stage", "measure"]
    assert "printed" in _log(tmp_path)
    assert not (tmp_path / "run" / "scratch").exists()
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_seeds_of_the_caller_replace_those_of_the_card(make_room, tmp_path, settings):
    room = make_room("for seed in run.seeds: run.measure('faster', 2, seed=seed)")
    result = measure(
        room,
        Scale.QUICK,
        [7, 8],
        tmp_path / "run",
        on_event=lambda event: None,
        cancelled=lambda: False,
        settings=settings,
    )
    assert (result.seeds, result.claims[0].seeds) == ((7, 8), (7, 8))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("raise ValueError('too\\nlong')", "ValueError: too long"),
        ("raise SystemExit(4)", "SystemExit: 4"),
        ("run.measure('unknown', 1)", "the card has no claim 'unknown'"),
        ("run.measure('faster', float('nan'))", "the value of 'faster' is nan"),
        ("run.asset('smollm2-135m')", "the card does not name the asset 'smollm2-135m'"),
        ("os._exit(3)", "ended with exit status 3 before reproduce returned"),
        ("os._exit(0)", "ended with exit status 0 before reproduce returned"),
        ("os.kill(os.getpid(), 9)", "ended by signal 9 (killed from outside, or the machine"),
        ("import ctypes; ctypes.string_at(0)", "ended by signal 11 (a crash in native code"),
        ("import nothing_of_this_name", "ModuleNotFoundError: No module named"),
    ],
)
def test_a_reproduction_that_fails_says_why(make_room, tmp_path, settings, body, reason):
    outcome, _ = _execute(make_room(body), tmp_path, settings)
    assert outcome.status == "failed"
    assert reason in outcome.reason
    assert "\n" not in outcome.reason


def test_what_was_measured_before_a_failure_is_kept_without_a_verdict(
    make_room, tmp_path, settings
):
    room = make_room("run.measure('faster', 9, seed=0); raise ValueError('then')")
    result = measure(
        room,
        Scale.QUICK,
        None,
        tmp_path / "run",
        on_event=lambda event: None,
        cancelled=lambda: False,
        settings=settings,
    )
    assert result.claims[0].measured == (9.0,)
    assert result.claims[0].verdict == "not measured"
    assert result.claims[0].reason == "ValueError: then"
    assert "Traceback" in _log(tmp_path)


def test_a_reproduction_that_hangs_is_ended_at_its_limit(make_room, tmp_path, settings):
    room = make_room("time.sleep(600)", time_limit_s=1)
    outcome, _ = _execute(room, tmp_path, settings)
    assert (outcome.status, outcome.reason) == ("failed", "took longer than 1 s")


def test_a_reproduction_that_eats_memory_is_ended_at_its_limit(make_room, tmp_path, settings):
    body = "held = []\nwhile True: held.append(bytearray(b'x' * 4_000_000)); time.sleep(0.005)"
    outcome, _ = _execute(make_room(body, memory_limit_mb=200), tmp_path, settings)
    assert (outcome.status, outcome.reason) == ("failed", "used more than 200 MB of memory")


def test_memory_of_a_grandchild_counts(make_room, tmp_path, settings):
    body = """
    import subprocess
    code = "held = bytearray(b'x' * 300_000_000); import time; time.sleep(600)"
    subprocess.run([sys.executable, "-c", code], start_new_session=True)
    """
    outcome, _ = _execute(make_room(body, memory_limit_mb=200), tmp_path, settings)
    assert outcome.reason == "used more than 200 MB of memory"


def test_fifty_megabytes_of_output_keep_their_beginning_and_end(make_room, tmp_path, settings):
    body = """
    print("the beginning")
    for _ in range(500): print("y" * 100_000)
    print("the end")
    run.measure("faster", 2)
    """
    outcome, events = _execute(make_room(body), tmp_path, settings)
    log = _log(tmp_path)
    assert outcome.status == "finished"
    assert log.startswith("the beginning")
    assert log.rstrip().endswith("the end")
    assert "bytes left out" in log
    assert len(log) < 1_100_000
    assert [event["kind"] for event in events] == ["measure"]


def test_a_grandchild_that_leaves_session_and_parent_is_ended_too(
    make_room, tmp_path, settings, wait_for
):
    # A run may write there, and it stays.
    pid_file = settings.cache_dir / "compiled" / "pid"
    body = f"""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            open({str(pid_file)!r}, "w").write(str(os.getpid()))
            time.sleep(600)
        os._exit(0)
    os.wait()
    while not os.path.exists({str(pid_file)!r}) or not open({str(pid_file)!r}).read():
        time.sleep(0.01)
    run.measure("faster", 2)
    """
    outcome, events = _execute(make_room(body), tmp_path, settings)
    assert outcome.status == "finished"
    assert events[-1]["kind"] == "measure"
    assert not _is_running(int(pid_file.read_text()))


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("b'garbage\\n'", "a broken event, 'garbage'"),
        ('b\'{"kind": "surprise"}\\n\'', "a broken event"),
        ("b'[1, 2]\\n'", "a broken event"),
        (
            'b\'{"kind":"measure","claim":"unknown","value":1,"baseline":null,"seed":null}\\n\'',
            "the card has no claim 'unknown'",
        ),
        (
            'b\'{"kind":"measure","claim":"faster","value":NaN,"baseline":null,"seed":0}\\n\'',
            "a broken event",
        ),
        ("b'x' * 5_000_000", "an event is larger than 4 MB"),
        ('(b\'{"kind":"note","text":"\' + b\'x\' * 1_000_000 + b\'"}\\n\') * 40', "gave more"),
    ],
)
def test_garbage_on_the_pipe_is_a_failure_with_a_reason(
    make_room, tmp_path, settings, written, reason
):
    body = f"""
    import json
    pipe = json.loads(sys.argv[1])["events"]
    data = {written}
    while data:
        data = data[os.write(pipe, data):]
    time.sleep(600)
    """
    outcome, _ = _execute(make_room(body), tmp_path, settings)
    assert outcome.status == "failed"
    assert reason in outcome.reason


def test_output_never_counts_as_an_event(make_room, tmp_path, settings):
    body = 'print(\'{"kind":"measure","claim":"faster","value":9,"baseline":null,"seed":0}\')'
    outcome, events = _execute(make_room(body), tmp_path, settings)
    assert (outcome.status, events) == ("finished", [])


def test_cancelling_ends_even_what_ignores_sigterm(make_room, tmp_path, settings):
    # A run may write there, and it stays.
    pid_file = settings.cache_dir / "compiled" / "pid"
    body = f"""
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    open({str(pid_file)!r}, "w").write(str(os.getpid()))
    time.sleep(600)
    """
    asked: list[float] = []

    def cancelled() -> bool:
        if pid_file.exists() and pid_file.read_text():
            asked.append(time.monotonic())
        return bool(asked)

    outcome, _ = _execute(make_room(body), tmp_path, settings, cancelled=cancelled)
    assert time.monotonic() - asked[0] < 2
    assert (outcome.status, outcome.reason) == ("cancelled", "cancelled")
    assert not _is_running(int(pid_file.read_text()))


def test_an_error_of_the_listener_leaves_no_process_behind(make_room, tmp_path, settings):
    room = make_room("run.note(str(os.getpid())); time.sleep(600)")
    pids: list[int] = []

    def listen(event: dict[str, Any]) -> None:
        pids.append(int(event["text"]))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(
            room,
            Scale.QUICK,
            (0,),
            tmp_path / "run",
            on_event=listen,
            cancelled=lambda: False,
            settings=settings,
        )
    assert not _is_running(pids[0])


def test_the_process_sees_no_secret_and_its_own_home(make_room, tmp_path, settings, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    monkeypatch.setenv("PYTHONWARNINGS", "error")
    body = """
    import json, resource, tempfile, warnings
    warnings.warn("nobody dies of this")
    limits = [resource.getrlimit(resource.RLIMIT_CORE)[0], os.nice(0)]
    told = dict(os.environ) | {"tmp": tempfile.gettempdir(), "limits": limits}
    run.note(json.dumps(told))
    """
    outcome, events = _execute(make_room(body), tmp_path, settings)
    assert outcome.status == "finished", outcome.reason
    told = json.loads(events[0]["text"])
    scratch = str(tmp_path / "run" / "scratch")
    assert "do-not-tell" not in json.dumps(told)
    assert (told["HOME"], told["tmp"]) == (scratch, scratch)
    assert told["PAPERROUND_HOME"] == str(settings.home)
    assert told["HF_HUB_OFFLINE"] == "1"
    assert told["OMP_NUM_THREADS"] == str(settings.run_threads)
    assert told["limits"][0] == 0
    assert told["limits"][1] >= 5


def test_a_file_above_the_limit_is_an_error_in_the_reproduction(make_room, tmp_path, settings):
    body = """
    with open(run.scratch / "huge", "wb") as file:
        file.truncate(5 << 30)
    """
    outcome, _ = _execute(make_room(body), tmp_path, settings)
    assert "File too large" in outcome.reason


def test_a_run_that_leaves_no_room_on_the_disk_is_ended(make_room, tmp_path, settings, monkeypatch):
    monkeypatch.setattr("paperround.runs.supervision._DISK_RESERVE_MB", 10**9)
    outcome, _ = _execute(make_room("time.sleep(600)"), tmp_path, settings)
    assert outcome.reason == "left less than 1000000000 MB of disk free"


def test_a_folder_without_a_log_has_none(tmp_path):
    assert read_log(tmp_path) is None


def test_assets_are_fetched_before_the_clock_starts(make_room, tmp_path, settings):
    room = make_room("run.measure('faster', 2)", assets="'minilm-vocab'")
    outcome, events = _execute(room, tmp_path, settings)
    assert outcome.status == "finished", outcome.reason
    assert [(e["kind"], e.get("stage")) for e in events] == [
        ("stage", "assets"),
        ("progress", "assets"),
        ("stage-end", "assets"),
        ("measure", None),
    ]


def test_an_asset_that_nobody_declares_fails_the_run_with_its_name(make_room, tmp_path, settings):
    room = make_room("run.measure('faster', 2)", assets="'no-such-thing'")
    outcome, events = _execute(room, tmp_path, settings)
    assert outcome.status == "failed"
    assert "no asset 'no-such-thing'" in outcome.reason
    assert "measure" not in [event["kind"] for event in events]


def test_a_file_in_the_scratch_folder_does_not_pass_for_a_module(make_room, tmp_path, settings):
    body = """
    (run.scratch / "colorsys.py").write_text("raise SystemError('shadowed')")
    import colorsys
    """
    outcome, _ = _execute(make_room(body), tmp_path, settings)
    assert outcome.status == "finished", outcome.reason


def test_starting_a_run_imports_nothing_heavy(make_room, tmp_path, settings):
    body = "run.note(' '.join(sorted(sys.modules)))"
    _, events = _execute(make_room(body), tmp_path, settings)
    loaded = set(events[0]["text"].split())
    assert not loaded & {"torch", "transformers", "fastapi", "matplotlib", "sqlalchemy", "numpy"}


def test_a_leftover_folder_of_an_earlier_attempt_is_emptied(make_room, tmp_path, settings):
    (tmp_path / "run" / "scratch").mkdir(parents=True)
    (tmp_path / "run" / "scratch" / "old").touch()
    room = make_room("assert not list(run.scratch.iterdir())")
    outcome, _ = _execute(room, tmp_path, settings)
    assert outcome.status == "finished", outcome.reason


def test_nothing_of_a_run_outlives_a_worker_that_is_killed(make_room, tmp_path, wait_for):
    body = """
    import subprocess
    other = subprocess.Popen(["sleep", "600"])
    run.note(f"{os.getpid()} {other.pid}")
    time.sleep(600)
    """
    make_room(body)
    code = f"""
    from pathlib import Path
    from paperround.runs.card import Scale
    from paperround.runs.execution import execute
    from paperround.runs.rooms import find_room
    from paperround.settings import get_settings

    folder = Path({str(tmp_path / "run")!r})
    execute(find_room("little"), Scale.QUICK, (0,), folder, cancelled=bool,
            settings=get_settings(), on_event=lambda event: print(event["text"], flush=True))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        pids = [int(pid) for pid in worker.stdout.readline().split()]
        assert all(_is_running(pid) for pid in pids)
        worker.kill()
    wait_for(lambda: not any(_is_running(pid) for pid in pids))
