"""Comments as pages show them: Markdown with maths as safe HTML, answers below their question."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from paperround.readers.comments import may_see
from paperround.readers.records import Comment, Reader
from paperround.web.readme import cleaned, maths_markdown

# Deeper answers stand at this depth too: a phone has no room for more.
MAX_DEPTH = 4


@dataclass(frozen=True)
class Shown:
    """A comment in its thread; `html` is empty where it is gone, or hidden from who looks."""

    comment: Comment
    depth: int
    html: Markup
    is_own: bool


def thread(comments: Sequence[Comment], reader: Reader | None) -> list[Shown]:
    """The comments as they are read: each followed by its answers, the earlier first."""
    answers: dict[int | None, list[Comment]] = {}
    known = {comment.id for comment in comments}
    for comment in comments:
        parent = comment.parent_id if comment.parent_id in known else None
        answers.setdefault(parent, []).append(comment)
    shown = []
    waiting = [(comment, 0) for comment in reversed(answers.get(None, []))]
    while waiting:
        comment, depth = waiting.pop()
        shown.append(show(comment, reader, min(depth, MAX_DEPTH)))
        waiting += [(answer, depth + 1) for answer in reversed(answers.get(comment.id, []))]
    return shown


def show(comment: Comment, reader: Reader | None, depth: int = 0) -> Shown:
    """One comment as this reader sees it."""
    is_own = reader is not None and reader.id == comment.reader_id
    visible = not comment.is_gone and may_see(comment, reader)
    html = remark_html(comment.text, tuple(comment.mentions.items())) if visible else Markup("")
    return Shown(comment, depth, html, is_own)


@lru_cache(maxsize=2048)
def remark_html(source: str, mentions: tuple[tuple[str, str], ...] = ()) -> Markup:
    """The Markdown as HTML without headings and images; `mentions` become links to their papers."""
    markdown = _markdown()
    tokens = markdown.parse(source)
    if mentions:
        _link_mentions(tokens, dict(mentions))
    rendered = markdown.renderer.render(tokens, markdown.options, {})
    return cleaned(rendered, link_rel="noopener noreferrer nofollow ugc", links_to_papers=True)


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    # Headings would break into the page's outline, images would call other servers.
    return maths_markdown().disable(["heading", "lheading", "image"])


def _link_mentions(tokens: Sequence[Token], mentions: Mapping[str, str]) -> None:
    names = "|".join(re.escape(name) for name in sorted(mentions, key=len, reverse=True))
    written = re.compile(rf"(?<![\w.-])(?:arXiv:|/papers/)?({names})(?!\w)")
    for token in tokens:
        if token.type != "inline" or not token.children:
            continue
        children: list[Token] = []
        inside_link = 0
        for child in token.children:
            inside_link += {"link_open": 1, "link_close": -1}.get(child.type, 0)
            if child.type != "text" or inside_link:
                children.append(child)
                continue
            end = 0
            for found in written.finditer(child.content):
                children.append(_text(child.content[end : found.start()]))
                opening = Token("link_open", "a", 1)
                opening.attrs["href"] = f"/papers/{mentions[found[1]]}"
                children += [opening, _text(found[0]), Token("link_close", "a", -1)]
                end = found.end()
            children.append(_text(child.content[end:]))
        token.children = children


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)
