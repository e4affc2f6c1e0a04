"""The record of a run survives the disk, and nothing else passes for one."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import CardError
from paperround.runs.card import Bar, Card, Scale
from paperround.runs.results import Result, read_result, shipped_results

BARS = {"quick": {"at_least": 1.5, "aggregate": "min"}, "standard": {"not_measured": "no time"}}
CARD = Card.model_validate(
    {
        "slug": "little",
        "paper": "2601.00001",
        "title": "A little paper",
        "family": "tests",
        "summary": "s",
        "names": ["nothing"],
        "use": "import math",
        "scales": {scale: {"about": "a moment"} for scale in Scale},
        "claims": [
            {
                "id": name,
                "says": "It is.",
                "metric": "times",
                "reported": reported,
                "baseline": "doing nothing",
                "where": "Table 1",
                "bars": BARS,
            }
            for name, reported in (("faster", 3.1), ("smaller", "about half"), ("better", None))
        ],
    }
)

numbers = st.floats(allow_nan=False, allow_infinity=False)
measurements = st.builds(
    lambda claim, value, baseline, seed: {
        "kind": "measure",
        "claim": claim,
        "value": value,
        "baseline": baseline,
        "seed": seed,
    },
    st.sampled_from(["faster", "smaller", "better"]),
    numbers,
    st.none() | numbers,
    st.none() | st.sampled_from([0, 1, 2]),
)
others = st.sampled_from(
    [
        {"kind": "stage", "stage": "a", "total": 3},
        {"kind": "progress", "stage": "a", "done": 1, "total": 3},
        {"kind": "stage-end", "stage": "a", "seconds": 1.5},
        {"kind": "asset", "name": "ml-1m", "sha256": "ab"},
        {"kind": "table", "title": "T", "columns": ["a"], "rows": [[1], [None]], "note": ""},
        {"kind": "sample", "title": "S", "parts": [{"label": "a", "text": "ü"}], "note": ""},
        {"kind": "note", "text": "so it is"},
    ]
)
results = st.builds(
    lambda events, status, seconds, scale: Result.from_events(
        CARD,
        scale,
        events,
        status=status,
        reason="" if status == "finished" else "why",
        started_at=datetime(2026, 4, 13, 7, 30, tzinfo=UTC),
        seconds=seconds,
        seeds=(0, 1, 2),
        environment={"cores": 2, "versions": {"torch": "2.13"}},
        card_sha256="ab" * 32,
    ),
    st.lists(measurements | others, max_size=12),
    st.sampled_from(["finished", "failed", "cancelled", "lost"]),
    st.floats(0, 1e6),
    st.sampled_from(Scale),
)


@given(results)
def test_a_result_comes_back_from_json_as_it_went(result):
    assert Result.from_json(json.loads(json.dumps(result.to_json()))) == result


@given(results)
def test_only_a_finished_run_has_verdicts_and_holds(result):
    if result.status != "finished":
        assert set(result.verdicts.values()) == {"not measured"}
        assert not result.holds
    assert len(result.claims) == 3


@given(results)
def test_a_line_has_the_keys_of_the_contract(result):
    line = result.line()
    assert {"paper", "slug", "scale", "status", "seconds", "claims", "environment"} <= set(line)
    keys = {"id", "says", "reported", "baseline", "measured", "value", "bar", "verdict", "seeds"}
    assert keys <= set(line["claims"][0])
    assert "\n" not in json.dumps(line)


def a_result(**changes: object) -> Result:
    options: dict[str, object] = {
        "status": "finished",
        "reason": "",
        "started_at": datetime(2026, 4, 13, tzinfo=UTC),
        "seconds": 1.0,
        "seeds": (0,),
        "environment": {},
        "card_sha256": "ab" * 32,
    }
    events = [{"kind": "measure", "claim": "faster", "value": 2.0, "baseline": 1.0, "seed": 0}]
    return Result.from_events(CARD, Scale.QUICK, events, **{**options, **changes})


def test_a_result_is_written_whole_and_read_back(tmp_path):
    path = tmp_path / "results" / "quick.json"
    a_result().write(path)
    assert read_result(path) == a_result()
    assert [found.name for found in path.parent.iterdir()] == ["quick.json"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", '"text"', "{}", '{"format": 2}', '{"format": 1}', '{"format": 1, "x": 1}'],
)
def test_what_is_no_result_is_refused_with_its_file(tmp_path, text):
    path = tmp_path / "quick.json"
    path.write_text(text)
    with pytest.raises(CardError, match=r"quick\.json: not a result"):
        read_result(path)


def test_a_result_with_an_edited_field_that_cannot_be_is_refused(tmp_path):
    path = tmp_path / "quick.json"
    a_result().write(path)
    data = json.loads(path.read_text())
    data["claims"][0]["verdict"] = "holds, honestly"
    path.write_text(json.dumps(data))
    with pytest.raises(CardError, match="not a result"):
        read_result(path)


def test_a_room_ships_the_results_that_lie_in_it(make_room):
    room = make_room()
    assert shipped_results(room) == {}
    a_result().write(room.results_dir / "quick.json")
    assert shipped_results(room) == {Scale.QUICK: a_result()}


def test_a_bar_in_a_result_keeps_what_it_said():
    result = Result.from_json(json.loads(json.dumps(a_result().to_json())))
    assert result.claims[0].bar == Bar(at_least=1.5, aggregate="min")
