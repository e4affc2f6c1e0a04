"""Generation after prompts with sets: from the cache, in batches, whatever the order."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch
from transformers import GenerationConfig, LogitsProcessorList

from paperround.papers.set_based_prompting import (
    PLAIN,
    SET_BASED,
    SetPrompt,
    encode_set_prompt,
    set_generate,
    set_inputs,
    set_of,
)

N_NEW = 8


def a_prompt(members=("w1 w2", "w3", "w4 w5 w6")):
    return SetPrompt(["w0", set_of(members), "w7 w8"])


def another():
    return SetPrompt(["w9 w8 w7 w6", set_of(["w5", "w4"]), "w3", set_of(["w2", "w1 w0"]), "w11"])


def generated(model, tokenizer, prompts, **options):
    # No end token: what is compared should not be short.
    options = {"max_new_tokens": N_NEW, "eos_token_id": None, "pad_token_id": 0, **options}
    return set_generate(model, tokenizer, prompts, **options)


def followed(encoding, tokens):
    """The encoding with generated tokens as further plain text."""
    n = len(tokens)
    after = torch.arange(encoding.next_position, encoding.next_position + n)
    return replace(
        encoding,
        input_ids=torch.cat([encoding.input_ids, tokens]),
        position_ids=torch.cat([encoding.position_ids, after]),
        membership=torch.nn.functional.pad(encoding.membership, (0, n), value=-1),
        is_padding=torch.nn.functional.pad(encoding.is_padding, (0, n)),
        next_position=encoding.next_position + n,
    )


@pytest.mark.parametrize("form", [SET_BASED, PLAIN])
def test_the_cache_gives_what_computing_everything_anew_gives(model, tokenizer, atol, form):
    found = generated(model, tokenizer, a_prompt(), form=form, output_logits=True)
    encoding = encode_set_prompt(tokenizer, a_prompt(), form=form)
    for step in range(N_NEW):
        with torch.no_grad():
            inputs = set_inputs(model, followed(encoding, found.tokens[0, :step]))
            expected = model(**inputs).logits[0, -1]
        assert torch.allclose(found.logits[0, step], expected, rtol=0, atol=atol)
        assert found.tokens[0, step] == expected.argmax()


def test_all_orders_give_the_same_text(model32, tokenizer):
    found = [
        generated(model32, tokenizer, a_prompt().permuted(order))
        for order in permutations(range(3))
    ]
    assert len({one.texts[0] for one in found}) == 1
    assert all(one.tokens.equal(found[0].tokens) for one in found)
    assert found[0].lengths.tolist() == [N_NEW]


def test_without_a_set_it_is_what_the_model_generates(model, tokenizer):
    ids = torch.tensor([tokenizer.encode("w0 w1 w2 w3 w4 w5")])
    expected = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW, do_sample=False,
        eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    found = generated(model, tokenizer, SetPrompt(["w0 w1 w2", "w3 w4 w5"]))
    assert found.tokens.equal(expected[:, 6 + 1 :])
    assert found.lengths.tolist() == [N_NEW]


def test_a_batch_of_unequal_prompts_gives_what_each_gives_alone(model, tokenizer, atol):
    together = generated(model, tokenizer, [a_prompt(), another()], output_logits=True)
    for row, prompt in enumerate([a_prompt(), another()]):
        alone = generated(model, tokenizer, prompt, output_logits=True)
        assert together.tokens[row].equal(alone.tokens[0])
        assert torch.allclose(together.logits[row], alone.logits[0], rtol=0, atol=atol)
        assert together.texts[row] == alone.texts[0]


def test_padded_members_generate_the_same(model, tokenizer):
    padded = generated(model, tokenizer, [a_prompt(), another()], pad_members=True)
    assert padded.tokens.equal(generated(model, tokenizer, [a_prompt(), another()]).tokens)


def test_sampling_draws_what_the_model_draws_and_knows_no_order(a_model, tokenizer):
    model = a_model()
    ids = torch.tensor([tokenizer.encode("w0 w1 w2")])
    options = {"do_sample": True, "temperature": 0.7, "top_k": 5}
    torch.manual_seed(3)
    expected = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW, eos_token_id=None,
        pad_token_id=0, **options,
    )  # fmt: skip
    torch.manual_seed(3)
    found = generated(model, tokenizer, SetPrompt(["w0 w1 w2"]), **options)
    assert found.tokens.equal(expected[:, 4:])
    drawn = []
    for order in permutations(range(3)):
        torch.manual_seed(4)
        drawn.append(generated(model, tokenizer, a_prompt().permuted(order), **options).texts)
    assert drawn == [drawn[0]] * 6


def test_several_rows_per_prompt_stay_with_their_prompt(a_model, tokenizer):
    torch.manual_seed(0)
    found = generated(
        a_model(), tokenizer, [a_prompt(), another()], num_return_sequences=3, do_sample=True,
        top_k=1,
    )  # fmt: skip
    # With one choice each, the samples are the greedy text.
    greedy = generated(a_model(), tokenizer, [a_prompt(), another()])
    assert found.texts == [greedy.texts[0]] * 3 + [greedy.texts[1]] * 3


def test_a_row_that_ends_is_filled_up_while_the_others_go_on(a_model, tokenizer):
    free = generated(a_model(), tokenizer, [a_prompt(), another()])
    # A token that one row writes earlier than the other.
    first, second = free.tokens.tolist()
    end = next(t for t in first if t not in second or first.index(t) < second.index(t))
    found = generated(a_model(), tokenizer, [a_prompt(), another()], eos_token_id=end)
    n = first.index(end) + 1
    assert found.lengths[0] == n
    assert found.tokens[0].tolist() == first[:n] + [0] * (found.tokens.shape[1] - n)
    n_second = int(found.lengths[1])
    assert n_second > n
    assert found.tokens[1, :n_second].tolist() == second[:n_second]


def test_an_end_token_is_not_part_of_the_text(a_model, tokenizer):
    class Ends:
        def __call__(self, input_ids, scores):
            forced = torch.full_like(scores, -torch.inf)
            forced[:, tokenizer.eos_token_id] = 0
            return forced

    found = set_generate(
        a_model(), tokenizer, a_prompt(), max_new_tokens=5,
        logits_processor=LogitsProcessorList([Ends()]),
    )  # fmt: skip
    assert found.texts == [""]
    assert found.lengths.tolist() == [1]


def test_processors_that_read_the_prompt_know_no_order(a_model, tokenizer):
    texts = set()
    for order in permutations(range(3)):
        # "w1 w2" would be forbidden after the order that puts w1 before w2, and after no other.
        prompt = a_prompt(["w1", "w2", "w3"]).permuted(order)
        texts.add(
            generated(
                a_model(), tokenizer, prompt, no_repeat_ngram_size=2, repetition_penalty=1.5
            ).texts[0]
        )
    assert len(texts) == 1


def test_a_penalty_on_repeating_is_the_same_in_a_batch(a_model, tokenizer):
    # The shorter prompt is padded, and no token may pay for that.
    prompts = [SetPrompt(["w1"]), another()]
    options = {"repetition_penalty": 5.0}
    together = generated(a_model(), tokenizer, prompts, **options).texts
    assert together == [generated(a_model(), tokenizer, p, **options).texts[0] for p in prompts]


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"], indirect=True)
def test_sorted_members_give_equal_bits_in_half_precision(a_model, family, tokenizer):
    model = a_model(family, torch.bfloat16)
    first, *others = (
        generated(
            model, tokenizer, a_prompt().permuted(order), sort_members=True, output_logits=True
        ).logits
        for order in permutations(range(3))
    )
    assert all(other.equal(first) for other in others)


def test_a_tokenizer_without_padding_will_do(a_model, bpe):
    def a_wide_llama():
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(1)
        return LlamaForCausalLM(
            LlamaConfig(
                vocab_size=len(bpe), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
                num_attention_heads=2, initializer_range=0.3, eos_token_id=None, bos_token_id=None,
            )
        ).double().eval()  # fmt: skip

    assert bpe.pad_token_id is None
    model = a_wide_llama()
    prompts = [
        SetPrompt(["and", set_of([" the crow", " the cat", " the dog"]), " the"]),
        SetPrompt(["the", set_of([" cat"]), " and"]),
    ]
    together = set_generate(model, bpe, prompts, max_new_tokens=4)
    alone = [set_generate(model, bpe, prompt, max_new_tokens=4).texts[0] for prompt in prompts]
    assert together.texts == alone


def test_a_streamer_gets_every_token(a_model, tokenizer):
    class Streamer:
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    streamer = Streamer()
    found = generated(a_model(), tokenizer, a_prompt(), streamer=streamer)
    prompt_ids = encode_set_prompt(tokenizer, a_prompt()).input_ids.tolist()
    assert streamer.tokens == prompt_ids + found.tokens[0].tolist()
    assert streamer.ended


def test_room_is_counted_in_positions(a_model, tokenizer):
    model = a_model("gpt2")
    long = " ".join(["w1"] * 50)
    # Twice fifty tokens and two in 52 positions; thirteen more fill the 64, as the last is not fed.
    prompt = SetPrompt([set_of([long, long]), "w2"])
    assert generated(model, tokenizer, prompt, max_new_tokens=13).lengths.tolist() == [13]
    with pytest.raises(ValueError, match=r"52 positions \(102 tokens\) and 14 new tokens"):
        generated(model, tokenizer, prompt, max_new_tokens=14)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"num_beams": 2}, "num_beams is 1"),
        ({"use_cache": False}, "use_cache is off"),
        ({"output_attentions": True}, "keeps tokens and logits only"),
        ({"max_new_tokens": 0}, "max_new_tokens"),
    ],
)
def test_what_it_cannot_do_is_refused(a_model, tokenizer, options, fault):
    with pytest.raises(ValueError, match=fault):
        generated(a_model(), tokenizer, a_prompt(), **options)


def test_a_generation_config_is_followed(a_model, tokenizer):
    found = set_generate(a_model(), tokenizer, a_prompt(), GenerationConfig(max_new_tokens=3))
    expected = set_generate(a_model(), tokenizer, a_prompt(), max_new_tokens=3)
    assert found.tokens.equal(expected.tokens)
    assert found.logits is None
