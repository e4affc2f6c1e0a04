"""A reader's own page: what is kept of them, where they are signed in, and the end of it."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import PaperId
from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import NotFoundError, PaperroundError, UsageError
from paperround.readers import accounts
from paperround.readers.export import export_reader
from paperround.readers.mail import mailing_of
from paperround.readers.queries import (
    comments_of,
    identities_of,
    papers_marked,
    papers_voted,
    sessions_of,
    tokens_of,
)
from paperround.readers.records import Mark, Reader
from paperround.readers.secrets import MAX_PASSWORD, MIN_PASSWORD
from paperround.readers.sessions import IDLE, end_session, end_sessions
from paperround.readers.tokens import Scope, add_token, revoke_token
from paperround.web.api.cursors import dated, read_dated, read_number
from paperround.web.failures import retry_headers
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import ReaderHere, drop_session, who

router = APIRouter()

_SHOWN = 20
_SCOPES = (
    (Scope.READ, "Read what is yours"),
    (Scope.VOTE, "Vote and mark papers"),
    (Scope.COMMENT, "Comment"),
    (Scope.RUN, "Start and cancel runs"),
    (Scope.SUBSCRIBE, "Change what you get by mail"),
    (Scope.COLLECT, "Make and change collections"),
    (Scope.SUBMIT, "Submit papers and claim authorship"),
    (Scope.MODERATE, "Moderate, where you are a moderator"),
    (Scope.ADMIN, "Look after accounts, where you are an admin"),
)

# The lists of a reader's papers, by the end of their address; votes are no mark.
_KEPT: Mapping[str, tuple[str, Mark | None]] = {
    "later": ("To read later", Mark.LATER),
    "voted": ("Voted for", None),
    "read": ("Read", Mark.READ),
    "not-for-me": ("Not for me", Mark.NOT_FOR_ME),
}
_ON_A_PAGE = 60

Text = Annotated[str, Form(max_length=300)]
Cursor = Annotated[str | None, Query(max_length=80)]


@router.get("/me")
def me(request: Request, site: SiteHere, reader: ReaderHere) -> Response:
    """The reader's own page."""
    return own_page(request, site, reader)


@router.get("/me/papers/{kept}")
def papers(
    request: Request, site: SiteHere, reader: ReaderHere, kept: str, after: Cursor = None
) -> Response:
    """All papers that the reader has voted for, or marked so, the last first."""
    if kept not in _KEPT:
        raise NotFoundError(f"no list of papers '{kept[:20]}'; there are {', '.join(_KEPT)}")
    with read(site.engine) as connection:
        rows = _kept(connection, reader, kept, read_dated(after), _ON_A_PAGE + 1)
        shown = rows[:_ON_A_PAGE]
        found = papers_by_id(connection, [paper_id for paper_id, _ in shown])
    last = shown[-1] if len(rows) > _ON_A_PAGE else None
    return render(
        request,
        "me_papers.html",
        section="me",
        heading=_KEPT[kept][0],
        papers=[(paper, at) for paper, (_, at) in zip(found, shown, strict=True)],
        follows=f"/me/papers/{kept}?after={quote(dated(last[1], last[0]))}" if last else "",
        is_first=after is None,
    )


@router.get("/me/comments")
def own_comments(
    request: Request, site: SiteHere, reader: ReaderHere, after: Cursor = None
) -> Response:
    """All comments of the reader, the last first."""
    with read(site.engine) as connection:
        found = comments_of(connection, reader.id, read_number(after), _ON_A_PAGE + 1)
    shown = found[:_ON_A_PAGE]
    return render(
        request,
        "me_comments.html",
        section="me",
        comments=shown,
        follows=f"/me/comments?after={shown[-1].id}" if len(found) > _ON_A_PAGE else "",
        is_first=after is None,
    )


@router.get("/me/export.json")
def export(site: SiteHere, reader: ReaderHere) -> Response:
    """Everything that is kept of the reader."""
    with read(site.engine) as connection:
        found = export_reader(connection, reader)
    headers = {
        "content-disposition": 'attachment; filename="paperround-export.json"',
        "cache-control": "no-store",
    }
    return JSONResponse(found, headers=headers)


@router.post("/me/password")
def change_password(
    request: Request, site: SiteHere, reader: ReaderHere, old: Text = "", new: Text = ""
) -> Response:
    """Sets another password and ends the other sessions."""
    session = who(request).session
    assert session is not None
    try:
        accounts.change_password(
            site.engine, reader, old, new, session_id=session.id, now=utc_now()
        )
    except PaperroundError as error:
        return own_page(request, site, reader, at="password", error=error)
    return own_page(request, site, reader, at="password", done="Your password is the new one now.")


