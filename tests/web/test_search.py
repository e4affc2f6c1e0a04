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


def test_formulas_stand_in_results_beside_what_is_marked(client: TestClient) -> None:
    page = client.get("/search", params={"q": "road showing", "mode": "words"}).text
    assert re.search(
        r'The <span class="math" data-tex="\\mathcal\{O\}\(n\)">[^<]*</span> <mark>road</mark>'
        r" &amp; &lt;script&gt;",
        page,
    )
    assert re.search(r'We <mark>show</mark> <span class="math" data-tex="x\^2 &lt; y">', page)


def test_titles_while_typing_have_their_formulas(client: TestClient) -> None:
    found = client.get("/search/titles", params={"q": "road & scri"}).text
    assert 'data-tex="\\mathcal{O}(n)"' in found


AWKWARD = (
    "counting " * 1_200,
    "-".join(["counting"] * 500),
    " ".join(f"unknwonword{n}" for n in range(400)),
    '"' + "counting " * 500 + '"',
    "-a -b -c",
    "AND OR NOT && || ( ) [ ] { } ^ ~ * ? : \\ /",
    'author: cat: "',
    '"""""',
    "counting\x00\x01\x7f",
    "\u202eעברית العربية\u202c",
    "🧮" * 500,
    "\ud800 counting",
    "year:9999..0001 counting",
    "year:2024.. year:..2023",
    "a*" * 300,
    "%' OR 1=1 --",
    "../../etc/passwd",
    "<script>alert(1)</script>",
)


@pytest.mark.parametrize("path", ["/search", "/search.atom", "/api/v1/search", "/search/titles"])
def test_no_query_is_an_error(client: TestClient, path: str) -> None:
    for query in AWKWARD:
        sent = query.encode("utf-8", "surrogatepass")
        answer = client.get(path, params={"q": sent})
        assert answer.status_code == 200, query[:40]
        if path.endswith(".atom"):
            ElementTree.fromstring(answer.content)


@pytest.mark.parametrize("mode", ["both", "words"])
def test_ranking_again_without_a_model_says_what_to_do(client: TestClient, mode: str) -> None:
    asked = {"q": "counting", "mode": mode, "rerank": "1"}
    page = client.get("/search", params=asked)
    assert shown(page.text)
    assert "no model is set up for it; [reranker] folder names one" in page.text
    # Nobody is offered what this server cannot do.
    assert "Ranked again" not in page.text
    answer = client.get("/api/v1/search", params=asked).json()
    assert answer["reranked"] is None
    assert answer["hits"]
    assert "no model is set up" in answer["note"]
    assert "rerank=True" in answer["next"]


@pytest.mark.parametrize("query", ["2606.00010", "https://arxiv.org/abs/2606.00010v2"])
def test_what_names_a_paper_leads_to_its_page(client: TestClient, query: str) -> None:
    answer = client.get("/search", params={"q": query}, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/papers/2606.00010")
    # A program gets the paper itself.
    (hit,) = client.get("/api/v1/search", params={"q": query}).json()["hits"]
    assert hit["paper"]["key"] == "2606.00010"
    absent = client.get("/search", params={"q": "2606.09999"})
    assert "arXiv 2606.09999 is not in this catalogue" in absent.text
