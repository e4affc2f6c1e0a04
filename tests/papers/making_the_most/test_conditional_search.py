"""Conditional beam search: against enumeration and beam search, and never without its attribute."""

import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LogitsProcessor, LogitsProcessorList

from paperround.kit.language_models.families import FAMILIES
from paperround.papers.making_the_most.attributes import (
    Anything,
    Labelled,
    Length,
    NonDegenerate,
)
from paperround.papers.making_the_most.conditional_search import (
    AttributeLogitsProcessor,
    conditional_beam_search,
)
from paperround.papers.making_the_most.markov import MarkovLengths, random_markov_lm
from paperround.papers.making_the_most.prefix_classifier import (
    FitPlan,
    fit_length_classifier,
    sample_continuations,
)
from paperround.papers.making_the_most.prefix_scores import PrefixScorer

EOS, BOS, N_TOKENS = 4, 5, 30
EVERY = [*FAMILIES, "marian"]
# Longer than the sliding windows of both Gemmas.
LENGTHS = (21, 3, 7)


def prompts(family):
    """Three prompts, padded on the side that the family wants."""
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(6, N_TOKENS, (n,), generator=generator) for n in LENGTHS]
    width = max(LENGTHS)
    ids = torch.full((len(rows), width), BOS)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        where = slice(0, len(row)) if family == "marian" else slice(width - len(row), width)
        ids[place, where], mask[place, where] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def texts(found, prompt_length):
    """The new tokens of each row, with the end."""
    return [
        tuple(row[prompt_length : prompt_length + length].tolist())
        for row, length in zip(found.sequences, found.lengths.tolist(), strict=True)
    ]


def start_of(family):
    return 1 if family == "marian" else max(LENGTHS)


@pytest.mark.parametrize("num_beams", [1, 4])
@pytest.mark.parametrize("family", EVERY)
def test_without_a_wish_it_is_beam_search(family, num_beams, searchable):
    model = searchable(family, n_tokens=N_TOKENS)
    inputs = prompts(family)
    plain = model.generate(
        **inputs, num_beams=num_beams, num_return_sequences=num_beams, do_sample=False,
        length_penalty=0.0, max_new_tokens=7,
    )  # fmt: skip
    for attribute, lam in ((Anything(), 1.0), (NonDegenerate(0, 99), 0.0)):
        found = conditional_beam_search(
            model, inputs, attribute, num_beams=num_beams, num_return_sequences=num_beams, lam=lam,
            max_new_tokens=7,
        )  # fmt: skip
        assert found.satisfied.all()
        width = min(plain.shape[1], found.sequences.shape[1])
        assert torch.equal(found.sequences[:, :width], plain[:, :width])
        for longer in (plain, found.sequences):
            assert torch.isin(longer[:, width:], torch.tensor([EOS, BOS])).all()


class EndsAt(LogitsProcessor):
    """Forbids the end before n tokens and all else after them."""

    def __init__(self, n, prompt_length):
        self.length = n + prompt_length

    def __call__(self, input_ids, scores):
        is_end = torch.arange(scores.shape[1]) == EOS
        wrong = ~is_end if input_ids.shape[1] == self.length else is_end
        return scores.masked_fill(wrong, -math.inf)


@pytest.mark.parametrize("family", EVERY)
def test_at_lambda_0_a_length_is_beam_search_that_must_end_there(family, searchable):
    model, n = searchable(family, n_tokens=N_TOKENS), 5
    inputs = prompts(family)
    plain = model.generate(
        **inputs, num_beams=4, do_sample=False, length_penalty=0.0, max_new_tokens=n + 1,
        logits_processor=LogitsProcessorList([EndsAt(n, start_of(family))]),
    )  # fmt: skip
    found = conditional_beam_search(
        model, inputs, Length(n), num_beams=4, lam=0.0, max_new_tokens=n + 1
    )
    assert torch.equal(found.sequences, plain)


