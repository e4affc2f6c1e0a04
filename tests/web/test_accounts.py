"""Accounts over HTTP: forms with keys, cookies, links, a reader's own page."""

import json
import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from structlog.testing import capture_logs

from paperround.clock import utc_now
from paperround.db import open_database, read, write
from paperround.readers.links import first_admin_link, new_link
from paperround.readers.queries import all_readers
from paperround.readers.records import Purpose
from paperround.readers.tables import OutboxTable, ReaderTable
from paperround.runs.rights import Role
from paperround.settings import MailServer, Settings
from paperround.web.app import create_app
from paperround.web.pages.accounts import local_path

Visit = Callable[..., TestClient]
Submit = Callable[..., Response]
SignIn = Callable[..., TestClient]
PASSWORD = "kettle orbit mango 7"
RUN = "/papers/2601.00001/runs"
MAIL = {"mail": MailServer(host="localhost", sender="p@papers.example")}


@pytest.fixture
def public(settings: Settings, catalogue: None, little_room: object) -> Callable[..., TestClient]:
    """Clients of a server on the network, with other settings."""

    def make(**changes: object) -> TestClient:
        site = settings.model_copy(update={"public_url": "https://papers.example", **changes})
        return TestClient(
            create_app(site, local_only=False, worker=False),
            base_url="https://papers.example",
            client=("192.0.2.1", 1),
            follow_redirects=False,
            raise_server_exceptions=False,
        )

    return make


def engine_of(client: TestClient) -> object:
    return client.app.state.site.engine  # type: ignore[attr-defined]


def link(client: TestClient, purpose: Purpose = Purpose.ADMIN) -> str:
    with write(engine_of(client)) as connection:  # type: ignore[arg-type]
        if purpose is Purpose.ADMIN:
            return first_admin_link(connection, utc_now()) or ""
        return new_link(connection, purpose, utc_now())


def test_the_first_link_makes_the_admin_and_ends_this_machine_s_rule(
    visit: Visit, client: TestClient, submit: Submit
) -> None:
    assert client.post(RUN).status_code == 303
    page = link(client)
    other = visit()
    done = submit(client, page, page, name="ada", password=PASSWORD)
    assert (done.status_code, done.headers["location"]) == (303, "/me")
    assert "Admin, since" in client.get("/me").text
    assert other.get(page).status_code == 404
    # From now on whoever is not signed in is nobody, on this machine too.
    assert other.post(RUN).status_code == 403
    assert "Sign in to start a run." in other.get("/papers/2601.00001").text
    assert other.post("/api/v1/runs", json={"slug": "little"}).status_code == 403
    assert submit(client, "/papers/2601.00001", RUN, scale="standard").status_code == 303


