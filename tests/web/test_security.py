"""What every answer of the server keeps to itself."""

import pytest
from fastapi.testclient import TestClient


@pytest.mark.parametrize("path", ["/static/", "/static", "/static/vendor/", "/static/../app.py"])
def test_no_folder_is_listed_and_nothing_beside_it_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code in (404, 405)


@pytest.mark.parametrize("method", ["TRACE", "PROPFIND"])
@pytest.mark.parametrize("path", ["/", "/me", "/api/v1/papers", "/static/site.css"])
def test_methods_that_no_route_has_are_refused(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path, headers={"X-Secret": "do not echo"})
    assert answer.status_code in (400, 403, 404, 405)
    assert "do not echo" not in answer.text
