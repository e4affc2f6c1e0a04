"""Papers by mail over HTTP: pages whose looking changes nothing, and buttons that act."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import select, update

from paperround.clock import utc_now
from paperround.db import read, write
from paperround.readers.queries import reader_by_name
from paperround.readers.subscriptions import (
    manage_path,
    stop_path,
    subscriber_at,
    subscriptions_of,
    suspend_subscriber,
)
from paperround.readers.tables import OutboxTable, ReaderTable
from paperround.readers.tokens import Scope, add_token
from paperround.settings import MailServer, Settings
from paperround.web.app import create_app

Visit = Callable[..., TestClient]
Submit = Callable[..., Response]
SignIn = Callable[..., TestClient]
EMAIL = "ada@lab.example"
WANTED = {
    "kind": "category",
    "value": "cs.CL",
    "cadence": "daily",
    "zone": "Europe/Berlin",
    "hour": "7",
    "weekday": "0",
}


@pytest.fixture
def app(settings: Settings, catalogue: None, little_room: object) -> FastAPI:
    """A site that sends mail."""
    server = MailServer(host="localhost", sender="p@papers.example")
    changed = settings.model_copy(update={"mail": server, "public_url": "http://localhost:8000"})
    return create_app(changed, local_only=True, worker=False)


def mails(app: FastAPI) -> list[tuple[str, str]]:
    with read(app.state.site.engine) as connection:
        rows = connection.execute(select(OutboxTable.recipient, OutboxTable.text))
        return [(row.recipient, row.text) for row in rows]


def held(app: FastAPI, email: str = EMAIL) -> list[tuple[str, str]]:
    with read(app.state.site.engine) as connection:
        found = subscriber_at(connection, email)
        listed = subscriptions_of(connection, found.id) if found else []
    return [(each.subject.says, each.cadence.value) for each in listed]


def path_in(text: str) -> str:
    found = re.search(r"http://localhost:8000(/\S+)", text)
    assert found is not None
    return found[1]


def paths(app: FastAPI, email: str = EMAIL) -> tuple[str, str]:
    """The paths of an address's page, and of its end."""
    site = app.state.site
    with read(site.engine) as connection:
        found = subscriber_at(connection, email)
    assert found is not None
    return (
        manage_path(site.links_key, found.id, found.seed),
        stop_path(site.links_key, found.id, found.seed),
    )


@pytest.fixture
def subscribed(app: FastAPI, client: TestClient, submit: Submit) -> TestClient:
    """A client, after ada@lab.example has subscribed and confirmed."""
    submit(client, "/subscribe", "/subscribe", email=EMAIL, **WANTED)
    confirm = path_in(mails(app)[-1][1])
    assert submit(client, confirm, confirm).status_code == 200
    return client


def test_an_address_subscribes_by_pressing_a_button_in_its_mail(
    app: FastAPI, client: TestClient, submit: Submit
) -> None:
    done = submit(client, "/subscribe", "/subscribe", email=EMAIL, **WANTED)
    assert done.status_code == 200
    assert "A link is on its way" in done.text
    ((recipient, text),) = mails(app)
    assert recipient == EMAIL
    assert "Papers in cs.CL" in text
    assert "every day at 7:00, Europe/Berlin" in text
    confirm = path_in(text)
    # A scanner of mail opens every link, as often as it likes, and asks for heads too.
    for _ in range(3):
        assert client.get(confirm).status_code == 200
        assert client.head(confirm).status_code == 200
    assert held(app) == []
    page = submit(client, confirm, confirm)
    assert held(app) == [("Papers in cs.CL", "daily")]
    assert paths(app)[0] in page.text
    assert client.get(confirm).status_code == 404


def test_a_form_of_another_page_subscribes_nobody(app: FastAPI, visit: Visit) -> None:
    somebody = visit(host="192.0.2.77")
    for headers in ({}, {"Origin": "https://evil.example"}):
        done = somebody.post("/subscribe", data={**WANTED, "email": EMAIL}, headers=headers)
        assert (done.status_code, mails(app)) == (403, [])


def test_the_answer_is_the_same_whatever_is_known(
    app: FastAPI, subscribed: TestClient, submit: Submit
) -> None:
    said = set()
    for email in (EMAIL, "nobody@lab.example"):
        for page, fields in (("/subscribe", WANTED), ("/subscribe/link", {})):
            done = submit(subscribed, "/subscribe", page, email=email, **fields)
            said.add((page, done.status_code, done.text.replace(email, "")))
    assert len(said) == 2


