"""A room's README as safe HTML: Markdown with maths, cleaned by an allow-list."""

import html
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup
from mdit_py_plugins.dollarmath import dollarmath_plugin

_TAGS = {
    *("p", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em", "strong"),
    *("a", "table", "thead", "tbody", "tr", "th", "td", "hr", "br", "span", "div", "del"),
}
_ATTRIBUTES = {
    "a": {"href", "title"},
    "span": {"class", "data-tex"},
    "pre": {"tabindex"},
    "div": {"class", "tabindex"},
    "ol": {"start"},
}
_CLASSES = {"math", "scroll"}
_PAPER = re.compile(r"/papers/(?!.*\.\.)[A-Za-z0-9._:/-]{1,120}")


@lru_cache(maxsize=256)
def readme_html(source: str) -> Markup:
    """The Markdown as HTML below the page's own `h1` and `h2`; scripts, styles, images are gone."""
    tokens = _markdown().parse(source)
    # The first heading repeats the page's title.
    if len(tokens) > 2 and tokens[0].type == "heading_open" and tokens[0].tag == "h1":
        tokens = tokens[3:]
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(max(int(token.tag[1]) + 1, 3), 6)}"
    rendered = _markdown().renderer.render(tokens, _markdown().options, {})
    return cleaned(rendered)


def cleaned(
    rendered: str, *, link_rel: str = "noopener noreferrer", links_to_papers: bool = False
) -> Markup:
    """The HTML with nothing left but what the allow-list names.

    `links_to_papers` keeps links to papers of this site; other local addresses go.
    """

    def keep(tag: str, name: str, value: str) -> str | None:
        if name == "class":
            return value if value in _CLASSES else None
        # A link to a neighbouring file leads nowhere on the site.
        if name == "href" and not value.startswith(("http://", "https://", "mailto:")):
            return value if links_to_papers and _PAPER.fullmatch(value) else None
        return value

    safe = nh3.clean(
        rendered,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=keep,
        url_schemes={"http", "https", "mailto"},
        link_rel=link_rel,
    )
    return Markup(safe)  # noqa: S704  (cleaned by the line above)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    return maths_markdown()


def maths_markdown() -> MarkdownIt:
    """CommonMark with tables, struck-out words and maths; no HTML of its writer's."""
    markdown = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    markdown.use(dollarmath_plugin, double_inline=True)
    rules: dict[str, Callable[..., str]] = {
        "math_inline": _maths,
        "math_inline_double": _maths,
        "math_block": _maths_block,
        "fence": _code,
        "code_block": _code,
        "table_open": lambda *_: '<div class="scroll" tabindex="0"><table>',
        "table_close": lambda *_: "</table></div>",
    }
    markdown.renderer.rules.update(rules)  # type: ignore[attr-defined]
    return markdown


def _maths(tokens: Sequence[Token], index: int, *_: Any) -> str:
    source = html.escape(tokens[index].content.strip())
    return f'<span class="math" data-tex="{source}">{source}</span>'


def _maths_block(tokens: Sequence[Token], index: int, *_: Any) -> str:
    return f"<p>{_maths(tokens, index)}</p>"


def _code(tokens: Sequence[Token], index: int, *_: Any) -> str:
    return f'<pre tabindex="0"><code>{html.escape(tokens[index].content)}</code></pre>\n'
