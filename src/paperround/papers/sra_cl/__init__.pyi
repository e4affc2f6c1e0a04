from .baselines import (
    cl4srec,
    duorec,
)
from .descriptions import (
    describe,
    describe_items,
    describe_users,
    item_prompts,
    user_prompts,
)
from .method import (
    LearnableSynthesis,
    PlainMean,
    SemanticContrastive,
    info_nce,
    semantic_substitution,
)
from .retrieval import (
    behaviour_vectors,
    co_occurrence_rate,
    filled_from,
    load_neighbours,
    matched_random,
    save_neighbours,
    user_vectors,
)

__all__ = [
    "LearnableSynthesis",
    "PlainMean",
    "SemanticContrastive",
    "behaviour_vectors",
    "cl4srec",
    "co_occurrence_rate",
    "describe",
    "describe_items",
    "describe_users",
    "duorec",
    "filled_from",
    "info_nce",
    "item_prompts",
    "load_neighbours",
    "matched_random",
    "save_neighbours",
    "semantic_substitution",
    "user_prompts",
    "user_vectors",
]
