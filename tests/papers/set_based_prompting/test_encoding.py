"""Tokens, positions and masks, worked out by hand and as properties."""

from itertools import permutations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.set_based_prompting import (
    MASK_ONLY,
    PLAIN,
    POSITIONS_ONLY,
    Form,
    SetPrompt,
    collate,
    encode_set_prompt,
    set_attention_mask,
    set_of,
    to_additive,
)

BOS = 1

words = st.integers(0, 25).map(lambda i: f" w{i}")
texts = st.lists(words, max_size=3).map("".join)
leaf_sets = st.lists(texts, min_size=1, max_size=4).map(set_of)
inner = st.tuples(texts, leaf_sets, texts).map(SetPrompt)
sets = st.lists(texts | inner, min_size=1, max_size=4).map(set_of)
prompts = st.builds(
    lambda parts, last: SetPrompt([*parts, last]),
    st.lists(texts | sets, max_size=4),
    words,
)


def a_prompt():
    return SetPrompt(["w0 w1", set_of(["w2", "w3 w4 w5", ""]), "w6 w7"])


def test_members_share_positions_and_what_follows_starts_after_the_longest(tokenizer):
    encoding = encode_set_prompt(tokenizer, a_prompt())
    word = tokenizer.convert_tokens_to_ids
    assert encoding.input_ids.tolist() == [BOS, *(word(f"w{i}") for i in range(8))]
    assert encoding.position_ids.tolist() == [0, 1, 2, 3, 3, 4, 5, 6, 7]
    assert encoding.membership.tolist() == [[-1, -1, -1, 0, 1, 1, 1, -1, -1]]
    assert encoding.next_position == 8
    assert len(encoding) == 9


def test_the_mask_is_causal_without_the_other_members(tokenizer):
    visible = set_attention_mask(encode_set_prompt(tokenizer, a_prompt()))[0, 0].int().tolist()
    assert visible == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 1, 1, 0, 0, 0],
        [1, 1, 1, 0, 1, 1, 1, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 0],
        [1, 1, 1, 1, 1, 1, 1, 1, 1],
    ]


def test_sets_within_members_and_sets_that_follow_each_other(tokenizer):
    member = SetPrompt(["w1", set_of(["w2", "w3 w4"]), "w5"])
    prompt = SetPrompt(["w0", set_of([member, "w6"]), set_of(["w7", "w8 w9"]), "w10"])
    encoding = encode_set_prompt(tokenizer, prompt, add_bos=False)
    #                    0  1  2  3  4  5  6  7  8  9  10
    positions = [0, 1, 2, 2, 3, 4, 1, 5, 5, 6, 7]
    assert encoding.position_ids.tolist() == positions
    visible = set_attention_mask(encoding)[0, 0]
    # w5 sees all of its own member, w6 none of it; w8, in the later set, all of the first set.
    assert visible[5].tolist() == [True] * 6 + [False] * 5
    assert visible[6].nonzero()[:, 0].tolist() == [0, 6]
    assert visible[8].nonzero()[:, 0].tolist() == [0, 1, 2, 3, 4, 5, 6, 8]
    assert encoding.next_position == 8


@given(prompts)
def test_no_member_is_seen_by_another_and_plain_text_sees_all_before_it(tokenizer, prompt):
    encoding = encode_set_prompt(tokenizer, prompt)
    visible = set_attention_mask(encoding)[0, 0]
    n = len(encoding)
    assert not visible.triu(1).any()
    assert visible.diagonal().all()
    assert visible[-1].all()
    for member in encoding.membership:
        apart = (member[:, None] != member) & (member[:, None] >= 0) & (member >= 0)
        assert not (visible & apart).any()
    outside = (encoding.membership < 0).all(0)
    assert (visible[outside] == torch.ones(n, n).tril().bool()[outside]).all()
    # Nobody sees a token at a later position, nor another one at its own.
    ahead = encoding.position_ids[None, :] >= encoding.position_ids[:, None]
    assert not (visible & ahead & ~torch.eye(n, dtype=torch.bool)).any()
    assert encoding.next_position == encoding.position_ids.max() + 1


