"""What answers a saved search: for papers that are told of unasked, near is not near enough."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from paperround.catalogue.records import PaperId
from paperround.discovery.embedding import DIMENSIONS
from paperround.discovery.search import NEAR, Mode, answers_among

AddPaper = Callable[..., PaperId]
Answers = Callable[..., list[PaperId]]


def toward(*numbers: float) -> Callable[[str], np.ndarray]:
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[: len(numbers)] = numbers
    return lambda query: vector


@pytest.fixture(scope="module")
def answers(place: Any) -> Answers:
    def among(
        engine: Engine, query: str, ids: list[PaperId], mode: Mode = "both", **others: Any
    ) -> list[PaperId]:
        return answers_among(query, place.over(engine, **others), ids, mode)

    return among


def test_every_word_counts_and_what_is_required(
    engine: Engine, add_paper: AddPaper, answers: Answers
) -> None:
    one = add_paper("Kites and their strings", categories=("cs.CL",))
    two = add_paper("A string for a kite", categories=("cs.LG",))
    three = add_paper("Strings of text", categories=("cs.CL",))
    every = [three, two, one]
    assert answers(engine, "kites strings", every, "words") == [two, one]
    assert answers(engine, "kites strings cat:cs.CL", every, "words") == [one]
    assert answers(engine, '"kites and"', every, "words") == [one]
    assert answers(engine, "strings -kites", every, "words") == [three]
    assert answers(engine, "kites and the weather", every, "words") == []


def test_filters_alone_keep_the_order_that_is_given(
    engine: Engine, add_paper: AddPaper, answers: Answers
) -> None:
    ids = [add_paper(f"Paper {n}", categories=("cs.CL",)) for n in range(4)]
    shuffled = [ids[2], ids[0], ids[3], ids[1]]
    assert answers(engine, "cat:cs.CL", shuffled) == shuffled
    assert answers(engine, "cat:cs.CL", [ids[3], ids[0]]) == [ids[3], ids[0]]
    assert answers(engine, "-paper", ids) == []


def test_what_is_near_enough_by_meaning_answers_too_the_nearest_first(
    engine: Engine, add_paper: AddPaper, answers: Answers
) -> None:
    named = add_paper("Kites", vector=[0.1, 0.99])
    near = add_paper("Flying toys", vector=[0.9, 0.43])
    edge = add_paper("Toys", vector=[NEAR + 0.01, 0.8])
    far = add_paper("Ledgers", vector=[NEAR - 0.05, 0.8])
    every = [far, edge, near, named]
    model = toward(1.0)
    assert answers(engine, "kites", every, embed=model) == [near, edge, named]
    assert answers(engine, "kites", every, "meaning", embed=model) == [near, edge]
    assert answers(engine, "kites", every, "words", embed=model) == [named]
    # What is required is required of what is near as well.
    assert answers(engine, "kites -toys", every, embed=model) == [named]


def test_without_a_model_words_answer_alone(
    engine: Engine, add_paper: AddPaper, answers: Answers
) -> None:
    named = add_paper("Kites", vector=[1.0])
    other = add_paper("Flying toys", vector=[1.0])
    assert answers(engine, "kites", [other, named]) == [named]


@given(query=st.text(max_size=60), mode=st.sampled_from(["both", "words", "meaning"]))
def test_any_query_answers_with_some_of_the_papers_each_once(
    library: Engine, answers: Answers, query: str, mode: Mode
) -> None:
    asked = [PaperId(3), PaperId(1)]
    found = answers(library, query, asked, mode, embed=toward(0.6, 0.8))
    assert len(set(found)) == len(found)
    assert set(found) <= set(asked)
