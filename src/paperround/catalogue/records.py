"""What passes between the catalogue and the others: records in, papers out, plain and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import NewType

PaperId = NewType("PaperId", int)


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
    comment: str | None = None
    venue: str | None = None
    code_url: str | None = None
    project_url: str | None = None
    pdf_url: str | None = None
    votes: int | None = None
    comments: int | None = None
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


@dataclass(frozen=True)
class PaperDetail:
    """A paper with what identifies it and the sources that it came from."""

    paper: Paper
    identifiers: tuple[tuple[str, str], ...]
    sources: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Imported:
    """What an import did. Each item read was added, updated, merged, rejected, or changed nothing.

    `merged` counts records that met a paper until then known from other sources only.
    """

    read: int
    added: int
    updated: int
    merged: int
    seconds: float
    rejections: tuple[Rejected, ...]

    @property
    def rejected(self) -> int:
        """How many items could not be read."""
        return len(self.rejections)
