"""Exact modes: against enumeration, on Markov models and on tiny random transformers."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paperround.kit.language_models.families import FAMILIES
from paperround.papers.making_the_most.exact_search import enumerate_modes, exact_mode
from paperround.papers.making_the_most.markov import layered_markov_lm, random_markov_lm
from paperround.papers.making_the_most.prefix_scores import PrefixScorer

EOS, BOS = 4, 5
PROMPT = torch.tensor([[1, 0, 2]])


def same_modes(found, expected):
    assert len(found.by_length) == len(expected.by_length)
    for mine, theirs in zip(found.by_length, expected.by_length, strict=True):
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert mine.log_prob == pytest.approx(theirs.log_prob, abs=1e-5)


@settings(deadline=None, max_examples=15)
@given(
    n_words=st.integers(1, 3),
    seed=st.integers(0, 2**20),
    end=st.floats(0.02, 0.5),
    max_length=st.integers(0, 4),
    batch_size=st.integers(1, 9),
    warm_beams=st.integers(1, 3),
)
def test_the_search_is_enumeration_on_any_small_language(
    n_words, seed, end, max_length, batch_size, warm_beams
):
    model = random_markov_lm(n_words, seed, end)
    expected = enumerate_modes(model, model.prompt, max_length=max_length)
    improving = {}

    def on_found(mode):
        # gamma never falls.
        assert mode.log_prob > improving.get(len(mode.tokens), -math.inf)
        improving[len(mode.tokens)] = mode.log_prob

    found = exact_mode(
        model, model.prompt, max_length=max_length, batch_size=batch_size, warm_beams=warm_beams,
        on_found=on_found,
    )  # fmt: skip
    same_modes(found, expected)
    assert found.is_exact
    assert improving == {len(m.tokens): m.log_prob for m in found.by_length if m}
    one = exact_mode(model, model.prompt, max_length=max_length, lengths=())
    assert one.best.log_prob == pytest.approx(expected.best.log_prob, abs=1e-9)
    # The most likely of all lengths is the mode without a length.
    assert one.best.log_prob == pytest.approx(found.best.log_prob, abs=1e-9)
    # A single length needs no more prefixes than all of them.
    for n in range(max_length + 1):
        single = exact_mode(model, model.prompt, max_length=max_length, lengths=[n])
        assert single.by_length[n].log_prob == pytest.approx(
            expected.by_length[n].log_prob, abs=1e-9
        )
        assert single.best.log_prob == pytest.approx(found.best.log_prob, abs=1e-9)
    # Viterbi's maxima are a third way.
    for n, mode in enumerate(found.by_length):
        assert mode.log_prob == pytest.approx(model.mode_of_length(n)[1], abs=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_search_is_enumeration_on_every_family(family, searchable):
    model = searchable(family)
    found = exact_mode(model, PROMPT, max_length=3)
    expected = enumerate_modes(model, PROMPT, max_length=3)
    same_modes(found, expected)
    assert found.n_nodes < 4**4


@pytest.mark.parametrize("seed", range(3))
def test_the_search_is_enumeration_on_an_encoder_decoder(seed, searchable):
    model = searchable("marian", seed)
    inputs = {"input_ids": torch.tensor([[BOS, 1, 0, EOS]])}
    # The first token is padding: what it hides must be as if it were not there.
    inputs["attention_mask"] = torch.tensor([[0, 1, 1, 1]])
    found = exact_mode(model, inputs, max_length=3)
    same_modes(found, enumerate_modes(model, torch.tensor([[1, 0, EOS]]), max_length=3))
    same_modes(found, enumerate_modes(model, inputs, max_length=3))


@pytest.mark.parametrize("family", [*FAMILIES, "marian"])
def test_a_modes_log_probability_is_that_of_one_plain_pass(family, searchable):
    model = searchable(family)
    for mode in exact_mode(model, PROMPT, max_length=4).by_length:
        tokens = torch.tensor([[*mode.tokens, EOS]])
        with torch.no_grad():
            if family == "marian":
                ids = torch.tensor([[BOS, *mode.tokens]])
                logits = model(input_ids=PROMPT, decoder_input_ids=ids).logits[0]
            else:
                ids = torch.cat([PROMPT, tokens[:, :-1]], dim=1)
                logits = model(ids).logits[0, PROMPT.shape[1] - 1 :]
        log_prob = logits.log_softmax(-1).gather(-1, tokens[0, :, None]).sum().item()
        assert mode.log_prob == pytest.approx(log_prob, abs=1e-4)


def test_the_node_limit_ends_the_search_and_says_so():
    model = layered_markov_lm(4, 6, seed=0)
    whole = exact_mode(model, model.prompt, max_length=4)
    assert whole.is_exact
    cut = exact_mode(model, model.prompt, max_length=4, node_limit=whole.n_nodes - 1)
    assert not cut.is_exact
    assert cut.n_nodes < whole.n_nodes
    none = exact_mode(model, model.prompt, max_length=0, node_limit=10)
    with pytest.raises(ValueError, match="probability above 0"):
        _ = none.best


def test_it_says_when_a_longer_text_may_be_likelier():
    model = layered_markov_lm(3, 2, seed=1)
    short = exact_mode(model.with_empty_noise(0.01), model.prompt, max_length=2, lengths=())
    assert short.best.tokens == ()
    assert short.longer_is_possible
    whole = exact_mode(model.with_empty_noise(0.01), model.prompt, max_length=3, lengths=())
    assert len(whole.best.tokens) == 3
    assert not whole.longer_is_possible


def test_several_end_tokens_and_none(searchable):
    model = searchable("llama")
    model.generation_config.eos_token_id = [EOS, 3]
    found = exact_mode(model, PROMPT, max_length=3)
    same_modes(found, enumerate_modes(model, PROMPT, max_length=3))
    assert all(3 not in mode.tokens for mode in found.by_length)
    model.generation_config.eos_token_id = None
    with pytest.raises(ValueError, match="no token that ends"):
        exact_mode(model, PROMPT, max_length=3)


def test_bad_requests_are_refused(searchable):
    model = searchable("gpt2")
    with pytest.raises(ValueError, match="max_length=-1"):
        exact_mode(model, PROMPT, max_length=-1)
    with pytest.raises(ValueError, match="not within"):
        exact_mode(model, PROMPT, max_length=1, lengths=[2])
    with pytest.raises(ValueError, match="one prompt"):
        exact_mode(model, PROMPT.repeat(2, 1), max_length=1)
    with pytest.raises(ValueError, match="empty prompt"):
        PrefixScorer(model, torch.zeros(1, 0, dtype=torch.long))
    with pytest.raises(ValueError, match="no input_ids"):
        exact_mode(model, {}, max_length=1)
    with pytest.raises(ValueError, match="has learnt 512"):
        exact_mode(model, torch.zeros(1, 512, dtype=torch.long), max_length=1)
    translator = searchable("marian")
    for n, words in ((0, "too few"), (65, "has learnt 64")):
        with pytest.raises(ValueError, match=words):
            exact_mode(translator, torch.zeros(1, n, dtype=torch.long), max_length=1)


def test_a_little_noise_becomes_the_mode_of_a_perfect_model_of_long_texts():
    for n_places in (1, 2, 3):
        clean = layered_markov_lm(n_places, 30, seed=n_places)
        noisy = clean.with_empty_noise(1e-4)
        # 30^-2 is above 1e-4, 30^-3 below.
        found = exact_mode(noisy, noisy.prompt, max_length=n_places, batch_size=512)
        assert found.is_exact
        assert (found.best.tokens == ()) == (n_places >= 3)
        of_text = found.by_length[n_places]
        assert of_text.tokens == clean.mode_of_length(n_places)[0]
