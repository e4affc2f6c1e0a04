"""How good translations are, by sacreBLEU: BLEU, chrF, and how sure a difference is."""

import random
from collections.abc import Callable, Sequence

import numpy as np
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
    mine, yours = (_of_places(metric, texts, references) for texts in (ours, theirs))
    differences = []
    for _ in range(draws):
        places = [rng.randrange(n) for _ in range(n)]
        differences.append(mine(places) - yours(places))
    differences.sort()
    return differences[int(0.025 * (draws - 1))], differences[round(0.975 * (draws - 1))]


def _of_places(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[str]
) -> Callable[[Sequence[int]], float]:
    """The metric as a function of which sentences are drawn."""
    if metric is not bleu:
        return lambda places: metric(
            [hypotheses[i] for i in places], [references[i] for i in places]
        )
    # BLEU comes from sums over sentences: count each once, and not again for every draw.
    one = BLEU(effective_order=True)
    scores = [one.sentence_score(h, [r]) for h, r in zip(hypotheses, references, strict=True)]
    counts = np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores])

    def drawn(places: Sequence[int]) -> float:
        sys_len, ref_len, *ngrams = counts[places].sum(0).tolist()
        half = len(ngrams) // 2
        found = BLEU.compute_bleu(
            ngrams[:half], ngrams[half:], sys_len, ref_len, smooth_method="exp"
        )
        return float(found.score)

    return drawn


def _check(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    if len(hypotheses) != len(references) or not references:
        raise ValueError(
            f"{len(hypotheses)} translations for {len(references)} references; give one for each"
        )
