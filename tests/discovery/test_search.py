import sys
from collections.abc import Callable, Collection
from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete

from paperround.catalogue.records import PaperId
from paperround.catalogue.tables import IdentifierTable, PaperTable
from paperround.db import read, write
from paperround.discovery.embedding import DIMENSIONS
from paperround.discovery.query_language import Part
from paperround.discovery.search import MAX_RESULTS, Mode, SearchAnswer, search
from paperround.discovery.searching import Searcher
from paperround.errors import AssetError, UsageError
from paperround.settings import Settings

AddPaper = Callable[..., PaperId]
Ask = Callable[..., SearchAnswer]
MODES = st.sampled_from(["both", "words", "meaning"])


def toward(*numbers: float) -> Callable[[str], np.ndarray]:
    """An embedding model for which every query points there."""
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[: len(numbers)] = numbers
    return lambda query: vector


@pytest.fixture(scope="module")
def ask(place: Any) -> Callable[..., SearchAnswer]:
    def answer(
        engine: Engine,
        query: str,
        mode: Mode = "both",
        *,
        embed: Callable[[str], np.ndarray] | None = None,
        vectors: bool = True,
        papers_with: Callable[[Part], Collection[PaperId]] | None = None,
        **options: Any,
    ) -> SearchAnswer:
        others = {} if vectors else {"vectors": None}
        indexes = place.over(engine, embed=embed, papers_with=papers_with, **others)
        with read(engine) as connection:
            return search(connection, query, indexes, mode=mode, **options)

    return answer


def ids(answer: SearchAnswer) -> list[int]:
    return [hit.paper.id for hit in answer.hits]


@given(
    query=st.one_of(
        st.text(alphabet=st.characters(codec=None), max_size=100),
        st.text(alphabet='"“” aé😀\x00*^:()-', max_size=30),
    ),
    mode=MODES,
)
def test_any_text_gets_an_answer(library: Engine, query: str, mode: Mode, ask: Ask) -> None:
    answer = ask(library, query, mode, embed=toward(1.0))
    # Only what must not occur may leave nothing without a word on it.
    assert answer.hits or answer.note or answer.mode_used == "words" or "-" in query
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    for hit in answer.hits:
        assert "".join(span.text for span in hit.title) == hit.paper.title_text


@pytest.mark.parametrize("query", ["", "   ", "?!", "😀", '"', "\x00", '""'])
def test_a_query_without_words_says_so(library: Engine, query: str, ask: Ask) -> None:
    answer = ask(library, query, embed=toward(1.0))
    assert answer.hits == ()
    assert answer.note == "There is no word in the query to search for."


def test_a_very_long_query_is_answered_and_says_what_was_read(library: Engine, ask: Ask) -> None:
    answer = ask(library, "decoding " * 1_112, embed=toward(1.0))
    assert ids(answer)[0] == 1
    assert answer.note is not None
    assert "first 4,000 characters" in answer.note


def test_stop_words_alone_are_searched_for(library: Engine, ask: Ask) -> None:
    assert set(ids(ask(library, "the of", "words"))) == {2, 3}


@pytest.mark.parametrize(
    "query",
    [
        "2502.08923",
        " arXiv:2502.08923v3 ",
        "https://arxiv.org/abs/2502.08923v1",
        "https://arxiv.org/pdf/2502.08923v2.pdf",
        "https://huggingface.co/papers/2502.08923",
        "10.48550/arXiv.2502.08923",
        "https://papers.example.org/papers/2502.08923?scale=quick#claims",
        "/papers/2502.08923",
    ],
)
def test_an_arxiv_id_is_its_paper(library: Engine, query: str, ask: Ask) -> None:
    answer = ask(library, query, embed=toward(0.0, 0.0, 1.0))
    assert ids(answer) == [1]
    assert (answer.mode_used, answer.note) == ("identifier", None)


def test_an_identifier_that_is_not_here_says_so(library: Engine, ask: Ask) -> None:
    answer = ask(library, "2401.00001", embed=toward(1.0))
    assert (answer.hits, answer.note) == ((), "arXiv 2401.00001 is not in this catalogue.")
    answer = ask(library, "https://papers.example.org/papers/none", embed=toward(1.0))
    assert answer.note == "The paper of that address is not in this catalogue."
    answer = ask(library, "https://doi.org/10.1000/182", embed=toward(1.0))
    assert (answer.hits, answer.note) == ((), "DOI 10.1000/182 is not in this catalogue.")


