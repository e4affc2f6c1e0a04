"""The JSON API: shapes, paging, problems, and a description whose examples work."""

import pytest
from fastapi.testclient import TestClient

from paperround.runs.rights import Role
from paperround.web import access

PROBLEM = "application/problem+json"


def test_papers_go_on_by_cursor_until_all_were_shown(client: TestClient) -> None:
    address, keys = "/api/v1/papers?limit=7", []
    while address:
        page = client.get(address).json()
        keys += [paper["key"] for paper in page["papers"]]
        address = page["next"]
    assert len(keys) == len(set(keys)) == 43


def test_the_feed_goes_on_by_cursor_in_its_order(client: TestClient) -> None:
    address, votes = "/api/v1/feed?period=month&limit=10", []
    while address:
        page = client.get(address).json()
        votes += [paper["votes"] for paper in page["papers"]]
        address = page["next"]
    assert len(votes) == 43
    assert votes == sorted(votes, reverse=True)


def test_a_paper_has_plain_words_and_latex(client: TestClient) -> None:
    paper = client.get("/api/v1/papers/2606.00001").json()
    assert r"$\mathcal{O}(n)$" in paper["title_latex"]
    assert "$" not in paper["title"]
    assert paper["author_count"] == 3303
    assert paper["identifiers"] == {"arxiv": "2606.00001"}
    assert paper["listed"] == "2026-06-30"
    assert paper["slug"] is None


def test_search_answers_best_first(client: TestClient) -> None:
    answer = client.get("/api/v1/search", params={"q": "diffusion of languages"}).json()
    assert answer["hits"][0]["paper"]["key"] == "2606.00002"
    assert answer["mode"] in ("words", "both")


def test_the_runnable_papers_tell_where_their_claims_stand(client: TestClient) -> None:
    rooms = client.get("/api/v1/runnable").json()["runnable"]
    little = next(room for room in rooms if room["slug"] == "little")
    assert little["paper"] == "2601.00001"
    assert (little["claims"], little["not_measured"], little["scale"]) == (3, 3, None)


def test_a_run_is_queued_found_and_cancelled(client: TestClient) -> None:
    answer = client.post("/api/v1/runs", json={"slug": "little", "seeds": [7]})
    assert answer.status_code == 202
    run = answer.json()
    assert (run["state"], run["seeds"], run["position"]) == ("queued", [7], 1)
    assert run["queued_at"].endswith("Z")
    assert client.get(answer.headers["location"]).json()["id"] == run["id"]
    cancelled = client.post(f"/api/v1/runs/{run['id']}/cancel")
    assert cancelled.status_code == 202
    assert cancelled.json()["state"] == "cancelled"
    assert [r["id"] for r in client.get("/api/v1/runs?slug=little").json()["runs"]] == [run["id"]]
    assert client.get("/api/v1/runs?slug=other").json()["runs"] == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/papers/2699.99999", 404),
        ("/api/v1/nothing", 404),
        ("/api/v1/papers?cursor=2699.99999", 400),
        ("/api/v1/papers?limit=0", 400),
        ("/api/v1/papers?limit=100000", 400),
        ("/api/v1/feed?cursor=forged", 400),
        ("/api/v1/feed?start=tomorrow", 400),
        ("/api/v1/feed?period=century", 400),
        ("/api/v1/search", 400),
        ("/api/v1/search?q=x&mode=telepathy", 400),
        ("/api/v1/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV", 404),
    ],
)
def test_what_does_not_work_is_a_problem(client: TestClient, path: str, status: int) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == PROBLEM
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]


@pytest.mark.parametrize(
    "body",
    [
        {"slug": "little", "scale": "enormous"},
        {"slug": "little", "scale": "full"},
        {"slug": "little", "seeds": []},
        {"slug": "little", "seeds": [1, 1]},
        {"slug": "little", "seeds": [-1]},
        {"slug": "little", "seeds": ["one"]},
        {"slug": "little", "command": "rm"},
        {},
        [],
    ],
)
def test_a_run_that_cannot_be_is_a_problem(client: TestClient, body: object) -> None:
    answer = client.post("/api/v1/runs", json=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == PROBLEM
    assert client.post("/api/v1/runs", json={"slug": "nobody"}).status_code == 404
    assert client.get("/api/v1/runs").json()["runs"] == []


def _route(path: str) -> str:
    """The route of a path that is asked for with GET."""
    return f"GET {path.replace('{key}', '{key:path}')}"


def test_the_description_lists_every_path_and_its_examples_work(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    paths = described["paths"]
    # The table of who may do what is complete by construction (test_roles.py).
    routes = (route.partition(" ")[2] for route in access.API_ROUTES)
    listed = {route.replace(":path", "") for route in routes if route.startswith(access.API)}
    assert set(paths) == listed
    for path, methods in paths.items():
        # What needs a run, a result, a comment or a reader is asked for in the tests of those.
        needs_more = "/compare" in path or "{" in path.replace("{key}", "")
        if "get" not in methods or needs_more:
            continue
        if access.API_ROUTES[_route(path)][0] is not Role.VISITOR:
            continue
        query = {
            parameter["name"]: parameter["schema"]["examples"][0]
            for parameter in methods["get"].get("parameters", [])
            if parameter["in"] == "query" and parameter.get("required")
        }
        address = path.replace("{key}", "2606.00002")
        assert client.get(address, params=query).status_code == 200, path


def test_no_page_of_the_api_loads_anything_foreign(client: TestClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 404


def test_the_description_says_that_errors_are_problems(client: TestClient) -> None:
    described = client.get("/api/v1/openapi.json").json()
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            for status, response in operation["responses"].items():
                assert status != "422", (method, path)
                if int(status) >= 400:
                    assert list(response["content"]) == [PROBLEM], (method, path, status)
    assert "HTTPValidationError" not in described["components"]["schemas"]
