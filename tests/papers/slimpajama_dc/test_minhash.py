"""Signatures, bands and their probabilities: against datasketch, and by the properties of sets."""

import hashlib
import random

import numpy as np
import pytest
from datasketch import MinHash
from datasketch.lsh import _optimal_param
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.errors import UsageError
from paperround.papers.slimpajama_dc import (
    band_keys,
    candidate_probability,
    char_shingles,
    clean_text,
    estimate_jaccard,
    optimal_bands,
    signature,
    signatures,
    true_jaccard,
    word_shingles,
)
from paperround.papers.slimpajama_dc.sha1 import sha1_32

EMPTY = 2**32 - 1
SENTENCE = "The quick brown fox jumps over the lazy dog, and the dog does not mind at all. "
any_text = st.text(alphabet=st.characters(), max_size=300)
plain = st.text(alphabet="abcdef ", min_size=13, max_size=200)


def theirs(text, unit="char", ngram=13, num_perm=128, seed=1, scheme="affine32"):
    """The signature that datasketch makes of the same shingles, one update each."""
    sketch = MinHash(num_perm=num_perm, seed=seed, scheme=scheme)
    shingles = char_shingles if unit == "char" else word_shingles
    for shingle in shingles(text, ngram):
        sketch.update(shingle.encode("utf-8", "surrogatepass"))
    return sketch.hashvalues


def words(n, seed):
    rng = random.Random(seed)
    return " ".join("".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(n))


@settings(max_examples=25, deadline=None)
@given(any_text)
def test_a_signature_is_datasketchs_bit_for_bit_for_any_text(text):
    assert (signature(text) == theirs(text)).all()


@pytest.mark.parametrize("scheme", ["affine32", "legacy"])
@pytest.mark.parametrize("unit", ["char", "word"])
@pytest.mark.parametrize(("ngram", "num_perm", "seed"), [(13, 128, 1), (5, 64, 7), (1, 1, 0)])
@pytest.mark.parametrize("text", [SENTENCE * 5, "日本語の文章は空白なしで書かれる。" * 9, "é" * 40])
def test_every_parameter_gives_datasketchs_signature(scheme, unit, ngram, num_perm, seed, text):
    ours = signature(text, num_perm=num_perm, ngram=ngram, unit=unit, seed=seed, scheme=scheme)
    assert (ours == theirs(text, unit, ngram, num_perm, seed, scheme)).all()


def test_words_longer_than_one_block_of_sha1_hash_as_datasketch_does():
    text = " ".join(["donaudampfschifffahrtsgesellschaft", "x", "kapitaen" * 9] * 20)
    assert (signature(text, unit="word") == theirs(text, unit="word")).all()


def test_a_text_longer_than_a_piece_has_the_signature_of_the_whole(monkeypatch):
    from paperround.papers.slimpajama_dc import minhash, sha1

    texts = [words(40, 1), "", words(90, 2), "short", words(3, 3)]
    whole = signatures(texts)
    monkeypatch.setattr(minhash, "_PIECE", 50)
    monkeypatch.setattr(minhash, "_BATCH_CHARS", 300)
    monkeypatch.setattr(sha1, "_CHUNK", 7)
    assert (signatures(texts) == whole).all()
    assert (whole[0] == theirs(texts[0])).all()


def test_a_batch_of_one_equals_one_of_a_batch():
    texts = [words(n, n) for n in (3, 50, 0, 200)] + ["", "ein kurzer Text", "ß" * 30]
    assert (signatures(texts) == np.stack([signature(text) for text in texts])).all()


def test_no_texts_have_no_signatures():
    assert signatures([]).shape == (0, 128)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=130), min_size=1, max_size=20))
def test_sha1_of_any_bytes_is_hashlibs(messages):
    data = b"".join(messages)
    ends = np.cumsum([len(message) for message in messages])
    starts = ends - [len(message) for message in messages]
    expected = [int.from_bytes(hashlib.sha1(m).digest()[:4], "little") for m in messages]
    assert sha1_32(data, starts, ends).tolist() == expected