def test_a_doi_is_its_paper(engine: Engine, add_paper: AddPaper, ask: Ask) -> None:
    paper = add_paper()
    with write(engine) as connection:
        connection.execute(
            IdentifierTable.__table__.insert().values(
                scheme="doi", value="10.18653/v1/n19", paper_id=paper
            )
        )
    for query in ("10.18653/v1/N19", "doi:10.18653/v1/N19", "https://doi.org/10.18653/v1/N19"):
        assert ids(ask(engine, query)) == [paper]


@pytest.mark.parametrize(
    ("scheme", "value", "query"),
    [
        ("acl", "P19-1001", "https://aclanthology.org/P19-1001/"),
        ("openreview", "rJ4km2R5t7", "https://openreview.net/forum?id=rJ4km2R5t7"),
    ],
)
def test_an_address_elsewhere_is_its_paper(
    engine: Engine, add_paper: AddPaper, ask: Ask, scheme: str, value: str, query: str
) -> None:
    paper = add_paper()
    with write(engine) as connection:
        connection.execute(
            IdentifierTable.__table__.insert().values(scheme=scheme, value=value, paper_id=paper)
        )
    assert ids(ask(engine, query)) == [paper]


def test_an_identifier_in_a_sentence_is_a_word_of_it(library: Engine, ask: Ask) -> None:
    assert ask(library, "decoding as in 2502.08923", "words").mode_used == "words"


def test_meaning_finds_what_no_word_names(library: Engine, ask: Ask) -> None:
    answer = ask(library, "verbatim loops", "meaning", n=2, embed=toward(1.0))
    assert ids(answer) == [1, 2]
    assert answer.mode_used == "meaning"
    assert [hit.score for hit in answer.hits] == pytest.approx([1.0, 0.6], abs=1e-3)
    assert not any(span.marked for hit in answer.hits for span in (*hit.title, *hit.abstract))


@pytest.mark.parametrize("mode", ["meaning", "both"])
def test_a_title_alone_brings_its_paper_forward(
    engine: Engine, add_paper: AddPaper, ask: Ask, mode: Mode
) -> None:
    about = add_paper("Of loops", vector=[0.8, 0.6], title_vector=[0.0, 1.0])
    named = add_paper("Verbatim echoes", vector=[0.6, 0.8], title_vector=[1.0])
    answer = ask(engine, "copies", mode, embed=toward(1.0))
    assert ids(answer) == [named, about]
    if mode == "meaning":
        assert [hit.score for hit in answer.hits] == pytest.approx([0.97, 0.8], abs=5e-3)


def test_both_put_first_what_both_find(library: Engine, ask: Ask) -> None:
    # By words papers 3 and 2, by meaning 1, 2 and 3.
    answer = ask(library, "corpus corpus duplicates attention", "both", embed=toward(0.9, 0.4))
    assert answer.mode_used == "both"
    assert set(ids(answer)) == {1, 2, 3}
    assert ids(answer)[0] == 2
    assert answer.hits[0].score > answer.hits[1].score > answer.hits[2].score


def test_words_are_marked_in_the_answer(library: Engine, ask: Ask) -> None:
    (hit,) = ask(library, "decoding", "words").hits
    assert [span.text for span in hit.title if span.marked] == ["decoding"]
    assert [span.text for span in hit.abstract if span.marked] == ["Decoding"]


def test_a_phrase_is_demanded_of_meaning_too(library: Engine, ask: Ask) -> None:
    answer = ask(library, '"training corpus" loops', "meaning", embed=toward(1.0))
    assert ids(answer) == [3]
    assert ids(ask(library, '"training corpus" decoding', embed=toward(1.0))) == [3]


def test_a_phrase_that_nobody_has_is_searched_for_as_words(library: Engine, ask: Ask) -> None:
    answer = ask(library, '"corpus training"', "words")
    assert ids(answer) == [3]
    assert answer.note is not None
    assert "without the quotes" in answer.note


def test_without_a_model_words_answer_and_say_so(library: Engine, ask: Ask) -> None:
    def absent(query: str) -> np.ndarray:
        raise AssetError("the embedding model is not here; fetch it")

    for embed in (None, absent):
        for mode in ("both", "meaning"):
            answer = ask(library, "decoding", mode, embed=embed)
            assert (ids(answer), answer.mode_used) == ([1], "words")
            assert answer.note is not None
            assert "by words alone: the embedding model is not" in answer.note


