"""Diverse beam search for any transformers model that generates text, and its baselines.

`generate_diverse` is the door. `group_beam_search` is the decoding loop behind it, in the form that
`model.generate(..., custom_generate=...)` takes, so that code written for the `num_beam_groups` of
transformers 4 keeps working. The algorithm itself is in `beams.py`. Logits processors act on
log-probabilities: log_softmax, processors, penalty, running score, in this order.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    EosTokenCriteria,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    MaxTimeCriteria,
    PreTrainedModel,
    StoppingCriteriaList,
)
from transformers.utils import ModelOutput

from paperround.papers.diverse_beam_search.beams import (
    NO_TOKEN,
    EarlyStopping,
    Ends,
    FinishedBeams,
    GroupBeams,
    SearchSettings,
)
from paperround.papers.diverse_beam_search.diversity import Diversity, resolve_diversity
from paperround.papers.diverse_beam_search.search import rank_siblings, subtract_antilm

# The default of the authors' own program (Lua, `-lambda`).
DEFAULT_DIVERSITY_PENALTY = 0.5


@dataclass
class DiverseBeamOutput(ModelOutput):
    """The candidates of all prompts, k rows per prompt, group by group, best score first.

    `sequences`: (prompts k, length), with the prompt for decoder-only models, padded on the right.
    `sequences_scores`: (prompts k,), log-probabilities after the processors, with the penalties and
    the length penalty; -inf marks a row that no sequence could fill. `model_log_probs`: the model's
    own sum over the new tokens. `groups`: each row's group, 0..G-1. `lengths`: its new tokens.
    """

    # ModelOutput wants a default for every field.
    sequences: Tensor = None
    sequences_scores: Tensor = None
    model_log_probs: Tensor = None
    groups: Tensor = None
    lengths: Tensor = None


def generate_diverse(
    model: PreTrainedModel,
    inputs: Tensor | Mapping[str, Tensor],
    *,
    num_beams: int,
    num_beam_groups: int,
    diversity_penalty: float = DEFAULT_DIVERSITY_PENALTY,
    num_return_sequences: int | None = None,
    diversity: str | Diversity = "hamming",
    length_penalty: float = 0.0,
    early_stopping: EarlyStopping = False,
    logits_processor: LogitsProcessorList | None = None,
    stopping_criteria: StoppingCriteriaList | None = None,
    **generate_kwargs: Any,
) -> DiverseBeamOutput:
    """The candidates that diverse beam search finds for each prompt of a batch.

    `inputs` is what the tokenizer gave (or the ids alone), padded on the left for decoder-only
    models. Every prompt takes `num_beams` rows in each forward pass. By default all `num_beams`
    candidates come back; fewer are shared out between the groups, best of each group first.
    `generate_kwargs` go to `model.generate` (`max_new_tokens`, `bad_words_ids`, ...). Raises
    ValueError for settings that cannot be followed.
    """
    # Checked before the model runs. One new token stands in for a bound that only generate() knows.
    SearchSettings(num_beams, num_beam_groups, diversity_penalty, 1, early_stopping=early_stopping)
    n_returned = num_beams if num_return_sequences is None else num_return_sequences
    if not 1 <= n_returned <= num_beams:
        raise ValueError(
            f"num_return_sequences={n_returned} is not within 1..num_beams={num_beams}"
        )
    if generate_kwargs.get("do_sample"):
        raise ValueError("do_sample=True: diverse beam search draws nothing at random")
    prompt = dict(inputs) if isinstance(inputs, Mapping) else {"inputs": inputs}
    return model.generate(
        **prompt,
        custom_generate=group_beam_search,
        num_beams=num_beams,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        diversity=diversity,
        num_return_sequences=n_returned,
        length_penalty=length_penalty,
        early_stopping=early_stopping,
        logits_processor=logits_processor,
        stopping_criteria=stopping_criteria,
        **{"do_sample": False, "return_dict_in_generate": True, **generate_kwargs},
    )


def group_beam_search(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    *,
    num_beam_groups: int | None = None,
    diversity_penalty: float | None = None,
    diversity: str | Diversity = "hamming",
    synced_gpus: bool = False,
    **model_kwargs: Any,
) -> DiverseBeamOutput | Tensor:
    """The decoding loop for `model.generate(..., custom_generate=group_beam_search)`.

    `generate` prepares everything else: `input_ids` (rows, length) has `num_beams` rows per prompt.
    Groups and penalty may come as arguments of `generate` or in a `GenerationConfig`; absent, they
    are 1 and 0.5. Returns the sequences alone unless `return_dict_in_generate`. Per-step scores,
    logits, attentions and hidden states are not kept. Raises ValueError for what it cannot do.
    """
    for wanted in ("output_attentions", "output_hidden_states", "output_logits"):
        if getattr(generation_config, wanted):
            raise ValueError(f"{wanted}=True: diverse beam search does not keep them")
    if generation_config.do_sample:
        raise ValueError("do_sample=True: diverse beam search draws nothing at random")
    if synced_gpus:
        raise ValueError("synced_gpus=True: diverse beam search does not run on sharded models")
    settings, ends = _settings(
        model, input_ids, stopping_criteria, generation_config,
        num_beam_groups, diversity_penalty, diversity,
    )  # fmt: skip
    limits = [c for c in stopping_criteria if isinstance(c, MaxTimeCriteria)]
    prompt_length = input_ids.shape[1]
    n_problems = input_ids.shape[0] // settings.num_beams
    in_order = torch.arange(input_ids.shape[0], device=input_ids.device)

    outputs = model._prefill(input_ids, generation_config, model_kwargs)
    beams: GroupBeams | None = None
    sequences = input_ids
    while True:
        model_kwargs = model._update_model_kwargs_for_generation(
            outputs, model_kwargs, is_encoder_decoder=model.config.is_encoder_decoder
        )
        # (rows, V); one forward pass of all groups, which only the choice of tokens orders.
        logits = outputs.logits[:, -1].to(device=input_ids.device, dtype=torch.float32, copy=True)
        del outputs
        log_probs = nn.functional.log_softmax(logits, dim=-1)
        # Processors may write in place.
        scores = logits_processor(sequences, log_probs.clone())
        if beams is None:
            beams = GroupBeams(settings, n_problems, scores.shape[-1], input_ids.device)
        late = any(bool(limit(sequences, None).all()) for limit in limits)
        tokens, rows = beams.advance(
            scores, log_probs, ends=None if ends is None else ends(sequences), last=late
        )
        if late or beams.is_done:
            break
        sequences = torch.cat([sequences[rows], tokens[:, None]], dim=1)
        # With one beam per group every row extends itself, and nothing has to be copied.
        if not torch.equal(rows, in_order):
            _reorder_cache(model, model_kwargs, rows)
        model_inputs = model.prepare_inputs_for_generation(
            sequences,
            next_sequence_length=1 if model_kwargs["use_cache"] else None,
            **model_kwargs,
        )
        outputs = model(**model_inputs, return_dict=True)

    prompts = input_ids[:: settings.num_beams, :prompt_length]
    output = _output(beams.finished, prompts, generation_config)
    return output if generation_config.return_dict_in_generate else output.sequences


class HammingDiversityLogitsProcessor(LogitsProcessor):
    """Subtracts lambda for each earlier group's beam that chose the token at this time step.

    For loops of one's own that advance the groups of one batch one after another; the signature of
    the class that transformers 4 had. `group_beam_search` does not need it.
    """

    def __init__(self, diversity_penalty: float, num_beams: int, num_beam_groups: int) -> None:
        settings = SearchSettings(num_beams, num_beam_groups, diversity_penalty, 1)
        self._diversity_penalty = settings.diversity_penalty
        self._num_beams, self._group_size = num_beams, settings.group_size

    def __call__(
        self,
        input_ids: Tensor,
        scores: Tensor,
        current_tokens: Tensor,
        beam_group_idx: int,
    ) -> Tensor:
        """(prompts B', V) scores of one group, with the penalty.

        `current_tokens`: (prompts B,), this step's choices; those of groups from `beam_group_idx`
        on are not looked at. `input_ids` is there for the signature only.
        """
        if beam_group_idx == 0:
            return scores
        n_earlier = beam_group_idx * self._group_size
        # (prompts, earlier beams)
        chosen = current_tokens.view(-1, self._num_beams)[:, :n_earlier]
        counts = scores.new_zeros(chosen.shape[0], scores.shape[-1])
        counts.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=scores.dtype))
        by_prompt = scores.view(chosen.shape[0], -1, scores.shape[-1])
        return (by_prompt - self._diversity_penalty * counts[:, None]).view_as(scores)


class SiblingRankLogitsProcessor(LogitsProcessor):
    """Charges the k-th best extension of each beam gamma k (Li and Jurafsky 2016).

    For `generate(num_beams=B)`, whose processors act on log-probabilities.
    """

    def __init__(self, gamma: float) -> None:
        self._gamma = gamma

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, V) log-probabilities less gamma times the rank within the row, from 1."""
        return rank_siblings(scores, self._gamma)


class AntiLMLogitsProcessor(LogitsProcessor):
    """Subtracts `weight` log U(token | new tokens so far) (Li et al. 2015, MMI-antiLM).

    U is a causal model that starts from `bos` and never sees the prompt, which is the first
    `prompt_length` tokens of every row. On the first `first_tokens` new tokens only, as its authors
    do; U runs without a cache, which so few tokens do not need.
    """

    def __init__(
        self,
        lm: PreTrainedModel,
        bos: int,
        weight: float,
        prompt_length: int,
        first_tokens: int = 5,
    ) -> None:
        self._lm, self._bos, self._weight = lm, bos, weight
        self._prompt_length, self._first_tokens = prompt_length, first_tokens

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(rows, V) scores less the weighted log-probabilities of the unconditional model."""
        new = input_ids[:, self._prompt_length :]
        if new.shape[1] >= self._first_tokens:
            return scores
        bos = new.new_full((new.shape[0], 1), self._bos)
        with torch.no_grad():
            logits = self._lm(torch.cat([bos, new], dim=1)).logits[:, -1].float()
        return subtract_antilm(scores, nn.functional.log_softmax(logits, dim=-1), self._weight)


def _settings(
    model: PreTrainedModel,
    input_ids: Tensor,
    stopping_criteria: StoppingCriteriaList,
    config: GenerationConfig,
    num_beam_groups: int | None,
    diversity_penalty: float | None,
    diversity: str | Diversity,
) -> tuple[SearchSettings, Callable[[Tensor], Ends] | None]:
    """The search's settings, and the criteria that end a hypothesis for another reason than EOS."""
    if num_beam_groups is None:
        num_beam_groups = getattr(config, "num_beam_groups", None) or 1
    if diversity_penalty is None:
        diversity_penalty = getattr(config, "diversity_penalty", None)
    if diversity_penalty is None:
        diversity_penalty = DEFAULT_DIVERSITY_PENALTY
    eos: set[int] = set()
    others = []
    for criterion in stopping_criteria:
        if type(criterion) is EosTokenCriteria:
            eos.update(criterion.eos_token_id.flatten().tolist())
        elif not isinstance(criterion, MaxLengthCriteria | MaxTimeCriteria):
            others.append(criterion)
    max_lengths = [c.max_length for c in stopping_criteria if isinstance(c, MaxLengthCriteria)]
    embeddings = model.get_input_embeddings().weight if diversity == "embedding" else None
    settings = SearchSettings(
        num_beams=config.num_beams,
        num_beam_groups=num_beam_groups,
        diversity_penalty=diversity_penalty,
        max_new_tokens=min(max_lengths) - input_ids.shape[1],
        eos=tuple(sorted(eos)),
        diversity=resolve_diversity(diversity, embeddings),
        length_penalty=config.length_penalty,
        early_stopping=config.early_stopping,
    )
    if not others:
        return settings, None
    criteria = StoppingCriteriaList(others)
    prompts = input_ids

    def ends_for(sequences: Tensor) -> Ends:
        def ends(rows: Tensor, new_tokens: Tensor) -> Tensor:
            return criteria(torch.cat([prompts[rows], new_tokens], dim=1), None)

        return ends

    return settings, ends_for


def _reorder_cache(model: PreTrainedModel, model_kwargs: dict[str, Any], rows: Tensor) -> None:
    """Gives every row the cache of the row that it extends; `rows` counts over the whole batch."""
    cache = model_kwargs.get("past_key_values")
    if cache is None:
        return
    if hasattr(model, "_reorder_cache"):
        model_kwargs["past_key_values"] = model._reorder_cache(cache, rows)
    else:
        cache.reorder_cache(rows)


def _output(found: FinishedBeams, prompts: Tensor, config: GenerationConfig) -> DiverseBeamOutput:
    """The rows to return: `num_return_sequences` per prompt, shared out between the groups."""
    n_problems, n_groups, size, _ = found.tokens.shape
    slots = _returned_slots(n_groups, size, config.num_return_sequences)
    groups = torch.tensor([g for g, _ in slots], device=prompts.device)
    places = torch.tensor([b for _, b in slots], device=prompts.device)
    lengths = found.lengths[:, groups, places].flatten()
    tokens = found.tokens[:, groups, places].flatten(0, 1)[:, : int(lengths.max())]
    tokens = tokens.masked_fill(tokens == NO_TOKEN, _pad_token(config))
    return DiverseBeamOutput(
        sequences=torch.cat([prompts.repeat_interleave(len(slots), dim=0), tokens], dim=1),
        sequences_scores=found.scores[:, groups, places].flatten(),
        model_log_probs=found.log_probs[:, groups, places].flatten(),
        groups=groups.repeat(n_problems),
        lengths=lengths,
    )


def _returned_slots(n_groups: int, size: int, n_returned: int) -> Sequence[tuple[int, int]]:
    """(group, place) pairs in the order of the groups: the best of each, then the second, ...

    By score alone the first group would be returned first: the later ones carry their penalties.
    """
    round_robin = [(g, b) for b in range(size) for g in range(n_groups)]
    return sorted(round_robin[:n_returned])


def _pad_token(config: GenerationConfig) -> int:
    if config._pad_token_tensor is not None:
        return int(config._pad_token_tensor)
    if config._eos_token_tensor is not None:
        return int(config._eos_token_tensor.flatten()[0])
    return 0
