import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.discovery.query_language import MAX_PARTS, Part, Query, parse

PIECES = [
    '"', "“", "”", "-", ":", "author:", "year:", "year:2024", "2024..2026", "has:code", "cat:cs.CL",
    "runs:no", "verdict:holds", "decoding", "beam search", "a", " ", " ", "é", "😀", "\x00",
    "\ud800",
]  # fmt: skip
ANY_TEXT = st.one_of(
    st.text(alphabet=st.characters(codec=None), max_size=200),
    st.lists(st.sampled_from(PIECES), max_size=30).map("".join),
)


@pytest.mark.parametrize(
    ("text", "words", "phrases", "excluded"),
    [
        ("sequential redundancy", ("sequential", "redundancy"), (), ()),
        ('fast "speculative decoding"', ("fast",), ("speculative decoding",), ()),
        ("“typographic quotes” too", ("too",), ("typographic quotes",), ()),
        ('an "unmatched quote', ("unmatched", "quote"), (), ()),
        ("the cost of attention", ("cost", "attention"), (), ()),
        ("to be or not to be", ("to", "be", "or", "not"), (), ()),
        ("Token token TOKEN, tokens", ("Token", "tokens"), (), ()),
        ('"the of" "?!"', (), ("the of",), ()),
        ("?! – 😀 …", (), (), ()),
        ("a\x00b", ("b",), (), ()),
        ("state-space C++", ("state", "space", "C"), (), ()),
        ("Nu\u0301n\u0303ez", ("Núñez",), (), ()),
        ('search -survey -"beam search"', ("search",), (), ("survey", "beam search")),
        ("a - b --c", ("b",), (), ("-c",)),
        ("yaer:2024", ("yaer", "2024"), (), ()),
        ("year:abc year:2024-2026 has:gold", ("year", "abc", "2024", "2026", "gold"), (), ()),
        ('foo:"bar baz"', ("foo",), ("bar baz",), ()),
    ],
)
def test_a_query_is_words_phrases_and_what_must_not_occur(
    text: str, words: tuple[str, ...], phrases: tuple[str, ...], excluded: tuple[str, ...]
) -> None:
    query = parse(text)
    assert (query.words, query.phrases, query.excluded) == (words, phrases, excluded)
    assert query.filters == ()


@pytest.mark.parametrize(
    ("text", "field", "value", "excluded"),
    [
        ("author:hinton", "author", "hinton", False),
        ('au:"Geoffrey Hinton"', "author", "Geoffrey Hinton", False),
        ("-cat:cs.CL", "cat", "cs.cl", True),
        ('Org:"Google DeepMind"', "org", "Google DeepMind", False),
        ("has:Code", "has", "code", False),
        ("runs:yes", "runs", "yes", False),
        ("runs:no", "runs", "no", True),
        ("-runs:no", "runs", "no", False),
        ('verdict:"falls short"', "verdict", "falls-short", False),
        ("source:OpenReview", "source", "openreview", False),
    ],
)
def test_a_filter_is_read(text: str, field: str, value: str, excluded: bool) -> None:
    (part,) = parse(text).parts
    assert (part.field, part.value, part.is_excluded) == (field, value, excluded)
    assert parse(text).words == ()


@pytest.mark.parametrize(
    ("text", "years"),
    [
        ("year:2024", (2024, 2024)),
        ("year:2024..2026", (2024, 2026)),
        ("year:2024..", (2024, None)),
        ("year:..2019", (None, 2019)),
    ],
)
def test_years_may_be_open(text: str, years: tuple[int | None, int | None]) -> None:
    (part,) = parse(text).parts
    assert part.years == years


@given(text=ANY_TEXT)
def test_any_text_is_a_query_and_reads_the_same_again(text: str) -> None:
    query = parse(text)
    again = parse(query.typed)
    assert again.words == query.words
    assert again.phrases == query.phrases
    assert again.excluded == query.excluded
    assert [part.value for part in again.filters] == [part.value for part in query.filters]


@given(text=ANY_TEXT)
def test_leaving_a_part_out_leaves_the_rest(text: str) -> None:
    query = parse(text)
    for part in query.parts:
        assert [other for other in query.parts if other is not part] == list(
            query.without(part).parts
        )


def test_meaning_is_the_query_in_its_order_without_filters() -> None:
    query = parse('fast "beam search" -slow year:2024 of models')
    assert query.meaning == "fast beam search of models"


def test_a_word_is_replaced_where_it_stands_whole() -> None:
    query = parse("tranformer tranformers-tranformer year:2024")
    assert query.with_word("tranformer", "transformer").typed == (
        "transformer tranformers-transformer year:2024"
    )


def test_a_page_of_words_is_cut_and_says_so() -> None:
    assert parse(" ".join(f"word{number}" for number in range(100))).cut
    assert len(parse(" ".join(f"word{number}" for number in range(100))).words) == MAX_PARTS
    assert not parse("three short words").cut


def test_an_empty_query_is_none() -> None:
    assert not parse("")
    assert Query(()).meaning == ""
    assert Part("x", "x").is_required is False
