"""How much the order of a set's members matters to a model, and what averaging over orders does.

Works for ordinary prompts as for set-based ones: the figure to look at before choosing either.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.papers.set_based_prompting.encoding import (
    SET_BASED,
    Form,
    encode_set_prompts,
)
from paperround.papers.set_based_prompting.models import require_support
from paperround.papers.set_based_prompting.prompts import SetPrompt
from paperround.papers.set_based_prompting.scoring import continuation_log_probs, option_ids

Order = tuple[int, ...]


@dataclass(frozen=True)
class OrderSensitivity:
    """What changes over the orders of one set, the given order first.

    `log_probs`: (orders, vocabulary) of the next token, float64. `scores`: (orders, options), or
    None without options.
    """

    orders: list[Order]
    log_probs: Tensor
    scores: Tensor | None

    @property
    def max_deviation(self) -> float:
        """The largest difference in nats between two orders, over all next tokens."""
        return (self.log_probs.amax(0) - self.log_probs.amin(0)).max().item()

    @property
    def argmax_flips(self) -> int:
        """How many orders have another most probable next token than the given order."""
        best = self.log_probs.argmax(-1)
        return int((best != best[0]).sum())

    @property
    def answer_flips(self) -> int:
        """How many orders have another best option than the given order; 0 without options."""
        if self.scores is None:
            return 0
        best = self.scores.argmax(-1)
        return int((best != best[0]).sum())


def order_sensitivity(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: SetPrompt,
    orders: Literal["all"] | int | Sequence[Order] = "all",
    *,
    options: Sequence[str] | None = None,
    part: int = 0,
    form: Form = SET_BASED,
    seed: int = 0,
    batch_size: int = 24,
    **encode_kwargs: Any,
) -> OrderSensitivity:
    """How the next token, and the best option, change with the order of one set's members.

    orders: "all" of them (at most 5,040, seven members), a number drawn at random with `seed`, or
        a list. The given order is always the first.
    part: which set, as `SetPrompt.sets` lists them. options: as for `score_options`.
    """
    require_support(model)
    sets = prompt.sets
    if not 0 <= part < len(sets):
        raise ValueError(f"the prompt has {len(sets)} sets; there is no set {part}")
    n_members = len(sets[part].members)
    chosen = _orders(n_members, orders, seed)
    prompts = [prompt.permuted(order, part) for order in chosen]
    encodings = encode_set_prompts(tokenizer, prompts, form=form, **encode_kwargs)
    tokens_of = [] if options is None else option_ids(tokenizer, options)
    log_probs, scores = [], []
    for start in range(0, len(encodings), batch_size):
        batch = encodings[start : start + batch_size]
        found, of_options = continuation_log_probs(model, batch, [tokens_of] * len(batch))
        log_probs.append(found.double().cpu())
        scores += [torch.stack([ids.sum() for ids in several]) for several in of_options if several]
    return OrderSensitivity(
        chosen, torch.cat(log_probs), torch.stack(scores).cpu() if scores else None
    )


def rotations(n_members: int, *, reverse: bool = False) -> list[Order]:
    """The n orders that put each member at each place once; from the reversed order on request."""
    start = list(range(n_members))[:: -1 if reverse else 1]
    return [tuple(start[shift:] + start[:shift]) for shift in range(n_members)]


def average_over_orders(scores: Tensor) -> Tensor:
    """The options' scores averaged over orders, (options,), from (orders, options).

    Sums of log-probabilities become the logarithm of their geometric mean. With all orders this
    depends on none; with m of them it is m times the cost, and still depends on which.
    """
    return scores.mean(0)


def vote_over_orders(scores: Tensor) -> Tensor:
    """The number of orders that prefer each option, (options,), ties broken by the mean score.

    `scores`: (orders, options). The tie-break adds less than one vote.
    """
    votes = torch.bincount(scores.argmax(-1), minlength=scores.shape[-1])
    return votes + 0.5 * average_over_orders(scores).softmax(0)


_MOST_ORDERS = math.factorial(7)


def _orders(
    n_members: int, wanted: Literal["all"] | int | Sequence[Order], seed: int
) -> list[Order]:
    given = tuple(range(n_members))
    if wanted == "all":
        if math.factorial(n_members) > _MOST_ORDERS:
            raise ValueError(
                f"{n_members} members have {math.factorial(n_members):,} orders; "
                "ask for a number of them instead of all"
            )
        return list(permutations(given))
    if isinstance(wanted, int):
        if wanted < 1:
            raise ValueError(f"orders={wanted}; at least one is needed")
        most = min(wanted, math.factorial(n_members))
        rng = random.Random(f"orders {seed}")
        drawn = {given: None}
        while len(drawn) < most:
            drawn[tuple(rng.sample(given, n_members))] = None
        return list(drawn)
    if isinstance(wanted, str):
        raise ValueError(f"orders={wanted!r}; write 'all', a number or a list of orders")
    return [given, *(order for order in map(tuple, wanted) if order != given)]
