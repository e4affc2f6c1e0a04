from .diversity import (
    EarlierGroups,
    cumulative_diversity,
    embedding_diversity,
    hamming_diversity,
    ngram_diversity,
)
from .method import (
    AntiLMLogitsProcessor,
    DiverseBeamOutput,
    HammingDiversityLogitsProcessor,
    SiblingRankLogitsProcessor,
    generate_diverse,
    group_beam_search,
)
from .metrics import (
    distinct_n,
    oracle_at_k,
    pairwise_edit_distance,
    self_bleu,
)
from .search import (
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
