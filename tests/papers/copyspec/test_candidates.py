"""CopySpec inside transformers' assisted decoding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from paperround.papers.copyspec import CopyCandidateGenerator, assisted_copy_decoding, copy_decoding

Make = Callable[..., Any]


def test_candidates_are_the_text_and_what_followed_before() -> None:
    generator = CopyCandidateGenerator(gamma=2, max_copy=3)
    ids, logits = generator.get_candidates(torch.tensor([[5, 6, 7, 8, 9, 5, 6]]))
    assert ids.tolist() == [[5, 6, 7, 8, 9, 5, 6, 7, 8, 9]]
    assert logits is None


def test_candidates_leave_the_last_token_to_the_model() -> None:
    generator = CopyCandidateGenerator(gamma=2, max_copy=3, max_length=9)
    ids, _ = generator.get_candidates(torch.tensor([[5, 6, 7, 8, 9, 5, 6]]))
    assert ids.tolist() == [[5, 6, 7, 8, 9, 5, 6, 7]]


def test_without_a_match_the_text_comes_back_unchanged() -> None:
    ids, _ = CopyCandidateGenerator(gamma=2).get_candidates(torch.tensor([[5, 6, 7]]))
    assert ids.tolist() == [[5, 6, 7]]


def test_accepted_tokens_are_entered() -> None:
    generator = CopyCandidateGenerator(gamma=2, max_copy=2)
    generator.get_candidates(torch.tensor([[5, 6, 7]]))
    generator.update_candidate_strategy(torch.tensor([[5, 6, 7, 5, 6]]), None, 1)
    ids, _ = generator.get_candidates(torch.tensor([[5, 6, 7, 5, 6]]))
    assert ids.tolist() == [[5, 6, 7, 5, 6, 7, 5]]


def test_a_generator_serves_one_generation() -> None:
    generator = CopyCandidateGenerator()
    generator.get_candidates(torch.tensor([[5, 6, 7]]))
    with pytest.raises(ValueError, match="new CopyCandidateGenerator"):
        generator.get_candidates(torch.tensor([[5]]))


def test_a_batch_of_candidates_is_refused() -> None:
    with pytest.raises(ValueError, match="one sequence"):
        CopyCandidateGenerator().get_candidates(torch.ones((2, 4), dtype=torch.long))


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2"])
@pytest.mark.parametrize("loop", [assisted_copy_decoding, copy_decoding])
def test_both_loops_are_decoding_methods_of_generate(
    a_model: Make, a_prompt: Make, name: str, loop: Any
) -> None:
    model: PreTrainedModel = a_model(name)
    for seed in range(2):
        prompt = a_prompt(seed)
        options = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 32}
        wanted = model.generate(prompt, do_sample=False, **options)
        output = model.generate(prompt, do_sample=False, custom_generate=loop, gamma=2, **options)
        sequences = output if isinstance(output, torch.Tensor) else output.sequences
        assert torch.equal(sequences, wanted)


def test_the_model_is_left_as_it_was(llama: PreTrainedModel, a_prompt: Make) -> None:
    before = set(vars(llama))
    prompt = a_prompt(0)
    llama.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=4,
        custom_generate=assisted_copy_decoding,
    )
    assert set(vars(llama)) == before
