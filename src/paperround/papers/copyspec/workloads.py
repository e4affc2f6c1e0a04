"""What the reproduction decodes: recorded conversations, and prompts for a small model."""

import json
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import PreTrainedTokenizerBase

CONVERSATIONS = "conversations.jsonl.xz"
SELF_CORRECTION = "self-correction.jsonl.xz"

QuestionSet = Literal["mt-redundant", "mt-bench"]


@dataclass(frozen=True)
class Conversation:
    """Two questions, and the two greedy answers of each recorded model."""

    question_id: int
    category: str
    question_set: QuestionSet
    questions: tuple[str, str]
    answers: dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Turn:
    """An answer as token ids, with all that stood before it; `number` is 1 or 2."""

    conversation: Conversation
    number: int
    context_ids: list[int]
    answer_ids: list[int]


def read_conversations(folder: Path, question_set: QuestionSet) -> list[Conversation]:
    """The recorded conversations of one question set, in the order of their questions."""
    with lzma.open(folder / CONVERSATIONS, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    return [
        Conversation(
            question_id=record["question_id"],
            category=record["category"],
            question_set=record["set"],
            questions=tuple(record["questions"]),
            answers={model: tuple(turns) for model, turns in record["answers"].items()},
        )
        for record in records
        if record["set"] == question_set
    ]


def turns_of(
    conversation: Conversation, model: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[Turn, Turn]:
    """Both turns as tokens of this tokenizer's chat template, each answer with its end token."""
    first, second = conversation.questions
    answers = conversation.answers[model]
    messages = [{"role": "user", "content": first}]
    turns = []
    for number, answer in enumerate(answers, start=1):
        turns.append(Turn(conversation, number, *_turn_ids(messages, answer, tokenizer)))
        messages += [
            {"role": "assistant", "content": answer},
            {"role": "user", "content": second},
        ]
    return turns[0], turns[1]


# The recorded turns came with longer instructions, which are not among the records. Those of the
# official script ask for the same; shorter ones leave less to copy, if anything.
_CORRECTION_TURNS = (
    "Write a Python program that prints the answer.\n\n{question}",
    "Criticise this program: say what is wrong or could be better.",
    "Write the improved program.",
)


def read_self_correction(
    folder: Path, tokenizer: PreTrainedTokenizerBase
) -> list[list[tuple[list[int], list[int]]]]:
    """Per GSM8K problem its three turns, program, critique, better program: (context, answer)."""
    problems = []
    with lzma.open(folder / SELF_CORRECTION, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            messages: list[dict[str, str]] = []
            turns = []
            for instruction, answer in zip(_CORRECTION_TURNS, record["turns"], strict=True):
                content = instruction.format(question=record["question"])
                messages.append({"role": "user", "content": content})
                turns.append(_turn_ids(messages, answer, tokenizer))
                messages.append({"role": "assistant", "content": answer})
            problems.append(turns)
    return problems


@dataclass(frozen=True)
class Prompt:
    """A prompt for the real model, as token ids; `redundant` where the answer repeats it."""

    name: str
    redundant: bool
    text: str
    ids: list[int]


def extractive_prompts(
    conversations: Sequence[Conversation],
    model: str,
    tokenizer: PreTrainedTokenizerBase,
    n_prompts: int,
    max_tokens: int,
) -> list[Prompt]:
    """Prompts that ask for a passage again with one word replaced, as MT-Redundant's second turns.

    The passage is the beginning of a recorded first answer, whole sentences of at most
    `max_tokens` tokens. A model of 135 M parameters seldom replaces the word; it does repeat.
    """
    prompts = []
    for conversation in conversations:
        passage = _opening(conversation.answers[model][0], tokenizer, max_tokens)
        words = [word for word in passage.split() if word.isalpha() and len(word) > 6]
        if not words or len(passage.split()) < max_tokens // 3:
            continue
        text = (
            f'Repeat the following text, but write "{words[0].upper()}" instead of "{words[0]}". '
            f"Give only the text.\n\n{passage}"
        )
        prompts.append(_prompt(f"repeat-{conversation.question_id}", True, text, tokenizer))
        if len(prompts) == n_prompts:
            break
    return prompts


def open_prompts(
    conversations: Sequence[Conversation],
    tokenizer: PreTrainedTokenizerBase,
    n_prompts: int,
    categories: Sequence[str] = ("writing", "roleplay", "stem", "humanities"),
) -> list[Prompt]:
    """First questions of MT-Bench whose answers have little of the question to repeat."""
    chosen = [c for c in conversations if c.category in categories]
    # Spread over the categories, which follow each other in the file.
    step = max(1, len(chosen) // n_prompts)
    return [
        _prompt(f"{c.category}-{c.question_id}", False, c.questions[0], tokenizer)
        for c in chosen[::step][:n_prompts]
    ]


def _turn_ids(
    messages: Sequence[dict[str, str]], answer: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[int]]:
    context_ids = tokenizer.apply_chat_template(
        list(messages), add_generation_prompt=True, return_dict=False
    )
    answer_ids = [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
    return context_ids, answer_ids


def _prompt(name: str, redundant: bool, text: str, tokenizer: PreTrainedTokenizerBase) -> Prompt:
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_dict=False
    )
    return Prompt(name, redundant, text, ids)


def _opening(text: str, tokenizer: PreTrainedTokenizerBase, max_tokens: int) -> str:
    """The first sentences of the first paragraph of prose, within `max_tokens` tokens."""
    for paragraph in text.split("\n"):
        sentences = paragraph.strip().replace("*", "").split(". ")
        kept = ""
        for sentence in sentences:
            end = "" if sentence.endswith((".", ":", "!", "?")) else "."
            longer = f"{kept} {sentence}{end}".strip()
            if len(tokenizer.encode(longer, add_special_tokens=False)) > max_tokens:
                break
            kept = longer
        if len(kept.split()) >= max_tokens // 3:
            return kept
    return ""
