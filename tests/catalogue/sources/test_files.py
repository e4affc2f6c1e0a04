"""What each source of files makes of its rows: values read by hand off real or composed rows."""

import json
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine

from paperround.catalogue.actions import import_records
from paperround.catalogue.queries import paper_by_key, reported_of
from paperround.catalogue.records import Item, PaperRecord, Rejected, ReportedResult
from paperround.catalogue.sources import read_source
from paperround.db import read

DATA = Path(__file__).with_name("data")


def items(tmp_path: Path, source: str, text: str, name: str = "rows.json") -> list[Item]:
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return list(read_source(source, [str(file)]))


def one(found: list[Item]) -> PaperRecord:
    (record,) = found
    assert isinstance(record, PaperRecord), record
    return record


# --- the ACL Anthology

EVENT = """<event id="acl-2022"><meta><title>60th Annual Meeting</title>
<location>Dublin, Ireland</location><dates>May 22–27, 2022</dates></meta>
<talk><title>Keynote 1: Language in the human brain</title>
<speaker><first>Angela D.</first><last>Friederici</last></speaker></talk>
<colocated><volume-id>2022.bea-1</volume-id></colocated></event>"""
VOLUME = """<volume id="long" ingest-date="2022-05-15"><meta>
<booktitle>Proceedings of the 60th Annual Meeting (Volume 1: Long Papers)</booktitle>
<month>May</month><year>2022</year><venue>acl</venue></meta>
<frontmatter><url>2022.acl-long.0</url></frontmatter>
<paper id="1">
<title><fixed-case>A</fixed-case>dapLeR: <tex-math>O(n^2)</tex-math> to <i>less</i></title>
<author><first>Ali</first><last>Modarressi</last></author><author><last>Plato</last></author>
<abstract>We <b>prune</b> at <tex-math>2\\times</tex-math> the speed.</abstract>
<url hash="x">2022.acl-long.1</url><doi>10.18653/v1/2022.acl-long.1</doi>
<pwccode url="https://github.com/amodaresi/adapler" additional="false">a/b</pwccode></paper>
<paper id="2"><title>Taken back</title><url>2022.acl-long.2</url>
<retracted date="2022-06-01">why</retracted></paper>
</volume>"""


@pytest.mark.parametrize("order", ["volume first", "event first"])
def test_a_volumes_papers_are_read_with_their_markup_and_an_event_disturbs_nothing(
    tmp_path: Path, order: str
) -> None:
    inside = VOLUME + EVENT if order == "volume first" else EVENT + VOLUME
    text = f'<collection id="2022.acl">{inside}</collection>'
    first, second = items(tmp_path, "acl-anthology", text, "2022.acl.xml")
    assert first == PaperRecord(
        source="acl-anthology",
        source_key="2022.acl-long.1",
        title="AdapLeR: $O(n^2)$ to \\emph{less}",
        abstract="We \\textbf{prune} at $2\\times$ the speed.",
        authors=("Ali Modarressi", "Plato"),
        published=date(2022, 5, 1),
        venue="ACL 2022",
        code_url="https://github.com/amodaresi/adapler",
        pdf_url="https://aclanthology.org/2022.acl-long.1.pdf",
        identifiers={"acl": "2022.acl-long.1", "doi": "10.18653/v1/2022.acl-long.1"},
    )
    assert isinstance(second, PaperRecord)
    assert second.withdrawn is True
    assert first.place == "volume 1, paper 1"


def test_a_real_volume_has_its_papers_and_no_front_matter() -> None:
    found = list(read_source("acl-anthology", [str(DATA / "2022.naloma.xml")]))
    assert all(isinstance(item, PaperRecord) for item in found)
    assert isinstance(found[0], PaperRecord)
    assert (found[0].title, found[0].authors, found[0].venue) == (
        "Strings from neurons to language",
        ("Tim Fernando",),
        "NLMA 2022",
    )
    assert found[0].published == date(2022, 8, 1)


# --- lists of conference papers


def test_a_list_of_conference_papers_is_read_without_what_is_personal(tmp_path: Path) -> None:
    row = {
        "id": "iclr2024:abc",
        "title": "Forgetting Mixtures",
        "author": "Ann Lee;Bo Xu",
        "keywords": "rehearsal; forgetting;",
        "status": "Withdraw",
        "site": "https://openreview.net/forum?id=aBc-_1",
        "pdf": "https://arxiv.org/pdf/2604.00001v2",
        "github": "none",
        "gs_citation": -1,
        "rating_avg": [5.0, 1.2],
        "email": "ann@example.org",
        "gender": "F",
        "orcid": "0000-0001",
    }
    record = one(items(tmp_path, "openreview", json.dumps([row]), "iclr2024.json"))
    assert record == PaperRecord(
        source="openreview",
        source_key="iclr2024:abc",
        title="Forgetting Mixtures",
        authors=("Ann Lee", "Bo Xu"),
        keywords=("rehearsal", "forgetting"),
        published=date(2024, 1, 1),
        venue="ICLR 2024",
        pdf_url="https://arxiv.org/pdf/2604.00001v2",
        withdrawn=True,
        identifiers={"openreview": "aBc-_1", "arxiv": "2604.00001"},
    )
    assert "ann@example.org" not in repr(record)


