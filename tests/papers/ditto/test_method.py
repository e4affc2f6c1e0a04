"""The builder of pseudo-repetitions and the loss, against the plain form and the equations."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paperround.papers.ditto.method import (
    END_TOKENS,
    build_pseudo_repetition,
    ditto_loss,
    end_token_ids,
)
from paperround.papers.ditto.plain import plain_loss, plain_rows

END = 1
token_rows = st.lists(
    st.lists(st.sampled_from([END, 2, 3, 4, 5, 6, 7]), min_size=24, max_size=24),
    min_size=1,
    max_size=4,
)
seeds = st.integers(0, 2**31)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def built(rows, seed=0, **how):
    return build_pseudo_repetition(torch.tensor(rows), {END}, generator=generator(seed), **how)


def sequence(pseudo, row=0):
    return [*pseudo.input_ids[row].tolist(), pseudo.labels[row, -1].item()]


def shape(pseudo, row=0):
    """P and L of a row, read from where its mask begins and where it points."""
    first = int(pseudo.mask[row].int().argmax())
    n_copy = first - int(pseudo.prev_index[row, first])
    return first - n_copy, n_copy


def test_a_row_is_the_previous_sentence_and_then_one_sentence_again_and_again():
    # Sentences: 2 3 . | 4 5 6 . | 7 2 . ; the only choice is j = 1.
    row = [2, 3, END, 4, 5, 6, END, 7, 2, END]
    # Wide enough for L <= T / 3, with the end mark before the sentence in every copy.
    pseudo = built([row], length=13)
    assert sequence(pseudo) == [4, 5, 6, END, 7, 2, END, 7, 2, END, 7, 2, END, 7]
    assert shape(pseudo) == (3, 3)
    assert pseudo.mask[0].tolist() == [False] * 6 + [True] * 7
    assert pseudo.prev_index[0].tolist() == [-1] * 6 + list(range(3, 10))


@given(token_rows, seeds, st.integers(6, 40))
def test_every_row_is_one_of_those_of_the_plain_form(rows, seed, length):
    pseudo = built(rows, seed, length=length)
    for i, source in enumerate(pseudo.row_index.tolist()):
        plain = plain_rows(rows[source], {END}, length)
        assert (sequence(pseudo, i), *shape(pseudo, i)) in plain


@given(token_rows, seeds)
def test_a_target_equals_the_one_a_copy_earlier_wherever_the_mask_is(rows, seed):
    pseudo = built(rows, seed)
    for i in range(len(pseudo)):
        labels, earlier = pseudo.labels[i], pseudo.prev_index[i]
        masked = pseudo.mask[i]
        assert torch.equal(labels[masked], labels[earlier[masked]])
        assert (earlier[~masked] == -1).all()


@given(token_rows, seeds)
def test_the_mask_counts_all_tokens_but_the_prefix_and_the_first_copy(rows, seed):
    pseudo = built(rows, seed)
    for i in range(len(pseudo)):
        n_prefix, n_copy = shape(pseudo, i)
        assert pseudo.mask[i].sum() == pseudo.mask.shape[1] - n_prefix - n_copy


@given(token_rows, seeds, st.integers(1, 6), st.integers(0, 8))
def test_copies_are_as_long_as_allowed_and_two_fit(rows, seed, min_len, more):
    pseudo = built(rows, seed, min_len=min_len, max_len=min_len + more)
    for i in range(len(pseudo)):
        n_prefix, n_copy = shape(pseudo, i)
        assert min_len <= n_copy <= min_len + more
        assert n_prefix + 2 * n_copy <= pseudo.mask.shape[1]


@given(token_rows, seeds)
def test_a_row_is_left_out_only_where_no_sentence_fits(rows, seed):
    pseudo = built(rows, seed, min_len=3)
    fitting = [
        i
        for i, row in enumerate(rows)
        if any(
            3 <= n_copy <= 8 and n_prefix + 2 * n_copy <= 24
            for _, n_prefix, n_copy in plain_rows(row, {END}, 24)
        )
    ]
    assert pseudo.row_index.tolist() == fitting


def test_a_batch_without_any_sentence_gives_no_rows():
    pseudo = built([[2] * 12, [END] + [3] * 11])
    assert len(pseudo) == 0
    assert pseudo.labels.shape == pseudo.mask.shape == (0, 12)


def test_every_sentence_that_fits_is_chosen_about_equally_often():
    row = [2, 3, END, 4, 5, END, 5, 6, END, 6, 7, END, 7, 2, END]
    rng = generator(5)
    starts = [
        build_pseudo_repetition(torch.tensor([row]), {END}, generator=rng).input_ids[0, 0].item()
        for _ in range(600)
    ]
    # j in 1..3: the prefixes start with 4, 5, 6.
    assert sorted(set(starts)) == [4, 5, 6]
    assert all(150 < starts.count(token) < 250 for token in (4, 5, 6))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_nothing(side):
    row = [2, 3, END, 4, 5, 6, END, 7, 2, END, 3, 3, END]
    padding = [0, END, 0, END, 0]
    padded = row + padding if side == "right" else padding + row
    seen = [1] * len(row) + [0] * 5 if side == "right" else [0] * 5 + [1] * len(row)
    alone = built([row], seed=3, length=18)
    among = built([padded], seed=3, attention_mask=torch.tensor([seen]))
    assert sequence(alone) == sequence(among)


def test_a_prompt_becomes_the_prefix_and_the_answer_gives_the_sentence():
    prompt, answer = [7, 7, END, 6], [2, 3, END, 4, 5, END, 3]
    labels = [-100] * len(prompt) + answer
    starts = set()
    for seed in range(20):
        pseudo = built([prompt + answer], seed, labels=torch.tensor([labels]), length=16)
        row = sequence(pseudo)
        assert row[:4] == prompt
        # A copy ends with its own end mark.
        assert row[4:10] in ([2, 3, END, 2, 3, END], [4, 5, END, 4, 5, END])
        starts.add(row[4])
    assert starts == {2, 4}


def test_an_answer_of_one_sentence_is_enough_and_an_ignored_row_is_left_out():
    rows = [[7, 6, 2, 3, 4, END], [7, 6, 2, 3, 4, END]]
    labels = [[-100, -100, 2, 3, 4, END], [-100] * 6]
    pseudo = built(rows, labels=torch.tensor(labels), length=12)
    assert pseudo.row_index.tolist() == [0]
    assert sequence(pseudo)[:10] == [7, 6, 2, 3, 4, END, 2, 3, 4, END]


@pytest.mark.parametrize(
    ("how", "word"),
    [
        ({"min_len": 0}, "min_len"),
        ({"min_len": 5, "max_len": 4}, "max_len"),
        ({"length": 0}, "length"),
        ({"attention_mask": torch.ones(1, 3)}, "attention_mask"),
        ({"labels": torch.ones(2, 24)}, "labels"),
    ],
)
def test_what_cannot_be_is_refused_by_name(how, word):
    with pytest.raises(ValueError, match=word):
        built([[2] * 24], **how)


def test_no_end_marks_and_no_rows_of_tokens_are_refused():
    with pytest.raises(ValueError, match="end_ids is empty"):
        build_pseudo_repetition(torch.ones(1, 5, dtype=torch.long), [])
    with pytest.raises(ValueError, match="dimensions"):
        build_pseudo_repetition(torch.ones(5, dtype=torch.long), {END})


# The loss.


def repeated(probabilities, n_prefix, n_copy, vocabulary=5):
    """Logits that give target 0 at place t the probability `probabilities[t]`, and the batch."""
    p = torch.tensor([probabilities], dtype=torch.float64)
    rest = (1 - p) / (vocabulary - 1)
    logits = torch.cat([p.unsqueeze(-1), rest.unsqueeze(-1).expand(-1, -1, vocabulary - 1)], -1)
    places = torch.arange(p.shape[1])[None]
    mask = places >= n_prefix + n_copy
    return logits.log(), torch.zeros_like(places), torch.where(mask, places - n_copy, -1), mask


probabilities = st.lists(st.floats(1e-3, 0.99), min_size=6, max_size=20)


@given(probabilities, st.integers(0, 2), st.integers(1, 3), st.floats(0, 1))
@pytest.mark.parametrize("kind", ["nl", "nl_clip", "mse"])
def test_the_loss_is_the_plain_one(kind, p, n_prefix, n_copy, lam):
    loss = ditto_loss(*repeated(p, n_prefix, n_copy), lam=lam, kind=kind)
    assert loss.item() == pytest.approx(plain_loss(p, n_prefix, n_copy, lam, kind), abs=1e-4)


@given(st.floats(1e-3, 1), st.floats(0.05, 1), st.integers(1, 3))
def test_probabilities_that_decay_by_lambda_cost_nothing(p, lam, n_copy):
    p = min(p, 1 - 1e-6)
    decaying = [p * lam ** (t // n_copy) for t in range(6)]
    assert ditto_loss(*repeated(decaying, 0, n_copy), lam=lam).item() <= 5e-7


@given(st.floats(1e-4, 1 - 1e-4), st.integers(6, 15))
def test_with_lambda_one_a_constant_probability_costs_nothing(p, n):
    assert ditto_loss(*repeated([p] * n, 1, 2), lam=1.0).item() <= 5e-7


@given(probabilities, st.floats(0, 1))
def test_punishing_both_sides_costs_at_least_as_much_and_equally_above(p, lam):
    batch = repeated(p, 0, 2)
    both = ditto_loss(*batch, lam=lam, kind="nl", reduction="none")[0]
    clipped = ditto_loss(*batch, lam=lam, kind="nl_clip", reduction="none")[0]
    assert (both >= clipped - 1e-7).all()
    for t in range(2, len(p)):
        if p[t] > lam * p[t - 2] + 1e-6:
            assert both[t].item() == pytest.approx(clipped[t].item(), abs=1e-6)


def test_only_the_later_copy_gets_a_gradient():
    torch.manual_seed(0)
    logits = torch.randn(1, 4, 6, requires_grad=True)
    labels = torch.tensor([[2, 3, 2, 3]])
    prev_index = torch.tensor([[-1, -1, 0, 1]])
    mask = torch.tensor([[False, False, True, True]])
    ditto_loss(logits, labels, prev_index, mask).backward()
    assert logits.grad[0, :2].abs().max() == 0
    assert (logits.grad[0, 2:].abs().sum(-1) > 0).all()


@pytest.mark.parametrize("kind", ["nl", "nl_clip", "mse"])
def test_the_gradient_is_that_of_finite_differences_with_the_baseline_held(kind):
    torch.manual_seed(1)
    logits = torch.randn(1, 6, 4)
    # The first copy is improbable and the second likely: every kind has something to punish.
    logits[0, 2:, 1] += 2.0
    labels = torch.ones(1, 6, dtype=torch.long)
    prev_index = torch.tensor([[-1, -1, 0, 1, 2, 3]])
    mask = prev_index >= 0

    def held(value):
        """The loss with b read from the unchanged logits."""
        p = value.double().softmax(-1)[0, :, 1]
        b = logits.double().softmax(-1)[0, :, 1]
        total = 0.0
        for t in range(2, 6):
            distance = p[t] - 0.5 * b[t - 2]
            if kind == "mse":
                total += 3 * distance**2
            else:
                distance = distance.abs() if kind == "nl" else distance.clamp_min(0)
                total -= torch.log(1 - distance)
        return float(total / 4)

    wanted = logits.clone().requires_grad_(True)
    ditto_loss(wanted, labels, prev_index, mask, kind=kind).backward()
    step = 1e-4
    for t in range(6):
        for v in range(4):
            up, down = logits.double().clone(), logits.double().clone()
            up[0, t, v] += step
            down[0, t, v] -= step
            slope = (held(up) - held(down)) / (2 * step)
            assert wanted.grad[0, t, v].item() == pytest.approx(slope, abs=1e-4)


def test_rows_without_a_mask_do_not_change_the_others():
    torch.manual_seed(2)
    logits, labels = torch.randn(3, 8, 5), torch.randint(5, (3, 8))
    prev_index = (torch.arange(8) - 3).expand(3, 8).clone()
    mask = prev_index >= 0
    mask[1:] = False
    alone = ditto_loss(logits[:1], labels[:1], prev_index[:1], mask[:1])
    assert torch.equal(ditto_loss(logits, labels, prev_index, mask), alone)


def test_without_masked_targets_the_loss_is_zero_and_can_be_differentiated():
    logits = torch.randn(2, 4, 5, requires_grad=True)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    loss = ditto_loss(logits, torch.full((2, 4), -100), torch.full((2, 4), -1), nothing)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_counted_in_float32(dtype):
    logits, *rest = repeated([0.9, 0.9, 0.6, 0.8, 0.7, 0.5], 0, 2)
    halved = logits.to(dtype)
    loss = ditto_loss(halved, *rest)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(ditto_loss(halved.double(), *rest).item(), rel=1e-5)


def test_a_probability_that_rounds_to_one_stays_finite():
    logits = torch.zeros(1, 4, 3)
    logits[0, 2:, 0] = 200.0
    labels = torch.zeros(1, 4, dtype=torch.long)
    prev_index = torch.tensor([[-1, -1, 0, 1]])
    loss = ditto_loss(logits, labels, prev_index, prev_index >= 0, lam=0.0)
    # -log(1e-20)
    assert loss.item() == pytest.approx(20 * math.log(10), rel=1e-5)


def test_the_sum_is_the_mean_times_the_masked_targets():
    batch = repeated([0.9, 0.2, 0.6, 0.8, 0.7, 0.5, 0.3], 1, 2)
    mean, total = (ditto_loss(*batch, reduction=how).item() for how in ("mean", "sum"))
    assert total == pytest.approx(4 * mean)


@pytest.mark.parametrize(
    ("how", "word"),
    [({"lam": 1.5}, "lam"), ({"kind": "l1"}, "kind"), ({"reduction": "max"}, "max")],
)
def test_unknown_words_are_refused(how, word):
    with pytest.raises(ValueError, match=word):
        ditto_loss(*repeated([0.5] * 6, 0, 2), **how)


# End marks.


def test_end_marks_of_a_word_vocabulary_are_those_words(tokenizer):
    assert end_token_ids(tokenizer, (".", "?")) == {4, 6}
    assert end_token_ids(tokenizer) == {4, 5, 6}


def test_a_vocabulary_without_end_marks_is_refused(tokenizer):
    with pytest.raises(ValueError, match="give other end_tokens"):
        end_token_ids(tokenizer, (";",))


def test_pieces_with_blanks_and_several_marks_are_end_marks_too():
    from paperround.papers.ditto.small_lm import learn_vocabulary

    text = ["He went home . She stayed! Did they?\n\nWho?! Yes ... 3.5 is e.g. a number .\n"] * 30
    pieces = learn_vocabulary(text, 330)
    found = {pieces.decode([i]) for i in end_token_ids(pieces)}
    assert {".", " .", "!", "?", "\n", " ..."} <= found
    assert all(set(text.strip()) <= set("".join(END_TOKENS)) for text in found)
    assert not any("\n" in pieces.decode([i]) for i in end_token_ids(pieces, (".",)))
