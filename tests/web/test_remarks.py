"""Comments as HTML: nothing of a stranger's runs, calls or breaks out, whatever it is."""

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.web.remarks import remark_html

ALLOWED = {
    *("p", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong", "a", "table", "thead"),
    *("tbody", "tr", "th", "td", "hr", "br", "span", "div", "del", "h3", "h4", "h5", "h6"),
}


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def check(html: str) -> None:
    for tag, attributes in Tags(html).found:
        assert tag in ALLOWED
        for name, value in attributes.items():
            assert name in ("href", "title", "rel", "class", "data-tex", "tabindex", "start")
            if name == "href":
                assert (value or "").startswith(("http://", "https://", "mailto:", "/papers/"))
                assert not (value or "").startswith("/papers/..")
            if name == "class":
                assert value in ("math", "scroll")


ATTACKS = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](https://tracker.example/pixel.png)",
    "[x](javascript:alert(1))",
    "[x](  JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](//evil.example)",
    "[x](/me/delete)",
    "[x](/papers/../me/delete)",
    '[x](https://a.example "onmouseover=alert(1)")',
    "<a href='https://a' style='position:fixed'>x</a>",
    "$<img src=x onerror=alert(1)>$",
    '$"><script>alert(1)</script>$',
    "`</code><script>alert(1)</script>`",
    "```\n</pre><script>alert(1)</script>\n```",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x'>",
    "# A heading that would break the outline",
    "x\n===",
    "> " * 300 + "deep",
    "[" * 2000,
    "*" * 2000 + "a",
    "$" * 2001,
)


@pytest.mark.parametrize("source", ATTACKS)
def test_an_attack_leaves_words_alone(source: str) -> None:
    html = str(remark_html(source, (("2606.00001", "2606.00001"),)))
    check(html)
    assert "<h" not in html.replace("<hr", "")


@given(st.text(max_size=300))
def test_any_text_becomes_html_of_the_allowed_kind(source: str) -> None:
    check(str(remark_html(source, (("2606.00001", "2606.00001"),))))


def test_markdown_maths_and_links_come_out_as_meant() -> None:
    html = str(remark_html("*So* $x < y$ and [there](https://a.example/b)"))
    assert "<em>So</em>" in html
    assert '<span class="math" data-tex="x &lt; y">x &lt; y</span>' in html
    assert 'href="https://a.example/b"' in html
    assert 'rel="noopener noreferrer nofollow ugc"' in html


def test_a_mention_is_a_link_but_not_in_code_or_in_a_link() -> None:
    mentions = (("2606.00002v2", "2606.00002"), ("acl-x1", "acl-x1"))
    html = str(remark_html("See arXiv:2606.00002v2, /papers/acl-x1 and `acl-x1`.", mentions))
    assert html.count("<a ") == 2
    assert '<a href="/papers/2606.00002" rel="noopener noreferrer nofollow ugc">arXiv:2606' in html
    html = str(remark_html("[acl-x1](https://a.example)", mentions))
    assert html.count("<a ") == 1
