"""What a reproduction may say, and what it is told when it says nonsense."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import CardError
from paperround.runs.card import Card, Scale
from paperround.runs.events import EVENT_LIMIT_BYTES, read_event
from paperround.runs.images import png_of
from paperround.runs.reproduction import Run

ANY_CARD = Card.model_validate(
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
                "id": "faster",
                "says": "It is faster.",
                "metric": "times",
                "baseline": "doing nothing",
                "where": "Table 1",
                "bars": {"quick": {"at_least": 1}, "standard": {"at_least": 1}},
            }
        ],
    }
)
PNG = png_of([[0.0, 1.0]])


@pytest.fixture
def card(make_room):
    return make_room().card


@pytest.fixture
def events():
    return []


@pytest.fixture
def run(card, events, tmp_path):
    return Run(card, Scale.QUICK, (0, 1, 2), tmp_path, events.append)


def test_a_measurement_carries_claim_value_baseline_and_seed(run, events):
    run.measure("faster", 3, baseline=2, seed=1)
    expected = {"kind": "measure", "claim": "faster", "value": 3.0, "baseline": 2.0, "seed": 1}
    assert events == [expected]


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("unknown", 1.0), {}, "no claim 'unknown'"),
        (("faster", math.nan), {}, "the value of 'faster' is nan"),
        (("faster", math.inf), {}, "the value of 'faster' is inf"),
        (("faster", 1.0), {"baseline": math.nan}, "the baseline of 'faster' is nan"),
        (("faster", 1.0), {"seed": 3}, "names seed 3, not one of the run's"),
    ],
)
def test_a_measurement_that_means_nothing_is_refused(run, events, arguments, options, says):
    with pytest.raises(CardError, match=says):
        run.measure(*arguments, **options)
    assert events == []


def test_numbers_of_numpy_are_numbers(run, events):
    with run.stage("count", total=np.int64(2)) as stage:
        stage.advance(np.int64(2))
    run.measure("faster", np.float32(1.5), baseline=np.int64(1), seed=np.int64(2))
    run.table("T", ["a", "b"], [[np.float64(1.5), np.int64(2)]])
    assert json.loads(json.dumps(events)) == events


def test_a_stage_that_advances_often_sends_its_first_and_last_step(run, events):
    with run.stage("count", total=100_000) as stage:
        for _ in range(100_000):
            stage.advance()
    progress = [event["done"] for event in events if event["kind"] == "progress"]
    assert progress[0] == 1
    assert progress[-1] == 100_000
    assert len(progress) < 1_000
    assert [event["kind"] for event in (events[0], events[-1])] == ["stage", "stage-end"]


def test_a_cell_that_is_no_number_is_empty_and_an_uneven_row_is_refused(run, events):
    run.table("T", ["name", "value"], [["a", math.nan], [None, True]])
    assert events[0]["rows"] == [["a", None], [None, True]]
    with pytest.raises(CardError, match="does not have 2 cells"):
        run.table("T", ["name", "value"], [["a"]])


def test_a_chart_with_a_point_that_is_not_finite_is_refused(run):
    with pytest.raises(CardError, match="the line 'ours' has a point that is not finite"):
        run.series("T", {"ours": [(1, math.inf)]}, x_label="x", y_label="y")


def test_a_sample_is_text_or_a_png(run, events):
    run.sample("S", {"before": "a", "after": PNG})
    assert events[0]["parts"][0] == {"label": "before", "text": "a"}
    with pytest.raises(CardError, match="bytes but not a PNG"):
        run.sample("S", {"after": b"GIF89a"})


def test_an_asset_that_the_card_does_not_name_is_refused(run):
    with pytest.raises(CardError, match="does not name the asset 'ml-1m' at quick"):
        run.asset("ml-1m")


def test_every_kind_of_event_passes_the_check_where_it_arrives(run, card, events):
    with run.stage("count", total=2) as stage:
        stage.advance(2)
    with run.stage("no total"):
        pass
    run.measure("faster", 1.5, seed=0)
    run.table("T", ["a", "b", "c"], [[1, 1.5, "x"], [None, False, ""]], note="n")
    run.series("C", {"ours": [(1, 2)], "none": []}, x_label="x", y_label="y", x_log=True)
    run.sample("S", {"before": "a\x00\ud83d\ude00", "after": PNG})
    run.note("ä")
    assert {event["kind"] for event in events} == {
        "stage",
        "progress",
        "stage-end",
        "measure",
        "table",
        "series",
        "sample",
        "note",
    }
    for event in events:
        line = json.dumps(event).encode()
        read = read_event(line, card, run.seeds)
        # A pair of surrogates is one character once it has been through JSON.
        assert read == json.loads(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from(["claim", "value", "seed", "stage", "rows"]), json_values)
kinds = st.sampled_from(["measure", "stage", "progress", "table", "series", "sample", "end"])


@given(
    line=st.binary(max_size=200)
    | json_values.map(lambda value: json.dumps(value).encode())
    | st.builds(lambda kind, rest: json.dumps({**rest, "kind": kind}).encode(), kinds, fields)
)
def test_any_line_is_an_event_or_refused_in_one_line(line):
    try:
        event = read_event(line, ANY_CARD, (0, 1, 2))
    except CardError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(event["kind"], str)


def test_a_huge_event_is_refused():
    with pytest.raises(CardError, match="larger than 4 MB"):
        read_event(b" " * (EVENT_LIMIT_BYTES + 1), ANY_CARD, ())


def test_half_a_character_is_refused(card):
    with pytest.raises(CardError, match="a broken event"):
        read_event(b'{"kind": "note", "text": "\\ud800"}', card, ())
