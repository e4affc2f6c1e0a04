"""Planted copies: the truth that the reproduction measures against must be true."""

import random
from collections import Counter

import pytest

from paperround.papers.slimpajama_dc import char_shingles, true_jaccard
from paperround.papers.slimpajama_dc.baselines import all_jaccard, components, exact_hash_copies
from paperround.papers.slimpajama_dc.corpora import abstracts, split
from paperround.papers.slimpajama_dc.planting import (
    SHARES,
    Document,
    frequent_words,
    near_copy,
    plant,
    shingle_jaccard,
)


def documents(n=200):
    rng = random.Random(8)
    words = ["".join(rng.choices("abcdefghijklmnop", k=rng.randint(2, 9))) for _ in range(400)]
    return [
        Document(f"d{i}", ("web", "news", "wiki")[i % 3], " ".join(rng.choices(words, k=120)))
        for i in range(n)
    ]


@pytest.mark.parametrize("target", [0.95, 0.9, 0.8, 0.6])
def test_near_copies_are_about_as_near_as_asked(target):
    docs = documents(30)
    rng, words = random.Random(0), frequent_words(docs)
    measured = [true_jaccard(d.text, near_copy(d.text, target, words, rng)) for d in docs]
    assert abs(sum(measured) / len(measured) - target) <= 0.04


def test_every_copy_is_what_the_truth_says():
    docs = documents()
    corpus, copies = plant(docs, frequent_words(docs), seed=1)
    by_id = {doc.id: doc for doc in corpus}
    assert len(by_id) == len(corpus) == len(docs) + len(copies)
    counts = Counter(copy.kind for copy in copies)
    assert {kind: counts[kind] for kind in SHARES} == {
        kind: sum(round(share * n) for n in Counter(d.source for d in docs).values())
        for kind, share in SHARES.items()
    }
    assert len({copy.original for copy in copies}) == len(copies)
    for copy in copies:
        ours, theirs = by_id[copy.id], by_id[copy.original]
        assert copy.jaccard == pytest.approx(true_jaccard(ours.text, theirs.text))
        assert (ours.source == theirs.source) == (copy.kind in ("exact", "near"))
        assert (ours.text == theirs.text) == (copy.kind in ("exact", "cross"))
        assert copy.kind == "near" or copy.jaccard == 1.0


def test_planting_repeats_itself_and_differs_by_seed():
    docs = documents(60)
    words = frequent_words(docs)
    assert plant(docs, words, 1) == plant(docs, words, 1)
    assert plant(docs, words, 1) != plant(docs, words, 2)
    with pytest.raises(ValueError, match="at least two sources"):
        plant([docs[0]], words, 1)


def test_all_pairs_and_one_against_many_are_the_true_jaccard():
    docs = documents(6)
    texts = [doc.text for doc in docs] + [docs[0].text + " and more", "short"]
    table = all_jaccard(texts)
    for i, a in enumerate(texts):
        for j, b in enumerate(texts):
            assert table[i, j] == pytest.approx(true_jaccard(a, b))
            assert shingle_jaccard(set(char_shingles(a)), b) == pytest.approx(true_jaccard(a, b))


def test_the_exact_hash_sees_layout_as_equal_and_any_other_word_as_different():
    docs = [Document(str(i), "s", t) for i, t in enumerate(["One two.", "one  TWO", "one three"])]
    assert exact_hash_copies(docs) == {"1": "0"}


def test_components_join_chains():
    assert components(6, {(1, 0), (2, 1), (5, 4)}) == {frozenset({0, 1, 2}), frozenset({4, 5})}
    assert components(3, set()) == set()


def test_documents_are_split_within_their_bounds_and_lose_no_text_but_the_rest():
    text = "\n".join("word " * n for n in (10, 80, 500, 3, 1_000)) + "\ntail"
    pieces = split(text)
    assert all(300 <= len(piece) <= 2_000 for piece in pieces)
    assert sum(piece.count("word") for piece in pieces) >= 1_593 - 60


def test_an_abstracts_source_is_its_primary_category():
    lines = [
        '{"id": "1", "categories": ["cs.CV", "cs.AI"], "abstract": "a"}',
        '{"id": "2", "categories": ["math.CO"], "abstract": "b"}',
        '{"id": "3", "categories": [], "abstract": "c"}',
    ]
    assert [doc.source for doc in abstracts(lines)] == ["cs.CV", "other", "other"]
