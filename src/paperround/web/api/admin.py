"""What admins see and do, as JSON.

What could take an account over (a role, a link for a password, an invitation, the end of an
account) is for a person in a session alone, and is not here.
"""

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import NotFoundError
from paperround.readers import administration as actions
from paperround.readers.queries import reader_by_name
from paperround.readers.records import Reader
from paperround.web.api.cursors import next_address
from paperround.web.api.readers import REFUSED, Limit
from paperround.web.api.shapes import PROBLEMS
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere

router = APIRouter(tags=["admin"], responses={**PROBLEMS, **REFUSED})

_PAGE = 30

Name = Annotated[str, Path(max_length=40)]


class SuspendAsked(BaseModel):
    """Why a reader is shut out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"because": "spam"}})

    because: str = Field(max_length=2_000)


class AccountOut(BaseModel):
    """A reader's account."""

    name: str
    role: str
    email: str | None
    created_at: datetime
    suspended_at: datetime | None

    @classmethod
    def of(cls, reader: Reader) -> Self:
        """The shape of an account."""
        return cls(
            name=reader.name,
            role=reader.role.value,
            email=reader.email,
            created_at=reader.created_at,
            suspended_at=reader.suspended_at,
        )


class AccountsOut(BaseModel):
    """A page of accounts; `next` is the address of the following page, null on the last."""

    readers: list[AccountOut]
    next: str | None


class InvitationOut(BaseModel):
    """An invitation that nobody has used, without its secret."""

    id: str
    by: str | None
    created_at: datetime
    expires_at: datetime


class InvitationsOut(BaseModel):
    """All of them: they last for two weeks."""

    invitations: list[InvitationOut]


class StateOut(BaseModel):
    """How the work in the background stands."""

    mails_waiting: int
    mails_failed: int
    oldest_mail_at: datetime | None
    runs_queued: int
    runs_running: int
    submissions_open: int
    papers: int
    papers_not_embedded: int
    readers_by_role: dict[str, int]
    readers_suspended: int


@router.get("/admin/state")
def get_state(site: SiteHere) -> StateOut:
    """How the work in the background stands, and how many readers there are."""
    with read(site.engine) as connection:
        return StateOut(**vars(actions.state_of(connection)))


@router.get("/admin/readers")
def list_readers(
    site: SiteHere,
    q: Annotated[str, Query(max_length=100, description="a part of a name or address")] = "",
    cursor: Annotated[str | None, Query(max_length=80)] = None,
    limit: Limit = _PAGE,
) -> AccountsOut:
    """The readers, by name."""
    with read(site.engine) as connection:
        found = actions.readers_like(connection, q, cursor, limit + 1)
    shown, follows = found[:limit], None
    if len(found) > limit:
        follows = next_address("admin/readers", shown[-1][0], limit, q=q)
    return AccountsOut(readers=[AccountOut.of(reader) for _, reader in shown], next=follows)


@router.get("/admin/readers/{name}")
def get_reader(site: SiteHere, name: Name) -> AccountOut:
    """A reader's account."""
    return AccountOut.of(_reader(site, name))


@router.post("/admin/readers/{name}/suspend")
def suspend(site: SiteHere, reader: ReaderHere, name: Name, asked: SuspendAsked) -> AccountOut:
    """Shuts the reader out: their sessions end, their tokens open nothing."""
    found = _reader(site, name)
    what = actions.Change.SUSPEND
    done = actions.change(site.engine, reader, found.id, what, asked.because, utc_now())
    return AccountOut.of(done)


@router.post("/admin/readers/{name}/readmit")
def readmit(site: SiteHere, reader: ReaderHere, name: Name) -> AccountOut:
    """Lets the reader in again."""
    found = _reader(site, name)
    what = actions.Change.READMIT
    return AccountOut.of(actions.change(site.engine, reader, found.id, what, "", utc_now()))


@router.get("/admin/invitations")
def list_invitations(site: SiteHere) -> InvitationsOut:
    """The invitations that nobody has used."""
    with read(site.engine) as connection:
        found = actions.invitations(connection, utc_now())
    return InvitationsOut(invitations=[InvitationOut(**vars(each)) for each in found])


@router.delete("/admin/invitations/{invitation}", status_code=204)
def revoke_invitation(
    site: SiteHere, reader: ReaderHere, invitation: Annotated[str, Path(max_length=16)]
) -> Response:
    """Ends an invitation."""
    actions.revoke_invitation(site.engine, reader, invitation, utc_now())
    return Response(status_code=204)


def _reader(site: Site, name: str) -> Reader:
    with read(site.engine) as connection:
        found = reader_by_name(connection, name)
    if found is None:
        raise NotFoundError(f"nobody is called '{name}'")
    return found
