"""A room's README as safe HTML."""

from hypothesis import given
from hypothesis import strategies as st

from paperround.web.readme import readme_html


def test_the_first_heading_goes_and_the_others_come_below_the_pages_own() -> None:
    html = readme_html("# Name\n\nText.\n\n## Part\n\n### Detail\n")
    assert "Name" not in html
    assert "<h3>Part</h3>" in html
    assert "<h4>Detail</h4>" in html


def test_links_lead_to_the_web_or_nowhere() -> None:
    html = readme_html(
        "[a](https://example.org) [b](method.py) [c](javascript:alert(1)) [d](//evil.example)"
    )
    assert 'href="https://example.org"' in html
    assert "method.py" not in html
    assert html.count("href") == 1


def test_html_in_markdown_is_text() -> None:
    html = readme_html('<script>alert(1)</script>\n\n<img src=x onerror="alert(1)">\n\n<b>bold</b>')
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>" not in html


def test_maths_and_code_keep_their_source() -> None:
    html = readme_html("An $x < y$ and\n\n$$\na^2\n$$\n\n```python\nx < y\n```\n")
    assert 'data-tex="x &lt; y"' in html
    assert 'data-tex="a^2"' in html
    assert "<code>x &lt; y\n</code>" in html


@given(st.text(max_size=300))
def test_any_markdown_is_without_scripts(text: str) -> None:
    html = readme_html(text).lower()
    for forbidden in ("<script", "<style", "<img", "<iframe", "<svg", "<object"):
        assert forbidden not in html