@pytest.mark.parametrize("family", EVERY)
def test_batches_padding_and_a_learnt_length(family, searchable):
    model = searchable(family, n_tokens=N_TOKENS, seed=1)
    inputs, n = prompts(family), 4
    continuations = sample_continuations(model, inputs, n=8, max_new_tokens=10, seed=0)
    classifier = fit_length_classifier(model, continuations, 6, FitPlan(steps=20))
    options = {"num_beams": 3, "max_new_tokens": 8, "top_k": 6}
    batch = conditional_beam_search(
        model, inputs, Length(n, classifier), num_return_sequences=3, **options
    )
    again = conditional_beam_search(
        model, inputs, Length(n, classifier), num_return_sequences=3, **options
    )
    assert torch.equal(batch.sequences, again.sequences)
    assert batch.satisfied.any()
    of_batch = texts(batch, start_of(family))
    for place, length in enumerate(LENGTHS):
        keep = inputs["attention_mask"][place].bool()
        ids = inputs["input_ids"][place][keep][None]
        alone = conditional_beam_search(
            model, ids, Length(n, classifier), num_return_sequences=3, **options
        )
        rows = slice(3 * place, 3 * place + 3)
        assert texts(alone, 1 if family == "marian" else length) == of_batch[rows]
        scorer = PrefixScorer(model, ids)
        for text, log_prob, satisfied in zip(
            of_batch[rows], batch.log_probs[rows].tolist(), batch.satisfied[rows], strict=True
        ):
            if not satisfied:
                assert text == ()
                assert log_prob == -math.inf
                continue
            assert len(text) == n + 1
            assert text[-1] == EOS
            # Recomputed by the model in one pass.
            assert log_prob == pytest.approx(scorer.log_prob(text[:-1]), abs=1e-3)


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**20),
    n_words=st.integers(1, 3),
    n=st.integers(0, 3),
    end=st.floats(0.05, 0.45),
)
def test_a_full_beam_with_the_true_posterior_finds_the_conditional_mode(seed, n_words, n, end):
    model = random_markov_lm(n_words, seed, end)
    scorer = PrefixScorer(model, model.prompt)
    best = max(scorer.log_prob(text) for text in product(range(n_words), repeat=n))
    found = conditional_beam_search(
        model, model.prompt, Length(n, MarkovLengths(model, n + 2)),
        num_beams=max(2, n_words**n), max_new_tokens=n + 1,
    )  # fmt: skip
    assert found.satisfied.all()
    assert found.log_probs.item() == pytest.approx(best, abs=1e-5)
    assert scorer.log_prob(tuple(found.sequences[0, 1 : 1 + n].tolist())) == pytest.approx(
        best, abs=1e-5
    )


@settings(deadline=None, max_examples=15)
@given(
    seed=st.integers(0, 2**20),
    n=st.integers(0, 6),
    num_beams=st.integers(1, 3),
    top_k=st.integers(1, 4),
    lam=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    extra=st.integers(1, 3),
)
def test_no_output_is_without_its_attribute(seed, n, num_beams, top_k, lam, extra):
    model = random_markov_lm(3, seed)
    length = Length(n, MarkovLengths(model, 4))
    healthy = NonDegenerate(min_length=n, max_repeats=1, max_period=2, must_end=seed % 2 == 0)
    even = Labelled(lambda tokens, ended: ended and len(tokens) % 2 == 0)
    for attribute in (length, healthy, even):
        found = conditional_beam_search(
            model, model.prompt.repeat(2, 1), attribute, num_beams=num_beams, lam=lam, top_k=top_k,
            num_return_sequences=num_beams, max_new_tokens=n + extra,
        )  # fmt: skip
        ends = found.sequences[:, 1:]
        for row, length_of_row, satisfied in zip(
            ends.tolist(), found.lengths.tolist(), found.satisfied.tolist(), strict=True
        ):
            tokens = row[:length_of_row]
            if satisfied:
                ended = tokens[-1:] == [model.config.eos_token_id]
                assert attribute.holds(tokens[:-1] if ended else tokens, ended)
            else:
                assert tokens == []
        # Both prompts are the same.
        assert torch.equal(found.sequences[:num_beams], found.sequences[num_beams:])
    # A length can always be kept here: every word can follow and end.
    assert conditional_beam_search(
        model, model.prompt, length, num_beams=num_beams, lam=lam, max_new_tokens=n + extra
    ).satisfied.all()


def test_the_true_posterior_helps_a_narrow_beam():
    better = worse = 0
    for seed in range(12):
        model = random_markov_lm(8, seed, end=0.15, spread=2.0)
        n = 6
        options = {"num_beams": 2, "max_new_tokens": n + 1}
        blind = conditional_beam_search(model, model.prompt, Length(n), **options)
        seeing = conditional_beam_search(
            model, model.prompt, Length(n, MarkovLengths(model, n + 1)), **options
        )
        gain = float(seeing.log_probs - blind.log_probs)
        better, worse = better + (gain > 1e-6), worse + (gain < -1e-6)
    assert better > worse


def test_the_end_has_rank_one_among_the_candidates_even_where_it_is_not_in_the_top_k():
    model = random_markov_lm(5, 3, end=0.01)
    found = conditional_beam_search(
        model, model.prompt, Length(2), num_beams=2, top_k=1, max_new_tokens=3
    )
    assert found.satisfied.all()


def test_what_cannot_be_is_said():
    # Texts of this language never end within the limit: nothing has the attribute.
    model = random_markov_lm(3, 0, end=0.0)
    found = conditional_beam_search(model, model.prompt, Length(2), num_beams=2, max_new_tokens=3)
    assert not found.satisfied.any()
    assert found.lengths.tolist() == [0]
    assert found.log_probs.tolist() == [-math.inf]


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("family", ["llama", "marian"])
def test_what_is_stored_with_a_model_changes_neither_ranks_nor_sums(family, num_beams, searchable):
    """Published translators are stored with a forced end and with logits normalised again."""
    model = searchable(family, n_tokens=N_TOKENS)
    inputs = prompts(family)
    wish = NonDegenerate(min_length=2, max_repeats=1, max_period=2)
    options = {"num_beams": num_beams, "max_new_tokens": 5}
    expected = conditional_beam_search(model, inputs, wish, **options)
    model.generation_config.update(
        forced_eos_token_id=EOS, renormalize_logits=True, repetition_penalty=3.0,
        no_repeat_ngram_size=1,
    )  # fmt: skip
    found = conditional_beam_search(model, inputs, wish, **options)
    assert torch.equal(found.sequences, expected.sequences)
    assert torch.equal(found.log_probs, expected.log_probs)


