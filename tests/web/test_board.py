"""The claims board, results and comparisons over HTTP, with the little room really measured."""

import base64
import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from paperround.db import write
from paperround.runs.card import Scale
from paperround.runs.exchange import read_foreign
from paperround.runs.images import png_of
from paperround.runs.records import Origin, keep_result
from paperround.runs.results import Result
from paperround.runs.rooms import find_room
from paperround.runs.worker import Worker
from paperround.settings import Settings

NOON = datetime(2026, 4, 13, 12, tzinfo=UTC)
PNG = png_of([[0.0, 1.0], [1.0, 0.0]])


Keep = Callable[..., None]


def a_result(
    faster: float = 2.0, *, days: int = 0, scale: Scale = Scale.QUICK, **changes: object
) -> Result:
    room = find_room("little")
    image = base64.b64encode(PNG).decode()
    events = [
        {"kind": "measure", "claim": "faster", "value": faster, "baseline": 1.0, "seed": 0},
        {"kind": "note", "text": "=cmd|' /C calc'!A0 <script>alert(1)</script>"},
        {
            "kind": "sample",
            "title": "S",
            "note": "",
            "parts": [{"label": "one", "png": image}, {"label": "many", "pngs": [image, image]}],
        },
    ]
    options: dict[str, object] = {
        "status": "finished",
        "reason": "",
        "started_at": NOON + timedelta(days=days),
        "seconds": 1.0,
        "seeds": (0,),
        "environment": {"processor": "A Machine", "cores": 2, "paperround": "0.1"},
        "card_sha256": room.card_sha256,
    }
    return Result.from_events(room.card, scale, events, **{**options, **changes})


@pytest.fixture
def keep(app: FastAPI) -> Keep:
    """Keeps results in the site's database."""

    def keep_all(*results: Result, origin: Origin = Origin.HERE, note: str = "") -> None:
        with write(app.state.site.engine) as connection:
            for result in results:
                assert keep_result(connection, result, origin, note=note)

    return keep_all


def test_a_run_shows_on_the_board_with_its_verdict_and_machine(
    client: TestClient, app: FastAPI, settings: Settings
) -> None:
    client.post("/papers/2601.00001/runs")
    assert Worker(app.state.site.engine, settings).run_one()
    page = client.get("/claims?paper=little").text
    for words in (
        "A little paper that runs",
        "Counting by twos is faster",
        "falls short",
        "this machine",
        "2 to 2.2 over the seeds",
        "a quick run stops at four",
    ):
        assert words in page, words
    rows = client.get("/api/v1/claims?paper=little").json()["claims"]
    verdicts = {(row["claim"], row["scale"]): row["verdict"] for row in rows}
    assert verdicts == {
        ("faster", "quick"): "holds",
        ("faster", "standard"): "not measured",
        ("smaller", "quick"): "falls short",
        ("smaller", "standard"): "not measured",
        ("larger", "quick"): "not measured",
        ("larger", "standard"): "not measured",
    }
    [address] = {row["result"] for row in rows if row["result"]}
    assert client.get(f"/results/{address}").status_code == 200


def test_filters_and_order_stay_in_every_link(client: TestClient, keep: Keep) -> None:
    keep(a_result())
    page = client.get("/claims?verdict=holds&q=faster&sort=when").text
    assert 'aria-sort="ascending"' in page
    headings = re.findall(r'columnheader".*?</th>', page)
    assert headings
    for heading in headings:
        for link in re.findall(r'href="([^"]+)"', heading):
            assert "verdict=holds" in link
            assert "q=faster" in link
    assert "sort=when&amp;down=yes" in page
    assert "Counting by twos is faster" in page
    assert "It needs less memory" not in page


@pytest.mark.parametrize(
    "query", ["verdict=great", "scale=huge", "sort=colour", "page=0", "q=" + "x" * 300]
)
def test_a_filter_that_cannot_be_is_a_usage_error(client: TestClient, query: str) -> None:
    assert client.get(f"/claims?{query}").status_code == 400
    if "page" not in query:
        assert client.get(f"/api/v1/claims?{query}").status_code == 400


def test_words_of_a_filter_are_never_markup(client: TestClient) -> None:
    page = client.get("/claims", params={"q": '"><script>alert(1)</script>', "paper": "<b>"}).text
    assert "<script>alert" not in page
    assert "No claim passes this filter" in page


def test_a_page_beyond_the_last_shows_the_last(client: TestClient) -> None:
    assert client.get("/claims?page=9999").status_code == 200


