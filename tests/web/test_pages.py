"""Every page over HTTP: what it shows, what it escapes, what it refuses."""

import html
import re
from datetime import timedelta
from html.parser import HTMLParser

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from paperround.clock import utc_now
from paperround.settings import Settings
from paperround.web.app import create_app

PAGES = (
    "/",
    "/?order=newest",
    "/?order=trending",
    "/day/2026-06-30",
    "/week/2026-W27",
    "/month/2026-06",
    "/search",
    "/search?q=counting",
    "/search?q=counting&mode=words",
    "/search?q=nothingatallmatchesthis",
    "/papers/2606.00001",
    "/papers/2606.00003",
    "/papers/2601.00001",
    "/papers/2601.00001?scale=standard",
    "/runnable",
    "/runs",
    "/claims",
    "/claims?verdict=holds&sort=when&down=yes",
    "/claims/about",
    "/claims/little/faster",
    "/compare",
    "/help",
    "/sign-in",
    "/sign-up",
    "/forgot",
    "/trending",
    "/trending/why/2606.00003?period=month",
    "/nowhere",
)


class Outline(HTMLParser):
    """The tags of a page with their attributes, and the text of its title and headings."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def count(self, tag: str) -> int:
        return sum(1 for name, _ in self.tags if name == tag)


@pytest.mark.parametrize("address", PAGES)
def test_a_page_has_one_h1_its_landmarks_and_nothing_inline_or_foreign(
    client: TestClient, address: str
) -> None:
    answer = client.get(address)
    assert answer.status_code == (404 if address == "/nowhere" else 200)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Outline(answer.text)
    assert page.count("h1") == 1
    assert page.count("main") == 1
    assert ("html", {"lang": "en"}) in page.tags
    assert 'href="#content"' in answer.text
    for tag, attributes in page.tags:
        assert "style" not in attributes, tag
        assert not any(name.startswith("on") for name in attributes), tag
        assert tag != "style"
        if tag == "script":
            assert (attributes["src"] or "").startswith("/static/")
        if tag in ("img", "link", "source", "iframe"):
            assert not re.match(
                r"(https?:)?//", attributes.get("src") or attributes.get("href") or ""
            )
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_text_of_a_paper_is_never_markup(client: TestClient) -> None:
    for address in ("/", "/papers/2606.00001", "/search?q=road"):
        page = client.get(address).text
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert "<b>Institute" not in page
        assert "&lt;script&gt;" in page
        assert "javascript:" not in page


def test_a_query_is_never_markup(client: TestClient) -> None:
    page = client.get("/search", params={"q": '"><script>alert(1)</script>'}).text
    assert "<script>alert" not in page


def test_maths_keeps_plain_words_and_its_source(client: TestClient) -> None:
    page = client.get("/papers/2606.00001").text
    assert r'<span class="math" data-tex="\mathcal{O}(n)">' in page
    assert 'data-tex="x^2 &lt; y"' in page


def test_three_thousand_authors_stay_a_short_line_in_lists(client: TestClient) -> None:
    front = client.get("/").text
    assert "Author0 Surname0, Author1 Surname1, Author2 Surname2 and 3,300 more" in front
    assert "Surname4" not in front
    page = client.get("/papers/2606.00001").text
    assert "All 3,303 authors" in page
    assert "Author3302 Surname3302" in page


def test_authors_that_are_only_counted_are_shown_as_a_count(client: TestClient) -> None:
    assert "37 authors" in client.get("/papers/2606.00003").text


def test_a_link_that_does_not_lead_to_the_web_is_left_out(client: TestClient) -> None:
    page = Outline(client.get("/papers/2606.00001").text)
    links = [attributes.get("href") for tag, attributes in page.tags if tag == "a"]
    assert "https://example.org/project" in links
    assert "https://arxiv.org/abs/2606.00001" in links
    assert not any((link or "").startswith("javascript") for link in links)


def test_the_front_page_goes_on_by_key_and_shows_no_paper_twice(client: TestClient) -> None:
    first = client.get("/").text
    seen = re.findall(r'entry-title"><a href="(/papers/[^"]+)"', first)
    assert len(seen) == 30
    follows = re.search(r'class="button" href="([^"]+after=[^"]+)"', first)
    assert follows is not None
    second = client.get(follows[1].replace("&amp;", "&")).text
    more = re.findall(r'entry-title"><a href="(/papers/[^"]+)"', second)
    assert more
    assert not set(seen) & set(more)
    assert len(seen) + len(more) == 42


def test_htmx_gets_the_entries_alone_and_caches_are_told(client: TestClient) -> None:
    whole = client.get("/day/2026-06-30")
    assert "HX-Request" in whole.headers["vary"]
    part = client.get(
        "/day/2026-06-30", headers={"HX-Request": "true", "HX-Request-Type": "partial"}
    )
    assert "<h1" not in part.text
    assert "entry-title" in part.text


def test_a_day_without_papers_shows_the_nearest_and_says_so(client: TestClient) -> None:
    page = client.get("/day/2026-07-04").text
    assert "There are no papers on 4 July 2026" in page
    assert "Tuesday, 30 June 2026" in page


def test_a_version_of_an_arxiv_id_leads_to_the_paper(client: TestClient) -> None:
    answer = client.get("/papers/2606.00002v3")
    assert answer.status_code == 301
    assert answer.headers["location"] == "/papers/2606.00002"


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/papers/2699.99999", 404),
        ("/papers/../../etc/passwd", 404),
        ("/papers/", 404),
        ("/day/yesterday", 404),
        ("/day/2026-02-30", 404),
        ("/day/20260630", 404),
        ("/week/2026-W54", 404),
        ("/week/2026-W1", 404),
        ("/month/2026-13", 404),
        ("/month/0000-01", 404),
        ("/day/9999-12-31", 200),
        ("/week/9999-W52", 200),
        ("/month/9999-12", 200),
        ("/day/0001-01-01", 200),
        ("/week/0001-W01", 200),
        ("/?order=sideways", 400),
        ("/?after=forged", 400),
        ("/?after=", 400),
        ("/day/2026-06-30?after=MTIzNDU2", 400),
        ("/search?q=a&mode=telepathy", 400),
        ("/search?q=a&page=0", 400),
        ("/search?q=a&page=51", 400),
        ("/search?q=a&page=many", 400),
        ("/search?q=a&order=best", 400),
        ("/search.atom", 400),
        ("/papers/2601.00001?scale=enormous", 400),
        ("/papers/2601.00001?scale=full", 400),
        ("/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV", 404),
        ("/runs/01ARZ3NDEKTSV4RRFFQ69G5FAV/events", 404),
        ("/runs/%00", 404),
        ("/day/%F0%9F%99%82", 404),
        ("/day/２０２６-０６-３０", 404),
    ],
)
def test_an_address_that_does_not_work_gets_a_friendly_page(
    client: TestClient, address: str, status: int
) -> None:
    answer = client.get(address)
    assert answer.status_code == status
    assert answer.text.count("<h1") == 1
    if status == 404:
        assert 'name="q"' in answer.text


@hypothesis_settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(query=st.text(max_size=60), mode=st.sampled_from(["both", "words", "meaning"]))
def test_any_text_can_be_searched_for(client: TestClient, query: str, mode: str) -> None:
    try:
        query.encode()
    except UnicodeEncodeError:
        return
    answer = client.get("/search", params={"q": query, "mode": mode})
    assert answer.status_code == 200
    assert answer.text.count("<h1") == 1


def test_a_page_that_has_not_changed_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/papers/2606.00002")
    again = client.get("/papers/2606.00002", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    other = client.get("/papers/2606.00003", headers={"If-None-Match": first.headers["etag"]})
    assert other.status_code == 200


@pytest.mark.parametrize(
    "address", ["/", "/papers/2606.00001", "/static/site.css", "/api/v1/papers"]
)
def test_head_answers_like_get_without_a_body(client: TestClient, address: str) -> None:
    head, got = client.head(address), client.get(address)
    assert head.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == got.headers["content-type"]


def test_static_files_are_kept_by_version(client: TestClient) -> None:
    page = client.get("/").text
    style = re.search(r'href="(/static/site\.css\?v=[0-9a-f]+)"', page)
    assert style is not None
    assert "immutable" in client.get(style[1]).headers["cache-control"]
    assert client.get("/static/site.css").headers["cache-control"] == "no-cache"
    assert client.get("/static/../app.py").status_code == 404


def test_text_is_packed_for_who_can_unpack_it(client: TestClient) -> None:
    assert client.get("/").headers["content-encoding"] == "gzip"
    plain = client.get("/", headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers


def test_all_papers_that_run_come_by_on_the_front_page_some_each_day(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = {room.card.title for room in app.state.site.rooms.values()}
    assert len(titles) > 6
    seen: set[str] = set()
    for days in range(len(titles)):
        now = utc_now() + timedelta(days=days)
        monkeypatch.setattr("paperround.web.pages.feed.utc_now", lambda now=now: now)
        front = html.unescape(client.get("/").text)
        on_this_day = {title for title in titles if title in front}
        assert len(on_this_day) == 6
        seen |= on_this_day
    assert seen == titles


def test_the_runnable_paper_is_listed(client: TestClient) -> None:
    listed = client.get("/runnable").text
    assert 'href="/papers/2601.00001"' in listed
    assert "Little things" in listed


def test_a_runnable_paper_outside_the_catalogue_has_a_page_from_its_card(
    client: TestClient,
) -> None:
    page = client.get("/papers/2601.00001").text
    assert "is not in the catalogue yet" in page
    for words in (
        "Counting by twos is faster",
        "ratio to counting by ones",
        "2.1",
        "Table 1",
        "≥ 1.5 in every seed",
        "a quick run stops at four",
        "not measured",
        "from little_room.method import count",
        "at most 1 min",
        "eight GPUs for a week",
    ):
        assert words in page


def test_a_rooms_readme_is_shown_without_its_scripts(client: TestClient) -> None:
    page = client.get("/papers/2601.00001").text
    assert "a million" in page
    assert 'alert("readme")' not in page or "<script>alert" not in page
    assert 'data-tex="n_{t+1} = n_t + 2"' in page


def test_an_empty_catalogue_says_how_to_fill_it(settings: Settings) -> None:
    empty = TestClient(
        create_app(settings, local_only=True, worker=False), base_url="http://localhost"
    )
    with empty:
        page = empty.get("/")
        assert page.status_code == 200
        assert "paperround import" in page.text
        assert empty.get("/search?q=anything").status_code == 200
        assert empty.get("/runs").status_code == 200


def test_an_unforeseen_error_is_a_friendly_page_without_its_cause(
    app: FastAPI, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret cause")

    monkeypatch.setattr(app.state.site.searcher, "search", broken)
    with capture_logs() as logged:
        page = client.get("/search?q=x")
    assert page.status_code == 500
    assert "Something broke here" in page.text
    assert logged[0]["event"] == "request.broke"
    assert logged[0]["number"] in page.text
    assert "secret cause" not in page.text
    assert "content-security-policy" in page.headers
    with capture_logs():
        problem = client.get("/api/v1/search?q=x")
    assert problem.status_code == 500
    assert problem.headers["content-type"] == "application/problem+json"
    assert "secret cause" not in problem.text


def test_health_and_small_files(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "Disallow: /search" in client.get("/robots.txt").text
    assert client.get("/favicon.ico").headers["content-type"] == "image/svg+xml"