def test_looking_at_the_end_ends_nothing_and_its_button_does(
    app: FastAPI, subscribed: TestClient
) -> None:
    _, stop = paths(app)
    for _ in range(3):
        assert EMAIL in subscribed.get(stop).text
        subscribed.head(stop)
    assert held(app) != []
    done = subscribed.post(stop, data={"List-Unsubscribe": "One-Click"})
    assert (done.status_code, held(app)) == (200, [])
    # Twice is as good as once, and says the same as for a link that is none.
    again = subscribed.post(stop, data={"List-Unsubscribe": "One-Click"})
    wrong = "/unsubscribe/" + "A" * 40
    made_up = subscribed.post(wrong)
    assert (again.status_code, made_up.status_code) == (200, 200)
    assert again.text.replace(stop, "") == made_up.text.replace(wrong, "")
    assert EMAIL not in subscribed.get(stop).text


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click"),
        (
            "multipart/form-data; boundary=B",
            b'--B\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
            b"One-Click\r\n--B--\r\n",
        ),
    ],
    ids=["form", "multipart"],
)
def test_a_mail_program_unsubscribes_without_cookies_keys_or_redirects(
    app: FastAPI, subscribed: TestClient, visit: Visit, kind: str, body: bytes
) -> None:
    _, stop = paths(app)
    program = visit(host="192.0.2.77")
    # What fetches a link before somebody presses it ends nothing, whatever it says that it is.
    for purpose in ({"Purpose": "prefetch"}, {"Sec-Purpose": "prefetch"}, {}):
        assert program.get(stop, headers=purpose).status_code == 200
    assert program.request("OPTIONS", stop).status_code == 405
    assert held(app) != []
    done = program.post(stop, content=body, headers={"content-type": kind})
    assert (done.status_code, held(app)) == (200, [])
    assert "location" not in done.headers


def test_the_links_of_a_digest_do_what_they_say_and_no_more(
    app: FastAPI, subscribed: TestClient, submit: Submit
) -> None:
    manage, stop = paths(app)
    secret = {"manage": manage.rpartition("/")[2], "stop": stop.rpartition("/")[2]}
    assert subscribed.get(f"/subscriptions/{secret['stop']}").status_code == 404
    assert EMAIL not in subscribed.get(f"/unsubscribe/{secret['manage']}").text
    page = subscribed.get(manage)
    assert "no-store" in page.headers["cache-control"]
    assert EMAIL in page.text
    assert submit(subscribed, manage, f"{manage}/add", kind="trending").status_code == 303
    assert held(app) == [("Papers in cs.CL", "daily"), ("Trending papers", "daily")]
    moved = submit(subscribed, manage, f"{manage}/hours", zone="Asia/Tokyo", hour="22", weekday="4")
    assert moved.status_code == 303
    assert "<option selected>Asia/Tokyo</option>" in subscribed.get(manage).text
    number = re.search(rf'action="{re.escape(manage)}/(\d+)"', subscribed.get(manage).text)
    assert number is not None
    one = f"{manage}/{number[1]}"
    assert submit(subscribed, manage, one, act="weekly").status_code == 303
    assert held(app)[0] == ("Papers in cs.CL", "weekly")
    assert submit(subscribed, manage, one, act="end").status_code == 303
    assert held(app) == [("Trending papers", "daily")]
    assert submit(subscribed, manage, f"{manage}/act/end").status_code == 200
    assert held(app) == []
    assert subscribed.get(manage).status_code == 404


def test_what_is_wrong_with_a_form_is_said_beside_it(
    app: FastAPI, subscribed: TestClient, submit: Submit
) -> None:
    wrong = submit(subscribed, "/subscribe", "/subscribe", email="nowhere", **WANTED)
    assert (wrong.status_code, "no address of mail" in wrong.text) == (400, True)
    assert 'value="nowhere"' in wrong.text
    for change in ({"zone": "Mars/Base"}, {"value": ""}, {"cadence": "hourly"}, {"hour": "24"}):
        done = submit(subscribed, "/subscribe", "/subscribe", email=EMAIL, **{**WANTED, **change})
        assert done.status_code == 400
        assert 'role="alert"' in done.text
    manage, _ = paths(app)
    for form, fields in (
        ("add", {"kind": "author", "value": ""}),
        ("hours", {"zone": "Mars/Base", "hour": "7", "weekday": "0"}),
    ):
        done = submit(subscribed, manage, f"{manage}/{form}", **fields)
        assert (done.status_code, 'role="alert"' in done.text) == (400, True)
    assert submit(subscribed, manage, f"{manage}/act/end").status_code == 200


