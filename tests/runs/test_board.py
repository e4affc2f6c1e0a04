"""The claims board says what stands, keeps what was said before, and hides nothing."""

import csv
import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.db import read, write
from paperround.errors import UsageError
from paperround.runs.board import (
    CSV_COLUMNS,
    SORTS,
    Filter,
    board,
    board_csv,
    harmless,
    row_json,
    select_rows,
    sort_rows,
)
from paperround.runs.card import Scale
from paperround.runs.records import Origin, keep_result
from paperround.runs.results import Result

NOON = datetime(2026, 4, 13, 12, tzinfo=UTC)
OTHER_CARD = "00" * 32


def a_result(room, faster=2.0, scale=Scale.QUICK, days=0, **changes) -> Result:
    measured = {"kind": "measure", "claim": "faster", "value": faster, "baseline": 1.0, "seed": 0}
    options = {
        "status": "finished",
        "reason": "",
        "started_at": NOON + timedelta(days=days),
        "seconds": 1.0,
        "seeds": (0,),
        "environment": {"processor": "A", "cores": 2, "paperround": "0.1", "commit": "abc"},
        "card_sha256": room.card_sha256,
    }
    events = [] if faster is None else [measured]
    return Result.from_events(room.card, scale, events, **{**options, **changes})


@pytest.fixture
def keep(engine):
    """Keeps results in their order."""

    def keep_all(*results, origin=Origin.HERE, note=""):
        with write(engine) as connection:
            for result in results:
                assert keep_result(connection, result, origin, note=note)

    return keep_all


@pytest.fixture
def rows_of(engine):
    """The board's rows by claim and scale."""

    def rows(*rooms):
        with read(engine) as connection:
            return {(r.claim.id, r.scale.value): r for r in board(connection, rooms)}

    return rows


def test_a_claim_that_nobody_measured_is_there_and_says_so(make_room, rows_of):
    rows = rows_of(make_room())
    assert list(rows) == [
        ("faster", "quick"),
        ("faster", "standard"),
        ("smaller", "quick"),
        ("smaller", "standard"),
    ]
    faster = rows["faster", "quick"]
    assert (faster.verdict, faster.reason, faster.value) == (
        "not measured",
        "not measured yet",
        None,
    )
    assert rows["smaller", "quick"].reason == "a moment says nothing of size"


def test_a_claim_stands_on_the_newest_run_here_with_the_spread_of_all(make_room, keep, rows_of):
    room = make_room()
    keep(a_result(room, 9.0), origin=Origin.SHIPPED)
    keep(a_result(room, 50.0), origin=Origin.IMPORTED, note="lab")
    keep(*(a_result(room, value, days=n) for n, value in enumerate((2.0, 4.0, 3.0))))
    row = rows_of(room)["faster", "quick"]
    assert (row.value, row.verdict, row.result.origin) == (3.0, "holds", "here")
    assert (row.spread.runs, row.spread.median, row.spread.low, row.spread.high) == (3, 3, 2, 4)


def test_one_run_has_no_spread(make_room, keep, rows_of):
    room = make_room()
    keep(a_result(room), a_result(room, 7.0, status="failed", reason="why"))
    assert rows_of(room)["faster", "quick"].spread is None


def test_a_moved_bar_leaves_the_old_result_beside_a_claim_that_is_not_measured(
    make_room, keep, rows_of
):
    room = make_room()
    keep(a_result(room, 9.0, card_sha256=OTHER_CARD))
    row = rows_of(room)["faster", "quick"]
    assert (row.verdict, row.value, row.spread) == ("not measured", None, None)
    assert row.reason == "measured with an older card only"
    assert (row.older.card_sha256, row.older_figure.value) == (OTHER_CARD, 9.0)
    assert row.older_figure.verdict == "holds"
    keep(a_result(room, 1.0))
    row = rows_of(room)["faster", "quick"]
    assert (row.verdict, row.older) == ("falls short", None)


def test_every_change_of_a_verdict_is_kept_with_what_differed(make_room, keep, rows_of):
    room = make_room()
    newer = {"processor": "A", "cores": 2, "paperround": "0.2", "commit": "def"}
    keep(
        a_result(room, 2.0, card_sha256=OTHER_CARD),
        a_result(room, 1.0, days=1),
        a_result(room, 1.1, days=2),
        a_result(room, 2.0, days=3, environment=newer),
        a_result(room, 1.0, days=4, environment={**newer, "processor": "B"}, seeds=(0, 1)),
        a_result(room, 2.0, days=5, environment={**newer, "processor": "B"}, seeds=(0, 1)),
    )
    keep(a_result(room, 0.1, days=6), origin=Origin.IMPORTED)
    changes = rows_of(room)["faster", "quick"].changes
    assert [(change.before, change.after) for change in changes] == [
        ("holds", "falls short"),
        ("falls short", "holds"),
        ("holds", "falls short"),
        ("falls short", "holds"),
    ]
    assert [change.because for change in changes] == [
        ("the card changed",),
        ("Paperround 0.1, abc became 0.2, def",),
        ("another machine", "other seeds"),
        ("the same card and program: it varies from run to run",),
    ]


