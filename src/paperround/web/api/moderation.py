"""What moderators do, as JSON: reports, hidden comments, authorship, the log of acts."""

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from paperround.clock import utc_now
from paperround.db import read
from paperround.readers import authorship as authorships
from paperround.readers import comments
from paperround.readers.acts import acts_before
from paperround.readers.queries import open_reports
from paperround.readers.records import Authorship
from paperround.web.api.cursors import dated, next_address, read_dated, read_number
from paperround.web.api.readers import REFUSED, CommentId, Cursor, Key, Limit
from paperround.web.api.shapes import PROBLEMS, CommentOut
from paperround.web.api.submissions import BecauseAsked
from paperround.web.site import SiteHere
from paperround.web.visitors import ReaderHere

router = APIRouter(tags=["moderation"], responses={**PROBLEMS, **REFUSED})

_PAGE = 30

AuthorshipId = Annotated[int, Path(ge=1, le=2**53)]
State = Literal["asked", "confirmed", "refused", "revoked"]


class AuthorshipAsked(BaseModel):
    """Which of the paper's authors the reader is, and how one can tell."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"author": "Ada Ay", "note": "my page links to this account"}
        },
    )

    author: str = Field(max_length=200)
    note: str = Field(max_length=4_000)


class AuthorshipOut(BaseModel):
    """A reader's word that they are an author of a paper."""

    id: int
    paper: str
    title: str
    reader: str
    author: str
    note: str
    state: State
    asked_at: datetime
    decided_at: datetime | None
    because: str

    @classmethod
    def of(cls, authorship: Authorship) -> Self:
        """The shape of an authorship."""
        return cls(
            id=authorship.id,
            paper=authorship.paper_key,
            title=authorship.paper_title,
            reader=authorship.reader,
            author=authorship.author,
            note=authorship.note,
            state=authorship.state,  # type: ignore[arg-type]  # the column has no other
            asked_at=authorship.asked_at,
            decided_at=authorship.decided_at,
            because=authorship.because,
        )


class AuthorshipsOut(BaseModel):
    """A page of them; `next` is the address of the following page, null on the last."""

    authorships: list[AuthorshipOut]
    next: str | None


class ReportedOut(BaseModel):
    """A comment that readers reported, with what they say of it."""

    comment: CommentOut
    reasons: list[str]
    first_at: datetime


class ReportsOut(BaseModel):
    """A page of the comments that wait; `next` is the address of the following page, or null."""

    reports: list[ReportedOut]
    next: str | None


class ActOut(BaseModel):
    """What a moderator or an admin did."""

    at: datetime
    by: str
    act: str
    on: str
    note: str


class ActsOut(BaseModel):
    """A page of acts; `next` is the address of the following page, null on the last."""

    acts: list[ActOut]
    next: str | None


@router.post("/papers/{key:path}/authorship", status_code=201)
def claim_authorship(
    site: SiteHere, reader: ReaderHere, key: Key, asked: AuthorshipAsked
) -> AuthorshipOut:
    """Says that the reader is an author of the paper; moderators look at it."""
    number = authorships.claim_authorship(
        site.engine, reader, key, asked.author, asked.note, utc_now()
    )
    with read(site.engine) as connection:
        return AuthorshipOut.of(authorships.find_authorship(connection, number))


@router.get("/me/authorships")
def list_own_authorships(
    site: SiteHere, reader: ReaderHere, cursor: Cursor = None, limit: Limit = _PAGE
) -> AuthorshipsOut:
    """What the reader has said of papers, the newest first."""
    with read(site.engine) as connection:
        found = authorships.authorships_of(connection, reader.id, read_number(cursor), limit + 1)
    return _page(found, "me/authorships", limit)


@router.delete("/authorships/{authorship_id}", status_code=204)
def take_back(site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId) -> Response:
    """Takes the reader's own word back."""
    authorships.take_back(site.engine, reader, authorship_id)
    return Response(status_code=204)


@router.get("/moderation/authorships")
def list_authorships(
    site: SiteHere,
    state: Annotated[State, Query()] = "asked",
    cursor: Cursor = None,
    limit: Limit = _PAGE,
) -> AuthorshipsOut:
    """Those in a state, the longest there first."""
    with read(site.engine) as connection:
        found = authorships.authorships_in(connection, state, read_number(cursor), limit + 1)
    return _page(found, "moderation/authorships", limit, state=state)


@router.post("/authorships/{authorship_id}/confirm")
def confirm(
    site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId, asked: BecauseAsked
) -> AuthorshipOut:
    """Confirms that the reader is that author."""
    return _decided(site, reader, authorship_id, authorships.CONFIRMED, asked)


@router.post("/authorships/{authorship_id}/refuse")
def refuse(
    site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId, asked: BecauseAsked
) -> AuthorshipOut:
    """Refuses it."""
    return _decided(site, reader, authorship_id, authorships.REFUSED, asked)


@router.post("/authorships/{authorship_id}/revoke")
def revoke(
    site: SiteHere, reader: ReaderHere, authorship_id: AuthorshipId, asked: BecauseAsked
) -> AuthorshipOut:
    """Revokes what was confirmed."""
    return _decided(site, reader, authorship_id, authorships.REVOKED, asked)


@router.get("/moderation/reports")
def list_reports(
    site: SiteHere, reader: ReaderHere, cursor: Cursor = None, limit: Limit = _PAGE
) -> ReportsOut:
    """The comments that readers reported and nobody has settled, the longest waiting first."""
    with read(site.engine) as connection:
        found = open_reports(connection, read_dated(cursor), limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        last = shown[-1]
        follows = next_address("moderation/reports", dated(last.first_at, last.comment.id), limit)
    return ReportsOut(
        next=follows,
        reports=[
            ReportedOut(
                comment=CommentOut.of(each.comment, each.paper_key, reader),
                reasons=list(each.reasons),
                first_at=each.first_at,
            )
            for each in shown
        ],
    )


@router.get("/moderation/acts")
def list_acts(site: SiteHere, cursor: Cursor = None, limit: Limit = _PAGE) -> ActsOut:
    """What moderators and admins did, the last first."""
    with read(site.engine) as connection:
        found = acts_before(connection, read_number(cursor), limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        follows = next_address("moderation/acts", str(shown[-1][0]), limit)
    return ActsOut(acts=[ActOut(**vars(act)) for _, act in shown], next=follows)


@router.post("/comments/{comment_id}/hide", status_code=204)
def hide_comment(
    site: SiteHere, reader: ReaderHere, comment_id: CommentId, asked: BecauseAsked
) -> Response:
    """Hides a comment, and settles its reports."""
    comments.hide_comment(site.engine, reader, comment_id, asked.because, utc_now())
    return Response(status_code=204)


@router.post("/comments/{comment_id}/show", status_code=204)
def show_comment(site: SiteHere, reader: ReaderHere, comment_id: CommentId) -> Response:
    """Shows a comment again, or settles its reports."""
    comments.show_comment(site.engine, reader, comment_id, utc_now())
    return Response(status_code=204)


def _decided(
    site: SiteHere, reader: ReaderHere, authorship_id: int, state: str, asked: BecauseAsked
) -> AuthorshipOut:
    found = authorships.decide(site.engine, reader, authorship_id, state, asked.because, utc_now())
    return AuthorshipOut.of(found)


def _page(found: list[Authorship], what: str, limit: int, **query: object) -> AuthorshipsOut:
    shown, follows = found[:limit], None
    if len(found) > limit:
        follows = next_address(what, str(shown[-1].id), limit, **query)
    return AuthorshipsOut(authorships=[AuthorshipOut.of(each) for each in shown], next=follows)
