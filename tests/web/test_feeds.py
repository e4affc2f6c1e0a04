"""Feeds: what they hold, that programs can read them, and when there is nothing new in them."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import urlsplit
from xml.etree import ElementTree

import feedparser
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from paperround.catalogue.tables import PaperTable
from paperround.db import write
from paperround.settings import Settings
from paperround.web.app import create_app
from paperround.web.conditional import SeenAnswers
from paperround.web.feeds import FORMS, MEDIA_TYPES

SignIn = Callable[..., TestClient]
Submit = Callable[..., Response]
LISTINGS = (
    "/day.{form}",
    "/week.{form}",
    "/month.{form}",
    "/day/2026-06-30.{form}",
    "/week/2026-W27.{form}",
    "/month/2026-06.{form}",
    "/trending.{form}?period=month",
    "/trending.{form}?period=month&category=cs.CL",
    "/search.{form}?q=counting&mode=words",
    "/categories/cs.CL.{form}",
    "/authors/Ada%20Ay.{form}",
    "/papers/2606.00003/comments.{form}",
    "/runnable.{form}",
)
ATOM = "{http://www.w3.org/2005/Atom}"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)")


def is_absolute(address: str | None) -> bool:
    return bool(address) and urlsplit(address).scheme in ("http", "https")


def check_atom(root: ElementTree.Element) -> None:
    """What RFC 4287 asks of a feed and of each of its entries."""
    assert root.tag == f"{ATOM}feed"
    for node in (root, *root.findall(f"{ATOM}entry")):
        for name in ("id", "title", "updated"):
            (only,) = node.findall(f"{ATOM}{name}")
            assert only.text, name
        assert MOMENT.fullmatch(node.findtext(f"{ATOM}updated", ""))
        assert is_absolute(node.findtext(f"{ATOM}id"))
        links = node.findall(f"{ATOM}link")
        assert all(is_absolute(link.get("href")) for link in links)
        # At most one alternate of a kind.
        kinds = [(link.get("rel"), link.get("type")) for link in links]
        assert len(kinds) == len(set(kinds))
    assert "self" in {link.get("rel") for link in root.findall(f"{ATOM}link")}
    for entry in root.findall(f"{ATOM}entry"):
        authors = entry.findall(f"{ATOM}author")
        assert authors
        assert all(author.findtext(f"{ATOM}name") for author in authors)
        assert all(category.get("term") for category in entry.findall(f"{ATOM}category"))
    ids = [entry.findtext(f"{ATOM}id") for entry in root.findall(f"{ATOM}entry")]
    assert len(ids) == len(set(ids))


def check_rss(root: ElementTree.Element) -> None:
    """What RSS 2.0 asks of a channel and of each of its items."""
    assert (root.tag, root.get("version")) == ("rss", "2.0")
    (channel,) = root
    for name in ("title", "link", "description"):
        (only,) = channel.findall(name)
        assert only.text, name
    assert parsedate_to_datetime(channel.findtext("lastBuildDate", "")).tzinfo is not None
    for item in channel.findall("item"):
        assert item.findtext("title") or item.findtext("description")
        assert is_absolute(item.findtext("link"))
        assert parsedate_to_datetime(item.findtext("pubDate", "")).tzinfo is not None
        (guid,) = item.findall("guid")
        assert (guid.get("isPermaLink"), guid.text) == ("true", item.findtext("link"))


def check_json(feed: dict) -> None:  # type: ignore[type-arg]
    """What JSON Feed 1.1 asks: names, their kinds, and no others."""
    assert feed["version"] == "https://jsonfeed.org/version/1.1"
    known = {"version", "title", "home_page_url", "feed_url", "language", "items"}
    assert set(feed) <= known
    assert is_absolute(feed["home_page_url"])
    assert is_absolute(feed["feed_url"])
    for item in feed["items"]:
        assert isinstance(item["id"], str)
        assert is_absolute(item["url"])
        assert isinstance(item["content_text"], str)
        assert MOMENT.fullmatch(item["date_published"])
        assert all(isinstance(author["name"], str) for author in item["authors"])
        assert all(isinstance(tag, str) for tag in item["tags"])
    assert len({item["id"] for item in feed["items"]}) == len(feed["items"])


@pytest.mark.parametrize("listing", LISTINGS)
def test_every_listing_has_feeds_that_programs_can_read(client: TestClient, listing: str) -> None:
    addresses = []
    for form in FORMS:
        answer = client.get(listing.format(form=form))
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].partition(";")[0] == MEDIA_TYPES[form]
        if form == "json":
            feed = json.loads(answer.text)
            check_json(feed)
            addresses.append([item["url"] for item in feed["items"]])
            continue
        root = ElementTree.fromstring(answer.text)
        (check_atom if form == "atom" else check_rss)(root)
        parsed = feedparser.parse(answer.content)
        assert parsed.bozo == 0, parsed.get("bozo_exception")
        assert parsed.feed.title.startswith("Paperround: ")
        addresses.append([entry.link for entry in parsed.entries])
    assert addresses[0] == addresses[1] == addresses[2]
    if "comments" not in listing:
        assert addresses[0]


def test_a_feed_holds_what_its_page_lists(client: TestClient) -> None:
    day = json.loads(client.get("/day.json").text)
    assert day["home_page_url"] == "http://localhost:8000/"
    assert {item["date_published"] for item in day["items"]} == {"2026-06-30T00:00:00+00:00"}
    other = json.loads(client.get("/day/2026-06-29.json").text)
    assert [item["title"] for item in other["items"]] == ["Diffusion of languages"]
    author = json.loads(client.get("/authors/Author7 Surname7.json").text)
    assert [item["url"] for item in author["items"]] == ["http://localhost:8000/papers/2606.00001"]
    assert len(author["items"][0]["authors"]) == 20
    found = json.loads(client.get("/search.json", params={"q": "diffusion", "mode": "words"}).text)
    assert [item["title"] for item in found["items"]] == ["Diffusion of languages"]


def test_a_collection_has_a_feed_of_what_came_into_it_last_unless_it_is_somebody_s_own(
    client: TestClient, sign_in: SignIn, submit: Submit
) -> None:
    ada = sign_in("ada")
    made = submit(ada, "/collections", "/collections", name="Mine", visibility="public")
    page = made.headers["location"]
    for key in ("2606.00011", "2606.00012"):
        submit(ada, page, f"{page}/papers", paper=key, place="1")
    for form in FORMS:
        answer = client.get(f"{page}.{form}")
        assert answer.headers["content-type"].partition(";")[0] == MEDIA_TYPES[form]
        assert "Mine, by ada" in answer.text
    check_atom(ElementTree.fromstring(client.get(f"{page}.atom").text))
    check_rss(ElementTree.fromstring(client.get(f"{page}.rss").text))
    feed = json.loads(client.get(f"{page}.json").text)
    check_json(feed)
    assert [item["url"][-10:] for item in feed["items"]] == ["2606.00012", "2606.00011"]
    assert f'href="{page}.atom"' in client.get(page).text
    submit(ada, page, f"{page}/edit", name="Mine", visibility="private")
    for somebody in (client, ada):
        assert somebody.get(f"{page}.atom").status_code == 404
    assert f"{page}.atom" not in ada.get(page).text


def test_what_a_paper_says_stays_text(client: TestClient) -> None:
    for form in ("atom", "rss"):
        answer = client.get(f"/authors/Author7 Surname7.{form}")
        assert "<script>" not in answer.text
        assert "<script>alert('title')</script>" in "".join(
            ElementTree.fromstring(answer.text).itertext()
        )


def test_signs_that_xml_does_not_know_are_left_out(client: TestClient, app: FastAPI) -> None:
    with write(app.state.site.engine) as connection:
        connection.execute(
            update(PaperTable)
            .where(PaperTable.key == "2606.00002")
            .values(title_text="A\x0bB\x00C\ufffeD\U0001f600")
        )
    for form in ("atom", "rss"):
        parsed = feedparser.parse(client.get(f"/day/2026-06-29.{form}").content)
        assert parsed.bozo == 0
        assert parsed.entries[0].title == "ABCD\U0001f600"
    assert json.loads(client.get("/day/2026-06-29.json").text)["items"]


@pytest.mark.parametrize("form", FORMS)
def test_links_lead_to_the_public_address(
    settings: Settings, catalogue: None, little_room: object, form: str
) -> None:
    public = settings.model_copy(update={"public_url": "https://papers.example"})
    app = create_app(public, local_only=False, worker=False)
    with TestClient(app, base_url="http://papers.example") as client:
        text = client.get(f"/trending.{form}?period=month").text
    assert "https://papers.example/papers/" in text
    assert "http://papers.example" not in text.replace("https://papers.example", "")


@pytest.mark.parametrize("listing", LISTINGS)
@pytest.mark.parametrize("form", FORMS)
def test_who_has_it_already_is_not_sent_it_again(
    client: TestClient, listing: str, form: str
) -> None:
    address = listing.format(form=form)
    first = client.get(address)
    etag, modified = first.headers["etag"], first.headers["last-modified"]
    for headers in (
        {"if-none-match": etag},
        {"if-none-match": f'"other", {etag.removeprefix("W/")}'},
        {"if-none-match": "*"},
        {"if-modified-since": modified},
        # The ETag says more than the time.
        {"if-none-match": etag, "if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
    ):
        again = client.get(address, headers=headers)
        assert (again.status_code, again.content) == (304, b""), headers
        assert again.headers["etag"] == etag
    for headers in (
        {"if-none-match": '"other"', "if-modified-since": modified},
        {"if-modified-since": "Thu, 01 Jan 1970 00:00:00 GMT"},
        {"if-modified-since": "yesterday"},
        {},
    ):
        assert client.get(address, headers=headers).status_code == 200, headers


def test_a_feed_whose_content_changes_is_sent_to_all(client: TestClient, app: FastAPI) -> None:
    first = client.get("/day.atom")
    with write(app.state.site.engine) as connection:
        connection.execute(
            update(PaperTable).where(PaperTable.key == "2606.00003").values(title_text="Other")
        )
    again = client.get("/day.atom", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 200
    assert "Other" in again.text


@given(
    contents=st.lists(st.sampled_from("abc"), min_size=2, max_size=20),
    steps=st.lists(st.integers(1, 90), min_size=20, max_size=20),
)
def test_whoever_asks_by_time_has_the_content_or_is_sent_it(
    contents: list[str], steps: list[int]
) -> None:
    seen, now = SeenAnswers(), 1_000_000
    fetched: list[tuple[str, datetime]] = []
    for content, step in zip(contents, steps, strict=False):
        now += step
        since = seen.since("/feed", content, datetime.fromtimestamp(now, UTC))
        assert since <= datetime.fromtimestamp(now, UTC)
        for held, when in fetched:
            if when >= since:
                assert held == content
        fetched.append((content, since))


def test_comments_have_a_feed_without_those_that_are_hidden_or_gone(
    sign_in: SignIn, client: TestClient, submit: Submit
) -> None:
    ada = sign_in("ada")
    page = "/papers/2606.00003"
    for text in ("The first.", "The **second** one.\n\nWith more.", "The third."):
        submit(ada, page, f"{page}/comments", text=text)
    submit(ada, "/comments/3", "/comments/3/delete")
    feed = json.loads(client.get(f"{page}/comments.json").text)
    assert [item["title"] for item in feed["items"]] == [
        "The **second** one. With more.",
        "The first.",
    ]
    assert feed["items"][0]["authors"] == [{"name": "ada"}]
    assert feed["items"][0]["url"].endswith("/comments/2")


@pytest.mark.parametrize(
    "path",
    [
        "/day.xml",
        "/day/yesterday.atom",
        "/day/2026-06-30.exe",
        "/trending.html",
        "/categories/two words.atom",
        '/authors/".atom',
        "/papers/nowhere/comments.atom",
    ],
)
def test_what_is_no_feed_is_not_found(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_a_search_without_a_query_has_no_feed(client: TestClient) -> None:
    assert client.get("/search.atom").status_code == 400


@pytest.mark.parametrize(
    "page",
    ["/", "/day/2026-06-30", "/week/2026-W27", "/month/2026-06", "/trending", "/papers/2606.00003"],
)
def test_pages_say_where_their_feeds_are(client: TestClient, page: str) -> None:
    html = client.get(page).text
    found = dict(re.findall(r'<link rel="alternate" type="([^"]+)"[^>]* href="([^"]+)"', html))
    assert set(found) == set(MEDIA_TYPES.values())
    for media_type, address in found.items():
        answer = client.get(address.replace("&amp;", "&"))
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith(media_type)


def test_a_search_says_where_its_feeds_are_and_that_it_can_come_by_mail(
    client: TestClient,
) -> None:
    html = client.get("/search", params={"q": 'counting "a new way"', "mode": "words"}).text
    assert 'href="/search.atom?q=counting+%22a+new+way%22&amp;mode=words"' in html
    assert "/subscribe?kind=search&amp;value=counting+%22a+new+way%22&amp;mode=words" in html


def test_a_time_before_the_epoch_of_a_feed_is_understood(client: TestClient) -> None:
    early = format_datetime(datetime(1990, 1, 1, tzinfo=UTC), usegmt=True)
    assert client.get("/day.atom", headers={"if-modified-since": early}).status_code == 200
