"""Who may start a run, from where, and under which name the server answers."""

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from starlette.datastructures import Headers

from paperround.errors import ForbiddenError, UsageError
from paperround.settings import Settings
from paperround.web.app import create_app
from paperround.web.guard import check_host, check_post
from paperround.web.server import is_loopback

RUN = "/papers/2601.00001/runs"


def runs_of(client: TestClient) -> list[dict[str, object]]:
    found: list[dict[str, object]] = client.get("/api/v1/runs").json()["runs"]
    return found


@pytest.mark.parametrize(
    "address", ["/", "/nowhere", "/static/site.css", "/api/v1/papers", "/runs"]
)
def test_every_answer_has_a_strict_policy(client: TestClient, address: str) -> None:
    headers = client.get(address).headers
    assert headers["content-security-policy"] == (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )
    assert headers["x-content-type-options"] == "nosniff"


def test_run_queues_and_leads_to_its_page(client: TestClient) -> None:
    answer = client.post(RUN, data={"scale": "quick"}, headers={"Origin": "http://localhost:8000"})
    assert answer.status_code == 303
    page = client.get(answer.headers["location"])
    assert "queued" in page.text
    assert "It is next." in page.text
    again = client.post(RUN, data={"scale": "quick"})
    assert again.headers["location"] == answer.headers["location"]
    assert len(runs_of(client)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:8001"},
        {"Origin": "http://localhost.evil.example:8000"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"X-Forwarded-For": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 proxy"},
    ],
)
def test_a_foreign_page_or_a_proxy_cannot_start_a_run(
    client: TestClient, headers: dict[str, str]
) -> None:
    for path, body in (
        (RUN, {"data": {"scale": "quick"}}),
        ("/api/v1/runs", {"json": {"slug": "little"}}),
    ):
        assert client.post(path, headers=headers, **body).status_code == 403  # type: ignore[arg-type]
    assert runs_of(client) == []


def test_another_machine_cannot_start_or_cancel_a_run(
    visit: Callable[..., TestClient], client: TestClient
) -> None:
    run_page = client.post(RUN).headers["location"]
    for address in ("192.168.1.7", "10.0.0.1", "2001:db8::1"):
        other = visit(host=address)
        assert other.post(RUN).status_code == 403
        assert other.post(f"{run_page}/cancel").status_code == 403
        assert other.post(f"/api/v1{run_page}/cancel").status_code == 403
        assert "Runs are started on the machine" in other.get("/papers/2601.00001").text
    assert [run["state"] for run in runs_of(client)] == ["queued"]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_each_loopback_address_is_this_machine(
    visit: Callable[..., TestClient], address: str
) -> None:
    assert visit(host=address).post(RUN).status_code == 303


def test_a_server_on_the_network_starts_nothing(
    settings: Settings, catalogue: None, little_room: object
) -> None:
    app = create_app(settings, local_only=False, worker=False)
    with TestClient(
        app, base_url="http://papers.example", client=("127.0.0.1", 1), follow_redirects=False
    ) as client:
        page = client.get("/papers/2601.00001")
        assert page.status_code == 200
        assert "nobody has an account yet" in page.text
        assert '<form class="run-form"' not in page.text
        assert client.post(RUN).status_code == 403
        assert client.post("/api/v1/runs", json={"slug": "little"}).status_code == 403


@pytest.mark.parametrize("name", ["evil.example", "localhost.evil.example", "127.0.0.1.nip.io", ""])
def test_a_name_pointed_at_this_machine_is_refused(
    visit: Callable[..., TestClient], name: str
) -> None:
    client = visit()
    for path in ("/", "/api/v1/papers"):
        assert client.get(path, headers={"Host": name}).status_code == 400
    assert client.post(RUN, headers={"Host": name}).status_code == 400


@pytest.mark.parametrize(
    "name",
    ["localhost", "localhost:8000", "LOCALHOST", "127.0.0.1:8000", "[::1]:8000", "my.localhost"],
)
def test_loopback_names_are_this_server(name: str) -> None:
    check_host(Headers({"host": name}), local_only=True, hosts=())


def test_configured_names_are_this_server() -> None:
    named = Headers({"host": "papers.example:443"})
    check_host(named, local_only=True, hosts={"papers.example"})
    with pytest.raises(UsageError):
        check_host(named, local_only=False, hosts={"other.example"})
    check_host(named, local_only=False, hosts=())


def test_a_large_or_endless_body_is_refused() -> None:
    with pytest.raises(UsageError):
        check_post(Headers({"content-length": "1000000"}))
    with pytest.raises(UsageError):
        check_post(Headers({"content-length": "-1"}))
    with pytest.raises(UsageError):
        check_post(Headers({"transfer-encoding": "chunked"}))
    with pytest.raises(ForbiddenError):
        check_post(Headers({"origin": "http://[", "host": "localhost"}))


@pytest.mark.parametrize(
    ("path", "form", "status"),
    [
        (RUN, {"scale": "full"}, 400),
        (RUN, {"scale": "enormous"}, 400),
        ("/papers/2606.00001/runs", {"scale": "quick"}, 404),
        ("/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/cancel", {}, 404),
        ("/", {}, 405),
    ],
)
def test_a_post_that_does_not_work_changes_nothing(
    client: TestClient, path: str, form: dict[str, str], status: int
) -> None:
    assert client.post(path, data=form).status_code == status
    assert runs_of(client) == []


def test_get_never_changes_anything(client: TestClient) -> None:
    for path in (RUN, "/runs", "/papers/2601.00001?run=1"):
        client.get(path)
    assert runs_of(client) == []


def test_loopback_binds_are_told_from_others() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.1.2.3", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "example.org"))


def test_behind_a_proxy_that_leaves_no_trace_nobody_is_this_machine(
    settings: Settings, catalogue: None, little_room: object
) -> None:
    known = settings.model_copy(update={"public_url": "https://papers.example"})
    app = create_app(known, local_only=True, worker=False)
    with TestClient(
        app, base_url="https://papers.example", client=("127.0.0.1", 1), follow_redirects=False
    ) as client:
        assert client.get("/").status_code == 200
        assert client.post(RUN).status_code == 403
