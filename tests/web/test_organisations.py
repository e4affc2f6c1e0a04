"""The pages of organisations, and the same by the API."""

from collections.abc import Callable
from datetime import date

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import update

from paperround.catalogue.actions import import_records
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.tables import PaperTable
from paperround.db import write


@pytest.fixture
def lab(app: FastAPI) -> str:
    """An organisation with 40 papers, whose name has quotes in it."""
    records = [
        PaperRecord(
            source="jsonl",
            source_key=f"2605.{n:05d}",
            title=f"Lab paper {n}",
            organisation='The "Lab"',
            listed=date(2026, 5, 1 + n // 4),
            identifiers={"arxiv": f"2605.{n:05d}"},
        )
        for n in range(40)
    ]
    assert import_records(app.state.site.engine, records).added == 40
    return "the-lab"


def test_an_organisation_has_its_papers_on_two_pages(client: TestClient, lab: str) -> None:
    first = client.get(f"/organisations/{lab}").text
    assert "40 papers" in first
    assert "Lab paper 39" in first
    assert "Lab paper 0<" not in first
    after = first.partition(f'href="/organisations/{lab}?after=')[2].partition('"')[0]
    second = client.get(f"/organisations/{lab}?after={after}").text
    assert "Lab paper 0<" in second
    assert "Lab paper 39<" not in second
    # What stands in quotes in a query has none inside.
    assert "/search?q=org%3A%22The%20Lab%22" in first
    assert client.get("/organisations/nowhere").status_code == 404


def test_the_list_says_how_few_papers_name_one_where_they_are_few(
    client: TestClient, request: pytest.FixtureRequest
) -> None:
    few = client.get("/organisations").text
    assert "1 of 43 papers here names one." in few
    request.getfixturevalue("lab")
    # 41 of 83, and then one more than half.
    assert "41 of 83 papers here name one." in client.get("/organisations").text
    with write(client.app.state.site.engine) as connection:  # type: ignore[attr-defined]
        connection.execute(
            update(PaperTable)
            .where(PaperTable.key == "2606.00003")
            .values(organisation="X", organisation_key="x")
        )
    assert "name one." not in client.get("/organisations").text


def test_the_list_leads_to_them_and_a_name_is_no_markup(client: TestClient, lab: str) -> None:
    page = client.get("/organisations").text
    assert page.index("/organisations/the-lab") < page.index("/organisations/b-institute-b")
    assert "&lt;b&gt;Institute&lt;/b&gt;" in page
    by_name = client.get("/organisations?order=name").text
    assert by_name.index("/organisations/b-institute-b") < by_name.index("/organisations/the-lab")
    assert client.get("/organisations?order=other").status_code == 400
    assert client.get("/organisations?after=x").status_code == 400


def test_the_api_lists_them_by_cursor(client: TestClient, lab: str) -> None:
    keys: list[str] = []
    address: str | None = "/api/v1/organisations?limit=1"
    while address:
        page = client.get(address).json()
        keys += [each["key"] for each in page["organisations"]]
        address = page["next"]
    assert keys == [lab, "b-institute-b"]
    assert client.get(f"/api/v1/organisations/{lab}").json()["papers"] == 40
    shown: list[str] = []
    address = f"/api/v1/organisations/{lab}/papers?limit=7"
    while address:
        page = client.get(address).json()
        shown += [paper["key"] for paper in page["papers"]]
        address = page["next"]
    assert len(shown) == len(set(shown)) == 40
    assert client.get("/api/v1/organisations/nowhere/papers").status_code == 404


@pytest.mark.parametrize("form", ["atom", "rss", "json"])
def test_an_organisation_has_feeds(client: TestClient, lab: str, form: str) -> None:
    answer = client.get(f"/organisations/{lab}.{form}")
    assert answer.status_code == 200
    assert "Lab paper 39" in answer.text
    assert f'href="/organisations/{lab}.{form}"' in client.get(f"/organisations/{lab}").text
    assert client.get(f"/organisations/nowhere.{form}").status_code == 404
    assert client.get(f"/organisations/{lab}.exe").status_code == 404


def test_a_paper_leads_to_its_organisation(visit: Callable[..., TestClient], lab: str) -> None:
    assert f'href="/organisations/{lab}"' in visit().get("/papers/2605.00001").text