# --- Papers with Code

TABLES = [
    {
        "task": "Question Answering",
        "subtasks": [
            {
                "task": "Reading",
                "datasets": [
                    {
                        "dataset": "SQuAD",
                        "subdatasets": [
                            {
                                "subdataset": "1.1",
                                "sota": {
                                    "metrics": ["F1"],
                                    "rows": [
                                        {
                                            "model_name": "small",
                                            "paper_title": "Forgetting Mixtures",
                                            "paper_url": "https://arxiv.org/abs/2604.00001",
                                            "paper_date": "2026-04-01",
                                            "code_links": [
                                                {"title": "c", "url": "https://github.com/a/b"}
                                            ],
                                            "metrics": {"F1": "90.1%", "EM": 81.5, "X": None},
                                        },
                                        {"model_name": "no title", "metrics": {"F1": "1"}},
                                    ],
                                },
                            }
                        ],
                    }
                ],
            }
        ],
    }
]


def test_the_rows_of_a_table_become_what_others_reported(engine: Engine, tmp_path: Path) -> None:
    found = items(tmp_path, "paperswithcode", json.dumps(TABLES))
    refused, record = found
    assert refused == Rejected("item 1, Reading, SQuAD: 1.1, row 2", "no paper_title")
    assert isinstance(record, PaperRecord)
    assert record.results == (
        ReportedResult("Reading", "SQuAD: 1.1", "F1", "90.1%", "small"),
        ReportedResult("Reading", "SQuAD: 1.1", "EM", "81.5", "small"),
    )
    assert record.links == ("https://github.com/a/b",)
    import_records(engine, found)
    with read(engine) as connection:
        paper = paper_by_key(connection, "2604.00001")
        assert paper is not None
        reported = reported_of(connection, paper.paper.id)
    assert [(row.source, row.result.value) for row in reported] == [
        ("paperswithcode", "81.5"),
        ("paperswithcode", "90.1%"),
    ]


def test_links_to_code_are_gathered_by_paper_and_the_official_one_is_its_code(
    tmp_path: Path,
) -> None:
    row = {
        "paper_url": "https://paperswithcode.com/paper/forgetting-mixtures",
        "paper_title": "Forgetting Mixtures",
        "paper_arxiv_id": "2604.00001",
        "is_official": False,
    }
    rows = [
        {**row, "repo_url": "https://github.com/x/port"},
        {**row, "repo_url": "https://github.com/a/official", "is_official": True},
        {**row, "repo_url": "https://github.com/x/port"},
        {**row, "repo_url": None},
    ]
    refused, record = items(tmp_path, "paperswithcode", json.dumps(rows))
    assert refused == Rejected("item 4", "repo_url is null; it must be a web address")
    assert isinstance(record, PaperRecord)
    assert record.code_url == "https://github.com/a/official"
    assert record.links == ("https://github.com/x/port", "https://github.com/a/official")
    assert (record.source_key, record.identifiers) == (
        "forgetting-mixtures",
        {"arxiv": "2604.00001"},
    )


def test_a_paper_of_the_dump_has_its_tasks_and_methods_as_keywords(tmp_path: Path) -> None:
    row = {
        "paper_url": "https://paperswithcode.com/paper/forgetting-mixtures",
        "arxiv_id": None,
        "openreview_id": "aBc-_1",
        "title": "Forgetting Mixtures",
        "abstract": None,
        "short_abstract": "Short.",
        "authors": ["Ann Lee"],
        "tasks": ["Recall"],
        "methods": [{"name": "Rehearsal", "full_name": None}, {"name": None}],
        "date": "2026-04-01",
        "proceeding": None,
        "conference": "ICLR 2026",
    }
    record = one(items(tmp_path, "paperswithcode", json.dumps([row])))
    assert (record.keywords, record.abstract, record.venue) == (
        ("Recall", "Rehearsal"),
        "Short.",
        "ICLR 2026",
    )
    assert record.identifiers == {"openreview": "aBc-_1"}


# --- OpenAlex and Semantic Scholar


