"""Our own rule: the longest match, and as much of it as pays."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from paperround.papers.copyspec import AdaptiveCopy, PassCost, generate, measure_pass_cost, replay
from paperround.papers.copyspec.adaptive import MEASURED_LENGTHS
from paperround.papers.copyspec.replays import Adaptive, CopySpec, Greedy
from paperround.papers.copyspec.suffixes import SuffixMatcher

# A pass costs the same whatever it computes; or every token as much as a pass of its own.
FREE = PassCost((1, 2), (1.0, 1.0))
DEAR = PassCost((1, 2), (1.0, 2.0))
MODEL_NAMES = ("llama", "gpt2", "qwen2", "bloom", "mistral-window")

texts = st.lists(st.integers(0, 3), max_size=60)
few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


def longest_earlier_suffix(tokens: list[int]) -> tuple[int, int] | None:
    """By looking everywhere: the length, and what follows its first occurrence."""
    for length in range(len(tokens) - 1, 0, -1):
        for start in range(len(tokens) - length):
            if tokens[start : start + length] == tokens[-length:]:
                return length, start + length
    return None


@settings(max_examples=300)
@given(tokens=texts)
def test_the_match_is_the_longest_suffix_that_occurred_before(tokens: list[int]) -> None:
    matcher = SuffixMatcher()
    for n, token in enumerate(tokens, start=1):
        matcher.extend([token])
        found = None if matcher.match is None else (matcher.match.length, matcher.match.after)
        assert found == longest_earlier_suffix(tokens[:n])


def test_the_matcher_stays_linear_where_one_token_repeats() -> None:
    matcher = SuffixMatcher()
    matcher.extend([7] * 5_000)
    assert matcher.match is not None
    assert matcher.match.length == 4_999
    assert len(matcher._link) <= 2 * 5_000


@pytest.mark.parametrize("name", MODEL_NAMES)
@pytest.mark.parametrize("cost", [FREE, DEAR, PassCost((1, 4, 9), (1.0, 1.1, 1.6))])
def test_greedy_text_is_that_of_plain_decoding(
    a_model: Callable[..., Any], a_prompt: Callable[..., Any], name: str, cost: PassCost
) -> None:
    model = a_model(name)
    for seed in range(2):
        prompt = a_prompt(seed)
        options = {"attention_mask": torch.ones_like(prompt), "max_new_tokens": 40}
        plain = model.generate(prompt, do_sample=False, **options)
        output = generate(model, prompt, rule=AdaptiveCopy(cost), **options)
        assert torch.equal(output.sequences, plain)


@few
@given(
    seed=st.integers(0, 50),
    n_prompt=st.integers(1, 30),
    n_new=st.integers(1, 40),
    longest=st.integers(0, 20),
)
def test_sampled_text_is_that_of_plain_sampling(
    llama: PreTrainedModel,
    a_prompt: Callable[..., Any],
    seed: int,
    n_prompt: int,
    n_new: int,
    longest: int,
) -> None:
    prompt = a_prompt(seed, n_prompt)
    options = {
        "attention_mask": torch.ones_like(prompt),
        "max_new_tokens": n_new,
        "do_sample": True,
        "temperature": 0.4,
    }
    torch.manual_seed(seed)
    plain = llama.generate(prompt, **options)
    torch.manual_seed(seed)
    rule = AdaptiveCopy(FREE, longest_draft=longest)
    output = generate(llama, prompt, rule=rule, **options)
    assert torch.equal(output.sequences, plain)
    assert all(step.drafted <= longest for step in output.stats.steps)


def test_where_a_token_costs_a_pass_nothing_is_copied() -> None:
    rule = AdaptiveCopy(DEAR)
    rule.extend([1, 2, 3, 4] * 20)
    # A right token costs what it saves, and not every token is right.
    assert rule.propose(60) == []


def test_where_passes_are_free_as_much_as_allowed_is_copied() -> None:
    rule = AdaptiveCopy(FREE, longest_draft=30)
    rule.extend([9, 1, 2, 3, 4, 9, 1, 2])
    # Past its own end the copy goes on with what it copied.
    period = [3, 4, 9, 1, 2]
    assert rule.propose(100) == (period * 6)[:30]
    assert rule.propose(3) == [3, 4, 9]
    assert rule.propose(0) == []


def test_drafts_grow_with_the_match() -> None:
    cost = PassCost((1, 65), (1.0, 4.0))
    lengths = [AdaptiveCopy(cost).best_length(matched, 64) for matched in range(1, 40)]
    assert lengths == sorted(lengths)
    assert lengths[0] < lengths[-1]


def test_a_rule_that_is_always_wrong_gives_up_and_one_that_is_right_comes_back() -> None:
    cost = PassCost((1, 65), (1.0, 4.0))
    rule = AdaptiveCopy(cost)
    rule.extend([0, 1, 0, 2, 0, 3, 0])
    assert rule.best_length(1, 64) > 0
    # Each 0 is followed by something new: the match of one token is wrong every time.
    for token in range(4, 80):
        rule.extend([token, 0])
    assert rule.best_length(1, 64) == 0
    assert rule.propose(64) == []
    # It was never copied from since, and learns all the same.
    for _ in range(40):
        rule.extend([1, 0])
    assert rule.propose(4) == [1, 0, 1, 0]


def test_the_best_length_has_the_best_rate_of_all() -> None:
    cost = PassCost((1, 2, 5, 17, 65), (1.0, 1.2, 1.4, 2.5, 9.0))
    rule, seconds = AdaptiveCopy(cost), cost.table(65)
    for matched in (1, 2, 5, 30):
        rates, survival, expected = [1.0], 1.0, 1.0
        for length in range(1, 65):
            survival *= rule._trust.of(matched + length - 1)
            expected += survival
            rates.append(expected / seconds[1 + length])
        assert rule.best_length(matched, 64) == max(range(65), key=lambda k: rates[k])


def test_copies_from_other_texts_stay_within_them() -> None:
    rule = AdaptiveCopy(FREE, sources=[[5, 6, 7], [8, 9]])
    assert rule.propose(10) == []
    rule.extend([6])
    assert rule.propose(10) == [7]
    rule.extend([7])
    # The first source ends here.
    assert rule.propose(10) == []
    rule.extend([8])
    assert rule.propose(10) == [9]


@settings(max_examples=60)
@given(context=texts, answer=st.lists(st.integers(0, 3), min_size=1, max_size=60))
def test_a_replay_emits_the_answer_in_no_more_passes_than_tokens(
    context: list[int], answer: list[int]
) -> None:
    stats = replay(context or [0], answer, Adaptive(FREE))
    assert stats.new_tokens == len(answer)
    assert stats.passes <= len(answer)


def test_by_its_own_cost_it_beats_the_papers_rule_on_what_repeats() -> None:
    cost = PassCost((1, 2, 4, 8, 16, 32, 64), (42, 42.5, 55, 66, 73, 88, 134))
    seconds = cost.table(65)
    passage = list(range(100, 160))
    edited = [*passage[:25], 7, *passage[26:50], 8, *passage[51:]]

    def total(method: Any) -> float:
        stats = replay([1, 2, *passage, 3], edited, method)
        return sum(seconds[1 + step.drafted] for step in stats.steps)

    assert total(Adaptive(cost)) < total(CopySpec()) < total(Greedy())


def test_the_cost_of_a_pass_is_measured_once_and_never_falls(llama: PreTrainedModel) -> None:
    cost = measure_pass_cost(llama)
    assert cost.lengths == MEASURED_LENGTHS
    assert measure_pass_cost(llama) is cost
    table = cost.table(80)
    assert table[1:] == sorted(table[1:])


def test_a_cost_is_interpolated_and_goes_on() -> None:
    assert PassCost((1, 3, 5), (1.0, 2.0, 1.5)).table(6) == [0.0, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]
    assert PassCost((1, 3), (1.0, 2.0)).table(5) == [0.0, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert PassCost((1,), (2.0,)).table(3) == [0.0, 2.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("lengths", "seconds"),
    [
        ((), ()),
        ((2, 3), (1.0, 2.0)),
        ((1, 3, 2), (1.0, 2.0, 3.0)),
        ((1, 2), (1.0,)),
        ((1,), (0.0,)),
    ],
)
def test_a_cost_that_cannot_be_is_refused(lengths: Any, seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"cost|lengths"):
        PassCost(lengths, seconds)


def test_a_rule_serves_one_text(llama: PreTrainedModel, a_prompt: Callable[..., Any]) -> None:
    rule, prompt = AdaptiveCopy(FREE), a_prompt(0)
    generate(llama, prompt, rule=rule, max_new_tokens=2)
    with pytest.raises(ValueError, match="a new AdaptiveCopy"):
        generate(llama, prompt, rule=rule, max_new_tokens=2)
    with pytest.raises(ValueError, match="cannot be negative"):
        rule.propose(-1)
    with pytest.raises(ValueError, match="longest_draft is -1"):
        AdaptiveCopy(FREE, longest_draft=-1)
