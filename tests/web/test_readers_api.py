"""What readers do by the API: tokens and their scopes, problems, pages by cursor."""

import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from paperround.clock import utc_now
from paperround.db import read
from paperround.readers.queries import reader_by_name
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role
from paperround.web import access

SignIn = Callable[..., TestClient]
Visit = Callable[..., TestClient]
PAPER = "/api/v1/papers/2606.00003"


@pytest.fixture
def api(sign_in: SignIn, visit: Visit) -> Callable[..., TestClient]:
    """Clients that hold a token of a new reader with these scopes."""

    def make(name: str = "ada", *scopes: str, role: Role = Role.READER) -> TestClient:
        engine = sign_in(name, role).app.state.site.engine  # type: ignore[attr-defined]
        with read(engine) as connection:
            reader = reader_by_name(connection, name)
        assert reader is not None
        token = add_token(engine, reader, "test", scopes or list(Scope), 9, utc_now())
        client = visit()
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    return make


def test_every_own_route_asks_for_a_token_and_for_its_scope(
    api: Callable[..., TestClient], visit: Visit
) -> None:
    anybody, others = visit(), {}
    for scope in Scope:
        rest = [other.value for other in Scope if other is not scope]
        others[scope] = api(f"all-but-{scope}", *rest, role=Role.ADMIN)
    for route, (least, scope) in access.API_ROUTES.items():
        method, _, address = route.partition(" ")
        path = address.replace("{key:path}", "2606.00003").replace("{mark}", "read")
        path = re.sub(r"\{[^}]+\}", "7", path)
        if least is not Role.VISITOR:
            refused = anybody.request(method, path)
            assert refused.status_code == 401, route
            assert refused.headers["content-type"] == "application/problem+json"
            assert refused.headers["www-authenticate"] == "Bearer"
        if scope is not None:
            refused = others[scope].request(method, path)
            assert refused.status_code == 403, route
            assert f"'{scope}'" in refused.json()["detail"]


@pytest.mark.parametrize(
    "header", ["Bearer wrong", "Bearer ", "Basic YWRhOnBhc3M=", "Bearer paperround_" + "x" * 43]
)
def test_a_token_that_is_none_opens_not_even_what_is_open(
    client: TestClient, sign_in: SignIn, header: str
) -> None:
    sign_in("ada")
    refused = client.get("/api/v1/papers", headers={"Authorization": header})
    assert refused.status_code == 401
    assert refused.json()["status"] == 401


def test_a_vote_is_put_and_deleted_as_often_as_one_likes(
    api: Callable[..., TestClient],
) -> None:
    ada = api()
    for _ in range(2):
        said = ada.put(f"{PAPER}/vote").json()
        assert said == {"paper": "2606.00003", "voted": True, "votes_here": 1}
    assert [row["paper"]["key"] for row in ada.get("/api/v1/me/votes").json()["papers"]] == [
        "2606.00003"
    ]
    for _ in range(2):
        assert ada.delete(f"{PAPER}/vote").json()["votes_here"] == 0
    assert ada.put("/api/v1/papers/nowhere/vote").status_code == 404


def test_lists_go_on_by_cursor_and_show_each_once(api: Callable[..., TestClient]) -> None:
    ada = api()
    keys = [f"2606.000{n}" for n in range(10, 17)]
    for key in keys:
        assert ada.put(f"/api/v1/papers/{key}/mark", json={"mark": "later"}).status_code == 204
    shown: list[str] = []
    address: str | None = "/api/v1/me/marks/later?limit=3"
    while address:
        page = ada.get(address).json()
        shown += [row["paper"]["key"] for row in page["papers"]]
        address = page["next"]
    assert shown == keys[::-1]
    assert ada.delete(f"/api/v1/papers/{keys[0]}/mark").status_code == 204
    assert len(ada.get("/api/v1/me/marks/later").json()["papers"]) == 6


