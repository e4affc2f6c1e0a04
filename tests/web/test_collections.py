"""Collections in the browser and by the API."""

import io
import json
import re
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from paperround.catalogue.records import PaperRecord
from paperround.catalogue.sources.bibtex import read_text
from paperround.clock import utc_now
from paperround.db import read
from paperround.readers.queries import reader_by_name
from paperround.readers.tokens import Scope, add_token
from paperround.runs.rights import Role

SignIn = Callable[..., TestClient]
Visit = Callable[..., TestClient]
Submit = Callable[..., Response]


@pytest.fixture
def api(visit: Visit) -> Callable[..., TestClient]:
    """Clients that hold a token of a reader that is there, with these scopes."""

    def make(signed_in: TestClient, name: str, *scopes: str) -> TestClient:
        engine = signed_in.app.state.site.engine  # type: ignore[attr-defined]
        with read(engine) as connection:
            reader = reader_by_name(connection, name)
        assert reader is not None
        token = add_token(engine, reader, "test", scopes or list(Scope), 9, utc_now())
        client = visit()
        client.headers["Authorization"] = f"Bearer {token}"
        return client

    return make


def make(ada: TestClient, submit: Submit, name: str = "For the seminar", **fields: str) -> str:
    """The address of a new collection."""
    made = submit(ada, "/collections", "/collections", name=name, **fields)
    assert made.status_code == 303, made.text
    return str(made.headers["location"])


def test_a_reader_makes_fills_orders_and_deletes_a_collection(
    sign_in: SignIn, submit: Submit, visit: Visit
) -> None:
    ada = sign_in("ada")
    address = make(ada, submit, "For <b>all</b>", about="Read it.", visibility="public")
    for key in ("2606.00002", "https://arxiv.org/abs/2606.00003v1", "/papers/2606.00010"):
        done = submit(ada, address, f"{address}/papers", paper=key, note=f"on {key[-5:]}")
        assert done.status_code == 303, done.text
    moved = submit(ada, address, f"{address}/papers", paper="2606.00010", note="first", place="1")
    assert moved.headers["location"] == f"{address}#paper-2606.00010"
    page = visit().get(address).text
    assert re.findall(r'id="paper-([\d.]+)"', page) == ["2606.00010", "2606.00002", "2606.00003"]
    assert "For &lt;b&gt;all&lt;/b&gt;" in page
    assert "<b>all</b>" not in page
    assert "Take it out" not in page
    assert address in visit().get("/collections").text
    submit(ada, address, f"{address}/remove", paper="2606.00002")
    assert 'id="paper-2606.00002"' not in ada.get(address).text
    assert submit(ada, address, f"{address}/delete").headers["location"] == "/collections"
    assert ada.get(address).status_code == 404


