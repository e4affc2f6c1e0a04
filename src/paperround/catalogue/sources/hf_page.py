"""Papers from a saved search-result page of Hugging Face's Daily Papers, as text.

After a header that ends in a date, each paper is a title, its abstract on one line, and a footer:
a bullet with the number of authors, or the organisation twice; a dot; a date, whose year is left
out when it is the current one, and the number of comments where there are any. Truncated cards
have no footer. Blank lines separate all of these but carry nothing: one may be lost or doubled, so
the page is read line by line, by what a line looks like.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from paperround.catalogue.identity import title_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.catalogue.sources.files import require_files, text_of
from paperround.catalogue.sources.jsonl import repository_named_in
from paperround.catalogue.text import tidy
from paperround.clock import utc_now

SOURCE = "hf-page"

# No title of a paper is this long, and hardly an abstract this short.
_LONG = 200
_GLUED = 400

# Any sign may stand for the bullet: pages are saved by many programs.
_AUTHORS = re.compile(r"\W*(\d{1,5}) authors?(?:\s*\W\s*(?P<rest>.*))?", re.IGNORECASE)
_DOT = re.compile(r"\W{1,3}")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DATE = re.compile(
    r"\W*(?P<month>[A-Za-z]{3})[a-z]*\.? (?P<day>\d{1,2})(?:,? (?P<year>(?:19|20)\d\d))?"
    r"(?: (?P<comments>\d{1,6}))?"
)
_TWICE = re.compile(r"\W*(.{2,100}) \1")


@dataclass
class _Card:
    """A paper as far as it has been read."""

    line: int
    title: str
    abstract: str = ""
    author_count: int | None = None
    organisation: str | None = None
    published: date | None = None
    comments: int | None = None


def read(arguments: Sequence[str]) -> Iterator[PaperRecord | Rejected]:
    """The papers of saved pages."""
    today = utc_now().date()
    for argument in require_files(arguments):
        yield from read_page(text_of(argument), today, place=argument)


def read_page(text: str, today: date, place: str = "page") -> Iterator[PaperRecord | Rejected]:
    """The papers of one page; a year that is left out is the latest one not after today.

    A card without an abstract is rejected with its line, as is one whose title and abstract have
    run into one line.
    """
    seen: set[str] = set()
    for card in _cards(text, today):
        where = f"{place}: line {card.line}"
        key = title_key(card.title)
        if not key:
            yield Rejected(where, f"no title in {card.title[:40]!r}")
        elif not card.abstract:
            glued = len(card.title) > _GLUED
            reason = "title and abstract stand in one line" if glued else "no abstract"
            yield Rejected(where, f"{reason}: {card.title[:60]!r}")
        elif key not in seen:
            seen.add(key)
            yield PaperRecord(
                source=SOURCE,
                source_key=key[:200],
                title=card.title,
                abstract=card.abstract,
                author_count=card.author_count,
                organisation=card.organisation,
                published=card.published,
                # A page without a count of comments has none; one without a footer says nothing.
                comments=card.comments,
                code_url=repository_named_in(card.abstract),
            )


def _cards(text: str, today: date) -> Iterator[_Card]:
    card: _Card | None = None
    for number, line in _body(text):
        if card is not None and _is_footer(card, line, today):
            continue
        if card is None:
            card = _Card(number, line)
        elif not card.abstract and len(card.title) <= _GLUED and not _has_footer(card):
            card.abstract = line
        elif card.abstract and len(line) > _LONG and not _has_footer(card):
            # An abstract of several paragraphs.
            card.abstract += f" {line}"
        else:
            yield card
            card = _Card(number, line)
    if card is not None:
        yield card


def _body(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not blank, with their numbers, after the page's header."""
    lines = [
        (number, tidied)
        for number, line in enumerate(text.splitlines(), start=1)
        if (tidied := tidy(line))
    ]
    first_abstract = next((i for i, (_, line) in enumerate(lines) if len(line) > _LONG), 0)
    header = lines[:first_abstract]
    dates = [i for i, (_, line) in enumerate(header) if _DATE.fullmatch(line)]
    # Without a date the header, if any, ends before the title, the line before the abstract.
    begin = dates[-1] + 1 if dates else max(first_abstract - 1, 0)
    return iter(lines[begin:])


def _has_footer(card: _Card) -> bool:
    return bool(card.published or card.author_count or card.organisation)


def _is_footer(card: _Card, line: str, today: date) -> bool:
    """Whether the line is part of the card's footer; what it says is then noted in the card."""
    if found := _AUTHORS.fullmatch(line):
        card.author_count = int(found[1])
        if found["rest"]:
            _is_footer(card, found["rest"], today)
        return True
    if _DOT.fullmatch(line):
        return True
    if (found := _DATE.fullmatch(line)) and (day := _date(found, today)):
        card.published = day
        card.comments = int(found["comments"] or 0)
        return True
    if card.abstract and len(line) <= _LONG and (found := _TWICE.fullmatch(line)):
        card.organisation = found[1]
        return True
    return False


def _date(found: re.Match[str], today: date) -> date | None:
    month = found["month"].lower()
    if month not in _MONTHS:
        return None
    years = [int(found["year"])] if found["year"] else [today.year - back for back in range(9)]
    for year in years:
        try:
            day = date(year, _MONTHS.index(month) + 1, int(found["day"]))
        except ValueError:
            # 29 February, or no date at all.
            continue
        if found["year"] or day <= today:
            return day
    return None
