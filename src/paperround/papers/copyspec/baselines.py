"""What CopySpec is measured against: plain greedy decoding in two forms, and a draft model.

Prompt lookup decoding is transformers' own: `model.generate(prompt_lookup_num_tokens=10)`.
"""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


def greedy(
    model: PreTrainedModel, input_ids: Tensor, max_new_tokens: int, eos_token_ids: Sequence[int]
) -> Tensor:
    """Prompt and greedy answer, (1, tokens), by the shortest loop there is: the fast baseline."""
    cache = DynamicCache(config=model.config)
    tokens: list[int] = []
    step_ids = input_ids
    with torch.inference_mode():
        while len(tokens) < max_new_tokens:
            logits = model(
                input_ids=step_ids, past_key_values=cache, use_cache=True, logits_to_keep=1
            ).logits
            token = int(logits[0, -1].argmax())
            tokens.append(token)
            if token in eos_token_ids:
                break
            step_ids = torch.tensor([[token]], device=input_ids.device)
    return torch.cat([input_ids, input_ids.new_tensor([tokens])], dim=-1)


def layer_dropped(model: PreTrainedModel, dropped: Sequence[int]) -> PreTrainedModel:
    """A draft model: a copy of a Llama-like model without the layers of these numbers."""
    n_layers = model.config.num_hidden_layers
    kept = [number for number in range(n_layers) if number not in set(dropped)]
    config = copy.deepcopy(model.config)
    config.num_hidden_layers = len(kept)
    if getattr(config, "layer_types", None):
        config.layer_types = [model.config.layer_types[number] for number in kept]
    draft = copy.deepcopy(model)
    draft.config = draft.model.config = config
    draft.model.layers = torch.nn.ModuleList(draft.model.layers[number] for number in kept)
    for position, layer in enumerate(draft.model.layers):
        # Where the layer's keys and values stand in the cache.
        layer.self_attn.layer_idx = position
    return draft.eval()


def top_two_gap(model: PreTrainedModel, token_ids: Sequence[int]) -> float:
    """How far the best next token's logit is above the second best, after these tokens."""
    with torch.inference_mode():
        ids = torch.tensor([list(token_ids)], device=model.device)
        best, second = model(input_ids=ids).logits[0, -1].float().topk(2).values.tolist()
    return best - second