def test_a_reader_runs_quickly_and_cancels_their_own(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada, bo = sign_in("ada"), sign_in("bo")
    page = ada.get("/papers/2601.00001").text
    assert 'name="scale" value="quick"' in page
    assert 'name="scale" value="standard"' not in page
    assert submit(ada, "/papers/2601.00001", RUN, scale="standard").status_code == 403
    run = submit(ada, "/papers/2601.00001", RUN, scale="quick").headers["location"]
    assert "asked for by ada" in client.get(run).text
    assert submit(bo, run, f"{run}/cancel").status_code == 403
    assert submit(ada, run, f"{run}/cancel").status_code == 303
    assert "cancelled" in client.get(run).text


def test_over_https_the_cookies_are_secure_and_of_this_host_alone(
    public: Callable[..., TestClient], submit: Submit
) -> None:
    client = public()
    page = link(client)
    client.get(page)
    done = submit(client, page, page, name="ada", password=PASSWORD)
    (cookie,) = [v for k, v in done.headers.multi_items() if k == "set-cookie"]
    assert cookie.startswith("__Host-paperround=")
    attributes = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert {"httponly", "secure", "samesite=lax", "path=/"} <= attributes
    assert not any(part.startswith("domain") for part in attributes)


def test_whoever_came_by_https_comes_by_nothing_else_for_a_year(
    public: Callable[..., TestClient], client: TestClient
) -> None:
    for path in ("/", "/nowhere", "/static/site.css", "/api/v1/papers"):
        answer = public().get(path)
        assert answer.headers["strict-transport-security"] == "max-age=31536000", path
        assert "access-control-allow-origin" not in answer.headers
        # A place on one's own machine has no https to promise.
        assert "strict-transport-security" not in client.get(path).headers, path


def test_signing_in_and_what_is_refused_is_logged_without_a_name_or_a_secret(
    sign_in: SignIn, visit: Visit, submit: Submit
) -> None:
    with capture_logs() as logged:
        ada = sign_in("ada")
        somebody = visit()
        submit(somebody, "/sign-in", "/sign-in", name="ada", password="not this one")
        somebody.get(f"/password/{'s' * 43}")
        ada.get("/admin")
    said = {entry["event"]: entry for entry in logged}
    assert said["session.began"]["reader"] == 1
    assert said["sign_in.refused"]["status"] == 401
    assert said["request.refused"]["route"] == "GET /admin"
    for secret in ("ada", "not this one", "s" * 43):
        assert secret not in str(logged)


def test_without_https_a_cookie_is_out_of_scripts_reach_all_the_same(
    client: TestClient, submit: Submit
) -> None:
    page = link(client)
    done = submit(client, page, page, name="ada", password=PASSWORD)
    (cookie,) = [v for k, v in done.headers.multi_items() if k == "set-cookie"]
    assert cookie.startswith("paperround=")
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


FORMS = (
    ("/me", "/me/password", {"old": PASSWORD, "new": "nine other words"}),
    ("/me", "/me/delete", {"name": "ada", "password": PASSWORD}),
    ("/me", "/sign-out", {}),
    ("/papers/2601.00001", RUN, {"scale": "quick"}),
)


@pytest.mark.parametrize(("page", "action", "fields"), FORMS)
@pytest.mark.parametrize("key", ["", "0" * 64, "another"])
def test_a_form_without_its_page_s_key_does_nothing(
    visit: Visit, sign_in: SignIn, page: str, action: str, fields: dict[str, str], key: str
) -> None:
    ada = sign_in("ada")
    if key == "another":
        # The key of somebody else's session, as an attacker could have his own.
        eve = sign_in("eve")
        found = re.search(r'name="form_key" value="([0-9a-f]{64})"', eve.get(page).text)
        assert found is not None
        key = found[1]
    ada.get(page)
    headers = {"Origin": "http://localhost:8000"}
    done = ada.post(action, data={**fields, "form_key": key}, headers=headers)
    assert done.status_code == 403
    assert ada.get("/me").status_code == 200
    assert ada.get("/api/v1/runs").json()["runs"] == []


def test_signing_in_needs_the_key_too(sign_in: SignIn, visit: Visit) -> None:
    sign_in("ada")
    client = visit()
    client.get("/sign-in")
    form = {"name": "ada", "password": PASSWORD}
    assert client.post("/sign-in", data=form).status_code == 403
    assert client.get("/me").status_code == 303


def test_every_form_of_every_page_carries_a_key(sign_in: SignIn, visit: Visit) -> None:
    ada = sign_in("ada", Role.ADMIN)
    ada.app.state.site.settings.__dict__["mail"] = MAIL["mail"]  # type: ignore[attr-defined]
    pages = ["/me", "/papers/2601.00001", "/papers/2606.00001"]
    anybody = visit()
    for client, address in [
        *((ada, p) for p in pages),
        (anybody, "/sign-in"),
        (anybody, "/forgot"),
    ]:
        html = client.get(address).text
        posts = re.findall(r'<form[^>]*method="post"[^>]*>(.*?)</form>', html, re.DOTALL)
        assert posts or address == "/papers/2606.00001"
        assert all('name="form_key"' in body for body in posts), address


def test_pages_of_the_api_know_no_cookie(sign_in: SignIn) -> None:
    ada = sign_in("ada", Role.ADMIN)
    answer = ada.post("/api/v1/runs", json={"slug": "little", "scale": "quick"})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


def test_who_is_not_signed_in_is_led_to_sign_in_and_back(
    sign_in: SignIn, visit: Visit, submit: Submit
) -> None:
    sign_in("ada")
    client = visit()
    led = client.get("/me")
    assert (led.status_code, led.headers["location"]) == (303, "/sign-in?next=%2Fme")
    done = submit(
        client, "/sign-in?next=/me", "/sign-in", name="ada", password=PASSWORD, next="/me"
    )
    assert (done.status_code, done.headers["location"]) == (303, "/me")


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil",
        "javascript:1",
        "",
        "/\t/evil.example",
        "/a\nb",
        "evil.example",
        "/x\\..\\y",
    ],
)
def test_signing_in_leads_to_no_other_site(path: str) -> None:
    assert local_path(path) == "/"


@given(st.text(max_size=40))
def test_wherever_it_leads_it_is_a_path_of_ours(path: str) -> None:
    led = local_path(path)
    assert led.startswith("/")
    assert led[1:2] not in ("/", "\\")
    assert led.isprintable()


