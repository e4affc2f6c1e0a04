from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import IdentifierTable, PaperTable
from paperround.db import read, write
from paperround.discovery.embedding import DIMENSIONS
from paperround.discovery.search import MAX_RESULTS, Mode, SearchAnswer, search
from paperround.discovery.vectors import VectorIndex
from paperround.errors import AssetError, UsageError

AddPaper = Callable[..., PaperId]
MODES = st.sampled_from(["both", "words", "meaning"])


def toward(*numbers: float) -> Callable[[str], np.ndarray]:
    """An embedding model for which every query points there."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[: len(numbers)] = numbers
    return lambda query: vector


def ask(
    engine: Engine,
    query: str,
    mode: Mode = "both",
    *,
    n: int = 20,
    embed: Callable[[str], np.ndarray] | None = None,
    vectors: bool = True,
) -> SearchAnswer:
    with read(engine) as connection:
        index = VectorIndex()
        index.refresh(connection)
        return search(
            connection, query, n=n, mode=mode, vectors=index if vectors else None, embed=embed
        )


def ids(answer: SearchAnswer) -> list[int]:
    return [hit.paper.id for hit in answer.hits]


@given(
    query=st.one_of(
        st.text(alphabet=st.characters(codec=None), max_size=100),
        st.text(alphabet='"“” aé😀\x00*^:()-', max_size=30),
    ),
    mode=MODES,
)
def test_any_text_gets_an_answer(library: Engine, query: str, mode: Mode) -> None:
    answer = ask(library, query, mode, embed=toward(1.0))
    assert answer.hits or answer.note or answer.mode_used == "words"
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in answer.hits:
        assert "".join(span.text for span in hit.title) == hit.paper.title_text


@pytest.mark.parametrize("query", ["", "   ", "?!", "😀", '"', "\x00", '""'])
def test_a_query_without_words_says_so(library: Engine, query: str) -> None:
    answer = ask(library, query, embed=toward(1.0))
    assert answer.hits == ()
    assert answer.note == "There is no word in the query to search for."


def test_a_very_long_query_is_answered_and_says_what_was_read(library: Engine) -> None:
    answer = ask(library, "decoding " * 1_112, embed=toward(1.0))
    assert ids(answer)[0] == 1
    assert answer.note is not None
    assert "first 4,000 characters" in answer.note


def test_stop_words_alone_are_searched_for(library: Engine) -> None:
    assert set(ids(ask(library, "the of", "words"))) == {2, 3}


@pytest.mark.parametrize(
    "query", ["2502.08923", " arXiv:2502.08923v3 ", "https://arxiv.org/abs/2502.08923v1"]
)
def test_an_arxiv_id_is_its_paper(library: Engine, query: str) -> None:
    answer = ask(library, query, embed=toward(0.0, 0.0, 1.0))
    assert ids(answer) == [1]
    assert (answer.mode_used, answer.note) == ("identifier", None)


def test_an_identifier_that_is_not_here_says_so(library: Engine) -> None:
    answer = ask(library, "2401.00001", embed=toward(1.0))
    assert (answer.hits, answer.note) == ((), "arXiv 2401.00001 is not in this catalogue.")
    answer = ask(library, "https://doi.org/10.1000/182", embed=toward(1.0))
    assert (answer.hits, answer.note) == ((), "DOI 10.1000/182 is not in this catalogue.")


def test_a_doi_is_its_paper(engine: Engine, add_paper: AddPaper) -> None:
    paper = add_paper()
    with write(engine) as connection:
        connection.execute(
            IdentifierTable.__table__.insert().values(
                scheme="doi", value="10.18653/v1/n19", paper_id=paper
            )
        )
    for query in ("10.18653/v1/N19", "doi:10.18653/v1/N19", "https://doi.org/10.18653/v1/N19"):
        assert ids(ask(engine, query)) == [paper]


def test_an_identifier_in_a_sentence_is_a_word_of_it(library: Engine) -> None:
    assert ask(library, "decoding as in 2502.08923", "words").mode_used == "words"


def test_meaning_finds_what_no_word_names(library: Engine) -> None:
    answer = ask(library, "verbatim loops", "meaning", n=2, embed=toward(1.0))
    assert ids(answer) == [1, 2]
    assert answer.mode_used == "meaning"
    assert [hit.score for hit in answer.hits] == pytest.approx([1.0, 0.6], abs=1e-3)
    assert not any(span.marked for hit in answer.hits for span in (*hit.title, *hit.abstract))


def test_both_put_first_what_both_find(library: Engine) -> None:
    # By words papers 3 and 2, by meaning 1, 2 and 3.
    answer = ask(library, "corpus corpus duplicates attention", "both", embed=toward(0.9, 0.4))
    assert answer.mode_used == "both"
    assert set(ids(answer)) == {1, 2, 3}
    assert ids(answer)[-1] == 1
    assert answer.hits[0].score > answer.hits[1].score > answer.hits[2].score


def test_words_are_marked_in_the_answer(library: Engine) -> None:
    (hit,) = ask(library, "decoding", "words").hits
    assert [span.text for span in hit.title if span.marked] == ["decoding"]
    assert [span.text for span in hit.abstract if span.marked] == ["Decoding"]


def test_a_phrase_is_demanded_of_meaning_too(library: Engine) -> None:
    answer = ask(library, '"training corpus" loops', "meaning", embed=toward(1.0))
    assert ids(answer) == [3]
    assert ids(ask(library, '"training corpus" decoding', embed=toward(1.0))) == [3]


def test_a_phrase_that_nobody_has_is_searched_for_as_words(library: Engine) -> None:
    answer = ask(library, '"corpus training"', "words")
    assert ids(answer) == [3]
    assert answer.note is not None
    assert "without the quotes" in answer.note


def test_without_a_model_words_answer_and_say_so(library: Engine) -> None:
    def absent(query: str) -> np.ndarray:
        raise AssetError("the embedding model is not here; fetch it")

    for embed in (None, absent):
        for mode in ("both", "meaning"):
            answer = ask(library, "decoding", mode, embed=embed)
            assert (ids(answer), answer.mode_used) == ([1], "words")
            assert answer.note is not None
            assert "by words alone: the embedding model is not" in answer.note


def test_without_vectors_words_answer_and_say_so(engine: Engine, add_paper: AddPaper) -> None:
    paper = add_paper("Decoding")
    for vectors in (True, False):
        answer = ask(engine, "decoding", embed=toward(1.0), vectors=vectors)
        assert (ids(answer), answer.mode_used) == ([paper], "words")
        assert answer.note == "Searched by words alone: no paper has an embedding yet."


def test_words_alone_need_no_note(library: Engine) -> None:
    assert ask(library, "decoding", "words").note is None


def test_a_paper_that_went_after_the_vectors_were_read_is_left_out(
    engine: Engine, add_paper: AddPaper
) -> None:
    gone, here = add_paper("Gone", vector=[1.0]), add_paper("Here", vector=[0.5])
    index = VectorIndex()
    with read(engine) as connection:
        index.refresh(connection)
    with write(engine) as connection:
        connection.execute(delete(PaperTable).where(PaperTable.id == gone))
    with read(engine) as connection:
        answer = search(connection, "x", mode="meaning", vectors=index, embed=toward(1.0))
    assert ids(answer) == [here]


def test_nonsense_is_refused(library: Engine) -> None:
    for n in (0, -1, MAX_RESULTS + 1):
        with pytest.raises(UsageError):
            ask(library, "x", n=n)
    with pytest.raises(UsageError, match="no search mode 'magic'"):
        ask(library, "x", "magic")  # type: ignore[arg-type]
