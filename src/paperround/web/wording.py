"""How numbers, dates and addresses are written on the pages, once for all templates."""

import re
import textwrap
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

_SCHEMES = {"arxiv": "arXiv", "doi": "DOI", "acl": "ACL Anthology", "openreview": "OpenReview"}


def number(value: float | int | str | None) -> str:
    """A measured number in four significant digits; words stay words, nothing is a dash."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1e15:
        return f"{value:.3g}"
    if abs(value) >= 10_000:
        return f"{value:,.0f}"
    if abs(value) < 1e-4:
        return f"{value:.2e}"
    return f"{value:.4g}"


def count(n: int, one: str, many: str | None = None) -> str:
    """`1 vote`, `3,303 authors`."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def day(value: date | datetime | None) -> str:
    """`30 June 2026`."""
    return "" if value is None else f"{value.day} {value:%B %Y}"


def short_day(value: date | datetime | None) -> str:
    """`30 Jun 2026`."""
    return "" if value is None else f"{value.day} {value:%b %Y}"


def moment(value: datetime | None) -> str:
    """`30 June 2026, 14:05 UTC`."""
    return "" if value is None else f"{day(value)}, {value.astimezone(UTC):%H:%M} UTC"


def duration(seconds: float | None) -> str:
    """`0.8 s`, `14 s`, `2 min 05 s`, `1 h 10 min`."""
    if seconds is None:
        return "–"
    whole = round(seconds)
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        minutes, rest = divmod(whole, 60)
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, rest = divmod(whole, 3_600)
    return f"{hours} h {rest // 60:02d} min" if rest >= 60 else f"{hours} h"


def period_title(period: str, start: date, end: date) -> str:
    """What a feed's page is called: `Tuesday, 30 June 2026`, `22 to 28 June 2026`, `June 2026`."""
    if period == "day":
        return f"{start:%A}, {day(start)}"
    if period == "month":
        return f"{start:%B %Y}"
    if start.year != end.year:
        return f"{day(start)} to {day(end)}"
    if start.month != end.month:
        return f"{start.day} {start:%B} to {day(end)}"
    return f"{start.day} to {day(end)}"


def period_address(period: str, start: date) -> str:
    """The page of the day, week or month that holds a date: `/week/2026-W26`."""
    if period == "day":
        return f"/day/{start.isoformat()}"
    if period == "month":
        return f"/month/{start.isoformat()[:7]}"
    year, week, _ = start.isocalendar()
    return f"/week/{year:04d}-W{week:02d}"


def parse_period(period: str, text: str) -> date | None:
    """The first day that an address names, None where it names none."""
    try:
        if period == "day":
            return date.fromisoformat(text) if len(text) == 10 else None
        if period == "month":
            return date.fromisoformat(f"{text}-01") if len(text) == 7 else None
        year, _, week = text.partition("-W")
        if len(year) != 4 or len(week) != 2 or not (year + week).isascii():
            return None
        return date.fromisocalendar(int(year), int(week), 1)
    except ValueError:
        return None


def web_address(url: str | None) -> str | None:
    """The address if it leads to the web; a catalogue may hold any text, `javascript:` too."""
    if not url:
        return None
    try:
        parts = urlsplit(url.strip())
    except ValueError:
        return None
    return url.strip() if parts.scheme in ("http", "https") and parts.netloc else None


def query(values: Mapping[str, str]) -> str:
    """What follows the question mark of an address."""
    return urlencode(values)


def quoted(text: str) -> str:
    """The text as one part of an address's path."""
    return quote(text, safe="")


def beginning(text: str, characters: int = 80) -> str:
    """The first words of a text, in one line."""
    return textwrap.shorten(text, characters, placeholder=" …")


def host(url: str) -> str:
    """Where a link leads, as a person says it: `github.com`."""
    return (urlsplit(url).hostname or url).removeprefix("www.")


def capitalize_first(text: str) -> str:
    """The text with a capital at its beginning and the rest as it is."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """The text with a small letter at its beginning and the rest as it is."""
    return text[:1].lower() + text[1:]


def slug(text: str) -> str:
    """The text as the name of a place on a page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "other"


def scheme_name(scheme: str) -> str:
    """What an identifier's scheme is called."""
    return _SCHEMES.get(scheme, scheme)


def short_machine(environment: Mapping[str, Any]) -> str:
    """The same for a narrow column: `AMD EPYC 9B45, 2 cores`, without signs of trade marks."""
    name = re.sub(
        r"\((R|TM)\)|\bCPU\b|@.*|\bProcessor\b", "", str(environment.get("processor", ""))
    )
    cores = environment.get("cores")
    parts = [" ".join(name.split()) or "unknown", count(cores, "core") if cores else ""]
    return ", ".join(part for part in parts if part)


def machine(environment: Mapping[str, Any]) -> str:
    """What a result was measured on: `AMD EPYC 9B45, 2 cores, 16 GB`."""
    parts = [str(environment.get("processor") or "an unknown processor")]
    if cores := environment.get("cores"):
        parts.append(count(cores, "core"))
    if memory := environment.get("memory_gb"):
        parts.append(f"{memory:.0f} GB")
    return ", ".join(parts)
