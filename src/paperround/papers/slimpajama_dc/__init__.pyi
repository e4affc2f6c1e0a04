from .corpus import (
    decontaminate,
    mix,
    mixture_report,
    repair_text,
    split_holdout,
    two_pass_shuffle,
)
from .deduplicator import MinHashDeduplicator
from .minhash import (
    band_keys,
    candidate_probability,
    char_shingles,
    clean_text,
    estimate_jaccard,
    optimal_bands,
    signature,
    signatures,
    true_jaccard,
    word_shingles,
)

__all__ = [
    "MinHashDeduplicator",
    "band_keys",
    "candidate_probability",
    "char_shingles",
    "clean_text",
    "decontaminate",
    "estimate_jaccard",
    "mix",
    "mixture_report",
    "optimal_bands",
    "repair_text",
    "signature",
    "signatures",
    "split_holdout",
    "true_jaccard",
    "two_pass_shuffle",
    "word_shingles",
]
