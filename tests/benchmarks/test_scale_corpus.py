"""What the benchmarks of scale stand on: the same papers every time, and exact neighbours."""

from datetime import date

import numpy as np
import pytest

from benchmarks.scale_corpus import Maker, Row, nearest, neighbour_statistics, vector_maker
from benchmarks.search_scale import sections

REAL = [
    Row(
        title=f"The title of paper {number}",
        abstract=f"First of {number}. Second of {number}. Third of {number}.",
        authors=[f"Author {number}"],
        categories=["cs.CL" if number % 2 else "cs.CV"],
        day=date(2026, 1, 1 + number % 28),
    )
    for number in range(40)
]


def clustered(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, 384))
    drawn = centres[rng.integers(0, 20, n)] + 0.7 * rng.standard_normal((n, 384))
    return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)


def test_a_batch_is_the_same_whoever_makes_it_and_a_part_is_its_beginning() -> None:
    whole = list(Maker(REAL).papers(3, 20))
    assert list(Maker(REAL).papers(3, 5)) == whole[:5]
    assert list(Maker(REAL).papers(4, 5)) != whole[:5]


def test_a_made_paper_has_real_sentences_of_its_category() -> None:
    for paper in Maker(REAL).papers(0, 50):
        numbers = {int(said.split()[-1].rstrip(".")) for said in paper.abstract.split(". ") if said}
        assert {REAL[number].categories[0] for number in numbers} == {paper.categories[0]}
        assert 6 <= paper.abstract.count(" of ") <= 9
        assert paper.authors[0].startswith("Author")


@pytest.mark.parametrize("n_queries", [1, 7])
def test_the_nearest_over_blocks_are_those_of_all_at_once(
    n_queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, queries = clustered(23_000), clustered(n_queries, seed=1)
    rows, cosines = nearest(queries, vectors.astype(np.float16), 10)
    every = queries @ vectors.astype(np.float16).astype(np.float32).T
    assert cosines == pytest.approx(-np.sort(-every, axis=1)[:, :10], abs=1e-5)
    assert np.take_along_axis(every, rows, axis=1) == pytest.approx(cosines, abs=1e-5)


def test_made_vectors_have_neighbours_as_near_as_real_ones() -> None:
    real = clustered(1_500)
    # Titles that say what texts say, in other numbers: what is made of both must do so too.
    maker = vector_maker(real, real[:, ::-1])
    made, titles = maker.vectors_of(0, 1_500)
    assert np.linalg.norm(made, axis=1) == pytest.approx(np.ones(1_500), abs=1e-3)
    assert titles[:, ::-1] == pytest.approx(made, abs=1e-5)
    assert np.array_equal(made, vector_maker(real, real).vectors_of(0, 1_500)[1])
    ours, theirs = neighbour_statistics(made), neighbour_statistics(real)
    assert ours["10th"] == pytest.approx(theirs["10th"], abs=0.05)
    assert ours["any"] == pytest.approx(theirs["any"], abs=0.05)


def test_a_table_has_the_same_columns_in_every_row() -> None:
    made = {9: {"real papers": 5, "real vectors": 4, "moved": 0.5, "neighbours": [{"1st": 0.9}]}}
    found = {9: {"built": {"built": [{"what": "a", "seconds": 1}, {"what": "b", "size": 2}]}}}
    tables = sections(made, found)
    assert tables["Built"] == [
        {"papers": "9", "what": "a", "seconds": 1, "size": ""},
        {"papers": "9", "what": "b", "seconds": "", "size": 2},
    ]
