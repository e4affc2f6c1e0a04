"""Signing in by OpenID Connect against a provider that is one: over HTTP, with keys of its own."""

import base64
import hashlib
import html
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey
from pydantic import SecretStr

from paperround.clock import utc_now
from paperround.db import write
from paperround.readers.accounts import add_reader
from paperround.readers.secrets import hash_password
from paperround.settings import OpenIdProvider, Settings
from paperround.web.app import create_app

BACK = "https://papers.example/sign-in/oidc/back"
PASSWORD = "kettle orbit mango 7"

Submit = Callable[..., Response]


class Provider:
    """A provider: it knows one client, lets one person in, and checks what the standard says."""

    def __init__(self) -> None:
        self.key = ECKey.generate_key("P-256", {"kid": "one", "use": "sig"})
        self.person: dict[str, object] = {"sub": "4711", "preferred_username": "Ada Lovelace"}
        # What a test makes it do wrong.
        self.claims: dict[str, object] = {}
        self.document: dict[str, object] = {}
        self.signs_with: Any = self.key
        self.algorithm = "ES256"
        self.codes: dict[str, dict[str, str]] = {}
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                split = urlsplit(self.path)
                query = dict(parse_qsl(split.query))
                if split.path == "/.well-known/openid-configuration":
                    self.send(provider.about())
                elif split.path == "/keys":
                    self.send(KeySet([provider.key]).as_dict())
                elif split.path == "/authorize":
                    self.send_response(302)
                    self.send_header("Location", provider.let_in(query))
                    self.end_headers()

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                form = {name: values[0] for name, values in parse_qs(body).items()}
                self.send(*provider.token(form, self.headers.get("Authorization", "")))

            def send(self, data: object, status: int = 200) -> None:
                body = json.dumps(data).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.issuer = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def about(self) -> dict[str, object]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            **self.document,
        }

    def let_in(self, query: dict[str, str]) -> str:
        assert query["response_type"] == "code"
        assert query["client_id"] == "paperround"
        assert query["redirect_uri"] == BACK
        assert query["code_challenge_method"] == "S256"
        assert "openid" in query["scope"].split()
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        return f"{BACK}?{urlencode({'code': code, 'state': query['state'], 'iss': self.issuer})}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[object, int]:
        right = "Basic " + base64.b64encode(b"paperround:a secret").decode()
        # A code is good once.
        query = self.codes.pop(form.get("code", ""), None)
        if authorization != right or query is None or form["redirect_uri"] != BACK:
            return {"error": "invalid_grant"}, 400
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != query["code_challenge"]:
            return {"error": "invalid_grant"}, 400
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": "paperround",
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            **self.person,
            **self.claims,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"alg": self.algorithm, "kid": "one"}
        signed = jwt.encode(header, claims, self.signs_with, algorithms=[self.algorithm])
        return {"access_token": "at", "token_type": "Bearer", "id_token": signed}, 200


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.server.shutdown()
    made.server.server_close()


Open = Callable[..., TestClient]


@pytest.fixture
def site(settings: Settings, catalogue: None, little_room: object, provider: Provider) -> Open:
    """Clients of one server that trusts the provider."""
    oidc = OpenIdProvider(
        issuer=provider.issuer,
        client_id="paperround",
        client_secret=SecretStr("a secret"),
        name="the lab",
        sign_up=True,
    )
    changes = {"public_url": "https://papers.example", "oidc": oidc}
    app = create_app(settings.model_copy(update=changes), local_only=False, worker=False)

    def make() -> TestClient:
        return TestClient(app, base_url="https://papers.example", follow_redirects=False)

    return make


def go_there(client: TestClient, next_path: str = "/") -> str:
    """Where the provider sends the browser back to."""
    led = client.get("/sign-in/oidc", params={"next": next_path})
    assert led.status_code == 303
    with httpx2.Client() as browser:
        return browser.get(led.headers["location"]).headers["location"]


def test_somebody_new_gets_an_account_and_somebody_known_gets_in(
    site: Open, provider: Provider
) -> None:
    client = site()
    assert "Sign in with the lab" in client.get("/sign-in").text
    done = client.get(go_there(client, "/runs"))
    assert (done.status_code, done.headers["location"]) == (303, "/runs")
    assert "<h1>Ada-Lovelace</h1>" in client.get("/me").text
    provider.person["preferred_username"] = "renamed"
    again = site()
    again.get(go_there(again))
    assert "<h1>Ada-Lovelace</h1>" in again.get("/me").text
    assert again.get("/me/export.json").json()["identities"][0]["subject"] == "4711"


@pytest.fixture
def ada(site: Open, submit: Submit) -> TestClient:
    """A reader with a password, signed in."""
    client = site()
    with write(client.app.state.site.engine) as connection:  # type: ignore[attr-defined]
        add_reader(connection, "ada", utc_now(), password=hash_password(PASSWORD))
    submit(client, "/sign-in", "/sign-in", name="ada", password=PASSWORD)
    return client


def provider_address(page: str) -> str:
    found = re.search(r'href="(http://127\.0\.0\.1:\d+/authorize\?[^"]+)"', page)
    assert found is not None
    return html.unescape(found[1])


