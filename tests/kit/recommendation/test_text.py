import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from paperround.errors import AssetError, UsageError
from paperround.kit.recommendation.interactions import build_log
from paperround.kit.recommendation.item_text import ItemText, load_item_text
from paperround.kit.recommendation.text import (
    TextEncoder,
    item_vectors,
    minilm,
    nearest_neighbours,
    text_vectors,
    tfidf,
    transformer_encoder,
    whitened,
)

TITLES = {
    "a": "red nail polish",
    "b": "blue nail polish",
    "c": "shampoo for dry hair",
    "d": "conditioner for dry hair",
}


def _lengths(calls: list[list[str]]) -> TextEncoder:
    """An encoder that can be checked by hand, and says what it was asked."""

    def encode(texts):
        calls.append(list(texts))
        return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    return TextEncoder("lengths", encode)


def test_a_text_is_the_title_and_the_attributes():
    text = ItemText({1: "GoldenEye (1995)", 2: " "}, {1: ("Action", "Thriller"), 3: ("Drama",)})
    assert text.texts([1, 2, 3, 4]) == ["GoldenEye (1995). Action, Thriller", "", "Drama", ""]
    assert text.of(1, with_attributes=False) == "GoldenEye (1995)"


def test_vectors_stand_at_their_items_codes_and_padding_has_none(tmp_path):
    log = build_log(["u"] * 3, ["b", "nameless", "a"])
    vectors = item_vectors(log, ItemText(TITLES), _lengths([]), cache=tmp_path)
    assert vectors.tolist() == [[0, 0], [16, 1], [0, 0], [15, 1]]


def test_each_text_is_encoded_once_and_then_never_again(tmp_path):
    calls: list[list[str]] = []
    first = text_vectors(_lengths(calls), ["ab", "c", "ab", "  "], cache=tmp_path)
    again = text_vectors(_lengths(calls), ["ab", "c", "ab", "  "], cache=tmp_path)
    assert first.tolist() == again.tolist() == [[2, 1], [1, 1], [2, 1], [0, 0]]
    assert calls == [["ab", "c"]]


@pytest.mark.parametrize("texts", [["a", "bc"], ["ab", "c", ""], ["ab"], ["c", "ab"]])
def test_other_texts_or_another_encoder_are_never_taken_from_the_cache(tmp_path, texts):
    calls: list[list[str]] = []
    text_vectors(_lengths([]), ["ab", "c"], cache=tmp_path)
    text_vectors(_lengths(calls), texts, cache=tmp_path)
    text_vectors(TextEncoder("other", _lengths(calls).encode), ["ab", "c"], cache=tmp_path)
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (np.zeros((1, 4)), r"gave \(1, 4\) for 2 texts"),
        (np.zeros(2), r"gave \(2,\) for 2 texts"),
        (np.full((2, 4), np.nan), "not finite"),
    ],
)
def test_an_encoder_that_gives_no_row_each_is_named_and_nothing_is_kept(tmp_path, rows, said):
    with pytest.raises(UsageError, match=f"the encoder broken .*{said}"):
        text_vectors(TextEncoder("broken", lambda texts: rows), ["a", "b"], cache=tmp_path)
    assert not list(tmp_path.iterdir())


def test_titles_of_another_list_are_refused(tmp_path):
    log = build_log(["u"], [17])
    with pytest.raises(UsageError, match=r"none of 1 items has a text; .* such as 17, .* as 'a'"):
        item_vectors(log, ItemText(TITLES), _lengths([]), cache=tmp_path)


def test_shared_words_make_titles_near(tmp_path):
    vectors = text_vectors(tfidf(3), list(TITLES.values()), cache=tmp_path)
    near = nearest_neighbours(vectors, k=1)
    assert near.rows[:, 0].tolist() == [1, 0, 3, 2]


def test_fewer_words_than_dimensions_leave_zeros_and_nothing_breaks(tmp_path):
    vectors = text_vectors(tfidf(64), ["one two", "one three", "four"], cache=tmp_path)
    assert vectors.shape == (3, 64)
    assert np.isfinite(vectors).all()
    assert text_vectors(tfidf(8), ["alone"], cache=tmp_path).shape == (1, 8)
    assert text_vectors(tfidf(8), ["", "!?"], cache=tmp_path).shape == (2, 8)


def test_meaning_makes_titles_near_without_a_shared_word(tmp_path):
    texts = ["lipstick", "mascara and eyeliner", "motor oil", "brake fluid"]
    try:
        vectors = text_vectors(minilm(), texts, cache=tmp_path)
    except AssetError as error:
        pytest.skip(f"no embedding model: {error}")
    assert nearest_neighbours(vectors, k=1).rows[:, 0].tolist() == [1, 0, 3, 2]