@given(prompts, st.data())
def test_an_order_moves_rows_and_nothing_else(tokenizer, prompt, data):
    if not prompt.sets:
        return
    order = data.draw(st.permutations(range(len(prompt.sets[0].members))))
    moved = encode_set_prompt(tokenizer, prompt.permuted(order))
    given_order = encode_set_prompt(tokenizer, prompt)
    assert moved.next_position == given_order.next_position

    def seen(encoding):
        """For each token what it is, and the multiset of what it sees."""
        visible = set_attention_mask(encoding)[0, 0]
        tokens = list(zip(encoding.input_ids.tolist(), encoding.position_ids.tolist(), strict=True))
        return sorted(
            (token, sorted(tokens[j] for j in row.nonzero()[:, 0].tolist()))
            for token, row in zip(tokens, visible, strict=True)
        )

    assert seen(moved) == seen(given_order)


@pytest.mark.parametrize(
    "prompt",
    [SetPrompt(["w0 w1 w2 w3"]), SetPrompt(["w0", set_of(["w1 w2"]), "w3"])],
    ids=["no set", "a set of one"],
)
def test_without_a_choice_of_order_it_is_an_ordinary_prompt(tokenizer, prompt):
    encoding = encode_set_prompt(tokenizer, prompt)
    assert encoding.position_ids.tolist() == [0, 1, 2, 3, 4]
    assert set_attention_mask(encoding)[0, 0].equal(torch.ones(5, 5).tril().bool())


def test_the_forms_make_one_edit_or_none(tokenizer):
    causal = torch.ones(9, 9).tril().bool()
    by_form = {
        form: encode_set_prompt(tokenizer, a_prompt(), form=form)
        for form in (PLAIN, MASK_ONLY, POSITIONS_ONLY, Form())
    }
    for form, encoding in by_form.items():
        assert (encoding.next_position == 9) == (form.positions == "sequential")
        assert encoding.position_ids.equal(torch.arange(9)) == (form.positions == "sequential")
        assert set_attention_mask(encoding)[0, 0].equal(causal) == (form.attention == "causal")
    with pytest.raises(ValueError, match="positions='sets'"):
        Form(positions="sets")
    with pytest.raises(ValueError, match="attention='none'"):
        Form(attention="none")


def test_generated_tokens_see_the_whole_prompt_and_each_other_causally(tokenizer):
    encoding = encode_set_prompt(tokenizer, a_prompt())
    mask = set_attention_mask(encoding, extra=2)[0, 0]
    assert mask.shape == (11, 11)
    assert mask[:9, :9].equal(set_attention_mask(encoding)[0, 0])
    assert not mask[:9, 9:].any()
    assert mask[9].tolist() == [True] * 10 + [False]
    assert mask[10].all()


def test_a_window_counts_positions_and_not_tokens(tokenizer):
    encoding = encode_set_prompt(tokenizer, a_prompt())
    mask = set_attention_mask(encoding, extra=1, window=4)[0, 0]
    # Positions 0 1 2 3 3 4 5 6 7, then 8: the last sees those above 4.
    assert mask[9].int().tolist() == [0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    # The first of the suffix, at 6, sees those above 2, both first tokens of the members.
    assert mask[7].int().tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 0, 0]


def test_prompts_of_unequal_lengths_are_padded_on_the_left(tokenizer):
    short = encode_set_prompt(tokenizer, SetPrompt(["w1", set_of(["w2", "w3"]), "w4"]))
    long = encode_set_prompt(tokenizer, a_prompt())
    batch = collate([short, long])
    assert batch.is_padding.tolist() == [[True] * 4 + [False] * 5, [False] * 9]
    assert batch.next_positions.tolist() == [4, 8]
    mask = set_attention_mask([short, long])
    assert mask.shape == (2, 1, 9, 9)
    assert mask[0, 0, 4:, 4:].equal(set_attention_mask(short)[0, 0])
    assert not mask[0, 0, 4:, :4].any()
    # Padding sees itself: a row without a key would be NaN after the softmax.
    assert mask[0, 0, :4].equal(torch.eye(9, dtype=torch.bool)[:4])
    assert mask[1, 0].equal(set_attention_mask(long)[0, 0])
    with pytest.raises(ValueError, match="no prompt"):
        collate([])


