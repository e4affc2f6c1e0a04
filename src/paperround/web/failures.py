"""What a request gets when it cannot be answered: a friendly page, or an RFC 9457 problem."""

import secrets
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from paperround.errors import PaperroundError
from paperround.log import get_logger
from paperround.web.guard import SECURITY_HEADERS
from paperround.web.rendering import render

log = get_logger()

_API = "/api/"
_TITLES = {
    400: "That request does not work",
    403: "Not from here",
    404: "Nothing at this address",
    405: "Not that way",
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
    return _respond(request, error.http_status, str(error))


def _answer_own(request: Request, error: Exception) -> Response:
    assert isinstance(error, PaperroundError)
    if error.http_status >= 500:
        log.error("request.failed", path=request.url.path, reason=str(error))
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
    log.error("request.broke", path=request.url.path, number=number, exc_info=error)
    response = _respond(request, 500, f"The server's log has it under number {number}.")
    # This answer is made outside of all middleware.
    response.headers.update(SECURITY_HEADERS)
    return response


def _respond(request: Request, status: int, detail: str) -> Response:
    title = _TITLES.get(status, HTTPStatus(status).phrase)
    if request.url.path.startswith(_API):
        problem: dict[str, Any] = {"type": "about:blank", "title": title, "status": status}
        if detail:
            problem["detail"] = detail
        return JSONResponse(problem, status, media_type="application/problem+json")
    return render(request, "failure.html", status=status, code=status, heading=title, detail=detail)
