"""Whose a thing is: no reader reaches another's by its number, on any route that takes one."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import Engine, select, text, update

from paperround.catalogue.queries import paper_by_key
from paperround.clock import utc_now
from paperround.db import Table, read, write
from paperround.readers.authorship import claim_authorship
from paperround.readers.collections import add_collection, put_paper
from paperround.readers.comments import add_comment
from paperround.readers.identities import join_identity
from paperround.readers.queries import identities_of, reader_by_name, tokens_of
from paperround.readers.records import Reader
from paperround.readers.sessions import begin_session, find_session
from paperround.readers.subjects import Kind, Subject
from paperround.readers.submissions import submit_address
from paperround.readers.subscriptions import (
    keep_subscriber,
    keep_subscription,
    manage_path,
    subscribe_reader,
    subscriber_by_id,
)
from paperround.readers.tables import ReaderTable
from paperround.readers.times import Cadence, Hours
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role
from paperround.runs.tables import RunTable
from paperround.web.access import API, API_ROUTES, PAGES

SignIn = Callable[..., TestClient]
Submit = Callable[..., Response]
PAPER = "2606.00003"

# What is somebody's, by how a route calls it.
OWNED = (
    *("{session_id}", "{token_id}", "{identity}", "{comment_id}", "{collection}"),
    *("{submission_id}", "{authorship_id}", "{subscription_id}", "{run_id}"),
)
# What is there for all to see, or to do.
OPEN = {
    "GET /comments/{comment_id}",
    "POST /comments/{comment_id}/report",
    "GET /runs/{run_id}",
    "GET /runs/{run_id}/events",
    f"GET {API}/comments/{{comment_id}}",
    f"POST {API}/comments/{{comment_id}}/report",
    f"GET {API}/runs/{{run_id}}",
}
# Whose it is is said by a secret in the address as well.
BY_SECRET = {"POST /subscriptions/{token}/{subscription_id}"}
# What only its owner may do, with what they send; what ends a thing comes last.
PAGE_ACTS: dict[str, dict[str, str]] = {
    "POST /comments/{comment_id}/edit": {"text": "changed"},
    "POST /comments/{comment_id}/delete": {},
    "GET /collections/{collection}": {},
    "GET /collections/{collection}/export/{form}": {},
    "POST /collections/{collection}/edit": {"name": "changed", "visibility": "link"},
    # Whoever has the address sees it from here on; nobody but its owner changes it.
    "GET /collections/{collection}.{form}": {},
    "POST /collections/{collection}/papers": {"paper": "2606.00011"},
    "POST /collections/{collection}/remove": {"paper": "2606.00010"},
    "POST /collections/{collection}/bibtex": {"bibtex": "@misc{a, title = {On sheep}}"},
    "POST /papers/{key:path}/collect": {"collection": "{collection}"},
    "POST /collections/{collection}/delete": {},
    "GET /submissions/{submission_id}": {},
    "POST /authorships/{authorship_id}/take-back": {},
    "POST /me/subscriptions/{subscription_id}": {"act": "weekly"},
    "POST /me/identities/{identity}/end": {},
    "POST /me/tokens/{token_id}/revoke": {},
    "POST /me/sessions/{session_id}/end": {},
    "POST /runs/{run_id}/cancel": {},
}
API_ACTS: dict[str, dict[str, str] | None] = {
    f"PATCH {API}/comments/{{comment_id}}": {"text": "changed"},
    f"DELETE {API}/comments/{{comment_id}}": None,
    f"GET {API}/collections/{{collection}}": None,
    f"GET {API}/collections/{{collection}}/papers": None,
    f"GET {API}/collections/{{collection}}/export/{{form}}": None,
    f"PATCH {API}/collections/{{collection}}": {"name": "changed"},
    f"PUT {API}/collections/{{collection}}/papers/{{key:path}}": {"note": "mine"},
    f"DELETE {API}/collections/{{collection}}/papers/{{key:path}}": None,
    f"POST {API}/submissions/bibtex": {
        "bibtex": "@misc{a, title = {A}}",
        "collection": "{collection}",
    },
    f"DELETE {API}/collections/{{collection}}": None,
    f"GET {API}/submissions/{{submission_id}}": None,
    f"DELETE {API}/authorships/{{authorship_id}}": None,
    f"GET {API}/me/subscriptions/{{subscription_id}}": None,
    f"PATCH {API}/me/subscriptions/{{subscription_id}}": {"cadence": "weekly"},
    f"DELETE {API}/me/subscriptions/{{subscription_id}}": None,
    f"POST {API}/runs/{{run_id}}/cancel": None,
}


def test_every_route_that_takes_somebody_s_thing_is_in_a_table() -> None:
    rules = {**PAGES, **{route: role for route, (role, _) in API_ROUTES.items()}}
    # What is for moderators and admins goes by their role, in test_roles.py.
    taking = {
        route
        for route, role in rules.items()
        if role in (Role.VISITOR, Role.READER) and any(part in route for part in OWNED)
    }
    by_body = {"POST /papers/{key:path}/collect", f"POST {API}/submissions/bibtex"}
    assert taking | by_body == OPEN | BY_SECRET | set(PAGE_ACTS) | set(API_ACTS)
    assert not OPEN & (set(PAGE_ACTS) | set(API_ACTS))


@pytest.fixture
def engine(app: FastAPI) -> Engine:
    found: Engine = app.state.site.engine
    return found


@pytest.fixture
def ada(engine: Engine, sign_in: SignIn) -> TestClient:
    """A reader who has one of everything."""
    client = sign_in("ada")
    with write(engine) as connection:
        address = {"email": "ada@lab.example", "email_key": "ada@lab.example"}
        connection.execute(update(ReaderTable).values(**address))
    return client


@pytest.fixture
def things(engine: Engine, ada: TestClient, submit: Submit) -> dict[str, str]:
    """The numbers of what is ada's, by what routes call them."""
    now, reader = utc_now(), named(engine, "ada")
    with read(engine) as connection:
        detail = paper_by_key(connection, "2606.00010")
    assert detail is not None
    paper = detail.paper
    collection = add_collection(engine, reader, "Mine", now)
    put_paper(engine, reader, collection.key, paper.id, now)
    comment = add_comment(engine, reader, paper.id, "Mine", now)
    submission = submit_address(engine, reader, "2312.00858", now)
    authorship = claim_authorship(engine, reader, paper.key, paper.authors[0], "my page", now)
    subject = Subject(Kind.CATEGORY, "cs.CL")
    subscription = subscribe_reader(engine, reader, subject, Cadence.DAILY, now)
    join_identity(engine, reader, "https://id.example", "4711", now)
    add_token(engine, reader, "mine", ["read"], 9, now)
    with write(engine) as connection:
        session = find_session(connection, begin_session(connection, reader.id, "x", now), now)
        (identity,) = identities_of(connection, reader.id)
        (token,) = tokens_of(connection, reader.id)
    assert session is not None
    run = submit(ada, "/papers/2601.00001", "/papers/2601.00001/runs", scale="quick")
    return {
        "{session_id}": f"{session[0].id}",
        "{token_id}": f"{token.id}",
        "{identity}": identity.id,
        "{comment_id}": f"{comment}",
        "{collection}": collection.key,
        "{submission_id}": f"{submission}",
        "{authorship_id}": f"{authorship}",
        "{subscription_id}": f"{subscription}",
        "{run_id}": run.headers["location"].rpartition("/")[2],
        "{key:path}": PAPER,
    }


