"""Who may use which address: every route has a rule, and every rule is kept for every role."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from paperround.clock import utc_now
from paperround.db import read
from paperround.readers.queries import reader_by_name
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role
from paperround.web import access
from paperround.web.app import ROUTERS

SignIn = Callable[..., TestClient]
# What stands for the parts of an address: things that are there where a visitor may see them.
PARTS = {
    "{key:path}": "2606.00003",
    "{run_id}": "01ARZ3NDEKTSV4RRFFQ69G5FAV",
    "{slug}": "little",
    "{claim_id}": "faster",
    "{mark}": "read",
    "{form}": "bib",
}


def routes() -> list[str]:
    """Every route of the application: its method and its address."""
    return sorted(
        f"{method} {prefix}{route.path}"
        for router, prefix in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    )


def test_the_table_and_the_application_have_the_same_routes() -> None:
    assert sorted([*access.PAGES, *access.API_ROUTES]) == routes()


def test_no_route_is_named_twice() -> None:
    assert len(set(routes())) == len(routes())


def test_a_route_without_a_rule_is_refused(app: FastAPI) -> None:
    @app.get("/forgotten")
    def forgotten() -> str:
        return "open to all"

    with TestClient(app, base_url="http://localhost:8000", client=("127.0.0.1", 1)) as client:
        answer = client.get("/forgotten")
    assert answer.status_code == 403
    assert "open to all" not in answer.text


def path_of(route: str) -> str:
    """An address of the route."""
    address = route.partition(" ")[2]
    return re.sub(r"\{[^}]+\}", lambda part: PARTS.get(part[0], "7"), address)


@pytest.mark.parametrize("role", list(Role))
def test_every_route_of_the_api_is_open_to_just_the_roles_of_its_rule(
    visit: Callable[..., TestClient], sign_in: SignIn, role: Role
) -> None:
    sign_in("somebody")
    client, order = visit(), list(Role)
    if role is not Role.VISITOR:
        app = sign_in("asks", role).app
        engine = app.state.site.engine  # type: ignore[attr-defined]
        with read(engine) as connection:
            reader = reader_by_name(connection, "asks")
        assert reader is not None
        token = add_token(engine, reader, "all", list(Scope), 9, utc_now())
        client.headers["Authorization"] = f"Bearer {token}"
    wrong = []
    for route, (least, _) in access.API_ROUTES.items():
        answer = client.request(route.partition(" ")[0], path_of(route))
        is_shut = answer.status_code == 401 or f"is for {least}s" in answer.text
        if is_shut != (order.index(role) < order.index(least)):
            wrong.append((route, answer.status_code, answer.text[:200]))
        assert answer.status_code < 500, route
        if answer.status_code >= 400:
            assert answer.headers["content-type"] == "application/problem+json", route
            assert answer.json()["status"] == answer.status_code, route
    assert wrong == []


@pytest.mark.parametrize("role", list(Role))
def test_every_route_is_open_to_just_the_roles_of_its_rule(
    app: FastAPI, visit: Callable[..., TestClient], sign_in: SignIn, role: Role
) -> None:
    sign_in("somebody")
    client = visit() if role is Role.VISITOR else sign_in("asks", role)
    order = list(Role)
    wrong = []
    for route, least in access.PAGES.items():
        method, path = route.partition(" ")[0], path_of(route)
        # Posts go without a key: whoever passes the table is stopped right after it.
        answer = client.request(method, path, headers={"Origin": "http://localhost:8000"})
        is_shut = (
            (answer.status_code == 303 and answer.headers["location"].startswith("/sign-in"))
            if method == "GET"
            else answer.status_code == 401
        ) or f"This is for {least}s" in answer.text
        if path == "/sign-in":
            is_shut = False
        if is_shut != (order.index(role) < order.index(least)):
            wrong.append((route, answer.status_code))
        assert answer.status_code < 500, route
    assert wrong == []