def test_a_transformer_gives_the_mean_over_a_texts_own_tokens():
    import torch
    from transformers import BertConfig, BertModel, BertTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "blue", "polish"]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
    )
    model = BertModel(config).eval()
    texts = ["red", "blue polish red", "polish"]
    rows = transformer_encoder(model, tokenizer, "tiny", batch_size=2).encode(texts)
    for text, row in zip(texts, rows, strict=True):
        with torch.no_grad():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        assert row == pytest.approx(hidden.mean(dim=0).numpy(), abs=1e-5)
    assert transformer_encoder(model, tokenizer, "tiny").encode([]).shape == (0, 8)


def test_whitening_spreads_a_narrow_cone_and_leaves_zeros():
    rng = np.random.default_rng(0)
    narrow = (np.array([5.0, 5.0, 5.0]) + rng.normal(size=(200, 3)) * [1, 0.1, 0.01]).astype("f4")
    narrow[7] = 0
    spread = whitened(narrow)
    some = np.delete(spread, 7, axis=0)
    assert np.cov(some.T) == pytest.approx(np.eye(3), abs=1e-3)
    assert some.mean(axis=0) == pytest.approx(np.zeros(3), abs=1e-4)
    assert not spread[7].any()
    # The first components are those of the largest variance.
    assert whitened(narrow, 1)[:, 0] == pytest.approx(spread[:, 0])


def _brute_force(vectors, k, groups):
    """Each row's nearest by a sort over Python numbers."""
    found = []
    for row, vector in enumerate(vectors):
        scored = [
            (-float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)), number)
            for number, other in enumerate(vectors)
            if number != row
            and vector.any()
            and other.any()
            and (groups is None or groups[number] != groups[row])
        ]
        found.append([-cosine for cosine, _ in sorted(scored)[:k]])
    return found


@given(
    arrays.arrays(
        np.float32, st.tuples(st.integers(1, 12), st.just(3)), elements=st.integers(-3, 3)
    ),
    st.integers(1, 14),
    st.booleans(),
)
def test_neighbours_are_those_of_a_full_sort(vectors, k, grouped):
    groups = np.arange(len(vectors)) // 3 if grouped else None
    near = nearest_neighbours(vectors, k, groups=groups)
    for row, cosines in enumerate(_brute_force(vectors.astype(np.float64), k, groups)):
        ours = near.of(row)
        assert near.similarity[row, : len(ours)].tolist() == pytest.approx(cosines, abs=1e-5)
        assert row not in ours
        assert len(set(ours.tolist())) == len(ours)
        assert vectors[ours].any(axis=1).all()
        assert groups is None or (groups[ours] != groups[row]).all()
        assert (np.diff(near.similarity[row, : len(ours)]) <= 0).all()
        assert (near.rows[row, len(ours) :] == -1).all()


def test_equal_neighbours_stand_in_the_order_of_their_numbers():
    near = nearest_neighbours(np.array([[1.0, 0], [0, 1], [2, 0], [3, 0]], dtype=np.float32), k=2)
    assert near.rows[0].tolist() == [2, 3]
    assert near.rows[1].tolist() == [0, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"k": 0}, "k must be at least 1"), ({"groups": np.arange(2)}, "2 groups for 3 rows")],
)
def test_a_question_without_sense_is_refused(arguments, said):
    with pytest.raises(UsageError, match=said):
        nearest_neighbours(np.eye(3, dtype=np.float32), **arguments)


def test_every_film_of_movielens_has_a_title_and_genres():
    try:
        text = load_item_text("ml-100k")
    except AssetError as error:
        pytest.skip(f"no MovieLens-100K: {error}")
    assert text.of("2") == "GoldenEye (1995). Action, Adventure, Thriller"
    assert len(text.titles) == 1682


@pytest.mark.parametrize(
    ("name", "item", "said"),
    [
        ("ml-1m", "1", "Toy Story (1995). Animation, Children's, Comedy"),
        (
            "amazon-beauty",
            "1",
            "OPI Nail Lacquer, Simmer and Shimmer, 0.5-Fluid Ounce. OPI, Makeup, Nails, "
            "Nail Polish",
        ),
    ],
)
def test_titles_of_the_other_data_sets_stand_at_their_logs_ids(name, item, said):
    try:
        assert load_item_text(name).of(item) == said
    except AssetError as error:
        pytest.skip(f"no {name}: {error}")


def test_a_data_set_without_texts_is_refused():
    with pytest.raises(UsageError, match="no item texts of 'amazon-toys'; there are ml-100k"):
        load_item_text("amazon-toys")
