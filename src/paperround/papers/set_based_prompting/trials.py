"""What the reproduction runs: every condition on the same questions, with the same options scored.

plain        the ordinary prompt, in several orders of the options
sorted       the ordinary prompt, the options in the order of their tokens: no order matters,
             and a place is still better than another
mask only, positions only    one of the two edits
set-based    both
average, vote    over the plain prompt's orders: the strongest answer that needs no mask
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.papers.set_based_prompting.encoding import FORMS, PLAIN, Form
from paperround.papers.set_based_prompting.questions import Question
from paperround.papers.set_based_prompting.scoring import score_questions
from paperround.papers.set_based_prompting.sensitivity import (
    Order,
    average_over_orders,
    rotations,
    vote_over_orders,
)
from paperround.runs.reproduction import Stage


@dataclass(frozen=True)
class Condition:
    """Scores of all questions under one form: `by_order[i]` is (questions, options) for order i."""

    by_order: list[Tensor]
    answers: Tensor

    def right(self, order: int = 0) -> Tensor:
        """For each question whether the best option is the right one, (questions,)."""
        return self.by_order[order].argmax(-1) == self.answers

    def accuracy(self, order: int = 0) -> float:
        """The share of right answers in one order."""
        return self.right(order).float().mean().item()

    @property
    def accuracies(self) -> list[float]:
        """The share of right answers in each order."""
        return [self.accuracy(order) for order in range(len(self.by_order))]

    def flips(self, one: int, other: int) -> float:
        """The share of questions whose best option differs between two orders."""
        first, second = (self.by_order[order].argmax(-1) for order in (one, other))
        return (first != second).float().mean().item()

    def over(self, orders: Sequence[int]) -> Tensor:
        """The scores in these orders, (questions, orders, options)."""
        return torch.stack([self.by_order[order] for order in orders], dim=1)


@dataclass(frozen=True)
class Trial:
    """All conditions on the questions of one data set.

    `orders`: those of the plain prompt, the data set's own first. The edits have that one and the
    reversed one; `sorted` needs one.
    """

    name: str
    questions: list[Question]
    orders: list[Order]
    conditions: dict[str, Condition]

    @property
    def plain(self) -> Condition:
        """Ordinary prompts."""
        return self.conditions["plain"]

    @property
    def set_based(self) -> Condition:
        """The method."""
        return self.conditions["set-based"]

    @property
    def reversed_order(self) -> int:
        """The place of the reversed order among the orders of the plain prompt."""
        n = len(self.orders[0])
        return self.orders.index(tuple(reversed(range(n))))

    @property
    def default_and_reversed(self) -> float:
        """The plain prompt's accuracy, the mean of the given and the reversed order."""
        return fmean([self.plain.accuracy(0), self.plain.accuracy(self.reversed_order)])

    def ensemble(self, how: str, orders: Sequence[int]) -> Tensor:
        """The scores that averaging or voting over plain orders gives, (questions, options)."""
        combine = {"average": average_over_orders, "vote": vote_over_orders}[how]
        return torch.stack([combine(scores) for scores in self.plain.over(orders)])

    def accuracy_by_place(self) -> list[tuple[int, float]]:
        """(place, the plain prompt's accuracy when the right option stands there), from place 1.

        Rotations put every option at every place once, and both kinds of them twice.
        """
        right: dict[int, list[bool]] = {}
        for scored, order in enumerate(self.orders):
            found = self.plain.right(scored).tolist()
            for ok, question in zip(found, self.questions, strict=True):
                right.setdefault(order.index(question.answer) + 1, []).append(ok)
        return [(place, fmean(right[place])) for place in sorted(right)]


def n_passes(orders: Sequence[Order], forms: Sequence[str], *, with_sorted: bool) -> int:
    """How many times `run_trial` asks every question, for a progress bar."""
    return len(orders) + 2 * (len(forms) - 1) + with_sorted


def run_trial(
    name: str,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    orders: Sequence[Order],
    stage: Stage,
    *,
    forms: Sequence[str] = tuple(FORMS),
    with_sorted: bool = False,
    batch_size: int = 8,
) -> Trial:
    """Asks all questions under the forms, "plain" in all orders, the others in two of them.

    All questions have the same number of options. `orders` begins with the data set's own and
    holds the reversed one.
    """
    two = (orders[0], tuple(reversed(orders[0])))
    answers = torch.tensor([question.answer for question in questions])

    def asked(form: Form, order: Order, *, sort_members: bool = False) -> Tensor:
        scores = score_questions(
            model,
            tokenizer,
            [(question.prompt.permuted(order), question.continuations) for question in questions],
            form=form,
            batch_size=batch_size,
            sort_members=sort_members,
        )
        stage.advance()
        return torch.stack(scores).float().cpu()

    conditions = {
        form: Condition(
            [asked(FORMS[form], order) for order in (orders if form == "plain" else two)], answers
        )
        for form in forms
    }
    if with_sorted:
        conditions["sorted"] = Condition([asked(PLAIN, orders[0], sort_members=True)], answers)
    return Trial(name, list(questions), list(orders), conditions)


def every_rotation(n_options: int) -> list[Order]:
    """The rotations of the given order, then those of the reversed one."""
    return rotations(n_options) + rotations(n_options, reverse=True)


def given_and_reversed(n_options: int) -> list[Order]:
    """The given order and the reversed one."""
    return [rotations(n_options)[0], rotations(n_options, reverse=True)[0]]
