"""Which models can be given a mask and positions of one's own, and how each wants them.

The masks are 4-D, (batch, 1, queries, keys): bool for sdpa, additive for eager attention, and one
per kind of layer where a model mixes sliding windows with full attention (Gemma 2 and 3, some
Qwen). Sliding windows count positions (`SetBatch.mask`), and the cache keeps all keys, since what
leaves a window leaves it by position and not by age.
"""

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from paperround.papers.set_based_prompting.encoding import (
    SetBatch,
    SetEncoding,
    collate,
    to_additive,
)

Masks: TypeAlias = Tensor | dict[str, Tensor]

_FULL, _SLIDING = "full_attention", "sliding_attention"
# Models that were found to obey, with the attention implementation under which they did.
_OBEDIENT: WeakKeyDictionary[PreTrainedModel, str] = WeakKeyDictionary()
# How much of the difference that hiding a token makes may be left over, as rounding.
_LEFT_OVER = 0.1


def set_inputs(
    model: PreTrainedModel, encodings: SetEncoding | Sequence[SetEncoding]
) -> dict[str, Any]:
    """What to call the model with, as in `model(**set_inputs(model, encodings)).logits`.

    Ids and positions (batch, N), padded on the left, and the mask in the model's own form, on its
    device. Raises ValueError for a model that cannot take them, or prompts beyond its context.
    """
    require_support(model)
    several = [encodings] if isinstance(encodings, SetEncoding) else encodings
    require_room(model, several)
    batch = collate(several, model.device)
    return {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "attention_mask": model_masks(model, batch.mask),
        "use_cache": False,
    }


def prefill(model: PreTrainedModel, batch: SetBatch) -> tuple[Tensor, DynamicCache]:
    """The logits (batch, vocabulary) after each prompt, and the cache that holds the prompts."""
    # Without the config every layer keeps all keys, also those with a window.
    cache = DynamicCache()
    logits = forward(
        model, batch.input_ids, batch.position_ids, model_masks(model, batch.mask), cache, 1
    )
    return logits[:, -1], cache


def proceed(model: PreTrainedModel, batch: SetBatch, cache: DynamicCache, tokens: Tensor) -> Tensor:
    """The logits (batch, m, vocabulary) of m tokens (batch, m) that follow what the cache holds."""
    n_before = cache.get_seq_length() - batch.input_ids.shape[1]
    n_new = tokens.shape[1]
    steps = torch.arange(n_before, n_before + n_new, device=tokens.device)
    masks = model_masks(model, lambda window: batch.continuation_mask(n_before, n_new, window))
    positions = batch.next_positions[:, None] + steps
    return forward(model, tokens, positions, masks, cache, n_new)


def forward(
    model: PreTrainedModel,
    input_ids: Tensor,
    position_ids: Tensor,
    masks: Masks,
    cache: DynamicCache | None,
    n_logits: int,
) -> Tensor:
    """The last `n_logits` logits of each row, (batch, n_logits, vocabulary), float32 at least."""
    extra: dict[str, Any] = {}
    if "logits_to_keep" in inspect.signature(model.forward).parameters:
        extra["logits_to_keep"] = n_logits
    output = model(
        input_ids=input_ids,
        position_ids=position_ids,
        attention_mask=masks,
        past_key_values=cache,
        use_cache=cache is not None,
        return_dict=True,
        **extra,
    )
    logits = output.logits[:, -n_logits:]
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def model_masks(model: PreTrainedModel, mask: Callable[[int | None], Tensor]) -> Masks:
    """The masks in the form that the model wants; `mask(window)` gives the bool (batch, q, k)."""
    config = model.config.get_text_config(decoder=True)
    by_layer = {}
    for layer_type, window in layer_windows(model).items():
        visible = mask(window)[:, None]
        by_layer[layer_type] = (
            to_additive(visible, model.dtype) if config._attn_implementation == "eager" else visible
        )
    return by_layer if len(by_layer) > 1 else next(iter(by_layer.values()))


def layer_windows(model: PreTrainedModel) -> dict[str, int | None]:
    """The sliding window of each kind of layer that the model has, None for full attention.

    Raises ValueError for a kind that sees the text in another way, such as in chunks or by a state.
    """
    config = model.config.get_text_config(decoder=True)
    window = getattr(config, "sliding_window", None)
    types = getattr(config, "layer_types", None)
    if types is None:
        chunked = getattr(config, "attention_chunk_size", None) is not None
        # GPT-Neo names its layers otherwise, and applies their window inside.
        local = "local" in getattr(config, "attention_layers", ())
        kind = "chunked_attention" if chunked else "local" if local else None
        types = [kind or (_FULL if window is None else _SLIDING)]
    if strange := sorted(set(types) - {_FULL, _SLIDING}):
        raise ValueError(
            f"{type(model).__name__} has layers of the kind {', '.join(strange)}, which see the "
            "order of the tokens whatever the mask says; set-based prompting needs attention"
        )
    return {kind: window if kind == _SLIDING else None for kind in sorted(set(types))}


