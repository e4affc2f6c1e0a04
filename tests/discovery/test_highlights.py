import re

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from paperround.catalogue.queries import papers_by_id
from paperround.catalogue.records import PaperId
from paperround.db import read
from paperround.discovery.highlights import Highlights, Span, excerpt, highlights, marked
from paperround.discovery.query_language import WORD
from paperround.discovery.word_index import stem_of

TEXTS = st.text(alphabet="ab .!?A<>[]…\n", max_size=300)
SPANS = st.lists(st.builds(Span, TEXTS.filter(bool), st.booleans()), max_size=8)


def joined(spans: tuple[Span, ...]) -> str:
    return "".join(span.text for span in spans)


def spans_of(text: str) -> tuple[Span, ...]:
    """What stands in brackets is marked."""
    pieces = re.split(r"\[([^\]]*)\]", text)
    spans = [Span(piece, marked=place % 2 == 1) for place, piece in enumerate(pieces)]
    return tuple(span for span in spans if span.text)


@given(text=st.text(alphabet="ab \u00e9.-😀", max_size=60), stems=st.sets(st.sampled_from("ab")))
def test_spans_hold_the_text_and_mark_whole_words(text: str, stems: set[str]) -> None:
    spans = marked(text, stems, str)
    assert joined(spans) == text
    assert all(span.text for span in spans)
    assert {span.text for span in spans if span.marked} <= stems
    plain = " ".join(span.text if not span.marked else "|" for span in spans)
    assert not stems & set(WORD.findall(plain))


@given(spans=SPANS, n_characters=st.integers(10, 120))
def test_an_excerpt_is_a_piece_of_the_text_and_short(spans: list[Span], n_characters: int) -> None:
    cut = excerpt(spans, n_characters)
    whole = joined(tuple(spans))
    body = joined(cut)
    if cut and cut[0] == Span("… "):
        body = body.removeprefix("… ")
    if cut and cut[-1] == Span(" …"):
        body = body.removesuffix(" …")
    assert body in whole
    assert len(body) <= n_characters
    assert bool(body) == bool(whole.strip())


def test_the_sentence_with_the_most_different_words_is_shown() -> None:
    text = "One says [copy] and [copy]. Two says [copy] and [paste] too. Three says nothing."
    cut = excerpt(spans_of(text), 40)
    assert cut == (
        Span("… "),
        Span("Two says "),
        Span("copy", marked=True),
        Span(" and "),
        Span("paste", marked=True),
        Span(" too."),
        Span(" …"),
    )


def test_an_abbreviation_ends_no_sentence() -> None:
    text = "Old models, e.g. Transformers, are slow. We [copy]."
    assert joined(excerpt(spans_of(text), 20)) == "… We copy."
    text = "Old models, e.g. Transformers [copy]. The end is near."
    assert joined(excerpt(spans_of(text), 40)) == "Old models, e.g. Transformers copy. …"


def test_a_long_sentence_is_cut_around_its_first_mark() -> None:
    text = "word " * 100 + "[here] " + "word " * 100
    cut = excerpt(spans_of(text), 60)
    assert Span("here", marked=True) in cut
    assert cut[0] == Span("… ")
    assert cut[-1] == Span(" …")
    assert set(joined(cut).split()) == {"…", "word", "here"}


def lit(library: Engine, ids: list[int], *stems: str) -> list[Highlights]:
    with read(library) as connection:
        papers = papers_by_id(connection, [PaperId(i) for i in ids])
    return highlights(papers, set(stems), stem_of)


def test_matches_are_marked_by_the_stem(library: Engine) -> None:
    (shown,) = lit(library, [1], "decod", "repeat")
    assert Span("decoding", marked=True) in shown.title
    assert Span("repeats", marked=True) in shown.abstract


def test_a_paper_that_matches_no_word_shows_its_beginning(library: Engine) -> None:
    first, second = lit(library, [2, 1], "copi")
    (plain, _) = lit(library, [2, 1])
    assert first == plain
    assert first.title == (Span("State-space models for long sequences"),)
    assert first.abstract[0].text.startswith("The cost of attention")
    assert any(span.marked for span in second.title)