def test_too_many_requests_wait(client: TestClient, submit: Submit) -> None:
    for _ in range(4):
        submit(client, "/subscribe", "/subscribe", email=EMAIL, **WANTED)
    done = submit(client, "/subscribe", "/subscribe", email=EMAIL, **WANTED)
    assert done.status_code == 429
    assert int(done.headers["retry-after"]) > 3600


def test_a_search_is_saved_as_a_subscription(
    app: FastAPI, client: TestClient, submit: Submit
) -> None:
    html = client.get("/search", params={"q": 'count "a new way"', "mode": "words"}).text
    found = re.search(r'href="(/subscribe\?[^"]+)"', html)
    assert found is not None
    page = found[1].replace("&amp;", "&")
    shown = client.get(page).text
    assert "Papers for “count &#34;a new way&#34;”" in shown
    hidden = dict(re.findall(r'name="(kind|value|mode)" value="([^"]*)"', shown))
    fields = {**WANTED, **{name: text.replace("&#34;", '"') for name, text in hidden.items()}}
    submit(client, page, "/subscribe", email=EMAIL, **fields)
    confirm = path_in(mails(app)[-1][1])
    submit(client, confirm, confirm)
    assert held(app) == [('Papers for “count "a new way"”', "daily")]


@pytest.fixture
def ada(app: FastAPI, sign_in: SignIn) -> TestClient:
    """A reader who is signed in and has confirmed an address."""
    client = sign_in("ada")
    with write(app.state.site.engine) as connection:
        connection.execute(
            update(ReaderTable)
            .where(ReaderTable.name == "ada")
            .values(email=EMAIL, email_key=EMAIL)
        )
    return client


def test_a_reader_subscribes_at_once_and_finds_it_on_their_page(
    app: FastAPI, ada: TestClient, submit: Submit
) -> None:
    done = submit(ada, "/subscribe", "/subscribe", **WANTED)
    assert (done.status_code, done.headers["location"]) == (303, "/me/subscriptions")
    assert mails(app) == []
    page = ada.get("/me/subscriptions").text
    assert "Papers in cs.CL" in page
    assert submit(ada, "/me/subscriptions", "/me/subscriptions/add", kind="trending").is_redirect
    number = re.search(r'action="/me/subscriptions/(\d+)"', page)
    assert number is not None
    own = f"/me/subscriptions/{number[1]}"
    assert submit(ada, "/me/subscriptions", own, act="weekly").status_code == 303
    assert held(app) == [("Papers in cs.CL", "weekly"), ("Trending papers", "daily")]
    assert submit(ada, "/me/subscriptions", "/me/subscriptions/act/end").status_code == 303
    assert held(app) == []
    assert "You subscribe to nothing yet" in ada.get("/me/subscriptions").text


def test_a_reader_without_an_address_is_sent_to_confirm_one(sign_in: SignIn) -> None:
    bo = sign_in("bo")
    assert "/me#email-section" in bo.get("/me/subscriptions").text


