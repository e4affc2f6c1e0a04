"""The guarantee itself, on models of every family: no order of a set's members changes anything."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from paperround.papers.set_based_prompting import (
    MASK_ONLY,
    PLAIN,
    POSITIONS_ONLY,
    SET_BASED,
    SetPrompt,
    encode_set_prompt,
    require_support,
    set_inputs,
    set_of,
)

words = st.integers(0, 25).map(lambda i: f" w{i}")
texts = st.lists(words, max_size=3).map("".join)
leaf_sets = st.lists(texts, min_size=1, max_size=4).map(set_of)
inner = st.tuples(texts, leaf_sets, texts).map(SetPrompt)
sets = st.lists(texts | inner, min_size=2, max_size=4).map(set_of)
prompts = st.builds(
    lambda first, between, second, last: SetPrompt([first, between, second, last]),
    texts,
    sets,
    texts | sets,
    words,
)
# The models are built once; a fixture that only hands them out may serve all examples.
few = settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])


def logits(model, *encodings):
    with torch.no_grad():
        return model(**set_inputs(model, list(encodings))).logits


def permuted_twice(prompt, data):
    """The prompt with two of its sets, possibly one within the other, in a random order."""
    for _ in range(2):
        part = data.draw(st.integers(0, len(prompt.sets) - 1))
        n_members = len(prompt.sets[part].members)
        prompt = prompt.permuted(data.draw(st.permutations(range(n_members))), part)
    return prompt


@few
@given(prompts, st.data())
def test_every_order_gives_the_same_next_token(model, tokenizer, atol, prompt, data):
    given_order = encode_set_prompt(tokenizer, prompt)
    other = encode_set_prompt(tokenizer, permuted_twice(prompt, data))
    expected, found = (logits(model, e)[0, -1] for e in (given_order, other))
    assert torch.allclose(found, expected, rtol=0, atol=atol)


@few
@given(prompts, st.data())
def test_in_single_precision_the_orders_differ_by_rounding_only(model32, tokenizer, prompt, data):
    given_order = encode_set_prompt(tokenizer, prompt)
    other = encode_set_prompt(tokenizer, permuted_twice(prompt, data))
    expected, found = (logits(model32, e)[0, -1] for e in (given_order, other))
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)


@few
@given(st.lists(texts, min_size=2, max_size=4), st.data())
def test_an_order_permutes_the_members_states_and_leaves_the_rest(
    model, tokenizer, atol, members, data
):
    order = data.draw(st.permutations(range(len(members))))
    prompt = SetPrompt(["w0 w1", set_of(members), "w2 w3"])
    states = []
    for p in (prompt, prompt.permuted(order)):
        encoding = encode_set_prompt(tokenizer, p)
        with torch.no_grad():
            output = model(**set_inputs(model, encoding), output_hidden_states=True)
        member_of = encoding.membership[0]
        layers = torch.cat([layer[0] for layer in output.hidden_states], dim=-1)
        states.append([layers[member_of == k] for k in range(-1, len(members))])
    assert torch.allclose(states[0][0], states[1][0], rtol=0, atol=atol)
    for place, k in enumerate(order):
        assert torch.allclose(states[1][place + 1], states[0][k + 1], rtol=0, atol=atol)


@pytest.mark.parametrize("prompt", [
    SetPrompt(["w0 w1 w2 w3 w4 w5 w6 w7"]),
    SetPrompt(["w0 w1", set_of(["w2 w3 w4 w5 w6"]), "w7"]),
])  # fmt: skip
def test_an_ordinary_prompt_or_a_set_of_one_is_what_the_model_says_by_itself(
    model, tokenizer, atol, prompt
):
    # Eight words pass every window of the models here.
    ids = torch.tensor([tokenizer.encode(" ".join(f"w{i}" for i in range(8)))])
    with torch.no_grad():
        expected = model(ids).logits
    assert torch.allclose(logits(model, encode_set_prompt(tokenizer, prompt)), expected, atol=atol)


@few
@given(prompts)
def test_the_plain_form_is_what_the_model_says_of_the_tokens_in_order(
    model, tokenizer, atol, prompt
):
    encoding = encode_set_prompt(tokenizer, prompt, form=PLAIN)
    with torch.no_grad():
        expected = model(encoding.input_ids[None]).logits
    assert torch.allclose(logits(model, encoding), expected, atol=atol)


@few
@given(st.lists(prompts, min_size=2, max_size=4))
def test_a_batch_of_unequal_lengths_gives_what_each_prompt_gives_alone(
    model, tokenizer, atol, several
):
    encodings = [encode_set_prompt(tokenizer, prompt) for prompt in several]
    together = logits(model, *encodings)
    assert together.isfinite().all()
    for row, encoding in zip(together, encodings, strict=True):
        alone = logits(model, encoding)[0]
        assert torch.allclose(row[-len(encoding) :], alone, rtol=0, atol=atol)


@few
@given(prompts)
def test_padded_members_change_nothing(model, tokenizer, atol, prompt):
    plain, padded = (encode_set_prompt(tokenizer, prompt, pad_members=pad) for pad in (False, True))
    found = logits(model, padded)[0][~padded.is_padding]
    assert torch.allclose(found, logits(model, plain)[0], rtol=0, atol=atol)


def test_no_member_has_any_influence_on_another(model, tokenizer):
    encoding = encode_set_prompt(tokenizer, SetPrompt(["w0", set_of(["w1 w2", "w3 w4"]), "w5"]))
    inputs = set_inputs(model, encoding)
    embeddings = model.get_input_embeddings()(inputs.pop("input_ids")).detach().requires_grad_()
    states = model(inputs_embeds=embeddings, **inputs, output_hidden_states=True).hidden_states
    first, second = ((encoding.membership[0] == k).nonzero()[:, 0] for k in (0, 1))
    for these, those in ((first, second), (second, first)):
        (gradient,) = torch.autograd.grad(
            states[-1][0, these, 0].sum(), embeddings, retain_graph=True
        )
        # Exactly: what is masked has weight 0.0, not almost.
        assert (gradient[0, those] == 0).all()
        assert (gradient[0, these] != 0).any()
        assert (gradient[0, 0] != 0).any()


@pytest.mark.parametrize("form", [PLAIN, MASK_ONLY, POSITIONS_ONLY])
def test_each_edit_alone_leaves_the_order_in(model, tokenizer, form):
    # Members of equal length, so that nothing but the order of whole members changes.
    prompt = SetPrompt(["w0", set_of(["w1 w2", "w3 w4", "w5 w6"]), "w7"])
    one, other = (
        logits(model, encode_set_prompt(tokenizer, p, form=form))[0, -1]
        for p in (prompt, prompt.permuted([1, 2, 0]))
    )
    assert (one - other).abs().max() > 1e-3


def test_a_member_that_stands_twice_counts_twice(model, tokenizer):
    once, twice = (
        logits(model, encode_set_prompt(tokenizer, SetPrompt(["w0", set_of(members), "w3"])))[0, -1]
        for members in (["w1", "w2"], ["w1", "w2", "w2"])
    )
    assert (once - twice).abs().max() > 1e-4


def test_prompts_beyond_the_context_are_refused_and_sets_share_positions(a_model, tokenizer):
    model = a_model("gpt2")
    long = " ".join(["w1"] * 40)
    with pytest.raises(ValueError, match=r"takes 82 positions \(82 tokens\), and GPT2LMHeadModel"):
        set_inputs(model, encode_set_prompt(tokenizer, SetPrompt([long, long, "w2"])))
    # As many tokens and more, in half the positions.
    encoding = encode_set_prompt(tokenizer, SetPrompt([set_of([long, long]), "w2"]))
    assert len(encoding) == 82
    assert encoding.next_position == 42
    assert logits(model, encoding).isfinite().all()


def test_training_mode_survives_the_look_at_the_model():
    model = LlamaForCausalLM(a_llama_config()).train()
    require_support(model)
    assert model.training


def a_llama_config(**changes):
    from transformers import LlamaConfig

    return LlamaConfig(
        **{
            "vocab_size": 30, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "initializer_range": 0.3, **changes,
        }
    )  # fmt: skip


class Deaf(LlamaForCausalLM):
    """Takes a mask and positions, and does as it likes."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, **kwargs):
        return super().forward(input_ids=input_ids, **kwargs)


