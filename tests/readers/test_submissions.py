"""What readers hand in, and what a worker makes of it, against real servers on loopback."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from pytest_httpserver import HTTPServer
from sqlalchemy import Engine, select, text, update
from werkzeug import Response

from paperround.catalogue.actions import import_records
from paperround.catalogue.queries import paper_by_key
from paperround.catalogue.records import PaperDetail, PaperRecord
from paperround.catalogue.tables import PaperTable
from paperround.db import read, write
from paperround.errors import ForbiddenError, NotFoundError, TooOftenError, UsageError
from paperround.readers import receiving
from paperround.readers.accounts import delete_reader
from paperround.readers.collections import add_collection, papers_in
from paperround.readers.queries import latest_acts
from paperround.readers.receiving import work_on_next
from paperround.readers.records import Reader, Submission
from paperround.readers.submissions import (
    ByHand,
    find_submission,
    submissions_of,
    submit_address,
    submit_bibtex,
    submit_by_hand,
    who_submitted,
    withdraw_paper,
)
from paperround.readers.tables import SubmissionTable
from paperround.runs.rights import Role
from paperround.settings import Settings

AddReader = Callable[..., Reader]
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
DATA = Path(__file__).parents[1] / "catalogue" / "sources" / "data"
ARXIV = json.loads((DATA / "atom_id_0808.05394_1707.json").read_text(encoding="utf-8"))["body"]
NOTHING = json.loads((DATA / "atom_id_0000.json").read_text(encoding="utf-8"))["body"]
TITLE = "Proceedings of Workshop AEW10: Concepts in Information Theory and Communications"
WORK = {
    "id": "https://openalex.org/W77",
    "doi": "https://doi.org/10.1000/counting",
    "title": "On counting",
    "publication_date": "2026-06-30",
    "type": "article",
    "authorships": [{"author": {"display_name": "Ada Ay"}, "institutions": []}],
    "primary_location": {"source": {"display_name": "Journal of Counting"}},
}


@pytest.fixture
def asking(settings: Settings, httpserver: HTTPServer) -> Settings:
    """Settings under which every source is the server of this test."""
    where = httpserver.url_for("")
    names = ("arxiv", "openalex", "semantic-scholar")
    return settings.model_copy(update={"source_addresses": dict.fromkeys(names, where)})


def done(engine: Engine, settings: Settings, reader: Reader, number: int) -> Submission:
    """The submission after a worker has looked."""
    assert work_on_next(engine, settings, lambda: NOON)
    with read(engine) as connection:
        return find_submission(connection, number, reader)


def the_paper(engine: Engine, key: str) -> PaperDetail:
    with read(engine) as connection:
        found = paper_by_key(connection, key)
    assert found is not None
    return found


def count(engine: Engine) -> int:
    with read(engine) as connection:
        return len(connection.scalars(select(PaperTable.id)).all())


# --- by address


def test_an_arxiv_id_is_asked_of_arxiv_and_the_second_time_found(
    engine: Engine, asking: Settings, add: AddReader, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data(ARXIV)
    ada = add()
    number = submit_address(engine, ada, "https://arxiv.org/abs/1707.08567v1", NOON)
    first = done(engine, asking, ada, number)
    assert (first.state, first.papers) == ("done", (("1707.08567", TITLE, True),))
    request, _ = httpserver.log[0]
    assert request.args["id_list"] == "1707.08567"
    paper = the_paper(engine, "1707.08567")
    assert {source for source, _ in paper.sources} == {"arxiv"}
    bo = add("bo")
    again = done(engine, asking, bo, submit_address(engine, bo, "1707.08567", NOON))
    assert again.papers == (("1707.08567", TITLE, False),)
    assert count(engine) == 1
    with read(engine) as connection:
        assert who_submitted(connection, paper.paper.id) == ("ada", NOON)


def test_a_doi_is_asked_of_openalex_and_then_of_semantic_scholar(
    engine: Engine, asking: Settings, add: AddReader, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/works/doi:10.1000/counting").respond_with_json(WORK)
    httpserver.expect_request("/works/doi:10.1000/other").respond_with_data("no", status=404)
    known = {"paperId": "f00", "title": "On other things", "externalIds": {"DOI": "10.1000/other"}}
    httpserver.expect_request("/paper/DOI:10.1000/other").respond_with_json(known)
    ada = add()
    one = done(engine, asking, ada, submit_address(engine, ada, "10.1000/counting", NOON))
    assert [title for _, title, _ in one.papers] == ["On counting"]
    other = done(engine, asking, ada, submit_address(engine, ada, "doi:10.1000/other", NOON))
    assert [title for _, title, _ in other.papers] == ["On other things"]


def test_what_nobody_has_is_said(
    engine: Engine, asking: Settings, add: AddReader, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/").respond_with_data(NOTHING)
    ada = add()
    found = done(engine, asking, ada, submit_address(engine, ada, "2606.00007", NOON))
    assert found.papers == ()
    assert found.rejections == (("2606.00007", "arXiv has no such paper"),)


def test_a_source_that_refuses_makes_it_fail_and_the_next_goes_on(
    engine: Engine, asking: Settings, add: AddReader, httpserver: HTTPServer
) -> None:
    httpserver.expect_request("/works/W1").respond_with_data("no", status=403)
    ada = add()
    first = submit_address(engine, ada, "https://openalex.org/W1", NOON)
    second = submit_by_hand(engine, ada, ByHand(title="On counting"), NOON)
    failed = done(engine, asking, ada, first)
    assert failed.state == "failed"
    assert "status 403" in failed.reason
    assert done(engine, asking, ada, second).state == "done"


def test_a_source_that_leads_inside_is_not_followed(
    engine: Engine, asking: Settings, add: AddReader, httpserver: HTTPServer
) -> None:
    inside = Response(status=302, headers={"location": "http://169.254.169.254/latest/"})
    httpserver.expect_request("/works/W1").respond_with_response(inside)
    ada = add()
    number = submit_address(engine, ada, "https://openalex.org/W1", NOON)
    failed = done(engine, asking, ada, number)
    assert failed.state == "failed"
    assert "not on the internet" in failed.reason


# --- BibTeX and by hand

BIB = r"""
@article{one, title = {On counting}, author = {Ay, Ada and Bee, Bo}, year = 2026,
  eprint = {2606.00001}, archiveprefix = {arXiv}}
