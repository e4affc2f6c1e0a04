"""The recorded texts, and the parts of the measuring that need no model of size."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

import paperround.papers.copyspec
from paperround.kit.language_models.timing import counted_passes
from paperround.papers.copyspec.baselines import greedy, layer_dropped, top_two_gap
from paperround.papers.copyspec.timing import bootstrap_ratio
from paperround.papers.copyspec.workloads import read_conversations

DATA = Path(paperround.papers.copyspec.__file__).with_name("data")

Make = Callable[..., Any]


@pytest.mark.parametrize("question_set", ["mt-redundant", "mt-bench"])
def test_a_question_set_has_seven_questions_in_each_of_eight_categories(question_set: Any) -> None:
    categories = Counter(c.category for c in read_conversations(DATA, question_set))
    assert list(categories.values()) == [7] * 8


def test_both_sets_share_their_first_turns() -> None:
    redundant, plain = (read_conversations(DATA, s) for s in ("mt-redundant", "mt-bench"))
    for one, other in zip(redundant, plain, strict=True):
        assert one.questions[0] == other.questions[0]
        assert one.answers["Qwen2.5-7B"][0] == other.answers["Qwen2.5-7B"][0]


def test_the_minimal_loop_is_greedy_decoding(llama: PreTrainedModel, a_prompt: Make) -> None:
    for seed in range(3):
        prompt = a_prompt(seed)
        wanted = llama.generate(
            prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=24, do_sample=False
        )
        with counted_passes(llama) as count:
            assert torch.equal(greedy(llama, prompt, 24, [1]), wanted)
        assert count.lengths == [20] + [1] * (wanted.shape[1] - 21)


def test_a_model_without_some_layers_is_the_rest_of_it(
    llama: PreTrainedModel, a_prompt: Make
) -> None:
    whole, part = layer_dropped(llama, []), layer_dropped(llama, [0])
    assert len(part.model.layers) == part.config.num_hidden_layers == 1
    assert len(llama.model.layers) == 2
    prompt = a_prompt(0)
    with torch.no_grad():
        assert torch.equal(whole(prompt).logits, llama(prompt).logits)
    # It decodes with a cache of its own, one layer deep.
    wanted = greedy(part, prompt, 8, [])
    assert wanted.shape == (1, 28)


def test_the_gap_is_that_of_the_two_best_logits(llama: PreTrainedModel, a_prompt: Make) -> None:
    prompt = a_prompt(1)
    with torch.no_grad():
        best = sorted(llama(prompt).logits[0, -1].tolist())
    assert top_two_gap(llama, prompt[0].tolist()) == pytest.approx(best[-1] - best[-2], rel=1e-4)


def test_the_interval_of_equal_ratios_is_a_point() -> None:
    seconds = np.array([1.0, 2.0, 3.0])
    assert bootstrap_ratio(2 * seconds, seconds, seed=0) == (2.0, 2.0)


def test_the_interval_holds_the_ratio_and_narrows_with_more_prompts() -> None:
    rng = np.random.default_rng(0)

    def interval(n: int) -> tuple[float, float]:
        return bootstrap_ratio(rng.uniform(1.5, 2.5, n), np.ones(n), seed=1)

    low_few, high_few = interval(8)
    low_many, high_many = interval(800)
    assert low_few < 2.0 < high_few
    assert low_many < 2.0 < high_many
    assert high_many - low_many < high_few - low_few
