"""Signing in by a provider of OpenID Connect: the code flow with PKCE and a nonce, by Authlib.

`begin` says where the browser is sent and what it must bring back; `finish` takes what it brought,
asks the provider, and says who it is. OpenID Connect Core 1.0, section 3.1; RFC 7636; RFC 9207.
"""

import hmac
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from paperround.errors import MissingExtraError, SignInError
from paperround.log import get_logger
from paperround.settings import OpenIdProvider

log = get_logger()

_TIMEOUT_S = 10.0
_DISCOVERY_LASTS_S = 3_600
_MAX_BYTES = 256 * 1024
# Signatures that need no secret shared with the provider; "none" is none.
_ALGORITHMS = ("RS256", "PS256", "ES256", "RS384", "RS512", "ES384", "EdDSA", "Ed25519")
# How far the provider's clock may be off.
_LEEWAY_S = 60


@dataclass(frozen=True)
class Begun:
    """What the browser keeps while it is at the provider, and where it goes."""

    address: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class Identity:
    """Who somebody is, as the provider says."""

    issuer: str
    subject: str
    name: str


class Discovery:
    """What the provider says of itself, asked for once an hour."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}

    def of(self, provider: OpenIdProvider) -> dict[str, Any]:
        """The provider's document. Raises SignInError where there is none, or it is another's."""
        with self._lock:
            at, document = self._known.get(provider.issuer, (0.0, {}))
            if not document or time.monotonic() - at > _DISCOVERY_LASTS_S:
                document = self._asked(provider)
                self._known[provider.issuer] = (time.monotonic(), document)
        return document

    def _asked(self, provider: OpenIdProvider) -> dict[str, Any]:
        base = provider.issuer.rstrip("/")
        document = _json(f"{base}/.well-known/openid-configuration")
        if document.get("issuer") != provider.issuer:
            raise _refusal("the provider's document is of another issuer")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            address = str(document.get(name, ""))
            if urlsplit(address).scheme not in ("https", urlsplit(provider.issuer).scheme):
                raise _refusal(f"the provider's {name} is '{address[:100]}'")
        return document


def begin(provider: OpenIdProvider, discovery: Discovery, back: str) -> Begun:
    """Where the browser is sent; `back` is our address to which it comes back."""
    document = discovery.of(provider)
    verifier, nonce = secrets.token_urlsafe(48), secrets.token_urlsafe(24)
    with _client(provider, back) as client:
        address, state = client.create_authorization_url(
            document["authorization_endpoint"], code_verifier=verifier, nonce=nonce
        )
    return Begun(address, state, nonce, verifier)


def finish(
    provider: OpenIdProvider,
    discovery: Discovery,
    back: str,
    begun: Begun,
    brought: Mapping[str, str],
    now: datetime,
) -> Identity:
    """Who it is. Raises SignInError for anything that does not fit what was begun."""
    document = discovery.of(provider)
    if not hmac.compare_digest(brought.get("state", "").encode(), begun.state.encode()):
        raise _refusal("this answer belongs to another sign-in")
    if brought.get("iss", provider.issuer) != provider.issuer:
        raise _refusal("this answer is of another provider")
    if "error" in brought:
        raise _refusal(f"the provider says {brought['error'][:60]}")
    token = _token(provider, document, back, begun, brought.get("code", ""))
    claims = _claims(provider, document, begun, token, now)
    subject = str(claims["sub"])
    if not 0 < len(subject) <= 255:
        raise _refusal("the provider names nobody")
    name = claims.get("preferred_username") or claims.get("nickname") or claims.get("name") or ""
    return Identity(provider.issuer, subject, str(name))


def _token(
    provider: OpenIdProvider, document: Mapping[str, Any], back: str, begun: Begun, code: str
) -> Mapping[str, Any]:
    """What the provider gives for the code, an ID token among it."""
    from authlib.common.errors import AuthlibBaseError

    try:
        with _client(provider, back) as client:
            token: Mapping[str, Any] = client.fetch_token(
                document["token_endpoint"], code=code, code_verifier=begun.verifier
            )
    except (AuthlibBaseError, httpx2.HTTPError, ValueError) as error:
        raise _refusal("the provider does not take its own code back", error) from error
    if not isinstance(token.get("id_token"), str):
        raise _refusal("the provider sends no ID token")
    return token


def _claims(
    provider: OpenIdProvider,
    document: Mapping[str, Any],
    begun: Begun,
    token: Mapping[str, Any],
    now: datetime,
) -> Mapping[str, Any]:
    """What the ID token says, signature and claims checked (OpenID Connect Core 3.1.3.7)."""
    from authlib.oidc.core import CodeIDToken
    from joserfc import jwt
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    try:
        keys = KeySet.import_key_set(_json(document["jwks_uri"]))  # type: ignore[arg-type]
        read = jwt.decode(token["id_token"], keys, algorithms=list(_ALGORITHMS))
        claims = CodeIDToken(
            read.claims,
            read.header,
            {
                "iss": {"essential": True, "value": provider.issuer},
                "aud": {"essential": True, "value": provider.client_id},
            },
            {
                "nonce": begun.nonce,
                "client_id": provider.client_id,
                "access_token": token.get("access_token"),
            },
        )
        claims.validate(now=int(now.timestamp()), leeway=_LEEWAY_S)
    except (JoseError, ValueError, KeyError, TypeError) as error:
        raise _refusal("the provider's ID token does not hold", error) from error
    return dict(claims)


def _client(provider: OpenIdProvider, back: str) -> Any:
    try:
        from authlib.integrations.httpx_client import OAuth2Client
    except ImportError as error:
        raise MissingExtraError(
            'OpenID Connect needs one more package: pip install "paperround[oidc]"'
        ) from error
    return OAuth2Client(
        client_id=provider.client_id,
        client_secret=provider.client_secret.get_secret_value(),
        redirect_uri=back,
        scope="openid profile",
        code_challenge_method="S256",
        timeout=_TIMEOUT_S,
    )


def _json(address: str) -> dict[str, Any]:
    try:
        with httpx2.Client(timeout=_TIMEOUT_S) as client:
            answer = client.get(address)
            answer.raise_for_status()
            if len(answer.content) > _MAX_BYTES:
                raise _refusal("the provider's document is too large")
            found = answer.json()
    except (httpx2.HTTPError, ValueError) as error:
        raise _refusal("the provider does not answer", error) from error
    if not isinstance(found, dict):
        raise _refusal("the provider's document is none")
    return found


def _refusal(reason: str, error: Exception | None = None) -> SignInError:
    # The reason may be the provider's own words: it goes to the log with its kind alone.
    log.warning("openid.refused", reason=reason, kind=type(error).__name__ if error else "")
    return SignInError(f"signing in there did not work: {reason}")
