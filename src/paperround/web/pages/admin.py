"""The admin's pages: accounts, invitations, the log of acts, and how the work stands."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Path, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import NotFoundError, PaperroundError
from paperround.readers import administration as actions
from paperround.readers.acts import acts_before
from paperround.readers.queries import reader_by_id, sessions_of, tokens_of
from paperround.readers.sessions import IDLE
from paperround.web.api.cursors import read_number
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere

router = APIRouter()

_READERS = 50
_ACTS = 100

Text = Annotated[str, Form(max_length=2_000)]
Cursor = Annotated[str | None, Query(max_length=80)]
ReaderId = Annotated[int, Path(ge=1, le=2**53)]


@router.get("/admin")
def admin(request: Request, site: SiteHere) -> Response:
    """How the work in the background stands."""
    with read(site.engine) as connection:
        state = actions.state_of(connection)
    return _render(request, site, "admin.html", state=state)


@router.get("/admin/readers")
def readers(
    request: Request,
    site: SiteHere,
    q: Annotated[str, Query(max_length=100)] = "",
    after: Cursor = None,
) -> Response:
    """The readers, by name; `q` is a part of a name or an address."""
    with read(site.engine) as connection:
        found = actions.readers_like(connection, q, after, _READERS + 1)
    shown = found[:_READERS]
    return _render(
        request,
        site,
        "admin_readers.html",
        asked=q,
        readers=[reader for _, reader in shown],
        follows=shown[-1][0] if len(found) > _READERS else None,
    )


@router.get("/admin/readers/{reader_id}")
def reader_page(request: Request, site: SiteHere, reader_id: ReaderId) -> Response:
    """An account and what may be done with it."""
    return _reader_page(request, site, reader_id)


@router.post("/admin/readers/{reader_id}/role")
def change_role(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    reader_id: ReaderId,
    role: Text = "",
    password: Text = "",
) -> Response:
    """Gives the reader another role."""
    try:
        actions.change_role(site.engine, reader, reader_id, role, password, utc_now())
    except PaperroundError as error:
        return _reader_page(request, site, reader_id, at="role", error=error)
    return RedirectResponse(f"/admin/readers/{reader_id}", status_code=303)


@router.post("/admin/readers/{reader_id}/reset")
def reset(
    request: Request, site: SiteHere, reader: ReaderHere, reader_id: ReaderId, password: Text = ""
) -> Response:
    """Shows a link with which the reader chooses a new password, this once."""
    try:
        path = actions.link_for_password(site.engine, reader, reader_id, password, utc_now())
    except PaperroundError as error:
        return _reader_page(request, site, reader_id, at="reset", error=error)
    return _reader_page(request, site, reader_id, link=_address(request, site, path))


@router.post("/admin/readers/{reader_id}/suspend")
def suspend(
    request: Request, site: SiteHere, reader: ReaderHere, reader_id: ReaderId, because: Text = ""
) -> Response:
    """Shuts the reader out."""
    return _change(request, site, reader, reader_id, actions.Change.SUSPEND, because)


@router.post("/admin/readers/{reader_id}/readmit")
def readmit(request: Request, site: SiteHere, reader: ReaderHere, reader_id: ReaderId) -> Response:
    """Lets the reader in again."""
    return _change(request, site, reader, reader_id, actions.Change.READMIT, "")


@router.post("/admin/readers/{reader_id}/delete")
def delete(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    reader_id: ReaderId,
    name: Text = "",
    password: Text = "",
) -> Response:
    """Deletes the account and all that is personal in it."""
    try:
        actions.end_account(site.engine, reader, reader_id, name, password, utc_now())
    except PaperroundError as error:
        return _reader_page(request, site, reader_id, at="delete", error=error)
    return RedirectResponse("/admin/readers", status_code=303)


@router.get("/admin/invitations")
def invitations(request: Request, site: SiteHere) -> Response:
    """The invitations that nobody has used."""
    return _invitations_page(request, site)


@router.post("/admin/invitations")
def invite(request: Request, site: SiteHere, reader: ReaderHere) -> Response:
    """Shows a new invitation, this once."""
    path = actions.invite(site.engine, reader, utc_now())
    return _invitations_page(request, site, link=_address(request, site, path))


@router.post("/admin/invitations/{invitation}/revoke")
def revoke(
    site: SiteHere, reader: ReaderHere, invitation: Annotated[str, Path(max_length=16)]
) -> Response:
    """Ends an invitation."""
    actions.revoke_invitation(site.engine, reader, invitation, utc_now())
    return RedirectResponse("/admin/invitations", status_code=303)


@router.get("/admin/acts")
def acts(request: Request, site: SiteHere, before: Cursor = None) -> Response:
    """What moderators and admins did, the last first."""
    with read(site.engine) as connection:
        found = acts_before(connection, read_number(before), _ACTS + 1)
    shown = found[:_ACTS]
    return _render(
        request,
        site,
        "admin_acts.html",
        acts=[act for _, act in shown],
        follows=shown[-1][0] if len(found) > _ACTS else None,
    )


def _change(
    request: Request,
    site: Site,
    admin: Any,
    reader_id: int,
    what: actions.Change,
    because: str,
) -> Response:
    try:
        actions.change(site.engine, admin, reader_id, what, because, utc_now())
    except NotFoundError:
        raise
    except PaperroundError as error:
        return _reader_page(request, site, reader_id, at="suspend", error=error)
    return RedirectResponse(f"/admin/readers/{reader_id}", status_code=303)


def _reader_page(
    request: Request,
    site: Site,
    reader_id: int,
    *,
    at: str = "",
    error: PaperroundError | None = None,
    link: str = "",
) -> Response:
    """An account's page; `at` names the form that `error` stands beside."""
    with read(site.engine) as connection:
        found = reader_by_id(connection, reader_id)
        if found is None:
            raise NotFoundError(f"no reader {reader_id}")
        sessions = sessions_of(connection, found.id, utc_now() - IDLE)
        tokens = tokens_of(connection, found.id)
    return _render(
        request,
        site,
        "admin_reader.html",
        status=error.http_status if error else 200,
        reader=found,
        n_sessions=len(sessions),
        n_tokens=len(tokens),
        at=at,
        error=str(error) if error else "",
        link=link,
        max_because=actions.MAX_BECAUSE,
    )


def _invitations_page(request: Request, site: Site, link: str = "") -> Response:
    with read(site.engine) as connection:
        found = actions.invitations(connection, utc_now())
    is_closed = site.settings.sign_up == "closed"
    return _render(
        request, site, "admin_invitations.html", invitations=found, link=link, is_closed=is_closed
    )


def _render(request: Request, site: Site, template: str, **context: Any) -> Response:
    context.setdefault("status", 200)
    return render(request, template, is_secret=True, section="admin", **context)


def _address(request: Request, site: Site, path: str) -> str:
    """The link's whole address; `public_url` where it is set, whatever the request's host says."""
    return (site.settings.public_url or str(request.base_url).rstrip("/")) + path
