"""Translations by a trained model: greedy or by beam search, with the cache of transformers."""

from collections.abc import Callable, Sequence

import torch
from transformers import MarianMTModel, PreTrainedModel, PreTrainedTokenizerFast

from paperround.errors import UsageError
from paperround.kit.translation.batches import padded
from paperround.kit.translation.texts import Pair

# No translation is longer than this times its source, and this much.
_TIMES, _MORE = 1.5, 10


def length_limit(n_source: int) -> int:
    """How many pieces a translation of so many pieces may have."""
    return int(_TIMES * n_source) + _MORE


def source_ids(
    tokenizer: PreTrainedTokenizerFast, text: str, *, finished: bool = True
) -> list[int]:
    """The ids of a source; one that is not finished has no `</s>`."""
    ids: list[int] = tokenizer(text)["input_ids"]
    whole = finished or not ids or ids[-1] != tokenizer.eos_token_id
    return ids if whole else ids[:-1]


def check_sources(model: PreTrainedModel, sources: Sequence[Sequence[int]]) -> None:
    """Raises UsageError where a source has more pieces than the model has positions."""
    most = model.config.max_position_embeddings
    for i, ids in enumerate(sources):
        if len(ids) > most:
            raise UsageError(
                f"source {i} has {len(ids)} pieces, the model has {most} positions; cut it into "
                "sentences"
            )


def translate(
    model: MarianMTModel,
    tokenizer: PreTrainedTokenizerFast,
    texts: Sequence[str],
    *,
    num_beams: int = 1,
    batch_tokens: int = 4_000,
    on_progress: Callable[[int], None] | None = None,
) -> list[str]:
    """The translation of each text. `on_progress(n)` is called after each batch with its size."""
    sources = [source_ids(tokenizer, text) for text in texts]
    made = translate_ids(
        model, sources, num_beams=num_beams, batch_tokens=batch_tokens, on_progress=on_progress
    )
    return tokenizer.batch_decode(made, skip_special_tokens=True) if made else []


def translate_ids(
    model: MarianMTModel,
    sources: Sequence[Sequence[int]],
    *,
    num_beams: int = 1,
    batch_tokens: int = 4_000,
    on_progress: Callable[[int], None] | None = None,
) -> list[list[int]]:
    """The translation of each source as ids, without the ids that begin and end it.

    Sources that end with `</s>` are whole. A translation has at most `length_limit` pieces,
    whatever else is in its batch. An empty source has an empty translation. Raises UsageError
    for a source longer than the model's positions.
    """
    check_sources(model, sources)
    model.eval()
    config = model.config
    made: list[list[int]] = [[] for _ in sources]
    order = sorted((i for i, ids in enumerate(sources) if ids), key=lambda i: len(sources[i]))
    for places in _cut(order, [len(ids) for ids in sources], batch_tokens):
        ids, mask = padded([sources[i] for i in places], config.pad_token_id)
        limits = [
            min(length_limit(len(sources[i])), config.max_position_embeddings - 1) for i in places
        ]
        with torch.inference_mode():
            generated = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                num_beams=num_beams,
                do_sample=False,
                max_new_tokens=max(limits),
            )
        rows = generated.tolist()
        for i, row, limit in zip(places, rows, limits, strict=True):
            # The first id only starts the decoder.
            made[i] = _until_end(row[1:], config.eos_token_id)[:limit]
        if on_progress is not None:
            on_progress(len(places))
    return made


def distil(
    model: MarianMTModel,
    tokenizer: PreTrainedTokenizerFast,
    pairs: Sequence[Pair],
    *,
    num_beams: int = 1,
    batch_tokens: int = 4_000,
    on_progress: Callable[[int], None] | None = None,
) -> list[Pair]:
    """The pairs with the model's translations for targets, without those where it says nothing.

    Source: Kim and Rush, Sequence-Level Knowledge Distillation, EMNLP 2016.
    """
    targets = translate(
        model,
        tokenizer,
        [pair.source for pair in pairs],
        num_beams=num_beams,
        batch_tokens=batch_tokens,
        on_progress=on_progress,
    )
    return [
        Pair(pair.source, target) for pair, target in zip(pairs, targets, strict=True) if target
    ]


def _until_end(ids: Sequence[int], end: int) -> list[int]:
    stop = next((place for place, number in enumerate(ids) if number == end), len(ids))
    return list(ids[:stop])


def _cut(order: Sequence[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Runs of places in order, each of at most `batch_tokens` padded tokens or one place."""
    cut: list[list[int]] = []
    for place in order:
        if cut and (len(cut[-1]) + 1) * lengths[place] <= batch_tokens:
            cut[-1].append(place)
        else:
            cut.append([place])
    return cut
