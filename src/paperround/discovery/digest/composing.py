"""Which papers stand in a digest: of each subscription those of its period that are new.

The papers of a subject and a date are found once, however many addresses subscribe to it; what an
address knows already is then left out. What is remembered is bounded, so that memory does not grow
with the number of addresses.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.db import read
from paperround.discovery.periods import Period
from paperround.discovery.queries import Arrival, arrivals
from paperround.discovery.searching import Searcher
from paperround.discovery.trending import trending_papers
from paperround.readers.due import Due, Part
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import Subscription
from paperround.readers.times import Cadence, due_moment

# How many papers stand under one subject, and in one digest.
PAPERS_PER_SECTION = 10
PAPERS_PER_DIGEST = 40
# How many of the trending papers are looked through for new ones.
_TRENDING = 300
# How old a paper may be that came late, because its source or an import did.
LATE_DAYS = {Cadence.DAILY: 7, Cadence.WEEKLY: 14}
# Its days hold those of the other.
_WIDEST = max(LATE_DAYS, key=lambda cadence: LATE_DAYS[cadence])
_PERIODS: dict[Cadence, Period] = {Cadence.DAILY: "day", Cadence.WEEKLY: "week"}

# Some hundred numbers each: enough for a round of ten thousand addresses.
_SUBJECTS_KEPT = 8_000
_PAPERS_KEPT = 4_000
_WINDOWS_KEPT = 8

_K = TypeVar("_K")
_V = TypeVar("_V")


@dataclass(frozen=True)
class Section:
    """The new papers of one subject, best first; `n_more` have no place."""

    subject: Subject
    papers: tuple[Paper, ...]
    n_more: int


@dataclass(frozen=True)
class Digest:
    """What an address is told of on one of its dates."""

    day: date
    sections: tuple[Section, ...]

    @property
    def papers(self) -> list[Paper]:
        """All papers in it; none stands twice."""
        return [paper for section in self.sections for paper in section.papers]


class Composer:
    """Makes digests of the catalogue as it is; one serves a round of sending."""

    def __init__(self, engine: Engine, searcher: Searcher) -> None:
        """Costs nothing."""
        self._engine = engine
        self._searcher = searcher
        self._windows: _Kept[tuple[date, date], Mapping[PaperId, Arrival]] = _Kept(_WINDOWS_KEPT)
        self._found: _Kept[tuple[Any, ...], tuple[PaperId, ...]] = _Kept(_SUBJECTS_KEPT)
        self._papers: _Kept[PaperId, Paper | None] = _Kept(_PAPERS_KEPT)

    def compose(self, due: Due, known: Collection[PaperId]) -> Digest:
        """What of the due subscriptions is new to an address that knows these papers."""
        told = set(known)
        sections = []
        left = PAPERS_PER_DIGEST
        for part in due.parts:
            new = [paper_id for paper_id in self._new(part, due) if paper_id not in told]
            papers = self._read(new[: min(PAPERS_PER_SECTION, left)])
            if not papers:
                continue
            told.update(paper.id for paper in papers)
            left -= len(papers)
            sections.append(
                Section(part.subscription.subject, tuple(papers), len(new) - len(papers))
            )
        return Digest(due.day, tuple(sections))

    def _new(self, part: Part, due: Due) -> list[PaperId]:
        """The papers of a subscription's period, best first, whatever the address knows."""
        what = part.subscription
        key: tuple[Any, ...]
        if what.subject.kind is Kind.TRENDING:
            moment = due_moment(due.day, due.subscriber.hours)
            key = (what.subject, what.cadence, moment)
            return list(self._found.find(key, lambda: self._trending(what, moment)))
        # Searched once for both cadences: what is too old for the daily one goes by its window.
        key = (what.subject, due.day)
        ids = self._found.find(key, lambda: self._listed(what.subject, due.day))
        window = self._window_of(what.cadence, due.day)
        return [i for i in ids if i in window and _is_new(window[i], part)]

    def _trending(self, what: Subscription, moment: datetime) -> tuple[PaperId, ...]:
        """What trends at the moment; nothing where nothing has drawn attention of late."""
        with read(self._engine) as connection:
            found = trending_papers(
                connection,
                _PERIODS[what.cadence],
                moment,
                self._searcher.rooms(),
                category=what.subject.value or None,
                n=_TRENDING,
            )
        standings = found.papers if found.as_of == moment else ()
        return tuple(standing.paper_id for _, standing in standings)

    def _listed(self, subject: Subject, last: date) -> tuple[PaperId, ...]:
        """The papers of the days up to the last that answer the subject's query."""
        window = self._window_of(_WIDEST, last)
        mode = subject.mode or "words"
        return tuple(self._searcher.answers_among(subject.query, list(window), mode=mode))

    def _window_of(self, cadence: Cadence, last: date) -> Mapping[PaperId, Arrival]:
        """The papers that a digest of that date may hold, most votes first, and how they came."""
        first = last - timedelta(days=LATE_DAYS[cadence] - 1)
        return self._windows.find((first, last), lambda: self._window(first, last))

    def _window(self, first: date, last: date) -> Mapping[PaperId, Arrival]:
        with read(self._engine) as connection:
            return {each.paper_id: each for each in arrivals(connection, first, last)}

    def _read(self, ids: Sequence[PaperId]) -> list[Paper]:
        found = [self._papers.find(i, partial(self._paper, i)) for i in ids]
        # What was withdrawn is no news.
        return [paper for paper in found if paper is not None and not paper.withdrawn]

    def _paper(self, paper_id: PaperId) -> Paper | None:
        with read(self._engine) as connection:
            return next(iter(papers_by_id(connection, [paper_id])), None)


def _is_new(paper: Arrival, part: Part) -> bool:
    return paper.day > part.after_day or paper.added_at > part.after


class _Kept(Generic[_K, _V]):
    """What was found, up to so many; the one that nobody asked for the longest goes first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[_K, _V] = OrderedDict()

    def find(self, key: _K, make: Callable[[], _V]) -> _V:
        """The value of the key, made now where it is not kept."""
        if key in self._values:
            self._values.move_to_end(key)
            return self._values[key]
        value = self._values[key] = make()
        while len(self._values) > self._most:
            self._values.popitem(last=False)
        return value
