"""What passes between this room and the others: readers, sessions, comments, plain and frozen."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256

from paperround.catalogue.records import Paper, PaperId
from paperround.runs.rights import Role


class Purpose(StrEnum):
    """What a link is good for."""

    ADMIN = "admin"
    INVITATION = "invitation"
    PASSWORD = "password"  # noqa: S105  (a purpose, no secret)
    EMAIL = "email"


class Mark(StrEnum):
    """What a reader says of a paper for themselves."""

    READ = "read"
    LATER = "later"
    NOT_FOR_ME = "not-for-me"


@dataclass(frozen=True)
class Reader:
    """A person with an account."""

    id: int
    name: str
    role: Role
    email: str | None
    has_password: bool
    created_at: datetime
    established_at: datetime
    suspended_at: datetime | None

    @property
    def is_moderator(self) -> bool:
        """Whether they may hide comments and see reports."""
        return self.role in (Role.MODERATOR, Role.ADMIN)


@dataclass(frozen=True)
class Session:
    """One browser that is signed in."""

    id: int
    agent: str
    created_at: datetime
    seen_at: datetime


@dataclass(frozen=True)
class Identity:
    """Who a reader is at a provider of OpenID Connect."""

    issuer: str
    subject: str
    created_at: datetime

    @property
    def id(self) -> str:
        """What names it in an address, without saying what the provider calls them."""
        return sha256(f"{self.issuer} {self.subject}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class ApiToken:
    """A reader's token for the API, without what it holds."""

    id: int
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None


@dataclass(frozen=True)
class Link:
    """A link that has not been used and has not expired."""

    purpose: Purpose
    reader_id: int | None
    email: str | None


@dataclass(frozen=True)
class Comment:
    """A comment as it is stored; `author` is None where nobody stands behind it any more.

    `mentions` holds what it calls other papers, and their keys.
    """

    id: int
    paper_id: PaperId
    parent_id: int | None
    reader_id: int | None
    author: str | None
    text: str
    created_at: datetime
    edited_at: datetime | None
    hidden_at: datetime | None
    hidden_because: str
    mentions: Mapping[str, str]

    @property
    def is_gone(self) -> bool:
        """Whether its author took it back, and it stays for its answers' sake."""
        return not self.text


@dataclass(frozen=True)
class Reported:
    """A comment that readers have reported, with what they say of it."""

    comment: Comment
    paper_key: str
    paper_title: str
    reasons: tuple[str, ...]
    first_at: datetime


class Visibility(StrEnum):
    """Who may see a collection: its owner, whoever has its address, or all."""

    PRIVATE = "private"
    LINK = "link"
    PUBLIC = "public"


@dataclass(frozen=True)
class Collection:
    """Papers that a reader keeps together."""

    id: int
    key: str
    reader_id: int
    owner: str
    name: str
    about: str
    visibility: Visibility
    created_at: datetime
    changed_at: datetime
    n_papers: int


@dataclass(frozen=True)
class Collected:
    """A paper in a collection; `position` grows along the list and is no place in it."""

    paper: Paper
    position: int
    note: str
    at: datetime


class SubmissionKind(StrEnum):
    """How a paper was handed in."""

    ADDRESS = "address"
    BIBTEX = "bibtex"
    BY_HAND = "by-hand"


@dataclass(frozen=True)
class Submission:
    """What a reader handed in, and what became of it; `state` is waiting, working, done, failed.

    `papers` has the key and title of each paper that it named, and whether it added it.
    """

    id: int
    reader_id: int | None
    reader: str | None
    kind: SubmissionKind
    asked: str
    collection: str | None
    state: str
    at: datetime
    ended_at: datetime | None
    reason: str
    n_rejected: int
    rejections: tuple[tuple[str, str], ...]
    papers: tuple[tuple[str, str, bool], ...]

    @property
    def is_open(self) -> bool:
        """Whether something is still to become of it."""
        return self.state in ("waiting", "working")


@dataclass(frozen=True)
class Authorship:
    """A reader's word that they are an author of a paper; `state` says what was made of it."""

    id: int
    paper_id: PaperId
    paper_key: str
    paper_title: str
    reader_id: int
    reader: str
    author: str
    note: str
    # asked, confirmed, refused, revoked
    state: str
    asked_at: datetime
    decided_at: datetime | None
    because: str


@dataclass(frozen=True)
class Act:
    """What a moderator or an admin has done."""

    at: datetime
    by: str
    act: str
    on: str
    note: str
