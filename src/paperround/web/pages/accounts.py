"""Signing in and out, signing up, invitations, and links that came by mail or were printed."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.errors import ForbiddenError, NotFoundError, PaperroundError, TooOftenError
from paperround.log import get_logger
from paperround.readers import accounts, limits
from paperround.readers.links import find_link
from paperround.readers.mail import mailing_of
from paperround.readers.queries import has_readers
from paperround.readers.records import Link, Purpose
from paperround.readers.secrets import MAX_PASSWORD, MIN_PASSWORD
from paperround.readers.sessions import end_session
from paperround.web.failures import retry_headers
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import (
    client_address,
    drop_session,
    keep_session,
    session_token,
    who,
)

router = APIRouter()
log = get_logger()

Text = Annotated[str, Form(max_length=300)]
Next = Annotated[str, Query(max_length=300)]


@router.get("/sign-in")
def sign_in_form(request: Request, site: SiteHere, next: Next = "/") -> Response:
    """The form to sign in with; who is signed in already goes on."""
    if who(request).reader is not None:
        return RedirectResponse(local_path(next), status_code=303)
    return _sign_in_page(request, site, next)


@router.post("/sign-in")
def sign_in(
    request: Request,
    site: SiteHere,
    name: Text = "",
    password: Text = "",
    next: Text = "/",
) -> Response:
    """Signs in, and leads to where the reader wanted to go."""
    try:
        token = accounts.sign_in(
            site.engine,
            name,
            password,
            address=client_address(request),
            agent=request.headers.get("user-agent", ""),
            now=utc_now(),
            held=session_token(request),
        )
    except PaperroundError as error:
        # Not the name: people type their password there.
        log.info("sign_in.refused", status=error.http_status)
        return _sign_in_page(request, site, next, error=error, name=name)
    response = RedirectResponse(local_path(next), status_code=303)
    keep_session(request, response, token)
    return response


@router.post("/sign-out")
def sign_out(request: Request, site: SiteHere) -> Response:
    """Ends this browser's session."""
    visitor = who(request)
    if visitor.reader is not None and visitor.session is not None:
        with write(site.engine) as connection:
            end_session(connection, visitor.reader.id, visitor.session.id)
    response = RedirectResponse("/", status_code=303)
    drop_session(request, response)
    # What the browser has kept of pages that were this reader's.
    response.headers["clear-site-data"] = '"cache"'
    return response


@router.get("/sign-up")
def sign_up_form(request: Request, site: SiteHere) -> Response:
    """The form for a new account, or why there is none."""
    return _sign_up_page(request, site)


@router.post("/sign-up")
def sign_up(request: Request, site: SiteHere, name: Text = "", password: Text = "") -> Response:
    """Makes an account, where everybody may have one, and signs in."""
    if site.settings.sign_up != "open":
        raise ForbiddenError("sign-up is not open here")
    try:
        return _sign_up(request, site, name, password, None)
    except PaperroundError as error:
        return _sign_up_page(request, site, error=error, name=name)


@router.get("/join/{token}")
def join_form(request: Request, site: SiteHere, token: str) -> Response:
    """The same for who was invited, or is to be the admin. Looking uses nothing up."""
    return _sign_up_page(request, site, link=_link(request, site, token), token=token)


@router.post("/join/{token}")
def join(
    request: Request, site: SiteHere, token: str, name: Text = "", password: Text = ""
) -> Response:
    """Makes the account that the link is good for, and signs in."""
    link = _link(request, site, token)
    if link.purpose is Purpose.INVITATION and site.settings.sign_up == "closed":
        raise ForbiddenError("sign-up is closed here")
    try:
        return _sign_up(request, site, name, password, token)
    except NotFoundError:
        raise
    except PaperroundError as error:
        return _sign_up_page(request, site, error=error, name=name, link=link, token=token)


@router.get("/forgot")
def forgot_form(request: Request, site: SiteHere) -> Response:
    """The form to ask for a new password with."""
    return render(
        request, "forgot.html", is_secret=True, has_mail=site.settings.mail is not None, sent=False
    )


