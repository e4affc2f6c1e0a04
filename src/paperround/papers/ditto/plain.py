"""The same from the equations, one row and one token at a time: `method` is compared with it."""

import math
from collections.abc import Sequence


def plain_rows(
    tokens: Sequence[int], ends: set[int], length: int
) -> list[tuple[list[int], int, int]]:
    """All pseudo-repetitive sequences of a row: (length + 1 tokens, P, L), one per sentence.

    x[e_{j-1} + 1 : e_j), then x[e_j : e_{j+1}) again and again, for every j in [1, m - 2].
    """
    marks = [t for t, token in enumerate(tokens) if token in ends]
    found = []
    for j in range(1, len(marks) - 1):
        sequence = list(tokens[marks[j - 1] + 1 : marks[j]])
        n_prefix, n_copy = len(sequence), marks[j + 1] - marks[j]
        while len(sequence) < length + 1:
            sequence.append(tokens[marks[j] + (len(sequence) - n_prefix) % n_copy])
        found.append((sequence[: length + 1], n_prefix, n_copy))
    return found


def plain_loss(
    probabilities: Sequence[float], n_prefix: int, n_copy: int, lam: float, kind: str = "nl"
) -> float:
    """The mean loss of one row over its targets t >= P + L, from the probability of each target."""
    losses = []
    for t in range(n_prefix + n_copy, len(probabilities)):
        distance = probabilities[t] - lam * probabilities[t - n_copy]
        if kind == "mse":
            losses.append(3 * distance**2)
        else:
            too_far = max(distance, 0.0) if kind == "nl_clip" else abs(distance)
            losses.append(-math.log(max(1 - too_far, 1e-20)))
    return sum(losses) / len(losses) if losses else 0.0
