"""A task above chance: look a key up in a set of pairs, with a tiny GPT trained for it.

    crow red ; fox blue ; owl green ; ? fox   ->   blue

At 135 M parameters multiple choice is guessing, where an edit can neither help nor harm. This task
a model of a third of a million parameters learns within minutes, with ordinary prompts in random
order; then it is asked with set prompts, before and after further training on those.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from paperround.kit.tiny_gpt import TinyGptConfig, build_tiny_gpt, word_level_tokenizer
from paperround.papers.set_based_prompting.encoding import (
    FORMS,
    PLAIN,
    Form,
    encode_set_prompts,
)
from paperround.papers.set_based_prompting.models import set_inputs
from paperround.papers.set_based_prompting.prompts import SetPrompt, set_of
from paperround.papers.set_based_prompting.sensitivity import vote_over_orders

_ANIMALS = (
    "ant bat bear bee cat cow crow deer dog duck eel elk fox frog goat hare hawk hen lion mole "
    "mouse owl pig seal"
)
_COLOURS = (
    "amber azure beige black blue brown coral cream gold green grey indigo ivory jade lilac mauve "
    "olive orange pink plum red silver teal white"
)
KEYS, VALUES = _ANIMALS.split(), _COLOURS.split()
N_PAIRS, EASY_PAIRS = (4, 8), (2, 3)
SIZE = TinyGptConfig(
    d_model=96, n_layers=3, n_heads=4, d_ffn=256, number_features=False, initializer_range=0.1
)


@dataclass(frozen=True)
class Lookup:
    """Pairs of a key and a value, all different, and which are asked for, one after another."""

    pairs: tuple[tuple[str, str], ...]
    asked: tuple[int, ...]

    @property
    def prompt(self) -> SetPrompt:
        """The pairs as a set, then the first key asked for."""
        return self.prompt_with(f" ? {self.pairs[self.asked[0]][0]}")

    @property
    def answer(self) -> str:
        """The value of the first key asked for."""
        return self.pairs[self.asked[0]][1]

    @property
    def training_prompt(self) -> SetPrompt:
        """The pairs as a set, then every question with its answer."""
        return self.prompt_with(
            "".join(f" ? {k} {v}" for k, v in map(self.pairs.__getitem__, self.asked))
        )

    def prompt_with(self, suffix: str) -> SetPrompt:
        """The pairs as a set, then the text."""
        return SetPrompt([set_of(f" {key} {value} ;" for key, value in self.pairs), suffix])


def draw_lookups(n: int, rng: random.Random, n_pairs: tuple[int, int] = N_PAIRS) -> list[Lookup]:
    """`n` random lookups, each with as many questions as pairs, keys drawn with replacement.

    Were each key asked for once, the last answers would follow by elimination, which a model learns
    before it learns to look anything up.
    """
    lookups = []
    for _ in range(n):
        size = rng.randint(*n_pairs)
        pairs = zip(rng.sample(KEYS, size), rng.sample(VALUES, size), strict=True)
        lookups.append(Lookup(tuple(pairs), tuple(rng.choices(range(size), k=size))))
    return lookups


def untrained_model(seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    """A tiny GPT with the words of the task, and its tokenizer."""
    tokenizer = word_level_tokenizer([*KEYS, *VALUES, ";", "?"])
    return build_tiny_gpt(tokenizer, SIZE, seed=seed), tokenizer


@dataclass(frozen=True)
class LookupPlan:
    """How the model is trained: our own choice. A step is `batch_size` lookups.

    For the first `easy_share` of the steps there are two or three pairs only: with more, the model
    long knows that the answer is one of the values, and not which.
    """

    steps: int
    batch_size: int = 64
    learning_rate: float = 3e-3
    warmup_steps: int = 50
    easy_share: float = 0.4


def further_plan(plan: LookupPlan, steps: int) -> LookupPlan:
    """The plan of a further training: a quarter of the learning rate, with a short warm-up."""
    return replace(
        plan,
        steps=steps,
        learning_rate=plan.learning_rate / 4,
        warmup_steps=max(1, steps // 10),
        easy_share=0.0,
    )


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    plan: LookupPlan,
    *,
    form: Form = PLAIN,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """The loss of every step in nats per answer; the model is trained in place on this form.

    `on_step(step, loss)` after each update.
    """
    rng = random.Random(f"lookups {seed} {form}")
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=plan.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
    )
    losses: list[float] = []
    for step in range(plan.steps):
        cosine = 0.5 * (1 + math.cos(math.pi * step / plan.steps))
        for group in optimizer.param_groups:
            group["lr"] = plan.learning_rate * min((step + 1) / plan.warmup_steps, 0.02 + cosine)
        easy = step < plan.easy_share * plan.steps
        lookups = draw_lookups(plan.batch_size, rng, EASY_PAIRS if easy else N_PAIRS)
        loss = answer_loss(model, tokenizer, lookups, form)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step, losses[-1])
    model.eval()
    return losses


def answer_loss(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    lookups: Sequence[Lookup],
    form: Form,
) -> Tensor:
    """The mean cross-entropy of all answers, each after its own question."""
    model.train()
    encodings = encode_set_prompts(tokenizer, [x.training_prompt for x in lookups], form=form)
    inputs = set_inputs(model, encodings)
    logits = model(**inputs).logits
    rows: list[int] = []
    places: list[int] = []
    length = inputs["input_ids"].shape[1]
    for row, lookup in enumerate(lookups):
        # "? key value" for each question stands at the end: values in every third place from there.
        last = range(length - 3 * len(lookup.asked) + 2, length, 3)
        rows += [row] * len(last)
        places += last
    # The token before a value predicts it.
    predicted = logits[rows, [place - 1 for place in places]]
    return nn.functional.cross_entropy(predicted, inputs["input_ids"][rows, places])


def value_scores(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[SetPrompt],
    form: Form,
) -> Tensor:
    """The log-probability of every value after each prompt, (prompts, values)."""
    values = torch.tensor(tokenizer.convert_tokens_to_ids(VALUES))
    encodings = encode_set_prompts(tokenizer, prompts, form=form)
    with torch.no_grad():
        logits = model(**set_inputs(model, encodings)).logits[:, -1]
    return logits.log_softmax(-1)[:, values]


@dataclass(frozen=True)
class LookupTrial:
    """Whether each lookup was answered right, (orders, lookups), by the name of the condition.

    `places`: (orders, lookups), at which place the pair that is asked for stood, from 1. A
    condition that knows no order has a single row. `given` and `reversed` are rows 0 and 1.
    """

    seed: int
    places: Tensor
    right: dict[str, Tensor]
    best: dict[str, Tensor]

    def accuracy(self, condition: str) -> float:
        """The share of right answers, the mean over the orders."""
        return self.right[condition].float().mean().item()

    def worst_order(self, condition: str) -> float:
        """The share of right answers in the worst order."""
        return self.right[condition].float().mean(1).min().item()

    def right_in_all(self, condition: str) -> float:
        """The share of lookups that are right in every order."""
        return self.right[condition].all(0).float().mean().item()

    def changes(self, condition: str) -> float:
        """The share of lookups whose answer is not the same in every order."""
        best = self.best[condition]
        return (best != best[0]).any(0).float().mean().item()

    def by_place(self, condition: str) -> list[tuple[int, float]]:
        """(place, share of right answers when the pair stands there), for the places that occur."""
        right = self.right[condition].float().expand(self.places.shape)
        return [
            (place, right[self.places == place].mean().item())
            for place in sorted(set(self.places.flatten().tolist()))
        ]


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    further: Mapping[str, PreTrainedModel],
    *,
    n: int,
    n_orders: int,
    seed: int,
) -> LookupTrial:
    """All conditions on `n` lookups that training never saw, in `n_orders` orders each.

    `further`: models trained on, by the name of their condition, each asked in the form that its
    name ends with.
    """
    rng = random.Random(f"lookup test {seed}")
    lookups = draw_lookups(n, rng)
    orders: list[list[Sequence[int]]] = [
        [range(len(x.pairs)) for x in lookups],
        [range(len(x.pairs))[::-1] for x in lookups],
    ]
    while len(orders) < n_orders:
        orders.append([rng.sample(range(len(x.pairs)), len(x.pairs)) for x in lookups])
    places = [
        [list(o).index(x.asked[0]) + 1 for o, x in zip(row, lookups, strict=True)] for row in orders
    ]
    answers = torch.tensor([VALUES.index(x.answer) for x in lookups])
    scores: dict[str, Tensor] = {}

    def ask(asked: PreTrainedModel, form: Form) -> Tensor:
        return torch.stack(
            [
                value_scores(
                    asked,
                    tokenizer,
                    [x.prompt.permuted(o) for x, o in zip(lookups, row, strict=True)],
                    form,
                )
                for row in orders
            ]
        )

    for name, form in FORMS.items():
        scores[name] = ask(model, form)
    for name, trained in further.items():
        scores[name] = ask(trained, FORMS[name.rpartition(", ")[2]])
    scores["average over orders"] = scores["plain"].mean(0, keepdim=True)
    scores["vote over orders"] = torch.stack(
        [vote_over_orders(of_lookup) for of_lookup in scores["plain"].unbind(1)]
    )[None]
    best = {name: found.argmax(-1) for name, found in scores.items()}
    return LookupTrial(
        seed,
        torch.tensor(places),
        {name: found == answers for name, found in best.items()},
        best,
    )
