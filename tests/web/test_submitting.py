"""Handing papers in, saying that one is an author, in the browser and by the API."""

import html
import re
from collections.abc import Callable
from datetime import date, timedelta

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from paperround.catalogue.queries import paper_by_key
from paperround.clock import utc_now
from paperround.db import write
from paperround.readers.accounts import add_reader
from paperround.readers.comments import add_comment, report_comment
from paperround.readers.queries import reader_by_id
from paperround.readers.receiving import work_on_next
from paperround.runs.rights import Role
from paperround.settings import Settings

SignIn = Callable[..., TestClient]
Visit = Callable[..., TestClient]
Submit = Callable[..., Response]
BIB = "@misc{a, title = {On counting sheep}, author = {Ada Ay}}\n@misc{b, title = {}}\n"


@pytest.fixture
def work(app: FastAPI, settings: Settings) -> Callable[[], None]:
    """What a worker does of all that waits."""

    def work_it_off() -> None:
        while work_on_next(app.state.site.engine, settings):
            pass

    return work_it_off


def test_a_paper_by_hand_is_submitted_seen_and_withdrawn(
    sign_in: SignIn, submit: Submit, visit: Visit, work: Callable[[], None]
) -> None:
    ada, mo = sign_in("ada"), sign_in("mo", Role.MODERATOR)
    fields = {"title": "On <i>sheep</i>", "authors": "Ada Ay\r\n\r\nBo Bee\r\n"}
    more = {"published": "2026-06-29", "abstract": "We $x^2$ sheep.", "organisation": "The Lab"}
    done = submit(ada, "/submit", "/submit/by-hand", **fields, **more)
    assert done.status_code == 303, done.text
    where = done.headers["location"]
    assert "waiting" in ada.get(where).text
    assert 'hx-trigger="every 2s"' in ada.get(where).text
    work()
    page = ada.get(where).text
    assert "added" in page
    assert 'hx-trigger="every' not in page
    address = re.findall(r'href="(/papers/[^"]+)"', page)[0]
    shown = visit().get(address).text
    assert "On &lt;i&gt;sheep&lt;/i&gt;" in shown
    assert "Ada Ay, Bo Bee" in shown
    assert "by ada," in shown
    assert "Withdraw it" not in shown
    assert 'href="/organisations/the-lab"' in shown
    gone = submit(mo, address, f"{address}/withdraw", because="not a paper")
    assert gone.headers["location"] == "/moderation"
    assert visit().get(address).status_code == 404
    assert "no longer here" in ada.get(where).text


@pytest.mark.parametrize(
    ("action", "fields", "says"),
    [
        ("/submit/address", {"address": "http://127.0.0.1/"}, "is no arxiv id"),
        ("/submit/address", {"address": ""}, "name a paper by"),
        ("/submit/by-hand", {"title": "", "published": "2026-06-30"}, "no title"),
        ("/submit/by-hand", {"title": "On it", "published": "soon"}, "is no day"),
        ("/submit/by-hand", {"title": "On it", "published": "2999-01-01"}, "still to come"),
        ("/submit/by-hand", {"title": "On it", "pdf_url": "javascript:x"}, "must be a web address"),
        ("/submit/bibtex", {"bibtex": " "}, "paste some"),
    ],
)
def test_what_cannot_be_is_said_beside_its_form(
    sign_in: SignIn, submit: Submit, action: str, fields: dict[str, str], says: str
) -> None:
    ada = sign_in("ada")
    refused = submit(ada, "/submit", action, **fields)
    assert refused.status_code == 400
    assert says in refused.text.lower()
    for value in fields.values():
        assert not value.strip() or f'value="{value}"' in refused.text or "bibtex" in action


