from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select

from paperround.catalogue.actions import BATCH, import_records
from paperround.catalogue.queries import count_papers, paper_by_key, papers_by_id, papers_by_key
from paperround.catalogue.records import Imported, Paper, PaperDetail, PaperRecord, Rejected
from paperround.catalogue.sources import hf_page
from paperround.catalogue.tables import (
    AppearanceTable,
    ChangeTable,
    IdentifierTable,
    PaperTable,
    SequenceTable,
)
from paperround.db import connect, migrate, read, write

PAGE = Path(__file__).with_name("data") / "daily-papers-search.txt"
ABSTRACT = (
    "We study how a model that is trained on a mixture of sources forgets, and measure on six "
    "benchmarks how much of the loss a small buffer of old examples wins back. The buffer of one "
    "percent suffices in four of them, and in the others the order of the sources decides."
)
OTHER_ABSTRACT = (
    "Bridges age. A camera on a drone sees cracks of a tenth of a millimetre when the light comes "
    "from the side; we describe the lamp, the flight path and the detector, and compare with what "
    "three inspectors found on foot. They miss one crack in five, the drone one in nine."
)


def from_arxiv(number: int = 1, **fields: object) -> PaperRecord:
    arxiv = f"2604.{number:05}"
    record = PaperRecord(
        source="arxiv",
        source_key=arxiv,
        title="Forgetting Mixtures",
        abstract=ABSTRACT,
        authors=("Ann Lee", "Bo Xu"),
        listed=date(2026, 4, 2),
        categories=("cs.LG",),
        identifiers={"arxiv": arxiv},
    )
    return replace(record, **fields)


def from_page(**fields: object) -> PaperRecord:
    record = PaperRecord(
        source="hf-page",
        source_key="title:forgetting-mixtures",
        title="Forgetting mixtures",
        abstract=ABSTRACT,
        author_count=2,
        organisation="Deep Lab",
        published=date(2026, 4, 1),
        comments=3,
    )
    return replace(record, **fields)


def counts(done: Imported) -> tuple[int, int, int, int, int]:
    return done.read, done.added, done.updated, done.merged, done.rejected


def all_papers(engine: Engine) -> list[Paper]:
    with read(engine) as connection:
        ids = list(connection.scalars(select(PaperTable.id).order_by(PaperTable.id)))
        return papers_by_id(connection, ids)  # type: ignore[arg-type]


def the_paper(engine: Engine, key: str | None = None) -> PaperDetail:
    with read(engine) as connection:
        key = key or connection.scalar(select(PaperTable.key))
        found = paper_by_key(connection, key or "")
    assert found is not None
    return found


@cache
def database(number: int) -> Engine:
    """A database in memory, for tests of many cases: making one takes longer than they do."""
    engine = connect("sqlite://")
    migrate(engine)
    return engine


def emptied(number: int = 0) -> Engine:
    engine = database(number)
    with write(engine) as connection:
        connection.execute(delete(PaperTable))
        # Numbers are never given twice, unless one forgets which were.
        connection.execute(delete(SequenceTable))
    return engine


def test_the_page_of_47_goes_in_once(engine: Engine) -> None:
    items = list(hf_page.read([str(PAGE), "2026-04-13"]))
    assert counts(import_records(engine, items)) == (47, 47, 0, 0, 0)
    assert counts(import_records(engine, items)) == (47, 0, 0, 0, 0)
    assert len(all_papers(engine)) == 47


def test_an_import_tells_of_every_item_and_of_its_progress(engine: Engine) -> None:
    heard: list[int] = []
    records = [from_arxiv(n, title=f"Paper {n}", abstract="") for n in range(BATCH + 10)]
    items = [*records[:3], Rejected("line 4", "no title"), *records[3:], from_arxiv(9, title="")]
    done = import_records(engine, items, on_progress=heard.append)
    assert counts(done) == (BATCH + 12, BATCH + 10, 0, 0, 2)
    assert done.rejections == (
        Rejected("line 4", "no title"),
        Rejected("arxiv 2604.00009", "no title"),
    )
    assert heard == [BATCH, BATCH + 12]


