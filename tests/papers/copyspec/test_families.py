"""CopySpec on every family of models that people use: the text is that of plain decoding."""

from functools import cache
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from paperround.kit.language_models.families import FAMILIES, random_model
from paperround.papers.copyspec import (
    AdaptiveCopy,
    PassCost,
    assisted_copy_decoding,
    generate,
)

# Longer than the sliding windows of both Gemmas, and the end repeats the beginning.
PROMPT = torch.tensor([[*b"the quick brown fox, and again: the quick brown"]])
OPTIONS: dict[str, Any] = {
    "attention_mask": torch.ones_like(PROMPT),
    "max_new_tokens": 40,
    "eos_token_id": None,
    "pad_token_id": 256,
}
FREE = PassCost((1, 2), (1.0, 1.0))


@cache
def a_model(family: str) -> PreTrainedModel:
    return random_model(family)


@cache
def plain(family: str, n_prompt: int) -> list[int]:
    prompt = PROMPT[:, :n_prompt]
    options = {**OPTIONS, "attention_mask": torch.ones_like(prompt)}
    return a_model(family).generate(prompt, do_sample=False, **options)[0].tolist()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", ["paper", "ours"])
@pytest.mark.parametrize("n_prompt", [1, 5, PROMPT.shape[1]])
def test_greedy_text_is_that_of_plain_decoding(family: str, rule: str, n_prompt: int) -> None:
    prompt = PROMPT[:, :n_prompt]
    options = {**OPTIONS, "attention_mask": torch.ones_like(prompt)}
    # The answer among the sources: long copies are right, and then cross the windows.
    answer = plain(family, n_prompt)[n_prompt:]
    for sources in ([], [answer], [[*answer[:20], 0, *answer[21:]]]):
        if rule == "paper":
            output = generate(a_model(family), prompt, gamma=1, sources=sources, **options)
        else:
            copying = AdaptiveCopy(FREE, sources=sources)
            output = generate(a_model(family), prompt, rule=copying, **options)
        assert output.sequences[0].tolist() == plain(family, n_prompt)
        if sources:
            assert output.stats.copied > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_draft_model_of_the_family_changes_nothing(family: str) -> None:
    draft_model = random_model(family, seed=1, num_hidden_layers=1)
    output = generate(a_model(family), PROMPT, draft_model=draft_model, draft_tokens=3, **OPTIONS)
    assert output.sequences[0].tolist() == plain(family, PROMPT.shape[1])
    assert output.stats.draft_passes > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_inside_transformers_loop_the_text_is_the_same(family: str) -> None:
    found = a_model(family).generate(
        PROMPT, custom_generate=assisted_copy_decoding, gamma=1, do_sample=False, **OPTIONS
    )
    assert found[0].tolist() == plain(family, PROMPT.shape[1])
