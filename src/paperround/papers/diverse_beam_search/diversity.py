"""The dissimilarity term Delta of diverse beam search, in the paper's four forms.

Legend: h counts the hypotheses of all earlier groups, b those of the group whose turn it is,
t is the number of tokens before this time step, V the vocabulary size. A form is any callable
that takes `EarlierGroups` and returns a tensor (problems, 1 or b, V) with no positive entry;
the search multiplies it by lambda and adds it to the scores. Entries above zero are refused by the
search: scores that may grow would make its stopping rule wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class EarlierGroups:
    """What a group may know when its turn comes: the choices of the groups before it.

    `tokens`: (problems, h, t + 1), the live hypotheses of the earlier groups, this step's token
    last. `live`: (problems, h), False for slots that hold no hypothesis and for groups that have
    finished; they must not penalise anything. `own`: (problems, b, t), the group's own hypotheses
    before this step. A hypothesis that chose EOS at this step is finished and not among them: its
    slot was taken by the group's next best hypothesis.
    """

    tokens: Tensor
    live: Tensor
    own: Tensor
    vocab_size: int

    @property
    def chosen(self) -> Tensor:
        """(problems, h): the tokens chosen at this time step."""
        return self.tokens[:, :, -1]


Diversity = Callable[[EarlierGroups], Tensor]


def hamming_diversity(earlier: EarlierGroups) -> Tensor:
    """-#{earlier hypotheses that chose v at this time step}: (problems, 1, V).

    Occurrences count, not distinct tokens: a token that two beams of a group chose costs twice.
    """
    return -_weighted_counts(earlier.chosen, earlier.live.float(), earlier.vocab_size)[:, None]


def cumulative_diversity(temperature: float = 1.0) -> Diversity:
    """The Hamming term, weaker the more a hypothesis already differs: (problems, b, V).

    Our reading; the paper's supplement was not at hand:
    Delta[b', v] = -sum_b 1[v = y_b,t] exp(-(sum_{tau<t} 1[y_b,tau != y_b',tau]) / temperature)
    """
    if not temperature > 0:
        raise ValueError(f"the temperature of cumulative diversity must be above 0: {temperature}")

    def cumulative(earlier: EarlierGroups) -> Tensor:
        # (problems, b, h): at how many past steps the two hypotheses differ.
        differing = (earlier.own[:, :, None] != earlier.tokens[:, None, :, :-1]).sum(-1)
        weights = torch.exp(-differing / temperature) * earlier.live[:, None]
        n_own = earlier.own.shape[1]
        chosen = earlier.chosen[:, None].expand(-1, n_own, -1)
        return -_weighted_counts(chosen, weights, earlier.vocab_size)

    return cumulative


def ngram_diversity(n: int = 2) -> Diversity:
    """-how often the n-gram that v completes occurs in earlier groups: (problems, b, V).

    Our reading; the paper's supplement was not at hand: occurrences count at any time step of the
    earlier groups' live hypotheses. Before n tokens exist nothing can be completed.
    """
    if n < 1:
        raise ValueError(f"n-gram diversity needs n >= 1, it is {n}")

    def ngram(earlier: EarlierGroups) -> Tensor:
        n_problems, n_own, t = earlier.own.shape
        if t + 1 < n:
            return torch.zeros(n_problems, 1, earlier.vocab_size, device=earlier.own.device)
        # (problems, h, windows, n): every n-gram of the earlier hypotheses.
        windows = earlier.tokens.unfold(2, n, 1)
        # (problems, b, n - 1): what each own hypothesis ends with.
        context = earlier.own[:, :, t - (n - 1) :]
        same = (windows[:, None, ..., :-1] == context[:, :, None, None]).all(-1)
        weights = (same & earlier.live[:, None, :, None]).flatten(2).float()
        completing = windows[..., -1].flatten(1)[:, None].expand(-1, n_own, -1)
        return -_weighted_counts(completing, weights, earlier.vocab_size)

    return ngram


def embedding_diversity(embeddings: Tensor) -> Diversity:
    """-sum over earlier choices of max(0, cos(e_v, e_chosen)): (problems, 1, V).

    `embeddings`: (V, d). Our reading; the paper's supplement was not at hand. Opposed embeddings
    earn nothing, so that scores never grow.
    """
    directions = nn.functional.normalize(embeddings.detach().float(), dim=-1)

    def embedding(earlier: EarlierGroups) -> Tensor:
        if directions.shape[0] != earlier.vocab_size:
            raise ValueError(
                f"{directions.shape[0]} embeddings for a vocabulary of {earlier.vocab_size}"
            )
        # (problems, h, d) @ (d, V)
        cosines = (directions[earlier.chosen] @ directions.T).clamp(min=0.0)
        return -(cosines * earlier.live[:, :, None]).sum(1, keepdim=True)

    return embedding


def resolve_diversity(diversity: str | Diversity, embeddings: Tensor | None = None) -> Diversity:
    """The form of that name with its default settings, or the callable itself.

    "embedding" needs `embeddings`. Raises ValueError for an unknown name.
    """
    if callable(diversity):
        return diversity
    if diversity == "hamming":
        return hamming_diversity
    if diversity == "cumulative":
        return cumulative_diversity()
    if diversity == "ngram":
        return ngram_diversity()
    if diversity == "embedding":
        if embeddings is None:
            raise ValueError(
                'diversity="embedding" has no embeddings here; pass embedding_diversity(matrix)'
            )
        return embedding_diversity(embeddings)
    raise ValueError(
        f"no diversity {diversity!r}; write hamming, cumulative, ngram, embedding or a callable"
    )


def _weighted_counts(tokens: Tensor, weights: Tensor, vocab_size: int) -> Tensor:
    """For each token of the vocabulary the sum of its weights, over the last axis of both."""
    counts = torch.zeros(*tokens.shape[:-1], vocab_size, device=tokens.device)
    return counts.scatter_add(-1, tokens, weights)