@router.post("/forgot")
def forgot(request: Request, site: SiteHere, name: Text = "") -> Response:
    """Mails a link, and says the same whether there is such an account or not."""
    accounts.ask_for_password(
        site.engine,
        name,
        mailing_of(site.settings),
        address=client_address(request),
        now=utc_now(),
    )
    return render(request, "forgot.html", is_secret=True, has_mail=True, sent=True)


@router.get("/password/{token}")
def password_form(request: Request, site: SiteHere, token: str) -> Response:
    """The form for a new password. Looking uses nothing up."""
    _link(request, site, token)
    return _password_page(request, token)


@router.post("/password/{token}")
def set_password(request: Request, site: SiteHere, token: str, password: Text = "") -> Response:
    """Sets the password, ends all sessions, and leads to signing in with it."""
    _link(request, site, token)
    try:
        accounts.set_password(site.engine, token, password, utc_now())
    except NotFoundError:
        raise
    except PaperroundError as error:
        return _password_page(request, token, error=error)
    response = RedirectResponse("/sign-in?next=/me", status_code=303)
    drop_session(request, response)
    return response


@router.get("/confirm/{token}")
def confirm_form(request: Request, site: SiteHere, token: str) -> Response:
    """The button that confirms an address. Looking uses nothing up: scanners of mail look too."""
    link = _link(request, site, token)
    return render(request, "confirm.html", is_secret=True, link=link, confirmed=None)


@router.post("/confirm/{token}")
def confirm(request: Request, site: SiteHere, token: str) -> Response:
    """Confirms the address."""
    _link(request, site, token)
    confirmed = accounts.confirm_email(site.engine, token, utc_now())
    return render(request, "confirm.html", is_secret=True, link=None, confirmed=confirmed)


def local_path(path: str) -> str:
    """The path if it leads to a page of ours, `/` for any other: no sign-in leads elsewhere."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\"))
    return path if is_ours and path.isprintable() and "\\" not in path else "/"


def _link(request: Request, site: Site, token: str) -> Link:
    """What the link is good for; guessing has a limit, beside there being 2^256 of them."""
    now = utc_now()
    with read(site.engine) as connection:
        try:
            return find_link(connection, token, now)
        except NotFoundError as error:
            wrong = error
    with write(site.engine) as connection:
        limits.spend(connection, limits.LINKS, client_address(request), now)
    raise wrong


def _sign_up(request: Request, site: Site, name: str, password: str, link: str | None) -> Response:
    token = accounts.sign_up(
        site.engine,
        name,
        password,
        address=client_address(request),
        agent=request.headers.get("user-agent", ""),
        now=utc_now(),
        link=link,
        held=session_token(request),
    )
    response = RedirectResponse("/me", status_code=303)
    keep_session(request, response, token)
    return response


def _sign_in_page(
    request: Request,
    site: Site,
    next: str,
    error: PaperroundError | None = None,
    name: str = "",
) -> Response:
    with read(site.engine) as connection:
        is_empty = not has_readers(connection)
    return _form_page(
        request,
        "sign_in.html",
        error,
        name=name[:60],
        next=local_path(next),
        is_empty=is_empty,
        is_open=site.settings.sign_up == "open",
        provider=site.settings.oidc,
    )


def _sign_up_page(
    request: Request,
    site: Site,
    error: PaperroundError | None = None,
    name: str = "",
    link: Link | None = None,
    token: str = "",
) -> Response:
    return _form_page(
        request,
        "sign_up.html",
        error,
        name=name[:60],
        link=link,
        address=f"/join/{token}" if link else "/sign-up",
        is_open=link is not None or site.settings.sign_up == "open",
        min_password=MIN_PASSWORD,
        max_password=MAX_PASSWORD,
    )


def _password_page(request: Request, token: str, error: PaperroundError | None = None) -> Response:
    return _form_page(
        request,
        "password.html",
        error,
        address=f"/password/{token}",
        min_password=MIN_PASSWORD,
        max_password=MAX_PASSWORD,
    )


def _form_page(
    request: Request, template: str, error: PaperroundError | None, **context: Any
) -> Response:
    """A form, with what was wrong with it the last time."""
    response = render(
        request,
        template,
        status=error.http_status if error else 200,
        is_secret=True,
        error=str(error) if error else "",
        **context,
    )
    if isinstance(error, TooOftenError):
        response.headers.update(retry_headers(error))
    return response
