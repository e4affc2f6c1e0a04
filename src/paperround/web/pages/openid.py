"""Signing in by a provider of OpenID Connect: there, and back.

Coming back signs in whoever the provider names, and no more. That a reader goes by that identity as
well from now on is begun by a form of their own page, with their password: else a page elsewhere
could send their browser there, signed in as somebody else, and its writer had a way in.
"""

import json
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.errors import ForbiddenError, NotFoundError, PaperroundError, SignInError
from paperround.readers.accounts import confirm_password
from paperround.readers.identities import end_identity, join_identity, sign_in_as
from paperround.readers.openid import Begun, Identity, begin, finish
from paperround.settings import OpenIdProvider
from paperround.web.pages.accounts import local_path
from paperround.web.pages.me import own_page
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import (
    ReaderHere,
    cookie_name,
    is_secure,
    keep_session,
    session_token,
    who,
)

router = APIRouter()

_COOKIE = "paperround_openid"
_LASTS_S = 600
_OWN = "/me#identities"


@dataclass(frozen=True)
class _Errand:
    """What a browser was sent to the provider for: `joins` is the reader who wants to be joined."""

    begun: Begun
    next_path: str
    joins: int | None


@router.get("/sign-in/oidc")
def there(
    request: Request,
    site: SiteHere,
    next: Annotated[str, Query(max_length=300)] = "/",
) -> Response:
    """Sends the browser to the provider; what it must bring back is kept in a cookie.

    A page elsewhere begins no session here: who comes from one presses the button first.
    """
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return RedirectResponse(f"/sign-in?{urlencode({'next': local_path(next)})}", 303)
    try:
        begun = begin(_provider(site), site.discovery, _back(site))
    except SignInError as error:
        return _not_signed_in(request, error)
    response = RedirectResponse(begun.address, status_code=303)
    _keep(request, response, _Errand(begun, local_path(next), None))
    return response


@router.get("/sign-in/oidc/back")
def back(request: Request, site: SiteHere) -> Response:
    """Signs in whoever the provider says it is, or joins them to the reader who asked for that."""
    provider = _provider(site)
    try:
        errand = _errand(request)
        brought = dict(request.query_params.items())
        found = finish(provider, site.discovery, _back(site), errand.begun, brought, utc_now())
    except SignInError as error:
        return _not_signed_in(request, error)
    if errand.joins is not None:
        response = _joined(request, site, found, errand.joins)
    else:
        token = sign_in_as(
            site.engine,
            found.issuer,
            found.subject,
            wanted_name=found.name,
            may_sign_up=provider.sign_up or site.settings.sign_up == "open",
            agent=request.headers.get("user-agent", ""),
            now=utc_now(),
            held=session_token(request),
        )
        response = RedirectResponse(errand.next_path, status_code=303)
        keep_session(request, response, token)
    _forget(request, response)
    return response


@router.post("/me/identities")
def join(
    request: Request,
    site: SiteHere,
    reader: ReaderHere,
    password: Annotated[str, Form(max_length=300)] = "",
) -> Response:
    """Shows the way to the provider, to be known by that identity as well."""
    provider = _provider(site)
    try:
        confirm_password(site.engine, reader, password, utc_now())
        begun = begin(provider, site.discovery, _back(site))
    except PaperroundError as error:
        return own_page(request, site, reader, at="identities", error=error)
    # A page and no redirect: our policy lets no form lead to another site, not in two steps either.
    response = render(
        request, "onward.html", is_secret=True, provider=provider.name, address=begun.address
    )
    _keep(request, response, _Errand(begun, _OWN, reader.id))
    return response


@router.post("/me/identities/{identity}/end")
def end(request: Request, site: SiteHere, reader: ReaderHere, identity: str) -> Response:
    """Ends signing in by that identity."""
    try:
        end_identity(site.engine, reader, identity)
    except NotFoundError:
        raise
    except PaperroundError as error:
        return own_page(request, site, reader, at="identities", error=error)
    return RedirectResponse(_OWN, status_code=303)


def _keep(request: Request, response: Response, errand: _Errand) -> None:
    begun = errand.begun
    held = [begun.state, begun.nonce, begun.verifier, errand.next_path, errand.joins]
    response.set_cookie(
        cookie_name(request, _COOKIE),
        json.dumps(held),
        max_age=_LASTS_S,
        path="/",
        secure=is_secure(request),
        httponly=True,
        # It has to come along when the provider sends the browser back.
        samesite="lax",
    )


def _joined(request: Request, site: Site, found: Identity, joins: int) -> Response:
    reader = who(request).reader
    if reader is None or reader.id != joins:
        raise ForbiddenError("somebody else is signed in by now; nothing was joined")
    join_identity(site.engine, reader, found.issuer, found.subject, utc_now())
    return RedirectResponse(_OWN, status_code=303)


def _not_signed_in(request: Request, error: SignInError) -> Response:
    response = render(
        request,
        "failure.html",
        status=401,
        is_secret=True,
        code=401,
        heading="Not signed in",
        detail=str(error),
    )
    _forget(request, response)
    return response


def _errand(request: Request) -> _Errand:
    held = request.cookies.get(cookie_name(request, _COOKIE), "")
    try:
        state, nonce, verifier, next_path, joins = json.loads(held)
        begun = Begun("", str(state), str(nonce), str(verifier))
        return _Errand(begun, local_path(str(next_path)), None if joins is None else int(joins))
    except (ValueError, TypeError) as error:
        raise SignInError("this browser has begun no sign-in there, or long ago") from error


def _forget(request: Request, response: Response) -> None:
    response.delete_cookie(
        cookie_name(request, _COOKIE), path="/", secure=is_secure(request), httponly=True
    )


def _provider(site: Site) -> OpenIdProvider:
    if site.settings.oidc is None:
        raise NotFoundError("no provider of OpenID Connect is configured here")
    return site.settings.oidc


def _back(site: Site) -> str:
    return f"{site.settings.public_url}/sign-in/oidc/back"
