"""A merge can be looked at, and undone for good."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, select

from paperround.catalogue.actions import import_records, split_paper
from paperround.catalogue.checking import check_catalogue
from paperround.catalogue.identity import address_key
from paperround.catalogue.provenance import provenance_of
from paperround.catalogue.queries import paper_by_key, reported_of
from paperround.catalogue.records import (
    Paper,
    PaperRecord,
    Provenance,
    Removed,
    Reported,
    ReportedResult,
)
from paperround.catalogue.statements import difference, said_by, with_difference
from paperround.catalogue.tables import PaperTable, SequenceTable
from paperround.db import connect, migrate, read, write
from paperround.errors import NotFoundError, UsageError

ARXIV = PaperRecord(
    source="arxiv",
    source_key="2604.00001",
    title="Forgetting Mixtures",
    abstract="We study how a model forgets. Code: https://github.com/a/forgets.",
    authors=("Ann Lee", "Bo Xu"),
    categories=("cs.LG",),
    listed=date(2026, 4, 2),
    identifiers={"arxiv": "2604.00001"},
)
PAGE = PaperRecord(
    source="hf-daily",
    source_key="x",
    title="Forgetting mixtures",
    abstract="We study.",
    authors=("Ann Lee",),
    organisation="Deep Lab",
    votes=7,
    listed=date(2026, 4, 1),
    project_url="https://a.org",
    results=(ReportedResult("Recall", "CIFAR", "accuracy", "81.2"),),
)


def paper(engine: Engine, key: str) -> Paper:
    with read(engine) as connection:
        found = paper_by_key(connection, key)
    assert found is not None
    return found.paper


def provenance(engine: Engine, key: str) -> Provenance:
    with read(engine) as connection:
        return provenance_of(connection, key)


def reported(engine: Engine, key: str) -> list[Reported]:
    found = paper(engine, key)
    with read(engine) as connection:
        return reported_of(connection, found.id)


def test_each_fact_of_a_paper_says_which_source_gave_it(engine: Engine) -> None:
    import_records(engine, [ARXIV, PAGE])
    found = provenance(engine, "2604.00001")
    assert [(said.source, said.met_by) for said in found.said] == [
        ("arxiv", "first"),
        ("hf-daily", "title"),
    ]
    arxiv, page = ("arxiv", "2604.00001"), ("hf-daily", "x")
    assert found.taken_from["title"] == found.taken_from["authors"] == arxiv
    assert found.taken_from["organisation"] == found.taken_from["votes"] == page
    # Listed by the page a day before arXiv has it.
    assert found.taken_from["listed"] == page
    # What is not shown is known all the same.
    assert found.said[1].values["abstract"] == "We study."
    assert found.said[1].values["authors"] == ["Ann Lee"]


def test_a_split_gives_each_source_its_own_paper_again(engine: Engine) -> None:
    import_records(engine, [ARXIV])
    alone = paper(engine, "2604.00001")
    import_records(engine, [PAGE])
    assert paper(engine, "2604.00001").organisation == "Deep Lab"
    new = split_paper(engine, "2604.00001", "hf-daily", "x")
    assert paper(engine, "2604.00001") == alone
    other = paper(engine, new)
    assert (other.title, other.abstract, other.authors) == (PAGE.title, "We study.", ("Ann Lee",))
    assert (other.organisation, other.votes, other.listed) == ("Deep Lab", 7, date(2026, 4, 1))
    assert reported(engine, "2604.00001") == []
    assert [row.result.value for row in reported(engine, new)] == ["81.2"]
    assert provenance(engine, new).said[0].met_by == "a person"
    assert check_catalogue(engine) == []


def test_what_was_split_stays_apart_however_often_it_comes_in(engine: Engine) -> None:
    import_records(engine, [ARXIV, PAGE])
    new = split_paper(engine, "2604.00001", "hf-daily", "x")
    # Even a source that says now that they are one does not win over a person.
    again = [
        replace(ARXIV, comment="v2"),
        replace(PAGE, votes=9, identifiers={"arxiv": "2604.00001"}),
    ]
    for records in (again, reversed(again)):
        done = import_records(engine, records)
        assert done.added == 0
    assert paper(engine, new).votes == 9
    assert paper(engine, "2604.00001").organisation is None
    assert paper(engine, "2604.00001").comment == "v2"


def test_an_address_from_before_the_merge_comes_back(engine: Engine) -> None:
    import_records(engine, [PAGE])
    (old,) = (said.source_key for said in provenance(engine, "forgetting-mixtures-" + key()).said)
    assert old == "x"
    import_records(engine, [ARXIV])
    address = "forgetting-mixtures-" + key()
    assert paper(engine, address).key == "2604.00001"
    assert split_paper(engine, "2604.00001", "hf-daily", "x") == address
    assert paper(engine, address).key == address


def test_an_address_goes_along_when_the_title_has_changed_since(engine: Engine) -> None:
    import_records(engine, [PAGE])
    address = "forgetting-mixtures-" + key()
    import_records(engine, [ARXIV])
    import_records(engine, [replace(PAGE, title="Remembering mixtures")])
    new = split_paper(engine, "2604.00001", "hf-daily", "x")
    assert new.startswith("remembering-mixtures-")
    # Whoever kept the first address meant this paper: arXiv's never had it.
    assert paper(engine, address).key == new
    assert paper(engine, "2604.00001").title == ARXIV.title
    assert check_catalogue(engine) == []


def test_an_address_stays_where_it_may_belong_to_what_stays(engine: Engine) -> None:
    other = replace(PAGE, source="openreview", source_key="f")
    import_records(engine, [PAGE, other, ARXIV])
    address = "forgetting-mixtures-" + key()
    import_records(engine, [replace(PAGE, title="Remembering mixtures")])
    split_paper(engine, "2604.00001", "hf-daily", "x")
    assert paper(engine, address).key == "2604.00001"


def key() -> str:
    return address_key(PAGE.title).rpartition("-")[2]


def test_the_source_with_the_arxiv_id_takes_the_id_and_its_address_along(engine: Engine) -> None:
    import_records(engine, [PAGE, ARXIV])
    assert split_paper(engine, "2604.00001", "arxiv", "2604.00001") == "2604.00001"
    assert paper(engine, "2604.00001").abstract == ARXIV.abstract
    assert paper(engine, "forgetting-mixtures-" + key()).abstract == "We study."


def test_what_cannot_be_split_is_said(engine: Engine) -> None:
    import_records(engine, [ARXIV])
    with pytest.raises(UsageError, match="one source"):
        split_paper(engine, "2604.00001", "arxiv", "2604.00001")
    with pytest.raises(NotFoundError, match=r"its sources: arxiv 2604\.00001"):
        split_paper(engine, "2604.00001", "hf-daily", "x")
    with pytest.raises(NotFoundError):
        split_paper(engine, "2604.00009", "arxiv", "2604.00009")
    with read(engine) as connection, pytest.raises(NotFoundError):
        provenance_of(connection, "2604.00009")


def test_a_later_value_of_a_leaderboard_replaces_the_earlier(engine: Engine) -> None:
    import_records(engine, [PAGE])
    later = replace(PAGE.results[0], value="82.0")
    other = ReportedResult("Recall", "CIFAR", "accuracy", "79.9", model="small")
    done = import_records(engine, [replace(PAGE, results=(later, other))])
    assert done.updated == 1
    rows = reported(engine, "forgetting-mixtures-" + key())
    assert [(row.source, row.result) for row in rows] == [("hf-daily", later), ("hf-daily", other)]


def test_a_paper_that_its_source_takes_back_is_marked_until_the_source_has_it_again(
    engine: Engine,
) -> None:
    import_records(engine, [ARXIV])
    gone = [Removed("arxiv", "2604.00001"), Removed("arxiv", "2604.00002")]
    assert import_records(engine, gone).updated == 1
    assert paper(engine, "2604.00001").withdrawn
    assert import_records(engine, gone).updated == 0
    assert import_records(engine, [replace(ARXIV, withdrawn=False)]).updated == 1
    assert not paper(engine, "2604.00001").withdrawn


def test_links_of_all_sources_and_of_the_abstract_are_the_papers(engine: Engine) -> None:
    models = "Weights: huggingface.co/a/model and https://huggingface.co/datasets/a/data."
    records = [
        replace(ARXIV, comment=models),
        replace(PAGE, links=("https://github.com/b/port",)),
    ]
    import_records(engine, records)
    found = paper(engine, "2604.00001")
    assert found.code_url == "https://github.com/a/forgets"
    assert found.links == (
        "https://github.com/b/port",
        "https://huggingface.co/a/model",
        "https://huggingface.co/datasets/a/data",
    )


SAID = st.builds(
    lambda title, abstract, authors, votes, listed, withdrawn, links, comment: PaperRecord(
        "s",
        "1",
        title,
        abstract=abstract,
        authors=authors,
        votes=votes,
        listed=listed,
        withdrawn=withdrawn,
        links=links,
        comment=comment,
    ),
    st.sampled_from(["A", "B"]),
    st.sampled_from(["", "Text."]),
    st.sampled_from([(), ("Ann Lee",)]),
    st.none() | st.integers(0, 2),
    st.none() | st.dates(date(2000, 1, 1), date(2030, 1, 1)),
    st.none() | st.booleans(),
    st.sampled_from([(), ("https://github.com/a/b",)]),
    st.none() | st.just("c"),
)


@given(SAID, SAID)
def test_what_was_said_is_what_it_differs_in_from_any_paper(
    one: PaperRecord, other: PaperRecord
) -> None:
    said, values = said_by(one), said_by(other)
    # In a paper, unknown counts are none.
    shown = {**values, "votes": values["votes"] or 0, "comments": 0}
    shown["withdrawn"] = bool(values["withdrawn"])
    assert with_difference(difference(said, shown), shown) == said


MERGED = connect("sqlite://")
migrate(MERGED)


@given(st.permutations(range(4)), st.booleans())
@settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=24)
def test_split_and_merged_are_the_same_in_any_order(order: list[int], identified: bool) -> None:
    with write(MERGED) as connection:
        connection.execute(delete(PaperTable))
        connection.execute(delete(SequenceTable))
    identifiers = {"doi": "10.1000/x"} if identified else {}
    sources = [
        ARXIV,
        PAGE,
        replace(PAGE, source="openreview", source_key="f", venue="ICLR 2026", votes=None),
        replace(PAGE, source="bibtex", source_key="title:f", identifiers=identifiers, votes=None),
    ]
    import_records(MERGED, [sources[i] for i in order])
    with read(MERGED) as connection:
        assert len(list(connection.scalars(select(PaperTable.id)))) == 1
    before = paper(MERGED, "2604.00001")
    assert before.abstract == ARXIV.abstract if not identified else before.abstract
    new = split_paper(MERGED, "2604.00001", "openreview", "f")
    assert paper(MERGED, new).venue == "ICLR 2026"
    assert paper(MERGED, "2604.00001").venue is None
    assert check_catalogue(MERGED) == []
