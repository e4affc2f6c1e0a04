"""The likeliest outputs of a model, exactly: depth-first search with pruning, all lengths at once.

A prefix's log-probability bounds that of every text that begins with it, since every further token
adds a number <= 0; so a prefix that is no likelier than what was found already is dropped with all
its continuations. gamma[n] is the best log-probability found for a text of n tokens and its end. A
prefix of t tokens is kept while its log-probability is above

    max over n of gamma[n]                   for the mode over all lengths,
    min over wanted n >= t of gamma[n]       for the modes of given lengths, or of all,

and then no text can have been missed. No length normalisation is possible here. `enumerate_modes`
is the plain form. Source: Stahlberg and Byrne, EMNLP 2019, for the first; part D of the thesis.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paperround.kit.language_models.decoding import evaluating
from paperround.papers.making_the_most.prefix_scores import PrefixScorer, Tokens


@dataclass(frozen=True)
class Mode:
    """A text without the token that ends it, and the log-probability of both together."""

    tokens: Tokens
    log_prob: float


@dataclass(frozen=True)
class ExactModes:
    """The likeliest texts of one prompt.

    `by_length[n]` is the likeliest of n tokens; of lengths that were not asked for it is what was
    met on the way, or None. `is_exact` is False where the node limit ended
    the search: then they are the best of what was seen. `longer_is_possible`: a text of more than
    `max_length` tokens may be likelier than `best`. `n_nodes`: prefixes that the model was run on.
    """

    by_length: tuple[Mode | None, ...]
    n_nodes: int
    is_exact: bool
    longer_is_possible: bool

    @property
    def best(self) -> Mode:
        """The likeliest of all, the shortest of equals. Raises ValueError where there is none."""
        found = [mode for mode in self.by_length if mode is not None]
        if not found:
            raise ValueError("no text of these lengths has a probability above 0")
        return max(found, key=lambda mode: mode.log_prob)


def exact_mode(
    model: PreTrainedModel,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    max_length: int,
    lengths: Collection[int] | None = None,
    node_limit: int = 200_000,
    batch_size: int = 64,
    warm_beams: int = 8,
    on_found: Callable[[Mode], None] | None = None,
) -> ExactModes:
    """The likeliest output of 0 to `max_length` tokens, and that of each length in `lengths`.

    Without `lengths` of every one; with an empty collection the search is for the mode over all
    lengths alone, which visits far fewer prefixes. `inputs` is one prompt. The work is a forward
    pass per `batch_size` prefixes; their number grows fast with the length and with the model's
    uncertainty, so that `node_limit` prefixes end the search, which then says so. A beam of
    `warm_beams` gives the first bounds. `on_found` is called whenever a length's best improves.
    Raises ValueError for a model that no token ends.
    """
    if max_length < 0 or node_limit < 1 or batch_size < 1 or warm_beams < 1:
        raise ValueError(
            f"max_length={max_length} must not be negative, node_limit={node_limit}, batch_size="
            f"{batch_size} and warm_beams={warm_beams} must be at least 1"
        )
    wanted = range(max_length + 1) if lengths is None else sorted(lengths)
    if wanted and not 0 <= wanted[0] <= wanted[-1] <= max_length:
        raise ValueError(f"lengths={list(wanted)} are not within 0..max_length={max_length}")
    with evaluating(model):
        search = _Search(PrefixScorer(model, inputs), max_length, wanted, on_found)
        complete = search.warm_up(warm_beams, node_limit) and search.run(batch_size, node_limit)
    return ExactModes(
        by_length=tuple(search.bests),
        n_nodes=search.n_nodes,
        is_exact=complete,
        longer_is_possible=search.beyond > search.best_of_all,
    )


def enumerate_modes(
    model: PreTrainedModel, inputs: Tensor | Mapping[str, Tensor], *, max_length: int
) -> ExactModes:
    """The same modes by running the model on every text there is; for a few words only."""
    scorer = PrefixScorer(model, inputs)
    search = _Search(scorer, max_length, range(max_length + 1), None)
    n_words = scorer.next_log_probs([()]).shape[1]
    words = [word for word in range(n_words) if word not in scorer.eos]
    for n in range(max_length + 1):
        for tokens in product(words, repeat=n):
            search.offer(tokens, scorer.log_prob(tokens))
            search.n_nodes += 1
    return ExactModes(tuple(search.bests), search.n_nodes, True, True)


class _Search:
    """What was found so far, and the prefixes that may still lead to something better."""

    def __init__(
        self,
        scorer: PrefixScorer,
        max_length: int,
        wanted: Collection[int],
        on_found: Callable[[Mode], None] | None,
    ) -> None:
        if not scorer.eos:
            raise ValueError("the model has no token that ends a text; give it an eos_token_id")
        self._scorer, self._on_found = scorer, on_found
        self._max_length, self._wanted = max_length, frozenset(wanted)
        self._eos = torch.tensor(sorted(scorer.eos))
        self.bests: list[Mode | None] = [None] * (max_length + 1)
        self.best_of_all = -math.inf
        # What a prefix of t tokens must exceed.
        self._bounds = self._new_bounds()
        # The likeliest prefix seen that is longer than max_length.
        self.beyond = -math.inf
        self.n_nodes = 0

    def offer(self, tokens: Tokens, log_prob: float) -> None:
        """Takes a whole text where it is the best of its length."""
        n = len(tokens)
        old = self.bests[n]
        if log_prob == -math.inf or (old is not None and log_prob <= old.log_prob):
            return
        self.bests[n] = mode = Mode(tokens, log_prob)
        self.best_of_all = max(self.best_of_all, log_prob)
        self._bounds = self._new_bounds()
        if self._on_found is not None:
            self._on_found(mode)

    def _new_bounds(self) -> list[float]:
        """By t: for the mode of all, and below it where a wanted length n >= t needs it."""
        bounds, bound = [], self.best_of_all
        for t in range(self._max_length, -1, -1):
            best = self.bests[t]
            if t in self._wanted:
                bound = min(bound, -math.inf if best is None else best.log_prob)
            bounds.append(bound)
        return bounds[::-1]

    def warm_up(self, n_beams: int, node_limit: int) -> bool:
        """A beam over unfinished prefixes, for good bounds early; whether the limit allowed it."""
        beam: list[tuple[float, Tokens]] = [(0.0, ())]
        for _ in range(self._max_length + 1):
            if not beam:
                break
            if self.n_nodes + len(beam) > node_limit:
                return False
            totals = self._expand(beam)
            best, flat = totals.flatten().topk(min(n_beams, totals.numel()))
            parents = (flat // totals.shape[1]).tolist()
            words = (flat % totals.shape[1]).tolist()
            beam = [
                (total, (*beam[parent][1], word))
                for total, parent, word in zip(best.tolist(), parents, words, strict=True)
                if total > -math.inf
            ]
        return True

    def run(self, batch_size: int, node_limit: int) -> bool:
        """Searches until nothing likelier can be left, or the limit; whether it came to the end."""
        stack: list[tuple[float, Tokens]] = [(0.0, ())]
        while stack:
            batch: list[tuple[float, Tokens]] = []
            while stack and len(batch) < batch_size:
                log_prob, tokens = stack.pop()
                # What was pushed may have been overtaken since.
                if log_prob > self._bounds[len(tokens)]:
                    batch.append((log_prob, tokens))
            if not batch:
                break
            if self.n_nodes + len(batch) > node_limit:
                return False
            stack += self._children(batch)
        return True

    def _expand(self, batch: list[tuple[float, Tokens]]) -> Tensor:
        """(batch, V) log-probabilities of the longer prefixes; whole texts are offered."""
        self.n_nodes += len(batch)
        log_probs = self._scorer.next_log_probs([tokens for _, tokens in batch]).double()
        totals = (
            log_probs
            + torch.tensor(
                [log_prob for log_prob, _ in batch], dtype=torch.float64, device=log_probs.device
            )[:, None]
        )
        eos = self._eos[self._eos < totals.shape[1]].to(totals.device)
        ends = totals[:, eos].amax(dim=1).tolist()
        for (_, tokens), log_prob in zip(batch, ends, strict=True):
            self.offer(tokens, log_prob)
        return totals.index_fill(1, eos, -math.inf)

    def _children(self, batch: list[tuple[float, Tokens]]) -> Iterable[tuple[float, Tokens]]:
        """The longer prefixes that pass their bound, best last, where the stack is popped."""
        totals = self._expand(batch)
        limits = []
        for row, (_, tokens) in enumerate(batch):
            if len(tokens) == self._max_length:
                self.beyond = max(self.beyond, float(totals[row].max()))
                limits.append(math.inf)
            else:
                limits.append(self._bounds[len(tokens) + 1])
        passing = totals > torch.tensor(limits, device=totals.device)[:, None]
        places = passing.nonzero().tolist()
        children = zip(totals[passing].tolist(), places, strict=True)
        return [
            (total, (*batch[row][1], word))
            for total, (row, word) in sorted(children, key=lambda child: child[0])
        ]
