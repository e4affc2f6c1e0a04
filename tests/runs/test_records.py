"""Results are kept once, under the checksum of what they measured, and never forgotten."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, text

import paperround.migrations
from paperround.db import connect, migrate, read, write
from paperround.errors import NotFoundError, UsageError
from paperround.runs.card import Scale
from paperround.runs.checking import check_records
from paperround.runs.queries import latest_results, run_by_id, typical_stages
from paperround.runs.records import (
    Origin,
    find_result,
    keep_result,
    keep_shipped,
    results_kept,
    view_of,
)
from paperround.runs.results import Result
from paperround.runs.tables import RunTable
from paperround.runs.worker import Worker

NOON = datetime(2026, 4, 13, 12, tzinfo=UTC)


def a_result(room, scale=Scale.QUICK, faster=2.0, events=(), **changes) -> Result:
    measured = {"kind": "measure", "claim": "faster", "value": faster, "baseline": 1.0, "seed": 0}
    options = {
        "status": "finished",
        "reason": "",
        "started_at": NOON,
        "seconds": 1.0,
        "seeds": (0,),
        "environment": {"processor": "A", "paperround": "0.1"},
        "card_sha256": room.card_sha256,
    }
    return Result.from_events(room.card, scale, [measured, *events], **{**options, **changes})


def keep(engine, result, origin=Origin.HERE, **options) -> bool:
    with write(engine) as connection:
        return keep_result(connection, result, origin, **options)


def kept(engine):
    with read(engine) as connection:
        return results_kept(connection)


def test_the_address_covers_what_was_measured_and_not_the_verdicts(make_room):
    result = a_result(make_room())
    data = result.to_json()
    data["claims"][0]["verdict"] = "falls short"
    assert Result.from_json(data).id == result.id
    for name, value in (
        ("seconds", 2.0),
        ("environment", {"processor": "B"}),
        ("started_at", (NOON + timedelta(seconds=1)).isoformat()),
        ("measurements", [{**data["measurements"][0], "value": 2.5}]),
        ("notes", ["so it is"]),
        ("card", {**data["card"], "title": "another"}),
    ):
        assert Result.from_json({**data, name: value}).id != result.id, name


def test_the_address_survives_every_way_through_json(make_room):
    room = make_room()

    @given(value=st.floats(allow_nan=False, allow_infinity=False), text=st.text(max_size=30))
    def survives(value, text):
        result = a_result(room, faster=value, events=[{"kind": "note", "text": text}])
        for ascii_only in (False, True):
            again = json.loads(json.dumps(result.to_json(), ensure_ascii=ascii_only))
            assert Result.from_json(again).id == result.id

    survives()


def test_a_record_from_before_cards_were_kept_has_an_address_too(make_room):
    data = a_result(make_room()).to_json()
    del data["card"]
    result = Result.from_json(data)
    assert result.card is None
    assert Result.from_json({**data, "card": None}).id == result.id


def test_a_result_is_kept_once_in_the_order_in_which_it_came(make_room, engine):
    room = make_room()
    late, early = a_result(room, faster=3.0), a_result(room, started_at=NOON - timedelta(days=9))
    assert keep(engine, late)
    assert keep(engine, early, Origin.IMPORTED, note="the lab")
    assert not keep(engine, late, Origin.IMPORTED)
    assert [(view.id, view.origin, view.origin_note) for view in kept(engine)] == [
        (late.id, "here", ""),
        (early.id, "imported", "the lab"),
    ]


def test_what_was_imported_and_then_ships_is_a_shipped_one(make_room, engine):
    room = make_room()
    result = a_result(room)
    keep(engine, result, Origin.IMPORTED, note="the lab")
    result.write(room.results_dir / "quick.json")
    with write(engine) as connection:
        assert keep_shipped(connection, [room]) == 0
    assert [(view.origin, view.origin_note) for view in kept(engine)] == [("shipped", "")]


def test_shipped_results_of_earlier_versions_stay(make_room, engine):
    room = make_room()
    for value in (2.0, 2.0, 1.0):
        a_result(room, faster=value).write(room.results_dir / "quick.json")
        with write(engine) as connection:
            keep_shipped(connection, [room])
    assert [view.claim("faster").verdict for view in kept(engine)] == ["holds", "falls short"]
    with read(engine) as connection:
        latest = latest_results(connection, room)[Scale.QUICK]
    assert (latest.is_shipped, latest.result.claims[0].value) == (True, 1.0)


def test_the_kept_view_is_that_of_the_record(make_room, engine):
    result = a_result(make_room(), faster=2.25)
    keep(engine, result, now=lambda: NOON)
    [view] = kept(engine)
    assert view == view_of(result, Origin.HERE, number=view.number, kept_at=NOON)


def test_a_result_is_found_by_its_id_and_by_how_it_begins(make_room, engine):
    room = make_room()
    result = a_result(room)
    keep(engine, result)
    with read(engine) as connection:
        for asked in (result.id, result.id[:8]):
            view, found = find_result(connection, asked)
            assert (view.id, found) == (result.id, result)
        with pytest.raises(NotFoundError):
            find_result(connection, "0" * 64)
        for asked in ("", "abc", result.id[:7], "%%%%%%%%", result.id.upper(), result.id + "0"):
            with pytest.raises(UsageError, match="no result's id"):
                find_result(connection, asked)


def test_an_id_that_begins_two_results_is_refused(make_room, engine):
    result = a_result(make_room())
    keep(engine, result)
    with write(engine) as connection:
        connection.execute(
            text(
                "INSERT INTO result SELECT number + 1, substr(id, 1, 63) || 'x', slug, scale, "
                "status, card_sha256, started_at, origin, origin_note, kept_at, NULL, digest, "
                "record FROM result"
            )
        )
    with read(engine) as connection, pytest.raises(UsageError, match="several"):
        find_result(connection, result.id[:40])


def test_a_shipped_result_is_found_before_anybody_has_kept_it(make_room, engine):
    room = make_room()
    result = a_result(room)
    result.write(room.results_dir / "quick.json")
    with read(engine) as connection:
        view, found = find_result(connection, result.id[:12], [room])
    assert (view.origin, found) == ("shipped", result)


def test_a_run_leaves_its_result_with_card_environment_and_assets(make_room, engine, settings):
    room = make_room("run.measure('faster', 2.0, seed=0)")
    result = Worker(engine, settings).run_now("little", Scale.QUICK, (0,), lambda event: None)
    [view] = kept(engine)
    assert (view.id, view.origin) == (result.id, "here")
    assert result.card == room.card.model_dump(mode="json", exclude_none=True)
    assert {"processor", "cores", "memory_gb", "python", "paperround"} <= set(result.environment)
    assert result.environment["room"] == "room_little 1.0"
    with read(engine) as connection:
        run = run_by_id(connection, view.run_id)
    assert (run.result_id, run.result) == (result.id, result)


def test_a_result_outlives_its_run(make_room, engine, settings):
    make_room()
    result = Worker(engine, settings).run_now("little", Scale.QUICK, (0,), lambda event: None)
    with write(engine) as connection:
        connection.execute(delete(RunTable))
    assert [(view.id, view.run_id) for view in kept(engine)] == [(result.id, None)]


def test_an_older_cards_result_is_shown_as_such_and_only_where_nothing_else_is(make_room, engine):
    room = make_room()
    keep(engine, a_result(room, faster=9.0, card_sha256="00" * 32))
    with read(engine) as connection:
        latest = latest_results(connection, room)[Scale.QUICK]
    assert (latest.is_of_older_card, latest.result.claims[0].value) == (True, 9.0)
    keep(engine, a_result(room, faster=3.0))
    with read(engine) as connection:
        latest = latest_results(connection, room)[Scale.QUICK]
    assert (latest.is_of_older_card, latest.result.claims[0].value) == (False, 3.0)


def test_a_clock_that_jumps_back_does_not_bring_an_old_result_back(make_room, engine):
    room = make_room()
    keep(engine, a_result(room, faster=9.0, started_at=NOON + timedelta(days=900)))
    keep(engine, a_result(room, faster=3.0))
    with read(engine) as connection:
        assert latest_results(connection, room)[Scale.QUICK].result.claims[0].value == 3.0


def test_an_imported_result_never_stands_for_this_machine(make_room, engine):
    room = make_room()
    keep(engine, a_result(room), Origin.IMPORTED)
    with read(engine) as connection:
        assert latest_results(connection, room) == {}


def test_a_record_that_was_changed_in_the_database_is_found(make_room, engine):
    room = make_room()
    keep(engine, a_result(room))
    spoilt = a_result(room, faster=3.0)
    keep(engine, spoilt)
    assert check_records(engine) == []
    with write(engine) as connection:
        connection.execute(
            text("UPDATE result SET record = json_set(record, '$.seconds', 0.5) WHERE id = :id"),
            {"id": spoilt.id},
        )
    [fault] = check_records(engine)
    assert fault.startswith(f"result {spoilt.id[:16]}")


def test_stages_take_what_they_took_here_before(make_room, engine):
    def stages(*seconds):
        return [
            {"kind": "stage-end", "stage": name, "seconds": s}
            for name, s in zip("ab", seconds, strict=True)
        ]

    room = make_room()
    a_result(room, events=stages(1.0, 1.0)).write(room.results_dir / "quick.json")
    with read(engine) as connection:
        shipped = typical_stages(connection, room, Scale.QUICK)
        assert [stage["seconds"] for stage in shipped] == [1.0, 1.0]
        assert typical_stages(connection, room, Scale.STANDARD) == []
    for number, took in enumerate([(90.0, 2.0), (30.0, 6.0), (10.0, 4.0)]):
        keep(engine, a_result(room, faster=2.0 + number, events=stages(*took)))
    keep(engine, a_result(room, faster=9.0, events=stages(0.0, 0.0), status="failed"))
    with read(engine) as connection:
        here = typical_stages(connection, room, Scale.QUICK)
    assert here == [{"stage": "a", "seconds": 30.0}, {"stage": "b", "seconds": 4.0}]


def test_records_of_an_earlier_schema_move_with_their_address(make_room, tmp_path):
    room = make_room()
    engine = connect(f"sqlite:///{tmp_path / 'old.sqlite3'}")
    config = Config()
    config.set_main_option("script_location", str(Path(paperround.migrations.__file__).parent))
    with write(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
    result = a_result(room)
    with write(engine) as connection:
        row = {"slug": "little", "scale": "quick", "seeds": [0], "state": "finished"}
        for number, (ended, record) in enumerate(
            [(NOON, a_result(room, faster=4.0)), (NOON - timedelta(days=1), result), (None, None)]
        ):
            values = {**row, "id": str(number), "queued_at": NOON, "ended_at": ended}
            connection.execute(insert(RunTable), values)
            connection.execute(
                text("UPDATE run SET result = :record WHERE id = :id"),
                {"id": str(number), "record": record and json.dumps(record.to_json())},
            )
    migrate(engine)
    views = kept(engine)
    assert [view.run_id for view in views] == ["1", "0"]
    assert views[0] == view_of(
        result, Origin.HERE, number=1, kept_at=NOON - timedelta(days=1), run_id="1"
    )
    with read(engine) as connection:
        assert find_result(connection, result.id)[1] == result
    engine.dispose()
