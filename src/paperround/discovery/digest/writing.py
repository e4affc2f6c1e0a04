"""A digest as mail: a plain text that reads well by itself, and the same as HTML.

Mail programs know tables and styles in attributes, and little else; the few rules that stand apart
are for programs in the dark, and may be left out. Nothing in a mail is fetched from anywhere.
"""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from functools import cache, lru_cache
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from paperround.catalogue.records import Paper
from paperround.discovery.digest.composing import Digest
from paperround.readers.due import Due
from paperround.readers.subjects import said_hours
from paperround.readers.subscriptions import manage_path, stop_path
from paperround.readers.times import Cadence

# A paper may have thousands of authors, and an abstract of pages.
_AUTHORS = 3
_EXCERPT_CHARACTERS = 280
_SUBJECT_CHARACTERS = 110
_TEXT_WIDTH = 76
_POLICY = policy.SMTP.clone(cte_type="7bit")


@dataclass(frozen=True)
class Place:
    """Whose mail it is: the address in From, where links lead, the key that makes them."""

    sender: str
    public_url: str
    key: bytes


def written(
    digest: Digest,
    due: Due,
    message_id: str,
    place: Place,
    rooms: Mapping[str, str],
    now: datetime,
) -> EmailMessage:
    """The digest as a mail to the address. `rooms` has the keys of the papers that run, by slug."""
    subscriber = due.subscriber
    stop = place.public_url + stop_path(place.key, subscriber.id, subscriber.seed)
    values = {
        "digest": digest,
        "heading": said_day(digest.day),
        "n": len(digest.papers),
        "base": place.public_url,
        "host": urlsplit(place.public_url).netloc,
        "manage": place.public_url + manage_path(place.key, subscriber.id, subscriber.seed),
        "stop": stop,
        "hours": said_hours(subscriber.hours, Cadence.DAILY).removeprefix("every day "),
        "runs": frozenset(rooms.values()),
    }
    message = EmailMessage(policy=_POLICY)
    message["From"] = Address("Paperround", addr_spec=place.sender)
    message["To"] = subscriber.email
    message["Subject"] = subject_line(digest)
    message["Date"] = format_datetime(now)
    message["Message-ID"] = full_message_id(message_id, place)
    message["List-ID"] = f"Paperround <digest.{urlsplit(place.public_url).hostname}>"
    message["List-Unsubscribe"] = f"<{stop}>"
    # RFC 8058 speaks of https only: a link in the clear could be pressed by anybody on the way.
    if place.public_url.startswith("https://"):
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    # No holiday answers, please.
    message["Auto-Submitted"] = "auto-generated"
    message["Precedence"] = "bulk"
    text = _templates().get_template("digest.txt").render(values)
    message.set_content(text, cte=_encoding(text))
    # Letters beyond ASCII as HTML writes them: the source stays one that every server passes on.
    html = _templates().get_template("digest.html").render(values)
    html = html.encode("ascii", "xmlcharrefreplace").decode()
    message.add_alternative(html, subtype="html", cte=_encoding(html))
    return message


def full_message_id(message_id: str, place: Place) -> str:
    """The Message-ID of a digest's name, the same at every attempt."""
    return f"<{message_id}@{place.sender.partition('@')[2]}>"


def subject_line(digest: Digest) -> str:
    """`12 papers: The title of the first one`, in one line that a list of mails can show."""
    papers = digest.papers
    first = " ".join(papers[0].title_text.split()) if papers else ""
    first = "".join(sign for sign in first if sign.isprintable())
    line = f"{count(len(papers), 'paper')}: {first}"
    return textwrap.shorten(line, _SUBJECT_CHARACTERS, placeholder=" …")


def said_day(day: date) -> str:
    """`Tuesday, 30 June 2026`."""
    return f"{day:%A}, {day.day} {day:%B %Y}"


def count(n: int, what: str) -> str:
    """`1 paper`, `12 papers`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def byline(paper: Paper) -> str:
    """The first authors and how many more: `A. Ay, B. Bee, C. Cee and 34 more`."""
    names = paper.authors[:_AUTHORS]
    more = max(paper.author_count or 0, len(paper.authors)) - len(names)
    if not names:
        return count(more, "author") if more else ""
    return ", ".join(names) + (f" and {more:,} more" if more > 0 else "")


def excerpt(paper: Paper) -> str:
    """The beginning of the abstract in plain words."""
    return _shortened(paper.abstract_text)


# The same papers go to thousands of addresses, twice in each mail.
@lru_cache(maxsize=1_000)
def _shortened(text: str) -> str:
    return textwrap.shorten(text, _EXCERPT_CHARACTERS, placeholder=" …")


def facts(paper: Paper) -> str:
    """`30 June 2026 · cs.CL · An Institute`."""
    day = paper.published or paper.day
    said = f"{day.day} {day:%B %Y}" if day else ""
    category = paper.categories[0] if paper.categories else ""
    return " · ".join(filter(None, (said, category, paper.organisation)))


def wrapped(text: str, indent: str = "") -> str:
    """The text in lines that every mail program shows whole; long words and addresses stay so."""
    return textwrap.fill(
        " ".join(text.split()),
        _TEXT_WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _encoding(text: str) -> str:
    """How the text is sent through servers that know seven bits and lines of 998 characters."""
    is_plain = text.isascii() and max(map(len, text.splitlines()), default=0) < 990
    return "7bit" if is_plain else "quoted-printable"


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("paperround.discovery.digest"),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(byline=byline, excerpt=excerpt, facts=facts, count=count)
    made.filters.update(wrapped=wrapped)
    return made