def test_a_bibliography_comes_as_text_or_as_a_file(
    sign_in: SignIn, submit: Submit, work: Callable[[], None]
) -> None:
    ada = sign_in("ada")
    pasted = submit(ada, "/submit", "/submit/bibtex", bibtex=BIB)
    key = re.search(r'name="form_key" value="(\w+)"', ada.get("/submit").text)
    assert key is not None
    uploaded = ada.post(
        "/submit/bibtex",
        data={"form_key": key[1], "bibtex": ""},
        files={"file": ("list.bib", BIB.encode(), "text/plain")},
        headers={"Origin": "http://localhost:8000"},
    )
    assert (pasted.status_code, uploaded.status_code) == (303, 303), uploaded.text
    work()
    first, second = (ada.get(answer.headers["location"]).text for answer in (pasted, uploaded))
    assert "added" in first
    assert "1 could not be used" in first
    assert "was here already" in second


def test_a_large_file_is_taken_where_it_may_be_and_nowhere_else(
    sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    large = BIB * 8_000
    assert submit(ada, "/submit", "/submit/bibtex", bibtex=large).status_code == 303
    assert submit(ada, "/submit", "/submit/address", address=large).status_code == 400
    assert submit(ada, "/submit", "/submit/bibtex", bibtex=large * 4).status_code == 400


def test_a_bibliography_into_a_collection_is_for_its_owner(
    sign_in: SignIn, submit: Submit, work: Callable[[], None]
) -> None:
    ada, eve = sign_in("ada"), sign_in("eve")
    made = submit(ada, "/collections", "/collections", name="Mine", visibility="public")
    address = made.headers["location"]
    done = submit(ada, address, f"{address}/bibtex", bibtex=BIB)
    assert done.status_code == 303
    work()
    assert "On counting sheep" in eve.get(address).text
    key = re.search(r'name="form_key" value="(\w+)"', eve.get("/submit").text)
    assert key is not None
    data = {"form_key": key[1], "bibtex": BIB}
    refused = eve.post(f"{address}/bibtex", data=data, headers={"Origin": "http://localhost:8000"})
    assert refused.status_code == 403


def test_the_same_by_the_api(
    api: Callable[..., TestClient], client: TestClient, work: Callable[[], None]
) -> None:
    ada = api("ada")
    typed = {"title": "On sheep", "authors": ["Ada Ay"], "published": str(date(2026, 6, 29))}
    made = ada.post("/api/v1/submissions/by-hand", json=typed)
    assert made.status_code == 202, made.text
    work()
    done = ada.get(made.headers["location"]).json()
    assert (done["state"], done["papers"][0]["added"]) == ("done", True)
    key = done["papers"][0]["key"]
    assert ada.post("/api/v1/submissions/bibtex", json={"bibtex": BIB}).status_code == 202
    assert ada.post("/api/v1/submissions", json={"address": "http://[::1]/"}).status_code == 400
    assert len(ada.get("/api/v1/me/submissions?limit=1").json()["submissions"]) == 1
    eve = api("eve")
    assert eve.get(made.headers["location"]).status_code == 404
    narrow = api("nan", Role.READER, "submit")
    into = {"bibtex": BIB, "collection": "x"}
    assert "'collect'" in narrow.post("/api/v1/submissions/bibtex", json=into).json()["detail"]
    mo = api("mo", Role.MODERATOR)
    assert mo.post(f"/api/v1/papers/{key}/withdraw", json={"because": "no"}).status_code == 204
    assert client.get(f"/api/v1/papers/{key}").status_code == 404


def test_an_author_is_confirmed_and_shown_and_revoked(
    sign_in: SignIn, submit: Submit, visit: Visit
) -> None:
    ada, mo = sign_in("ada"), sign_in("mo", Role.MODERATOR)
    paper = "/papers/2606.00010"
    asked = submit(ada, paper, f"{paper}/authorship", author="Ada Ay", note="my page")
    assert asked.status_code == 303, asked.text
    assert "a moderator looks at it" in ada.get(paper).text
    assert "Ada Ay (ada)" not in visit().get(paper).text
    page = mo.get("/moderation").text
    number = re.findall(r"/authorships/(\d+)/confirm", page)[0]
    where = f"/authorships/{number}"
    submit(mo, "/moderation", f"{where}/confirm", because="her page says so")
    assert "Ada Ay (ada)" in visit().get(paper).text
    assert "confirmed an author: ada as Ada Ay of 2606.00010" in mo.get("/moderation").text
    submit(mo, "/moderation", f"{where}/revoke", because="another Ada")
    assert "Ada Ay (ada)" not in visit().get(paper).text
    assert "was revoked: another Ada" in ada.get(paper).text
    submit(ada, paper, f"{paper}/authorship", author="Ada Ay", note="my other page")
    submit(ada, paper, f"{where}/take-back")
    assert "Nobody asks" in mo.get("/moderation").text


def test_authorship_by_the_api(api: Callable[..., TestClient], client: TestClient) -> None:
    ada, mo = api("ada"), api("mo", Role.MODERATOR)
    said = {"author": "Ada Ay", "note": "my page"}
    made = ada.post("/api/v1/papers/2606.00010/authorship", json=said).json()
    assert (made["state"], made["reader"]) == ("asked", "ada")
    assert ada.get("/api/v1/moderation/authorships").status_code == 403
    waiting = mo.get("/api/v1/moderation/authorships").json()["authorships"]
    assert [each["id"] for each in waiting] == [made["id"]]
    where = f"/api/v1/authorships/{made['id']}"
    assert mo.post(f"{where}/confirm", json={"because": "so"}).json()["state"] == "confirmed"
    assert mo.post(f"{where}/refuse", json={"because": "so"}).status_code == 400
    acts = mo.get("/api/v1/moderation/acts?limit=1").json()["acts"]
    assert acts[0]["act"] == "confirmed an author"
    assert mo.delete(where).status_code == 404
    assert ada.delete(where).status_code == 204
    assert ada.get("/api/v1/me/authorships").json()["authorships"] == []


def test_reports_go_on_by_cursor_and_by_pages(
    app: FastAPI, api: Callable[..., TestClient], sign_in: SignIn
) -> None:
    mod = api("mod", role=Role.MODERATOR)
    boss = sign_in("boss", Role.MODERATOR)
    engine, now = app.state.site.engine, utc_now()
    with write(engine) as connection:
        ids = [add_reader(connection, f"reader-{n}", now) for n in range(3)]
        readers = [reader_by_id(connection, number) for number in ids]
        detail = paper_by_key(connection, "2606.00003")
    ada, *others = [reader for reader in readers if reader is not None]
    assert detail is not None
    for n in range(32):
        late = now + timedelta(hours=n)
        said = add_comment(engine, ada, detail.paper.id, f"Comment {n}", late)
        for other in others:
            report_comment(engine, other, said, "an advert", late)
    found: list[int] = []
    address = "/api/v1/moderation/reports?limit=5"
    while address:
        page = mod.get(address).json()
        found += [each["comment"]["id"] for each in page["reports"]]
        address = page["next"]
    assert (len(found), found) == (32, sorted(found))
    assert mod.get("/api/v1/moderation/reports?cursor=yesterday").status_code == 400
    first = boss.get("/moderation").text
    follows = re.search(r'href="(/moderation\?after=[^"]+)"', first)
    assert follows is not None
    second = boss.get(html.unescape(follows[1])).text
    assert ("Comment 0<" in first, "Comment 31<" in first) == (True, False)
    assert ("Comment 0<" in second, "Comment 31<" in second) == (False, True)


def test_a_moderator_s_program_hides_and_shows_a_comment(
    api: Callable[..., TestClient], client: TestClient
) -> None:
    ada, mo = api("ada"), api("mo", Role.MODERATOR)
    made = ada.post("/api/v1/papers/2606.00010/comments", json={"text": "Buy this"}).json()
    where = f"/api/v1/comments/{made['id']}"
    mo.post(f"{where}/report", json={"reason": "an advert"})
    assert len(mo.get("/api/v1/moderation/reports").json()["reports"]) == 1
    assert ada.post(f"{where}/hide", json={"because": "x"}).status_code == 403
    assert mo.post(f"{where}/hide", json={"because": "an advert"}).status_code == 204
    assert client.get(where).status_code == 404
    assert mo.get("/api/v1/moderation/reports").json()["reports"] == []
    assert mo.post(f"{where}/show").status_code == 204
    assert client.get(where).json()["text"] == "Buy this"