def test_another_reader_changes_nothing_of_mine(
    app: FastAPI, ada: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    submit(ada, "/subscribe", "/subscribe", **WANTED)
    bo = sign_in("bo")
    with write(app.state.site.engine) as connection:
        connection.execute(
            update(ReaderTable)
            .where(ReaderTable.name == "bo")
            .values(email="bo@lab.example", email_key="bo@lab.example")
        )
    submit(bo, "/subscribe", "/subscribe", **WANTED)
    for act in ("weekly", "end"):
        form = bo.get("/me/subscriptions").text
        key = re.search(r'name="form_key" value="([0-9a-f]{64})"', form)
        assert key is not None
        done = bo.post(
            "/me/subscriptions/1",
            data={"form_key": key[1], "act": act},
            headers={"Origin": "http://localhost:8000"},
        )
        assert done.status_code == 404
    assert held(app) == [("Papers in cs.CL", "daily")]


def test_an_address_whose_mail_came_back_says_so_and_can_be_let_in_again(
    app: FastAPI, subscribed: TestClient, submit: Submit
) -> None:
    manage, _ = paths(app)
    with write(app.state.site.engine) as connection:
        found = subscriber_at(connection, EMAIL)
        assert found is not None
        suspend_subscriber(connection, found.id, "550 5.1.1 <b>nobody</b>", utc_now())
    page = subscribed.get(manage).text
    assert "550 5.1.1 &lt;b&gt;nobody&lt;/b&gt;" in page
    assert submit(subscribed, manage, f"{manage}/act/resume").status_code == 303
    assert "came back" not in subscribed.get(manage).text


def test_a_place_that_sends_no_mail_says_so(
    settings: Settings, catalogue: None, little_room: object
) -> None:
    app = create_app(settings, local_only=True, worker=False)
    with TestClient(app, base_url="http://localhost:8000", client=("127.0.0.1", 1)) as client:
        assert "sends no mail" in client.get("/subscribe").text
        asked = {"email": EMAIL, "kind": "trending"}
        assert client.post("/api/v1/subscriptions", json=asked).status_code == 400


@pytest.fixture
def token(app: FastAPI, ada: TestClient, visit: Visit) -> TestClient:
    """A program with a token of ada's."""
    engine = app.state.site.engine
    with read(engine) as connection:
        reader = reader_by_name(connection, "ada")
    assert reader is not None
    client = visit()
    made = add_token(engine, reader, "test", [Scope.READ, Scope.SUBSCRIBE], 9, utc_now())
    client.headers["Authorization"] = f"Bearer {made}"
    return client


OWN = "/api/v1/me/subscriptions"


def test_the_api_does_what_the_pages_do(app: FastAPI, token: TestClient) -> None:
    empty = token.get(OWN).json()
    assert (empty["email"], empty["subscriptions"]) == (EMAIL, [])
    made = token.post(OWN, json={"kind": "search", "value": "counting"})
    assert made.status_code == 201
    shown = made.json()
    assert (shown["says"], shown["mode"], shown["cadence"]) == (
        "Papers for “counting”",
        "both",
        "daily",
    )
    address = made.headers["location"]
    assert token.get(address).json() == shown
    assert token.get(shown["url"]).status_code == 200
    assert token.patch(address, json={"cadence": "weekly"}).json()["cadence"] == "weekly"
    hours = {"zone": "Asia/Tokyo", "hour": 22, "weekday": 4}
    assert token.put(f"{OWN}/hours", json=hours).status_code == 204
    listed = token.get(OWN).json()
    assert (listed["hours"], len(listed["subscriptions"])) == (hours, 1)
    assert listed["next_at"] is not None
    token.post(OWN, json={"kind": "trending"})
    assert token.delete(address).status_code == 204
    assert token.post(f"{OWN}/resume").status_code == 204
    assert token.delete(OWN).status_code == 204
    assert token.get(OWN).json()["subscriptions"] == []
    assert held(app) == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", OWN, {"kind": "everything"}, 400),
        ("POST", OWN, {"kind": "author"}, 400),
        ("POST", OWN, {"kind": "trending", "more": 1}, 400),
        ("PUT", f"{OWN}/hours", {"zone": "Mars/Base"}, 404),
        ("GET", f"{OWN}/7", None, 404),
        ("PATCH", f"{OWN}/7", {"cadence": "weekly"}, 404),
        ("DELETE", f"{OWN}/7", None, 404),
        ("DELETE", OWN, None, 404),
    ],
)
def test_what_cannot_be_is_a_problem(
    token: TestClient, method: str, path: str, body: object, status: int
) -> None:
    answer = token.request(method, path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_anybody_asks_by_the_api_and_the_address_confirms(
    app: FastAPI, client: TestClient, subscribed: TestClient, submit: Submit
) -> None:
    answers = {
        client.post("/api/v1/subscriptions", json={"email": email, "kind": "trending"}).text
        for email in (EMAIL, "nobody@lab.example")
    }
    assert answers == {""}
    assert held(app, "nobody@lab.example") == []
    confirm = path_in(mails(app)[-1][1])
    submit(client, confirm, confirm)
    assert held(app, "nobody@lab.example") == [("Trending papers", "daily")]
    wrong = client.post("/api/v1/subscriptions", json={"email": "x", "kind": "trending"})
    assert wrong.headers["content-type"] == "application/problem+json"


def test_the_description_has_every_address(client: TestClient) -> None:
    paths = client.get("/api/v1/openapi.json").json()["paths"]
    assert "post" in paths["/api/v1/subscriptions"]
    assert set(paths[OWN]) == {"get", "post", "delete"}