def named(engine: Engine, name: str) -> Reader:
    with read(engine) as connection:
        found = reader_by_name(connection, name)
    assert found is not None
    return found


def filled(what: str, things: dict[str, str], form: str) -> str:
    return re.sub(r"\{[a-z_]+(:path)?\}", lambda part: {**things, "{form}": form}[part[0]], what)


def kept(engine: Engine) -> dict[str, list[Any]]:
    """Everything in the database but how often somebody tried, and when they were seen."""
    with read(engine) as connection:
        return {
            table.name: sorted(map(repr, connection.execute(select(*columns))))
            for table in Table.metadata.sorted_tables
            if table.name != "attempt"
            and (columns := [c for c in table.c if c.name not in ("seen_at", "used_at")])
        }


def press(client: TestClient, route: str, path: str, fields: dict[str, str]) -> Response:
    if route.startswith("GET "):
        return client.get(path)
    key = re.search(r'name="form_key" value="([0-9a-f]{64})"', client.get("/me").text)
    assert key is not None
    origin = {"Origin": "http://localhost:8000"}
    return client.post(path, data={**fields, "form_key": key[1]}, headers=origin)


def test_by_no_page_does_a_reader_reach_what_is_another_s(
    engine: Engine, ada: TestClient, things: dict[str, str], sign_in: SignIn
) -> None:
    bo = sign_in("bo")
    before = kept(engine)
    for route, fields in PAGE_ACTS.items():
        form = "atom" if ".{form}" in route else "bib"
        path = filled(route.partition(" ")[2], things, form)
        sent = {name: filled(value, things, form) for name, value in fields.items()}
        answer = press(bo, route, path, sent)
        assert answer.status_code in (403, 404), (route, answer.status_code)
    assert kept(engine) == before
    # The same by its owner does what it says, so that it was no other reason.
    for route, fields in PAGE_ACTS.items():
        form = "atom" if ".{form}" in route else "bib"
        path = filled(route.partition(" ")[2], things, form)
        sent = {name: filled(value, things, form) for name, value in fields.items()}
        held = kept(engine)
        assert press(ada, route, path, sent).status_code in (200, 303), route
        assert (kept(engine) != held) == route.startswith("POST "), route


