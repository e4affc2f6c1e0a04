from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.discovery.similar import alike, similar_papers
from paperround.errors import NotFoundError

AddPaper = Callable[..., PaperId]
Similar = Callable[..., list[int]]


@pytest.fixture
def similar(place: Any) -> Callable[..., list[int]]:
    def ids(engine: Engine, paper_id: int, *, with_vectors: bool, n: int = 6) -> list[int]:
        indexes = place.over(engine, **({} if with_vectors else {"vectors": None}))
        with read(engine) as connection:
            return [paper.id for paper in similar_papers(connection, PaperId(paper_id), indexes, n)]

    return ids


def test_the_nearest_by_meaning_come_first_and_never_itself(
    library: Engine, similar: Similar
) -> None:
    assert similar(library, 1, with_vectors=True) == [2, 3]
    assert similar(library, 1, with_vectors=True, n=1) == [2]


def test_without_vectors_the_words_of_the_title_tell(
    engine: Engine, add_paper: AddPaper, similar: Similar
) -> None:
    paper = add_paper('The "Lottery Ticket" of a decoder')
    tickets = add_paper("Lottery tickets everywhere", vector=[1.0])
    decoder = add_paper("A decoder")
    add_paper("Of the others")
    for with_vectors in (True, False):
        assert similar(engine, paper, with_vectors=with_vectors) == [tickets, decoder]


def test_an_unknown_paper_is_not_found(engine: Engine, similar: Similar) -> None:
    with pytest.raises(NotFoundError, match="no paper 5"):
        similar(engine, 5, with_vectors=True)


def test_near_duplicates_stand_apart(engine: Engine, add_paper: AddPaper, place: Any) -> None:
    paper = add_paper(vector=[1.0])
    version, like = add_paper(vector=[0.99, 0.14]), add_paper(vector=[0.8, 0.6])
    indexes = place.over(engine)
    with read(engine) as connection:
        found = alike(connection, paper, indexes)
        both = similar_papers(connection, paper, indexes)
    assert [other.id for other in found.versions] == [version]
    assert [other.id for other in found.similar] == [like]
    assert [other.id for other in both] == [version, like]