@misc{two, title = {Another $x^2$ thing}, author = {Cee, Cy}}
@misc{broken, author = {Nobody}}
@misc{two, title = {Another $x^2$ thing}, author = {Cee, Cy}}
"""


def test_a_bibliography_adds_what_is_new_and_counts_what_cannot_be_used(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada = add()
    found = done(engine, settings, ada, submit_bibtex(engine, ada, BIB, NOON))
    assert [(key, is_new) for key, _, is_new in found.papers if key == "2606.00001"] == [
        ("2606.00001", True)
    ]
    assert len(found.papers) == 2
    assert (found.n_rejected, found.rejections[0][1]) == (1, "no title")
    again = done(engine, settings, ada, submit_bibtex(engine, ada, BIB, NOON))
    assert [is_new for *_, is_new in again.papers] == [False, False]
    assert count(engine) == 2


@pytest.mark.parametrize("bibtex", ["", " \n", "x" * (1 << 20) + "y"])
def test_a_bibliography_that_is_none_is_refused(
    engine: Engine, add: AddReader, bibtex: str
) -> None:
    with pytest.raises(UsageError):
        submit_bibtex(engine, add(), bibtex, NOON)


@pytest.mark.parametrize("bibtex", ["nothing in it", "@misc{", "\x00\ufffd@{}", "@string{a=1}"])
def test_a_bibliography_without_papers_says_so(
    engine: Engine, settings: Settings, add: AddReader, bibtex: str
) -> None:
    ada = add()
    found = done(engine, settings, ada, submit_bibtex(engine, ada, bibtex, NOON))
    assert (found.state, found.papers) == ("done", ())
    assert found.n_rejected >= 1


def test_a_bibliography_is_bounded(
    engine: Engine, settings: Settings, add: AddReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "MAX_ENTRIES", 3)
    many = "\n".join(f"@misc{{k{n}, title = {{Paper number {n} on it}}}}" for n in range(5))
    ada = add()
    found = done(engine, settings, ada, submit_bibtex(engine, ada, many, NOON))
    assert (len(found.papers), found.n_rejected) == (3, 2)
    assert found.rejections[0][1] == "more than 3 entries"


def test_a_bibliography_fills_a_collection_in_its_order(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada, eve = add("ada"), add("eve")
    made = add_collection(engine, ada, "Mine", NOON)
    with pytest.raises(NotFoundError):
        submit_bibtex(engine, eve, BIB, NOON, made.key)
    found = done(engine, settings, ada, submit_bibtex(engine, ada, BIB, NOON, made.key))
    assert found.collection == made.key
    with read(engine) as connection:
        titles = [each.paper.title_text for each in papers_in(connection, made.id)]
    assert titles == ["On counting", "Another x^2 thing"]


def test_what_a_reader_types_changes_no_paper_that_is_here(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    known = PaperRecord(
        source="arxiv",
        source_key="2606.00001",
        title="On counting",
        abstract="We count.",
        authors=("Ada Ay",),
        identifiers={"arxiv": "2606.00001"},
    )
    unidentified = PaperRecord("jsonl", "a", "On naming", "We name.", authors=("Bo Bee",))
    import_records(engine, [known, unidentified])
    before = [the_paper(engine, "2606.00001"), _titled(engine, "On naming")]
    eve = add("eve")
    lies = "\n".join(
        [
            "@misc{a, title = {Buy this}, abstract = {Adverts}, eprint = {2606.00001},"
            " archiveprefix = {arXiv}}",
            "@misc{b, title = {On naming}, author = {Bo Bee}, abstract = {Adverts}}",
        ]
    )
    found = done(engine, settings, eve, submit_bibtex(engine, eve, lies, NOON))
    assert [is_new for *_, is_new in found.papers] == [False, False]
    typed = ByHand(title="On naming", authors=["Bo Bee"], code_url="https://evil.example/")
    found = done(engine, settings, eve, submit_by_hand(engine, eve, typed, NOON))
    assert [is_new for *_, is_new in found.papers] == [False]
    assert [the_paper(engine, "2606.00001"), _titled(engine, "On naming")] == before


def test_a_source_s_word_stands_above_a_reader_s_that_came_first(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada = add()
    claimed = "@misc{a, title = {On counting}, abstract = {Ours}, eprint = {2606.00001}}"
    done(engine, settings, ada, submit_bibtex(engine, ada, claimed, NOON))
    assert the_paper(engine, "2606.00001").paper.abstract == "Ours"
    theirs = PaperRecord(
        "bibtex", "x", "On counting", "Theirs", identifiers={"arxiv": "2606.00001"}
    )
    import_records(engine, [theirs])
    assert the_paper(engine, "2606.00001").paper.abstract == "Theirs"


def test_a_paper_by_hand_is_a_paper_with_all_that_was_typed(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada = add()
    typed = ByHand(
        title=r"The $\alpha$ of it",
        authors=["Ada Ay", " ", "Bo Bee"],
        abstract="We show it.",
        published=date(2026, 6, 30),
        organisation="The Lab",
        pdf_url="https://lab.example/it.pdf",
        links=["https://github.com/lab/it"],
    )
    found = done(engine, settings, ada, submit_by_hand(engine, ada, typed, NOON))
    ((key, title, is_new),) = found.papers
    assert (title, is_new) == ("The α of it", True)
    paper = the_paper(engine, key).paper
    assert (paper.authors, paper.day) == (("Ada Ay", "Bo Bee"), date(2026, 6, 30))
    assert paper.organisation == "The Lab"
    assert the_paper(engine, key).sources[0][0] == "reader"


@pytest.mark.parametrize(
    "typed",
    [
        {"title": " "},
        {"title": "It", "pdf_url": "javascript:alert(1)"},
        {"title": "It", "published": date(2026, 7, 2)},
        {"title": "It", "published": date(1200, 1, 1)},
    ],
)
def test_a_paper_by_hand_that_cannot_be_is_refused_at_once(
    engine: Engine, add: AddReader, typed: dict[str, Any]
) -> None:
    with pytest.raises(UsageError):
        submit_by_hand(engine, add(), ByHand(**typed), NOON)


# --- who may see it, limits, moderators, workers


def test_a_submission_is_its_reader_s_and_the_moderators(engine: Engine, add: AddReader) -> None:
    ada, eve, mo = add("ada"), add("eve"), add("mo", Role.MODERATOR)
    number = submit_by_hand(engine, ada, ByHand(title="On it"), NOON)
    with read(engine) as connection:
        assert find_submission(connection, number, ada).is_open
        assert find_submission(connection, number, mo).reader == "ada"
        with pytest.raises(NotFoundError):
            find_submission(connection, number, eve)
        assert submissions_of(connection, eve.id, None, 9) == []


def test_there_is_a_limit(engine: Engine, add: AddReader) -> None:
    ada = add()
    for n in range(20):
        submit_by_hand(engine, ada, ByHand(title=f"On it, {n}"), NOON)
    with pytest.raises(TooOftenError):
        submit_by_hand(engine, ada, ByHand(title="On it again"), NOON)


def test_moderators_withdraw_what_only_readers_stand_for(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada, mo = add("ada"), add("mo", Role.MODERATOR)
    number = submit_by_hand(engine, ada, ByHand(title="Buy this"), NOON)
    ((key, _, _),) = done(engine, settings, ada, number).papers
    with pytest.raises(ForbiddenError):
        withdraw_paper(engine, ada, key, "mine", NOON)
    with pytest.raises(UsageError, match="say why"):
        withdraw_paper(engine, mo, key, " ", NOON)
    assert withdraw_paper(engine, mo, key, "an advert", NOON) == "Buy this"
    with read(engine) as connection:
        assert paper_by_key(connection, key) is None
        assert find_submission(connection, number, ada).papers == ()
        assert latest_acts(connection)[0].act == "withdrew a paper"
    import_records(engine, [PaperRecord("jsonl", "a", "On naming", "We name.")])
    with pytest.raises(UsageError, match="jsonl has this paper too"):
        withdraw_paper(engine, mo, _titled(engine, "On naming").paper.key, "why", NOON)


def test_a_worker_that_dies_gives_the_submission_back_and_not_for_ever(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada = add()
    number = submit_by_hand(engine, ada, ByHand(title="On it"), NOON)
    with write(engine) as connection:
        connection.execute(update(SubmissionTable).values(state="working", attempts=1))
    assert done(engine, settings, ada, number).state == "done"
    with write(engine) as connection:
        connection.execute(update(SubmissionTable).values(state="working", attempts=3))
    given_up = done(engine, settings, ada, number)
    assert given_up.state == "failed"
    assert "again and again" in given_up.reason


def test_one_worker_of_a_home_does_them(engine: Engine, settings: Settings, add: AddReader) -> None:
    ada = add()
    submit_by_hand(engine, ada, ByHand(title="On it"), NOON)
    with FileLock(settings.home / "submissions.lock", thread_local=False):
        assert not work_on_next(engine, settings)
    assert work_on_next(engine, settings)
    assert not work_on_next(engine, settings)


def test_the_paper_stays_when_its_reader_goes(
    engine: Engine, settings: Settings, add: AddReader
) -> None:
    ada = add("ada")
    add("boss", Role.ADMIN)
    number = submit_by_hand(engine, ada, ByHand(title="On it"), NOON)
    ((key, _, _),) = done(engine, settings, ada, number).papers
    with write(engine) as connection:
        delete_reader(connection, ada)
        paper = paper_by_key(connection, key)
        assert paper is not None
        assert who_submitted(connection, paper.paper.id) == (None, NOON)
        held = connection.execute(text("SELECT reader_id FROM submission")).scalar()
    assert held is None


def _titled(engine: Engine, title: str) -> PaperDetail:
    with read(engine) as connection:
        key = connection.scalar(select(PaperTable.key).where(PaperTable.title == title))
    assert key is not None
    return the_paper(engine, key)
