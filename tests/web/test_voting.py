"""Votes, marks, trending and comments on the pages, all as forms that need no JavaScript."""

import re
from collections.abc import Callable

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import insert, select

from paperround.catalogue.tables import PaperTable
from paperround.clock import utc_now
from paperround.db import write
from paperround.readers.queries import reader_by_name
from paperround.readers.tables import CommentTable, MarkTable
from paperround.runs.rights import Role

Submit = Callable[..., Response]
SignIn = Callable[..., TestClient]
PAPER = "/papers/2606.00003"


def votes_on(client: TestClient, page: str = PAPER) -> list[str]:
    found = re.findall(
        r'class="vote-button"[^>]*aria-label="[^"]*?([\d,]+) votes? for', client.get(page).text
    )
    return [str(votes) for votes in found]


def comment(client: TestClient, submit: Submit, text: str, page: str = PAPER) -> str:
    done = submit(client, page, f"{page}/comments", text=text)
    assert done.status_code == 303, done.text
    return done.headers["location"].rpartition("-")[2]


def test_a_vote_counts_once_and_a_second_press_takes_it_back(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada, bo = sign_in("ada"), sign_in("bo")
    # Its source counts three.
    assert votes_on(client) == ["3"]
    assert submit(ada, PAPER, f"{PAPER}/vote").headers["location"] == PAPER
    submit(bo, PAPER, f"{PAPER}/vote", next="/day/2026-06-30")
    assert votes_on(client) == ["5"]
    assert 'aria-pressed="true" aria-label="Vote, 5 votes' in ada.get(PAPER).text
    submit(ada, PAPER, f"{PAPER}/vote")
    assert votes_on(client) == ["4"]


def test_the_feed_orders_by_all_votes_and_has_the_buttons(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    address = "/day/2026-06-30"
    before = re.findall(r'entry-title"><a href="(/papers/[^"]+)"', client.get(address).text)
    # 49 and 48 votes of their source; two readers turn them around.
    assert before[:3] == ["/papers/2606.00001", "/papers/2606.00049", "/papers/2606.00048"]
    for reader in (ada, sign_in("bo")):
        action = "/papers/2606.00048/vote"
        assert submit(reader, address, action, next=address).headers["location"] == address
    after = re.findall(r'entry-title"><a href="(/papers/[^"]+)"', client.get(address).text)
    assert after[:3] == ["/papers/2606.00048", "/papers/2606.00001", "/papers/2606.00049"]
    assert client.get(address).text.count('class="vote-button" href="/sign-in?next=') == 30


def test_in_place_the_button_alone_comes_back(sign_in: SignIn) -> None:
    ada = sign_in("ada")
    key = re.search(r'value="([0-9a-f]{64})"', ada.get(PAPER).text)
    assert key is not None
    form = {"form_key": key[1], "next": "/day/2026-06-30"}
    answer = ada.post(f"{PAPER}/vote", data=form, headers={"HX-Request-Type": "partial"})
    assert answer.status_code == 200
    assert answer.text.strip().startswith('<form class="vote"')
    assert 'aria-pressed="true"' in answer.text
    assert 'name="next" value="/day/2026-06-30"' in answer.text


def test_a_vote_leads_to_no_other_site(sign_in: SignIn, submit: Submit) -> None:
    ada = sign_in("ada")
    done = submit(ada, PAPER, f"{PAPER}/vote", next="//evil.example")
    assert done.headers["location"] == "/"


def test_looking_never_votes(sign_in: SignIn) -> None:
    ada = sign_in("ada")
    ada.get(f"{PAPER}/vote")
    ada.get(f"{PAPER}?vote=1")
    assert votes_on(ada) == ["3"]


def test_a_mark_is_the_reader_s_alone_and_stands_on_their_page(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    submit(ada, PAPER, f"{PAPER}/mark", mark="later")
    page = ada.get(PAPER).text
    assert re.search(r'value="" aria-pressed="true">Later', page)
    assert "To read later" in ada.get("/me").text
    assert ">Later</button>" not in client.get(PAPER).text
    submit(ada, PAPER, f"{PAPER}/mark", mark="")
    assert "To read later" not in ada.get("/me").text
    assert submit(ada, PAPER, f"{PAPER}/mark", mark="never").status_code == 400


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_trending_lists_papers_and_says_why(
    client: TestClient, sign_in: SignIn, submit: Submit, period: str
) -> None:
    ada = sign_in("ada", Role.MODERATOR)
    submit(ada, "/papers/2606.00002", "/papers/2606.00002/vote")
    comment(ada, submit, "Worth it", "/papers/2606.00002")
    page = client.get(f"/trending?period={period}").text
    first = re.search(r'entry-title"><a href="(/papers/[^"]+)"', page)
    assert first is not None
    assert first[1] == "/papers/2606.00002"
    why = client.get(f"/trending/why/2606.00002?period={period}").text
    assert "Number 1 of the" in why
    for row in (
        r"Votes of readers here</th><td class=\"num\">1</td><td class=\"num\">1.00",
        r"Readers who commented</th><td class=\"num\">1</td><td class=\"num\">2.00",
    ):
        assert re.search(row, why)


def test_trending_by_category_shows_that_category(client: TestClient) -> None:
    page = client.get("/trending?period=month&category=cs.LG").text
    assert "2606.00049" in page
    assert "<option selected>cs.LG" in page
    assert "yet" in client.get("/trending?category=none.AT").text
    assert client.get("/trending?period=year").status_code == 400
    assert client.get("/trending/why/nowhere").status_code == 404


def test_a_comment_is_shown_with_its_answers_and_escaped(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada, bo = sign_in("ada"), sign_in("bo")
    number = comment(ada, submit, "*Why* $x < y$? <script>alert('x')</script> See 2606.00002.")
    answer = submit(bo, f"/comments/{number}", f"{PAPER}/comments", text="So.", parent=number)
    assert answer.headers["location"].startswith(f"{PAPER}#comment-")
    page = client.get(PAPER).text
    assert "<em>Why</em>" in page
    assert 'data-tex="x &lt; y"' in page
    assert "<script>alert" not in page
    assert '<a href="/papers/2606.00002"' in page
    assert page.index("<em>Why</em>") < page.index("<p>So.</p>")
    assert "depth-1" in page
    assert "Named in comments on" in client.get("/papers/2606.00002").text
    assert "2 comments" in client.get(PAPER).text


def test_a_comment_that_is_refused_is_not_lost(sign_in: SignIn, submit: Submit) -> None:
    ada = sign_in("ada")
    long = "An argument. " * 500
    refused = submit(ada, PAPER, f"{PAPER}/comments", text=long)
    assert refused.status_code == 400
    assert long.strip() in refused.text
    assert "at most 5,000 characters" in refused.text


def test_a_comment_of_ten_megabytes_is_refused_before_it_is_read(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    for text in ("x" * 10_000_000, "x" * 30_000):
        done = submit(ada, PAPER, f"{PAPER}/comments", text=text)
        assert done.status_code == 400
        assert len(done.content) < 100_000
    assert "at most" in done.text
    said = ada.post(f"/api/v1{PAPER}/comments", json={"text": "x" * 10_000_000})
    assert (said.status_code, "at most 65536 bytes" in said.text) == (400, True)
    assert "Nobody has commented" in client.get(PAPER).text


def test_a_comment_is_changed_and_taken_back_on_its_page(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada, bo = sign_in("ada"), sign_in("bo")
    number = comment(ada, submit, "Frist")
    page = f"/comments/{number}"
    assert f"{page}/edit" not in bo.get(page).text
    assert submit(ada, page, f"{page}/edit", text="First").status_code == 303
    assert "<p>First</p>" in client.get(PAPER).text
    key = re.search(r'value="([0-9a-f]{64})"', bo.get(page).text)
    assert key is not None
    for act in ("edit", "delete"):
        form = {"form_key": key[1], "text": "Mine"}
        assert bo.post(f"{page}/{act}", data=form).status_code in (403, 404)
    assert submit(ada, page, f"{page}/delete").status_code == 303
    assert client.get(page).status_code == 404
    assert "Nobody has commented" in client.get(PAPER).text


def test_moderators_see_reports_hide_with_a_reason_and_are_written_down(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada, bo, mod = sign_in("ada"), sign_in("bo"), sign_in("mod", Role.MODERATOR)
    number = comment(ada, submit, "Buy my book")
    page = f"/comments/{number}"
    submit(bo, page, f"{page}/report", reason="an advert <b>")
    assert bo.get("/moderation").status_code == 403
    waiting = mod.get("/moderation").text
    assert "an advert &lt;b&gt;" in waiting
    assert submit(mod, page, f"{page}/hide", because="").status_code == 400
    assert submit(mod, page, f"{page}/hide", because="An advert.").status_code == 303
    assert "Nothing waits." in mod.get("/moderation").text
    assert "An advert." in mod.get("/moderation").text
    for who in (client, bo):
        assert who.get(page).status_code == 404
        assert "Buy my book" not in who.get(PAPER).text
        assert "A moderator has hidden this comment." in who.get(PAPER).text
    assert "Hidden by a moderator: An advert." in ada.get(page).text
    submit(mod, page, f"{page}/show")
    assert "Buy my book" in client.get(PAPER).text


def test_all_that_a_reader_keeps_is_on_pages_of_its_own(
    app: FastAPI, sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    for name in ("later", "voted", "read", "not-for-me"):
        assert "No papers so far." in ada.get(f"/me/papers/{name}").text
    assert "None so far." in ada.get("/me/comments").text
    assert ada.get("/me/papers/other").status_code == 404
    with write(app.state.site.engine) as connection:
        reader = reader_by_name(connection, "ada")
        assert reader is not None
        ids = list(connection.scalars(select(PaperTable.id)))
        said = {"reader_id": reader.id, "paper_id": ids[0], "created_at": utc_now()}
        connection.execute(insert(CommentTable), [{**said, "text": f"No. {n}."} for n in range(70)])
        marked = {"reader_id": reader.id, "at": utc_now()}
        marks = [{**marked, "paper_id": i, "mark": "read"} for i in ids]
        connection.execute(insert(MarkTable), marks)
    own = ada.get("/me").text
    assert ('href="/me/papers/read"' in own, 'href="/me/papers/later"' in own) == (True, False)
    assert 'href="/me/comments"' in own
    assert ada.get("/me/papers/read").text.count("data-entry") == len(ids) == 43
    first = ada.get("/me/comments").text
    follows = re.search(r'href="(/me/comments\?after=\d+)"', first)
    assert follows is not None
    second = ada.get(follows[1]).text
    assert ("No. 69." in first, "No. 10." in first, "No. 9." in first) == (True, True, False)
    assert ("No. 9." in second, "No. 0." in second, "No. 10." in second) == (True, True, False)
    assert 'rel="next"' not in second


def test_a_token_is_made_shown_once_and_revoked_on_the_own_page(
    sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    made = submit(ada, "/me", "/me/tokens", name="script", scopes="read", days="30")
    token = re.search(r"paperround_[\w-]{43}", made.text)
    assert token is not None
    assert made.headers["cache-control"] == "no-store"
    assert token[0] not in ada.get("/me").text
    api = TestClient(ada.app, base_url="http://localhost:8000")
    headers = {"Authorization": f"Bearer {token[0]}"}
    assert api.get("/api/v1/me", headers=headers).json()["name"] == "ada"
    (revoke,) = re.findall(r'action="(/me/tokens/\d+/revoke)"', ada.get("/me").text)
    submit(ada, "/me", revoke)
    assert api.get("/api/v1/me", headers=headers).status_code == 401
    refused = submit(ada, "/me", "/me/tokens", name="script", scopes="everything")
    assert refused.status_code == 400