def test_a_change_in_a_source_changes_the_paper_and_nothing_else(engine: Engine) -> None:
    earlier, later = datetime(2026, 4, 2, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    both = [from_arxiv(1), from_arxiv(2, title="Cracks", abstract=OTHER_ABSTRACT)]
    import_records(engine, both, now=lambda: earlier)
    changed = [replace(both[0], abstract=ABSTRACT + " It is so.", comment="v2"), both[1]]
    assert counts(import_records(engine, changed, now=lambda: later)) == (2, 0, 1, 0, 0)
    with read(engine) as connection:
        stamps = connection.execute(
            select(PaperTable.added_at, PaperTable.updated_at).order_by(PaperTable.id)
        ).all()
    assert [tuple(row) for row in stamps] == [(earlier, later), (earlier, earlier)]
    assert the_paper(engine, "2604.00001").paper.abstract_text.endswith("It is so.")


@pytest.mark.parametrize("order", ["page first", "arXiv first", "in one batch"])
def test_a_paper_from_two_sources_is_one_record(engine: Engine, order: str) -> None:
    page, arxiv = from_page(), from_arxiv()
    if order == "in one batch":
        assert counts(import_records(engine, [page, arxiv])) == (2, 1, 0, 1, 0)
    else:
        first, second = (page, arxiv) if order == "page first" else (arxiv, page)
        assert counts(import_records(engine, [first])) == (1, 1, 0, 0, 0)
        assert counts(import_records(engine, [second])) == (1, 0, 0, 1, 0)
    detail = the_paper(engine, "2604.00001")
    paper = detail.paper
    assert count_of(engine) == 1
    # What identifies the paper says what it is called and who wrote it; the page adds the rest.
    assert (paper.title, paper.authors, paper.author_count) == (
        "Forgetting Mixtures",
        ("Ann Lee", "Bo Xu"),
        2,
    )
    assert (paper.organisation, paper.comments, paper.published) == (
        "Deep Lab",
        3,
        date(2026, 4, 1),
    )
    assert (paper.listed, paper.day) == (date(2026, 4, 2), date(2026, 4, 2))
    assert paper.pdf_url == "https://arxiv.org/pdf/2604.00001"
    assert detail.identifiers == (("arxiv", "2604.00001"),)
    assert sorted(detail.sources) == [
        ("arxiv", "2604.00001"),
        ("hf-page", "title:forgetting-mixtures"),
    ]
    # Both again change nothing.
    assert counts(import_records(engine, [page, arxiv])) == (2, 0, 0, 0, 0)


def count_of(engine: Engine) -> int:
    with read(engine) as connection:
        return count_papers(connection)


def test_an_address_that_was_given_keeps_working(engine: Engine) -> None:
    import_records(engine, [from_page()])
    old = the_paper(engine).paper.key
    assert old.startswith("forgetting-mixtures-")
    import_records(engine, [from_arxiv()])
    assert the_paper(engine, old).paper.key == "2604.00001"
    for spelling in ("2604.00001v3", "arXiv:2604.00001", "https://arxiv.org/abs/2604.00001"):
        assert the_paper(engine, spelling).paper.key == "2604.00001"
    with read(engine) as connection:
        assert paper_by_key(connection, "2604.00002") is None
        assert paper_by_key(connection, "") is None


def test_old_arxiv_ids_have_an_address_without_a_slash(engine: Engine) -> None:
    record = from_arxiv(source_key="cs/0610046", identifiers={"arxiv": "cs.DS/0610046v1"})
    import_records(engine, [record])
    paper = the_paper(engine, "cs-0610046").paper
    assert paper.pdf_url == "https://arxiv.org/pdf/cs/0610046"
    assert the_paper(engine, "cs/0610046").paper == paper


def test_two_arxiv_ids_are_two_papers_whatever_they_share(engine: Engine) -> None:
    import_records(engine, [from_arxiv(1)])
    assert counts(import_records(engine, [from_arxiv(2)])) == (1, 1, 0, 0, 0)
    # Nor does a source's own name join them.
    moved = from_arxiv(3, source_key="2604.00001")
    assert counts(import_records(engine, [moved])) == (1, 1, 0, 0, 0)
    assert [paper.key for paper in all_papers(engine)] == [f"2604.0000{n}" for n in (1, 2, 3)]
    assert the_paper(engine, "2604.00003").sources == (("arxiv", "2604.00001"),)


def test_one_title_of_two_authors_is_two_papers_with_two_addresses(engine: Engine) -> None:
    one = from_page(source="a", source_key="1", authors=("Ann Lee",), author_count=None)
    other = from_page(source="b", source_key="1", authors=("C. Diaz",), abstract=OTHER_ABSTRACT)
    third = replace(other, source="c", authors=("D. Evans",), abstract="")
    done = import_records(engine, [one, other])
    assert counts(done) == (2, 2, 0, 0, 0)
    import_records(engine, [third])
    first, second, last = (paper.key for paper in all_papers(engine))
    assert (second, last) == (f"{first}-2", f"{first}-3")


def test_a_source_is_trusted_to_know_its_own_papers_apart(engine: Engine) -> None:
    one = from_page(source="conference", source_key="17")
    done = import_records(engine, [one, replace(one, source_key="18")])
    assert counts(done) == (2, 2, 0, 0, 0)


@pytest.mark.parametrize("batches", ["one batch", "two imports"])
def test_one_id_with_contradicting_data_is_rejected_and_the_first_stays(
    engine: Engine, batches: str
) -> None:
    first = from_arxiv(place="line 1")
    other = from_arxiv(
        title="Cracks", authors=("C. Diaz",), abstract=OTHER_ABSTRACT, place="line 2"
    )
    third = from_arxiv(2, title="Bridges", abstract="", place="line 3")
    if batches == "one batch":
        done = import_records(engine, [first, other, third])
        assert counts(done) == (3, 2, 0, 0, 1)
    else:
        import_records(engine, [first])
        done = import_records(engine, [other, third])
        assert counts(done) == (2, 1, 0, 0, 1)
    (rejected,) = done.rejections
    assert rejected.place == "line 2"
    assert "another paper under that name" in rejected.reason
    assert the_paper(engine, "2604.00001").paper.title == "Forgetting Mixtures"
    # The same again changes nothing, and is rejected again.
    assert counts(import_records(engine, [first, other, third])) == (3, 0, 0, 0, 1)
    assert the_paper(engine, "2604.00001").paper.title == "Forgetting Mixtures"


@pytest.mark.parametrize(
    "changed",
    [
        {"title": "Cracks", "abstract": OTHER_ABSTRACT},
        {"title": "Cracks", "authors": ("C. Diaz",)},
        {"abstract": OTHER_ABSTRACT, "authors": ("C. Diaz",)},
        {"title": "Withdrawn", "abstract": "Withdrawn by the authors.", "authors": ("Lee, Ann",)},
        {"title": "Cracks", "abstract": "", "authors": ()},
    ],
)
def test_a_paper_may_change_all_but_something(engine: Engine, changed: dict[str, object]) -> None:
    import_records(engine, [from_arxiv()])
    assert import_records(engine, [from_arxiv(**changed)]).rejected == 0


def test_a_known_value_is_never_lost_to_an_unknown(engine: Engine) -> None:
    full = from_arxiv(
        comment="8 pages",
        venue="ICLR 2026",
        code_url="https://github.com/a/b",
        project_url="https://a.org",
        pdf_url="https://a.org/b.pdf",
        votes=7,
        comments=5,
        published=date(2026, 4, 1),
    )
    import_records(engine, [full])
    before = the_paper(engine).paper
    bare = PaperRecord("arxiv", "2604.00001", full.title, identifiers=full.identifiers)
    assert counts(import_records(engine, [bare])) == (1, 0, 0, 0, 0)
    assert the_paper(engine).paper == before


def test_counts_are_the_newest_and_the_listing_is_the_earliest(engine: Engine) -> None:
    import_records(engine, [from_arxiv(votes=7, comments=5, listed=date(2026, 4, 2))])
    import_records(engine, [from_arxiv(votes=4, comments=0, listed=date(2026, 5, 9))])
    paper = the_paper(engine).paper
    assert (paper.votes, paper.comments, paper.day) == (4, 0, date(2026, 4, 2))


def test_code_named_in_the_abstract_is_linked_unless_a_source_links_other(engine: Engine) -> None:
    abstract = f"{ABSTRACT} Code: https://github.com/a/found."
    import_records(engine, [from_arxiv(abstract=abstract)])
    assert the_paper(engine).paper.code_url == "https://github.com/a/found"
    import_records(engine, [from_arxiv(abstract=abstract, code_url="https://github.com/a/said")])
    assert the_paper(engine).paper.code_url == "https://github.com/a/said"


def test_two_papers_that_turn_out_to_be_one_become_one(engine: Engine) -> None:
    # A laboratory's list calls it otherwise, and arXiv has it under its id.
    ours = PaperRecord("our-lab", "17", "Our Memory Paper", abstract="", venue="ICLR 2026")
    import_records(engine, [ours, from_arxiv()])
    assert count_of(engine) == 2
    old = next(paper.key for paper in all_papers(engine) if paper.key != "2604.00001")
    found_out = replace(ours, identifiers={"arxiv": "2604.00001"}, title="Forgetting Mixtures")
    done = import_records(engine, [found_out])
    assert (done.added, done.rejected, count_of(engine)) == (0, 0, 1)
    detail = the_paper(engine, old)
    assert detail.paper.key == "2604.00001"
    assert detail.paper.venue == "ICLR 2026"
    assert sorted(detail.sources) == [("arxiv", "2604.00001"), ("our-lab", "17")]
    assert counts(import_records(engine, [found_out, from_arxiv()])) == (2, 0, 0, 0, 0)


def test_every_change_of_a_paper_gets_the_next_number(engine: Engine) -> None:
    def changes() -> dict[int, int]:
        with read(engine) as connection:
            rows = connection.exec_driver_sql("SELECT number, paper_id FROM paper_change")
            return {int(row[0]): int(row[1]) for row in rows}

    import_records(engine, [from_arxiv(1), from_arxiv(2, title="Cracks", abstract="")])
    first = changes()
    assert set(first.values()) == {1, 2}
    import_records(engine, [from_arxiv(1), from_arxiv(2, title="Cracks", abstract="")])
    assert changes() == first
    import_records(engine, [from_arxiv(1, title="Forgetting giraffes")])
    (newest,) = set(changes()) - set(first)
    assert newest > max(first)
    assert changes()[newest] == 1
    with write(engine) as connection:
        connection.exec_driver_sql("DELETE FROM paper WHERE id = 2")
    assert changes()[max(changes())] == 2


def test_papers_are_found_by_many_keys_and_ids_at_once(engine: Engine) -> None:
    n = 2_000
    import_records(engine, [from_arxiv(i, title=f"Paper {i}", abstract="") for i in range(n)])
    with read(engine) as connection:
        by_key = papers_by_key(connection, [f"2604.{i:05}" for i in range(n + 1)])
        assert len(by_key) == n
        ids = [by_key[f"2604.{i:05}"].id for i in reversed(range(n))]
        assert [paper.id for paper in papers_by_id(connection, ids)] == ids
        assert papers_by_id(connection, []) == []


TITLES = st.sampled_from(["Forgetting Mixtures", "Forgetting mixtures!", "Cracks", "Other"])
RECORDS = st.builds(
    lambda source, key, title, number, abstract, authors, votes: PaperRecord(
        source=source,
        source_key=key,
        title=title,
        abstract=abstract,
        authors=authors,
        votes=votes,
        identifiers={"arxiv": f"2604.0000{number}"} if number else {},
    ),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from(["1", "2", "title:3"]),
    TITLES,
    st.integers(0, 4),
    st.sampled_from(["", ABSTRACT, ABSTRACT + " Indeed.", OTHER_ABSTRACT]),
    st.sampled_from([(), ("Ann Lee",), ("Ann Lee", "Bo Xu"), ("C. Diaz",)]),
    st.none() | st.integers(0, 3),
)


def sound(engine: Engine) -> None:
    """What holds of every catalogue, whatever went in."""
    with read(engine) as connection:
        ids = set(connection.scalars(select(PaperTable.id)))
        named = list(connection.scalars(select(AppearanceTable.paper_id)))
        # A paper may be without: its source has given the name to another arXiv id since.
        assert set(named) <= ids
        arxiv = select(IdentifierTable.paper_id).where(IdentifierTable.scheme == "arxiv")
        held = list(connection.scalars(arxiv))
        assert len(held) == len(set(held))
        assert set(connection.scalars(select(IdentifierTable.paper_id))) <= ids
        # An index that follows the changes misses none.
        assert ids <= set(connection.scalars(select(ChangeTable.paper_id)))


@given(st.lists(RECORDS, max_size=12))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_records_leave_a_sound_catalogue(records: list[PaperRecord]) -> None:
    engine = emptied()
    done = import_records(engine, records)
    assert done.read == len(records)
    assert done.added >= count_of(engine)
    sound(engine)
    # Every record leads to a paper that is here, and arXiv ids to the paper of that id, but for
    # those whose source says under their name that they are another paper.
    contradicting = {rejected.place for rejected in done.rejections}
    for record in records:
        arxiv = record.identifiers.get("arxiv")
        if arxiv and f"{record.source} {record.source_key}" not in contradicting:
            assert the_paper(engine, arxiv).paper.key == arxiv


@given(st.lists(RECORDS, min_size=1, max_size=8, unique_by=lambda r: (r.source, r.source_key)))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_importing_one_by_one_or_at_once_finds_as_many_papers(records: list[PaperRecord]) -> None:
    at_once, one_by_one = emptied(0), emptied(1)
    import_records(at_once, records)
    for record in records:
        import_records(one_by_one, [record])
    assert all_papers(at_once) == all_papers(one_by_one)


def test_any_iterable_will_do_and_an_empty_one_does_nothing(engine: Engine) -> None:
    nothing: Iterable[PaperRecord] = iter(())
    assert counts(import_records(engine, nothing)) == (0, 0, 0, 0, 0)


def test_a_paper_that_was_removed_can_come_again(engine: Engine) -> None:
    import_records(engine, [from_arxiv()])
    with write(engine) as connection:
        connection.execute(delete(PaperTable))
    assert counts(import_records(engine, [from_arxiv()])) == (1, 1, 0, 0, 0)
    with read(engine) as connection:
        assert connection.scalar(select(func.count()).select_from(AppearanceTable)) == 1