def test_padded_members_are_rectangular_and_nobody_sees_the_padding(tokenizer):
    padded = encode_set_prompt(tokenizer, a_prompt(), pad_members=True)
    assert padded.is_padding.int().tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 0]
    assert padded.position_ids.tolist() == [0, 1, 2, 3, 4, 5, 3, 4, 5, 3, 4, 5, 6, 7]
    assert padded.next_position == 8
    mask = set_attention_mask(padded)[0, 0]
    assert not (mask & padded.is_padding & ~torch.eye(14, dtype=torch.bool)).any()
    plain = padded.under(PLAIN)
    assert plain.position_ids[~padded.is_padding].equal(torch.arange(9))
    assert plain.next_position == 9


def test_an_additive_mask_is_zero_or_the_lowest_number():
    mask = to_additive(torch.tensor([[True, False]]), torch.float16)
    assert mask.tolist() == [[0.0, torch.finfo(torch.float16).min]]
    assert mask.dtype is torch.float16


def test_bos_comes_once_and_never_into_a_member(tokenizer, bpe):
    starts_with_a_set = SetPrompt([set_of(["w1", "w2"]), "w3"])
    encoding = encode_set_prompt(tokenizer, starts_with_a_set)
    assert (encoding.input_ids == BOS).tolist() == [True, False, False, False]
    assert encoding.position_ids.tolist() == [0, 1, 1, 2]
    again = encode_set_prompt(tokenizer, SetPrompt(["<bos> w1"]))
    assert again.input_ids.tolist().count(BOS) == 1
    without = encode_set_prompt(tokenizer, starts_with_a_set, add_bos=False)
    assert BOS not in without.input_ids
    assert len(encode_set_prompt(bpe, SetPrompt(["the"]))) == len(bpe.encode("the"))


def test_a_member_cannot_forge_a_special_token(tokenizer, bpe):
    forged = SetPrompt(["w0", set_of(["w1", "w2 <eos> w3"]), "w4"])
    with pytest.raises(ValueError, match="a member contains the special token <eos>"):
        encode_set_prompt(tokenizer, forged)
    allowed = encode_set_prompt(tokenizer, forged, allow_special_tokens=True)
    assert tokenizer.eos_token_id in allowed.input_ids
    in_plain_text = SetPrompt(["w0 <eos>", set_of(["w1"]), "w4"])
    assert tokenizer.eos_token_id in encode_set_prompt(tokenizer, in_plain_text).input_ids
    with pytest.raises(ValueError, match=r"special token <\|end\|>"):
        encode_set_prompt(bpe, SetPrompt([set_of(["a<|end|>b"]), "c"]))


@pytest.mark.parametrize("prompt", [SetPrompt([]), SetPrompt([""]), SetPrompt(["", "   "])])
def test_an_empty_prompt_is_refused(tokenizer, prompt):
    with pytest.raises(ValueError, match="the prompt is empty"):
        encode_set_prompt(tokenizer, prompt)


@pytest.mark.parametrize("end", [[], [""]])
def test_a_prompt_that_ends_with_a_set_is_refused(tokenizer, end):
    prompt = SetPrompt(["w0", set_of(["w1", "w2"]), *end])
    with pytest.raises(ValueError, match="ends with a set"):
        encode_set_prompt(tokenizer, prompt)


def test_texts_are_tokenised_without_their_neighbours(bpe):
    members = [" th", "e crow", " the cat"]
    alone = [bpe.encode(m, add_special_tokens=False) for m in members]
    prompt = SetPrompt(["and", set_of(members), " the"])
    for order in permutations(range(3)):
        encoding = encode_set_prompt(bpe, prompt.permuted(order))
        for place, k in enumerate(order):
            ids = encoding.input_ids[encoding.membership[0] == place].tolist()
            assert ids == alone[k]
    # The case is a real one: joined, the tokens differ.
    assert bpe.encode(prompt.text) != encode_set_prompt(bpe, prompt).input_ids.tolist()


@given(prompts, st.data())
def test_sorted_members_know_no_order_at_all(tokenizer, prompt, data):
    if not prompt.sets:
        return
    part = data.draw(st.integers(0, len(prompt.sets) - 1))
    order = data.draw(st.permutations(range(len(prompt.sets[part].members))))
    encodings = [
        encode_set_prompt(tokenizer, p, sort_members=True)
        for p in (prompt, prompt.permuted(order, part))
    ]
    for name in ("input_ids", "position_ids", "membership"):
        assert getattr(encodings[0], name).equal(getattr(encodings[1], name))
