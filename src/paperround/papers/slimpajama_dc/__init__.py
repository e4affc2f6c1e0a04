"""Near-duplicate removal across the sources of a corpus, with SlimPajama's exact parameters.

Use it to deduplicate any collection of documents (training data, records, mails), inside each
source or across all, and to see which source lost what to which. It finds copies and light edits
(Jaccard similarity of character 13-grams from about 0.8); not paraphrases or translations.

    from paperround.papers.slimpajama_dc import MinHashDeduplicator

    documents = ["a b c d e f g h " * 20, "a b c d e f g h " * 20, "something else " * 20]
    dedup = MinHashDeduplicator(scope="global").fit(documents, sources=["web", "news", "web"])
    print(dedup.duplicate_of_, dedup.source_matrix(), len(dedup.transform(documents)))

On a command line: `python -m paperround.papers.slimpajama_dc FILE.jsonl --text-key text`.

Shen, Tao, Ma, Neiswanger, Liu, Wang, Tan, Hestness, Vassilieva, Soboleva, Xing: SlimPajama-DC:
Understanding Data Combinations for LLM Training. arXiv:2309.10818, 2023. The pipeline is that of
Soboleva et al., SlimPajama, 2023.
"""

from importlib import import_module
from typing import Any

_HOME = {
    "MinHashDeduplicator": "deduplicator",
    "band_keys": "minhash",
    "candidate_probability": "minhash",
    "char_shingles": "minhash",
    "clean_text": "minhash",
    "decontaminate": "corpus",
    "estimate_jaccard": "minhash",
    "mix": "corpus",
    "mixture_report": "corpus",
    "optimal_bands": "minhash",
    "repair_text": "corpus",
    "signature": "minhash",
    "signatures": "minhash",
    "split_holdout": "corpus",
    "true_jaccard": "minhash",
    "two_pass_shuffle": "corpus",
    "word_shingles": "minhash",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
