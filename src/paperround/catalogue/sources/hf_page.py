"""The text of a saved page of Hugging Face's Daily Papers: what a browser copies or saves as text.

A card of the page is a title, an abstract, and a footer, each on a line of its own:

    Order Matters: Sequence to sequence for sets

    Sequences have become first class citizens in supervised learning ...

      • 3 authors
    ·
    Nov 19, 2015

The footer may be missing, or name an organisation ("LLM-Drop LLM-Drop", its picture's text and its
name) in place of the authors; its date has no year in the year of the page, and the number of
comments behind when there are any. Blank lines are a hint, no more: pages lose them, so cards are
told apart by what their lines look like, and a line that cannot be told is refused with its number.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

from paperround.catalogue.identity import derived_key
from paperround.catalogue.records import PaperRecord, Rejected
from paperround.clock import utc_now
from paperround.errors import UsageError

SOURCE = "hf-page"
# No title on arXiv is longer, and hardly an abstract shorter.
LONGEST_TITLE = 300
_LONGEST_ORGANISATION = 120
_MAX_BYTES = 64 << 20

_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan january",
            "feb february",
            "mar march",
            "apr april",
            "may",
            "jun june",
            "jul july",
            "aug august",
            "sep sept september",
            "oct october",
            "nov november",
            "dec december",
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_AUTHORS = r"(?P<authors>\d{1,3}(?:,\d{3})+|\d{1,6})\s+authors?"
_DATE = (
    rf"(?P<month>{_MONTH})\.?\s+(?P<day>\d{{1,2}})(?:,\s*(?P<year>\d{{4}}))?"
    r"(?:\s+(?P<comments>\d{1,3}(?:,\d{3})+|\d{1,6}))?"
)
# A bullet is whatever is no word: •, ·, *, -, and what a wrong encoding made of them.
_BULLET = r"(?:[^\w]|â€¢|Â·|_)*"
_AUTHORS_LINE = re.compile(rf"{_BULLET}{_AUTHORS}{_BULLET}", re.IGNORECASE)
_DATE_LINE = re.compile(rf"{_BULLET}{_DATE}{_BULLET}", re.IGNORECASE)
_BOTH_LINE = re.compile(rf"{_BULLET}{_AUTHORS}{_BULLET}{_DATE}{_BULLET}", re.IGNORECASE)
_SEPARATOR_LINE = re.compile(rf"(?=\S){_BULLET}")
_GLUED_AUTHORS = re.compile(rf"\s*[•·‣∙◦*]\s*{_AUTHORS}\s*$", re.IGNORECASE)
_NUMBER_LINE = re.compile(r"\d{1,6}")
_HEADER_LINE = re.compile(
    r"new|subscribe|daily papers|get trending papers in your email inbox!?"
    r"|by\s?\S{1,40} and the research community|papers|trending papers",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class _Line:
    """A line that says something: its number in the file, and whether a blank one stood before."""

    number: int
    text: str
    after_blank: bool


@dataclass
class _Card:
    """What has been read of one paper."""

    number: int
    title: str
    abstract: str = ""
    authors: int | None = None
    organisation: str | None = None
    published: date | None = None
    comments: int | None = None
    faults: list[str] = field(default_factory=list)


def read(
    arguments: Sequence[str], *, now: Callable[[], datetime] = utc_now
) -> Iterator[PaperRecord | Rejected]:
    """The papers of a saved page: `FILE`, or `-` for standard input, and the day it was saved.

    Without that day the page's own date tells the year of the dates that have none, else `now`.
    """
    if not 1 <= len(arguments) <= 2:
        raise UsageError(
            "hf-page takes a file, and the day it was saved: hf-page FILE [2026-04-13]"
        )
    saved = None
    if len(arguments) == 2:
        try:
            saved = date.fromisoformat(arguments[1])
        except ValueError as error:
            raise UsageError(f"'{arguments[1]}' is no day; write it like 2026-04-13") from error
    return read_page(_page_text(arguments[0]), today=saved or now().date())


def read_page(text: str, *, today: date) -> Iterator[PaperRecord | Rejected]:
    """The papers of a page's text, in its order; `today` is when the page was saved, or later."""
    lines = _lines(text)
    at, page_day = _skip_header(lines, today)
    today = page_day or today
    segment: list[_Line] = []
    is_empty = True
    while at < len(lines):
        if not _is_footer(lines, at, segment):
            segment.append(lines[at])
            at += 1
            continue
        cards, refused, owner = _cards(segment, has_footer=True)
        end = _footer_end(lines, at)
        if owner is not None:
            _read_footer(owner, lines[at:end], today)
        elif not refused:
            refused = [Rejected(f"line {lines[at].number}", "a footer without a paper before it")]
        yield from _records(cards)
        yield from refused
        is_empty = False
        segment, at = [], end
    cards, refused, _ = _cards(segment, has_footer=False)
    yield from _records(cards)
    yield from refused
    if is_empty and not cards and not refused:
        yield Rejected("line 1", "no paper on this page; is it a saved page of Daily Papers?")


