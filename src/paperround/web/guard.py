"""What is let in at all: known hosts, same-origin posts, and who is this very machine.

While nobody has an account, whoever sits at the machine is its admin: the server must listen on a
loopback address, and the request must come from one (`visitors.py` says who asks otherwise). A page
of another site open in the same browser is shut out twice: by its `Origin`, and, should it point
its own name at 127.0.0.1 (DNS rebinding), by the name in `Host`.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from paperround.errors import ForbiddenError, UsageError

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
_YEAR_S = 365 * 24 * 3600
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
# A proxy on this machine makes the whole world look local; it leaves one of these behind.
_PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")
_MAX_BODY_BYTES = 64 * 1024
# A bibliography with what a form or JSON wraps around it.
_MAX_BIBTEX_BYTES = (1 << 20) + (256 << 10)
# A prompt whose every letter takes twelve signs in a form or in JSON.
_MAX_PROMPT_BYTES = 256 << 10


class SecurityHeaders:
    """Adds the security headers to every response, those of static files and errors too.

    One that a response sets itself stays as it is: a badge is made to be shown elsewhere.
    """

    def __init__(self, app: ASGIApp, *, is_https: bool = False) -> None:
        """`is_https` says that readers reach the site over https, and never otherwise from then on.

        For this host alone: what else stands under its domain is not ours to promise.
        """
        self._app = app
        kept = {"strict-transport-security": f"max-age={_YEAR_S}"} if is_https else {}
        self._headers = [
            (key.encode(), value.encode()) for key, value in {**SECURITY_HEADERS, **kept}.items()
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on; the headers go in when the response starts."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = message.get("headers", ())
                set_already = {key.lower() for key, _ in own}
                extra = (h for h in self._headers if h[0] not in set_already)
                message["headers"] = [*own, *extra]
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HeadAsGet:
    """Answers HEAD wherever GET is answered, without the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs GET; its body stays here, and a stream is told at once that nobody listens."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        started = False

        async def receive_until_started() -> Message:
            return {"type": "http.disconnect"} if started else await receive()

        async def send_head(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app({**scope, "method": "GET"}, receive_until_started, send_head)


def check_host(headers: Headers, *, local_only: bool, hosts: Collection[str]) -> None:
    """Raises UsageError when the request names a host that this server does not go by.

    A server that only this machine reaches goes by the loopback names and by `hosts`. One that
    the network reaches goes by any name unless `hosts` says which: a browser keeps no session under
    a name that is pointed at it, and without a session nothing can be changed.
    """
    if not local_only and not hosts:
        return
    name = _host_name(headers.get("host", ""))
    if name in hosts or _is_loopback_name(name):
        return
    raise UsageError(f"this server does not go by the name '{name[:100]}'")


def check_post(headers: Headers, path: str = "") -> None:
    """Raises ForbiddenError for a post that another site's page sent, UsageError for a large one.

    Browsers say where a post comes from; a client that says nothing is no browser, and no page
    can make it ask.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if (site is not None and site not in ("same-origin", "none")) or (
        origin is not None and origin.partition("://")[2] != headers.get("host", "")
    ):
        raise ForbiddenError("this was sent by a page of another site, and nothing was done")
    length = headers.get("content-length", "0")
    most = _MAX_BIBTEX_BYTES if path.endswith("/bibtex") else _MAX_BODY_BYTES
    if path.endswith(("/generate", "/generations")):
        most = _MAX_PROMPT_BYTES
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > most:
        raise UsageError(f"a body is sent with its length, at most {most} bytes")


def why_not_this_machine(request: Request, *, local_only: bool) -> str:
    """Why this request is not known to come from who sits at this machine; empty when it is."""
    if not local_only:
        return (
            "This server answers the network, and nobody has an account yet: make the first with "
            "paperround user add, or start runs on its own machine, with paperround run."
        )
    # A proxy that leaves no trace has asked for the name that the world knows.
    is_proxied = any(header in request.headers for header in _PROXY_HEADERS)
    if is_proxied or not _is_loopback_name(_host_name(request.headers.get("host", ""))):
        return "This request came through a proxy; runs are started on the machine itself."
    if request.client is None or not _is_loopback(request.client.host):
        return "Runs are started on the machine that Paperround runs on."
    return ""


def _host_name(host: str) -> str:
    """The name in a `Host` header, without port and brackets, in small letters."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_loopback_name(name: str) -> bool:
    return name in _LOOPBACK_NAMES or name.endswith(".localhost")


def _is_loopback(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return parsed.is_loopback
