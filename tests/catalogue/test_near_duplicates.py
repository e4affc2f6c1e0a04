"""One paper from two sources, known by its abstract alone: real papers, edited as versions are."""

import csv
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from paperround.catalogue.actions import import_records
from paperround.catalogue.identity import bands_of, same_abstract
from paperround.catalogue.queries import count_papers, paper_by_key
from paperround.catalogue.records import PaperDetail, PaperRecord
from paperround.catalogue.sources import hf_page
from paperround.catalogue.tables import BandTable
from paperround.db import read

DATA = Path(__file__).with_name("data")
ITEMS = hf_page.read_page(
    (DATA / "daily-papers-search.txt").read_text(encoding="utf-8"), today=date(2026, 4, 13)
)
PAGE = [item for item in ITEMS if isinstance(item, PaperRecord)]
with (DATA / "daily-papers-search.tsv").open(encoding="utf-8", newline="") as file:
    ARXIV = {
        row["title"]: row["arxiv"]
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    }


def as_arxiv_has_it(record: PaperRecord) -> PaperRecord:
    """The paper under its arXiv id, with another title, and its abstract as an author revises it.

    The signs of LaTeX are there that the page has lost, lines are broken, a word is exchanged, and
    a sentence about the code is added.
    """
    abstract = re.sub(r"(\d)times", r"$\1\\times$", record.abstract)
    abstract = abstract.replace("%", r"\%").replace(" novel ", " new ").replace(" show ", " find ")
    words = f"{abstract} Our code is public.".split()
    lines = [" ".join(words[i : i + 14]) for i in range(0, len(words), 14)]
    arxiv = ARXIV[record.title]
    return PaperRecord(
        source="arxiv",
        source_key=arxiv,
        title=f"Revisited: {record.title.rpartition(':')[2].strip()}",
        abstract="\n".join(lines),
        authors=("Ann Lee",),
        identifiers={"arxiv": arxiv},
    )


REVISED = [as_arxiv_has_it(record) for record in PAGE]


def detail(engine: Engine, key: str) -> PaperDetail | None:
    with read(engine) as connection:
        return paper_by_key(connection, key)


def count(engine: Engine) -> int:
    with read(engine) as connection:
        return count_papers(connection)


def right_and_wrong(engine: Engine) -> tuple[int, int]:
    """How many papers stand under both their sources, and how many under a stranger's."""
    right = wrong = 0
    for record in PAGE:
        found = detail(engine, ARXIV[record.title])
        assert found is not None
        names = {key for source, key in found.sources if source == "hf-page"}
        right += names == {record.source_key}
        wrong += bool(names - {record.source_key})
    return right, wrong


@pytest.mark.parametrize("first", ["page", "arXiv"])
def test_revised_abstracts_are_met_whichever_source_comes_first(engine: Engine, first: str) -> None:
    sources = (PAGE, REVISED) if first == "page" else (REVISED, PAGE)
    import_records(engine, sources[0])
    done = import_records(engine, sources[1])
    right, wrong = right_and_wrong(engine)
    # The bands let one pair in fifteen of similarity 0.9 pass by; none may be taken for another.
    assert wrong == 0
    assert right >= 44
    assert (done.merged, done.added) == (right, 47 - right)
    assert count(engine) == 94 - right


def test_a_paper_that_is_met_by_its_abstract_keeps_what_both_say(engine: Engine) -> None:
    record = next(record for record in PAGE if record.title.startswith("DeepCache"))
    import_records(engine, [record])
    import_records(engine, [as_arxiv_has_it(record)])
    found = detail(engine, "2312.00858")
    assert found is not None
    assert found.paper.title.startswith("Revisited:")
    assert found.paper.authors == ("Ann Lee",)
    assert (found.paper.published, found.paper.comments) == (date(2023, 12, 1), 1)
    assert found.paper.code_url == "https://github.com/horseee/DeepCache"
    assert count(engine) == 1


def test_an_abstract_that_shares_its_half_is_another_papers(engine: Engine) -> None:
    one, other = PAGE[1], PAGE[15]
    half = one.abstract[: len(one.abstract) // 2] + other.abstract[len(other.abstract) // 2 :]
    assert not same_abstract(half, one.abstract)
    mixed = replace(REVISED[1], abstract=half)
    assert import_records(engine, [one, other, mixed]).added == 3


def test_a_short_abstract_says_nothing(engine: Engine) -> None:
    assert bands_of(["To appear at ICLR.", ""]) == [[], []]
    withdrawn = "This paper has been withdrawn by the authors."
    records = [replace(PAGE[0], abstract=withdrawn), replace(REVISED[1], abstract=withdrawn)]
    assert import_records(engine, records).added == 2


def banded(engine: Engine) -> int:
    with read(engine) as connection:
        return connection.scalar(select(func.count(BandTable.paper_id.distinct()))) or 0


def test_bands_are_made_when_a_paper_without_an_id_first_needs_them(engine: Engine) -> None:
    import_records(engine, REVISED[:40])
    assert banded(engine) == 0
    import_records(engine, [PAGE[46]])
    assert banded(engine) == 41
    # From then on every paper has them, as its abstract is now.
    import_records(engine, REVISED[40:46])
    assert banded(engine) == 47
    changed = replace(REVISED[0], abstract=PAGE[15].abstract)
    import_records(engine, [changed])
    assert banded(engine) == 47
    with read(engine) as connection:
        keys = set(connection.scalars(select(BandTable.key).where(BandTable.paper_id == 1)))
    assert keys == set(bands_of([PAGE[15].abstract])[0])


def in_small_batches(records: list[PaperRecord]) -> Iterator[list[PaperRecord]]:
    for start in range(0, len(records), 5):
        yield records[start : start + 5]


def test_meeting_inside_a_batch_and_across_batches_is_the_same(engine: Engine) -> None:
    mixed = [record for pair in zip(PAGE, REVISED, strict=True) for record in pair]
    at_once = import_records(engine, mixed)
    assert at_once.merged >= 44
    for batch in in_small_batches(mixed):
        again = import_records(engine, batch)
        assert (again.added, again.updated, again.merged) == (0, 0, 0)
