"""What a result shows of its paper: the title, and the part of the abstract that answers best."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

from paperround.catalogue.records import Paper
from paperround.discovery.query_language import WORD

EXCERPT_CHARACTERS = 320
# What stands at either end of an excerpt that does not begin or end its text.
ELLIPSIS_BEFORE, ELLIPSIS_AFTER = "… ", " …"

_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'(\[])")
# An end that is none: the abbreviations that abstracts are full of.
_NO_END = re.compile(r"\b(?:e\.g|i\.e|et al|cf|vs|Fig|Eq|Sec|approx|resp|w\.r\.t)\.$")


@dataclass(frozen=True)
class Span:
    """A piece of text, marked where it is what was searched for."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class Highlights:
    """A paper's title and an excerpt of its abstract, in spans."""

    title: tuple[Span, ...]
    abstract: tuple[Span, ...]


def highlights(
    papers: Sequence[Paper], stems: Collection[str], stem: Callable[[str], str]
) -> list[Highlights]:
    """One for each paper, in their order: every word whose stem is among the stems is marked.

    A paper without any, such as one found by meaning alone, shows its title and the beginning of
    its abstract unmarked. `stem` gives a word's stem as the index has it.
    """
    return [
        Highlights(
            marked(paper.title_text, stems, stem),
            excerpt(marked(paper.abstract_text, stems, stem)),
        )
        for paper in papers
    ]


def marked(text: str, stems: Collection[str], stem: Callable[[str], str]) -> tuple[Span, ...]:
    """The text in spans; a word with one of the stems is marked."""
    if not stems:
        return (Span(text),) if text else ()
    spans, position = [], 0
    # A word begins as its stem does. Accents are gone from stems, so a text with any is read whole.
    letters = frozenset(one[0] for one in stems if one)
    words = _beginning_as(letters) if letters and text.isascii() else WORD
    for word in words.finditer(text):
        if stem(word[0]) in stems:
            if word.start() > position:
                spans.append(Span(text[position : word.start()]))
            spans.append(Span(word[0], marked=True))
            position = word.end()
    if position < len(text):
        spans.append(Span(text[position:]))
    return tuple(spans)


@lru_cache(maxsize=256)
def _beginning_as(letters: frozenset[str]) -> re.Pattern[str]:
    """What finds the words that begin with one of these letters, in either case."""
    chosen = re.escape("".join(sorted(letters)))
    return re.compile(rf"(?<![^\W_])[{chosen}][^\W_]*", re.IGNORECASE | re.ASCII)


def excerpt(spans: Sequence[Span], n_characters: int = EXCERPT_CHARACTERS) -> tuple[Span, ...]:
    """The sentence with the most different marked words, and what fits of those that follow.

    The first of equals; so the beginning where nothing is marked. At most `n_characters` (and an
    ellipsis at either end), cut between words.
    """
    text = "".join(span.text for span in spans)
    marks = _marks(spans)
    sentences = _sentences(text)
    if not sentences:
        return ()

    def different_words(sentence: tuple[int, int]) -> int:
        start, end = sentence
        return len({text[a:b].casefold() for a, b in marks if start <= a < end})

    best = max(range(len(sentences)), key=lambda index: different_words(sentences[index]))
    start, end = sentences[best]
    for _, next_end in sentences[best + 1 :]:
        if next_end - start > n_characters:
            break
        end = next_end
    if end - start > n_characters:
        start, end = _window(text, start, end, marks, n_characters)
    return _with_ellipses(_cut(spans, start, end), start > 0, end < len(text.rstrip()))


def _marks(spans: Sequence[Span]) -> list[tuple[int, int]]:
    marks, position = [], 0
    for span in spans:
        if span.marked:
            marks.append((position, position + len(span.text)))
        position += len(span.text)
    return marks


def _sentences(text: str) -> list[tuple[int, int]]:
    """Where each sentence starts and ends, the space between them left out."""
    sentences, start = [], len(text) - len(text.lstrip())
    for gap in _SENTENCE_END.finditer(text):
        if gap.start() > start and not _NO_END.search(text[start : gap.start()]):
            sentences.append((start, gap.start()))
            start = gap.end()
    end = len(text.rstrip())
    if end > start:
        sentences.append((start, end))
    return sentences


def _window(
    text: str, start: int, end: int, marks: Sequence[tuple[int, int]], n_characters: int
) -> tuple[int, int]:
    """The part of a long sentence from a little before its first mark on, cut between words."""
    first = next((a for a, _ in marks if start <= a < end), start)
    if first + n_characters // 2 > start + n_characters:
        start = min(first - n_characters // 4, end - n_characters)
        start = _after_space(text, start, first)
    if end - start > n_characters:
        end = start + n_characters
        space = text.rfind(" ", start + 1, end + 1)
        end = space if space > start else end
    return start, end


def _after_space(text: str, start: int, limit: int) -> int:
    space = text.find(" ", start, limit)
    return space + 1 if space >= 0 else start


def _cut(spans: Sequence[Span], start: int, end: int) -> list[Span]:
    cut, position = [], 0
    for span in spans:
        piece = span.text[max(start - position, 0) : max(end - position, 0)]
        if piece:
            cut.append(Span(piece, span.marked))
        position += len(span.text)
    return cut


def _with_ellipses(spans: list[Span], before: bool, after: bool) -> tuple[Span, ...]:
    return (
        *([Span(ELLIPSIS_BEFORE)] if before else []),
        *spans,
        *([Span(ELLIPSIS_AFTER)] if after else []),
    )
