"""The key in every form: proof that one of our own pages was shown to whoever sends it.

It is made of a secret that the browser keeps in a cookie and of the session, so that a key of one
browser or one session is none in another, and the server keeps no list.
"""

import hashlib
import hmac
import secrets

from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response

from paperround.errors import ForbiddenError
from paperround.web.visitors import cookie_name, is_secure, session_token, who

FIELD = "form_key"
HEADER = "x-form-key"
_COOKIE = "paperround_form"


def form_key(request: Request) -> str:
    """The key for the forms of a page; the response that shows it must `keep_form_secret`."""
    secret = _held(request) or getattr(request.state, "form_secret", None)
    if secret is None:
        secret = request.state.form_secret = secrets.token_urlsafe(32)
    return _key(secret, session_token(request) or "")


def keep_form_secret(request: Request, response: Response) -> None:
    """Gives the browser the secret behind the page's key, where it holds none yet."""
    secret = getattr(request.state, "form_secret", None)
    if secret is not None:
        response.set_cookie(
            cookie_name(request, _COOKIE),
            secret,
            path="/",
            secure=is_secure(request),
            httponly=True,
            samesite="strict",
        )


async def check_form_key(request: Request) -> None:
    """Raises ForbiddenError for a form that none of our pages showed to this browser.

    This machine, while nobody has an account, has no session that a foreign page could ride on;
    `guard.check_post` and the names of the host stand before it.
    """
    visitor = await run_sync(who, request)
    if visitor.is_this_machine:
        return
    given = request.headers.get(HEADER)
    if given is None:
        field = (await request.form()).get(FIELD)
        given = field if isinstance(field, str) else ""
    secret = _held(request)
    right = secret is not None and hmac.compare_digest(
        given.encode(), _key(secret, session_token(request) or "").encode()
    )
    if not right:
        raise ForbiddenError("this form has grown old; go back, load its page anew, and send again")


def _held(request: Request) -> str | None:
    return request.cookies.get(cookie_name(request, _COOKIE))


def _key(secret: str, session: str) -> str:
    return hmac.new(secret.encode(), session.encode(), hashlib.sha256).hexdigest()