def test_with_words_that_are_forbidden_it_is_still_beam_search(searchable):
    model = searchable("marian", n_tokens=N_TOKENS)
    inputs = prompts("marian")
    free = conditional_beam_search(model, inputs, Anything(), num_beams=3, max_new_tokens=5)
    word = int(free.sequences[0, 1])
    model.generation_config.bad_words_ids = [[word]]
    plain = model.generate(
        **inputs, num_beams=3, do_sample=False, length_penalty=0.0, max_new_tokens=5
    )
    found = conditional_beam_search(model, inputs, Anything(), num_beams=3, max_new_tokens=5)
    assert not torch.equal(found.sequences, free.sequences)
    assert torch.equal(found.sequences, plain)
    for row, text in enumerate(texts(found, 1)):
        keep = inputs["attention_mask"][row].bool()
        scorer = PrefixScorer(model, inputs["input_ids"][row][keep][None])
        ended = text[-1] == EOS
        own = scorer.log_prob(text[:-1] if ended else text, ended=ended)
        assert float(found.log_probs[row]) == pytest.approx(own, abs=1e-4)


def test_the_processor_works_in_generate(searchable):
    model = searchable("llama", n_tokens=N_TOKENS)
    inputs = prompts("llama")
    processor = AttributeLogitsProcessor(
        Length(3), eos=frozenset([EOS]), num_beams=2, prompt_length=max(LENGTHS), max_new_tokens=4
    )
    rows = model.generate(
        **inputs, num_beams=2, do_sample=False, length_penalty=0.0, max_new_tokens=4,
        logits_processor=LogitsProcessorList([processor]),
    )  # fmt: skip
    assert (rows[:, -1] == EOS).all()
    assert not (rows[:, max(LENGTHS) : -1] == EOS).any()


def test_bad_requests_are_refused(searchable):
    model = searchable("gpt2", n_tokens=N_TOKENS)
    ids = torch.tensor([[7, 8]])
    with pytest.raises(ValueError, match="lam=-1"):
        conditional_beam_search(model, ids, Anything(), max_new_tokens=2, lam=-1.0)
    with pytest.raises(ValueError, match="top_k=0"):
        conditional_beam_search(model, ids, Anything(), max_new_tokens=2, top_k=0)
    with pytest.raises(ValueError, match="max_new_tokens=4"):
        conditional_beam_search(model, ids, Length(3), max_new_tokens=3)
    with pytest.raises(ValueError, match="max_new_tokens=0"):
        conditional_beam_search(model, ids, Anything(), max_new_tokens=0)
    with pytest.raises(ValueError, match="num_return_sequences=3"):
        conditional_beam_search(
            model, ids, Anything(), max_new_tokens=2, num_beams=2, num_return_sequences=3
        )
    for fixed in ({"do_sample": True}, {"forced_eos_token_id": 4}, {"generation_config": None}):
        with pytest.raises(ValueError, match=next(iter(fixed))):
            conditional_beam_search(model, ids, Anything(), max_new_tokens=2, **fixed)
    with pytest.raises(ValueError, match="cannot be negative"):
        Length(-1)
    with pytest.raises(ValueError, match="max_repeats=0"):
        NonDegenerate(max_repeats=0)


@pytest.mark.parametrize("family", ["gpt2", "marian"])
def test_a_prompt_without_tokens_or_without_room_after_it_is_refused(family, searchable):
    model = searchable(family, n_tokens=N_TOKENS)
    last = model.config.max_position_embeddings
    whole = torch.full((1, last), 7)
    with pytest.raises(ValueError, match="too few"):
        conditional_beam_search(model, whole[:, :0], Anything(), max_new_tokens=2)
    with pytest.raises(ValueError, match="rows, tokens"):
        conditional_beam_search(model, whole[0], Anything(), max_new_tokens=2)
    with pytest.raises(ValueError, match="hold attention_mask, and no input_ids"):
        conditional_beam_search(model, {"attention_mask": whole}, Anything(), max_new_tokens=2)
    longer = torch.full((1, last + 1), 7)
    for ids, n in ((longer, 1), (whole[:, :3], last + 1)):
        with pytest.raises(ValueError, match=f"has learnt {last}"):
            conditional_beam_search(model, ids, Anything(), max_new_tokens=n)
    # The last token is written and not read.
    n_room = 1 if family == "gpt2" else last
    found = conditional_beam_search(
        model, whole, Length(0), num_beams=2, max_new_tokens=min(n_room, 2)
    )
    assert found.satisfied.all()
