"""The queue of runs: order, leases, and what becomes of the runs of a dead worker."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.db import read, write
from paperround.runs.card import Scale
from paperround.runs.processes import has_ended, this_process
from paperround.runs.queries import run_by_id
from paperround.runs.queue import LEASE_S, Hold, State, TableQueue, new_run_id

NOON = datetime(2026, 4, 13, 12, tzinfo=UTC)
HERE = f"{this_process()}:a"
# A worker on another machine: nobody can tell from here whether it lives.
ELSEWHERE = "another-machine:1:1:a"
DEAD = ":".join([*this_process().split(":")[:2], "1", "a"])


class Clocks:
    """A wall clock and a steady clock, set by hand."""

    def __init__(self) -> None:
        self.wall, self.steady = NOON, 1_000.0

    def pass_s(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.steady += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def queue(engine, clocks) -> TableQueue:
    return TableQueue(engine, now=lambda: clocks.wall, monotonic=lambda: clocks.steady)


def add(engine, queue, slug="little", priority=0) -> str:
    with write(engine) as connection:
        return queue.add(connection, slug, Scale.QUICK, (0, 1, 2), priority)


def state_of(engine, run_id) -> str:
    with read(engine) as connection:
        return run_by_id(connection, run_id).state


def test_an_empty_queue_gives_nothing(queue):
    assert queue.claim(HERE) is None


def test_the_highest_priority_comes_first_then_the_first_come(engine, queue, clocks):
    first = add(engine, queue)
    clocks.pass_s(1)
    second = add(engine, queue)
    clocks.pass_s(1)
    urgent = add(engine, queue, priority=5)
    assert [queue.claim(HERE).run_id for _ in range(3)] == [urgent, first, second]
    assert queue.claim(HERE) is None


def test_many_workers_at_once_get_each_run_once(engine, queue):
    ids = {add(engine, queue) for _ in range(24)}
    with ThreadPoolExecutor(6) as pool:
        claimed = list(pool.map(lambda n: queue.claim(f"machine:{n}:1:a"), range(24)))
    assert sorted(one.run_id for one in claimed) == sorted(ids)


def test_a_run_is_queued_only_with_its_callers_transaction(engine, queue):
    with pytest.raises(RuntimeError), write(engine) as connection:
        queue.add(connection, "little", Scale.QUICK, (0,), 0)
        raise RuntimeError
    assert queue.claim(HERE) is None


def test_a_claimed_run_may_go_on_until_it_is_cancelled(engine, queue):
    from paperround.runs.actions import cancel_run

    claimed = queue.claim(HERE) if add(engine, queue) else None
    assert queue.look(claimed) is Hold.GO_ON
    assert queue.renew(claimed) is Hold.GO_ON
    cancel_run(engine, claimed.run_id)
    assert queue.look(claimed) is Hold.CANCEL
    assert queue.renew(claimed) is Hold.CANCEL


def test_a_run_given_back_is_next_again_and_the_attempt_does_not_count(engine, queue, clocks):
    run_id = add(engine, queue)
    clocks.pass_s(1)
    add(engine, queue)
    for _ in range(5):
        claimed = queue.claim(HERE)
        assert (claimed.run_id, claimed.attempt) == (run_id, 1)
        queue.give_back(claimed)


def test_an_ended_run_stays_ended(engine, queue):
    run_id = add(engine, queue)
    claimed = queue.claim(HERE)
    with write(engine) as connection:
        assert queue.end(connection, claimed, State.FAILED, "why", None)
    with write(engine) as connection:
        assert not queue.end(connection, claimed, State.FINISHED, "", None)
    queue.give_back(claimed)
    assert state_of(engine, run_id) == "failed"
    assert queue.renew(claimed) is Hold.LET_GO


def test_a_worker_whose_process_is_gone_loses_its_run_at_once(engine, queue):
    run_id = add(engine, queue)
    claimed = queue.claim(DEAD)
    assert queue.abandoned() == [claimed]
    assert queue.take_back(claimed) is State.QUEUED
    assert state_of(engine, run_id) == "queued"
    assert queue.look(claimed) is Hold.LET_GO


def test_a_run_that_loses_two_workers_is_lost(engine, queue):
    run_id = add(engine, queue)
    assert queue.take_back(queue.claim(DEAD)) is State.QUEUED
    again = queue.claim(DEAD)
    assert again.attempt == 2
    assert queue.take_back(again) is State.LOST
    with read(engine) as connection:
        run = run_by_id(connection, run_id)
    assert run.reason == "its worker died, and there is no further attempt"
    assert run.ended_at is not None
    assert queue.claim(HERE) is None


def test_a_run_that_somebody_waits_for_is_taken_over_by_nobody(engine, queue):
    add(engine, queue)
    waited_for = queue.start(DEAD, "little", Scale.QUICK, (0,))
    assert queue.look(waited_for) is Hold.GO_ON
    assert queue.claim(HERE).run_id != waited_for.run_id
    assert queue.abandoned() == [waited_for]
    assert queue.take_back(waited_for) is State.LOST


def test_a_run_that_was_being_cancelled_when_its_worker_died_is_cancelled(engine, queue):
    from paperround.runs.actions import cancel_run

    run_id = add(engine, queue)
    claimed = queue.claim(DEAD)
    cancel_run(engine, run_id)
    assert queue.take_back(claimed) is State.CANCELLED


def test_a_silent_worker_elsewhere_loses_its_run_when_the_lease_has_not_moved(
    engine, queue, clocks
):
    add(engine, queue)
    claimed = queue.claim(ELSEWHERE)
    assert queue.abandoned() == []
    clocks.pass_s(LEASE_S - 1)
    assert queue.abandoned() == []
    clocks.pass_s(2)
    assert queue.abandoned() == [claimed]


def test_a_lease_that_is_renewed_lasts(engine, queue, clocks):
    add(engine, queue)
    claimed = queue.claim(ELSEWHERE)
    for _ in range(20):
        assert queue.abandoned() == []
        clocks.pass_s(LEASE_S - 1)
        queue.renew(claimed)
    assert queue.abandoned() == []


@pytest.mark.parametrize("jump", [timedelta(days=365), timedelta(days=-365)])
def test_a_jump_of_the_wall_clock_takes_no_run_away_and_keeps_none_for_ever(
    engine, queue, clocks, jump
):
    add(engine, queue)
    claimed = queue.claim(ELSEWHERE)
    assert queue.abandoned() == []
    clocks.wall += jump
    assert queue.abandoned() == []
    clocks.pass_s(LEASE_S - 1)
    queue.renew(claimed)
    assert queue.abandoned() == []
    clocks.pass_s(LEASE_S + 1)
    assert queue.abandoned() == [claimed]


def test_a_run_that_moved_on_meanwhile_is_not_taken_back(engine, queue):
    add(engine, queue)
    claimed = queue.claim(DEAD)
    assert queue.take_back(claimed) is State.QUEUED
    assert queue.take_back(claimed) is None
    newer = queue.claim(HERE)
    assert queue.take_back(claimed) is None
    assert queue.look(newer) is Hold.GO_ON


def test_this_process_has_not_ended_and_one_with_its_number_and_another_start_has():
    assert not has_ended(HERE)
    assert has_ended(DEAD)
    assert not has_ended(ELSEWHERE)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)), st.integers(1, 10**9))
def test_ids_sort_by_time_and_fit_their_column(moment, later_ms):
    moment = moment.replace(tzinfo=UTC)
    later = moment + timedelta(milliseconds=later_ms)
    first, second = new_run_id(moment), new_run_id(later)
    assert len(first) == len(second) == 26
    assert first[:10] <= second[:10]
    assert (first < second) or first[:10] == second[:10]