def year_of(month: int, day: int, today: date) -> date | None:
    """The last such day up to `today`; None for a day that no year has."""
    for year in range(today.year, today.year - 9, -1):
        try:
            found = date(year, month, day)
        except ValueError:
            continue
        if found <= today:
            return found
    return None


def _page_text(name: str) -> str:
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(_MAX_BYTES + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror or error}") from error
    if len(raw) > _MAX_BYTES:
        raise UsageError(f"{name} is larger than {_MAX_BYTES >> 20} MiB; no page is")
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{name} is UTF-16; save the page as UTF-8")
    if b"\0" in raw:
        raise UsageError(f"{name} is not text; save the page as text in UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{name} is not UTF-8 (byte 0x{raw[error.start]:02x} in line {line}); "
            "save the page as UTF-8"
        ) from error


def _lines(text: str) -> list[_Line]:
    lines: list[_Line] = []
    after_blank = True
    for number, raw in enumerate(re.split(r"\r\n|\r|\n", text), start=1):
        stripped = raw.strip().strip("\ufeff\u200b").strip()
        if stripped:
            lines.append(_Line(number, stripped, after_blank))
        after_blank = not stripped
    return lines


def _skip_header(lines: list[_Line], today: date) -> tuple[int, date | None]:
    """Where the first card begins, and the day of the page, which ends its header.

    The first title is the line before the first abstract, unless a footer stands above it already.
    """
    at, day = 0, None
    first = next((i for i, line in enumerate(lines) if _is_long(line)), 0)
    for i, line in enumerate(lines[:first]):
        found = _DATE_LINE.fullmatch(line.text)
        if found and not found["comments"]:
            at, day = i + 1, _day(found, today)
        elif _is_mark(line.text):
            at, day = 0, None
            break
    if not any(_is_mark(line.text) for line in lines[at:first]):
        at = max(at, first - 1)
    while at < len(lines) and _HEADER_LINE.fullmatch(lines[at].text):
        at += 1
    return at, day


def _is_long(line: _Line) -> bool:
    return len(line.text) > LONGEST_TITLE


def _is_mark(text: str) -> bool:
    """Whether a line can only belong to a footer."""
    return len(text) <= LONGEST_TITLE and any(
        pattern.fullmatch(text)
        for pattern in (_AUTHORS_LINE, _BOTH_LINE, _DATE_LINE, _SEPARATOR_LINE)
    )


def _is_footer(lines: list[_Line], at: int, segment: list[_Line]) -> bool:
    if _is_mark(lines[at].text):
        return True
    # An organisation stands where the authors would: before the dot, after an abstract.
    following = lines[at + 1].text if at + 1 < len(lines) else ""
    is_before_dot = _SEPARATOR_LINE.fullmatch(following) or _DATE_LINE.fullmatch(following)
    if not is_before_dot or len(lines[at].text) > _LONGEST_ORGANISATION:
        return False
    return bool(segment) and (_is_long(segment[-1]) or _organisation(lines[at].text) is not None)


def _footer_end(lines: list[_Line], at: int) -> int:
    """Where the footer that begins here ends: behind its date, or where no mark follows."""
    end = at + 1
    while end < len(lines) and _is_mark(lines[end].text):
        # Authors are a footer's first line: a second one is another's.
        if _AUTHORS_LINE.fullmatch(lines[end].text) or _BOTH_LINE.fullmatch(lines[end].text):
            break
        end += 1
        if _DATE_LINE.fullmatch(lines[end - 1].text):
            break
    last = lines[end - 1].text
    is_dated = _DATE_LINE.fullmatch(last) or _BOTH_LINE.fullmatch(last)
    if is_dated and end < len(lines) and not lines[end].after_blank:
        # The number of comments, when the line was broken before it.
        end += bool(_NUMBER_LINE.fullmatch(lines[end].text))
    return end


