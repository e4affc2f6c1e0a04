"""Charts are elements for a page with a strict policy, the same each time, and never a crash."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paperround.runs import charts
from paperround.runs.card import Scale
from paperround.runs.charts import COLOURS, chart_svg, charts_of
from paperround.runs.results import Result

SVG = "{http://www.w3.org/2000/svg}"


def a_series(**changes):
    event = {
        "title": "Speed <of> $x$ & more",
        "lines": {"ours": [[1.0, 1.0], [10.0, 3.5]], "<script>": [[1.0, 1.0], [20.0, 1.2]]},
        "x_label": "tokens",
        "y_label": "seconds",
        "x_log": False,
        "y_log": False,
        "note": "so it is",
    }
    return {**event, **changes}


def a_result(room, *series):
    return Result.from_events(
        room.card,
        Scale.QUICK,
        [{"kind": "series", **event} for event in series],
        status="finished",
        reason="",
        started_at=datetime(2026, 4, 13, tzinfo=UTC),
        seconds=1.0,
        seeds=(0,),
        environment={},
        card_sha256="ab" * 32,
    )


def test_a_chart_has_a_name_a_description_and_its_text_as_text():
    root = ElementTree.fromstring(chart_svg(a_series()))
    assert root.attrib["role"] == "img"
    ids = root.attrib["aria-labelledby"].split()
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert ids == [title.attrib["id"], desc.attrib["id"]]
    assert title.text == "Speed <of> $x$ & more"
    assert "ours: from 1 at 1 to 3.5 at 10." in desc.text
    texts = {element.text for element in root.iter(f"{SVG}text")}
    assert {"tokens", "seconds", "ours", "<script>"} <= texts


def test_a_chart_passes_a_strict_policy_and_takes_the_pages_size_and_colours():
    svg = chart_svg(a_series())
    root = ElementTree.fromstring(svg)
    assert {"width", "height"}.isdisjoint(root.attrib)
    assert "viewBox" in root.attrib
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags <= {"svg", "title", "desc", "g", "defs", "path", "use", "text", "clipPath", "rect"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not names & {"style", "class", "font-family"}
    assert not any(name.startswith("on") for name in names)
    paints = {e.attrib[k] for e in root.iter() for k in ("fill", "stroke") if k in e.attrib}
    lines = {f"var(--chart-{n}, {colour})" for n, colour in enumerate(COLOURS[:2], 1)}
    assert paints == {"none", "currentColor"} | lines
    # Nothing is fetched from anywhere: the only addresses are within the chart.
    assert all(ref.startswith("#chart-") for ref in re.findall(r'href="([^"]*)"', svg))


def test_two_charts_on_one_page_share_no_id_and_every_reference_has_its_target():
    one, other = (chart_svg(a_series(title=title)) for title in ("one", "other"))
    ids = [re.findall(r'\bid="([^"]*)"', svg) for svg in (one, other)]
    assert len(set(ids[0])) == len(ids[0])
    assert not set(ids[0]) & set(ids[1])
    references = re.findall(r'(?:href="#|url\(#)([^")]*)', one)
    assert references
    assert set(references) <= set(ids[0])


def test_equal_events_give_equal_charts_in_any_process():
    event = a_series()
    code = "import json, sys; from paperround.runs.charts import chart_svg; "
    code += "sys.stdout.buffer.write(chart_svg(json.loads(sys.argv[1])).encode())"
    command = [sys.executable, "-c", code, json.dumps(event)]
    elsewhere = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    assert chart_svg(event) == elsewhere


def test_colours_are_three_to_one_on_white_and_on_near_black():
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one: str, other: str) -> float:
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    assert all(contrast(c, ground) >= 3 for c in COLOURS for ground in ("#ffffff", "#1a1a1a"))


@pytest.mark.parametrize(
    "changes",
    [
        {"lines": {}},
        {"lines": {"empty": []}},
        {"lines": {"one point": [[1.0, 1.0]]}},
        {"lines": {"flat": [[1.0, 2.0], [1.0, 2.0]]}, "y_log": True},
        {"lines": {"never positive": [[0.0, -1.0]]}, "x_log": True, "y_log": True},
        {"lines": {"huge": [[1e-90, 1e90], [1e90, 1e-90]]}, "x_log": True, "y_log": True},
        {"lines": {f"line {n}": [[1.0, float(n)], [2.0, 1.0]] for n in range(30)}},
        {"lines": {"long": [[float(n), float(n * n)] for n in range(5_000)]}},
        {"title": "\x00\x1b", "x_label": "", "y_label": "long words " * 40},
    ],
)
def test_odd_charts_are_drawn_all_the_same(changes):
    root = ElementTree.fromstring(chart_svg(a_series(**changes)))
    assert root.tag == f"{SVG}svg"


@hypothesis_settings(max_examples=10, deadline=None)
@given(
    lines=st.dictionaries(
        st.text(max_size=20),
        st.lists(st.tuples(*[st.floats(-(2.0**40), 2.0**40, width=32)] * 2), max_size=5),
        max_size=3,
    ),
    label=st.text(max_size=30),
    logs=st.tuples(st.booleans(), st.booleans()),
)
def test_any_labels_and_points_make_a_document(lines, label, logs):
    event = a_series(lines=lines, title=label, x_label=label, x_log=logs[0], y_log=logs[1])
    ElementTree.fromstring(chart_svg(event))


def test_points_that_a_logarithmic_axis_cannot_show_are_told_of():
    event = a_series(lines={"ours": [[1.0, 0.0], [2.0, 3.0]]}, y_log=True)
    assert "Not on the logarithmic axis: 1 point at or below zero." in chart_svg(event)


def test_a_line_whose_name_begins_with_an_underscore_is_in_the_legend():
    assert ">_ours<" in chart_svg(a_series(lines={"_ours": [[1.0, 1.0]]}))


def test_the_table_of_a_chart_has_every_number(make_room, settings):
    [chart] = charts_of(a_result(make_room(), a_series()), settings)
    assert chart.columns == ("tokens", "ours", "<script>")
    assert chart.rows == ((1.0, 1.0, 1.0), (10.0, 3.5, None), (20.0, None, 1.2))
    assert (chart.title, chart.note) == ("Speed <of> $x$ & more", "so it is")


def test_charts_are_drawn_once_in_another_process(make_room, settings, monkeypatch):
    result = a_result(make_room(), a_series(), a_series(title="two"))
    first = charts_of(result, settings)
    assert all(chart.svg.startswith("<svg") for chart in first)

    def forbidden(*_, **__):
        raise AssertionError("drawn again")

    monkeypatch.setattr(charts, "_draw_elsewhere", forbidden)
    assert charts_of(result, settings) == first


def test_a_chart_that_cannot_be_drawn_leaves_its_table_and_the_other_charts(make_room, settings):
    # No axis can hold this; the event's check and `run.series` both refuse it.
    broken = a_series(title="broken", lines={"ours": [["one", "two", "three"]]})
    result = a_result(make_room(), broken, a_series())
    drawn = charts._draw_all(result.series)
    assert ["error" in chart for chart in drawn] == [True, False]


def test_importing_charts_does_not_import_matplotlib():
    code = "import sys, paperround.runs.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
