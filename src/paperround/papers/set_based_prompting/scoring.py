"""Which option a prompt makes the most probable: by its log-probability, or as the authors score.

The prompt runs through the model once, and its cache serves all options as continuations.
"""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paperround.papers.set_based_prompting.encoding import (
    SET_BASED,
    Form,
    SetBatch,
    SetEncoding,
    collate,
    encode_set_prompts,
)
from paperround.papers.set_based_prompting.models import (
    prefill,
    proceed,
    require_room,
    require_support,
)
from paperround.papers.set_based_prompting.prompts import SetPrompt

Normalise = Literal["sum", "mean", "pmi"]
Question = tuple[SetPrompt, Sequence[str]]


def score_options(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: SetPrompt,
    options: Sequence[str],
    *,
    normalise: Normalise = "sum",
    neutral: str | None = None,
    form: Form = SET_BASED,
    **encode_kwargs: Any,
) -> Tensor:
    """The score of each option, (options,), higher is better: its log-probability after the prompt.

    options: texts as they would go on after the prompt, with their leading space where one belongs.
    normalise: "sum" over the option's tokens, "mean" per token, or "pmi", the sum less that after
        `neutral`, a prompt that knows nothing of the question (its last plain text by default), for
        options that are probable anywhere.
    encode_kwargs: as for `encode_set_prompt`.

    Raises ValueError for an option without tokens, and where `set_generate` does.
    """
    scores = score_questions(
        model,
        tokenizer,
        [(prompt, options)],
        normalise=normalise,
        neutral=neutral,
        form=form,
        **encode_kwargs,
    )
    return scores[0]


def score_questions(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    questions: Sequence[Question],
    *,
    normalise: Normalise = "sum",
    neutral: str | None = None,
    form: Form = SET_BASED,
    batch_size: int = 8,
    **encode_kwargs: Any,
) -> list[Tensor]:
    """`score_options` for many (prompt, options) pairs, `batch_size` prompts in one pass."""
    if normalise not in ("sum", "mean", "pmi"):
        raise ValueError(f"normalise={normalise!r}; write 'sum', 'mean' or 'pmi'")
    require_support(model)
    prompts = [prompt for prompt, _ in questions]
    encodings = encode_set_prompts(tokenizer, prompts, form=form, **encode_kwargs)
    tokens_of = [option_ids(tokenizer, options) for _, options in questions]
    log_probs: list[list[Tensor]] = [[] for _ in questions]
    # Prompts of like lengths together waste the least on padding.
    by_length = sorted(range(len(questions)), key=lambda place: len(encodings[place]))
    for start in range(0, len(by_length), batch_size):
        places = by_length[start : start + batch_size]
        _, found = continuation_log_probs(
            model, [encodings[i] for i in places], [tokens_of[i] for i in places]
        )
        for place, of_question in zip(places, found, strict=True):
            log_probs[place] = of_question
    if normalise == "mean":
        return [torch.stack([tokens.mean() for tokens in found]) for found in log_probs]
    sums = [torch.stack([tokens.sum() for tokens in found]) for found in log_probs]
    if normalise == "sum":
        return sums
    unasked = [
        (SetPrompt([_neutral(prompt) if neutral is None else neutral]), options)
        for prompt, options in questions
    ]
    anywhere = score_questions(model, tokenizer, unasked, batch_size=batch_size)
    return [asked - free for asked, free in zip(sums, anywhere, strict=True)]


def continuation_log_probs(
    model: PreTrainedModel,
    encodings: Sequence[SetEncoding],
    continuations: Sequence[Sequence[Sequence[int]]],
) -> tuple[Tensor, list[list[Tensor]]]:
    """The next token's log-probabilities (prompts, vocabulary), and those of the continuations.

    The latter for each prompt and each of its continuations, (tokens,).
    """
    longest = max((len(ids) for several in continuations for ids in several), default=0)
    require_room(model, encodings, longest)
    with torch.inference_mode():
        return _continued(model, collate(encodings, model.device), continuations, longest)


def _continued(
    model: PreTrainedModel,
    batch: SetBatch,
    continuations: Sequence[Sequence[Sequence[int]]],
    longest: int,
) -> tuple[Tensor, list[list[Tensor]]]:
    logits, cache = prefill(model, batch)
    # (prompts, vocabulary): every continuation's first token follows the prompt itself.
    first = logits.log_softmax(-1)
    found = [
        [first[row, ids[0]].reshape(1) for ids in several]
        for row, several in enumerate(continuations)
    ]
    rows = [
        (row, place)
        for row, several in enumerate(continuations)
        for place, ids in enumerate(several)
        if len(ids) > 1
    ]
    if rows:
        prompts = torch.tensor([row for row, _ in rows], device=model.device)
        cache.batch_select_indices(prompts)
        width = longest - 1
        # Filled up behind the end, where no real token looks.
        fed = torch.zeros((len(rows), width), dtype=torch.long, device=model.device)
        for i, (row, place) in enumerate(rows):
            ids = continuations[row][place]
            fed[i, : len(ids) - 1] = torch.tensor(ids[:-1])
        after = proceed(model, batch.rows(prompts), cache, fed).log_softmax(-1)
        for i, (row, place) in enumerate(rows):
            ids = continuations[row][place]
            rest = after[i, torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
            found[row][place] = torch.cat([found[row][place], rest])
    return first, found


def contains_only_correct(text: str, options: Sequence[str], answer: int) -> bool:
    """Whether a generated text holds the right option's text and none of the others.

    The authors' first score, on ten greedy tokens. An option that contains another one can never
    be right by it.
    """
    return options[answer] in text and not any(
        option in text for place, option in enumerate(options) if place != answer
    )


def official_option_probabilities(
    step_logits: Tensor, option_ids: Sequence[Sequence[int]]
) -> Tensor:
    """The authors' second score: probabilities of the options, (options,), from generated steps.

    step_logits: (steps, vocabulary) of the tokens that the model generated. Token i of an option is
    looked up in step i, whatever was generated there, and the mean over its tokens goes through a
    softmax over the options. Tokens beyond the last step are left out. It is no likelihood: after
    the first step the logits follow the generated text and not the option.
    """
    means = [
        torch.stack([logits[t] for logits, t in zip(step_logits, ids, strict=False)]).mean()
        for ids in option_ids
    ]
    return torch.stack(means).softmax(0)


def option_ids(tokenizer: PreTrainedTokenizerBase, options: Sequence[str]) -> list[list[int]]:
    """The tokens of each option. Raises ValueError without options, or for one without tokens."""
    if not options:
        raise ValueError("the question has no options; give at least one")
    tokens = [tokenizer.encode(option, add_special_tokens=False) for option in options]
    for option, ids in zip(options, tokens, strict=True):
        if not ids:
            raise ValueError(f"the option {option!r} has no token to score")
    return tokens


def _neutral(prompt: SetPrompt) -> str:
    last = prompt.parts[-1]
    assert isinstance(last, str), "an encoded prompt ends with plain text"
    return last
