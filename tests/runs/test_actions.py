"""Queueing and cancelling runs, and recording what they emit."""

from datetime import UTC, datetime

import pytest

from paperround.db import read, write
from paperround.errors import NotFoundError, UsageError
from paperround.runs.actions import cancel_run, queue_run, record_events
from paperround.runs.queries import events_after, run_by_id
from paperround.runs.queue import State, TableQueue

NOW = datetime(2026, 4, 13, tzinfo=UTC)


def view(engine, run_id):
    with read(engine) as connection:
        return run_by_id(connection, run_id)


def test_a_run_is_queued_with_the_seeds_of_the_card(make_room, engine):
    make_room()
    run = view(engine, queue_run(engine, "little", "quick"))
    assert (run.state, run.seeds, run.position) == ("queued", (0, 1, 2), 1)


def test_a_second_click_gives_the_same_run_while_it_is_queued_or_running(make_room, engine):
    make_room()
    first = queue_run(engine, "little", "quick")
    assert queue_run(engine, "little", "quick") == first
    claimed = TableQueue(engine).claim("machine:1:1:a")
    assert queue_run(engine, "little", "quick", [0, 1, 2]) == first
    with write(engine) as connection:
        TableQueue(engine).end(connection, claimed, State.FAILED, "", None)
    assert queue_run(engine, "little", "quick") != first


def test_other_seeds_another_scale_or_a_cancelled_run_are_no_duplicates(make_room, engine):
    make_room()
    first = queue_run(engine, "little", "quick")
    TableQueue(engine).claim("machine:1:1:a")
    cancel_run(engine, first)
    ids = [
        first,
        queue_run(engine, "little", "quick"),
        queue_run(engine, "little", "quick", [7]),
        queue_run(engine, "little", "standard"),
    ]
    assert len(set(ids)) == 4


@pytest.mark.parametrize(
    ("slug", "scale", "seeds", "error", "says"),
    [
        ("litle", "quick", None, NotFoundError, "did you mean little"),
        ("little", "huge", None, UsageError, "no scale 'huge'; there are quick, standard, full"),
        (
            "little",
            "full",
            None,
            UsageError,
            "little: the scale 'full' does not run here: eight GPUs",
        ),
        ("little", "quick", [], UsageError, "at least one"),
        ("little", "quick", [1, 1], UsageError, "once each"),
        ("little", "quick", [-1], UsageError, "seed -1 is not between"),
        ("little", "quick", [2**32], UsageError, "is not between 0 and 4294967295"),
        ("little", "quick", list(range(51)), UsageError, "51 seeds; at most 50"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_remedy(
    make_room, engine, slug, scale, seeds, error, says
):
    make_room()
    with pytest.raises(error, match=says):
        queue_run(engine, slug, scale, seeds)


def test_a_queued_run_is_cancelled_at_once_and_never_starts(make_room, engine):
    make_room()
    run_id = queue_run(engine, "little", "quick")
    cancel_run(engine, run_id)
    run = view(engine, run_id)
    assert (run.state, run.reason) == ("cancelled", "cancelled before it began")
    assert TableQueue(engine).claim("machine:1:1:a") is None


def test_cancelling_twice_or_after_the_end_changes_nothing(make_room, engine):
    make_room()
    run_id = queue_run(engine, "little", "quick")
    claimed = TableQueue(engine).claim("machine:1:1:a")
    with write(engine) as connection:
        TableQueue(engine).end(connection, claimed, State.FAILED, "why", None)
    before = view(engine, run_id)
    cancel_run(engine, run_id)
    cancel_run(engine, run_id)
    assert view(engine, run_id) == before


def test_cancelling_what_does_not_exist_says_so(engine):
    with pytest.raises(NotFoundError, match="no run 'nothing'"):
        cancel_run(engine, "nothing")


def test_events_keep_their_order_and_only_the_newest_progress_of_a_stage(make_room, engine):
    make_room()
    run_id = queue_run(engine, "little", "quick")

    def progress(stage: str, done: int) -> tuple[datetime, dict[str, object]]:
        return NOW, {"kind": "progress", "stage": stage, "done": done, "total": 9}

    note = (NOW, {"kind": "note", "text": "progress"})
    with write(engine) as connection:
        record_events(connection, run_id, [progress("a", 1), note, progress("a", 2)])
        record_events(connection, run_id, [progress("b", 1), progress("a", 3), note])
        record_events(connection, run_id, [])
    with read(engine) as connection:
        told = [(n, e["kind"], e.get("done")) for n, e in events_after(connection, run_id)]
        later = events_after(connection, run_id, 3)
    assert told == [
        (1, "note", None),
        (3, "progress", 1),
        (4, "progress", 3),
        (5, "note", None),
    ]
    assert [number for number, _ in later] == [4, 5]