def test_by_no_token_does_a_reader_reach_what_is_another_s(
    engine: Engine, things: dict[str, str], sign_in: SignIn, visit: Callable[..., TestClient]
) -> None:
    sign_in("bo")
    holders = []
    for name in ("bo", "ada"):
        client = visit()
        token = add_token(engine, named(engine, name), "all", list(Scope), 9, utc_now())
        client.headers["Authorization"] = f"Bearer {token}"
        holders.append(client)
    bo, ada = holders
    before = kept(engine)
    for client, expected in ((bo, (403, 404)), (ada, (200, 201, 202, 204))):
        for route, body in API_ACTS.items():
            method, _, address = route.partition(" ")
            path = filled(address, things, "bib")
            sent = body and {name: filled(value, things, "bib") for name, value in body.items()}
            held = kept(engine)
            answer = client.request(method, path, json=sent)
            assert answer.status_code in expected, (route, answer.status_code, answer.text[:200])
            assert (kept(engine) != held) == (client is ada and method != "GET"), route
        if client is bo:
            assert kept(engine) == before


def test_by_the_link_of_one_address_nobody_reaches_what_another_gets(
    app: FastAPI, engine: Engine, things: dict[str, str], sign_in: SignIn
) -> None:
    subject, now = Subject(Kind.CATEGORY, "cs.LG"), utc_now()
    with write(engine) as connection:
        other = keep_subscriber(connection, "bo@lab.example", None, Hours(), now)
        keep_subscription(connection, other, subject, Cadence.DAILY, now)
        held = subscriber_by_id(connection, other)
    page = manage_path(app.state.site.links_key, held.id, held.seed)
    bo, before = sign_in("bo"), kept(engine)
    for act in ("weekly", "end"):
        path = f"{page}/{things['{subscription_id}']}"
        assert press(bo, f"POST {path}", path, {"act": act}).status_code == 404
    assert kept(engine) == before


def test_a_run_is_cancelled_by_who_asked_for_it_whatever_a_later_reader_is_called(
    engine: Engine, things: dict[str, str], ada: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    run = f"/runs/{things['{run_id}']}"
    form = {"name": "ada", "password": "kettle orbit mango 7"}
    assert submit(ada, "/me", "/me/delete", **form).status_code == 303
    namesake = sign_in("ada")
    answer = press(namesake, f"POST {run}/cancel", f"{run}/cancel", {})
    assert answer.status_code == 403
    with read(engine) as connection:
        assert connection.scalar(select(RunTable.owner)) == "a former reader"
        assert connection.scalar(text("SELECT state FROM run")) == "queued"
