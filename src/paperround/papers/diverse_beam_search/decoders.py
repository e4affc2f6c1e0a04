"""Decoding with B model rows per prompt, by every method that the reproduction compares."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from paperround.papers.diverse_beam_search.method import (
    AntiLMLogitsProcessor,
    SiblingRankLogitsProcessor,
    generate_diverse,
)

Item = TypeVar("Item")

# Weight and length of the anti-LM term, within what its authors report.
ANTILM_WEIGHT, ANTILM_TOKENS = 0.5, 5


@dataclass(frozen=True)
class Candidate:
    """One generated text, with the model's log-probability where the method keeps it."""

    text: str
    log_prob: float | None = None
    group: int = 0

    @property
    def words(self) -> list[str]:
        """What n-grams are counted over."""
        return self.text.split()


@dataclass(frozen=True)
class Language:
    """A model, its tokenizer, how many new tokens it may write, how many prompts go in a batch."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    n_new_tokens: int
    prompts_per_batch: int


@dataclass(frozen=True)
class Decoded:
    """For each prompt its list of candidates, and the seconds that they all took."""

    lists: list[list[Candidate]]
    seconds: float


# What a method does with one batch: the tokenizer's output to the rows and their numbers.
Decoder = Callable[[Language, dict[str, torch.Tensor]], list[list[Candidate]]]


def diverse(num_beams: int, num_beam_groups: int, diversity_penalty: float) -> Decoder:
    """Diverse beam search; with one group plain beam search. The model's favourite comes first."""

    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        found = generate_diverse(
            language.model,
            inputs,
            num_beams=num_beams,
            num_beam_groups=num_beam_groups,
            diversity_penalty=diversity_penalty,
            max_new_tokens=language.n_new_tokens,
        )
        texts = _new_texts(language, inputs, found.sequences)
        rows = [
            Candidate(text, float(log_prob), int(group))
            for text, log_prob, group in zip(
                texts, found.model_log_probs, found.groups, strict=True
            )
            if log_prob.isfinite()
        ]
        per_prompt = _chunks(rows, num_beams)
        return [sorted(rows, key=lambda row: -(row.log_prob or 0.0)) for rows in per_prompt]

    return decode


def beam_search_of_transformers(num_beams: int) -> Decoder:
    """The beam search that transformers has; here for its time, its lists equal one group's."""

    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        found = language.model.generate(
            **inputs,
            do_sample=False,
            num_beams=num_beams,
            num_return_sequences=num_beams,
            length_penalty=0.0,
            max_new_tokens=language.n_new_tokens,
        )
        return _chunks([Candidate(t) for t in _new_texts(language, inputs, found)], num_beams)

    return decode


def sibling_rank(num_beams: int, gamma: float) -> Decoder:
    """Beam search that charges gamma k for a beam's k-th best extension."""
    return _with_processor(num_beams, lambda language, inputs: SiblingRankLogitsProcessor(gamma))


def antilm(num_beams: int) -> Decoder:
    """Beam search by log p(y | x) - weight log U(y), U being the same model without the prompt."""

    def processor(language: Language, inputs: dict[str, torch.Tensor]) -> AntiLMLogitsProcessor:
        return AntiLMLogitsProcessor(
            language.model,
            bos=language.tokenizer.bos_token_id,
            weight=ANTILM_WEIGHT,
            prompt_length=inputs["input_ids"].shape[1],
            first_tokens=ANTILM_TOKENS,
        )

    return _with_processor(num_beams, processor)


def sampling(n: int, temperature: float, top_p: float, seed: int) -> Decoder:
    """Independent samples, `n` per prompt, in the order in which they were drawn."""

    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            found = language.model.generate(
                **inputs,
                do_sample=True,
                temperature=temperature,
                top_p=top_p,
                top_k=0,
                num_beams=1,
                num_return_sequences=n,
                max_new_tokens=language.n_new_tokens,
            )
        return _chunks([Candidate(t) for t in _new_texts(language, inputs, found)], n)

    return decode


def samplers(n: int, seed: int) -> dict[str, Decoder]:
    """The samplers that a user would take today, by the name that the tables show."""
    return {
        "sampling, T 0.7": sampling(n, 0.7, 1.0, seed),
        "sampling, T 1.0": sampling(n, 1.0, 1.0, seed),
        "sampling, T 1.0, top-p 0.95": sampling(n, 1.0, 0.95, seed),
    }


def decode(language: Language, prompts: Sequence[str], decoder: Decoder) -> Decoded:
    """Each prompt's candidates, decoded in batches padded on the left."""
    tokenizer = language.tokenizer
    tokenizer.padding_side = "left"
    lists: list[list[Candidate]] = []
    started = time.perf_counter()
    for batch in _chunks(prompts, language.prompts_per_batch):
        encoded = tokenizer(batch, return_tensors="pt", padding=True)
        inputs = {key: encoded[key] for key in ("input_ids", "attention_mask")}
        lists += decoder(language, inputs)
    return Decoded(lists, time.perf_counter() - started)


def _with_processor(
    num_beams: int, make: Callable[[Language, dict[str, torch.Tensor]], LogitsProcessor]
) -> Decoder:
    def decode(language: Language, inputs: dict[str, torch.Tensor]) -> list[list[Candidate]]:
        found = generate_diverse(
            language.model,
            inputs,
            num_beams=num_beams,
            num_beam_groups=1,
            max_new_tokens=language.n_new_tokens,
            logits_processor=LogitsProcessorList([make(language, inputs)]),
        )
        texts = _new_texts(language, inputs, found.sequences)
        rows = [
            Candidate(text, float(log_prob))
            for text, log_prob in zip(texts, found.model_log_probs, strict=True)
        ]
        per_prompt = _chunks(rows, num_beams)
        return [sorted(rows, key=lambda row: -(row.log_prob or 0.0)) for rows in per_prompt]

    return decode


def _new_texts(
    language: Language, inputs: dict[str, torch.Tensor], sequences: torch.Tensor
) -> list[str]:
    new = sequences[:, inputs["input_ids"].shape[1] :]
    return language.tokenizer.batch_decode(new, skip_special_tokens=True)


def _chunks(items: Sequence[Item], size: int) -> list[list[Item]]:
    return [list(items[i : i + size]) for i in range(0, len(items), size)]