def test_csv_is_a_file_with_an_etag(client: TestClient, keep: Keep) -> None:
    keep(a_result())
    answer = client.get("/claims.csv?paper=little&scale=quick")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "claims.csv" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["claim"] for row in rows] == ["faster", "smaller", "larger"]
    assert rows[0]["verdict"] == "holds"
    again = client.get(
        "/claims.csv?paper=little&scale=quick", headers={"if-none-match": answer.headers["etag"]}
    )
    assert (again.status_code, again.text) == (304, "")


def test_the_short_address_of_the_board_answers_the_same(client: TestClient) -> None:
    assert client.get("/api/claims").json() == client.get("/api/v1/claims").json()


@pytest.mark.usefixtures("whole_strip")
def test_an_older_cards_result_is_shown_as_such_everywhere(client: TestClient, keep: Keep) -> None:
    older = a_result(9.0, card_sha256="00" * 32)
    keep(older)
    board = client.get("/claims?paper=little&scale=quick").text
    assert "With an older card: 9 against" in board
    assert "measured with an older card only" in board
    paper = client.get("/papers/2601.00001?scale=quick").text
    assert "was measured with an" in paper
    assert "What was measured with the older card" in paper
    assert "not measured yet" in client.get("/").text
    assert "Measured with another card" in client.get(f"/results/{older.id}").text
    assert "not measured yet" in client.get("/badges/little.svg").text


def test_changes_of_a_verdict_show_on_board_claim_and_paper(client: TestClient, keep: Keep) -> None:
    keep(a_result(2.0), a_result(1.0, days=1))
    assert "until 14 Apr 2026" in client.get("/claims?changed=yes").text
    claim = client.get("/claims/little/faster").text
    assert "How the verdict has changed, quick scale" in claim
    assert "it varies from run to run" in claim
    assert "1 verdict changed over time" in client.get("/papers/2601.00001?scale=quick").text


def test_several_runs_show_their_spread(client: TestClient, keep: Keep) -> None:
    keep(a_result(2.0), a_result(4.0, days=1), a_result(3.5, days=2))
    for address in (
        "/claims?paper=little",
        "/claims/little/faster",
        "/papers/2601.00001?scale=quick",
    ):
        assert "3 runs: median 3.5, 2 to 4" in client.get(address).text, address


@pytest.mark.parametrize("address", ["/claims/little/nothing", "/claims/nobody/faster"])
def test_an_unknown_claim_is_not_found(client: TestClient, address: str) -> None:
    assert client.get(address).status_code == 404


def test_the_old_address_of_the_verdicts_leads_on(client: TestClient) -> None:
    answer = client.get("/verdicts")
    assert (answer.status_code, answer.headers["location"]) == (301, "/claims/about")


def test_badges_may_be_shown_elsewhere_and_are_kept_a_while(client: TestClient, keep: Keep) -> None:
    keep(a_result(2.0))
    for address, says in (
        ("/badges/little.svg", "1 of 1 claim holds, quick scale"),
        ("/badges/little/faster.svg", "faster holds, quick scale"),
        ("/badges/little/faster.svg?scale=standard", "faster not measured yet"),
        ("/badges/little/larger.svg", "larger not measured yet"),
    ):
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("image/svg+xml")
        assert answer.headers["cache-control"] == "public, max-age=300"
        assert answer.headers.get_list("cross-origin-resource-policy") == ["cross-origin"]
        assert says in answer.text
        etag = {"if-none-match": answer.headers["etag"]}
        assert client.get(address, headers=etag).status_code == 304
    for address in (
        "/badges/nobody.svg",
        "/badges/little/nothing.svg",
        "/badges/little/faster.svg?scale=huge",
    ):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "image/svg+xml")
    assert client.get("/claims").headers["cross-origin-resource-policy"] == "same-origin"


def test_a_result_has_one_address_and_three_files(client: TestClient, keep: Keep) -> None:
    result = a_result()
    keep(result)
    page = client.get(f"/results/{result.id}")
    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "A Machine" in page.text
    assert result.card_sha256 in page.text
    short = client.get(f"/results/{result.id[:10]}")
    assert (short.status_code, short.headers["location"]) == (302, f"/results/{result.id}")
    exported = client.get(f"/results/{result.id}.json")
    assert read_foreign(exported.content).result == result
    assert client.get(f"/api/v1/results/{result.id}").json() == exported.json()
    notebook = client.get(f"/results/{result.id}.ipynb")
    assert notebook.json()["nbformat"] == 4
    assert "attachment" in notebook.headers["content-disposition"]
    assert client.get(f"/results/{result.id}.md").text.startswith("# A little paper")


