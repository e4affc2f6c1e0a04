"""Sources that are asked over the network, against a local server that replays real answers."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pytest_httpserver import HTTPServer
from sqlalchemy import Engine, select
from werkzeug import Request, Response

from paperround.catalogue.actions import import_records
from paperround.catalogue.fetching import Fetcher
from paperround.catalogue.keeping import KeptAnswers
from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import Bookmark, Imported, Item, PaperRecord, Rejected, Removed
from paperround.catalogue.sources import SOURCES, arxiv, arxiv_oai, read_source
from paperround.catalogue.tables import AppearanceTable, BookmarkTable, PaperTable
from paperround.catalogue.visiting import Visit, visit_with
from paperround.db import read
from paperround.errors import SourceError, UsageError
from paperround.settings import Settings

DATA = Path(__file__).with_name("data")


def atom(name: str) -> bytes:
    answer = json.loads((DATA / f"atom_{name}.json").read_text(encoding="utf-8"))
    return str(answer["body"]).encode()


def oai(name: str) -> bytes:
    return (DATA / f"{name}.xml").read_bytes()


@pytest.fixture
def visit(engine: Engine, settings: Settings, httpserver: HTTPServer, tmp_path: Path) -> Visit:
    """A visit to the local server in place of every source, which never really waits."""
    usual = visit_with(engine, settings)
    fetcher = Fetcher(turns=tmp_path, pause_s=0.0, sleep=lambda _: None)
    addresses = dict.fromkeys(SOURCES, httpserver.url_for(""))
    return Visit(fetcher, usual.bookmark, addresses=addresses)


def keys_here(engine: Engine) -> set[str]:
    with read(engine) as connection:
        return set(connection.scalars(select(PaperTable.key)))


def bookmarks(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.scalars(select(BookmarkTable.position)))


def records(items: object) -> list[PaperRecord]:
    return [item for item in items if isinstance(item, PaperRecord)]  # type: ignore[attr-defined]


# --- arXiv's API


def test_papers_are_had_by_id_and_what_arxiv_lacks_is_named(
    visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data(atom("id_0808.05394_1707"))
    items = list(read_source("arxiv", ["1707.08567v2", "1412.9999"], visit=visit))
    record, missing = items
    assert isinstance(record, PaperRecord)
    assert record.source_key == "1707.08567"
    assert record.published == date(2017, 7, 27)
    assert missing == Rejected("1412.9999", "arXiv has no such paper")
    request, _ = httpserver.log[0]
    assert request.args["id_list"] == "1707.08567v2,1412.9999"


def test_an_error_that_looks_like_a_result_is_an_error(
    visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data(atom("id_abc"), status=400)
    with pytest.raises(SourceError, match="incorrect id format for abc"):
        list(read_source("arxiv", ["all:abc"], visit=visit))


def test_a_paper_whose_title_is_nought_and_one_of_the_old_ids_are_papers() -> None:
    (nought,) = records(arxiv.read_feed(atom("id_2104"))[1])
    assert (nought.title, nought.categories) == ("0", ("cs.CR",))
    (old,) = records(arxiv.read_feed(atom("id_quant"))[1])
    assert old.identifiers["arxiv"].startswith("quant-ph/")


def test_a_withdrawn_paper_is_marked() -> None:
    body = atom("id_2104").replace(
        b"</entry>",
        b"<arxiv:comment>This paper has been withdrawn by the author</arxiv:comment></entry>",
    )
    (record,) = records(arxiv.read_feed(body)[1])
    assert record.withdrawn is True


def paged(total: int = 20, empty_at: tuple[int, ...] = ()) -> Callable[[Request], Response]:
    """Two pages of a search; the starts in `empty_at` answer with nothing, once each."""
    left = list(empty_at)
    pages = {0: atom("q_testing_s0_m10_"), 10: atom("q_testing_s10_m10_")}

    def answer(request: Request) -> Response:
        start = int(request.args["start"])
        body = pages.get(start, atom("id_0000"))
        if start in left:
            left.remove(start)
            body = atom("id_0000")
        at, end = body.find(b":totalResults>") + 14, body.find(b"</opensearch:totalResults>")
        return Response(body[:at] + str(total).encode() + body[end:])

    return answer


def test_a_search_is_read_page_by_page(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(paged(empty_at=(10,)))
    done = import_records(engine, read_source("arxiv", ["all:testing"], visit=visit))
    assert (done.read, done.rejected) == (20, 0)
    # An empty page in the middle is asked for again, and nothing is left to go on with.
    assert [request.args["start"] for request, _ in httpserver.log] == ["0", "10", "10"]
    assert bookmarks(engine) == []


def test_an_import_that_broke_goes_on_at_its_page(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_ordered_request("/").respond_with_handler(paged())
    httpserver.expect_ordered_request("/").respond_with_data("gone", status=403)
    with pytest.raises(SourceError, match="status 403"):
        import_records(engine, read_source("arxiv", ["all:testing"], visit=visit))
    assert len(keys_here(engine)) == 10
    assert bookmarks(engine) == ["10"]
    httpserver.clear()
    httpserver.expect_request("/").respond_with_handler(paged())
    done = import_records(engine, read_source("arxiv", ["all:testing"], visit=visit))
    assert (done.read, done.added) == (10, 10)
    assert [request.args["start"] for request, _ in httpserver.log] == ["10"]
    assert bookmarks(engine) == []


def test_a_search_ends_at_the_most_that_was_asked_for(visit: Visit, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_handler(paged(total=214_881))
    items = list(read_source("arxiv", ["all:testing", "20"], visit=visit))
    assert len(records(items)) == 20
    assert httpserver.log[0][0].args["max_results"] == "20"


def test_an_answer_of_arxivs_api_is_kept_for_the_day_and_an_empty_page_is_not(
    visit: Visit, httpserver: HTTPServer, tmp_path: Path
) -> None:
    evening = datetime(2026, 11, 22, 22, tzinfo=UTC)
    now = [evening]
    kept = KeptAnswers(tmp_path / "answers", lambda: now[0])
    visit = replace(visit, kept=kept)
    httpserver.expect_request("/").respond_with_handler(paged(empty_at=(10,)))

    def asked() -> tuple[int, int]:
        """How many papers came of a search, and how many requests have been made by now."""
        found = records(read_source("arxiv", ["all:testing"], visit=visit))
        return len(found), len(httpserver.log)

    assert asked() == (20, 3)
    # Past midnight nothing has been announced yet.
    now[0] = evening + timedelta(hours=3)
    assert asked() == (20, 3)
    now[0] = evening + timedelta(hours=4)
    assert asked() == (20, 5)
    # Nothing of the day before is left.
    assert [day.name for day in (tmp_path / "answers").iterdir()] == ["2026-11-23"]


def test_an_answer_that_was_damaged_on_the_disk_is_asked_for_again(
    visit: Visit, httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/").respond_with_data(atom("id_2104"))
    visit = replace(visit, kept=KeptAnswers(tmp_path / "answers"))
    list(read_source("arxiv", ["2104.12255"], visit=visit))
    (file,) = (tmp_path / "answers").glob("*/*")
    file.write_bytes(file.read_bytes()[:20])
    assert len(records(read_source("arxiv", ["2104.12255"], visit=visit))) == 1
    assert len(httpserver.log) == 2


def test_an_error_of_arxiv_is_not_kept(
    visit: Visit, httpserver: HTTPServer, tmp_path: Path
) -> None:
    httpserver.expect_request("/").respond_with_data(atom("id_abc"), status=400)
    visit = replace(visit, kept=KeptAnswers(tmp_path / "answers"))
    with pytest.raises(SourceError):
        list(read_source("arxiv", ["all:abc"], visit=visit))
    assert list(tmp_path.glob("answers/*/*")) == []


def test_the_catalogues_own_visit_keeps_answers_in_its_home(
    engine: Engine, settings: Settings
) -> None:
    assert visit_with(engine, settings).kept.folder == settings.home / "answers"


# --- arXiv's harvests


def harvest(fail_at: str = "", bad_tokens: tuple[str, ...] = ()) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        token = request.args.get("resumptionToken", "")
        if token and token == fail_at:
            return Response("gone", status=403)
        if token in bad_tokens:
            return Response(oai("error_badResumptionToken"))
        return Response(oai("ListRecords_arXiv_page2" if token else "ListRecords_arXiv_page1"))

    return answer


TOKEN = arxiv_oai.read_page(oai("ListRecords_arXiv_page1")).token or ""


def import_oai(engine: Engine, visit: Visit, *arguments: str) -> Imported:
    return import_records(engine, read_source("arxiv-oai", arguments, visit=visit))


def test_a_harvest_follows_its_tokens_and_meets_a_repeated_record_once(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(harvest())
    done = import_oai(engine, visit, "set=cs")
    # The second page repeats one record of the first.
    assert (done.read, done.added, len(keys_here(engine))) == (49, 48, 48)
    first, second = (request for request, _ in httpserver.log)
    assert first.args.to_dict() == {
        "verb": "ListRecords",
        "metadataPrefix": "arXiv",
        "set": "cs",
    }
    # A token stands for all that was asked, and goes alone.
    assert second.args.to_dict() == {"verb": "ListRecords", "resumptionToken": TOKEN}


def test_the_next_harvest_asks_for_what_has_changed_since(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(harvest())
    import_oai(engine, visit, "set=cs")
    httpserver.clear()
    httpserver.expect_request("/").respond_with_data(oai("error_noRecordsMatch"))
    assert import_oai(engine, visit, "set=cs").read == 0
    # The day of the server when the last one began, not that of this machine.
    assert httpserver.log[0][0].args["from"] == "2025-03-20"


def test_a_broken_harvest_goes_on_at_its_token(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(harvest(fail_at=TOKEN))
    with pytest.raises(SourceError):
        import_oai(engine, visit, "set=cs")
    assert len(keys_here(engine)) == 24
    httpserver.clear()
    httpserver.expect_request("/").respond_with_handler(harvest())
    assert import_oai(engine, visit, "set=cs").added == 24
    assert [request.args.get("resumptionToken") for request, _ in httpserver.log] == [TOKEN]


def test_a_harvest_waits_as_long_as_a_busy_server_asks(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    slept: list[float] = []
    visit.fetcher.sleep = slept.append
    busy = Response(status=503, headers={"Retry-After": "20"})
    httpserver.expect_ordered_request("/").respond_with_handler(harvest())
    httpserver.expect_ordered_request("/").respond_with_response(busy)
    httpserver.expect_ordered_request("/").respond_with_handler(harvest())
    done = import_oai(engine, visit, "set=cs")
    assert (done.read, done.added, done.rejected) == (49, 48, 0)
    assert slept == [20.0]
    # The token was asked for again, and nothing else.
    assert [request.args.get("resumptionToken") for request, _ in httpserver.log] == [
        None,
        TOKEN,
        TOKEN,
    ]


def test_a_token_that_has_died_begins_the_harvest_again(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_handler(harvest(fail_at=TOKEN))
    with pytest.raises(SourceError):
        import_oai(engine, visit, "set=cs", "from=2005-01-01")
    httpserver.clear()
    answers = iter(
        [
            oai("error_badResumptionToken"),
            oai("ListRecords_arXiv_page1"),
            oai("ListRecords_arXiv_page2"),
        ]
    )
    httpserver.expect_request("/").respond_with_handler(lambda _: Response(next(answers)))
    done = import_oai(engine, visit, "set=cs", "from=2005-01-01")
    assert (done.read, done.added) == (49, 24)
    again = httpserver.log[1][0]
    assert again.args["from"] == "2005-01-01"


def test_a_token_that_is_dead_at_birth_is_an_error(visit: Visit, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/").respond_with_handler(harvest(bad_tokens=(TOKEN,)))
    with pytest.raises(SourceError, match="invalid or expired"):
        list(read_source("arxiv-oai", [], visit=visit))


@pytest.mark.parametrize("name", ["arXiv", "arXivRaw", "oai_dc"])
def test_each_format_of_a_record_says_the_same(name: str) -> None:
    page = arxiv_oai.read_page(oai(f"ListRecords_{name}_page1"))
    found = records(page.items)
    assert len(found) == 24
    assert found[0].source_key == "cs/0001024"
    assert found[0].title.startswith("A Parallel Algorithm for Dilated Contour Extraction")
    assert found[0].authors == ("B. R. Schlei", "L. Prasad")
    assert found[0].published == date(2000, 1, 25)
    assert found[0].categories[0] == "cs.CV"


def test_a_deleted_record_withdraws_a_paper_that_is_known(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    page = oai("ListRecords_arXiv_page2")
    httpserver.expect_request("/").respond_with_data(page)
    import_oai(engine, visit)
    start = page.find(b"<record>")
    deleted = (
        page[:start]
        + b'<record><header status="deleted"><identifier>oai:arXiv.org:hep-th/0703166</identifier>'
        + b"</header></record><record><header status='deleted'>"
        + b"<identifier>oai:arXiv.org:cs/9901001</identifier></header></record>"
        + b"</ListRecords></OAI-PMH>"
    )
    assert Removed("arxiv", "cs/9901001", "record 2 (oai:arXiv.org:cs/9901001)") in (
        arxiv_oai.read_page(deleted).items
    )
    httpserver.clear()
    httpserver.expect_request("/").respond_with_data(deleted)
    before = keys_here(engine)
    done = import_oai(engine, visit, "format=arXiv")
    assert (done.read, done.updated) == (2, 1)
    assert keys_here(engine) == before
    with read(engine) as connection:
        found = paper_by_key(connection, "hep-th/0703166")
    assert found is not None
    assert found.paper.withdrawn


@pytest.mark.parametrize("argument", ["sets=cs", "set=", "from=yesterday", "format=marc", "cs"])
def test_a_wrong_option_of_a_harvest_is_named(visit: Visit, argument: str) -> None:
    with pytest.raises(UsageError):
        list(read_source("arxiv-oai", [argument], visit=visit))


# --- arXiv's listings


def test_a_listing_is_sent_once_a_day_and_a_replacement_lists_nothing(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    def listing(request: Request) -> Response:
        if request.headers.get("if-none-match") == '"6 January"':
            return Response(status=304)
        return Response(oai("rss_cs.CL"), headers={"etag": '"6 January"'})

    httpserver.expect_request("/cs.CL").respond_with_handler(listing)
    done = import_records(engine, read_source("arxiv-rss", ["cs.CL"], visit=visit))
    assert (done.read, done.added, done.rejected) == (12, 12, 0)
    assert import_records(engine, read_source("arxiv-rss", ["cs.CL"], visit=visit)).read == 0
    assert [response.status_code for _, response in httpserver.log] == [200, 304]
    with read(engine) as connection:
        rows = connection.execute(select(PaperTable.key, PaperTable.listed))
        days = {key: listed for key, listed in rows}  # noqa: C416
    assert days["2601.00003"] == date(2026, 1, 6)
    assert None in days.values()
    assert set(days.values()) == {None, date(2026, 1, 6)}


@pytest.mark.parametrize("name", ["rss_cs.CL", "atom_cs.CL"])
def test_rss_and_atom_say_the_same(name: str) -> None:
    found = records(read_source("arxiv-rss", [str(DATA / f"{name}.xml")]))
    assert len(found) == 12
    assert found[0].authors == ("Shuqi Liu", "Bowei He", "Chen Ma", "Linqi Song")
    assert found[0].abstract.startswith("Large language models (LLMs) typically")
    assert found[0].listed == date(2026, 1, 6)


def test_a_weekend_has_no_papers() -> None:
    assert list(read_source("arxiv-rss", [str(DATA / "rss_cs.CL_weekend_empty.xml")])) == []


# --- the others


def test_openalex_goes_on_at_its_cursor(
    engine: Engine, visit: Visit, httpserver: HTTPServer
) -> None:
    page = json.loads((DATA / "SHAPE_ONLY_works_page.json").read_text(encoding="utf-8"))

    def works(request: Request) -> Response:
        cursor = request.args["cursor"]
        if cursor == "third":
            return Response("busy", status=403)
        number = {"*": 1, "second": 2}[cursor]
        work = {**page["results"][0], "id": f"https://openalex.org/W{number}", "doi": None}
        work["title"] = f"Work {number}"
        work["primary_location"] = None
        following = "second" if number == 1 else "third"
        answer = {"meta": {"next_cursor": following}, "results": [work]}
        return Response(json.dumps(answer))

    httpserver.expect_request("/works").respond_with_handler(works)
    with pytest.raises(SourceError):
        import_records(engine, read_source("openalex", ["retrieval"], visit=visit))
    assert bookmarks(engine) == ["third"]
    httpserver.clear()
    httpserver.expect_request("/works").respond_with_json({"meta": {}, "results": []})
    import_records(engine, read_source("openalex", ["retrieval"], visit=visit))
    assert httpserver.log[0][0].args["cursor"] == "third"
    assert bookmarks(engine) == []
    with read(engine) as connection:
        names = set(connection.scalars(select(AppearanceTable.source_key)))
    assert names == {"W1", "W2"}


def test_semantic_scholar_is_read_to_its_last_token(visit: Visit, httpserver: HTTPServer) -> None:
    def bulk(request: Request) -> Response:
        token = request.args.get("token")
        paper: dict[str, Any] = {"paperId": "b" if token else "a", "title": "T", "authors": []}
        data = [paper, None] if token else [paper]
        return Response(json.dumps({"token": None if token else "next", "data": data}))

    httpserver.expect_request("/paper/search/bulk").respond_with_handler(bulk)
    items = list(read_source("semantic-scholar", ["kubernetes"], visit=visit))
    assert [type(item) for item in items] == [
        PaperRecord,
        Bookmark,
        PaperRecord,
        Rejected,
        Bookmark,
    ]


def test_daily_papers_are_asked_for_by_day(visit: Visit, httpserver: HTTPServer) -> None:
    body = (DATA / "SHAPE_ONLY_api_daily_papers.json").read_bytes()
    httpserver.expect_request("/daily_papers").respond_with_data(body)
    found = records(read_source("hf-daily", ["2026-01-06"], visit=visit))
    assert httpserver.log[0][0].args["date"] == "2026-01-06"
    assert len(found) == 5
    assert (found[0].votes, found[0].organisation) == (57, "Example Lab")
    assert found[0].listed == date(2026, 1, 6)


@pytest.mark.parametrize(
    ("source", "body"),
    [
        ("openalex", b"<html>sorry</html>"),
        ("openalex", b"[]"),
        ("semantic-scholar", b'{"error": "no"}'),
        ("semantic-scholar", b'{"data": [], "token": 5}'),
        ("hf-daily", b"{}"),
    ],
)
def test_an_answer_of_another_shape_is_an_error(
    visit: Visit, httpserver: HTTPServer, source: str, body: bytes
) -> None:
    httpserver.expect_request("/works").respond_with_data(body)
    httpserver.expect_request("/paper/search/bulk").respond_with_data(body)
    httpserver.expect_request("/daily_papers").respond_with_data(body)
    with pytest.raises(SourceError):
        list(read_source(source, ["2026-01-06"], visit=visit))


def test_a_file_that_is_not_there_is_not_looked_for_on_a_server(visit: Visit) -> None:
    with pytest.raises(UsageError, match="no such file"):
        list(read_source("openalex", ["works.json"], visit=visit))


def test_a_server_is_asked_with_a_visit_only() -> None:
    with pytest.raises(UsageError, match="asks a server"):
        items: list[Item] = list(read_source("arxiv", ["cat:cs.CL"]))
        assert not items