def test_a_bar_that_moved_is_named_in_the_change(make_room, keep, rows_of):
    room = make_room()
    lenient = room.card.model_copy(
        update={
            "claims": (
                room.card.claims[0].model_copy(
                    update={
                        "bars": {
                            Scale.QUICK: room.card.claims[0]
                            .bars[Scale.QUICK]
                            .model_copy(update={"at_least": 0.5})
                        }
                    }
                ),
                room.card.claims[1],
            )
        }
    )
    events = [{"kind": "measure", "claim": "faster", "value": 1.0, "baseline": 1.0, "seed": 0}]
    older = Result.from_events(
        lenient,
        Scale.QUICK,
        events,
        status="finished",
        reason="",
        started_at=NOON,
        seconds=1.0,
        seeds=(0,),
        environment={},
        card_sha256=OTHER_CARD,
    )
    keep(older, a_result(room, 1.0, days=1, environment={}))
    [change] = rows_of(room)["faster", "quick"].changes
    assert change.because == ("the card changed: the bar was ≥ 0.5 and is ≥ 1.5",)


def test_failed_runs_change_nothing(make_room, keep, rows_of):
    room = make_room()
    keep(a_result(room), a_result(room, 0.1, status="cancelled", reason="cancelled"))
    row = rows_of(room)["faster", "quick"]
    assert (row.verdict, row.changes) == ("holds", ())


def test_filters_leave_what_they_name(make_room, keep, engine):
    one, two = make_room(slug="one"), make_room(slug="two")
    keep(a_result(one, 2.0), a_result(two, 2.0), a_result(two, 1.0, days=1))
    with read(engine) as connection:
        rows = board(connection, [one, two])
    assert len(rows) == 8
    for wanted, n in (
        (Filter(), 8),
        (Filter(paper="two"), 4),
        (Filter(family="tests"), 8),
        (Filter(family="none"), 0),
        (Filter(verdict="holds"), 1),
        (Filter(verdict="falls short"), 1),
        (Filter(scale="standard"), 4),
        (Filter(text="IT is  faster"), 4),
        (Filter(text="faster two"), 2),
        (Filter(changed=True), 1),
        (Filter(paper="two", verdict="holds"), 0),
    ):
        assert len(select_rows(rows, wanted)) == n, wanted
    for wrong in (Filter(verdict="great"), Filter(scale="huge")):
        with pytest.raises(UsageError, match="there are"):
            select_rows(rows, wrong)


@pytest.mark.parametrize("column", SORTS)
@pytest.mark.parametrize("descending", [False, True])
def test_every_column_sorts_and_empty_cells_come_last(make_room, keep, engine, column, descending):
    one, two = make_room(slug="one"), make_room(slug="two")
    keep(a_result(one, 2.0), a_result(two, 1.0), a_result(two, 3.0, scale=Scale.STANDARD))
    with read(engine) as connection:
        rows = board(connection, [one, two])
    done = sort_rows(rows, column, descending=descending)
    assert sorted(map(id, done)) == sorted(map(id, rows))
    keys = [SORTS[column](row) for row in done]
    filled = [key for key in keys if key is not None]
    assert keys[: len(filled)] == filled
    assert filled == sorted(filled, reverse=descending)
    with pytest.raises(UsageError, match="no column 'colour'"):
        sort_rows(rows, "colour")


def test_csv_has_a_row_for_each_row_and_the_numbers_as_numbers(make_room, keep, engine):
    room = make_room()
    keep(a_result(room, -2.5))
    with read(engine) as connection:
        rows = board(connection, [room])
    read_back = list(csv.DictReader(io.StringIO(board_csv(rows))))
    assert len(read_back) == len(rows)
    first = read_back[0]
    assert (first["claim"], first["scale"], first["measured"]) == ("faster", "quick", "-2.5")
    assert first["verdict"] == "falls short"
    assert first["result"] == rows[0].result.id
    assert set(row_json(rows[0])) == set(CSV_COLUMNS)


cells = st.text(max_size=20) | st.sampled_from(["=1+1", "+x", "-1", "@SUM", "\t=1", " =1", "＝1"])


@given(cells)
def test_no_text_of_a_csv_begins_a_formula_and_none_is_lost(text):
    cell = harmless(text)
    assert isinstance(cell, str)
    assert cell.lstrip(" \u00a0")[:1] not in set("=+-@\t\r\n＝＋－＠")
    assert cell.removeprefix("'") == text or cell == text


@given(st.integers() | st.floats(allow_nan=False) | st.booleans())
def test_numbers_of_a_csv_stay_numbers(number):
    assert harmless(number) is number
