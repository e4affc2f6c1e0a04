"""Which papers stand in a digest: of each subscription those of its period that are new.

The papers of a subject and a date are found once, however many addresses subscribe to it; what an
address knows already is then left out. What is remembered is bounded, so that memory does not grow
with the number of addresses.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import Paper, PaperId
from paperround.db import read
from paperround.discovery import queries
from paperround.discovery.periods import Period
from paperround.discovery.searching import Searcher
from paperround.discovery.trending import trending_papers
from paperround.readers.digests import Due
from paperround.readers.subjects import Kind, Subject
from paperround.readers.subscriptions import Subscription
from paperround.readers.times import Cadence, due_moment, local_date

# How many papers stand under one subject, and in one digest.
PAPERS_PER_SECTION = 10
PAPERS_PER_DIGEST = 40
# How many of a subject's papers are looked through for new ones.
_CANDIDATES = 300
# A period's own days; and how long a paper may be late, because its source or an import was.
OWN_DAYS = {Cadence.DAILY: 1, Cadence.WEEKLY: 7}
LATE_DAYS = {Cadence.DAILY: 7, Cadence.WEEKLY: 14}
_PERIODS: dict[Cadence, Period] = {Cadence.DAILY: "day", Cadence.WEEKLY: "week"}

_SUBJECTS_KEPT = 2_000
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


@dataclass(frozen=True)
class _Found:
    """The papers of a subject at one date, best first, and the days that they belong to."""

    ids: tuple[PaperId, ...]
    days: tuple[date, ...]


class Composer:
    """Makes digests of the catalogue as it is; one serves a round of sending."""

    def __init__(self, engine: Engine, searcher: Searcher) -> None:
        """Costs nothing."""
        self._engine = engine
        self._searcher = searcher
        self._windows: _Kept[Any, dict[PaperId, date]] = _Kept(_WINDOWS_KEPT)
        self._found: _Kept[Any, _Found] = _Kept(_SUBJECTS_KEPT)
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
            sections.append(Section(part.subject, tuple(papers), len(new) - len(papers)))
        return Digest(due.day, tuple(sections))

    def _new(self, part: Subscription, due: Due) -> list[PaperId]:
        """The papers of a subscription's period, best first, whatever the address knows."""
        if part.subject.kind is Kind.TRENDING:
            moment = due_moment(due.day, due.subscriber.hours)
            key = (part.subject, part.cadence, moment)
            return list(self._found.find(key, lambda: self._trending(part, moment)).ids)
        last = due.day
        first = last - timedelta(days=LATE_DAYS[part.cadence] - 1)
        begun = local_date(part.since, due.subscriber.hours)
        first = max(first, begun - timedelta(days=OWN_DAYS[part.cadence] - 1))
        key = (part.subject, part.cadence, last)
        found = self._found.find(key, lambda: self._listed(part, last))
        return [i for i, day in zip(found.ids, found.days, strict=True) if day >= first]

    def _trending(self, part: Subscription, moment: datetime) -> _Found:
        """What trends at the moment; nothing where nothing has drawn attention of late."""
        with read(self._engine) as connection:
            found = trending_papers(
                connection,
                _PERIODS[part.cadence],
                moment,
                self._searcher.rooms(),
                category=part.subject.value or None,
                n=_CANDIDATES,
            )
        standings = found.papers if found.as_of == moment else ()
        return _Found(tuple(standing.paper_id for _, standing in standings), ())

    def _listed(self, part: Subscription, last: date) -> _Found:
        """The papers of the days up to the last that answer the subject's query."""
        first = last - timedelta(days=LATE_DAYS[part.cadence] - 1)
        window = self._windows.find((first, last), lambda: self._window(first, last))
        subject = part.subject
        ids = self._searcher.answers_among(
            subject.query, list(window), mode=subject.mode or "words"
        )[:_CANDIDATES]
        return _Found(tuple(ids), tuple(window[paper_id] for paper_id in ids))

    def _window(self, first: date, last: date) -> dict[PaperId, date]:
        """The papers of these days, most votes first, and their days (index: ix_paper_day)."""
        with read(self._engine) as connection:
            ranked = queries.ids_by_votes(connection, first, last, None, _WINDOW_PAPERS)
            days = dict(queries.ids_by_day(connection, first, last, None, _WINDOW_PAPERS))
        return {paper_id: days[paper_id] for paper_id, _ in ranked if paper_id in days}

    def _read(self, ids: Sequence[PaperId]) -> list[Paper]:
        found = [self._papers.find(i, partial(self._paper, i)) for i in ids]
        # What was withdrawn is no news.
        return [paper for paper in found if paper is not None and not paper.withdrawn]

    def _paper(self, paper_id: PaperId) -> Paper | None:
        with read(self._engine) as connection:
            return next(iter(papers_by_id(connection, [paper_id])), None)


# Two weeks of all of arXiv are some 10,000 papers.
_WINDOW_PAPERS = 100_000


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