def test_without_vectors_words_answer_and_say_so(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    paper = add_paper("Decoding")
    for vectors in (True, False):
        answer = ask(engine, "decoding", embed=toward(1.0), vectors=vectors)
        assert (ids(answer), answer.mode_used) == ([paper], "words")
        assert answer.note == "Searched by words alone: no paper has an embedding yet."


def test_words_alone_need_no_note(library: Engine, ask: Ask) -> None:
    assert ask(library, "decoding", "words").note is None


def test_a_paper_that_went_after_the_indexes_were_read_is_left_out(
    engine: Engine, add_paper: AddPaper, place: Any
) -> None:
    gone, here = add_paper("Gone", vector=[1.0]), add_paper("Here", vector=[0.5])
    indexes = place.over(engine, embed=toward(1.0))
    with write(engine) as connection:
        connection.execute(delete(PaperTable).where(PaperTable.id == gone))
    with read(engine) as connection:
        answer = search(connection, "x", indexes, mode="meaning")
    assert ids(answer) == [here]


def test_filters_hold_for_words_and_for_meaning(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    old = add_paper("Decoding", day=date(2019, 3, 1), vector=[1.0])
    new = add_paper("Decoding again", day=date(2024, 3, 1), vector=[0.9])
    for mode in ("words", "meaning", "both"):
        found = ask(engine, "decoding year:2020..", mode, embed=toward(1.0))
        assert ids(found) == [new]
    assert set(ids(ask(engine, "decoding -year:2020..", "words"))) == {old}


def test_a_query_of_filters_alone_gives_the_newest_first(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    old = add_paper("Zebras", day=date(2019, 3, 1), categories=("cs.CL",))
    new = add_paper("Apes", day=date(2024, 3, 1), categories=("cs.CL", "cs.AI"))
    add_paper("Bees", day=date(2025, 3, 1), categories=("math.CO",))
    assert ids(ask(engine, "cat:cs.cl")) == [new, old]
    assert ids(ask(engine, "cat:cs -cat:cs.AI")) == [old]


def test_filters_that_nobody_passes_say_which_to_drop(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    for number in range(3):
        add_paper(f"Decoding {number}", day=date(2024, 3, 1), categories=("cs.CL",))
    add_paper("Decoding with code", day=date(2019, 3, 1), code_url="https://github.com/a/b")
    answer = ask(engine, "decoding has:code year:2024")
    assert answer.hits == ()
    assert [(drop.part, drop.query, drop.papers) for drop in answer.drops] == [
        ("has:code", "decoding year:2024", 3),
        ("year:2024", "decoding has:code", 1),
    ]


def test_what_runs_is_asked_of_those_who_know(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    runs, rests = add_paper("Decoding here"), add_paper("Decoding there")

    def papers_with(part: Part) -> set[PaperId]:
        assert part.field in ("runs", "verdict")
        return {runs} if part.value in ("yes", "no", "holds") else set()

    assert ids(ask(engine, "decoding runs:yes", papers_with=papers_with)) == [runs]
    assert ids(ask(engine, "decoding runs:no", papers_with=papers_with)) == [rests]
    assert ids(ask(engine, "verdict:holds", papers_with=papers_with)) == [runs]
    assert ids(ask(engine, "verdict:falls-short", papers_with=papers_with)) == []
    answer = ask(engine, "decoding", papers_with=papers_with, facets=True)
    assert answer.facets is not None
    assert answer.facets["runs"] == [("yes", 1)]


def test_facets_count_every_paper_that_answers(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    for number in range(5):
        add_paper(
            f"Decoding {number}",
            day=date(2020 + number % 2, 1, 1),
            categories=("cs.CL",),
            links=("https://huggingface.co/a/b",) if number == 0 else (),
            source="arxiv",
        )
    answer = ask(engine, "decoding", "words", n=1, facets=True)
    assert (len(answer.hits), answer.total) == (1, 5)
    assert answer.facets == {
        "year": [("2020", 3), ("2021", 2)],
        "category": [("cs.CL", 5)],
        "source": [("arxiv", 5)],
        "has": [("model", 1)],
    }


@given(pages=st.integers(1, 6))
def test_pages_follow_each_other_without_a_gap(library: Engine, ask: Ask, pages: int) -> None:
    query = "decoding attention corpus"
    whole = ids(ask(library, query, embed=toward(1.0)))
    pieces = [
        paper
        for page in range(pages)
        for paper in ids(ask(library, query, embed=toward(1.0), n=1, start=page))
    ]
    assert pieces == whole[:pages]


@pytest.mark.parametrize(("order", "expected"), [("newest", [3, 1, 2]), ("votes", [2, 3, 1])])
def test_another_order_is_of_the_same_papers(
    engine: Engine, add_paper: AddPaper, ask: Ask, order: str, expected: list[int]
) -> None:
    add_paper("Decoding decoding", day=date(2023, 1, 1))
    add_paper("Decoding is fun", day=date(2022, 1, 1), votes=9)
    add_paper("Other things than decoding, for once", day=date(2024, 1, 1), votes=1)
    assert ids(ask(engine, "decoding", "words")) == [1, 2, 3]
    assert ids(ask(engine, "decoding", "words", order=order)) == expected


def test_versions_of_a_paper_take_one_place(engine: Engine, add_paper: AddPaper, ask: Ask) -> None:
    first = add_paper("Decoding at a workshop", vector=[1.0])
    second = add_paper("Decoding, extended", vector=[0.999, 0.04])
    other = add_paper("Decoding otherwise", vector=[0.6, 0.8])
    together = ask(engine, "decoding", "meaning", embed=toward(1.0), diverse=True)
    assert [[hit.paper.id, *(paper.id for paper in hit.versions)] for hit in together.hits] == [
        [first, second],
        [other],
    ]
    assert ids(ask(engine, "decoding", "meaning", embed=toward(1.0))) == [first, second, other]


@pytest.mark.parametrize("query", ["recomender", "recommendre", "Recomenders systems"])
def test_a_slip_of_the_pen_still_finds(
    engine: Engine, add_paper: AddPaper, ask: Ask, query: str
) -> None:
    papers = [add_paper(f"A recommender of kind {number}") for number in range(3)]
    answer = ask(engine, query)
    assert ids(answer) == papers
    assert answer.note is not None
    assert "searched for “recommend" in answer.note


def test_a_word_that_some_paper_has_is_never_another(
    engine: Engine, add_paper: AddPaper, ask: Ask
) -> None:
    for _ in range(5):
        add_paper("A transformer")
    rare = add_paper("A transforner")
    answer = ask(engine, "transforner")
    assert (ids(answer), answer.note) == (
        [rare],
        "Searched by words alone: no paper has an embedding yet.",
    )


def test_nonsense_is_refused(library: Engine, ask: Ask) -> None:
    for n in (0, -1, MAX_RESULTS + 1):
        with pytest.raises(UsageError):
            ask(library, "x", n=n)
    with pytest.raises(UsageError, match="no search mode 'magic'"):
        ask(library, "x", "magic")
    with pytest.raises(UsageError, match="no order 'best'"):
        ask(library, "x", order="best")


@pytest.mark.parametrize("query", ["beams -survey", "beams year:2020..2026", '"late beams"'])
@pytest.mark.parametrize("mode", ["both", "meaning"])
def test_a_filter_that_keeps_many_finds_what_one_that_keeps_few_does(
    engine: Engine, add_paper: AddPaper, ask: Ask, monkeypatch: pytest.MonkeyPatch,
    query: str, mode: Mode,
) -> None:  # fmt: skip
    for number in range(12):
        add_paper(
            f"Late beams {number}" if number % 3 else "A survey of beams",
            day=date(2015 + number, 1, 1),
            vector=[1.0, number / 10],
        )
    few = ask(engine, query, mode, embed=toward(1.0))
    # The package names the function as its module is named.
    monkeypatch.setattr(sys.modules[search.__module__], "LISTED", 0)
    many = ask(engine, query, mode, embed=toward(1.0))
    assert 0 < len(few.hits) < 12
    assert ids(many) == ids(few)
    assert [hit.score for hit in many.hits] == pytest.approx([hit.score for hit in few.hits])


def test_many_words_in_one_part_are_cut_and_said(library: Engine, ask: Ask) -> None:
    answer = ask(library, "-".join(f"decoding{n}" for n in range(300)) + " copied", "words")
    assert answer.note is not None
    assert "Only the first words were searched for." in answer.note


def test_versions_are_known_where_words_alone_are_searched_for(
    engine: Engine, add_paper: AddPaper, settings: Settings
) -> None:
    first = add_paper("Decoding at a workshop", vector=[1.0])
    second = add_paper("Decoding, extended", vector=[0.999, 0.04])
    (hit,) = Searcher(engine, settings).search("decoding", mode="words", diverse=True).hits
    assert {hit.paper.id, *(paper.id for paper in hit.versions)} == {first, second}
