"""Who asks: a reader by their session or their token, this machine, or anybody.

While nobody has an account, whoever sits at this machine is the admin (`guard.py` says how that is
known). From the first account on, everybody signs in, on this machine too.
"""

import ipaddress
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from paperround.clock import utc_now
from paperround.db import read
from paperround.errors import ForbiddenError, SignInError
from paperround.readers.queries import has_readers
from paperround.readers.records import Reader, Session
from paperround.readers.sessions import LONGEST, find_session, keep_seen
from paperround.readers.tokens import Scope, find_token, keep_used
from paperround.runs.rights import SCALES_BY_ROLE, THIS_MACHINE, Asker, Role
from paperround.web import guard
from paperround.web.site import Site, site_of

_API = "/api/"


@dataclass(frozen=True)
class Visitor:
    """Whoever sent a request. `scopes` is what their token opens, None where there is none."""

    reader: Reader | None = None
    session: Session | None = None
    scopes: frozenset[Scope] | None = None
    is_this_machine: bool = False

    @property
    def role(self) -> Role:
        """What they are to this Paperround."""
        if self.is_this_machine:
            return THIS_MACHINE.role
        return self.reader.role if self.reader else Role.VISITOR

    @property
    def asker(self) -> Asker:
        """The same as runs know them."""
        if self.is_this_machine:
            return THIS_MACHINE
        return Asker(self.reader.name if self.reader else "", self.role)

    @property
    def scales(self) -> list[str]:
        """The scales at which they may start runs."""
        return [scale.value for scale in SCALES_BY_ROLE[self.role]]


ANYBODY = Visitor()


def who(request: Request) -> Visitor:
    """Who sent the request; found out once for each. Raises SignInError for a token that is none.

    The API knows tokens and no cookies, pages know cookies and no tokens: no page of another site
    can use the API in a reader's name.
    """
    known: Visitor | None = getattr(request.state, "visitor", None)
    if known is None:
        known = _found(request)
        request.state.visitor = known
    return known


VisitorHere = Annotated[Visitor, Depends(who)]


def signed_in(request: Request) -> Reader:
    """The reader who sent the request. Raises SignInError where nobody is signed in."""
    reader = who(request).reader
    if reader is None:
        raise SignInError("sign in first")
    return reader


ReaderHere = Annotated[Reader, Depends(signed_in)]


def why_runs_are_closed(request: Request, to: str = "start a run") -> str:
    """Why whoever asks may not start or cancel runs; empty where they may. `to` is what for."""
    visitor = who(request)
    if visitor.scales:
        return ""
    with read(site_of(request).engine) as connection:
        if has_readers(connection):
            return f"Sign in to {to}."
    return guard.why_not_this_machine(request, local_only=site_of(request).local_only)


def who_asks(request: Request) -> Asker:
    """Who asks for starting or cancelling a run; ForbiddenError where they may do neither."""
    if reason := why_runs_are_closed(request):
        raise ForbiddenError(reason)
    return who(request).asker


def keep_session(request: Request, response: Response, token: str) -> None:
    """Gives the browser the session's token, for as long as a session can last."""
    response.set_cookie(
        cookie_name(request, "paperround"),
        token,
        max_age=int(LONGEST.total_seconds()),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def drop_session(request: Request, response: Response) -> None:
    """Takes the session's token back from the browser."""
    response.delete_cookie(
        cookie_name(request, "paperround"),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="lax",
    )


def session_token(request: Request) -> str | None:
    """The token of a session that the browser holds, valid or not."""
    return request.cookies.get(cookie_name(request, "paperround"))


def cookie_name(request: Request, name: str) -> str:
    """The cookie's name: over https with a prefix that only this very host can set it under."""
    return f"__Host-{name}" if is_secure(request) else name


def is_secure(request: Request) -> bool:
    """Whether the reader's browser speaks https with us, be it through a proxy."""
    if request.url.scheme == "https":
        return True
    scheme, _, host = site_of(request).settings.public_url.partition("://")
    return scheme == "https" and request.headers.get("host", "") == host


def client_address(request: Request) -> str:
    """The network address that asks, as far as it can be believed; limits are counted by it.

    Of X-Forwarded-For only what proxies of ours have added counts: it is read from its end. Of an
    IPv6 address the first 64 bits stay, which are one network's.
    """
    address = request.client.host if request.client else ""
    proxies = site_of(request).settings.proxies
    forwarded = request.headers.get("x-forwarded-for", "").split(",")
    while address in proxies and forwarded:
        address = forwarded.pop().strip() or address
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address[:60]
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False).network_address)
    return str(parsed)


def _found(request: Request) -> Visitor:
    site = site_of(request)
    if request.url.path.startswith(_API):
        visitor = _by_token(request, site)
    else:
        visitor = _by_session(request, site)
    if visitor is None and not guard.why_not_this_machine(request, local_only=site.local_only):
        with read(site.engine) as connection:
            if not has_readers(connection):
                return Visitor(is_this_machine=True)
    return visitor or ANYBODY


def _by_session(request: Request, site: Site) -> Visitor | None:
    token = session_token(request)
    if token is None:
        return None
    now = utc_now()
    with read(site.engine) as connection:
        found = find_session(connection, token, now)
    if found is None:
        return None
    keep_seen(site.engine, found[0], now)
    return Visitor(found[1], found[0])


def _by_token(request: Request, site: Site) -> Visitor | None:
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if not kind:
        return None
    now = utc_now()
    found = None
    if kind.lower() == "bearer":
        with read(site.engine) as connection:
            found = find_token(connection, token.strip(), now)
    if found is None:
        raise SignInError("this token is not valid; make another one on your own page")
    token_id, used_at, scopes, reader = found
    keep_used(site.engine, token_id, used_at, now)
    return Visitor(reader, None, scopes)
