"""Markov language models: everything that part D approximates elsewhere is exact here.

The next token depends on the last one alone, so that the likeliest text of a length and the chance
that n more tokens follow are sums and maxima over a chain, computed from its end. `MarkovLM` is an
ordinary transformers model: the same searches run on it as on any other. What it is for are tests,
the argument on noise, and seeing how far a beam with the TRUE p(A | prefix) gets.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from paperround.papers.making_the_most.attributes import Extensions


class MarkovConfig(PreTrainedConfig):
    """`n_words` words; the token after them ends a text, the one after that begins it."""

    model_type = "paperround-markov"

    def __init__(self, n_words: int = 1, **kwargs: Any) -> None:
        self.n_words = n_words
        self.vocab_size = n_words + 2
        special = {"eos_token_id": n_words, "pad_token_id": n_words, "bos_token_id": n_words + 1}
        super().__init__(**{**kwargs, **special})


class MarkovLM(PreTrainedModel, GenerationMixin):
    """A causal language model whose next token depends on the last one alone."""

    config_class = MarkovConfig

    def __init__(self, config: MarkovConfig) -> None:
        super().__init__(config)
        size = config.vocab_size
        # log p(column | row); a text that ended, or never began a word, ends.
        log_probs = torch.full((size, size), -math.inf, dtype=torch.float64)
        log_probs[:, config.n_words] = 0.0
        # A parameter, since generate asks the first one for the device.
        self.log_probs = nn.Parameter(log_probs, requires_grad=False)
        self.post_init()
        self.generation_config.use_cache = False

    @classmethod
    def from_tables(cls, first: Tensor, following: Tensor) -> "MarkovLM":
        """The model with p(first word or end) (n + 1,) and p(next word or end | word) (n, n + 1).

        The last column is the end. Raises ValueError for what is no distribution.
        """
        n_words = following.shape[0]
        rows = torch.cat([following, first[None]]).double()
        if rows.shape != (n_words + 1, n_words + 1):
            raise ValueError(f"{n_words} words need rows of {n_words + 1}, not {rows.shape[1]}")
        if bool((rows < 0).any()) or not torch.allclose(rows.sum(dim=1), rows.new_ones(1)):
            raise ValueError("every row must hold probabilities that add up to 1")
        model = cls(MarkovConfig(n_words))
        model.log_probs[:n_words, : n_words + 1] = rows[:-1].log()
        model.log_probs[n_words + 1, : n_words + 1] = rows[-1].log()
        return model.eval()

    def forward(self, input_ids: Tensor, **ignored: Any) -> CausalLMOutput:
        """Logits that are log-probabilities already."""
        return CausalLMOutput(logits=self.log_probs[input_ids])

    @property
    def prompt(self) -> Tensor:
        """(1, 1): what every text starts from."""
        return torch.tensor([[self.config.bos_token_id]], device=self.log_probs.device)

    @property
    def _onward(self) -> Tensor:
        """(n, n): log p(next word | word)."""
        n = self.config.n_words
        return self.log_probs[:n, :n]

    @property
    def _ending(self) -> Tensor:
        """(n,): log p(end | word)."""
        n = self.config.n_words
        return self.log_probs[:n, n]

    @property
    def _first(self) -> Tensor:
        """(n,): log p(first word)."""
        return self.log_probs[self.config.bos_token_id, : self.config.n_words]

    @property
    def log_prob_of_empty(self) -> float:
        """The log-probability of the text without words."""
        return float(self.log_probs[self.config.bos_token_id, self.config.n_words])

    def log_prob_of_length(self, n: int) -> float:
        """The log-probability that a text has n words."""
        if n == 0:
            return self.log_prob_of_empty
        return float((self._first + self.remaining_lengths(n)[:, n - 1]).logsumexp(dim=0))

    def remaining_lengths(self, n_max: int) -> Tensor:
        """(n, n_max + 1): log p(r more words follow | last word), r = 0..n_max - 1, then n_max+.

        f_0(s) = p(end | s), f_r(s) = sum over v of p(v | s) f_{r-1}(v): from the end of the chain.
        """
        columns = [self._ending]
        for _ in range(1, n_max):
            columns.append((self._onward + columns[-1]).logsumexp(dim=1))
        # p(at least r | s) by the same recursion from 1: a difference would lose small numbers.
        at_least = torch.zeros_like(self._ending)
        for _ in range(n_max):
            at_least = (self._onward + at_least).logsumexp(dim=1)
        return torch.stack([*columns[:n_max], at_least], dim=1)

    def mode_of_length(self, n: int) -> tuple[tuple[int, ...], float]:
        """The likeliest text of n words and its log-probability with the end, by Viterbi's maxima.

        m_r(s) = max over v of p(v | s) m_{r-1}(v).
        """
        if n == 0:
            return (), self.log_prob_of_empty
        best, choices = self._ending, []
        for _ in range(n - 1):
            best, choice = (self._onward + best).max(dim=1)
            choices.append(choice)
        log_prob, word = (self._first + best).max(dim=0)
        text = [int(word)]
        for choice in reversed(choices):
            text.append(int(choice[text[-1]]))
        return tuple(text), float(log_prob)

    def with_empty_noise(self, share: float) -> "MarkovLM":
        """The same language of which a `share` of texts is replaced by the empty one."""
        n = self.config.n_words
        first = self.log_probs[self.config.bos_token_id, : n + 1].exp() * (1 - share)
        first[n] += share
        return MarkovLM.from_tables(first, self.log_probs[:n, : n + 1].exp())


class MarkovLengths:
    """p(r more words follow | prefix) of a Markov model, for `attributes.Length`: the true one."""

    needs_hidden_states = False

    def __init__(self, model: MarkovLM, n_max: int) -> None:
        self._table = model.remaining_lengths(n_max)
        self.n_classes = n_max + 1
        # What begins or ends a text is no word, and no text goes on from there.
        special = self._table.new_full((2, self.n_classes), -math.inf)
        self._table = torch.cat([self._table, special])

    def log_probs(self, extensions: Extensions) -> Tensor:
        """(rows, k, n_max + 1); the last class is n_max or more."""
        return self._table[extensions.tokens]


def random_markov_lm(n_words: int, seed: int, end: float = 0.3, spread: float = 1.5) -> MarkovLM:
    """A model with random tables: `end` is the mean chance to end, `spread` the logits' deviation.

    Reproducible for a seed.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(n_words + 1, n_words, generator=generator, dtype=torch.float64)
    words = logits.softmax(dim=1)
    ends = (2 * end * torch.rand(n_words + 1, 1, generator=generator, dtype=torch.float64)).clamp(
        max=0.99
    )
    rows = torch.cat([words * (1 - ends), ends], dim=1)
    return MarkovLM.from_tables(rows[-1], rows[:-1])


def layered_markov_lm(n_places: int, n_choices: int, seed: int, spread: float = 0.1) -> MarkovLM:
    """A language of texts of `n_places` words, each place with `n_choices` words of its own.

    Many ways to say a thing and no favourite: each word is about as likely as another, so that the
    likeliest text has a probability of about n_choices^-n_places. Reproducible for a seed.
    """
    generator = torch.Generator().manual_seed(seed)
    n = n_places * n_choices
    rows = torch.zeros(n + 1, n + 1, dtype=torch.float64)
    for place in range(n_places):
        columns = slice(place * n_choices, (place + 1) * n_choices)
        before = [n] if place == 0 else range((place - 1) * n_choices, place * n_choices)
        for row in before:
            logits = spread * torch.randn(n_choices, generator=generator, dtype=torch.float64)
            rows[row, columns] = logits.softmax(dim=0)
    rows[(n_places - 1) * n_choices : n, n] = 1.0
    return MarkovLM.from_tables(rows[-1], rows[:-1])