def require_room(
    model: PreTrainedModel, encodings: Sequence[SetEncoding], n_new_tokens: int = 0
) -> None:
    """Raises ValueError where prompt and new tokens need more positions than the model has.

    Members share positions, so a prompt with sets may have more tokens than positions.
    """
    config = model.config.get_text_config(decoder=True)
    most = getattr(config, "max_position_embeddings", None)
    if most is None:
        return
    for encoding in encodings:
        # The last new token is never fed to the model.
        needed = encoding.next_position + max(0, n_new_tokens - 1)
        if needed > most:
            with_new = f" and {n_new_tokens} new tokens" if n_new_tokens else ""
            raise ValueError(
                f"the prompt takes {encoding.next_position} positions ({len(encoding)} tokens)"
                f"{with_new}, and {type(model).__name__}'s context has {most}; shorten the prompt"
            )


def require_support(model: PreTrainedModel) -> None:
    """Raises ValueError unless the model obeys masks and positions that it is given.

    Once per model, six tokens tell: the third must not change when the second, which is hidden
    from it, and which takes no position, goes away. ALiBi and other biases by index fail here.
    """
    name = type(model).__name__
    if model.config.is_encoder_decoder:
        raise ValueError(f"{name} is an encoder-decoder; set-based prompting needs a causal model")
    if "position_ids" not in inspect.signature(model.forward).parameters:
        raise ValueError(
            f"{name} takes no position_ids, so its positions follow the order of tokens"
        )
    if getattr(model, "_is_stateful", False):
        raise ValueError(f"{name} keeps a recurrent state, which a mask cannot take a token out of")
    config = model.config.get_text_config(decoder=True)
    attention = config._attn_implementation
    if attention not in ("eager", "sdpa"):
        raise ValueError(
            f"{name} runs with attention '{attention}', which takes no mask of one's own; "
            "load it with attn_implementation='sdpa' or 'eager'"
        )
    layer_windows(model)
    if _OBEDIENT.get(model) == attention:
        return
    try:
        left_over, difference = _probe(model)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name} fails with a mask of four dimensions: {error}") from error
    # Written so that not-a-number is refused too.
    if not left_over <= _LEFT_OVER * difference:
        raise ValueError(
            f"{name} does not obey the mask and the positions that it is given: a hidden token "
            f"still changes its logits by {left_over:.2g} ({difference:.2g} when not hidden). "
            "Models with ALiBi and the like are of this kind"
        )
    _OBEDIENT[model] = attention


def _probe(model: PreTrainedModel) -> tuple[float, float]:
    """How far hiding a token is from its absence, and how far showing it is, in logits.

    a b c d: b shares the position of c and is hidden from c and d. What the model says of c (in
    one pass) and of d (through the cache) has to be what it says of a c d.
    """
    was_training = model.training
    model.eval()
    device = model.device
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    a, b, c, d = (vocabulary // 5 * k % vocabulary for k in (1, 2, 3, 4))
    ids = torch.tensor([[a, b, c, d]], device=device)
    positions = torch.tensor([[0, 1, 1, 2]], device=device)
    visible = torch.tensor(
        [[[1, 0, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 1]]], dtype=torch.bool, device=device
    )
    try:
        with torch.no_grad():
            cache = DynamicCache()
            first = forward(
                model,
                ids[:, :3],
                positions[:, :3],
                model_masks(model, lambda window: visible[:, :3, :3]),
                cache,
                1,
            )
            second = forward(
                model,
                ids[:, 3:],
                positions[:, 3:],
                model_masks(model, lambda window: visible[:, 3:]),
                cache,
                1,
            )
            absent = model(torch.tensor([[a, c, d]], device=device), use_cache=False).logits[:, 1:]
            shown = model(ids, use_cache=False).logits[:, 2:]
    finally:
        model.train(was_training)
    hidden = torch.cat([first, second], dim=1)
    left_over = (hidden - absent).abs().amax().item()
    return left_over, (shown - absent).abs().amax().item()
