"""Generation after prompts with sets: one pass over the prompts, then a token at a time.

The new tokens see all of the prompt and need no mask of their own but for padding and windows. The
first of them stands at `next_position`, after the longest member, and not after the last token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteriaList,
)

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


@dataclass(frozen=True)
class GenerateOutput:
    """What was generated, a row per prompt (several with `num_return_sequences`).

    `tokens`: (rows, steps), new tokens only, filled up behind the end. `lengths`: (rows,), how many
    of them count, the end token with them. `texts`: the same without special tokens. `logits`:
    (rows, steps, vocabulary) where `output_logits=True` asked for them, else None.
    """

    tokens: Tensor
    lengths: Tensor
    texts: list[str]
    logits: Tensor | None


def set_generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: SetPrompt | Sequence[SetPrompt],
    generation_config: GenerationConfig | None = None,
    *,
    form: Form = SET_BASED,
    add_bos: bool = True,
    allow_special_tokens: bool = False,
    pad_members: bool = False,
    sort_members: bool = False,
    streamer: Any = None,
    **generate_kwargs: Any,
) -> GenerateOutput:
    """What the model writes after each prompt, whatever the order of the members of its sets.

    Prompts of unequal lengths share a batch; a tokenizer without a padding token will do.
    form: `SET_BASED`, or for comparison `PLAIN`, `MASK_ONLY`, `POSITIONS_ONLY`.
    add_bos, allow_special_tokens, pad_members, sort_members: as for `encode_set_prompt`.
    streamer: gets the prompt and then each token, as transformers' streamers expect.
    generate_kwargs: as for `model.generate`, greedy unless they say otherwise: max_new_tokens,
        do_sample, temperature, top_p, num_return_sequences, logits_processor, stopping_criteria,
        and so on. Processors that read the prompt (n-grams that may not repeat) are shown sorted
        members with the whole method, so that they know no order either.

    Raises ValueError for a model without support (`require_support`), an empty prompt, one that
    leaves no room for the new tokens, beam search, `use_cache=False`.
    """
    several = [prompts] if isinstance(prompts, SetPrompt) else list(prompts)
    require_support(model)
    options: dict[str, Any] = {
        "form": form,
        "add_bos": add_bos,
        "allow_special_tokens": allow_special_tokens,
        "pad_members": pad_members,
    }
    encodings = encode_set_prompts(tokenizer, several, sort_members=sort_members, **options)
    shown = encodings
    if form == SET_BASED and not sort_members:
        shown = encode_set_prompts(tokenizer, several, sort_members=True, **options)
    batch = collate(shown, model.device)
    if generation_config is None:
        generate_kwargs = {"do_sample": False, "return_dict_in_generate": True, **generate_kwargs}
    output: GenerateOutput = model.generate(
        _with_harmless_padding(batch),
        attention_mask=(~batch.is_padding).long(),
        generation_config=generation_config,
        custom_generate=set_decoding,
        encodings=encodings,
        text_tokenizer=tokenizer,
        token_streamer=streamer,
        **generate_kwargs,
    )
    return output


def set_decoding(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    encodings: Sequence[SetEncoding],
    text_tokenizer: PreTrainedTokenizerBase,
    token_streamer: Any = None,
    **model_kwargs: Any,
) -> GenerateOutput:
    """The decoding loop, as transformers calls it: `model.generate(custom_generate=set_decoding)`.

    `encodings` are the prompts; `input_ids` (rows, length) is what processors and stopping criteria
    are shown. `set_generate` says the rest.
    """
    _require_known_options(generation_config)
    n_prompt = input_ids.shape[1]
    require_room(model, encodings, generation_config.max_length - n_prompt)
    batch = collate(encodings, model.device)
    rows = torch.arange(len(encodings), device=model.device)
    batch = batch.rows(rows.repeat_interleave(input_ids.shape[0] // len(encodings)))
    pad = _pad_token(generation_config)
    if token_streamer is not None:
        token_streamer.put(batch.input_ids.cpu())

    logits, cache = prefill(model, batch)
    kept = []
    sequences = input_ids
    unfinished = torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
    lengths = torch.zeros(len(input_ids), dtype=torch.long, device=input_ids.device)
    while True:
        if generation_config.output_logits:
            kept.append(logits)
        # Processors may write in place.
        scores = logits_processor(sequences, logits.clone())
        if generation_config.do_sample:
            tokens = torch.multinomial(torch.softmax(scores, dim=-1), num_samples=1)[:, 0]
        else:
            tokens = scores.argmax(dim=-1)
        tokens = torch.where(unfinished, tokens, pad)
        sequences = torch.cat([sequences, tokens[:, None]], dim=-1)
        lengths += unfinished
        if token_streamer is not None:
            token_streamer.put(tokens.cpu())
        unfinished = unfinished & ~stopping_criteria(sequences, scores)
        if not unfinished.any():
            break
        logits = proceed(model, batch, cache, tokens[:, None])[:, -1]
    if token_streamer is not None:
        token_streamer.end()
    new = sequences[:, n_prompt:]
    return GenerateOutput(
        tokens=new,
        lengths=lengths,
        texts=[
            text_tokenizer.decode(row[:length], skip_special_tokens=True)
            for row, length in zip(new.tolist(), lengths.tolist(), strict=True)
        ],
        logits=torch.stack(kept, dim=1) if kept else None,
    )


_KEPT_OUTPUTS = ("output_scores", "output_attentions", "output_hidden_states")


def _with_harmless_padding(batch: SetBatch) -> Tensor:
    """The ids, with each row's first token where padding stands.

    Processors do not know the mask: a penalty on repeating would strike the token of the padding.
    """
    first = batch.is_padding.logical_not().int().argmax(dim=1, keepdim=True)
    return torch.where(batch.is_padding, batch.input_ids.gather(1, first), batch.input_ids)


def _require_known_options(config: GenerationConfig) -> None:
    if (config.num_beams or 1) > 1:
        raise ValueError("set_generate decodes greedily or by sampling; num_beams is 1")
    if kept := [name for name in _KEPT_OUTPUTS if getattr(config, name, None)]:
        raise ValueError(f"{', '.join(kept)}: set_generate keeps tokens and logits only")
    if not config.use_cache:
        raise ValueError("use_cache is off; set_generate decodes from the cache")


def _pad_token(config: GenerationConfig) -> int:
    for token in (config._pad_token_tensor, config._eos_token_tensor):
        if token is not None:
            return int(token.flatten()[0])
    return 0
