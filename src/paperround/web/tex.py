"""LaTeX in titles and abstracts, as HTML that reads well with and without JavaScript.

The server writes readable plain words and keeps the source beside them; `reading.js` lets KaTeX
replace the words where JavaScript runs.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from markupsafe import Markup, escape

from paperround.catalogue.text import plain_text
from paperround.discovery.query_language import WORD

# A dollar sign opens maths as in Pandoc: no space after it, none before the closing one, and no
# digit after that, so that "between $5 and $10" stays money.
_MATHS = re.compile(
    r"(?<!\\)\$\$(?P<display>.+?)\$\$"
    r"|(?<![\\$])\$(?!\s)(?P<inline>[^$]*?[^\s\\$])\$(?!\d)"
    r"|\\\((?P<round>.+?)\\\)"
    r"|\\\[(?P<square>.+?)\\\]",
    re.DOTALL,
)
_HAS_MATHS = re.compile(r"\$|\\\(|\\\[")


@dataclass(frozen=True)
class Piece:
    """A part of a text as plain words; `source` is its LaTeX where it is maths."""

    text: str
    source: str | None = None


@lru_cache(maxsize=4096)
def pieces(source: str, plain: str) -> tuple[Piece, ...]:
    """The text in parts, maths apart from words; `plain` is the whole as plain words."""
    if not _HAS_MATHS.search(source):
        return (Piece(plain),)
    parts: list[Piece] = []
    end = 0
    for found in _MATHS.finditer(source):
        _add_words(parts, source[end : found.start()])
        maths = next(group for group in found.groups() if group is not None)
        parts.append(Piece(plain_text(f"${maths}$"), maths.strip()))
        end = found.end()
    _add_words(parts, source[end:])
    return tuple(parts)


def _add_words(parts: list[Piece], source: str) -> None:
    words = plain_text(source)
    if not words.strip():
        if source:
            parts.append(Piece(" "))
        return
    # plain_text trims, and the spaces around maths carry meaning.
    before = " " if source[0].isspace() else ""
    after = " " if source[-1].isspace() else ""
    parts.append(Piece(before + words.strip() + after))


def beginning(parts: tuple[Piece, ...], length: int) -> tuple[Piece, ...]:
    """The first `length` characters at most, cut between words, with an ellipsis where cut."""
    kept: list[Piece] = []
    left = length
    for part in parts:
        if len(part.text) <= left:
            kept.append(part)
            left -= len(part.text)
            continue
        if part.source is None:
            cut = part.text[:left].rpartition(" ")[0] or part.text[:left]
            kept.append(Piece(cut.rstrip(" ,;:.(")))
        return (*kept, Piece("…"))
    return tuple(kept)


def within(parts: tuple[Piece, ...], text: str) -> tuple[Piece, ...] | None:
    """The parts that make up `text`, a stretch of their plain words; None where it is none.

    Maths that the stretch cuts in two is plain words.
    """
    start = "".join(part.text for part in parts).find(text)
    if start < 0:
        return None
    kept, position, end = [], 0, start + len(text)
    for part in parts:
        a, b = max(start - position, 0), min(end - position, len(part.text))
        if a < b:
            kept.append(Piece(part.text[a:b], part.source if b - a == len(part.text) else None))
        position += len(part.text)
    return tuple(kept)


def marked_html(parts: tuple[Piece, ...], marks: Collection[str]) -> Markup:
    """The parts as HTML, with the words among the marks marked; maths as a whole, if it has one."""
    shown = []
    for part in parts:
        if part.source is not None:
            html = as_html((part,))
            has_mark = any(word[0] in marks for word in WORD.finditer(part.text))
            shown.append(Markup("<mark>{}</mark>").format(html) if has_mark else html)
            continue
        position = 0
        for word in WORD.finditer(part.text):
            if word[0] in marks:
                shown.append(escape(part.text[position : word.start()]))
                shown.append(Markup("<mark>{}</mark>").format(word[0]))
                position = word.end()
        shown.append(escape(part.text[position:]))
    return Markup("").join(shown)


def as_html(parts: tuple[Piece, ...]) -> Markup:
    """The parts as HTML; maths keeps its source in `data-tex`."""
    return Markup("").join(
        Markup('<span class="math" data-tex="{}">{}</span>').format(part.source, part.text)
        if part.source is not None
        else part.text
        for part in parts
    )
