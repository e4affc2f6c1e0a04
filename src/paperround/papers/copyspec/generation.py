"""Decoding that copies: the loop of the paper, for any causal language model of transformers.

A step looks up the last gamma tokens (`index.py`). Where they occurred before, it verifies what
followed them there, up to K tokens, in one forward pass; else a draft model may propose; else the
model decodes one token. The text is the one that plain decoding gives: greedily token for token,
and by sampling draw for draw, since exactly one token is drawn for each one emitted.

    x = t_1 .. t_n        the tokens so far; the cache holds t_1 .. t_{n-1}
    d_1 .. d_K            the draft
    logits_0 .. logits_K  of [t_n, d_1 .. d_K]; logits_i predict what stands at d_{i+1}
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.generation import (
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteriaList,
)

from paperround.papers.copyspec.adaptive import AdaptiveCopy
from paperround.papers.copyspec.index import CopyIndex, Policy
from paperround.papers.copyspec.steps import DecodingStats, Kind, Step

# The authors' scripts use gamma = 3; K = 10 is the paper's, delta = 5 the official code's default.
GAMMA, MAX_COPY, DRAFT_TOKENS = 3, 10, 5


@dataclass(frozen=True)
class GenerateOutput:
    """`sequences`: (1, tokens), the prompt and what was generated; `stats`: what it took."""

    sequences: Tensor
    stats: DecodingStats


def generate(
    model: PreTrainedModel,
    input_ids: Tensor,
    gamma: int = GAMMA,
    max_copy: int = MAX_COPY,
    draft_model: PreTrainedModel | None = None,
    draft_tokens: int = DRAFT_TOKENS,
    do_sample: bool | None = None,
    logits_processor: LogitsProcessorList | None = None,
    *,
    policy: Policy = "first",
    sources: Sequence[Sequence[int]] = (),
    rule: AdaptiveCopy | None = None,
    generator: torch.Generator | None = None,
    streamer: Any = None,
    **kwargs: Any,
) -> GenerateOutput:
    """What `model.generate` would give for one prompt of shape (1, tokens), in fewer passes.

    gamma: how many tokens have to match before the text after them is copied.
    max_copy: how many tokens are copied at most; 0 switches copying off.
    draft_model, draft_tokens: a smaller model with the same tokenizer that proposes where nothing
        can be copied. Its proposals are greedy, so they need no probabilities to be verified.
    do_sample: as the `generation_config` among kwargs says; greedy where there is none.
    policy, sources: which occurrence is copied, and further texts to copy from (`CopyIndex`).
    rule: our own rule instead of the paper's (`adaptive.py`), a new one for each text; gamma,
        max_copy, policy and sources then have no say.
    generator: the source of randomness for sampling; torch's global one where there is none.
    streamer: gets the prompt and then the tokens of each pass, as transformers' streamers expect.
    kwargs: as for `model.generate`: max_new_tokens, attention_mask, generation_config,
        temperature, top_k, top_p, eos_token_id, stopping_criteria, past_key_values, and so on.
        Logits processors see the tokens that they would see in plain decoding.

    Raises ValueError for a batch, an empty prompt, beam search, an encoder-decoder model, an
    output that is not kept (scores, attentions), and for models whose cache cannot be rolled back:
    those with a recurrent state (Mamba and its hybrids), and static or quantized caches. Sliding
    windows are fine.
    """
    _require_one_prompt(input_ids)
    if do_sample is None:
        config = kwargs.get("generation_config")
        do_sample = bool(config is not None and config.do_sample)
    return model.generate(
        input_ids,
        custom_generate=copy_decoding,
        logits_processor=logits_processor,
        do_sample=do_sample,
        gamma=gamma,
        max_copy=max_copy,
        draft_model=draft_model,
        draft_tokens=draft_tokens,
        policy=policy,
        sources=sources,
        rule=rule,
        generator=generator,
        token_streamer=streamer,
        **kwargs,
    )


def copy_decoding(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    gamma: int = GAMMA,
    max_copy: int = MAX_COPY,
    draft_model: PreTrainedModel | None = None,
    draft_tokens: int = DRAFT_TOKENS,
    policy: Policy = "first",
    sources: Sequence[Sequence[int]] = (),
    rule: AdaptiveCopy | None = None,
    generator: torch.Generator | None = None,
    token_streamer: Any = None,
    **model_kwargs: Any,
) -> GenerateOutput:
    """The decoding loop, as transformers calls it: `model.generate(custom_generate=copy_decoding)`.

    `generate` says what the arguments mean and what is refused.
    """
    if max_copy < 0:
        raise ValueError(f"max_copy is {max_copy}; write 0 to switch copying off")
    if draft_model is not None and draft_tokens < 1:
        raise ValueError(f"draft_tokens is {draft_tokens}; a draft has at least one token")
    _require_known_options(model, generation_config, model_kwargs)
    _require_one_prompt(input_ids)

    attention_mask = model_kwargs.get("attention_mask")
    target = _CachedModel(model, model_kwargs.get("past_key_values"), attention_mask)
    target.require_positions(model_kwargs.get("position_ids"), input_ids.shape[1])
    if target.length >= input_ids.shape[1]:
        raise ValueError(
            f"past_key_values holds {target.length} tokens and the prompt has "
            f"{input_ids.shape[1]}; pass the whole conversation as input_ids, with new tokens"
        )
    drafter = None
    if draft_model is not None:
        drafter = _Drafter(draft_model, attention_mask, n_known_tokens=model.config.vocab_size)
    if rule is not None and len(rule):
        raise ValueError("this rule has served a text already; make a new AdaptiveCopy for each")
    index = rule if rule is not None else CopyIndex(gamma, policy, sources)
    tokens = input_ids[0].tolist()
    index.extend(tokens)

    max_length = generation_config.max_length
    text = input_ids.new_zeros((1, max_length))
    text[0, : len(tokens)] = input_ids[0]
    if token_streamer is not None:
        token_streamer.put(input_ids.cpu())

    steps: list[Step] = []
    draft: list[int] = []
    kind: Kind = "prompt"
    finished = False
    with torch.inference_mode():
        while not finished:
            # All that the cache does not hold yet: at first the prompt, later the last token.
            logits = target.forward(tokens[target.length :] + draft, n_logits=len(draft) + 1)
            choose = _chooser(logits, logits_processor, generation_config.do_sample, generator)
            emitted, accepted, finished = _verify(
                draft, choose, text, len(tokens), stopping_criteria
            )
            steps.append(Step(kind, len(draft), accepted, len(emitted)))

            tokens += emitted
            index.extend(emitted)
            target.keep_first(len(tokens) - 1)
            if drafter is not None:
                drafter.keep_first(len(tokens) - 1)
            if token_streamer is not None:
                token_streamer.put(torch.tensor(emitted))

            # One token of what is left comes from the model itself, whatever is accepted.
            most = max_length - len(tokens) - 1
            draft, kind = [], "single"
            if most > 0 and (
                draft := index.propose(most if rule is not None else min(max_copy, most))
            ):
                kind = "copy"
            elif most > 0 and drafter is not None and not finished:
                draft, kind = drafter.propose(tokens, min(draft_tokens, most)), "draft"

    if token_streamer is not None:
        token_streamer.end()
    n_draft_passes = drafter.passes if drafter is not None else 0
    return GenerateOutput(
        # Made anew: tensors of inference mode cannot take part in training.
        sequences=input_ids.new_tensor([tokens]),
        stats=DecodingStats(tuple(steps), n_draft_passes),
    )


_Choose = Callable[[int, Tensor], int]


def _chooser(
    logits: Tensor,
    logits_processor: LogitsProcessorList,
    do_sample: bool,
    generator: torch.Generator | None,
) -> _Choose:
    """The function that chooses the token after row i, given the text before it, as decoding does.

    logits: (K + 1, vocabulary), float32. It is called in order and once per emitted token, so that
    processors with a state, and the stream of random numbers, go on as in plain decoding.
    """
    if not do_sample and not logits_processor:
        greedy = logits.argmax(dim=-1).tolist()
        return lambda i, text_before: greedy[i]

    def choose(i: int, text_before: Tensor) -> int:
        scores = logits_processor(text_before, logits[i : i + 1])
        if not do_sample:
            return int(scores.argmax(dim=-1))
        probs = torch.softmax(scores, dim=-1)
        return int(torch.multinomial(probs, num_samples=1, generator=generator))

    return choose


def _verify(
    draft: Sequence[int],
    choose: _Choose,
    text: Tensor,
    n_before: int,
    stopping_criteria: StoppingCriteriaList,
) -> tuple[list[int], int, bool]:
    """The tokens that this pass emits, how many of them were drafted, and whether the text ends.

    A drafted token stays as long as the model chooses the same one: y_i drawn from p_i equals d_i
    with probability p_i(d_i), and where it differs, y_i itself is emitted. The draft is a fixed
    token, so this keeps the distribution p exactly. Writes into `text`, (1, max_length).
    """
    emitted: list[int] = []
    accepted = 0
    for i in range(len(draft) + 1):
        n = n_before + i
        token = choose(i, text[:, :n])
        text[0, n] = token
        emitted.append(token)
        was_drafted = i < len(draft) and token == draft[i]
        accepted += was_drafted
        # Asked after every token, as plain decoding does: a stop inside the draft ends the text.
        if bool(stopping_criteria(text[:, : n + 1], None).all()):
            return emitted, accepted, True
        if not was_drafted:
            break
    return emitted, accepted, False


class _CachedModel:
    """A model with its cache, which can be rolled back to the tokens that were accepted."""

    def __init__(
        self,
        model: PreTrainedModel,
        cache: DynamicCache | None,
        attention_mask: Tensor | None,
    ) -> None:
        if cache is None:
            cache = DynamicCache(config=model.config.get_text_config(decoder=True))
        _require_roll_back(model, cache)
        # Without it, sliding windows forget at once what a roll-back has to bring back.
        cache.activate_past_recording()
        self._model, self._cache = model, cache
        # (1, tokens); None where every token of the prompt is seen.
        self._prompt_mask = attention_mask.to(model.device) if attention_mask is not None else None
        accepted = inspect.signature(model.forward).parameters
        self._takes_positions = "position_ids" in accepted
        self._takes_n_logits = "logits_to_keep" in accepted
        self._checked = False

    @property
    def length(self) -> int:
        """How many tokens the cache holds."""
        return self._cache.get_seq_length()

    def forward(self, tokens: Sequence[int], n_logits: int) -> Tensor:
        """The logits (n_logits, vocabulary) after the last `n_logits` of the tokens, in float32."""
        begin = self.length
        end = begin + len(tokens)
        ids = torch.tensor([list(tokens)], device=self._model.device)
        extra: dict[str, Any] = {"position_ids": None, "attention_mask": self._mask(end)}
        if self._takes_positions:
            extra["position_ids"] = self._positions(end)[:, begin:]
        if self._takes_n_logits:
            extra["logits_to_keep"] = n_logits
        inputs = self._model.prepare_inputs_for_generation(
            ids,
            past_key_values=self._cache,
            is_first_iteration=begin == 0,
            use_cache=True,
            **extra,
        )
        logits = self._model(**inputs, return_dict=True).logits[0, -n_logits:]
        if self.length != end or not (self._checked or self._cache.is_croppable):
            raise ValueError(_cannot_roll_back(self._model))
        self._checked = True
        # As transformers does it, so that ties fall as they do there.
        return logits.to(dtype=torch.float32)

    def keep_first(self, n_tokens: int) -> None:
        """Drops what the cache holds after its first `n_tokens` tokens."""
        if not self.length:
            # A draft model that has not been asked yet; sliding windows have nothing to crop then.
            return
        # Also with nothing to drop: sliding windows shrink back to their size here.
        self._cache.crop(-(self.length - n_tokens))
        # One token off, and every later token is computed from a wrong past, plausibly.
        assert self.length == n_tokens, f"the cache holds {self.length} tokens, not {n_tokens}"

    def require_positions(self, position_ids: Tensor | None, n_tokens: int) -> None:
        """Raises ValueError where these are not the positions that follow from the mask."""
        if position_ids is None:
            return
        expected = self._positions(n_tokens)
        if position_ids.shape != expected.shape or not bool(
            (position_ids.to(expected.device) == expected).all()
        ):
            raise ValueError("positions follow from the attention mask here; pass no position_ids")

    def _mask(self, n_tokens: int) -> Tensor | None:
        if self._prompt_mask is None:
            return None
        n_new = n_tokens - self._prompt_mask.shape[1]
        return torch.cat([self._prompt_mask, self._prompt_mask.new_ones((1, n_new))], dim=-1)

    def _positions(self, n_tokens: int) -> Tensor:
        """(1, n_tokens): the place of each token among those that the mask shows."""
        if self._prompt_mask is None:
            return torch.arange(n_tokens, device=self._model.device)[None]
        mask = self._mask(n_tokens)
        assert mask is not None
        return (mask.long().cumsum(-1) - 1).masked_fill(mask == 0, 0)


class _Drafter:
    """The draft model, which proposes where nothing can be copied."""

    def __init__(
        self, model: PreTrainedModel, attention_mask: Tensor | None, n_known_tokens: int
    ) -> None:
        self._cached = _CachedModel(model, None, attention_mask)
        self._n_known_tokens = n_known_tokens
        self.passes = 0

    def propose(self, tokens: Sequence[int], n_tokens: int) -> list[int]:
        """The `n_tokens` tokens that the draft model would decode greedily after these."""
        # All that it has not seen yet (copied tokens, the one the model chose) in its first pass.
        pending = list(tokens[self._cached.length :])
        draft: list[int] = []
        while len(draft) < n_tokens:
            logits = self._cached.forward(pending, n_logits=1)
            self.passes += 1
            # Vocabularies are padded to other sizes in models of one family.
            pending = [int(logits[-1, : self._n_known_tokens].argmax())]
            draft += pending
        return draft

    def keep_first(self, n_tokens: int) -> None:
        """Drops what was drafted and refused; `n_tokens` tokens of the text are settled."""
        self._cached.keep_first(min(n_tokens, self._cached.length))


def _require_one_prompt(input_ids: Tensor) -> None:
    if input_ids.ndim != 2 or input_ids.shape[0] != 1:
        raise ValueError(
            f"input_ids has shape {tuple(input_ids.shape)}; CopySpec decodes one prompt at a time, "
            "(1, tokens), since the prompts of a batch would accept different numbers of tokens. "
            "Call it once per prompt, without padding"
        )
    if input_ids.shape[1] == 0:
        raise ValueError("the prompt is empty; give at least one token, such as the model's bos")


# What `model.generate` prepares for a causal model of text.
_MODEL_KWARGS = {"attention_mask", "position_ids", "past_key_values", "use_cache", "logits_to_keep"}
_KEPT_OUTPUTS = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")


def _require_known_options(
    model: PreTrainedModel, config: GenerationConfig, model_kwargs: dict[str, Any]
) -> None:
    """Raises ValueError for whatever this loop would otherwise ignore."""
    if model.config.is_encoder_decoder:
        raise ValueError("CopySpec decodes with causal language models, not encoder-decoders")
    if model._is_stateful:
        raise ValueError(_cannot_roll_back(model))
    if (config.num_beams or 1) > 1 or (config.num_return_sequences or 1) > 1:
        raise ValueError("CopySpec decodes one sequence; num_beams and num_return_sequences are 1")
    if kept := [name for name in _KEPT_OUTPUTS if getattr(config, name, None)]:
        raise ValueError(f"{', '.join(kept)}: CopySpec keeps the tokens only")
    if not model_kwargs.get("use_cache", True):
        raise ValueError("use_cache is off; without a cache there is no gain in verifying drafts")
    given = {name for name, value in model_kwargs.items() if value is not None}
    if unknown := sorted(given - _MODEL_KWARGS):
        raise ValueError(f"CopySpec does not pass {', '.join(unknown)} on to the model")


def _require_roll_back(model: PreTrainedModel, cache: Any) -> None:
    # Caches of other classes keep a state, a fixed size or a quantized residue.
    if model._is_stateful or not isinstance(cache, DynamicCache):
        raise ValueError(_cannot_roll_back(model, cache))


def _cannot_roll_back(model: PreTrainedModel, cache: Any = None) -> str:
    with_cache = f" with a {type(cache).__name__}" if cache is not None else ""
    return (
        f"{type(model).__name__}{with_cache} cannot take refused tokens back: its cache has to be "
        "a DynamicCache of attention layers, without a recurrent state; use model.generate"
    )
