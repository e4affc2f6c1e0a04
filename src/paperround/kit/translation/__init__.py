"""Small translation models: pairs of texts, joint byte pairs, and a Transformer trained on a CPU.

    pairs = read_multi30k(folder, "train")
    tokenizer = learn_tokenizer(pairs, 6_000)
    model = train_translator(pairs, tokenizer, TrainingPlan(steps=2_000), seed=0)
    translate(model, tokenizer, ["a man is sleeping ."])

The model is a MarianMTModel of transformers with random weights at first, so `generate`, caches and
beam search are transformers' own. `texts.py` has the pairs and the tokenizer, `batches.py` what
one update sees, `training.py` the model, `decoding.py` translations and distilled pairs,
`quality.py` BLEU and chrF.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "BOS": "texts",
    "EOS": "texts",
    "IGNORED": "batches",
    "PAD": "texts",
    "PLACEHOLDER": "texts",
    "UNK": "texts",
    "Batch": "batches",
    "Encoded": "batches",
    "Pair": "texts",
    "TrainingPlan": "training",
    "TranslatorSize": "training",
    "batches_by_tokens": "batches",
    "begin_words": "texts",
    "bleu": "quality",
    "bootstrap_difference": "quality",
    "build_translator": "training",
    "chrf": "quality",
    "cut_to_prefix": "batches",
    "distil": "decoding",
    "encode_pairs": "batches",
    "learn_tokenizer": "texts",
    "length_limit": "decoding",
    "normalised": "texts",
    "padded": "batches",
    "read_multi30k": "texts",
    "set_learning_rate": "training",
    "source_ids": "decoding",
    "train_translator": "training",
    "translate": "decoding",
    "translate_ids": "decoding",
    "word_ends": "batches",
}

__all__ = list(_HOMES)


# Lazy, so that reading pairs imports no torch.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
