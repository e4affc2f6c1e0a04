"""What a list of candidates is worth: the best of its first k, and how much its members differ.

Candidates are sequences of words or token ids; texts are split by the caller. Every ratio here
depends on lengths, so show `mean_length` beside it.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import combinations

Words = Sequence[Hashable]


def oracle_at_k(values: Sequence[float], k: int) -> float:
    """The largest of the first k values of a list that is in order, best candidate first.

    A list shorter than k counts as it is. Raises ValueError for k < 1 or an empty list.
    """
    if k < 1:
        raise ValueError(f"oracle@k needs k >= 1, it is {k}")
    if not values:
        raise ValueError("oracle@k of an empty list")
    return max(values[:k])


def distinct_n(candidates: Sequence[Words], n: int) -> float:
    """The number of different n-grams in a list, divided by the number of words in it (0..1).

    Section 5.2 of the paper; 0 where the list holds no word.
    """
    n_words = sum(len(words) for words in candidates)
    return len(set(_all_ngrams(candidates, n))) / n_words if n_words else 0.0


def count_distinct(candidates: Sequence[Words], n: int) -> int:
    """The number of different n-grams in a list."""
    return len(set(_all_ngrams(candidates, n)))


def mean_length(candidates: Sequence[Words]) -> float:
    """The mean number of words of a candidate."""
    if not candidates:
        raise ValueError("the mean length of an empty list")
    return sum(len(words) for words in candidates) / len(candidates)


def self_bleu(candidates: Sequence[Words], max_n: int = 4) -> float:
    """The mean BLEU of each candidate against all the others, 0..1; lower is more diverse.

    Counts above unigrams are smoothed by one (Lin and Och 2004), as short candidates need. Source:
    Zhu et al., SIGIR 2018. Raises ValueError for fewer than two candidates.
    """
    if len(candidates) < 2:
        raise ValueError("self-BLEU needs at least two candidates")
    scores = [
        _bleu(words, [*candidates[:i], *candidates[i + 1 :]], max_n)
        for i, words in enumerate(candidates)
    ]
    return sum(scores) / len(scores)


def pairwise_edit_distance(candidates: Sequence[Words]) -> float:
    """The mean Levenshtein distance over all pairs, each divided by the longer length, 0..1.

    Higher is more diverse. Raises ValueError for fewer than two candidates.
    """
    pairs = list(combinations(candidates, 2))
    if not pairs:
        raise ValueError("a pairwise distance needs at least two candidates")
    return sum(edit_distance(a, b) / max(len(a), len(b), 1) for a, b in pairs) / len(pairs)


def edit_distance(a: Words, b: Words) -> int:
    """The fewest insertions, deletions and substitutions that turn a into b."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, start=1):
        previous, row[0] = row[0], i
        for j, right in enumerate(b, start=1):
            substituted = previous + (left != right)
            previous, row[j] = row[j], min(substituted, row[j] + 1, row[j - 1] + 1)
    return row[-1]


def _ngrams(words: Words, n: int) -> list[tuple[Hashable, ...]]:
    if n < 1:
        raise ValueError(f"n-grams need n >= 1, it is {n}")
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def _all_ngrams(candidates: Sequence[Words], n: int) -> list[tuple[Hashable, ...]]:
    return [ngram for words in candidates for ngram in _ngrams(words, n)]


def _bleu(words: Words, references: Sequence[Words], max_n: int) -> float:
    if not words:
        return 0.0
    log_precision = 0.0
    for n in range(1, max_n + 1):
        found = Counter(_ngrams(words, n))
        allowed: Counter[tuple[Hashable, ...]] = Counter()
        for reference in references:
            allowed |= Counter(_ngrams(reference, n))
        matched, total = (found & allowed).total(), found.total()
        if n > 1:
            matched, total = matched + 1, total + 1
        if matched == 0:
            return 0.0
        log_precision += math.log(matched / total) / max_n
    # The reference whose length is nearest, the shorter of two equally near.
    nearest = min(
        (len(reference) for reference in references), key=lambda n: (abs(n - len(words)), n)
    )
    brevity = 0.0 if len(words) >= nearest else 1 - nearest / len(words)
    return math.exp(brevity + log_precision)