@pytest.mark.parametrize(
    "cursor", ["x", "2026-01-01,1", "2026-01-01T00:00:00+00:00,-1", "1;2", ","]
)
def test_a_cursor_that_was_made_up_is_a_problem(
    api: Callable[..., TestClient], cursor: str
) -> None:
    ada = api()
    assert ada.get("/api/v1/me/votes", params={"cursor": cursor}).status_code == 400
    assert ada.get(f"{PAPER}/comments", params={"cursor": cursor}).status_code == 400


def test_comments_are_written_answered_changed_listed_and_taken_back(
    api: Callable[..., TestClient], client: TestClient
) -> None:
    ada, bo = api("ada"), api("bo")
    made = ada.post(f"{PAPER}/comments", json={"text": "See 2606.00002."})
    assert made.status_code == 201
    first = made.json()
    assert made.headers["location"] == f"/api/v1/comments/{first['id']}"
    assert (first["author"], first["mentions"]) == ("ada", ["2606.00002"])
    for n in range(4):
        bo.post(f"{PAPER}/comments", json={"text": f"Answer {n}", "parent": first["id"]})
    shown: list[str] = []
    address: str | None = f"{PAPER}/comments?limit=2"
    while address:
        page = client.get(address).json()
        shown += [comment["text"] for comment in page["comments"]]
        address = page["next"]
    assert shown == ["See 2606.00002.", "Answer 0", "Answer 1", "Answer 2", "Answer 3"]
    path = f"/api/v1/comments/{first['id']}"
    assert bo.patch(path, json={"text": "Mine"}).status_code == 403
    assert bo.delete(path).status_code == 403
    assert ada.patch(path, json={"text": "Changed"}).json()["text"] == "Changed"
    assert bo.post(f"{path}/report", json={"reason": "wrong"}).status_code == 204
    assert len(bo.get("/api/v1/me/comments?limit=3").json()["comments"]) == 3
    assert ada.delete(path).status_code == 204
    assert client.get(path).status_code == 404
    assert client.get(f"{PAPER}/comments").json()["comments"][0]["text"] is None


@pytest.mark.parametrize("body", [{}, {"text": 1}, {"text": ""}, {"text": "x", "more": 1}, []])
def test_a_comment_that_cannot_be_is_a_problem(
    api: Callable[..., TestClient], body: object
) -> None:
    refused = api().post(f"{PAPER}/comments", json=body)
    assert refused.status_code == 400
    assert refused.headers["content-type"] == "application/problem+json"


def test_trending_says_what_each_score_is_made_of(
    api: Callable[..., TestClient], client: TestClient
) -> None:
    api("ada", role=Role.MODERATOR).put(f"{PAPER}/vote")
    page = client.get("/api/v1/trending?period=month&limit=5").json()
    first = page["papers"][0]
    assert (first["paper"]["key"], first["votes"]) == ("2606.00003", 1)
    for standing in page["papers"]:
        assert standing["score"] == pytest.approx(sum(standing["points"].values()))


def test_a_token_of_a_reader_starts_quick_runs_under_their_name(
    api: Callable[..., TestClient],
) -> None:
    ada = api("ada", "run")
    asked = {"slug": "little", "scale": "quick"}
    run = ada.post("/api/v1/runs", json=asked).json()
    assert run["owner"] == "ada"
    assert ada.post("/api/v1/runs", json={**asked, "scale": "standard"}).status_code == 403
    assert api("bo", "run").post(f"/api/v1/runs/{run['id']}/cancel").status_code == 403
    assert ada.post(f"/api/v1/runs/{run['id']}/cancel").status_code == 202


def test_a_limit_says_when_to_come_again(api: Callable[..., TestClient]) -> None:
    ada = api()
    for n in range(20):
        ada.post(f"{PAPER}/comments", json={"text": f"Number {n}"})
    refused = ada.post(f"{PAPER}/comments", json={"text": "One more"})
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 600
