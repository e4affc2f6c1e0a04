"""The autoregressive arms: greedy decoding with a cache, from nothing or from a draft.

One sentence at a time and nothing but what greedy decoding needs, since its time is compared;
`generate` of transformers gives the same tokens (a test holds it) and does more about them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, MarianMTModel

from paperround.kit.translation import check_sources, length_limit


@dataclass(frozen=True)
class Decoded:
    """A translation as ids without both ends, the decoder's passes, how much of a draft stayed."""

    tokens: list[int]
    passes: int
    accepted: int = 0


def greedy_decode(
    model: MarianMTModel, source: Sequence[int], draft: Sequence[int] = ()
) -> Decoded:
    """The greedy translation of a source, with the cache of transformers.

    A draft changes the passes and never the tokens: one pass over all of it says what greedy
    decoding would have chosen after each of its tokens, the part that agrees is kept, and the rest
    is decoded as ever (speculative decoding by Leviathan et al., 2023, with the former translation
    for a draft). Raises ValueError for an empty source, UsageError for one longer than the
    model's positions.
    """
    if not source:
        raise ValueError("the source is empty; there is nothing to translate")
    check_sources(model, [source])
    config = model.config
    limit = min(length_limit(len(source)), config.max_position_embeddings - 1)
    never = never_chosen(model)
    draft = list(draft)[:limit]
    cache = new_cache(model)
    with torch.inference_mode():
        ids = torch.tensor([source], device=model.device)
        states = model.get_encoder()(input_ids=ids).last_hidden_state
        following = choices(
            model, [config.decoder_start_token_id, *draft], states, cache, never=never
        )
        chosen = following.tolist()
        passes = 1
        accepted = next((i for i, token in enumerate(draft) if chosen[i] != token), len(draft))
        tokens = draft[:accepted]
        if accepted < len(draft):
            cache.self_attention_cache.crop(accepted - len(draft))
        token = chosen[accepted]
        while token != config.eos_token_id and len(tokens) < limit:
            tokens.append(token)
            if len(tokens) == limit:
                break
            token = int(choices(model, [token], states, cache, never=never)[-1])
            passes += 1
    return Decoded(tokens, passes, accepted)


def new_cache(model: MarianMTModel) -> EncoderDecoderCache:
    """An empty cache for one sentence."""
    return EncoderDecoderCache(DynamicCache(config=model.config), DynamicCache(config=model.config))


def never_chosen(model: MarianMTModel) -> Tensor | None:
    """True for the tokens that the model's own settings forbid, None where there are none.

    The published Marian models forbid their padding, which is what their decoder starts from.
    """
    words = model.generation_config.bad_words_ids or []
    single = [word[0] for word in words if len(word) == 1]
    if not single:
        return None
    never = torch.zeros(model.config.vocab_size, dtype=torch.bool, device=model.device)
    never[single] = True
    return never


def choices(
    model: MarianMTModel,
    tokens: Sequence[int],
    states: Tensor,
    cache: EncoderDecoderCache,
    *,
    never: Tensor | None = None,
) -> Tensor:
    """The most probable token after each of these, which follow what is in the cache: (tokens,).

    Tokens of the vocabulary for which `never` is true are not chosen.
    """
    h = model.get_decoder()(
        input_ids=torch.tensor([tokens], device=states.device),
        encoder_hidden_states=states,
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state
    logits = model.lm_head(h[0]) + model.final_logits_bias
    if never is not None:
        logits = logits.masked_fill(never, -torch.inf)
    return logits.argmax(-1)


def expected_passes(tokens: Sequence[int], accepted: int, limit: int) -> int:
    """How many passes `greedy_decode` takes for these tokens when so many of a draft stay.

    One for the draft or the first token, and one for each further token, `</s>` included unless
    the limit came first.
    """
    written = len(tokens) - accepted
    return 1 + written - (1 if len(tokens) == limit and written else 0)