def test_a_paper_that_is_not_here_is_not_put_in_and_nothing_is_lost(
    sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    address = make(ada, submit)
    refused = submit(ada, address, f"{address}/papers", paper="2606.99999")
    assert refused.status_code == 404
    assert "submit it first" in refused.text
    assert 'value="2606.99999"' in refused.text


def test_a_private_collection_is_not_there_for_others(
    sign_in: SignIn, submit: Submit, visit: Visit, api: Callable[..., TestClient]
) -> None:
    ada, eve = sign_in("ada"), sign_in("eve", Role.ADMIN)
    address = make(ada, submit)
    program = api(ada, "ada", "collect")
    for other in (eve, visit(), api(eve, "eve"), program):
        prefix = "/api/v1" if "Authorization" in other.headers else ""
        assert other.get(prefix + address).status_code == 404
        assert other.get(f"{prefix}{address}/export/bib").status_code == 404
    assert "noindex" in ada.get(address).text
    assert address not in eve.get("/collections").text
    assert api(ada, "ada", "read").get(f"/api/v1{address}").json()["visibility"] == "private"
    submit(ada, address, f"{address}/edit", name="Mine", visibility="link")
    assert visit().get(address).status_code == 200
    assert address not in visit().get("/collections").text


def test_a_paper_s_page_puts_it_into_a_collection(sign_in: SignIn, submit: Submit) -> None:
    ada = sign_in("ada")
    paper = "/papers/2606.00002"
    done = submit(ada, paper, f"{paper}/collect", name="New")
    assert done.headers["location"] == f"{paper}#collections"
    address = re.findall(r'href="(/collections/[\w-]{16})"', ada.get(paper).text)[0]
    assert 'id="paper-2606.00002"' in ada.get(address).text
    other = "/papers/2606.00003"
    submit(ada, other, f"{other}/collect", collection=address.rpartition("/")[2])
    assert 'id="paper-2606.00003"' in ada.get(address).text
    assert submit(ada, "/papers/2606.00010", "/papers/2606.00010/collect").status_code == 400


def test_what_is_exported_is_what_is_in_it(sign_in: SignIn, submit: Submit) -> None:
    ada = sign_in("ada")
    address = make(ada, submit, "Zürich & more", visibility="public")
    keys = ["2606.00003", "2606.00001", "2606.00002"]
    for key in keys:
        submit(ada, address, f"{address}/papers", paper=key, note="a note")
    bib = ada.get(f"{address}/export/bib")
    assert bib.headers["content-type"] == "application/x-bibtex; charset=utf-8"
    assert bib.headers["content-disposition"] == 'attachment; filename="z-rich-more.bib"'
    found = [item for item in read_text(io.BytesIO(bib.content)) if isinstance(item, PaperRecord)]
    assert [record.identifiers["arxiv"] for record in found] == keys
    items = json.loads(ada.get(f"{address}/export/json").text)
    assert [item["number"] for item in items] == [f"arXiv:{key}" for key in keys]
    assert ada.get(f"{address}/export/ris").text.count("ER  -") == 3
    assert ada.get(f"{address}/export/xls").status_code == 400


def test_the_same_by_the_api(
    sign_in: SignIn, submit: Submit, client: TestClient, api: Callable[..., TestClient]
) -> None:
    ada = api(sign_in("ada"), "ada")
    made = ada.post("/api/v1/collections", json={"name": "By program", "visibility": "public"})
    assert made.status_code == 201
    where = made.headers["location"]
    keys = [f"2606.000{n}" for n in range(10, 16)]
    for key in keys:
        put = ada.put(f"{where}/papers/{key}", json={"note": "n", "place": 1})
        assert put.status_code == 204, put.text
    shown: list[str] = []
    address: str | None = f"{where}/papers?limit=4"
    while address:
        page = client.get(address).json()
        shown += [row["paper"]["key"] for row in page["papers"]]
        address = page["next"]
    assert shown == keys[::-1]
    assert ada.delete(f"{where}/papers/{keys[0]}").status_code == 204
    assert ada.patch(where, json={"name": "Renamed"}).json()["papers"] == 5
    for n in range(3):
        ada.post("/api/v1/collections", json={"name": f"More {n}", "visibility": "public"})
    names: list[str] = []
    address = "/api/v1/me/collections?limit=2"
    while address:
        page = ada.get(address).json()
        names += [row["name"] for row in page["collections"]]
        address = page["next"]
    assert names == ["More 2", "More 1", "More 0", "Renamed"]
    # The empty ones are not listed for others.
    assert [c["name"] for c in client.get("/api/v1/collections").json()["collections"]] == [
        "Renamed"
    ]
    moderator = api(sign_in("mo", Role.MODERATOR), "mo", "moderate")
    assert moderator.post(f"{where}/hide", json={"because": "adverts"}).status_code == 204
    assert client.get(where).status_code == 404
    assert ada.delete(where).status_code == 204
    assert ada.get(where).status_code == 404


@pytest.mark.parametrize("after", ["x", "1,2", "2026-01-01T00:00:00+00:00,x"])
def test_a_cursor_that_was_made_up_is_refused(client: TestClient, after: str) -> None:
    assert client.get("/collections", params={"after": after}).status_code == 400
    assert client.get("/api/v1/collections", params={"cursor": after}).status_code == 400