@pytest.mark.parametrize("length", [0, 1, 3, 4, 13, 54, 55, 56, 63, 64, 65, 200])
def test_sha1_at_the_edges_of_a_block_is_hashlibs(length):
    data = bytes(range(200))[:length]
    expected = int.from_bytes(hashlib.sha1(data).digest()[:4], "little")
    assert sha1_32(data, np.array([0]), np.array([length])).tolist() == [expected]


@settings(max_examples=200)
@given(any_text)
def test_cleaning_twice_changes_nothing(text):
    assert clean_text(clean_text(text)) == clean_text(text)


def test_cleaning_lowers_drops_ascii_punctuation_and_joins_whitespace():
    assert clean_text("  Don't\tPANIC!\n\n(42%) ") == "dont panic 42"


def test_typographic_quotes_stay_and_composed_accents_equal_decomposed_ones():
    assert clean_text("“Cafe\u0301”") == "“caf\u00e9”"


def test_char_shingles_are_characters_and_word_shingles_words():
    assert char_shingles("abcd e", 5) == ["abcd ", "bcd e"]
    assert word_shingles("one two, three FOUR", 3) == ["one two three", "two three four"]
    assert char_shingles("twelve chars", 13) == []
    assert word_shingles("", 1) == []


@settings(max_examples=40, deadline=None)
@given(plain, st.integers(1, 4))
def test_repeating_shingles_leaves_the_signature_unchanged(text, times):
    # A text that repeats with period |text| has the shingles of two periods, however long it is.
    text = "x" + clean_text(text).replace(" ", "y") + "x"
    doubled = text * 2 if len(text) >= 13 else text * 20
    assert (signature(doubled + text * times) == signature(doubled)).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(words(12, 5).split()), min_size=1, max_size=30), st.randoms())
def test_the_order_of_shingles_leaves_the_signature_unchanged(tokens, rng):
    shuffled = tokens.copy()
    rng.shuffle(shuffled)
    ours = signature(" ".join(tokens), unit="word", ngram=1)
    assert (signature(" ".join(shuffled), unit="word", ngram=1) == ours).all()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from("abcdefghij"), min_size=1), st.lists(st.sampled_from("fghijklm")))
def test_the_signature_of_a_union_is_the_smaller_value_in_every_place(a, b):
    one = {"unit": "word", "ngram": 1}
    union = signature(" ".join(a + b), **one)
    assert (union == np.minimum(signature(" ".join(a), **one), signature(" ".join(b), **one))).all()


def test_the_estimate_is_unbiased_and_as_exact_as_theory_says():
    # Sets of words with a known Jaccard similarity s: 300 words, some of them shared.
    rng = random.Random(3)
    errors, expected, signed, texts, shares = [], [], [], [], []
    for pair in range(200):
        shared = rng.randrange(0, 300)
        pool = words(600 - shared, pair + 1000).split()
        texts += [" ".join(pool[:300]), " ".join(pool[300 - shared :])]
        shares.append(shared / (600 - shared))
        assert true_jaccard(*texts[-2:], ngram=1, unit="word") == pytest.approx(shares[-1])
    rows = signatures(texts, unit="word", ngram=1)
    for a, b, s in zip(rows[::2], rows[1::2], shares, strict=True):
        estimate = estimate_jaccard(a, b)
        errors.append(abs(estimate - s))
        signed.append(estimate - s)
        expected.append((s * (1 - s) / 128) ** 0.5)
    assert np.mean(errors) <= 1.2 * np.mean(expected)
    assert abs(np.mean(signed)) <= 3 * np.mean(expected) / 200**0.5


def test_equal_texts_are_estimated_equal_and_empty_ones_are_not():
    assert estimate_jaccard(signature(SENTENCE), signature(SENTENCE.upper())) == 1.0
    assert estimate_jaccard(signature(""), signature("")) == 0.0


