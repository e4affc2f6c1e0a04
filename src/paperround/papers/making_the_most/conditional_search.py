"""Beam search for the most likely text that has an attribute, on any transformers model.

A partial text is ranked by what the model says of it and by what it may still become:

    score(y_1..y_t) = log p(y_1..y_t | x) + lambda log p(A | y_1..y_t, x)

With lambda = 1 and the true p(A | prefix) this is log p(y_1..y_t | x, A) up to a constant: the beam
search of the conditional distribution. `AttributeLogitsProcessor` adds the growth of the second
term at every step, so that the beams, caches and batches are those of `model.generate`; the sums
telescope. A text that ends either has A, where the second term is 0, or is no candidate. The search
stops where no running score exceeds the finished ones: with the true p(A | prefix) and lambda <= 1
nothing is lost by that, since a prefix's score bounds those of all its texts with A; with a learnt
one it is the usual heuristic.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.utils import ModelOutput

from paperround.kit.language_models.decoding import evaluating
from paperround.papers.making_the_most.attributes import Attribute, Extensions
from paperround.papers.making_the_most.prefix_scores import (
    UNTOUCHED,
    HiddenTap,
    check_prompt,
    decoder_prompt_length,
    end_tokens,
)

DEFAULT_TOP_K = 50
# Settings of generate that would make another ranking of this one.
_FIXED = (
    "do_sample",
    "length_penalty",
    "early_stopping",
    "custom_generate",
    "forced_eos_token_id",
    "renormalize_logits",
)


@dataclass
class ConditionalBeamOutput(ModelOutput):
    """What was found, `num_return_sequences` rows per prompt, best first.

    `sequences`: (rows, length), with the decoder's prompt, padded on the right. `log_probs`:
    (rows,), the model's own sums over the new tokens, the end among them. `lengths`: (rows,), new
    tokens with the end. `satisfied`: (rows,), False where the beams held no further text with the
    attribute; such a row is padding, its length 0 and its log-probability -inf.
    """

    # ModelOutput wants a default for every field.
    sequences: Tensor = None
    log_probs: Tensor = None
    lengths: Tensor = None
    satisfied: Tensor = None


def conditional_beam_search(
    model: PreTrainedModel,
    inputs: Tensor | Mapping[str, Tensor],
    attribute: Attribute,
    *,
    max_new_tokens: int,
    num_beams: int = 4,
    lam: float = 1.0,
    top_k: int = DEFAULT_TOP_K,
    num_return_sequences: int = 1,
    **generate_kwargs: Any,
) -> ConditionalBeamOutput:
    """The likeliest texts with the attribute that a beam finds for each prompt of a batch.

    `inputs` is what the tokenizer gave (or the ids alone), padded on the left for decoder-only
    models. Each beam offers its `top_k` tokens and its end; `lam` 0 ranks by the model alone, so
    that the attribute only forbids. No returned text is without the attribute: where the beams
    held too few, `satisfied` says so. `max_new_tokens` counts the ending token. `generate_kwargs`
    go to `model.generate`; the model's own settings that change probabilities, as a penalty on
    repeating or a forced end, are switched off. Raises ValueError for settings that cannot be
    followed, a prompt without tokens, and one that leaves no room in the model's positions.
    """
    if not lam >= 0 or lam == float("inf"):
        raise ValueError(f"lam={lam} must be finite and not below 0")
    if top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1")
    if not 1 <= num_return_sequences <= num_beams:
        raise ValueError(
            f"num_return_sequences={num_return_sequences} is not within 1..num_beams={num_beams}"
        )
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens={max_new_tokens} must be at least 1")
    for fixed in _FIXED:
        if generate_kwargs.get(fixed):
            raise ValueError(f"{fixed}={generate_kwargs[fixed]!r}: the ranking here leaves no room")
    if "generation_config" in generate_kwargs:
        raise ValueError("generation_config: give its settings one by one, by their names")
    attribute.check(max_new_tokens)
    prompt = dict(inputs) if isinstance(inputs, Mapping) else {"inputs": inputs}
    check_prompt(model, prompt, max_new_tokens)
    eos = end_tokens(model, generate_kwargs)
    prompt_length = decoder_prompt_length(model, prompt)
    with evaluating(model), HiddenTap(model, attribute.needs_hidden_states) as tap:
        processor = AttributeLogitsProcessor(
            attribute,
            eos=eos,
            num_beams=num_beams,
            prompt_length=prompt_length,
            max_new_tokens=max_new_tokens,
            lam=lam,
            top_k=top_k,
            tap=tap,
        )
        given = list(generate_kwargs.pop("logits_processor", None) or ())
        sequences = model.generate(
            **prompt,
            **{
                **UNTOUCHED,
                **generate_kwargs,
                "logits_processor": LogitsProcessorList([*given, processor]),
                "max_new_tokens": max_new_tokens,
                "num_beams": num_beams,
                "num_return_sequences": num_return_sequences,
                "do_sample": False,
                "length_penalty": 0.0,
                "early_stopping": False,
                "return_dict_in_generate": False,
            },
        )
    pad = _pad_token(model.generation_config, generate_kwargs, eos)
    return _output(sequences, processor, prompt_length, num_return_sequences, eos, pad)


class AttributeLogitsProcessor(LogitsProcessor):
    """Adds lambda (log p(A | prefix, token) - log p(A | prefix)) to each token's log-probability.

    For one call of `model.generate`, by beam search or greedily, without a length penalty; it
    remembers the step before. `finished` maps (prompt, tokens, ended) to the model's own sum for
    every text with the attribute that was a candidate, wherever it ranked.
    """

    def __init__(
        self,
        attribute: Attribute,
        *,
        eos: frozenset[int],
        num_beams: int,
        prompt_length: int,
        max_new_tokens: int,
        lam: float = 1.0,
        top_k: int = DEFAULT_TOP_K,
        tap: HiddenTap | None = None,
    ) -> None:
        self._attribute, self._eos, self._tap = attribute, sorted(eos), tap
        self._num_beams, self._prompt_length = num_beams, prompt_length
        self._max_new_tokens, self._lam, self._top_k = max_new_tokens, lam, top_k
        self._before: _Step | None = None
        self.finished: dict[tuple[int, tuple[int, ...], bool], float] = {}

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, V) guided scores; -inf for all but the tokens that each row offers."""
        # Beam search hands over log-probabilities, greedy decoding logits.
        log_probs = scores if self._num_beams > 1 else scores.log_softmax(dim=-1)
        prefixes = input_ids[:, self._prompt_length :]
        sums, posterior = self._of_prefixes(prefixes)
        eos = torch.tensor(
            [token for token in self._eos if token < scores.shape[-1]],
            dtype=torch.long,
            device=scores.device,
        )
        onward = log_probs.index_fill(1, eos, -torch.inf)
        # (rows, k)
        best, tokens = onward.topk(min(self._top_k, onward.shape[-1]), dim=-1)
        hidden = self._tap.hidden_states if self._tap is not None else None
        next_posterior = self._attribute.log_probs(Extensions(prefixes, tokens, hidden))
        possible = best.isfinite() & next_posterior.isfinite() & sums.isfinite()[:, None]
        rows = prefixes.tolist()
        if prefixes.shape[1] + 1 == self._max_new_tokens:
            possible &= self._cut_off(rows, tokens, possible)
        next_posterior = next_posterior.to(best.dtype).masked_fill(~possible, -torch.inf)
        step = _Step(prefixes, tokens, sums[:, None] + best, next_posterior)

        guided = torch.full_like(log_probs, -torch.inf)
        gain = torch.where(possible, self._lam * (next_posterior - posterior[:, None]), -torch.inf)
        guided.scatter_(1, tokens, best + gain)
        holds = [
            bool(sums[row].isfinite()) and self._attribute.holds(prefix, ended=True)
            for row, prefix in enumerate(rows)
        ]
        may_end = torch.tensor(holds, device=scores.device)[:, None]
        # What ends with A has p(A | text) = 1.
        ending = log_probs[:, eos] - self._lam * posterior[:, None]
        guided[:, eos] = torch.where(may_end, ending, -torch.inf)
        self._note(rows, holds, sums, log_probs[:, eos], step)
        self._before = step
        return guided

    def _of_prefixes(self, prefixes: Tensor) -> tuple[Tensor, Tensor]:
        """(rows,) twice: the model's sum and log p(A | prefix), as when the prefix was chosen.

        A row that the step before did not offer, as a finished one, has the sum -inf.
        """
        before, n_rows = self._before, prefixes.shape[0]
        if before is None or prefixes.shape[1] == 0:
            zeros = torch.zeros(n_rows, device=prefixes.device)
            return zeros, zeros
        by_prompt = prefixes.view(-1, self._num_beams, prefixes.shape[1])
        old = before.prefixes.view(by_prompt.shape[0], self._num_beams, -1)
        # (prompts, beams, old beams)
        parents = (by_prompt[:, :, None, :-1] == old[:, None]).all(dim=-1)
        # (prompts, beams, old beams, k)
        offered = before.tokens.view(*old.shape[:2], -1)[:, None]
        places = parents[..., None] & (by_prompt[..., -1, None, None] == offered)
        sums, posterior = (
            torch.where(places, values.view(*old.shape[:2], -1)[:, None], -torch.inf)
            .flatten(2)
            .amax(dim=-1)
            .flatten()
            for values in (before.sums, before.posterior)
        )
        alive = posterior.isfinite()
        return sums.masked_fill(~alive, -torch.inf), posterior.masked_fill(~alive, 0.0)

    def _cut_off(self, rows: list[list[int]], tokens: Tensor, possible: Tensor) -> Tensor:
        """(rows, k): which texts have the attribute although the limit cuts them off here."""
        whole = [
            [
                maybe and self._attribute.holds([*prefix, token], ended=False)
                for token, maybe in zip(of_row, maybes, strict=True)
            ]
            for prefix, of_row, maybes in zip(rows, tokens.tolist(), possible.tolist(), strict=True)
        ]
        return torch.tensor(whole, device=tokens.device)

    def _note(
        self,
        rows: list[list[int]],
        holds: list[bool],
        sums: Tensor,
        ends: Tensor,
        step: "_Step",
    ) -> None:
        """Keeps the model's sum of every text that is whole at this step."""
        if ends.shape[1]:
            totals = (sums + ends.amax(dim=1)).tolist()
            for row, prefix in enumerate(rows):
                if holds[row]:
                    self.finished[row // self._num_beams, tuple(prefix), True] = totals[row]
        if step.prefixes.shape[1] + 1 < self._max_new_tokens:
            return
        places = step.posterior.isfinite().nonzero().tolist()
        for row, place in places:
            text = (*rows[row], int(step.tokens[row, place]))
            self.finished[row // self._num_beams, text, False] = float(step.sums[row, place])


@dataclass(frozen=True)
class _Step:
    """A step's offers: prefixes (rows, t); tokens, the model's sums and log p(A) (rows, k)."""

    prefixes: Tensor
    tokens: Tensor
    sums: Tensor
    posterior: Tensor


def _pad_token(config: GenerationConfig, given: Mapping[str, Any], eos: frozenset[int]) -> int:
    pad = given.get("pad_token_id", config.pad_token_id)
    return min(eos, default=0) if pad is None else pad


def _output(
    sequences: Tensor,
    processor: AttributeLogitsProcessor,
    prompt_length: int,
    per_prompt: int,
    eos: frozenset[int],
    pad: int,
) -> ConditionalBeamOutput:
    """The rows whose texts have the attribute; the others emptied."""
    prompts = sequences[:, :prompt_length]
    new, lengths, log_probs = [], [], []
    for row, tokens in enumerate(sequences[:, prompt_length:].tolist()):
        end = next((place for place, token in enumerate(tokens) if token in eos), None)
        text = tuple(tokens if end is None else tokens[:end])
        found = processor.finished.get((row // per_prompt, text, end is not None))
        # The text with its end; another run through the beams leaves padding after it.
        whole = tokens if end is None else tokens[: end + 1]
        kept = [] if found is None else whole
        new.append(torch.tensor(kept, dtype=torch.long))
        lengths.append(len(kept))
        log_probs.append(-torch.inf if found is None else found)
    padded = nn.utils.rnn.pad_sequence(new, batch_first=True, padding_value=pad)
    device = sequences.device
    return ConditionalBeamOutput(
        sequences=torch.cat([prompts, padded.to(device)], dim=1),
        log_probs=torch.tensor(log_probs, device=device),
        lengths=torch.tensor(lengths, device=device),
        satisfied=torch.tensor(log_probs, device=device).isfinite(),
    )
