"""LaTeX in titles and abstracts: maths apart from words, cut and escaped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.catalogue.text import plain_text
from paperround.web.tex import Piece, as_html, beginning, marked_html, pieces, within


def sources(text: str) -> list[str]:
    return [part.source for part in pieces(text, plain_text(text)) if part.source is not None]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no maths", []),
        ("$x$", ["x"]),
        (r"an $O(n \log n)$ sort", [r"O(n \log n)"]),
        (r"\(a\) and \[b\] and $$c$$", ["a", "b", "c"]),
        ("between $5 and $10", []),
        ("costs $5 million", []),
        (r"\$x\$", []),
        ("$a$-$b$", ["a", "b"]),
        ("$ x $", []),
        ("an open $x", []),
    ],
)
def test_maths_is_found_and_money_is_not(text: str, expected: list[str]) -> None:
    assert sources(text) == expected


def test_spaces_around_maths_stay() -> None:
    html = as_html(pieces("at $x$ and $y$", "at x and y"))
    assert html.startswith('at <span class="math" data-tex="x">')
    assert "</span> and <span" in html


def test_html_is_escaped_in_words_and_in_maths() -> None:
    html = as_html((Piece("<b>"), Piece("<i>", '"<script>')))
    assert html == '&lt;b&gt;<span class="math" data-tex="&#34;&lt;script&gt;">&lt;i&gt;</span>'


def test_a_beginning_is_cut_between_words_and_never_within_maths() -> None:
    parts = (Piece("one two three "), Piece("xxxxxxxx", "x"), Piece(" four"))
    assert beginning(parts, 100) == parts
    assert beginning(parts, 9) == (Piece("one two"), Piece("…"))
    assert beginning(parts, 16) == (Piece("one two three "), Piece("…"))


@given(st.text(max_size=200))
def test_any_text_becomes_escaped_html(text: str) -> None:
    html = str(as_html(pieces(text, plain_text(text))))
    without = html.replace('<span class="math" data-tex="', "").replace("</span>", "")
    assert "<" not in without


@given(st.text(alphabet="a $\\()[]{}x_^1", max_size=60), st.integers(0, 80))
def test_a_beginning_is_never_longer_than_asked(text: str, length: int) -> None:
    parts = beginning(pieces(text, plain_text(text)), length)
    assert sum(len(part.text) for part in parts) <= length + 1


def test_words_are_marked_beside_maths_and_maths_as_a_whole() -> None:
    parts = pieces("Beams of $n$ beams, $O(n)$", "Beams of n beams, O(n)")
    assert marked_html(parts, {"beams", "O"}) == (
        'Beams of <span class="math" data-tex="n">n</span> <mark>beams</mark>, '
        '<mark><span class="math" data-tex="O(n)">O(n)</span></mark>'
    )
    assert marked_html(parts, ()) == as_html(parts)


def test_a_stretch_keeps_the_maths_that_it_holds_whole() -> None:
    parts = (Piece("one two "), Piece("x+y", "x + y"), Piece(" three"))
    assert within(parts, "two x+y th") == (Piece("two "), Piece("x+y", "x + y"), Piece(" th"))
    assert within(parts, "two x+") == (Piece("two "), Piece("x+"))
    assert within(parts, "four") is None


@given(st.text(max_size=100), st.sets(st.text(max_size=4)))
def test_marking_changes_no_word(text: str, marks: set[str]) -> None:
    parts = pieces(text, plain_text(text))
    marked = str(marked_html(parts, marks))
    assert marked.replace("<mark>", "").replace("</mark>", "") == str(as_html(parts))


@given(st.text(alphabet="a $x_1", max_size=60), st.data())
def test_any_stretch_is_made_of_the_parts(text: str, data: st.DataObject) -> None:
    parts = pieces(text, plain_text(text))
    whole = "".join(part.text for part in parts)
    start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    found = within(parts, whole[start:end])
    assert found is not None
    assert "".join(part.text for part in found) == whole[start:end]
