"""The oracle and one refinement for a single sequence, straight from their definitions.

Slow and short: what the tests hold `oracle.py` and `refinement.py` against.
"""

from collections.abc import Sequence

import torch

from paperround.papers.fretna.levt import LevenshteinTransformer


def lcs_length(a: Sequence[int], b: Sequence[int]) -> int:
    """The length of a longest common subsequence."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, token in enumerate(a):
        for j, other in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if token == other else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


def kept_places(y: Sequence[int], target: Sequence[int]) -> list[int]:
    """For each token of y its place in the target, or -1; as `oracle.align`."""
    kept: list[int] = []
    at = 0
    for i, token in enumerate(y):
        place = next((j for j in range(at, len(target)) if target[j] == token), None)
        whole = lcs_length(y[i:], target[at:])
        if place is not None and 1 + lcs_length(y[i + 1 :], target[place + 1 :]) == whole:
            kept.append(place)
            at = place + 1
        else:
            kept.append(-1)
    return kept


def refine_once(
    model: LevenshteinTransformer, source: Sequence[int], y: Sequence[int], limit: int
) -> list[int]:
    """y, without `<s>` and `</s>`, after one deletion, insertion and filling; each its own pass."""
    config = model.config
    sources = torch.tensor([source])
    states = model.encode(sources, torch.ones_like(sources))

    def hidden(tokens: Sequence[int]) -> torch.Tensor:
        rows = torch.tensor([[config.bos_token_id, *tokens, config.eos_token_id]])
        return model.decode(rows, torch.ones_like(rows), states, torch.ones_like(sources))

    tokens = list(y)
    with torch.inference_mode():
        if tokens:
            delete = model.deletion_logits(hidden(tokens))[0].argmax(-1)[1:-1].tolist()
            tokens = [t for t, gone in zip(tokens, delete, strict=True) if not gone]
        counts = model.insertion_logits(hidden(tokens))[0].argmax(-1).tolist()
        room = limit - len(tokens)
        longer: list[int] = []
        for place, count in enumerate(counts):
            count = min(count, room)
            room -= count
            longer += [config.placeholder_token_id] * count
            longer += tokens[place : place + 1]
        filled = model.token_logits(hidden(longer))[0].argmax(-1)[1:-1].tolist()
    return [
        new if old == config.placeholder_token_id else old
        for old, new in zip(longer, filled, strict=True)
    ]
