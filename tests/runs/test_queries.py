"""What pages ask of runs."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event as sqlalchemy_event

from paperround.db import read, write
from paperround.runs.actions import queue_run, record_events
from paperround.runs.card import Scale
from paperround.runs.queries import (
    claim_summary,
    events_after,
    latest_results,
    recent_runs,
    run_by_id,
    run_progress,
)
from paperround.runs.queue import State, TableQueue
from paperround.runs.records import shipped_result
from paperround.runs.results import Result

NOON = datetime(2026, 4, 13, 12, tzinfo=UTC)


def a_result(room, scale=Scale.QUICK, faster=2.0, **changes) -> Result:
    events = [{"kind": "measure", "claim": "faster", "value": faster, "baseline": 1.0, "seed": 0}]
    options = {
        "status": "finished",
        "reason": "",
        "started_at": NOON,
        "seconds": 1.0,
        "seeds": (0,),
        "environment": {},
        "card_sha256": room.card_sha256,
    }
    return Result.from_events(room.card, scale, events, **{**options, **changes})


def a_finished_run(engine, room, result) -> str:
    run_id = queue_run(engine, room.slug, result.scale)
    queue = TableQueue(engine)
    claimed = queue.claim("machine:1:1:a")
    assert claimed is not None
    with write(engine) as connection:
        state = State(result.status)
        assert queue.end(connection, claimed, state, result.reason, result.to_json())
    return run_id


def test_an_unknown_run_is_none(engine):
    with read(engine) as connection:
        assert run_by_id(connection, "nothing") is None
        assert events_after(connection, "nothing", 0) == []


def test_positions_count_from_one_in_the_order_of_the_queue(make_room, engine):
    make_room()
    later = queue_run(engine, "little", "quick", [1])
    last = queue_run(engine, "little", "quick", [2])
    first = queue_run(engine, "little", "quick", [3], priority=1)
    with read(engine) as connection:
        assert [run_by_id(connection, i).position for i in (first, later, last)] == [1, 2, 3]
    TableQueue(engine).claim("machine:1:1:a")
    with read(engine) as connection:
        assert run_by_id(connection, first).position is None
        assert run_by_id(connection, later).position == 1


def test_recent_runs_are_the_newest_first_of_one_paper_or_all(make_room, engine):
    make_room(slug="one")
    make_room(slug="two")
    ids = [
        queue_run(engine, "one", "quick"),
        queue_run(engine, "two", "quick"),
        queue_run(engine, "one", "standard"),
    ]
    with read(engine) as connection:
        assert {run.id for run in recent_runs(connection)} == set(ids)
        assert {run.slug for run in recent_runs(connection, "one")} == {"one"}
        assert len(recent_runs(connection, n=1)) == 1


def test_a_run_has_its_record_and_a_list_of_runs_its_tally(make_room, engine):
    room = make_room()
    result = a_result(room)
    run_id = a_finished_run(engine, room, result)
    with read(engine) as connection:
        assert run_by_id(connection, run_id).result == result
        [run] = recent_runs(connection)
    assert run.result is None
    assert (run.tally.holds, run.tally.measured, run.tally.claims) == (1, 1, 2)
    assert not run.is_active


def test_the_newest_local_result_comes_before_the_shipped_one(make_room, engine):
    room = make_room()
    a_result(room, faster=5.0).write(room.results_dir / "quick.json")
    a_result(room, Scale.STANDARD).write(room.results_dir / "standard.json")
    with read(engine) as connection:
        latest = latest_results(connection, room)
    assert latest[Scale.QUICK].is_shipped
    assert latest[Scale.QUICK].result.claims[0].value == 5.0
    a_finished_run(engine, room, a_result(room, faster=3.0))
    run_id = a_finished_run(engine, room, a_result(room, faster=4.0))
    a_finished_run(engine, room, a_result(room, faster=9.0, status="failed", reason="why"))
    with read(engine) as connection:
        latest = latest_results(connection, room)
    assert (latest[Scale.QUICK].run_id, latest[Scale.QUICK].is_shipped) == (run_id, False)
    assert latest[Scale.QUICK].result.claims[0].value == 4.0
    assert latest[Scale.STANDARD].is_shipped
    assert Scale.FULL not in latest


def test_a_local_result_of_an_earlier_card_does_not_hide_the_shipped_one(make_room, engine):
    room = make_room()
    a_finished_run(engine, room, a_result(room, faster=9.0, card_sha256="00" * 32))
    a_result(room, faster=5.0).write(room.results_dir / "quick.json")
    with read(engine) as connection:
        assert latest_results(connection, room)[Scale.QUICK].result.claims[0].value == 5.0
        assert claim_summary(connection, [room])["little"].is_shipped


def test_a_shipped_result_is_read_again_when_its_file_changes(make_room):
    room = make_room()
    path = room.results_dir / "quick.json"
    a_result(room, faster=2.0).write(path)
    first = shipped_result(room, Scale.QUICK)
    assert shipped_result(room, Scale.QUICK) is first
    a_result(room, faster=2.125).write(path)
    assert shipped_result(room, Scale.QUICK).claims[0].value == 2.125


def test_a_broken_shipped_result_is_absent_and_hides_no_page(make_room, engine):
    room = make_room()
    room.results_dir.mkdir()
    (room.results_dir / "quick.json").write_text("{")
    with read(engine) as connection:
        assert latest_results(connection, room) == {}


def test_a_summary_stands_on_the_largest_scale_with_a_result(make_room, engine):
    one, two, none = (make_room(slug=slug) for slug in ("one", "two", "none"))
    a_result(one).write(one.results_dir / "quick.json")
    a_finished_run(engine, two, a_result(two))
    a_finished_run(engine, two, a_result(two, Scale.STANDARD, faster=1.0))
    with read(engine) as connection:
        summaries = claim_summary(connection, [one, two, none])
    assert set(summaries) == {"one", "two"}
    assert (summaries["one"].scale, summaries["one"].is_shipped) == ("quick", True)
    assert (summaries["one"].tally.holds, summaries["one"].tally.claims) == (1, 2)
    assert (summaries["two"].scale, summaries["two"].is_shipped) == ("standard", False)
    # At the standard scale the bar is 2.
    assert (summaries["two"].tally.holds, summaries["two"].tally.falls_short) == (0, 1)


def test_a_summary_of_many_papers_is_one_query_once_records_were_read(make_room, engine):
    rooms = [make_room(slug=f"room-{n}") for n in range(5)]
    for room in rooms:
        a_finished_run(engine, room, a_result(room))
    with read(engine) as connection:
        claim_summary(connection, rooms)
    statements = []
    sqlalchemy_event.listen(
        engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2])
    )
    with read(engine) as connection:
        assert len(claim_summary(connection, rooms)) == 5
    assert len([text for text in statements if text.startswith("SELECT")]) == 1


def test_the_progress_of_a_run_comes_from_its_events(make_room, engine):
    make_room()
    run_id = queue_run(engine, "little", "quick")
    told = [
        {"kind": "started", "attempt": 1},
        {"kind": "stage", "stage": "train", "total": 4},
        {"kind": "note", "text": "so it is"},
        {"kind": "progress", "stage": "train", "done": 1, "total": 4},
    ]
    with write(engine) as connection:
        record_events(connection, run_id, [(NOON, event) for event in told])
    with read(engine) as connection:
        run = run_by_id(connection, run_id)
        progress = run_progress(connection, run, NOON + timedelta(seconds=10))
    assert progress.current.share == 0.25
    assert progress.stage_seconds_left == pytest.approx(30)
