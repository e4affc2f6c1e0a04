"""What passes between the catalogue and the others: records in, papers out, plain and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import NewType

PaperId = NewType("PaperId", int)


@dataclass(frozen=True)
class ReportedResult:
    """A figure that others reported of a paper: as its leaderboard has it, number or not."""

    task: str
    dataset: str
    metric: str
    value: str
    # Which of the paper's models, in the leaderboard's words.
    model: str = ""


@dataclass(frozen=True)
class PaperRecord:
    """A paper as one source gives it. Absent means unknown, never "none"."""

    source: str
    # The source's own name for it: an id, or where it stood.
    source_key: str
    title: str
    abstract: str = ""
    authors: tuple[str, ...] = ()
    author_count: int | None = None
    organisation: str | None = None
    published: date | None = None
    listed: date | None = None
    categories: tuple[str, ...] = ()
    # Its subjects and methods in its source's words.
    keywords: tuple[str, ...] = ()
    comment: str | None = None
    venue: str | None = None
    code_url: str | None = None
    project_url: str | None = None
    pdf_url: str | None = None
    # Further addresses that belong to it: code, models, data sets.
    links: tuple[str, ...] = ()
    votes: int | None = None
    comments: int | None = None
    # Its authors or its publisher took it back; a source that does not say so leaves None.
    withdrawn: bool | None = None
    results: tuple[ReportedResult, ...] = ()
    # Scheme to value, such as {"arxiv": "2502.08923", "doi": "10.18653/v1/…"}; versions stripped.
    identifiers: Mapping[str, str] = field(default_factory=dict)
    # Where it stood in what was read, such as "line 812", to name it when it is refused.
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class Rejected:
    """An item that could not be read: where it stands in its source, and why."""

    place: str
    reason: str


@dataclass(frozen=True)
class Removed:
    """The source has taken an item back: where it is known, the paper stays, as withdrawn."""

    source: str
    source_key: str
    place: str = ""


@dataclass(frozen=True)
class Bookmark:
    """All before it may be kept for good; a broken import goes on here.

    `position` is the source's own word for the place, such as a resumption token; None when
    everything has been read. It is stored in the transaction that stores what stands before it.
    """

    source: str
    # What was asked of the source, so that another question does not resume here.
    scope: str
    position: str | None


Item = PaperRecord | Rejected | Removed | Bookmark


@dataclass(frozen=True)
class Paper:
    """A paper of the catalogue, as pages, search and feeds see it."""

    id: PaperId
    key: str
    title: str
    abstract: str
    title_text: str
    abstract_text: str
    authors: tuple[str, ...]
    author_count: int | None
    organisation: str | None
    published: date | None
    listed: date | None
    day: date | None
    categories: tuple[str, ...]
    comment: str | None
    venue: str | None
    code_url: str | None
    project_url: str | None
    pdf_url: str | None
    votes: int
    comments: int
    links: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    withdrawn: bool = False


@dataclass(frozen=True)
class PaperDetail:
    """A paper with what identifies it and the sources that it came from."""

    paper: Paper
    identifiers: tuple[tuple[str, str], ...]
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Said:
    """What one source says of a paper, and how the two met."""

    source: str
    source_key: str
    # "first", or what showed that it is this paper: name, identifier, title, abstract, a person.
    met_by: str
    seen_at: datetime
    identifiers: Mapping[str, str]
    # By column; what the source does not know is left out.
    values: Mapping[str, object]


@dataclass(frozen=True)
class Provenance:
    """A paper's sources, and for each of its columns the source that it was taken from."""

    paper: Paper
    said: tuple[Said, ...]
    # Column to (source, source_key).
    taken_from: Mapping[str, tuple[str, str]]


@dataclass(frozen=True)
class Reported:
    """A result of a paper with the source that lists it."""

    source: str
    result: ReportedResult


@dataclass(frozen=True)
class Imported:
    """What an import did. Each item read was added, updated, merged, rejected, or changed nothing.

    `merged` counts records that met a paper until then known from other sources only.
    `rejections` holds the first of the rejected; a source can be all faults.
    """

    read: int
    added: int
    updated: int
    merged: int
    seconds: float
    rejections: tuple[Rejected, ...]
    rejected: int