def test_an_abstract_is_put_together_from_the_places_of_its_words(tmp_path: Path) -> None:
    work = {
        "id": "https://openalex.org/W1",
        "doi": "https://doi.org/10.48550/arXiv.2604.00001",
        "title": "Forgetting Mixtures",
        "abstract_inverted_index": {"is": [1, 4], "This": [0], "what": [3], "it": [5], "so,": [2]},
        "authorships": [
            {"author": {"display_name": "Ann Lee"}, "institutions": [{"display_name": "Deep Lab"}]},
            {"author": {"display_name": None}, "raw_author_name": "Bo Xu", "institutions": []},
        ],
        "publication_date": "2026-04-01",
        "is_retracted": True,
        "type": "preprint",
        "primary_location": None,
    }
    bad = {**work, "abstract_inverted_index": {"one": "0"}}
    pages = {"meta": {}, "results": [work, bad, {**work, "abstract_inverted_index": None}]}
    first, second, third = items(tmp_path, "openalex", json.dumps(pages))
    assert isinstance(first, PaperRecord)
    assert first.abstract == "This is so, what is it"
    assert (first.authors, first.organisation) == (("Ann Lee", "Bo Xu"), "Deep Lab")
    assert first.identifiers == {"arxiv": "2604.00001", "openalex": "W1"}
    assert first.withdrawn is True
    assert second == Rejected("item 1, result 2", 'abstract_inverted_index has no places of "one"')
    assert isinstance(third, PaperRecord)
    assert third.abstract == ""


def test_an_answer_about_many_ids_names_those_that_are_unknown(tmp_path: Path) -> None:
    paper = {
        "paperId": "p1",
        "corpusId": 7,
        "externalIds": {"ArXiv": "2604.00001", "DOI": "10.1000/X", "ACL": "2022.acl-long.1"},
        "title": "Forgetting Mixtures",
        "year": 2026,
        "publicationDate": None,
        "authors": [{"authorId": "1", "name": "Ann Lee"}],
        "openAccessPdf": {"url": ""},
    }
    known, unknown = items(tmp_path, "semantic-scholar", json.dumps([paper, None]))
    assert isinstance(known, PaperRecord)
    assert known.identifiers == {
        "arxiv": "2604.00001",
        "doi": "10.1000/x",
        "acl": "2022.acl-long.1",
        "s2": "p1",
    }
    assert (known.published, known.pdf_url) == (date(2026, 1, 1), None)
    assert unknown == Rejected("item 2", "null: an id that Semantic Scholar does not know")


def test_an_error_of_semantic_scholar_is_no_paper(tmp_path: Path) -> None:
    (refused,) = items(tmp_path, "semantic-scholar", '{"message": "Too Many Requests"}')
    assert refused == Rejected("item 1", "an error: Too Many Requests")


# --- bibliographies and the snapshot

BIB = r"""
@string{acl = "Annual Meeting of the {ACL}"}
@inproceedings{lee2026,
  title = {{F}orgetting {\'e}tudes}, author = {Lee, Ann and {Deep Lab} and Xu, Jr, Bo and others},
  booktitle = acl, year = 2026, month = apr, doi = {10.1000/x}}
@article{lee2026, title = "Another under that key", journal = {arXiv preprint arXiv:2502.08923},
  year = {2025}}
@book{no, title = {A book is no paper}}
@article{bad, title = {No such day}, date = {2025-02-30}}
@article{broken, title = {Never closed
"""


def test_a_bibliography_is_read_with_accents_strings_months_and_double_keys(
    tmp_path: Path,
) -> None:
    found = items(tmp_path, "bibtex", BIB, "list.bib")
    first, second = (item for item in found if isinstance(item, PaperRecord))
    assert first.title == "Forgetting études"
    assert first.authors == ("Ann Lee", "Deep Lab", "Bo Xu Jr")
    assert (first.venue, first.published) == ("Annual Meeting of the ACL", date(2026, 4, 1))
    assert first.identifiers == {"doi": "10.1000/x"}
    assert (second.identifiers, second.venue) == ({"arxiv": "2502.08923"}, None)
    reasons = [item.reason for item in found if isinstance(item, Rejected)]
    assert reasons[0] == "date is 2025-02-30; there is no such day"
    assert len(reasons) == 2
    assert "not BibTeX" in reasons[1]


def test_a_row_of_the_snapshot_is_read(tmp_path: Path) -> None:
    row = {
        "id": "math.GT/0309136",
        "authors": "Ann Lee and Bo Xu",
        "authors_parsed": [["Lee", "Ann", ""], ["Xu", "Bo", "Jr"]],
        "title": "Knots\n  and more",
        "comments": "This paper has been withdrawn due to an error",
        "journal-ref": "J. Knots 3 (2004)",
        "doi": "10.1000/Knots.",
        "categories": "math.GT cs.CG",
        "abstract": "  We tie.\n",
        "versions": [{"version": "v1", "created": "Mon, 8 Sep 2003 19:18:42 GMT"}],
        "update_date": "2009-11-30",
    }
    record = one(items(tmp_path, "arxiv-snapshot", json.dumps(row), "rows.jsonl"))
    assert record == PaperRecord(
        source="arxiv",
        source_key="math/0309136",
        title="Knots\n  and more",
        abstract="We tie.",
        authors=("Ann Lee", "Bo Xu Jr"),
        published=date(2003, 9, 8),
        categories=("math.GT", "cs.CG"),
        comment="This paper has been withdrawn due to an error",
        venue="J. Knots 3 (2004)",
        withdrawn=True,
        identifiers={"arxiv": "math/0309136", "doi": "10.1000/knots"},
    )
