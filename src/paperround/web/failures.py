"""What a request gets when it cannot be answered: a friendly page, or an RFC 9457 problem."""

import secrets
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from paperround.errors import ForbiddenError, PaperroundError, SignInError, TooOftenError
from paperround.log import get_logger
from paperround.web.guard import SECURITY_HEADERS
from paperround.web.rendering import render
from paperround.web.visitors import ANYBODY, Visitor

log = get_logger()

_API = "/api/"
_TITLES = {
    400: "That request does not work",
    401: "Sign in first",
    403: "Not for you",
    404: "Nothing at this address",
    405: "Not that way",
    429: "Too often",
    500: "Something broke here",
}


def install(app: FastAPI) -> None:
    """Answers every error of the application through this module."""
    app.add_exception_handler(PaperroundError, _answer_own)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(Exception, _answer_unforeseen)


def answer(request: Request, error: PaperroundError) -> Response:
    """The response to an error that was raised on purpose."""
    is_api = request.url.path.startswith(_API)
    if isinstance(error, SignInError) and not is_api and request.method in ("GET", "HEAD"):
        return RedirectResponse(f"/sign-in?{urlencode({'next': request.url.path})}", 303)
    response = _respond(request, error.http_status, str(error))
    if isinstance(error, SignInError):
        response.headers["www-authenticate"] = "Bearer"
    if isinstance(error, TooOftenError):
        response.headers.update(retry_headers(error))
    return response


def retry_headers(error: TooOftenError) -> dict[str, str]:
    """What tells a program when it may ask again."""
    return {"retry-after": str(error.wait_s)}


def _answer_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, PaperroundError)
    if error.http_status >= 500:
        log.error("request.failed", route=_route(request), reason=str(error))
    elif isinstance(error, (ForbiddenError, SignInError, TooOftenError)):
        reader = _visitor(request).reader
        log.info(
            "request.refused",
            route=_route(request),
            status=error.http_status,
            reader=reader.id if reader else None,
        )
    return answer(request, error)


def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    known = error.detail != HTTPStatus(error.status_code).phrase
    response = _respond(request, error.status_code, error.detail if known else "")
    response.headers.update(error.headers or {})
    return response


def _answer_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [f"{fault['loc'][-1]}: {fault['msg']}" for fault in error.errors()]
    return _respond(request, 400, "; ".join(faults))


def _answer_unforeseen(request: Request, error: Exception) -> Response:
    # The number ties what the reader sees to what the operator's log says.
    number = secrets.token_hex(4)
    log.error("request.broke", route=_route(request), number=number, exc_info=error)
    says = f"The server's log has it under number {number}."
    response = _respond(request, 500, says)
    # This answer is made outside of all middleware.
    response.headers.update(SECURITY_HEADERS)
    return response


def _route(request: Request) -> str:
    """The address that was asked for, as the route has it: a link of a mail has a secret in it."""
    found = request.scope.get("route")
    return f"{request.method} {getattr(found, 'path', '-')}"


def _visitor(request: Request) -> Visitor:
    """Who asks, for the page's head, where that was found out before it failed."""
    known: Visitor | None = getattr(request.state, "visitor", None)
    return known or ANYBODY


def _respond(request: Request, status: int, detail: str) -> Response:
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    if request.url.path.startswith(_API):
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
        if detail:
            problem["detail"] = detail
        return JSONResponse(problem, status, media_type="application/problem+json")
    return render(
        request,
        "failure.html",
        status=status,
        visitor=_visitor(request),
        code=status,
        heading=title,
        detail=detail,
    )
