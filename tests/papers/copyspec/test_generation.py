"""The decoding loop: the text of plain decoding, in fewer passes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import (
    DynamicCache,
    GenerationConfig,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.generation import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper

from paperround.papers.copyspec import generate, generation

MODEL_NAMES = ("llama", "gpt2", "qwen2", "bloom", "mistral-window")
EOS = 1
N_NEW = 32

Make = Callable[..., Any]

# The fixtures are the same for every example: models that nobody changes.
few = settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def plain(model: PreTrainedModel, prompt: torch.Tensor, **options: Any) -> torch.Tensor:
    options = {"max_new_tokens": N_NEW, "do_sample": False} | options
    options.setdefault("attention_mask", torch.ones_like(prompt))
    return model.generate(prompt, **options)


def copied(
    model: PreTrainedModel, prompt: torch.Tensor, **options: Any
) -> generation.GenerateOutput:
    options = {"max_new_tokens": N_NEW} | options
    options.setdefault("attention_mask", torch.ones_like(prompt))
    return generate(model, prompt, **options)


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("drafted", [False, True])
def test_greedy_text_is_that_of_any_causal_model(
    a_model: Make, a_prompt: Make, draft_model: PreTrainedModel, name: str, drafted: bool
) -> None:
    model = a_model(name)
    for seed in range(2):
        prompt = a_prompt(seed)
        output = copied(model, prompt, gamma=1, draft_model=draft_model if drafted else None)
        assert torch.equal(output.sequences, plain(model, prompt))
        assert output.stats.attempts > 0


@few
@given(
    gamma=st.integers(1, 6),
    max_copy=st.integers(0, 12),
    draft_tokens=st.none() | st.integers(1, 6),
    policy=st.sampled_from(["first", "last", "longest"]),
    seed=st.integers(0, 50),
    n_prompt=st.integers(1, 30),
    n_new=st.integers(1, 30),
)
def test_greedy_text_is_unchanged_for_every_setting(
    llama: PreTrainedModel,
    draft_model: PreTrainedModel,
    a_prompt: Make,
    gamma: int,
    max_copy: int,
    draft_tokens: int | None,
    policy: Any,
    seed: int,
    n_prompt: int,
    n_new: int,
) -> None:
    prompt = a_prompt(seed, n_prompt)
    output = copied(
        llama,
        prompt,
        gamma=gamma,
        max_copy=max_copy,
        policy=policy,
        max_new_tokens=n_new,
        draft_model=None if draft_tokens is None else draft_model,
        draft_tokens=draft_tokens or 5,
    )
    assert torch.equal(output.sequences, plain(llama, prompt, max_new_tokens=n_new))
    stats = output.stats
    assert stats.new_tokens == output.sequences.shape[1] - n_prompt
    assert stats.passes <= stats.new_tokens
    for step in stats.steps:
        assert 0 <= step.accepted <= step.drafted
        assert 1 <= step.emitted <= step.drafted + 1
        assert step.drafted <= {"copy": max_copy, "draft": draft_tokens}.get(step.kind, 0)


def test_a_model_as_its_own_draft_is_always_right(llama: PreTrainedModel, a_prompt: Make) -> None:
    prompt = a_prompt(1)
    output = copied(llama, prompt, max_copy=0, draft_model=llama, draft_tokens=3, eos_token_id=None)
    assert torch.equal(output.sequences, plain(llama, prompt, eos_token_id=None))
    assert all(step.accepted == step.drafted for step in output.stats.steps)
    # The prompt's pass gives one token, seven passes four each, and three are left.
    assert output.stats.passes == 9


def test_without_copying_and_drafting_there_is_a_pass_per_token(
    llama: PreTrainedModel, a_prompt: Make
) -> None:
    stats = copied(llama, a_prompt(0), max_copy=0).stats
    assert stats.passes == stats.new_tokens
    assert stats.verified_tokens == stats.new_tokens
    assert stats.attempts == stats.copied == 0


def test_a_copied_passage_saves_passes(llama: PreTrainedModel, a_prompt: Make) -> None:
    # The answer itself is the source: every draft is right.
    prompt = a_prompt(2)
    answer = plain(llama, prompt, eos_token_id=None)[0].tolist()
    options = {"gamma": 3, "sources": [answer], "eos_token_id": None, "max_new_tokens": 23}
    stats = copied(llama, prompt, **options).stats
    # One token from the prompt's pass, then ten copied and one of the model's own at a time.
    assert [step.emitted for step in stats.steps] == [1, 11, 11]
    assert stats.copied == 20


@pytest.mark.parametrize("n_new", [1, 2, 3, 12, 13])
def test_no_more_tokens_than_allowed_come_out(
    llama: PreTrainedModel, a_prompt: Make, n_new: int
) -> None:
    prompt = a_prompt(2)
    answer = plain(llama, prompt, eos_token_id=None)[0].tolist()
    output = copied(
        llama, prompt, sources=[answer], eos_token_id=None, max_new_tokens=n_new, gamma=2
    )
    assert output.sequences[0].tolist() == answer[: prompt.shape[1] + n_new]


@pytest.mark.parametrize("place", [0, 1, 4, 9, 11, 12])
def test_an_end_token_inside_a_draft_ends_the_text(
    llama: PreTrainedModel, a_prompt: Make, place: int
) -> None:
    prompt = a_prompt(2)
    answer = plain(llama, prompt, eos_token_id=None)[0].tolist()
    end = answer[prompt.shape[1] + place]
    options = {"eos_token_id": end, "pad_token_id": 2}
    output = copied(llama, prompt, sources=[answer], gamma=2, **options)
    assert torch.equal(output.sequences, plain(llama, prompt, **options))
    assert output.sequences[0, -1] == end
    assert (output.sequences[0, prompt.shape[1] :] == end).sum() == 1


def test_any_of_several_end_tokens_ends_the_text(llama: PreTrainedModel, a_prompt: Make) -> None:
    prompt = a_prompt(3)
    config = GenerationConfig(max_new_tokens=N_NEW, eos_token_id=[5, 6, EOS], pad_token_id=2)
    output = generate(llama, prompt, gamma=1, generation_config=config)
    wanted = llama.generate(prompt, generation_config=config)
    assert torch.equal(output.sequences, wanted)


class _StopAtLength(StoppingCriteria):
    """Ends a text after so many tokens, in the middle of a draft."""

    def __init__(self, n_tokens: int) -> None:
        self.n_tokens = n_tokens

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        return torch.tensor([input_ids.shape[1] >= self.n_tokens])


def test_stopping_criteria_are_asked_after_every_token(
    llama: PreTrainedModel, a_prompt: Make
) -> None:
    prompt = a_prompt(2)
    answer = plain(llama, prompt, eos_token_id=None)[0].tolist()
    output = copied(
        llama,
        prompt,
        sources=[answer],
        eos_token_id=None,
        stopping_criteria=StoppingCriteriaList([_StopAtLength(27)]),
    )
    assert output.sequences[0].tolist() == answer[:27]


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.3},
        {"no_repeat_ngram_size": 3},
        {"min_new_tokens": 12},
        {"suppress_tokens": [4, 5, 6]},
    ],
)
def test_processors_see_what_they_see_in_plain_decoding(
    llama: PreTrainedModel, a_prompt: Make, options: dict[str, Any]
) -> None:
    for seed in range(3):
        prompt = a_prompt(seed)
        output = copied(llama, prompt, gamma=1, **options)
        assert torch.equal(output.sequences, plain(llama, prompt, **options))


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_padding_on_the_left_changes_nothing(
    a_model: Make, a_prompt: Make, draft_model: PreTrainedModel, name: str
) -> None:
    model, prompt = a_model(name), a_prompt(4)
    padded = torch.cat([torch.full((1, 5), 2), prompt], dim=-1)
    mask = (torch.arange(25)[None] >= 5).long()
    output = copied(model, padded, gamma=1, attention_mask=mask, draft_model=draft_model)
    assert torch.equal(output.sequences, plain(model, padded, attention_mask=mask))
    assert torch.equal(output.sequences[:, 5:], plain(model, prompt))


def test_a_conversation_goes_on_from_its_cache(llama: PreTrainedModel, a_prompt: Make) -> None:
    first, cache = a_prompt(5), DynamicCache(config=llama.config)
    answer = copied(llama, first, gamma=1, past_key_values=cache).sequences
    assert cache.get_seq_length() == answer.shape[1] - 1
    second = torch.cat([answer, a_prompt(6, 7)], dim=-1)
    output = copied(llama, second, gamma=1, past_key_values=cache)
    assert torch.equal(output.sequences, plain(llama, second))


def test_the_cache_holds_all_but_the_last_token_after_every_step(
    llama: PreTrainedModel, a_prompt: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    settled: list[int] = []
    keep_first = generation._CachedModel.keep_first

    def note(self: Any, n_tokens: int) -> None:
        keep_first(self, n_tokens)
        settled.append(self.length)

    monkeypatch.setattr(generation._CachedModel, "keep_first", note)
    output = copied(llama, a_prompt(0), gamma=1)
    lengths, n = [], 20
    for step in output.stats.steps:
        n += step.emitted
        lengths.append(n - 1)
    assert settled == lengths


def test_the_text_may_go_into_training(llama: PreTrainedModel, a_prompt: Make) -> None:
    assert not copied(llama, a_prompt(0)).sequences.is_inference()


# Sampling.


@pytest.mark.parametrize("drafted", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.7}, {"top_k": 4}, {"temperature": 0.5, "top_p": 0.9}]
)
def test_the_same_random_numbers_give_the_same_sample(
    llama: PreTrainedModel,
    draft_model: PreTrainedModel,
    a_prompt: Make,
    options: dict[str, Any],
    drafted: bool,
) -> None:
    n_copied = 0
    for seed in range(2):
        prompt = a_prompt(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            wanted = plain(llama, prompt, do_sample=True, **options)
            torch.manual_seed(seed)
            output = copied(
                llama,
                prompt,
                do_sample=True,
                gamma=1,
                draft_model=draft_model if drafted else None,
                **options,
            )
        assert torch.equal(output.sequences, wanted)
        n_copied += output.stats.copied
    assert n_copied > 0


def test_a_generator_of_ones_own_makes_a_sample_repeatable(
    llama: PreTrainedModel, a_prompt: Make
) -> None:
    processors = LogitsProcessorList([TemperatureLogitsWarper(0.8), TopKLogitsWarper(5)])
    texts = [
        copied(
            llama,
            a_prompt(1),
            do_sample=True,
            logits_processor=processors,
            generator=torch.Generator().manual_seed(11),
        ).sequences
        for _ in range(2)
    ]
    assert torch.equal(*texts)


# What is refused.


def test_a_batch_is_refused_with_the_remedy(llama: PreTrainedModel, a_prompt: Make) -> None:
    with pytest.raises(ValueError, match="Call it once per prompt"):
        generate(llama, a_prompt(0).repeat(2, 1), max_new_tokens=4)


def test_an_empty_prompt_is_refused(llama: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="prompt is empty"):
        generate(llama, torch.zeros((1, 0), dtype=torch.long), max_new_tokens=4)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"gamma": 0}, "gamma is 0"),
        ({"max_copy": -1}, "max_copy is -1"),
        ({"num_beams": 2}, "num_beams"),
        ({"use_cache": False}, "use_cache is off"),
        ({"output_scores": True, "return_dict_in_generate": True}, "output_scores"),
        ({"position_ids": torch.arange(3, 23)[None]}, "position_ids"),
        ({"cache_implementation": "static"}, "StaticCache"),
    ],
)
def test_what_cannot_be_done_is_refused(
    llama: PreTrainedModel, a_prompt: Make, options: dict[str, Any], word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        copied(llama, a_prompt(0), **options)


def test_a_draft_of_no_tokens_is_refused(llama: PreTrainedModel, a_prompt: Make) -> None:
    with pytest.raises(ValueError, match="draft_tokens is 0"):
        copied(llama, a_prompt(0), draft_model=llama, draft_tokens=0)


def test_a_cache_that_holds_the_whole_prompt_is_refused(
    llama: PreTrainedModel, a_prompt: Make
) -> None:
    cache = DynamicCache(config=llama.config)
    llama(a_prompt(0), past_key_values=cache)
    with pytest.raises(ValueError, match="with new tokens"):
        copied(llama, a_prompt(0), past_key_values=cache)


def test_a_static_cache_is_refused(llama: PreTrainedModel, a_prompt: Make) -> None:
    cache = StaticCache(config=llama.config, max_cache_len=64)
    with pytest.raises(ValueError, match="cannot take refused tokens back"):
        copied(llama, a_prompt(0), past_key_values=cache)


def test_a_recurrent_model_is_refused(a_prompt: Make) -> None:
    config = MambaConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, state_size=4, pad_token_id=2
    )
    with pytest.raises(ValueError, match="without a recurrent state"):
        copied(MambaForCausalLM(config).eval(), a_prompt(0))


def test_an_encoder_decoder_is_refused(a_prompt: Make) -> None:
    config = T5Config(
        vocab_size=16, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, pad_token_id=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    with pytest.raises(ValueError, match="encoder-decoder"):
        copied(T5ForConditionalGeneration(config).eval(), a_prompt(0))


class _Streamer:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


def test_a_streamer_gets_the_whole_text(llama: PreTrainedModel, a_prompt: Make) -> None:
    streamer = _Streamer()
    output = copied(llama, a_prompt(0), gamma=1, streamer=streamer)
    assert streamer.tokens == output.sequences[0].tolist()
    assert streamer.ended