@pytest.mark.parametrize(
    ("name", "status"),
    [("0" * 64, 404), ("abc", 400), ("0" * 64 + ".exe", 404), ("%25%25%25%25%25%25%25%25", 400)],
)
def test_what_is_no_result_is_an_error_page(client: TestClient, name: str, status: int) -> None:
    assert client.get(f"/results/{name}").status_code == status


def test_images_of_a_result_are_files_beside_its_page(client: TestClient, keep: Keep) -> None:
    result = a_result()
    keep(result)
    page = client.get(f"/results/{result.id}").text
    sources = re.findall(r'<img[^>]* src="(/results/[^"]+)"', page)
    assert sources == [f"/results/{result.id}/images/{n}.png" for n in range(3)]
    answer = client.get(sources[2])
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert "immutable" in answer.headers["cache-control"]
    assert client.get(f"/results/{result.id}/images/3.png").status_code == 404


def test_an_imported_result_says_so_and_decides_nothing(client: TestClient, keep: Keep) -> None:
    result = a_result()
    keep(result, origin=Origin.IMPORTED, note="<b>the lab</b>")
    page = client.get(f"/results/{result.id}").text
    assert "Imported from &lt;b&gt;the lab&lt;/b&gt;" in page
    assert "imported from" in client.get("/papers/2601.00001").text
    rows = client.get("/api/v1/claims?paper=little").json()["claims"]
    assert {(row["verdict"], row["result"]) for row in rows} == {("not measured", None)}


def test_two_machines_stand_side_by_side(client: TestClient, keep: Keep) -> None:
    a, b = a_result(2.0), a_result(1.0, days=1, environment={"processor": "Another"})
    keep(a, b)
    page = client.get(f"/compare?a={a.id}&b={b.id[:12]}").text
    assert "The verdicts differ on 1 claim." in page
    assert "Another" in page
    assert ">0.5<" in page
    compared = client.get(f"/api/v1/compare?a={a.id}&b={b.id}").json()
    assert compared["comparable"] is True
    assert compared["claims"][0]["ratio"] == 0.5
    every = client.get("/compare").text
    assert "Compare A with B" in every
    # Results of several papers stand there, so each says whose it is.
    assert "little, this machine" in every
    assert f'value="{a.id}"' in client.get(f"/compare?a={b.id}").text


def test_the_two_that_are_chosen_beforehand_can_be_compared(client: TestClient, keep: Keep) -> None:
    old, other_card = a_result(2.0), a_result(9.0, days=1, card_sha256="00" * 32)
    failed = a_result(1.0, days=2, status="failed", reason="why")
    keep(old, other_card, failed, a_result(3.0, days=3))
    page = client.get("/claims/little/faster").text
    chosen = re.findall(r'name="([ab])" value="([0-9a-f]{64})" checked', page)
    assert chosen == [("a", a_result(3.0, days=3).id), ("b", old.id)]


def test_different_cards_are_never_silently_compared(client: TestClient, keep: Keep) -> None:
    a, b = a_result(2.0), a_result(1.0, days=1, card_sha256="00" * 32)
    keep(a, b)
    page = client.get(f"/compare?a={a.id}&b={b.id}").text
    assert "Not compared:" in page
    assert "different cards" in page
    compared = client.get(f"/api/v1/compare?a={a.id}&b={b.id}").json()
    assert compared["comparable"] is False
    assert {claim["ratio"] for claim in compared["claims"]} == {None}


def test_results_are_listed_with_their_origin(client: TestClient, keep: Keep) -> None:
    keep(a_result())
    listed = client.get("/api/v1/results?slug=little&scale=quick").json()["results"]
    assert [(r["origin"], r["status"]) for r in listed] == [("here", "finished")]
    assert client.get("/api/v1/results?scale=huge").status_code == 400


def test_what_ships_now_is_kept_when_the_site_starts(
    little_room: Path, catalogue: None, settings: Settings
) -> None:
    from paperround.web.app import create_app

    room = find_room("little")
    texts = []
    for days in (0, 1):
        result = a_result(2.0 - days, days=days)
        result.write(room.results_dir / "quick.json")
        app = create_app(settings, local_only=True, worker=False)
        with TestClient(app, base_url="http://localhost:8000") as client:
            texts.append(client.get("/claims/little/faster").text)
    assert "How the verdict has changed" not in texts[0]
    assert "How the verdict has changed" in texts[1]
    assert json.loads((room.results_dir / "quick.json").read_text())["seconds"] == 1.0
