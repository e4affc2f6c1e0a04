"""Pairs and their vocabulary."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paperround.errors import AssetError
from paperround.kit import translation
from paperround.kit.assets import declared_assets
from paperround.kit.translation import (
    PLACEHOLDER,
    Pair,
    begin_words,
    learn_tokenizer,
    normalised,
    read_multi30k,
    word_ends,
)


def files(folder, english, german, split="val"):
    for language, lines in (("en", english), ("de", german)):
        path = folder / f"{split}.{language}.gz"
        path.write_bytes(gzip.compress("".join(f"{line}\n" for line in lines).encode()))


def test_pairs_are_read_normalised_and_in_the_direction_asked_for(tmp_path):
    files(tmp_path, ["A “man”  sleeps.", "Two Dogs"], ["Ein „Mann“ schläft.", "Zwei Hunde"])
    assert read_multi30k(tmp_path, "val") == [
        Pair('a "man" sleeps.', 'ein "mann" schläft.'),
        Pair("two dogs", "zwei hunde"),
    ]
    assert read_multi30k(tmp_path, "val", source="de", target="en")[1] == ("zwei hunde", "two dogs")


def test_a_pair_without_a_side_is_left_out_and_uneven_files_are_refused(tmp_path):
    files(tmp_path, ["one", "  "], ["eins", "zwei"])
    assert read_multi30k(tmp_path, "val") == [("one", "eins")]
    files(tmp_path, ["one", "two"], ["eins"])
    with pytest.raises(AssetError, match="2 lines of en and 1 of de"):
        read_multi30k(tmp_path, "val")


def test_the_test_split_is_that_of_2016(tmp_path):
    files(tmp_path, ["one"], ["eins"], split="test_2016_flickr")
    assert read_multi30k(tmp_path, "test") == [("one", "eins")]
    assert "test_2016_flickr.de.gz" in declared_assets()["multi30k"].files


@given(st.text())
def test_normalising_twice_changes_nothing_more(text):
    once = normalised(text)
    assert normalised(once) == once
    assert once == once.strip()
    assert "  " not in once


def test_special_ids_are_five_different_ones_and_placeholder_is_not_unknown(tokenizer):
    named = [
        tokenizer.pad_token_id,
        tokenizer.bos_token_id,
        tokenizer.eos_token_id,
        tokenizer.unk_token_id,
        tokenizer.mask_token_id,
    ]
    assert named == [0, 1, 2, 3, 4]
    assert tokenizer.convert_tokens_to_ids(PLACEHOLDER) == 4
    assert len(tokenizer) <= 50


def test_a_text_ends_with_its_end_and_comes_back_when_decoded(tokenizer, pairs):
    for text in pairs[0]:
        ids = tokenizer(text)["input_ids"]
        assert ids[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


@given(st.lists(st.sampled_from(["dog", "dog,", '"cat"', "tree.", "manball", "x-y", "ß"])))
def test_a_text_is_encoded_word_by_word(words):
    tokenizer = learn_tokenizer([Pair("dog cat tree", 'man , . " ball ß x-y')], 60)
    whole = tokenizer(" ".join(words), add_special_tokens=False)["input_ids"]
    parts = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    assert whole == [number for part in parts for number in part]
    ends = word_ends(whole, begin_words(tokenizer))
    assert ends == [sum(map(len, parts[: i + 1])) for i in range(len(words))]


def test_signs_are_pieces_of_their_own():
    tokenizer = learn_tokenizer([Pair("a dog. a dog. a dog.", "dog, dog, dog,")] * 9, 60)
    assert tokenizer.tokenize("a dog.")[-1] == "."


def test_what_was_never_seen_is_unknown(tokenizer):
    assert tokenizer("猫")["input_ids"].count(tokenizer.unk_token_id) == 1


def test_every_public_name_can_be_had_and_no_other():
    for name in translation.__all__:
        assert getattr(translation, name) is not None
    assert set(translation.__all__) <= set(dir(translation))
    with pytest.raises(AttributeError, match="attribute interpret"):
        _ = translation.interpret
