"""A model of transformers behind the seam."""

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import (
    AutoModelForCausalLM,
    MambaConfig,
    OpenAIGPTConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

from paperround.errors import AssetError, ScoresError, UnsupportedError, UsageError
from paperround.kit.language_models import LocalModel, open_model
from paperround.kit.language_models.families import (
    CONTEXT,
    FAMILIES,
    byte_tokenizer,
    random_model,
)

PROMPTS = ["a", "To be or not", "Ähnlich, und länger als die anderen beiden zusammen"]


@cache
def a_local(family: str = "llama", seed: int = 0) -> LocalModel:
    return LocalModel(random_model(family, seed), byte_tokenizer())


def without_cache() -> LocalModel:
    """The first GPT, which keeps no keys and values."""
    config = OpenAIGPTConfig(vocab_size=259, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    return LocalModel(AutoModelForCausalLM.from_config(config).double().eval(), byte_tokenizer())


def recurrent() -> LocalModel:
    torch.manual_seed(0)
    config = MambaConfig(
        vocab_size=259, hidden_size=16, num_hidden_layers=1, state_size=4, initializer_range=0.5
    )
    return LocalModel(AutoModelForCausalLM.from_config(config).double().eval(), byte_tokenizer())


def greedy_of_transformers(model: PreTrainedModel, ids: list[int], n: int) -> list[int]:
    inputs = torch.tensor([ids])
    found = model.generate(
        inputs,
        attention_mask=torch.ones_like(inputs),
        do_sample=False,
        max_new_tokens=n,
        pad_token_id=0,
    )
    return found[0, len(ids) :].tolist()


@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_text_of_a_batch_is_that_of_transformers_one_by_one(family: str) -> None:
    local = a_local(family)
    found = local.generate(PROMPTS, max_new_tokens=24, temperature=0)
    for prompt, [completion] in zip(PROMPTS, found, strict=True):
        expected = greedy_of_transformers(local.model, local.encode(prompt), 24)
        assert list(completion.token_ids or ()) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_sampled_text_is_the_same_in_a_batch_as_by_itself(family: str) -> None:
    local = a_local(family)
    options: dict[str, Any] = {"max_new_tokens": 12, "temperature": 0.8, "top_p": 0.9, "seed": 5}
    together = local.generate(PROMPTS, n=3, **options)
    alone = [local.generate([prompt], n=3, **options)[0] for prompt in PROMPTS]
    assert together == alone
    assert len({completion.text for completion in together[2]}) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_probabilities_that_generating_gives(family: str) -> None:
    local = a_local(family)
    found = local.generate(PROMPTS, n=2, max_new_tokens=9, seed=1, logprobs=True)
    pairs = [
        (local.encode(prompt), list(completion.token_ids or ()))
        for prompt, completions in zip(PROMPTS, found, strict=True)
        for completion in completions
    ]
    completions = [completion for one in found for completion in one]
    for score, completion in zip(local.score_ids(pairs), completions, strict=True):
        # Both take the logarithm in float32, and Gemma 2 is in float32 altogether.
        assert score.token_log_probs == pytest.approx(completion.token_log_probs, abs=1e-5)
        assert score.log_prob == pytest.approx(sum(completion.token_log_probs or ()))


@pytest.mark.parametrize("make", [without_cache, recurrent])
def test_models_without_a_cache_or_with_a_state_give_the_same_text(make: Any) -> None:
    local = make()
    prompts = ["abc", "abcdef", "xyz"]
    found = local.generate(prompts, max_new_tokens=6, temperature=0)
    for prompt, [completion] in zip(prompts, found, strict=True):
        expected = greedy_of_transformers(local.model, local.encode(prompt), 6)
        assert list(completion.token_ids or ()) == expected


def test_the_probabilities_of_all_continuations_sum_to_one() -> None:
    local = a_local()
    ids = local.encode("some text")
    scores = local.score_ids([(ids, [token]) for token in range(259)])
    assert sum(math.exp(score.log_prob) for score in scores) == pytest.approx(1.0)


@settings(max_examples=25)
@given(prompt=st.text(min_size=1, max_size=12), first=st.text(max_size=6), then=st.text(max_size=6))
def test_a_score_is_the_sum_over_its_parts(prompt: str, first: str, then: str) -> None:
    local = a_local()
    whole, one, two = local.score([(prompt, first + then), (prompt, first), (prompt + first, then)])
    assert whole.log_prob == pytest.approx(one.log_prob + two.log_prob)
    assert len(whole.token_log_probs) == len((first + then).encode())


def test_a_scored_batch_does_not_depend_on_its_rows() -> None:
    local = LocalModel(random_model("gemma3"), byte_tokenizer(), batch_size=2)
    pairs = [(prompt, " and so on"[: 4 + place]) for place, prompt in enumerate(PROMPTS)]
    alone = [local.score([pair])[0].log_prob for pair in pairs]
    assert [score.log_prob for score in local.score(pairs)] == pytest.approx(alone)


def test_samples_follow_the_models_own_distribution() -> None:
    local = a_local()
    n = 4_000
    ids = local.encode("x")
    expected = [
        math.exp(score.log_prob) for score in local.score_ids([(ids, [t]) for t in range(259)])
    ]
    wide = LocalModel(local.model, local.tokenizer, batch_size=n)
    [found] = wide.generate(["x"], n=n, max_new_tokens=1, seed=3)
    counts = [0] * 259
    for completion in found:
        counts[(completion.token_ids or ())[0]] += 1
    # Five standard deviations of a count; 259 of them at once.
    for count, probability in zip(counts, expected, strict=True):
        assert abs(count - n * probability) <= 5 * math.sqrt(n * probability) + 3


def test_top_p_leaves_out_what_is_improbable() -> None:
    local = a_local()
    ids = local.encode("x")
    scores = local.score_ids([(ids, [token]) for token in range(259)])
    ordered = sorted(range(259), key=lambda token: -scores[token].log_prob)
    kept, mass = set(), 0.0
    for token in ordered:
        if mass >= 0.3:
            break
        kept.add(token)
        mass += math.exp(scores[token].log_prob)
    [found] = local.generate(["x"], n=200, max_new_tokens=1, top_p=0.3, seed=0)
    assert {(completion.token_ids or ())[0] for completion in found} == kept


def test_a_text_ends_before_its_first_stop_string() -> None:
    local = a_local()
    [[plain]] = local.generate(["stop here"], max_new_tokens=30, temperature=0)
    # Letters of one byte: others change while they grow.
    stop = next(letter for letter in plain.text[3:] if letter.isascii())
    [[cut]] = local.generate(
        ["stop here"], max_new_tokens=30, temperature=0, stop=["never seen in it", stop]
    )
    assert cut.text == plain.text[: plain.text.index(stop)]
    assert cut.finish == "stop_string"
    assert (cut.n_tokens or 0) < (plain.n_tokens or 0)


def test_a_text_ends_with_the_models_own_end() -> None:
    local = LocalModel(random_model("llama"), byte_tokenizer())
    [[plain]] = local.generate(["abc"], max_new_tokens=20, temperature=0)
    fifth = (plain.token_ids or ())[4]
    local.model.generation_config.eos_token_id = [fifth, 258]
    [[ended]] = local.generate(["abc"], max_new_tokens=20, temperature=0)
    first = (plain.token_ids or ()).index(fifth)
    assert ended.token_ids == (plain.token_ids or ())[: first + 1]
    assert ended.finish == "stop"


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_end_with_the_context_and_not_before(family: str) -> None:
    local = LocalModel(random_model(family, eos_token_id=None), byte_tokenizer(eos_token=None))
    prompts = ["x" * (CONTEXT - 3), "y" * (CONTEXT - 8), "z"]
    found = local.generate(prompts, max_new_tokens=10, temperature=0)
    assert [completion.n_tokens for [completion] in found] == [3, 8, 10]
    assert {completion.finish for [completion] in found} == {"length"}


def test_nothing_is_generated_where_nothing_is_allowed() -> None:
    [[none]] = a_local().generate(["x" * CONTEXT], max_new_tokens=0, logprobs=True)
    assert (none.text, none.n_tokens, none.finish, none.token_log_probs) == ("", 0, "length", ())
    assert a_local().generate([]) == []
    assert a_local().score([]) == []


def test_dropout_is_off_and_on_again() -> None:
    model = random_model("gpt2", resid_pdrop=0.9, embd_pdrop=0.9)
    local = LocalModel(model.train(), byte_tokenizer())
    texts = [local.generate(["abc"], max_new_tokens=8, temperature=0) for _ in range(2)]
    assert (
        texts[0] == texts[1] == a_local("gpt2").generate(["abc"], max_new_tokens=8, temperature=0)
    )
    assert model.training


def test_settings_of_the_model_have_no_say() -> None:
    local = LocalModel(random_model("qwen2"), byte_tokenizer())
    expected = local.generate(PROMPTS, max_new_tokens=16, temperature=0)
    local.model.generation_config.update(
        do_sample=True, temperature=9.0, top_k=2, repetition_penalty=5.0, num_beams=3
    )
    assert local.generate(PROMPTS, max_new_tokens=16, temperature=0) == expected


def test_a_conversation_goes_through_the_tokenizers_template() -> None:
    local = a_local()
    said = [{"role": "user", "content": "hello"}]
    rendered = "[user] hello\n[assistant] "
    assert local.encode(said) == local.encode(rendered)
    assert "chat" in local.capabilities
    mute = LocalModel(local.model, byte_tokenizer(chat_template=None))
    assert "chat" not in mute.capabilities
    with pytest.raises(UnsupportedError, match="no chat template") as caught:
        mute.generate([said])
    assert caught.value.capability == "chat"


def test_the_name_says_the_weights() -> None:
    again = LocalModel(random_model("llama"), byte_tokenizer())
    assert a_local().name == again.name
    assert a_local(seed=1).name != again.name
    with torch.no_grad():
        again.model.get_input_embeddings().weight.mul_(1.01)
    assert a_local().name != again.name


def test_growing_texts_can_be_watched() -> None:
    heard: dict[tuple[int, int], list[str]] = {}
    [one, two] = a_local().generate(
        ["ab", "cd"],
        n=2,
        max_new_tokens=5,
        seed=0,
        on_text=lambda number, sample, text: heard.setdefault((number, sample), []).append(text),
    )
    assert {key: texts[-1] for key, texts in heard.items()} == {
        (0, 0): one[0].text, (0, 1): one[1].text, (1, 0): two[0].text, (1, 1): two[1].text,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("prompts", "options", "complaint"),
    [
        ([""], {}, "prompt 1 is empty"),
        (["a", []], {}, "prompt 2 is empty"),
        ("a text", {}, "give a list of prompts"),
        (["x" * CONTEXT], {}, f"prompt 1 has {CONTEXT} tokens"),
        (["x" * (CONTEXT + 1)], {"max_new_tokens": 0}, "leaves no room"),
        (["a"], {"max_new_tokens": -1}, "max_new_tokens is -1"),
        (["a"], {"n": 0}, "n is 0"),
        (["a"], {"temperature": -0.1}, "temperature"),
        (["a"], {"temperature": math.nan}, "temperature"),
        (["a"], {"top_p": 0.0}, "top_p"),
        (["a"], {"stop": "ab"}, "a list of strings"),
        (["a"], {"stop": [""]}, "none of them empty"),
        ([[{"role": "user"}]], {}, "a role and a content"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    prompts: Any, options: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        a_local().generate(prompts, **options)


def test_scores_need_a_prompt_and_room() -> None:
    with pytest.raises(UsageError, match="prompt 2 is empty"):
        a_local().score([("a", "b"), ("", "b")])
    with pytest.raises(UsageError, match="more than the model's context"):
        a_local().score([("a" * CONTEXT, "b")])
    [none] = a_local().score([("a", "")])
    assert none.log_prob == 0
    assert none.token_log_probs == ()


def test_an_encoder_decoder_is_refused() -> None:
    config = T5Config(vocab_size=20, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    with pytest.raises(UnsupportedError, match="encoder-decoder"):
        LocalModel(T5ForConditionalGeneration(config), byte_tokenizer())


def test_a_broken_model_is_named() -> None:
    model = random_model("llama")
    with torch.no_grad():
        model.lm_head.weight.fill_(math.nan)
    with pytest.raises(ScoresError, match="no numbers"):
        LocalModel(model, byte_tokenizer()).generate(["a"])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_opens_as_it_was(family: str, tmp_path: Any) -> None:
    model, tokenizer = random_model(family, dtype=torch.float32), byte_tokenizer()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    opened = LocalModel(*open_model(tmp_path))
    assert opened.name == LocalModel(model, tokenizer).name
    before = LocalModel(model, tokenizer).generate(["abc"], max_new_tokens=5, temperature=0)
    assert opened.generate(["abc"], max_new_tokens=5, temperature=0) == before


def test_a_folder_without_a_model_says_so(tmp_path: Any) -> None:
    with pytest.raises(UsageError, match="no folder with a model"):
        open_model(tmp_path / "absent")
    with pytest.raises(AssetError, match="0 GGUF files"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(AssetError, match="no language model that can be read"):
        open_model(tmp_path)
    (tmp_path / "config.json").write_text("{ half a li")
    with pytest.raises(AssetError, match="no language model that can be read"):
        open_model(tmp_path)
