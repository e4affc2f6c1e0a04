"""Submissions as JSON: handed in, and what became of them."""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, ConfigDict, Field

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import ForbiddenError
from paperround.readers import submissions as actions
from paperround.readers.records import Reader, Submission
from paperround.readers.submissions import ByHand
from paperround.readers.tokens import Scope
from paperround.web.api.cursors import next_address, read_number
from paperround.web.api.readers import REFUSED, Cursor, Key, Limit
from paperround.web.api.shapes import PROBLEMS
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, VisitorHere

router = APIRouter(tags=["submissions"], responses={**PROBLEMS, **REFUSED})

_PAGE = 30

SubmissionId = Annotated[int, Path(ge=1, le=2**53)]


class AddressAsked(BaseModel):
    """An arXiv id, a DOI, or an address of a source that can be asked."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"address": "2312.00858"}}
    )

    address: str = Field(max_length=2_000)


class BibtexAsked(BaseModel):
    """A bibliography; its papers go into the reader's collection of that key too."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"bibtex": "@misc{ay, title = {On it}}"}}
    )

    bibtex: str
    collection: str | None = Field(default=None, max_length=16)


class BecauseAsked(BaseModel):
    """Why a moderator does it."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"because": "an advert"}}
    )

    because: str = Field(max_length=2_000)


class SubmittedPaperOut(BaseModel):
    """A paper that a submission named; `added` is false where it was here already."""

    key: str
    url: str
    title: str
    added: bool


class RejectionOut(BaseModel):
    """What could not be used, and why."""

    place: str
    reason: str


class SubmissionOut(BaseModel):
    """A submission; `state` is waiting, working, done or failed."""

    id: int
    url: str
    kind: str
    state: str
    reason: str
    submitted_at: datetime
    ended_at: datetime | None
    collection: str | None
    papers: list[SubmittedPaperOut]
    rejected: int
    rejections: list[RejectionOut]

    @classmethod
    def of(cls, submission: Submission) -> Self:
        """The shape of a submission."""
        return cls(
            id=submission.id,
            url=f"/submissions/{submission.id}",
            kind=submission.kind.value,
            state=submission.state,
            reason=submission.reason,
            submitted_at=submission.at,
            ended_at=submission.ended_at,
            collection=submission.collection,
            papers=[
                SubmittedPaperOut(key=key, url=f"/papers/{key}", title=title, added=is_new)
                for key, title, is_new in submission.papers
            ],
            rejected=submission.n_rejected,
            rejections=[
                RejectionOut(place=place, reason=reason) for place, reason in submission.rejections
            ],
        )


class SubmissionsOut(BaseModel):
    """A page of submissions; `next` is the address of the following page, null on the last."""

    submissions: list[SubmissionOut]
    next: str | None


@router.post("/submissions", status_code=202)
def submit_address(
    response: Response, site: SiteHere, reader: ReaderHere, asked: AddressAsked
) -> SubmissionOut:
    """Hands in a paper by its id, DOI or address; a worker asks the source that has it."""
    number = actions.submit_address(site.engine, reader, asked.address, utc_now())
    return _submitted(response, site, reader, number)


@router.post("/submissions/bibtex", status_code=202)
def submit_bibtex(
    response: Response,
    site: SiteHere,
    reader: ReaderHere,
    visitor: VisitorHere,
    asked: BibtexAsked,
) -> SubmissionOut:
    """Hands in the papers of a bibliography."""
    if asked.collection is not None and Scope.COLLECT not in (visitor.scopes or ()):
        raise ForbiddenError("this token does not have the scope 'collect'")
    number = actions.submit_bibtex(site.engine, reader, asked.bibtex, utc_now(), asked.collection)
    return _submitted(response, site, reader, number)


@router.post("/submissions/by-hand", status_code=202)
def submit_by_hand(
    response: Response, site: SiteHere, reader: ReaderHere, asked: ByHand
) -> SubmissionOut:
    """Hands in a paper that no source has."""
    number = actions.submit_by_hand(site.engine, reader, asked, utc_now())
    return _submitted(response, site, reader, number)


@router.get("/submissions/{submission_id}")
def get_submission(
    site: SiteHere, reader: ReaderHere, submission_id: SubmissionId
) -> SubmissionOut:
    """What became of a submission."""
    with read(site.engine) as connection:
        return SubmissionOut.of(actions.find_submission(connection, submission_id, reader))


@router.get("/me/submissions")
def list_submissions(
    site: SiteHere, reader: ReaderHere, cursor: Cursor = None, limit: Limit = _PAGE
) -> SubmissionsOut:
    """The reader's submissions, the newest first."""
    with read(site.engine) as connection:
        found = actions.submissions_of(connection, reader.id, read_number(cursor), limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        follows = next_address("me/submissions", str(shown[-1].id), limit)
    return SubmissionsOut(submissions=[SubmissionOut.of(each) for each in shown], next=follows)


@router.post("/papers/{key:path}/withdraw", status_code=204)
def withdraw_paper(site: SiteHere, reader: ReaderHere, key: Key, asked: BecauseAsked) -> Response:
    """Takes a paper out of the catalogue that only readers' word stands for: for moderators."""
    actions.withdraw_paper(site.engine, reader, key, asked.because, utc_now())
    return Response(status_code=204)


def _submitted(response: Response, site: Site, reader: Reader, number: int) -> SubmissionOut:
    response.headers["location"] = f"/api/v1/submissions/{number}"
    with read(site.engine) as connection:
        return SubmissionOut.of(actions.find_submission(connection, number, reader))
