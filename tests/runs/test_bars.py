"""A table's numbers as bars: drawn where they say something, with names and a description."""

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.runs import bars
from paperround.runs.charts import chart_svg, draw_bars

SVG = "{http://www.w3.org/2000/svg}"
TABLE = {
    "title": "Where the time goes",
    "columns": ["model", "method", "seconds", "tokens", "same"],
    "rows": [
        ["A", "greedy", 2.0, 100, True],
        ["A", "copying", 1.0, 100, True],
        ["B", "greedy", None, 50, True],
    ],
    "note": "",
}


def test_columns_of_numbers_are_panels_and_columns_of_words_are_names():
    assert bars.number_columns(TABLE) == [2, 3]
    root = ElementTree.fromstring(chart_svg(TABLE))
    said = {text.text for text in root.iter(f"{SVG}text")}
    assert {"A · greedy", "A · copying", "B · greedy", "seconds", "tokens"} <= said
    description = root.findtext(f"{SVG}desc")
    assert "seconds: from 1 (A · copying) to 2 (A · greedy)." in description
    assert root.findtext(f"{SVG}title") == "Where the time goes"
    assert "style=" not in chart_svg(TABLE)


@pytest.mark.parametrize(
    "changes",
    [
        {"rows": TABLE["rows"][:1]},
        {"rows": TABLE["rows"] * 6},
        {"columns": ["a"], "rows": [["x"], ["y"]]},
        {"columns": ["a", "b"], "rows": [["x", "1"], ["y", "2"]]},
        {"columns": ["a", "b"], "rows": [[None, 1], [2.5, 2]]},
        {"columns": [], "rows": [[], []]},
    ],
)
def test_a_table_of_which_bars_say_nothing_is_not_drawn(changes):
    assert not bars.can_be_drawn({**TABLE, **changes})


def test_a_first_column_of_numbers_names_the_rows():
    table = {**TABLE, "columns": ["length", "s"], "rows": [[100, 1.0], [200, 4.0]]}
    assert bars.number_columns(table) == [1]
    assert "length 200" in bars.description(table)


def test_bars_stand_beside_their_tables(make_room, settings):
    words = {**TABLE, "columns": ["a"], "rows": [["x"], ["y"]]}
    none, drawn = draw_bars([words, TABLE], settings)
    assert none is None
    assert drawn == chart_svg(TABLE)
    assert len(set(re.findall(r' id="([^"]+)"', drawn))) == len(re.findall(r' id="', drawn))


cells = st.none() | st.integers(-9, 9) | st.floats(-1e6, 1e6) | st.text(max_size=5) | st.booleans()


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.tuples(
            st.lists(st.text(max_size=4), min_size=n, max_size=n),
            st.lists(st.lists(cells, min_size=n, max_size=n), max_size=5),
        )
    )
)
def test_any_table_is_drawn_or_is_not(table):
    event = {"title": "T", "columns": table[0], "rows": table[1], "note": ""}
    if bars.can_be_drawn(event):
        ElementTree.fromstring(chart_svg(event))