def test_the_wrong_words_are_shown_on_the_form_and_then_have_to_wait(
    sign_in: SignIn, visit: Visit, submit: Submit
) -> None:
    sign_in("ada")
    client = visit()
    pages = []
    for name in ("ada", "nobody"):
        wrong = submit(client, "/sign-in", "/sign-in", name=name, password="not this one")
        assert wrong.status_code == 401
        pages.append(wrong.text.replace(name, "NAME"))
    assert pages[0] == pages[1]
    assert "do not belong together" in pages[0]
    answers = [
        submit(client, "/sign-in", "/sign-in", name="ada", password="not this one")
        for _ in range(5)
    ]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1


@pytest.mark.parametrize("sign_up", ["open", "invitation", "closed"])
def test_sign_up_is_as_the_configuration_says(
    public: Callable[..., TestClient], submit: Submit, sign_up: str
) -> None:
    client = public(sign_up=sign_up)
    first = link(client)
    submit(client, first, first, name="ada", password=PASSWORD)
    client.cookies.clear()
    invitation = link(client, Purpose.INVITATION)
    client.get("/sign-in")
    if sign_up == "open":
        done = submit(client, "/sign-up", "/sign-up", name="bo", password=PASSWORD)
        assert done.status_code == 303
    else:
        assert "Sign-up is not open here" in client.get("/sign-up").text
        key = re.search(r'value="([0-9a-f]{64})"', client.get("/sign-in").text)
        assert key is not None
        form = {"name": "bo", "password": PASSWORD, "form_key": key[1]}
        assert client.post("/sign-up", data=form).status_code == 403
    client.cookies.clear()
    done = submit(client, invitation, invitation, name="cy", password=PASSWORD)
    assert done.status_code == (403 if sign_up == "closed" else 303)


def test_looking_at_a_link_uses_it_not_up(
    public: Callable[..., TestClient], submit: Submit
) -> None:
    client = public(**MAIL)
    first = link(client)
    for _ in range(3):
        assert client.get(first).status_code == 200
        assert client.head(first).status_code == 200
    submit(client, first, first, name="ada", password=PASSWORD)
    submit(client, "/me", "/me/email", email="ada@lab.example", password=PASSWORD)
    with read(engine_of(client)) as connection:  # type: ignore[arg-type]
        mail = connection.scalar(select(OutboxTable.text))
    assert mail is not None
    path = re.search(r"https://papers\.example(/confirm/\S+)", mail)
    assert path is not None
    for _ in range(2):
        assert client.get(path[1]).status_code == 200
    with read(engine_of(client)) as connection:  # type: ignore[arg-type]
        assert connection.scalar(select(ReaderTable.email)) is None
    assert "is confirmed" in submit(client, path[1], path[1]).text
    assert client.get(path[1]).status_code == 404


def test_a_forgotten_password_is_asked_for_alike_whoever_asks(
    public: Callable[..., TestClient], submit: Submit
) -> None:
    client = public(**MAIL)
    first = link(client)
    submit(client, first, first, name="ada", password=PASSWORD)
    client.cookies.clear()
    answers = [submit(client, "/forgot", "/forgot", name=name) for name in ("ada", "nobody")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].text == answers[1].text


def test_a_mailed_link_leads_to_our_name_whatever_the_request_says(
    public: Callable[..., TestClient], submit: Submit
) -> None:
    client = public(**MAIL)
    first = link(client)
    submit(client, first, first, name="ada", password=PASSWORD)
    key = re.search(r'value="([0-9a-f]{64})"', client.get("/me").text)
    assert key is not None
    form = {"form_key": key[1], "email": "ada@lab.example", "password": PASSWORD}
    assert client.post("/me/email", data=form, headers={"Host": "evil.example"}).status_code == 400
    client.post("/me/email", data=form, headers={"X-Forwarded-Host": "evil.example"})
    with read(engine_of(client)) as connection:  # type: ignore[arg-type]
        (mail,) = connection.scalars(select(OutboxTable.text))
    assert "https://papers.example/confirm/" in mail
    assert "evil" not in mail


def test_guessing_links_has_a_limit(client: TestClient, sign_in: SignIn) -> None:
    sign_in("ada")
    said = [client.get(f"/password/{n:043d}").status_code for n in range(32)]
    assert said[0] == 404
    assert said[-1] == 429


def test_sessions_are_listed_and_ended(sign_in: SignIn, visit: Visit, submit: Submit) -> None:
    first = sign_in("ada")
    eve = sign_in("eve")
    second = visit()
    submit(second, "/sign-in", "/sign-in", name="ada", password=PASSWORD)
    (end,) = re.findall(r'action="(/me/sessions/\d+/end)"', first.get("/me").text)
    key = re.search(r'value="([0-9a-f]{64})"', eve.get("/me").text)
    assert key is not None
    assert eve.post(end, data={"form_key": key[1]}).status_code == 404
    assert second.get("/me").status_code == 200
    assert submit(first, "/me", end).status_code == 303
    assert second.get("/me").status_code == 303
    assert first.get("/me").status_code == 200