class OnlyHears2d(LlamaForCausalLM):
    """Reads the mask as an old model would."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, **kwargs):
        if attention_mask is not None:
            attention_mask = attention_mask.view(input_ids.shape[0], input_ids.shape[1])
        return super().forward(
            input_ids=input_ids, attention_mask=attention_mask, position_ids=position_ids, **kwargs
        )


def an_alibi_falcon():
    return FalconForCausalLM(
        FalconConfig(
            vocab_size=30, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, alibi=True,
            new_decoder_architecture=False, initializer_range=0.3,
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: Deaf(a_llama_config()), "does not obey the mask"),
        (lambda: OnlyHears2d(a_llama_config()), "fails with a mask of four dimensions"),
        (lambda: an_alibi_falcon(), "does not obey the mask|fails with a mask"),
        (
            lambda: BloomForCausalLM(
                BloomConfig(vocab_size=30, hidden_size=16, n_layer=1, n_head=2)
            ),
            "takes no position_ids",
        ),
        (
            lambda: MambaForCausalLM(
                MambaConfig(vocab_size=30, hidden_size=16, num_hidden_layers=1, state_size=4)
            ),
            "takes no position_ids|recurrent state",
        ),
        (
            lambda: T5ForConditionalGeneration(
                T5Config(vocab_size=30, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
            ),
            "encoder-decoder",
        ),
    ],
    ids=["no mask", "2-D mask", "ALiBi", "no positions", "recurrent", "encoder-decoder"],
)
def test_models_that_cannot_do_it_are_refused_with_the_reason(build, reason):
    with pytest.raises(ValueError, match=reason):
        require_support(build().eval())


def test_layers_and_kernels_that_cannot_do_it_are_refused_with_the_reason():
    model = LlamaForCausalLM(a_llama_config())
    require_support(model)
    model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="attention 'flash_attention_2', which takes no mask"):
        require_support(model)
    model.config._attn_implementation = "sdpa"
    model.config.layer_types = ["chunked_attention"]
    with pytest.raises(ValueError, match="layers of the kind chunked_attention"):
        require_support(model)


def test_the_public_forms_are_what_their_names_say():
    assert (SET_BASED.positions, SET_BASED.attention) == ("set", "set")
    assert (PLAIN.positions, PLAIN.attention) == ("sequential", "causal")
    assert (MASK_ONLY.positions, MASK_ONLY.attention) == ("sequential", "set")
    assert (POSITIONS_ONLY.positions, POSITIONS_ONLY.attention) == ("set", "causal")
