"""Diverse beam search: a list of candidates that differ, at the cost of one beam search.

Beam search returns near-copies of its favourite. Diverse beam search splits the B beams into G
groups that advance one after another; a group pays lambda for every token that an earlier group
chose at the same time step. Use it where several candidates are wanted and something picks among
them afterwards (a verifier, a re-ranker, a person), or where the same candidates must come back
every time. For one answer, plain beam search or greedy decoding is enough; with hundreds of
candidates per prompt, sampling covers more. transformers removed its own group beam search
in version 5; code that called it keeps working with `custom_generate=group_beam_search`.

    from paperround.papers.diverse_beam_search import generate_diverse

    prompts = tokenizer(["Once upon a time"], return_tensors="pt")
    found = generate_diverse(model, prompts, num_beams=6, num_beam_groups=6, max_new_tokens=20)
    texts = tokenizer.batch_decode(found.sequences, skip_special_tokens=True)

`diverse_beam_search` is the same for any step function, without a model library.

Vijayakumar, Cogswell, Selvaraju, Sun, Lee, Crandall, Batra: Diverse Beam Search: Decoding Diverse
Solutions from Neural Sequence Models, arXiv 1610.02424, 2016 (AAAI 2018).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from paperround.papers.diverse_beam_search.diversity import (
        EarlierGroups,
        cumulative_diversity,
        embedding_diversity,
        hamming_diversity,
        ngram_diversity,
    )
    from paperround.papers.diverse_beam_search.method import (
        AntiLMLogitsProcessor,
        DiverseBeamOutput,
        HammingDiversityLogitsProcessor,
        SiblingRankLogitsProcessor,
        generate_diverse,
        group_beam_search,
    )
    from paperround.papers.diverse_beam_search.metrics import (
        distinct_n,
        oracle_at_k,
        pairwise_edit_distance,
        self_bleu,
    )
    from paperround.papers.diverse_beam_search.search import (
        Hypothesis,
        SearchResult,
        diverse_beam_search,
        mmi_antilm_beam_search,
        sibling_rank_beam_search,
    )

__all__ = [
    "AntiLMLogitsProcessor",
    "DiverseBeamOutput",
    "EarlierGroups",
    "HammingDiversityLogitsProcessor",
    "Hypothesis",
    "SearchResult",
    "SiblingRankLogitsProcessor",
    "cumulative_diversity",
    "distinct_n",
    "diverse_beam_search",
    "embedding_diversity",
    "generate_diverse",
    "group_beam_search",
    "hamming_diversity",
    "mmi_antilm_beam_search",
    "ngram_diversity",
    "oracle_at_k",
    "pairwise_edit_distance",
    "self_bleu",
    "sibling_rank_beam_search",
]

_MODULES = {
    "diversity": (
        "EarlierGroups",
        "cumulative_diversity",
        "embedding_diversity",
        "hamming_diversity",
        "ngram_diversity",
    ),
    "method": (
        "AntiLMLogitsProcessor",
        "DiverseBeamOutput",
        "HammingDiversityLogitsProcessor",
        "SiblingRankLogitsProcessor",
        "generate_diverse",
        "group_beam_search",
    ),
    "metrics": ("distinct_n", "oracle_at_k", "pairwise_edit_distance", "self_bleu"),
    "search": (
        "Hypothesis",
        "SearchResult",
        "diverse_beam_search",
        "mmi_antilm_beam_search",
        "sibling_rank_beam_search",
    ),
}


def __getattr__(name: str) -> Any:
    # Importing the room must not import torch: the web process lists every room.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
