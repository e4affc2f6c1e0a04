"""Replays of known answers."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from paperround.kit.language_models.timing import counted_passes
from paperround.papers.copyspec import CopySpec, Greedy, Oracle, PromptLookup, generate, replay

Make = Callable[..., Any]

texts = st.lists(st.integers(0, 4), max_size=40)
methods = st.sampled_from(
    [Greedy(), CopySpec(), CopySpec(1, 4), CopySpec(2, policy="last"), Oracle(2), PromptLookup()]
)


@settings(deadline=None)
@given(texts, texts, methods)
def test_the_steps_of_a_replay_add_up_to_the_answer(
    context: list[int], answer: list[int], method: Any
) -> None:
    stats = replay(context, answer, method)
    assert stats.new_tokens == len(answer)
    assert stats.passes <= len(answer)
    for step in stats.steps:
        assert 0 <= step.accepted <= step.drafted
        assert step.accepted <= step.emitted <= step.accepted + 1


@settings(deadline=None)
@given(st.integers(0, 40), methods)
def test_an_answer_without_repetition_takes_a_pass_per_token(n_tokens: int, method: Any) -> None:
    assert replay([], list(range(n_tokens)), method).passes == n_tokens


@given(texts, texts, st.integers(1, 4))
def test_no_policy_beats_the_oracle_on_a_single_step(
    context: list[int], answer: list[int], gamma: int
) -> None:
    oracle = Oracle(gamma).start(context, answer)
    for policy in ("first", "last", "longest"):
        method = CopySpec(gamma, policy=policy).start(context, answer)  # type: ignore[arg-type]
        oracle = Oracle(gamma).start(context, answer)
        for n in range(1, len(answer)):
            ahead = answer[n:]
            right = [
                next((i for i, (a, b) in enumerate(zip(d, ahead, strict=False)) if a != b), len(d))
                for d in (oracle(n), method(n))
            ]
            assert right[0] >= right[1]


def test_copying_the_context_by_hand() -> None:
    # Greedy after the prompt: 1; 2; then the pair (1, 2) occurred before, and 3 4 5 are copied,
    # the pass giving 9 as its own token.
    stats = replay([1, 2, 3, 4, 5, 6, 0], [1, 2, 3, 4, 5, 9], CopySpec(gamma=2, max_copy=3))
    assert [(s.kind, s.drafted, s.accepted, s.emitted) for s in stats.steps] == [
        ("prompt", 0, 0, 1),
        ("single", 0, 0, 1),
        ("copy", 3, 3, 4),
    ]
    assert stats.verified_tokens == 1 + 1 + 4
    assert stats.copied_share == pytest.approx(0.5)
    assert stats.tau == pytest.approx(2.0)


@pytest.mark.parametrize("gamma", [1, 2, 3])
def test_a_replay_takes_the_steps_of_the_live_decoder(
    a_model: Make, a_prompt: Make, gamma: int
) -> None:
    model: PreTrainedModel = a_model("gpt2")
    for seed in range(3):
        prompt = a_prompt(seed)
        output = generate(
            model,
            prompt,
            gamma=gamma,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=32,
            eos_token_id=None,
        )
        answer = output.sequences[0, prompt.shape[1] :].tolist()
        assert replay(prompt[0].tolist(), answer, CopySpec(gamma)) == output.stats


@pytest.mark.parametrize("ngram", [1, 2, 3])
def test_a_replay_takes_the_passes_of_transformers_prompt_lookup(
    a_model: Make, a_prompt: Make, ngram: int
) -> None:
    for name in ("llama", "gpt2"):
        model: PreTrainedModel = a_model(name)
        for seed in range(3):
            prompt = a_prompt(seed)
            with counted_passes(model) as count:
                text = model.generate(
                    prompt,
                    attention_mask=torch.ones_like(prompt),
                    max_new_tokens=32,
                    do_sample=False,
                    eos_token_id=None,
                    prompt_lookup_num_tokens=10,
                    max_matching_ngram_size=ngram,
                )
            answer = text[0, prompt.shape[1] :].tolist()
            stats = replay(prompt[0].tolist(), answer, PromptLookup(ngram))
            assert stats.passes == count.passes
            assert stats.verified_tokens == sum(count.lengths) - (prompt.shape[1] - 1)