def test_a_reader_goes_by_an_identity_as_well_once_they_have_asked_for_it(
    site: Open, ada: TestClient, submit: Submit
) -> None:
    wrong = submit(ada, "/me", "/me/identities", password="not this one")
    assert (wrong.status_code, "not your password" in wrong.text) == (401, True)
    page = submit(ada, "/me", "/me/identities", password=PASSWORD)
    # No redirect: the policy of pages lets no form lead elsewhere, not in two steps either.
    assert page.status_code == 200
    assert "form-action 'self'" in page.headers["content-security-policy"]
    with httpx2.Client() as browser:
        back = browser.get(provider_address(page.text)).headers["location"]
    done = ada.get(back)
    assert (done.status_code, done.headers["location"]) == (303, "/me#identities")
    assert "4711 at 127.0.0.1" in ada.get("/me").text
    other = site()
    other.get(go_there(other))
    assert "<h1>ada</h1>" in other.get("/me").text
    (end,) = re.findall(r'action="(/me/identities/[0-9a-f]+/end)"', other.get("/me").text)
    assert submit(other, "/me", end).status_code == 303
    # Whoever signs in by it now is somebody new.
    third = site()
    third.get(go_there(third))
    assert "<h1>Ada-Lovelace</h1>" in third.get("/me").text


def test_coming_back_joins_nobody_who_has_not_asked_for_it(site: Open, ada: TestClient) -> None:
    # As a page elsewhere could make her browser do, signed in at the provider as somebody else.
    done = ada.get(go_there(ada))
    assert done.status_code == 303
    assert "<h1>Ada-Lovelace</h1>" in ada.get("/me").text
    other = site()
    other.get(go_there(other))
    assert "<h1>ada</h1>" not in other.get("/me").text


def test_an_identity_is_joined_to_who_asked_and_to_nobody_who_signed_in_meanwhile(
    site: Open, ada: TestClient, submit: Submit
) -> None:
    page = submit(ada, "/me", "/me/identities", password=PASSWORD)
    with write(ada.app.state.site.engine) as connection:  # type: ignore[attr-defined]
        add_reader(connection, "bo", utc_now(), password=hash_password(PASSWORD))
    submit(ada, "/me", "/sign-out")
    submit(ada, "/sign-in", "/sign-in", name="bo", password=PASSWORD)
    with httpx2.Client() as browser:
        back = browser.get(provider_address(page.text)).headers["location"]
    assert ada.get(back).status_code == 403
    assert "4711" not in ada.get("/me").text


@pytest.mark.parametrize("site_of_asker", ["cross-site", "same-site"])
def test_a_page_elsewhere_begins_no_session_here(site: Open, site_of_asker: str) -> None:
    headers = {"Sec-Fetch-Site": site_of_asker}
    led = site().get("/sign-in/oidc?next=/runs", headers=headers)
    assert (led.status_code, led.headers["location"]) == (303, "/sign-in?next=%2Fruns")
    assert "set-cookie" not in led.headers


def test_an_answer_is_good_once_and_in_the_browser_that_began(site: Open) -> None:
    client, other = site(), site()
    back = go_there(client)
    go_there(other)
    # Somebody else's answer, sent to a victim who has begun too.
    assert other.get(back).status_code == 401
    assert site().get(back).status_code == 401
    assert client.get(back).status_code == 303
    client.cookies.clear()
    assert client.get(back).status_code == 401


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another-client"},
        {"aud": ["another-client", "paperround"], "azp": "another-client"},
        {"exp": 1_000_000_000},
        {"nonce": "another"},
        {"nonce": None},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"exp": None},
        {"at_hash": "wrong"},
    ],
    ids=str,
)
def test_a_token_that_does_not_fit_lets_nobody_in(
    site: Open, provider: Provider, claims: dict[str, object]
) -> None:
    provider.claims = claims
    client = site()
    refused = client.get(go_there(client))
    assert refused.status_code == 401
    assert client.get("/me").status_code == 303


def test_a_token_signed_by_another_key_lets_nobody_in(site: Open, provider: Provider) -> None:
    provider.signs_with = ECKey.generate_key("P-256")
    client = site()
    assert client.get(go_there(client)).status_code == 401


def test_a_token_signed_with_the_public_key_as_a_secret_lets_nobody_in(
    site: Open, provider: Provider
) -> None:
    provider.signs_with = OctKey.import_key(provider.key.as_dict(private=False)["x"])
    provider.algorithm = "HS256"
    client = site()
    assert client.get(go_there(client)).status_code == 401


def test_a_document_of_another_issuer_is_refused(site: Open, provider: Provider) -> None:
    provider.document = {"issuer": "https://evil.example"}
    answer = site().get("/sign-in/oidc")
    assert answer.status_code == 401
    assert "another issuer" in answer.text


def test_an_answer_of_another_provider_is_refused(site: Open) -> None:
    client = site()
    back = go_there(client)
    head, _, query = back.partition("?")
    brought = {**dict(parse_qsl(query)), "iss": "https://evil.example"}
    assert client.get(f"{head}?{urlencode(brought)}").status_code == 401


def test_the_provider_s_no_is_shown_and_no_more(site: Open) -> None:
    client = site()
    state = dict(parse_qsl(urlsplit(go_there(client)).query))["state"]
    query = urlencode({"error": "<script>access_denied", "state": state})
    answer = client.get(f"/sign-in/oidc/back?{query}")
    assert answer.status_code == 401
    assert "<script>access" not in answer.text


def test_signing_in_there_leads_to_no_other_site(site: Open) -> None:
    client = site()
    done = client.get(go_there(client, "//evil.example"))
    assert done.headers["location"] == "/"
