"""Every way to decode, the plain ones and those of the papers' rooms, on every family of models."""

from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, MambaConfig, OpenAIGPTConfig

from paperround.errors import UsageError
from paperround.kit.language_models import (
    Candidate,
    Generated,
    GenerationMethod,
    Request,
    find_method,
    known_methods,
    timed,
    warm_up,
)
from paperround.kit.language_models.families import (
    CONTEXT,
    FAMILIES,
    byte_tokenizer,
    random_model,
)
from paperround.runs.rooms import find_rooms

METHODS = sorted(known_methods())
# Long enough for windows of 16 tokens to forget its beginning; and it repeats itself.
PROMPT = "the cat sat on the mat, and the cat sat on the "


@cache
def a_model(family: str) -> Any:
    return random_model(family)


def a_request(family: str = "llama", prompt: Any = PROMPT, **options: Any) -> Request:
    settings = {"max_new_tokens": 24, **options}
    return Request(a_model(family), byte_tokenizer(), prompt, **settings)


def prepared(method: GenerationMethod, request: Request, **options: Any) -> Request:
    complete = method.complete(options)
    model = method.prepared(request.model, request.tokenizer, complete)
    return Request(
        model,
        request.tokenizer,
        request.prompt,
        request.max_new_tokens,
        request.seed,
        complete,
    )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_decodes_with_every_family(name: str, family: str) -> None:
    method = find_method(name)
    request = a_request(family)
    weights = {key: value.clone() for key, value in request.model.state_dict().items()}
    done = timed(method, prepared(method, request))
    assert done.generated.candidates
    for candidate in done.generated.candidates:
        assert 0 < candidate.n_tokens <= 24
    assert done.seconds > 0
    assert done.generated.changed.strip()
    if method.is_greedy:
        plain = timed(find_method("greedy"), request).generated
        assert done.generated.candidates == plain.candidates
    # The model of whoever asked is as it was.
    for key, value in request.model.state_dict().items():
        assert torch.equal(value, weights[key]), key


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_what_it_is_and_refuses_what_it_does_not_know(name: str) -> None:
    method = find_method(name)
    assert method.name == name
    assert method.about
    with pytest.raises(UsageError, match="has no option 'colour'"):
        method.complete({"colour": "red"})
    for option, default in method.options.items():
        if default is not None:
            with pytest.raises(UsageError, match=option):
                method.complete({option: [default]})


@pytest.mark.parametrize("name", METHODS)
def test_every_method_refuses_what_cannot_be_followed(name: str) -> None:
    method = find_method(name)
    for prompt, options, complaint in (
        ("", {}, "empty"),
        ("x" * CONTEXT, {}, "context"),
        ("x" * (CONTEXT - 3), {}, "context"),
        ("x", {"max_new_tokens": -1}, "max_new_tokens is -1"),
    ):
        request = prepared(method, a_request(prompt=prompt, **options))
        with pytest.raises(UsageError, match=complaint):
            timed(method, request)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_nothing_where_nothing_is_allowed(name: str) -> None:
    method = find_method(name)
    done = timed(method, prepared(method, a_request(max_new_tokens=0)))
    assert done.generated.candidates == (Candidate("", 0),)
    assert done.tokens_per_second is None


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_greedy_methods_end_with_the_context(family: str) -> None:
    request = a_request(family, prompt="ab " * 150, max_new_tokens=CONTEXT - 450)
    texts = {
        name: timed(find_method(name), prepared(find_method(name), request)).generated.candidates
        for name in METHODS
        if find_method(name).is_greedy and name != "prompt-lookup"
    }
    assert len(set(texts.values())) == 1


def test_transformers_prompt_lookup_says_where_learned_positions_end() -> None:
    method = find_method("prompt-lookup")
    request = prepared(method, a_request("gpt2", prompt="ab " * 150, max_new_tokens=CONTEXT - 450))
    with pytest.raises(UsageError, match=r"prompt-lookup: .* allow fewer new tokens"):
        timed(method, request)


def test_methods_compare_without_what_the_models_settings_ask_for() -> None:
    model = random_model("qwen2")
    asked = {"tokenizer": byte_tokenizer(), "prompt": PROMPT, "max_new_tokens": 24}
    method = find_method("copyspec")
    before = timed(find_method("greedy"), Request(model, **asked)).generated.candidates
    model.generation_config.update(do_sample=True, temperature=3.0, repetition_penalty=4.0)
    for name in ("greedy", "copyspec", "prompt-lookup"):
        method = find_method(name)
        request = Request(model, **asked, options=method.complete({}))
        assert timed(method, request).generated.candidates == before


def test_a_model_whose_cache_cannot_be_rolled_back_is_refused_by_name() -> None:
    asked = {"tokenizer": byte_tokenizer(), "prompt": "abcabcabc", "max_new_tokens": 5}
    gpt = OpenAIGPTConfig(vocab_size=259, n_embd=16, n_layer=1, n_head=2, n_positions=64)
    mamba = MambaConfig(vocab_size=259, hidden_size=16, num_hidden_layers=1, state_size=4)
    method, ours = find_method("copyspec"), find_method("copyspec-adaptive")
    for config in (gpt, mamba):
        model = AutoModelForCausalLM.from_config(config).eval()
        with pytest.raises(UsageError, match=r"copyspec: .*cannot take refused tokens back"):
            timed(method, Request(model, **asked, options=method.complete({})))
        with pytest.raises(UsageError, match=r"copyspec-adaptive: .* no cache to be rolled back"):
            ours.prepared(model, byte_tokenizer(), ours.complete({}))
        assert timed(find_method("greedy"), Request(model, **asked)).generated.candidates


def test_sampling_gives_the_wanted_number_of_texts_and_the_same_with_the_same_seed() -> None:
    method = find_method("sampling")
    request = prepared(method, a_request(seed=4), n=3, temperature=0.9)
    first, again = timed(method, request).generated, timed(method, request).generated
    assert len(first.candidates) == 3
    assert first == again
    assert len({candidate.text for candidate in first.candidates}) > 1


def test_lists_come_with_the_most_probable_text_first() -> None:
    for name in ("beam-search", "diverse-beam-search"):
        method = find_method(name)
        found = timed(method, prepared(method, a_request(), beams=3)).generated.candidates
        scores = [candidate.log_prob for candidate in found]
        assert len(found) == 3
        assert scores == sorted(scores, reverse=True)


def test_a_room_with_a_generator_offers_a_method_of_its_own_name() -> None:
    # Its page says so without importing it.
    slugs = [slug for slug, room in find_rooms()[0].items() if room.generates]
    assert {"copyspec", "diverse-beam-search"} <= {*slugs} <= {*known_methods()}


def test_an_unknown_method_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match="no method 'telepathy'; there are greedy, sampling"):
        find_method("telepathy")


def test_an_error_of_a_method_names_it() -> None:
    def fails(request: Request) -> Generated:
        raise ValueError("this cannot be")

    with pytest.raises(UsageError, match="mine: this cannot be"):
        timed(GenerationMethod("mine", "fails", fails), a_request())


def test_warming_up_asks_for_one_token_and_leaves_what_is_wrong_to_the_request() -> None:
    asked = []

    def counts(request: Request) -> Generated:
        asked.append(request.max_new_tokens)
        raise ValueError("this cannot be")

    warm_up(GenerationMethod("mine", "counts", counts), a_request(max_new_tokens=9))
    warm_up(GenerationMethod("mine", "counts", counts), a_request(max_new_tokens=0))
    assert asked == [1]