@router.post("/me/email")
def change_email(
    request: Request, site: SiteHere, reader: ReaderHere, email: Text = "", password: Text = ""
) -> Response:
    """Mails a link to a new address, which counts once it is confirmed."""
    try:
        mailing = mailing_of(site.settings)
        accounts.confirm_password(site.engine, reader, password, utc_now())
        accounts.ask_for_email(site.engine, reader, email, mailing, now=utc_now())
    except PaperroundError as error:
        return own_page(request, site, reader, at="email", error=error)
    done = "A link is on its way to that address. It counts once its button has been pressed."
    return own_page(request, site, reader, at="email", done=done)


@router.post("/me/sessions/end")
def end_others(request: Request, site: SiteHere, reader: ReaderHere) -> Response:
    """Ends all sessions but this browser's."""
    session = who(request).session
    with write(site.engine) as connection:
        end_sessions(connection, reader.id, but=session.id if session else None)
    return RedirectResponse("/me#sessions", status_code=303)


@router.post("/me/sessions/{session_id}/end")
def end_one(site: SiteHere, reader: ReaderHere, session_id: int) -> Response:
    """Ends one session of the reader's."""
    with write(site.engine) as connection:
        if not end_session(connection, reader.id, session_id):
            raise NotFoundError("that session has ended")
    return RedirectResponse("/me#sessions", status_code=303)


@router.post("/me/tokens")
def make_token(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    name: Text = "",
    scopes: Annotated[list[str], Form(max_length=10)] = [],  # noqa: B006  (FastAPI copies it)
    days: Annotated[int, Form()] = 90,
) -> Response:
    """Makes a token, and shows it this once."""
    try:
        token = add_token(site.engine, reader, name, scopes, days, utc_now())
    except PaperroundError as error:
        return own_page(request, site, reader, at="tokens", error=error)
    return own_page(request, site, reader, at="tokens", token=token)


@router.post("/me/tokens/{token_id}/revoke")
def end_token(site: SiteHere, reader: ReaderHere, token_id: int) -> Response:
    """Revokes a token of the reader's."""
    if not revoke_token(site.engine, reader, token_id):
        raise NotFoundError("that token is gone")
    return RedirectResponse("/me#tokens", status_code=303)


@router.post("/me/delete")
def delete(
    request: Request, site: SiteHere, reader: ReaderHere, password: Text = "", name: Text = ""
) -> Response:
    """Removes the account and all that is personal in it."""
    try:
        if name.strip().casefold() != reader.name.casefold():
            raise UsageError(f"type your name, {reader.name}, to say that you mean it")
        accounts.confirm_password(site.engine, reader, password, utc_now())
        with write(site.engine) as connection:
            accounts.delete_reader(connection, reader)
    except PaperroundError as error:
        return own_page(request, site, reader, at="delete", error=error)
    response = RedirectResponse("/", status_code=303)
    drop_session(request, response)
    response.headers["clear-site-data"] = '"cache"'
    return response


def own_page(
    request: Request,
    site: Site,
    reader: Reader,
    *,
    at: str = "",
    error: PaperroundError | None = None,
    done: str = "",
    token: str = "",
) -> Response:
    """The reader's own page; `at` names the form that `error` or `done` stands beside."""
    visitor = who(request)
    with read(site.engine) as connection:
        sessions = sessions_of(connection, reader.id, utc_now() - IDLE)
        tokens = tokens_of(connection, reader.id)
        identities = identities_of(connection, reader.id)
        comments = comments_of(connection, reader.id, None, _SHOWN + 1)
        # What is not for them stands on a page of its own.
        kept = [
            (name, says, _kept(connection, reader, name, None, _SHOWN + 1))
            for name, (says, _) in _KEPT.items()
            if name != "not-for-me"
        ]
        ids = [paper_id for _, _, rows in kept for paper_id, _ in rows]
        papers = {paper.id: paper for paper in papers_by_id(connection, ids)}
    response = render(
        request,
        "me.html",
        status=error.http_status if error else 200,
        is_secret=True,
        section="me",
        reader=reader,
        sessions=sessions,
        tokens=tokens,
        identities=identities,
        provider=site.settings.oidc,
        token=token,
        scopes=_SCOPES,
        comments=comments,
        shown=_SHOWN,
        kept=[(name, says, [(papers[i], at) for i, at in rows]) for name, says, rows in kept],
        this_session=visitor.session.id if visitor.session else None,
        at=at,
        error=str(error) if error else "",
        done=done,
        has_mail=site.settings.mail is not None,
        min_password=MIN_PASSWORD,
        max_password=MAX_PASSWORD,
    )
    if error is not None and error.http_status == 429:
        response.headers.update(retry_headers(error))  # type: ignore[arg-type]
    return response


def _kept(
    connection: Connection,
    reader: Reader,
    name: str,
    after: tuple[datetime, int] | None,
    n: int,
) -> list[tuple[PaperId, datetime]]:
    mark = _KEPT[name][1]
    if mark is None:
        return papers_voted(connection, reader.id, after, n)
    return papers_marked(connection, reader.id, mark, after, n)
