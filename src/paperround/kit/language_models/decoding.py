"""One batch of rows, decoded token by token with a model of transformers.

The loop is our own because the choice of a token has to depend on its row alone: each row draws
from random numbers of its own, so that a text is the same in a batch as by itself. transformers
prepares the cache, masks and positions, as for its own loops; models without a cache go through the
same lines.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PreTrainedModel

from paperround.errors import ScoresError
from paperround.kit.language_models.contract import Finish

# What stands where a mask covers it. Not the tokenizer's padding, which it may lack, and which may
# have been added after the model's embeddings were made.
ANY_TOKEN = 0


@dataclass
class Row:
    """A prompt on its way: its tokens, those chosen so far, and how the text ended."""

    prompt_ids: list[int]
    number: int
    sample: int
    new_ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    finish: Finish | None = None


@dataclass(frozen=True)
class Choice:
    """How a token is chosen: the most probable at temperature 0, else by lot.

    `top_p` keeps the most probable tokens that together have at least that probability.
    """

    temperature: float
    top_p: float
    seed: int

    def random_numbers(self, row: Row, n_tokens: int) -> Tensor:
        """(n_tokens,) numbers within 0..1 that follow from seed, prompt and sample alone."""
        named = repr((self.seed, row.sample, row.prompt_ids)).encode()
        seed = int.from_bytes(hashlib.blake2b(named, digest_size=7).digest(), "big")
        generator = torch.Generator().manual_seed(seed)
        return torch.rand(n_tokens, generator=generator, dtype=torch.float64)

    def __call__(self, logits: Tensor, lots: Tensor) -> Tensor:
        """(rows,) tokens for logits (rows, vocabulary) and one random number a row."""
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        probs = torch.softmax(logits.double() / self.temperature, dim=-1)
        if self.top_p < 1:
            ordered, places = probs.sort(dim=-1, descending=True)
            # What comes before a token has the wanted probability already.
            dropped = ordered.cumsum(dim=-1) - ordered >= self.top_p
            probs = probs.masked_fill(torch.zeros_like(dropped).scatter(1, places, dropped), 0.0)
        # The first token at which the sum exceeds the lot; one of probability 0 never is.
        cumulative = probs.cumsum(dim=-1)
        drawn = lots.to(logits.device)[:, None] * cumulative[:, -1:]
        tokens = torch.searchsorted(cumulative, drawn, right=True)[:, 0]
        return tokens.clamp(max=logits.shape[-1] - 1)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model without dropout, and afterwards as it was."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


# Called after every token of a row; says whether the text ends there.
OnToken = Callable[[Row], bool]


def decode_rows(
    model: PreTrainedModel,
    rows: Sequence[Row],
    n_tokens: int,
    choice: Choice,
    eos: frozenset[int],
    on_token: OnToken | None = None,
    keep_log_probs: bool = False,
) -> None:
    """Fills `new_ids`, `finish` and, where kept, `log_probs` of every row: `n_tokens` at most."""
    width = max(len(row.prompt_ids) for row in rows)
    ids = torch.full((len(rows), width), ANY_TOKEN)
    mask = torch.zeros_like(ids)
    for place, row in enumerate(rows):
        ids[place, width - len(row.prompt_ids) :] = torch.tensor(row.prompt_ids)
        mask[place, width - len(row.prompt_ids) :] = 1
    lots = None
    if choice.temperature > 0:
        lots = torch.stack([choice.random_numbers(row, n_tokens) for row in rows])

    def loop(
        model: PreTrainedModel,
        input_ids: Tensor,
        # What the model's own settings ask for has no say: the caller's values are all there is.
        logits_processor: Any,
        stopping_criteria: Any,
        generation_config: GenerationConfig,
        **options: Any,
    ) -> Tensor:
        outputs = model._prefill(input_ids, generation_config, options)
        for step in range(n_tokens):
            options = model._update_model_kwargs_for_generation(outputs, options)
            # (rows, vocabulary)
            logits = outputs.logits[:, -1].to(dtype=torch.float32, copy=True)
            tokens = choice(logits, lots[:, step] if lots is not None else logits)
            chosen = logits.log_softmax(dim=-1).gather(1, tokens[:, None])[:, 0]
            if not bool(chosen.isfinite().all()):
                raise ScoresError(f"{type(model).__name__} gives logits that are no numbers")
            _take(rows, tokens.tolist(), chosen.tolist() if keep_log_probs else None, eos, on_token)
            if step + 1 == n_tokens or all(row.finish for row in rows):
                break
            input_ids = torch.cat([input_ids, tokens[:, None].to(input_ids.device)], dim=1)
            inputs = model.prepare_inputs_for_generation(
                input_ids,
                next_sequence_length=1 if options.get("use_cache") else None,
                **options,
            )
            outputs = model(**inputs, return_dict=True)
        return input_ids

    with torch.inference_mode(), evaluating(model):
        model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            custom_generate=loop,
            max_new_tokens=n_tokens,
            do_sample=False,
            num_beams=1,
            num_return_sequences=1,
            pad_token_id=ANY_TOKEN,
        )
    for row in rows:
        row.finish = row.finish or "length"


def _take(
    rows: Sequence[Row],
    tokens: Sequence[int],
    log_probs: Sequence[float] | None,
    eos: frozenset[int],
    on_token: OnToken | None,
) -> None:
    for place, row in enumerate(rows):
        if row.finish:
            continue
        row.new_ids.append(tokens[place])
        if log_probs is not None:
            row.log_probs.append(log_probs[place])
        if tokens[place] in eos:
            row.finish = "stop"
        elif on_token is not None and on_token(row):
            row.finish = "stop_string"
