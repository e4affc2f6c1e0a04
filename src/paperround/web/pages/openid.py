"""Signing in by a provider of OpenID Connect: there, and back."""

import json
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from paperround.clock import utc_now
from paperround.errors import NotFoundError, SignInError
from paperround.readers.accounts import sign_in_as
from paperround.readers.openid import Begun, begin, finish
from paperround.settings import OpenIdProvider
from paperround.web.pages.accounts import local_path
from paperround.web.rendering import render
from paperround.web.site import Site, SiteHere
from paperround.web.visitors import cookie_name, is_secure, keep_session, who

router = APIRouter()

_COOKIE = "paperround_openid"
_LASTS_S = 600


@router.get("/sign-in/oidc")
def there(
    request: Request,
    site: SiteHere,
    next: Annotated[str, Query(max_length=300)] = "/",
) -> Response:
    """Sends the browser to the provider; what it must bring back is kept in a cookie."""
    try:
        begun = begin(_provider(site), site.discovery, _back(site))
    except SignInError as error:
        return _not_signed_in(request, error)
    response = RedirectResponse(begun.address, status_code=303)
    response.set_cookie(
        cookie_name(request, _COOKIE),
        json.dumps([begun.state, begun.nonce, begun.verifier, local_path(next)]),
        max_age=_LASTS_S,
        path="/",
        secure=is_secure(request),
        httponly=True,
        # It has to come along when the provider sends the browser back.
        samesite="lax",
    )
    return response


@router.get("/sign-in/oidc/back")
def back(request: Request, site: SiteHere) -> Response:
    """Signs in whoever the provider says it is, or joins them to the reader who is signed in."""
    provider = _provider(site)
    visitor = who(request)
    try:
        begun, next_path = _begun(request)
        brought = dict(request.query_params.items())
        found = finish(provider, site.discovery, _back(site), begun, brought, utc_now())
    except SignInError as error:
        return _not_signed_in(request, error)
    token = sign_in_as(
        site.engine,
        found.issuer,
        found.subject,
        wanted_name=found.name,
        may_sign_up=provider.sign_up or site.settings.sign_up == "open",
        signed_in=visitor.reader,
        agent=request.headers.get("user-agent", ""),
        now=utc_now(),
    )
    response = RedirectResponse(next_path if token else "/me", status_code=303)
    if token is not None:
        keep_session(request, response, token)
    _forget(request, response)
    return response


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


def _begun(request: Request) -> tuple[Begun, str]:
    held = request.cookies.get(cookie_name(request, _COOKIE), "")
    try:
        state, nonce, verifier, next_path = json.loads(held)
        return Begun("", str(state), str(nonce), str(verifier)), local_path(str(next_path))
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
