"""Titles and abstracts that many papers have: they join nothing, and cost no more than others."""

from collections import Counter
from dataclasses import replace

import pytest
from sqlalchemy import Engine, select

from paperround.catalogue import merging
from paperround.catalogue.actions import import_records
from paperround.catalogue.records import PaperRecord
from paperround.catalogue.tables import PaperTable
from paperround.db import read

FORM = (
    "The proceedings of this meeting have contributions on many subjects, in order of names. " * 4
)


def paper(i: int, *, source: str = "openreview", **fields: str) -> PaperRecord:
    words = " ".join(f"w{i * 31 + n * n}" for n in range(60))
    record = PaperRecord(
        source=source,
        source_key=f"{source}-{i}",
        title=f"On subject {words[:30]}",
        abstract=words,
        authors=(f"Ann Number{i}",),
    )
    return replace(record, **fields)


def keys(engine: Engine) -> list[str]:
    with read(engine) as connection:
        return list(connection.scalars(select(PaperTable.key).order_by(PaperTable.id)))


@pytest.mark.parametrize("form", [{"abstract": FORM}, {"title": "Editorial"}])
def test_what_many_papers_have_joins_none_of_them(engine: Engine, form: dict[str, str]) -> None:
    n = 3 * merging._CROWD
    ours = [paper(i, **form) for i in range(n)]
    import_records(engine, ours)
    # By nobody's name: only the form could join these with any of the above.
    theirs = [replace(paper(n + i, source="acl", **form), authors=()) for i in range(5)]
    done = import_records(engine, theirs)
    assert done.added == len(theirs)
    assert len(keys(engine)) == len(ours) + len(theirs)


@pytest.mark.parametrize("form", [{"abstract": FORM}, {"title": "Editorial"}])
def test_a_paper_among_many_alike_is_still_found_by_what_is_its_own(
    engine: Engine, form: dict[str, str]
) -> None:
    n = 3 * merging._CROWD
    import_records(engine, [paper(i, **form) for i in range(n)])
    again = [replace(paper(i, **form), source="acl", source_key=f"acl-{i}") for i in range(n)]
    # Title and authors, or the abstract, are the same.
    assert import_records(engine, again).merged == n


def test_few_papers_alike_are_still_joined(engine: Engine) -> None:
    ours = [paper(i, title=f"Own title {chr(97 + i)}") for i in range(merging._CROWD // 2)]
    import_records(engine, ours)
    theirs = [
        replace(record, source="acl", source_key=f"acl-{i}", title=f"Another {i}", authors=())
        for i, record in enumerate(ours)
    ]
    assert import_records(engine, theirs).merged == len(theirs)


@pytest.mark.parametrize("form", [{"abstract": FORM}, {"title": "Editorial"}])
def test_batches_do_not_change_what_a_crowd_becomes(
    engine: Engine, form: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: Counter[str] = Counter()
    for name in ("same_abstract", "_could_be_one"):
        real = getattr(merging, name)

        def count(*texts: object, real: object = real, name: str = name) -> object:
            compared[name] += 1
            return real(*texts)  # type: ignore[operator]

        monkeypatch.setattr(merging, name, count)
    n = 2_500
    records = [paper(i, **form) for i in range(n)]
    assert import_records(engine, records).added == n
    # Each with the first of the crowd at most: not all with all.
    assert sum(compared.values()) <= 2 * n * merging._CROWD


def test_papers_of_one_title_have_addresses_with_numbers_in_order(engine: Engine) -> None:
    n = 30
    import_records(engine, [paper(i, title="Editorial") for i in range(n)])
    import_records(engine, [paper(n + i, title="Editorial") for i in range(n)])
    first, *others = keys(engine)
    assert others == [f"{first}-{i}" for i in range(2, 2 * n + 1)]
