"""The questions of the reproduction: CommonsenseQA and MMLU as the authors modified them.

Modified means that the answer is an option's own text: a letter in front of it would bring the
order back.
"""

import json
import lzma
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from paperround.papers.set_based_prompting.prompts import SetPart, SetPrompt, set_of

Dataset = Literal["csqa", "mmlu", "boxes"]

FILE = "questions.jsonl.xz"


@dataclass(frozen=True)
class Question:
    """A question, its options in the data set's order, and the right one's place among them."""

    dataset: Dataset
    subject: str
    text: str
    options: tuple[str, ...]
    answer: int

    @property
    def prompt(self) -> SetPrompt:
        """The question with its options as a set, for scoring them as continuations.

        Ends without a space, which belongs to the option that follows; the authors' own suffix ends
        with one (`official_prompt`).
        """
        return SetPrompt([self.text, self._members, "\nAnswer:"])

    @property
    def official_prompt(self) -> SetPrompt:
        """The prompt exactly as the authors have it for CommonsenseQA."""
        return SetPrompt([f"{self.text}\n", self._members, " Answer: "])

    @property
    def continuations(self) -> list[str]:
        """What follows `prompt` for each option."""
        return [f" {option}" for option in self.options]

    @property
    def _members(self) -> SetPart:
        return set_of(f"\n- {option}" for option in self.options)

    def with_options(self, n: int) -> "Question":
        """The question with its first n options; the right one takes the last place if need be."""
        kept = list(self.options[:n])
        if self.answer >= n:
            kept[-1] = self.options[self.answer]
        return Question(self.dataset, self.subject, self.text, tuple(kept), min(self.answer, n - 1))


def read_questions(folder: Path, dataset: Dataset) -> list[Question]:
    """The shipped questions of one data set, in their order."""
    with lzma.open(folder / FILE, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [
        Question(
            dataset=record["set"],
            subject=record["subject"],
            text=record["question"],
            options=tuple(record["options"]),
            answer=record["answer"],
        )
        for record in records
        if record["set"] == dataset
    ]


_COLOURS = ["red", "blue", "green", "white", "black", "yellow", "brown", "pink"]
_THINGS = ["pen", "coin", "key", "ring", "book", "cup", "stone", "candle"]


@dataclass(frozen=True)
class BoxQuestion(Question):
    """A question about facts, which are the members of the set; the options are their things."""

    facts: tuple[str, ...] = ()
    asked: str = ""

    @property
    def prompt(self) -> SetPrompt:
        """The facts as a set, then the question."""
        return SetPrompt([self.text, set_of(self.facts), self.asked])


def draw_boxes(n: int, seed: int, n_boxes: int = 4) -> list[BoxQuestion]:
    """Questions such as which thing the red box contains, all of whose facts stand in the prompt.

    A model of 135 M parameters answers by the place of a fact more than by the colour: little
    understanding, and a plain sight of what an order can do.
    """
    rng = random.Random(f"boxes {seed}")
    questions = []
    for _ in range(n):
        colours, things = rng.sample(_COLOURS, n_boxes), rng.sample(_THINGS, n_boxes)
        answer = rng.randrange(n_boxes)
        facts = zip(colours, things, strict=True)
        questions.append(
            BoxQuestion(
                dataset="boxes",
                subject="boxes",
                text="Here is what the boxes contain.",
                options=tuple(things),
                answer=answer,
                facts=tuple(f" The {c} box contains a {t}." for c, t in facts),
                asked=f"\nQuestion: What does the {colours[answer]} box contain?\nAnswer: a",
            )
        )
    return questions