def test_the_papers_bands_are_the_optimum_for_080():
    assert optimal_bands(0.8, 128) == (9, 13)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.5, 0.7, 0.85, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("num_perm", [16, 128])
def test_the_optimum_is_datasketchs(threshold, num_perm):
    assert optimal_bands(threshold, num_perm) == _optimal_param(threshold, num_perm, 0.5, 0.5)


@pytest.mark.parametrize(
    ("s", "expected"),
    [(0.0, 0), (0.5, 0.0011), (0.7, 0.084), (0.8, 0.399), (0.85, 0.686), (0.9, 0.929), (1.0, 1)],
)
def test_the_probability_of_a_candidate_is_the_papers_table(s, expected):
    assert candidate_probability(s) == pytest.approx(expected, abs=6e-4)


def test_candidates_appear_as_often_as_the_probability_says():
    texts = []
    for trial in range(400):
        pool = words(110, trial + 5000).split()
        # 90 of 110 words shared by both: s = 90 / 110
        texts += [" ".join(pool[:100]), " ".join(pool[10:])]
    keys = [set(band_keys(row)) for row in signatures(texts, unit="word", ngram=1)]
    met = sum(not one.isdisjoint(two) for one, two in zip(keys[::2], keys[1::2], strict=True))
    expected = candidate_probability(90 / 110)
    assert abs(met / 400 - expected) <= 4 * (expected * (1 - expected) / 400) ** 0.5


def test_a_band_key_depends_on_its_own_values_alone():
    row = signature(SENTENCE)
    changed = row.copy()
    changed[13] ^= 1
    same = [a == b for a, b in zip(band_keys(row), band_keys(changed), strict=True)]
    assert same == [True, False] + [True] * 7
    assert all(len(key) == 16 for key in band_keys(row))
    # The last 11 of 128 values are unused by 9 bands of 13 rows.
    changed = row.copy()
    changed[117:] ^= 1
    assert band_keys(changed) == band_keys(row)


def test_equal_values_in_two_bands_have_two_keys():
    assert len(set(band_keys(np.zeros(128, dtype=np.uint32)))) == 9


def test_a_text_without_shingles_has_no_band_keys():
    assert (signature("too short") == EMPTY).all()
    assert band_keys(signature("too short")) == []


def test_keys_are_the_same_in_every_process():
    # blake2b and SHA-1 are unsalted; this digest was written down when the test was.
    first = band_keys(np.arange(128, dtype=np.uint32))[0]
    values = b"".join(i.to_bytes(4, "big") for i in range(13))
    assert first == hashlib.blake2b(values, digest_size=16, salt=bytes(4)).digest()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: signature("x", ngram=0), "ngram is 0"),
        (lambda: signature("x", unit="line"), "unit is 'line'"),
        (lambda: signature("x", num_perm=0), "num_perm is 0"),
        (lambda: signature("x", scheme="sha"), "scheme is 'sha'"),
        (lambda: signatures("one string"), "one string"),
        (lambda: band_keys(signature("x"), 8, 17), "need 136 values; the signature has 128"),
        (lambda: band_keys(signature("x"), 0, 13), "at least 1"),
        (lambda: optimal_bands(1.2), "threshold is 1.2"),
        (lambda: optimal_bands(0.5, 0), "num_perm is 0"),
        (lambda: candidate_probability(-0.1), "not -0.1"),
        (lambda: candidate_probability(0.5, 9, 0), "at least 1"),
        (lambda: estimate_jaccard(np.zeros(3), np.zeros(4)), "cannot be compared"),
        (lambda: true_jaccard("a", "b", unit="x"), "unit is 'x'"),
    ],
)
def test_wrong_arguments_are_refused_with_their_value(call, says):
    with pytest.raises(UsageError, match=says.replace("(", r"\(")):
        call()
