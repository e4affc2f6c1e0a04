"""Organisations: their keys, their papers, their order."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from paperround.catalogue.actions import import_records
from paperround.catalogue.identity import organisation_key
from paperround.catalogue.organisations import (
    organisation_by_key,
    organisations,
    papers_of_organisation,
)
from paperround.catalogue.records import PaperRecord
from paperround.db import read


def record(number: int, organisation: str | None, day: date | None = None) -> PaperRecord:
    key = f"2606.{number:05d}"
    return PaperRecord(
        source="jsonl",
        source_key=key,
        title=f"Paper {number}",
        organisation=organisation,
        listed=day,
        identifiers={"arxiv": key},
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("Google DeepMind", "google-deepmind"),
        ("  École   Polytechnique ", "ecole-polytechnique"),
        ("ECOLE POLYTECHNIQUE", "ecole-polytechnique"),
        ("AT&T Labs", "at-t-labs"),
        ("O'Reilly", "oreilly"),
        ("", None),
        (None, None),
        ("  ", None),
    ],
)
def test_the_key_is_the_words_of_the_name(name: str | None, key: str | None) -> None:
    assert organisation_key(name) == key


def test_names_without_ascii_and_long_ones_have_keys_of_their_own() -> None:
    keys = [organisation_key(name) for name in ("清华大学", "北京大学", "a" * 90, "a" * 91)]
    assert len(set(keys)) == 4
    assert all(key is not None and len(key) <= 80 for key in keys)


@given(st.text(max_size=120))
def test_any_name_has_a_key_that_stands_in_an_address(name: str) -> None:
    key = organisation_key(name)
    if key is not None:
        assert 1 <= len(key) <= 80
        assert key == key.lower()
        assert all(char.isascii() and (char.isalnum() or char == "-") for char in key)
        assert organisation_key(name.upper()) == organisation_key(name.upper())


def test_papers_are_found_under_the_key_the_newest_first(engine: Engine) -> None:
    days = [date(2026, 6, 1), None, date(2026, 6, 3), date(2026, 6, 3), None]
    names = ["the lab", "The Lab", "THE LAB", "The Lab", "The Lab"]
    pairs = enumerate(zip(names, days, strict=True))
    import_records(engine, [record(n, name, day) for n, (name, day) in pairs])
    with read(engine) as connection:
        found = organisation_by_key(connection, "the-lab")
        assert found is not None
        # As its newest paper writes it: of two of a day, the one that came last.
        assert (found.name, found.n_papers, found.latest) == ("The Lab", 5, date(2026, 6, 3))
        shown, after = [], None
        while page := papers_of_organisation(connection, "the-lab", after, 2):
            shown += [paper.key for paper in page]
            after = page[-1].day, page[-1].id
        assert organisation_by_key(connection, "the") is None
    assert shown == ["2606.00003", "2606.00002", "2606.00000", "2606.00004", "2606.00001"]


def test_the_list_goes_by_size_or_by_name_and_shows_each_once(engine: Engine) -> None:
    sizes = {"Aa": 1, "Bb": 3, "Cc": 2, "Dd": 3, "Ee": 1}
    names = [name for name, size in sizes.items() for _ in range(size)]
    import_records(engine, [record(n, name) for n, name in enumerate([*names, None])])
    with read(engine) as connection:
        for order, expected in (
            ("size", ["Bb", "Dd", "Cc", "Aa", "Ee"]),
            ("name", ["Aa", "Bb", "Cc", "Dd", "Ee"]),
        ):
            shown, after = [], None
            while page := organisations(connection, order, after, 2):  # type: ignore[arg-type]
                shown += [each.name for each in page]
                after = page[-1].n_papers, page[-1].key
            assert shown == expected


def test_another_name_moves_the_paper(engine: Engine) -> None:
    import_records(engine, [record(1, "The Lab")])
    import_records(engine, [record(1, "Another Lab")])
    with read(engine) as connection:
        assert organisation_by_key(connection, "the-lab") is None
        found = organisation_by_key(connection, "another-lab")
        assert found is not None
        used = connection.execute(
            text(
                "EXPLAIN QUERY PLAN SELECT id FROM paper WHERE organisation_key = 'x'"
                " ORDER BY day DESC, id DESC"
            )
        ).all()
    # One index, and no sorting.
    assert len(used) == 1
    assert "ix_paper_organisation_key" in str(used[0])
