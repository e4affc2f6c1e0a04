"""The page of search: what it shows of an answer, and where its links lead."""

import re
from html import unescape
from xml.etree import ElementTree

import pytest
from fastapi.testclient import TestClient

ATOM = "{http://www.w3.org/2005/Atom}"


def links(page: str) -> dict[str, str]:
    """Addresses by the words of their links."""
    found = re.findall(r'<a [^>]*href="([^"]*)"[^>]*>(.*?)</a>', page, re.DOTALL)
    return {
        " ".join(unescape(re.sub(r"<[^>]*>", " ", words)).split()): unescape(address)
        for address, words in found
    }


def shown(page: str) -> list[str]:
    return re.findall(r'<h2 class="entry-title"><a href="/papers/([^"]*)"', page)


def test_facets_narrow_an_answer_down(client: TestClient) -> None:
    page = client.get("/search", params={"q": "counting", "mode": "words"}).text
    narrowed = links(page)
    address = next(address for words, address in narrowed.items() if words.startswith("cs.LG"))
    assert address == "/search?q=counting+cat%3Acs.LG&mode=words"
    again = client.get(address).text
    assert shown(again)
    # The filter stands above the answer now, and can be left out again.
    assert links(again)["cat:cs.LG × leave out"] == "/search?q=counting&mode=words"


def test_what_runs_is_a_facet_and_a_filter(client: TestClient) -> None:
    page = client.get("/search", params={"q": "runs:yes"}).text
    assert shown(page) in ([], ["2601.00001"])
    other = client.get("/search", params={"q": "counting runs:no", "mode": "words"}).text
    assert shown(other)


def test_pages_follow_each_other(client: TestClient) -> None:
    first = client.get("/search", params={"q": "counting", "mode": "words"}).text
    assert len(shown(first)) == 20
    address = links(first)["More papers"]
    assert address == "/search?q=counting&mode=words&page=2"
    second = client.get(address).text
    assert shown(second)
    assert not set(shown(first)) & set(shown(second))
    assert links(second)["Better"] == "/search?q=counting&mode=words"
    beyond = client.get("/search", params={"q": "counting", "mode": "words", "page": 50}).text
    assert "on this page" in beyond
    assert links(beyond)["The first page"] == "/search?q=counting&mode=words"


def test_votes_order_the_same_papers(client: TestClient) -> None:
    page = client.get("/search", params={"q": "counting", "mode": "words", "order": "votes"}).text
    assert shown(page)[:3] == ["2606.00049", "2606.00048", "2606.00047"]


def test_an_answer_without_papers_says_what_to_leave_out(client: TestClient) -> None:
    page = client.get("/search", params={"q": "counting year:1999"}).text
    assert shown(page) == []
    assert links(page)["Without year:1999"] == "/search?q=counting"


@pytest.mark.parametrize("query", ["counting", 'year:2026 "on counting"', "<&> counting"])
def test_any_search_is_a_feed(client: TestClient, query: str) -> None:
    page = client.get("/search", params={"q": query})
    answer = client.get(links(page.text)["Atom"])
    assert answer.headers["content-type"].startswith("application/atom+xml")
    feed = ElementTree.fromstring(answer.content)
    assert feed.findtext(f"{ATOM}title") == f"Paperround: {query}"
    entries = feed.findall(f"{ATOM}entry")
    assert entries
    assert len({entry.findtext(f"{ATOM}id") for entry in entries}) == len(entries)
    days = [entry.findtext(f"{ATOM}updated") or "" for entry in entries]
    assert days == sorted(days, reverse=True)
    again = client.get(links(page.text)["Atom"], headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


def test_the_json_of_a_page_is_its_answer(client: TestClient) -> None:
    page = client.get("/search", params={"q": "counting", "mode": "words"}).text
    answer = client.get(links(page)["JSON"]).json()
    assert [hit["paper"]["key"] for hit in answer["hits"]] == shown(page)
    assert answer["total"] > 20
    assert answer["facets"]["category"]["cs.CL"] == answer["total"]
    following = client.get(answer["next"]).json()
    assert not {hit["paper"]["key"] for hit in following["hits"]} & set(shown(page))


def test_titles_are_offered_while_typing(client: TestClient) -> None:
    offered = links(client.get("/search/titles", params={"q": "diffusion of lang"}).text)
    assert offered == {"Diffusion of languages": "/papers/2606.00002"}
    assert links(client.get("/search/titles", params={"q": "di"}).text) == {}
    assert client.get("/search/titles").status_code == 200


def test_a_mistyped_filter_is_a_word(client: TestClient) -> None:
    for query in ("yaer:2026 counting", "year:soon counting", 'author:"a b', "-", '-"', "cat:"):
        assert client.get("/search", params={"q": query}).status_code == 200
