"""What can be subscribed to, and how it and its hours are called."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from paperround.errors import UsageError
from paperround.readers.times import Cadence, Hours

MAX_VALUE = 200
MAX_QUERY = 1_000
MODES = ("both", "words", "meaning")
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_QUOTES = str.maketrans("", "", '"“”„')


class Kind(StrEnum):
    """What can be subscribed to."""

    TRENDING = "trending"
    CATEGORY = "category"
    ORGANISATION = "organisation"
    AUTHOR = "author"
    SEARCH = "search"


@dataclass(frozen=True)
class Subject:
    """What is subscribed to: `value` is the category, the name, the query as it was typed.

    Of trending it is a category, or nothing for all. `mode` says how a query is searched for.
    """

    kind: Kind
    value: str = ""
    mode: str = ""

    @property
    def says(self) -> str:
        """What it is called, such as `Papers by Ada Ay`."""
        match self.kind:
            case Kind.TRENDING:
                return f"Trending in {self.value}" if self.value else "Trending papers"
            case Kind.CATEGORY:
                return f"Papers in {self.value}"
            case Kind.ORGANISATION:
                return f"Papers of {self.value}"
            case Kind.AUTHOR:
                return f"Papers by {self.value}"
            case Kind.SEARCH:
                return f"Papers for “{self.value}”"

    @property
    def query(self) -> str:
        """The search that finds its papers; of trending, nothing."""
        match self.kind:
            case Kind.CATEGORY:
                return f"cat:{self.value}"
            case Kind.ORGANISATION:
                return f'org:"{self.value}"'
            case Kind.AUTHOR:
                return f'author:"{self.value}"'
            case _:
                return self.value if self.kind is Kind.SEARCH else ""

    @property
    def path(self) -> str:
        """The page that lists its papers."""
        if self.kind is Kind.TRENDING:
            chosen = {"category": self.value} if self.value else {}
            return "/trending" + (f"?{urlencode(chosen)}" if chosen else "")
        asked = {"q": self.query}
        if self.mode not in ("", "both"):
            asked["mode"] = self.mode
        return f"/search?{urlencode({**asked, 'order': 'newest'})}"


def checked_subject(kind: str, value: str = "", mode: str = "") -> Subject:
    """The subject as it is kept. Raises UsageError for what cannot be subscribed to."""
    if kind not in set(Kind):
        raise UsageError(f"nothing of the kind '{kind[:20]}'; there are {', '.join(Kind)}")
    chosen = Kind(kind)
    value = " ".join(value.split())
    if not value.isprintable():
        raise UsageError("there are signs in it that cannot be seen; type it anew")
    if chosen is Kind.SEARCH:
        mode = mode or MODES[0]
        if mode not in MODES:
            raise UsageError(f"no search mode '{mode[:20]}'; there are {', '.join(MODES)}")
    else:
        mode, value = "", value.translate(_QUOTES).strip()
    if chosen in (Kind.TRENDING, Kind.CATEGORY) and " " in value:
        raise UsageError(f"'{value[:60]}' is no category; write one like cs.CL")
    if not value and chosen is not Kind.TRENDING:
        raise UsageError(f"say which {chosen}")
    most = MAX_QUERY if chosen is Kind.SEARCH else MAX_VALUE
    if len(value) > most:
        raise UsageError(f"that is too long: at most {most} characters")
    return Subject(chosen, value, mode)


def checked_cadence(cadence: str) -> Cadence:
    """The cadence of that name. Raises UsageError."""
    if cadence not in set(Cadence):
        raise UsageError(f"no cadence '{cadence[:20]}'; there are {', '.join(Cadence)}")
    return Cadence(cadence)


def said_moment(moment: datetime, hours: Hours) -> str:
    """The moment by the clocks of the zone: `2 July 2026, 7:00, Europe/Berlin`."""
    local = moment.astimezone(ZoneInfo(hours.zone))
    return f"{local.day} {local:%B %Y}, {local.hour}:{local:%M}, {hours.zone}"


def said_hours(hours: Hours, cadence: Cadence) -> str:
    """When that is, in words: `every day at 7:00, Europe/Berlin`."""
    day = "every day" if cadence is Cadence.DAILY else f"every {WEEKDAYS[hours.weekday]}"
    return f"{day} at {hours.hour}:00, {hours.zone}"