def test_signing_out_ends_the_session_itself(sign_in: SignIn, submit: Submit) -> None:
    ada = sign_in("ada")
    held = dict(ada.cookies)
    submit(ada, "/me", "/sign-out")
    assert ada.get("/me").status_code == 303
    ada.cookies.update(held)
    assert ada.get("/me").status_code == 303


def test_a_new_session_has_a_token_of_its_own(
    sign_in: SignIn, submit: Submit, visit: Visit
) -> None:
    sign_in("ada")
    client = visit()
    client.cookies.set("paperround", "chosen-by-an-attacker-before-sign-in")
    submit(client, "/sign-in", "/sign-in", name="ada", password=PASSWORD)
    tokens = {cookie.value for cookie in client.cookies.jar if cookie.name == "paperround"}
    assert len(tokens - {"chosen-by-an-attacker-before-sign-in"}) == 1


def test_a_reader_s_pages_are_kept_by_nobody_else(sign_in: SignIn) -> None:
    ada = sign_in("ada")
    assert ada.get("/me").headers["cache-control"] == "no-store"
    front = ada.get("/").headers
    assert front["cache-control"] == "private, no-cache"
    assert "Cookie" in front["vary"]


def test_the_export_and_the_deletion_are_whole(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    run = submit(ada, "/papers/2601.00001", RUN, scale="quick").headers["location"]
    found = json.loads(ada.get("/me/export.json").text)
    assert found["account"]["name"] == "ada"
    assert [row["slug"] for row in found["runs"]] == ["little"]
    assert len(found["sessions"]) == 1
    wrong = submit(ada, "/me", "/me/delete", name="eve", password=PASSWORD)
    assert wrong.status_code == 400
    wrong = submit(ada, "/me", "/me/delete", name="ada", password="not this one")
    assert wrong.status_code == 401
    assert submit(ada, "/me", "/me/delete", name="ada", password=PASSWORD).status_code == 303
    assert ada.get("/me").status_code == 303
    assert "asked for by a former reader" in client.get(run).text
    with read(engine_of(client)) as connection:  # type: ignore[arg-type]
        assert all_readers(connection) == []
        connection.commit()
        dump = "".join(connection.connection.iterdump())  # type: ignore[attr-defined]
    assert "'ada'" not in dump


def test_limits_count_by_the_address_behind_our_own_proxy_only(
    public: Callable[..., TestClient], submit: Submit
) -> None:
    client = public(sign_up="open", proxies=("192.0.2.1",))
    app = client.app
    first = link(client)
    submit(client, first, first, name="ada", password=PASSWORD)
    client.cookies.clear()

    def fail(forwarded: str, via: TestClient) -> int:
        key = re.search(r'value="([0-9a-f]{64})"', via.get("/sign-in").text)
        assert key is not None
        return via.post(
            "/sign-in",
            data={"name": f"n{forwarded}", "password": "x", "form_key": key[1]},
            headers={"X-Forwarded-For": forwarded},
        ).status_code

    # A list that the client began is believed only where our proxy has added to it.
    for n in range(30):
        assert fail(f"10.0.0.{n}, 198.51.100.7", client) == 401
    assert fail("10.0.0.99, 198.51.100.7", client) == 429
    assert fail("10.0.0.99, 198.51.100.8", client) == 401
    stranger = TestClient(app, base_url="https://papers.example", client=("203.0.113.5", 1))  # type: ignore[arg-type]
    for n in range(30):
        assert fail(f"10.1.0.{n}", stranger) == 401
    assert fail("10.1.0.99", stranger) == 429


def test_a_session_survives_a_restart_and_not_a_suspension(
    settings: Settings, sign_in: SignIn
) -> None:
    ada = sign_in("ada")
    app = create_app(settings, local_only=True, worker=False)
    again = TestClient(
        app, base_url="http://localhost:8000", cookies=dict(ada.cookies), follow_redirects=False
    )
    assert again.get("/me").status_code == 200
    engine = open_database(settings)
    with write(engine) as connection:
        connection.execute(text("UPDATE reader SET suspended_at = '2026-01-01 00:00:00.000000'"))
    engine.dispose()
    assert again.get("/me").status_code == 303


def test_the_form_of_a_foreign_page_is_refused_with_a_session_too(
    app: FastAPI, sign_in: SignIn
) -> None:
    ada = sign_in("ada")
    key = re.search(r'value="([0-9a-f]{64})"', ada.get("/me").text)
    assert key is not None
    for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
        done = ada.post("/sign-out", data={"form_key": key[1]}, headers=headers)
        assert done.status_code == 403
    assert ada.get("/me").status_code == 200
