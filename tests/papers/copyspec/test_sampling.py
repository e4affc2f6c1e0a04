"""The distribution of samples, on a Markov chain whose distribution is known."""

from collections import Counter
from typing import Any

import torch
from scipy.stats import chisquare
from transformers.generation import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper

from paperround.papers.copyspec.generation import _chooser, _verify

# P[a, b]: the probability of token b after token a.
CHAIN = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.25, 0.25, 0.5]])
LOGITS = CHAIN.log()
N_SAMPLES = 20_000

_NO = torch.tensor([False])


def never(text: torch.Tensor, scores: Any) -> torch.Tensor:
    return _NO


def sample_next(
    state: int, draft: list[int], processors: LogitsProcessorList, generator: torch.Generator
) -> list[int]:
    """What one pass of the chain emits after `state` when `draft` is verified."""
    text = torch.zeros((1, 8), dtype=torch.long)
    text[0, 0] = state
    logits = LOGITS[[state, *draft]]
    choose = _chooser(logits, processors, True, generator)
    emitted, _, _ = _verify(draft, choose, text, 1, never)
    return emitted


def test_the_next_two_tokens_have_the_chains_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    processors = LogitsProcessorList()
    for draft in ([], [1], [1, 0], [0, 0]):
        counts: Counter[tuple[int, int]] = Counter()
        for _ in range(N_SAMPLES // 4):
            tokens = sample_next(0, draft, processors, generator)
            # Where the pass ended early, the next one goes on.
            if len(tokens) < 2:
                tokens += sample_next(tokens[0], [2, 2], processors, generator)
            counts[tokens[0], tokens[1]] += 1
        pairs = [(a, b) for a in range(3) for b in range(3)]
        expected = [N_SAMPLES / 4 * float(CHAIN[0, a] * CHAIN[a, b]) for a, b in pairs]
        expected = [e * (N_SAMPLES // 4) / sum(expected) for e in expected]
        assert chisquare([counts[pair] for pair in pairs], expected).pvalue > 1e-3


def test_temperature_and_top_k_shape_the_distribution_that_is_kept() -> None:
    generator = torch.Generator().manual_seed(1)
    processors = LogitsProcessorList([TemperatureLogitsWarper(0.5), TopKLogitsWarper(2)])
    n = N_SAMPLES // 8
    counts = Counter(sample_next(0, [2], processors, generator)[0] for _ in range(n))
    # 0.6 and 0.3, squared by the temperature of one half; the third token is cut.
    assert counts[0] == 0
    assert chisquare([counts[1], counts[2]], [n * 0.8, n * 0.2]).pvalue > 1e-3


def test_a_wrong_rule_would_be_noticed() -> None:
    """Accepting every draft, the test's own check of its power."""
    n = N_SAMPLES // 4
    expected = [n * float(p) for p in CHAIN[0]]
    scale = n / sum(expected)
    assert chisquare([0, n, 0], [e * scale for e in expected]).pvalue < 1e-6


def test_common_random_numbers_give_one_sample_for_every_draft() -> None:
    for seed in range(50):
        first = sample_next(0, [], LogitsProcessorList(), torch.Generator().manual_seed(seed))
        for draft in ([0], [1], [2], [1, 1], [1, 0, 2]):
            tokens = sample_next(
                0, draft, LogitsProcessorList(), torch.Generator().manual_seed(seed)
            )
            assert tokens[0] == first[0]
