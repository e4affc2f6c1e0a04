from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.discovery import words
from paperround.discovery.words import WordQuery

# Any text at all, and texts made of what FTS5 would read as syntax.
SIGNS = [
    '"',
    "'",
    "*",
    "^",
    "(",
    ")",
    "{",
    "}",
    ":",
    "-",
    "+",
    ",",
    "NEAR(",
    "AND",
    "OR",
    "NOT",
    "title_text",
    "decoding",
    "a",
    "“",
    "”",
    "é",
    "😀",
    "2",
    ";--",
]
SYNTAX = st.lists(st.sampled_from([*SIGNS, " ", "\x00", "\ud800"])).map("".join)
ANY_TEXT = st.one_of(st.text(alphabet=st.characters(codec=None), max_size=200), SYNTAX)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("sequential redundancy", WordQuery(("sequential", "redundancy"))),
        ('fast "speculative decoding"', WordQuery(("fast",), ("speculative decoding",))),
        ("“typographic quotes” too", WordQuery(("too",), ("typographic quotes",))),
        ('an "unmatched quote', WordQuery(("unmatched", "quote"))),
        ("the cost of attention", WordQuery(("cost", "attention"))),
        ("to be or not to be", WordQuery(("to", "be", "or", "not"))),
        ("Token token TOKEN, tokens", WordQuery(("Token", "tokens"))),
        ('"the of" "?!"', WordQuery((), ("the of",))),
        ("?! – 😀 …", WordQuery(())),
        ("", WordQuery(())),
        ("a\x00b", WordQuery(("b",))),
        ("state-space C++", WordQuery(("state", "space", "C"))),
        ("Nu\u0301n\u0303ez", WordQuery(("Núñez",))),
    ],
)
def test_a_query_is_words_and_phrases(query: str, expected: WordQuery) -> None:
    assert words.parse(query) == expected


def test_a_page_of_words_is_cut_and_says_so() -> None:
    parsed = words.parse(" ".join(f"word{number}" for number in range(100)))
    assert len(parsed.words) == words.MAX_WORDS
    assert parsed.cut
    assert not words.parse("three short words").cut


def test_too_many_phrases_are_cut_too() -> None:
    parsed = words.parse(" ".join(f'"phrase {number}"' for number in range(100)) + " word")
    assert len(parsed.phrases) == words.MAX_WORDS
    assert parsed.words == ()
    assert parsed.cut


def test_text_reaches_fts5_quoted_only() -> None:
    query = WordQuery(("NOT", 'quo"te'), ("a* OR b",))
    assert words.match_expression(query) == '("a* OR b") AND ("a* OR b" OR "NOT" OR "quo""te")'


@given(query=ANY_TEXT)
def test_any_text_can_be_searched_for(library: Engine, query: str) -> None:
    with read(library) as connection:
        found = words.rank_by_words(connection, words.parse(query), 10)
    assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)


@given(query=st.sampled_from(["decoding", "sequences", "corpus"]), noise=SYNTAX)
def test_syntax_beside_a_word_takes_no_result_away(library: Engine, query: str, noise: str) -> None:
    # Quoted phrases demand something, on purpose; all other signs must demand and exclude nothing.
    noise = noise.translate(dict.fromkeys(map(ord, '"“”')))
    with read(library) as connection:
        alone = words.rank_by_words(connection, words.parse(query), 10)
        beside = words.rank_by_words(connection, words.parse(f"{query} {noise}"), 10)
    assert {paper_id for paper_id, _ in alone} <= {paper_id for paper_id, _ in beside}


def test_one_matching_word_is_enough_and_more_rank_higher(library: Engine) -> None:
    with read(library) as connection:
        found = words.rank_by_words(connection, words.parse("recurrence attention corpus"), 10)
    # Both words of the second paper's abstract against one of the third's title.
    assert [paper_id for paper_id, _ in found] == [2, 3]


def test_a_phrase_must_occur(library: Engine) -> None:
    with read(library) as connection:
        found = words.rank_by_words(connection, words.parse('"training corpus" decoding'), 10)
    assert [paper_id for paper_id, _ in found] == [3]


@pytest.mark.parametrize("query", ["Nunez", "nu\u0301n\u0303ez", "decode", "DECODING"])
def test_accents_case_and_endings_do_not_matter(library: Engine, query: str) -> None:
    with read(library) as connection:
        found = words.rank_by_words(connection, words.parse(query), 10)
    assert [paper_id for paper_id, _ in found] == [1]


def test_among_many_papers_a_common_word_alone_is_no_match(
    engine: Engine, add_paper: Callable[..., PaperId], monkeypatch: pytest.MonkeyPatch
) -> None:
    common = {add_paper("A common model") for _ in range(5)}
    rare, both = add_paper("A rare thing"), add_paper("A rare model")
    query = words.parse("model rare unknown")

    def found(n: int) -> list[PaperId]:
        with read(engine) as connection:
            return [paper_id for paper_id, _ in words.rank_by_words(connection, query, n)]

    assert set(found(10)) == {*common, rare, both}
    monkeypatch.setattr(words, "ENOUGH_PAPERS", 2)
    # Two are enough for one result; for ten, twenty would be, and all seven are ranked.
    assert found(1) == [both]
    assert set(found(10)) == {*common, rare, both}
    # "unknown" is in none and "rare" in two: that is enough, and "model" demands nothing.
    with read(engine) as connection:
        assert words._rarest(connection, query.words, 2) == ["unknown", "rare"]
        assert words._rarest(connection, query.words, 3) == ["unknown", "rare", "model"]
