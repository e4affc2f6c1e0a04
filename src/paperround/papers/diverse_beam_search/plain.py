"""Diverse beam search as Algorithm 1 has it: plain lists, one hypothesis at a time, no tensors.

Slow and short; the tests compare `search.py` with it. Only the Hamming form, no processors.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class PlainHypothesis:
    """Tokens so far, Theta with the penalties paid, and the model's log-probability."""

    tokens: tuple[int, ...]
    score: float
    log_prob: float


def plain_diverse_beam_search(
    log_probs_after: Callable[[tuple[int, ...]], Sequence[float]],
    *,
    eos: Sequence[int],
    num_beams: int,
    num_beam_groups: int,
    diversity_penalty: float,
    max_length: int,
    length_penalty: float = 0.0,
) -> list[list[PlainHypothesis]]:
    """The finished list of each group, best score first.

    `log_probs_after(tokens)` is log p(. | tokens) for each token of the vocabulary. A group goes on
    as long as its best running hypothesis could still enter its list at the present length.
    """
    size = num_beams // num_beam_groups
    running = [[PlainHypothesis((), 0.0, 0.0)] for _ in range(num_beam_groups)]
    finished: list[list[PlainHypothesis]] = [[] for _ in range(num_beam_groups)]
    done = [False] * num_beam_groups
    for t in range(1, max_length + 1):
        # y^h_t of the groups before the present one.
        chosen: list[int] = []
        for g in range(num_beam_groups):
            if done[g]:
                continue
            extensions = []
            for beam in running[g]:
                for token, log_prob in enumerate(log_probs_after(beam.tokens)):
                    if log_prob == -math.inf:
                        continue
                    # Delta of Eq. 6: one for each earlier choice of the same token.
                    penalty = diversity_penalty * chosen.count(token)
                    extensions.append(
                        PlainHypothesis(
                            (*beam.tokens, token),
                            beam.score + log_prob - penalty,
                            beam.log_prob + log_prob,
                        )
                    )
            extensions.sort(key=lambda hypothesis: -hypothesis.score)
            for hypothesis in extensions[:size]:
                if hypothesis.tokens[-1] in eos or t == max_length:
                    normed = hypothesis.score / t**length_penalty
                    finished[g].append(
                        PlainHypothesis(hypothesis.tokens, normed, hypothesis.log_prob)
                    )
            finished[g].sort(key=lambda hypothesis: -hypothesis.score)
            del finished[g][size:]
            running[g] = [beam for beam in extensions if beam.tokens[-1] not in eos][:size]
            chosen += [beam.tokens[-1] for beam in running[g]]
            if not running[g]:
                done[g] = True
            elif len(finished[g]) == size:
                best = running[g][0].score / t**length_penalty
                done[g] = best <= finished[g][-1].score
    return finished