def _read_footer(card: _Card, footer: Sequence[_Line], today: date) -> None:
    for i, line in enumerate(footer):
        found = (
            _BOTH_LINE.fullmatch(line.text)
            or _AUTHORS_LINE.fullmatch(line.text)
            or _DATE_LINE.fullmatch(line.text)
        )
        parts = found.groupdict() if found else {}
        if parts.get("authors"):
            card.authors = int(parts["authors"].replace(",", ""))
        if found and parts.get("month"):
            card.published = _day(found, today)
            if card.published is None:
                card.faults.append(f"line {line.number}: '{line.text}' is no day")
            # A card with a date and no number has no comments; one without a footer is unknown.
            card.comments = int((parts["comments"] or "0").replace(",", ""))
        if found is None and _NUMBER_LINE.fullmatch(line.text) and i:
            card.comments = int(line.text)
        elif found is None and not _SEPARATOR_LINE.fullmatch(line.text):
            card.organisation = _organisation(line.text) or line.text


def _organisation(text: str) -> str | None:
    """The name in "Name Name", a picture's text and the name; None when it is not written twice."""
    half, rest = divmod(len(text), 2)
    if rest and text[half].isspace() and text[:half] == text[half + 1 :]:
        return text[:half]
    return None


def _day(found: re.Match[str], today: date) -> date | None:
    month, day = _MONTHS[found["month"].lower()], int(found["day"])
    if not found["year"]:
        return year_of(month, day, today)
    try:
        return date(int(found["year"]), month, day)
    except ValueError:
        return None


def _cards(
    segment: Sequence[_Line], *, has_footer: bool
) -> tuple[list[_Card], list[Rejected], _Card | None]:
    """The cards of the lines between two footers, what is no card, and whose footer follows.

    Every card is a short line and a long one; only before a footer may the long one be missing.
    """
    cards: list[_Card] = []
    refused: list[Rejected] = []
    short: list[_Line] = []
    owner: _Card | None = None
    for line in segment:
        if not _is_long(line):
            short.append(line)
        elif short:
            refused += map(_no_title, short[:-1])
            owner = _Card(short[-1].number, short[-1].text, line.text)
            cards.append(owner)
            short = []
        elif owner is not None and not line.after_blank:
            # An abstract of several paragraphs.
            owner.abstract += f"\n{line.text}"
        else:
            owner = None
            reason = "an abstract without a title; put its title on a line of its own before it"
            refused.append(Rejected(f"line {line.number}", reason))
    if short and has_footer and len(short) == 1 and owner and not short[0].after_blank:
        owner.abstract += f"\n{short[0].text}"
    elif short and has_footer:
        # No abstract, or one shorter than any that the site shows.
        *loose, title = short[:-1] or short
        refused += map(_no_title, loose)
        owner = _Card(title.number, title.text, short[-1].text if short[-1] is not title else "")
        cards.append(owner)
    else:
        refused += map(_no_title, short)
    for card in cards:
        if found := _GLUED_AUTHORS.search(card.abstract):
            card.abstract = card.abstract[: found.start()]
            card.authors = int(found["authors"].replace(",", ""))
    return cards, refused, owner


def _no_title(line: _Line) -> Rejected:
    shown = line.text if len(line.text) <= 60 else f"{line.text[:60]}…"
    return Rejected(f"line {line.number}", f"'{shown}' is followed by neither abstract nor footer")


def _records(cards: Sequence[_Card]) -> Iterator[PaperRecord | Rejected]:
    for card in cards:
        place = f"line {card.number}"
        if card.faults:
            yield Rejected(place, "; ".join(card.faults))
            continue
        yield PaperRecord(
            source=SOURCE,
            source_key=derived_key(card.title),
            title=card.title,
            abstract=card.abstract,
            author_count=card.authors,
            organisation=card.organisation,
            published=card.published,
            comments=card.comments,
            place=place,
        )
