"""Badges are documents of their own that say the same in words as in colour."""

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.web.badges import COLOURS, badge_svg

SVG = "{http://www.w3.org/2000/svg}"
printable = st.text(st.characters(exclude_categories=("Cc", "Cs", "Cn")), min_size=1, max_size=40)


@given(printable, printable, st.sampled_from(sorted(COLOURS)))
def test_any_words_make_a_document_that_says_them(label: str, message: str, state: str) -> None:
    try:
        root = ElementTree.fromstring(badge_svg(label, message, state))
    except ElementTree.ParseError:
        # Signs that XML does not have at all.
        assert any(ord(letter) in (0xFFFE, 0xFFFF) for letter in label + message)
        return
    assert root.attrib["aria-label"] == f"{label}: {message}"
    assert root.findtext(f"{SVG}title") == f"{label}: {message}"
    assert [text.text for text in root.iter(f"{SVG}text")] == [label, message]
    assert not any("style" in element.attrib for element in root.iter())


@pytest.mark.parametrize("colour", COLOURS.values())
def test_white_words_are_legible_on_each_colour(colour: str) -> None:
    def channel(value: int) -> float:
        share = value / 255
        return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4

    red, green, blue = (channel(int(colour[i : i + 2], 16)) for i in (1, 3, 5))
    assert 1.05 / (0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05) >= 4.5
