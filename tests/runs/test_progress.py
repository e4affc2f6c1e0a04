"""How far a run is, from nothing but its events."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.runs.progress import progress_of

START = datetime(2026, 4, 13, 12, tzinfo=UTC)


def at(moment_s: float, **event: object) -> tuple[datetime, dict[str, object]]:
    return START + timedelta(seconds=moment_s), event


def now(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


STARTED = at(0, kind="started", attempt=1)
# The last time, preparing took 10 s, training 40 s and measuring 20 s.
EARLIER = [
    {"stage": "assets", "seconds": 500.0},
    {"stage": "prepare", "seconds": 10.0},
    {"stage": "train", "seconds": 40.0},
    {"stage": "measure", "seconds": 20.0},
]
PREPARED = [
    at(0, kind="stage", stage="prepare", total=None),
    at(10, kind="stage-end", stage="prepare", seconds=10.0),
]


def test_nothing_is_known_of_a_run_that_has_said_nothing():
    progress = progress_of([], now(5))
    assert (progress.stages, progress.current, progress.seconds_left) == ((), None, None)
    assert progress.seconds == 0


def test_stages_tell_what_is_done_and_the_pace_tells_what_is_left():
    events = [
        STARTED,
        *PREPARED,
        at(10, kind="stage", stage="train", total=8),
        at(20, kind="progress", stage="train", done=2, total=8),
        at(20, kind="measure", claim="faster", value=1.0, baseline=None, seed=0),
    ]
    progress = progress_of(events, now(20))
    assert [(stage.name, stage.share) for stage in progress.stages] == [
        ("prepare", 1.0),
        ("train", 0.25),
    ]
    assert progress.current is progress.stages[1]
    assert (progress.measured, progress.seconds) == (1, 20.0)
    # A quarter took 10 s.
    assert progress.stage_seconds_left == pytest.approx(30)
    assert progress.seconds_left is None


def test_an_earlier_run_tells_how_long_the_rest_takes():
    events = [
        STARTED,
        *PREPARED,
        at(10, kind="stage", stage="train", total=8),
        at(20, kind="progress", stage="train", done=2, total=8),
    ]
    # 30 s of training by its own pace, then 20 s of measuring.
    assert progress_of(events, now(20), EARLIER).seconds_left == pytest.approx(50)


def test_a_machine_of_half_the_speed_takes_twice_as_long():
    events = [
        STARTED,
        at(0, kind="stage", stage="prepare", total=None),
        at(20, kind="stage-end", stage="prepare", seconds=20.0),
        at(20, kind="stage", stage="train", total=None),
    ]
    # Training 80 s, of which 30 are over, and measuring 40 s.
    assert progress_of(events, now(50), EARLIER).seconds_left == pytest.approx(90)


def test_a_stage_that_the_earlier_run_did_not_have_makes_no_estimate():
    events = [STARTED, at(0, kind="stage", stage="something new", total=None)]
    assert progress_of(events, now(5), EARLIER).seconds_left is None


def test_between_two_long_steps_the_estimate_falls():
    events = [
        STARTED,
        at(0, kind="stage", stage="something new", total=3),
        at(5, kind="progress", stage="something new", done=1, total=3),
    ]
    left = [progress_of(events, now(s)).stage_seconds_left for s in (5, 7, 9, 60)]
    assert left == [pytest.approx(10), pytest.approx(8), pytest.approx(6), 0]


def test_a_stage_begins_with_what_it_took_before_and_ends_with_its_own_pace():
    def left(done: int, seconds: float) -> float | None:
        events = [
            STARTED,
            *PREPARED,
            at(10, kind="stage", stage="train", total=10),
            at(10 + seconds, kind="progress", stage="train", done=done, total=10),
        ]
        return progress_of(events, now(10 + seconds), EARLIER).seconds_left

    # Twice as fast as before: 40 s then, 20 s by its pace; the measuring of 20 s comes after.
    assert left(1, 2.0) == pytest.approx(0.1 * 18 + 0.9 * 38 + 20)
    assert left(9, 18.0) == pytest.approx(0.9 * 2 + 0.1 * 22 + 20)


def test_what_lies_ahead_is_told_at_this_machines_speed():
    events = [
        STARTED,
        at(0, kind="stage", stage="prepare", total=None),
        at(20, kind="stage-end", stage="prepare", seconds=20.0),
    ]
    progress = progress_of(events, now(20), EARLIER)
    assert progress.ahead == (("train", 80.0), ("measure", 40.0))
    assert progress.seconds_left == pytest.approx(120)
    assert progress.share == pytest.approx(20 / 140)


def test_a_run_that_was_given_back_begins_anew():
    events = [STARTED, *PREPARED, at(60, kind="started", attempt=2)]
    progress = progress_of(events, now(61))
    assert progress.stages == ()
    assert progress.seconds == 1.0


def test_stages_of_the_same_name_follow_one_another():
    events = [
        STARTED,
        at(0, kind="stage", stage="train", total=2),
        at(1, kind="progress", stage="train", done=2, total=2),
        at(1, kind="stage-end", stage="train", seconds=1.0),
        at(1, kind="stage", stage="train", total=2),
        at(2, kind="progress", stage="train", done=1, total=2),
    ]
    assert [stage.share for stage in progress_of(events, now(2)).stages] == [1.0, 0.5]


names = st.sampled_from(["prepare", "train", "measure", "other"])
steps = st.one_of(
    st.builds(lambda s, n: {"kind": "stage", "stage": s, "total": n}, names, st.none()
              | st.integers(0, 9)),
    st.builds(lambda s, n: {"kind": "progress", "stage": s, "done": n, "total": 5}, names,
              st.integers(0, 9)),
    st.builds(lambda s: {"kind": "stage-end", "stage": s, "seconds": 1.0}, names),
    st.just({"kind": "started", "attempt": 1}),
    st.just({"kind": "note", "text": ""}),
)  # fmt: skip


@given(st.lists(st.tuples(st.integers(0, 100), steps), max_size=20), st.integers(-50, 200))
def test_shares_and_estimates_stay_within_reason_whatever_the_order_and_the_clock(told, later):
    events = [(now(seconds), event) for seconds, event in told]
    progress = progress_of(events, now(later), EARLIER)
    assert all(stage.share is None or 0 <= stage.share <= 1 for stage in progress.stages)
    assert progress.share is None or 0 <= progress.share <= 1
    assert all(seconds >= 0 for _, seconds in progress.ahead)
    assert progress.stage_seconds_left is None or progress.stage_seconds_left >= 0
    assert progress.seconds >= 0
    assert progress.seconds_left is None or progress.seconds_left >= 0
    assert progress.stage_seconds_left is None or progress.stage_seconds_left >= 0
