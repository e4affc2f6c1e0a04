"""How good translations are, by sacreBLEU: BLEU, chrF, and how sure a difference is."""

import random
from collections.abc import Callable, Sequence

from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

Metric = Callable[[Sequence[str], Sequence[str]], float]


def bleu(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """BLEU of the whole, 0 to 100, by sacreBLEU's `13a`; one reference for each hypothesis.

    Raises ValueError where their numbers differ, or are none.
    """
    _check(hypotheses, references)
    return float(BLEU().corpus_score(list(hypotheses), [list(references)]).score)


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """chrF2 of the whole, 0 to 100: F-score of runs of up to six letters. Errors as `bleu`."""
    _check(hypotheses, references)
    return float(CHRF().corpus_score(list(hypotheses), [list(references)]).score)


def bootstrap_difference(
    ours: Sequence[str],
    theirs: Sequence[str],
    references: Sequence[str],
    metric: Metric = bleu,
    *,
    draws: int = 500,
    seed: int = 0,
) -> tuple[float, float]:
    """The middle 95 % of metric(ours) - metric(theirs) over draws of the same sentences.

    Source: Koehn, Statistical Significance Tests for Machine Translation Evaluation, EMNLP 2004.
    """
    _check(ours, references)
    _check(theirs, references)
    rng = random.Random(f"bootstrap {seed}")
    n = len(references)
    differences = []
    for _ in range(draws):
        places = [rng.randrange(n) for _ in range(n)]
        refs = [references[i] for i in places]
        differences.append(
            metric([ours[i] for i in places], refs) - metric([theirs[i] for i in places], refs)
        )
    differences.sort()
    return differences[int(0.025 * (draws - 1))], differences[round(0.975 * (draws - 1))]


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"{len(hypotheses)} translations for {len(references)} references; give one for each"
        )
